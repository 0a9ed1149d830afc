//! The life of one link: prepares the session here, connects, relays, waits, comes again.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cork_client::{ConnectError, Connector, Reconnect, Remedy, Server, TlsFailure};
use cork_packet::ReasonCode;
use cork_proto::Time;
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    judge::Judged,
    relay::{End, Found, Note, Opening, Plan, Relay, Side, Suspects},
    session,
    status::{Shared, State},
    told::{Down, STEADY, Told},
    wire::{Step, Wire},
};

/// From the first byte to the last subscription.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// Transport and its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a broker may say nothing before the next URL is tried; twice as long each time none was let in.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// Between two looks at the counters.
const TICK: Duration = Duration::from_secs(1);

/// The way to this broker.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) server: Server,
}

/// What one link knows beyond its configuration.
pub(crate) struct Link {
    pub(crate) judged: Judged,
    pub(crate) home: Home,
    pub(crate) status: Shared,
    /// Filters of the configuration before, here and there, that are not wanted any more.
    pub(crate) old_local: Vec<String>,
    pub(crate) old_remote: Vec<String>,
    /// Told when a session of the link is online; shared with the other lane's.
    pub(crate) found: Rc<Notify>,
    /// Filters here whose retained messages were not asked for yet. Once they are, the session here knows what it owes the
    /// other broker, in its next life as well; until then their Retain Handling says so there, see [`session::prepare`].
    pub(crate) unasked: Rc<RefCell<Vec<String>>>,
    /// What the log says already.
    pub(crate) told: Told,
}

impl Link {
    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let wait = Reconnect {
            min: Duration::from_millis(500),
            max: self.judged.bridge.reconnect_max,
            attempts: None,
        };
        // Each may be another broker.
        let mut attempts: Vec<Attempts> = self.judged.servers.iter().map(|_| Attempts::new(&self)).collect();
        let mut failures = 0;
        loop {
            for (server, attempts) in self.judged.servers.clone().into_iter().zip(&mut attempts) {
                {
                    let mut status = self.status.borrow_mut();
                    status.set_state(State::Connecting);
                    status.remote = server.to_string();
                }
                let tried = attempts.one(&mut self, &server).await;
                self.status.borrow_mut().settle();
                self.report(&server, &tried);
                failures = if tried.online >= STEADY || tried.soon { 1 } else { failures + 1 };
                if tried.online > Duration::ZERO || tried.again {
                    break;
                }
            }
            for attempts in &mut attempts {
                attempts.patience = (attempts.patience * 2).min(OPEN_TIMEOUT);
            }
            self.status.borrow_mut().set_state(State::Waiting);
            // Where one session of a link finds the way, so does the other.
            let _ = timeout(wait.wait(failures), self.found.notified()).await;
            self.status.borrow_mut().reconnects += 1;
        }
    }

    /// From now on messages wait in the session, whether the other broker is there or not.
    pub(crate) async fn prepare(&mut self) {
        let plan = &self.judged.plan;
        let Home { connector, server } = &self.home;
        let unasked = self.unasked.borrow().clone();
        match session::prepare(&**connector, server, plan, &self.old_local, &unasked).await {
            Ok(true) => {}
            Ok(false) => *self.unasked.borrow_mut() = self.judged.filters_out(),
            Err(error) => {
                // The next connection meets the same and says so again.
                let name = &self.judged.bridge.name;
                tracing::error!(target: "bridge", bridge = name, %error, "the link's session in this broker cannot be made");
                self.status.borrow_mut().failed(format!("this broker: {error}"));
            }
        }
    }

    /// One line for each new misfortune, not for each repetition of it.
    fn report(&mut self, server: &Server, tried: &Tried) {
        self.told.hushed = tried.provoked || (tried.again && self.told.hushed);
        if tried.why.is_empty() {
            return;
        }
        let text = format!("{server}: {}", tried.why);
        let name = &self.judged.bridge.name;
        if tried.provoked {
            tracing::debug!(target: "bridge", bridge = name, "a trial ended: {text}");
            return self.status.borrow_mut().failed(text);
        }
        let said = self.told.down(&text, tried.online);
        if self.judged.plan.second {
            // The first session of the link says the same.
            tracing::debug!(target: "bridge", bridge = name, "the second session is down: {text}");
        } else {
            match said {
                Down::New => {
                    tracing::warn!(target: "bridge", bridge = name, "the link is down, messages wait: {text}");
                }
                Down::Flaps => {
                    tracing::warn!(target: "bridge", bridge = name, "the link comes up for moments only, messages wait: {text}");
                }
                Down::Known => {
                    tracing::debug!(target: "bridge", bridge = name, "the link is down again: {text}");
                }
            }
        }
        self.status.borrow_mut().failed(text);
    }
}

