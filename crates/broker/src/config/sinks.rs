//! `[[sink]]`: databases that messages are saved to.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cork_sink::{Column, Secret};
use toml::Spanned;
use toml::de::DeValue;

use super::error::{ConfigError, Origin};
use super::read::Section;
use super::values::{duration, number, text, word};

/// `[[sink]]`: one place outside the broker where messages are saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// `name`: letters, digits, `-`, `_` and `.`; the Session that collects its messages has this name.
    pub name: String,
    /// `filter`: Topic Filters, one or a list.
    pub filters: Vec<String>,
    /// `batch_max`: messages saved in one go. Default: 1000; 1 for `http`.
    pub batch_max: u16,
    /// `batch_time`: how long the first message of a batch may wait for others. Default: `"50ms"`.
    pub batch_time: Duration,
    /// `timeout`: how long the target may take for one batch. Default: `"30s"`.
    pub timeout: Duration,
    /// `retry_max`: the longest pause between two tries while the target is away. Default: `"30s"`.
    pub retry_max: Duration,
    /// `columns`: what is saved under which name. Default: none; then each message is saved whole.
    pub columns: Vec<Column>,
    /// `username`. Default: what the URL says.
    pub username: Option<String>,
    /// `password`, or what is in `password_file`. Default: what the URL says.
    pub password: Password,
    /// `token`, or what is in `token_file`: for `influxdb` and `http`. Default: none.
    pub token: Password,
    /// `ca`: who signs the target's certificate, PEM. Default: the system's authorities.
    pub ca: Option<PathBuf>,
    /// `type`, and what only this type has.
    pub target: Target,
    /// Where it was said.
    pub origin: Origin,
}

impl Sink {
    /// Whether the other one says the same, wherever.
    #[must_use]
    pub fn says_what(&self, other: &Self) -> bool {
        Self { origin: other.origin.clone(), ..self.clone() } == *other
    }

    /// An error that is this one's.
    #[must_use]
    pub fn error(&self, key: &str, message: &str) -> ConfigError {
        let key = format!("sink.{key}");
        ConfigError { origin: self.origin.clone(), key, message: format!("sink `{}`: {message}", self.name) }
    }
}

/// A secret, or where it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Password {
    /// There is none.
    #[default]
    None,
    /// In the configuration.
    Text(Secret),
    /// On the first line of a file.
    File(PathBuf),
}

/// What kind of place it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `"mongodb"`.
    Mongodb {
        /// `url`.
        url: Secret,
        /// `database`. Default: `"cork"`.
        database: String,
        /// `collection`. Default: `"messages"`.
        collection: String,
    },
    /// `"postgresql"`.
    Postgresql {
        /// `url`.
        url: Secret,
        /// `table`, perhaps with its schema. Default: `"messages"`.
        table: String,
    },
    /// `"influxdb"`.
    Influxdb {
        /// `url`.
        url: Secret,
        /// `database` (1.x), or `org` and `bucket` (2.x, 3.x). Default: the database `"cork"`.
        bucket: Bucket,
        /// `measurement`. Default: `"messages"`.
        measurement: String,
        /// `tags`. Default: `topic`.
        tags: Vec<Column>,
    },
    /// `"sqlite"`.
    Sqlite {
        /// `url`: `sqlite://` and the path; relative paths start at the configuration file's folder.
        path: PathBuf,
        /// `table`. Default: `"messages"`.
        table: String,
    },
    /// `"http"`.
    Http {
        /// `url`.
        url: Secret,
        /// `headers`: further header fields.
        headers: Vec<(String, Secret)>,
    },
}

/// Where InfluxDB puts what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// `database`: the interface of 1.x, which others speak, too.
    Database(String),
    /// `org` and `bucket`: the interface of 2.x.
    Bucket {
        /// `org`.
        org: String,
        /// `bucket`.
        bucket: String,
    },
}

impl Target {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Mongodb { .. } => "mongodb",
            Self::Postgresql { .. } => "postgresql",
            Self::Influxdb { .. } => "influxdb",
            Self::Sqlite { .. } => "sqlite",
            Self::Http { .. } => "http",
        }
    }
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Type {
    Mongodb,
    Postgresql,
    Influxdb,
    Sqlite,
    Http,
}

const TYPES: &[(&str, Type)] = &[
    ("mongodb", Type::Mongodb),
    ("postgresql", Type::Postgresql),
    ("influxdb", Type::Influxdb),
    ("sqlite", Type::Sqlite),
    ("http", Type::Http),
];

/// Twice as many may be under way to a sink, and MQTT counts to 65,535; the broker itself stops at 16,384.
const BATCH: RangeInclusive<u64> = 1..=8000;
const BATCH_TIME: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const NAME_MAX: usize = 64;

/// Reads one `[[sink]]`; `None` if it has a fault.
pub(super) fn read(mut section: Section<'_, '_>, at: &Range<usize>, folder: &Path) -> Option<Sink> {
    let faults = section.faults();
    let sink = fields(&mut section, at, folder);
    let is_whole = section.faults() == faults;
    section.finish();
    sink.filter(|_| is_whole)
}

