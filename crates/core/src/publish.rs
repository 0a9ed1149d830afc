//! PUBLISH: from a client, from a Will, from the broker itself, to everybody who subscribed (5.0 3.3, 4.3).

use std::sync::Arc;

use cork_packet::{PacketId, PacketType, ProtocolVersion, Publish, QoS, ReasonCode, levels};
use cork_proto::PeerError;
use cork_store::{MessageId, Publisher, Record};

use crate::{
    board::{OUTPUT_LOW_BYTES, Timer},
    conn::{Answer, Holds, NO_SESSION, SessionIx},
    connect::broker_publisher,
    deliver::{Ask, How, Publication},
    hooks,
    io::{ConnId, Waiter},
    peers::{Chosen, Peers},
    presence,
    retained::{Retained, is_kept},
    rights::Denied,
    router::{Group, Turn},
    session::{GROUP_BIT, NO_GROUP, SubValue},
    shard::Shard,
};

/// So many bytes of retained messages are written down at once after the store took nothing new.
const UNWRITTEN_BYTES: usize = 1 << 20;

impl Shard {
    /// A client publishes.
    pub(crate) fn on_publish(
        &mut self,
        id: ConnId,
        version: ProtocolVersion,
        publish: &Publish<'_>,
    ) -> Result<(), PeerError> {
        let stats = &mut self.board.stats;
        stats.publish_received += 1;
        stats.publish_bytes_received += publish.payload.len() as u64;
        if !version.is_v5() {
            return self.publish_from(id, publish, publish.topic);
        }
        let Some(alias) = publish.properties.topic_alias() else {
            return self.publish_from(id, publish, publish.topic);
        };
        let Some(conn) = self.board.conn(id) else { return Ok(()) };
        let maximum = conn.granted.topic_alias_maximum;
        // Out of the connection while the topic borrows from it.
        let mut aliases = conn.alias_in.take().unwrap_or_default();
        let result = if publish.topic.is_empty() {
            aliases.resolve(alias, maximum).and_then(|topic| self.publish_from(id, publish, topic))
        } else {
            aliases
                .define(alias, publish.topic, maximum)
                .and_then(|()| self.publish_from(id, publish, publish.topic))
        };
        if let Some(conn) = self.board.conn(id) {
            conn.alias_in = Some(aliases);
        }
        result
    }

    fn publish_from(&mut self, id: ConnId, publish: &Publish<'_>, topic: &str) -> Result<(), PeerError> {
        let deepest = self.board.config.limits.topic_levels_max;
        if deepest != 0 && topic.len() >= deepest && levels(topic) > deepest {
            return Err(PeerError::TopicNameInvalid);
        }
        let Some(conn) = self.board.conn(id) else { return Ok(()) };
        let (six, v5) = (conn.session, conn.version.is_v5());
        let Some(session) = self.board.sessions.get(six as usize) else { return Ok(()) };
        if let Some(packet_id) = publish.packet_id {
            if publish.qos == QoS::ExactlyOnce && session.received.contains(packet_id) {
                // 5.0 [MQTT-4.3.3-10]: answered again, not routed again.
                if let Some(number) = self.gather_of((session.key, packet_id)) {
                    // The first one, from an earlier connection, is not stored yet.
                    let (kind, reason) = (PacketType::PubRec, ReasonCode::SUCCESS);
                    let answer = Answer::Ack { kind, id: packet_id, reason };
                    let answer = self.board.answer(id.index, false, 1, answer);
                    self.answer_gathered(number, (id, answer));
                    return Ok(());
                }
                // Or it is in a batch that is not stored yet.
                let (kind, reason) = (PacketType::PubRec, ReasonCode::SUCCESS);
                let answer = Answer::Ack { kind, id: packet_id, reason };
                self.board.answer_after(id.index, Some(self.board.last_ticket()), 0, answer);
                return Ok(());
            }
            if let Some(conn) = self.board.conn(id) {
                if conn.deaf {
                    self.board.stats.refused_full += 1;
                    return Ok(());
                }
                if v5 && conn.receiving >= conn.granted.receive_maximum {
                    return Err(PeerError::ReceiveMaximumExceeded);
                }
                conn.receiving = conn.receiving.saturating_add(1);
            }
        }
        if let Some(refused) = self.refusal_of(id, publish, topic) {
            return self.refuse_publish(id, publish, refused);
        }
        if self.board.hooks.is_some() {
            return self.ask_and_take(id, six, publish, topic);
        }
        self.take(id, six, publish, topic)
    }

