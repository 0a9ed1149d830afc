//! `retained` and `offline`: what a broker keeps, and how fast it gives it back.

use std::time::{Duration, Instant};

use cork_packet::{Ack, Packet, Publish, QoS};

use crate::Failure;
use crate::args::{OfflineArgs, RetainedArgs, TargetArgs};
use crate::check::{Faults, Seen, Set, Stream};
use crate::dial::{Dialled, Link, Session, Silence, dial, hang_up, turn};
use crate::engine::{Engine, Handler};
use crate::feed::{Feed, Item};
use crate::machine;
use crate::meter::Reading;
use crate::payload::Stamp;
use crate::publisher::Writer;
use crate::report::Report;
use crate::shape::Prefix;
use crate::target::{Sources, Target};
use crate::traffic::answer;
use crate::units::{MILLI, Nanos, SECOND, nanos, ratio, small};

/// What both scenarios need.
struct Bench<'a> {
    args: &'a TargetArgs,
    target: Target,
    engine: Engine,
    sources: Sources,
    prefix: Prefix,
    run: u16,
    deadline: Nanos,
}

impl<'a> Bench<'a> {
    fn new(args: &'a TargetArgs, connections: usize) -> Result<Self, Failure> {
        let target = Target::new(args)?;
        machine::prepare(connections)?;
        machine::pin(args.core)?;
        let engine = Engine::new(target.version, Instant::now())
            .map_err(|error| Failure::system("cannot set up the event loop", &error))?;
        let run = machine::run_id();
        let sources = Sources::new(&target, connections * 4);
        let deadline = nanos(args.deadline);
        Ok(Self { args, target, engine, sources, prefix: Prefix::new(run, 0), run, deadline })
    }

    fn read(&self) -> Reading {
        Reading::take(self.args.broker_pid)
    }

    fn dial(&mut self, sessions: &[Session]) -> Result<Dialled, Failure> {
        self.dial_into(sessions, &mut Silence::default())
    }

    fn dial_into(&mut self, sessions: &[Session], inner: &mut impl Handler) -> Result<Dialled, Failure> {
        let sources = &mut self.sources;
        dial(&mut self.engine, &self.target, sessions, CONCURRENCY, self.deadline, sources, inner)
    }

    fn publishers(&mut self) -> Result<Vec<Link>, Failure> {
        let sessions: Vec<Session> = (0..PUBLISHERS)
            .map(|number| Session { client_id: self.prefix.client('p', number), ..Session::default() })
            .collect();
        Ok(self.dial(&sessions)?.links)
    }

    fn hang_up(&mut self, links: &[Link]) -> Result<(), Failure> {
        let ids: Vec<usize> = links.iter().map(|link| link.id).collect();
        hang_up(&mut self.engine, &ids).map(drop)
    }

    /// Waits until `collector` has everything, or nothing has come for a while.
    fn collect(&mut self, collector: &mut Collector, total: u64) -> Result<(), Failure> {
        collector.last = collector.last.max(self.engine.now());
        while collector.unique < total {
            turn(&mut self.engine, collector, 100 * MILLI)?;
            let now = self.engine.now();
            if now > collector.last + QUIET || now > self.deadline || collector.faults.ended > 0 {
                break;
            }
        }
        Ok(())
    }
}

const CONCURRENCY: usize = 100;
const PUBLISHERS: usize = 4;
const QUIET: Nanos = 4 * SECOND;

/// Who must get what.
enum Wanted {
    /// Subscriber by subscriber, everything once. The topic is the prefix and the number.
    Everything(Vec<Set>),
    /// Session i gets what is for it, in order.
    Own(Vec<Stream>),
}

/// Judges what comes out of the store.
struct Collector {
    wanted: Wanted,
    /// By connection: subscriber or session.
    who: Vec<Option<usize>>,
    topic: String,
    run: u16,
    verify: bool,
    unique: u64,
    unflagged: u64,
    last: Nanos,
    faults: Faults,
}

impl Collector {
    fn new(bench: &Bench<'_>, wanted: Wanted, folder: &str) -> Self {
        Self {
            wanted,
            who: Vec::new(),
            topic: format!("{}/{folder}/", bench.prefix),
            run: bench.run,
            verify: bench.args.verify,
            unique: 0,
            unflagged: 0,
            last: 0,
            faults: Faults::default(),
        }
    }

