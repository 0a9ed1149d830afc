//! `cork top`: the broker at a glance, with its busiest topics and clients, once a second.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use clap::Args;
use serde_json::Value;

use crate::ctl::{Api, ApiArgs};

#[derive(Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// End after so many seconds.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

/// Topics and clients shown.
const SHOWN: usize = 10;
/// Clients asked for to find the busiest: more would take longer than a look is worth.
const CLIENTS_MAX: usize = 1000;

/// Messages of each topic since they were shown last.
type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

pub(crate) fn top(args: &TopArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cork top: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &TopArgs) -> Result<(), String> {
    let api = Arc::new(args.api.open()?);
    let counts = Counts::default();
    let (following, counted) = (Arc::clone(&api), Arc::clone(&counts));
    // Ends with the process; without the right to read everything there are no topics to show.
    thread::spawn(move || {
        let path = "/api/v1/messages?filter=%23&retained=false&interval=500&payload_max=0&topics_max=5000";
        following.follow(path, |name, data| {
            if name == "batch" {
                count(&counted, data);
            }
            Ok(true)
        })
    });
    let (mut left, mut before) = (args.seconds, BTreeMap::new());
    api.follow("/api/v1/overview/stream", |_, overview| {
        let topics = std::mem::take(&mut *counts.lock().unwrap_or_else(PoisonError::into_inner));
        let clients = clients(&api, &mut before);
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            out.write_all(b"\x1b[H\x1b[2J")?;
        }
        out.write_all(screen(overview, topics, clients).as_bytes())?;
        out.flush()?;
        left = left.map(|left| left.saturating_sub(1));
        Ok(left != Some(0))
    })
}

fn count(counts: &Counts, batch: &Value) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    for item in batch["items"].as_array().into_iter().flatten() {
        let (topic, count) = (item["topic"].as_str(), item["count"].as_u64());
        *counts.entry(topic.unwrap_or_default().to_owned()).or_default() += count.unwrap_or(0);
    }
}

/// Messages in and out of each client since it was asked last; empty if the API does not say.
fn clients(api: &Api, before: &mut BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let path = format!("/api/v1/clients?limit={CLIENTS_MAX}");
    let Ok(page) = api.call("GET", &path, None) else { return BTreeMap::new() };
    let mut now = BTreeMap::new();
    for item in page["items"].as_array().into_iter().flatten() {
        let (id, connection) = (item["client_id"].as_str().unwrap_or_default(), &item["connection"]);
        let number = |key: &str| connection[key].as_u64().unwrap_or(0);
        now.insert(id.to_owned(), number("messages_in") + number("messages_out"));
    }
    let then = std::mem::replace(before, now);
    let since = |(id, now): (&String, &u64)| {
        Some((id.clone(), now.saturating_sub(*then.get(id)?))).filter(|(_, more)| *more > 0)
    };
    before.iter().filter_map(since).collect()
}

fn screen(overview: &Value, topics: BTreeMap<String, u64>, clients: BTreeMap<String, u64>) -> String {
    let (rates, gauges, process) = (&overview["rates"], &overview["gauges"], &overview["process"]);
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let mut out = format!(
        "Corkboard {}, up {} s, {} clients, {} sessions, {} subscriptions, {} retained\n",
        overview["version"].as_str().unwrap_or_default(),
        overview["uptime_seconds"],
        gauges["clients"],
        gauges["sessions"],
        gauges["subscriptions"],
        gauges["retained"],
    );
    out += &format!(
        "messages/s {:.0} in, {:.0} out, {:.0} dropped; kB/s {:.0} in, {:.0} out\n",
        number(&rates["messages_in"]),
        number(&rates["messages_out"]),
        number(&rates["dropped"]),
        number(&rates["bytes_in"]) / 1e3,
        number(&rates["bytes_out"]) / 1e3,
    );
    out += &format!(
        "waiting {} messages, {:.1} MB; cores {:.2}, memory {:.1} MB\n",
        gauges["queued_messages"],
        number(&gauges["queued_bytes"]) / 1e6,
        number(&process["cpu"]),
        number(&process["memory_bytes"]) / 1e6,
    );
    out += &busiest("TOPIC", topics);
    out += &busiest("CLIENT", clients);
    out
}

/// Those with the most messages.
fn busiest(heading: &str, counts: BTreeMap<String, u64>) -> String {
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let lines =
        counts.iter().take(SHOWN).map(|(name, count)| format!("{count:>10}  {}\n", name.escape_debug()));
    format!("\n{:>10}  {heading}\n{}", "MESSAGES", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_come_first_and_no_name_commands_the_terminal() {
        let counts = BTreeMap::from([("a".to_owned(), 2), ("b\u{1b}".to_owned(), 7), ("c".to_owned(), 2)]);
        let expected = "\n  MESSAGES  TOPIC\n         7  b\\u{1b}\n         2  a\n         2  c\n";
        assert_eq!(busiest("TOPIC", counts), expected);
    }
}
