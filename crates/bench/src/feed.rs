//! Publishers that store: they send a given number of messages, as fast as the broker acknowledges them.

use cork_packet::{Ack, Packet, QoS};

use crate::Failure;
use crate::check::Faults;
use crate::dial::{Link, turn};
use crate::engine::{Engine, Handler};
use crate::payload::{Stamp, tick};
use crate::publisher::{Publisher, Writer};
use crate::units::{MILLI, Nanos, SECOND, small};

/// One message to store.
pub(crate) struct Item {
    pub(crate) topic: String,
    /// Stands in the stamp as the publisher.
    pub(crate) number: usize,
    pub(crate) sequence: u32,
}

/// The publishers.
pub(crate) struct Feed<'a, F> {
    publishers: Vec<Publisher>,
    /// Messages each has sent.
    sent: Vec<u64>,
    writer: Option<Writer>,
    qos: QoS,
    run: u16,
    /// The given message of the given publisher; `None` behind the last.
    item: &'a F,
    unacknowledged: u64,
    pub(crate) faults: Faults,
    why: Option<String>,
    last: Nanos,
}

impl<'a, F: Fn(usize, u64) -> Option<Item>> Feed<'a, F> {
    /// Publishers on `links` that send what `item` says. Without a `writer` they send empty payloads and RETAIN, which
    /// clears.
    pub(crate) fn new(links: &[Link], qos: QoS, run: u16, writer: Option<Writer>, item: &'a F) -> Self {
        let publisher = |link: &Link| Publisher::new(link.id, INFLIGHT.min(u32::from(link.receive_maximum)));
        Self {
            publishers: links.iter().map(publisher).collect(),
            sent: vec![0; links.len()],
            writer,
            qos,
            run,
            item,
            unacknowledged: 0,
            faults: Faults::default(),
            why: None,
            last: 0,
        }
    }

    /// Sends everything; returns how many messages and how long until the last acknowledgement.
    ///
    /// # Errors
    /// The broker ends a connection, or stops acknowledging.
    pub(crate) fn run(
        mut self,
        engine: &mut Engine,
        deadline: Nanos,
    ) -> Result<(u64, Nanos, Faults), Failure> {
        let start = engine.now();
        self.last = start;
        loop {
            let mut more = false;
            for publisher in 0..self.publishers.len() {
                more |= self.send(engine, publisher);
            }
            if !more && self.unacknowledged == 0 {
                return Ok((self.sent.iter().sum(), self.last.saturating_sub(start).max(1), self.faults));
            }
            turn(engine, &mut self, 100 * MILLI)?;
            if let Some(why) = self.why {
                return Err(Failure::run(format!("the broker {why} while messages were being stored")));
            }
            let now = engine.now();
            if now > deadline || now > self.last + STALL {
                return Err(Failure::run(format!(
                    "the broker does not acknowledge {} of {} messages to store; see its log, or give --deadline more time",
                    self.unacknowledged,
                    self.sent.iter().sum::<u64>()
                )));
            }
        }
    }

    /// Sends what the publisher may send; whether it has more.
    fn send(&mut self, engine: &mut Engine, number: usize) -> bool {
        let publisher = &mut self.publishers[number];
        while publisher.unacknowledged < publisher.inflight_max {
            let Some(item) = (self.item)(number, self.sent[number]) else { return false };
            let packet_id = publisher.next_packet_id(self.qos);
            let time = tick(engine.now());
            let stamp = Stamp { run: self.run, publisher: small(item.number), sequence: item.sequence, time };
            match &mut self.writer {
                Some(writer) => {
                    engine.out(publisher.id, |out| writer.write(out, &item.topic, packet_id, stamp));
                }
                None => engine.send(publisher.id, &clear(&item.topic, packet_id, self.qos)),
            }
            self.sent[number] += 1;
            self.unacknowledged += 1;
        }
        true
    }

    fn acknowledged(&mut self, id: usize, now: Nanos) {
        let Some(publisher) = self.publishers.iter_mut().find(|publisher| publisher.id == id) else { return };
        publisher.unacknowledged = publisher.unacknowledged.saturating_sub(1);
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
        self.last = now;
    }
}

/// An empty retained message, which takes away the one that is there.
const fn clear(topic: &str, packet_id: Option<cork_packet::PacketId>, qos: QoS) -> Packet<'_> {
    Packet::Publish(cork_packet::Publish {
        dup: false,
        qos,
        retain: true,
        topic,
        packet_id,
        properties: cork_packet::Properties::EMPTY,
        payload: &[],
    })
}

impl<F: Fn(usize, u64) -> Option<Item>> Handler for Feed<'_, F> {
    fn packet(&mut self, engine: &mut Engine, id: usize, packet: Packet<'_>, now: Nanos) {
        match packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                self.faults.refused += u64::from(ack.reason.is_error());
                self.acknowledged(id, now);
            }
            Packet::PubRec(ack) if ack.reason.is_error() => {
                self.faults.refused += 1;
                self.acknowledged(id, now);
            }
            Packet::PubRec(ack) => engine.send(id, &Packet::PubRel(Ack::success(ack.packet_id))),
            _ => {}
        }
    }

    fn closed(&mut self, _: &mut Engine, _: usize, why: &str) {
        self.why.get_or_insert_with(|| why.to_owned());
    }
}

const INFLIGHT: u32 = 20;
const STALL: Nanos = 15 * SECOND;
