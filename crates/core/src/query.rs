//! What an operator may ask a shard: present numbers, Sessions, subscriptions, retained messages, a page at a time.
//!
//! A page begins where the one before it ended (a slot, a filter, a topic), so it costs the same wherever it is. Each
//! answer looks at a limited number of things and may be short, or empty, and still have a continuation: a search for
//! what is rare takes many questions, between which the shard does its work.

use std::sync::Arc;

use cork_access::{Action, Subject};
use cork_packet::ProtocolVersion;
use cork_proto::{AliasIn, AliasOut, Time};
use cork_store::{Message, MessageId, WallTime};
use cork_topic::{FilterId, Retained as _, Scan};

use crate::{
    Stats,
    carrier::Carrier,
    conn::{SessionIx, Stage, is_inside},
    io::ConnId,
    retained::Retained,
    session::{GROUP_BIT, NO_GROUP, Session, SubValue, Subscription},
    shard::Shard,
};

/// Sessions, subscriptions or topics one question looks at, at most.
const STEPS_MAX: usize = 4096;
/// Bytes of retained messages in one answer, at most (one message more): they are shared, but whoever asked copies them.
const RETAINED_BYTES_MAX: usize = 8 << 20;
/// Bytes of Topic Names that aliases of one connection are told with, at most.
const ALIAS_BYTES_MAX: usize = 64 << 10;

/// A question.
#[derive(Clone, Debug)]
pub enum Query {
    /// The counters and present numbers.
    Stats,
    /// Sessions, from a slot on.
    Sessions {
        /// First slot to look at: 0, or what the answer before said.
        from: u32,
        /// Sessions in the answer, at most.
        limit: usize,
        /// Only those with (or only those without) a connection.
        connected: Option<bool>,
        /// Only those with this in Client Identifier, User Name or address.
        search: Option<Box<str>>,
        /// Those of the broker's own parts and of the program around it, too.
        inside: bool,
    },
    /// One Session.
    Session {
        /// Its Client Identifier.
        client_id: Box<str>,
    },
    /// Subscriptions.
    Subscriptions {
        /// Only those of this Client Identifier.
        client_id: Option<Box<str>>,
        /// Where to begin: the default, or what the answer before said.
        from: SubscriptionPlace,
        /// Subscriptions in the answer, at most.
        limit: usize,
        /// Only those with this in the filter.
        search: Option<Box<str>>,
        /// Only what this one may read.
        reader: Reader,
    },
    /// Retained messages in the order of topics.
    Retained {
        /// Topic Filter.
        filter: Box<str>,
        /// Begin after this topic.
        after: Option<Box<str>>,
        /// Messages in the answer, at most.
        limit: usize,
        /// Only what this one may read.
        reader: Reader,
    },
}

/// For whom something is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    /// For somebody who may see everything.
    Anybody,
    /// For who has this User Name.
    User(Box<str>),
}

impl Reader {
    pub(crate) fn subject(&self) -> Option<Subject<'_>> {
        match self {
            Self::Anybody => None,
            Self::User(user) => Some(Subject { user: Some(user), client_id: "" }),
        }
    }
}

/// One retained message.
#[derive(Clone, Debug)]
pub enum RetainedView {
    /// All of it.
    Here(Arc<Message>),
    /// Its content is in the store only, for memory is short: who subscribes gets it.
    Away {
        /// Topic Name.
        topic: Box<str>,
        /// Which message it is, and when it came.
        id: MessageId,
    },
}

impl RetainedView {
    /// Topic Name.
    #[must_use]
    pub fn topic(&self) -> &str {
        match self {
            Self::Here(message) => message.topic(),
            Self::Away { topic, .. } => topic,
        }
    }
}

/// An answer, of the question's kind.
#[derive(Debug)]
pub enum Answer {
    /// To [`Query::Stats`].
    Stats(Box<Stats>),
    /// To [`Query::Sessions`]; `next`: where to go on.
    Sessions {
        /// What was found.
        items: Vec<SessionView>,
        /// None: there are no more.
        next: Option<u32>,
    },
    /// To [`Query::Session`].
    Session(Option<Box<SessionView>>),
    /// To [`Query::Subscriptions`].
    Subscriptions {
        /// What was found.
        items: Vec<SubscriptionView>,
        /// None: there are no more.
        next: Option<SubscriptionPlace>,
    },
    /// To [`Query::Retained`].
    Retained {
        /// What was found.
        items: Vec<RetainedView>,
        /// None: there are no more.
        next: Option<Box<str>>,
    },
}

