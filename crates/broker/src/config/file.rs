//! The configuration file: which keys there are, and what each takes.

use std::fs;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cork_core::FilterTable;
use toml::de::DeValue;

use super::bridge::read_bridge;
use super::error::{ConfigError, ConfigErrors, Origin};
use super::filters::read_filters;
use super::history::read_history;
use super::read::{Findings, Section};
use super::sinks::{self, Sink};
use super::values::{boolean, duration, number, size, text, whole_seconds, word, zero_or};
use super::{
    Auth, CertIdentity, ClientCert, Config, Drain, Durability, Limits, Listener, ListenerUrl, Log, LogFormat,
    LogLevel, LogOutput, Places, Presence, Shards, Subsystem, Tls,
};

const COUNT: RangeInclusive<u64> = 0..=u32::MAX as u64;
const U16_MAX: u64 = u16::MAX as u64;
/// Less would refuse honest CONNECT packets. The most is the protocol's: one byte, four of Remaining Length, and what
/// those can count.
const PACKET_BYTES: RangeInclusive<u64> = 128..=268_435_460;
/// The process takes a third of this before it has done anything.
const MEMORY_MIN: u64 = 32 << 20;
const OUTPUT_BYTES: RangeInclusive<u64> = 4096..=u32::MAX as u64;
/// Up to the largest Session Expiry Interval that ends.
const SESSION_EXPIRY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(u32::MAX as u64 - 1);
const HOUR: Duration = Duration::from_secs(3600);
const BAN_TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);
/// Room for two of the longest CONNECT packets in each of 64 shards would be more; one is the least that makes sense.
const LOGIN_MEMORY: RangeInclusive<u64> = 1 << 20..=u64::MAX;
const CONNECT_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=HOUR;
const SYS_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

pub(super) const DURABILITY_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(60);
pub(super) const DURABILITY_ACCEPTED: &str =
    "accepted are \"always\", \"none\" and { interval = \"100ms\" }, with 1ms to 1m";

const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const LOG_OUTPUTS: [&str; 2] = ["stderr", "journal"];
const CLIENT_CERTS: &[(&str, ClientCert)] =
    &[("required", ClientCert::Required), ("optional", ClientCert::Optional)];

const CERT_IDENTITIES: &[(&str, CertIdentity)] = &[("cn", CertIdentity::Cn), ("san", CertIdentity::San)];

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// The file can't be read or says nothing at all, or everything that is wrong in it. What it says is not yet judged as a whole: see
    /// [`validate`](Self::validate).
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::from_toml(&Self::text(path)?, &path.display().to_string())
    }

    /// The text of a configuration file.
    pub(super) fn text(path: &Path) -> Result<String, ConfigErrors> {
        let name = path.display().to_string();
        let whole_file = |line, message| {
            let origin = Origin::File { name: name.clone(), line };
            ConfigErrors(vec![ConfigError { origin, key: String::new(), message }])
        };
        let bytes = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err("it is a directory".to_owned()),
            // A pipe would make a reload wait for ever.
            Ok(metadata) if !metadata.is_file() => Err("it is not a regular file".to_owned()),
            Ok(_) => fs::read(path).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let bytes = bytes.map_err(|error| {
            whole_file(
                0,
                format!(
                    "the configuration can't be read ({error}); name a TOML file that the broker may read"
                ),
            )
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            whole_file(line, "the configuration is not UTF-8 text; save it as such".to_owned())
        })?;
        let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if text.lines().all(says_nothing) {
            // As a full disk or a half-done deployment leaves it behind; the defaults know no users.
            let message = "the file says nothing; to run with the defaults, start without a configuration";
            return Err(whole_file(0, message.to_owned()));
        }
        Ok(text)
    }

    /// Reads a configuration from text. `name` is the file's name for errors, and relative paths start at its folder.
    ///
    /// # Errors
    /// Everything that is wrong in the text.
    pub fn from_toml(text: &str, name: &str) -> Result<Self, ConfigErrors> {
        let (config, errors) = Self::read(text, name);
        ConfigErrors::unless_empty(errors)?;
        Ok(config)
    }

    /// What could be read, and everything that could not. A listener with a fault is left out.
    pub(super) fn read(text: &str, name: &str) -> (Self, Vec<ConfigError>) {
        let findings = Findings::new(text, name);
        let folder = Path::new(name).parent().unwrap_or_else(|| Path::new(""));
        let mut config = read_root(findings.parse(), folder);
        let (errors, lines) = findings.finish();
        config.places = Places { file: Some(name.to_owned()), lines, ..Places::default() };
        (config, errors)
    }
}

