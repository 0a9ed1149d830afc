//! Changes of the Session that survive the program, when somebody saves them.

use std::sync::Arc;

use cork_packet::PacketId;

use crate::Publish;

/// One change. Those of a turn are saved together, before the turn's bytes are transmitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The server has a Session for this Client Identifier.
    Session(Arc<str>),
    /// The next publication gets this number.
    Next(u64),
    /// A QoS 1 or 2 publication was accepted under this number.
    Accepted(u64, Publish),
    /// It goes out with this Packet Identifier.
    Sent(u64, PacketId),
    /// PUBREC came: only PUBREL is owed, the message may be forgotten.
    Released(u64),
    /// It is finished, well or not.
    Finished(u64),
    /// A QoS 2 message with this identifier was taken.
    Received(PacketId),
    /// Its PUBREL came.
    Completed(PacketId),
    /// The server has no Session any more: identifiers mean nothing now.
    SessionLost,
}
