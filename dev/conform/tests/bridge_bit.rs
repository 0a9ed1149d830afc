//! Clients of 3.1.1 that say by bit 7 of their Protocol Level that they are bridges, as Mosquitto's do.

use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, Connect, V5, V311},
};

/// CONNECT with the bit: behind two bytes of header and six of name stands the level.
fn bridge(lab: &mut Lab) -> ClientIx {
    let mut bytes = Connect::new(V311, "bridge").bytes();
    assert_eq!(bytes[8], 4);
    bytes[8] |= 0x80;
    let client = lab.open(V311);
    lab.send(client, &bytes);
    assert!(matches!(lab.take_one(client), Some(Received::ConnAck { code: 0, .. })));
    client
}

#[test]
fn a_bridge_hears_nothing_of_its_own_and_is_told_what_was_to_be_retained() {
    let mut lab = Lab::new();
    let (bridge, other) = (bridge(&mut lab), lab.connect(V311, "other"));
    for client in [bridge, other] {
        lab.send(client, &wire::subscribe(V311, 1, &[("#", 1)]));
        lab.packets(client);
    }
    lab.send(bridge, &wire::publish(V311, 1, "a", None, b"from the bridge"));
    lab.send(other, &wire::publish(V311, 1, "b", None, b"from another"));
    let retain = |lab: &mut Lab, client| -> Vec<(String, bool)> {
        let publishes = lab.publishes(client);
        publishes.into_iter().map(|publish| (publish.topic, publish.retain)).collect()
    };
    assert_eq!(retain(&mut lab, bridge), [("b".to_owned(), true)]);
    assert_eq!(retain(&mut lab, other), [("a".to_owned(), false), ("b".to_owned(), false)]);
}

#[test]
fn a_bridge_may_be_a_member_of_a_share() {
    let mut lab = Lab::new();
    let bridge = bridge(&mut lab);
    lab.send(bridge, &wire::subscribe(V311, 1, &[("$share/g/#", 1)]));
    assert!(matches!(lab.take_one(bridge), Some(Received::SubAck { codes, .. }) if codes == [1]));
    lab.send(bridge, &wire::publish(V311, 0, "a", None, b"x"));
    assert_eq!(lab.payloads(bridge), [b"x"]);
}

/// Mosquitto's bridges leave a Will there and would not be let in otherwise.
#[test]
fn a_client_may_say_of_itself_below_sys_whether_it_is_there_and_nothing_else() {
    let mut lab = Lab::new();
    let reader = lab.connect(V5, "reader");
    lab.send(reader, &wire::subscribe(V5, 1, &[("$SYS/broker/connection/#", 1)]));
    lab.packets(reader);
    let state = |of: &str| format!("$SYS/broker/connection/{of}/state");
    let client = lab.connect_with(V5, &Connect::new(V5, "house.a").with_will(&state("house.a"), b"0"));
    lab.send(client, &wire::publish(V5, 3, &state("house.a"), Some(1), b"1"));
    lab.send(client, &wire::publish(V5, 3, &state("house.b"), Some(2), b"1"));
    assert_eq!(lab.acks(client).iter().map(|ack| ack.reason).collect::<Vec<_>>(), [0, 0x87]);
    lab.cut(client);
    assert_eq!(lab.payloads(reader), [b"1", b"0"]);
    let other = lab.open(V5);
    lab.send(other, &Connect::new(V5, "house.c").with_will(&state("house.a"), b"0").bytes());
    assert!(matches!(lab.take_one(other), Some(Received::ConnAck { code: 0x87, .. })));
}
