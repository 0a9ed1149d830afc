//! `/metrics` for Prometheus, `/healthz`, `/readyz`.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use cork_broker::{Histogram, Operator, Stats, Times};
use cork_store::BOUNDS_MICROS;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::{app::App, guard::Caller, overview::Overview, problem::Problem, sampler};

/// What is collected at a scrape.
#[derive(Debug)]
struct Scrape {
    stats: Stats,
    overview: Arc<Overview>,
    /// By shard.
    times: Vec<(u16, Times)>,
    commits: Option<Histogram>,
    history: Option<Kept>,
}

/// What is kept of what was published.
#[derive(Copy, Clone, Debug)]
struct Kept {
    written: u64,
    left_out: u64,
    damaged: u64,
    messages: u64,
    bytes: u64,
}

impl Kept {
    fn of(operator: &Operator) -> Option<Self> {
        let (vault, counters) = (operator.history()?, operator.history_counters()?);
        let (messages, bytes) = vault.sizes();
        let (written, left_out) =
            (counters.written.load(Ordering::Relaxed), counters.left_out.load(Ordering::Relaxed));
        Some(Self { written, left_out, damaged: vault.damaged(), messages, bytes })
    }
}

type Fail = Result<(), std::fmt::Error>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Fail {
        let stats = &self.stats;
        for (name, help, value) in plain_counters(stats) {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        for (name, help, label, values) in families(stats) {
            let kind = ConstCounter::new(0_u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (value, count) in values {
                ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
            }
        }
        for (name, help, value) in gauges(stats) {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        self.encode_times(&mut encoder)?;
        if let Some(kept) = self.history {
            for (name, help, value) in [
                ("cork_history_written", "Messages written to the history", kept.written),
                ("cork_history_left_out", "Messages that the history could not take", kept.left_out),
                ("cork_history_damaged", "Damaged places of the history, each counted once", kept.damaged),
            ] {
                let counter = ConstCounter::new(value);
                counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
            }
            for (name, help, value) in [
                ("cork_history_messages", "Messages in the history", kept.messages),
                ("cork_history_bytes", "Bytes of the history on disk", kept.bytes),
            ] {
                let gauge = ConstGauge::new(as_gauge(value));
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
            }
        }
        self.encode_process(&mut encoder)
    }
}

/// Adds a histogram to a family.
fn encode_histogram(mut encoder: MetricEncoder<'_>, times: &Histogram) -> Fail {
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    let seconds = |micros: u64| micros as f64 / 1e6;
    let bounds = BOUNDS_MICROS.map(seconds).into_iter().chain([f64::MAX]);
    let buckets: Vec<(f64, u64)> = bounds.zip(times.counts).collect();
    encoder.encode_histogram::<NoLabelSet>(seconds(times.sum_micros), times.count(), &buckets, None)
}

impl Scrape {
    fn encode_times(&self, encoder: &mut DescriptorEncoder<'_>) -> Fail {
        type Of = fn(&Times) -> &Histogram;
        let families: [(&str, &str, Of); 2] = [
            ("cork_shard_turn_seconds", "Turns of a shard: so long its sockets may have waited", |times| {
                &times.turns
            }),
            (
                "cork_acknowledgement_wait_seconds",
                "How long acknowledgements waited for the store",
                |times| &times.stored,
            ),
        ];
        for (name, help, of) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (shard, times) in &self.times {
                let shard = [("shard", shard.to_string())];
                encode_histogram(family.encode_family(&shard)?, of(times))?;
            }
        }
        if let Some(commits) = &self.commits {
            let (name, help) = ("cork_store_commit_seconds", "Commits of the store");
            encode_histogram(encoder.encode_descriptor(name, help, None, MetricType::Histogram)?, commits)?;
        }
        Ok(())
    }

    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> Fail {
        let process = &self.overview.process;
        let cpu = ConstCounter::new(process.cpu_seconds);
        let help = "Processor time, user and system";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            help,
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = ConstGauge::new(as_gauge(value));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("process_resident_memory_bytes", "Resident memory", process.memory_bytes)?;
        gauge("process_open_fds", "Open files, sockets among them", process.open_files)?;
        if let Some(most) = process.open_files_max {
            gauge("process_max_fds", "How many files may be open", most)?;
        }
        gauge("cork_uptime_seconds", "Time since the start", self.overview.uptime_seconds)?;
        if let Some(store) = &self.overview.store {
            gauge("cork_store_bytes", "What the data directory takes", store.bytes)?;
            gauge(
                "cork_store_free_bytes",
                "What is free on the disk of the data directory",
                store.free_bytes,
            )?;
        }
        let version = [("version", self.overview.version)];
        let one = ConstGauge::new(1_i64);
        let mut info =
            encoder.encode_descriptor("cork_build_info", "Which version runs", None, one.metric_type())?;
        one.encode(info.encode_family(&version)?)
    }
}

/// Without `_total`, which is added to each.
fn plain_counters(stats: &Stats) -> [(&'static str, &'static str, u64); 13] {
    [
        ("cork_received_bytes", "Bytes received from clients", stats.bytes_received),
        ("cork_sent_bytes", "Bytes sent to clients", stats.bytes_sent),
        ("cork_packets_received", "MQTT packets received", stats.packets_received),
        ("cork_packets_sent", "MQTT packets sent", stats.packets_sent),
        ("cork_messages_received", "PUBLISH packets received", stats.publish_received),
        ("cork_messages_sent", "PUBLISH packets sent", stats.publish_sent),
        ("cork_payload_received_bytes", "Payload bytes received", stats.publish_bytes_received),
        ("cork_payload_sent_bytes", "Payload bytes sent", stats.publish_bytes_sent),
        ("cork_connects", "CONNECT packets accepted", stats.connects),
        ("cork_sessions_expired", "Sessions that ended because their time was over", stats.sessions_expired),
        ("cork_bans", "Bans of addresses that began", stats.bans),
        (
            "cork_store_refused_messages",
            "Publications refused because the store takes nothing new",
            stats.refused_full,
        ),
        (
            "cork_slowed",
            "How often a client was read more slowly because it published too fast",
            stats.slowed,
        ),
    ]
}

type Family = (&'static str, &'static str, &'static str, Vec<(&'static str, u64)>);

