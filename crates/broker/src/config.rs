//! What an operator can set, in the words of the configuration file.
//!
//! A [`Config`] is a plain value: made by [`Config::default`], read from a TOML file by [`Config::load`], or filled by a
//! program that embeds the broker. Flags of the command line go over it with [`Config::apply`]. Reading finds what is
//! misspelt, of the wrong type or out of range; [`Config::validate`] finds what makes no sense together, and looks at
//! the files that are named. Both tell everything they find, each with file, line, key, and what would be accepted.
//! [`check`] does both for `cork check`.
//!
//! Nothing that is missing, empty or damaged ever opens the broker: without a password file it listens on loopback
//! only, unless `allow_anonymous = true` was said in so many words.
//!
//! ```
//! use cork_broker::config::{Config, Durability};
//!
//! let config = Config::from_toml("durability = 'none'\n[limits]\nmax_packet_size = '1MiB'", "cork.toml")?;
//! assert_eq!(config.durability, Durability::None);
//! assert_eq!(config.limits.max_packet_size, 1 << 20);
//! config.validate()?;
//!
//! let error = Config::from_toml("[limits]\nmax_packet_siz = '1MiB'", "cork.toml").unwrap_err();
//! assert!(error.to_string().starts_with(
//!     "cork.toml:2: key `limits.max_packet_siz`: unknown key; did you mean `max_packet_size`?"
//! ));
//! # Ok::<(), cork_broker::config::ConfigErrors>(())
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use bridge::{Bridge, BridgeTls, BridgeTopic, BridgeVersion, Direction, Order, Secret};
pub use changes::Change;
use cork_core::FilterTable;
use cork_settings::{error, read, units, values};
pub use error::{ConfigError, ConfigErrors, Origin};
pub use managed::{Ban, Banned, MANAGED_FILE, Managed, ManagedUser};
pub use overrides::Overrides;
pub use url::{Host, ListenerUrl, Scheme, UrlError};
pub(crate) use validate::UserNames;
pub use validate::{Report, check};

mod bridge;
mod changes;
mod file;
mod filters;
mod history;
mod managed;
mod overrides;
pub mod sinks;
mod url;
mod validate;

/// Everything an operator can set. The defaults are those of a file without a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `data_dir`: the folder of everything that outlives the process. Relative paths in a configuration file start at
    /// the file's folder, on the command line at the working directory. Default: `data`.
    pub data_dir: PathBuf,
    /// Nothing is kept beyond the broker's life: there is no data directory, and `durability` means nothing. Not in the
    /// configuration file: only a program that embeds the broker can want that. Default: false.
    pub in_memory: bool,
    /// `shards`: how many threads carry the messages. Default: `"auto"`.
    pub shards: Shards,
    /// `durability`: what acknowledgements wait for. Default: `"always"`, since a promise that a power cut breaks is
    /// none.
    pub durability: Durability,
    /// `memory`: bytes of resident memory the broker may take, at least 32 MiB, see `docs/limits.md`. Default: none, the
    /// system's limit.
    pub memory: Option<u64>,
    /// `[auth]`: who may in.
    pub auth: Auth,
    /// `[limits]`: what clients may use up.
    pub limits: Limits,
    /// `[[listener]]`: where the broker listens. Default: `mqtt://127.0.0.1:1883` and `http://127.0.0.1:8080`, if nothing
    /// else is named. `http://` is served by the program, not by [`Broker`](crate::Broker).
    pub listeners: Vec<Listener>,
    /// `[[bridge]]`: links to other brokers. They are run by `cork_bridge::Bridges`, not by the broker itself.
    pub bridges: Vec<Bridge>,
    /// `[log]`: what is logged, and how.
    pub log: Log,
    /// `[drain]`: how the broker stops.
    pub drain: Drain,
    /// `[[filter]]` and `[[attach]]`: filters by content and type that have names, and those that somebody's
    /// subscriptions have. Default: none.
    pub filters: Arc<FilterTable>,
    /// Where each `[[filter]]` was said, by name.
    pub filter_origins: BTreeMap<String, Origin>,
    /// Which of `filters.attached` name a filter that is defined elsewhere: in `managed.toml`, or nowhere.
    attached_elsewhere: Vec<filters::Elsewhere>,
    /// `[[history]]`: what is kept beyond its delivery, and for how long.
    pub history: Vec<cork_history::Rule>,
    /// `[[sink]]`: databases that messages are saved to. `cork-sinks` runs them, not [`Broker`](crate::Broker).
    pub sinks: Vec<sinks::Sink>,
    /// `[presence]`: whether the broker says who is there.
    pub presence: Presence,
    /// What `managed.toml` in the data directory says; see [`load_managed`](Self::load_managed).
    pub managed: Managed,
    /// Where things were said, for the errors of [`validate`](Self::validate).
    places: Places,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            in_memory: false,
            shards: Shards::Auto,
            durability: Durability::Always,
            memory: None,
            auth: Auth::default(),
            limits: Limits::default(),
            listeners: vec![Listener::new(ListenerUrl::DEFAULT), Listener::new(ListenerUrl::DEFAULT_HTTP)],
            bridges: Vec::new(),
            log: Log::default(),
            drain: Drain::default(),
            filters: Arc::default(),
            filter_origins: BTreeMap::new(),
            attached_elsewhere: Vec::new(),
            history: Vec::new(),
            sinks: Vec::new(),
            presence: Presence::default(),
            managed: Managed::default(),
            places: Places::default(),
        }
    }
}

