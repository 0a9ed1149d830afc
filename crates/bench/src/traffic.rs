//! Publishers and subscribers of live traffic, on one thread.

use std::sync::Arc;

use cork_packet::{Ack, Packet, PacketId, Publish, QoS};
use hdrhistogram::Histogram;

use crate::engine::{Engine, Handler};
use crate::latency;
use crate::pace::Timetable;
use crate::payload::{Stamp, since, tick};
use crate::publisher::{Publisher, Writer};
use crate::shape::{Ledger, Prefix, Shape};
use crate::sizes::Sizes;
use crate::target::Target;
use crate::units::{Nanos, SECOND, small};

/// What to send and for how long; the same on all threads.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Arc<Target>,
    pub(crate) qos: QoS,
    /// The subscribers' sessions outlive their connections.
    pub(crate) kept: bool,
    pub(crate) sizes: Sizes,
    pub(crate) verify: bool,
    /// Open loop: messages per second of this thread.
    pub(crate) rate: Option<f64>,
    /// Closed loop; 0 for no limit.
    pub(crate) window: u32,
    pub(crate) inflight: u32,
    pub(crate) warmup: Nanos,
    pub(crate) duration: Nanos,
    pub(crate) drain: Nanos,
    pub(crate) messages: Option<u64>,
    pub(crate) naps: bool,
    pub(crate) broker_pid: Option<u32>,
    pub(crate) deadline: Nanos,
    pub(crate) run: u16,
    pub(crate) progress: bool,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
enum Role {
    Nobody,
    Publisher(usize),
    Subscriber(usize),
}

/// The state of the traffic.
pub(crate) struct Traffic {
    plan: Plan,
    roles: Vec<Role>,
    pub(crate) publishers: Vec<Publisher>,
    writer: Writer,
    pub(crate) ledger: Ledger,
    /// Publishers that may be able to send.
    ready: Vec<usize>,
    pub(crate) timetable: Option<Timetable>,
    /// Messages of all publishers without acknowledgement.
    pub(crate) unacknowledged: u64,
    /// Bytes of payload that were delivered.
    pub(crate) payload_bytes: u64,
    pub(crate) last_arrival: Nanos,
    /// Latency counts for messages that were due from the first to the second.
    pub(crate) measured: (Nanos, Nanos),
    pub(crate) latency: Histogram<u64>,
    /// The same up to the acknowledgement the publisher gets.
    pub(crate) acknowledgement: Histogram<u64>,
    /// How late the generator itself sent.
    pub(crate) lag: Histogram<u64>,
    /// What the broker said when it ended the first connection.
    pub(crate) why_ended: Option<String>,
}

impl Traffic {
    /// With connections still to be made.
    pub(crate) fn new(plan: &Plan, shape: &Shape, prefix: &Prefix) -> Self {
        let ledger = Ledger::new(shape, prefix);
        let mut writer = Writer::new(plan.target.version, plan.qos, false, &plan.sizes);
        if !matches!(shape, Shape::Wildcard { .. }) {
            writer.prepare((0..shape.publishers()).map(|publisher| ledger.topic(publisher)));
        }
        Self {
            plan: plan.clone(),
            roles: Vec::new(),
            publishers: Vec::new(),
            writer,
            ledger,
            ready: Vec::new(),
            timetable: None,
            unacknowledged: 0,
            payload_bytes: 0,
            last_arrival: 0,
            measured: (Nanos::MAX, Nanos::MAX),
            latency: latency::histogram(),
            acknowledgement: latency::histogram(),
            lag: latency::histogram(),
            why_ended: None,
        }
    }

    /// Names the connection of subscriber `number`.
    pub(crate) fn subscriber(&mut self, number: usize, id: usize) {
        self.set_role(id, Role::Subscriber(number));
    }

    /// Adds a publisher on connection `id`.
    pub(crate) fn publisher(&mut self, id: usize, receive_maximum: u16) {
        self.set_role(id, Role::Publisher(self.publishers.len()));
        self.publishers.push(Publisher::new(id, self.plan.inflight.min(u32::from(receive_maximum))));
    }

    fn set_role(&mut self, id: usize, role: Role) {
        if id >= self.roles.len() {
            self.roles.resize(id + 1, Role::Nobody);
        }
        self.roles[id] = role;
    }

    /// Lets everybody send.
    pub(crate) fn start(&mut self) {
        for publisher in 0..self.publishers.len() {
            self.wake(publisher);
        }
    }

