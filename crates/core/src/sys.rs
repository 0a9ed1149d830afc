//! `$SYS`: what the broker says of itself, under the names Mosquitto gave these topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use cork_packet::QoS;
use cork_proto::Time;

use crate::{
    board::Timer,
    conn::NO_SESSION,
    connect::broker_publisher,
    deliver::Publication,
    filters::{FilterCounts, NAMED},
    io::{Health, Item},
    shard::Shard,
    stats::Stats,
};

/// Windows of the load averages, in minutes.
const LOADS: [(u32, &str); 3] = [(1, "1min"), (5, "5min"), (15, "15min")];

type Counter = fn(&Stats) -> u64;

/// Counters that have a load average: name and counter.
const LOADED: [(&str, Counter); 9] = [
    ("messages/received", |s| s.packets_received),
    ("messages/sent", |s| s.packets_sent),
    ("publish/received", |s| s.publish_received),
    ("publish/sent", |s| s.publish_sent),
    ("publish/dropped", Stats::dropped),
    ("bytes/received", |s| s.bytes_received),
    ("bytes/sent", |s| s.bytes_sent),
    ("sockets", |s| s.sockets),
    ("connections", |s| s.connects),
];

/// Plain numbers: topic below `$SYS/broker/` and counter.
const PLAIN: [(&str, Counter); 55] = [
    ("clients/total", |s| s.sessions),
    ("clients/connected", |s| s.clients_connected),
    ("clients/active", |s| s.clients_connected),
    ("clients/disconnected", |s| s.sessions.saturating_sub(s.clients_connected)),
    ("clients/inactive", |s| s.sessions.saturating_sub(s.clients_connected)),
    ("clients/maximum", |s| s.clients_connected_max),
    ("clients/expired", |s| s.sessions_expired),
    ("connections/socket/count", |s| s.sockets),
    ("messages/received", |s| s.packets_received),
    ("messages/sent", |s| s.packets_sent),
    ("messages/inflight", |s| s.inflight),
    ("messages/stored", |s| s.queued_messages + s.retained),
    ("messages/dropped/total", Stats::dropped),
    ("messages/dropped/slow_reader", |s| s.dropped_slow_reader),
    ("messages/dropped/queue_full", |s| s.dropped_queue_full),
    ("messages/dropped/user_queue_full", |s| s.dropped_user_queue_full),
    ("messages/dropped/expired", |s| s.dropped_expired),
    ("messages/dropped/too_large", |s| s.dropped_too_large),
    ("messages/dropped/damaged", |s| s.lost_damaged),
    ("messages/refused/store_full", |s| s.refused_full),
    ("messages/denied/publish", |s| s.denied_publish),
    ("messages/denied/delivery", |s| s.denied_delivery),
    ("subscriptions/denied", |s| s.denied_subscribe),
    ("connections/peer_errors", |s| s.peer_errors),
    ("connections/refused/rate", |s| s.refused_rate),
    ("connections/refused/banned", |s| s.refused_banned),
    ("connections/refused/http", |s| s.refused_http),
    ("connections/refused/busy", |s| s.refused_busy),
    ("connections/refused/login", |s| s.refused_login),
    ("connections/closed/connect_timeout", |s| s.closed_connect_timeout),
    ("connections/closed/packet_timeout", |s| s.closed_packet_timeout),
    ("connections/closed/keep_alive", |s| s.closed_keep_alive),
    ("connections/closed/login_memory", |s| s.closed_login_memory),
    ("addresses/banned", |s| s.bans),
    ("clients/slowed", |s| s.slowed),
    ("store/messages/count", |s| s.queued_messages + s.retained),
    ("store/messages/bytes", |s| s.queued_bytes),
    ("subscriptions/count", |s| s.subscriptions),
    ("shared_subscriptions/count", |s| s.shared_subscriptions),
    ("retained messages/count", |s| s.retained),
    ("publish/messages/received", |s| s.publish_received),
    ("publish/messages/sent", |s| s.publish_sent),
    ("publish/messages/dropped", Stats::dropped),
    ("publish/bytes/received", |s| s.publish_bytes_received),
    ("publish/bytes/sent", |s| s.publish_bytes_sent),
    ("bytes/received", |s| s.bytes_received),
    ("bytes/sent", |s| s.bytes_sent),
    ("packet/in", |s| s.packets_received),
    ("packet/out", |s| s.packets_sent),
    ("queue/messages", |s| s.queued_messages),
    ("queue/bytes", |s| s.queued_bytes),
    ("connects/total", |s| s.connects),
    ("filters/passed", |s| s.filter_passed),
    ("filters/suppressed", |s| s.filter_suppressed),
    ("filters/not_understood", |s| s.filter_not_understood),
];

/// What was published last, so that only changes are published again.
#[derive(Default)]
pub(crate) struct Sys {
    published: BTreeMap<String, String>,
    loads: [[f64; LOADS.len()]; LOADED.len()],
    last: Option<(Time, Stats)>,
    /// As the driver measured it last.
    pub(crate) health: Health,
}

impl Shard {
    pub(crate) fn start_sys(&mut self) {
        if !self.board.config.limits.sys_interval.is_zero() {
            let now = self.board.now;
            self.sys_due = now;
            self.board.at(now, Timer::Sys);
        }
    }

