//! PUBACK, PUBREC, PUBREL, PUBCOMP: sections 3.4 to 3.7.

use cork_access::Actions;
use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, V5},
};

use crate::common::{
    PUBACK, PUBCOMP, PUBREC, PUBREL, REASON_STRING, USER_PROPERTY, connect_sized, deny, props_of, subscribe,
    was_malformed,
};

/// Codes of PUBACK and PUBREC.
pub(crate) const TAKING: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
/// Codes of PUBREL and PUBCOMP.
pub(crate) const RELEASING: [u8; 2] = [0x00, 0x92];

/// A client and everything that gives it acknowledgements of one kind: good, unheard, forbidden, ill-formed, unknown.
fn provoke(first: u8, maximum: u32) -> (Lab, ClientIx) {
    let mut lab = Lab::with(|config| config.limits.payload_format_check = true);
    lab.set_rights(&deny(&[(Actions::WRITE, "secret")]));
    let client = connect_sized(&mut lab, "a", maximum);
    subscribe(&mut lab, client, "heard", 0);
    let flags = if first == PUBACK { 2 } else { 4 };
    match first {
        PUBACK | PUBREC => {
            for (id, topic) in [(1, "heard"), (2, "unheard"), (3, "secret")] {
                lab.send(client, &wire::publish(V5, flags, topic, Some(id), b"x"));
            }
            lab.send(client, &wire::publish_with(V5, flags, "heard", Some(4), &[0x01, 1], &[0xFF]));
        }
        PUBREL => {
            lab.send(client, &wire::ack(PUBREC, 7));
            lab.send(client, &wire::ack_with(PUBREC, 8, 0x10));
            subscribe(&mut lab, client, "heard", 2);
            lab.send(client, &wire::publish(V5, 4, "heard", Some(5), b"x"));
            for publish in lab.publishes(client) {
                lab.send(client, &wire::ack(PUBREC, publish.id.unwrap_or(1)));
            }
        }
        _ => {
            lab.send(client, &wire::ack(PUBREL, 7));
            lab.send(client, &wire::publish(V5, 4, "unheard", Some(6), b"x"));
            lab.send(client, &wire::ack(PUBREL, 6));
        }
    }
    (lab, client)
}

/// The broker only sends codes of the list, and does not take a packet with another one.
fn uses_only(first: u8, codes: &[u8]) {
    let (mut lab, client) = provoke(first, u32::MAX);
    for ack in lab.acks(client).into_iter().filter(|ack| ack.first == first) {
        assert!(codes.contains(&ack.reason), "sent 0x{:02X}", ack.reason);
    }
    for code in (0..=u8::MAX).filter(|code| !codes.contains(code)) {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &wire::ack_with(first, 1, code));
        assert!(lab.is_closed(client), "took 0x{code:02X}");
    }
}

/// The broker never makes a packet longer than the client accepts with this property.
fn never_too_long_with(first: u8, property: u8) {
    for maximum in 8..70 {
        let (mut lab, client) = provoke(first, maximum);
        for (length, packet) in lab.sized_packets(client) {
            if matches!(&packet, Received::Ack(ack) if ack.first == first)
                && props_of(&packet).get(property).is_some()
            {
                assert!(length <= maximum as usize, "{length} bytes, {maximum} accepted");
            }
        }
    }
}

#[test]
fn mqtt5_3_4_2_1_puback_has_one_of_its_reason_codes() {
    uses_only(PUBACK, &TAKING);
}

#[test]
fn mqtt5_3_4_2_2_puback_leaves_out_a_reason_string_that_does_not_fit() {
    never_too_long_with(PUBACK, REASON_STRING);
}

#[test]
fn mqtt5_3_4_2_3_puback_leaves_out_user_properties_that_do_not_fit() {
    never_too_long_with(PUBACK, USER_PROPERTY);
}

#[test]
fn mqtt5_3_5_2_1_pubrec_has_one_of_its_reason_codes() {
    uses_only(PUBREC, &TAKING);
}

#[test]
fn mqtt5_3_5_2_2_pubrec_leaves_out_a_reason_string_that_does_not_fit() {
    never_too_long_with(PUBREC, REASON_STRING);
}

#[test]
fn mqtt5_3_5_2_3_pubrec_leaves_out_user_properties_that_do_not_fit() {
    never_too_long_with(PUBREC, USER_PROPERTY);
}

#[test]
fn mqtt5_3_6_1_1_pubrel_with_other_flags_ends_the_connection() {
    for flags in (0..16).filter(|flags| *flags != 2) {
        let mut lab = Lab::new();
        let client = lab.connect(V5, "a");
        lab.send(client, &wire::publish(V5, 4, "t", Some(1), b"x"));
        lab.send(client, &wire::ack(0x60 | flags, 1));
        assert!(was_malformed(&mut lab, client), "flags {flags:04b}");
    }
}

#[test]
fn mqtt5_3_6_2_1_pubrel_has_one_of_its_reason_codes() {
    uses_only(PUBREL, &RELEASING);
}

#[test]
fn mqtt5_3_6_2_2_pubrel_leaves_out_a_reason_string_that_does_not_fit() {
    never_too_long_with(PUBREL, REASON_STRING);
}

#[test]
fn mqtt5_3_6_2_3_pubrel_leaves_out_user_properties_that_do_not_fit() {
    never_too_long_with(PUBREL, USER_PROPERTY);
}

#[test]
fn mqtt5_3_7_2_1_pubcomp_has_one_of_its_reason_codes() {
    uses_only(PUBCOMP, &RELEASING);
}

#[test]
fn mqtt5_3_7_2_2_pubcomp_leaves_out_a_reason_string_that_does_not_fit() {
    never_too_long_with(PUBCOMP, REASON_STRING);
}

#[test]
fn mqtt5_3_7_2_3_pubcomp_leaves_out_user_properties_that_do_not_fit() {
    never_too_long_with(PUBCOMP, USER_PROPERTY);
}
