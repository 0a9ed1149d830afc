//! Counters of one shard. Plain numbers, counted where things happen and summed when somebody asks.

use cork_packet::ReasonCode;

use crate::{event::Ended, io::TurnedAway};

/// Counters since the start, and present numbers.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the fields are the names of the counters")]
pub struct Stats {
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub packets_received: u64,
    pub packets_sent: u64,
    pub publish_received: u64,
    pub publish_sent: u64,
    pub publish_bytes_received: u64,
    pub publish_bytes_sent: u64,
    pub connects: u64,
    pub sockets: u64,
    /// Present connections that are through CONNECT.
    pub clients_connected: u64,
    /// Those of them that are parts of the program itself: links, sinks, its HTTP API.
    pub clients_inside: u64,
    /// Sessions, with and without connection.
    pub sessions: u64,
    pub clients_connected_max: u64,
    pub sessions_expired: u64,
    pub subscriptions: u64,
    pub shared_subscriptions: u64,
    pub retained: u64,
    pub queued_messages: u64,
    pub queued_bytes: u64,
    /// Users for whom something waits, here or on other shards, while that has a limit.
    pub queue_users: u64,
    /// Bytes that wait in the output buffers of connections.
    pub output_bytes: u64,
    pub inflight: u64,
    /// QoS 0 dropped because a connection's output buffer was full.
    pub dropped_slow_reader: u64,
    /// Dropped because a Session's queue was full.
    pub dropped_queue_full: u64,
    /// Dropped because the queues of a user's Sessions were full together.
    pub dropped_user_queue_full: u64,
    /// Dropped because the message had expired.
    pub dropped_expired: u64,
    /// Dropped because the packet would exceed the client's Maximum Packet Size.
    pub dropped_too_large: u64,
    /// Lost because the store's record of them is damaged.
    pub lost_damaged: u64,
    /// QoS 1 and 2 publications refused (5.0) or left unread (3.1.1) because the store takes nothing new.
    pub refused_full: u64,
    /// Publications refused by the rights.
    pub denied_publish: u64,
    /// Deliveries refused by the rights.
    pub denied_delivery: u64,
    /// Topic Filters of SUBSCRIBE refused by the rights, or by a hook.
    pub denied_subscribe: u64,
    /// Connections that ended because the peer broke a rule.
    pub peer_errors: u64,
    /// Connections closed because their address connects too often.
    pub refused_rate: u64,
    /// Connections closed because their address, their Client Identifier or their user is banned.
    pub refused_banned: u64,
    /// Connections to the HTTP API closed because their address has as many as it may.
    pub refused_http: u64,
    /// CONNECT refused because too many wait to be checked.
    pub refused_busy: u64,
    /// CONNECT refused for what it says of its user.
    pub refused_login: u64,
    /// Bans of addresses that began.
    pub bans: u64,
    /// Connections without CONNECT in time.
    pub closed_connect_timeout: u64,
    /// Connections that began a packet and did not go on.
    pub closed_packet_timeout: u64,
    /// Connections silent for one and a half Keep Alive.
    pub closed_keep_alive: u64,
    /// Connections closed because those not logged in kept too much.
    pub closed_login_memory: u64,
    /// How often a client was not read for a while because it published too fast.
    pub slowed: u64,
    /// Messages that passed a subscription's filter.
    pub filter_passed: u64,
    /// Messages that a subscription's filter kept back.
    pub filter_suppressed: u64,
    /// Messages that a subscription's filter kept back because it found no value in them.
    pub filter_not_understood: u64,
}

impl Stats {
    /// Messages dropped, for all reasons.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped_slow_reader
            + self.dropped_queue_full
            + self.dropped_user_queue_full
            + self.dropped_expired
            + self.dropped_too_large
            + self.lost_damaged
    }

    /// Counts the end of a connection by its cause.
    pub(crate) fn count_end(&mut self, cause: &Ended) {
        let counter = match cause {
            Ended::Rule(_) => &mut self.peer_errors,
            Ended::KeepAliveTimeout => &mut self.closed_keep_alive,
            Ended::ConnectTimeout => &mut self.closed_connect_timeout,
            Ended::PacketTimeout => &mut self.closed_packet_timeout,
            Ended::NoRoomForStrangers => &mut self.closed_login_memory,
            Ended::Refused(refused) if refused.code == ReasonCode::SERVER_BUSY => &mut self.refused_busy,
            Ended::Refused(refused) if refused.code == ReasonCode::BANNED => &mut self.refused_banned,
            Ended::Refused(refused) if refused.is_login() => &mut self.refused_login,
            _ => return,
        };
        *counter += 1;
    }

    /// Counts what the driver did.
    pub(crate) fn count_turned_away(&mut self, how: TurnedAway) {
        let (counter, more) = match how {
            TurnedAway::Rate => (&mut self.refused_rate, 1),
            TurnedAway::Banned => (&mut self.refused_banned, 1),
            TurnedAway::BanBegins => (&mut self.bans, 1),
            TurnedAway::Http(connections) => (&mut self.refused_http, u64::from(connections)),
        };
        *counter += more;
    }

    /// Adds the counters of another shard.
    pub fn add(&mut self, other: &Self) {
        macro_rules! sum { ($($field:ident)*) => { $( self.$field += other.$field; )* } }
        sum!(bytes_received bytes_sent packets_received packets_sent publish_received publish_sent
            publish_bytes_received publish_bytes_sent connects sockets clients_connected clients_inside sessions
            clients_connected_max sessions_expired subscriptions shared_subscriptions queued_messages queued_bytes queue_users
            output_bytes inflight dropped_slow_reader dropped_queue_full dropped_user_queue_full dropped_expired dropped_too_large
            lost_damaged refused_full denied_publish denied_delivery denied_subscribe peer_errors refused_rate refused_banned refused_http refused_busy refused_login bans
            closed_connect_timeout closed_packet_timeout closed_keep_alive closed_login_memory slowed filter_passed filter_suppressed filter_not_understood);
        self.retained = self.retained.max(other.retained); // every shard keeps all of them
    }
}