    /// Open loop: notes what is due by `now`, for messages due before `end`.
    pub(crate) fn note_due(&mut self, now: Nanos, end: Nanos) {
        let Some(mut timetable) = self.timetable else { return };
        let limit = self.plan.messages.unwrap_or(u64::MAX);
        while let Some(number) = timetable.take(now, end) {
            if number >= limit {
                break;
            }
            let publisher = usize::try_from(number % self.publishers.len() as u64).unwrap_or(0);
            self.publishers[publisher].due.push_back(number);
            self.wake(publisher);
        }
        self.timetable = Some(timetable);
    }

    /// Whether everything that should be sent has been.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.plan.messages.is_some_and(|limit| self.ledger.published() >= limit)
    }

    /// Whether messages are due that could not be sent.
    pub(crate) fn is_behind(&self) -> bool {
        self.publishers.iter().any(|publisher| !publisher.due.is_empty())
    }

    /// Sends what may be sent.
    pub(crate) fn send(&mut self, engine: &mut Engine) {
        let mut left =
            self.plan.messages.map_or(u64::MAX, |limit| limit.saturating_sub(self.ledger.published()));
        for publisher in std::mem::take(&mut self.ready) {
            self.publishers[publisher].ready = false;
            // Once for all it may send now; a look at the clock for each would cost as much as the message.
            let now = engine.now();
            while left > 0 && self.can_send(engine, publisher) {
                let Some(due) = self.due(publisher, now) else { break };
                self.publish(engine, publisher, due);
                left -= 1;
            }
            // Nothing but the socket holds it back: look again in the next turn.
            if engine.backlog(self.publishers[publisher].id) >= BACKLOG_MAX {
                self.wake(publisher);
            }
        }
    }

    /// The time to write into the next message; `None` when none is due.
    #[inline]
    fn due(&mut self, publisher: usize, now: Nanos) -> Option<Nanos> {
        let Some(timetable) = self.timetable else { return Some(now) };
        let due = timetable.due(self.publishers[publisher].due.pop_front()?);
        if (self.measured.0..self.measured.1).contains(&due) {
            self.lag.saturating_record(now.saturating_sub(due));
        }
        Some(due)
    }

    #[inline]
    fn can_send(&self, engine: &Engine, publisher: usize) -> bool {
        let open_loop = self.timetable.is_some();
        let publisher = &self.publishers[publisher];
        (self.plan.qos == QoS::AtMostOnce || publisher.unacknowledged < publisher.inflight_max)
            && (open_loop || self.plan.window == 0 || publisher.under_way < self.plan.window)
            && engine.backlog(publisher.id) < BACKLOG_MAX
            && engine.is_open(publisher.id)
    }

    #[inline]
    fn publish(&mut self, engine: &mut Engine, number: usize, due: Nanos) {
        let publisher = &mut self.publishers[number];
        let sequence = self.ledger.next(number);
        let packet_id = publisher.next_packet_id(self.plan.qos);
        self.unacknowledged += u64::from(packet_id.is_some());
        publisher.under_way += self.ledger.send(number);
        if let Some(id) = packet_id.filter(|_| self.timetable.is_some()) {
            publisher.owed.push_back((id, due));
        }
        let stamp = Stamp { run: self.plan.run, publisher: small(number), sequence, time: tick(due) };
        let (topic, writer) = (self.ledger.topic(number), &mut self.writer);
        engine.out(publisher.id, |out| writer.write(out, topic, packet_id, stamp));
    }

    #[inline]
    fn wake(&mut self, publisher: usize) {
        let waiting = &mut self.publishers[publisher];
        if !waiting.ready && (self.timetable.is_none() || !waiting.due.is_empty()) {
            waiting.ready = true;
            self.ready.push(publisher);
        }
    }

    #[inline]
    fn delivered(&mut self, subscriber: usize, publish: &Publish<'_>, now: Nanos) {
        self.last_arrival = now;
        let stamp =
            Stamp::decode(publish.payload, self.plan.verify).filter(|stamp| stamp.run == self.plan.run);
        let Some(stamp) = stamp else {
            self.ledger.faults.corrupt += 1;
            return;
        };
        let number = stamp.publisher as usize;
        let Some(step) = self.ledger.arrive(subscriber, number, stamp.sequence, publish.topic) else {
            return;
        };
        self.payload_bytes += publish.payload.len() as u64;
        // In a closed loop it would only be the window.
        if self.timetable.is_some() {
            let latency = since(stamp.time, now);
            let due = now.saturating_sub(latency);
            if due >= self.measured.0 && due < self.measured.1 {
                self.latency.saturating_record(latency);
            }
        }
        if step > 0 {
            let publisher = &mut self.publishers[number];
            publisher.under_way = publisher.under_way.saturating_sub(step);
            publisher.moved_at = now;
            self.wake(number);
        }
    }

    fn acknowledged(&mut self, id: usize, packet: PacketId, now: Nanos) {
        let Some(Role::Publisher(number)) = self.roles.get(id).copied() else { return };
        let publisher = &mut self.publishers[number];
        publisher.unacknowledged = publisher.unacknowledged.saturating_sub(1);
        publisher.moved_at = now;
        if let Some(due) = publisher.settle(packet)
            && (self.measured.0..self.measured.1).contains(&due)
        {
            self.acknowledgement.saturating_record(now.saturating_sub(due));
        }
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
        self.wake(number);
    }

    /// A publisher that waits and for which nothing has moved for a while is let go on, and counted.
    pub(crate) fn forgive_stalls(&mut self, now: Nanos) {
        for number in 0..self.publishers.len() {
            let publisher = &mut self.publishers[number];
            let open_loop = self.timetable.is_some();
            let waits = !open_loop && self.plan.window > 0 && publisher.under_way >= self.plan.window
                || self.plan.qos != QoS::AtMostOnce && publisher.unacknowledged >= publisher.inflight_max;
            if waits && now.saturating_sub(publisher.moved_at) > STALL {
                self.ledger.forgive(publisher.under_way);
                self.unacknowledged = self.unacknowledged.saturating_sub(u64::from(publisher.unacknowledged));
                (publisher.under_way, publisher.unacknowledged, publisher.moved_at) = (0, 0, now);
                publisher.owed.clear();
                self.wake(number);
            }
        }
    }

    /// Connections that the broker ended.
    pub(crate) const fn faults_ended(&self) -> u64 {
        self.ledger.faults.ended
    }

    /// How many deliveries to let the broker do before looking again: a part of what it has, so that it never runs
    /// dry. It has few for a subscriber that must acknowledge them.
    pub(crate) fn ahead(&self, subscribers: usize) -> u64 {
        let ahead = self.ledger.expected.saturating_sub(self.ledger.settled) / PART;
        if self.plan.qos == QoS::AtMostOnce { ahead } else { ahead.min(IN_FLIGHT_USUAL * subscribers as u64) }
    }
}

