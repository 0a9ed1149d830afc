//! Tables of packets: the bytes, and the packet they are or the error they earn.
//!
//! Each case of [`cases!`] is a test of its own. It decodes the bytes, encodes the packet, and walks every
//! truncation and every flipped bit.

use crate::{
    DecodeError, FixedHeader, Packet, PacketId, Properties, PropertyPlace, ProtocolVersion, Receiver,
    Subscribe, SubscribeBuf, SubscriptionOptions, Unsubscribe, UnsubscribeBuf, decode, decode_connect,
};

/// One row of a table.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) version: ProtocolVersion,
    pub(crate) receiver: Receiver,
    pub(crate) bytes: &'static [u8],
    pub(crate) expected: fn() -> Expected,
}

/// What decoding the bytes of a case gives.
pub(crate) enum Expected {
    /// This packet, whose encoding is these bytes.
    Exact(Packet<'static>),
    /// This packet, whose encoding is other bytes: a longer form than needed, or bits without meaning.
    Lenient(Packet<'static>),
    /// This error.
    Error(DecodeError),
}

/// `name: version receiver [bytes] => Exact packet;` and the same with `Lenient packet` or `Error error`.
macro_rules! cases {
    ($($name:ident: $version:ident $receiver:ident $bytes:expr => $kind:ident $expected:expr;)+) => {
        pub(crate) const CASES: &[$crate::table::Case] = &[$($crate::table::Case {
            name: stringify!($name),
            version: $crate::ProtocolVersion::$version,
            receiver: $crate::Receiver::$receiver,
            bytes: &$bytes,
            expected: || $crate::table::Expected::$kind($expected),
        },)+];

        $(#[test]
        fn $name() {
            $crate::table::check(CASES, stringify!($name));
        })+
    };
}
pub(crate) use cases;

/// Runs the case with this name through every walker.
pub(crate) fn check(cases: &[Case], name: &str) {
    let case = cases.iter().find(|case| case.name == name).expect("the macro made both");
    match (case.expected)() {
        Expected::Error(error) => assert_eq!(case.decode(case.bytes), Err(error)),
        Expected::Exact(packet) => {
            assert_eq!(case.decode(case.bytes), Ok(packet));
            assert_eq!(encode(packet, case.version), case.bytes, "the encoding differs");
        }
        Expected::Lenient(packet) => {
            assert_eq!(case.decode(case.bytes), Ok(packet));
            let bytes = encode(packet, case.version);
            assert_ne!(bytes, case.bytes, "this case is exact");
            assert_eq!(case.decode(&bytes), Ok(packet));
        }
    }
    case.walk_truncations();
    case.walk_flipped_bits();
}

impl Case {
    fn decode<'a>(&self, bytes: &'a [u8]) -> Result<Packet<'a>, DecodeError> {
        if bytes.first().is_some_and(|first| first >> 4 == 1) && self.receiver == Receiver::Server {
            let connect = decode_connect(bytes).map_err(|refused| refused.error);
            // A connection that is established already reads a second CONNECT the same way.
            if let Ok(connect) = connect {
                let again = decode(connect.version, Receiver::Server, bytes);
                assert_eq!(again, Ok(Packet::Connect(connect)));
            }
            return connect.map(Packet::Connect);
        }
        decode(self.version, self.receiver, bytes)
    }

    fn walk_truncations(&self) {
        for len in 0..self.bytes.len() {
            let part = &self.bytes[..len];
            assert!(self.decode(part).is_err(), "the first {len} bytes passed for the packet");
            // The same bytes as a packet that claims to be this short: mostly an error, never a panic.
            if let Ok(Some(header)) = FixedHeader::decode(part) {
                self.decode_and_encode(&with_length(header, &part[header.len..]));
            }
        }
        let mut long = self.bytes.to_vec();
        long.push(0);
        assert!(self.decode(&long).is_err(), "a byte behind the packet was ignored");
    }

    fn walk_flipped_bits(&self) {
        for at in 0..self.bytes.len() {
            for bit in 0..8 {
                let mut bytes = self.bytes.to_vec();
                bytes[at] ^= 1 << bit;
                self.decode_and_encode(&bytes);
            }
        }
    }