impl Config {
    /// For a broker that keeps everything in memory and has no listener: clients of the same program reach it by
    /// [`Broker::connector`](crate::Broker::connector), others by what is added to `listeners`.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { in_memory: true, listeners: Vec::new(), ..Self::default() }
    }

    /// Adds a listener without TLS at `url`: `mqtt://`, `ws://` or `unix://`.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn listen(&mut self, url: &str) -> Result<(), UrlError> {
        self.listeners.push(Listener::new(url.parse()?));
        Ok(())
    }
}

/// How many threads carry the messages; each is a shard with its own Sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shards {
    /// `"auto"`: as many as the machine can use.
    #[default]
    Auto,
    /// That many, 1 to 64.
    Fixed(u16),
}

impl Shards {
    /// The most shards that make sense: each knows all others.
    pub const MAX: u16 = 64;

    /// The number of shards on a machine with `cores` cores.
    ///
    /// Up to two cores one shard does best: the other core has the kernel's network work. With more, one core is left
    /// to that and to the worker threads.
    pub fn count(self, cores: usize) -> u16 {
        match self {
            Self::Fixed(count) => count.clamp(1, Self::MAX),
            Self::Auto if cores <= 2 => 1,
            Self::Auto => u16::try_from(cores - 1).unwrap_or(Self::MAX).min(Self::MAX),
        }
    }
}

/// What acknowledgements wait for, where something must survive a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// `"always"`: until it is on the disk.
    #[default]
    Always,
    /// `"none"`: for nothing; a crash may lose everything.
    None,
    /// `{ interval = "100ms" }`: for nothing, but what is older than this is on the disk. 1 ms to 1 minute.
    Interval(Duration),
}

/// `[auth]`: who may in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// `allow_anonymous`: whether clients without a user name may in. `None`: it wasn't said. Then they may if there is
    /// no password file, and the broker insists on loopback listeners.
    pub allow_anonymous: Option<bool>,
    /// `password_file`: users and their hashed passwords, as `cork passwd` writes it. Default: none.
    pub password_file: Option<PathBuf>,
    /// `acl_file`: who may read and write what. Default: none; then users may do everything except write to `$SYS`.
    pub acl_file: Option<PathBuf>,
}