    /// Lets the hooks look at a publication that the rights allow, and takes what they leave of it.
    #[cold]
    fn ask_and_take(
        &mut self,
        id: ConnId,
        six: SessionIx,
        publish: &Publish<'_>,
        topic: &str,
    ) -> Result<(), PeerError> {
        let publisher = Arc::clone(&self.board.sessions[six as usize].publisher);
        let mut asked = hooks::Publication::of_client(publish, topic);
        if let Err(refusal) = self.board.ask_publish(&publisher, self.board.peer_of(id.index), &mut asked) {
            self.board.stats.denied_publish += 1;
            self.board.report_refused(id.index, &publisher, Denied::Publish(topic), &refusal);
            return self.refuse_publish(id, publish, refusal.code());
        }
        self.take(id, six, &Publish { payload: &asked.payload, ..*publish }, &asked.topic)
    }

    /// Takes a publication that nothing speaks against.
    #[inline]
    fn take(
        &mut self,
        id: ConnId,
        six: SessionIx,
        publish: &Publish<'_>,
        topic: &str,
    ) -> Result<(), PeerError> {
        let Some(session) = self.board.sessions.get(six as usize) else { return Ok(()) };
        // A client publishes many in a row. Counting another reference up and down for each would be a tenth of its
        // cost, and more with several shards: the core then waits until all it wrote for another one is where it belongs.
        let publisher = match self.publishing.take() {
            Some(last) if Arc::ptr_eq(&last, &session.publisher) => last,
            _ => Arc::clone(&session.publisher),
        };
        let result = self.take_from(&publisher, id, six, publish, topic);
        self.publishing = Some(publisher);
        result
    }

    #[inline]
    fn take_from(
        &mut self,
        publisher: &Arc<Publisher>,
        id: ConnId,
        six: SessionIx,
        publish: &Publish<'_>,
        topic: &str,
    ) -> Result<(), PeerError> {
        let Some(session) = self.board.sessions.get(six as usize) else { return Ok(()) };
        let key = session.key;
        let session_persistent = session.is_persistent();
        if publish.qos != QoS::AtMostOnce && self.board.refuses_new() && self.needs_store(six, publish, topic)
        {
            return self.refuse_unstored(id, six, publish);
        }
        let wall = self.board.wall();
        let expiry = publish.properties.message_expiry_interval();
        let mut forwarded = Vec::new();
        let properties = if publish.properties.is_empty() || publish.properties.forwardable() {
            publish.properties.raw()
        } else {
            publish.properties.forward_into(&mut forwarded);
            &forwarded
        };
        let mut publication = Publication {
            properties,
            qos: publish.qos,
            retain: publish.retain,
            expires: expiry.map(|seconds| wall.plus_seconds(seconds)),
            ..Publication::new(topic, publish.payload, publisher)
        };
        let exactly = publish.qos == QoS::ExactlyOnce;
        let Some(packet_id) = publish.packet_id else {
            self.publish(&mut publication, six);
            return Ok(());
        };
        let mark = self.board.records.len();
        let gathers = exactly && session_persistent && (self.is_gathering(key) || self.leaves(topic));
        let gather = gathers.then(|| self.begin_gather());
        if let Some((number, ticket)) = gather {
            (publication.once, publication.ask) = (Some(ticket), Ask::Records(number));
        } else if let Some(conn) = self.board.conn(id) {
            let waiter = Waiter::Answer { conn: id, number: conn.next_held_number() };
            publication.ask = Ask::Stored(waiter);
            publication.once = (exactly && session_persistent).then_some(self.board.ticket);
        }
        let anybody = self.publish(&mut publication, six);
        let asked = publication.asked;
        let persistent = exactly && session_persistent;
        if (persistent || self.board.records.len() > mark) && !self.board.config.history.is_empty() {
            self.board.record_remembered(&mut publication); // with what the acknowledgement waits for anyway
        }
        let reason = if anybody { ReasonCode::SUCCESS } else { ReasonCode::NO_MATCHING_SUBSCRIBERS };
        let kind = if exactly { PacketType::PubRec } else { PacketType::PubAck };
        if exactly {
            self.note_received(six, packet_id);
        }
        let answer = Answer::Ack { kind, id: packet_id, reason };
        if let Some((number, _)) = gather {
            let flow = self.board.sessions.get(six as usize).map(|session| (session.key, packet_id));
            self.gather(number, mark, asked, flow);
            let answer = self.board.answer(id.index, false, 1, answer);
            self.answer_gathered(number, (id, answer));
        } else {
            let relies = self.board.records.len() > mark;
            self.board.answer(id.index, relies, asked, answer);
        }
        Ok(())
    }