/// A place among the subscriptions of a shard.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionPlace {
    /// Slot of the Session.
    pub session: u32,
    /// After this filter and group of it; none: from its first one on.
    pub after: Option<(u32, u32)>,
}

/// A Session as an operator sees it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Client Identifier.
    pub client_id: Box<str>,
    /// User Name.
    pub user_name: Option<Box<str>>,
    /// Whether it is of the broker's own parts, or of the program around it.
    pub inside: bool,
    /// Since when it has, or has not, a connection.
    pub since: WallTime,
    /// Seconds it lives without a connection; `u32::MAX`: for ever.
    pub expiry_seconds: u32,
    /// When it ends; none while it has a connection, or if it never does.
    pub expires: Option<WallTime>,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Messages sent to the client and not acknowledged.
    pub in_flight: usize,
    /// Messages that wait.
    pub queued_messages: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// When the first of those that wait came to the broker, if it is in memory.
    pub queued_since: Option<WallTime>,
    /// Topic of its Will.
    pub will: Option<Box<str>>,
    /// Its connection.
    pub connection: Option<ConnectionView>,
}

/// A connection as an operator sees it.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// The driver's name for it.
    pub conn: ConnId,
    /// Address text.
    pub address: Box<str>,
    /// What carries it; none as long as the driver has not said so.
    pub carrier: Option<Carrier>,
    /// What it speaks.
    pub version: ProtocolVersion,
    /// Keep Alive in force, in seconds; 0: none.
    pub keep_alive: u16,
    /// When it was opened.
    pub connected: WallTime,
    /// When the last packet came.
    pub last_packet: WallTime,
    /// Bytes that wait for its socket.
    pub output_bytes: usize,
    /// PUBLISH packets from the client, and to it.
    pub messages: (u64, u64),
    /// Bytes of MQTT from the client, and to it.
    pub bytes: (u64, u64),
}

/// A subscription as an operator sees it.
#[derive(Clone, Debug)]
pub struct SubscriptionView {
    /// Whose.
    pub client_id: Box<str>,
    /// Topic Filter, without `$share/<group>/`.
    pub filter: String,
    /// The share's name.
    pub share: Option<Box<str>>,
    /// Subscription Options byte (5.0 3.8.3.1).
    pub options: u8,
    /// Subscription Identifier; 0: none.
    pub id: u32,
}

impl Shard {
    /// Answers a question; nothing changes.
    #[must_use]
    pub fn ask(&self, query: &Query) -> Answer {
        match query {
            Query::Stats => Answer::Stats(Box::new(self.stats())),
            Query::Sessions { from, limit, connected, search, inside } => {
                self.ask_sessions((*from, *limit), *connected, search.as_deref(), *inside)
            }
            Query::Session { client_id } => {
                let session = self.session_of(client_id).map(|six| &*self.board.sessions[six as usize]);
                Answer::Session(session.map(|session| Box::new(self.view(session))))
            }
            Query::Subscriptions { client_id, from, limit, search, reader } => {
                let only = client_id.as_deref().map(|client_id| self.session_of(client_id));
                match only {
                    Some(None) => Answer::Subscriptions { items: Vec::new(), next: None },
                    only => self.ask_subscriptions(only.flatten(), *from, *limit, search.as_deref(), reader),
                }
            }
            Query::Retained { filter, after, limit, reader } => {
                self.ask_retained(filter, after.as_deref(), *limit, reader)
            }
        }
    }

    /// The client a connection belongs to, or says it belongs to.
    #[must_use]
    pub fn client_of(&self, id: ConnId) -> Option<&str> {
        let conn = self.board.conns.get(id.index as usize)?.as_deref().filter(|conn| conn.id == id)?;
        match (&conn.stage, self.board.sessions.get(conn.session as usize)) {
            (_, Some(session)) => Some(session.client_id()),
            (Stage::Authenticating(waiting), None) => Some(&waiting.client_id),
            _ => None,
        }
    }

