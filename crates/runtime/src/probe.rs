//! Questions and orders of whoever operates the broker: from any thread, answered by the shards between their turns.

use std::{fmt, sync::Arc};

use cork_access::{Credentials, Verdict};
use cork_core::{Answer, Query, home_shard};
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
        Self { posts, keeper, seed }
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
}