    fn delivered(&mut self, who: usize, publish: &Publish<'_>) {
        let stamp = Stamp::decode(publish.payload, self.verify).filter(|stamp| stamp.run == self.run);
        let Some(stamp) = stamp else {
            self.faults.corrupt += 1;
            return;
        };
        let number = publish.topic.strip_prefix(&self.topic).and_then(|number| number.parse::<u32>().ok());
        let seen = match &mut self.wanted {
            Wanted::Everything(sets) if number == Some(stamp.sequence) => {
                self.unflagged += u64::from(!publish.retain);
                if sets[who].insert(stamp.sequence) { Seen::New } else { Seen::Again }
            }
            Wanted::Own(streams) if number == Some(stamp.publisher) && stamp.publisher as usize == who => {
                streams[who].see(stamp.sequence)
            }
            Wanted::Everything(_) | Wanted::Own(_) => {
                self.faults.misrouted += 1;
                return;
            }
        };
        self.unique += u64::from(seen != Seen::Again);
        self.faults.duplicated += u64::from(seen == Seen::Again);
        self.faults.reordered += u64::from(seen == Seen::Late);
    }
}

impl Handler for Collector {
    fn packet(&mut self, engine: &mut Engine, id: usize, packet: Packet<'_>, now: Nanos) {
        match packet {
            Packet::Publish(publish) => {
                answer(engine, id, &publish);
                self.last = now;
                match self.who.get(id).copied().flatten() {
                    Some(who) => self.delivered(who, &publish),
                    None => self.faults.misrouted += 1,
                }
            }
            Packet::PubRel(ack) => engine.send(id, &Packet::PubComp(Ack::success(ack.packet_id))),
            _ => {}
        }
    }

    fn opened(&mut self, id: usize, number: usize) {
        if id >= self.who.len() {
            self.who.resize(id + 1, None);
        }
        self.who[id] = Some(number);
    }

    fn closed(&mut self, _: &mut Engine, _: usize, _: &str) {
        self.faults.ended += 1;
    }
}

/// Stores retained messages, delivers them, clears them.
///
/// # Errors
/// The broker is not there, refuses, or stops.
pub(crate) fn retained(args: &RetainedArgs) -> Result<Report, Failure> {
    let mut bench = Bench::new(&args.target, args.subscribers + PUBLISHERS)?;
    let total = small(usize::try_from(args.messages).unwrap_or(usize::MAX));
    let title = format!(
        "retained, {total} messages, {} subscribers, MQTT {}",
        args.subscribers, bench.target.version
    );
    let mut report = Report::new(title, QoS::AtLeastOnce);
    let publishers = bench.publishers()?;
    let topic = format!("{}/retained/", bench.prefix);
    let item = |publisher: usize, number: u64| {
        let sequence = small(publisher + PUBLISHERS * usize::try_from(number).unwrap_or(usize::MAX / 8));
        (sequence < total).then(|| Item { topic: format!("{topic}{sequence}"), number: 0, sequence })
    };
    let writer = Writer::new(bench.target.version, QoS::AtLeastOnce, true, &args.size);
    let empty = bench.read();
    let feed = Feed::new(&publishers, QoS::AtLeastOnce, bench.run, Some(writer), &item);
    let (stored, time, faults) = feed.run(&mut bench.engine, bench.deadline)?;
    report.faults.add(&faults);
    report.put("stored_per_second", "stored", "messages/s", ratio(stored as f64 * 1e9, time as f64));
    std::thread::sleep(SETTLE);
    let full = bench.read();
    let (from, to) = (empty.rss_bytes(), full.rss_bytes());
    report.put_growth("bytes_per_message", "broker's memory for each", from, to, u64::from(total));
    deliver(&mut bench, args, total, &mut report)?;
    if !args.keep {
        let feed = Feed::new(&publishers, QoS::AtLeastOnce, bench.run, None, &item);
        let (cleared, time, _) = feed.run(&mut bench.engine, bench.deadline)?;
        report.put("cleared_per_second", "cleared", "messages/s", ratio(cleared as f64 * 1e9, time as f64));
    }
    bench.hang_up(&publishers)?;
    Ok(report)
}

/// Subscribers come and ask for all of it.
fn deliver(
    bench: &mut Bench<'_>,
    args: &RetainedArgs,
    total: u32,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut collector =
        Collector::new(bench, Wanted::Everything(vec![Set::default(); args.subscribers]), "retained");
    let sessions: Vec<Session> = (0..args.subscribers)
        .map(|number| Session { client_id: bench.prefix.client('s', number), ..Session::default() })
        .collect();
    let dialled = bench.dial_into(&sessions, &mut collector)?;
    let before = bench.read();
    let start = bench.engine.now();
    let filter = format!("{}#", collector.topic);
    for link in &dialled.links {
        subscribe(&mut bench.engine, link.id, &filter)?;
    }
    let wanted = u64::from(total) * args.subscribers as u64;
    bench.collect(&mut collector, wanted)?;
    let time = collector.last.saturating_sub(start).max(1);
    let after = bench.read();
    let rate = ratio(collector.unique as f64 * 1e9, time as f64);
    report.put("delivered_per_second", "delivered", "messages/s", rate);
    report.put("seconds_to_all", "until all were there", "s", time as f64 / 1e9);
    report.put_usage(&after.since(&before), collector.unique);
    report.faults.add(&collector.faults);
    report.faults.lost += wanted.saturating_sub(collector.unique);
    if collector.unflagged > 0 {
        report.faults.refused += collector.unflagged;
        report.remark(format!(
            "{} retained messages came without the RETAIN flag (counted as refused)",
            collector.unflagged
        ));
    }
    bench.hang_up(&dialled.links)
}

