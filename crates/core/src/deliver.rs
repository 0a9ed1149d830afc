//! Getting a message to one Session: at once into its connection's output, or into its queue, and from there on.

use std::sync::Arc;

use cork_packet::{PacketId, PropertiesBuf, Property, PublishFrame, QoS};
use cork_proto::{Acked, AliasUse, Phase};
use cork_store::{Message, MessageId, Publisher, Record, SubscriptionIds, Ticket, WallTime};
use cork_topic::{Retained as _, Scan};

use crate::{
    board::{Board, OUTPUT_HIGH_BYTES, OUTPUT_LOW_BYTES},
    conn::{Answer, NO_SESSION, SessionIx},
    drops::Dropped,
    gather::is_elsewhere,
    hooks::Delivery as Shown,
    io::Waiter,
    outbuf::SHARE_FROM_BYTES,
    retained::Retained,
    router::ShardSet,
    session::{Delivery, Kept, NO_GROUP, Queued, Session},
};

/// Topics looked at in one go for a SUBSCRIBE's retained messages.
const SCAN_STEPS_MAX: usize = 4096;

/// Messages that wait in a queue before retained messages for a new subscription wait outside of it.
const QUEUED_RETAINED_MAX: u64 = 256;
/// Messages sent on, and new subscriptions looked at, for one Session in one go.
const PUMP_STEPS_MAX: usize = 2048;

/// A message on its way, not yet (and perhaps never) built: its parts borrow the read buffer.
pub(crate) struct Publication<'a> {
    pub(crate) topic: &'a str,
    /// Raw v5 properties to forward.
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expires: Option<WallTime>,
    pub(crate) publisher: &'a Arc<Publisher>,
    /// Built when the first receiver must keep it.
    pub(crate) message: Option<Arc<Message>>,
    /// Its identity, where it has one already. The shard in it is where it came first, maybe in an earlier life of the
    /// broker, which had more of them, or others.
    pub(crate) id: Option<MessageId>,
    /// The shard that hands it on; none: this one.
    pub(crate) handed_by: Option<u16>,
    /// It would be published again if the broker died now: nobody gets it at QoS 2 before this is stored.
    pub(crate) once: Option<Ticket>,
    /// The store does not have it as retained: there was no space.
    pub(crate) unkept: bool,
    /// It was retained in an earlier life of the broker, and may have been replaced or cleared since.
    pub(crate) retained_before: bool,
    /// What other shards are asked to say of it.
    pub(crate) ask: Ask,
    /// How many were asked.
    pub(crate) asked: u16,
    /// The shards that have an interest in the topic, if routing came to know.
    pub(crate) shards: Option<ShardSet>,
}

/// What other shards are asked to say of a publication.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nothing.
    #[default]
    Nothing,
    /// When it is stored there.
    Stored(Waiter),
    /// What is to be stored, for this gather.
    Records(u64),
}

impl<'a> Publication<'a> {
    /// A publication at QoS 0 that nobody asks about.
    #[inline]
    pub(crate) const fn new(topic: &'a str, payload: &'a [u8], publisher: &'a Arc<Publisher>) -> Self {
        Self {
            topic,
            properties: &[],
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            expires: None,
            publisher,
            message: None,
            id: None,
            handed_by: None,
            once: None,
            unkept: false,
            retained_before: false,
            ask: Ask::Nothing,
            asked: 0,
            shards: None,
        }
    }

    /// Whether it is to become the retained message of its topic.
    #[inline]
    pub(crate) const fn to_retain(&self) -> bool {
        self.retain && !self.retained_before
    }

    /// The parts of a message that exists already.
    pub(crate) fn of(message: &'a Arc<Message>) -> Self {
        Self {
            properties: message.properties(),
            qos: message.qos,
            retain: message.retain,
            expires: message.expires(),
            message: Some(Arc::clone(message)),
            id: Some(message.id()),
            ..Self::new(message.topic(), message.payload(), &message.publisher)
        }
    }
}

/// How one Session gets a publication.
#[derive(Copy, Clone)]
pub(crate) struct How<'a> {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) group: u32,
    /// The group's name, `<share name>/<filter>`.
    pub(crate) share: Option<&'a Arc<str>>,
    pub(crate) sub_ids: &'a [u32],
}