fn fields(section: &mut Section<'_, '_>, at: &Range<usize>, folder: &Path) -> Option<Sink> {
    let s = section;
    let name = required(s, at, "name", name, "\"readings\"");
    let kind = required(s, at, "type", word(TYPES), "\"postgresql\"");
    let url = required(s, at, "url", text, "\"postgresql://127.0.0.1/iot\"");
    let filters = filters(s, at);
    let columns = s.take("columns").map(|value| columns_of(s, "columns", value)).unwrap_or_default();
    let batch_max = s.read("batch_max", number(BATCH));
    let batch_time = s.read("batch_time", duration(BATCH_TIME));
    let timeout = s.read("timeout", duration(TIMEOUT));
    let retry_max = s.read("retry_max", duration(TIMEOUT));
    let kind = kind?;
    let is_remote = kind != Type::Sqlite;
    let username = if is_remote { s.read("username", text) } else { None };
    let password = if is_remote { secret(s, folder, ["password", "password_file"]) } else { Password::None };
    let ca = if is_remote { s.read("ca", |value| text(value).map(|text| folder.join(text))) } else { None };
    let has_token = matches!(kind, Type::Influxdb | Type::Http);
    let token = if has_token { secret(s, folder, ["token", "token_file"]) } else { Password::None };
    let target = target(s, kind, at, url.as_deref().unwrap_or_default(), folder)?;
    judge_url(kind, &url?).map_err(|message| s.fault(at, "url", message)).ok()?;
    Some(Sink {
        name: name?,
        filters: filters?,
        batch_max: batch_max.unwrap_or(if kind == Type::Http { 1 } else { 1000 }),
        batch_time: batch_time.unwrap_or(Duration::from_millis(50)),
        timeout: timeout.unwrap_or(Duration::from_secs(30)),
        retry_max: retry_max.unwrap_or(Duration::from_secs(30)),
        columns,
        username,
        password,
        token,
        ca,
        target,
        origin: s.origin(at),
    })
}

/// What only one type has.
fn target(
    s: &mut Section<'_, '_>,
    kind: Type,
    at: &Range<usize>,
    url: &str,
    folder: &Path,
) -> Option<Target> {
    let or = |text: Option<String>, default: &str| text.unwrap_or_else(|| default.to_owned());
    let secret = Secret::from(url);
    Some(match kind {
        Type::Mongodb => Target::Mongodb {
            url: secret,
            database: or(s.read("database", text), "cork"),
            collection: or(s.read("collection", text), "messages"),
        },
        Type::Postgresql => Target::Postgresql { url: secret, table: or(s.read("table", text), "messages") },
        Type::Sqlite => Target::Sqlite {
            path: folder.join(url.strip_prefix("sqlite://").unwrap_or_default()),
            table: or(s.read("table", text), "messages"),
        },
        Type::Http => {
            let headers = s.take("headers").map(|value| headers(s, value)).unwrap_or_default();
            Target::Http { url: secret, headers }
        }
        Type::Influxdb => {
            let tags = s.take("tags").map(|value| columns_of(s, "tags", value));
            let topic = || Column::parse("topic", "topic_name").into_iter().collect();
            Target::Influxdb {
                url: secret,
                measurement: or(s.read("measurement", text), "messages"),
                tags: tags.unwrap_or_else(topic),
                bucket: bucket(s, at)?,
            }
        }
    })
}

fn bucket(s: &mut Section<'_, '_>, at: &Range<usize>) -> Option<Bucket> {
    let (database, org, bucket) = (s.read("database", text), s.read("org", text), s.read("bucket", text));
    match (database, org, bucket) {
        (None, org, Some(bucket)) => Some(Bucket::Bucket { org: org.unwrap_or_default(), bucket }),
        (None, Some(_), None) => {
            s.fault(at, "bucket", "is missing; `org` needs it".to_owned());
            None
        }
        (Some(_), org, bucket) if org.is_some() || bucket.is_some() => {
            let message = "stands beside `org` or `bucket`; InfluxDB 1.x has databases, 2.x has buckets";
            s.fault(at, "database", message.to_owned());
            None
        }
        (database, ..) => Some(Bucket::Database(database.unwrap_or_else(|| "cork".to_owned()))),
    }
}

