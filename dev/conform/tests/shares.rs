//! Shared subscriptions whose members come and go, on several shards, while the broker may die at any moment (5.0 4.8.2).
#![forbid(unsafe_code)]

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab, Received,
    wire::{self, Connect, V5, V311, Version},
};

const BOTH: [Version; 2] = [V311, V5];
const SOON: Duration = Duration::from_secs(1);

/// A Client Identifier whose Session lives on this shard of so many.
fn on_shard(shard: u16, shards: u16, name: &str) -> String {
    let lives_there = |id: &String| cork_core::home_shard(id, shards, 42) == shard;
    (0..).map(|n| format!("{name}{n}")).find(lives_there).expect("one of a few lives there")
}

/// Joins the share.
fn join(lab: &mut Lab, version: Version, client: ClientIx, qos: u8) {
    lab.send(client, &wire::subscribe(version, 1, &[("$share/g/t", qos)]));
    assert!(matches!(lab.take_one(client), Some(Received::SubAck { .. })));
}

fn payloads(lab: &mut Lab, client: ClientIx) -> Vec<String> {
    let text = |payload: Vec<u8>| String::from_utf8_lossy(&payload).into_owned();
    lab.payloads(client).into_iter().map(text).collect()
}

/// How the members and the publisher are spread: shards, and the shard of each.
const SPREADS: [(u16, u16, u16); 4] = [(1, 0, 0), (2, 0, 1), (2, 1, 0), (2, 1, 1)];

#[test]
fn what_a_clean_member_had_goes_to_one_that_outlives_the_broker() {
    for version in BOTH {
        for (shards, kept, clean) in SPREADS {
            let at = format!("version {version}, {shards} shards, kept {kept}, clean {clean}");
            let mut lab = Lab::with(|config| config.shards = shards);
            let stays = on_shard(kept, shards, "stays");
            let staying = lab.come_back(version, &stays).0;
            join(&mut lab, version, staying, 1);
            lab.cut(staying);
            let passing = lab.connect(version, &on_shard(clean, shards, "passes"));
            join(&mut lab, version, passing, 1);
            let publisher = lab.connect(version, &on_shard(0, shards, "publisher"));
            for (id, text) in [(1, "taken"), (2, "not taken")] {
                lab.send(publisher, &wire::publish(version, 2, "t", Some(id), text.as_bytes()));
            }
            assert_eq!(lab.acks(publisher).len(), 2, "{at}");
            let got = lab.publishes(passing);
            assert_eq!(got.len(), 2, "{at}");
            lab.send(passing, &wire::ack(0x40, got[0].id.unwrap()));
            lab.crash(SOON);
            let staying = lab.come_back(version, &stays).0;
            assert_eq!(payloads(&mut lab, staying), ["not taken"], "{at}");
        }
    }
}

#[test]
fn a_share_without_lasting_members_waits_for_no_disk() {
    for version in BOTH {
        let mut lab = Lab::new();
        let member = lab.connect(version, "member");
        join(&mut lab, version, member, 1);
        let publisher = lab.connect(version, "publisher");
        lab.pause_store();
        lab.send(publisher, &wire::publish(version, 2, "t", Some(1), b"one"));
        assert_eq!(lab.acks(publisher).len(), 1, "version {version}");
        let lasting = lab.open(version);
        lab.send(lasting, &Connect::persistent(version, "lasting").bytes());
        lab.store_answers();
        lab.bytes(lasting);
        join(&mut lab, version, lasting, 1);
        lab.cut(lasting);
        lab.pause_store();
        lab.send(publisher, &wire::publish(version, 2, "t", Some(2), b"two"));
        assert_eq!(lab.acks(publisher).len(), 0, "version {version}");
        lab.store_answers();
        assert_eq!(lab.acks(publisher).len(), 1, "version {version}");
        assert_eq!(payloads(&mut lab, member), ["one", "two"], "version {version}");
    }
}

