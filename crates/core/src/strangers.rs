//! What those may keep here who are not logged in yet, and how long anybody may take over one packet.
//!
//! Strangers have one budget together: whoever holds most of it goes first when it is used up, and among equals the
//! newest. A packet that was begun must go on; how long it takes as a whole depends on the link, so only progress is
//! asked for.

use std::cmp::Reverse;

use cork_proto::Time;

use crate::{
    board::Timer,
    conn::{Conn, Stage},
    event::Ended,
    io::ConnId,
    shard::Shard,
};

/// Bytes by which an unfinished packet must grow in each `packet_timeout`.
const PROGRESS_BYTES: usize = 1024;

impl Conn {
    /// Bytes kept for somebody nobody knows yet.
    fn strange_bytes(&self) -> usize {
        match &self.stage {
            Stage::AwaitConnect => self.inbox.capacity(),
            // Twice the packet: what is asked at the access port is a copy.
            Stage::Authenticating(waiting) => self.inbox.capacity() + 2 * waiting.packet.capacity(),
            Stage::Moving(_) | Stage::Connected { .. } | Stage::Closing => 0,
        }
    }
}

impl Shard {
    /// Brings the account of a connection up to date.
    pub(crate) fn count_strange_bytes(&mut self, id: ConnId) {
        let Some(conn) = self.board.conn(id) else { return };
        let bytes = conn.strange_bytes();
        let before = std::mem::replace(&mut conn.strange_bytes, bytes);
        self.board.strange_bytes += bytes;
        self.board.strange_bytes -= before;
    }

    /// Makes room when strangers keep more than they may together. An eighth at once: the search looks at everybody.
    pub(crate) fn shed_strangers(&mut self) {
        let most = self.board.config.limits.login_bytes_total_max;
        if self.board.strange_bytes <= most {
            return;
        }
        let conns = self.board.conns.iter().flatten().filter(|conn| conn.strange_bytes > 0);
        let mut largest: Vec<_> = conns.map(|conn| (conn.strange_bytes, conn.opened, conn.id)).collect();
        largest.sort_unstable_by_key(|entry| Reverse(*entry));
        for (_, _, id) in largest {
            if self.board.strange_bytes <= most - most / 8 {
                return;
            }
            self.end(id, Ended::NoRoomForStrangers);
        }
    }

    /// A connection keeps the beginning of a packet. `anew`: of one that begins now.
    pub(crate) fn note_half_packet(&mut self, id: ConnId, anew: bool) {
        let (now, patience) = (self.board.now, self.board.config.limits.packet_timeout);
        let Some(conn) = self.board.conn(id) else { return };
        if !matches!(conn.stage, Stage::Connected { .. }) {
            return; // the CONNECT timeout holds
        }
        let half = conn.half.get_or_insert_default();
        if anew {
            (half.bytes, half.heard_bytes) = (0, 0);
        }
        if conn.inbox.len() >= half.heard_bytes + PROGRESS_BYTES {
            // A long packet on a slow link is a sign of life; a byte now and then is not.
            (half.heard_bytes, conn.last_seen) = (conn.inbox.len(), now);
        }
        if half.until == Time::NEVER {
            half.until = now + patience;
            let until = half.until;
            self.board.at(until, Timer::HalfPacket(id));
        }
    }

    /// Looks whether the packet that was begun has grown. One timer serves many packets: it is not moved for each.
    pub(crate) fn on_half_packet_timer(&mut self, id: ConnId) {
        let (now, patience) = (self.board.now, self.board.config.limits.packet_timeout);
        let Some(conn) = self.board.conn(id) else { return };
        let Some(half) = conn.half.as_mut().filter(|half| half.until <= now) else { return };
        half.until = Time::NEVER;
        if conn.inbox.is_empty() || conn.holds.any() || !matches!(conn.stage, Stage::Connected { .. }) {
            return;
        }
        let (bytes, before) = (conn.inbox.len(), half.bytes);
        if before != 0 && bytes < before + PROGRESS_BYTES {
            return self.end(id, Ended::PacketTimeout);
        }
        half.bytes = bytes;
        half.until = now + patience;
        let until = half.until;
        self.board.at(until, Timer::HalfPacket(id));
    }
}