    #[inline]
    fn ack_publish(
        &mut self,
        id: ConnId,
        kind: PacketType,
        packet_id: PacketId,
        reason: ReasonCode,
        relies: bool,
    ) {
        self.board.answer(id.index, relies, 0, Answer::Ack { kind, id: packet_id, reason });
    }

    /// Remembers a QoS 2 identifier until PUBREL; on disk when the Session outlives its connection.
    fn note_received(&mut self, six: SessionIx, packet_id: PacketId) {
        // The publication may have ended the publisher's own Session in no way; it is there.
        let session = &mut self.board.sessions[six as usize];
        session.received.insert(packet_id);
        if session.is_persistent() {
            let session = session.key;
            self.board.record(Record::Received { session, packet_id });
        }
    }

    /// Why a publication is not taken, if it is not.
    fn refusal_of(&mut self, id: ConnId, publish: &Publish<'_>, topic: &str) -> Option<ReasonCode> {
        let board = &mut self.board;
        if board.config.limits.payload_format_check
            && publish.properties.payload_format_indicator() == Some(1)
            && std::str::from_utf8(publish.payload).is_err()
        {
            return Some(ReasonCode::PAYLOAD_FORMAT_INVALID);
        }
        let six = board.conn(id)?.session;
        let publisher = &board.sessions.get(six as usize)?.publisher;
        // Who is there, only the broker says.
        let own = board.config.presence && presence::concerns(topic);
        if !own && board.may_write(publisher, topic) {
            return None;
        }
        board.stats.denied_publish += 1;
        let publisher = Arc::clone(publisher);
        board.report_denied(id.index, &publisher, Denied::Publish(topic));
        Some(ReasonCode::NOT_AUTHORIZED)
    }

    /// Answers a publication that is not taken: v5 hears why; 3.1.1 can only be acknowledged and the message dropped
    /// (3.1.1 [MQTT-3.3.5-2]).
    fn refuse_publish(
        &mut self,
        id: ConnId,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) -> Result<(), PeerError> {
        let Some(packet_id) = publish.packet_id else {
            return match reason {
                ReasonCode::PAYLOAD_FORMAT_INVALID => Err(PeerError::PayloadFormatInvalid),
                _ => Ok(()), // QoS 0 has no answer
            };
        };
        let Some(conn) = self.board.conn(id) else { return Ok(()) };
        let (v5, six) = (conn.version.is_v5(), conn.session);
        let kind = if publish.qos == QoS::ExactlyOnce { PacketType::PubRec } else { PacketType::PubAck };
        if kind == PacketType::PubRec && !v5 {
            // The flow goes on as if it had been taken; a repetition must be recognised.
            self.note_received(six, packet_id);
            self.ack_publish(id, kind, packet_id, ReasonCode::SUCCESS, false);
        } else {
            self.ack_publish(id, kind, packet_id, reason, false);
        }
        Ok(())
    }

    /// Retains a publication if it asks for that and hands it to everybody who subscribed, here and on other shards.
    /// Returns whether anybody did. `from`: the publisher's Session, for No Local.
    pub(crate) fn publish(&mut self, publication: &mut Publication<'_>, from: SessionIx) -> bool {
        if publication.to_retain() {
            self.retain(publication, true);
        }
        self.hand_on(publication, from)
    }

    /// Hands a publication to everybody who subscribed, and to the other shards to retain if it is to be. Returns
    /// whether anybody did.
    #[inline]
    pub(crate) fn hand_on(&mut self, publication: &mut Publication<'_>, from: SessionIx) -> bool {
        self.take_note(publication, from);
        let here = self.route(publication, from, true);
        self.forward(publication, here)
    }

