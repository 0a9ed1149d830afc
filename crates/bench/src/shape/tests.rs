use super::*;

fn run() -> Prefix {
    Prefix::new(0xAB, 0)
}

/// A ledger that has sent `messages` of each publisher.
fn sent(shape: &Shape, messages: u32) -> Ledger {
    let mut ledger = Ledger::new(shape, &run());
    for publisher in 0..shape.publishers() {
        for _ in 0..messages {
            ledger.send(publisher);
        }
    }
    ledger
}

fn topic(publisher: usize) -> String {
    format!("{}/{publisher}", run())
}

#[test]
fn pairs_get_only_their_own() {
    let mut ledger = sent(&Shape::Pairs { pairs: 2 }, 3);
    assert_eq!(ledger.expected, 6);
    assert_eq!(ledger.arrive(0, 0, 0, &topic(0)), Some(1));
    assert_eq!(ledger.arrive(0, 1, 0, &topic(1)), None, "of the other pair");
    assert_eq!(ledger.arrive(1, 1, 0, &topic(0)), None, "wrong topic");
    assert_eq!(ledger.arrive(1, 1, 9, &topic(1)), None, "never sent");
    assert_eq!(ledger.arrive(0, 0, 2, &topic(0)), Some(2), "a gap is passed over");
    assert_eq!(ledger.arrive(0, 0, 1, &topic(0)), Some(0), "and may be filled later");
    assert_eq!(ledger.arrive(0, 0, 1, &topic(0)), None);
    let faults = ledger.close();
    assert_eq!(faults, Faults { lost: 3, duplicated: 1, reordered: 1, misrouted: 3, ..Faults::default() });
}

#[test]
fn fan_out_follows_the_slowest() {
    let mut ledger = sent(&Shape::FanOut { subscribers: 3 }, 2);
    assert_eq!(ledger.expected, 6);
    let mut steps = Vec::new();
    for (subscriber, sequence) in [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (1, 1)] {
        steps.push(ledger.arrive(subscriber, 0, sequence, &topic(0)).unwrap());
    }
    assert_eq!(steps, [0, 0, 0, 1, 0, 1]);
    assert_eq!((ledger.unique, ledger.close()), (6, Faults::default()));
}

#[test]
fn fan_out_moves_on_over_a_loss() {
    let mut ledger = sent(&Shape::FanOut { subscribers: 2 }, 3);
    let steps = [(0, 0), (0, 1), (0, 2), (1, 2)]
        .map(|(subscriber, sequence)| ledger.arrive(subscriber, 0, sequence, &topic(0)));
    assert_eq!(steps, [Some(0), Some(0), Some(0), Some(3)]);
    assert_eq!(ledger.close().lost, 2);
}

#[test]
fn a_group_shares_and_each_member_keeps_the_order() {
    let mut ledger = sent(&Shape::Shared { publishers: 2, members: 2 }, 4);
    let arrive = |ledger: &mut Ledger, member, sequence| ledger.arrive(member, 0, sequence, &topic(0));
    assert_eq!(arrive(&mut ledger, 1, 1), Some(1));
    assert_eq!(arrive(&mut ledger, 0, 0), Some(1), "another member may be slower");
    assert_eq!(arrive(&mut ledger, 1, 0), None, "only one member gets it");
    assert_eq!(arrive(&mut ledger, 0, 3), Some(1));
    assert_eq!(arrive(&mut ledger, 0, 2), Some(1), "late for the same member");
    let faults = ledger.close();
    assert_eq!(faults, Faults { lost: 4, duplicated: 1, reordered: 1, ..Faults::default() });
}

#[test]
fn wildcard_deliveries_go_to_the_owners_of_matching_filters() {
    let filters = Wildcard::new(30, 6, 7);
    let shape = Shape::Wildcard { publishers: 2, filters };
    let sessions = shape.sessions(&run(), QoS::AtMostOnce);
    assert_eq!(sessions.iter().map(|session| session.filters.len()).sum::<usize>(), 30);
    let mut ledger = Ledger::new(&shape, &run());
    let mut wrong = 0;
    for round in 0..200 {
        let publisher = round % 2;
        let sequence = ledger.next(publisher);
        let copies = ledger.send(publisher);
        let topic = ledger.topic(publisher).to_owned();
        let mut taken = 0;
        for (subscriber, session) in sessions.iter().enumerate() {
            let matches =
                session.filters.iter().filter(|filter| cork_packet::matches(filter, &topic)).count();
            let arrived = ledger.arrive(subscriber, publisher, sequence, &topic);
            assert_eq!(arrived, (matches > 0).then_some(1), "{topic} to {:?}", session.filters);
            taken += matches;
            wrong += u64::from(matches == 0);
        }
        assert_eq!(taken, copies as usize, "{topic}");
    }
    let faults = ledger.close();
    assert_eq!(
        faults,
        Faults { misrouted: wrong, ..Faults::default() },
        "each subscriber that must not get it"
    );
    assert!(ledger.expected > 300, "some messages match three filters");
}

#[test]
fn fan_in_counts_what_never_came() {
    let mut ledger = sent(&Shape::FanIn { publishers: 2 }, 5);
    for sequence in 0..5 {
        assert_eq!(ledger.arrive(0, 1, sequence, &topic(1)), Some(1));
    }
    assert_eq!((ledger.published(), ledger.close().lost), (10, 5));
}
