//! SUBSCRIBE and UNSUBSCRIBE (5.0 3.8 to 3.11, 4.7, 4.8).

use std::sync::Arc;

use cork_packet::{
    Packet, PacketId, PropertiesBuf, Property, ProtocolVersion, QoS, ReasonCode, RetainHandling, SubAck,
    Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, UnsubAck, Unsubscribe,
    UnsubscribeFilters, levels, split_share, validate_filter,
};
use cork_proto::PeerError;
use cork_store::{Proof, Record};

use crate::{
    board::{encode_within, explanation},
    conn::{Answer, SessionIx},
    cursors::RetainedCursor,
    hooks::Client,
    io::{ConnId, Waiter},
    list::{LIST_STEPS_MAX, List, ListAction},
    presence,
    rights::Denied,
    session::{GROUP_BIT, NO_GROUP, SubValue, Subscription},
    shard::Shard,
};

/// A Topic Filter as it is subscribed: plain, or through a share.
struct Parsed<'a> {
    /// As the client wrote it.
    text: &'a str,
    /// What topics are matched with.
    filter: &'a str,
    /// `<share name>/<filter>`, for a shared subscription.
    group: Option<&'a str>,
}

fn parse(text: &str) -> Result<Parsed<'_>, PeerError> {
    match split_share(text) {
        Ok(None) => {
            validate_filter(text).map_err(|_| PeerError::TopicFilterInvalid)?;
            Ok(Parsed { text, filter: text, group: None })
        }
        Ok(Some((_, filter))) => Ok(Parsed { text, filter, group: text.strip_prefix("$share/") }),
        Err(_) => Err(PeerError::TopicFilterInvalid),
    }
}

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
            },
            codes: Vec::new(),
            ticket: None,
        };
        self.begin_list(id, list, subscribe.filters().rest(), subscribe.filters().len());
        Ok(())
    }

    /// Subscribes to the next few filters of a packet.
    pub(crate) fn subscribe_some(
        &mut self,
        six: SessionIx,
        list: &mut List,
        sub_id: u32,
        filters: &mut SubscribeFilters<'_>,
    ) {
        let records = self.board.records.len();
        let mut cursors = Vec::new();
        for SubscribeFilter { filter, options } in filters.take(LIST_STEPS_MAX) {
            let Ok(parsed) = parse(filter) else { continue };
            list.codes.push(match self.may_subscribe(six, &parsed, options) {
                Ok(()) => {
                    let value = SubValue { options: options.bits(), sub_id };
                    let new = self.insert_subscription(six, &parsed, value);
                    if parsed.group.is_none() && wants_retained(options, new, list.version) {
                        cursors.push((parsed.filter.into(), options, sub_id));
                    }
                    options.qos as u8
                }
                Err(reason) => refused_code(list.version, reason, options.qos),
            });
        }
        let relies = self.board.records.len() > records;
        list.ticket = if relies { Some(self.board.ticket) } else { list.ticket };
        let ticket = list.ticket.unwrap_or(self.board.stored);
        for (filter, options, sub_id) in cursors {
            self.add_cursor(six, filter, options, sub_id, ticket);
        }
    }

    /// Answers a SUBSCRIBE of which every filter was seen to.
    pub(crate) fn finish_subscribe(&mut self, id: ConnId, list: &List) {
        let bytes = self.suback(id, list.packet_id, &list.codes);
        // Asked also when the others were told nothing new: what somebody else's SUBSCRIBE of the same filter told them
        // may still be on its way, and SUBACK says that nothing is missed from now on.
        let number = self.board.conn(id).map_or(0, |conn| conn.held_numbers + 1);
        let waits = self.ask_others(Waiter { conn: id, number });
        self.board.answer_after(id.index, list.ticket, waits, Answer::Packet(bytes.into()));
    }

    fn suback(&mut self, id: ConnId, packet_id: PacketId, codes: &[u8]) -> Vec<u8> {
        let Some(conn) = self.board.conn(id) else { return Vec::new() };
        let (version, maximum, explain) = (conn.version, conn.packet_bytes_max, conn.problem_information);
        let mut properties = PropertiesBuf::default();
        let failed = codes.iter().copied().map(ReasonCode).find(|code| code.is_error());
        if let Some(reason) = failed.filter(|_| version.is_v5() && explain) {
            properties.push(Property::ReasonString(explanation(reason)));
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
            self.board.report_denied(index, &publisher, denied);
            return Err(ReasonCode::NOT_AUTHORIZED);
        }
        let Some(hooks) = &self.board.hooks else { return Ok(()) };
        let client = Client::new(publisher, self.board.peer_of(index));
        let Err(refusal) = hooks.subscribe(&client, parsed.text, options) else { return Ok(()) };
        let publisher = Arc::clone(publisher);
        self.board.report_refused(index, &publisher, denied, &refusal);
        Err(refusal.code())
    }

    /// Makes or replaces a subscription. Returns whether it is new to the Session.
    fn insert_subscription(&mut self, six: SessionIx, parsed: &Parsed<'_>, value: SubValue) -> bool {
        if presence::concerns(parsed.filter) {
            self.show_presence(); // as retained messages, not once more as new ones
        }
        let online = self.board.sessions[six as usize].is_online();
        let (subscription, before, first) = match parsed.group {
            Some(name) => {
                let group_ix = self.router.group_or_new(name, parsed.filter);
                let group = &mut self.router.groups[group_ix as usize];
                let before = group.members.insert(six, value);
                group.online += u32::from(before.is_none() && online);
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
        } else if first && subscription.group == NO_GROUP {
            self.announce_filter(parsed.filter, true);
        }
        new
    }

    /// Makes a subscription of an earlier life of the broker again.
    pub(crate) fn restore_subscription(&mut self, six: SessionIx, filter: &str, value: SubValue) {
        if let Ok(parsed) = parse(filter) {
            self.insert_subscription(six, &parsed, value);
        }
    }

    fn record_subscribed(&mut self, six: SessionIx, filter: &str, value: SubValue) {
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

    /// Starts the delivery of retained messages to a subscription (5.0 [MQTT-3.3.1-9] to -11).
    fn add_cursor(
        &mut self,
        six: SessionIx,
        filter: Arc<str>,
        options: SubscriptionOptions,
        sub_id: u32,
        ticket: cork_store::Ticket,
    ) {
        if self.board.retained.is_empty() {
            return;
        }
        let cursor = RetainedCursor {
            filter,
            after: None,
            qos: options.qos,
            no_local: options.no_local,
            sub_id,
            ticket,
        };
        let cursors = &mut self.board.sessions[six as usize].outgoing().cursors;
        cursors.push(cursor);
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
        let list =
            List { packet_id, version, action: ListAction::Unsubscribe, codes: Vec::new(), ticket: None };
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
            let code = match self.find_subscription(six, &parsed) {
                Some(subscription) => {
                    self.remove_subscription(six, &parsed, subscription);
                    ReasonCode::SUCCESS
                }
                None => ReasonCode::NO_SUBSCRIPTION_EXISTED,
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

    fn find_subscription(&self, six: SessionIx, parsed: &Parsed<'_>) -> Option<Subscription> {
        let subscription = match parsed.group {
            Some(name) => {
                let group = self.router.group(name)?;
                Subscription { filter: self.router.groups.get(group as usize)?.filter, group }
            }
            None => Subscription { filter: self.router.index.find(parsed.filter)?, group: NO_GROUP },
        };
        let subscriptions = &self.board.sessions[six as usize].subscriptions;
        subscriptions.contains(&subscription).then_some(subscription)
    }

    fn remove_subscription(&mut self, six: SessionIx, parsed: &Parsed<'_>, subscription: Subscription) {
        let session = &mut self.board.sessions[six as usize];
        session.subscriptions.remove(&subscription);
        if let Some(outgoing) = session.outgoing.as_deref_mut() {
            if parsed.group.is_none() {
                outgoing.cursors.remove(parsed.filter);
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
        if self.presence.is_watched() && presence::concerns(&self.router.index.filter(subscription.filter)) {
            self.watch_presence(false);
        }
        if subscription.group == NO_GROUP {
            // The filter's text is in the index only as long as somebody subscribes it.
            let text = self.tells_others().then(|| self.router.index.filter(subscription.filter));
            let removed = self.router.index.remove(subscription.filter, six);
            let next = self.router.index.subscribers(subscription.filter).next();
            let last = removed.is_some_and(|it| it.last || next.is_some_and(|(key, _)| key & GROUP_BIT != 0));
            if let Some(text) = text.filter(|_| last) {
                self.announce_filter(&text, false);
            }
            return;
        }
        self.board.stats.shared_subscriptions -= 1;
        let online = self.board.sessions.get(six as usize).is_some_and(|session| session.is_online());
        if let Some(group) = self.router.groups.get_mut(subscription.group as usize)
            && group.members.remove(six).is_some()
            && online
        {
            group.online = group.online.saturating_sub(1);
        }
        self.announce_group(subscription.group);
        self.router.drop_group_if_empty(subscription.group);
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