/// `[limits]`: what clients may use up. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `max_connections`: connections at once; 0: what the limit on file descriptors allows. Default: 0.
    pub max_connections: u32,
    /// `connects_per_second_per_address`: new connections per second and network address; 0: no limit. Default: 0.
    pub connects_per_second_per_address: u32,
    /// `http_connections_per_address`: connections to `http://` and `https://` listeners at once and network address; 0:
    /// no limit but that of all together. Default: 128.
    pub http_connections_per_address: u32,
    /// `loopback`: whether limits and bans per address hold for loopback as well. Default: false, since a gateway on
    /// this machine makes all its devices come from one address.
    pub loopback: bool,
    /// `messages_per_second`: PUBLISH packets per second and client; 0: no limit. Default: 0.
    pub messages_per_second: u32,
    /// `bytes_per_second`: bytes of PUBLISH packets per second and client; 0: no limit. Default: 0.
    pub bytes_per_second: u64,
    /// `ban_failures`: refused logins, broken rules and packets or CONNECTs not finished in time, of one address within a
    /// minute, that bring a ban; 0: none does. Default: 30: a site with a device or two that have a wrong password stays
    /// below it.
    pub ban_failures: u32,
    /// `ban_flaps`: connections of one address within a minute that broke, or were taken over, in their first ten
    /// seconds, and bring a ban; 0: none does. Default: 120.
    pub ban_flaps: u32,
    /// `ban_time`: how long the first ban lasts; each further one twice as long as the one before. Default: `"1m"`.
    pub ban_time: Duration,
    /// `ban_time_max`: how long a ban lasts at most, and is remembered after its end. Default: `"1h"`.
    pub ban_time_max: Duration,
    /// `login_memory_max`: what may be kept for all connections that are not logged in. Default: `"48MiB"`.
    pub login_memory_max: u64,
    /// `packet_timeout`: in each such time a packet that was begun must grow. Default: `"10s"`.
    pub packet_timeout: Duration,
    /// `max_packet_size`: the longest packet taken, 128 bytes to the 268435460 of the protocol. Default: `"16MiB"`.
    pub max_packet_size: u32,
    /// `max_session_expiry`: how long a Session may live without its client, in whole seconds; also for 3.1.1 Sessions,
    /// which would never end. Default: `"30d"`.
    pub max_session_expiry: Duration,
    /// `queue_max_bytes`: what may wait for one absent or slow Session. Default: `"1GiB"`.
    pub queue_max_bytes: u64,
    /// `queue_max_bytes_per_user`: what may wait for all Sessions of one user together; 0: no limit. Default: 0.
    pub queue_max_bytes_per_user: u64,
    /// `store_max_bytes`: what the store may need; beyond it publishers that need the store are refused as on a full disk.
    /// 0: what the disk has. Default: 0.
    pub store_max_bytes: u64,
    /// `retained_history`: bytes on disk for the past of retained messages that no `[[history]]` wants; the oldest goes
    /// first. 0: none is kept. Default: `"16MB"`.
    pub retained_history: u64,
    /// `disk_free_warning`: with less than this left on the disk of the data directory the log says so once; 0: never.
    /// Default: `"1GiB"`.
    pub disk_free_warning: u64,
    /// `queue_qos0`: whether QoS 0 messages wait for absent Sessions, too. Default: false.
    pub queue_qos0: bool,
    /// `max_keep_alive`: the longest Keep Alive in seconds; a client that wants a longer one is told this one (5.0
    /// Server Keep Alive). 0: the client chooses. Default: 0.
    pub max_keep_alive: u16,
    /// `receive_maximum`: QoS 1 and 2 messages a client may send without acknowledgement, 1 to 65535. Default: 1024.
    pub receive_maximum: u16,
    /// `topic_alias_maximum`: Topic Aliases a client may define. Default: 64.
    pub topic_alias_maximum: u16,
    /// `topic_levels_max`: levels of a Topic Name or Topic Filter; 0: no limit. Default: 0, as the specification sets none.
    pub topic_levels_max: u16,
    /// `output_buffer_max`: bytes that may wait for one connection's socket; beyond, QoS 0 messages are dropped and
    /// others stay queued. At least 4 KiB. Default: `"8MiB"`.
    pub output_buffer_max: u64,
    /// `connect_timeout`: how long a connection may take until its CONNECT is complete, at least 100 ms. Default:
    /// `"10s"`.
    pub connect_timeout: Duration,
    /// `payload_format_check`: whether a payload that claims to be UTF-8 is checked (5.0 Payload Format Indicator).
    /// Default: false.
    pub payload_format_check: bool,
    /// `sys_interval`: how often `$SYS` topics are published; 0: never. Otherwise at least 1 s. Default: `"10s"`.
    pub sys_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 0,
            connects_per_second_per_address: 0,
            http_connections_per_address: 128,
            loopback: false,
            messages_per_second: 0,
            bytes_per_second: 0,
            ban_failures: 30,
            ban_flaps: 120,
            ban_time: Duration::from_secs(60),
            ban_time_max: Duration::from_secs(3600),
            login_memory_max: 48 << 20,
            packet_timeout: Duration::from_secs(10),
            max_packet_size: 16 << 20,
            max_session_expiry: Duration::from_secs(30 * 86_400),
            queue_max_bytes: 1 << 30,
            queue_max_bytes_per_user: 0,
            store_max_bytes: 0,
            retained_history: 16_000_000,
            disk_free_warning: 1 << 30,
            queue_qos0: false,
            max_keep_alive: 0,
            receive_maximum: 1024,
            topic_alias_maximum: 64,
            topic_levels_max: 0,
            output_buffer_max: 8 << 20,
            connect_timeout: Duration::from_secs(10),
            payload_format_check: false,
            sys_interval: Duration::from_secs(10),
        }
    }
}

/// `[[listener]]`: one place where the broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `url`: scheme, host and port.
    pub url: ListenerUrl,
    /// `tls`: certificates, for `mqtts` and `wss`.
    pub tls: Option<Tls>,
    /// `proxy`: each connection begins with a header of the PROXY protocol, and what it says is believed. Default: false.
    pub proxy: bool,
    /// `mode`: permissions of the socket file of a `unix` listener. Default: `"0660"`.
    pub mode: Option<u32>,
    /// Where it was said. A port that is taken is an error for a listener that was named, a warning for a default.
    pub origin: Origin,
}

