//! The shard's contract with whoever drives it.

use std::sync::Arc;

use cork_access::{Acl, CredentialsBuf};
use cork_store::{
    Fetch, Fetched, Load, Loaded, Message, Record, Replay, Replayed, Rows, SessionKey, StoreError, Ticket,
};

use crate::{Event, FilterCounts, Parcel, Peer, Pressure, Settings, Stats, Tally, Users};

/// One Network Connection, named by the driver: a slot and how often the slot was used before.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Slot; small numbers, reused.
    pub index: u32,
    /// Use of the slot.
    pub generation: u32,
}

/// What happens to a shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// A peer connected; `peer` is its address for rights and the log.
    Opened {
        /// The driver's name for the connection.
        conn: ConnId,
        /// Its address.
        peer: Peer,
    },
    /// What the layers below MQTT found out, before the first bytes.
    Identified {
        /// About whom.
        conn: ConnId,
        /// The true address, where a balancer stands between.
        peer: Peer,
        /// The user name that a client certificate proves. It is the User Name, whatever CONNECT says, and nobody is
        /// asked for a password.
        user: Option<Box<str>>,
        /// It is a part of the broker itself: neither user database nor rights bind it, and it may use Client
        /// Identifiers below [`INSIDE_PREFIX`](crate::INSIDE_PREFIX).
        inside: bool,
    },
    /// Bytes arrived, in order.
    Bytes {
        /// From where.
        conn: ConnId,
        /// What.
        bytes: &'a [u8],
    },
    /// The connection is gone, closed by the peer or after [`Output::Close`]. Nothing can be sent any more.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// As [`Input::Closed`], because the peer broke a rule of what carries MQTT (WebSocket, say). What it is told, the
    /// driver tells it.
    Broken {
        /// Which.
        conn: ConnId,
        /// The rule.
        rule: Box<str>,
    },
    /// The access port's answer to [`Output::Authenticate`] or [`Output::Exchange`].
    Authenticated {
        /// For whom.
        conn: ConnId,
        /// The answer.
        outcome: AuthOutcome,
    },
    /// The mesh's answer to [`Output::Claim`].
    Claimed {
        /// For whom.
        conn: ConnId,
        /// The answer.
        claim: Claim,
    },
    /// The store's answer to [`Output::Store`]; answers come in the order of tickets.
    Stored {
        /// Which batch.
        ticket: Ticket,
        /// Its fate.
        result: Result<(), StoreError>,
    },
    /// The store's answer to [`Output::Load`].
    Loaded(Loaded),
    /// The store's answer to [`Output::Fetch`].
    Fetched(Fetched),
    /// The history's answer to [`Output::Replay`].
    Replayed(Replayed),
    /// The store has no space for new messages, or has some again.
    Full(bool),
    /// The store has no space for anything, or has some again.
    Stuck(bool),
    /// What other shards have for this one.
    Batch(Batch),
    /// New rights; they hold from now on.
    Rights(Arc<Acl>),
    /// The user database changed: who is not in it any more is disconnected.
    Users(Users),
    /// Limits changed.
    Settings(Box<Settings>),
    /// The operator wants a client gone: it is told (5.0 0x87) and disconnected, and its Will is not sent.
    Expel {
        /// Which.
        conn: ConnId,
        /// Why, for the log and the client.
        why: Box<str>,
    },
    /// The operator wants the client of this name gone, as with [`Input::Expel`]. Nothing happens if it is not here.
    Kick {
        /// Client Identifier.
        client_id: Box<str>,
        /// Why, for the log and the client.
        why: Box<str>,
    },
    /// The operator wants a Session to end, with all it keeps; its client is disconnected first. No Will is sent.
    EndSession {
        /// Client Identifier.
        client_id: Box<str>,
        /// Why, for the log and the client.
        why: Box<str>,
    },
    /// What the driver measured.
    Health(Health),
    /// The driver did not let somebody in; for `$SYS`.
    TurnedAway(TurnedAway),
    /// [`crate::Shard::next_timeout`] has come.
    Timeout,
    /// The operator ends the broker: everybody is told and disconnected.
    Drain,
}

