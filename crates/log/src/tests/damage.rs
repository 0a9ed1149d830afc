//! Bits that change, files that shrink or go: named by file and offset, or the torn end; never served.

use std::collections::BTreeMap;

use cork_store::Recovered;

use super::{
    basics::{append, load, message, options, queued},
    model::{Driver, steps},
};
use crate::{Log, OpenError, format, sim::SimDisk};

/// Everything that a log gives back.
fn all(log: &Log<SimDisk>, recovered: &Recovered) -> (Recovered, Vec<cork_store::Loaded>) {
    let loads = recovered.sessions.iter().map(|session| log.locate(0, load(session.key.0)).read()).collect();
    (Recovered { epoch: 0, ..recovered.clone() }, loads)
}

/// A log of several segments that was stopped cleanly, or not, and what it gives back after each of its commits.
fn log_to_damage(clean_stop: bool) -> (SimDisk, Vec<(Recovered, Vec<cork_store::Loaded>)>) {
    let disk = SimDisk::new(3);
    let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
    let mut driver = Driver::default();
    let mut states = Vec::new();
    for group in steps(5, 400).chunks(4) {
        let records = driver.batch(group);
        log.commit(&[driver.op(records)]).unwrap();
        let recovered = log.recovered(0).unwrap();
        states.push(all(&log, &recovered));
    }
    if clean_stop {
        log.close().unwrap();
    }
    (disk, states)
}

/// Opens a damaged copy. True: it was cut short, and gave back an earlier state.
fn examine(
    disk: &SimDisk,
    states: &[(Recovered, Vec<cork_store::Loaded>)],
    (file, offset): (&str, u64),
) -> bool {
    match Log::open(disk.clone(), options()) {
        Ok((log, recovered, report)) => {
            let found = all(&log, &recovered);
            // Sessions get their numbers from hashes nowhere: what comes back compares as it is, in order.
            let position = states.iter().rposition(|state| same(state, &found));
            let position = position.unwrap_or_else(|| panic!("{file} at {offset}: a state that never was"));
            let behind = states.len() - 1 - position;
            assert!(behind <= 1, "{file} at {offset}: {behind} commits are lost without a word");
            assert!(behind == 0 || report.cut.is_some(), "{file} at {offset}: {report:?}");
            behind > 0
        }
        Err(OpenError::Damaged(damages)) => {
            // In the file itself and not behind the place; a file that is too short shows in the next one.
            let named = damages
                .iter()
                .any(|damage| damage.file == file && damage.offset <= offset || damage.file.as_str() > file);
            assert!(named, "{file} at {offset}: {damages:?}");
            false
        }
        Err(error) => panic!("{file} at {offset}: {error}"),
    }
}

fn same(a: &(Recovered, Vec<cork_store::Loaded>), b: &(Recovered, Vec<cork_store::Loaded>)) -> bool {
    let by_topic = |recovered: &Recovered| -> BTreeMap<Box<str>, _> {
        recovered.retained.iter().map(|message| (message.topic().into(), message.clone())).collect()
    };
    a.0.sessions == b.0.sessions && by_topic(&a.0) == by_topic(&b.0) && a.1 == b.1
}

#[test]
fn ten_thousand_flips_and_truncations() {
    for clean_stop in [true, false] {
        let (disk, states) = log_to_damage(clean_stop);
        let files: Vec<(String, usize)> =
            disk.contents().into_iter().map(|(name, content)| (name, content.len())).collect();
        assert!(files.len() > 4, "{files:?}");
        let (mut torn, mut seed) = (0, 17_u64);
        for round in 0..5000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (name, length) = &files[usize::try_from(seed >> 33).unwrap() % files.len()];
            let at = usize::try_from(seed >> 17 & 0xffff).unwrap() % length;
            let copy = disk.fork(round);
            assert!(copy.damage(name, |content| match round % 10 {
                9 => content.truncate(at),
                _ => content[at] ^= 1 << (seed >> 60 & 7),
            }));
            torn += u32::from(examine(&copy, &states, (name, at as u64)));
        }
        assert_eq!(torn > 0, !clean_stop, "{torn}: after a clean stop nothing can be taken for a torn end");
    }
}

#[test]
fn a_segment_that_is_missing_is_noticed() {
    let (disk, _) = log_to_damage(true);
    let with_commits: Vec<String> = disk
        .contents()
        .into_iter()
        .filter(|(_, content)| content[format::SEGMENT_HEADER_BYTES..].iter().any(|byte| *byte != 0))
        .map(|(name, _)| name)
        .collect();
    for name in &with_commits {
        let copy = disk.fork(1);
        crate::Disk::remove(&copy, name).unwrap();
        let error = Log::open(copy, options()).map(drop).unwrap_err().to_string();
        assert!(error.contains("missing") && error.contains("cork store check"), "{error}");
    }
}

#[test]
fn a_newer_format_is_refused() {
    let (disk, _) = log_to_damage(true);
    let name = disk.contents().into_keys().next().unwrap();
    assert!(disk.damage(&name, |content| {
        content[8] = 2;
        let checksum = crc32fast::hash(&content[..508]);
        content[508..512].copy_from_slice(&checksum.to_le_bytes());
    }));
    let error = Log::open(disk, options()).map(drop).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("newer cork") && error.contains("format 2"), "{error}");
}

#[test]
fn a_body_that_was_damaged_while_the_log_is_open_is_named_and_the_others_are_loaded() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
    let records =
        (1..=3).map(|number| queued(4, number, &message(number, "a", &[b'0' + number.to_le_bytes()[0]; 50])));
    log.commit(&append(records.collect())).unwrap();
    let (name, content) = disk.contents().into_iter().next().unwrap();
    let at = content.windows(50).position(|window| window == [b'2'; 50]).unwrap();
    assert!(disk.damage(&name, |content| content[at + 20] = 0));
    let loaded = log.locate(0, load(4)).read();
    let deliveries: Vec<u64> = loaded.deliveries.iter().map(|queued| queued.delivery).collect();
    assert_eq!((deliveries, loaded.next), (vec![1, 3], None));
    let [(2, what)] = &loaded.damaged[..] else { panic!("{loaded:?}") };
    assert!(what.contains(&name) && what.contains("checksum"), "{what}");
}