/// One PUBLISH to be written.
struct Frame<'a> {
    topic: &'a str,
    properties: &'a [u8],
    payload: &'a [u8],
    message: Option<&'a Arc<Message>>,
    expires: Option<WallTime>,
    how: How<'a>,
    dup: bool,
}

/// The v5 properties of a message, and behind them what only a part of the broker is told of it.
#[cold]
fn with_facts(properties: &[u8], message: &Message) -> Vec<u8> {
    let mut facts = PropertiesBuf::new();
    for (name, value) in message.facts().to_pairs() {
        facts.push(Property::UserProperty(&name, &value));
    }
    let mut all = properties.to_vec();
    facts.as_properties().forward_into(&mut all);
    all
}

fn seconds_left(expires: Option<WallTime>, now: WallTime) -> Option<u32> {
    expires.map(|at| u32::try_from(at.0.saturating_sub(now.0).div_ceil(1_000_000)).unwrap_or(u32::MAX))
}

impl Board {
    /// The message of a publication, built at the first call.
    pub(crate) fn message(&mut self, publication: &mut Publication<'_>) -> Arc<Message> {
        if let Some(message) = &publication.message {
            return Arc::clone(message);
        }
        let id = *publication.id.get_or_insert_with(|| self.next_message_id());
        let mut message = Message::new(
            id,
            publication.topic,
            publication.properties,
            publication.payload,
            Arc::clone(publication.publisher),
        );
        message.qos = publication.qos;
        message.retain = publication.retain;
        message.set_expires(publication.expires);
        let message = Arc::new(message);
        publication.message = Some(Arc::clone(&message));
        message
    }

    /// Delivers a publication to one Session.
    pub(crate) fn deliver(&mut self, six: SessionIx, publication: &mut Publication<'_>, how: How<'_>) {
        if !self.may_read(six, publication.topic) {
            return;
        }
        let Some(mut session) = self.sessions.get(six as usize) else { return };
        if session.inside {
            if let Some(lane) = self.lane_of(six, publication.topic) {
                return self.deliver(lane, publication, how);
            }
            let Some(again) = self.sessions.get(six as usize) else { return };
            session = again;
        }
        let index = session.conn;
        if how.qos == QoS::AtMostOnce {
            // 5.0 [MQTT-4.6.0-6]: behind those of QoS 0 that were queued while the client was away.
            let behind = session.outgoing.as_ref().is_some_and(|outgoing| outgoing.queue.has_qos0());
            let replaying = session.outgoing.as_ref().is_some_and(|outgoing| outgoing.replays.is_some());
            let open =
                self.conns.get(index as usize).is_some_and(|conn| conn.as_ref().is_some_and(|c| c.is_open()));
            let noting = session.outgoing.as_ref().is_some_and(|outgoing| outgoing.seen.is_some());
            if open && !behind && !replaying {
                if noting && let Some(id) = publication.id {
                    self.note_seen(six, id);
                }
                self.deliver_at_most_once(index, publication, how);
            } else if (open && (behind || replaying))
                || (self.config.limits.queue_qos0 && session.is_persistent())
            {
                // What says that it was sent must not be stored before it.
                let elsewhere = publication.once.filter(|ticket| is_elsewhere(*ticket));
                self.enqueue(six, publication, how, elsewhere.unwrap_or_default());
            }
            return;
        }
        self.deliver_readable(six, publication, how);
    }

    /// Delivers a publication at QoS 1 or 2 that the Session may read.
    fn deliver_readable(&mut self, six: SessionIx, publication: &mut Publication<'_>, how: How<'_>) {
        let session = &self.sessions[six as usize];
        let (online, persistent) = (session.is_online(), session.is_persistent());
        // At QoS 2 nothing goes out that a crash would let happen again: neither the publication nor its identifier.
        let exactly = how.qos == QoS::ExactlyOnce || self.tells_by_identity(session);
        let waits = match publication.once {
            Some(ticket) if is_elsewhere(ticket) => exactly || persistent,
            Some(_) => exactly,
            None => exactly && persistent,
        };
        if waits && (online || persistent) {
            let ticket = publication.once.unwrap_or(self.ticket);
            self.enqueue(six, publication, how, ticket);
        } else if self.can_send_now(six) {
            self.send_flight(six, publication, how);
        } else if online || persistent {
            self.enqueue(six, publication, how, Ticket(0));
        }
    }