fn subscribe(engine: &mut Engine, id: usize, filter: &str) -> Result<(), Failure> {
    use cork_packet::{PacketId, Properties, SubscribeBuf, SubscriptionOptions};
    let mut payload = SubscribeBuf::new();
    let options = SubscriptionOptions::with_qos(QoS::AtMostOnce);
    payload
        .push(filter, options)
        .map_err(|error| Failure::run(format!("cannot subscribe to `{filter}`: {error}")))?;
    if let Some(packet_id) = PacketId::new(1) {
        engine.send(id, &Packet::Subscribe(payload.subscribe(packet_id, Properties::EMPTY)));
    }
    Ok(())
}

const SETTLE: Duration = Duration::from_millis(500);

/// Queues messages for sessions that are away, and has them come back.
///
/// # Errors
/// The broker is not there, refuses, or stops.
pub(crate) fn offline(args: &OfflineArgs) -> Result<Report, Failure> {
    if args.qos == QoS::AtMostOnce {
        return Err(Failure::usage(
            "--qos 0: brokers queue no such messages for sessions that are away; use 1 or 2",
        ));
    }
    let mut bench = Bench::new(&args.target, args.sessions + PUBLISHERS)?;
    let (sessions, each) = (args.sessions, args.messages);
    let total = each * sessions as u64;
    let title = format!(
        "offline, {sessions} sessions, {each} messages each, QoS {}, MQTT {}",
        args.qos.bits(),
        bench.target.version
    );
    let mut report = Report::new(title, args.qos);
    let folder = format!("{}/offline/", bench.prefix);
    let session = |number: usize, filters: Vec<String>, stays| Session {
        client_id: bench.prefix.client('s', number),
        stays,
        leaves: false,
        filters,
        qos: args.qos,
    };
    let first: Vec<Session> =
        (0..sessions).map(|number| session(number, vec![format!("{folder}{number}")], true)).collect();
    let back: Vec<Session> = (0..sessions).map(|number| session(number, Vec::new(), true)).collect();
    let clear: Vec<Session> = (0..sessions).map(|number| session(number, Vec::new(), false)).collect();
    let away = bench.dial(&first)?;
    bench.hang_up(&away.links)?;

    let publishers = bench.publishers()?;
    // Every session's messages come from one publisher, so that they have an order.
    let item = |publisher: usize, number: u64| {
        let served = sessions.saturating_sub(publisher).div_ceil(PUBLISHERS) as u64;
        if served == 0 || number / served >= each {
            return None;
        }
        let session = publisher + PUBLISHERS * usize::try_from(number % served).unwrap_or(0);
        let sequence = small(usize::try_from(number / served).unwrap_or(usize::MAX));
        Some(Item { topic: format!("{folder}{session}"), number: session, sequence })
    };
    let writer = Writer::new(bench.target.version, args.qos, false, &args.size);
    let empty = bench.read();
    let feed = Feed::new(&publishers, args.qos, bench.run, Some(writer), &item);
    let (queued, time, faults) = feed.run(&mut bench.engine, bench.deadline)?;
    report.faults.add(&faults);
    report.put("queued_per_second", "queued", "messages/s", ratio(queued as f64 * 1e9, time as f64));
    std::thread::sleep(SETTLE);
    let full = bench.read();
    report.put_growth(
        "bytes_per_message",
        "broker's memory for each",
        empty.rss_bytes(),
        full.rss_bytes(),
        total,
    );

    let mut collector = Collector::new(&bench, Wanted::Own(vec![Stream::default(); sessions]), "offline");
    let start = bench.engine.now();
    let dialled = bench.dial_into(&back, &mut collector)?;
    bench.collect(&mut collector, total)?;
    let drained = bench.read();
    let time = collector.last.saturating_sub(start).max(1);
    report.put(
        "drained_per_second",
        "drained",
        "messages/s",
        ratio(collector.unique as f64 * 1e9, time as f64),
    );
    report.put_usage(&drained.since(&full), collector.unique);
    report.faults.add(&collector.faults);
    report.faults.lost += total.saturating_sub(collector.unique);
    report.faults.forgotten += dialled.links.iter().filter(|link| !link.session_present).count() as u64;
    bench.hang_up(&dialled.links)?;
    bench.hang_up(&publishers)?;
    let cleared = bench.dial(&clear)?;
    bench.hang_up(&cleared.links)?;
    Ok(report)
}