/// How an attempt went.
struct Tried {
    why: String,
    /// How long messages passed.
    online: Duration,
    /// The same server is to be tried again, in another version.
    again: bool,
    /// The end came of a message that was sent to see whether it does.
    provoked: bool,
    /// That showed something, so there is no reason to wait.
    soon: bool,
}

/// What is learned from one attempt at a server for the next.
struct Attempts {
    plan: Arc<Plan>,
    /// Which version of the list is tried.
    version: usize,
    /// The other broker has spoken it.
    proven: bool,
    subscribed: bool,
    /// How long a broker may say nothing.
    patience: Duration,
    /// 5.0 was met with silence.
    doubtful: bool,
    /// It is tried once more, because another version was let in then.
    doubted: bool,
    /// That one made the session there.
    fresh: bool,
    /// A broker may hang up at a probe: how long the next connection sends none.
    probe_pause: Duration,
    /// Messages at which connections to it ended.
    suspects: Suspects,
    /// How the last trial of one ended.
    verdict: String,
}

impl Attempts {
    fn new(link: &Link) -> Self {
        Self {
            plan: Arc::new(link.judged.plan.clone()),
            version: 0,
            proven: false,
            subscribed: false,
            patience: if link.judged.servers.len() > 1 { ANSWER_TIMEOUT } else { OPEN_TIMEOUT },
            doubtful: false,
            doubted: false,
            fresh: false,
            probe_pause: Duration::ZERO,
            suspects: Suspects::default(),
            verdict: String::new(),
        }
    }

    async fn one(&mut self, link: &mut Link, server: &Server) -> Tried {
        let failed =
            |why: String| Tried { why, online: Duration::ZERO, again: false, provoked: false, soon: false };
        let connect_timeout = CONNECT_TIMEOUT.min(self.patience);
        let transport = match timeout(connect_timeout, link.judged.connector.connect(server)).await {
            Ok(Ok(transport)) => transport,
            Ok(Err(error)) => return failed(cause(&error)),
            Err(_) => return failed(format!("no connection within {connect_timeout:?}")),
        };
        let (version, bridge) = link.judged.versions[self.version];
        let opening = Opening {
            version,
            bridge,
            wall: wall(),
            subscribed: self.subscribed,
            doubtful: self.doubtful && self.version > 0,
            fresh: self.fresh,
            new_filters: link.unasked.borrow().clone(),
            old_filters: link.old_remote.clone(),
            inflight: 0,
            probe_pause: self.probe_pause,
            suspects: std::mem::take(&mut self.suspects),
        };
        let relay = Relay::new(Arc::clone(&self.plan), opening, Time::ZERO);
        let mut wire = Wire::new(relay, transport, Instant::now());
        let (why, online) = self.relay(link, server, &mut wire).await;
        wire.pass_last_words().await;
        self.probe_pause = wire.relay.probe_pause();
        let again = online.is_zero() && self.next_version(link, &wire, &why);
        let (found, suspects) = wire.relay.conclude(why.may_be_for_a_message());
        self.suspects = suspects;
        link.status.borrow_mut().aside = self.suspects.len() as u64;
        wire.close().await;
        let acquitted = matches!(why, Why::End(End::Acquitted));
        let why = if again || acquitted { String::new() } else { link.judged.plan.blot(&why.to_string()) };
        if found == Found::Trial {
            self.verdict.clone_from(&why);
        }
        say_found(link, server, &found);
        let soon = acquitted || found == Found::Trial;
        Tried { why, online, again, provoked: soon || found == Found::NoWitness, soon }
    }

