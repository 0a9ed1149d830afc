//! Starting and ending the workers.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cork_access::{Acl, Authenticator};
use cork_core::{Health, Settings, ShardConfig, Users, hooks::Hooks, share_out};
use cork_mesh::Mesh;
use cork_net::{Address, Listen};
use cork_store::{Recovered, Store};
use mio::{Poll, Registry, Waker};

use crate::{
    access::{AccessDesk, Keeper},
    connector::Connector,
    gate::{AddressLimits, Gate},
    listeners::{Doors, ListenError, PreparedListeners},
    mail::{Mail, Post, mailbox},
    probe::Probe,
    worker::{WAKE, Worker},
};

/// What the runtime needs to start.
pub struct RuntimeConfig {
    /// What every shard is told; its number is filled in.
    pub shard: ShardConfig,
    /// Who may in.
    pub authenticator: Arc<dyn Authenticator>,
    /// What the shards must know of it.
    pub users: Users,
    /// What they may do.
    pub rights: Arc<Acl>,
    /// Makes the store of a shard, which calls what it is given when it has answers.
    pub store: StoreMaker,
    /// What the store gave back, for the shards to take up.
    pub recovered: Recovered,
    /// Makes a shard's door to the cluster.
    pub mesh: Box<dyn Fn(u16) -> Box<dyn Mesh>>,
    /// What the program around the broker wants to be asked and told.
    pub hooks: Option<Arc<dyn Hooks>>,
    /// Limits per network address.
    pub addresses: AddressLimits,
    /// Connections of all shards together; 0: what descriptors allow.
    pub connections_max: usize,
}

/// Makes the store of a shard, by its number; what it is given wakes the shard.
pub type StoreMaker = Box<dyn Fn(u16, Wake) -> Box<dyn Store>>;
/// Wakes somebody who waits.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

impl std::fmt::Debug for RuntimeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuntimeConfig").field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// Makes the shards look at the certificates of their connections again: who would not be let in by what the listener
/// asks now is told (5.0 0x87) and disconnected. Can be used from any thread.
#[derive(Clone)]
pub struct CertificateCheck(Vec<Post>);

impl std::fmt::Debug for CertificateCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CertificateCheck").finish_non_exhaustive()
    }
}

impl CertificateCheck {
    /// Does it, in the background.
    pub fn run(&self) {
        for post in &self.0 {
            post.send(Mail::CheckCertificates);
        }
    }
}

/// Tells the shards what was measured of process and machine. Can be used from any thread.
#[derive(Clone)]
pub struct HealthReport(Vec<Post>);

impl std::fmt::Debug for HealthReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HealthReport").finish_non_exhaustive()
    }
}

impl HealthReport {
    /// Tells it.
    pub fn send(&self, health: Health) {
        for post in &self.0 {
            post.send(Mail::Health(health));
        }
    }
}

/// Running workers. They end with [`Runtime::shutdown`], or when this value is dropped.
pub struct Runtime {
    posts: Vec<Post>,
    keeper: Arc<Keeper>,
    gate: Arc<Gate>,
    threads: Vec<JoinHandle<()>>,
    /// To register with the polls of the shards what comes later.
    registries: Vec<Registry>,
    doors: Doors,
    /// Tells which shard a Session lives on.
    seed: u64,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("shards", &self.posts.len()).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Starts one thread per shard. Nobody is listened to yet: see [`Runtime::prepare`].
    ///
    /// # Errors
    /// No threads or descriptors left.
    pub fn start(config: RuntimeConfig) -> io::Result<Self> {
        let shards = config.shard.shards.max(1);
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let keeper = Keeper::new(config.authenticator);
        let gate = Arc::new(Gate::new(config.addresses));
        let desk = AccessDesk::start(&keeper, cores.min(4))?;
        let (mut mailboxes, mut posts, mut stores) = (Vec::new(), Vec::new(), Vec::new());
        let mut registries = Vec::new();
        for _ in 0..shards {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
            let (post, mailbox) = mailbox(waker);
            let number = u16::try_from(posts.len()).unwrap_or(u16::MAX);
            let waked = post.clone();
            stores.push((config.store)(number, Arc::new(move || waked.wake())));
            posts.push(post);
            registries.push(poll.registry().try_clone()?);
            mailboxes.push((poll, mailbox));
        }
        let (threads, doors) = (Vec::new(), Doors::default());
        let seed = config.shard.seed;
        let mut runtime = Self { posts, keeper, gate, threads, registries, doors, seed };
        let started = Instant::now();
        let recovered = share_out(config.recovered, shards, config.shard.seed);
        let mut workers = Vec::new();
        for (((number, (poll, mailbox)), store), recovered) in
            (0..shards).zip(mailboxes).zip(stores).zip(recovered)
        {
            let loads = store.can_load();
            let (epoch, last_arrival) = (recovered.epoch, recovered.last_arrival);
            let shard =
                ShardConfig { shard: number, shards, loads, epoch, last_arrival, ..config.shard.clone() };
            let connections_max = config.connections_max.div_ceil(usize::from(shards));
            let mut worker = Worker::new(
                shard,
                poll,
                mailbox,
                runtime.posts.clone(),
                desk.clone(),
                Arc::clone(&runtime.gate),
                started,
            );
            worker.connections_max = connections_max;
            worker.store = store;
            worker.mesh = (config.mesh)(number);
            worker.set_rights(Arc::clone(&config.rights));
            worker.set_users(config.users.clone());
            if let Some(hooks) = &config.hooks {
                worker.shard.set_hooks(Arc::clone(hooks));
            }
            worker.restore(recovered);
            workers.push(worker);
        }
        // Only now: each knows what all others have subscribers for before it takes the first message.
        for (number, worker) in workers.into_iter().enumerate() {
            let thread = thread::Builder::new().name(format!("shard-{number}"));
            runtime.threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(runtime)
    }

    /// What is listened on, with the port the system chose where 0 was asked; in the order of the last wishes.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.doors.addresses().map(|(_, address)| address.clone()).collect()
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.posts.len()
    }

