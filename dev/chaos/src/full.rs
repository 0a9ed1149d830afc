//! A disk that fills up, gets space back, fills up again, and a kill or a power cut and a start on the full disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use cork_packet::{ProtocolVersion, QoS};
use cork_storm::Rng;

use crate::{
    broker::Broker,
    disk::{Disk, Loss},
    ledger::{Ledger, Use, Wrong, payload},
    options::{Mode, Options},
    rounds::report,
    session::{Event, Hello, Outgoing, Session},
};

/// The disk: so much, and up to so many of the store's segments more. How much of what the store may leave lying
/// fits on it differs, and so does what it does on it.
const DISK_BYTES_MIN: usize = 96 << 20;
const SEGMENT_BYTES: usize = 16 << 20;
const MORE_SEGMENTS_MAX: usize = 3;
/// What somebody else has on it at first.
const BALLAST_BYTES: usize = 32 << 20;
const PAYLOAD_BYTES: usize = 16 << 10;
const WINDOW: usize = 8;
/// Service must be back so soon after space is.
const BACK_WITHIN: Duration = Duration::from_secs(1);
/// A QoS 0 message may take so long on a busy machine.
const LIVE_WITHIN: Duration = Duration::from_secs(1);
/// Nobody was acknowledged for so long: the disk is full.
const STALLED: Duration = Duration::from_millis(1500);
const FILL_MAX: Duration = Duration::from_secs(90);
/// Starts on the full disk before the queue is drained.
const STARTS: u64 = 5;
/// After SIGTERM it must have ended so soon.
const END_WITHIN: Duration = Duration::from_secs(15);
/// A persistent client must be let in, and get a message, so soon.
const LET_IN_WITHIN: Duration = Duration::from_secs(5);

/// Runs the scene on a tmpfs with kills, or on our own disk with power cuts; false when something was wrong.
pub(crate) fn run(mode: Mode, options: &Options, folder: &Path) -> Result<bool, String> {
    let more = Rng::new(options.seed).below(MORE_SEGMENTS_MAX + 1) * SEGMENT_BYTES;
    println!("  a disk of {} MiB", (DISK_BYTES_MIN + more) >> 20);
    let small = Small::new(mode, &folder.join("disk"), DISK_BYTES_MIN + more)?;
    let data = small.path().join("data");
    let settings = format!("shards = {}\ndurability = {}", options.shards, options.durability);
    let mut broker = Broker::new(options.broker, &options.binary, folder, &data, &settings)?;
    broker.start()?;
    let mut scene = Scene::new(broker.port(), data);
    scene.assemble()?;
    scene.fill("at first");
    small.make_space()?;
    scene.resume("space came back", BACK_WITHIN);
    scene.fill("again");
    scene.cut();
    let what = small.disaster(&mut broker, options.seed);
    let started = broker.start()?;
    println!("  {what}; started on the full disk in {:.3} s", started.as_secs_f64());
    for start in 2..=STARTS {
        scene.visit();
        scene.cut();
        if start % 2 == 0 {
            small.disaster(&mut broker, options.seed + start);
        } else if !broker.terminate(END_WITHIN) {
            scene
                .ledger
                .wrong(Wrong::Service, "the broker did not end at SIGTERM on the full disk".to_owned());
        }
        broker.start()?;
    }
    println!("  started {STARTS} times on the full disk");
    scene.drain();
    scene.resume("the queue was drained", BACK_WITHIN * 2);
    scene.drain();
    scene.cut();
    broker.kill_and_wait();
    scene.ledger.close();
    report(mode, options, &scene.ledger);
    Ok(scene.ledger.is_clean())
}

/// A small disk.
enum Small {
    Tmpfs(Tmpfs),
    Ours { path: PathBuf, disk: Disk, bytes: usize },
}

impl Small {
    fn new(mode: Mode, path: &Path, bytes: usize) -> Result<Self, String> {
        if mode == Mode::Full {
            let mount = Tmpfs::mount(path, bytes)?;
            let wrong = |error| format!("cannot fill {}: {error}", path.display());
            fs::write(mount.0.join("ballast"), vec![1; BALLAST_BYTES]).map_err(wrong)?;
            return Ok(Self::Tmpfs(mount));
        }
        let disk = Disk::mount(path).map_err(|error| error.to_string())?;
        disk.set_capacity((bytes - BALLAST_BYTES) as u64);
        Ok(Self::Ours { path: path.to_owned(), disk, bytes })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Tmpfs(mount) => &mount.0,
            Self::Ours { path, .. } => path,
        }
    }

    fn make_space(&self) -> Result<(), String> {
        match self {
            Self::Tmpfs(mount) => {
                fs::remove_file(mount.0.join("ballast")).map_err(|error| error.to_string())?;
            }
            Self::Ours { disk, bytes, .. } => disk.set_capacity(*bytes as u64),
        }
        Ok(())
    }

    fn disaster(&self, broker: &mut Broker, seed: u64) -> &'static str {
        broker.kill();
        if let Self::Ours { disk, .. } = self {
            disk.cut(Loss::Half, &mut Rng::new(seed));
        }
        broker.kill_and_wait();
        match self {
            Self::Tmpfs(_) => "killed",
            Self::Ours { disk, .. } => {
                disk.power_on();
                "power cut, half of the unsynced lost"
            }
        }
    }
}

