//! Scenario files: which keys there are, and what each takes.

use std::{
    collections::BTreeMap,
    fs,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cork_client::{QoS, Version};
use cork_settings::{
    error::{ConfigError, ConfigErrors, Origin},
    read::{Findings, Section},
    values::{boolean, duration, number, text, word},
};
use jiff::Timestamp;
use toml::de::DeValue;

use super::{Broker, Content, Group, Message, Outage, Pattern, Replay, Scenario, Speed, Status};
use crate::{clock::parse_time, payload::Value};

mod value;

/// From a thousand messages a second to one in a month.
pub(crate) const PACE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30 * 86_400);
const VERSIONS: &[(&str, Version)] = &[("auto", Version::Auto), ("5", Version::V5), ("3.1.1", Version::V311)];

impl Scenario {
    /// Reads a scenario file. Files it names are looked for beside it.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with file and line.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        let name = file.display().to_string();
        let text = fs::read_to_string(file).map_err(|error| {
            let origin = Origin::File { name: name.clone(), line: 0 };
            let message = format!("cannot be read: {error}");
            ConfigErrors(vec![ConfigError { origin, key: String::new(), message }])
        })?;
        Self::parse(&text, &name, file.parent().unwrap_or_else(|| Path::new("")))
    }

    /// Reads the text of the scenario file `name`, which stands in `folder`.
    ///
    /// # Errors
    /// As [`Scenario::load`].
    pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Self, ConfigErrors> {
        let findings = Findings::new(text, name);
        let mut top = findings.parse();
        let mut scenario = Self::default();
        broker(top.section("broker"), folder, &mut scenario.broker);
        scenario.seed = top.read("seed", number(0..=u64::MAX));
        scenario.start = top.read("start", date);
        top.set("speed", &mut scenario.speed, speed);
        scenario.duration = top.read("duration", duration(PACE));
        scenario.messages = top.read("messages", number(1..=u64::MAX));
        scenario.connections = top.read("connections", number(1..=u64::from(u16::MAX)));
        for (at, section) in top.sections("device") {
            scenario.groups.push(group(&at, section, folder));
        }
        top.finish();
        let (errors, _) = findings.finish();
        ConfigErrors::unless_empty(errors)?;
        Ok(scenario)
    }
}

fn broker(mut section: Section<'_, '_>, folder: &Path, broker: &mut Broker) {
    section.set("url", &mut broker.url, text);
    broker.username = section.read("username", text);
    broker.password = section.read("password", text);
    section.set("version", &mut broker.version, word(VERSIONS));
    broker.ca = section.read("ca", path(folder));
    broker.cert = section.read("cert", path(folder));
    broker.key = section.read("key", path(folder));
    section.set("insecure", &mut broker.insecure, boolean);
    section.finish();
}

fn group(at: &Range<usize>, mut section: Section<'_, '_>, folder: &Path) -> Group {
    let count = section.read("count", number(1..=u64::from(u32::MAX)));
    let client_id = section.read("client_id", pattern);
    let lists = section.read("lists", lists).unwrap_or_default();
    let mut messages = Vec::new();
    for (at, section) in section.sections("message") {
        messages.extend(message(&at, section, folder));
    }
    let status = section.inline("status").and_then(|(at, section)| status(&at, section));
    let outage = section.inline("outage").and_then(|(at, section)| outage(&at, section));
    let origin = section.origin(at);
    section.finish();
    let client_id = client_id.unwrap_or_else(Pattern::client_id);
    Group { count, client_id, lists, messages, status, outage, origin }
}

fn message(at: &Range<usize>, mut section: Section<'_, '_>, folder: &Path) -> Option<Message> {
    let topic = needed(at, &mut section, "topic", pattern);
    let rows = section.inline("replay");
    let content = content(at, &mut section, rows.is_some());
    let replay = rows.and_then(|(at, rows)| replay(&at, rows, folder));
    let mut every = Message::EVERY;
    section.set("every", &mut every, duration(PACE));
    let jitter = section.read("jitter", |value| jitter(value, every)).unwrap_or_default();
    let mut qos = QoS::AtMostOnce;
    section.set("qos", &mut qos, quality);
    let retain = section.read("retain", boolean).unwrap_or_default();
    let on_change = section.read("on_change", boolean).unwrap_or_default();
    let origin = section.origin(at);
    section.finish();
    Some(Message { topic: topic?, every, jitter, qos, retain, on_change, content: content?, replay, origin })
}

/// One value, several fields, or the rows of a file.
fn content(at: &Range<usize>, section: &mut Section<'_, '_>, has_rows: bool) -> Option<Content> {
    let value = section.take("value").map(|said| value::value(section, "value", said));
    let fields = value::fields(section);
    match (value, fields) {
        (Some(value), None) => value.map(Content::Plain),
        (None, Some(fields)) => Some(Content::Json(fields)),
        (None, None) if has_rows => Some(Content::Row),
        (None, None) => {
            section.fault(
                at,
                "value",
                "is needed: what is sent, as value = \"range:20..30\", or `fields`".to_owned(),
            );
            None
        }
        (Some(_), Some(_)) => {
            section.fault(at, "fields", "stands beside `value`; a message has one of them".to_owned());
            None
        }
    }
}

