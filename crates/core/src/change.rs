//! What an operator changes while the shard runs: its limits, and who may be here no longer.

use cork_packet::Connect;
use cork_proto::Time;
use cork_store::PACKET_BYTES_ASKED_BY;

use crate::{
    board::Timer,
    config::{Granted, Settings},
    event::Ended,
    io::ConnId,
    shard::Shard,
};

impl Shard {
    /// New limits hold at once, except for what a client was promised in its CONNACK: it keeps that until it connects
    /// again, and a Session its expiry.
    pub(crate) fn on_settings(&mut self, settings: Settings) {
        let Settings { limits, server_reference, filters, history } = settings;
        let ticks_otherwise = limits.sys_interval != self.board.config.limits.sys_interval;
        self.limit_users(limits.user_queue_bytes_max);
        self.board.config.limits = limits;
        self.board.config.server_reference = server_reference;
        self.board.config.history = history;
        self.on_filters(filters);
        if ticks_otherwise {
            let due = std::mem::replace(&mut self.sys_due, Time::NEVER);
            self.board.timers.remove(&(due, Timer::Sys));
            self.start_sys();
        }
    }

    /// The operator wants a client gone. It is told, and its Will is not sent, as after the removal of its user.
    pub(crate) fn on_expel(&mut self, id: ConnId, cause: Ended) {
        if let Some(six) = self.board.conn(id).map(|conn| conn.session)
            && self.board.sessions.get(six as usize).is_some()
        {
            self.disarm_will(six);
        }
        self.end(id, cause);
    }

    /// The operator wants the client of this name gone.
    pub(crate) fn on_kick(&mut self, client_id: &str, why: Box<str>) {
        let conn = self.session_of(client_id).map(|six| self.board.sessions[six as usize].conn);
        if let Some(conn) = conn.and_then(|index| self.board.conn_at(index)) {
            let id = conn.id;
            self.on_expel(id, Ended::Kicked(why));
        }
    }

    /// The operator wants a Session to end.
    pub(crate) fn on_end_session(&mut self, client_id: &str, why: Box<str>) {
        let Some(six) = self.session_of(client_id) else { return };
        let key = self.board.sessions[six as usize].key;
        self.disarm_will(six);
        self.on_kick(client_id, why);
        // One that ends with its connection is gone by now.
        if self.board.sessions.get(six as usize).is_some_and(|session| session.key == key && !session.over) {
            self.end_session(six);
        }
    }

    /// What a client is promised in its CONNACK. A part of the broker may have asked for longer packets.
    pub(crate) fn granted(&mut self, id: ConnId, connect: &Connect<'_>) -> Granted {
        let asked = |(name, bytes): (&str, &str)| {
            if name == PACKET_BYTES_ASKED_BY { bytes.parse().ok() } else { None }
        };
        let inside = self.board.conn(id).is_some_and(|conn| conn.inside);
        let asked = if inside { connect.properties.user_properties().find_map(asked) } else { None };
        let limits = &self.board.config.limits;
        Granted {
            packet_bytes_max: asked.unwrap_or(limits.packet_bytes_max),
            receive_maximum: limits.receive_maximum,
            topic_alias_maximum: limits.topic_alias_maximum,
        }
    }
}
