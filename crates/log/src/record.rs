//! Records as bytes: what is written for a [`cork_store::Record`], and what is read of it later.

use std::sync::Arc;

use cork_packet::{PacketId, QoS};
use cork_store::{
    Message, Publisher, QueuedDelivery, SessionKey, SessionState, SubscriptionIds, WallTime, Will,
};

use crate::{
    message::{MessageView, proof_bits, proof_of_bits, put_message, qos_bits, qos_of_bits},
    wire::{Cursor, Malformed, put_bytes, put_varint},
};

const PUBLISH: u8 = 1;
const SESSION: u8 = 2;
const SESSION_ENDED: u8 = 3;
const SUBSCRIBED: u8 = 4;
const UNSUBSCRIBED: u8 = 5;
const SHIFTED: u8 = 6;
const RELEASED: u8 = 7;
const DONE: u8 = 8;
const RECEIVED: u8 = 9;
const FORGOTTEN: u8 = 10;
const WILL_ARMED: u8 = 11;
const WILL_DISARMED: u8 = 12;

/// Of a message.
const RETAINED: u8 = 1 << 0;
const REMEMBERED: u8 = 1 << 1;
/// Of a receiver.
const RETAIN: u8 = 1 << 2;
const SHARE: u8 = 1 << 3;
const IDENTIFIERS: u8 = 1 << 4;
/// Of a state.
const USER: u8 = 1 << 0;
const ONLINE: u8 = 1 << 1;
const PROOF_SHIFT: u8 = 2;
/// Of a Will.
const EXPIRY: u8 = 1 << 0;

/// A record in the bytes it was read from.
#[derive(Copy, Clone, Debug)]
pub(crate) enum View<'a> {
    Publish(PublishView<'a>),
    Session { session: SessionKey, last: u64, state: StateView<'a> },
    SessionEnded { session: SessionKey },
    Subscribed { session: SessionKey, made: u64, options: u8, subscription_id: u32, filter: &'a str },
    Unsubscribed { session: SessionKey, filter: &'a str },
    Shifted { session: SessionKey, from: u64, shift: u64 },
    Released { session: SessionKey, delivery: u64 },
    Done { session: SessionKey, deliveries: Deliveries<'a> },
    Received { session: SessionKey, packet_id: PacketId },
    Forgotten { session: SessionKey, packet_id: PacketId },
    WillArmed { session: SessionKey, will: WillView<'a> },
    WillDisarmed { session: SessionKey },
}

/// A message, who waits for it, and whether it is its topic's retained message.
#[derive(Copy, Clone, Debug)]
pub(crate) struct PublishView<'a> {
    pub(crate) retained: bool,
    /// The history has it, too, or should.
    pub(crate) remembered: bool,
    pub(crate) message: MessageView<'a>,
    /// The bytes of `message`.
    pub(crate) raw: &'a [u8],
    receivers: Cursor<'a>,
}

/// Somebody who waits for a message.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ReceiverView<'a> {
    pub(crate) session: SessionKey,
    pub(crate) delivery: u64,
    qos: QoS,
    retain: bool,
    share: Option<&'a str>,
    identifiers: Cursor<'a>,
    /// All of it.
    pub(crate) raw: &'a [u8],
}

/// A Session's state.
#[derive(Copy, Clone, Debug)]
pub(crate) struct StateView<'a> {
    /// All of it.
    pub(crate) raw: &'a [u8],
}

/// A Will.
#[derive(Copy, Clone, Debug)]
pub(crate) struct WillView<'a> {
    delay_seconds: u32,
    expiry_seconds: Option<u32>,
    keep_alive_seconds: u16,
    pub(crate) message: MessageView<'a>,
}

/// Deliveries that are over, each as what it is more than the one before.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Deliveries<'a> {
    rest: Cursor<'a>,
    last: u64,
}