    /// Whether a Session's reader tells messages apart by their identity. Published again after a crash, a message that
    /// nobody stored has another one.
    fn tells_by_identity(&self, session: &Session) -> bool {
        self.conns.get(session.conn as usize).and_then(Option::as_ref).is_some_and(|conn| conn.facts)
    }

    fn deliver_at_most_once(&mut self, index: u32, publication: &mut Publication<'_>, how: How<'_>) {
        let Some(Some(conn)) = self.conns.get(index as usize) else { return };
        let waiting = conn.out.len();
        let six = conn.session;
        let named = publication.payload.len() >= SHARE_FROM_BYTES || conn.facts;
        if waiting > OUTPUT_LOW_BYTES && waiting + publication.payload.len() > self.output_allowance() {
            return self.count_drops(six, Dropped::SlowReader, 1);
        }
        if self.is_withheld(six, || how.shown(publication)) {
            return;
        }
        let shared = named.then(|| self.message(publication));
        let frame = Frame::of_publication(publication, shared.as_ref(), how);
        self.write(index, &frame, None);
    }

    /// Whether a QoS 1 or 2 message may go out now, ahead of nothing.
    pub(crate) fn can_send_now(&self, six: SessionIx) -> bool {
        let Some(session) = self.sessions.get(six as usize) else { return false };
        let Some(Some(conn)) = self.conns.get(session.conn as usize) else { return false };
        conn.is_open()
            && conn.out.len() < OUTPUT_HIGH_BYTES
            && !(session.inside && self.is_held(six))
            && session.outgoing.as_ref().is_none_or(|outgoing| {
                outgoing.queue.is_empty()
                    && outgoing.replays.is_none()
                    && !outgoing.inflight.is_resending()
                    && outgoing.inflight.open() < usize::from(conn.window)
            })
    }

    /// A flight of a Session ended: it may be ready again if its window was full, or nearly so, as what waits goes first.
    #[inline]
    pub(crate) fn note_readied(&mut self, six: SessionIx) {
        let Some(session) = self.sessions.get(six as usize) else { return };
        let Some(Some(conn)) = self.conns.get(session.conn as usize) else { return };
        let open = session.outgoing.as_ref().map_or(0, |outgoing| outgoing.inflight.open());
        if open + 1 == usize::from(conn.window) && !session.has_waiting() {
            self.readied += 1;
        }
    }

    /// Sends a QoS 1 or 2 message that is not queued.
    fn send_flight(&mut self, six: SessionIx, publication: &mut Publication<'_>, how: How<'_>) {
        let outgoing = self.sessions[six as usize].outgoing();
        if !outgoing.inflight.is_free(outgoing.sequence_of(outgoing.numbers + 1)) {
            self.enqueue(six, publication, how, Ticket(0));
            return self.pump(six); // its identifier is in use: see `has_identifier`
        }
        if self.is_withheld(six, || how.shown(publication)) {
            return;
        }
        let keep = self.sessions[six as usize].is_persistent() || how.group != NO_GROUP;
        let large = publication.payload.len() >= SHARE_FROM_BYTES;
        let message = (keep || large).then(|| self.message(publication));
        let frame = Frame::of_publication(publication, message.as_ref(), how);
        let index = self.sessions[six as usize].conn;
        if !self.fits(index, &frame) {
            return self.count_drops(six, Dropped::TooLarge, 1);
        }
        let mut number = 0;
        let kept = message.clone().filter(|_| keep).map(|message| {
            self.note_seen(six, message.id());
            number = self.number_queued(six, &message, how, false);
            Box::new(Queued { message, delivery: how.to_delivery(), number, ticket: Ticket(0) })
        });
        if kept.is_none() {
            let outgoing = self.sessions[six as usize].outgoing();
            outgoing.numbers += 1;
            number = outgoing.numbers;
        }
        self.launch(six, index, &frame, number, kept);
    }

