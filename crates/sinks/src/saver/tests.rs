//! A target that does all that targets do wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use cork_sink::Work;
use tokio::sync::Notify;

use super::*;

/// Saves by id; what it does next is said by the test.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    saved: BTreeMap<Box<str>, u32>,
    /// Ids it refuses without saying which.
    refused: BTreeSet<Box<str>>,
    /// Ids it names itself.
    rejected: BTreeSet<Box<str>>,
    /// Ids at which its connection breaks.
    poison: BTreeSet<Box<str>>,
    /// Calls that fail, after having saved half of the rows.
    dies: u32,
    /// Opens that fail.
    closed: u32,
    /// More rows than this take for ever.
    slow_beyond: Option<usize>,
    opens: u32,
    saves: u32,
}

impl Sink for Fake {
    fn open(&mut self, _: Opening) -> Work<'_, Vec<String>> {
        let mut world = self.0.lock().unwrap();
        world.opens += 1;
        let fails = world.closed > 0;
        world.closed = world.closed.saturating_sub(1);
        Box::pin(async move {
            if fails { Err(Fault::Unavailable("nobody is there".into())) } else { Ok(Vec::new()) }
        })
    }

    fn save<'a>(&'a mut self, rows: &'a [Row]) -> Work<'a, ()> {
        Box::pin(async move {
            let too_many = {
                let mut world = self.0.lock().unwrap();
                world.saves += 1;
                world.slow_beyond.is_some_and(|most| rows.len() > most)
            };
            if too_many {
                return std::future::pending().await;
            }
            let mut world = self.0.lock().unwrap();
            if world.dies > 0 {
                world.dies -= 1;
                rows[..rows.len() / 2]
                    .iter()
                    .for_each(|row| *world.saved.entry(row.id.clone()).or_default() += 1);
                return Err(Fault::Unavailable("it died".into()));
            }
            if rows.iter().any(|row| world.poison.contains(&row.id)) {
                return Err(Fault::Failed("reset by peer".into()));
            }
            if rows.iter().any(|row| world.refused.contains(&row.id)) {
                return Err(Fault::Refused("bad".into()));
            }
            let mut rejected = Vec::new();
            for (at, row) in rows.iter().enumerate() {
                if world.rejected.contains(&row.id) {
                    rejected.push((at, "worse".to_owned()));
                } else {
                    *world.saved.entry(row.id.clone()).or_default() += 1;
                }
            }
            if rejected.is_empty() { Ok(()) } else { Err(Fault::Rejected(rejected)) }
        })
    }
}

fn rows(count: usize) -> Vec<Row> {
    (0..count).map(|id| Row::new(&id.to_string(), 0, "t", b"1")).collect()
}

/// Saves as many rows against such a target, in no time of the clock.
fn save(count: usize, world: World) -> (Refused, Fake, Figures) {
    let fake = Fake(Arc::new(Mutex::new(world)));
    let figures = Figures::new(&Arc::new(Notify::new()));
    let (timeout, retry) = (Duration::from_secs(30), Duration::from_secs(30));
    let mut saver = Saver::new("s".into(), Box::new(fake.clone()), timeout, retry, figures.clone());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let saved = runtime.block_on(saver.save(&rows(count)));
    assert!(saved.doubtful.is_empty());
    (saved.refused, fake, figures)
}

fn ids(ids: &[usize]) -> BTreeSet<Box<str>> {
    ids.iter().map(|id| id.to_string().into()).collect()
}

#[test]
fn a_target_that_is_away_gets_the_same_rows_again() {
    let (refused, fake, figures) = save(10, World { closed: 3, dies: 2, ..World::default() });
    let world = fake.0.lock().unwrap();
    assert_eq!((refused.len(), world.saved.len(), world.opens, world.saves), (0, 10, 6, 3));
    let shown = figures.show();
    assert_eq!(
        (shown["rows/saved"].as_str(), shown["retries"].as_str(), shown["state"].as_str()),
        ("10", "5", "working")
    );
    assert_eq!(shown["error"], "");
    assert!(
        !shown["last_error"].is_empty() && shown["last_error_at"].parse::<u64>().unwrap() > 1_700_000_000
    );
    assert!(shown["since"].parse::<u64>().unwrap() > 1_700_000_000);
}

#[test]
fn one_bad_row_in_a_thousand_is_alone_in_the_end() {
    for bad in [0, 1, 499, 500, 998, 999] {
        let (refused, fake, figures) = save(1000, World { refused: ids(&[bad]), ..World::default() });
        let world = fake.0.lock().unwrap();
        assert_eq!(refused, [(bad, "bad".to_owned())]);
        assert_eq!((world.saved.len(), figures.show()["rows/saved"].as_str()), (999, "999"));
        assert!(world.saved.values().all(|times| *times == 1));
        assert!(world.saves <= 21, "{} statements", world.saves);
    }
}