#[test]
fn a_shared_message_of_qos_2_goes_to_others_only_once_it_is_stored_where_it_came_from() {
    for version in BOTH {
        let mut lab = Lab::with(|config| config.shards = 2);
        let stays = on_shard(1, 2, "stays");
        let staying = lab.come_back(version, &stays).0;
        join(&mut lab, version, staying, 2);
        lab.cut(staying);
        let passing = lab.connect(version, &on_shard(1, 2, "passes"));
        join(&mut lab, version, passing, 2);
        let sender = on_shard(0, 2, "sender");
        let publisher = lab.come_back(version, &sender).0;
        lab.pause_mail();
        lab.send(publisher, &wire::publish(version, 4, "t", Some(1), b"once"));
        lab.mail_arrives_at(1);
        lab.cut(passing); // what it was to get goes to the other, but the publisher's shard has not stored it
        lab.crash(SOON);
        let publisher = lab.come_back(version, &sender).0;
        lab.send(publisher, &wire::publish(version, 12, "t", Some(1), b"once"));
        let staying = lab.come_back(version, &stays).0;
        assert_eq!(payloads(&mut lab, staying), ["once"], "version {version}");
    }
}

#[test]
fn what_waits_for_another_shard_goes_to_others_when_its_time_has_come() {
    for version in BOTH {
        for clean in [true, false] {
            let mut lab = Lab::with(|config| config.shards = 2);
            let stays = on_shard(1, 2, "stays");
            let staying = lab.come_back(version, &stays).0;
            join(&mut lab, version, staying, 2);
            lab.cut(staying);
            let passes = on_shard(1, 2, "passes");
            let passing =
                if clean { lab.connect(version, &passes) } else { lab.come_back(version, &passes).0 };
            join(&mut lab, version, passing, 2);
            let publisher = lab.come_back(version, &on_shard(0, 2, "sender")).0;
            lab.pause_mail();
            lab.send(publisher, &wire::publish(version, 4, "t", Some(1), b"once"));
            lab.mail_arrives_at(1);
            lab.cut(passing);
            // Another share takes the place of the one that is left by its last member.
            let other = lab.come_back(version, &on_shard(1, 2, "other")).0;
            lab.send(other, &wire::subscribe(version, 1, &[("$share/other/t", 2)]));
            let staying = lab.come_back(version, &stays).0;
            lab.mail_arrives();
            assert_eq!(payloads(&mut lab, staying), ["once"], "version {version}, clean {clean}");
            assert_eq!(lab.acks(publisher).len(), 1, "version {version}");
            assert_eq!(lab.stats(1).sessions, if clean { 2 } else { 3 }, "version {version}");
        }
    }
}

#[test]
fn who_waits_for_a_shared_message_waits_for_those_it_is_passed_on_to() {
    for version in BOTH {
        for qos in [1, 2] {
            let at = format!("version {version}, QoS {qos}");
            let mut lab = Lab::with(|config| config.shards = 3);
            let stays = on_shard(2, 3, "stays");
            let staying = lab.come_back(version, &stays).0;
            join(&mut lab, version, staying, qos);
            lab.cut(staying);
            let passing = lab.connect(version, &on_shard(1, 3, "passes"));
            join(&mut lab, version, passing, qos);
            let sender = on_shard(0, 3, "sender");
            let publisher = lab.come_back(version, &sender).0;
            lab.pause_mail();
            lab.send(publisher, &wire::publish(version, qos << 1, "t", Some(1), b"once"));
            lab.cut(passing);
            lab.mail_arrives_at(1); // nobody is left there: on to the third
            lab.mail_arrives_at(0);
            assert_eq!(lab.acks(publisher).len(), 0, "{at}");
            lab.crash(SOON);
            let publisher = lab.come_back(version, &sender).0;
            lab.send(publisher, &wire::publish(version, 8 | qos << 1, "t", Some(1), b"once"));
            assert_eq!(lab.acks(publisher).len(), 1, "{at}");
            let staying = lab.come_back(version, &stays).0;
            assert_eq!(payloads(&mut lab, staying), ["once"], "{at}");
        }
    }
}

