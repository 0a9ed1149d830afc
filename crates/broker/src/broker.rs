//! A running broker.

use std::{
    fmt, io,
    num::NonZero,
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cork_core::{Door, Limits, ShardConfig};
use cork_log::{Keeper, OpenError};
use cork_mesh::Alone;
use cork_net::{Address, Listen, TlsAcceptor, Transport, Wrap};
use cork_runtime::{Runtime, RuntimeConfig};
use cork_store::WallTime;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    config::{Config, ConfigErrors, Host, Listener, Scheme},
    data_dir::DataDir,
    reload::Access,
    store,
    tls::{self, Watched, Watcher},
};

/// Why a broker did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration makes no sense.
    Config(ConfigErrors),
    /// The system said no: a port that is taken, a folder that cannot be written; the text names it.
    Io(io::Error),
    /// The store cannot be opened; the text says what is wrong, and where.
    Store(OpenError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Store(error) => write!(f, "the store cannot be opened: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ConfigErrors> for StartError {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A running broker. It ends with [`Broker::shutdown`], or when this value is dropped.
#[derive(Debug)]
pub struct Broker {
    pub(crate) runtime: Runtime,
    pub(crate) patience: Duration,
    /// What is in force.
    pub(crate) config: Config,
    addresses: Vec<(Scheme, Address)>,
    _certificates: Watcher,
    /// Ends behind the shards, so that it has all they gave it.
    store: Arc<Keeper>,
    _data_dir: DataDir,
}

impl Broker {
    /// Checks the configuration, takes the data directory, opens the listeners and starts.
    ///
    /// # Errors
    /// A configuration that fails [`Config::validate`], a data directory that is in use, an address that is taken.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        config.validate()?;
        let Access { authenticator, users, rights } = Access::of(config)?;
        let data_dir = DataDir::open(&config.data_dir)?;
        let (store, recovered) = store::open(&config.data_dir, config.durability)?;
        let store = Arc::new(store);
        let ends = Arc::clone(&store);
        raise_descriptor_limit();
        let shards = config.shards.count(thread::available_parallelism().map_or(1, NonZero::get));
        let (mut listeners, mut watched) = (Vec::new(), Vec::new());
        for listener in &config.listeners {
            let acceptor = begin_tls(listener, &mut watched)?;
            listeners.extend(listens(listener, acceptor.as_ref())?);
        }
        let runtime = Runtime::start(RuntimeConfig {
            listeners: listeners.iter().map(|(_, listen)| listen.clone()).collect(),
            shard: shard_config(config, users.door, shards)?,
            authenticator,
            users,
            rights,
            store: Box::new(move |shard, wake| ends.handle(shard, wake)),
            recovered,
            mesh: Box::new(|_| Box::new(Alone::default())),
            connections_max: config.limits.max_connections as usize,
        })?;
        let addresses = listeners
            .iter()
            .zip(runtime.addresses())
            .map(|((scheme, _), (_, address))| (*scheme, address.clone()))
            .collect();
        Ok(Self {
            runtime,
            patience: config.drain.timeout,
            config: config.clone(),
            addresses,
            _certificates: Watcher::start(watched)?,
            store,
            _data_dir: data_dir,
        })
    }

    /// Where it listens, with the port the system chose where 0 was asked.
    #[must_use]
    pub fn addresses(&self) -> &[(Scheme, Address)] {
        &self.addresses
    }

    /// Tells every client (5.0 Reason Code 0x8B), gives them the configured time to hear it, and ends.
    pub fn shutdown(self) {
        self.runtime.shutdown(self.patience);
        if let Some(Err(error)) = Arc::into_inner(self.store).map(Keeper::stop) {
            tracing::error!(%error, "not everything could be stored at the end");
        }
    }
}

/// Reads the certificates of a listener that has some; from now on they are watched.
fn begin_tls(listener: &Listener, watched: &mut Vec<Watched>) -> io::Result<Option<Arc<TlsAcceptor>>> {
    let Some(tls) = &listener.tls else { return Ok(None) };
    let acceptor = tls::acceptor(tls, listener.url.scheme).map_err(|problems| {
        let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        io::Error::other(format!("cannot listen on {}: {}", listener.url, messages.join("; ")))
    })?;
    let acceptor = Arc::new(acceptor);
    let name = listener.url.to_string();
    watched.push(Watched { name, tls: tls.clone(), acceptor: Arc::clone(&acceptor) });
    Ok(Some(acceptor))
}

/// The sockets a listener stands for.
fn listens(listener: &Listener, tls: Option<&Arc<TlsAcceptor>>) -> io::Result<Vec<(Scheme, Listen)>> {
    let url = &listener.url;
    let transport = match url.scheme {
        Scheme::Ws | Scheme::Wss => Transport::WebSocket,
        Scheme::Mqtt | Scheme::Mqtts | Scheme::Unix | Scheme::Http => Transport::Tcp,
    };
    let wrap = Wrap { transport, tls: tls.cloned(), proxy: listener.proxy };
    let addresses = match &url.host {
        Host::Path(path) => {
            vec![Address::Unix { path: path.clone(), mode: listener.mode.unwrap_or(SOCKET_MODE) }]
        }
        Host::Localhost | Host::Ip(_) | Host::Name(_) => {
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {url}: {error}"));
            url.resolve().map_err(named)?.into_iter().map(Address::Net).collect()
        }
    };
    Ok(addresses.into_iter().map(|address| (url.scheme, Listen { wrap: wrap.clone(), address })).collect())
}

/// Socket files: for owner and group, since whoever may write to one may connect.
const SOCKET_MODE: u32 = 0o660;

fn shard_config(config: &Config, door: Door, shards: u16) -> io::Result<ShardConfig> {
    let limits = &config.limits;
    let defaults = Limits::default();
    let share = u64::from(shards);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = getrandom::u64().map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
    Ok(ShardConfig {
        shards,
        seed,
        started: WallTime(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)),
        door,
        limits: Limits {
            packet_bytes_max: limits.max_packet_size,
            connect_timeout: limits.connect_timeout,
            session_expiry_seconds_max: u32::try_from(limits.max_session_expiry.as_secs())
                .unwrap_or(u32::MAX),
            receive_maximum: limits.receive_maximum,
            topic_alias_maximum: limits.topic_alias_maximum,
            keep_alive_seconds_max: limits.max_keep_alive,
            topic_levels_max: usize::from(limits.topic_levels_max),
            queue_bytes_max: limits.queue_max_bytes,
            queue_bytes_total_max: queue_bytes_total_max() / share,
            queue_qos0: limits.queue_qos0,
            output_bytes_max: usize::try_from(limits.output_buffer_max).unwrap_or(usize::MAX),
            output_bytes_total_max: defaults.output_bytes_total_max / usize::from(shards),
            payload_format_check: limits.payload_format_check,
            sys_interval: limits.sys_interval,
            ..defaults
        },
        server_reference: config.drain.server_reference.clone(),
        ..ShardConfig::default()
    })
}

/// Bytes all queues may hold, as long as they live in memory only: half of the machine's, 1 GiB at the most.
#[allow(clippy::useless_conversion, reason = "the system's number is 32 bits wide on some machines")]
fn queue_bytes_total_max() -> u64 {
    let info = rustix::system::sysinfo();
    let total =
        u64::try_from(info.totalram).unwrap_or(u64::MAX).saturating_mul(u64::from(info.mem_unit.max(1)));
    (total / 2).clamp(64 << 20, 1 << 30)
}

/// A connection is a descriptor: take as many as the system allows.
fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::debug!("the limit of open files could not be raised");
    }
}
