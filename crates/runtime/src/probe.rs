//! Questions and orders of whoever operates the broker: from any thread, answered by the shards between their turns.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cork_access::{Credentials, Verdict};
use cork_core::{Answer, Query, Sample, TurnedAway, Watch, home_shard};
use cork_store::Histogram;

use crate::{
    access::Keeper,
    mail::{Mail, Post},
    tap::Tap,
};

/// Asks the shards. Can be used from any thread; clones are handles of the same one. It does not keep the broker
/// running.
#[derive(Clone)]
pub struct Probe {
    posts: Vec<Post>,
    keeper: Arc<Keeper>,
    seed: u64,
    /// The number of the last page that watched.
    watches: Arc<AtomicU64>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("shards", &self.posts.len()).finish_non_exhaustive()
    }
}

/// How long things took on a shard, since the start.
#[derive(Copy, Clone, Debug, Default)]
pub struct Times {
    /// Turns: so long somebody may have waited who came at its beginning.
    pub turns: Histogram,
    /// From when something was handed to the store until it was stored: so long acknowledgements wait that rely on it.
    pub stored: Histogram,
}

impl Probe {
    pub(crate) fn new(posts: Vec<Post>, keeper: Arc<Keeper>, seed: u64) -> Self {
        Self { posts, keeper, seed, watches: Arc::default() }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        u16::try_from(self.posts.len()).unwrap_or(u16::MAX)
    }

    /// The shard a Client Identifier's Session lives on.
    #[must_use]
    pub fn home(&self, client_id: &str) -> u16 {
        home_shard(client_id, self.shards(), self.seed)
    }

    /// Asks a shard. `reply` is called on its thread, so it must do no more than pass the answer on; it is dropped
    /// uncalled when the shard has ended.
    pub fn ask(&self, shard: u16, query: Query, reply: impl FnOnce(Answer) + Send + 'static) {
        if let Some(post) = self.posts.get(usize::from(shard)) {
            post.send(Mail::Query(Box::new(query), Box::new(reply)));
        }
    }

    /// Asks a shard how long things took; `reply` as with [`Probe::ask`].
    pub fn times(&self, shard: u16, reply: impl FnOnce(Times) + Send + 'static) {
        if let Some(post) = self.posts.get(usize::from(shard)) {
            post.send(Mail::Times(Box::new(reply)));
        }
    }

    /// Says that so many connections to the HTTP API were closed because their addresses had as many as they may; for
    /// `$SYS`.
    pub fn turned_away_http(&self, connections: u32) {
        if let Some(post) = self.posts.first() {
            post.send(Mail::TurnedAway(TurnedAway::Http(connections)));
        }
    }

    /// A number for a [`Watch`] that no other one has.
    #[must_use]
    pub fn new_watch(&self) -> u64 {
        self.watches.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Has a shard note what is published on it ([`Shard::watch`](cork_core::Shard::watch)); `reply` as with
    /// [`Probe::ask`].
    pub fn watch(&self, shard: u16, watch: Watch, reply: impl FnOnce(bool) + Send + 'static) {
        if let Some(post) = self.posts.get(usize::from(shard)) {
            post.send(Mail::Watch(Box::new(watch), Box::new(reply)));
        }
    }

    /// Asks a shard what changed for a watch; `reply` as with [`Probe::ask`].
    pub fn sample(
        &self,
        shard: u16,
        watch: u64,
        topics_max: usize,
        reply: impl FnOnce(Sample) + Send + 'static,
    ) {
        if let Some(post) = self.posts.get(usize::from(shard)) {
            post.send(Mail::Sample(watch, topics_max, Box::new(reply)));
        }
    }

    /// Ends a watch on all shards.
    pub fn unwatch(&self, watch: u64) {
        for post in &self.posts {
            post.send(Mail::Unwatch(watch));
        }
    }

    /// Disconnects a client, which is told `why` (5.0 0x87); its Will is not sent. Nothing happens if it is not there.
    pub fn kick(&self, client_id: &str, why: &str) {
        self.expel(client_id, why, false);
    }

    /// Ends a Session and forgets all that is kept for it; its client is disconnected, its Will not sent.
    pub fn end_session(&self, client_id: &str, why: &str) {
        self.expel(client_id, why, true);
    }

    fn expel(&self, client_id: &str, why: &str, session: bool) {
        if let Some(post) = self.posts.get(usize::from(self.home(client_id))) {
            post.send(Mail::Expel { client_id: client_id.into(), why: why.into(), session });
        }
    }

    /// Listens in on a client from now on, whether it is there or comes later, until `tap` says that it is over.
    pub fn tap(&self, client_id: &str, tap: Tap) {
        if let Some(post) = self.posts.get(usize::from(self.home(client_id))) {
            post.send(Mail::Tap { client_id: Some(client_id.into()), tap });
        }
    }

    /// The same for all clients; `tap` is asked for one for each shard. It costs each of their messages a copy.
    pub fn tap_all(&self, tap: impl Fn() -> Tap) {
        for post in &self.posts {
            post.send(Mail::Tap { client_id: None, tap: tap() });
        }
    }

    /// Judges a User Name and Password by the users in force. None: there are no users, so that a name proves nothing.
    /// Blocks for as long as hashing a password takes.
    #[must_use]
    pub fn authenticate(&self, credentials: &Credentials<'_>) -> Option<Verdict> {
        let authenticator = self.keeper.now();
        authenticator.proves_user_names().then(|| authenticator.authenticate(credentials))
    }

    /// A number that is another one once a user has another password; none where there is no such user.
    #[must_use]
    pub fn mark(&self, user: &str) -> Option<u64> {
        self.keeper.now().mark(user)
    }
}