    /// Starts the flight of a frame that fits and sends it. The identifier of delivery `number` is free.
    fn launch(&mut self, six: SessionIx, index: u32, frame: &Frame<'_>, number: u64, kept: Kept) {
        let outgoing = self.sessions[six as usize].outgoing();
        let sequence = outgoing.sequence_of(number);
        let Some(packet_id) = outgoing.inflight.push_at(sequence, kept, frame.how.qos) else { return };
        outgoing.sent_up_to = number;
        self.stats.inflight += 1;
        self.write(index, frame, Some(packet_id));
    }

    fn fits(&mut self, index: u32, frame: &Frame<'_>) -> bool {
        let now = self.wall();
        let Some(conn) = self.conn_at(index) else { return false };
        // Not counting what an alias would save: only the client's limit matters, and nearly nobody sets one.
        conn.packet_bytes_max == u32::MAX
            || frame.to_wire(conn.version, now, Some(PacketId::FIRST), None).encoded_len()
                <= conn.packet_bytes_max as usize
    }

    /// Sends a publication at QoS 0, as it is.
    pub(crate) fn write_publication(
        &mut self,
        index: u32,
        publication: &Publication<'_>,
        message: &Arc<Message>,
        how: How<'_>,
    ) {
        let frame = Frame::of_publication(publication, Some(message), how);
        self.write(index, &frame, None);
    }

    /// Encodes a PUBLISH into a connection's output.
    fn write(&mut self, index: u32, frame: &Frame<'_>, packet_id: Option<PacketId>) {
        match frame.message.filter(|_| self.conn_at(index).is_some_and(|conn| conn.facts)) {
            Some(message) => {
                let properties = with_facts(frame.properties, message);
                self.write_frame(index, &Frame { properties: &properties, ..*frame }, packet_id);
            }
            None => self.write_frame(index, frame, packet_id),
        }
    }

    fn write_frame(&mut self, index: u32, frame: &Frame<'_>, packet_id: Option<PacketId>) {
        if packet_id.is_none() && !self.fits(index, frame) {
            let six = self.conn_at(index).map_or(NO_SESSION, |conn| conn.session);
            return self.count_drops(six, Dropped::TooLarge, 1); // 5.0 [MQTT-3.1.2-25]: as if it had been sent
        }
        let now = self.wall();
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else { return };
        let alias = conn.alias_out.as_deref_mut().map_or(AliasUse::None, |aliases| {
            let choice = aliases.choose(frame.topic);
            let AliasUse::New(alias) = choice else { return choice };
            // A new alias makes the packet longer, this once; it must still be one the client accepts.
            let longer = frame.to_wire(conn.version, now, packet_id, Some(alias));
            if longer.encoded_len() > conn.packet_bytes_max as usize {
                return AliasUse::None;
            }
            aliases.define(alias, frame.topic);
            choice
        });
        let wire = match alias {
            AliasUse::None => frame.to_wire(conn.version, now, packet_id, None),
            AliasUse::New(alias) => frame.to_wire(conn.version, now, packet_id, Some(alias)),
            AliasUse::Known(alias) => {
                PublishFrame { topic: "", ..frame.to_wire(conn.version, now, packet_id, Some(alias)) }
            }
        };
        let shared = frame.message.filter(|_| frame.payload.len() >= SHARE_FROM_BYTES);
        let mut added = conn.out.append(&mut self.pool, |out| {
            wire.encode_head(out);
            if shared.is_none() {
                out.extend_from_slice(frame.payload);
            }
        });
        if let Some(message) = shared {
            added += conn.out.append_payload(Arc::clone(message));
        }
        self.output_bytes += added;
        self.stats.packets_sent += 1;
        self.stats.publish_sent += 1;
        conn.traffic.messages_out += 1;
        self.stats.publish_bytes_sent += frame.payload.len() as u64;
        conn.mark_dirty(&mut self.dirty);
    }

