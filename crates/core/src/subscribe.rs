//! SUBSCRIBE and UNSUBSCRIBE (5.0 3.8 to 3.11, 4.7, 4.8).

use std::sync::Arc;

use cork_packet::{
    Packet, PropertiesBuf, Property, ProtocolVersion, QoS, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscribeFilter, SubscribeFilters, SubscriptionOptions, UnsubAck, Unsubscribe, UnsubscribeFilters,
    levels,
};
use cork_proto::PeerError;
use cork_store::{OWES_RETAINED, Proof, Record};
use cork_topic::Scan;

use crate::{
    board::{encode_within, explanation},
    conn::{Answer, SessionIx},
    cursors::RetainedCursor,
    filters::{Asked, Parsed, Prefix, Refused, Spec, parse},
    history::Wish,
    hooks::Client,
    io::{ConnId, Waiter},
    list::{LIST_STEPS_MAX, List, ListAction},
    presence,
    rights::Denied,
    session::{GROUP_BIT, NO_GROUP, SubValue, Subscription},
    shard::Shard,
};

/// Retained topics looked at before a subscription gets a cursor of its own.
const CURSOR_STEPS: usize = 16;

impl Shard {
    /// A client subscribes. Every filter is checked before the first one is acted on: a packet that breaks a rule
    /// changes nothing.
    pub(crate) fn on_subscribe(
        &mut self,
        id: ConnId,
        version: ProtocolVersion,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), PeerError> {
        for SubscribeFilter { filter, options } in subscribe.filters() {
            let parsed = parse(filter)?;
            if parsed.group.is_some() && options.no_local {
                return Err(PeerError::NoLocalOnShared); // 5.0 [MQTT-3.8.3-4]
            }
        }
        let list = List {
            packet_id: subscribe.packet_id,
            version,
            action: ListAction::Subscribe {
                sub_id: subscribe.properties.subscription_identifier().unwrap_or(0),
                asked: Asked::of(&subscribe.properties)?,
            },
            codes: Vec::new(),
            ticket: None,
            why: None,
        };
        self.begin_list(id, list, subscribe.filters().rest(), subscribe.filters().len());
        Ok(())
    }

    /// Subscribes to the next few filters of a packet.
    pub(crate) fn subscribe_some(
        &mut self,
        six: SessionIx,
        list: &mut List,
        (sub_id, asked): (u32, &Asked),
        filters: &mut SubscribeFilters<'_>,
    ) {
        let records = self.board.records.len();
        let (mut begun, mut presence) = (Vec::<Arc<str>>::new(), false);
        let index = self.board.sessions[six as usize].conn;
        let bridge = self.board.conn_at(index).is_some_and(|conn| conn.bridge);
        for SubscribeFilter { filter, mut options } in filters.take(LIST_STEPS_MAX) {
            let Ok(parsed) = parse(filter) else { continue };
            presence |= presence::concerns(parsed.filter);
            if bridge {
                // What 3.1.1 cannot ask for and a bridge needs: nothing of its own, and RETAIN as it was published.
                options.no_local = parsed.group.is_none();
                options.retain_as_published = true;
            }
            let allowed = self.may_subscribe(six, &parsed, options);
            let spec = allowed.and_then(|()| {
                if wish_of(&parsed, asked).is_some() && !self.keeps_history() {
                    list.why.get_or_insert_with(|| NO_HISTORY.to_owned());
                    return Err(ReasonCode::TOPIC_FILTER_INVALID);
                }
                self.spec_of(six, &parsed, asked).map_err(|Refused { code, why }| {
                    list.why.get_or_insert(why);
                    code
                })
            });
            list.codes.push(match spec {
                Ok(spec) => {
                    let value = SubValue { options: options.bits(), sub_id };
                    let from = self.board.records.len();
                    let new = self.insert_subscription(six, &parsed, value, spec);
                    if let Some(wish) = wish_of(&parsed, asked) {
                        self.begin_replay(six, (parsed.text, parsed.filter), wish, value, new);
                    } else if parsed.group.is_none() {
                        let wanted = wants_retained(options, new, list.version);
                        let found = wanted && self.has_retained(parsed.filter);
                        // Most find nothing, and a cursor's memory would outlive it. With several shards something may still
                        // be on its way here by mail; it is here before SUBACK.
                        let begins = found || wanted && self.board.config.shards > 1;
                        let cursor = begins.then(|| self.cursor(six, &parsed, value));
                        if let Some(cursor) = self.owe(six, (parsed.text, value), cursor, (found, from)) {
                            begun.push(Arc::clone(&cursor.name));
                            self.board.sessions[six as usize].outgoing().cursors.push(cursor);
                        }
                    }
                    options.qos as u8
                }
                Err(reason) => refused_code(list.version, reason, options.qos),
            });
        }
        let relies = self.board.records.len() > records;
        list.ticket = if relies { Some(self.board.ticket) } else { list.ticket };
        if presence {
            list.ticket = list.ticket.max(self.presence_waits_for());
        }
        let ticket = list.ticket.unwrap_or(self.board.stored);
        for name in begun {
            let cursors = &mut self.board.sessions[six as usize].outgoing().cursors;
            if let Some(cursor) = cursors.get_mut(&name) {
                cursor.ticket = ticket;
            }
        }
    }

