//! `$presence/<client id>`: who is there, said by the broker itself in a retained message.
//!
//! A broker that nobody asks for it pays nearly nothing: until the first subscription below `$presence` only the last
//! clients that left are noted, and the retained messages are made when that subscription comes. From then on, over
//! restarts too, a change is published at once while somebody subscribes. While nobody does, only the last change of
//! each client is kept for a moment and written in one go; a crash in between is harmless, as everybody whose retained
//! presence says `online` is set `offline` at the next start.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write,
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use cork_packet::{ProtocolVersion, QoS};
use cork_proto::PeerError;
use cork_store::{Message, Proof, Record, Ticket, WallTime};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::{
    Peer,
    board::Timer,
    conn::SessionIx,
    connect::broker_publisher,
    event::Ended,
    io::ConnId,
    retained::Retained,
    shard::{Shard, home_shard},
};

/// First level of the topics.
pub(crate) const ROOT: &str = "$presence";
/// Clients that left, of which is known before the first subscription: half of this at least.
const LEFT_MAX: usize = 16_384;
/// How long changes that nobody watches may wait.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// What is said of one client.
#[derive(Clone, Debug)]
struct Facts {
    online: bool,
    since: WallTime,
    address: Peer,
    protocol: &'static str,
    reason: &'static str,
    session_expiry: u32,
    /// Grows with every change, also over restarts.
    epoch: u64,
    /// When it is forgotten: nothing else is known of the client.
    expires: Option<WallTime>,
}

/// A change on its way to the store: a crash must not let somebody be there of whom the broker knows nothing any more.
#[derive(Debug)]
struct Unsaid {
    ticket: Ticket,
    message: Arc<Message>,
    /// This shard has it already; whoever subscribes here hears nothing before its SUBSCRIBE is stored, either.
    known_here: bool,
    /// Whoever subscribes gets it as a retained message, not once more as a new one.
    quiet: bool,
}

/// Changes that are still to be published.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    pending: BTreeMap<Box<str>, Facts>,
    /// Clients that left before anybody asked: the last ones, and those before.
    left: [HashMap<Box<str>, Facts, FixedState>; 2],
    /// Somebody has asked: the retained messages are there.
    asked: bool,
    /// What was recovered is being taken up: nothing is published yet.
    restoring: bool,
    /// It was taken up: the shards do not know of each other's subscriptions yet.
    starting: bool,
    /// Subscriptions here, and filters other shards have subscribers of, that begin with `$presence`.
    watchers: u64,
    /// Changes that are written down and said as soon as they are stored.
    unsaid: VecDeque<Unsaid>,
}

impl Presence {
    /// Nobody was there yet. `seed`: of the tables of those that left.
    pub(crate) fn new(seed: u64) -> Self {
        let left = [(); 2].map(|()| HashMap::with_hasher(FixedState::with_seed(seed)));
        Self { left, ..Self::default() }
    }

    /// Remembers a client that left while nobody asks.
    fn note_left(&mut self, client_id: Box<str>, facts: Facts) {
        if self.left[0].len() >= LEFT_MAX / 2 {
            self.left.swap(0, 1);
            self.left[0].clear();
        }
        self.left[0].insert(client_id, facts);
    }

    /// Whether changes are published at once.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers > 0
    }
}

/// Whether a Topic Filter, or the filter of a share, can match presence.
pub(crate) fn concerns(filter: &str) -> bool {
    filter.split('/').next() == Some(ROOT)
}

impl Shard {
    /// A filter that begins with `$presence` got (or lost) a subscriber.
    pub(crate) fn watch_presence(&mut self, watched: bool) {
        let watchers = &mut self.presence.watchers;
        *watchers = if watched { *watchers + 1 } else { watchers.saturating_sub(1) };
        if watched && !self.presence.starting {
            self.show_presence(false, true);
        }
    }

    /// The shards know of each other's subscriptions.
    pub(crate) fn start_presence(&mut self) {
        if self.presence.starting {
            self.on_presence_timer();
        }
    }

    /// What waits is due.
    pub(crate) fn on_presence_timer(&mut self) {
        self.presence.starting = false;
        if self.presence.is_watched() {
            self.show_presence(false, false);
        } else {
            self.flush_presence(false, false);
        }
    }

