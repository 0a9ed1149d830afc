//! What is written comes back.

use std::sync::Arc;

use cork_packet::QoS;
use cork_store::{
    Load, Message, MessageId, Publisher, QueuedDelivery, Record, SessionKey, SubscriptionIds, Ticket,
    WallTime,
};

use crate::{Log, Op, Options, sim::SimDisk};

pub(super) fn options() -> Options {
    Options {
        segment_bytes: 4 << 10,
        slack_bytes: 8 << 10,
        clean_slice_bytes: 512,
        seed: Some(7),
        ..Options::default()
    }
}

pub(super) fn message(arrived: u64, topic: &str, payload: &[u8]) -> Arc<Message> {
    let publisher = Arc::new(Publisher { client_id: "sensor".into(), ..Publisher::default() });
    let id = MessageId { arrived: WallTime(arrived), shard: 0, epoch: 0 };
    let mut message = Message::new(id, topic, &[1, 1], payload, publisher);
    message.qos = QoS::AtLeastOnce;
    Arc::new(message)
}

pub(super) fn queued(session: u64, delivery: u64, message: &Arc<Message>) -> Record {
    Record::Queued {
        session: SessionKey(session),
        queued: QueuedDelivery {
            delivery,
            message: Arc::clone(message),
            qos: QoS::AtLeastOnce,
            retain: false,
            share: None,
            subscription_ids: SubscriptionIds::from_slice(&[3, 70_000]),
        },
    }
}

pub(super) fn append(records: Vec<Record>) -> Vec<Op> {
    vec![Op::Append { shard: 0, ticket: Ticket(1), records }]
}

pub(super) const fn load(session: u64) -> Load {
    Load { token: 0, session: SessionKey(session), from: 0, messages_max: u32::MAX, bytes_max: u32::MAX }
}

#[test]
fn what_is_committed_comes_back_after_a_power_cut() {
    let disk = SimDisk::new(1);
    let (mut log, recovered, _) = Log::open(disk.clone(), options()).unwrap();
    assert_eq!((recovered.epoch, recovered.sessions.len()), (0, 0));
    let one = message(10, "a/b", b"one");
    log.commit(&append(vec![
        queued(7, 1, &one),
        queued(8, 1, &one),
        Record::Retained { message: Arc::clone(&one) },
    ]))
    .unwrap();
    drop(log);
    disk.crash();
    let (log, recovered, report) = Log::open(disk, options()).unwrap();
    assert_eq!((report.commits, report.cut), (1, None));
    assert_eq!((recovered.epoch, recovered.last_arrival), (1, 10));
    assert_eq!(recovered.retained, [Arc::clone(&one)]);
    assert_eq!(recovered.sessions.len(), 2);
    let queue = recovered.sessions[0].queue;
    assert_eq!((queue.first, queue.last, queue.messages), (1, 1, 1));
    assert_eq!(queue.bytes, one.cost_bytes() as u64);
    let loaded = log.locate(0, load(8)).read();
    assert_eq!((loaded.deliveries.len(), loaded.next, &loaded.damaged[..]), (1, None, &[][..]));
    let Record::Queued { queued, .. } = queued(8, 1, &one) else { unreachable!() };
    assert_eq!(loaded.deliveries, [queued]);
}

#[test]
fn a_delivery_that_is_over_in_the_same_group_is_not_written() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
    let syncs = disk.syncs();
    let one = message(10, "a/b", b"one");
    let mut ops = append(vec![queued(7, 1, &one)]);
    let done = Record::Done { session: SessionKey(7), delivery: 1 };
    ops.push(Op::Append { shard: 0, ticket: Ticket(2), records: vec![done] });
    log.commit(&ops).unwrap();
    assert_eq!(disk.syncs(), syncs, "nothing is left to write");
}

#[test]
fn space_comes_back() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
    let keep = message(1, "keep", b"me");
    log.commit(&append(vec![Record::Retained { message: Arc::clone(&keep) }])).unwrap();
    for number in 1..2000 {
        let message = message(number + 1, "a/b", &[7; 100]);
        log.commit(&append(vec![queued(7, number, &message)])).unwrap();
        if number > 5 {
            let done = Record::Done { session: SessionKey(7), delivery: number - 5 };
            log.commit(&append(vec![done])).unwrap();
        }
    }
    while log.clean_step().unwrap() {}
    let stats = log.stats();
    assert!(stats.used_bytes < 16 << 10, "{stats:?}");
    assert!(disk.contents().len() < 8);
    disk.crash();
    let (_, recovered, _) = Log::open(disk, options()).unwrap();
    assert_eq!(recovered.retained, [keep]);
    let queue = recovered.sessions[0].queue;
    assert_eq!((queue.first, queue.last, queue.messages), (1995, 1999, 5));
}

/// Several shards may store a retained message together, and another one may be stored, and cleared, meanwhile.
#[test]
fn a_retained_message_that_comes_late_stays_cleared_when_the_segment_that_says_so_is_gone() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
    let retained = |arrived, payload| Record::Retained { message: message(arrived, "a", payload) };
    log.commit(&append(vec![retained(2, b"newer")])).unwrap();
    log.commit(&append(vec![retained(3, b"")])).unwrap();
    for number in 1..200 {
        let message = message(number + 3, "a/b", &[7; 100]);
        log.commit(&append(vec![queued(7, number, &message)])).unwrap();
        log.commit(&append(vec![Record::Done { session: SessionKey(7), delivery: number }])).unwrap();
    }
    while log.clean_step().unwrap() {}
    assert!(disk.contents().len() < 6, "the first segment is gone");
    log.commit(&append(vec![retained(1, b"older")])).unwrap();
    disk.crash();
    let (_, recovered, _) = Log::open(disk, options()).unwrap();
    assert_eq!(recovered.retained, []);
}

#[test]
fn what_belongs_to_the_history_comes_back_if_it_is_wanted() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
    let all: Vec<_> = (1..=3).map(|n| message(n, "a", b"x")).collect();
    for message in &all {
        let mine = Record::Remembered { message: Arc::clone(message) };
        log.commit(&append(vec![queued(7, message.id().arrived.0, message), mine])).unwrap();
    }
    drop(log);
    disk.crash();
    let mut wants = |topic: &str, id: MessageId| topic == "a" && id.arrived.0 > 1;
    let (log, _, report) = Log::open_with(disk, options(), &mut wants).unwrap();
    assert_eq!(report.remembered, all[1..]);
    assert_eq!(log.locate(0, load(7)).read().deliveries.len(), 3, "and waits as before");
}