    /// The same of a retained message that is written down already, here, elsewhere or both.
    pub(crate) fn publish_written(
        &mut self,
        message: &Arc<cork_store::Message>,
        here: bool,
        elsewhere: bool,
    ) {
        let mut publication = Publication::of(message);
        if here {
            self.retain(&mut publication, false);
            self.take_note(&mut publication, NO_SESSION);
            self.route(&mut publication, NO_SESSION, true);
        }
        if elsewhere {
            self.forward(&mut publication, here);
        }
    }

    /// Has a message that is written down already retained, here too or only on other shards.
    pub(crate) fn retain_written(&mut self, message: &Arc<cork_store::Message>, here: bool) {
        if here {
            self.retain(&mut Publication::of(message), false);
        }
        self.forward_retained(message);
    }

    /// What is kept, or shown, of publications that came to this shard, from this Session if it has one.
    #[inline]
    fn take_note(&mut self, publication: &mut Publication<'_>, from: SessionIx) {
        if !self.board.config.history.is_empty() {
            self.board.remember(publication);
        }
        if self.watchers.is_some() {
            self.note(publication, from);
        }
    }

    /// Keeps (or, with an empty payload, removes) the retained message of a topic (5.0 3.3.1.3). `record`: it came
    /// to this shard, which writes it down for all.
    pub(crate) fn retain(&mut self, publication: &mut Publication<'_>, record: bool) {
        let message = self.board.message(publication);
        let newer = |kept: &Retained| kept.id() > message.id();
        if self.board.retained.get(publication.topic).is_some_and(newer)
            || self.board.gone.outdates(publication.topic, message.id())
        {
            // Another shard's message came first here, but counts as the later one. It may not be stored yet, and this
            // one may be acknowledged before it is.
            if record && publication.qos != QoS::AtMostOnce {
                self.board.record(Record::Retained { message });
            }
            return;
        }
        if record {
            // What frees space has a reserve on a full disk.
            let frees = publication.payload.is_empty() && self.board.store_works();
            publication.unkept = !frees && !is_kept(&self.board, publication.qos);
        }
        let replaced = if publication.payload.is_empty() {
            self.remember_gone(publication.topic, message.id());
            let removed = self.board.remove_retained(publication.topic);
            // Nothing was retained: nothing to write down. Unless it was another shard's, which is still on its way here,
            // or went without a record for want of space: an acknowledged removal is written down in any case.
            let alone = self.board.config.shards == 1 && publication.qos == QoS::AtMostOnce;
            if removed.is_none() && alone {
                return;
            }
            removed
        } else {
            self.board.insert_retained(&message, !publication.unkept)
        };
        // The timer goes with its message: it could be set to a time decades away, anew with each publication.
        if let Some(at) = replaced.and_then(|replaced| replaced.expires()) {
            let when = self.board.time_of(at);
            self.board.timers.remove(&(when, Timer::Retained(publication.topic.into())));
        }
        if let Some(at) = message.expires().filter(|_| !publication.payload.is_empty()) {
            let when = self.board.time_of(at);
            self.board.at(when, Timer::Retained(publication.topic.into()));
        }
        if record && publication.unkept {
            self.board.unwritten.insert(publication.topic.into());
        } else if record {
            self.board.record(Record::Retained { message });
        }
    }

    /// Writes down, a part at a time, the retained messages that came at QoS 0 while the store took nothing new.
    pub(crate) fn write_unwritten(&mut self) {
        let (mut bytes, shard) = (0, self.board.config.shard);
        while bytes < UNWRITTEN_BYTES
            && !self.board.refuses_new()
            && let Some(topic) = self.board.unwritten.pop_first()
        {
            bytes += topic.len();
            // Whatever came later, to another shard, that one writes down.
            let Some(Retained::Here(message)) = self.board.retained.get(&topic) else { continue };
            if message.id().shard == shard {
                bytes += message.cost_bytes();
                let message = Arc::clone(message);
                self.board.record(Record::Retained { message });
            }
        }
    }

