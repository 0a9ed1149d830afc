//! `connections`: how fast a broker takes them, what it costs to hold them, how fast sessions are resumed.

use std::time::Instant;

use cork_packet::{Packet, QoS};

use crate::Failure;
use crate::args::ConnectionsArgs;
use crate::dial::{Dialled, Session, Silence, dial, hang_up, turn};
use crate::engine::Engine;
use crate::latency;
use crate::machine;
use crate::meter::Reading;
use crate::report::Report;
use crate::shape::Prefix;
use crate::target::{Sources, Target};
use crate::units::{MILLI, Nanos, nanos};

/// Runs the scenario.
///
/// # Errors
/// The broker is not there or refuses, the machine has too few ports or descriptors.
pub(crate) fn run(args: &ConnectionsArgs) -> Result<Report, Failure> {
    let target = Target::new(&args.target)?;
    let count = usize::try_from(args.count).unwrap_or(usize::MAX);
    if count == 0 {
        return Err(Failure::usage("--count 0 measures nothing; give 1 at least"));
    }
    machine::prepare(count)?;
    machine::pin(args.target.core)?;
    let engine = Engine::new(target.version, Instant::now())
        .map_err(|error| Failure::system("cannot set up the event loop", &error))?;
    let rounds = if args.resume { 4 } else { 1 };
    let title = format!("connections, {count}, MQTT {}", target.version);
    let mut run = Run {
        sources: Sources::new(&target, count * rounds),
        prefix: Prefix::new(machine::run_id(), 0),
        report: Report::new(title, QoS::AtMostOnce),
        times: latency::histogram(),
        args,
        target,
        engine,
        count,
    };
    run.clean()?;
    if args.resume {
        run.resumed()?;
    }
    if let Some(file) = &args.target.hdr {
        latency::write(&run.times, file)?;
    }
    Ok(run.report)
}

struct Run<'a> {
    args: &'a ConnectionsArgs,
    target: Target,
    engine: Engine,
    sources: Sources,
    prefix: Prefix,
    report: Report,
    times: hdrhistogram::Histogram<u64>,
    count: usize,
}

impl Run<'_> {
    fn read(&self) -> Reading {
        Reading::take(self.args.target.broker_pid)
    }

    fn sessions(&self, role: char, stays: bool) -> Vec<Session> {
        let holds = !self.args.hold.is_zero();
        let filters = |number| {
            if holds && !stays { vec![format!("{}/held/{number}", self.prefix)] } else { Vec::new() }
        };
        (0..self.count)
            .map(|number| Session {
                client_id: self.prefix.client(role, number),
                stays,
                leaves: self.args.churn,
                filters: filters(number),
                qos: QoS::AtMostOnce,
            })
            .collect()
    }

    fn dial(&mut self, sessions: &[Session]) -> Result<Dialled, Failure> {
        let (concurrency, deadline) = (self.args.concurrency, nanos(self.args.target.deadline));
        let mut silence = Silence::default();
        let dialled = dial(
            &mut self.engine,
            &self.target,
            sessions,
            concurrency,
            deadline,
            &mut self.sources,
            &mut silence,
        )?;
        self.report.faults.ended += silence.ended;
        Ok(dialled)
    }

    fn hang_up(&mut self, dialled: &Dialled) -> Result<(), Failure> {
        let ids: Vec<usize> = dialled.links.iter().map(|link| link.id).collect();
        hang_up(&mut self.engine, &ids).map(drop)
    }

    /// Sessions that end with their connection.
    fn clean(&mut self) -> Result<(), Failure> {
        let before = self.read();
        let dialled = self.dial(&self.sessions('c', false))?;
        let connected = self.read();
        self.report.put("connects_per_second", "connected", "connections/s", dialled.rate());
        self.report.put_latency(&dialled.latency);
        self.times += &dialled.latency;
        let hold = nanos(self.args.hold);
        if hold > 0 {
            self.hold(&dialled, hold, &before)?;
        } else if !self.args.churn {
            self.put_memory(&before, &connected);
        }
        self.report.put_usage(&connected.since(&before), self.count as u64);
        self.hang_up(&dialled)
    }

    /// The broker's memory for each connection.
    fn put_memory(&mut self, before: &Reading, after: &Reading) {
        let (from, to) = (before.rss_bytes(), after.rss_bytes());
        self.report.put_growth(
            "bytes_per_connection",
            "broker's memory for each",
            from,
            to,
            self.count as u64,
        );
    }

    /// A third of the time nothing happens, then each connection sends one PINGREQ.
    fn hold(&mut self, dialled: &Dialled, hold: Nanos, before: &Reading) -> Result<(), Failure> {
        let mut silence = Silence::default();
        let start = self.engine.now();
        let settle = start + hold / 12;
        self.wait(&mut silence, settle)?;
        let quiet = self.read();
        self.wait(&mut silence, start + hold / 3)?;
        let held = self.read();
        self.put_memory(before, &held);
        let ping_time = (hold * 2 / 3).max(1);
        for (number, link) in dialled.links.iter().enumerate() {
            let due = start + hold / 3 + ping_time * number as u64 / self.count as u64;
            if due > self.engine.now() + MILLI {
                self.wait(&mut silence, due)?;
            }
            if self.engine.is_open(link.id) {
                self.engine.send(link.id, &Packet::PingReq);
            }
        }
        self.wait(&mut silence, start + hold)?;
        let pinged = self.read();
        for (key, label, usage) in [
            ("quiet_cpu_percent", "broker's CPU, all quiet", held.since(&quiet)),
            ("ping_cpu_percent", "broker's CPU, keep-alives", pinged.since(&held)),
        ] {
            if let Some(cpu) = usage.broker_cpu {
                self.report.put(key, label, "% of a core", usage.percent(cpu));
            }
        }
        self.report.faults.ended += silence.ended;
        self.report.faults.lost += (self.count as u64).saturating_sub(silence.pings + silence.ended);
        Ok(())
    }

    fn wait(&mut self, silence: &mut Silence, until: Nanos) -> Result<(), Failure> {
        loop {
            let now = self.engine.now();
            if now >= until {
                return Ok(());
            }
            turn(&mut self.engine, silence, until - now)?;
        }
    }

    /// Sessions that are stored, left, come back to, and cleared.
    fn resumed(&mut self) -> Result<(), Failure> {
        let sessions = self.sessions('r', true);
        let before = self.read();
        let stored = self.dial(&sessions)?;
        self.report.put("stored_per_second", "connected, session stored", "connections/s", stored.rate());
        self.hang_up(&stored)?;
        let after = self.read();
        let (from, to) = (before.rss_bytes(), after.rss_bytes());
        self.report.put_growth("bytes_per_session", "memory per stored session", from, to, self.count as u64);
        let resumed = self.dial(&sessions)?;
        self.report.put("resumed_per_second", "connected, session resumed", "connections/s", resumed.rate());
        self.report.faults.forgotten +=
            resumed.links.iter().filter(|link| !link.session_present).count() as u64;
        self.hang_up(&resumed)?;
        let cleared = self.dial(&self.sessions('r', false))?;
        self.hang_up(&cleared)
    }
}
