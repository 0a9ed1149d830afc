//! One shard, its clients, and its ways to the others: a turn as the runtime takes it.

use std::{
    io::IoSlice,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender},
    },
};

use cork_core::{Batch, ConnId, Input, Output, Shard};
use cork_proto::Time;

use crate::{
    packets::{packet, string},
    shape::Shape,
};

/// Publications handed over in one read, as a busy socket does.
pub(crate) const BURST: usize = 16;
/// Bursts of each publisher that may be under way before no more is read from them, as sockets that are full would have
/// it.
const UNDER_WAY: usize = 3;
/// Of a payload.
const PAYLOAD: [u8; 32] = [b'x'; 32];

/// What all shards of a round know.
#[derive(Default)]
pub(crate) struct Score {
    pub(crate) published: AtomicUsize,
    pub(crate) delivered: AtomicUsize,
}

pub(crate) struct Worker {
    pub(crate) shard: Shard,
    pub(crate) mail: Receiver<Batch>,
    pub(crate) others: Vec<Sender<Batch>>,
    pub(crate) score: Arc<Score>,
    /// By connection: the length of the frames it counts; 0 for those who publish.
    frames: Vec<usize>,
    publishers: Vec<(ConnId, Vec<u8>)>,
    qos: u8,
    fan: usize,
    /// Bursts of each publisher that are left.
    bursts: usize,
    /// Deliveries that may be under way.
    under_way: usize,
    /// Mail that was seen.
    next: Option<Batch>,
    /// What subscribers acknowledge next.
    acks: Vec<(ConnId, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
}

impl Worker {
    pub(crate) fn new(
        shard: Shard,
        mail: Receiver<Batch>,
        others: Vec<Sender<Batch>>,
        score: Arc<Score>,
    ) -> Self {
        let (frames, publishers, acks, spare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (qos, fan, bursts, under_way, next) = (0, 0, 0, 0, None);
        Self {
            shard,
            mail,
            others,
            score,
            frames,
            publishers,
            qos,
            fan,
            bursts,
            under_way,
            next,
            acks,
            spare,
        }
    }

    fn connect(&mut self, client_id: &str, clean: bool) -> ConnId {
        let conn = ConnId { index: u32::try_from(self.frames.len()).expect("few"), generation: 0 };
        self.frames.push(0);
        self.shard.handle(Time::ZERO, Input::Opened { conn, peer: "bench".into() });
        let body = [&[0, 4][..], b"MQTT", &[4, u8::from(clean) << 1, 0, 0], &string(client_id)].concat();
        self.shard.handle(Time::ZERO, Input::Bytes { conn, bytes: &packet(0x10, &body) });
        self.settle();
        conn
    }

    /// A Session that outlives its connection and has nothing to do.
    pub(crate) fn keep(&mut self, client_id: &str) {
        self.connect(client_id, false);
    }

    pub(crate) fn subscribe(&mut self, client_id: &str, shape: &Shape, subscriber: usize) {
        let conn = self.connect(client_id, true);
        for filter in shape.filters(subscriber) {
            let body = [&[0, 1][..], &string(&filter), &[shape.qos]].concat();
            self.shard.handle(Time::ZERO, Input::Bytes { conn, bytes: &packet(0x82, &body) });
            self.settle();
        }
    }

    /// From now on what comes to connections that do not publish is counted.
    pub(crate) fn begin(&mut self, shape: &Shape) {
        self.settle();
        let frame = publication(shape, 0, 0).len();
        self.frames.fill(frame);
        for (conn, _) in &self.publishers {
            self.frames[conn.index as usize] = 0;
        }
        (self.qos, self.fan) = (shape.qos, shape.fan);
        self.under_way = UNDER_WAY * BURST * shape.publishers * shape.fan;
        self.bursts = if self.publishers.is_empty() { 0 } else { shape.messages / BURST };
    }

    pub(crate) fn publish(&mut self, client_id: &str, shape: &Shape, publisher: usize) {
        let conn = self.connect(client_id, true);
        let burst = (0..BURST).flat_map(|n| publication(shape, publisher, n)).collect();
        self.publishers.push((conn, burst));
    }

    /// Takes what came from other shards.
    pub(crate) fn take_mail(&mut self) {
        while let Ok(batch) = self.mail.try_recv() {
            self.shard.handle(Time::ZERO, Input::Batch(batch));
        }
    }

    /// Whether there is something to do in a turn.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.mail.try_recv().ok();
        }
        self.next.is_some() || !self.acks.is_empty() || self.may_publish()
    }

