//! What kind of storm a seed is. Every seed draws its own weights, so that each feature is now and then alone, now and
//! then everywhere, and now and then absent.

use std::time::Duration;

use cork_core::{Door, HistoryTable, ShardConfig};
use cork_packet::QoS;
use cork_proto::Time;
use cork_store::{Recovered, WallTime};

use crate::{plant::Plant, rng::Rng};

/// Everything drawn before the storm begins. Chances are in percent, unless the name says permille.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where all of it comes from.
    pub seed: u64,
    /// Shards of the broker.
    pub shards: u16,
    /// Clients; each has a Client Identifier of its own and keeps it.
    pub clients: usize,
    /// Moments of chaos before the calm at the end.
    pub ticks: usize,
    /// How many clients only consume through a shared subscription.
    pub workers: usize,
    /// The topics in use.
    pub topics: Vec<&'static str>,
    /// The broker's limits.
    pub receive_maximum: u16,
    /// The broker's own limit of flights to one client.
    pub inflight_max: u16,
    /// Topic Aliases clients may define.
    pub topic_alias_maximum: u16,
    /// Whether QoS 0 waits for absent Sessions.
    pub queue_qos0: bool,
    /// Bytes a Session may queue.
    pub queue_bytes_max: u64,
    /// Bytes that may wait for one slow reader before its QoS 0 messages are dropped.
    pub output_bytes_max: usize,
    /// Whether user name and password are asked for, and answered late.
    pub checked: bool,
    /// Chance of a client to do something at a moment.
    pub act: usize,
    /// Chances of bytes to move on at a moment: to the broker, to the client's socket, into the client.
    pub move_up: usize,
    /// See `move_up`.
    pub move_down: usize,
    /// See `move_up`.
    pub read: usize,
    /// Most bytes that move at once.
    pub chunk: usize,
    /// Bytes a client's socket takes before somebody must read.
    pub socket_room: usize,
    /// Chances per moment: the store answers, a batch arrives at another shard, a timeout is noticed, credentials are
    /// answered.
    pub store: usize,
    /// See `store`.
    pub mail: usize,
    /// See `store`.
    pub timeout: usize,
    /// See `store`.
    pub access: usize,
    /// Chance that outputs are drained only after several inputs.
    pub lazy_drain: usize,
    /// Per moment and client: the network breaks.
    pub cut_permille: usize,
    /// Chance that a client without connection comes back.
    pub connect: usize,
    /// Per moment and client: it connects again although it is connected.
    pub takeover_permille: usize,
    /// Per action: DISCONNECT.
    pub disconnect_permille: usize,
    /// Of connects: Clean Start.
    pub clean: usize,
    /// Of clients: their Sessions outlive their connections, as a rule.
    pub persistent: usize,
    /// Of connects: a Will.
    pub will: usize,
    /// Of connects: Keep Alive.
    pub keep_alive: usize,
    /// Of connects: Maximum Packet Size.
    pub packet_max: usize,
    /// Of connects: the client sends on without waiting for CONNACK.
    pub hasty: usize,
    /// Of a client's actions: publish (the rest subscribes and unsubscribes).
    pub publish: usize,
    /// Of publications: RETAIN.
    pub retain: usize,
    /// Of publications: a large payload.
    pub large: usize,
    /// Of publications: Message Expiry Interval.
    pub expiry: usize,
    /// Chance that an acknowledgement that is owed is sent at a moment.
    pub acknowledge: usize,
    /// Per moment: the clock jumps by seconds.
    pub jump_permille: usize,
    /// QoS of each share name.
    pub share_qos: [QoS; 2],
    /// Versions spoken.
    pub versions: &'static [u8],
    /// What the store is made of.
    pub engine: StoreKind,
    /// Per moment: the broker dies.
    pub crash_permille: usize,
    /// Of deaths: by the power that fails.
    pub power_cut: usize,
    /// Of restarts: with another number of shards.
    pub reshard: usize,
    /// Per moment: the disk runs full, and later has space again.
    pub full_permille: usize,
    /// Per moment: the disk fails to sync.
    pub fail_permille: usize,
    /// Bytes of a queue that shards hold in memory.
    pub queue_head_bytes: u64,
    /// Bytes of retained messages that shards hold in memory.
    pub retained_bytes: u64,
    /// Per moment: memory gets shorter, or there is more again.
    pub memory_permille: usize,
    /// Whether the broker says who is there.
    pub presence: bool,
    /// Clients that only look who is there.
    pub watchers: usize,
    /// Bytes that all clients' Sessions may queue together: they are one user's. 0: each is its own user, without limit.
    pub user_queue_bytes_max: u64,
    /// Clients that have the past delivered to them. 0: nothing is kept.
    pub looks_back: usize,
    /// What is wrong on purpose.
    pub plant: Option<Plant>,
}