/// A secret that stands in the configuration, or in a file that it names.
fn secret(s: &mut Section<'_, '_>, folder: &Path, [said, file]: [&'static str; 2]) -> Password {
    let said_text = s.take(said).and_then(|value| string(s, said, &value));
    let Some(named) = s.take(file) else {
        return said_text.map_or(Password::None, |text| Password::Text(Secret::from(text.as_str())));
    };
    if said_text.is_some() {
        s.fault(&named.span(), file, format!("stands beside `{said}`; keep one of them"));
    }
    string(s, file, &named).map_or(Password::None, |name| Password::File(folder.join(name)))
}

fn required<T>(
    section: &mut Section<'_, '_>,
    at: &Range<usize>,
    key: &'static str,
    read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    example: &str,
) -> Option<T> {
    let Some(value) = section.take(key) else {
        section.fault(at, key, format!("is missing; a sink needs one, as in {key} = {example}"));
        return None;
    };
    // What stands there may be a URL with a password: it is not repeated.
    read(value.get_ref())
        .map_err(|accepted| section.fault(&value.span(), key, format!("is not accepted; {accepted}")))
        .ok()
}

fn string(section: &Section<'_, '_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
    let read = text(value.get_ref());
    read.map_err(|accepted| section.fault(&value.span(), key, format!("is not accepted; {accepted}"))).ok()
}

fn name(value: &DeValue<'_>) -> Result<String, String> {
    let is_fine = |name: &String| {
        name.len() <= NAME_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    text(value)
        .ok()
        .filter(is_fine)
        .ok_or_else(|| format!("accepted are up to {NAME_MAX} letters, digits, `-`, `_` and `.` in quotes"))
}

fn filters(section: &mut Section<'_, '_>, at: &Range<usize>) -> Option<Vec<String>> {
    let Some(value) = section.take("filter") else {
        section.fault(at, "filter", "is missing; a sink needs one, as in filter = \"sensors/#\"".to_owned());
        return None;
    };
    let span = value.span();
    let list = match value.into_inner() {
        DeValue::String(text) => vec![text.into_owned()],
        DeValue::Array(list) => list.iter().filter_map(|one| text(one.get_ref()).ok()).collect(),
        _ => Vec::new(),
    };
    if list.is_empty() {
        section.fault(
            &span,
            "filter",
            "is not accepted; accepted is a topic filter in quotes, or a list of them".to_owned(),
        );
        return None;
    }
    for filter in &list {
        let message = match cork_packet::split_share(filter) {
            Ok(Some(_)) => {
                "is a shared subscription; a sink gets all of its messages, name the filter alone".to_owned()
            }
            Ok(None) => match cork_packet::validate_filter(filter) {
                Ok(()) => continue,
                Err(error) => format!("is no topic filter: {error}"),
            },
            Err(error) => format!("is no topic filter: {error}"),
        };
        section.fault(&span, "filter", format!("`{}` {message}", filter.escape_debug()));
        return None;
    }
    Some(list)
}

/// A table of names and sources, in the order of the file.
fn columns_of(section: &Section<'_, '_>, key: &str, value: Spanned<DeValue<'_>>) -> Vec<Column> {
    let mut found: Vec<(usize, Column)> = Vec::new();
    for (name, span, text) in entries(section, key, value) {
        match text.as_deref().map(|text| Column::parse(&name, text)) {
            Some(Ok(column)) => found.push((span.start, column)),
            Some(Err(accepted)) => {
                section.fault(&span, &format!("{key}.{name}"), format!("is not accepted; {accepted}"));
            }
            None => section.fault(
                &span,
                &format!("{key}.{name}"),
                "is not text; name a source, as \"payload.temperature\"".to_owned(),
            ),
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, column)| column).collect()
}

fn headers(section: &Section<'_, '_>, value: Spanned<DeValue<'_>>) -> Vec<(String, Secret)> {
    let entries = entries(section, "headers", value).into_iter();
    entries
        .filter_map(|(name, span, text)| {
            let text = text.filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            if text.is_none() {
                section.fault(
                    &span,
                    &format!("headers.{name}"),
                    "is not accepted; accepted is plain text in quotes".to_owned(),
                );
            }
            Some((name, Secret::from(text?.as_str())))
        })
        .collect()
}

fn entries(
    section: &Section<'_, '_>,
    key: &str,
    value: Spanned<DeValue<'_>>,
) -> Vec<(String, Range<usize>, Option<String>)> {
    let span = value.span();
    let DeValue::Table(table) = value.into_inner() else {
        section.fault(&span, key, "is no table; accepted is { name = \"...\" }".to_owned());
        return Vec::new();
    };
    let entries = table.into_iter().map(|(name, value)| {
        let text = text(value.get_ref()).ok();
        (name.get_ref().to_string(), value.span(), text)
    });
    entries.collect()
}

/// The scheme belongs to the type.
fn judge_url(kind: Type, url: &str) -> Result<(), String> {
    let (schemes, example): (&[&str], &str) = match kind {
        Type::Mongodb => (&["mongodb://", "mongodb+srv://"], "mongodb://127.0.0.1:27017"),
        Type::Postgresql => (&["postgresql://", "postgres://"], "postgresql://user@127.0.0.1/iot"),
        Type::Sqlite => (&["sqlite://"], "sqlite:///var/lib/cork/iot.db"),
        Type::Influxdb | Type::Http => (&["http://", "https://"], "http://127.0.0.1:8086"),
    };
    let fits = schemes.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if fits { Ok(()) } else { Err(format!("is not accepted; accepted is one such as \"{example}\"")) }
}

#[cfg(test)]
mod tests;