    /// All connections of clients that are in.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        let conns = self.board.conns.iter().flatten();
        conns.filter(|conn| conn.is_open()).map(|conn| conn.id)
    }

    /// The connection of a client.
    #[must_use]
    pub fn connection_of(&self, client_id: &str) -> Option<ConnId> {
        let session = &self.board.sessions[self.session_of(client_id)? as usize];
        self.board.conns.get(session.conn as usize)?.as_deref().map(|conn| conn.id)
    }

    /// What a connection speaks; 3.1.1 as long as nobody knows.
    #[must_use]
    pub fn version_of(&self, id: ConnId) -> ProtocolVersion {
        let conn = self.board.conns.get(id.index as usize).and_then(Option::as_deref);
        conn.map_or(ProtocolVersion::V311, |conn| conn.version)
    }

    /// The Topic Aliases of a connection with what they stand for: those the client defined, or those defined for it.
    /// Where their names are longer than 64 KiB together, some are left out.
    #[must_use]
    pub fn aliases_of(&self, id: ConnId, by_client: bool) -> Vec<(u16, Box<str>)> {
        let conn = self.board.conns.get(id.index as usize).and_then(Option::as_deref);
        let Some(conn) = conn.filter(|conn| conn.id == id) else { return Vec::new() };
        let own = conn.alias_in.as_deref().filter(|_| by_client).into_iter().flat_map(AliasIn::defined);
        let given = conn.alias_out.as_deref().filter(|_| !by_client).into_iter().flat_map(AliasOut::defined);
        let mut left = ALIAS_BYTES_MAX;
        let told = own.chain(given).map_while(|(alias, topic)| {
            left = left.checked_sub(topic.len())?;
            Some((alias, Box::from(topic)))
        });
        told.collect()
    }

    /// Whether what comes next on a connection is the first byte of a packet.
    #[must_use]
    pub fn is_between_packets(&self, id: ConnId) -> bool {
        let conn = self.board.conns.get(id.index as usize).and_then(Option::as_deref);
        conn.is_none_or(|conn| conn.inbox.is_empty())
    }

    fn ask_sessions(
        &self,
        (from, limit): (u32, usize),
        connected: Option<bool>,
        search: Option<&str>,
        inside: bool,
    ) -> Answer {
        let sessions = &self.board.sessions;
        let (mut items, mut at) = (Vec::new(), from as usize);
        let end = sessions.capacity().min(at.saturating_add(STEPS_MAX));
        while at < end && items.len() < limit {
            if let Some(session) = sessions.get(at).filter(|session| !session.over)
                && connected.is_none_or(|wanted| session.is_online() == wanted)
                && (inside || !self.is_inside(session))
                && search.is_none_or(|part| self.has_part(session, part))
            {
                items.push(self.view(session));
            }
            at += 1;
        }
        let next = (at < sessions.capacity()).then(|| u32::try_from(at).unwrap_or(u32::MAX));
        Answer::Sessions { items, next }
    }

    /// Whether the client of a Session is inside, by the connection it has now.
    pub(crate) fn is_inside(&self, session: &Session) -> bool {
        let conn = self.board.conns.get(session.conn as usize).and_then(Option::as_deref);
        is_inside(&session.publisher, conn.map(|conn| &conn.peer))
    }

    fn has_part(&self, session: &Session, part: &str) -> bool {
        let address = || {
            let conn = self.board.conns.get(session.conn as usize).and_then(Option::as_deref);
            conn.is_some_and(|conn| conn.peer.to_string().contains(part))
        };
        session.client_id().contains(part)
            || session.publisher.user_name.as_deref().is_some_and(|user| user.contains(part))
            || address()
    }

    fn wall_of(&self, time: Time) -> WallTime {
        WallTime(self.board.config.started.0 + time.as_micros())
    }

    fn view(&self, session: &Session) -> SessionView {
        let conn = self.board.conns.get(session.conn as usize).and_then(Option::as_deref);
        let connection = conn.map(|conn| ConnectionView {
            conn: conn.id,
            address: conn.peer.to_string().into(),
            carrier: None,
            version: conn.version,
            keep_alive: conn.keep_alive,
            connected: self.wall_of(conn.opened),
            last_packet: self.wall_of(conn.last_seen),
            output_bytes: conn.out.len(),
            messages: (conn.traffic.messages_in, conn.traffic.messages_out),
            bytes: (conn.traffic.bytes_in, conn.traffic.bytes_out),
        });
        let outgoing = session.outgoing.as_deref();
        SessionView {
            client_id: session.client_id().into(),
            user_name: session.publisher.user_name.clone(),
            inside: self.is_inside(session),
            since: session.since,
            expiry_seconds: session.expiry_seconds,
            expires: (session.expires != Time::NEVER && connection.is_none())
                .then(|| self.wall_of(session.expires)),
            subscriptions: session.subscriptions.len(),
            in_flight: outgoing.map_or(0, |outgoing| outgoing.inflight.len()),
            queued_messages: outgoing.map_or(0, |outgoing| outgoing.queue.len()),
            queued_bytes: outgoing.map_or(0, |outgoing| outgoing.queue.bytes),
            queued_since: outgoing
                .and_then(|outgoing| outgoing.queue.head.front())
                .map(|first| first.message.id().arrived),
            will: session.will.as_ref().map(|will| will.message.topic().into()),
            connection,
        }
    }

    fn ask_subscriptions(
        &self,
        only: Option<SessionIx>,
        from: SubscriptionPlace,
        limit: usize,
        search: Option<&str>,
        reader: &Reader,
    ) -> Answer {
        let sessions = &self.board.sessions;
        let (mut at, mut after) = (only.unwrap_or(from.session), from.after);
        let end = only.map_or_else(|| sessions.capacity(), |only| only as usize + 1);
        let (mut items, mut steps) = (Vec::new(), 0);
        while (at as usize) < end {
            if let Some(session) = sessions.get(at as usize) {
                let place = after.map(|(filter, group)| Subscription { filter: FilterId(filter), group });
                for subscription in session.subscriptions.after(place) {
                    if items.len() >= limit || steps >= STEPS_MAX {
                        return Answer::Subscriptions {
                            items,
                            next: Some(SubscriptionPlace { session: at, after }),
                        };
                    }
                    steps += 1;
                    after = Some((subscription.filter.0, subscription.group));
                    items.extend(self.subscription_view(at, session, *subscription, search, reader));
                }
            }
            steps += 1;
            if steps >= STEPS_MAX && at as usize + 1 < end {
                let next = Some(SubscriptionPlace { session: at + 1, after: None });
                return Answer::Subscriptions { items, next };
            }
            (at, after) = (at + 1, None);
        }
        Answer::Subscriptions { items, next: None }
    }

    fn subscription_view(
        &self,
        six: SessionIx,
        session: &Session,
        subscription: Subscription,
        search: Option<&str>,
        reader: &Reader,
    ) -> Option<SubscriptionView> {
        let filter = self.router.index.filter(subscription.filter);
        if search.is_some_and(|part| !filter.contains(part)) {
            return None;
        }
        if let Some(subject) = reader.subject()
            && !self.board.rights.allows_filter(subject, &filter)
        {
            return None;
        }
        let (value, share) = match subscription.group {
            NO_GROUP => (self.router.index.get(subscription.filter, six), None),
            group => {
                debug_assert!(group & GROUP_BIT == 0, "a group's own number");
                let group = self.router.groups.get(group as usize)?;
                let share = group.name.split_once('/').map_or(&*group.name, |(share, _)| share);
                (group.members.get(six), Some(share.into()))
            }
        };
        let SubValue { options, sub_id } = value?;
        Some(SubscriptionView { client_id: session.client_id().into(), filter, share, options, id: sub_id })
    }

    fn ask_retained(&self, filter: &str, after: Option<&str>, limit: usize, reader: &Reader) -> Answer {
        let (mut items, mut last): (Vec<RetainedView>, Option<Box<str>>) = (Vec::new(), after.map(Box::from));
        let (mut steps, mut bytes, now) = (0, 0, self.board.wall());
        let subject = reader.subject();
        while items.len() < limit && bytes < RETAINED_BYTES_MAX && steps < STEPS_MAX {
            match self.board.retained.scan(filter, last.as_deref(), STEPS_MAX) {
                Scan::Done => return Answer::Retained { items, next: None },
                Scan::Pause(topic) => {
                    last = Some(topic.into());
                    break;
                }
                Scan::Found(found) => {
                    let topic: Box<str> = found.topic().into();
                    let may =
                        subject.is_none_or(|subject| self.board.rights.allows(subject, Action::Read, &topic));
                    last = Some(topic.clone());
                    if may && !found.is_expired(now) {
                        bytes += usize::try_from(found.bytes_here()).unwrap_or(usize::MAX);
                        items.push(match found {
                            Retained::Here(message) => RetainedView::Here(Arc::clone(message)),
                            Retained::Away(_) => RetainedView::Away { topic, id: found.id() },
                        });
                    }
                }
            }
            steps += 1;
        }
        Answer::Retained { items, next: last }
    }
}
