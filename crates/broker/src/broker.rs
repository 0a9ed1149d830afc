//! A running broker.

use std::{
    fmt, io,
    num::NonZero,
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use cork_core::{Door, INSIDE_PREFIX, Limits, Settings, ShardConfig, hooks::Hooks};
use cork_history::Engine;
use cork_log::{Keeper, OpenError};
use cork_mesh::Alone;
use cork_net::Address;
use cork_packet::{RetainHandling, SubscriptionOptions};
use cork_runtime::{AddressLimits, Connector, HistoryMaker, Runtime, RuntimeConfig, StoreMaker};
use cork_store::{
    Forgetful, OWES_RETAINED, Recovered, RecoveredSession, RecoveredSubscription, Volatile, WallTime,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    config::{Config, ConfigErrors, Origin, Scheme},
    data_dir::DataDir,
    history::{self, HistoryError},
    listeners::{Listeners, PlannedListeners},
    memory,
    operator::{InForce, Operator},
    reload::{Access, Fingerprints, address_bans},
    store,
    watch::{Watch, Watched},
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
    /// The history cannot be opened.
    History(HistoryError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::History(error) => write!(f, "the history cannot be opened: {error}"),
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

impl From<HistoryError> for StartError {
    fn from(error: HistoryError) -> Self {
        Self::History(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A running broker. It ends with [`Broker::shutdown`], or when this value is dropped: then at once, and clients see
/// their connection break.
#[derive(Debug)]
pub struct Broker {
    pub(crate) runtime: Runtime,
    /// What is in force.
    pub(crate) config: Config,
    pub(crate) listeners: Listeners,
    /// What is not open yet.
    planned: Option<PlannedListeners>,
    /// What is in force, for who operates the broker from other threads.
    pub(crate) in_force: Arc<RwLock<InForce>>,
    /// Of the files with users and rights in force.
    pub(crate) files: Fingerprints,
    pub(crate) watch: Watch,
    /// Ends behind the shards, so that it has all they gave it. None: everything is in memory.
    store: Option<Arc<Keeper>>,
    /// Ends behind the shards, too.
    pub(crate) history: Option<Arc<Engine>>,
    _data_dir: Option<DataDir>,
    inside: Vec<InsideSession>,
}

/// A Session that a part of the broker had when it ended the last time, by [`Connector::inside`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsideSession {
    /// Its Client Identifier.
    pub client_id: String,
    /// What it has subscribed.
    pub filters: Vec<String>,
    /// Of these, those it wanted no retained messages of (Retain Handling 2) when it subscribed last.
    pub without_retained: Vec<String>,
}

impl InsideSession {
    fn of(session: &RecoveredSession) -> Option<Self> {
        let name = |one: &RecoveredSubscription| one.filter.to_string();
        let without = |one: &&RecoveredSubscription| {
            let options = SubscriptionOptions::from_bits(one.options & !OWES_RETAINED);
            options.is_some_and(|options| options.retain_handling == RetainHandling::DoNotSend)
        };
        session.client_id().starts_with(INSIDE_PREFIX).then(|| Self {
            client_id: session.client_id().to_owned(),
            filters: session.subscriptions.iter().map(name).collect(),
            without_retained: session.subscriptions.iter().filter(without).map(name).collect(),
        })
    }
}

impl Broker {
    /// Checks the configuration, takes the data directory, opens the listeners and starts.
    ///
    /// # Errors
    /// A configuration that fails [`Config::validate`], a data directory that is in use, an address that is taken.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::begin(config, None).map(Self::opened)
    }

    /// As [`Broker::start`], but nobody is let in by a listener before [`Broker::open`]: for parts of the broker that must
    /// not miss a message. Until then who comes waits.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn start_closed(config: &Config) -> Result<Self, StartError> {
        Self::begin(config, None)
    }

    /// Opens the listeners of a broker that was started closed.
    pub fn open(&mut self) {
        if let Some(planned) = self.planned.take() {
            self.listeners.apply(planned, &mut self.runtime);
            let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
            in_force.addresses = self.addresses().into();
        }
    }

    fn opened(mut self) -> Self {
        self.open();
        self
    }

    /// As [`Broker::start`], and asks `hooks` what they want to be asked.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn start_with(config: &Config, hooks: impl Hooks + 'static) -> Result<Self, StartError> {
        Self::begin(config, Some(Arc::new(hooks))).map(Self::opened)
    }

    fn begin(config: &Config, hooks: Option<Arc<dyn Hooks>>) -> Result<Self, StartError> {
        config.validate()?;
        let Access { authenticator, users, rights, files } = Access::of(config)?;
        let data_dir = if config.in_memory { None } else { Some(DataDir::open(&config.data_dir)?) };
        if data_dir.is_some() {
            // A full disk is no reason not to start, and opens nothing.
            let _ = cork_access::keep_decoys_in(&config.data_dir.join("decoy.key"));
        }
        let in_force = InForce::new(config, &rights, &users, config.managed_users()?);
        let (store, history, recovered) = match data_dir {
            None => (None, None, Recovered::default()),
            Some(_) => {
                let (store, history, recovered) = open_kept(config)?;
                (Some(Arc::new(store)), Some(Arc::new(history)), recovered)
            }
        };
        let inside = recovered.sessions.iter().filter_map(InsideSession::of).collect();
        raise_descriptor_limit();
        let shards = config.shards.count(thread::available_parallelism().map_or(1, NonZero::get));
        let runtime = Runtime::start(RuntimeConfig {
            shard: shard_config(config, users.door, shards)?,
            authenticator,
            users,
            rights,
            store: store_maker(store.clone()),
            history: history_maker(history.clone()),
            recovered,
            hooks,
            mesh: Box::new(|_| Box::new(Alone::default())),
            addresses: address_limits(config),
            connections_max: config.limits.max_connections as usize,
        })?;
        runtime.set_address_bans(address_bans(&config.managed.bans));
        let kept = store.as_ref().map(|store| (config.data_dir.clone(), Arc::downgrade(store)));
        let watched = Watched { store: kept, memory: config.memory, report: runtime.health_report() };
        let watch = Watch::start(watched, config.limits.disk_free_warning)?;
        let listeners = Listeners::new(runtime.certificate_check())?;
        let planned = listeners.plan(config, &runtime).map_err(|error| match error.0.as_slice() {
            // A default is nowhere to be found in a file.
            [only] if only.origin == Origin::Default => io::Error::other(only.message.clone()).into(),
            _ => StartError::Config(error),
        })?;
        let in_force = Arc::new(RwLock::new(in_force));
        Ok(Self {
            runtime,
            config: config.clone(),
            listeners,
            in_force,
            planned: Some(planned),
            files,
            watch,
            store,
            history,
            _data_dir: data_dir,
            inside,
        })
    }

    /// The way in for clients of the same program: no address, no port, no file. See `docs/embedding.md`.
    #[must_use]
    pub fn connector(&self) -> Connector {
        self.runtime.connector()
    }

    /// The Sessions that parts of the broker had when it started: of those that are not configured any more, too.
    #[must_use]
    pub fn inside_sessions(&self) -> &[InsideSession] {
        &self.inside
    }

    /// The way in for who operates it, from any thread.
    #[must_use]
    pub fn operator(&self) -> Operator {
        let store = self.store.as_ref().map(Arc::downgrade);
        let history = self.history.as_ref().map(|engine| (engine.vault(), engine.counters()));
        Operator::new(self.runtime.probe(), self.connector(), Arc::clone(&self.in_force), store, history)
    }

    /// Where it listens, with the port the system chose where 0 was asked.
    #[must_use]
    pub fn addresses(&self) -> &[(Scheme, Address)] {
        self.listeners.addresses()
    }

    /// What is in force: the configuration of the start, and over it what reloads brought.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tells every client (5.0 Reason Code 0x8B), gives them the configured time to hear it, and ends.
    pub fn shutdown(self) {
        self.runtime.shutdown(self.config.drain.timeout);
        drop(self.watch);
        drop(self.history);
        if let Some(Err(error)) = self.store.and_then(Arc::into_inner).map(Keeper::stop) {
            tracing::error!(target: "store", %error, "not everything could be stored at the end");
        }
    }
}

/// Opens the store, and the history beside it, which takes over what only the store has of it.
fn open_kept(config: &Config) -> Result<(Keeper, Engine, Recovered), StartError> {
    let vault = history::open(config)?;
    let mut lacking = vault.lacking(cork_history::wall());
    let (store, mut recovered, lost) = store::open(config, &mut |topic, id| lacking.lacks(topic, id))?;
    drop(lacking);
    recovered.last_arrival = recovered.last_arrival.max(vault.last_arrival());
    Ok((store, history::start(vault, lost)?, recovered))
}

fn history_maker(history: Option<Arc<Engine>>) -> HistoryMaker {
    match history {
        Some(history) => Box::new(move |wake| history.handle(wake)),
        None => Box::new(|_| Box::new(Forgetful::default())),
    }
}

fn store_maker(store: Option<Arc<Keeper>>) -> StoreMaker {
    match store {
        Some(store) => Box::new(move |shard, wake| store.handle(shard, wake)),
        None => Box::new(|_, _| Box::new(Volatile::default())),
    }
}

fn shard_config(config: &Config, door: Door, shards: u16) -> io::Result<ShardConfig> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = getrandom::u64().map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
    let Settings { limits, server_reference, filters, history } = settings(config, shards);
    Ok(ShardConfig {
        shards,
        seed,
        started: WallTime(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)),
        door,
        limits,
        filters,
        history,
        presence: config.presence.enabled,
        presence_keep_seconds: u32::try_from(config.presence.keep.as_secs()).unwrap_or(u32::MAX),
        server_reference,
        ..ShardConfig::default()
    })
}

