//! Handling errors: section 4.13.

use cork_conform::{
    Lab,
    wire::{self, Connect, V5},
};
use cork_core::{AuthOutcome, Door};

use crate::common::connect_sized;

#[test]
fn mqtt5_4_13_1_1_malformed_packets_and_protocol_errors_close_the_connection() {
    // Cases that no other statement answers for.
    let cases: [(&str, Vec<u8>); 10] = [
        ("packet type 0", vec![0x00, 0]),
        ("CONNACK from a client", wire::packet(0x20, &[0, 0, 0])),
        ("SUBACK from a client", wire::packet(0x90, &[0, 1, 0, 0])),
        ("PINGRESP from a client", vec![0xD0, 0]),
        ("a length of five bytes", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ("PINGREQ with a body", wire::packet(0xC0, b"x")),
        ("a property that does not exist", wire::publish_with(V5, 0, "t", None, &[0x7F, 0], b"")),
        ("a property of another packet", wire::publish_with(V5, 0, "t", None, &[0x13, 0, 1], b"")),
        ("a property that comes twice", wire::publish_with(V5, 0, "t", None, &[0x01, 0, 0x01, 0], b"")),
        ("properties past the end", wire::packet(0x30, &[0, 1, b't', 9, 0x01])),
    ];
    for (name, bytes) in cases {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &bytes);
        assert!(lab.is_closed(client), "{name}");
    }
}

#[test]
fn mqtt5_4_13_2_1_an_error_code_closes_the_connection_whether_or_not_it_is_sent() {
    // Sizes that CONNACK and DISCONNECT fit into, and sizes they do not.
    for maximum in [1, 4, 5, 1000] {
        let mut lab = Lab::with(|config| config.door = Door::Checked);
        lab.on_authenticate(|_| AuthOutcome::Denied { user: None });
        let client = connect_sized(&mut lab, "a", maximum);
        assert!(lab.is_closed(client), "refused, {maximum} bytes accepted");
    }
    for maximum in [5, 6, 1000] {
        let mut lab = Lab::new();
        let old = connect_sized(&mut lab, "a", maximum);
        lab.connect(V5, "a");
        assert!(lab.is_closed(old), "taken over, {maximum} bytes accepted");
    }
    for code in (0x80..=0xA2).filter(|code| [0x80, 0x81, 0x82, 0x83, 0x93, 0x95, 0x98].contains(code)) {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &wire::disconnect_with(code, &[]));
        assert!(lab.is_closed(client), "0x{code:02X} from the client");
    }
    let mut lab = Lab::new();
    let client = lab.open(V5);
    lab.send(client, &Connect { version: 6, ..Connect::new(V5, "a") }.bytes());
    assert!(lab.is_closed(client), "unknown version");
}