#[test]
fn a_message_that_is_handed_over_and_then_passed_on_is_somebodys_all_the_while() {
    for version in BOTH {
        let mut lab = Lab::with(|config| config.shards = 3);
        let [leaves, passes, stays] =
            [(0, "leaves"), (1, "passes"), (2, "stays")].map(|(shard, name)| on_shard(shard, 3, name));
        let leaving = lab.come_back(version, &leaves).0;
        join(&mut lab, version, leaving, 1);
        let publisher = lab.connect(version, "publisher");
        lab.send(publisher, &wire::publish(version, 2, "t", Some(1), b"once"));
        assert_eq!(lab.acks(publisher).len(), 1, "version {version}");
        let staying = lab.come_back(version, &stays).0;
        join(&mut lab, version, staying, 1);
        lab.cut(staying);
        let passing = lab.connect(version, &passes);
        join(&mut lab, version, passing, 1);
        lab.pause_mail();
        lab.cut(leaving);
        lab.cut(passing);
        lab.mail_arrives_at(1);
        lab.crash(SOON); // it was on its way from the second to the third
        let got: Vec<String> = [leaves, stays]
            .iter()
            .flat_map(|id| {
                let client = lab.come_back(version, id).0;
                payloads(&mut lab, client)
            })
            .collect();
        assert_eq!(got, ["once"], "version {version}");
    }
}

#[test]
fn the_end_of_a_session_is_not_stored_before_its_messages_are_others() {
    for version in BOTH {
        let mut lab = Lab::with(|config| {
            config.shards = 2;
            config.limits.queue_head_bytes_max = 0; // all of it comes back from the store
        });
        let [leaves, stays] = [(0, "leaves"), (1, "stays")].map(|(shard, name)| on_shard(shard, 2, name));
        let leaving = lab.come_back(version, &leaves).0;
        join(&mut lab, version, leaving, 1);
        lab.cut(leaving);
        let publisher = lab.connect(version, "publisher");
        lab.send(publisher, &wire::publish(version, 2, "t", Some(1), b"once"));
        assert_eq!(lab.acks(publisher).len(), 1, "version {version}");
        let staying = lab.come_back(version, &stays).0;
        join(&mut lab, version, staying, 1);
        lab.cut(staying);
        lab.pause_mail();
        let anew = Connect { clean: true, ..Connect::persistent(version, &leaves) };
        lab.connect_with(version, &anew);
        lab.crash(SOON); // what the ended Session had was on its way to the other shard
        let staying = lab.come_back(version, &stays).0;
        assert_eq!(payloads(&mut lab, staying), ["once"], "version {version}");
    }
}

/// Two members that were away, with a queue each of which nothing is in memory, come back and leave again before they got
/// anything of it; `with` somebody who stays meanwhile. Returns what who stays got, and what the two get in the end.
fn two_leave_at_once(version: Version, qos: u8, with: bool) -> (Vec<String>, Vec<String>) {
    let mut lab = Lab::with(|config| config.limits.queue_head_bytes_max = 0);
    for name in ["one", "other"] {
        let client = lab.come_back(version, name).0;
        join(&mut lab, version, client, qos);
        lab.cut(client);
    }
    let publisher = lab.come_back(version, "publisher").0;
    for id in 1..=8 {
        let text = id.to_string();
        lab.send(publisher, &wire::publish(version, qos << 1, "t", Some(id), text.as_bytes()));
    }
    assert_eq!(lab.acks(publisher).len(), 8);
    let stays = with.then(|| {
        let client = lab.come_back(version, "stays").0;
        join(&mut lab, version, client, qos);
        client
    });
    lab.pause_loads();
    for name in ["one", "other"] {
        let client = lab.come_back(version, name).0;
        lab.cut(client);
    }
    lab.loads_arrive();
    let mut got = stays.map(|client| payloads(&mut lab, client)).unwrap_or_default();
    let left = ["one", "other"].iter().flat_map(|name| {
        let client = lab.come_back(version, name).0;
        payloads(&mut lab, client)
    });
    let mut left: Vec<String> = left.collect();
    got.sort_unstable();
    left.sort_unstable();
    (got, left)
}

#[test]
fn members_that_leave_at_once_do_not_hand_their_queues_round_for_ever() {
    let all: Vec<String> = (1..=8).map(|id: u8| id.to_string()).collect();
    for version in BOTH {
        for qos in [1, 2] {
            let at = format!("version {version}, QoS {qos}");
            assert_eq!(two_leave_at_once(version, qos, false), (vec![], all.clone()), "{at}");
            assert_eq!(
                two_leave_at_once(version, qos, true),
                (all.clone(), vec![]),
                "{at}, with one who stays"
            );
        }
    }
}
