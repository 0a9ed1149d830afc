//! What all requests share.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cork_broker::{Action, Address, Answer, Connector, Operator, Query, Reader, config::Scheme};
use cork_client::{Client, Options};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::timeout,
};

use crate::{
    boards::Boards,
    guard::{Caller, Role},
    history::History,
    host::Host,
    logbook::LogBook,
    login::Logins,
    operate::Change,
    overview::Overview,
    problem::Problem,
    publish::Publishers,
    tokens::Tokens,
};

/// How long a shard may take for an answer. One that is alive takes a turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Streams at once, at most: each is an MQTT connection.
pub(crate) const STREAMS_MAX: usize = 128;

/// What all requests share.
pub(crate) struct App {
    pub(crate) operator: Operator,
    pub(crate) logins: Mutex<Logins>,
    /// The broker's own listeners, as clients are told them.
    pub(crate) mqtt: Vec<(Scheme, Address)>,
    /// The present state, renewed each second.
    pub(crate) overview: watch::Receiver<Arc<Overview>>,
    pub(crate) history: Mutex<History>,
    pub(crate) streams: Arc<Semaphore>,
    /// One backup at a time.
    pub(crate) backups: Arc<Semaphore>,
    pub(crate) host: Option<Arc<dyn Host>>,
    pub(crate) log: LogBook,
    pub(crate) changes: Mutex<VecDeque<Change>>,
    pub(crate) boards: Mutex<Boards>,
    pub(crate) tokens: Mutex<Tokens>,
    /// Connections kept for publishing.
    pub(crate) publishers: tokio::sync::Mutex<Publishers>,
}

impl App {
    /// Asks one shard.
    pub(crate) async fn ask(&self, shard: u16, query: Query) -> Result<Answer, Problem> {
        ask(&self.operator, shard, query).await.ok_or_else(|| {
            Problem::unavailable(format!("shard {shard} did not answer: the broker ends, or is overloaded"))
        })
    }

    /// For whom things are looked up.
    pub(crate) fn reader(&self, caller: &Caller) -> Reader {
        match (&caller.user, caller.role) {
            (Some(user), Role::Viewer) => Reader::User(user.as_str().into()),
            _ => Reader::Anybody,
        }
    }

    /// Whether a caller may read what is published to a topic; an administrator sees everything.
    pub(crate) fn may_read(&self, caller: &Caller, topic: &str) -> bool {
        caller.role == Role::Admin || self.operator.rights().allows(caller.subject(), Action::Read, topic)
    }

    /// An MQTT client within the program, with the caller's rights.
    pub(crate) async fn client(&self, caller: &Caller) -> Result<Client, Problem> {
        let connector = self.operator.connector().clone();
        self.connect(match &caller.user {
            Some(user) => connector.user(user),
            None => connector,
        })
        .await
    }

    /// The same for reading, where an administrator sees everything.
    pub(crate) async fn reading_client(&self, caller: &Caller) -> Result<Client, Problem> {
        match caller.role {
            Role::Admin => self.inside_client().await,
            Role::Viewer => self.client(caller).await,
        }
    }

    /// One that no rule binds, for what has been judged already.
    pub(crate) async fn inside_client(&self) -> Result<Client, Problem> {
        self.connect(self.operator.connector().clone().inside()).await
    }

    /// It does not come back when its connection is lost.
    async fn connect(&self, connector: Connector) -> Result<Client, Problem> {
        let options = Options::in_process(move || connector.connect()).reconnect(None);
        let refused = |error| Problem::unavailable(format!("the broker does not let the API in: {error}"));
        Client::connect(options).await.map_err(refused)
    }

    /// A place among the streams there may be.
    pub(crate) fn stream_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            Problem::too_many_streams(format!("{STREAMS_MAX} streams are open, which is all there may be"))
                .after(5)
        })
    }

    /// Whether a caller may still be here: its user was not removed, its role not taken.
    pub(crate) fn still_holds(&self, caller: &Caller) -> bool {
        match &caller.user {
            None => self.is_open(),
            Some(user) => self.role_of(user).is_some_and(|role| role >= caller.role),
        }
    }

    /// The program around the broker.
    pub(crate) fn host(&self) -> Result<Arc<dyn Host>, Problem> {
        let none = || Problem::unavailable("the program around this broker does not do that");
        self.host.clone().ok_or_else(none)
    }

    pub(crate) fn changes(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn boards(&self) -> MutexGuard<'_, Boards> {
        self.boards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn logins(&self) -> MutexGuard<'_, Logins> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks one shard; none if it does not answer in time.
pub(crate) async fn ask(operator: &Operator, shard: u16, query: Query) -> Option<Answer> {
    let (sender, receiver) = oneshot::channel();
    operator.probe().ask(shard, query, move |answer| {
        let _ = sender.send(answer); // whoever asked may have gone
    });
    timeout(PATIENCE, receiver).await.ok()?.ok()
}