impl Listener {
    /// A listener without TLS that counts as a default.
    pub const fn new(url: ListenerUrl) -> Self {
        Self { url, tls: None, proxy: false, mode: None, origin: Origin::Default }
    }

    /// What an error about where it listens is about.
    pub(crate) fn key(&self) -> &'static str {
        match self.origin {
            Origin::CommandLine => "--listen",
            Origin::Default | Origin::File { .. } => "listener.url",
        }
    }
}

/// `tls` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `cert`: the certificate chain, PEM.
    pub cert: PathBuf,
    /// `key`: the private key, PEM.
    pub key: PathBuf,
    /// `client_ca`: who signs the certificates of clients, PEM. Default: none; clients need no certificate.
    pub client_ca: Option<PathBuf>,
    /// `client_cert`: whether clients must have a certificate. Default: `"required"` if `client_ca` is set.
    pub client_cert: ClientCert,
    /// `crl`: revocation lists, PEM. Default: none; no certificate is revoked.
    pub crl: Option<PathBuf>,
    /// `identity`: where in a client's certificate its user name stands. Default: `"cn"`.
    pub identity: CertIdentity,
}

/// Where in a client's certificate its user name stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertIdentity {
    /// `"cn"`: the subject's common name.
    #[default]
    Cn,
    /// `"san"`: the first alternative name that is a DNS name, a mail address or a URI.
    San,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCert {
    /// They aren't asked: there is no `client_ca`.
    NotAsked,
    /// `"optional"`: one that is shown must be valid.
    Optional,
    /// `"required"`: nobody may in without.
    Required,
}

/// `[log]`: what is logged, how, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// `level`: the least important lines that are written. Default: `"info"`.
    pub level: LogLevel,
    /// `levels`: the same for single subsystems.
    pub levels: BTreeMap<Subsystem, LogLevel>,
    /// `output`: where the lines go. Default: `"stderr"`.
    pub output: LogOutput,
    /// `format`: how a line looks. Default: `"text"`.
    pub format: LogFormat,
}

/// What a log line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subsystem {
    /// Start, stop, reload.
    Broker,
    /// Listeners, TLS, WebSocket, PROXY headers: what happens before MQTT.
    Net,
    /// Who comes and goes, and why; full queues.
    Client,
    /// Who is not let in, and what the rights refuse.
    Access,
    /// What is kept.
    Store,
    /// Links to other brokers.
    Bridge,
    /// Databases that messages are saved to.
    Sink,
}

impl Subsystem {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Broker, Self::Net, Self::Client, Self::Access, Self::Store, Self::Bridge, Self::Sink];

    /// The key below `log.levels`, and the target of its log lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Net => "net",
            Self::Client => "client",
            Self::Access => "access",
            Self::Store => "store",
            Self::Bridge => "bridge",
            Self::Sink => "sink",
        }
    }
}

/// Where log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogOutput {
    /// `"stderr"`: standard error.
    #[default]
    Stderr,
    /// `"journal"`: the journal of systemd.
    Journal,
    /// `{ file = "cork.log" }`: the end of a file.
    File(PathBuf),
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Somebody must act.
    Error,
    /// Something went wrong and was made good.
    Warn,
    /// Start, stop, reload.
    #[default]
    Info,
    /// What helps to find a fault.
    Debug,
    /// Every packet.
    Trace,
}

impl LogLevel {
    /// The word in the configuration file, which is what loggers call it, too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// The word in the configuration file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// `[drain]`: how the broker stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// `timeout`: how long clients may take to read what is on its way to them. Default: `"5s"`.
    pub timeout: Duration,
    /// `server_reference`: where clients are sent (5.0 Server Reference, `host:port` and more, separated by spaces).
    /// Default: none.
    pub server_reference: Option<String>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), server_reference: None }
    }
}

/// `[presence]`: whether the broker says who is there, see `docs/presence.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// `enabled`: whether there are `$presence` topics. Default: true.
    pub enabled: bool,
    /// `keep`: how long that of a client is kept once its Session has ended, in whole seconds. Default: `"1d"`.
    pub keep: Duration,
}

impl Default for Presence {
    fn default() -> Self {
        Self { enabled: true, keep: Duration::from_secs(86_400) }
    }
}

/// Where keys were said.
#[derive(Clone, Debug, Default, PartialEq)]
struct Places {
    /// The configuration file, if there is one.
    file: Option<String>,
    /// The lines of its keys.
    lines: BTreeMap<String, usize>,
    /// Keys that a flag decided.
    flags: BTreeMap<&'static str, &'static str>,
}

#[cfg(test)]
mod tests;
