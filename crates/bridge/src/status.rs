//! What is known of a link, and how it gets to `$SYS`.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
};

use cork_client::{Client, Options, Publish};

use crate::relay::Counters;

/// Where all that is said of links stands.
pub(crate) const ROOT: &str = "$SYS/broker/bridge/";

/// What a link does now.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// It tries.
    #[default]
    Connecting,
    /// Messages pass.
    Online,
    /// It waits before it tries again.
    Waiting,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Online => "online",
            Self::Waiting => "waiting",
        }
    }
}

/// What is known of a link.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) state: State,
    /// The broker it is, or tries to be, connected to.
    pub(crate) remote: String,
    pub(crate) last_error: String,
    /// Seconds since 1970 of it; 0: there was none.
    pub(crate) last_error_at: u64,
    /// Seconds since 1970 of the last change between online and not.
    pub(crate) since: u64,
    pub(crate) reconnects: u64,
    /// Messages set aside, because the other broker ended connections at them.
    pub(crate) aside: u64,
    /// Of connections that have ended, and of the present one.
    pub(crate) before: Counters,
    pub(crate) now: Counters,
}

/// Shared within the thread of the links.
pub(crate) type Shared = Rc<RefCell<Status>>;

impl Status {
    pub(crate) fn set_state(&mut self, state: State) {
        if (state == State::Online) != (self.state == State::Online) || self.since == 0 {
            self.since = now();
        }
        self.state = state;
    }

    /// The link was changed; what is counted since the broker's start goes on.
    pub(crate) fn go_on_from(&mut self, earlier: &Self) {
        (self.before, self.reconnects) = (earlier.sum(None), earlier.reconnects);
    }

    /// Something went wrong.
    pub(crate) fn failed(&mut self, why: String) {
        (self.last_error, self.last_error_at) = (why, now());
    }

    /// The present connection is over.
    pub(crate) fn settle(&mut self) {
        self.before = self.before.plus(&std::mem::take(&mut self.now));
    }

    /// What changes seldom and is worth telling at once.
    fn facts(&self) -> [(&'static str, String); 5] {
        [
            ("state", self.state.as_str().to_owned()),
            ("since", self.since.to_string()),
            ("remote", self.remote.clone()),
            ("last_error", self.last_error.clone()),
            (
                "last_error_at",
                if self.last_error_at == 0 { String::new() } else { self.last_error_at.to_string() },
            ),
        ]
    }

    /// What has passed, with what passed by the second lane.
    fn sum(&self, lane: Option<&Self>) -> Counters {
        let lane = lane.map_or_else(Counters::default, |lane| lane.before.plus(&lane.now));
        self.before.plus(&self.now).plus(&lane)
    }

    fn figures(&self, lane: Option<&Self>) -> [(&'static str, u64); 11] {
        let sum = self.sum(lane);
        [
            ("reconnects", self.reconnects),
            ("messages/out", sum.out),
            ("messages/in", sum.into),
            ("messages/refused/remote", sum.refused_remote),
            ("messages/refused/local", sum.refused_local),
            ("messages/dropped/too_large", sum.too_large),
            ("messages/dropped/too_old", sum.too_old),
            ("messages/dropped/circle", sum.circles),
            ("messages/dropped/unmapped", sum.unmapped),
            ("messages/dropped/disconnected", sum.disconnected),
            ("messages/aside", self.aside + lane.map_or(0, |lane| lane.aside)),
        ]
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Publishes what changed, retained.
pub(crate) struct Publisher {
    client: Client,
    published: BTreeMap<String, String>,
}

/// Of the client that publishes.
const CLIENT_ID: &str = "$cork/bridge";

impl Publisher {
    pub(crate) fn start(options: Options) -> Result<Self, cork_client::ConnectError> {
        let client = Client::start(options.client_id(CLIENT_ID))?;
        Ok(Self { client, published: BTreeMap::new() })
    }

    /// Publishes what changed since the last time; figures only if asked, with those of the link's second lane.
    pub(crate) fn publish(&mut self, name: &str, status: &Status, lane: Option<&Status>, figures: bool) {
        for (key, value) in status.facts() {
            self.say(name, key, value);
        }
        if figures {
            for (key, value) in status.figures(lane) {
                self.say(name, key, value.to_string());
            }
        }
    }

    fn say(&mut self, name: &str, key: &str, value: String) {
        let topic = format!("{ROOT}{name}/{key}");
        if self.published.get(&topic) == Some(&value) {
            return;
        }
        let said = Publish::new(topic.clone(), value.clone().into_bytes()).retain(true);
        // Said again the next time, if the client cannot take it now.
        if self.client.try_publish(said).is_ok() {
            self.published.insert(topic, value);
        }
    }

    /// The link is gone: so is what was said of it.
    pub(crate) fn forget(&mut self, name: &str) {
        let status = Status::default();
        let keys =
            status.facts().map(|(key, _)| key).into_iter().chain(status.figures(None).map(|(key, _)| key));
        for key in keys {
            let topic = format!("{ROOT}{name}/{key}");
            self.published.remove(&topic);
            // The client has room for a few topics, if it is connected at all.
            let _ = self.client.try_publish(Publish::new(topic, Vec::new()).retain(true));
        }
    }
}