    /// Sends on what waits in a Session: flights of an earlier connection first, then the queue and the retained
    /// messages of new subscriptions by turns, as far as Receive Maximum and the output buffer allow.
    pub(crate) fn pump(&mut self, six: SessionIx) {
        let mut from_queue = true;
        for _ in 0..PUMP_STEPS_MAX {
            let Some(session) = self.sessions.get(six as usize) else { return };
            let (index, Some(outgoing)) = (session.conn, &session.outgoing) else { return };
            let Some(Some(conn)) = self.conns.get(index as usize) else { return };
            if !conn.is_open() || conn.out.len() >= OUTPUT_HIGH_BYTES {
                return;
            }
            if session.inside && self.is_held(six) {
                return;
            }
            let window = usize::from(conn.window);
            // Retained messages come after the SUBACK that announces them.
            let suback_waits =
                conn.has_list() || conn.held().any(|held| matches!(held.answer, Answer::Packet(_)));
            if outgoing.inflight.is_resending() {
                if !self.resend(six, index, window) {
                    return;
                }
                continue;
            }
            if outgoing.replays.is_some() {
                // Nothing of the present before the past, and nothing of the past before SUBACK.
                if suback_waits || !self.send_replay(six, index) {
                    return;
                }
                continue;
            }
            let went = if from_queue || suback_waits {
                self.send_queued(six, index, window)
                    || (!suback_waits && self.send_retained(six, index, window))
            } else {
                self.send_retained(six, index, window) || self.send_queued(six, index, window)
            };
            from_queue = !from_queue;
            if !went {
                return;
            }
        }
        self.again.push_back(six); // a hundred thousand new subscriptions are not served in one turn
    }

    /// Sends one flight again (5.0 [MQTT-4.4.0-1]).
    fn resend(&mut self, six: SessionIx, index: u32, window: usize) -> bool {
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() else { return false };
        let Some((id, flight)) = outgoing.inflight.resend(window) else {
            return !outgoing.inflight.is_resending(); // nothing left is progress, a full window is not
        };
        if flight.awaits == Phase::Pubcomp {
            self.send_pubrel(index, id);
            return true;
        }
        let phase = flight.awaits;
        let Some(Some(queued)) = flight.item.clone() else { return true };
        let frame = Frame { dup: true, ..Frame::of(&queued) };
        if self.may_read(six, frame.topic) && self.fits(index, &frame) {
            self.note_seen(six, queued.message.id());
            self.write(index, &frame, Some(id));
        } else {
            self.forget_flight(six, id, phase, queued.number);
        }
        true
    }

    /// Ends a flight that may not, or cannot, be sent again.
    fn forget_flight(&mut self, six: SessionIx, packet_id: PacketId, phase: Phase, delivery: u64) {
        let session = &mut self.sessions[six as usize];
        let (key, inflight) = (session.key, &mut session.outgoing().inflight);
        let ended = match phase {
            Phase::Puback => inflight.puback(packet_id),
            Phase::Pubrec => inflight.pubrec(packet_id, true),
            Phase::Pubcomp => inflight.pubcomp(packet_id),
        };
        if let Acked::Taken(_) = ended {
            self.stats.inflight -= 1;
            self.record(Record::Done { session: key, delivery });
            self.something_over(six);
        }
    }

    pub(crate) fn send_pubrel(&mut self, index: u32, id: PacketId) {
        let [high, low] = id.get().to_be_bytes();
        self.send(index, |out| out.extend_from_slice(&[0x62, 2, high, low]));
    }

    /// Sends the first queued message. False when there is none or it has to wait.
    fn send_queued(&mut self, six: SessionIx, index: u32, window: usize) -> bool {
        let now = self.wall();
        let session = &mut self.sessions[six as usize];
        let (key, persistent) = (session.key, session.is_persistent());
        let outgoing = session.outgoing();
        let dup_up_to = outgoing.dup_up_to;
        let Some(front) = outgoing.queue.head.front() else {
            self.refill(six);
            return false;
        };
        let (qos, number, expired) = (front.delivery.qos, front.number, front.message.is_expired(now));
        let (full, ticket) = (qos != QoS::AtMostOnce && outgoing.inflight.open() >= window, front.ticket);
        if (!expired && full) || !self.is_stored(ticket) {
            return false;
        }
        if qos != QoS::AtMostOnce && !self.has_identifier(six, number) {
            return false;
        }
        let Some(queued) = self.dequeue(six) else { return false };
        self.refill(six);
        let frame = Frame { dup: number <= dup_up_to && qos != QoS::AtMostOnce, ..Frame::of(&queued) };
        let readable = self.may_read(six, frame.topic);
        let perhaps_sent = number <= dup_up_to && qos == QoS::AtMostOnce; // before the broker died: not twice
        let shown = || frame.how.shown(&Publication::of(&queued.message));
        let readable = readable && (expired || perhaps_sent || !self.is_withheld(six, shown));
        if expired || !readable || perhaps_sent || !self.fits(index, &frame) {
            self.count_drops(six, Dropped::Expired, u64::from(expired));
            self.count_drops(six, Dropped::TooLarge, u64::from(!expired && readable && !perhaps_sent));
            if persistent {
                self.record(Record::Done { session: key, delivery: number });
            }
            self.something_over(six);
            return true;
        }
        self.note_seen(six, queued.message.id());
        if qos == QoS::AtMostOnce {
            self.write(index, &frame, None);
            if persistent {
                self.record(Record::Done { session: key, delivery: number });
            }
            self.something_over(six);
        } else {
            let keep = persistent || queued.delivery.group != NO_GROUP;
            let kept = keep.then(|| Box::new(queued.clone()));
            self.launch(six, index, &frame, number, kept);
        }
        true
    }