    fn may_publish(&self) -> bool {
        let [published, delivered] =
            [&self.score.published, &self.score.delivered].map(|count| count.load(Ordering::Relaxed));
        self.bursts > 0 && published.saturating_sub(delivered) < self.under_way
    }

    /// Everything that is to be done now.
    pub(crate) fn turn(&mut self) {
        if let Some(batch) = self.next.take() {
            self.shard.handle(Time::ZERO, Input::Batch(batch));
        }
        self.take_mail();
        for (conn, mut bytes) in self.acks.drain(..) {
            self.shard.handle(Time::ZERO, Input::Bytes { conn, bytes: &bytes });
            bytes.clear();
            self.spare.push(bytes);
        }
        if self.may_publish() {
            self.bursts -= 1;
            for (conn, burst) in &self.publishers {
                self.shard.handle(Time::ZERO, Input::Bytes { conn: *conn, bytes: burst });
            }
            let published = self.publishers.len() * BURST * self.fan;
            self.score.published.fetch_add(published, Ordering::Relaxed);
        }
        let delivered = self.settle();
        if delivered > 0 {
            self.score.delivered.fetch_add(delivered, Ordering::Relaxed);
        }
    }

    /// Carries out what the shard wants. Returns what was delivered.
    pub(crate) fn settle(&mut self) -> usize {
        self.carry_out();
        let mut delivered = 0;
        while let Some(conn) = self.shard.poll_transmit() {
            let frame = self.frames[conn.index as usize];
            let mut acks = (self.qos > 0 && frame > 0).then(|| self.spare.pop().unwrap_or_default());
            let take = |slices: &[IoSlice<'_>]| -> Result<usize, ()> {
                let mut taken = 0;
                for slice in slices.iter().filter(|_| frame > 0) {
                    let whole = slice.len() / frame;
                    taken += whole * frame;
                    delivered += whole;
                    if let Some(acks) = &mut acks {
                        let at = frame - PAYLOAD.len() - 2;
                        acks.extend(slice.chunks_exact(frame).flat_map(|f| [0x40, 2, f[at], f[at + 1]]));
                    }
                }
                Ok(if frame > 0 { taken } else { slices.iter().map(|slice| slice.len()).sum() })
            };
            if self.shard.transmit(Time::ZERO, conn, take).expect("this socket takes everything") > 0 {
                self.shard.transmit_again(conn);
            }
            self.acks.extend(acks.filter(|acks| !acks.is_empty()).map(|acks| (conn, acks)));
        }
        self.carry_out();
        delivered
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Forward { shard, batch } => {
                    // Who has ended needs nothing any more.
                    let _ = self.others[usize::from(shard)].send(batch);
                }
                Output::Store { ticket, .. } => {
                    self.shard.handle(Time::ZERO, Input::Stored { ticket, result: Ok(()) });
                }
                _ => {}
            }
        }
    }
}

fn publication(shape: &Shape, publisher: usize, message: usize) -> Vec<u8> {
    let packet_id: &[u8] = if shape.qos == 0 { &[] } else { &[1, u8::try_from(message).expect("few")] };
    let topic = string(&shape.topic(publisher, message));
    packet(0x30 | shape.qos << 1, &[&topic, packet_id, &PAYLOAD].concat())
}
