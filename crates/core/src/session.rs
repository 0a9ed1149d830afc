//! A Session: what the broker keeps for a Client Identifier (5.0 4.1).

use std::{collections::BTreeMap, sync::Arc};

use cork_packet::{PacketId, QoS};
use cork_proto::{Inflight, Received, Time};
use cork_store::{
    Message, Publisher, Record, SessionKey, SessionState, SubscriptionIds, Ticket, WallTime, Will,
};
use cork_topic::FilterId;

use crate::{
    absent::Told,
    conn::NO_SESSION,
    cursors::Cursors,
    drops::Drops,
    history::{Replays, Seen},
    queue::Queue,
    subscriptions::Subscriptions,
};

/// No connection.
pub(crate) const NO_CONN: u32 = u32::MAX;
/// Instead of a Will's delay: it was published, and is to be published again if the broker dies now.
pub(crate) const WILL_PUBLISHED: u32 = u32::MAX;
/// No shared subscription group.
pub(crate) const NO_GROUP: u32 = u32::MAX;

/// How a message goes to one Session.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Shared subscription it came through.
    pub(crate) group: u32,
    pub(crate) sub_ids: SubscriptionIds,
}

/// A message that waits in a Session.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) message: Arc<Message>,
    pub(crate) delivery: Delivery,
    /// The Session's number for it in the store's records; its Packet Identifier follows from it.
    pub(crate) number: u64,
    /// It is not sent before this batch is stored.
    pub(crate) ticket: Ticket,
}

/// What a flight keeps for being sent again. Nothing when the Session ends with its connection: then there is no
/// second sending.
pub(crate) type Kept = Option<Box<Queued>>;

/// The sending side of a Session, there once it was used.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) inflight: Inflight<Kept>,
    pub(crate) queue: Queue,
    /// Deliveries numbered so far.
    pub(crate) numbers: u64,
    /// The last one that was sent.
    pub(crate) sent_up_to: u64,
    /// Deliveries up to this one may have been sent before the broker's last start.
    pub(crate) dup_up_to: u64,
    /// From a delivery on, what is added to its number: `(from, shift)`, ascending. Nearly always empty.
    pub(crate) shifts: Vec<(u64, u64)>,
    pub(crate) cursors: Cursors,
    /// What is replayed to it; everything else waits behind that.
    pub(crate) replays: Option<Box<Replays>>,
    /// What a client that came back got on this connection, if it may ask for it again as the past.
    pub(crate) seen: Option<Box<Seen>>,
}

impl Outgoing {
    /// Where a delivery's flight stands in the order that Packet Identifiers follow.
    ///
    /// Told from its number alone: after a crash the same delivery gets the same identifier, although nobody wrote
    /// down that it was sent.
    pub(crate) fn sequence_of(&self, number: u64) -> u64 {
        let shift = self.shifts.iter().rev().find(|(from, _)| *from <= number);
        number - 1 + shift.map_or(0, |(_, shift)| *shift)
    }

    /// The delivery that is under way with this identifier.
    pub(crate) fn delivery_of(&self, packet_id: PacketId) -> Option<u64> {
        self.inflight.sequence_of(packet_id).map(|sequence| self.number_of(sequence))
    }

    /// The delivery whose flight has this sequence.
    pub(crate) fn number_of(&self, sequence: u64) -> u64 {
        let shift = self.shifts.iter().rev().find(|(from, shift)| from - 1 + shift <= sequence);
        sequence + 1 - shift.map_or(0, |(_, shift)| *shift)
    }

    /// The Session leaves a shared subscription: what it was chosen for stays its own. The group's index may soon
    /// mean another group.
    pub(crate) fn leave_group(&mut self, group: u32) {
        let kept = self.inflight.items_mut().flatten().map(|kept| &mut **kept);
        for queued in kept.chain(&mut self.queue.head).filter(|queued| queued.delivery.group == group) {
            queued.delivery.group = NO_GROUP;
        }
    }
}

/// One subscription of a Session.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subscription {
    /// Where the filter stands in the index. For a shared subscription `group` is the index's subscriber.
    pub(crate) filter: FilterId,
    pub(crate) group: u32,
}

/// One subscription of a Session that has a filter.
#[derive(Debug)]
pub(crate) struct Own {
    /// Its place among those with filters; a shared one's is its group's.
    pub(crate) key: Option<u32>,
    pub(crate) group: u32,
    /// What the store knows it as.
    pub(crate) record: Box<str>,
}

/// Subscriptions with a filter, by their text. Few Sessions have any, and those that have none pay a pointer.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "every Session pays for this field, few use it")]
pub(crate) struct Filtered(Option<Box<BTreeMap<Box<str>, Own>>>);

static NONE_FILTERED: BTreeMap<Box<str>, Own> = BTreeMap::new();

impl Filtered {
    pub(crate) fn insert(&mut self, text: Box<str>, own: Own) {
        self.0.get_or_insert_default().insert(text, own);
    }

    pub(crate) fn remove(&mut self, text: &str) -> Option<Own> {
        let map = self.0.as_mut()?;
        let own = map.remove(text);
        if map.is_empty() {
            self.0 = None;
        }
        own
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = Own> {
        self.0.into_iter().flat_map(|map| map.into_values())
    }
}

impl std::ops::Deref for Filtered {
    type Target = BTreeMap<Box<str>, Own>;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().unwrap_or(&NONE_FILTERED)
    }
}

