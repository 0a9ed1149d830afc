//! A message as bytes.

use std::{mem::size_of, sync::Arc};

use cork_packet::QoS;
use cork_store::{Message, MessageId, Proof, Publisher, WallTime};

use crate::wire::{Cursor, Malformed, put_bytes, put_varint};

const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
const USER: u8 = 1 << 4;
const PROOF_SHIFT: u8 = 5;

/// A message in the bytes it was read from.
#[derive(Copy, Clone, Debug)]
pub(crate) struct MessageView<'a> {
    pub(crate) id: MessageId,
    pub(crate) topic: &'a str,
    qos: QoS,
    retain: bool,
    pub(crate) expires: Option<WallTime>,
    client_id: &'a str,
    user_name: Option<&'a str>,
    proof: Proof,
    properties: &'a [u8],
    payload: &'a [u8],
}

pub(crate) const fn qos_bits(qos: QoS) -> u8 {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}

pub(crate) const fn qos_of_bits(bits: u8) -> Result<QoS, Malformed> {
    match bits {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err(Malformed),
    }
}

pub(crate) const fn proof_bits(proof: Proof) -> u8 {
    match proof {
        Proof::Nobody => 0,
        Proof::Users => 1,
        Proof::Connection => 2,
        Proof::Inside => 3,
    }
}

pub(crate) const fn proof_of_bits(bits: u8) -> Result<Proof, Malformed> {
    match bits {
        0 => Ok(Proof::Nobody),
        1 => Ok(Proof::Users),
        2 => Ok(Proof::Connection),
        3 => Ok(Proof::Inside),
        _ => Err(Malformed),
    }
}

pub(crate) fn put_message(into: &mut Vec<u8>, message: &Message) {
    let publisher = &message.publisher;
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    into.push(
        qos_bits(message.qos)
            | flag(message.retain, RETAIN)
            | flag(message.expires().is_some(), EXPIRES)
            | flag(publisher.user_name.is_some(), USER)
            | proof_bits(publisher.proof) << PROOF_SHIFT,
    );
    into.extend_from_slice(&message.id().arrived.0.to_le_bytes());
    into.extend_from_slice(&message.id().shard.to_le_bytes());
    into.extend_from_slice(&message.id().epoch.to_le_bytes());
    if let Some(WallTime(at)) = message.expires() {
        into.extend_from_slice(&at.to_le_bytes());
    }
    put_bytes(into, message.topic_bytes());
    put_bytes(into, publisher.client_id.as_bytes());
    if let Some(user) = &publisher.user_name {
        put_bytes(into, user.as_bytes());
    }
    put_varint(into, message.properties().len() as u64);
    put_varint(into, message.payload().len() as u64);
    into.extend_from_slice(message.properties());
    into.extend_from_slice(message.payload());
}

impl<'a> MessageView<'a> {
    pub(crate) fn read(from: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let flags = from.u8()?;
        let id = MessageId { arrived: WallTime(from.u64()?), shard: from.u16()?, epoch: from.u32()? };
        let expires = if flags & EXPIRES == 0 { None } else { Some(WallTime(from.u64()?)) };
        let topic = from.text()?;
        let client_id = from.text()?;
        let user_name = if flags & USER == 0 { None } else { Some(from.text()?) };
        let (properties, payload) = (from.varint32()?, from.varint32()?);
        Ok(Self {
            id,
            topic,
            qos: qos_of_bits(flags & 0b11)?,
            retain: flags & RETAIN != 0,
            expires,
            client_id,
            user_name,
            proof: proof_of_bits(flags >> PROOF_SHIFT)?,
            properties: from.take(properties as usize)?,
            payload: from.take(payload as usize)?,
        })
    }

    /// [`Message::cost_bytes`] of what [`Self::to_message`] makes.
    pub(crate) fn cost_bytes(&self) -> u32 {
        let bytes = self.topic.len() + self.properties.len() + self.payload.len() + size_of::<Message>();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    pub(crate) const fn clears_retained(&self) -> bool {
        self.payload.is_empty()
    }

    /// The message itself; `like` is a publisher that it may share.
    pub(crate) fn to_message(self, like: &mut Arc<Publisher>) -> Message {
        let same = *like.client_id == *self.client_id
            && like.user_name.as_deref() == self.user_name
            && like.proof == self.proof;
        if !same {
            *like = Arc::new(Publisher {
                client_id: self.client_id.into(),
                user_name: self.user_name.map(Into::into),
                proof: self.proof,
            });
        }
        let mut message = Message::new(self.id, self.topic, self.properties, self.payload, Arc::clone(like));
        message.qos = self.qos;
        message.retain = self.retain;
        message.set_expires(self.expires);
        message
    }
}
