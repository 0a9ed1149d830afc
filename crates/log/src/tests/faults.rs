//! Disks that fail: whatever happens when, what was acknowledged is there, and nothing else than that and perhaps the
//! commit that was under way.

use std::time::Duration;

use cork_store::{Record, SessionKey, StoreError};
use proptest::prelude::*;

use super::{
    basics::{append, message, options, queued},
    model::{Driver, Model, steps},
};
use crate::{Durability, Log, Options, sim::Fault, sim::SimDisk};

/// One life of a log: opens it, checks what it gives back against `models`, one of which it must be (the first one
/// that fits), and commits groups until a call fails. Gives back what the next life may find.
fn live(
    disk: &SimDisk,
    options: Options,
    models: Vec<Model>,
    driver: &mut Driver,
    groups: &[Vec<(u8, u8, u16)>],
) -> Vec<Model> {
    let (mut log, recovered, _) = match Log::open(disk.clone(), options) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(error.to_string().contains("as it was told to"), "{error}");
            return models;
        }
    };
    disk.pause_faults(true);
    let differences: Vec<_> = models.iter().map(|model| model.differs(&recovered, &log)).collect();
    disk.pause_faults(false);
    let Some(fits) = differences.iter().position(Option::is_none) else {
        panic!("none of {} states is there: {differences:#?}", models.len())
    };
    driver.model = models[fits].clone();
    driver.forget_what_is_gone();
    let mut models = vec![driver.model.clone()];
    for (at, group) in groups.iter().enumerate() {
        let records = driver.batch(group);
        let op = driver.op(records);
        models.push(driver.model.clone());
        match log.commit(&[op]) {
            Ok(_) if options.durability == Durability::Always => drop(models.drain(..models.len() - 1)),
            Ok(_) => {}
            Err(StoreError::Failed(_)) => {
                let again = log.commit(&[]).map(|_| ()).unwrap_err();
                assert!(matches!(again, StoreError::Failed(_)), "for ever");
                return models;
            }
            Err(error) => panic!("this disk is large: {error}"),
        }
        let cleaned = if at % 3 == 2 { log.clean_step().map(drop) } else { Ok(()) };
        let synced = if at % 5 == 4 { log.sync() } else { Ok(()) };
        if at % 5 == 4 && synced.is_ok() {
            models.drain(..models.len() - 1);
        }
        if cleaned.is_err() || synced.is_err() {
            return models;
        }
    }
    models
}

fn groups(seed: u64, count: usize) -> Vec<Vec<(u8, u8, u16)>> {
    steps(seed, count * 6).chunks(6).map(<[_]>::to_vec).collect()
}

/// Two lives, the first of which ends at this call; then a third to see what is there.
fn dies_at(seed: u64, call: Fault, power_cut: bool, options: Options) -> u64 {
    let disk = SimDisk::new(seed);
    let mut driver = Driver::default();
    disk.set_fault(call);
    let mut models = vec![Model::default()];
    models = live(&disk, options, models, &mut driver, &groups(seed, 150));
    let calls = disk.calls();
    disk.set_fault(Fault::Never);
    if power_cut {
        disk.crash();
    }
    models = live(&disk, options, models, &mut driver, &groups(seed + 1, 10));
    // What was given back once is there after a power cut, too.
    disk.crash();
    live(&disk, options, models, &mut driver, &[]);
    calls
}

#[test]
fn every_call_fails_once_and_from_then_on_and_nothing_is_lost() {
    let calls = dies_at(11, Fault::Never, true, options());
    assert!(calls > 500, "{calls} calls only");
    for call in 1..=calls {
        for (fault, power_cut) in
            [(Fault::Once(call), false), (Fault::Once(call), true), (Fault::From(call), true)]
        {
            dies_at(11, fault, power_cut, options());
        }
    }
}

