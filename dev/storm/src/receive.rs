//! How clients take what the broker sends, and what they refuse to believe.

use cork_packet::{
    FixedHeader, Packet, PacketId, PacketType, ProtocolVersion, Publish, QoS, ReasonCode, Receiver, decode,
};

use crate::{
    client::{Client, Request, Role, Step},
    context::{Context, describe},
    ledger::{Delivery, Fate},
    link::LinkIx,
    past, presence,
};

impl Client {
    /// Takes bytes as they come and handles the whole packets among them.
    pub(crate) fn receive(&mut self, cx: &mut Context, bytes: &[u8]) -> Result<(), String> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let link = line.link;
        line.inbox.extend_from_slice(bytes);
        let mut bytes = std::mem::take(&mut line.inbox);
        loop {
            let header = FixedHeader::decode(&bytes).map_err(|error| format!("bad header: {error}"))?;
            let Some(length) =
                header.map(|header| header.packet_len()).filter(|length| *length <= bytes.len())
            else {
                break;
            };
            let rest = bytes.split_off(length);
            self.on_packet(cx, link, &bytes)?;
            bytes = rest;
        }
        if let Some(line) = &mut self.line {
            line.inbox = bytes;
        }
        Ok(())
    }

    fn on_packet(&mut self, cx: &mut Context, link: LinkIx, bytes: &[u8]) -> Result<(), String> {
        let greeting = &cx.net.links[link].greeting;
        let (version, maximum) = (greeting.version, greeting.packet_max);
        // 5.0 [MQTT-3.1.2-24]
        if bytes.len() > maximum as usize {
            return Err(format!("a packet of {} bytes where {maximum} are allowed", bytes.len()));
        }
        let packet = decode(version, Receiver::Client, bytes)
            .map_err(|error| format!("the broker sent {bytes:02X?}: {error}"))?;
        cx.tell(|| format!("client {} < {}", self.ix, describe(link, &packet)));
        let open = self.line.as_ref().is_some_and(|line| line.open);
        match packet {
            Packet::ConnAck(ack) if !open && ack.code == 0 => {
                let alias_max = ack.properties.topic_alias_maximum().unwrap_or(0);
                self.on_connack(cx, link, ack.session_present, alias_max)
            }
            Packet::Disconnect(_) => Ok(()),
            _ if !open => Err(format!("before CONNACK came {packet:?}")),
            Packet::Publish(publish) => self.on_publish(cx, link, &publish),
            Packet::PubAck(ack) => self.on_puback(cx, ack.packet_id, ack.reason),
            Packet::PubRec(ack) => self.on_pubrec(cx, ack.packet_id, ack.reason),
            Packet::PubComp(ack) => self.on_pubcomp(ack.packet_id),
            Packet::PubRel(ack) => self.on_pubrel(ack.packet_id, ack.reason),
            Packet::SubAck(ack) => self.on_suback(cx, ack.packet_id, ack.codes),
            Packet::UnsubAck(ack) => self.on_unsuback(cx, ack.packet_id),
            Packet::PingResp => Ok(()),
            other => Err(format!("unexpected {other:?}")),
        }
    }

    fn on_connack(
        &mut self,
        cx: &mut Context,
        link: LinkIx,
        session_present: bool,
        alias_max: u16,
    ) -> Result<(), String> {
        let entry = &cx.net.links[link];
        let said = entry.session_present;
        if entry.greeting.version != ProtocolVersion::V31 && session_present != said {
            return Err(format!("CONNACK says session present {session_present}, the broker's log {said}"));
        }
        self.must_clean = false;
        cx.ledger.trails[self.ix].confirm(link);
        let incarnation = entry.incarnation;
        if incarnation != self.incarnation {
            self.forget_session(cx, link);
        }
        self.incarnation = incarnation;
        cx.coverage.many("Sessions resumed", u64::from(said));
        let Some(line) = &mut self.line else { return Ok(()) };
        line.open = true;
        line.server_alias_max = alias_max;
        line.resend =
            self.flights.iter().filter(|flight| flight.link != link).map(|flight| flight.id).collect();
        Ok(())
    }

    /// A message. Checks what can be told at once; the rest is in `checks`.
    fn on_publish(&mut self, cx: &mut Context, link: LinkIx, publish: &Publish<'_>) -> Result<(), String> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let greeting = &cx.net.links[link].greeting;
        let mut topic = publish.topic.to_owned();
        if let Some(alias) = publish.properties.topic_alias() {
            // 5.0 [MQTT-3.1.2-26]
            if alias == 0 || alias > greeting.alias_max {
                return Err(format!("Topic Alias {alias} where {} is the maximum", greeting.alias_max));
            }
            cx.coverage.hit("Topic Aliases used by the broker");
            if topic.is_empty() {
                topic = line.aliases_in.get(&alias).ok_or("an alias without a topic")?.clone();
            } else {
                line.aliases_in.insert(alias, topic.clone());
            }
        }
        if let Some(id) = publish.packet_id {
            // 5.0 [MQTT-2.2.1-4]: an identifier in use is not used again; nor is anything sent twice on a connection
            // ([MQTT-4.4.0-1]).
            if line.busy.insert(id, true).is_some() {
                return Err(format!("identifier {id:?} is used again while it is under way: {publish:?}"));
            }
            // 5.0 [MQTT-3.3.4-9]
            let open = line.busy.values().filter(|counted| **counted).count();
            if open > usize::from(greeting.receive_maximum) {
                return Err(format!("{open} under way where {} are allowed", greeting.receive_maximum));
            }
        }
        if publish.dup {
            cx.coverage.hit("PUBLISH sent again by the broker");
        }
        let presence = topic.starts_with(presence::ROOT);
        if let Role::Late { found } = &mut self.role
            && publish.retain
            && !presence
        {
            found.push((topic.clone(), publish.payload.to_vec()));
        }
        let number = if publish.payload.is_empty() || presence {
            None // a retained message was cleared: it has no number
        } else {
            Some(cx.ledger.find(&topic, publish.payload)?)
        };
        let line = self.line.as_mut().ok_or("a message without a connection")?;
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => line.owed.push((PacketType::PubAck, id)),
            (QoS::ExactlyOnce, Some(id)) => {
                line.owed.push((PacketType::PubRec, id));
                let key = number.unwrap_or(usize::MAX);
                if let Some(before) = self.incoming.insert(id, key) {
                    // 5.0 [MQTT-3.3.1-1], [MQTT-4.3.3-3]
                    if before != key || !publish.dup {
                        return Err(format!("identifier {id:?} has another message before its PUBREL"));
                    }
                    cx.coverage.hit("QoS 2 messages that came twice");
                    return Ok(());
                }
            }
            _ => {}
        }
        if presence {
            return self.on_presence(cx, &topic, publish);
        }
        match number {
            Some(number) if matches!(self.role, Role::LooksBack) => {
                past::came(cx, link, number, publish.retain)
            }
            Some(number) => self.deliver(cx, link, number, publish),
            None => Ok(()),
        }
    }

    /// A message reaches the application.
    fn deliver(
        &mut self,
        cx: &mut Context,
        link: LinkIx,
        number: usize,
        publish: &Publish<'_>,
    ) -> Result<(), String> {
        let incarnation = cx.net.links[link].incarnation.ok_or("a message without a Session")?;
        let message = &cx.ledger.publications[number];
        // 5.0 [MQTT-3.3.2-5], with the remaining time of [MQTT-3.3.2-6].
        if let Some(seconds) = publish.properties.message_expiry_interval()
            && message.expiry.is_none_or(|all| seconds > all)
        {
            return Err(format!("message {number} has {seconds} seconds left of {:?}", message.expiry));
        }
        let delivery = Delivery {
            incarnation,
            publication: number,
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            at: cx.now,
        };
        let late = matches!(self.role, Role::Late { .. });
        crate::checks::on_delivery(&cx.ledger, &cx.net.links, self.ix, &delivery)?;
        cx.coverage.hit(match publish.qos {
            QoS::AtMostOnce => "deliveries QoS 0",
            QoS::AtLeastOnce => "deliveries QoS 1",
            QoS::ExactlyOnce => "deliveries QoS 2",
        });
        cx.coverage.many("Wills delivered", u64::from(message.will && !late));
        cx.coverage.many("retained messages delivered", u64::from(publish.retain));
        cx.ledger.deliveries.push(delivery);
        Ok(())
    }

    fn on_puback(&mut self, cx: &mut Context, id: PacketId, reason: ReasonCode) -> Result<(), String> {
        let at = self.flights.iter().position(|flight| flight.id == id).ok_or("PUBACK for nothing")?;
        let flight = self.flights.remove(at);
        let message = &mut cx.ledger.publications[flight.publication];
        if reason == ReasonCode::QUOTA_EXCEEDED
            && cx.coverage.of("full disks") + cx.coverage.of("failing disks") > 0
        {
            cx.coverage.hit("publications refused: no space");
            return Ok(()); // it may be known from an earlier sending
        }
        if message.qos != QoS::AtLeastOnce || reason.is_error() {
            return Err(format!("PUBACK with {reason} for a message of {:?}", message.qos));
        }
        (message.acked, message.fate) = (Some(cx.now), Fate::Taken);
        Ok(())
    }

    fn on_pubrec(&mut self, cx: &mut Context, id: PacketId, reason: ReasonCode) -> Result<(), String> {
        if reason == ReasonCode::QUOTA_EXCEEDED
            && cx.coverage.of("full disks") + cx.coverage.of("failing disks") > 0
        {
            self.flights.retain(|flight| flight.id != id);
            cx.coverage.hit("publications refused: no space");
            return Ok(());
        }
        let flight = self.flights.iter_mut().find(|flight| flight.id == id).ok_or("PUBREC for nothing")?;
        let message = &mut cx.ledger.publications[flight.publication];
        if message.qos != QoS::ExactlyOnce || flight.step != Step::Published || reason.is_error() {
            return Err(format!("PUBREC with {reason} at {:?} of {:?}", flight.step, message.qos));
        }
        (message.acked, message.fate) = (Some(cx.now), Fate::Taken);
        flight.step = Step::Released;
        if let Some(line) = &mut self.line {
            line.owed.push((PacketType::PubRel, id));
        }
        Ok(())
    }

    fn on_pubcomp(&mut self, id: PacketId) -> Result<(), String> {
        let released = |flight: &crate::client::Flight| flight.id == id && flight.step == Step::Released;
        let at = self.flights.iter().position(released).ok_or("PUBCOMP for nothing")?;
        self.flights.remove(at);
        Ok(())
    }

    fn on_pubrel(&mut self, id: PacketId, reason: ReasonCode) -> Result<(), String> {
        if reason.is_error() {
            return Err(format!("PUBREL with {reason}: the broker forgot a flight"));
        }
        let Some(line) = &mut self.line else { return Ok(()) };
        self.incoming.remove(&id);
        line.busy.entry(id).or_insert(false);
        line.owed.push((PacketType::PubComp, id));
        Ok(())
    }

    fn on_suback(&mut self, cx: &mut Context, id: PacketId, codes: &[u8]) -> Result<(), String> {
        let line = self.line.as_mut().ok_or("SUBACK without a connection")?;
        let made = match line.requests.remove(&id) {
            Some(Request::Subscribe(made)) => made,
            Some(Request::Past) => return past::granted(cx, line.link, codes),
            _ => return Err("SUBACK for nothing".into()),
        };
        if made.len() != codes.len() {
            return Err("SUBACK with another number of codes than filters".into());
        }
        for (sub, code) in made.into_iter().zip(codes) {
            let sub = &mut cx.ledger.subscriptions[sub];
            if *code != sub.qos as u8 {
                return Err(format!("QoS {code} is granted where {:?} was asked for", sub.qos));
            }
            sub.granted = Some(cx.now);
        }
        Ok(())
    }

    fn on_unsuback(&mut self, cx: &mut Context, id: PacketId) -> Result<(), String> {
        let line = self.line.as_mut().ok_or("UNSUBACK without a connection")?;
        let Some(Request::Unsubscribe(ended)) = line.requests.remove(&id) else {
            return Err("UNSUBACK for nothing".into());
        };
        for sub in ended {
            cx.ledger.subscriptions[sub].ended = cx.ledger.subscriptions[sub].ended.or(Some(cx.now));
        }
        Ok(())
    }
}