fn read_root(mut root: Section<'_, '_>, folder: &Path) -> Config {
    let mut config = Config::default();
    config.data_dir = folder.join(&config.data_dir);
    root.set("data_dir", &mut config.data_dir, path(folder));
    root.set("shards", &mut config.shards, shards);
    root.set("durability", &mut config.durability, durability);
    config.memory = root.read("memory", size(MEMORY_MIN..=u64::MAX));
    config.auth = read_auth(root.section("auth"), folder);
    config.limits = read_limits(root.section("limits"));
    let listeners: Vec<Listener> = root
        .sections("listener")
        .into_iter()
        .filter_map(|(span, section)| read_listener(section, &span, folder))
        .collect();
    if !listeners.is_empty() {
        config.listeners = listeners;
    }
    let filters = read_filters(&mut root);
    (config.filters, config.filter_origins) = (filters.table.into(), filters.origins);
    config.attached_elsewhere = filters.elsewhere;
    config.bridges = root
        .sections("bridge")
        .into_iter()
        .filter_map(|(span, section)| read_bridge(section, &span, folder, &config.filters))
        .collect();
    config.log = read_log(root.section("log"), folder);
    config.drain = read_drain(root.section("drain"));
    config.history = read_history(&mut root);
    config.sinks = read_sinks(&mut root, folder, &config.filters);
    config.presence = read_presence(root.section("presence"));
    root.finish();
    config
}

fn read_sinks(root: &mut Section<'_, '_>, folder: &Path, table: &FilterTable) -> Vec<Sink> {
    let mut sinks: Vec<Sink> = Vec::new();
    for (at, section) in root.sections("sink") {
        let Some(sink) = sinks::read(section, &at, folder, table) else { continue };
        if sinks.iter().any(|other| other.name == sink.name) {
            root.fault(
                &at,
                "sink.name",
                format!("there is a sink `{}` already; call one of them differently", sink.name),
            );
        } else {
            sinks.push(sink);
        }
    }
    sinks
}

fn read_auth(mut section: Section<'_, '_>, folder: &Path) -> Auth {
    let auth = Auth {
        allow_anonymous: section.read("allow_anonymous", boolean),
        password_file: section.read("password_file", path(folder)),
        acl_file: section.read("acl_file", path(folder)),
    };
    section.finish();
    auth
}