fn families(stats: &Stats) -> [Family; 4] {
    [
        (
            "cork_messages_dropped",
            "Messages dropped, by reason",
            "reason",
            vec![
                ("slow_reader", stats.dropped_slow_reader),
                ("queue_full", stats.dropped_queue_full),
                ("user_queue_full", stats.dropped_user_queue_full),
                ("expired", stats.dropped_expired),
                ("too_large", stats.dropped_too_large),
                ("damaged", stats.lost_damaged),
            ],
        ),
        (
            "cork_denied",
            "What the rights refused",
            "action",
            vec![
                ("publish", stats.denied_publish),
                ("delivery", stats.denied_delivery),
                ("subscribe", stats.denied_subscribe),
            ],
        ),
        (
            "cork_connections_refused",
            "Connections and CONNECT packets refused, by reason",
            "reason",
            vec![
                ("login", stats.refused_login),
                ("rate", stats.refused_rate),
                ("banned", stats.refused_banned),
                ("http", stats.refused_http),
                ("busy", stats.refused_busy),
            ],
        ),
        (
            "cork_connections_closed",
            "Connections closed by the broker, by reason",
            "reason",
            vec![
                ("protocol", stats.peer_errors),
                ("connect_timeout", stats.closed_connect_timeout),
                ("packet_timeout", stats.closed_packet_timeout),
                ("keep_alive", stats.closed_keep_alive),
                ("login_memory", stats.closed_login_memory),
            ],
        ),
    ]
}

fn gauges(stats: &Stats) -> [(&'static str, &'static str, i64); 10] {
    [
        ("cork_clients_connected", "Clients that are connected", stats.clients_connected),
        ("cork_sockets", "Connections, those not logged in among them", stats.sockets),
        ("cork_sessions", "Sessions, with and without connection", stats.sessions),
        ("cork_subscriptions", "Subscriptions", stats.subscriptions),
        ("cork_shared_subscriptions", "Shared subscriptions among them", stats.shared_subscriptions),
        ("cork_retained_messages", "Retained messages", stats.retained),
        ("cork_queued_messages", "Messages that wait for their clients", stats.queued_messages),
        ("cork_queued_bytes", "Bytes of the messages that wait", stats.queued_bytes),
        ("cork_output_buffer_bytes", "Bytes that wait for sockets", stats.output_bytes),
        ("cork_inflight_messages", "Messages sent and not acknowledged", stats.inflight),
    ]
    .map(|(name, help, value)| (name, help, as_gauge(value)))
}

fn as_gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "monitoring", responses(
    (status = 200, content_type = "text/plain", body = String),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 500, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn metrics(
    State(app): State<Arc<App>>,
    _: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (stats, _) = sampler::stats(&app.operator).await;
    let overview = Arc::clone(&app.overview.borrow());
    let mut registry = Registry::default();
    let (times, commits) = (sampler::times(&app.operator).await, app.operator.commit_times());
    let history = Kept::of(&app.operator);
    registry.register_collector(Box::new(Scrape { stats, overview, times, commits, history }));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| Problem::internal(error.to_string()))?;
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, text) = if accepted.contains("application/openmetrics-text") {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", classic(&text))
    };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// OpenMetrics in the older text format, in which a counter's whole name stands everywhere.
fn classic(text: &str) -> String {
    let counters: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(text.len() + counters.len() * 16);
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let about = (words.next(), words.next(), words.next(), words.next());
        match about {
            (Some("#"), Some("EOF" | "UNIT"), ..) => continue,
            (Some("#"), Some(word @ ("HELP" | "TYPE")), Some(name), Some(rest))
                if counters.contains(name) =>
            {
                out += &format!("# {word} {name}_total {rest}");
            }
            _ => out += line,
        }
        out.push('\n');
    }
    out
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "monitoring", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// The broker does its work: all shards answer.
#[utoipa::path(get, path = "/readyz", tag = "monitoring", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    match sampler::stats(&app.operator).await {
        (_, 0) => Ok("ready\n"),
        (_, silent) => Err(Problem::unavailable(format!("{silent} shards do not answer"))),
    }
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn the_older_format_has_whole_names() {
        let text = "# HELP a_b What it is.\n# TYPE a_b counter\n# UNIT a_b seconds\na_b_total 1\n# HELP g G.\n# TYPE g gauge\ng 2\n# EOF\n";
        let expected = "# HELP a_b_total What it is.\n# TYPE a_b_total counter\na_b_total 1\n# HELP g G.\n# TYPE g gauge\ng 2\n";
        assert_eq!(classic(text), expected);
    }
}
