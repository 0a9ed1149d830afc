//! The vault against a plain list of messages, with restarts, crashes and time that passes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use cork_packet::matches;
use cork_store::{MayRead, Message, MessageId, Publisher, Replay, ReplayFrom, WallTime};
use proptest::prelude::*;

use crate::{Cache, Rule, Rules, SeriesQuery, Vault};

mod damage;

/// A folder of its own that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cork-history-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SECOND: u64 = 1_000_000;
const BEGIN: u64 = 1_790_000_000 * SECOND;

fn message(at: u64, shard: u16, topic: &str, payload: &[u8]) -> Arc<Message> {
    let id = MessageId { arrived: WallTime(BEGIN + at), shard, epoch: 1 };
    let publisher = Arc::new(Publisher { client_id: "c".into(), ..Publisher::default() });
    Arc::new(Message::new(id, topic, &[], payload, publisher))
}

fn rule(filter: &str, keep_seconds: u64, max_bytes: u64) -> Rule {
    Rule { filter: filter.into(), keep: Duration::from_secs(keep_seconds), max_bytes }
}

fn rules(rules: Vec<Rule>) -> Rules {
    Rules { rules, retained_bytes: 0 }
}

/// All messages of a filter, page by page.
fn all(vault: &Vault, filter: &str, from: ReplayFrom, upto: &[u64], now: u64) -> Vec<Arc<Message>> {
    all_readable(vault, filter, from, upto, now, MayRead::default())
}

fn all_readable(
    vault: &Vault,
    filter: &str,
    from: ReplayFrom,
    upto: &[u64],
    now: u64,
    may_read: MayRead,
) -> Vec<Arc<Message>> {
    let cache = Cache::default();
    let (filter, upto) = (filter.into(), upto.into());
    let mut replay = Replay { token: 7, filter, from, upto, messages_max: 3, may_read };
    let mut found = Vec::new();
    loop {
        let page = vault.page(&replay, WallTime(BEGIN + now), &cache);
        assert_eq!(page.token, 7);
        found.extend(page.messages);
        match page.next {
            Some(next) => replay.from = ReplayFrom::After(next),
            None => return found,
        }
    }
}

const SINCE_EVER: ReplayFrom = ReplayFrom::Since(WallTime(0));

