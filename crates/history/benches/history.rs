//! What a history costs: `cargo bench -p cork-history`. `CORK_BENCH_DIR` says where the files are put.
//!
//! Ingest runs on the calling thread, the only one there is: encoding, writing, compressing and syncing all count. Time is
//! this thread's own on a processor, so that neighbours of the machine do not count; waiting for the disk does not either.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cork_history::{Rule, Rules, SeriesQuery, Vault};
use cork_store::{Message, MessageId, Publisher, Row, Rows, WallTime};

/// Makes the message with this number.
type Make = fn(u64) -> Arc<Message>;

const SECOND: u64 = 1_000_000;
const BEGIN: u64 = 1_790_000_000 * SECOND;
const WEEK: u64 = 604_800;

fn main() {
    let base = env::var_os("CORK_BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from);
    let folder = base.join(format!("cork-bench-history-{}", std::process::id()));
    println!("| Values | values/s on one core | bytes per value |\n| --- | --- | --- |");
    let shapes: [(&str, Make); 4] = [
        ("one series, a value each second", |n| value(n, n * SECOND, "t/1", 0)),
        ("one series, arrivals that jitter by 2 ms", |n| value(n, n * SECOND + jitter(n), "t/1", 0)),
        ("100 series, 100 values a second each", |n| value(n, n * 100, &format!("t/{}", n % 100), n % 100)),
        ("JSON with two numbers", json),
    ];
    for (name, make) in shapes {
        ingest(&folder, name, 1_000_000, make);
    }
    chart(&folder);
    let _ = fs::remove_dir_all(&folder);
}

/// A slow curve with one decimal, as a thermometer has it.
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn number(n: u64, phase: u64) -> f64 {
    ((n as f64 / 3000.0 + phase as f64).sin() * 80.0 + 200.0).round() / 10.0
}

fn jitter(n: u64) -> u64 {
    let mut hash = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (hash ^ (hash >> 31)) >> 53
}

/// Time this thread was on a processor.
fn on_cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn message(n: u64, at: u64, topic: &str, payload: &[u8]) -> Arc<Message> {
    let publisher = Arc::new(Publisher { client_id: "sensor".into(), ..Publisher::default() });
    let id = MessageId { arrived: WallTime(BEGIN + at + n % 2), shard: 0, epoch: 3 };
    Arc::new(Message::new(id, topic, &[], payload, publisher))
}

fn value(n: u64, at: u64, topic: &str, phase: u64) -> Arc<Message> {
    message(0, at, topic, number(n, phase).to_string().as_bytes())
}

fn json(n: u64) -> Arc<Message> {
    let text = format!("{{\"temperature\": {}, \"humidity\": {}}}", number(n, 0), number(n, 2));
    message(0, n * SECOND, "t/1", text.as_bytes())
}

fn open(folder: &Path) -> Vault {
    let rule = Rule { filter: "#".into(), keep: Duration::from_secs(100 * 366 * 86_400), max_bytes: 4 << 30 };
    Vault::open(folder, &Rules { rules: vec![rule], retained_bytes: 0 }, true)
        .expect("the folder can be written")
        .0
}

fn ingest(folder: &Path, name: &str, count: u64, make: Make) {
    let _ = fs::remove_dir_all(folder);
    let vault = open(folder);
    let mut took = Duration::ZERO;
    for first in (0..count).step_by(1000) {
        let mut batch = Rows::default(); // as shards hand it over
        for message in (first..first + 1000).map(make) {
            batch.push_by(&Row::of(&message), &message.publisher);
        }
        let begun = on_cpu();
        vault.append_rows(batch.as_bytes()).expect("the disk takes it");
        took += on_cpu() - begun;
    }
    drop(vault);
    let bytes = open(folder).sizes().1; // everything sealed
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let (rate, each) = (count as f64 / took.as_secs_f64(), bytes as f64 / count as f64);
    println!("| {name} | {rate:.0} | {each:.2} |");
}

/// A week at a value a second, as a thousand points.
fn chart(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let vault = open(folder);
    for first in (0..WEEK).step_by(1000) {
        let batch: Vec<_> =
            (first..WEEK.min(first + 1000)).map(|n| value(n, n * SECOND + jitter(n), "t/1", 0)).collect();
        vault.append(&batch).expect("the disk takes it");
    }
    let query = SeriesQuery {
        filter: "t/1".to_owned(),
        field: Some(String::new()),
        since: BEGIN,
        until: u64::MAX,
        step: Some(WEEK * SECOND / 1000),
        series_max: 10,
        points_max: 10_000,
    };
    let (mut times, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let (begun, before) = (Instant::now(), on_cpu());
        let answer = vault.series(&query, WallTime(BEGIN + WEEK * SECOND), |_| true);
        times.push(begun.elapsed());
        cpu.push(on_cpu() - before);
        let counted: u64 = answer.series[0].points.iter().map(|point| point.count).sum();
        assert_eq!(counted, WEEK);
    }
    times.sort();
    cpu.sort();
    let (median, on_cpu) = (times[10], cpu[10]);
    println!(
        "\na week at a value a second ({WEEK} values) as 1,000 points: {median:?}, {on_cpu:?} of it on a processor"
    );
}
