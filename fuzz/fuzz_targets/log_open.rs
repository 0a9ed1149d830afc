//! A log of a few segments, changed at will: opening it never panics, and what opens can be read and written.
#![no_main]

use std::sync::{Arc, LazyLock};

use cork_log::{Log, Op, Options, sim::SimDisk};
use cork_store::{
    Load, Message, MessageId, Publisher, QueuedDelivery, Record, SessionKey, SubscriptionIds, Ticket,
    WallTime,
};
use libfuzzer_sys::fuzz_target;

/// Which file, where, and what comes there instead.
type Change = (u8, u16, Vec<u8>);

fn options() -> Options {
    Options {
        segment_bytes: 2048,
        slack_bytes: 4096,
        clean_slice_bytes: 512,
        seed: Some(1),
        ..Options::default()
    }
}

fn message(number: u64) -> Arc<Message> {
    let id = MessageId { arrived: WallTime(number), shard: 0, epoch: 0 };
    Arc::new(Message::new(id, "a/b", &[], &[b'x'; 60], Arc::new(Publisher::default())))
}

fn queued(delivery: u64) -> Record {
    let queued = QueuedDelivery {
        delivery,
        message: message(delivery),
        qos: cork_packet::QoS::AtLeastOnce,
        retain: false,
        share: None,
        subscription_ids: SubscriptionIds::None,
    };
    Record::Queued { session: SessionKey(1), queued }
}

fn write(log: &mut Log<SimDisk>, records: Vec<Record>) {
    log.commit(&[Op::Append { shard: 0, ticket: Ticket(1), records }]).expect("a disk that works");
}

static SOUND: LazyLock<SimDisk> = LazyLock::new(|| {
    let disk = SimDisk::new(1);
    let (mut log, ..) = Log::open(disk.clone(), options()).expect("a new log");
    for delivery in 1..40 {
        write(&mut log, vec![queued(delivery), Record::Retained { message: message(delivery) }]);
        if delivery > 20 {
            write(&mut log, vec![Record::Done { session: SessionKey(1), delivery: delivery - 20 }]);
        }
    }
    disk
});

fuzz_target!(|changes: Vec<Change>| {
    let disk = SOUND.fork(1);
    let names: Vec<String> = disk.contents().into_keys().collect();
    for (file, offset, bytes) in &changes {
        let name = &names[usize::from(*file) % names.len()];
        assert!(disk.damage(name, |content| {
            let start = usize::from(*offset).min(content.len());
            let end = (start + bytes.len()).min(content.len());
            content[start..end].copy_from_slice(&bytes[..end - start]);
            if bytes.is_empty() {
                content.truncate(start);
            }
        }));
    }
    let Ok((mut log, recovered, _)) = Log::open(disk.clone(), options()) else { return };
    for session in &recovered.sessions {
        let load = Load { token: 1, session: session.key, from: 0, messages_max: 100, bytes_max: u32::MAX };
        let loaded = log.locate(0, load).read();
        assert_eq!((loaded.deliveries.len() as u64, &loaded.damaged[..]), (session.queue.messages, &[][..]));
    }
    write(&mut log, vec![queued(1000)]);
    let again = log.recovered(0).expect("what was read once");
    drop(log);
    let (_, recovered, report) = Log::open(disk, options()).expect("what was opened once");
    assert_eq!((recovered.sessions, report.cut), (again.sessions, None));
});