impl Iterator for Deliveries<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.last = self.last.wrapping_add(self.rest.varint().ok()?);
        Some(self.last)
    }
}

impl<'a> View<'a> {
    /// Its name, for people.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Publish(_) => "publish",
            Self::Session { .. } => "session",
            Self::SessionEnded { .. } => "session ended",
            Self::Subscribed { .. } => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Shifted { .. } => "shifted",
            Self::Released { .. } => "released",
            Self::Done { .. } => "done",
            Self::Received { .. } => "received",
            Self::Forgotten { .. } => "forgotten",
            Self::WillArmed { .. } => "will armed",
            Self::WillDisarmed { .. } => "will disarmed",
        }
    }

    /// Reads kind and fields: all of `bytes`.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Cursor::new(bytes);
        let kind = from.u8()?;
        if kind == PUBLISH {
            return PublishView::read(from).map(Self::Publish);
        }
        let session = SessionKey(from.u64()?);
        let view = match kind {
            SESSION => {
                let last = from.varint()?;
                let state = StateView { raw: from.rest() };
                state.parse()?;
                return Ok(Self::Session { session, last, state });
            }
            DONE => {
                let deliveries = Deliveries { rest: from, last: 0 };
                while !from.is_empty() {
                    from.varint()?;
                }
                Self::Done { session, deliveries }
            }
            SESSION_ENDED => Self::SessionEnded { session },
            SUBSCRIBED => Self::Subscribed {
                session,
                made: from.varint()?,
                options: from.u8()?,
                subscription_id: from.varint32()?,
                filter: from.text()?,
            },
            UNSUBSCRIBED => Self::Unsubscribed { session, filter: from.text()? },
            SHIFTED => Self::Shifted { session, from: from.varint()?, shift: from.varint()? },
            RELEASED => Self::Released { session, delivery: from.varint()? },
            RECEIVED => Self::Received { session, packet_id: packet_id(&mut from)? },
            FORGOTTEN => Self::Forgotten { session, packet_id: packet_id(&mut from)? },
            WILL_ARMED => Self::WillArmed { session, will: WillView::read(&mut from)? },
            WILL_DISARMED => Self::WillDisarmed { session },
            _ => return Err(Malformed),
        };
        if from.is_empty() { Ok(view) } else { Err(Malformed) }
    }
}

fn packet_id(from: &mut Cursor<'_>) -> Result<PacketId, Malformed> {
    PacketId::new(from.u16()?).ok_or(Malformed)
}

impl<'a> PublishView<'a> {
    fn read(mut from: Cursor<'a>) -> Result<Self, Malformed> {
        let flags = from.u8()?;
        let (retained, remembered) = (flags & RETAINED != 0, flags & REMEMBERED != 0);
        if flags > RETAINED | REMEMBERED {
            return Err(Malformed);
        }
        let before = from.rest();
        let message = MessageView::read(&mut from)?;
        let raw = &before[..before.len() - from.rest().len()];
        let receivers = from;
        while !from.is_empty() {
            ReceiverView::read(&mut from)?;
        }
        Ok(Self { retained, remembered, message, raw, receivers })
    }

    pub(crate) fn receivers(&self) -> impl Iterator<Item = ReceiverView<'a>> + use<'a> {
        let mut from = self.receivers;
        std::iter::from_fn(move || if from.is_empty() { None } else { ReceiverView::read(&mut from).ok() })
    }
}

impl<'a> ReceiverView<'a> {
    fn read(from: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let before = from.rest();
        let session = SessionKey(from.u64()?);
        let flags = from.u8()?;
        let delivery = from.varint()?;
        let share = if flags & SHARE == 0 { None } else { Some(from.text()?) };
        let identifiers = if flags & IDENTIFIERS == 0 { &[] } else { from.bytes()? };
        let identifiers = Cursor::new(identifiers);
        let mut check = identifiers;
        while !check.is_empty() {
            check.varint32()?;
        }
        let raw = &before[..before.len() - from.rest().len()];
        let (qos, retain) = (qos_of_bits(flags & 0b11)?, flags & RETAIN != 0);
        Ok(Self { session, delivery, qos, retain, share, identifiers, raw })
    }