/// What a storm's store is made of.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// Everything counts as stored; there are no crashes.
    Volatile,
    /// What records mean, without a disk.
    Model,
    /// The durable log on a simulated disk.
    Log,
}

/// What the wall clock says when a storm begins, in microseconds.
pub(crate) const WALL_MICROS: u64 = 1_700_000_000_000_000;

const TOPICS: [&str; 12] = [
    "a",
    "a/b",
    "a/b/c",
    "a/x",
    "b",
    "b/c",
    "/a",
    "a/",
    "$x/a",
    "room/kitchen/heat",
    "room/kitchen/light",
    "b/b/c/d",
];

impl Options {
    /// The options of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> (Self, Rng) {
        let mut rng = Rng::new(seed);
        let r = &mut rng;
        let clients = r.between(2, 7);
        let mut topics: Vec<&'static str> = Vec::new();
        for _ in 0..r.between(1, 6) {
            let topic = r.pick(&TOPICS);
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        let options = Self {
            seed,
            shards: r.pick(&[1, 1, 2, 2, 3, 4]),
            clients,
            ticks: r.between(60, 500),
            workers: if r.chance(45) { r.between(1, clients - 1) } else { 0 },
            topics,
            receive_maximum: r.pick(&[1, 3, 10, 20, 1000]),
            inflight_max: r.pick(&[1, 2, 4, 30, 16_384]),
            topic_alias_maximum: r.pick(&[0, 1, 2, 64]),
            queue_qos0: r.chance(25),
            queue_bytes_max: if r.chance(8) { 2000 } else { 1 << 30 },
            output_bytes_max: r.pick(&[0, 8 << 20]),
            checked: r.chance(15),
            act: r.pick(&[10, 30, 60, 90]),
            move_up: r.pick(&[20, 60, 100, 100]),
            move_down: r.pick(&[20, 60, 100, 100]),
            read: r.pick(&[20, 60, 100, 100]),
            chunk: r.pick(&[2, 10, 50, 300, 100_000, 100_000]),
            socket_room: r.pick(&[10, 100, 4000, 1 << 20]),
            store: r.pick(&[5, 20, 60, 100]),
            mail: r.pick(&[5, 20, 60, 100]),
            timeout: r.pick(&[10, 50, 100]),
            access: r.pick(&[10, 50, 100]),
            lazy_drain: r.pick(&[0, 0, 30, 70]),
            cut_permille: r.pick(&[0, 2, 5, 20]),
            connect: r.pick(&[5, 20, 60]),
            takeover_permille: r.pick(&[0, 1, 4, 15]),
            disconnect_permille: r.pick(&[0, 2, 10, 50]),
            clean: r.pick(&[0, 0, 2, 10, 40]),
            persistent: r.pick(&[20, 60, 90, 100]),
            will: r.pick(&[0, 20, 60]),
            keep_alive: r.pick(&[0, 10, 40]),
            packet_max: r.pick(&[0, 0, 20, 60]),
            hasty: r.pick(&[0, 20, 60]),
            publish: r.pick(&[40, 75, 95]),
            retain: r.pick(&[0, 20, 50, 90]),
            large: r.pick(&[0, 0, 0, 0, 0, 0, 0, 2, 10, 30]),
            expiry: r.pick(&[0, 0, 10, 40]),
            acknowledge: r.pick(&[5, 30, 70, 100]),
            jump_permille: r.pick(&[0, 1, 4, 15]),
            share_qos: [r.pick(&QOS[1..]), r.pick(&QOS)],
            versions: r.pick(&[&[3, 4, 5][..], &[5], &[5], &[4], &[4, 5]]),
            engine: r.pick(&[StoreKind::Volatile, StoreKind::Model, StoreKind::Log, StoreKind::Log]),
            crash_permille: r.pick(&[0, 3, 10, 10, 30, 60]),
            power_cut: r.pick(&[0, 50, 50, 100]),
            reshard: r.pick(&[0, 30, 80]),
            full_permille: r.pick(&[0, 0, 3, 20]),
            fail_permille: r.pick(&[0, 0, 2, 10]),
            queue_head_bytes: r.pick(&[0, 500, 2000, 256 << 10]),
            retained_bytes: u64::MAX,
            memory_permille: 0,
            presence: false,
            watchers: 0,
            user_queue_bytes_max: 0,
            looks_back: 0,
            plant: None,
        };
        // One storm in four is short of memory, by a chance of its own: the others are what they always were.
        let mut own = Rng::new(!seed);
        let options = if seed % 4 == 1 {
            let retained_bytes = own.pick(&[0, 300, 1000, u64::MAX]);
            Self { retained_bytes, memory_permille: own.pick(&[0, 10, 50, 200]), ..options }
        } else {
            options
        };
        // Likewise, one in three says who is there, and in one in five all clients are one user's with a limit.
        let mut own = Rng::new(!seed ^ 0x0007_7A7C_4E25);
        let (presence, watchers) = (seed % 3 == 2, own.between(0, 2));
        let user_queue_bytes_max = if seed % 5 == 3 { own.pick(&[600, 2000, 10_000, 100_000]) } else { 0 };
        let watchers = if presence { watchers } else { 0 };
        // And in one in four everything is kept.
        let mut own = Rng::new(!seed ^ 0x0068_6973_746F);
        let looks_back = if seed % 4 == 2 { own.between(1, 3) } else { 0 };
        (Self { presence, watchers, user_queue_bytes_max, looks_back, ..options }, rng)
    }