/// What the driver measures of the machine and the process, in bytes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Free on the disk of the data directory; `None`: there is none.
    pub disk_free_bytes: Option<u64>,
    /// What the store takes of it.
    pub store_bytes: u64,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// How near that is to what it may take.
    pub pressure: Pressure,
}

/// Why the driver did not let somebody in, or what it did about an address.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its address connects more often than it may.
    Rate,
    /// Its address is banned.
    Banned,
    /// An address was banned just now.
    BanBegins,
    /// Its address has as many connections to the HTTP API as it may; so many since this was said last.
    Http(u32),
}

/// What a shard wants done.
#[derive(Debug)]
pub enum Output {
    /// Close it and say [`Input::Closed`].
    Close {
        /// Which.
        conn: ConnId,
        /// Send what waits for it first. False when the peer has said goodbye and reads no more.
        farewell: bool,
    },
    /// The Session lives elsewhere: open the connection there and feed it `bytes` first. It is forgotten here.
    Move {
        /// Which.
        conn: ConnId,
        /// Where to.
        shard: u16,
        /// All that was read and not used.
        bytes: Vec<u8>,
    },
    /// Hand a batch to another shard, in order.
    Forward {
        /// Which.
        shard: u16,
        /// What.
        batch: Batch,
    },
    /// Check a user name and password; answer with [`Input::Authenticated`].
    Authenticate {
        /// For whom.
        conn: ConnId,
        /// What was given.
        credentials: Box<CredentialsBuf>,
    },
    /// Take the next step of an enhanced authentication (5.0 4.12).
    Exchange {
        /// For whom.
        conn: ConnId,
        /// First step: method and Client Identifier.
        begin: Option<(Box<str>, Box<str>)>,
        /// Authentication Data.
        data: Option<Vec<u8>>,
    },
    /// Ask the mesh to serve a Client Identifier's Session here; answer with [`Input::Claimed`].
    Claim {
        /// For whom.
        conn: ConnId,
        /// Client Identifier.
        client_id: Box<str>,
    },
    /// Keep these records; answer with [`Input::Stored`].
    Store {
        /// Under this number.
        ticket: Ticket,
        /// What.
        records: Vec<Record>,
    },
    /// Give these deliveries back; answer with [`Input::Loaded`].
    Load(Load),
    /// Give these retained messages back; answer with [`Input::Fetched`].
    Fetch(Fetch),
    /// Keep these messages beyond their delivery, in this order; nobody waits for it.
    Remember(Box<Rows>),
    /// Give a page of what was kept back; answer with [`Input::Replayed`]. Whatever any shard wanted kept before, in
    /// the order in which the driver heard of it, is in the page.
    Replay(Replay),
    /// Stop (or go on) reading from a connection.
    Reading {
        /// Which.
        conn: ConnId,
        /// Whether to read.
        wanted: bool,
    },
    /// A filter got its first or lost its last subscriber on this shard.
    Announce {
        /// Topic Filter.
        filter: Box<str>,
        /// First or last.
        interested: bool,
    },
    /// Something an operator may want to know.
    Event(Event),
}

/// Whether a Session is served here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is.
    Granted,
    /// Another node serves it: a v5 client is told where (5.0 0x9C with Server Reference).
    Elsewhere(Box<str>),
    /// The cluster cannot say now (5.0 0x88).
    Unavailable,
}

