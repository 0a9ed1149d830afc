//! `[[bridge]]`: links to other brokers, as the configuration file has them. What runs them is `cork-bridge`.

use std::{
    fmt, fs,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    time::Duration,
};

use cork_core::FilterTable;
use cork_settings::{
    read::Section,
    values::{number, size, text, whole_seconds, word},
};
use toml::{Spanned, de::DeValue};

use super::{
    error::Origin,
    file::path,
    filters::{read_prefix, split_prefix},
};

/// One link to another broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// `name`: what the link is called in logs and `$SYS`; also what its session is kept by.
    pub name: String,
    /// `url`, one or a list: the other broker, and those to try when it cannot be reached.
    pub urls: Vec<String>,
    /// `client_id`: of the session in the other broker. Default: `cork-`, the name, and what no other broker has.
    pub client_id: Option<String>,
    /// `username`.
    pub username: Option<String>,
    /// `password`, `password_file` or `password_env`.
    pub password: Option<Secret>,
    /// `version`. Default: `"auto"`.
    pub version: BridgeVersion,
    /// `tls`: whom to trust, and who this broker is, for `mqtts` and `wss`.
    pub tls: BridgeTls,
    /// `keep_alive`, whole seconds; 0: none. Default: `"60s"`.
    pub keep_alive: Duration,
    /// `ack_timeout`: how long the other broker may acknowledge nothing of what it was sent. Default: `"30s"`.
    pub ack_timeout: Duration,
    /// `reconnect_max`: the longest wait between two attempts. Default: `"30s"`.
    pub reconnect_max: Duration,
    /// `inflight`: most messages under way at once in each direction. Default: 1024.
    pub inflight: u16,
    /// `messages_per_second` to the other broker; 0: no limit. Default: 0.
    pub messages_per_second: u32,
    /// `max_age`: older messages are not sent any more. Default: none.
    pub max_age: Option<Duration>,
    /// `order` of what goes out. Default: `"strict"`.
    pub order: Order,
    /// `queue_max_bytes`: what may wait for the link. Default: `limits.queue_max_bytes`.
    pub queue_max_bytes: Option<u64>,
    /// `[[bridge.topic]]`: what passes.
    pub topics: Vec<BridgeTopic>,
    /// Where it was said.
    pub origin: Origin,
}

/// `[[bridge.topic]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeTopic {
    /// `filter`: which topics, without the prefixes.
    pub filter: String,
    /// `when`, `changed`, `deadband` and `every`, as the prefix that means the same: `$where/…/`, or `$filter/…/`. Empty:
    /// all messages pass.
    pub through: String,
    /// `direction`. Default: `"out"`.
    pub direction: Direction,
    /// `qos`: the most that is passed on. Default: 1.
    pub qos: u8,
    /// `local_prefix`: stands before the topics here.
    pub local_prefix: String,
    /// `remote_prefix`: stands before the topics there.
    pub remote_prefix: String,
    /// Where it was said.
    pub origin: Origin,
}

/// In which order messages go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// `"strict"`: those of a topic as they came; a topic without backlog passes beside one with.
    #[default]
    Strict,
    /// `"live-first"`: what is published now passes beside what waited, each in order.
    LiveFirst,
    /// `"single"`: all as they came.
    Single,
}

/// Which way messages pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// `"out"`: from here to there.
    #[default]
    Out,
    /// `"in"`: from there to here.
    In,
    /// `"both"`.
    Both,
}

/// What is spoken with the other broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BridgeVersion {
    /// `"auto"`: 5.0, and 3.1.1 with a broker that does not know it.
    #[default]
    Auto,
    /// `"5"`.
    V5,
    /// `"3.1.1"`.
    V311,
}

/// `tls` of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeTls {
    /// `ca`: whose certificates are good, PEM. Default: the system's authorities.
    pub ca: Option<PathBuf>,
    /// `cert`: the certificate to show, PEM.
    pub cert: Option<PathBuf>,
    /// `key`: its key, PEM.
    pub key: Option<PathBuf>,
    /// `server_name`: the name the other broker's certificate is for, if not the host of the URL.
    pub server_name: Option<String>,
}

/// Where a password comes from. The password itself is never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// It stands in the configuration.
    Text(String),
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Variable(name) => f.debug_tuple("Variable").field(name).finish(),
        }
    }
}

impl Secret {
    /// The password.
    ///
    /// # Errors
    /// The file or variable cannot be read; the text names it.
    pub fn reveal(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let failed = |error: std::io::Error| format!("`{}` can't be read: {error}", path.display());
                let text = fs::read_to_string(path).map_err(failed)?;
                Ok(text.lines().next().unwrap_or_default().to_owned())
            }
            Self::Variable(name) => std::env::var(name)
                .map_err(|_| format!("there is no environment variable `{}`", name.escape_debug())),
        }
    }
}

impl Bridge {
    /// The Client Identifier of the session in the other broker, for a link of the broker `identity`.
    #[must_use]
    pub fn remote_client_id(&self, identity: &str) -> String {
        self.client_id.clone().unwrap_or_else(|| format!("cork-{}-{identity}", self.name))
    }
}

