//! What a connection from inside the broker may ask for its Session, by User Properties of its CONNECT.

/// Client Identifiers that end so are the second lane of the Session without it, and live on the same shard.
pub const LANE_SUFFIX: &str = "/second";

/// Makes this Session the second lane of the other one: a part of what that one's subscriptions bring goes to this one
/// while the other has a backlog, as the value says: [`LANE_STRICT`] or [`LANE_LIVE_FIRST`]. Without it, the Session gets
/// no more than what belongs behind something it has.
pub const LANE_ASKED_BY: &str = "cork-lane";

/// What is more than a few messages of a topic.
pub const LANE_STRICT: &str = "strict";

/// Whatever is published.
pub const LANE_LIVE_FIRST: &str = "live-first";

/// Nothing is sent on this connection but answers: what waits, and what is retained, waits for the next one.
pub const ASLEEP_ASKED_BY: &str = "cork-asleep";

/// Bytes that may wait in the Session, in place of the limit for all.
pub const QUEUE_BYTES_ASKED_BY: &str = "cork-queue-bytes";

/// The longest packet that may come from this connection, in bytes, in place of the limit for all. What makes a message
/// that was taken a little longer, to keep it, needs more.
pub const PACKET_BYTES_ASKED_BY: &str = "cork-packet-bytes";

/// The first lane of a Session that is a second one.
#[must_use]
pub fn first_lane(client_id: &str) -> Option<&str> {
    let first = client_id.strip_suffix(LANE_SUFFIX)?;
    // A link may be called `second`.
    first.strip_prefix("$cork/").is_some_and(|part| part.contains('/')).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_of_the_broker_have_lanes() {
        assert_eq!(first_lane("$cork/bridge/cloud/second"), Some("$cork/bridge/cloud"));
        assert_eq!(first_lane("$cork/bridge/cloud"), None);
        assert_eq!(first_lane("$cork/bridge/second"), None);
        assert_eq!(first_lane("somebody/second"), None);
    }
}