/// How an authentication ended, or went on.
#[derive(Debug)]
pub enum AuthOutcome {
    /// Let in. `user` replaces the User Name when the exchange found one; `data` goes into CONNACK or AUTH.
    Allowed {
        /// User Name found by an exchange.
        user: Option<Box<str>>,
        /// Authentication Data for the client.
        data: Option<Vec<u8>>,
    },
    /// Not let in.
    Denied {
        /// Whom the client said to be in an exchange, for the log.
        user: Option<Box<str>>,
    },
    /// The exchange wants another step.
    Continue {
        /// Authentication Data for the client.
        data: Vec<u8>,
    },
    /// The Authentication Method is not supported.
    UnknownMethod,
    /// Too many wait to be checked; come back later.
    Busy,
}

/// What one shard has for another at the end of a turn.
#[derive(Debug)]
pub struct Batch {
    /// Who sends it.
    pub from: u16,
    /// In order.
    pub items: Vec<Item>,
}

/// One thing in a [`Batch`].
#[derive(Debug)]
pub enum Item {
    /// A publication for the subscribers there.
    Publish {
        /// What.
        message: Arc<Message>,
        /// Plain subscriptions are meant (otherwise only `groups`).
        plain: bool,
        /// Shared subscriptions (`<share name>/<filter>`) that the sender chose this shard for.
        groups: Vec<Arc<str>>,
        /// Keep it as the topic's retained message.
        retain: bool,
        /// The store does not have it: there was no space.
        unkept: bool,
        /// Records that must hold together with what it causes there.
        with: Vec<Record>,
        /// Asks for [`Item::Noted`] once it is stored there.
        answer: Option<Waiter>,
        /// Asks for the records it causes there, for this gather of who asks: [`Item::Gathered`].
        gather: Option<u64>,
        /// The shard that asks, where the sender only passes it on: those it was chosen for had left.
        passed: Option<u16>,
    },
    /// Small publications for the plain subscriptions there.
    Parcel(Box<Parcel>),
    /// Parcels of the other side's that were taken out of.
    Emptied(Vec<Box<Parcel>>),
    /// [`Item::Noted`] for many, in that order; each counts as one, and nothing arrived that matters.
    AllNoted(Vec<Waiter>),
    /// The answer to a publication with `gather`.
    Gathered {
        /// The gather.
        gather: u64,
        /// What the other side calls its part.
        part: u64,
        /// What is to be stored with it.
        records: Vec<Record>,
        /// How this counts.
        tally: Tally,
    },
    /// A part that was given to a gather is stored.
    PartStored(u64),
    /// Whether `from` has Sessions that outlive their connections.
    Keeps(bool),
    /// `from` has its first (or lost its last) plain subscriber of a filter.
    Interest {
        /// Topic Filter.
        filter: Box<str>,
        /// First or last.
        interested: bool,
    },
    /// How many members `from` has in a shared subscription.
    Members {
        /// `<share name>/<filter>`.
        group: Arc<str>,
        /// Members with a connection.
        online: u32,
        /// All members.
        all: u32,
        /// Whether some outlive their connections.
        kept: bool,
    },
    /// Asks for [`Item::Noted`]: everything `from` said before is known then.
    Ask(Waiter),
    /// The answer to [`Item::Ask`], or to a publication with `answer`.
    Noted {
        /// Who waits for it.
        waiter: Waiter,
        /// How this counts.
        tally: Tally,
        /// The arrival of the last message that came to `from` before; 0 in the answer to a publication.
        last: u64,
    },
    /// What waits at `from` for all Sessions of a user.
    Account {
        /// User Name.
        user: Box<str>,
        /// Bytes, as they were told last.
        before: u64,
        /// Bytes now.
        now: u64,
    },
    /// Counters of `from`, for `$SYS`.
    Stats(Box<Stats>),
    /// What named filters did on `from`, for `$SYS`.
    Filters(Vec<(Box<str>, FilterCounts)>),
}

/// What waits for another shard.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// An acknowledgement.
    Answer {
        /// Its connection.
        conn: ConnId,
        /// Its number on that connection.
        number: u64,
    },
    /// The end of a Session that gave something to others.
    End {
        /// Where it stands.
        session: u32,
        /// Which it is.
        key: SessionKey,
    },
}