const VERSIONS: &[(&str, BridgeVersion)] =
    &[("auto", BridgeVersion::Auto), ("5", BridgeVersion::V5), ("3.1.1", BridgeVersion::V311)];
const DIRECTIONS: &[(&str, Direction)] =
    &[("out", Direction::Out), ("in", Direction::In), ("both", Direction::Both)];
const ORDERS: &[(&str, Order)] =
    &[("strict", Order::Strict), ("live-first", Order::LiveFirst), ("single", Order::Single)];
const KEEP_ALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(65_535);
const MAX_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10 * 365 * 86_400);
const WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

pub(super) fn read_bridge(
    mut section: Section<'_, '_>,
    span: &Range<usize>,
    folder: &Path,
    table: &FilterTable,
) -> Option<Bridge> {
    let faults = section.faults();
    let s = &mut section;
    let name = s.read("name", name);
    let urls = s.read("url", one_or_more).unwrap_or_default();
    let client_id = s.read("client_id", text);
    let username = s.read("username", text);
    let password = read_password(s, span, folder);
    let version = s.read("version", word(VERSIONS)).unwrap_or_default();
    let tls = read_tls(s, folder);
    let keep_alive = s.read("keep_alive", whole_seconds(Duration::ZERO..=*KEEP_ALIVE.end()));
    let ack_timeout = s.read("ack_timeout", whole_seconds(WAIT));
    let reconnect_max = s.read("reconnect_max", whole_seconds(WAIT));
    let inflight = s.read("inflight", number(1..=u64::from(u16::MAX)));
    let messages_per_second = s.read("messages_per_second", number(0..=u64::from(u32::MAX)));
    let max_age = s.read("max_age", whole_seconds(MAX_AGE));
    let order = s.read("order", word(ORDERS)).unwrap_or_default();
    let queue_max_bytes = s.read("queue_max_bytes", size(1024..=u64::MAX));
    for (key, there) in [("name", name.is_some()), ("url", !urls.is_empty())] {
        if !there && s.faults() == faults {
            s.fault(
                span,
                key,
                "is missing; a link needs a `name` and the `url` of the other broker".to_owned(),
            );
        }
    }
    let topics = s.sections("topic");
    if topics.is_empty() && s.faults() == faults {
        s.fault(span, "topic", "is missing; nothing would pass without a [[bridge.topic]]".to_owned());
    }
    let topics: Vec<BridgeTopic> =
        topics.into_iter().filter_map(|(span, section)| read_topic(section, &span, table)).collect();
    let origin = section.origin(span);
    let is_whole = section.faults() == faults;
    section.finish();
    Some(Bridge {
        name: name.filter(|_| is_whole)?,
        urls,
        client_id,
        username,
        password,
        version,
        tls,
        keep_alive: keep_alive.unwrap_or(Duration::from_secs(60)),
        ack_timeout: ack_timeout.unwrap_or(Duration::from_secs(30)),
        reconnect_max: reconnect_max.unwrap_or(Duration::from_secs(30)),
        inflight: inflight.unwrap_or(1024),
        messages_per_second: messages_per_second.unwrap_or(0),
        max_age,
        order,
        queue_max_bytes,
        topics,
        origin,
    })
}

fn read_topic(mut section: Section<'_, '_>, span: &Range<usize>, table: &FilterTable) -> Option<BridgeTopic> {
    let s = &mut section;
    let through = read_prefix(s, span);
    let filter = match s.take("filter") {
        Some(value) => read_filter(s, &value, through, table),
        None => {
            s.fault(span, "filter", "is missing; `#` is for everything".to_owned());
            None
        }
    };
    let direction = s.read("direction", word(DIRECTIONS)).unwrap_or_default();
    let qos = s.read("qos", number(0..=2)).unwrap_or(1);
    let local_prefix = s.read("local_prefix", any_text).unwrap_or_default();
    let remote_prefix = s.read("remote_prefix", any_text).unwrap_or_default();
    let origin = section.origin(span);
    if direction == Direction::In && filter.as_ref().is_some_and(|(through, _)| !through.is_empty()) {
        let message = "is \"in\", but this broker filters what goes out: take `when`, `changed`, `deadband` and \
                       `every` away";
        section.fault(span, "direction", message.to_owned());
    }
    section.finish();
    let (through, filter) = filter?;
    Some(BridgeTopic { filter, through, direction, qos, local_prefix, remote_prefix, origin })
}

/// A topic filter, and behind what prefix.
fn read_filter(
    s: &Section<'_, '_>,
    value: &Spanned<DeValue<'_>>,
    through: String,
    table: &FilterTable,
) -> Option<(String, String)> {
    let parts = text(value.get_ref()).and_then(|text| {
        let (prefix, filter) = split_prefix(&text, table)?;
        match (prefix.is_empty(), through.is_empty()) {
            (true, _) => Ok((through, filter.to_owned())),
            (false, true) => Ok((prefix.to_owned(), filter.to_owned())),
            (false, false) => {
                Err("there are two filters: keep the prefix, or `when` and the like".to_owned())
            }
        }
    });
    parts.map_err(|message| s.fault(&value.span(), "filter", format!("is not accepted; {message}"))).ok()
}