fn read_limits(mut section: Section<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    let s = &mut section;
    s.set("max_connections", &mut limits.max_connections, number(COUNT));
    s.set("connects_per_second_per_address", &mut limits.connects_per_second_per_address, number(COUNT));
    s.set("http_connections_per_address", &mut limits.http_connections_per_address, number(COUNT));
    s.set("loopback", &mut limits.loopback, boolean);
    s.set("messages_per_second", &mut limits.messages_per_second, number(COUNT));
    s.set("bytes_per_second", &mut limits.bytes_per_second, size(0..=u64::MAX));
    s.set("ban_failures", &mut limits.ban_failures, number(COUNT));
    s.set("ban_flaps", &mut limits.ban_flaps, number(COUNT));
    s.set("ban_time", &mut limits.ban_time, duration(BAN_TIME));
    s.set("ban_time_max", &mut limits.ban_time_max, duration(BAN_TIME));
    s.set("login_memory_max", &mut limits.login_memory_max, size(LOGIN_MEMORY));
    s.set("packet_timeout", &mut limits.packet_timeout, duration(CONNECT_TIMEOUT));
    s.set("max_packet_size", &mut limits.max_packet_size, size(PACKET_BYTES));
    s.set("max_session_expiry", &mut limits.max_session_expiry, whole_seconds(SESSION_EXPIRY));
    s.set("queue_max_bytes", &mut limits.queue_max_bytes, size(0..=u64::MAX));
    s.set("queue_max_bytes_per_user", &mut limits.queue_max_bytes_per_user, size(0..=u64::MAX));
    s.set("store_max_bytes", &mut limits.store_max_bytes, size(0..=u64::MAX));
    s.set("retained_history", &mut limits.retained_history, size(0..=u64::MAX));
    s.set("disk_free_warning", &mut limits.disk_free_warning, size(0..=u64::MAX));
    s.set("queue_qos0", &mut limits.queue_qos0, boolean);
    s.set("max_keep_alive", &mut limits.max_keep_alive, number(0..=U16_MAX));
    s.set("receive_maximum", &mut limits.receive_maximum, number(1..=U16_MAX));
    s.set("topic_alias_maximum", &mut limits.topic_alias_maximum, number(0..=U16_MAX));
    s.set("topic_levels_max", &mut limits.topic_levels_max, number(0..=U16_MAX));
    s.set("output_buffer_max", &mut limits.output_buffer_max, size(OUTPUT_BYTES));
    s.set("connect_timeout", &mut limits.connect_timeout, duration(CONNECT_TIMEOUT));
    s.set("payload_format_check", &mut limits.payload_format_check, boolean);
    s.set("sys_interval", &mut limits.sys_interval, zero_or(duration(SYS_INTERVAL)));
    section.finish();
    limits
}

fn read_listener(mut section: Section<'_, '_>, span: &Range<usize>, folder: &Path) -> Option<Listener> {
    let faults = section.faults();
    let url = read_url(&mut section, span);
    let tls = section.inline("tls").and_then(|(span, section)| read_tls(section, &span, folder));
    let proxy = section.read("proxy", boolean).unwrap_or_default();
    let mode = section.read("mode", mode);
    let is_whole = section.faults() == faults;
    section.finish();
    let (url, origin) = url.filter(|_| is_whole)?;
    Some(Listener { url, tls, proxy, mode, origin })
}

fn read_url(section: &mut Section<'_, '_>, listener: &Range<usize>) -> Option<(ListenerUrl, Origin)> {
    let Some(value) = section.take("url") else {
        section.fault(
            listener,
            "url",
            "is missing; a listener needs one, as in url = \"mqtt://127.0.0.1:1883\"".into(),
        );
        return None;
    };
    let message = match value.get_ref().as_str() {
        None => "is not text; accepted is \"mqtt://HOST:PORT\" and the like".to_owned(),
        Some(text) => match text.parse() {
            Ok(url) => return Some((url, section.origin(&value.span()))),
            Err(error) => format!("`{}` {error}", text.escape_debug()),
        },
    };
    section.fault(&value.span(), "url", message);
    None
}

fn read_tls(mut section: Section<'_, '_>, span: &Range<usize>, folder: &Path) -> Option<Tls> {
    let cert = section.read("cert", path(folder));
    let key = section.read("key", path(folder));
    let client_ca = section.read("client_ca", path(folder));
    let client_cert = section.read("client_cert", word(CLIENT_CERTS));
    let crl = section.read("crl", path(folder));
    let identity = section.read("identity", word(CERT_IDENTITIES));
    for (name, there) in [("cert", cert.is_some()), ("key", key.is_some())] {
        if !there {
            section.fault(span, name, "is missing; TLS needs `cert` and `key`".to_owned());
        }
    }
    let dependent =
        [("client_cert", client_cert.is_some()), ("crl", crl.is_some()), ("identity", identity.is_some())];
    for (name, _) in dependent.into_iter().filter(|(_, there)| *there && client_ca.is_none()) {
        section.fault(span, name, "needs `client_ca`, which says whose certificates are good".to_owned());
    }
    let default = if client_ca.is_some() { ClientCert::Required } else { ClientCert::NotAsked };
    section.finish();
    let (client_cert, identity) = (client_cert.unwrap_or(default), identity.unwrap_or_default());
    Some(Tls { cert: cert?, key: key?, client_ca, client_cert, crl, identity })
}

