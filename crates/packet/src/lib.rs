//! MQTT Control Packets of 3.1, 3.1.1 and 5.0: decode and encode.
//!
//! [`FixedHeader::decode`] finds the end of a packet in a buffer, [`decode_connect`] reads the first packet
//! of a connection, [`decode`] every other. All of them borrow the buffer, allocate nothing and take time
//! linear in the bytes. They check everything one packet can tell by itself; rules that need the state of a
//! connection or a Session are the caller's, and so is the syntax of Topic Filters ([`validate_filter`],
//! [`split_share`]).
//!
//! [`Packet::encode`] appends a packet to a buffer; [`PublishFrame`] is the fast way to write a PUBLISH. What
//! was decoded encodes to a packet that decodes to the same value.
//!
//! ```
//! use cork_packet::{Packet, ProtocolVersion, Publish, Properties, QoS, Receiver, FixedHeader, decode};
//!
//! let publish = Packet::Publish(Publish {
//!     dup: false,
//!     qos: QoS::AtMostOnce,
//!     retain: false,
//!     topic: "a/b",
//!     packet_id: None,
//!     properties: Properties::EMPTY,
//!     payload: b"21.5",
//! });
//! let mut bytes = Vec::new();
//! publish.encode(ProtocolVersion::V311, &mut bytes)?;
//! assert_eq!(bytes, b"\x30\x09\x00\x03a/b21.5");
//!
//! let header = FixedHeader::decode(&bytes)?.expect("the header is complete");
//! let packet = &bytes[..header.packet_len()];
//! assert_eq!(decode(ProtocolVersion::V311, Receiver::Server, packet)?, publish);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod error;
mod fixed_header;
#[cfg(test)]
mod laws;
mod packet;
mod packet_id;
mod properties;
mod publish;
mod publish_frame;
mod qos;
mod read;
mod reason;
mod scan;
mod suback;
mod subscribe;
#[cfg(test)]
mod table;
mod topic;
mod unsuback;
mod unsubscribe;
mod version;
mod write;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, ConnectError, Will, decode_connect};
pub use disconnect::Disconnect;
pub use error::{DecodeError, EncodeError, Field, PropertyError};
pub use fixed_header::{FixedHeader, MAX_REMAINING_LENGTH, PacketType};
pub use packet::{Packet, Receiver, decode};
pub use packet_id::PacketId;
pub use properties::{
    Properties, PropertiesBuf, Property, PropertyId, PropertyIter, PropertyPlace, SubscriptionIdentifiers,
    UserProperties,
};
pub use publish::Publish;
pub use publish_frame::PublishFrame;
pub use qos::QoS;
pub use reason::{ConnectReturnCode, ReasonCode};
pub use suback::SubAck;
pub use subscribe::{
    RetainHandling, Subscribe, SubscribeBuf, SubscribeFilter, SubscribeFilters, SubscriptionOptions,
};
pub use topic::{MAX_TOPIC_LEN, TopicError, levels, matches, split_share, validate_filter, validate_name};
pub use unsuback::UnsubAck;
pub use unsubscribe::{Unsubscribe, UnsubscribeBuf, UnsubscribeFilters};
pub use version::ProtocolVersion;
