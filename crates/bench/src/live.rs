//! `pairs`, `fan-in`, `fan-out`, `shared` and `wildcard`.

use std::sync::Arc;
use std::time::Instant;

use cork_packet::QoS;

use crate::Failure;
use crate::args::TrafficArgs;
use crate::drive::{self, Outcome};
use crate::latency;
use crate::machine;
use crate::report::Report;
use crate::shape::Shape;
use crate::target::Target;
use crate::traffic::Plan;
use crate::units::{nanos, ratio};

/// Runs a shape with the options of the user, on `threads` threads with one part each.
///
/// # Errors
/// What cannot be, the broker is not there, the system refuses something.
pub(crate) fn run(name: &str, args: &TrafficArgs, parts: &[Shape]) -> Result<Report, Failure> {
    let clock = Instant::now();
    let plan = plan(args, parts)?;
    machine::prepare(parts.iter().map(|part| part.publishers() + part.subscribers()).sum())?;
    let core = args.target.core;
    let outcomes: Vec<Result<Outcome, Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(number, part)| {
                let plan = Plan {
                    // The first shows the progress and reads the broker's counters.
                    progress: plan.progress && number == 0,
                    broker_pid: plan.broker_pid.filter(|_| number == 0),
                    ..plan.clone()
                };
                scope.spawn(move || {
                    machine::pin(core.map(|core| core.saturating_sub(number)))?;
                    drive::run(&plan, part, number, clock)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Failure::run("a thread of the generator panicked")))
            })
            .collect()
    });
    let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let report = report(name, args, parts, &outcomes);
    if let Some(file) = &args.target.hdr {
        latency::write(&merged(&outcomes, |outcome| &outcome.latency), file)?;
    }
    Ok(report)
}

fn plan(args: &TrafficArgs, parts: &[Shape]) -> Result<Plan, Failure> {
    let shape =
        parts.first().ok_or_else(|| Failure::usage("there is nobody to send; raise -n and --threads"))?;
    let publishers: usize = parts.iter().map(Shape::publishers).sum();
    if publishers == 0 || publishers > crate::payload::PUBLISHERS_MAX {
        return Err(Failure::usage(format!("{publishers} publishers: there must be 1 to 16 million")));
    }
    if args.rate.is_some_and(|rate| rate <= 0.0) {
        return Err(Failure::usage(
            "--rate 0 sends nothing; give a rate above 0, or leave it out for a closed loop",
        ));
    }
    let window = args.window.unwrap_or_else(|| shape.usual_window());
    let usual = match args.qos {
        _ if window == 0 => 1000,
        QoS::ExactlyOnce => window.min(20),
        _ => window,
    };
    let open_loop = if args.rate.is_some() { usual.max(1000) } else { usual };
    let threads = parts.len() as f64;
    Ok(Plan {
        target: Arc::new(Target::new(&args.target)?),
        qos: args.qos,
        kept: args.kept,
        sizes: args.size.clone(),
        verify: args.target.verify,
        rate: args.rate.map(|rate| rate / threads),
        window,
        inflight: args.inflight.unwrap_or(open_loop).clamp(1, 65_535),
        warmup: nanos(args.warmup),
        duration: nanos(args.duration),
        drain: nanos(args.drain),
        messages: args.messages.map(|messages| messages.div_ceil(parts.len() as u64)),
        naps: !args.no_naps,
        broker_pid: args.target.broker_pid,
        deadline: nanos(args.target.deadline),
        run: machine::run_id(),
        progress: !args.target.json,
    })
}

fn merged(
    outcomes: &[Outcome],
    of: impl Fn(&Outcome) -> &hdrhistogram::Histogram<u64>,
) -> hdrhistogram::Histogram<u64> {
    let mut all = latency::histogram();
    for outcome in outcomes {
        all += of(outcome);
    }
    all
}

fn report(name: &str, args: &TrafficArgs, parts: &[Shape], outcomes: &[Outcome]) -> Report {
    let total = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let rate = |of: fn(&Outcome) -> u64| {
        outcomes.iter().map(|outcome| ratio(of(outcome) as f64 * 1e9, outcome.usage.time as f64)).sum::<f64>()
    };
    let title = format!("{name}, QoS {}, MQTT {}", args.qos.bits(), args.target.protocol.version());
    let mut report = Report::new(title, args.qos);
    for outcome in outcomes {
        report.faults.add(&outcome.faults);
    }
    report.put("delivered_per_second", "delivered", "messages/s", rate(|outcome| outcome.delivered));
    report.put("published_per_second", "published", "messages/s", rate(|outcome| outcome.published));
    let bytes = rate(|outcome| outcome.payload_bytes) / 1e6;
    report.put("payload_mb_per_second", "payload delivered", "MB/s", bytes);
    let (lost, expected) = (report.faults.lost as f64, total(|outcome| outcome.expected) as f64);
    report.put("lost_percent", "lost", "%", ratio(lost, expected) * 100.0);
    if args.rate.is_some() {
        report.put_latency(&merged(outcomes, |outcome| &outcome.latency));
        if args.qos != QoS::AtMostOnce {
            report.put_acknowledgement(&merged(outcomes, |outcome| &outcome.acknowledgement));
        }
        let lag = merged(outcomes, |outcome| &outcome.lag);
        report.put("generator_late_us_p99", "generator late, 99 % below", "us", latency::micros(&lag, 0.99));
        report.put("generator_late_us_max", "generator late, largest", "us", latency::micros(&lag, 1.0));
        if latency::micros(&lag, 0.99)
            > 0.5 * latency::micros(&merged(outcomes, |outcome| &outcome.latency), 0.99)
        {
            report.remark(
                "the generator's own lateness is a large part of the latency: lower the rate, or free a CPU",
            );
        }
    }
    put_wildcard(&mut report, parts, outcomes);
    if let Some(first) = outcomes.first() {
        let mut usage = first.usage;
        usage.own_cpu = outcomes.iter().map(|outcome| outcome.usage.own_cpu).max().unwrap_or(0);
        report.put_usage(&usage, total(|outcome| outcome.delivered));
    }
    if let Some(why) = outcomes.iter().find_map(|outcome| outcome.why_ended.as_ref()) {
        report.remark(format!("the first connection that the broker ended: {why}"));
    }
    if report.faults.stalled > 0 {
        report.remark("publishers waited 2 s in vain for messages of theirs to be delivered or acknowledged");
    }
    report
}

/// Memory of filters, and how fast they are taken.
fn put_wildcard(report: &mut Report, parts: &[Shape], outcomes: &[Outcome]) {
    let (Some(Shape::Wildcard { filters, .. }), Some(outcome)) = (parts.first(), outcomes.first()) else {
        return;
    };
    let count = filters.len() as u64;
    let rate = ratio(count as f64 * 1e9, outcome.subscribe_time as f64);
    report.put("filters_per_second", "filters subscribed", "filters/s", rate);
    report.put_growth(
        "bytes_per_filter",
        "broker's memory per filter",
        outcome.rss[0],
        outcome.rss[1],
        count,
    );
}
