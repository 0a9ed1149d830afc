//! What all requests share.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cork_broker::{
    Action, Answer, Connector, Operator, Query, Reader,
    config::{Ban, Banned},
};
use cork_client::{Client, Options};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::timeout,
};

use crate::{
    boards::Boards,
    guard::{Caller, Proof, Role},
    history::History,
    host::Host,
    logbook::LogBook,
    login::{Login, Logins},
    operate::Change,
    overview::Overview,
    places::Places,
    problem::Problem,
    publish::Publishers,
    time,
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
    pub(crate) places: Arc<Places>,
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

    /// Whether a caller may still be here: its login or token is good, its user neither removed nor banned, its role not
    /// taken.
    pub(crate) fn still_holds(&self, caller: &Caller) -> bool {
        let proven = match &caller.proof {
            Proof::Nothing => return self.is_open(),
            Proof::Login(key) => self.login(key).is_some(),
            Proof::Token(id) => self.tokens().holds(id),
        };
        let user = caller.user.as_deref();
        proven
            && user.and_then(|user| self.role_of(user)).is_some_and(|role| role >= caller.role)
            && self.not_banned(user, caller.peer).is_ok()
    }

    /// The login a cookie stands for, by the cookie's hash: it ends when its user is removed or gets another password.
    pub(crate) fn login(&self, key: &[u8; 32]) -> Option<Login> {
        let mut logins = self.logins();
        let login = logins.find(key)?;
        if login.mark == self.operator.probe().mark(&login.user) {
            return Some(login);
        }
        logins.end(key);
        None
    }

    /// Ends what removed users had: whoever gets the name of one later is somebody else.
    pub(crate) async fn forget_removed_users(self: &Arc<Self>) {
        let app = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let names = app.operator.user_names().unwrap_or_default();
            app.tokens().keep_those_of(&names)
        });
        if let Ok(Err(problem)) = done.await {
            tracing::warn!(target: "access", ?problem, "tokens of removed users stay for now");
        }
    }

    /// Refuses who is banned. Who is on the broker's own machine is not kept out by its address: there has to be a way
    /// back.
    pub(crate) fn not_banned(&self, user: Option<&str>, peer: IpAddr) -> Result<(), Problem> {
        let (config, now) = (self.operator.config(), time::now().0 / 1_000_000);
        let mut hold = config.managed.bans.iter().filter(|ban| ban.until.is_none_or(|until| until > now));
        let is_meant = |ban: &Ban| match &ban.whom {
            Banned::Client(_) => false,
            Banned::User(name) => user == Some(name),
            Banned::Address(network) => !peer.is_loopback() && network.has(peer),
        };
        match hold.find(|ban| is_meant(ban)) {
            None => Ok(()),
            Some(ban) => {
                let (key, whom) = ban.whom.key();
                Err(Problem::banned(format!(
                    "the {key} `{}` is banned; an administrator who is not can end that",
                    whom.escape_debug()
                )))
            }
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
