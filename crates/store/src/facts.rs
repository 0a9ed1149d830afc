//! What a part of the broker is told of a message beyond what MQTT says of it.

use std::fmt;

use cork_packet::QoS;

use crate::{Message, MessageId, WallTime};

/// What a bridge or a sink must know of a message and no PUBLISH has room for: which one it is, so that it is not
/// written twice, when it came, and from whom.
///
/// A connection from inside the broker that asks for them finds them in the last two User Properties of each PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which message.
    pub id: MessageId,
    /// Client Identifier of who published it; empty for the broker itself.
    pub client_id: String,
    /// The publisher's User Name.
    pub user_name: Option<String>,
    /// QoS it was published with; that of a delivery may be lower.
    pub qos: QoS,
}

impl Facts {
    /// The User Property of CONNECT that asks for them, with any value.
    pub const ASKED_BY: &str = "cork-facts";

    /// As two User Properties: the identifier with the QoS and whether there is a User Name (`1`, `1 user`), then Client
    /// Identifier and User Name.
    #[must_use]
    pub fn to_pairs(&self) -> [(String, String); 2] {
        let user = if self.user_name.is_some() { " user" } else { "" };
        let known = format!("{}{user}", self.qos.bits());
        let who = (self.client_id.clone(), self.user_name.clone().unwrap_or_default());
        [(self.id.to_string(), known), who]
    }

    /// Back from the last two User Properties of a PUBLISH; `None` if they are no facts.
    #[must_use]
    pub fn from_pairs(id: (&str, &str), who: (&str, &str)) -> Option<Self> {
        let (qos, user) = id.1.split_once(' ').map_or((id.1, false), |(qos, user)| (qos, user == "user"));
        let qos = QoS::from_bits(qos.parse().ok()?)?;
        let user_name = user.then(|| who.1.into());
        Some(Self { id: id.0.parse().ok()?, client_id: who.0.into(), user_name, qos })
    }
}

impl Message {
    /// What a part of the broker may want to know of it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            id: self.id(),
            client_id: self.publisher.client_id.to_string(),
            user_name: self.publisher.user_name.as_deref().map(str::to_owned),
            qos: self.qos,
        }
    }
}

/// `epoch-shard-arrived`, decimal: a name for the message that no other message of this store ever has.
impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.shard, self.arrived.0)
    }
}

/// The text is no message's name.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct NoMessageId;

impl fmt::Display for NoMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message's name is epoch-shard-arrived, three decimal numbers")
    }
}

impl std::error::Error for NoMessageId {}

impl std::str::FromStr for MessageId {
    type Err = NoMessageId;

    fn from_str(text: &str) -> Result<Self, NoMessageId> {
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(NoMessageId);
        let (epoch, shard, arrived) = (next()?, next()?, next()?);
        let id = Self {
            epoch: epoch.parse().map_err(|_| NoMessageId)?,
            shard: shard.parse().map_err(|_| NoMessageId)?,
            arrived: WallTime(arrived.parse().map_err(|_| NoMessageId)?),
        };
        if parts.next().is_some() { Err(NoMessageId) } else { Ok(id) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails that way")]

    use super::*;

    #[test]
    fn facts_come_back_from_their_pairs() {
        let id = MessageId { arrived: WallTime(1_763_000_000_000_001), shard: 3, epoch: 12 };
        let users = [None, Some(String::new()), Some("ann".to_owned())];
        for (user_name, qos) in users.into_iter().zip([QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]) {
            let facts = Facts { id, client_id: "lamp/1".into(), user_name, qos };
            let [first, second] = facts.to_pairs();
            let back = Facts::from_pairs((&first.0, &first.1), (&second.0, &second.1));
            assert_eq!(back.unwrap(), facts);
        }
    }

    #[test]
    fn other_text_is_no_name() {
        for text in ["", "1-2", "1-2-3-4", "a-1-2", "1-70000-2", "1--2"] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }
}
