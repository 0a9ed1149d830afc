use super::*;
use crate::QoS;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cork-store-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

fn publish(n: u64) -> Publish {
    Publish::new("a/b", vec![7; 100])
        .qos(QoS::ExactlyOnce)
        .retain(n.is_multiple_of(2))
        .user_property("n", &n.to_string())
}

/// All kinds of records.
fn records() -> Vec<Record> {
    vec![
        Record::Session("lamp".into()),
        Record::Accepted(0, publish(0)),
        Record::Accepted(1, publish(1)),
        Record::Accepted(2, publish(2)),
        Record::Sent(1, id(1)),
        Record::Sent(0, id(2)),
        Record::Released(0),
        Record::Accepted(3, publish(3)),
        Record::Finished(3),
        Record::Received(id(9)),
        Record::Received(id(8)),
        Record::Completed(id(9)),
    ]
}

/// Client Identifier, publications, identifiers received.
type Shape = (Option<String>, Vec<(u64, Option<Publish>, Option<PacketId>)>, Vec<PacketId>);

fn shape(ledger: &Ledger) -> Shape {
    let publications = ledger.publications.iter();
    let publications = publications.map(|(n, saved)| (*n, saved.publish.clone(), saved.packet_id));
    (ledger.client_id.clone(), publications.collect(), ledger.received.iter().copied().collect())
}

#[test]
fn what_was_saved_is_there_again_and_a_compaction_changes_nothing() {
    let folder = folder("again");
    for durable in [false, true] {
        let path = folder.join(format!("{durable}"));
        let mut log = Log::open(&path, durable).unwrap();
        log.save(&records()).unwrap();
        let wanted = (
            Some("lamp".to_owned()),
            vec![(0, None, Some(id(2))), (1, Some(publish(1)), Some(id(1))), (2, Some(publish(2)), None)],
            vec![id(8)],
        );
        assert_eq!(shape(&log.ledger), wanted);
        assert!(Log::open(&path, durable).is_err(), "two processes share it");
        drop(log);
        let mut log = Log::open(&path, durable).unwrap();
        assert_eq!(shape(&log.ledger), wanted);
        log.compact().unwrap();
        log.save(&[Record::SessionLost]).unwrap();
        drop(log);
        let log = Log::open(&path, durable).unwrap();
        assert_eq!(log.ledger.next, 4);
        assert!(log.ledger.received.is_empty() && log.ledger.publications[&1].packet_id.is_none());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_torn_or_damaged_tail_is_cut_and_the_rest_stands() {
    let folder = folder("torn");
    let path = folder.join("log");
    Log::open(&path, false).unwrap().save(&records()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let mut log = Log::open(&path, false).unwrap();
        log.save(&[Record::Accepted(9, publish(9))]).unwrap();
        drop(log);
        let log = Log::open(&path, false).unwrap();
        assert_eq!(log.ledger.publications[&9].publish, Some(publish(9)), "cut at {cut}");
    }
    for at in (MAGIC.len()..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&path, &damaged).unwrap();
        Log::open(&path, false).unwrap();
    }
    std::fs::write(&path, b"something else").unwrap();
    assert!(Log::open(&path, false).is_err());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_log_stays_small_however_much_goes_through_it() {
    let folder = folder("small");
    let path = folder.join("log");
    let mut log = Log::open(&path, false).unwrap();
    for n in 0..100_000 {
        log.save(&[Record::Accepted(n, publish(n)), Record::Finished(n)]).unwrap();
    }
    assert!(std::fs::metadata(&path).unwrap().len() < 2 * COMPACT_BYTES_MIN);
    assert!(log.ledger.publications.is_empty() && log.ledger.next == 100_000);
    std::fs::remove_dir_all(folder).unwrap();
}