    /// Whatever decodes must encode to something that decodes to the same.
    fn decode_and_encode(&self, bytes: &[u8]) {
        if let Ok(packet) = self.decode(bytes) {
            let version = if let Packet::Connect(connect) = packet { connect.version } else { self.version };
            assert_eq!(self.decode(&encode(packet, version)), Ok(packet), "{bytes:x?}");
        }
    }
}

/// The packet with this first byte and this body.
fn with_length(header: FixedHeader, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::write::packet(&mut bytes, header.first, |out| {
        out.extend_from_slice(body);
        Ok(())
    })
    .unwrap();
    bytes
}

pub(crate) fn encode(packet: Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    // Something stands before the packet, as in an output buffer.
    let mut out = vec![0xAA];
    packet.encode(version, &mut out).unwrap();
    assert_eq!(out.remove(0), 0xAA);
    out
}

pub(crate) fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

pub(crate) fn properties(place: PropertyPlace, raw: &'static [u8]) -> Properties<'static> {
    Properties::decode(raw, place).unwrap()
}

pub(crate) fn subscribe(
    packet_id: u16,
    properties: Properties<'static>,
    filters: &[(&str, SubscriptionOptions)],
) -> Subscribe<'static> {
    let mut buf = SubscribeBuf::new();
    for (filter, options) in filters {
        buf.push(filter, *options).unwrap();
    }
    Box::leak(Box::new(buf)).subscribe(id(packet_id), properties)
}

pub(crate) fn unsubscribe(
    packet_id: u16,
    properties: Properties<'static>,
    filters: &[&str],
) -> Unsubscribe<'static> {
    let mut buf = UnsubscribeBuf::new();
    for filter in filters {
        buf.push(filter).unwrap();
    }
    Box::leak(Box::new(buf)).unsubscribe(id(packet_id), properties)
}

/// The tables of all packets.
fn all() -> impl Iterator<Item = &'static Case> {
    [
        crate::ack::tests::CASES,
        crate::auth::tests::CASES,
        crate::connack::tests::CASES,
        crate::connect::tests::CASES,
        crate::connect::tests::FLAGS,
        crate::disconnect::tests::CASES,
        crate::packet::tests::CASES,
        crate::publish::tests::CASES,
        crate::suback::tests::CASES,
        crate::subscribe::tests::CASES,
        crate::unsuback::tests::CASES,
        crate::unsubscribe::tests::CASES,
    ]
    .into_iter()
    .flatten()
}

#[test]
fn every_packet_of_every_version_has_an_exact_case() {
    for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
        for bits in 1..=15 {
            let exact = |case: &Case| {
                let packet = matches!((case.expected)(), Expected::Exact(_));
                packet && case.version == version && case.bytes[0] >> 4 == bits
            };
            let exists = bits != 15 || version.is_v5();
            assert_eq!(all().any(exact), exists, "packet type {bits} in {version}");
        }
    }
}

#[test]
fn every_error_speaks_and_maps_to_a_failure() {
    for case in all() {
        if let Expected::Error(error) = (case.expected)() {
            assert!(!error.to_string().is_empty(), "{}", case.name);
            assert!(error.reason_code().is_error(), "{}", case.name);
        }
    }
}

/// Writes the seeds of the fuzz target `decode`: for each version and type the longest exact case.
#[test]
#[ignore = "writes fuzz/corpus; run it after the tables changed"]
fn write_fuzz_corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/decode");
    std::fs::create_dir_all(folder).unwrap();
    for case in all() {
        let twin = |other: &&Case| {
            let exact = matches!((other.expected)(), Expected::Exact(_));
            exact && other.version == case.version && other.bytes[0] >> 4 == case.bytes[0] >> 4
        };
        let longest = all().filter(twin).max_by_key(|case| case.bytes.len());
        if longest.is_some_and(|longest| std::ptr::eq(longest, case)) {
            let receiver = if case.receiver == Receiver::Server { 0 } else { 0x80 };
            let seed = [&[case.version.level() | receiver], case.bytes].concat();
            std::fs::write(format!("{folder}/{}", case.name), seed).unwrap();
        }
    }
}
