//! Any bytes as a packet: nothing panics, and what decodes survives encoding.
//!
//! The first byte of the input chooses the version (its low bits: the Protocol Level) and the receiver (bit 7).
#![no_main]

use cork_packet::{FixedHeader, Packet, ProtocolVersion, Receiver, decode, decode_connect};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let version = match choice & 0x7F {
        3 => ProtocolVersion::V31,
        4 => ProtocolVersion::V311,
        _ => ProtocolVersion::V5,
    };
    let receiver = if choice & 0x80 == 0 { Receiver::Server } else { Receiver::Client };
    let header = FixedHeader::decode(bytes);
    let connect = decode_connect(bytes);
    if let Ok(connect) = connect {
        survives(connect.version, Receiver::Server, Packet::Connect(connect));
    }
    if let Ok(packet) = decode(version, receiver, bytes) {
        let header = header.expect("the packet was decoded").expect("the packet is whole");
        assert_eq!(header.packet_len(), bytes.len());
        assert_eq!(header.packet_type(), Some(packet.packet_type()));
        survives(version, receiver, packet);
    }
});

fn survives(version: ProtocolVersion, receiver: Receiver, packet: Packet<'_>) {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).expect("what was decoded can be encoded");
    assert_eq!(decode(version, receiver, &bytes), Ok(packet));
}
