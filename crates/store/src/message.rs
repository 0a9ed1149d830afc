//! The message as everybody shares it: built once, immutable.

use std::sync::Arc;

use cork_packet::QoS;

/// Microseconds since 1970-01-01 UTC.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

impl WallTime {
    /// The moment `seconds` later.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u32) -> Self {
        Self(self.0 + seconds as u64 * 1_000_000)
    }

    /// As RFC 3339 with microseconds, as `2026-11-21T20:07:43.000001Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        const DAYS_IN_400_YEARS: u64 = 146_097;
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        // Years begin in March here, so that the day that leap years add is their last.
        let days = seconds / 86_400 + 719_468; // from 0000-03-01
        let (era, day) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + next;
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Which message this is, stable across restarts.
///
/// Ordered by arrival within a shard; between shards the larger one counts as the later one.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// When the message arrived, in microseconds since 1970-01-01 UTC, never twice the same on one shard.
    pub arrived: WallTime,
    /// The shard it arrived at.
    pub shard: u16,
    /// How often the store was started before.
    pub epoch: u32,
}

/// Who published a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publisher {
    /// Client Identifier; empty for the broker itself.
    pub client_id: Box<str>,
    /// User Name, when one was given.
    pub user_name: Option<Box<str>>,
    /// Who vouches for the User Name.
    pub proof: Proof,
}

/// Who vouches for a User Name. One that nobody vouches for is only what the client says.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// Nobody: there is no user database.
    #[default]
    Nobody,
    /// The user database.
    Users,
    /// The connection: a client certificate.
    Connection,
    /// The broker: it is a part of it, a bridge or a sink. Rights do not bind it.
    Inside,
}

/// An Application Message with all that any part of the broker wants to know of it later.
///
/// There may be millions of them, so what varies in length is one piece of memory, and the rest as short as it can be:
/// with the counts of an `Arc` 72 bytes, which with what allocators add is 80.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    arrived: WallTime,
    /// [`NEVER`] if it does not expire.
    expires: WallTime,
    /// Who published it.
    pub publisher: Arc<Publisher>,
    /// Topic Name, v5 properties to forward, as on the wire without their length, payload.
    bytes: Box<[u8]>,
    /// Topics of the broker's own may be longer than any that a client can publish to.
    topic_len: u32,
    properties_len: u32,
    epoch: u32,
    shard: u16,
    /// QoS it was published with.
    pub qos: QoS,
    /// RETAIN as it was published.
    pub retain: bool,
}

/// When a message expires that does not.
const NEVER: WallTime = WallTime(u64::MAX);

impl Message {
    /// A message; `properties` are raw v5 properties without Topic Alias, Message Expiry Interval and Subscription
    /// Identifier.
    ///
    /// # Panics
    /// Never for what fits into an MQTT packet (256 MiB).
    #[must_use]
    pub fn new(
        id: MessageId,
        topic: &str,
        properties: &[u8],
        payload: &[u8],
        publisher: Arc<Publisher>,
    ) -> Self {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a packet is shorter than 4 GiB");
        let mut bytes = Vec::with_capacity(topic.len() + properties.len() + payload.len());
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(properties);
        bytes.extend_from_slice(payload);
        Self {
            arrived: id.arrived,
            expires: NEVER,
            publisher,
            bytes: bytes.into_boxed_slice(),
            topic_len: length(topic.as_bytes()),
            properties_len: length(properties),
            epoch: id.epoch,
            shard: id.shard,
            qos: QoS::AtMostOnce,
            retain: false,
        }
    }

    /// Stable identity and wall-clock arrival.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        MessageId { arrived: self.arrived, shard: self.shard, epoch: self.epoch }
    }

    /// Topic Name. It is looked through each time, so whoever needs no text asks for [`Self::topic_bytes`].
    #[must_use]
    pub fn topic(&self) -> &str {
        // It was made of text.
        std::str::from_utf8(self.topic_bytes()).unwrap_or_default()
    }

    /// Topic Name, in UTF-8.
    #[must_use]
    pub fn topic_bytes(&self) -> &[u8] {
        &self.bytes[..self.topic_len as usize]
    }

    /// Raw v5 properties to forward, without their length.
    #[must_use]
    pub fn properties(&self) -> &[u8] {
        &self.bytes[self.topic_len as usize..][..self.properties_len as usize]
    }

    /// The Application Message's payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.topic_len as usize + self.properties_len as usize..]
    }

    /// When it expires (5.0 3.3.2.3.3).
    #[must_use]
    pub fn expires(&self) -> Option<WallTime> {
        Some(self.expires).filter(|at| *at != NEVER)
    }

    /// Says when it expires, if it does.
    pub fn set_expires(&mut self, at: Option<WallTime>) {
        self.expires = at.unwrap_or(NEVER);
    }

    /// Bytes this message costs a queue: what it holds and its own head.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        self.bytes.len() + std::mem::size_of::<Self>()
    }

    /// Whether its Message Expiry Interval has passed (5.0 [MQTT-3.3.2-5]).
    #[must_use]
    pub fn is_expired(&self, now: WallTime) -> bool {
        self.expires != NEVER && self.expires <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_short_and_gives_back_what_it_was_made_of() {
        assert_eq!(size_of::<Message>(), 56);
        let id = MessageId { arrived: WallTime(1_795_108_972_295_166), shard: 3, epoch: 77 };
        let long = "größe/".repeat(30_000);
        for topic in ["a", "größe/1", &long] {
            let mut message = Message::new(id, topic, &[1, 1], b"\xFF21.5", Arc::default());
            assert_eq!((message.id(), message.topic(), message.topic_bytes()), (id, topic, topic.as_bytes()));
            assert_eq!((message.properties(), message.payload()), (&[1, 1][..], &b"\xFF21.5"[..]));
            assert_eq!((message.expires(), message.is_expired(WallTime(u64::MAX))), (None, false));
            message.set_expires(Some(WallTime(5)));
            assert_eq!(message.expires(), Some(WallTime(5)));
            assert_eq!([4, 5].map(|now| message.is_expired(WallTime(now))), [false, true]);
        }
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_709_164_799_999_999, "2024-02-28T23:59:59.999999Z"),
            (1_790_000_000_500_000, "2026-09-21T14:13:20.500000Z"),
        ] {
            assert_eq!(WallTime(micros).to_rfc3339(), text);
        }
    }
}