    pub(crate) fn to_delivery(self, message: Arc<Message>) -> QueuedDelivery {
        let (mut identifiers, mut from) = (Vec::new(), self.identifiers);
        while let Ok(identifier) = from.varint32() {
            identifiers.push(identifier);
        }
        QueuedDelivery {
            delivery: self.delivery,
            message,
            qos: self.qos,
            retain: self.retain,
            share: self.share.map(Into::into),
            subscription_ids: SubscriptionIds::from_slice(&identifiers),
        }
    }
}

impl StateView<'_> {
    fn parse(&self) -> Result<SessionState, Malformed> {
        let mut from = Cursor::new(self.raw);
        let flags = from.u8()?;
        let state = SessionState {
            expiry_seconds: from.u32()?,
            since: WallTime(from.u64()?),
            sent_up_to: from.varint()?,
            client_id: from.text()?.into(),
            user_name: if flags & USER == 0 { None } else { Some(from.text()?.into()) },
            proof: proof_of_bits(flags >> PROOF_SHIFT)?,
            online: flags & ONLINE != 0,
        };
        if from.is_empty() { Ok(state) } else { Err(Malformed) }
    }

    /// The state itself.
    pub(crate) fn to_state(self) -> Option<SessionState> {
        self.parse().ok()
    }
}

impl<'a> WillView<'a> {
    fn read(from: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let flags = from.u8()?;
        Ok(Self {
            delay_seconds: from.u32()?,
            keep_alive_seconds: from.u16()?,
            expiry_seconds: if flags & EXPIRY == 0 { None } else { Some(from.u32()?) },
            message: MessageView::read(from)?,
        })
    }

    pub(crate) fn to_will(self, like: &mut Arc<Publisher>) -> Will {
        Will {
            message: Arc::new(self.message.to_message(like)),
            delay_seconds: self.delay_seconds,
            expiry_seconds: self.expiry_seconds,
            keep_alive_seconds: self.keep_alive_seconds,
        }
    }
}

fn head(into: &mut Vec<u8>, kind: u8, session: SessionKey) {
    into.push(kind);
    into.extend_from_slice(&session.0.to_le_bytes());
}

/// A message before its receivers, each of which follows by [`put_receiver`].
pub(crate) fn put_publish(into: &mut Vec<u8>, retained: bool, remembered: bool, message: &Message) {
    let remembered = if remembered { REMEMBERED } else { 0 };
    into.extend_from_slice(&[PUBLISH, u8::from(retained) | remembered]);
    put_message(into, message);
}

/// The same for a message that is copied: by then the history has it.
pub(crate) fn put_publish_again(into: &mut Vec<u8>, retained: bool, raw: &[u8]) {
    into.extend_from_slice(&[PUBLISH, u8::from(retained)]);
    into.extend_from_slice(raw);
}

pub(crate) fn put_receiver(into: &mut Vec<u8>, session: SessionKey, queued: &QueuedDelivery) {
    let identifiers = queued.subscription_ids.as_slice();
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    into.extend_from_slice(&session.0.to_le_bytes());
    into.push(
        qos_bits(queued.qos)
            | flag(queued.retain, RETAIN)
            | flag(queued.share.is_some(), SHARE)
            | flag(!identifiers.is_empty(), IDENTIFIERS),
    );
    put_varint(into, queued.delivery);
    if let Some(share) = &queued.share {
        put_bytes(into, share.as_bytes());
    }
    if !identifiers.is_empty() {
        let mut packed = Vec::with_capacity(identifiers.len() * 2);
        identifiers.iter().for_each(|identifier| put_varint(&mut packed, u64::from(*identifier)));
        put_bytes(into, &packed);
    }
}

