//! What is retained and was not sent yet goes on after a crash.
#![forbid(unsafe_code)]

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab,
    wire::{self, V5, V311},
};

const SOON: Duration = Duration::from_secs(1);

/// Of 40 retained messages a subscriber has taken some when the broker dies: the others come later, and once all have come
/// none does any more. So with a filter by its prefix, too.
#[test]
fn retained_messages_that_were_not_sent_yet_come_after_a_crash() {
    for (version, filter) in [(V311, "r/#"), (V5, "r/#"), (V5, "$where/payload.n >= 0/r/#")] {
        for (shards, taken) in [(1, 0), (1, 7), (2, 0), (2, 7), (3, 30)] {
            let case = format!("version {version}, {filter}, {shards} shards, {taken} taken");
            let mut lab = Lab::with(|config| {
                config.shards = shards;
                config.limits.inflight_max = 3;
            });
            let publisher = lab.connect(version, "publisher");
            for n in 0..40_u16 {
                let payload = format!(r#"{{"n":{n}}}"#);
                let topic = format!("r/{n:02}");
                lab.send(publisher, &wire::publish(version, 3, &topic, Some(n + 1), payload.as_bytes()));
                assert_eq!(lab.acks(publisher).len(), 1, "{case}");
            }
            let (subscriber, _) = lab.come_back(version, "subscriber");
            lab.send(subscriber, &wire::subscribe(version, 1, &[(filter, 1)]));
            let mut got = Vec::new();
            take(&mut lab, subscriber, taken, &mut got);
            for to in [shards, 1, 2] {
                lab.crash_to(SOON, to);
            }
            let (subscriber, present) = lab.come_back(version, "subscriber");
            assert!(present, "{case}");
            take(&mut lab, subscriber, usize::MAX, &mut got);
            got.sort();
            got.dedup();
            assert_eq!(got.len(), 40, "{case}: {got:?}");
            lab.crash(SOON);
            let (subscriber, _) = lab.come_back(version, "subscriber");
            assert_eq!(lab.publishes(subscriber).len(), 0, "{case}: nothing is owed any more");
        }
    }
}

/// One SUBSCRIBE names a filter twice: what was asked for last holds, also once all that is retained was sent, and after a
/// restart.
#[test]
fn a_filter_that_stands_twice_in_a_packet_keeps_its_last_options() {
    let mut lab = Lab::new();
    let publisher = lab.connect(V5, "publisher");
    lab.send(publisher, &wire::publish(V5, 3, "r/1", Some(1), b"kept"));
    let (subscriber, _) = lab.come_back(V5, "subscriber");
    lab.send(subscriber, &wire::subscribe(V5, 1, &[("r/#", 0), ("r/#", 0x21)]));
    take(&mut lab, subscriber, usize::MAX, &mut Vec::new());
    lab.crash(SOON);
    let (subscriber, present) = lab.come_back(V5, "subscriber");
    assert!(present);
    let publisher = lab.connect(V5, "publisher");
    lab.send(publisher, &wire::publish(V5, 2, "r/2", Some(2), b"live"));
    let got: Vec<bool> = lab.publishes(subscriber).iter().map(|one| one.id.is_some()).collect();
    assert_eq!(got, [true], "at QoS 1");
}

/// Takes so many messages of QoS 1, or all there are, and notes their payloads.
fn take(lab: &mut Lab, client: ClientIx, most: usize, got: &mut Vec<String>) {
    let mut taken = 0;
    loop {
        let came = lab.publishes(client);
        if came.is_empty() {
            return;
        }
        for one in came {
            if taken == most {
                return;
            }
            taken += 1;
            got.push(String::from_utf8_lossy(&one.payload).into_owned());
            lab.send(client, &wire::ack(0x40, one.id.expect("QoS 1 has an identifier")));
        }
    }
}
