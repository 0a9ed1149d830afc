//! The hand-over: nothing that was handed over before a question is missing from its answer, and what is too much is
//! counted.

use std::{path::PathBuf, sync::mpsc::Receiver};

use cork_store::{MayRead, Message, MessageId, Publisher, ReplayFrom, Row};

use super::*;
use crate::{Rule, SeriesQuery};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cork-history-engine-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn rules(filter: &str) -> Rules {
    let rule = Rule { filter: filter.into(), keep: Duration::from_secs(1 << 40), max_bytes: 1 << 30 };
    Rules { rules: vec![rule], retained_bytes: 0 }
}

fn start(folder: &Folder, filter: &str) -> Engine {
    Engine::start(Vault::open(&folder.0, &rules(filter), false).unwrap().0).unwrap()
}

/// A shard: its end of the history, and what tells that an answer has come.
fn shard(engine: &Engine) -> (Box<dyn History>, Receiver<()>) {
    let (sender, woken) = channel();
    let wake = move || sender.send(()).unwrap_or_default();
    (engine.handle(Arc::new(wake)), woken)
}

fn rows(shard: u16, from: u64, to: u64, payload: &[u8]) -> Rows {
    let (mut rows, by) = (Rows::default(), Arc::new(Publisher::default()));
    for n in from..to {
        let id = MessageId { arrived: WallTime(1_000_000 + n), shard, epoch: 0 };
        rows.push_by(&Row::of(&Message::new(id, "a/b", &[], payload, Arc::clone(&by))), &by);
    }
    rows
}

fn replay(from: ReplayFrom, upto: [u64; 2]) -> Replay {
    let (filter, upto) = ("#".into(), upto.into());
    Replay { token: 1, filter, from, upto, messages_max: 1000, may_read: MayRead::default() }
}

#[test]
fn a_page_has_all_that_was_handed_over_before() {
    let folder = Folder::new("page");
    let engine = start(&folder, "#");
    let [one, two] = [0, 1].map(|number| {
        let (mut shard, woken) = shard(&engine);
        std::thread::spawn(move || {
            for turn in 0..300 {
                let mut handed = rows(number, 10 * turn, 10 * turn + 1 + turn % 10, b"21.5");
                let count = handed.len();
                shard.remember(&mut handed);
                assert!(handed.is_empty());
                if turn % 7 == 0 {
                    let from = ReplayFrom::Since(WallTime(1_000_000 + 10 * turn));
                    shard.replay(replay(from, [u64::MAX; 2]));
                    woken.recv().unwrap();
                    let page = shard.poll().unwrap();
                    let own = page.messages.iter().filter(|message| message.id().shard == number);
                    assert_eq!(own.count(), count, "turn {turn}");
                }
                if turn % 50 == 0 {
                    std::thread::sleep(2 * NAP); // it sleeps meanwhile
                }
            }
        })
    });
    one.join().unwrap();
    two.join().unwrap();
    let (all, query) = (
        2 * (1..=10).sum::<u64>() * 30,
        SeriesQuery {
            filter: "#".into(),
            field: None,
            since: 0,
            until: u64::MAX,
            step: Some(u64::MAX),
            series_max: 1,
            points_max: 1,
        },
    );
    let answer = engine.vault().series(&query, wall(), |_| true);
    assert_eq!(answer.series[0].points[0].count, all, "whoever asks the vault itself finds everything, too");
    assert_eq!(engine.counters().written.load(Ordering::Relaxed), all);
    assert_eq!(engine.counters().waiting.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_too_much_is_left_out_and_counted() {
    let folder = Folder::new("much");
    let engine = start(&folder, "#");
    let (mut shard, _woken) = shard(&engine);
    let (payload, mut handed) = (vec![b'x'; 1 << 20], 0);
    {
        let _stuck = locked(&engine.desk.lanes); // the writer cannot look into them
        for turn in 0..100 {
            shard.remember(&mut rows(0, turn, turn + 1, &payload));
            handed += 1;
        }
        let waiting = engine.counters().waiting.load(Ordering::Relaxed);
        assert!(waiting <= WAITING_BYTES_MAX + (2 << 20), "{waiting} bytes");
        assert!(engine.counters().left_out.load(Ordering::Relaxed) >= 60);
    }
    engine.desk.settle();
    shard.remember(&mut rows(0, 200, 210, b"1"));
    engine.desk.settle();
    let counters = engine.counters();
    let [written, left_out] = [&counters.written, &counters.left_out].map(|it| it.load(Ordering::Relaxed));
    assert_eq!((written + left_out, counters.waiting.load(Ordering::Relaxed)), (handed + 10, 0));
    assert_eq!(engine.vault().sizes().0, written);
}

#[test]
fn new_rules_hold_for_what_comes_behind_them() {
    let folder = Folder::new("rules");
    let engine = start(&folder, "other/#");
    let (mut shard, _woken) = shard(&engine);
    for turn in 0..100 {
        let filter = if turn % 2 == 0 { "a/#" } else { "other/#" };
        engine.set_rules(&rules(filter));
        if turn % 2 == 0 {
            shard.remember(&mut rows(0, turn, turn + 1, b"1"));
        }
    }
    drop(shard);
    drop(engine); // it ends when all is written
    let (vault, _) = Vault::open(&folder.0, &rules("a/#"), false).unwrap();
    assert_eq!(vault.sizes().0, 50);
}

#[test]
fn nobody_waits_for_an_engine_that_is_gone() {
    let folder = Folder::new("gone");
    let engine = start(&folder, "#");
    let ((mut shard, _woken), vault) = (shard(&engine), engine.vault());
    drop(engine);
    shard.remember(&mut rows(0, 0, 5, b"1"));
    shard.replay(replay(ReplayFrom::Last(3), [u64::MAX; 2]));
    vault.catch_up();
    assert_eq!(shard.poll(), None);
}