    /// Whether the acknowledgement of a publication would have to wait for the store.
    fn needs_store(&mut self, six: SessionIx, publish: &Publish<'_>, topic: &str) -> bool {
        let sessions = &self.board.sessions;
        let persistent = |six: SessionIx| sessions.get(six as usize).is_some_and(|it| it.is_persistent());
        let clears = publish.retain && publish.payload.is_empty() && self.board.retained.get(topic).is_some();
        if clears && self.board.store_works() {
            return false; // It gives space back, more than it takes.
        }
        if publish.retain || (publish.qos == QoS::ExactlyOnce && persistent(six)) {
            return true;
        }
        if !self.router.interested_shards(topic).is_empty() || self.board.filters.may_want(topic) {
            return true;
        }
        let (matching, ..) = self.router.matching(topic);
        matching.iter().any(|(key, _)| key & GROUP_BIT != 0 || persistent(*key))
    }

    /// Answers a publication that cannot be stored now: v5 hears why. 3.1.1 has no word for it: the packet stays
    /// unread, and unacknowledged, until there is space. But a client that receives, too, has acknowledgements behind
    /// it, which make that space: they are read on, what it publishes is left out from here on, and its connection ends
    /// when there is space, so that it sends what was not acknowledged again, in its order.
    fn refuse_unstored(
        &mut self,
        id: ConnId,
        six: SessionIx,
        publish: &Publish<'_>,
    ) -> Result<(), PeerError> {
        self.board.stats.refused_full += 1;
        let receives = self.board.sessions.get(six as usize).is_some_and(|session| session.receives());
        let (Some(packet_id), Some(conn)) = (publish.packet_id, self.board.conn(id)) else { return Ok(()) };
        if conn.version.is_v5() {
            let exactly = publish.qos == QoS::ExactlyOnce;
            let kind = if exactly { PacketType::PubRec } else { PacketType::PubAck };
            self.ack_publish(id, kind, packet_id, ReasonCode::QUOTA_EXCEEDED, false);
            return Ok(());
        }
        conn.receiving = conn.receiving.saturating_sub(1);
        (conn.deaf, conn.unread) = (receives, !receives);
        if !receives {
            self.board.hold(id.index, Holds::FULL);
        }
        Ok(())
    }

    pub(crate) fn on_retained_timer(&mut self, topic: &str) {
        let wall = self.board.wall();
        if self.board.retained.get(topic).is_some_and(|kept| kept.is_expired(wall)) {
            if let Some(expired) = self.board.remove_retained(topic) {
                self.remember_gone(topic, expired.id());
                if self.board.config.shard == 0 {
                    // Under its own identity: a newer one may be on its way here from another shard.
                    let id = expired.id();
                    let publisher = match expired {
                        Retained::Here(message) => Arc::clone(&message.publisher),
                        Retained::Away(_) => broker_publisher(),
                    };
                    let message = Arc::new(cork_store::Message::new(id, topic, &[], &[], publisher));
                    self.board.record(Record::Retained { message }); // its space is free
                }
            }
            self.board.stats.dropped_expired += 1;
        }
    }

    /// Notes that a topic has no retained message any more, for earlier ones that are still on their way here.
    fn remember_gone(&mut self, topic: &str, by: MessageId) {
        if self.board.config.shards > 1 {
            let now = self.board.wall();
            self.board.gone.remember(now, topic, by);
        }
    }

    /// Hands a publication to the subscribers of this shard. Returns whether there are any, and leaves in
    /// `peers.chosen` the shared subscriptions whose turn falls to another shard.
    /// `shares`: shared subscriptions too; another shard has chosen already otherwise.
    pub(crate) fn route(&mut self, publication: &mut Publication<'_>, from: SessionIx, shares: bool) -> bool {
        if !self.board.filters.is_empty() {
            return self.route_filtered(publication, from, shares);
        }
        let (matching, groups, shards) = self.router.matching(publication.topic);
        publication.shards = shards;
        hand_out(&mut self.board, &mut self.peers, matching, groups, publication, from, shares)
    }

    /// Delivers to one member of a shared subscription of this shard.
    pub(crate) fn deliver_to_group(&mut self, group_ix: u32, publication: &mut Publication<'_>) {
        deliver_to_member(&mut self.board, &mut self.peers, group_ix, &mut self.router.groups, publication);
    }
}