    /// Whose client this is.
    pub(crate) fn user_of<'a>(&self, id: &'a str) -> Option<&'a str> {
        match self.user_queue_bytes_max {
            0 => self.checked.then_some(id),
            _ => Some("everybody"),
        }
    }

    /// The configuration of one shard of a broker that was started at this moment.
    #[must_use]
    pub fn config(&self, shard: u16, started: Time, recovered: &Recovered) -> ShardConfig {
        let mut config =
            ShardConfig { shard, shards: self.shards, seed: self.seed, ..ShardConfig::default() };
        config.started = WallTime(WALL_MICROS + started.as_micros() - 1);
        config.epoch = recovered.epoch;
        config.last_arrival = recovered.last_arrival;
        config.loads = self.engine != StoreKind::Volatile;
        config.door = if self.checked { Door::Checked } else { Door::Open };
        config.limits.sys_interval = Duration::ZERO;
        // Links of the storm stand still for as long as they like, in the middle of a packet too.
        config.limits.packet_timeout = Duration::from_secs(86_400);
        config.limits.receive_maximum = self.receive_maximum;
        config.limits.inflight_max = self.inflight_max;
        config.limits.topic_alias_maximum = self.topic_alias_maximum;
        config.limits.queue_qos0 = self.queue_qos0;
        config.limits.queue_bytes_max = self.queue_bytes_max;
        config.limits.user_queue_bytes_max = self.user_queue_bytes_max;
        config.presence = self.presence;
        if self.looks_back > 0 {
            let filters = vec!["#".into(), "$x/#".into()];
            config.history = HistoryTable { filters, retained: false }.into();
        }
        config.limits.queue_head_bytes_max = self.queue_head_bytes;
        config.limits.retained_bytes_max = self.retained_bytes;
        config.limits.output_bytes_max = self.output_bytes_max;
        config
    }
}

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
