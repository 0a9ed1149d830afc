//! How fast the log is on a real folder. `cargo bench -p cork-log`; a minute or two. `CORK_BENCH_DIR` names the folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cork_log::{Durability, Log, Op, Options, RealDisk};
use cork_packet::QoS;
use cork_store::{
    Load, Message, MessageId, Publisher, QueuedDelivery, Record, SessionKey, SubscriptionIds, Ticket,
    WallTime,
};

fn main() {
    let base = env::var_os("CORK_BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from);
    let folder = base.join(format!("cork-log-bench-{}", std::process::id()));
    let only = env::args().skip(1).find(|argument| !argument.starts_with("--"));
    type Part = (&'static str, fn(&Path));
    let parts: [Part; 5] = [
        ("sync", raw_sync),
        ("commit", commits),
        ("churn", churn),
        ("queued", queued),
        ("retained", retained),
    ];
    for (name, run) in parts {
        if only.as_deref().is_none_or(|only| only == name) {
            fs::create_dir_all(&folder).expect("a folder to write to");
            run(&folder);
            fs::remove_dir_all(&folder).expect("the folder can be removed");
        }
    }
}

fn open(folder: &Path, options: Options) -> Log<RealDisk> {
    let disk = RealDisk::new(&folder.join("log")).expect("a folder to write to");
    Log::open(disk, options).expect("a sound log").0
}

struct Source {
    publisher: Arc<Publisher>,
    arrived: u64,
}

impl Source {
    fn new() -> Self {
        let publisher = Publisher { client_id: "sensor-17".into(), ..Publisher::default() };
        Self { publisher: Arc::new(publisher), arrived: 0 }
    }

    fn message(&mut self, topic: &str, payload: &[u8]) -> Arc<Message> {
        self.arrived += 1;
        let id = MessageId { arrived: WallTime(self.arrived), shard: 0, epoch: 0 };
        let mut message = Message::new(id, topic, &[], payload, Arc::clone(&self.publisher));
        message.qos = QoS::AtLeastOnce;
        Arc::new(message)
    }

    fn queued(&mut self, session: u64, delivery: u64) -> Record {
        let message = self.message("plant/7/line/3/temperature", &[b'x'; 100]);
        let queued = QueuedDelivery {
            delivery,
            message,
            qos: QoS::AtLeastOnce,
            retain: false,
            share: None,
            subscription_ids: SubscriptionIds::None,
        };
        Record::Queued { session: SessionKey(session), queued }
    }
}

fn append(records: Vec<Record>) -> [Op; 1] {
    [Op::Append { shard: 0, ticket: Ticket(1), records }]
}

/// Time that this process used the processor, in steps of 10 ms.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        behind.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn rss_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// What the disk itself takes: one block written over and over, each time with a sync.
fn raw_sync(folder: &Path) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(folder.join("raw")).expect("a file");
    file.write_all_at(&[1; 1 << 20], 0).expect("space");
    file.sync_all().expect("a disk");
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < Duration::from_secs(2) {
        file.write_all_at(&[2; 4096], u64::from(count % 256) * 4096).expect("space");
        file.sync_data().expect("a disk");
        count += 1;
    }
    println!("raw write and fdatasync: {:.0} us each", start.elapsed().as_micros() as f64 / f64::from(count));
}

fn commits(folder: &Path) {
    println!("\nQueued messages of 100 bytes, one commit with one fdatasync per batch");
    println!(
        "{:>6} {:>12} {:>12} {:>16} {:>12}",
        "batch", "commits/s", "messages/s", "CPU us/message", "bytes each"
    );
    for batch in [1, 16, 256, 4096] {
        let mut log = open(&folder.join(batch.to_string()), Options::default());
        let (mut source, mut delivery) = (Source::new(), 0);
        let mut batches = Vec::new();
        for _ in 0..(400_000 / batch).min(20_000) {
            let records = (0..batch).map(|_| {
                delivery += 1;
                source.queued(1, delivery)
            });
            batches.push(append(records.collect()));
        }
        let (start, used, mut count) = (Instant::now(), cpu(), 0_u64);
        for ops in &batches {
            log.commit(ops).expect("a disk with space");
            count += 1;
            if start.elapsed() > Duration::from_secs(6) {
                break;
            }
        }
        let (time, used) = (start.elapsed().as_secs_f64(), (cpu() - used).as_secs_f64());
        let messages = (count * batch) as f64;
        println!(
            "{batch:>6} {:>12.0} {:>12.0} {:>16.2} {:>12.0}",
            count as f64 / time,
            messages / time,
            used * 1e6 / messages,
            log.stats().written_bytes as f64 / messages
        );
    }
}

/// 20,000 messages wait all the time; as many go as come.
fn churn(folder: &Path) {
    let options = Options { durability: Durability::Always, ..Options::default() };
    let mut log = open(folder, options);
    let mut source = Source::new();
    const SESSIONS: u64 = 100;
    const DEPTH: u64 = 200;
    // One Session sleeps all the while and keeps what it has.
    let asleep = (1..=50_000).map(|delivery| source.queued(0, delivery)).collect();
    log.commit(&append(asleep)).expect("a disk with space");
    let (start, used, before) = (Instant::now(), cpu(), log.stats().written_bytes);
    let (mut number, mut messages, mut most) = (0_u64, 0_u64, 0);
    while start.elapsed() < Duration::from_secs(15) && messages < 4_000_000 {
        let mut records = Vec::with_capacity(512);
        for _ in 0..256 {
            let (session, delivery) = (number % SESSIONS + 1, number / SESSIONS + 1);
            records.push(source.queued(session, delivery));
            if delivery > DEPTH {
                records.push(Record::Done { session: SessionKey(session), delivery: delivery - DEPTH });
            }
            number += 1;
        }
        messages += 256;
        log.commit(&append(records)).expect("a disk with space");
        most = most.max(log.stats().used_bytes);
    }
    let (time, used, stats) = (start.elapsed().as_secs_f64(), (cpu() - used).as_secs_f64(), log.stats());
    println!(
        "\nChurn, batches of 256: {:.0} messages/s, {:.2} us CPU each; written {:.2} times the payload and topic \
         ({:.2} without copies); log at most {} MiB for {} MiB that are needed",
        messages as f64 / time,
        used * 1e6 / messages as f64,
        (stats.written_bytes - before) as f64 / (messages * 126) as f64,
        (stats.written_bytes - before - stats.copied_bytes) as f64 / (messages * 126) as f64,
        most >> 20,
        stats.live_bytes >> 20
    );
}

const MILLION: u64 = 1_000_000;

/// Opens again what is there, and says how long that takes and what it costs.
fn reopen(folder: &Path, what: &str) -> Log<RealDisk> {
    let (before, start, used) = (rss_megabytes(), Instant::now(), cpu());
    let disk = RealDisk::new(&folder.join("log")).expect("a folder");
    let (log, recovered, report) = Log::open(disk, Options::default()).expect("a sound log");
    println!(
        "{what}: opened in {:.2} s ({:.2} s CPU; {} segments, {} commits), {} MB more memory; {} Sessions, {} retained",
        start.elapsed().as_secs_f64(),
        (cpu() - used).as_secs_f64(),
        report.segments,
        report.commits,
        rss_megabytes().saturating_sub(before),
        recovered.sessions.len(),
        recovered.retained.len()
    );
    log
}

fn queued(folder: &Path) {
    {
        let options = Options { durability: Durability::None, ..Options::default() };
        let (mut log, mut source) = (open(folder, options), Source::new());
        for part in 0..MILLION / 1000 {
            let records = (1..=1000).map(|at| source.queued(part % 10, part / 10 * 1000 + at));
            log.commit(&append(records.collect())).expect("a disk with space");
        }
        log.close().expect("a disk");
    }
    println!();
    let log = reopen(folder, "A million queued messages of 100 bytes for ten Sessions");
    let (start, used, mut from, mut loaded) = (Instant::now(), cpu(), 0, 0_usize);
    loop {
        let load = Load { token: 0, session: SessionKey(3), from, messages_max: 256, bytes_max: 1 << 20 };
        let answer = log.locate(0, load).read();
        loaded += answer.deliveries.len();
        let Some(next) = answer.next else { break };
        from = next;
    }
    let time = start.elapsed().as_secs_f64();
    let used = (cpu() - used).as_secs_f64() * 1e6 / loaded as f64;
    println!(
        "Loaded {loaded} of them, 256 at a time: {:.0} messages/s, {used:.2} us CPU each",
        loaded as f64 / time
    );
}

fn retained(folder: &Path) {
    {
        let options = Options { durability: Durability::None, ..Options::default() };
        let (mut log, mut source) = (open(folder, options), Source::new());
        for part in 0..MILLION / 1000 {
            let record = |at| {
                let message = source.message(&format!("plant/{part}/sensor/{at}"), &[b'x'; 100]);
                Record::Retained { message }
            };
            log.commit(&append((0..1000).map(record).collect())).expect("a disk with space");
        }
        log.close().expect("a disk");
    }
    println!();
    drop(reopen(folder, "A million retained messages of 100 bytes"));
}