    /// Until the connection ends: why, and how long it was online.
    async fn relay(&mut self, link: &mut Link, server: &Server, wire: &mut Wire) -> (Why, Duration) {
        let opened = Instant::now() + OPEN_TIMEOUT;
        let answered = Instant::now() + self.patience;
        let mut online = None;
        let lasted = |online: Option<Instant>| online.map_or(Duration::ZERO, |since| since.elapsed());
        loop {
            let deadline = match online {
                Some(_) => Instant::now() + TICK,
                None if wire.relay.is_unanswered() => answered,
                None => opened,
            };
            let step = wire.run(Some(deadline)).await;
            self.look(link, wire);
            match step {
                Step::WantsLocal => {
                    let home = &link.home;
                    match timeout_at(opened, home.connector.connect(&home.server)).await {
                        Ok(Ok(transport)) => wire.connect_local(transport),
                        Ok(Err(error)) => {
                            return (Why::Other(format!("this broker: {error}")), lasted(online));
                        }
                        Err(_) => {
                            return (Why::Other("this broker does not answer".to_owned()), lasted(online));
                        }
                    }
                }
                Step::Online => {
                    online = Some(Instant::now());
                    self.online(link, server, wire);
                }
                Step::Deadline if online.is_some() => {
                    if lasted(online) >= STEADY && std::mem::take(&mut link.told.flaps) {
                        self.say_up(link, server);
                    }
                }
                Step::Deadline if wire.relay.is_unanswered() => {
                    return (Why::Other(format!("no answer within {:?}", self.patience)), lasted(online));
                }
                Step::Deadline if Instant::now() < opened => {}
                Step::Deadline => {
                    let why = format!("not ready for messages within {OPEN_TIMEOUT:?}");
                    return (Why::Other(why), lasted(online));
                }
                Step::Lost(Side::Remote, error) => {
                    return (Why::Lost(lost(&error), closes(error.kind())), lasted(online));
                }
                Step::Lost(Side::Local, error) => {
                    return (Why::Other(format!("this broker: {error}")), lasted(online));
                }
                Step::Ended => {
                    let end = wire.relay.ended().cloned();
                    return (end.map_or(Why::Other(String::new()), Why::End), lasted(online));
                }
            }
        }
    }

    fn online(&mut self, link: &mut Link, server: &Server, wire: &mut Wire) {
        (self.proven, self.subscribed, self.fresh) = (true, true, false);
        if link.judged.servers.len() > 1 {
            self.patience = ANSWER_TIMEOUT;
        }
        link.found.notify_waiters();
        link.old_remote.clear();
        *link.unasked.borrow_mut() = wire.relay.take_owed_filters();
        let mut status = link.status.borrow_mut();
        status.set_state(State::Online);
        if !std::mem::take(&mut link.told.hushed) && !link.told.flaps {
            self.say_up(link, server);
        }
    }

    fn say_up(&self, link: &Link, server: &Server) {
        let (version, _) = link.judged.versions[self.version];
        tracing::info!(target: "bridge", bridge = link.judged.bridge.name, %server, %version, "the link is up");
    }

    /// Takes over what the relay counted and noted.
    fn look(&self, link: &Link, wire: &mut Wire) {
        let name = &link.judged.bridge.name;
        let mut status = link.status.borrow_mut();
        status.now = wire.relay.counters();
        status.aside = wire.relay.aside();
        for note in wire.relay.take_notes() {
            let mut text = said(&note);
            let hidden = match note {
                // That is what comes of the flapping.
                Note::Disconnected { news, .. } => {
                    text = format!("{text}: {}: {}", status.remote, self.verdict);
                    !news
                }
                _ => link.told.flaps,
            };
            if hidden {
                tracing::debug!(target: "bridge", bridge = name, "{text}");
            } else {
                tracing::warn!(target: "bridge", bridge = name, "{text}");
            }
            status.failed(text);
        }
    }

    /// Whether the other broker does not know the version, and there is another one to try.
    fn next_version(&mut self, link: &Link, wire: &Wire, why: &Why) -> bool {
        // Some old brokers just hang up. So does what stands before a broker that is away.
        let silence = matches!(why, Why::Lost(..)) && wire.relay.is_unanswered();
        let unknown = match why {
            Why::End(End::Doubtful(present)) => {
                (self.version, self.doubtful, self.doubted) = (0, false, true);
                self.fresh |= !present;
                return true;
            }
            Why::End(End::Refused(reason, _)) => *reason == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            _ => silence,
        };
        if !unknown || self.proven {
            return false;
        }
        if self.version == 0 {
            self.doubtful = silence && !self.doubted;
            self.doubted = false;
        }
        self.version = (self.version + 1) % link.judged.versions.len();
        self.version > 0
    }
}