    /// Opens what must be open to listen on `wanted` and nothing else. Nothing changes yet.
    ///
    /// A listener that is there already is kept if it has the same address, or the same socket file.
    ///
    /// # Errors
    /// An address that cannot be listened on (the error names it and says what to do), or no descriptors left.
    pub fn prepare(&self, wanted: &[Listen]) -> Result<PreparedListeners, ListenError> {
        self.doors.prepare(wanted, &self.registries)
    }

    /// Listens from now on as [`prepare`](Self::prepare) was told. What is not wanted any more is closed; connections
    /// stay, whatever becomes of the listener they came by. Returns when all shards have done it.
    pub fn apply(&mut self, prepared: PreparedListeners, wanted: &[Listen]) {
        self.doors.apply(prepared, wanted, &self.posts);
    }

    /// Gives every shard new limits; `connections_max` is that of all together.
    pub fn set_settings(&self, settings: &Settings, connections_max: usize) {
        let share = connections_max.div_ceil(self.posts.len().max(1));
        for post in &self.posts {
            post.send(Mail::Settings(Box::new(settings.clone()), share));
        }
    }

    /// Other limits for each address. Bans that were pronounced stay.
    pub fn set_address_limits(&self, limits: AddressLimits) {
        self.gate.set_limits(limits);
    }

    /// What makes the shards look at the certificates of their connections again.
    #[must_use]
    pub fn certificate_check(&self) -> CertificateCheck {
        CertificateCheck(self.posts.clone())
    }

    /// What tells the shards what was measured.
    #[must_use]
    pub fn health_report(&self) -> HealthReport {
        HealthReport(self.posts.clone())
    }

    /// The way in for clients of the same program.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector::new(self.posts.clone())
    }

    /// The way in for who wants to know something, or wants somebody gone.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe::new(self.posts.clone(), Arc::clone(&self.keeper), self.seed)
    }

    /// Gives every shard new rights.
    pub fn set_rights(&self, rights: &Arc<Acl>) {
        for post in &self.posts {
            post.send(Mail::Rights(Arc::clone(rights)));
        }
    }

    /// Replaces the user database. New clients are judged by it at once, connected ones that are not in it any more are
    /// disconnected.
    pub fn set_users(&self, authenticator: Arc<dyn Authenticator>, users: &Users) {
        self.keeper.replace(authenticator);
        for post in &self.posts {
            post.send(Mail::Users(users.clone()));
        }
    }

    /// Tells every client, gives them up to `patience` to hear it, and ends the workers.
    pub fn shutdown(mut self, patience: Duration) {
        for post in &self.posts {
            post.send(Mail::Drain);
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !self.threads.iter().all(JoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(5));
        }
        self.stop();
    }

    fn stop(&mut self) {
        for post in &self.posts {
            post.send(Mail::Stop);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(target: "broker", "a shard's thread ended by a panic");
            }
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop();
    }
}