    /// Whether the identifier of a delivery is free. If it is not, all from this one on are shifted; a shift that is
    /// not stored yet could be forgotten in a crash, so nothing goes out until it is.
    fn has_identifier(&mut self, six: SessionIx, number: u64) -> bool {
        let ticket = self.ticket;
        let session = &mut self.sessions[six as usize];
        let (key, persistent) = (session.key, session.is_persistent());
        let outgoing = session.outgoing();
        let wanted = outgoing.sequence_of(number);
        if outgoing.inflight.is_free(wanted) {
            return true;
        }
        let Some(free) = outgoing.inflight.free_from(wanted) else { return false };
        let shift = free - (number - 1);
        outgoing.shifts.push((number, shift));
        if persistent {
            if let Some(front) = outgoing.queue.head.front_mut() {
                front.ticket = front.ticket.max(ticket);
            }
            self.delayed.push_back((ticket, six));
            self.record(Record::Shifted { session: key, from: number, shift });
        }
        !persistent
    }

    /// Sends the next retained message of the Session's first new subscription. False when there is none, or it has
    /// to wait.
    fn send_retained(&mut self, six: SessionIx, index: u32, window: usize) -> bool {
        let (stored, now) = (self.stored, self.wall());
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref() else { return false };
        let Some(cursor) = outgoing.cursors.first() else { return false };
        let queued = outgoing.queue.len();
        let open = if queued == 0 { outgoing.inflight.open() < window } else { queued < QUEUED_RETAINED_MAX };
        let room = cursor.value.qos() == QoS::AtMostOnce || open;
        if cursor.ticket > stored || !room {
            return false;
        }
        let (qos, no_local) = (cursor.value.qos(), cursor.value.no_local());
        let (sub_id, filtered) = (cursor.value.sub_id, cursor.filtered);
        let (found, after) = match self.retained.scan(&cursor.filter, cursor.after.as_deref(), SCAN_STEPS_MAX)
        {
            Scan::Found(Retained::Here(message)) => (Some(Arc::clone(message)), Some(message.topic().into())),
            Scan::Found(entry) => {
                let (topic, id): (Box<str>, _) = (entry.topic().into(), entry.id());
                let outgoing = self.sessions[six as usize].outgoing();
                if outgoing.cursors.damaged.contains(&topic) {
                    outgoing.cursors.advance(topic);
                    self.count_drops(six, Dropped::Damaged, 1);
                    return true;
                }
                let Some(message) = outgoing.cursors.take_fetched(&topic, id) else {
                    self.fetch_retained(six);
                    return false;
                };
                (Some(message), Some(topic))
            }
            Scan::Pause(topic) => (None, Some(topic.into())),
            Scan::Done => (None, None),
        };
        let Some(outgoing) = self.sessions[six as usize].outgoing.as_deref_mut() else { return false };
        let Some(after) = after else {
            let finished = outgoing.cursors.finish_first();
            self.sessions[six as usize].forget_unused();
            if let Some(cursor) = finished.filter(|cursor| cursor.owed) {
                self.record_cursor(six, &cursor, false);
            }
            return true;
        };
        let older_waits = |message: &Arc<Message>| {
            qos.min(message.qos) == QoS::AtMostOnce
                && outgoing.queue.head.front().is_some_and(|front| front.message.id() < message.id())
        };
        if found.as_ref().is_some_and(older_waits) {
            return false; // it was published meanwhile: not ahead of its own past (5.0 [MQTT-4.6.0-5])
        }
        outgoing.cursors.advance(after);
        let Some(message) = found else {
            self.again.push_back(six); // a long search goes on at the next turn, after everybody else
            return false;
        };
        let own =
            no_local && *message.publisher.client_id == *self.sessions[six as usize].publisher.client_id;
        let mut publication = Publication::of(&message);
        if own || message.is_expired(now) || !self.may_read(six, publication.topic) {
            return true;
        }
        if filtered.is_some_and(|key| !self.passes_retained(key, &message)) {
            if !self.filters.has_looked_long() {
                return true;
            }
            self.again.push_back(six); // others first
            return false;
        }
        let sub_ids = if sub_id == 0 { &[][..] } else { &[sub_id][..] };
        // 5.0 [MQTT-3.3.1-8]: RETAIN is 1 whatever Retain As Published says.
        let how = How { qos: qos.min(message.qos), retain: true, group: NO_GROUP, share: None, sub_ids };
        if how.qos == QoS::AtMostOnce {
            if !self.is_withheld(six, || how.shown(&publication)) {
                let frame = Frame::of_publication(&publication, Some(&message), how);
                self.write(index, &frame, None);
            }
        } else {
            // Behind what waits: identifiers, and their order in a later life, follow the numbers.
            self.deliver_readable(six, &mut publication, how);
        }
        if filtered.is_some() && self.filters.has_looked_long() {
            self.again.push_back(six);
            return false;
        }
        true
    }
}