    /// Somebody is about to subscribe, `here` or on another shard: all that is known is published, as it stands.
    pub(crate) fn show_presence(&mut self, here: bool, quiet: bool) {
        if self.presence.restoring {
            return;
        }
        self.presence.starting = false;
        if self.board.config.presence && !std::mem::replace(&mut self.presence.asked, true) {
            for left in std::mem::take(&mut self.presence.left).into_iter().rev() {
                self.presence.pending.extend(left);
            }
            self.note_sessions();
        }
        self.flush_presence(here, quiet);
    }

    /// Notes what the Sessions say of their clients.
    fn note_sessions(&mut self) {
        let keys: Vec<usize> = self.board.sessions.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Ok(six) = SessionIx::try_from(key) else { continue };
            let session = &self.board.sessions[key];
            if session.publisher.proof == Proof::Inside {
                continue;
            }
            let (conn, client_id): (u32, Box<str>) = (session.conn, session.client_id().into());
            let mut facts = Facts {
                online: session.is_online(),
                since: session.since,
                address: Peer::default(),
                protocol: "",
                reason: "connected",
                session_expiry: session.expiry_seconds,
                epoch: 0,
                expires: None,
            };
            if let Some(conn) = self.board.conn_at(conn) {
                facts.address = conn.peer.clone();
                facts.protocol = name_of(conn.version);
            } else if self.presence.pending.contains_key(&client_id) {
                continue; // how it left is known
            } else {
                facts.reason = "broker restarted";
                facts.expires = self.presence_expiry(six);
            }
            facts.epoch = self.board.next_message_id().arrived.0;
            self.presence.pending.insert(client_id, facts);
        }
    }

    /// When the presence of a client that is away is forgotten: some time after its Session, which ends now or later.
    fn presence_expiry(&self, six: SessionIx) -> Option<WallTime> {
        let session = &self.board.sessions[six as usize];
        self.expiry_of(session.since, session.expiry_seconds)
    }

    fn expiry_of(&self, since: WallTime, session_expiry: u32) -> Option<WallTime> {
        let keep = self.board.config.presence_keep_seconds;
        (session_expiry != u32::MAX).then(|| since.plus_seconds(session_expiry).plus_seconds(keep))
    }

    /// A client is in.
    pub(crate) fn arrived(&mut self, id: ConnId, six: SessionIx) {
        // While nobody asks, that it is there is seen by its Session.
        if !self.board.config.presence || !(self.presence.asked || self.presence.is_watched()) {
            return;
        }
        let Some(conn) = self.board.conn(id) else { return };
        let (address, protocol) = (conn.peer.clone(), name_of(conn.version));
        let session = &self.board.sessions[six as usize];
        let (since, session_expiry) = (session.since, session.expiry_seconds);
        let reason = "connected";
        self.change_presence(
            six,
            Facts { online: true, since, address, protocol, reason, session_expiry, epoch: 0, expires: None },
        );
    }

    /// A client is gone; `address` is where it was.
    pub(crate) fn left(&mut self, six: SessionIx, address: &Peer, version: ProtocolVersion, cause: &Ended) {
        if !self.board.config.presence {
            return;
        }
        let session = &self.board.sessions[six as usize];
        let (since, session_expiry) = (session.since, session.expiry_seconds);
        let (protocol, reason) = (name_of(version), reason_of(cause));
        let expires = self.presence_expiry(six);
        let address = address.clone();
        let facts =
            Facts { online: false, since, address, protocol, reason, session_expiry, epoch: 0, expires };
        self.change_presence(six, facts);
    }

    fn change_presence(&mut self, six: SessionIx, mut facts: Facts) {
        if self.board.sessions[six as usize].publisher.proof == Proof::Inside {
            return; // the broker is there as long as anybody can ask
        }
        facts.epoch = self.board.next_message_id().arrived.0;
        let client_id = self.board.sessions[six as usize].client_id();
        if self.presence.watchers > 0 {
            self.presence.pending.remove(client_id); // older: it must not come after this
            let topic = topic_of(client_id);
            return self.publish_presence(&topic, &facts, false, false);
        }
        let client_id: Box<str> = client_id.into();
        if !self.presence.asked {
            if !facts.online {
                self.presence.note_left(client_id, facts);
            }
            return;
        }
        if self.presence.pending.is_empty() {
            let when = self.board.now + FLUSH_AFTER;
            self.board.at(when, Timer::Presence);
        }
        self.presence.pending.insert(client_id, facts);
    }

    /// Publishes all changes that wait.
    fn flush_presence(&mut self, here: bool, quiet: bool) {
        for (client_id, facts) in std::mem::take(&mut self.presence.pending) {
            self.publish_presence(&topic_of(&client_id), &facts, here, quiet);
        }
    }

    /// Writes a change down; it is published when that is stored. At once, if it can't be. `here`: on this shard at once
    /// in any case. `quiet`: only as retained messages.
    fn publish_presence(&mut self, topic: &str, facts: &Facts, here: bool, quiet: bool) {
        let id = self.board.next_message_id();
        let mut message = Message::new(id, topic, &[], facts.to_json().as_bytes(), broker_publisher());
        message.qos = QoS::AtLeastOnce;
        message.retain = true;
        message.set_expires(facts.expires);
        let message = Arc::new(message);
        self.board.record(Record::Retained { message: Arc::clone(&message) });
        let ticket = self.board.ticket;
        if self.board.refuses_new() {
            self.say_presence(true);
            return self.publish_written(&message, true, true);
        }
        if here {
            self.publish_written(&message, true, false);
        }
        // Also where all know it: others who subscribe here do not hear of it before it is stored, either.
        self.presence.unsaid.push_back(Unsaid { ticket, message, known_here: here, quiet });
    }

    /// Publishes the changes that are stored; `all`: also those that perhaps never will be.
    pub(crate) fn say_presence(&mut self, all: bool) {
        let stored = self.board.stored;
        while let Some(change) = self.presence.unsaid.pop_front_if(|change| all || change.ticket <= stored) {
            let newer = |kept: &Retained| kept.id() > change.message.id();
            if !self.board.retained.get(change.message.topic()).is_some_and(newer) {
                if change.quiet {
                    self.retain_written(&change.message, !change.known_here);
                } else {
                    self.publish_written(&change.message, !change.known_here, true);
                }
            }
        }
    }

    /// Another shard asks whether it knows all that was said: when it does, if something is on its way to the store.
    pub(crate) fn presence_waits_for(&self) -> Option<Ticket> {
        self.presence.unsaid.back().map(|change| change.ticket)
    }

    /// What was recovered is about to be taken up. Nothing is said before the shards know of each other's subscriptions: a
    /// Session that waits for its client is to hear of it, wherever it lives.
    pub(crate) fn begin_presence(&mut self) {
        self.presence.restoring = true;
        self.presence.starting = self.board.config.presence;
    }

    /// After a start nobody is there, whatever was true when the broker ended.
    pub(crate) fn restore_presence(&mut self) {
        let config = &self.board.config;
        let (shard, shards, seed) = (config.shard, config.shards, config.seed);
        // Only the topics below `$presence` are looked at, however many others are retained.
        let (mut found, mut online) = (false, Vec::new());
        self.board.retained.for_each_match(&format!("{ROOT}/#"), None, |retained| {
            found = true;
            if let Retained::Here(message) = retained {
                online.extend(was_online(message));
            }
            ControlFlow::Continue(())
        });
        online.retain(|(client_id, _)| home_shard(client_id, shards, seed) == shard);
        self.presence.restoring = false;
        self.presence.asked |= found && self.board.config.presence;
        let since = self.board.wall();
        if self.presence.starting {
            let now = self.board.now;
            self.board.at(now, Timer::Presence);
        }
        for (client_id, (address, protocol)) in online {
            let session = self.session_of(&client_id).map(|six| &self.board.sessions[six as usize]);
            let session_expiry = session.map_or(0, |session| session.expiry_seconds);
            let (expires, reason) = (self.expiry_of(since, session_expiry), "broker restarted");
            let epoch = self.board.next_message_id().arrived.0;
            let address = Peer::from(&*address);
            let facts =
                Facts { online: false, since, address, protocol, reason, session_expiry, epoch, expires };
            self.presence.pending.insert(client_id.into(), facts);
        }
    }
}

