//! Two shards that hand each other what they have.

use std::{io::IoSlice, time::Duration};

use cork_proto::Time;

use super::*;
use crate::{
    config::{Limits, ShardConfig},
    io::{ConnId, Input},
    shard::home_shard,
};

/// Two shards and what each sent to its clients.
struct Pair {
    shards: [Shard; 2],
    sent: [Vec<u8>; 2],
    /// Batches that went over, to each.
    batches: [usize; 2],
}

impl Pair {
    fn new() -> Self {
        let shards = [0, 1].map(|shard| {
            let limits = Limits { sys_interval: Duration::ZERO, ..Limits::default() };
            Shard::new(ShardConfig { shard, shards: 2, limits, ..ShardConfig::default() })
        });
        Self { shards, sent: [Vec::new(), Vec::new()], batches: [0; 2] }
    }

    /// Lets all be done that can be, and forgets what was sent before.
    fn settle(&mut self) {
        self.sent = [Vec::new(), Vec::new()];
        let mut quiet = false;
        while !std::mem::replace(&mut quiet, true) {
            for at in 0..2 {
                while let Some(output) = self.shards[at].poll_output() {
                    quiet = false;
                    match output {
                        Output::Forward { shard, batch } => {
                            self.batches[usize::from(shard)] += 1;
                            self.shards[usize::from(shard)].handle(Time::ZERO, Input::Batch(batch));
                        }
                        Output::Store { ticket, .. } => {
                            self.shards[at].handle(Time::ZERO, Input::Stored { ticket, result: Ok(()) });
                        }
                        _ => {}
                    }
                }
                while let Some(conn) = self.shards[at].poll_transmit() {
                    let sent = &mut self.sent[at];
                    let take = |slices: &[IoSlice<'_>]| -> Result<usize, ()> {
                        slices.iter().for_each(|slice| sent.extend_from_slice(slice));
                        Ok(slices.iter().map(|slice| slice.len()).sum())
                    };
                    self.shards[at].transmit(Time::ZERO, conn, take).unwrap();
                }
            }
        }
    }

    /// A client of one of the shards; the first byte of its CONNECT's flags says whether its Session ends with it.
    fn connect(&mut self, at: usize, index: u32, flags: u8) -> ConnId {
        let conn = ConnId { index, generation: 0 };
        let mut names = (b'a'..=b'z').filter(|name| {
            let name = char::from(*name).to_string();
            usize::from(home_shard(&name, 2, ShardConfig::default().seed)) == at
        });
        let name = names.nth(index as usize).unwrap();
        self.shards[at].handle(Time::ZERO, Input::Opened { conn, peer: "test".into() });
        self.feed(at, conn, &[&b"\x10\x0d\0\x04MQTT\x04"[..], &[flags, 0, 0, 0, 1, name]].concat());
        assert_eq!(self.sent[at], [0x20, 2, 0, 0], "CONNACK");
        conn
    }

    fn feed(&mut self, at: usize, conn: ConnId, bytes: &[u8]) {
        self.shards[at].handle(Time::ZERO, Input::Bytes { conn, bytes });
        self.settle();
    }
}

const SUBSCRIBE: &[u8] = b"\x82\x06\0\x01\0\x01t\x01";

#[test]
fn large_parcels_come_back_and_are_filled_again() {
    let mut pair = Pair::new();
    let (publisher, subscriber) = (pair.connect(0, 0, 2), pair.connect(1, 0, 2));
    pair.feed(1, subscriber, SUBSCRIBE);
    assert_eq!(pair.sent[1], b"\x90\x03\0\x01\x01", "SUBACK");
    let burst = [&b"\x30\x2b\0\x01t"[..], &[b'x'; 40]].concat().repeat(200);
    pair.batches = [0; 2];
    for turn in 1..=3 * EMPTIED_TOGETHER {
        let spare = pair.shards[0].peers.spare.len();
        pair.feed(0, publisher, &burst);
        assert!(pair.sent[1] == burst, "turn {turn}");
        assert_eq!(pair.batches, [turn / EMPTIED_TOGETHER, turn], "a batch back for many");
        let back = if turn % EMPTIED_TOGETHER == 0 { EMPTIED_TOGETHER } else { 0 };
        assert_eq!(pair.shards[0].peers.spare.len(), spare.saturating_sub(1) + back, "turn {turn}");
        assert!(pair.shards[1].peers.spare.is_empty());
    }
    pair.feed(0, publisher, b"\x30\x04\0\x01tx");
    assert_eq!(pair.sent[1], b"\x30\x04\0\x01tx");
}

#[test]
fn small_parcels_are_not_sent_back() {
    let mut pair = Pair::new();
    let (publisher, subscriber) = (pair.connect(0, 0, 2), pair.connect(1, 0, 2));
    pair.feed(1, subscriber, SUBSCRIBE);
    pair.batches = [0; 2];
    for _ in 0..3 * EMPTIED_TOGETHER {
        pair.feed(0, publisher, b"\x30\x04\0\x01tx");
    }
    assert_eq!(pair.batches, [0, 3 * EMPTIED_TOGETHER], "nobody is woken for them");
}

#[test]
fn who_asks_in_a_parcel_hears_it_once_it_is_stored() {
    let mut pair = Pair::new();
    // The Session that is kept has no interest: only what it might have got is asked about.
    let (publisher, kept) = (pair.connect(0, 0, 2), pair.connect(1, 0, 0));
    let subscriber = pair.connect(1, 1, 2);
    pair.feed(1, subscriber, SUBSCRIBE);
    let publications: Vec<u8> = (1..=9).flat_map(|id| [0x32, 6, 0, 1, b't', 0, id, b'x']).collect();
    pair.feed(0, publisher, &publications);
    let acknowledged: Vec<u8> = (1..=9).flat_map(|id| [0x40, 2, 0, id]).collect();
    assert_eq!(pair.sent[0], acknowledged, "nothing had to be stored");
    assert_eq!(pair.sent[1], publications, "to who is there");
    // Now it has.
    pair.feed(1, kept, SUBSCRIBE);
    pair.shards[0].handle(Time::ZERO, Input::Bytes { conn: publisher, bytes: &publications });
    let Some(Output::Forward { shard: 1, batch }) = pair.shards[0].poll_output() else {
        panic!("it goes over");
    };
    assert!(matches!(batch.items[..], [Item::Parcel(_)]), "{batch:?}");
    pair.shards[1].handle(Time::ZERO, Input::Batch(batch));
    let Some(Output::Store { ticket, .. }) = pair.shards[1].poll_output() else {
        panic!("it is to be kept");
    };
    pair.settle();
    assert_eq!(pair.sent[0], b"", "not before it is stored there");
    pair.shards[1].handle(Time::ZERO, Input::Stored { ticket, result: Ok(()) });
    pair.settle();
    assert_eq!(pair.sent[0], acknowledged);
}
