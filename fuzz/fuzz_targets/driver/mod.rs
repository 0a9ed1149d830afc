//! One shard without anything around it: what it wants done is done at once, what it sends is collected.
#![allow(dead_code, reason = "not every target uses all of it")]

use std::{collections::BTreeMap, io::IoSlice, time::Duration};

use cork_core::{AuthOutcome, ConnId, Input, Output, Shard, ShardConfig};
use cork_packet::{FixedHeader, ProtocolVersion, Receiver, decode};
use cork_proto::Time;

/// Small limits, so that short inputs reach them.
pub fn config() -> ShardConfig {
    let mut config = ShardConfig { seed: 7, ..ShardConfig::default() };
    config.limits.sys_interval = Duration::ZERO;
    config.limits.packet_bytes_max = 64 << 10;
    config.limits.connect_bytes_max = 4 << 10;
    config.limits.receive_maximum = 8;
    config.limits.inflight_max = 8;
    config.limits.topic_alias_maximum = 4;
    config.limits.queue_bytes_max = 64 << 10;
    config.limits.output_bytes_max = 64 << 10;
    config.limits.output_bytes_total_max = 256 << 10;
    config.limits.queue_qos0 = true;
    config.limits.payload_format_check = true;
    config
}

/// The shard, its clock and what its connections were sent.
pub struct Driver {
    pub shard: Shard,
    pub now: Time,
    sent: BTreeMap<ConnId, Vec<u8>>,
}

impl Driver {
    pub fn new() -> Self {
        Self { shard: Shard::new(config()), now: Time::from_micros(1), sent: BTreeMap::new() }
    }

    pub fn open(&mut self, conn: ConnId) {
        self.sent.insert(conn, Vec::new());
        self.input(Input::Opened { conn, peer: "fuzz".into() });
    }

    pub fn is_open(&self, conn: ConnId) -> bool {
        self.sent.contains_key(&conn)
    }

    pub fn close(&mut self, conn: ConnId) {
        if self.sent.remove(&conn).is_some() {
            self.input(Input::Closed { conn });
        }
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input);
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Close { conn, .. } => {
                    self.sent.remove(&conn);
                    self.shard.handle(self.now, Input::Closed { conn });
                }
                Output::Store { ticket, .. } => {
                    self.shard.handle(self.now, Input::Stored { ticket, result: Ok(()) });
                }
                Output::Authenticate { conn, .. } => self.answer(conn, AuthOutcome::Denied { user: None }),
                // A first step goes on once, the second lets in.
                Output::Exchange { conn, begin: Some(_), .. } => {
                    self.answer(conn, AuthOutcome::Continue { data: vec![1] });
                }
                Output::Exchange { conn, .. } => {
                    self.answer(conn, AuthOutcome::Allowed { user: None, data: None });
                }
                Output::Move { .. } | Output::Forward { .. } => panic!("there is one shard only"),
                _ => {}
            }
        }
    }

    fn answer(&mut self, conn: ConnId, outcome: AuthOutcome) {
        self.shard.handle(self.now, Input::Authenticated { conn, outcome });
    }

    /// The client's socket takes up to `most` bytes.
    pub fn read(&mut self, conn: ConnId, most: usize) {
        let Some(sent) = self.sent.get_mut(&conn) else { return };
        let before = sent.len();
        let write = |slices: &[IoSlice<'_>]| {
            for slice in slices {
                sent.extend_from_slice(&slice[..slice.len().min(before + most - sent.len())]);
            }
            Ok::<usize, ()>(sent.len() - before)
        };
        self.shard.transmit(self.now, conn, write).expect("this socket never fails");
    }

    /// Everybody takes everything; each whole packet must be one.
    pub fn read_all(&mut self, version_of: impl Fn(ConnId) -> ProtocolVersion) {
        while let Some(conn) = self.shard.poll_transmit() {
            self.read(conn, usize::MAX >> 1);
        }
        let conns: Vec<ConnId> = self.sent.keys().copied().collect();
        for conn in conns {
            while self.shard.waiting_bytes(conn) > 0 {
                self.read(conn, usize::MAX >> 1);
            }
            let Some(sent) = self.sent.get_mut(&conn) else { continue };
            let mut rest = &sent[..];
            while let Some(header) = FixedHeader::decode(rest).expect("a good header") {
                let Some((packet, after)) = rest.split_at_checked(header.packet_len()) else { break };
                if let Err(error) = decode(version_of(conn), Receiver::Client, packet) {
                    panic!("the broker sent {packet:02X?}: {error}");
                }
                rest = after;
            }
            assert!(rest.is_empty(), "the broker sent half a packet: {rest:02X?}");
            sent.clear();
        }
    }

    /// Lets time pass; timers go off at their time.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(when) = self.shard.next_timeout().filter(|when| *when <= end) {
            self.now = self.now.max(when);
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    /// Everybody leaves and all time goes by: nothing may be left.
    pub fn end(mut self) {
        let conns: Vec<ConnId> = self.sent.keys().copied().collect();
        for conn in conns {
            self.close(conn);
        }
        self.advance(Duration::from_secs(40 * 86_400));
        let stats = self.shard.stats();
        let left = [
            stats.sessions,
            stats.subscriptions,
            stats.shared_subscriptions,
            stats.clients_connected,
            stats.sockets,
            stats.queued_messages,
            stats.queued_bytes,
            stats.inflight,
            stats.output_bytes,
        ];
        assert_eq!(left, [0; 9], "{stats:?}");
    }
}
