//! The mesh's say in who is served: asked once per CONNECT, before any Session exists.
#![forbid(unsafe_code)]

use cork_conform::{
    Lab, Received,
    wire::{self, V5, V311},
};
use cork_core::Claim;

fn lab(answer: impl Fn(&str) -> Claim + 'static) -> Lab {
    let mut lab = Lab::with(|config| config.mesh = true);
    lab.on_claim(answer);
    lab
}

#[test]
fn a_granted_claim_lets_the_client_in_and_what_it_sent_meanwhile_is_read() {
    for version in [V311, V5] {
        let mut lab = lab(|_| Claim::Granted);
        let client = lab.open(version);
        let connect = wire::Connect::new(version, "a").bytes();
        lab.send(client, &[connect, wire::pingreq()].concat());
        let got = lab.packets(client);
        assert!(
            matches!(got[..], [Received::ConnAck { code: 0, .. }, Received::PingResp]),
            "version {version}: {got:?}"
        );
    }
}

#[test]
fn a_client_served_elsewhere_is_told_where() {
    let mut lab = lab(|client_id| Claim::Elsewhere(format!("{client_id}.example:1883").into()));
    let client = lab.open(V5);
    lab.send(client, &wire::Connect::new(V5, "a").bytes());
    let Some(Received::ConnAck { code, props, .. }) = lab.take_one(client) else { panic!("no CONNACK") };
    assert_eq!((code, props.text(0x1C).as_deref()), (0x9C, Some("a.example:1883")));
    assert!(lab.is_closed(client));
    assert_eq!(lab.stats(0).sessions, 0);
}

#[test]
fn a_cluster_that_cannot_say_refuses_for_now() {
    for (version, expected) in [(V311, 3), (V5, 0x88)] {
        let mut lab = lab(|_| Claim::Unavailable);
        let client = lab.open(version);
        lab.send(client, &wire::Connect::new(version, "a").bytes());
        let got = lab.take_one(client);
        assert!(matches!(got, Some(Received::ConnAck { code, .. }) if code == expected), "{got:?}");
        assert!(lab.is_closed(client));
    }
}