    /// Answers a SUBSCRIBE of which every filter was seen to.
    pub(crate) fn finish_subscribe(&mut self, id: ConnId, list: &List) {
        let bytes = self.suback(id, list);
        // Asked also when the others were told nothing new: what somebody else's SUBSCRIBE of the same filter told them
        // may still be on its way, and SUBACK says that nothing is missed from now on.
        let number = self.board.conn(id).map_or(0, |conn| conn.next_held_number());
        let waits = self.ask_others(Waiter::Answer { conn: id, number });
        if let Some(six) = self.board.conn(id).map(|conn| conn.session) {
            self.name_replays(six, number);
        }
        self.board.answer_after(id.index, list.ticket, waits, Answer::Packet(bytes.into()));
    }

    fn suback(&mut self, id: ConnId, list: &List) -> Vec<u8> {
        let (packet_id, codes) = (list.packet_id, &*list.codes);
        let Some(conn) = self.board.conn(id) else { return Vec::new() };
        let (version, maximum, explain) = (conn.version, conn.packet_bytes_max, conn.problem_information);
        let mut properties = PropertiesBuf::default();
        let failed = codes.iter().copied().map(ReasonCode).find(|code| code.is_error());
        if let Some(reason) = failed.filter(|_| version.is_v5() && explain) {
            let why = list.why.as_deref().unwrap_or_else(|| explanation(reason));
            properties.push(Property::ReasonString(why));
        }
        let ack = SubAck { packet_id, properties: properties.as_properties(), codes };
        encode_within(&Packet::SubAck(ack), version, maximum).unwrap_or_default()
    }

    /// Whether a Session may subscribe to a filter.
    fn may_subscribe(
        &mut self,
        six: SessionIx,
        parsed: &Parsed<'_>,
        options: SubscriptionOptions,
    ) -> Result<(), ReasonCode> {
        let deepest = self.board.config.limits.topic_levels_max;
        if deepest != 0 && levels(parsed.filter) > deepest {
            return Err(ReasonCode::TOPIC_FILTER_INVALID);
        }
        let session = &self.board.sessions[six as usize];
        let (publisher, index) = (&session.publisher, session.conn);
        let denied = Denied::Subscribe { text: parsed.text, filter: parsed.filter };
        let inside = publisher.proof == Proof::Inside;
        if !inside && !self.board.rights.allows_filter(self.board.subject(publisher), parsed.filter) {
            let publisher = Arc::clone(publisher);
            self.board.stats.denied_subscribe += 1;
            self.board.report_denied(index, &publisher, denied);
            return Err(ReasonCode::NOT_AUTHORIZED);
        }
        let Some(hooks) = &self.board.hooks else { return Ok(()) };
        let client = Client::new(publisher, self.board.peer_of(index));
        let Err(refusal) = hooks.subscribe(&client, parsed.text, options) else { return Ok(()) };
        let publisher = Arc::clone(publisher);
        self.board.stats.denied_subscribe += 1;
        self.board.report_refused(index, &publisher, denied, &refusal);
        Err(refusal.code())
    }