    pub(crate) fn on_sys_timer(&mut self) {
        let interval = self.board.config.limits.sys_interval;
        let next = self.board.now + interval;
        self.sys_due = next;
        self.board.at(next, Timer::Sys);
        self.tell_backlogs();
        self.publish_drops();
        let stats = self.stats();
        let mut filters = self.named_counts();
        if self.board.config.shard != 0 {
            self.peers.tell(0, Item::Filters(filters));
            return self.peers.tell(0, Item::Stats(Box::new(stats)));
        }
        let mut sum = stats;
        for other in self.peers.stats.iter().skip(1) {
            sum.add(other);
        }
        let version = self.board.config.version.clone();
        self.sys_value("version", &version);
        let uptime = self.board.now.as_micros() / 1_000_000;
        self.sys_value("uptime", &format_args!("{uptime} seconds"));
        for (name, counter) in PLAIN {
            self.sys_value(name, &counter(&sum));
        }
        for other in self.peers.filters.iter().skip(1).flatten() {
            match filters.iter_mut().find(|(name, _)| *name == other.0) {
                Some((_, counts)) => counts.add(&other.1),
                None => filters.push(other.clone()),
            }
        }
        let mut unused: BTreeSet<Box<str>> = self.board.filters.table.named.keys().cloned().collect();
        for (name, counts) in filters {
            self.sys_value(&format!("filters/{name}/passed"), &counts.passed);
            self.sys_value(&format!("filters/{name}/suppressed"), &counts.suppressed);
            self.sys_value(&format!("filters/{name}/not_understood"), &counts.not_understood);
            self.sys_value(&format!("filters/{name}/subscriptions"), &counts.subscriptions);
            unused.remove(&name);
        }
        for name in unused {
            self.sys_value(&format!("filters/{name}/subscriptions"), &0);
        }
        self.publish_health();
        self.publish_loads(sum);
    }

    /// What filters with names did here. Others are only in the sum: their names are whatever clients wrote.
    fn named_counts(&self) -> Vec<(Box<str>, FilterCounts)> {
        let all = self.filter_counts();
        all.filter_map(|(key, counts)| Some((key.strip_prefix(NAMED)?.into(), counts))).collect()
    }

    /// What each filter of this shard that is in use did: a named one as `$filter/<name>`, others as they were written.
    pub fn filter_counts(&self) -> impl Iterator<Item = (&str, FilterCounts)> {
        self.board.filters.rules.all_counts().map(|(key, counts)| (&**key, counts))
    }

    fn publish_health(&mut self) {
        let Health { disk_free_bytes, store_bytes, memory_bytes, pressure } = self.sys.health;
        if let Some(free) = disk_free_bytes {
            self.sys_value("disk/free/bytes", &free);
            self.sys_value("disk/store/bytes", &store_bytes);
        }
        if memory_bytes > 0 {
            self.sys_value("memory/resident/bytes", &memory_bytes);
            self.sys_value("memory/pressure", &pressure.as_str());
        }
    }

    /// Exponentially weighted averages over 1, 5 and 15 minutes, per minute, as `uptime` shows loads.
    fn publish_loads(&mut self, sum: Stats) {
        let now = self.board.now;
        if let Some((then, before)) = self.sys.last {
            let seconds = now.since(then).as_secs_f64().max(0.001);
            for (at, (name, counter)) in LOADED.iter().enumerate() {
                #[allow(clippy::cast_precision_loss, reason = "an average needs no more than 53 bits")]
                let per_minute = counter(&sum).saturating_sub(counter(&before)) as f64 * 60.0 / seconds;
                for (slot, (minutes, label)) in LOADS.iter().enumerate() {
                    let keep = (-seconds / (60.0 * f64::from(*minutes))).exp();
                    let load = &mut self.sys.loads[at][slot];
                    *load = per_minute + keep * (*load - per_minute);
                    let load = *load;
                    self.sys_value(&format!("load/{name}/{label}"), &format_args!("{load:.2}"));
                }
            }
        }
        self.sys.last = Some((now, sum));
    }

    /// Publishes one value, retained, if it changed.
    pub(crate) fn sys_value(&mut self, name: &str, value: &dyn Display) {
        let (topic, text) = (format!("$SYS/broker/{name}"), value.to_string());
        if self.sys.published.get(&topic) == Some(&text) {
            return;
        }
        self.sys_publish(&topic, &text);
        self.sys.published.insert(topic, text);
    }

    /// Takes a value back that means nothing any more.
    pub(crate) fn sys_clear(&mut self, name: &str) {
        let topic = format!("$SYS/broker/{name}");
        if self.sys.published.remove(&topic).is_some() {
            self.sys_publish(&topic, "");
        }
    }

    fn sys_publish(&mut self, topic: &str, text: &str) {
        let publisher = broker_publisher();
        let mut publication = Publication {
            qos: QoS::AtLeastOnce,
            retain: true,
            ..Publication::new(topic, text.as_bytes(), &publisher)
        };
        let records = self.board.records.len();
        self.publish(&mut publication, NO_SESSION);
        // What the broker says of itself is said anew after a start: the retained value is not worth a record.
        let retained = |record: &cork_store::Record| match record {
            cork_store::Record::Retained { message } => *message.topic() == *topic,
            _ => false,
        };
        if self.board.records.get(records).is_some_and(retained) {
            self.board.records.remove(records);
        }
    }
}