/// What each of so many shards is told of the limits.
pub(crate) fn settings(config: &Config, shards: u16) -> Settings {
    let limits = &config.limits;
    let defaults = Limits::default();
    let share = u64::from(shards);
    let mut cut = Limits {
        packet_bytes_max: limits.max_packet_size,
        connect_timeout: limits.connect_timeout,
        session_expiry_seconds_max: u32::try_from(limits.max_session_expiry.as_secs()).unwrap_or(u32::MAX),
        receive_maximum: limits.receive_maximum,
        topic_alias_maximum: limits.topic_alias_maximum,
        keep_alive_seconds_max: limits.max_keep_alive,
        topic_levels_max: usize::from(limits.topic_levels_max),
        queue_bytes_max: limits.queue_max_bytes,
        user_queue_bytes_max: limits.queue_max_bytes_per_user,
        queue_bytes_total_max: queue_bytes_total_max() / share,
        queue_qos0: limits.queue_qos0,
        output_bytes_max: usize::try_from(limits.output_buffer_max).unwrap_or(usize::MAX),
        output_bytes_total_max: defaults.output_bytes_total_max / usize::from(shards),
        unstored_bytes_max: (defaults.unstored_bytes_max / usize::from(shards)).max(1 << 20),
        messages_per_second: limits.messages_per_second,
        publish_bytes_per_second: limits.bytes_per_second,
        login_bytes_total_max: usize::try_from(limits.login_memory_max / share).unwrap_or(usize::MAX),
        packet_timeout: limits.packet_timeout,
        payload_format_check: limits.payload_format_check,
        sys_interval: limits.sys_interval,
        ..defaults
    };
    if let Some(memory) = config.memory {
        memory::cut(&mut cut, memory, share);
    }
    let (server_reference, filters) = (config.drain.server_reference.clone(), Arc::clone(&config.filters));
    Settings { limits: cut, server_reference, filters, history: history::table(config) }
}

pub(crate) fn address_limits(config: &Config) -> AddressLimits {
    let limits = &config.limits;
    AddressLimits {
        connects_per_second: limits.connects_per_second_per_address,
        loopback: limits.loopback,
        ban_failures: limits.ban_failures,
        ban_flaps: limits.ban_flaps,
        ban_time: limits.ban_time,
        ban_time_max: limits.ban_time_max,
    }
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
        tracing::debug!(target: "broker", "the limit of open files could not be raised");
    }
}
