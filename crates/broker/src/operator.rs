//! What whoever operates a running broker from another thread can ask and do: the foundation of the HTTP API.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak},
};

use cork_access::Acl;
use cork_core::Users;
use cork_history::{Counters, Vault};
use cork_log::Keeper;
use cork_net::Address;
use cork_runtime::{Connector, Probe};
use cork_store::Histogram;

use crate::{Config, config::Scheme};

/// The present state of what reloads replace.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    pub(crate) config: Arc<Config>,
    pub(crate) rights: Arc<Acl>,
    pub(crate) users: Option<Arc<BTreeSet<Box<str>>>>,
    /// Those that stand in no password file, with their groups.
    pub(crate) managed_users: Arc<BTreeMap<String, Vec<String>>>,
    /// Where the broker listens; nowhere until it opens.
    pub(crate) addresses: Arc<[(Scheme, Address)]>,
}

impl InForce {
    pub(crate) fn new(
        config: &Config,
        rights: &Arc<Acl>,
        users: &Users,
        managed_users: BTreeMap<String, Vec<String>>,
    ) -> Self {
        let (config, managed_users) = (Arc::new(config.clone()), Arc::new(managed_users));
        let (rights, users, addresses) = (Arc::clone(rights), users.names.clone(), Arc::default());
        Self { config, rights, users, managed_users, addresses }
    }
}

/// Asks and orders. Can be used from any thread; clones are handles of the same one. It does not keep the broker
/// running.
#[derive(Clone, Debug)]
pub struct Operator {
    probe: Probe,
    connector: Connector,
    in_force: Arc<RwLock<InForce>>,
    store: Option<Weak<Keeper>>,
    history: Option<(Arc<Vault>, Arc<Counters>)>,
}

impl Operator {
    pub(crate) fn new(
        probe: Probe,
        connector: Connector,
        in_force: Arc<RwLock<InForce>>,
        store: Option<Weak<Keeper>>,
        history: Option<(Arc<Vault>, Arc<Counters>)>,
    ) -> Self {
        Self { probe, connector, in_force, store, history }
    }

    /// How long the store's commits took; none if everything is in memory.
    #[must_use]
    pub fn commit_times(&self) -> Option<Histogram> {
        Some(self.store.as_ref()?.upgrade()?.commit_times())
    }

    /// What is kept; none where everything is in memory only. Whoever asks it does the work.
    #[must_use]
    pub fn history(&self) -> Option<&Arc<Vault>> {
        self.history.as_ref().map(|(vault, _)| vault)
    }

    /// What became of messages that are to be kept.
    #[must_use]
    pub fn history_counters(&self) -> Option<&Counters> {
        self.history.as_ref().map(|(_, counters)| &**counters)
    }

    /// Questions to the shards.
    #[must_use]
    pub const fn probe(&self) -> &Probe {
        &self.probe
    }

    /// The way in for clients of the program.
    #[must_use]
    pub const fn connector(&self) -> &Connector {
        &self.connector
    }

    fn in_force(&self) -> RwLockReadGuard<'_, InForce> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.in_force().config)
    }

    /// Where the broker itself listens by now, with the port the system chose where 0 was asked.
    #[must_use]
    pub fn addresses(&self) -> Arc<[(Scheme, Address)]> {
        Arc::clone(&self.in_force().addresses)
    }

    /// The rights in force.
    #[must_use]
    pub fn rights(&self) -> Arc<Acl> {
        Arc::clone(&self.in_force().rights)
    }

    /// The names of all users; none where there is no password file.
    #[must_use]
    pub fn user_names(&self) -> Option<Arc<BTreeSet<Box<str>>>> {
        self.in_force().users.clone()
    }

    /// The users that stand in no password file, with their groups.
    #[must_use]
    pub fn managed_users(&self) -> Arc<BTreeMap<String, Vec<String>>> {
        Arc::clone(&self.in_force().managed_users)
    }
}
