//! A full disk: what is left of it is there for those who free space, however it came to be full, and however often the
//! log is opened.

use std::{collections::BTreeSet, thread, time::Duration};

use cork_store::{Record, SessionKey, StoreError};

use super::basics::{append, load, message, options, queued};
use crate::{Log, Options, sim::SimDisk};

fn done(delivery: u64) -> Record {
    Record::Done { session: SessionKey(7), delivery }
}

/// A log on a disk that has room for nothing but what is there, and how many messages wait in it when it says so.
/// `behind`: for so many bytes more messages are under way by then.
fn filled(disk: &SimDisk, late_helper: Option<Duration>, behind: usize) -> u64 {
    let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
    let helper = late_helper.map(|late| {
        let help = log.ahead.by_helper();
        thread::spawn(move || {
            thread::sleep(late);
            help();
        })
    });
    let bytes = disk.contents().values().map(Vec::len).sum::<usize>();
    disk.set_capacity(Some(bytes as u64 + 2 * options().segment_bytes + 100));
    let mut last = 0;
    let mut publish = |log: &mut Log<SimDisk>| {
        last += 1;
        log.commit(&append(vec![queued(7, last, &message(last, "a", &[7; 200]))])).map(drop)
    };
    while !log.is_full() {
        publish(&mut log).expect("nobody was told before that it is full");
    }
    for _ in 0..behind / 400 {
        publish(&mut log).expect("what was under way has place");
    }
    while publish(&mut log) == Ok(()) {}
    drop(log);
    if let Some(helper) = helper {
        helper.join().unwrap();
    }
    last - 1
}

#[test]
fn the_reserve_is_left_however_fast_the_disk_is_filled() {
    for late in [None, Some(Duration::ZERO), Some(Duration::from_millis(30))] {
        let disk = SimDisk::new(1);
        let last = filled(&disk, late, 4 << 10);
        let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
        assert!(log.is_full());
        let big = queued(7, last + 1, &message(last + 1, "a", &[7; 300]));
        assert_eq!(log.commit(&append(vec![big])).map(drop), Err(StoreError::Full), "new ones find no place");
        for delivery in 1..=last {
            log.commit(&append(vec![done(delivery)])).expect("what frees space does");
            log.retry();
            while log.clean_step().unwrap() {}
        }
        assert!(!log.is_full(), "{late:?}");
    }
}

/// A small disk is full long before the log has the slack that it may have where there is space; a drained queue gave
/// nothing back there, for ever.
#[test]
fn a_drained_queue_gives_space_back_however_much_slack_the_log_may_have() {
    for (sleeps_on, expected) in [(0, false), (1, false), (20, true)] {
        let disk = SimDisk::new(4);
        let last = filled(&disk, None, 0);
        let generous = Options { slack_bytes: 1 << 30, ..options() };
        let (mut log, ..) = Log::open(disk.clone(), generous).unwrap();
        assert!(log.is_full());
        for delivery in (1..=last).filter(|delivery| delivery % 20 >= sleeps_on) {
            log.commit(&append(vec![done(delivery)])).unwrap();
            log.retry();
            while log.clean_step().unwrap() {}
        }
        assert_eq!(log.is_full(), expected, "{sleeps_on} of 20 still wait");
    }
}

#[test]
fn a_log_can_be_opened_on_a_full_disk_any_number_of_times() {
    for power_cut in [false, true] {
        let disk = SimDisk::new(2);
        let last = filled(&disk, None, 0);
        let mut epochs = BTreeSet::new();
        for start in 1..=20 {
            let (mut log, recovered, _) = Log::open(disk.clone(), options()).unwrap();
            assert!(epochs.insert(recovered.epoch), "start {start} has an epoch of its own");
            assert_eq!(recovered.sessions[0].queue.messages, last + 1 - start);
            log.commit(&append(vec![done(start)])).unwrap_or_else(|error| panic!("start {start}: {error}"));
            drop(log);
            if power_cut {
                disk.crash();
            }
        }
        let (mut log, ..) = Log::open(disk.clone(), options()).unwrap();
        for delivery in 21..=last {
            log.commit(&append(vec![done(delivery)])).unwrap();
            log.retry();
            while log.clean_step().unwrap() {}
        }
        assert_eq!(log.locate(0, load(7)).read().deliveries, []);
        assert!(!log.is_full());
    }
}

#[test]
fn a_start_takes_an_epoch_although_nothing_is_written_and_nothing_can_be_made() {
    let disk = SimDisk::new(3);
    filled(&disk, None, 0);
    let epochs: Vec<u32> = (0..5)
        .map(|_| {
            let (log, recovered, _) = Log::open(disk.clone(), options()).unwrap();
            drop(log);
            disk.crash();
            recovered.epoch
        })
        .collect();
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}