#[test]
fn with_weaker_promises_an_earlier_state_comes_back_as_a_whole() {
    for durability in [Durability::Interval(Duration::from_millis(1)), Durability::None] {
        let options = Options { durability, ..options() };
        let calls = dies_at(5, Fault::Never, true, options);
        for call in 1..=calls {
            dies_at(5, Fault::From(call), true, options);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn any_life_ends_any_time(
        seed: u64,
        lives in prop::collection::vec((prop::collection::vec(prop::collection::vec(any::<(u8, u8, u16)>(), 0..9), 0..40), 1..400_u64, any::<bool>()), 1..6),
    ) {
        let disk = SimDisk::new(seed);
        let (mut driver, mut models) = (Driver::default(), vec![Model::default()]);
        for (groups, call, power_cut) in &lives {
            disk.set_fault(Fault::From(*call));
            models = live(&disk, options(), models, &mut driver, groups);
            disk.set_fault(Fault::Never);
            if *power_cut {
                disk.crash();
            }
        }
        live(&disk, options(), models, &mut driver, &[]);
    }
}

#[test]
fn a_full_disk_keeps_what_it_has_and_goes_on_when_there_is_space() {
    for capacity in (12..36).map(|kilobytes| kilobytes << 10) {
        let disk = SimDisk::new(3);
        disk.set_capacity(Some(capacity));
        let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
        let mut driver = Driver::default();
        let mut full = 0;
        for group in groups(9, 200) {
            let records = driver.batch(&group);
            let op = [driver.op(records)];
            while let Err(error) = log.commit(&op) {
                assert_eq!(error, StoreError::Full);
                assert!(log.is_full());
                full += 1;
                // Somebody makes room, not all at once.
                let disk_now = disk.fork(full);
                disk_now.crash();
                Log::open(disk_now, options()).expect("a start on a full disk");
                disk.set_capacity(Some(capacity + full * 1000));
                log.retry();
            }
        }
        assert!(full > 0 || capacity > 20 << 10, "{capacity} bytes are enough?");
        drop(log);
        disk.set_capacity(None);
        disk.crash();
        live(&disk, options(), vec![driver.model.clone()], &mut driver, &[]);
    }
}

#[test]
fn after_a_start_on_a_full_disk_a_queue_that_drains_gives_its_space_back() {
    for capacity in (24..48).map(|kilobytes| kilobytes << 10) {
        let disk = SimDisk::new(5);
        disk.set_capacity(Some(capacity));
        let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
        let keep = Record::Retained { message: message(1, "keep", b"me") };
        log.commit(&append(vec![keep])).unwrap();
        let mut last = 0;
        // Whoever publishes is refused from the first sign on.
        while !log.is_full() {
            last += 1;
            log.commit(&append(vec![queued(7, last, &message(last + 1, "a", &[7; 200]))])).unwrap();
        }
        drop(log);
        disk.crash();
        let (mut log, ..) = Log::open(disk, options()).unwrap();
        for delivery in 1..=last {
            let done = Record::Done { session: SessionKey(7), delivery };
            log.commit(&append(vec![done]))
                .unwrap_or_else(|error| panic!("{capacity}: {delivery} of {last}: {error}"));
            // As its thread does when nobody writes.
            log.retry();
            while log.clean_step().unwrap() {}
        }
        log.retry();
        log.commit(&append(vec![queued(8, 1, &message(9000, "a", &[7; 2000]))]))
            .unwrap_or_else(|error| panic!("{capacity}: {error}"));
        assert!(!log.is_full(), "{capacity}");
    }
}

#[test]
fn a_file_that_could_not_be_removed_goes_later() {
    let long = vec![b'x'; 100_000];
    let done = |session| Record::Done { session: SessionKey(session), delivery: 1 };
    let mut tried = 0;
    for call in 1..60 {
        let disk = SimDisk::new(call);
        let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
        disk.set_fault(Fault::Once(call));
        let records = [
            queued(5, 1, &message(1, "a", &long)),
            done(5),
            queued(6, 1, &message(2, "a", b"short")),
            done(6),
            queued(7, 1, &message(3, "a", b"short")),
        ];
        let kept = records.into_iter().all(|record| log.commit(&append(vec![record])).is_ok());
        while log.clean_step() == Ok(true) {}
        disk.set_fault(Fault::Never);
        if !kept || log.commit(&append(vec![done(7)])).is_err() {
            continue; // after any other failure nothing is written any more
        }
        tried += 1;
        let bytes: usize = disk.contents().values().map(Vec::len).sum();
        assert!(bytes < 50_000, "{bytes} bytes after call {call} failed");
    }
    assert!(tried > 2, "{tried}");
}