/// Hands a publication to subscribers, sorted: Sessions first, then groups. Returns whether there are any, and leaves in
/// `peers.chosen` the groups whose turn falls to another shard.
///
/// Always inlined: the way without filters must not pay for there being another one.
#[inline(always)]
pub(crate) fn hand_out(
    board: &mut crate::board::Board,
    peers: &mut Peers,
    matching: &[(u32, SubValue)],
    groups: &mut slab::Slab<Group>,
    publication: &mut Publication<'_>,
    from: SessionIx,
    shares: bool,
) -> bool {
    board.shares.deliveries += matching.len() as u64;
    let mut rest = matching;
    let anybody = !rest.is_empty();
    while let Some((key, value)) = rest.first() {
        if key & GROUP_BIT != 0 {
            break;
        }
        // All matching subscriptions of one Session stand together: they become one delivery.
        let many = if rest.get(1).is_some_and(|(next, _)| next == key) {
            rest.iter().take_while(|(next, _)| next == key).count()
        } else {
            1
        };
        let (own, others) = rest.split_at(many);
        rest = others;
        if many == 1 {
            if *key == from && value.no_local() {
                continue; // 5.0 [MQTT-3.8.3-3]
            }
            let id = [value.sub_id];
            let sub_ids = if value.sub_id == 0 { &[][..] } else { &id[..] };
            let how = How {
                qos: publication.qos.min(value.qos()),
                retain: publication.retain && value.retain_as_published(),
                group: NO_GROUP,
                share: None,
                sub_ids,
            };
            board.deliver(*key, publication, how);
        } else {
            deliver_overlapping(board, own, publication, from);
        }
    }
    for (key, _) in rest.iter().filter(|_| shares) {
        let group_ix = key & !GROUP_BIT;
        let Some(group) = groups.get_mut(group_ix as usize) else { continue };
        match group.next_turn() {
            Turn::Here => deliver_to_member(board, peers, group_ix, groups, publication),
            Turn::Shard(shard) => {
                let (group, outlives) = (Arc::clone(&group.name), group.outlives());
                peers.chosen.push(Chosen { shard, group, outlives });
            }
        }
    }
    anybody
}

/// Several subscriptions of one Session match: one delivery with the highest QoS (5.0 [MQTT-3.3.4-2]) and all
/// Subscription Identifiers ([MQTT-3.3.4-3] to -5).
pub(crate) fn deliver_overlapping(
    board: &mut crate::board::Board,
    own: &[(u32, SubValue)],
    publication: &mut Publication<'_>,
    from: SessionIx,
) {
    let mut qos = None;
    let mut as_published = false;
    let mut sub_ids: Vec<u32> = Vec::new();
    for (key, value) in own {
        if *key == from && value.no_local() {
            continue;
        }
        qos = qos.max(Some(value.qos()));
        as_published |= value.retain_as_published();
        if value.sub_id != 0 {
            sub_ids.push(value.sub_id);
        }
    }
    let Some(qos) = qos else { return };
    sub_ids.sort_unstable();
    sub_ids.dedup();
    let how = How {
        qos: publication.qos.min(qos),
        retain: publication.retain && as_published,
        group: NO_GROUP,
        share: None,
        sub_ids: &sub_ids,
    };
    board.deliver(own[0].0, publication, how);
}

/// Chooses a member: in turn, first among those that can take the message now, then those with a connection, then
/// those whose Session waits.
fn deliver_to_member(
    board: &mut crate::board::Board,
    peers: &mut Peers,
    group_ix: u32,
    groups: &mut slab::Slab<Group>,
    publication: &mut Publication<'_>,
) {
    let Some(group) = groups.get_mut(group_ix as usize) else { return };
    let wanted = publication.qos;
    // A member that may not read it must not swallow it for those who may.
    let may = |six: SessionIx| board.could_read(six, publication.topic);
    let online = |six: SessionIx, _: &SubValue| {
        board.sessions.get(six as usize).is_some_and(|s| s.is_online()) && may(six)
    };
    let mut ready = None;
    if group.may_be_ready(wanted, board.readied, board.now) {
        let mut refused = false;
        ready = group.members.pick(|six, value| {
            let (ready, may) = (board.is_ready(six, wanted.min(value.qos())), may(six));
            refused |= ready && !may;
            ready && may
        });
        if ready.is_none() && !refused {
            group.found_busy(wanted, board.readied, board.now);
        }
    }
    let (anybody_online, members) = (group.online > 0, &mut group.members);
    let chosen = ready
        .or_else(|| anybody_online.then(|| members.pick(online)).flatten())
        .or_else(|| members.pick(|six, _| may(six)))
        .or_else(|| members.pick(|_, _| true));
    let Some((six, value)) = chosen else { return };
    let name = Arc::clone(&group.name);
    if group.outlives() && wanted.min(value.qos()) == QoS::AtLeastOnce {
        keep_for_others(board, peers, groups, six);
    }
    let id = [value.sub_id];
    let sub_ids = if value.sub_id == 0 { &[][..] } else { &id[..] };
    let how = How {
        qos: wanted.min(value.qos()),
        retain: publication.retain && value.retain_as_published(),
        group: group_ix,
        share: Some(&name),
        sub_ids,
    };
    board.deliver(six, publication, how);
}