/// Rows that may be poison, in batches of ten; those that are doubtful come again with the next. Returns what was refused
/// and what was doubtful in the end.
fn save_on_and_on(count: usize, batches: usize, world: World) -> (BTreeSet<Box<str>>, Vec<Row>, Fake) {
    let fake = Fake(Arc::new(Mutex::new(world)));
    let figures = Figures::new(&Arc::new(Notify::new()));
    let retry = Duration::from_secs(30);
    let mut saver = Saver::new("s".into(), Box::new(fake.clone()), retry, retry, figures.clone());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (mut refused, mut waiting) = (BTreeSet::new(), Vec::new());
    let all = rows(count);
    let mut batch = all.chunks(10);
    for _ in 0..batches {
        waiting.splice(..0, batch.next().unwrap_or_default().iter().cloned());
        let saved = runtime.block_on(saver.save(&waiting));
        refused.extend(saved.refused.iter().map(|(at, _)| waiting[*at].id.clone()));
        waiting = saved.doubtful.iter().map(|at| waiting[*at].clone()).collect();
    }
    let expected = count - refused.len() - waiting.len();
    assert_eq!(figures.show()["rows/saved"], expected.to_string());
    (refused, waiting, fake)
}

#[test]
fn a_row_that_breaks_the_connection_is_to_blame_when_others_are_saved() {
    let world = World { poison: ids(&[4, 5, 17]), ..World::default() };
    let (refused, waiting, fake) = save_on_and_on(100, 10, world);
    let world = fake.0.lock().unwrap();
    assert_eq!((refused, waiting.len(), world.saved.len()), (ids(&[4, 5, 17]), 0, 97));
    assert!(world.saved.values().all(|times| *times == 1));
}

#[test]
fn nobody_is_to_blame_where_nothing_can_be_saved() {
    let all: Vec<usize> = (0..20).collect();
    let (refused, waiting, fake) = save_on_and_on(20, 30, World { poison: ids(&all), ..World::default() });
    assert_eq!((refused.len(), waiting.len(), fake.0.lock().unwrap().saved.len()), (0, 20, 0));
}

#[test]
fn reasons_are_short_and_in_one_line() {
    let fault = shortened(Fault::Rejected(vec![(0, format!("a\nb\0{}", "x".repeat(70_000)))]));
    let Fault::Rejected(rows) = fault else { panic!() };
    assert!(rows[0].1.starts_with("a b x") && rows[0].1.len() < 600);
}

#[test]
fn rows_that_the_target_names_need_no_search() {
    let world = World { rejected: ids(&[1, 3]), refused: ids(&[7]), ..World::default() };
    let (mut refused, fake, _) = save(8, world);
    refused.sort();
    assert_eq!(refused, [(1, "worse".into()), (3, "worse".into()), (7, "bad".into())]);
    assert_eq!(fake.0.lock().unwrap().saved.len(), 5);
}

#[test]
fn every_row_may_be_bad() {
    let all: Vec<usize> = (0..16).collect();
    let (refused, fake, _) = save(16, World { refused: ids(&all), dies: 1, ..World::default() });
    assert_eq!(refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), all);
    assert_eq!(fake.0.lock().unwrap().opens, 2);
}

#[test]
fn what_takes_too_long_is_tried_in_smaller_parts() {
    let (refused, fake, figures) = save(100, World { slow_beyond: Some(30), ..World::default() });
    let world = fake.0.lock().unwrap();
    assert_eq!((refused.len(), world.saved.len()), (0, 100));
    assert_eq!(figures.show()["retries"], "3", "100, then 50 twice");
}

proptest::proptest! {
    #[test]
    fn everything_is_saved_or_refused(
        count in 1..200_usize,
        refused in proptest::collection::vec(0..200_usize, 0..10),
        rejected in proptest::collection::vec(0..200_usize, 0..10),
        dies in 0..5_u32,
        closed in 0..5_u32,
        slow_beyond in proptest::option::of(1..100_usize),
    ) {
        let bad: BTreeSet<usize> = refused.iter().chain(&rejected).copied().filter(|at| *at < count).collect();
        let world = World {
            refused: ids(&refused), rejected: ids(&rejected), dies, closed, slow_beyond, ..World::default()
        };
        let (found, fake, _) = save(count, world);
        let found: BTreeSet<usize> = found.into_iter().map(|(at, _)| at).collect();
        proptest::prop_assert_eq!(&found, &bad);
        let world = fake.0.lock().unwrap();
        for at in 0..count {
            let id: Box<str> = at.to_string().into();
            proptest::prop_assert!(world.saved.contains_key(&id) || bad.contains(&at));
        }
    }
}