fn read_password(s: &mut Section<'_, '_>, span: &Range<usize>, folder: &Path) -> Option<Secret> {
    let found = [
        read_secret(s).map(Secret::Text),
        s.read("password_file", path(folder)).map(Secret::File),
        s.read("password_env", text).map(Secret::Variable),
    ];
    let mut found = found.into_iter().flatten();
    let first = found.next();
    if found.next().is_some() {
        let message = "is said twice; keep one of `password`, `password_file` and `password_env`";
        s.fault(span, "password", message.to_owned());
    }
    first
}

/// As text, but what is wrong is not shown: it may be a password without quotes.
fn read_secret(s: &mut Section<'_, '_>) -> Option<String> {
    let value = s.take("password")?;
    let read = text(value.get_ref()).ok();
    if read.is_none() {
        s.fault(&value.span(), "password", "is not accepted; accepted is text in quotes".to_owned());
    }
    read
}

fn read_tls(s: &mut Section<'_, '_>, folder: &Path) -> BridgeTls {
    let mut section = s.section("tls");
    let tls = BridgeTls {
        ca: section.read("ca", path(folder)),
        cert: section.read("cert", path(folder)),
        key: section.read("key", path(folder)),
        server_name: section.read("server_name", text),
    };
    section.finish();
    tls
}

/// What can stand in a topic and in a Client Identifier.
fn name(value: &DeValue<'_>) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match value.as_str() {
        Some(text) if (1..=64).contains(&text.len()) && text.bytes().all(fits) => Ok(text.to_owned()),
        _ => Err("accepted are 1 to 64 letters, digits, `-`, `_` and `.`".to_owned()),
    }
}

fn one_or_more(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let accepted = || "accepted is \"mqtts://HOST:PORT\" and the like, or a list of these".to_owned();
    match value {
        DeValue::Array(array) if !array.is_empty() => {
            array.iter().map(|url| text(url.get_ref()).map_err(|_| accepted())).collect()
        }
        other => text(other).map(|url| vec![url]).map_err(|_| accepted()),
    }
}

fn any_text(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "accepted is text in quotes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn read(rest: &str) -> Result<Bridge, String> {
        let text = format!("[[bridge]]\n{rest}");
        let config = Config::from_toml(&text, "cork.toml").map_err(|errors| errors.to_string())?;
        Ok(config.bridges[0].clone())
    }

    #[test]
    fn the_shortest_link_has_five_lines() {
        let bridge =
            read("name = 'cloud'\nurl = 'mqtts://a.example'\n[[bridge.topic]]\nfilter = '#'").unwrap();
        assert_eq!(
            (bridge.name.as_str(), bridge.remote_client_id("1f").as_str()),
            ("cloud", "cork-cloud-1f")
        );
        assert_eq!(bridge.urls, ["mqtts://a.example"]);
        assert_eq!(
            (bridge.keep_alive.as_secs(), bridge.ack_timeout.as_secs(), bridge.inflight),
            (60, 30, 1024)
        );
        let topic = &bridge.topics[0];
        assert_eq!((topic.filter.as_str(), topic.direction, topic.qos), ("#", Direction::Out, 1));
        assert_eq!(bridge.origin, Origin::File { name: "cork.toml".into(), line: 1 });
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key() {
        const GOOD: &str = "name = 'a'\nurl = 'mqtt://a'\n";
        for (text, told) in [
            ("url = 'mqtt://a'\n[[bridge.topic]]\nfilter = '#'", "bridge.name`: is missing"),
            ("name = 'a'\n[[bridge.topic]]\nfilter = '#'", "bridge.url`: is missing"),
            ("name = 'a/b'\nurl = 'mqtt://a'\n[[bridge.topic]]\nfilter = '#'", "letters, digits"),
            (GOOD, "bridge.topic`: is missing"),
            (&format!("{GOOD}[[bridge.topic]]\nqos = 1"), "bridge.topic.filter`: is missing"),
            (&format!("{GOOD}[[bridge.topic]]\nfilter = '#'\nqos = 3"), "bridge.topic.qos`"),
            (&format!("{GOOD}order = 'newest-first'\n[[bridge.topic]]\nfilter = '#'"), "bridge.order`"),
            (
                &format!("{GOOD}password = 'x'\npassword_env = 'Y'\n[[bridge.topic]]\nfilter = '#'"),
                "said twice",
            ),
            (&format!("{GOOD}passwort = 'x'\n[[bridge.topic]]\nfilter = '#'"), "did you mean `password`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let bridge =
            read("name = 'a'\nurl = 'mqtt://a'\npassword = 'sesame'\n[[bridge.topic]]\nfilter = '#'")
                .unwrap();
        assert!(!format!("{bridge:?}").contains("sesame"));
        let error = read("name = 'a'\nurl = 'mqtt://a'\npassword = 4711\n[[bridge.topic]]\nfilter = '#'")
            .unwrap_err();
        assert!(!error.contains("4711") && error.contains("bridge.password`: is not accepted"), "{error}");
        assert_eq!(bridge.password.unwrap().reveal().unwrap(), "sesame");
    }
}