/// Names and lengths of what the broker keeps.
fn files(data: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(data.join("log")).into_iter().flatten().flatten();
    let length = |entry: &fs::DirEntry| entry.metadata().map_or(0, |metadata| metadata.len());
    let mut files: Vec<_> =
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), length(&entry))).collect();
    files.sort();
    files
}

/// A file system in memory; unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: &Path, bytes: usize) -> Result<Self, String> {
        fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let size = format!("size={bytes}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "cork-chaos"]).arg(path).output();
        match done {
            Ok(output) if output.status.success() => Ok(Self(path.to_owned())),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(format!("a small disk needs root to mount a tmpfs: {why}"))
            }
            Err(error) => Err(format!("cannot run mount: {error}")),
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A publisher that needs the store.
struct Writer {
    session: Session,
    topic: usize,
    qos: QoS,
    last_taken: Duration,
    refused: u64,
    next: Duration,
}

struct Scene {
    port: u16,
    data: PathBuf,
    begun: Instant,
    ledger: Ledger,
    reader: usize,
    sleeper: Session,
    writers: Vec<Writer>,
    /// A publisher and subscriber of QoS 0 in one.
    live: Session,
    live_sent: Option<Duration>,
    live_worst: Duration,
}

const TO_STAY: Hello = Hello { persistent: true, keep_alive: 0, will: None };
const TO_PASS: Hello = Hello { persistent: false, keep_alive: 0, will: None };

impl Scene {
    fn new(port: u16, data: PathBuf) -> Self {
        let mut ledger = Ledger::default();
        let reader = ledger.reader("sleeper".to_owned(), true, false);
        let kinds = [
            (ProtocolVersion::V5, QoS::AtLeastOnce),
            (ProtocolVersion::V5, QoS::ExactlyOnce),
            (ProtocolVersion::V311, QoS::AtLeastOnce),
        ];
        let writers = kinds.iter().enumerate().map(|(number, (version, qos))| Writer {
            session: Session::new(format!("writer-{number}"), *version),
            topic: ledger.topic(format!("f/{number}"), Use::Stream),
            qos: *qos,
            last_taken: Duration::ZERO,
            refused: 0,
            next: Duration::ZERO,
        });
        let writers = writers.collect();
        Self {
            port,
            data,
            begun: Instant::now(),
            ledger,
            reader,
            sleeper: Session::new("sleeper".to_owned(), ProtocolVersion::V311),
            writers,
            live: Session::new("live".to_owned(), ProtocolVersion::V5),
            live_sent: None,
            live_worst: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn assemble(&mut self) -> Result<(), String> {
        let now = self.now();
        let sub = self.ledger.subscription(self.reader, "f/#", QoS::ExactlyOnce);
        self.sleeper.connect(self.port, &TO_STAY);
        let end = now + Duration::from_secs(20);
        while self.now() < end {
            for event in self.sleeper.pump() {
                match event {
                    Event::Open { .. } => self.sleeper.subscribe(0, "f/#", QoS::ExactlyOnce),
                    Event::Answered(..) => {
                        self.ledger.subscriptions[sub].granted = Some(self.now());
                        self.sleeper.cut();
                        return Ok(());
                    }
                    _ => {}
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err("the sleeper could not subscribe".to_owned())
    }

    /// Publishes until nobody is acknowledged any more.
    fn fill(&mut self, when: &str) {
        let begun = self.now();
        for writer in &mut self.writers {
            (writer.last_taken, writer.refused) = (begun, 0);
        }
        while self.now() < begun + FILL_MAX {
            self.step(true);
            let now = self.now();
            if self.writers.iter().all(|writer| now > writer.last_taken + STALLED) {
                break;
            }
        }
        let refused: Vec<u64> = self.writers.iter().map(|writer| writer.refused).collect();
        let taken = self.ledger.publications.iter().filter(|one| one.taken.is_some()).count();
        println!(
            "  full {when} after {taken} acknowledged; refused with 0x97: {} and {}; QoS 0 took {:.3} s at most",
            refused[0],
            refused[1],
            self.live_worst.as_secs_f64()
        );
        if self.now() >= begun + FILL_MAX {
            self.ledger.wrong(Wrong::Service, format!("{when}: the disk never became full"));
        } else if refused[0] == 0 || refused[1] == 0 {
            self.ledger.wrong(Wrong::Service, format!("{when}: publishers of 5.0 were not told 0x97"));
        }
    }

    /// Publishes until every writer is acknowledged again.
    fn resume(&mut self, why: &str, within: Duration) {
        let begun = self.now();
        while self.writers.iter().any(|writer| writer.last_taken < begun) && self.now() < begun + within * 10
        {
            self.step(true);
        }
        let took = self.now() - begun;
        println!("  everybody was acknowledged {:.3} s after {why}", took.as_secs_f64());
        if took > within {
            let files = files(&self.data);
            let what = format!("not back within {within:?} after {why}: {took:?}; files: {files:?}");
            self.ledger.wrong(Wrong::Service, what);
        }
    }

    /// The sleeper comes, takes something and is cut off.
    fn visit(&mut self) {
        let (begun, before) = (self.now(), self.ledger.delivered);
        self.sleeper.connect(self.port, &TO_STAY);
        while self.ledger.delivered == before && self.now() < begun + LET_IN_WITHIN {
            self.take();
            self.step(false);
        }
        if self.ledger.delivered == before {
            self.ledger.wrong(Wrong::Service, "the sleeper got nothing on the full disk".to_owned());
        }
        self.sleeper.cut();
    }

    /// The sleeper takes what has come.
    fn take(&mut self) {
        for event in self.sleeper.pump() {
            match event {
                Event::Message { topic, payload, qos, .. } => {
                    self.ledger.delivered(self.reader, &topic, &payload, qos);
                }
                Event::Open { present: false } => {
                    self.ledger.wrong(Wrong::Session, "sleeper: its Session is gone".to_owned());
                }
                _ => {}
            }
        }
    }

    /// The sleeper takes everything.
    fn drain(&mut self) {
        self.sleeper.connect(self.port, &TO_STAY);
        let (mut last, mut seen) = (self.now(), 0);
        loop {
            self.take();
            self.step(false);
            if self.ledger.delivered != seen {
                (seen, last) = (self.ledger.delivered, self.now());
            }
            if self.now() > last + Duration::from_secs(3) || (seen > 0 && self.is_drained()) {
                break;
            }
        }
        self.sleeper.cut();
        println!("  drained: {} messages; QoS 0 took {:.3} s at most", seen, self.live_worst.as_secs_f64());
    }

    fn is_drained(&self) -> bool {
        self.ledger.missing().is_empty()
    }

    /// Everybody loses the connection.
    fn cut(&mut self) {
        self.writers.iter_mut().for_each(|writer| writer.session.cut());
        self.live.cut();
        self.live_sent = None;
    }

    fn step(&mut self, publish: bool) {
        for at in 0..self.writers.len() {
            self.write(at, publish);
        }
        self.ping();
        thread::sleep(Duration::from_micros(500));
    }

    fn write(&mut self, at: usize, publish: bool) {
        let now = self.now();
        let (writer, ledger) = (&mut self.writers[at], &mut self.ledger);
        for event in writer.session.pump() {
            match event {
                Event::Taken(number) => {
                    ledger.taken(number, now);
                    writer.last_taken = now;
                }
                Event::Refused(_, reason) => {
                    writer.refused += u64::from(reason.0 == 0x97);
                    ledger.refused += 1;
                    writer.next = now + Duration::from_millis(20);
                }
                _ => {}
            }
        }
        if !writer.session.is_connected() {
            if now >= writer.next {
                writer.session.connect(self.port, &TO_STAY);
                writer.next = now + Duration::from_millis(50);
            }
        } else if publish
            && writer.session.is_open()
            && now >= writer.next
            && writer.session.under_way() < WINDOW
        {
            let number = ledger.publication(writer.topic, writer.qos, now);
            let topic = ledger.topics[writer.topic].name.clone();
            let payload = payload(number, PAYLOAD_BYTES);
            writer.session.publish(Outgoing { number, topic, payload, qos: writer.qos, retain: false });
        }
    }

    /// Keeps one QoS 0 message on its way, and looks at how long it takes.
    fn ping(&mut self) {
        let now = self.now();
        for event in self.live.pump() {
            match event {
                Event::Open { .. } => self.live.subscribe(0, "live", QoS::AtMostOnce),
                Event::Answered(..) => self.send_live(now),
                Event::Message { .. } => {
                    let took = now - self.live_sent.unwrap_or(now);
                    self.live_worst = self.live_worst.max(took);
                    self.send_live(now);
                }
                Event::Closed | Event::Denied => {
                    self.live_sent = None;
                    self.ledger.wrong(Wrong::Service, "a client without a Session was closed".to_owned());
                }
                _ => {}
            }
        }
        if !self.live.is_connected() {
            self.live.connect(self.port, &TO_PASS);
        }
        if self.live_sent.is_some_and(|sent| now > sent + LIVE_WITHIN) {
            self.ledger.wrong(Wrong::Service, format!("QoS 0 unanswered for {LIVE_WITHIN:?} at {now:?}"));
            self.send_live(now);
        }
    }

    fn send_live(&mut self, now: Duration) {
        self.live_sent = Some(now);
        let message = Outgoing {
            number: 0,
            topic: "live".to_owned(),
            payload: b"live".to_vec(),
            qos: QoS::AtMostOnce,
            retain: false,
        };
        self.live.publish(message);
    }
}
