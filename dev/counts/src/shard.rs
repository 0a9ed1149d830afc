//! A shard without sockets, and with a log if it is to keep what it promises.

use std::{
    fs,
    io::IoSlice,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
};

use cork_core::{ConnId, Input, Output, Reader, Shard, ShardConfig, Watch};
use cork_log::{Log, Op, Options, RealDisk};
use cork_proto::Time;

const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 17), 51234));

/// Drives one shard.
pub(crate) struct Bench {
    shard: Shard,
    log: Option<(Log<RealDisk>, PathBuf)>,
    /// Bytes that went out.
    pub(crate) sent: usize,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let mut config = ShardConfig::default();
        config.limits.sys_interval = std::time::Duration::ZERO;
        Self { shard: Shard::new(config), log: None, sent: 0 }
    }

    /// One whose store is a log in a folder of its own.
    pub(crate) fn durable() -> Self {
        let folder = std::env::temp_dir().join(format!("cork-counts-{}", std::process::id()));
        let disk = RealDisk::new(&folder).expect("a folder to write to");
        let log = Log::open(disk, Options::default()).expect("a new log").0;
        let mut bench = Self::new();
        bench.log = Some((log, folder));
        bench
    }

    /// A client of 3.1.1.
    pub(crate) fn connect(&mut self, index: u32, clean: bool) -> ConnId {
        let conn = ConnId { index, generation: 0 };
        self.shard.handle(Time::ZERO, Input::Opened { conn, peer: PEER.into() });
        let name = format!("client-{index}");
        let flags = if clean { 2 } else { 0 };
        let body = [&b"\0\x04MQTT\x04"[..], &[flags, 0, 0], &string(&name)].concat();
        self.feed(conn, &packet(0x10, &body));
        conn
    }

    /// The socket of a client is closed.
    pub(crate) fn close(&mut self, conn: ConnId) {
        self.shard.handle(Time::ZERO, Input::Closed { conn });
    }

    /// A page watches everything.
    pub(crate) fn watch(&mut self) {
        let watch = Watch { id: 1, filters: vec!["#".into()], reader: Reader::Anybody, payload_max: 512 };
        assert!(self.shard.watch(watch));
    }

    /// What it gets; returns how many messages it has seen.
    pub(crate) fn sample(&mut self, topics_max: usize) -> u64 {
        self.shard.sample(1, topics_max).seen
    }

    pub(crate) fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        self.shard.handle(Time::ZERO, Input::Bytes { conn, bytes });
        while let Some(output) = self.shard.poll_output() {
            if let (Output::Store { ticket, records }, Some((log, _))) = (output, &mut self.log) {
                log.commit(&[Op::Append { shard: 0, ticket, records }]).expect("space");
                self.shard.handle(Time::ZERO, Input::Stored { ticket, result: Ok(()) });
            }
        }
        while let Some(conn) = self.shard.poll_transmit() {
            let sent = &mut self.sent;
            let take = |slices: &[IoSlice<'_>]| -> Result<usize, ()> {
                let length = slices.iter().map(|slice| slice.len()).sum();
                *sent += length;
                Ok(length)
            };
            self.shard.transmit(Time::ZERO, conn, take).expect("this socket takes everything");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some((_, folder)) = &self.log {
            let _ = fs::remove_dir_all(folder); // the next run has another name
        }
    }
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).ok().filter(|length| *length < 128).expect("short");
    [&[first, length][..], body].concat()
}

pub(crate) fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &string(filter), &[qos]].concat())
}