fn read_log(mut section: Section<'_, '_>, folder: &Path) -> Log {
    let mut log = Log::default();
    section.set("level", &mut log.level, word(LOG_LEVELS));
    let mut levels = section.section("levels");
    for subsystem in Subsystem::ALL {
        if let Some(level) = levels.read(subsystem.as_str(), word(LOG_LEVELS)) {
            log.levels.insert(subsystem, level);
        }
    }
    levels.finish();
    section.set("output", &mut log.output, log_output(folder));
    section.set("format", &mut log.format, word(LOG_FORMATS));
    section.finish();
    log
}

fn read_drain(mut section: Section<'_, '_>) -> Drain {
    let mut drain = Drain::default();
    section.set("timeout", &mut drain.timeout, duration(Duration::ZERO..=HOUR));
    drain.server_reference = section.read("server_reference", text);
    section.finish();
    drain
}

fn read_presence(mut section: Section<'_, '_>) -> Presence {
    let mut presence = Presence::default();
    section.set("enabled", &mut presence.enabled, boolean);
    section.set("keep", &mut presence.keep, whole_seconds(SESSION_EXPIRY));
    section.finish();
    presence
}

fn log_output(folder: &Path) -> impl Fn(&DeValue<'_>) -> Result<LogOutput, String> {
    move |value| {
        let read = match value {
            DeValue::Table(table) if table.len() == 1 => {
                let file = table.get("file").and_then(|file| text(file.get_ref()).ok());
                file.map(|file| LogOutput::File(folder.join(file)))
            }
            other => word(&LOG_OUTPUTS.map(|name| (name, name == "journal")))(other)
                .ok()
                .map(|journal| if journal { LogOutput::Journal } else { LogOutput::Stderr }),
        };
        read.ok_or_else(|| "accepted are \"stderr\", \"journal\" and { file = \"cork.log\" }".to_owned())
    }
}

fn durability(value: &DeValue<'_>) -> Result<Durability, String> {
    let read = match value {
        DeValue::Table(table) if table.len() == 1 => table
            .get("interval")
            .and_then(|interval| duration(DURABILITY_INTERVAL)(interval.get_ref()).ok())
            .map(Durability::Interval),
        other => word(&[("always", Durability::Always), ("none", Durability::None)])(other).ok(),
    };
    read.ok_or_else(|| DURABILITY_ACCEPTED.to_owned())
}

fn shards(value: &DeValue<'_>) -> Result<Shards, String> {
    match value.as_str() {
        Some("auto") => Ok(Shards::Auto),
        _ => number(1..=u64::from(Shards::MAX))(value)
            .map(Shards::Fixed)
            .map_err(|_| format!("accepted are \"auto\" and a whole number from 1 to {}", Shards::MAX)),
    }
}

/// Permissions as chmod takes them.
fn mode(value: &DeValue<'_>) -> Result<u32, String> {
    let octal = |text: &str| u32::from_str_radix(text, 8).ok().filter(|_| matches!(text.len(), 3 | 4));
    value
        .as_str()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(octal)
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "accepted are permissions in octal and in quotes, as \"0660\"".to_owned())
}

/// A path, from `folder` on if it is relative.
pub(super) fn path(folder: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, String> {
    |value| text(value).map(|text| folder.join(text)).map_err(|_| "accepted is a path in quotes".to_owned())
}