/// Has a Session written down although it ends with its connection: what it is chosen for out of a shared subscription
/// goes to members that outlive the broker, should that die before it is acknowledged (5.0 4.8.2).
fn keep_for_others(
    board: &mut crate::board::Board,
    peers: &mut Peers,
    groups: &slab::Slab<Group>,
    six: SessionIx,
) {
    let Some(session) = board.sessions.get_mut(six as usize).filter(|session| !session.is_persistent())
    else {
        return;
    };
    session.recorded = true;
    session.kept_from = session.outgoing.as_ref().map_or(0, |outgoing| outgoing.numbers);
    // Not with what several shards store together, which may be after its end.
    board.begun.push(session.to_record());
    for subscription in session.subscriptions.iter().filter(|subscription| subscription.group != NO_GROUP) {
        let Some(group) = groups.get(subscription.group as usize) else { continue };
        let Some(value) = group.members.get(six) else { continue };
        let own = session.filtered.values().find(|own| own.group == subscription.group);
        let filter = own.map_or_else(|| format!("$share/{}", group.name).into(), |own| own.record.clone());
        board.begun.push(Record::Subscribed {
            session: session.key,
            filter,
            options: value.options,
            subscription_id: value.sub_id,
        });
    }
    peers.count_kept(board, 1);
}

impl crate::board::Board {
    /// Whether a Session can be sent a message of this QoS at once.
    fn is_ready(&self, six: SessionIx, qos: QoS) -> bool {
        if qos != QoS::AtMostOnce {
            return self.can_send_now(six);
        }
        self.sessions.get(six as usize).is_some_and(|session| {
            let conn = self.conns.get(session.conn as usize).and_then(|conn| conn.as_deref());
            conn.is_some_and(|conn| conn.is_open() && conn.out.len() < OUTPUT_LOW_BYTES)
        })
    }
}

const _: () = assert!(NO_SESSION != 0, "the broker's own messages have no Session");

#[cfg(test)]
mod tests {
    use cork_proto::Time;

    use crate::{
        board::Timer,
        config::{Limits, ShardConfig},
        io::{ConnId, Input},
        shard::Shard,
    };

    /// A v5 PUBLISH to `a`, retained, that expires after as many seconds as there can be.
    fn retained_for_ever(payload: &[u8]) -> Vec<u8> {
        let head = [0, 1, b'a', 5, 0x02, 0xFF, 0xFF, 0xFF, 0xFF];
        let length = u8::try_from(head.len() + payload.len()).unwrap();
        [&[0x31, length][..], &head, payload].concat()
    }

    #[test]
    fn a_retained_message_that_is_replaced_leaves_no_timer() {
        let limits = Limits { sys_interval: std::time::Duration::ZERO, ..Limits::default() };
        let mut shard = Shard::new(ShardConfig { limits, ..ShardConfig::default() });
        let conn = ConnId { index: 0, generation: 0 };
        let mut at = 0;
        let mut handle = |shard: &mut Shard, bytes: &[u8]| {
            at += 1;
            shard.handle(Time::from_micros(at), Input::Bytes { conn, bytes });
            shard.board.timers.iter().filter(|(_, timer)| matches!(timer, Timer::Retained(_))).count()
        };
        shard.handle(Time::ZERO, Input::Opened { conn, peer: "test".into() });
        handle(&mut shard, b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01c");
        for n in 0..10 {
            assert_eq!(handle(&mut shard, &retained_for_ever(&[n])), 1, "after {n}");
        }
        assert_eq!(handle(&mut shard, &retained_for_ever(b"")), 0, "removed");
    }
}