impl How<'_> {
    /// What a hook is shown.
    pub(crate) fn shown<'a>(&self, publication: &Publication<'a>) -> Shown<'a> {
        let Publication { topic, payload, publisher, .. } = publication;
        Shown { topic, payload, qos: self.qos, retain: self.retain, from: &publisher.client_id }
    }

    pub(crate) fn to_delivery(self) -> Delivery {
        Delivery {
            qos: self.qos,
            retain: self.retain,
            group: self.group,
            sub_ids: SubscriptionIds::from_slice(self.sub_ids),
        }
    }
}

impl<'a> Frame<'a> {
    fn of(queued: &'a Queued) -> Self {
        let Queued { message, delivery, .. } = queued;
        Self {
            topic: message.topic(),
            properties: message.properties(),
            payload: message.payload(),
            message: Some(message),
            expires: message.expires(),
            how: How {
                qos: delivery.qos,
                retain: delivery.retain,
                group: delivery.group,
                share: None,
                sub_ids: delivery.sub_ids.as_slice(),
            },
            dup: false,
        }
    }

    fn of_publication(
        publication: &'a Publication<'_>,
        message: Option<&'a Arc<Message>>,
        how: How<'a>,
    ) -> Self {
        Self {
            topic: publication.topic,
            properties: publication.properties,
            payload: publication.payload,
            message,
            expires: publication.expires,
            how,
            dup: false,
        }
    }

    fn to_wire(
        &self,
        version: cork_packet::ProtocolVersion,
        now: WallTime,
        packet_id: Option<PacketId>,
        topic_alias: Option<u16>,
    ) -> PublishFrame<'a> {
        PublishFrame {
            version,
            dup: self.dup,
            qos: self.how.qos,
            retain: self.how.retain,
            topic: self.topic,
            topic_alias,
            packet_id: packet_id.filter(|_| self.how.qos != QoS::AtMostOnce),
            message_expiry: seconds_left(self.expires, now),
            subscription_ids: self.how.sub_ids,
            properties: self.properties,
            payload_len: self.payload.len(),
        }
    }
}

impl Session {
    /// Whether something waits to be sent on.
    pub(crate) fn has_waiting(&self) -> bool {
        self.outgoing.as_ref().is_some_and(|outgoing| {
            outgoing.inflight.is_resending()
                || !outgoing.queue.is_empty()
                || !outgoing.cursors.is_empty()
                || outgoing.replays.is_some()
        })
    }
}
