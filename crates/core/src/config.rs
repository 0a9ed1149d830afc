//! What an operator can set, as the shard sees it: plain numbers, checked before they get here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cork_store::{Proof, Publisher, WallTime};

use crate::{filters::FilterTable, history::HistoryTable};

/// Who is let in without asking the access port.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// Everybody, whatever user name and password say: there is no user database.
    Open,
    /// Clients without a user name come in; a user name that is given is checked.
    Anonymous,
    /// Everybody is checked.
    Checked,
}

/// Who may be in, as far as a shard must know it.
#[derive(Clone, Debug)]
pub struct Users {
    /// Who comes in unasked from now on.
    pub door: Door,
    /// Every user there is; `None`: the access port alone knows.
    pub names: Option<Arc<BTreeSet<Box<str>>>>,
    /// Who may not come in all the same.
    pub bans: Arc<Bans>,
}

/// Who may not come in, by name, and until when; `u64::MAX` microseconds: for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans {
    /// By Client Identifier.
    pub clients: BTreeMap<Box<str>, WallTime>,
    /// By User Name.
    pub users: BTreeMap<Box<str>, WallTime>,
}

impl Bans {
    /// Whether somebody may not be here now.
    pub(crate) fn hold_for(&self, publisher: &Publisher, now: WallTime) -> bool {
        let holds = |until: Option<&WallTime>| until.is_some_and(|until| until.0 > now.0);
        publisher.proof != Proof::Inside
            && (holds(self.clients.get(&*publisher.client_id))
                || publisher.user_name.as_deref().is_some_and(|user| holds(self.users.get(user))))
    }
}

impl Users {
    /// Whether a client that was let in may stay.
    pub(crate) fn may_stay(&self, publisher: &Publisher) -> bool {
        if matches!(publisher.proof, Proof::Connection | Proof::Inside) {
            return true; // its certificate says who it is, not the user database; or it is the broker
        }
        match (self.door, &self.names, publisher.user_name.as_deref()) {
            (Door::Open, ..) | (_, None, _) => true,
            (door, Some(_), None) => door == Door::Anonymous,
            // A name that was taken unchecked, when there was no user database yet, is not proven by being in it now.
            (_, Some(names), Some(user)) => publisher.proof != Proof::Nobody && names.contains(user),
        }
    }
}

/// Limits and switches of a shard. Each field's consequence is described in `docs/limits.md`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest packet accepted, in bytes, fixed header included.
    pub packet_bytes_max: u32,
    /// Longest first packet accepted, in bytes: nobody is known yet.
    pub connect_bytes_max: u32,
    /// How long a connection may take until its CONNECT is complete.
    pub connect_timeout: Duration,
    /// Longest time a Session lives without a connection, in seconds; `u32::MAX`: for ever.
    pub session_expiry_seconds_max: u32,
    /// QoS 1 and 2 publications a client may have under way (5.0 Receive Maximum of the server).
    pub receive_maximum: u16,
    /// Publications this broker has under way to one client at most, whatever the client allows.
    pub inflight_max: u16,
    /// Topic Aliases a client may define.
    pub topic_alias_maximum: u16,
    /// Longest Keep Alive a client may choose, in seconds; 0: any. A longer one is replaced (Server Keep Alive).
    pub keep_alive_seconds_max: u16,
    /// Levels a Topic Name or Filter may have; 0: any number.
    pub topic_levels_max: usize,
    /// Bytes one Session may queue.
    pub queue_bytes_max: u64,
    /// Bytes all Sessions of one user may queue together; 0: any number.
    pub user_queue_bytes_max: u64,
    /// Bytes of a Session's queue that are held in memory; what is behind them, only the store has, if it can give it
    /// back.
    pub queue_head_bytes_max: u64,
    /// Bytes of all those heads of this shard together, before every queue keeps what comes in the store only.
    pub heads_bytes_max: u64,
    /// Bytes of records that may wait for the store before those who publish are no longer read. All shards' together
    /// must fit into what the store has left when it finds that its disk is full.
    pub unstored_bytes_max: usize,
    /// Bytes of retained messages in memory; of further ones only the store has the content, if it can give it back.
    pub retained_bytes_max: u64,
    /// Bytes all Sessions of this shard may queue in memory together.
    pub queue_bytes_total_max: u64,
    /// Whether QoS 0 messages are queued for absent Sessions.
    pub queue_qos0: bool,
    /// Bytes that may wait in one connection's output buffer before its QoS 0 messages are dropped.
    pub output_bytes_max: usize,
    /// Bytes that may wait in all output buffers of this shard together; shared out fairly.
    pub output_bytes_total_max: usize,
    /// PUBLISH packets of one client each second; 0: no limit.
    pub messages_per_second: u32,
    /// Bytes of PUBLISH packets of one client each second; 0: no limit.
    pub publish_bytes_per_second: u64,
    /// Bytes kept for all connections of this shard that are not logged in.
    pub login_bytes_total_max: usize,
    /// In each such time a packet that was begun must grow.
    pub packet_timeout: Duration,
    /// Whether a payload that claims to be UTF-8 is checked.
    pub payload_format_check: bool,
    /// How often `$SYS` is published; zero: never.
    pub sys_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 16 << 20,
            connect_bytes_max: 512 << 10,
            connect_timeout: Duration::from_secs(10),
            session_expiry_seconds_max: 30 * 86_400,
            receive_maximum: 1024,
            inflight_max: 16_384,
            topic_alias_maximum: 64,
            keep_alive_seconds_max: 0,
            topic_levels_max: 0,
            queue_bytes_max: 1 << 30,
            user_queue_bytes_max: 0,
            queue_head_bytes_max: 256 << 10,
            heads_bytes_max: 32 << 20,
            unstored_bytes_max: 12 << 20,
            retained_bytes_max: u64::MAX,
            queue_bytes_total_max: 1 << 30,
            queue_qos0: false,
            output_bytes_max: 8 << 20,
            output_bytes_total_max: 48 << 20,
            messages_per_second: 0,
            publish_bytes_per_second: 0,
            login_bytes_total_max: 48 << 20,
            packet_timeout: Duration::from_secs(10),
            payload_format_check: false,
            sys_interval: Duration::from_secs(10),
        }
    }
}