    /// Makes or replaces a subscription. Returns whether it is new to the Session.
    pub(crate) fn insert_subscription(
        &mut self,
        six: SessionIx,
        parsed: &Parsed<'_>,
        value: SubValue,
        spec: Option<Spec>,
    ) -> bool {
        if presence::concerns(parsed.filter) {
            self.show_presence(true, true); // as retained messages, not once more as new ones
        }
        if let Some(spec) = spec {
            return self.insert_filtered(six, parsed, value, spec);
        }
        let replaces = self.remove_filtered(six, parsed.text);
        let (subscription, before, first) = match parsed.group.as_deref() {
            Some(name) => {
                let group_ix = self.router.group_or_new(name, parsed.filter);
                let group = &mut self.router.groups[group_ix as usize];
                let before = group.join(six, &self.board.sessions[six as usize], value);
                (Subscription { filter: group.filter, group: group_ix }, before, before.is_none())
            }
            None => {
                let inserted = self.router.index.insert(parsed.filter, six, value);
                // Groups stand behind the Sessions in the index and are announced on their own.
                let second = self.router.index.subscribers(inserted.id).nth(1);
                let first = inserted.replaced.is_none() && second.is_none_or(|(key, _)| key & GROUP_BIT != 0);
                (Subscription { filter: inserted.id, group: NO_GROUP }, inserted.replaced, first)
            }
        };
        if before != Some(value) {
            self.record_subscribed(six, parsed.text, value);
        }
        let new = before.is_none();
        if new {
            self.board.sessions[six as usize].subscriptions.insert(subscription);
            self.board.stats.subscriptions += 1;
            self.board.stats.shared_subscriptions += u64::from(parsed.group.is_some());
        }
        if new && presence::concerns(parsed.filter) {
            self.watch_presence(true);
        }
        if new && subscription.group != NO_GROUP {
            self.announce_group(subscription.group);
        } else if first && subscription.group == NO_GROUP && !self.board.filters.has_session(parsed.filter) {
            self.announce_filter(parsed.filter, true);
        }
        new && !replaces
    }

    pub(crate) fn record_subscribed(&mut self, six: SessionIx, filter: &str, value: SubValue) {
        let session = &self.board.sessions[six as usize];
        if session.is_persistent() {
            let record = Record::Subscribed {
                session: session.key,
                filter: filter.into(),
                options: value.options,
                subscription_id: value.sub_id,
            };
            self.board.record(record);
        }
    }

    /// Sees to it that a crash does not keep from a Session the retained messages that were not sent to it: the record of its
    /// subscription, which is among those from `from` on if there is one, says that it is owed them, if any were `found`.
    ///
    /// Who subscribes once more as before is sent them again, but for that no record is made, and no SUBACK waits: most do so
    /// whenever they come. Links are sent them once, whatever happens.
    fn owe(
        &mut self,
        six: SessionIx,
        (name, value): (&str, SubValue),
        cursor: Option<RetainedCursor>,
        (found, from): (bool, usize),
    ) -> Option<RetainedCursor> {
        let session = &mut self.board.sessions[six as usize];
        let inside = session.publisher.proof == Proof::Inside;
        let earlier = session.outgoing.as_deref_mut().and_then(|outgoing| outgoing.cursors.get_mut(name));
        let owed = earlier.is_some_and(|earlier| {
            earlier.value = value; // one that is on its way goes on with what was asked for last
            earlier.owed
        });
        if !found && !owed {
            return cursor;
        }
        let record = self.board.records[from..].iter_mut().rev().find_map(|record| match record {
            Record::Subscribed { options, .. } => Some(options),
            _ => None,
        });
        let recorded = record.map(|options| *options |= OWES_RETAINED).is_some();
        let mut cursor = cursor?;
        cursor.owed = owed || recorded;
        if inside && !cursor.owed {
            self.board.record_cursor(six, &cursor, true);
            cursor.owed = true;
        }
        Some(cursor)
    }

