//! What clients do of their own accord: publish, subscribe, acknowledge, send again, say goodbye.

use cork_packet::{
    Ack, Disconnect, Packet, PacketId, PacketType, Properties, PropertiesBuf, Property, Publish, QoS,
    ReasonCode, RetainHandling, SubscribeBuf, SubscriptionOptions, UnsubscribeBuf,
};

use crate::{
    client::{Client, Flight, QOS, Request, Role, Step},
    context::Context,
    ledger::{Fate, Publication, Subscription},
    link::{Farewell, LinkIx},
};

/// Filters of the storm; `options.topics` are what they match or not.
const FILTERS: [&str; 14] = [
    "#",
    "+",
    "+/+",
    "a/#",
    "a/+",
    "a",
    "a/b",
    "a/b/c",
    "b/#",
    "/+",
    "$x/#",
    "room/+/heat",
    "room/#",
    "+/b/#",
];

/// Publications of a 3.x client under way at a time; 5.0 clients ask the broker.
const UNDER_WAY_MAX: usize = 20;

impl Client {
    /// Does one thing.
    pub(crate) fn act(&mut self, cx: &mut Context) {
        let Some(line) = &self.line else { return };
        let link = line.link;
        if !line.open && !self.may_be_hasty(cx, link) {
            return;
        }
        if cx.rng.rarely(cx.options.disconnect_permille) {
            return self.say_goodbye(cx);
        }
        if cx.rng.rarely(3) {
            // A packet that breaks the protocol: the broker has to end the connection, and to publish the Will.
            cx.net.links[link].vandal = true;
            cx.net.links[link].up.extend([0x00, 0x01, 0x02]);
            cx.coverage.hit("broken packets");
            return;
        }
        match (&self.role, cx.rng.chance(cx.options.publish)) {
            (Role::Plain, true) => self.publish(cx),
            (Role::Plain, false) if cx.rng.chance(75) => self.subscribe(cx),
            (Role::Plain, false) => self.unsubscribe(cx),
            (Role::Worker { .. }, true) if cx.rng.chance(90) => {
                cx.send(link, &Packet::PingReq);
            }
            (Role::Worker { .. }, _) if cx.rng.chance(80) => self.subscribe(cx),
            (Role::Worker { .. }, _) => self.unsubscribe(cx),
            (Role::Watcher { .. }, _) if cx.rng.chance(70) => cx.send(link, &Packet::PingReq),
            (Role::Watcher { .. }, _) if cx.rng.chance(80) => self.subscribe(cx),
            (Role::Watcher { .. }, _) => self.unsubscribe(cx),
            (Role::LooksBack, _) if self.wants_past(cx) => self.ask_for_past(cx),
            (Role::LooksBack, _) => cx.send(link, &Packet::PingReq),
            (Role::Late { .. }, _) => {}
        }
    }

    /// Whether it sends on before CONNACK: only with a Session that surely is new, or it could not know what to send
    /// again first.
    fn may_be_hasty(&self, cx: &mut Context, link: LinkIx) -> bool {
        cx.net.links[link].greeting.clean && cx.rng.chance(cx.options.hasty)
    }

    /// How many more QoS 1 and 2 publications may go out now.
    fn quota(&self, cx: &Context, link: LinkIx) -> usize {
        let v5 = cx.net.links[link].greeting.version.is_v5();
        let maximum = if v5 { usize::from(cx.options.receive_maximum) } else { UNDER_WAY_MAX };
        maximum.min(UNDER_WAY_MAX).saturating_sub(self.under_way())
    }

    fn publish(&mut self, cx: &mut Context) {
        let Some(line) = &self.line else { return };
        let (link, resending) = (line.link, !line.resend.is_empty());
        let qos = cx.rng.pick(&QOS);
        if qos != QoS::AtMostOnce && (resending || self.quota(cx, link) == 0) {
            return;
        }
        let topic = cx.rng.pick(&cx.options.topics);
        let retain = cx.rng.chance(cx.options.retain);
        let v5 = cx.net.links[link].greeting.version.is_v5();
        let expires = v5 && cx.rng.chance(cx.options.expiry);
        let length = match () {
            () if cx.rng.chance(cx.options.large) => cx.rng.pick(&[9_000, 40_000]),
            () if cx.rng.chance(10) => 300,
            () => cx.rng.between(8, 40),
        };
        let clears = retain && cx.rng.chance(20);
        let payload = if clears { Vec::new() } else { cx.ledger.payload(length) };
        let expiry = if expires { Some(cx.rng.pick(&[0, 1, 3, 100])) } else { None };
        let publication = cx.ledger.publications.len();
        cx.ledger.publications.push(Publication {
            client: self.ix,
            topic,
            qos,
            retain,
            payload,
            link,
            sent: cx.now,
            acked: None,
            resends: 0,
            expiry,
            will: false,
            fate: Fate::Open,
        });
        cx.coverage.hit(match qos {
            QoS::AtMostOnce => "publications QoS 0",
            QoS::AtLeastOnce => "publications QoS 1",
            QoS::ExactlyOnce => "publications QoS 2",
        });
        cx.coverage.many("retained messages cleared", u64::from(clears));
        let id = (qos != QoS::AtMostOnce).then(|| self.free_id());
        if let Some(id) = id {
            self.flights.push(Flight { id, publication, step: Step::Published, link });
        }
        self.send_publish(cx, publication, id, false);
    }