impl Facts {
    fn to_json(&self) -> String {
        let state = if self.online { "online" } else { "offline" };
        let mut json = format!("{{\"state\":\"{state}\",\"since\":\"{}\",\"address\":", time(self.since));
        quote(&self.address.to_string(), &mut json);
        let Self { protocol, reason, session_expiry, epoch, .. } = self;
        let _ = write!(
            json,
            ",\"protocol\":\"{protocol}\",\"reason\":\"{reason}\",\"session_expiry\":{session_expiry},\"epoch\":{epoch}}}"
        );
        json
    }
}

/// A client that is said to be online.
type Online = (String, (Box<str>, &'static str));

/// A client with its last address and protocol, if this says that it is online. What is read here, this file has
/// written.
fn was_online(message: &Message) -> Option<Online> {
    let client_id = message.topic().strip_prefix(ROOT)?.strip_prefix('/')?;
    let json = std::str::from_utf8(message.payload()).ok()?;
    json.strip_prefix("{\"state\":\"online\"")?;
    let text = |name: &str| {
        let after = json.split_once(&format!("\"{name}\":\""))?.1;
        Some(after.split_once('"')?.0)
    };
    let protocol = ["5.0", "3.1.1", "3.1"].into_iter().find(|name| text("protocol") == Some(name))?;
    let address = text("address").unwrap_or_default().into();
    Some((decode(client_id), (address, protocol)))
}

/// The topic of a client: what would be a separator or a wildcard is percent-encoded.
fn topic_of(client_id: &str) -> String {
    let mut topic = String::with_capacity(ROOT.len() + 1 + client_id.len());
    topic += ROOT;
    topic.push('/');
    push_client_level(&mut topic, client_id);
    topic
}

/// Appends a Client Identifier as one level of a topic.
pub(crate) fn push_client_level(topic: &mut String, client_id: &str) {
    for letter in client_id.chars() {
        match letter {
            '/' => *topic += "%2F",
            '+' => *topic += "%2B",
            '#' => *topic += "%23",
            '%' => *topic += "%25",
            other => topic.push(other),
        }
    }
}

fn decode(level: &str) -> String {
    level.replace("%2F", "/").replace("%2B", "+").replace("%23", "#").replace("%25", "%")
}

const fn name_of(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V31 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    }
}

const fn reason_of(cause: &Ended) -> &'static str {
    match cause {
        Ended::ByClient | Ended::ByClientWithWill => "disconnected",
        Ended::KeepAliveTimeout => "keep alive timeout",
        Ended::TakenOver { .. } => "taken over",
        Ended::Rule(PeerError::Decode(_)) => "malformed packet",
        Ended::Rule(_) | Ended::Transport(_) => "protocol error",
        Ended::Refused(_) | Ended::UserRemoved | Ended::Expelled(_) | Ended::Kicked(_) => "not authorized",
        Ended::Shutdown => "broker shut down",
        Ended::PacketTimeout => "packet timeout",
        Ended::Lost | Ended::ConnectTimeout | Ended::NoRoomForStrangers | Ended::LeftOut => "connection lost",
    }
}

/// Appends a JSON string. Addresses have nothing to escape; what a proxy says could.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                out.push('\\');
                out.push(letter);
            }
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

/// RFC 3339 in UTC with milliseconds.
fn time(at: WallTime) -> String {
    let milliseconds = at.0 / 1000;
    let (seconds, milliseconds) = (milliseconds / 1000, milliseconds % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end; 719,468 days lie between year 0 and 1970.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_799, "2000-02-29T23:59:59.000Z"),
            (1_709_210_096, "2024-02-29T12:34:56.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(time(WallTime(seconds * 1_000_000)), text);
        }
    }

    #[test]
    fn a_client_has_one_level_of_its_own() {
        for client_id in ["plain", "a/b", "a%2Fb", "+", "#", "%", "%25", "a+b#c/d%e"] {
            let topic = topic_of(client_id);
            assert_eq!(topic.matches('/').count(), 1, "{client_id}");
            assert!(!topic.contains(['+', '#']), "{client_id}");
            assert_eq!(decode(&topic[ROOT.len() + 1..]), client_id);
        }
    }
}
