//! The course of a run with live traffic: warm-up, measurement, drain.

use std::time::Instant;

use crate::Failure;
use crate::check::Faults;
use crate::dial::{Session, Silence, dial, hang_up, turn};
use crate::engine::Engine;
use crate::meter::{Reading, Usage};
use crate::pace::{Naps, Timetable};
use crate::progress::Progress;
use crate::shape::{Prefix, Shape};
use crate::target::Sources;
use crate::traffic::{Plan, Traffic};
use crate::units::{MICRO, MILLI, Nanos, SECOND};

/// What one thread measured.
pub(crate) struct Outcome {
    /// Sent and delivered during the measurement.
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) usage: Usage,
    /// Over the whole run.
    pub(crate) expected: u64,
    pub(crate) faults: Faults,
    pub(crate) latency: hdrhistogram::Histogram<u64>,
    pub(crate) acknowledgement: hdrhistogram::Histogram<u64>,
    pub(crate) lag: hdrhistogram::Histogram<u64>,
    pub(crate) why_ended: Option<String>,
    /// Resident memory of the broker before and after it got its subscriptions, and at the end of the measurement.
    pub(crate) rss: [Option<u64>; 3],
    /// How long subscribing took, connections included.
    pub(crate) subscribe_time: Nanos,
}

/// Counters at one end of the measurement.
struct Mark {
    reading: Reading,
    published: u64,
    delivered: u64,
    payload_bytes: u64,
}

/// Connects, subscribes, sends, checks, and hangs up.
///
/// # Errors
/// The broker cannot be reached or does not let the clients in, or the system refuses something.
pub(crate) fn run(plan: &Plan, shape: &Shape, thread: usize, clock: Instant) -> Result<Outcome, Failure> {
    let target = &plan.target;
    let mut engine = Engine::new(target.version, clock)
        .map_err(|error| Failure::system("cannot set up the event loop", &error))?;
    let prefix = Prefix::new(plan.run, thread);
    let mut sources = Sources::new(target, shape.publishers() + shape.subscribers());
    let mut quiet = Silence::default();
    let before = Reading::take(plan.broker_pid);
    let subscribing = engine.now();
    let mut kept = shape.sessions(&prefix, plan.qos);
    kept.iter_mut().for_each(|session| session.stays = plan.kept);
    let subscribers = dial(&mut engine, target, &kept, CONCURRENCY, plan.deadline, &mut sources, &mut quiet)?;
    let subscribe_time = engine.now() - subscribing;
    let subscribed = Reading::take(plan.broker_pid);
    let sessions: Vec<Session> = (0..shape.publishers())
        .map(|publisher| Session { client_id: prefix.client('p', publisher), ..Session::default() })
        .collect();
    let publishers =
        dial(&mut engine, target, &sessions, CONCURRENCY, plan.deadline, &mut sources, &mut quiet)?;
    let mut traffic = Traffic::new(plan, shape, &prefix);
    for (number, link) in subscribers.links.iter().enumerate() {
        traffic.subscriber(number, link.id);
    }
    for link in &publishers.links {
        traffic.publisher(link.id, link.receive_maximum);
    }
    let (begin, end) = Course::new(plan, &mut engine, shape.subscribers()).drive(&mut traffic)?;
    let ids: Vec<usize> = subscribers.links.iter().chain(&publishers.links).map(|link| link.id).collect();
    hang_up(&mut engine, &ids)?;
    if plan.kept {
        // A clean start ends what would stay behind.
        let ended: Vec<Session> = kept
            .into_iter()
            .map(|session| Session { stays: false, filters: Vec::new(), ..session })
            .collect();
        let links =
            dial(&mut engine, target, &ended, CONCURRENCY, plan.deadline, &mut sources, &mut quiet)?.links;
        hang_up(&mut engine, &links.iter().map(|link| link.id).collect::<Vec<_>>())?;
    }
    Ok(Outcome {
        published: end.published - begin.published,
        delivered: end.delivered - begin.delivered,
        payload_bytes: end.payload_bytes - begin.payload_bytes,
        usage: end.reading.since(&begin.reading),
        expected: traffic.ledger.expected,
        faults: traffic.ledger.close(),
        rss: [before.rss_bytes(), subscribed.rss_bytes(), end.reading.rss_bytes()],
        latency: traffic.latency,
        acknowledgement: traffic.acknowledgement,
        lag: traffic.lag,
        why_ended: traffic.why_ended,
        subscribe_time,
    })
}

/// Connections of one run that are being made at a time.
const CONCURRENCY: usize = 100;