fn replay(at: &Range<usize>, mut rows: Section<'_, '_>, folder: &Path) -> Option<Arc<Replay>> {
    let file = needed(at, &mut rows, "file", path(folder));
    let time = rows.read("time", text);
    let repeat = rows.read("repeat", boolean).unwrap_or(true);
    let read = file.map(|file| Replay::load(&file, time.as_deref(), repeat));
    let read = match read {
        Some(Err(why)) => {
            rows.fault(at, "file", why.to_string());
            None
        }
        Some(Ok(replay)) => Some(Arc::new(replay)),
        None => None,
    };
    rows.finish();
    read
}

fn status(at: &Range<usize>, mut section: Section<'_, '_>) -> Option<Status> {
    let topic = needed(at, &mut section, "topic", pattern);
    let mut status = topic.map(Status::new);
    let (online, offline) = (section.read("online", text), section.read("offline", text));
    let qos = section.read("qos", quality);
    section.finish();
    if let Some(status) = &mut status {
        status.online = online.unwrap_or_else(|| status.online.clone());
        status.offline = offline.unwrap_or_else(|| status.offline.clone());
        status.qos = qos.unwrap_or(status.qos);
    }
    status
}

fn outage(at: &Range<usize>, mut section: Section<'_, '_>) -> Option<Outage> {
    let every = needed(at, &mut section, "every", duration(PACE));
    let away = section.read("away", duration(PACE)).unwrap_or(Outage::AWAY);
    let orderly = section.read("orderly", boolean).unwrap_or_default();
    section.finish();
    Some(Outage { every: every?, away, orderly })
}

/// A key that must be there.
fn needed<T>(
    at: &Range<usize>,
    section: &mut Section<'_, '_>,
    key: &'static str,
    read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
) -> Option<T> {
    let Some(value) = section.take(key) else {
        section.fault(at, key, "is needed".to_owned());
        return None;
    };
    match read(value.get_ref()) {
        Ok(read) => Some(read),
        Err(why) => {
            section.fault(&value.span(), key, why);
            None
        }
    }
}

fn pattern(value: &DeValue<'_>) -> Result<Pattern, String> {
    Pattern::parse(&text(value)?)
}

fn quality(value: &DeValue<'_>) -> Result<QoS, String> {
    let number: u8 = number(0..=2)(value)?;
    Ok(match number {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    })
}

fn path(folder: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, String> {
    move |value| Ok(folder.join(text(value)?))
}

fn date(value: &DeValue<'_>) -> Result<Timestamp, String> {
    let said = match value {
        DeValue::Datetime(date) => Some(date.to_string()),
        other => other.as_str().map(str::to_owned),
    };
    said.and_then(|text| parse_time(&text))
        .ok_or_else(|| "accepted is a date and time such as \"2026-01-01T08:00:00Z\"".to_owned())
}

fn speed(value: &DeValue<'_>) -> Result<Speed, String> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(_) | DeValue::Float(_) => value::any_number(value).unwrap_or_default().to_string(),
        _ => String::new(),
    };
    Speed::parse(&text)
}

impl Speed {
    /// Reads `10` or `max`.
    ///
    /// # Errors
    /// What would be accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let times = text.parse().ok().filter(|times| (0.001..=1e6).contains(times));
        match (text, times) {
            ("max", _) => Ok(Self::Max),
            (_, Some(times)) => Ok(Self::Times(times)),
            _ => Err("accepted is a number from 0.001 to 1000000, or \"max\"".to_owned()),
        }
    }
}

/// A time, or a share of `every`.
fn jitter(value: &DeValue<'_>, every: Duration) -> Result<Duration, String> {
    match value.as_str() {
        Some(text) => parse_jitter(text, every),
        None => duration(Duration::ZERO..=*PACE.end())(value),
    }
}

/// Reads `500ms`, or `10%` of `every`.
///
/// # Errors
/// What would be accepted.
pub fn parse_jitter(text: &str, every: Duration) -> Result<Duration, String> {
    let share = text.strip_suffix('%').and_then(|share| share.trim().parse().ok());
    let share =
        share.filter(|share: &f64| (0.0..=50.0).contains(share)).map(|share| every.mul_f64(share / 100.0));
    share.or_else(|| cork_settings::units::parse_duration(text)).ok_or_else(|| {
        "accepted is a time such as \"500ms\", or a share such as \"10%\", 50% at most".to_owned()
    })
}

/// Placeholders of one's own: names with lists of texts.
fn lists(value: &DeValue<'_>) -> Result<BTreeMap<String, Vec<String>>, String> {
    let accepted = || "accepted are lists of texts, as lists.room = [\"kitchen\", \"hall\"]".to_owned();
    let DeValue::Table(table) = value else { return Err(accepted()) };
    let list = |value: &DeValue<'_>| -> Option<Vec<String>> {
        let DeValue::Array(array) = value else { return None };
        array.iter().map(|member| text(member.get_ref()).ok()).collect()
    };
    let mut lists = BTreeMap::new();
    for (name, value) in table {
        lists.insert(name.get_ref().to_string(), list(value.get_ref()).ok_or_else(accepted)?);
    }
    Ok(lists)
}

/// Fields of a JSON object, in the order in which they stand in the file.
type Fields = Vec<(String, Value)>;

#[cfg(test)]
mod tests;
