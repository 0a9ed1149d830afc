//! The threads, on a real folder.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use cork_store::{Answer, Fetch, Fetched, Record, SessionKey, Store, Ticket};

use super::basics::{load, message, queued};
use crate::{Durability, Keeper, Options};

/// A folder that goes with the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cork-log-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn handle(keeper: &Keeper) -> (Box<dyn Store>, Receiver<()>) {
    let (woken, wakes) = channel();
    (keeper.handle(0, Arc::new(move || woken.send(()).unwrap_or(()))), wakes)
}

/// The next so many answers.
fn answers(store: &mut dyn Store, wakes: &Receiver<()>, count: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    while answers.len() < count {
        match store.poll() {
            Some(answer) => answers.push(answer),
            None => wakes.recv_timeout(Duration::from_secs(10)).expect("an answer within ten seconds"),
        }
    }
    answers
}

fn round_trip(durability: Durability) {
    let folder = Folder::new();
    let options = Options { durability, ..Options::default() };
    let (keeper, recovered, _) = Keeper::open(&folder.0, options).unwrap();
    assert_eq!(recovered.sessions, []);
    let first_epoch = recovered.epoch;
    let (mut store, wakes) = handle(&keeper);
    for number in 1..=300 {
        store.append(Ticket(number), vec![queued(5, number, &message(number, "a", b"x"))]);
    }
    store.load(load(5));
    store.append(Ticket(301), vec![queued(5, 301, &message(301, "a", b"x"))]);
    let mut answers = answers(&mut *store, &wakes, 302);
    let loaded = answers.iter().position(|answer| matches!(answer, Answer::Loaded(_))).unwrap();
    let Answer::Loaded(loaded) = answers.remove(loaded) else { unreachable!() };
    let deliveries: Vec<u64> = loaded.deliveries.iter().map(|queued| queued.delivery).collect();
    assert_eq!(deliveries, (1..=300).collect::<Vec<_>>(), "as of when it was asked for");
    let stored = |number| Answer::Stored { ticket: Ticket(number), result: Ok(()) };
    assert_eq!(answers, (1..=301).map(stored).collect::<Vec<_>>());
    assert_eq!(keeper.unanswered_bytes(), 0);
    store.append(Ticket(302), vec![Record::Done { session: SessionKey(5), delivery: 1 }]);
    keeper.stop().unwrap();
    let (keeper, recovered, report) = Keeper::open(&folder.0, options).unwrap();
    assert_eq!((recovered.epoch, report.cut), (first_epoch + 1, None));
    let queue = recovered.sessions[0].queue;
    assert_eq!((queue.first, queue.last, queue.messages), (2, 301, 300));
    keeper.stop().unwrap();
}

#[test]
fn batches_and_loads_are_answered_in_order() {
    round_trip(Durability::Always);
}

#[test]
fn the_weaker_promises_keep_what_a_clean_stop_leaves() {
    round_trip(Durability::Interval(Duration::from_millis(5)));
    round_trip(Durability::None);
}

#[test]
fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let (keeper, ..) = Keeper::open(&folder.0, Options::default()).unwrap();
    let log = folder.0.join("log");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&log), 0o700);
    let files: Vec<_> = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    files.iter().for_each(|file| assert_eq!(mode(file), 0o600, "{}", file.display()));
    keeper.stop().unwrap();
}

#[test]
fn at_the_mark_it_is_full_until_enough_is_over() {
    let folder = Folder::new();
    let options =
        Options { live_bytes_max: Some(100_000), durability: Durability::None, ..Options::default() };
    let (keeper, ..) = Keeper::open(&folder.0, options).unwrap();
    let (mut store, wakes) = handle(&keeper);
    let body = vec![b'x'; 10_000];
    let records = (1..=11).map(|number| queued(5, number, &message(number, "a", &body))).collect();
    store.append(Ticket(1), records);
    let said = answers(&mut *store, &wakes, 2);
    assert_eq!(said, [Answer::Stored { ticket: Ticket(1), result: Ok(()) }, Answer::Full(true)]);
    // What comes all the same is kept.
    store.append(Ticket(2), vec![queued(5, 12, &message(12, "a", b""))]);
    assert_eq!(answers(&mut *store, &wakes, 1), [Answer::Stored { ticket: Ticket(2), result: Ok(()) }]);
    let done = |delivery| Record::Done { session: SessionKey(5), delivery };
    store.append(Ticket(3), (1..=3).map(done).collect());
    let said = answers(&mut *store, &wakes, 2);
    assert_eq!(said, [Answer::Stored { ticket: Ticket(3), result: Ok(()) }, Answer::Full(false)]);
    keeper.stop().unwrap();
    // A start at the mark is a start on a full disk.
    let options = Options { live_bytes_max: Some(50_000), ..options };
    let (keeper, ..) = Keeper::open(&folder.0, options).unwrap();
    let (mut store, wakes) = handle(&keeper);
    assert_eq!(answers(&mut *store, &wakes, 1), [Answer::Full(true)]);
    keeper.stop().unwrap();
}

#[test]
fn retained_messages_beyond_the_budget_come_one_by_one() {
    let folder = Folder::new();
    let options = Options { durability: Durability::None, ..Options::default() };
    let (keeper, ..) = Keeper::open(&folder.0, options).unwrap();
    let (mut store, wakes) = handle(&keeper);
    let topics: Vec<String> = (0..100).map(|n| format!("t/{n}")).chain(["$own".to_owned()]).collect();
    let records =
        (1..).zip(&topics).map(|(n, topic)| Record::Retained { message: message(n, topic, b"body") });
    store.append(Ticket(1), records.collect());
    let fetch = |token, topics: &[&str]| Fetch {
        token,
        topics: topics.iter().map(|topic| (*topic).into()).collect(),
    };
    // As it is after what was appended before, and in the order it was asked for.
    store.fetch(fetch(7, &["t/99", "nothing", "t/0"]));
    let said = answers(&mut *store, &wakes, 2);
    let body = |n, topic| Some(message(n, topic, b"body"));
    let fetched = |token, messages| Answer::Fetched(Fetched { token, messages, damaged: Vec::new() });
    assert!(said.contains(&fetched(7, vec![body(100, "t/99"), None, body(1, "t/0")])), "{said:?}");
    keeper.stop().unwrap();

    let cost = message(1, "t/10", b"body").cost_bytes() as u64;
    let options = Options { retained_bytes_max: 40 * cost, ..options };
    let (keeper, recovered, _) = Keeper::open(&folder.0, options).unwrap();
    assert!((40..=42).contains(&recovered.retained.len()), "{}", recovered.retained.len());
    assert!(recovered.retained.iter().any(|message| message.topic() == "$own"), "those stay");
    assert_eq!(recovered.retained.len() + recovered.stubs.len(), topics.len());
    let stub = recovered.stubs.into_iter().last().unwrap();
    let (mut store, wakes) = handle(&keeper);
    store.fetch(fetch(8, &[&stub.topic]));
    let said = answers(&mut *store, &wakes, 1);
    let [Answer::Fetched(Fetched { messages, .. })] = &said[..] else { panic!("{said:?}") };
    let message = messages[0].as_ref().unwrap();
    assert_eq!((message.topic(), message.id(), message.expires()), (&*stub.topic, stub.id, stub.expires));
    assert_eq!(message.cost_bytes(), stub.cost_bytes as usize);
    keeper.stop().unwrap();
}