#[derive(Clone, Debug)]
enum Step {
    Publish {
        shard: u16,
        topic: u8,
        value: i8,
        many: u8,
    },
    Restart,
    /// Rows that were not sealed lose their last bytes.
    Crash {
        lost: u8,
    },
    Ask {
        topic: u8,
        last: Option<u8>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let publish = (0..2_u16, 0..3_u8, any::<i8>(), 1..120_u8)
        .prop_map(|(shard, topic, value, many)| Step::Publish { shard, topic, value, many });
    let step = prop_oneof![
        6 => publish,
        1 => Just(Step::Restart),
        1 => (0..40_u8).prop_map(|lost| Step::Crash { lost }),
        3 => (0..4_u8, proptest::option::of(1..50_u8)).prop_map(|(topic, last)| Step::Ask { topic, last }),
    ];
    proptest::collection::vec(step, 1..40)
}

fn cut_rows(folder: &Path, lost: u64) {
    for shelf in fs::read_dir(folder).unwrap() {
        for file in fs::read_dir(shelf.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rows") {
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                let length = file.metadata().unwrap().len();
                file.set_len(length.saturating_sub(lost)).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_gives_back_what_it_took(steps in steps()) {
        let folder = Folder::new();
        // Blocks of 16 KiB: many of them.
        let rules = rules(vec![rule("t/0", 1_000_000, 1 << 20), rule("t/#", 1_000_000, 1 << 20)]);
        let (mut vault, _) = Vault::open(&folder.0, &rules, true).unwrap();
        let mut taken: Vec<Arc<Message>> = Vec::new();
        let mut time = 0;
        for step in steps {
            match step {
                Step::Publish { shard, topic, value, many } => {
                    let batch: Vec<_> = (0..many).map(|n| {
                        time += 1 + u64::from(n % 3);
                        message(time, shard, &format!("t/{topic}"), (f64::from(value) / 4.0).to_string().as_bytes())
                    }).collect();
                    vault.append(&batch).unwrap();
                    taken.extend(batch);
                }
                Step::Restart => {
                    drop(vault);
                    vault = Vault::open(&folder.0, &rules, true).unwrap().0;
                }
                Step::Crash { lost } => {
                    drop(vault);
                    cut_rows(&folder.0, u64::from(lost));
                    vault = Vault::open(&folder.0, &rules, true).unwrap().0;
                    let kept = all(&vault, "t/#", SINCE_EVER, &[], time);
                    // A beginning of what each shelf took is there; the rest the store has.
                    for wants_0 in [true, false] {
                        let mut wanted = taken.iter().filter(|it| (*it.topic() == *"t/0") == wants_0);
                        for found in kept.iter().filter(|it| (*it.topic() == *"t/0") == wants_0) {
                            prop_assert_eq!(wanted.next(), Some(found));
                        }
                    }
                    let missing = taken.len() - kept.len();
                    let recovered = vault.recover(taken.clone(), WallTime(BEGIN + time)).unwrap();
                    prop_assert_eq!(recovered, missing);
                }
                Step::Ask { topic, last } => {
                    let filter = if topic == 3 { "t/+".to_owned() } else { format!("t/{topic}") };
                    let mut wanted: Vec<_> = taken.iter().filter(|it| matches(&filter, it.topic())).cloned().collect();
                    if let Some(last) = last {
                        let from = wanted.len().saturating_sub(usize::from(last));
                        wanted.drain(..from);
                    }
                    let from = last.map_or(SINCE_EVER, |last| ReplayFrom::Last(last.into()));
                    prop_assert_eq!(all(&vault, &filter, from, &[], time), wanted);
                }
            }
        }
        prop_assert_eq!(all(&vault, "#", SINCE_EVER, &[], time), taken.clone());
        // And the numbers are those of the messages.
        let query = SeriesQuery {
            filter: "#".into(), field: None, since: 0, until: u64::MAX, step: Some(1000 * SECOND), series_max: 9, points_max: 9999,
        };
        let answer = vault.series(&query, WallTime(BEGIN + time), |_| true);
        let counted: u64 = answer.series.iter().flat_map(|series| &series.points).map(|point| point.count).sum();
        prop_assert_eq!(counted, taken.len() as u64);
    }
}

#[test]
fn what_is_delivered_live_is_not_in_a_page() {
    let folder = Folder::new();
    let (vault, _) = Vault::open(&folder.0, &rules(vec![rule("#", 100, 1 << 20)]), false).unwrap();
    let batch: Vec<_> = (0..10).map(|n| message(n, u16::try_from(n % 2).unwrap(), "a", b"x")).collect();
    vault.append(&batch).unwrap();
    let upto = [BEGIN + 4, BEGIN + 7];
    let arrived = |from| -> Vec<u64> {
        all(&vault, "a", from, &upto, 10).iter().map(|it| it.id().arrived.0 - BEGIN).collect()
    };
    assert_eq!(arrived(SINCE_EVER), [0, 1, 2, 3, 4, 5, 7]);
    assert_eq!(arrived(ReplayFrom::Last(2)), [5, 7]);
}

#[test]
fn what_may_not_be_read_does_not_count() {
    let folder = Folder::new();
    let (vault, _) = Vault::open(&folder.0, &rules(vec![rule("#", 100, 1 << 20)]), false).unwrap();
    let kept = |from: u64, topic: &'static str| (from..from + 10).map(move |n| message(n, 0, topic, b"x"));
    for (from, topic) in [(0, "open/a"), (10, "shut/a"), (20, "open/b"), (30, "shut/b")] {
        vault.append(&kept(from, topic).collect::<Vec<_>>()).unwrap();
        if from == 20 {
            vault.retain(WallTime(BEGIN + 50 * SECOND)).unwrap(); // a block; the rest is in none
        }
    }
    let open = || MayRead::new(|topic| topic.starts_with("open/"));
    let last = |count| -> Vec<u64> {
        let found = all_readable(&vault, "#", ReplayFrom::Last(count), &[], 50, open());
        found.iter().map(|it| it.id().arrived.0 - BEGIN).collect()
    };
    assert_eq!(last(3), [27, 28, 29]);
    assert_eq!(last(12), [8, 9, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]);
    assert_eq!(last(100).len(), 20);
}

#[test]
fn what_is_too_old_is_gone_and_nothing_else() {
    let folder = Folder::new();
    let rules = rules(vec![rule("#", 160, 64 << 20)]);
    let (vault, _) = Vault::open(&folder.0, &rules, false).unwrap();
    let mut most = 0;
    for second in 0..2000 {
        let now = WallTime(BEGIN + second * SECOND);
        vault.append(&[message(second * SECOND, 0, "a", b"12.5")]).unwrap();
        vault.retain(now).unwrap();
        let found = all(&vault, "a", SINCE_EVER, &[], second * SECOND).len();
        assert_eq!(found as u64, (second + 1).min(161), "second {second}");
        most = most.max(vault.sizes().0);
    }
    assert!(most <= 185, "{most} rows: more than a part beyond what was promised");
}

#[test]
fn bytes_stay_below_what_was_promised_for_a_simulated_month() {
    let folder = Folder::new();
    let most = 1 << 20;
    let (vault, _) = Vault::open(&folder.0, &rules(vec![rule("#", 365 * 86_400, most)]), false).unwrap();
    let (mut peak, mut tops) = (0, Vec::new());
    for day in 0..30_u64 {
        for minute in 0..1440_u64 {
            let at = (day * 1440 + minute) * 60 * SECOND;
            // A text that does not compress.
            let noise = at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let text = format!("{noise:016x}{:016x}{:016x}", noise.rotate_left(17) ^ at, noise.swap_bytes());
            vault.append(&[message(at, 0, "a", text.as_bytes())]).unwrap();
            vault.retain(WallTime(BEGIN + at)).unwrap();
            peak = peak.max(vault.sizes().1);
        }
        tops.push(vault.sizes().1);
    }
    assert!(peak <= most, "{peak} bytes");
    let late = &tops[20..];
    let spread = late.iter().max().unwrap() - late.iter().min().unwrap();
    assert!(spread < most / 8, "flat once it is full: {late:?}");
    assert!(*late.iter().min().unwrap() > most * 3 / 4, "and it is used: {late:?}");
}

#[test]
fn a_rule_that_is_gone_ends_as_it_was_promised() {
    let folder = Folder::new();
    let (vault, _) = Vault::open(&folder.0, &rules(vec![rule("a/#", 100, 1 << 20)]), false).unwrap();
    vault.append(&[message(0, 0, "a/1", b"1")]).unwrap();
    vault.set_rules(&rules(vec![rule("b/#", 100, 1 << 20)])).unwrap();
    vault.append(&[message(1, 0, "a/1", b"2"), message(2, 0, "b/1", b"3")]).unwrap();
    let found = |vault: &Vault, second: u64| all(vault, "#", SINCE_EVER, &[], second * SECOND).len();
    assert_eq!(found(&vault, 1), 2, "nobody wants a/1 any more; what was kept of it is there");
    drop(vault);
    let (vault, _) = Vault::open(&folder.0, &rules(vec![rule("b/#", 300, 1 << 20)]), false).unwrap();
    assert_eq!(found(&vault, 1), 2);
    vault.retain(WallTime(BEGIN + 150 * SECOND)).unwrap();
    vault.retain(WallTime(BEGIN + 300 * SECOND)).unwrap();
    assert_eq!(found(&vault, 150), 1);
    let folders = fs::read_dir(&folder.0).unwrap().count();
    assert_eq!(folders, 1, "the other one is removed");
}

#[test]
fn retained_messages_have_a_shelf_of_their_own() {
    let folder = Folder::new();
    let rules = Rules { rules: vec![rule("a/#", 100, 1 << 20)], retained_bytes: 1 << 20 };
    let (vault, _) = Vault::open(&folder.0, &rules, false).unwrap();
    let retained = |at, topic| {
        let mut message = (*message(at, 0, topic, b"7")).clone();
        message.retain = true;
        Arc::new(message)
    };
    vault.append(&[message(0, 0, "b", b"1"), retained(1, "b"), retained(2, "a/1")]).unwrap();
    let topics: Vec<_> =
        all(&vault, "#", SINCE_EVER, &[], 3).iter().map(|message| message.topic().to_string()).collect();
    assert_eq!(topics, ["b", "a/1"]);
}

#[test]
fn the_mean_of_large_values_is_a_number() {
    let folder = Folder::new();
    let (vault, _) = Vault::open(&folder.0, &rules(vec![rule("#", 1000, 1 << 20)]), false).unwrap();
    let lists = [
        ("a", &["1.5e308", "1.7e308", "1.6e308"][..]),
        ("b", &["1.7e308", "1.7e308", "-1.7e308", "-1.7e308"]),
    ];
    for (topic, values) in lists {
        for (at, value) in (0..).zip(values) {
            vault.append(&[message(at, 0, topic, value.as_bytes())]).unwrap();
        }
    }
    let query = SeriesQuery {
        filter: "#".into(),
        field: None,
        since: 0,
        until: u64::MAX,
        step: Some(1000 * SECOND),
        series_max: 9,
        points_max: 9,
    };
    let series = vault.series(&query, WallTime(BEGIN + SECOND), |_| true).series;
    let means: Vec<f64> = series.iter().map(|one| one.points[0].mean()).collect();
    assert!((means[0] / 1.6e308 - 1.0).abs() < 1e-12, "{means:?}");
    assert_eq!(means[1], 0.0);
}

#[test]
fn steps_have_min_max_mean_last_and_count() {
    let folder = Folder::new();
    let (vault, _) = Vault::open(&folder.0, &rules(vec![rule("#", 1000, 1 << 20)]), false).unwrap();
    let begin = 60 - BEGIN / SECOND % 60; // a minute begins
    for (second, value) in [(0, "1"), (30, "4"), (59, "1.0"), (60, "7")] {
        vault.append(&[message((begin + second) * SECOND, 0, "n", value.as_bytes())]).unwrap();
    }
    let json = br#"{"t":20,"h":{"in":5}}"#;
    vault.append(&[message((begin + 61) * SECOND, 0, "j", json)]).unwrap();
    let ask = |filter: &str, field: Option<&str>, step| {
        let (filter, field) = (filter.to_owned(), field.map(str::to_owned));
        let query =
            SeriesQuery { filter, field, since: 0, until: u64::MAX, step, series_max: 9, points_max: 9 };
        vault.series(&query, WallTime(BEGIN + 200 * SECOND), |topic| topic != "secret").series
    };
    let series = ask("n", Some(""), Some(60 * SECOND));
    let seen: Vec<_> = series[0].points.iter().map(|p| (p.min, p.max, p.mean(), p.last, p.count)).collect();
    assert_eq!(seen, [(1.0, 4.0, 2.0, 1.0, 3), (7.0, 7.0, 7.0, 7.0, 1)]);
    assert_eq!(ask("n", None, None)[0].points.len(), 4);
    let fields: Vec<_> = ask("j", None, None).into_iter().map(|series| series.field).collect();
    assert_eq!(fields, ["h.in", "t"]);
    assert_eq!(ask("j", Some("h.in"), None)[0].points[0].last, 5.0);
    assert!(ask("j", Some(""), None).is_empty());
}
