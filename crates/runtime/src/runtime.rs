//! Starting and ending the workers.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cork_access::{Acl, Authenticator};
use cork_core::{ShardConfig, Users, share_out};
use cork_mesh::Mesh;
use cork_net::{Address, Listen, SocketFile};
use cork_store::{Recovered, Store};
use mio::{Poll, Waker};

use crate::{
    access::{AccessDesk, Keeper},
    gate::{AddressLimits, Gate},
    mail::{Mail, Post, mailbox},
    worker::{WAKE, Worker},
};

/// What the runtime needs to start.
pub struct RuntimeConfig {
    /// Where to listen.
    pub listeners: Vec<Listen>,
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
        f.debug_struct("RuntimeConfig").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// Running workers. They end with [`Runtime::shutdown`], or when this value is dropped.
pub struct Runtime {
    posts: Vec<Post>,
    keeper: Arc<Keeper>,
    threads: Vec<JoinHandle<()>>,
    addresses: Vec<(Listen, Address)>,
    /// They go when the listeners are closed.
    _socket_files: Vec<SocketFile>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Opens the listeners and starts one thread per shard.
    ///
    /// # Errors
    /// An address that cannot be listened on (the error names it), or no threads or descriptors left.
    pub fn start(config: RuntimeConfig) -> io::Result<Self> {
        let shards = config.shard.shards.max(1);
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        let mut socket_files = Vec::new();
        for listen in &config.listeners {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot listen on {}: {error}", listen.address))
            };
            let socket = listen.open().map_err(named)?;
            addresses.push((listen.clone(), socket.address(&listen.address).map_err(named)?));
            socket_files.extend(SocketFile::of(&listen.address));
            sockets.push((socket, listen.wrap.clone()));
        }
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let keeper = Keeper::new(config.authenticator);
        let gate = Arc::new(Gate::new(config.addresses));
        let desk = AccessDesk::start(&keeper, cores.min(4))?;
        let (mut mailboxes, mut posts, mut stores) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..shards {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
            let (post, mailbox) = mailbox(waker);
            let number = u16::try_from(posts.len()).unwrap_or(u16::MAX);
            let waked = post.clone();
            stores.push((config.store)(number, Arc::new(move || waked.wake())));
            posts.push(post);
            mailboxes.push((poll, mailbox));
        }
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
            let mut worker =
                Worker::new(shard, poll, mailbox, posts.clone(), desk.clone(), Arc::clone(&gate), started);
            worker.connections_max = connections_max;
            worker.store = store;
            worker.mesh = (config.mesh)(number);
            worker.set_rights(Arc::clone(&config.rights));
            worker.set_users(config.users.clone());
            for (socket, wrap) in &sockets {
                worker.listen(socket.try_clone()?, wrap.clone())?;
            }
            worker.restore(recovered);
            workers.push(worker);
        }
        // Only now: each knows what all others have subscribers for before it takes the first message.
        let mut threads = Vec::new();
        for (number, worker) in workers.into_iter().enumerate() {
            threads.push(thread::Builder::new().name(format!("shard-{number}")).spawn(move || worker.run())?);
        }
        Ok(Self { posts, keeper, threads, addresses, _socket_files: socket_files })
    }

    /// What is listened on, with the port the system chose where 0 was asked.
    #[must_use]
    pub fn addresses(&self) -> &[(Listen, Address)] {
        &self.addresses
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
                tracing::error!("a shard's thread ended by a panic");
            }
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop();
    }
}
