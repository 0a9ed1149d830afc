//! AUTH and enhanced authentication: sections 3.15 and 4.12.

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, Connect, V5},
};
use cork_core::{AuthOutcome, ShardConfig};

use crate::common::{AUTH_METHOD, REASON_STRING, USER_PROPERTY, props_of, was_malformed};

/// A broker that knows the method `M`: the data `ok` lets in, `no` does not, anything else wants another step.
pub(crate) fn auth_lab(change: impl FnOnce(&mut ShardConfig)) -> Lab {
    let mut lab = Lab::with(change);
    lab.on_exchange(|method, data| match (method, data) {
        (Some(method), _) if method != "M" => AuthOutcome::UnknownMethod,
        (_, Some(b"ok")) => AuthOutcome::Allowed { user: None, data: Some(b"welcome".to_vec()) },
        (_, Some(b"no")) => AuthOutcome::Denied { user: None },
        _ => AuthOutcome::Continue { data: b"who are you?".to_vec() },
    });
    lab
}

/// Authentication Method and Data as CONNECT properties.
pub(crate) fn begin(method: &str, data: &[u8]) -> Vec<u8> {
    [&[0x15][..], &wire::string(method), &[0x16], &wire::string(data)].concat()
}

/// A client that sent CONNECT with the method and data; what came back is not taken.
pub(crate) fn connecting(lab: &mut Lab, method: &str, data: &[u8]) -> ClientIx {
    let client = lab.open(V5);
    lab.send(client, &Connect { properties: begin(method, data), ..Connect::new(V5, "a") }.bytes());
    client
}

/// A client that is in with method `M`; its CONNACK is dropped.
pub(crate) fn authenticated(lab: &mut Lab) -> ClientIx {
    let client = connecting(lab, "M", b"ok");
    lab.bytes(client);
    client
}

/// Reason Codes of the AUTH packets that came.
fn auth_codes(lab: &mut Lab, client: ClientIx) -> Vec<u8> {
    let code = |packet| if let Received::Auth { reason, .. } = packet { Some(reason) } else { None };
    lab.packets(client).into_iter().filter_map(code).collect()
}

#[test]
fn mqtt5_3_15_1_1_auth_with_flags_ends_the_connection() {
    for flags in 1..16 {
        let mut lab = auth_lab(|_| {});
        let client = authenticated(&mut lab);
        let mut packet = wire::auth(0x19, "M", b"ok");
        packet[0] |= flags;
        lab.send(client, &packet);
        assert!(was_malformed(&mut lab, client), "flags {flags:04b}, connected");

        let mut lab = auth_lab(|_| {});
        let client = connecting(&mut lab, "M", b"");
        let mut packet = wire::auth(0x18, "M", b"ok");
        packet[0] |= flags;
        lab.send(client, &packet);
        assert!(lab.is_closed(client), "flags {flags:04b}, connecting");
    }
}

#[test]
fn mqtt5_3_15_2_1_auth_has_one_of_its_reason_codes() {
    let mut lab = auth_lab(|_| {});
    let client = connecting(&mut lab, "M", b"");
    lab.send(client, &wire::auth(0x18, "M", b""));
    lab.send(client, &wire::auth(0x18, "M", b"ok"));
    lab.send(client, &wire::auth(0x19, "M", b""));
    lab.send(client, &wire::auth(0x18, "M", b"ok"));
    for code in auth_codes(&mut lab, client) {
        assert!([0x00, 0x18, 0x19].contains(&code), "sent 0x{code:02X}");
    }
    for code in (0..=u8::MAX).filter(|code| ![0x00, 0x18, 0x19].contains(code)) {
        let mut lab = auth_lab(|_| {});
        let client = authenticated(&mut lab);
        lab.send(client, &wire::auth(code, "M", b"ok"));
        assert!(lab.is_closed(client), "took 0x{code:02X}");
    }
}

fn never_too_long_with(property: u8) {
    for maximum in 8..60u32 {
        for data in [&b""[..], b"ok", b"no"] {
            let mut lab = auth_lab(|_| {});
            let mut connect = Connect { properties: begin("M", b""), ..Connect::new(V5, "a") };
            connect.properties.extend([&[0x27][..], &maximum.to_be_bytes()].concat());
            let client = lab.open(V5);
            lab.send(client, &connect.bytes());
            lab.send(client, &wire::auth(0x18, "M", b"ok"));
            lab.send(client, &wire::auth(0x19, "M", data));
            for (length, packet) in lab.sized_packets(client) {
                if matches!(packet, Received::Auth { .. }) && props_of(&packet).get(property).is_some() {
                    assert!(length <= maximum as usize, "{length} bytes, {maximum} accepted");
                }
            }
        }
    }
}

#[test]
fn mqtt5_3_15_2_2_auth_leaves_out_a_reason_string_that_does_not_fit() {
    never_too_long_with(REASON_STRING);
}

#[test]
fn mqtt5_3_15_2_3_auth_leaves_out_user_properties_that_do_not_fit() {
    never_too_long_with(USER_PROPERTY);
}