/// A Session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) publisher: Arc<Publisher>,
    /// The connection's slot, or [`NO_CONN`].
    pub(crate) conn: u32,
    /// Seconds it lives without a connection; `u32::MAX`: for ever.
    pub(crate) expiry_seconds: u32,
    /// The store knows it.
    pub(crate) recorded: bool,
    /// Whether it has a connection, as far as the store knows.
    pub(crate) told: Told,
    /// Deliveries beyond this one are all in the store.
    pub(crate) kept_from: u64,
    /// The store knows it although it ends with its connection: its queue has, or had, a tail.
    pub(crate) spilled: bool,
    /// When it ends, while it has no connection.
    pub(crate) expires: Time,
    pub(crate) subscriptions: Subscriptions,
    /// Those with a filter, by their text. A shared one is among the others, too.
    pub(crate) filtered: Filtered,
    pub(crate) will: Option<Box<Will>>,
    /// When the Will goes out, while it is due but delayed.
    pub(crate) will_at: Time,
    /// The Will was left in an earlier life of the broker: it is void once the client returns.
    pub(crate) will_restored: bool,
    pub(crate) outgoing: Option<Box<Outgoing>>,
    pub(crate) received: Received,
    /// Since when it has, or has not, a connection.
    pub(crate) since: WallTime,
    /// The part of its queue that only the store has is looked through for what others of a share can take.
    pub(crate) handing_over: bool,
    /// Messages it did not get, once there are any.
    pub(crate) drops: Option<Box<Drops>>,
    /// It has ended; only what others of a share can take is still looked for.
    pub(crate) over: bool,
    /// A part of the broker asked something for it, see [`crate::lanes`].
    pub(crate) inside: bool,
    /// Others of a share can take something of it once that is stored, which happens with another shard's batch.
    pub(crate) owes: bool,
}

impl Session {
    pub(crate) fn new(key: SessionKey, publisher: Arc<Publisher>) -> Self {
        Self {
            key,
            publisher,
            conn: NO_CONN,
            expiry_seconds: 0,
            recorded: false,
            told: Told::default(),
            kept_from: 0,
            spilled: false,
            expires: Time::NEVER,
            subscriptions: Subscriptions::default(),
            filtered: Filtered::default(),
            will: None,
            will_at: Time::NEVER,
            will_restored: false,
            outgoing: None,
            received: Received::default(),
            since: WallTime::default(),
            handing_over: false,
            drops: None,
            over: false,
            inside: false,
            owes: false,
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.publisher.client_id
    }

    /// Whether it has a subscription with a filter of this text.
    pub(crate) fn has_filtered(&self, text: &str) -> bool {
        self.filtered.contains_key(text)
    }

    pub(crate) const fn is_online(&self) -> bool {
        self.conn != NO_CONN
    }

    /// Whether there is, or may be, something that it acknowledges.
    pub(crate) fn receives(&self) -> bool {
        self.outgoing.is_some() || !matches!(self.subscriptions, Subscriptions::None)
    }

    /// Whether its state is worth a record: it outlives its connection, or did so before and the store may not know
    /// yet that it does not any more.
    pub(crate) fn is_persistent(&self) -> bool {
        self.expiry_seconds != 0 || self.recorded
    }

    /// Its present state, to be stored.
    pub(crate) fn to_record(&self) -> Record {
        let state = SessionState {
            client_id: self.client_id().into(),
            user_name: self.publisher.user_name.clone(),
            proof: self.publisher.proof,
            expiry_seconds: self.expiry_seconds,
            online: self.is_online(),
            since: self.since,
            sent_up_to: self
                .outgoing
                .as_ref()
                .map_or(0, |outgoing| outgoing.sent_up_to.max(outgoing.dup_up_to)),
        };
        Record::Session { session: self.key, state: Box::new(state) }
    }

    pub(crate) fn outgoing(&mut self) -> &mut Outgoing {
        self.outgoing.get_or_insert_default()
    }

    /// Gives back the memory of a sending side that looked for retained messages and sent none that counts.
    pub(crate) fn forget_unused(&mut self) {
        self.outgoing = self.outgoing.take().filter(|outgoing| {
            let numbered = outgoing.numbers | outgoing.sent_up_to | outgoing.dup_up_to;
            numbered > 0 || !outgoing.inflight.is_empty() || !outgoing.cursors.is_unused()
        });
    }
}

/// Marks index keys that are shared subscription groups, not Sessions.
pub(crate) const GROUP_BIT: u32 = 1 << 31;

/// What the index holds for a subscription: options and Subscription Identifier (0: none).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubValue {
    /// Subscription Options byte.
    pub(crate) options: u8,
    pub(crate) sub_id: u32,
}

impl SubValue {
    pub(crate) fn qos(self) -> QoS {
        QoS::from_bits(self.options & 0x03).unwrap_or_default()
    }

    pub(crate) fn no_local(self) -> bool {
        self.options & 0x04 != 0
    }

    pub(crate) fn retain_as_published(self) -> bool {
        self.options & 0x08 != 0
    }
}

const _: () = assert!(NO_SESSION & GROUP_BIT != 0, "no Session index looks like a group");