    /// Whether there may be retained messages for a filter.
    fn has_retained(&self, filter: &str) -> bool {
        !matches!(self.board.retained.scan(filter, None, CURSOR_STEPS), Scan::Done)
    }

    /// What begins the delivery of retained messages to a subscription (5.0 [MQTT-3.3.1-9] to -11).
    pub(crate) fn cursor(&self, six: SessionIx, parsed: &Parsed<'_>, value: SubValue) -> RetainedCursor {
        let own = self.board.sessions[six as usize].filtered.get(parsed.text);
        let filter: Arc<str> = parsed.filter.into();
        RetainedCursor {
            name: if parsed.text == parsed.filter { Arc::clone(&filter) } else { parsed.text.into() },
            filter,
            filtered: own.and_then(|own| own.key),
            after: None,
            value,
            owed: false,
            ticket: cork_store::Ticket(0),
        }
    }

    /// A client unsubscribes.
    pub(crate) fn on_unsubscribe(
        &mut self,
        id: ConnId,
        version: ProtocolVersion,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Result<(), PeerError> {
        for filter in unsubscribe.filters() {
            parse(filter)?;
        }
        let packet_id = unsubscribe.packet_id;
        let list = List {
            packet_id,
            version,
            action: ListAction::Unsubscribe,
            codes: Vec::new(),
            ticket: None,
            why: None,
        };
        self.begin_list(id, list, unsubscribe.filters().rest(), unsubscribe.filters().len());
        Ok(())
    }

    /// Unsubscribes from the next few filters of a packet.
    pub(crate) fn unsubscribe_some(
        &mut self,
        six: SessionIx,
        list: &mut List,
        filters: &mut UnsubscribeFilters<'_>,
    ) {
        let records = self.board.records.len();
        for filter in filters.take(LIST_STEPS_MAX) {
            let Ok(parsed) = parse(filter) else { continue };
            let code = if self.remove_found(six, &parsed) {
                ReasonCode::SUCCESS
            } else {
                ReasonCode::NO_SUBSCRIPTION_EXISTED
            };
            list.codes.push(code.0);
        }
        if self.board.records.len() > records {
            list.ticket = Some(self.board.ticket);
        }
    }

    /// Answers an UNSUBSCRIBE of which every filter was seen to.
    pub(crate) fn finish_unsubscribe(&mut self, id: ConnId, list: &List) {
        let codes: &[u8] = if list.version.is_v5() { &list.codes } else { &[] };
        let ack = UnsubAck { packet_id: list.packet_id, properties: Default::default(), codes };
        let maximum = self.board.conn(id).map_or(u32::MAX, |conn| conn.packet_bytes_max);
        let bytes = encode_within(&Packet::UnsubAck(ack), list.version, maximum).unwrap_or_default();
        self.board.answer_after(id.index, list.ticket, 0, Answer::Packet(bytes.into()));
    }

    /// Ends a Session's subscription of this text. False when there is none.
    pub(crate) fn remove_found(&mut self, six: SessionIx, parsed: &Parsed<'_>) -> bool {
        if self.remove_filtered(six, parsed.text) {
            return true;
        }
        let Some(subscription) = self.find_subscription(six, parsed) else { return false };
        self.remove_subscription(six, parsed, subscription);
        true
    }

    fn find_subscription(&self, six: SessionIx, parsed: &Parsed<'_>) -> Option<Subscription> {
        if parsed.prefix != Prefix::None {
            return None;
        }
        let subscription = match parsed.group.as_deref() {
            Some(name) => {
                let group = self.router.group(name)?;
                Subscription { filter: self.router.groups.get(group as usize)?.filter, group }
            }
            None => Subscription { filter: self.router.index.find(parsed.filter)?, group: NO_GROUP },
        };
        let subscriptions = &self.board.sessions[six as usize].subscriptions;
        subscriptions.contains(subscription).then_some(subscription)
    }

    fn remove_subscription(&mut self, six: SessionIx, parsed: &Parsed<'_>, subscription: Subscription) {
        let session = &mut self.board.sessions[six as usize];
        session.subscriptions.remove(subscription);
        if let Some(outgoing) = session.outgoing.as_deref_mut() {
            if parsed.group.is_none() {
                outgoing.cursors.remove(parsed.text);
            } else {
                outgoing.leave_group(subscription.group);
            }
        }
        if session.is_persistent() {
            let record = Record::Unsubscribed { session: session.key, filter: parsed.text.into() };
            self.board.record(record);
        }
        self.drop_subscription(six, subscription);
    }

    /// Takes a subscription out of the routes.
    pub(crate) fn drop_subscription(&mut self, six: SessionIx, subscription: Subscription) {
        self.board.stats.subscriptions -= 1;
        if self.presence.is_watched() && presence::concerns(&self.filter_text(subscription)) {
            self.watch_presence(false);
        }
        if subscription.group == NO_GROUP {
            // The filter's text is in the index only as long as somebody subscribes it.
            let text = self.tells_others().then(|| self.router.index.filter(subscription.filter));
            let removed = self.router.index.remove(subscription.filter, six);
            let next = self.router.index.subscribers(subscription.filter).next();
            let last = removed.is_some_and(|it| it.last || next.is_some_and(|(key, _)| key & GROUP_BIT != 0));
            if let Some(text) = text.filter(|text| last && !self.board.filters.has_session(text)) {
                self.announce_filter(&text, false);
            }
            return;
        }
        self.board.stats.shared_subscriptions -= 1;
        let session = self.board.sessions.get(six as usize).map(|session| &**session);
        if let Some(group) = self.router.groups.get_mut(subscription.group as usize) {
            group.leave(six, session);
        }
        self.announce_group(subscription.group);
        self.drop_group(subscription.group);
    }

    /// What topics are matched with for a subscription.
    fn filter_text(&self, subscription: Subscription) -> String {
        let group = self.router.groups.get(subscription.group as usize);
        match group.and_then(|group| group.filtered) {
            Some(key) => self.board.filters.filter_of(key),
            None => self.router.index.filter(subscription.filter),
        }
    }
}

/// Whether a subscription asks for retained messages now (5.0 3.8.3.1; 3.1.1 [MQTT-3.8.4-3]: always).
fn wants_retained(options: SubscriptionOptions, new: bool, version: ProtocolVersion) -> bool {
    !version.is_v5()
        || match options.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DoNotSend => false,
        }
}

/// The SUBACK code of a refused filter: v5 hears why, 3.1.1 that it failed; 3.1 has no word for it.
fn refused_code(version: ProtocolVersion, reason: ReasonCode, asked: QoS) -> u8 {
    match version {
        ProtocolVersion::V5 => reason.0,
        ProtocolVersion::V311 => 0x80,
        ProtocolVersion::V31 => asked as u8,
    }
}

const NO_HISTORY: &str = "this broker keeps no history: its configuration has no [[history]]";

/// How far a subscription reaches into the past, if it does.
fn wish_of(parsed: &Parsed<'_>, asked: &Asked) -> Option<Wish> {
    match (parsed.prefix, asked) {
        (Prefix::History(text), _) => Wish::parse(text).ok(),
        (_, Asked::Replay(wish, _)) => Some(*wish),
        _ => None,
    }
}