    fn send_publish(&mut self, cx: &mut Context, publication: usize, packet_id: Option<PacketId>, dup: bool) {
        let Some(line) = &mut self.line else { return };
        let link = line.link;
        let message = cx.ledger.publications[publication].clone();
        let mut properties = PropertiesBuf::new();
        let mut topic = message.topic;
        if cx.net.links[link].greeting.version.is_v5() {
            if let Some(seconds) = message.expiry {
                properties.push(Property::MessageExpiryInterval(seconds));
            }
            if publication.is_multiple_of(5) {
                properties.push(Property::UserProperty("n", "v"));
            }
            let known = line.aliases_out.iter().position(|known| *known == topic);
            let used = line.aliases_out.len();
            if let Some(alias) = known.or_else(|| (used < usize::from(line.server_alias_max)).then_some(used))
            {
                let number = u16::try_from(alias + 1).expect("aliases are few");
                properties.push(Property::TopicAlias(number));
                if known.is_some() {
                    topic = "";
                    cx.coverage.hit("Topic Aliases used by clients");
                } else {
                    line.aliases_out.push(message.topic);
                }
            }
        }
        let packet = Packet::Publish(Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            topic,
            packet_id,
            properties: properties.as_properties(),
            payload: &message.payload,
        });
        cx.send(link, &packet);
    }

    /// Goes on with what is to be sent again, once CONNACK is there.
    pub(crate) fn resend_if_open(&mut self, cx: &mut Context) {
        if self.line.as_ref().is_some_and(|line| line.open) {
            self.resend(cx);
        }
    }

    /// Sends again what an earlier connection left behind, in order (3.1.1, 5.0 [MQTT-4.4.0-1]).
    fn resend(&mut self, cx: &mut Context) {
        loop {
            let Some(line) = &self.line else { return };
            let link = line.link;
            let Some(id) = line.resend.front().copied() else { return };
            let Some(at) = self.flights.iter().position(|flight| flight.id == id) else { return };
            let Flight { publication, step, .. } = self.flights[at];
            if step == Step::Published {
                if self.quota(cx, link) == 0 {
                    return;
                }
                self.flights[at].link = link;
                cx.ledger.publications[publication].resends += 1;
                cx.coverage.hit("PUBLISH sent again by clients");
                self.send_publish(cx, publication, Some(id), true);
            } else {
                cx.coverage.hit("PUBREL sent again by clients");
                cx.send(link, &Packet::PubRel(Ack::success(id)));
            }
            if let Some(line) = &mut self.line {
                line.resend.pop_front();
            }
        }
    }

    /// Sends one of the acknowledgements that are owed, not always the oldest.
    pub(crate) fn acknowledge(&mut self, cx: &mut Context) {
        let Some(line) = &mut self.line else { return };
        if line.owed.is_empty() {
            return;
        }
        let at = if cx.rng.chance(60) { 0 } else { cx.rng.below(line.owed.len()) };
        let (kind, id) = line.owed.remove(at);
        let v5 = cx.net.links[line.link].greeting.version.is_v5();
        let packet = match kind {
            PacketType::PubAck => Packet::PubAck(Ack::success(id)),
            PacketType::PubRel => Packet::PubRel(Ack::success(id)),
            PacketType::PubComp => Packet::PubComp(Ack::success(id)),
            _ if v5 && cx.rng.chance(3) => {
                // The client refuses a message it has: the flight ends (5.0 4.3.3).
                cx.coverage.hit("QoS 2 messages refused");
                cx.ledger.refused.extend(self.incoming.remove(&id));
                line.busy.remove(&id);
                let reason = ReasonCode::QUOTA_EXCEEDED;
                Packet::PubRec(Ack { packet_id: id, reason, properties: Properties::EMPTY })
            }
            _ => Packet::PubRec(Ack::success(id)),
        };
        if matches!(kind, PacketType::PubAck | PacketType::PubComp) {
            line.busy.remove(&id);
        }
        cx.coverage.many("acknowledgements out of order", u64::from(at > 0));
        cx.send(line.link, &packet);
    }

    pub(crate) fn subscribe(&mut self, cx: &mut Context) {
        let Some(line) = &self.line else { return };
        let link = line.link;
        let v5 = cx.net.links[link].greeting.version.is_v5();
        let id = self.free_id();
        let (mut filters, mut made) = (SubscribeBuf::new(), Vec::new());
        let mut chosen: Vec<(&'static str, Option<usize>)> = Vec::new();
        match self.role {
            Role::Plain => {
                for _ in 0..cx.rng.pick(&[1, 1, 2, 3]) {
                    let filter = cx.rng.pick(&FILTERS);
                    if chosen.iter().all(|(other, _)| *other != filter) {
                        chosen.push((filter, None));
                    }
                }
            }
            Role::Worker { share, filter } => chosen.push((filter, Some(share))),
            Role::Watcher { filter, .. } => chosen.push((filter, None)),
            Role::LooksBack => return,
            Role::Late { .. } => {
                chosen.extend([("#", None), ("$x/#", None)]);
                chosen.extend(cx.options.presence.then_some(("$presence/+", None)));
            }
        }
        for (filter, share) in chosen {
            let plain = share.is_none() && self.is_plain();
            let options = SubscriptionOptions {
                qos: match (&self.role, share) {
                    (_, Some(share)) => cx.options.share_qos[share],
                    (Role::Watcher { qos, .. }, _) => *qos,
                    (Role::Late { .. }, _) => QoS::ExactlyOnce,
                    _ => cx.rng.pick(&QOS),
                },
                no_local: v5 && plain && cx.rng.chance(15),
                retain_as_published: v5 && plain && cx.rng.chance(25),
                retain_handling: match () {
                    () if v5 && plain && cx.rng.chance(20) => RetainHandling::SendIfNew,
                    () if v5 && plain && cx.rng.chance(20) => RetainHandling::DoNotSend,
                    () => RetainHandling::SendAtSubscribe,
                },
            };
            let text = share.map_or_else(|| filter.to_owned(), |share| format!("$share/s{share}/{filter}"));
            filters.push(&text, options).expect("the storm's filters are short");
            cx.ledger.subscriptions.push(Subscription {
                link,
                filter,
                share,
                qos: options.qos,
                no_local: options.no_local,
                wants_retained: options.retain_handling != RetainHandling::DoNotSend,
                requested: cx.now,
                granted: None,
                given_up: None,
                ended: None,
            });
            made.push(cx.ledger.subscriptions.len() - 1);
            cx.coverage.hit(if share.is_some() { "SUBSCRIBE shared" } else { "SUBSCRIBE" });
        }
        let mut properties = PropertiesBuf::new();
        if v5 && cx.rng.chance(40) {
            properties.push(Property::SubscriptionIdentifier(u32::from(id.get())));
        }
        if let Some(line) = &mut self.line {
            line.requests.insert(id, Request::Subscribe(made));
        }
        cx.send(link, &Packet::Subscribe(filters.subscribe(id, properties.as_properties())));
    }

    fn unsubscribe(&mut self, cx: &mut Context) {
        let Some(line) = &self.line else { return };
        let link = line.link;
        let Some(incarnation) = cx.net.links[link].incarnation else { return };
        let id = self.free_id();
        let filter = match self.role {
            Role::Worker { filter, .. } | Role::Watcher { filter, .. } => filter,
            _ => cx.rng.pick(&FILTERS),
        };
        let links = &cx.net.links;
        let mut ended = Vec::new();
        let mut share = None;
        for (at, sub) in cx.ledger.subscriptions.iter_mut().enumerate() {
            if links[sub.link].incarnation == Some(incarnation) && sub.filter == filter {
                sub.given_up = sub.given_up.or(Some(cx.now));
                share = sub.share;
                ended.push(at);
            }
        }
        if let Role::Worker { share: mine, .. } = self.role {
            share = Some(mine);
        }
        let text = share.map_or_else(|| filter.to_owned(), |share| format!("$share/s{share}/{filter}"));
        let mut filters = UnsubscribeBuf::new();
        filters.push(&text).expect("the storm's filters are short");
        cx.coverage.hit("UNSUBSCRIBE");
        if let Some(line) = &mut self.line {
            line.requests.insert(id, Request::Unsubscribe(ended));
        }
        cx.send(link, &Packet::Unsubscribe(filters.unsubscribe(id, Properties::EMPTY)));
    }

    /// DISCONNECT, now and then with a new expiry, or asking for the Will.
    pub(crate) fn say_goodbye(&mut self, cx: &mut Context) {
        let Some(line) = self.line.take() else { return };
        let entry = &cx.net.links[line.link];
        let v5 = entry.greeting.version.is_v5();
        let may_change = v5 && entry.greeting.expiry != 0;
        let with_will = v5 && cx.rng.chance(30);
        let expiry = if may_change && cx.rng.chance(30) { Some(cx.rng.pick(&[0, 3, 3600])) } else { None };
        let mut properties = PropertiesBuf::new();
        if let Some(seconds) = expiry {
            properties.push(Property::SessionExpiryInterval(seconds));
        }
        let reason =
            if with_will { ReasonCode::DISCONNECT_WITH_WILL } else { ReasonCode::NORMAL_DISCONNECTION };
        cx.send(
            line.link,
            &Packet::Disconnect(Disconnect { reason, properties: properties.as_properties() }),
        );
        cx.coverage.hit("DISCONNECT");
        let entry = &mut cx.net.links[line.link];
        entry.farewell = Some(Farewell { with_will, expiry });
        entry.fin = true;
        entry.abandoned = true;
    }
}