enum Why {
    End(End),
    /// The other side is gone; whether it closed the connection.
    Lost(String, bool),
    Other(String),
}

impl Why {
    /// Whether the other broker may have ended the connection because of a message.
    fn may_be_for_a_message(&self) -> bool {
        match self {
            Self::End(end) => end.may_be_for_a_message(),
            Self::Lost(_, closed) => *closed,
            Self::Other(_) => false,
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::End(end) => end.fmt(f),
            Self::Lost(why, _) | Self::Other(why) => f.write_str(why),
        }
    }
}

/// Whether an error says that the other side closed the connection, and not that it is gone.
const fn closes(kind: ErrorKind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// What the end of a connection showed of messages.
fn say_found(link: &Link, server: &Server, found: &Found) {
    let name = &link.judged.bridge.name;
    let (news, text) = match found {
        Found::Aside(case, news) => (
            *news,
            format!(
                "a message of `{}` ({} bytes) is set aside, messages behind it pass: {server} ended the connection each \
                 time it was sent",
                case.topic.escape_debug(),
                case.bytes
            ),
        ),
        Found::All(news) => {
            (*news, format!("{server} ends the connection at every message; all of them wait"))
        }
        Found::Taken(case, news) => (
            *news,
            format!("a message of `{}` that was set aside passes after all", case.topic.escape_debug()),
        ),
        Found::Nothing | Found::Trial | Found::NoWitness => return,
    };
    match (news, found) {
        (false, _) => tracing::debug!(target: "bridge", bridge = name, "{text}"),
        (true, Found::Taken(..)) => tracing::info!(target: "bridge", bridge = name, "{text}"),
        (true, _) => tracing::warn!(target: "bridge", bridge = name, "{text}"),
    }
}

/// Microseconds since 1970.
fn wall() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

/// Why there is no transport, without the server, which is said anyway.
fn cause(error: &ConnectError) -> String {
    match error {
        ConnectError::Io { error, .. } => error.to_string(),
        ConnectError::Dns { host, error } => format!("`{host}` has no address: {error}"),
        ConnectError::Tls { cause, .. } => format!("TLS: {cause}{}", remedy(cause)),
        ConnectError::WebSocket { cause, .. } => format!("WebSocket: {cause}"),
        other => other.to_string(),
    }
}

/// Why a transport came to its end.
fn lost(error: &io::Error) -> String {
    match TlsFailure::of(error) {
        // TLS 1.3 servers refuse a client's certificate after the handshake.
        Some(failure) => format!("TLS: {failure}{}", remedy(&failure)),
        None if error.kind() == ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        None => error.to_string(),
    }
}

/// By which keys of the link.
const fn remedy(cause: &TlsFailure) -> &'static str {
    match cause.remedy() {
        Remedy::Trust => "; if it is the right one, `tls.ca` names its certificate, or that of its issuer",
        Remedy::Name => "; `url` or `tls.server_name` gives such a name",
        Remedy::Certificate => "; `tls.cert` and `tls.key` name some that it accepts",
        Remedy::Port => "; is it the right port?",
        Remedy::Elsewhere => "",
    }
}

fn said(note: &Note) -> String {
    let where_to = |side: &Side| match side {
        Side::Local => "this broker",
        Side::Remote => "the other broker",
    };
    match note {
        Note::Refused { side, reason } => {
            format!(
                "{} refuses a message ({reason}); such messages are counted and not sent again",
                where_to(side)
            )
        }
        Note::TooLarge { side, topic, bytes } => format!(
            "a message of `{}` is dropped: {} takes no packet of {bytes} bytes, or no such topic",
            topic.escape_debug(),
            where_to(side)
        ),
        Note::Disconnected { topic, bytes, .. } => format!(
            "a message of `{}` ({bytes} bytes) is dropped: the other broker takes others, but ended the connection each \
             time this one was sent",
            topic.escape_debug()
        ),
        Note::Circle { topic } => format!(
            "messages go round in a circle and are dropped: `{}` came back; see docs/bridge.md",
            topic.escape_debug()
        ),
        Note::Subscription { filter, reason } => {
            format!("the other broker refuses the subscription `{}`: {reason}", filter.escape_debug())
        }
    }
}