/// `last` is the largest delivery number that the Session ever gave.
pub(crate) fn put_session(into: &mut Vec<u8>, session: SessionKey, last: u64, state: &SessionState) {
    head(into, SESSION, session);
    put_varint(into, last);
    let user = if state.user_name.is_some() { USER } else { 0 };
    let online = if state.online { ONLINE } else { 0 };
    into.push(user | online | proof_bits(state.proof) << PROOF_SHIFT);
    into.extend_from_slice(&state.expiry_seconds.to_le_bytes());
    into.extend_from_slice(&state.since.0.to_le_bytes());
    put_varint(into, state.sent_up_to);
    put_bytes(into, state.client_id.as_bytes());
    if let Some(user) = &state.user_name {
        put_bytes(into, user.as_bytes());
    }
}

/// The same for a state that is copied.
pub(crate) fn put_session_again(into: &mut Vec<u8>, session: SessionKey, last: u64, raw: &[u8]) {
    head(into, SESSION, session);
    put_varint(into, last);
    into.extend_from_slice(raw);
}

pub(crate) fn put_session_ended(into: &mut Vec<u8>, session: SessionKey) {
    head(into, SESSION_ENDED, session);
}

/// `made` orders the subscriptions of a Session.
pub(crate) fn put_subscribed(
    into: &mut Vec<u8>,
    session: SessionKey,
    made: u64,
    (filter, options, subscription_id): (&str, u8, u32),
) {
    head(into, SUBSCRIBED, session);
    put_varint(into, made);
    into.push(options);
    put_varint(into, u64::from(subscription_id));
    put_bytes(into, filter.as_bytes());
}

pub(crate) fn put_unsubscribed(into: &mut Vec<u8>, session: SessionKey, filter: &str) {
    head(into, UNSUBSCRIBED, session);
    put_bytes(into, filter.as_bytes());
}

pub(crate) fn put_shifted(into: &mut Vec<u8>, session: SessionKey, from: u64, shift: u64) {
    head(into, SHIFTED, session);
    put_varint(into, from);
    put_varint(into, shift);
}

pub(crate) fn put_released(into: &mut Vec<u8>, session: SessionKey, delivery: u64) {
    head(into, RELEASED, session);
    put_varint(into, delivery);
}

/// Deliveries that are over; the order does not matter, ascending ones take least.
pub(crate) fn put_done(into: &mut Vec<u8>, session: SessionKey, deliveries: impl Iterator<Item = u64>) {
    head(into, DONE, session);
    let mut last = 0_u64;
    for delivery in deliveries {
        put_varint(into, delivery.wrapping_sub(last));
        last = delivery;
    }
}

pub(crate) fn put_received(into: &mut Vec<u8>, session: SessionKey, packet_id: PacketId) {
    head(into, RECEIVED, session);
    into.extend_from_slice(&packet_id.get().to_le_bytes());
}

pub(crate) fn put_forgotten(into: &mut Vec<u8>, session: SessionKey, packet_id: PacketId) {
    head(into, FORGOTTEN, session);
    into.extend_from_slice(&packet_id.get().to_le_bytes());
}

pub(crate) fn put_will_armed(into: &mut Vec<u8>, session: SessionKey, will: &Will) {
    head(into, WILL_ARMED, session);
    into.push(if will.expiry_seconds.is_some() { EXPIRY } else { 0 });
    into.extend_from_slice(&will.delay_seconds.to_le_bytes());
    into.extend_from_slice(&will.keep_alive_seconds.to_le_bytes());
    if let Some(seconds) = will.expiry_seconds {
        into.extend_from_slice(&seconds.to_le_bytes());
    }
    put_message(into, &will.message);
}

pub(crate) fn put_will_disarmed(into: &mut Vec<u8>, session: SessionKey) {
    head(into, WILL_DISARMED, session);
}