/// What an operator may change of a shard that runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Limits.
    pub limits: Limits,
    /// Where clients are sent when this broker is drained (5.0 Server Reference).
    pub server_reference: Option<String>,
    /// Filters that have names, or are attached to somebody's subscriptions.
    pub filters: Arc<FilterTable>,
    /// What is kept of what is published.
    pub history: Arc<HistoryTable>,
}

/// Limits that a client was told of, and that hold for it as long as it is connected.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Granted {
    /// As in [`Limits`].
    pub(crate) packet_bytes_max: u32,
    /// As in [`Limits`].
    pub(crate) receive_maximum: u16,
    /// As in [`Limits`].
    pub(crate) topic_alias_maximum: u16,
}

/// Everything a shard is told at its birth.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// This shard's number, from 0.
    pub shard: u16,
    /// How many shards there are; 64 at most.
    pub shards: u16,
    /// Seed of all hashing; secret in production, fixed in a simulation.
    pub seed: u64,
    /// Wall clock at time zero.
    pub started: WallTime,
    /// How often the store was started before: part of every message's identity.
    pub epoch: u32,
    /// Arrival of the last message of an earlier start, in microseconds since 1970-01-01 UTC.
    pub last_arrival: u64,
    /// Whether there is a mesh: it is asked for each Client Identifier, and told of filters that get a first or lose a
    /// last subscriber. A broker alone needs neither.
    pub mesh: bool,
    /// Who comes in unasked.
    pub door: Door,
    /// Whether the store gives deliveries back ([`crate::Output::Load`]): long queues are not held in memory then.
    pub loads: bool,
    /// Whether `$presence/<client id>` says who is there.
    pub presence: bool,
    /// How long that is known of a client whose Session has ended, in seconds.
    pub presence_keep_seconds: u32,
    /// Limits.
    pub limits: Limits,
    /// Filters that have names, or are attached to somebody's subscriptions.
    pub filters: Arc<FilterTable>,
    /// What is kept of what is published.
    pub history: Arc<HistoryTable>,
    /// Where clients are sent when this broker is drained (5.0 Server Reference).
    pub server_reference: Option<String>,
    /// Version text for `$SYS/broker/version`.
    pub version: String,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            shard: 0,
            shards: 1,
            seed: 0,
            started: WallTime(0),
            epoch: 0,
            last_arrival: 0,
            mesh: false,
            door: Door::Open,
            loads: false,
            presence: false,
            presence_keep_seconds: 86_400,
            limits: Limits::default(),
            filters: Arc::default(),
            history: Arc::default(),
            server_reference: None,
            version: format!("Corkboard {}", env!("CARGO_PKG_VERSION")),
        }
    }
}
