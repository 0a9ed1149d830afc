//! What a connection from inside the broker may ask for its Session, by User Properties of its CONNECT.

/// Client Identifiers that end so are the second lane of the Session without it, and live on the same shard.
pub const LANE_SUFFIX: &str = "/live";

/// Makes this Session the second lane of the other one: a part of what that one's subscriptions bring goes to this one
/// while the other has a backlog, as the value says: [`LANE_STRICT`] or [`LANE_LIVE_FIRST`]. Without it, the Session keeps
/// what it has and gets no more.
pub const LANE_ASKED_BY: &str = "cork-lane";

/// What is of topics that have no backlog.
pub const LANE_STRICT: &str = "strict";

/// Whatever is published.
pub const LANE_LIVE_FIRST: &str = "live-first";

/// Bytes that may wait in the Session, in place of the limit for all.
pub const QUEUE_BYTES_ASKED_BY: &str = "cork-queue-bytes";

/// The first lane of a Session that is a second one.
#[must_use]
pub fn first_lane(client_id: &str) -> Option<&str> {
    client_id.strip_suffix(LANE_SUFFIX).filter(|first| first.starts_with("$cork/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_of_the_broker_have_lanes() {
        assert_eq!(first_lane("$cork/bridge/cloud/live"), Some("$cork/bridge/cloud"));
        assert_eq!(first_lane("$cork/bridge/cloud"), None);
        assert_eq!(first_lane("somebody/live"), None);
    }
}