impl Handler for Traffic {
    #[inline]
    fn packet(&mut self, engine: &mut Engine, id: usize, packet: Packet<'_>, now: Nanos) {
        match packet {
            Packet::Publish(publish) => {
                answer(engine, id, &publish);
                match self.roles.get(id) {
                    Some(&Role::Subscriber(subscriber)) => self.delivered(subscriber, &publish, now),
                    _ => self.ledger.faults.misrouted += 1,
                }
            }
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                self.ledger.faults.refused += u64::from(ack.reason.is_error());
                self.acknowledged(id, ack.packet_id, now);
            }
            Packet::PubRec(ack) if ack.reason.is_error() => {
                self.ledger.faults.refused += 1;
                self.acknowledged(id, ack.packet_id, now);
            }
            Packet::PubRec(ack) => engine.send(id, &Packet::PubRel(Ack::success(ack.packet_id))),
            Packet::PubRel(ack) => engine.send(id, &Packet::PubComp(Ack::success(ack.packet_id))),
            Packet::Disconnect(end) => {
                let why = end.reason.name().unwrap_or("unknown reason");
                self.why_ended.get_or_insert_with(|| format!("DISCONNECT {:#04x}, {why}", end.reason.0));
            }
            _ => {}
        }
    }

    fn closed(&mut self, _: &mut Engine, _: usize, why: &str) {
        self.ledger.faults.ended += 1;
        self.why_ended.get_or_insert_with(|| why.to_owned());
    }
}

/// Acknowledges a message as its QoS wants it.
#[inline]
pub(crate) fn answer(engine: &mut Engine, id: usize, publish: &Publish<'_>) {
    let Some(packet_id) = publish.packet_id else { return };
    let ack = Ack::success(packet_id);
    engine.send(id, &if publish.qos == QoS::AtLeastOnce { Packet::PubAck(ack) } else { Packet::PubRec(ack) });
}

/// Bytes that wait for the socket before a publisher waits too.
const BACKLOG_MAX: usize = 256 * 1024;
const STALL: Nanos = 2 * SECOND;
/// Of what the broker has to do, before the generator looks again.
const PART: u64 = 8;
/// What brokers send a subscriber at QoS 1 and 2 before they want an acknowledgement; many stop at 20.
const IN_FLIGHT_USUAL: u64 = 12;
