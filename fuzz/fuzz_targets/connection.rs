//! Any bytes over one connection, in chunks of any size: nothing panics, what waits stays within its limits, and
//! nothing is left when the connection is gone.
//!
//! The first byte says whether a good CONNECT goes first (low two bits: 3.1, 3.1.1, 5.0, or none) and whether the
//! client reads what it is sent (bit 2). Then comes a length byte, that many bytes, and so on.
#![no_main]

mod driver;

use cork_core::{ConnId, Input};
use cork_packet::{Connect, Packet, Properties, ProtocolVersion};
use driver::Driver;
use libfuzzer_sys::fuzz_target;

const CONN: ConnId = ConnId { index: 0, generation: 0 };

/// Output buffer, the marks on both sides of it, and the answers to one chunk.
const WAITING_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut rest)) = input.split_first() else { return };
    let reads = choice & 4 == 0;
    let mut driver = Driver::new();
    driver.open(CONN);
    if let Some(version) = version(choice) {
        let mut bytes = Vec::new();
        connect(version).encode(version, &mut bytes).expect("a good CONNECT");
        driver.input(Input::Bytes { conn: CONN, bytes: &bytes });
    }
    while let Some((&length, after)) = rest.split_first() {
        let (chunk, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        if !driver.is_open(CONN) {
            break;
        }
        driver.input(Input::Bytes { conn: CONN, bytes: chunk });
        if reads {
            driver.read(CONN, usize::MAX >> 1);
        }
        let stats = driver.shard.stats();
        assert!(driver.shard.waiting_bytes(CONN) <= WAITING_BYTES_MAX, "{stats:?}");
        assert!(stats.queued_bytes <= driver::config().limits.queue_bytes_max, "{stats:?}");
        assert!(stats.sessions <= 1 && stats.clients_connected <= 1, "{stats:?}");
    }
    driver.end();
});

fn version(choice: u8) -> Option<ProtocolVersion> {
    match choice & 3 {
        0 => Some(ProtocolVersion::V5),
        1 => Some(ProtocolVersion::V311),
        2 => Some(ProtocolVersion::V31),
        _ => None,
    }
}

fn connect(version: ProtocolVersion) -> Packet<'static> {
    Packet::Connect(Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive: 0,
        client_id: "a",
        will: None,
        user_name: None,
        password: None,
        properties: Properties::EMPTY,
    })
}