/// The course of the run, with the times of its parts.
struct Course<'a> {
    plan: &'a Plan,
    engine: &'a mut Engine,
    subscribers: usize,
    start: Nanos,
    measure: Nanos,
    end: Nanos,
    naps: Naps,
    progress: Progress,
}

impl<'a> Course<'a> {
    fn new(plan: &'a Plan, engine: &'a mut Engine, subscribers: usize) -> Self {
        let start = engine.now();
        // A number of messages is measured from the first to the last.
        let measure = if plan.messages.is_some() { start } else { start + plan.warmup };
        let end = if plan.messages.is_some() { plan.deadline } else { measure + plan.duration };
        let progress = Progress::new(plan.progress, end.saturating_sub(start));
        Self { plan, engine, subscribers, start, measure, end, naps: Naps::default(), progress }
    }

    fn mark(&self, traffic: &Traffic) -> Mark {
        Mark {
            reading: Reading::take(self.plan.broker_pid),
            published: traffic.ledger.published(),
            delivered: traffic.ledger.unique,
            payload_bytes: traffic.payload_bytes,
        }
    }

    /// From the first message to the last delivery; where the measurement began and ended.
    fn drive(mut self, traffic: &mut Traffic) -> Result<(Mark, Mark), Failure> {
        traffic.timetable = self.plan.rate.map(|rate| Timetable::new(self.start, rate));
        traffic.start();
        if self.measure > self.start {
            self.send_until(traffic, self.measure)?;
        }
        let begin = self.mark(traffic);
        // Reading the counters takes a moment, which must not show as latency.
        let from = if self.measure > self.start { self.engine.now() + 2 * MILLI } else { 0 };
        traffic.measured = (from, self.end);
        self.send_until(traffic, self.end)?;
        if self.plan.messages.is_some() {
            self.drain(traffic)?;
            let end = self.mark(traffic);
            return Ok((begin, end));
        }
        let end = self.mark(traffic);
        self.drain(traffic)?;
        Ok((begin, end))
    }

    fn send_until(&mut self, traffic: &mut Traffic, end: Nanos) -> Result<(), Failure> {
        let mut look = 0;
        loop {
            let now = self.engine.now();
            if now >= end.min(self.plan.deadline) || traffic.is_all_sent() || self.is_deserted(traffic) {
                return Ok(());
            }
            if now >= look {
                traffic.forgive_stalls(now);
                self.progress.show(now - self.start, traffic.ledger.unique);
                look = now + 100 * MILLI;
            }
            traffic.note_due(now, self.end);
            traffic.send(self.engine);
            self.nap(traffic, now);
            let until = match &traffic.timetable {
                Some(timetable) => timetable.next_due().saturating_sub(self.early()),
                None => Nanos::MAX,
            };
            let wait = until.min(look).min(end).saturating_sub(self.engine.now());
            turn(self.engine, traffic, wait)?;
        }
    }

    /// How much before a message is due the generator wakes, and looks until it is: sleeping overshoots. Never more
    /// than a quarter of the time between two messages.
    fn early(&self) -> Nanos {
        let interval = self.plan.rate.map_or(0, |rate| crate::units::whole(1e9 / rate));
        (50 * MICRO).min(interval / 4)
    }

    fn nap(&mut self, traffic: &Traffic, now: Nanos) {
        if !self.plan.naps || traffic.timetable.is_some() {
            return;
        }
        let ahead = traffic.ahead(self.subscribers);
        let nap = self.naps.next(now, traffic.ledger.settled, self.engine.reads, ahead);
        if nap > 0 {
            self.engine.flush();
            std::thread::sleep(std::time::Duration::from_nanos(nap));
        }
    }

    /// Waits for what is still on its way.
    fn drain(&mut self, traffic: &mut Traffic) -> Result<(), Failure> {
        let begin = self.engine.now();
        let over = (begin + self.plan.drain).min(self.plan.deadline);
        loop {
            let now = self.engine.now();
            let complete = traffic.ledger.unique >= traffic.ledger.expected
                && traffic.unacknowledged == 0
                && !traffic.is_behind();
            let quiet = now.saturating_sub(traffic.last_arrival.max(begin)) > QUIET;
            if complete || quiet || now > over || self.is_deserted(traffic) {
                return Ok(());
            }
            // What was due and could not go still has to.
            if traffic.timetable.is_some() {
                traffic.send(self.engine);
            }
            turn(self.engine, traffic, 20 * MILLI)?;
        }
    }

    fn is_deserted(&self, traffic: &Traffic) -> bool {
        traffic.faults_ended() >= (traffic.publishers.len() + self.subscribers) as u64
    }
}

/// A broker that has delivered nothing for so long has nothing left.
const QUIET: Nanos = 3 * SECOND / 2;
