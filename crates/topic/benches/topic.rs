//! How the three structures scale. `cargo bench -p cork-topic`; a minute at most.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use cork_topic::{Retained, RetainedSet, ShareGroup, SubscriptionIndex};
use divan::{Bencher, counter::ItemsCount};

fn main() {
    divan::main();
}

/// A subscription's value: four bytes of identifier and some options: 12 bytes with the key.
type Value = (u32, u8);

/// The same sequence on every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) >> 1).expect("63 bits") % limit
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

const SITES: usize = 1000;

/// A third of the filters each of three shapes, about one device each.
fn filters(count: usize) -> Vec<String> {
    let mut filters: Vec<_> = (0..count)
        .map(|number| {
            let (device, site) = (number / 3, number / 3 % SITES);
            match number % 3 {
                0 => format!("site/+/dev/{device}/#"),
                1 => format!("site/{site}/+/{device}/temp"),
                _ => format!("site/{site}/dev/{device}/#"),
            }
        })
        .collect();
    Random(1).shuffle(&mut filters);
    filters
}

/// Each matches one to three of the filters.
fn topics(filters: usize) -> Vec<String> {
    let mut random = Random(2);
    (0..filters.clamp(1000, 300_000))
        .map(|_| {
            let device = random.below(filters / 3);
            let site = [device % SITES, random.below(SITES)][random.below(2)];
            let leaf = ["temp", "state"][random.below(2)];
            format!("site/{site}/dev/{device}/{leaf}")
        })
        .collect()
}

fn index(filters: &[String]) -> SubscriptionIndex<Value> {
    let mut index = SubscriptionIndex::new(0x5eed);
    for (key, filter) in (0..).zip(filters) {
        index.insert(filter, key, (key, 1));
    }
    index
}

#[divan::bench(args = [1_000, 100_000, 1_000_000], max_time = 3)]
fn match_wildcards(bencher: Bencher<'_, '_>, count: usize) {
    let (index, topics) = (index(&filters(count)), topics(count));
    let mut out = Vec::new();
    let mut topics = topics.iter().cycle();
    bencher.counter(ItemsCount::new(1000usize)).bench_local(|| {
        for topic in topics.by_ref().take(1000) {
            out.clear();
            assert_ne!(black_box(&index).matches(topic, &mut out), 0);
            black_box(&out);
        }
    });
}

#[divan::bench(args = [1_000, 100_000, 1_000_000], max_time = 3, sample_count = 3, sample_size = 1)]
fn insert_wildcards(bencher: Bencher<'_, '_>, count: usize) {
    let filters = filters(count);
    bencher.counter(ItemsCount::new(count)).bench_local(|| index(&filters));
}

#[divan::bench(max_time = 1)]
fn fan_out_500(bencher: Bencher<'_, '_>) {
    let mut index = SubscriptionIndex::new(0x5eed);
    for key in 0..500 {
        index.insert("plant/+/alarm", key, (key, 1u8));
    }
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(500usize)).bench_local(|| {
        out.clear();
        index.matches(black_box("plant/7/alarm"), &mut out)
    });
}

#[divan::bench(args = [4, 10_000], max_time = 1)]
fn share_pick(bencher: Bencher<'_, '_>, members: u32) {
    let mut group = ShareGroup::new();
    for key in 0..members {
        group.insert(key, key);
    }
    bencher.bench_local(|| group.pick(|_, _| true));
}

struct Message {
    topic: Box<str>,
}

struct Kept(Arc<Message>);

impl Retained for Kept {
    fn topic(&self) -> &str {
        &self.0.topic
    }
}

const KEPT: usize = 1_000_000;

fn kept(order: u64) -> Vec<Kept> {
    let mut numbers: Vec<_> = (0..KEPT).collect();
    Random(order).shuffle(&mut numbers);
    numbers
        .into_iter()
        .map(|number| format!("site/{}/dev/{number}/temp", number % SITES))
        .map(|topic| Kept(Arc::new(Message { topic: topic.into() })))
        .collect()
}

fn retained() -> RetainedSet<Kept> {
    let mut set = RetainedSet::new(0x5eed);
    for value in kept(1) {
        set.insert(value);
    }
    set
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn retained_insert(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(KEPT)).with_inputs(|| kept(1)).bench_local_values(|values| {
        let mut set = RetainedSet::new(0x5eed);
        for value in values {
            set.insert(value);
        }
        set
    });
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn retained_replace(bencher: Bencher<'_, '_>) {
    let mut set = retained();
    bencher.counter(ItemsCount::new(KEPT)).with_inputs(|| kept(2)).bench_local_values(|values| {
        values.into_iter().filter_map(|value| set.insert(value)).collect::<Vec<_>>()
    });
}

/// `(name, filter)` over the million topics.
const QUERIES: [&str; 4] = ["#", "site/7/dev/+/temp", "site/+/dev/4711/temp", "site/+/nothing"];

#[divan::bench(args = QUERIES, max_time = 1)]
fn retained_for_each(bencher: Bencher<'_, '_>, filter: &str) {
    let set = retained();
    bencher.bench_local(|| {
        let mut bytes = 0;
        set.for_each_match(filter, None, |value| {
            bytes += value.topic().len();
            ControlFlow::Continue(())
        });
        bytes
    });
}

#[divan::bench(sample_count = 1, sample_size = 1)]
fn retained_cursor_over_all(bencher: Bencher<'_, '_>) {
    let set = retained();
    bencher.counter(ItemsCount::new(KEPT)).bench_local(|| {
        let mut after: Option<&str> = None;
        while let Some(value) = set.next_match("#", after) {
            after = Some(value.topic());
        }
    });
}