#[test]
fn mqtt5_4_12_0_1_an_unknown_method_is_refused() {
    for method in ["?", "m", "M2", ""] {
        let mut lab = auth_lab(|_| {});
        let client = connecting(&mut lab, method, b"ok");
        assert!(lab.is_closed(client), "{method:?}");
        for packet in lab.packets(client) {
            if let Received::ConnAck { code, .. } = packet {
                assert!([0x8C, 0x87].contains(&code), "0x{code:02X}");
            }
        }
    }
}

#[test]
fn mqtt5_4_12_0_2_a_further_step_is_asked_for_with_continue_authentication() {
    let mut lab = auth_lab(|_| {});
    let client = connecting(&mut lab, "M", b"");
    for _ in 0..3 {
        assert_eq!(auth_codes(&mut lab, client), [0x18]);
        lab.send(client, &wire::auth(0x18, "M", b"hm"));
    }
}

#[test]
fn mqtt5_4_12_0_4_a_rejected_authentication_closes_the_connection() {
    for steps in 0..4 {
        let mut lab = auth_lab(|_| {});
        let client = connecting(&mut lab, "M", if steps == 0 { b"no" } else { b"hm" });
        for step in 1..=steps {
            lab.send(client, &wire::auth(0x18, "M", if step == steps { b"no" } else { b"hm" }));
        }
        assert!(lab.is_closed(client), "at step {steps}");
        for packet in lab.packets(client) {
            assert!(!matches!(packet, Received::ConnAck { code: ..0x80, .. }), "{packet:?}");
        }
    }
}

#[test]
fn mqtt5_4_12_0_5_the_method_stays_the_one_of_connect() {
    for steps in 0..3 {
        let mut lab = auth_lab(|_| {});
        let client = connecting(&mut lab, "M", if steps == 0 { b"ok" } else { b"hm" });
        for step in 1..=steps {
            lab.send(client, &wire::auth(0x18, "M", if step == steps { b"ok" } else { b"hm" }));
        }
        lab.send(client, &wire::auth(0x19, "M", b"hm"));
        lab.send(client, &wire::auth(0x18, "M", b"ok"));
        for packet in lab.packets(client) {
            if matches!(packet, Received::Auth { .. } | Received::ConnAck { code: 0, .. }) {
                assert_eq!(props_of(&packet).text(AUTH_METHOD).as_deref(), Some("M"), "{packet:?}");
            }
        }
    }
    let no_method = wire::packet(0xF0, &[0x18, 0]);
    for packet in [wire::auth(0x18, "N", b"ok"), wire::auth(0x18, "m", b"ok"), no_method] {
        let mut lab = auth_lab(|_| {});
        let client = connecting(&mut lab, "M", b"");
        lab.send(client, &packet);
        assert!(lab.is_closed(client), "{packet:x?}");
    }
}

#[test]
fn mqtt5_4_12_0_6_without_a_method_the_broker_never_speaks_of_one() {
    let user = Connect { user: Some("u".to_owned()), password: Some(b"p".to_vec()), ..Connect::new(V5, "a") };
    for connect in [Connect::new(V5, "a"), user, Connect::persistent(V5, "a")] {
        let mut lab = auth_lab(|_| {});
        let client = lab.open(V5);
        lab.send(client, &connect.bytes());
        lab.advance(Duration::from_secs(60));
        lab.send(client, &wire::pingreq());
        for packet in lab.packets(client) {
            assert!(!matches!(packet, Received::Auth { .. }));
            assert_eq!(props_of(&packet).get(AUTH_METHOD), None, "{packet:?}");
        }
    }
}

#[test]
fn mqtt5_4_12_0_7_auth_without_a_method_in_connect_is_refused() {
    for packet in [
        wire::auth(0x18, "M", b"ok"),
        wire::auth(0x19, "M", b"ok"),
        wire::auth(0x19, "", b""),
        wire::packet(0xF0, &[0x19, 0]),
        wire::packet(0xF0, &[]),
    ] {
        let mut lab = auth_lab(|_| {});
        let client = lab.connect(V5, "a");
        lab.send(client, &packet);
        assert!(lab.is_closed(client), "{packet:x?}");
    }
}

#[test]
fn mqtt5_4_12_1_1_a_client_may_authenticate_again_with_the_same_method() {
    for data in [&b"ok"[..], b"hm"] {
        let mut lab = auth_lab(|_| {});
        let client = authenticated(&mut lab);
        for _ in 0..2 {
            lab.send(client, &wire::auth(0x19, "M", data));
            if data == b"hm" {
                lab.send(client, &wire::auth(0x18, "M", b"ok"));
            }
            assert!(!lab.is_closed(client), "{data:?}");
        }
    }
    for method in ["N", "m", ""] {
        let mut lab = auth_lab(|_| {});
        let client = authenticated(&mut lab);
        lab.send(client, &wire::auth(0x19, method, b"ok"));
        assert!(lab.is_closed(client), "{method:?}");
    }
}

#[test]
fn mqtt5_4_12_1_2_a_failed_re_authentication_closes_the_connection() {
    for steps in 0..3 {
        let mut lab = auth_lab(|_| {});
        let client = authenticated(&mut lab);
        lab.send(client, &wire::auth(0x19, "M", if steps == 0 { b"no" } else { b"hm" }));
        for step in 1..=steps {
            lab.send(client, &wire::auth(0x18, "M", if step == steps { b"no" } else { b"hm" }));
        }
        assert!(lab.is_closed(client), "at step {steps}");
    }
}
