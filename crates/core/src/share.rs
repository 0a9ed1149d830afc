//! What one publisher may have of a turn: so many deliveries. Behind these it is not read, and what it sent waits, until
//! what it caused is on its way.
//!
//! A read of 256 KiB can hold thousands of messages, and a topic can have thousands of subscribers: handed out at once,
//! that would take seconds, which everybody else would wait, and memory that no socket had a chance to take. A
//! publisher that is held leaves its messages in its socket, and TCP tells it to send slower.

use std::collections::VecDeque;

use crate::{board::Board, conn::Holds, io::ConnId, shard::Shard};

/// Deliveries of all publishers that were held, in one turn.
const TURN_DELIVERIES: u64 = 128 << 10;
/// Deliveries one publisher causes before it is held: some milliseconds of work, and enough for one write to each of
/// thousands of subscribers to be worth while.
const SHARE_DELIVERIES_MAX: u64 = 64 << 10;
/// The same when many are held.
const SHARE_DELIVERIES_MIN: u64 = 4 << 10;
/// Turns after which one is gone on with although something waits to be written still: it may be others'.
const PATIENCE: u32 = 64;

/// Who had its share, and how far the turn is.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// Deliveries begun, ever.
    pub(crate) deliveries: u64,
    /// Publishers that are held.
    held: VecDeque<ConnId>,
    /// Everything that waited for a socket was shown to it since somebody was held, or gone on with.
    written: bool,
    /// Turns since then.
    turns: u32,
}

impl Shares {
    /// What one publisher may cause now.
    #[inline]
    pub(crate) fn deliveries_max(&self) -> u64 {
        if self.held.is_empty() {
            return SHARE_DELIVERIES_MAX;
        }
        (TURN_DELIVERIES / (self.held.len() as u64 + 1)).clamp(SHARE_DELIVERIES_MIN, SHARE_DELIVERIES_MAX)
    }

    /// Nothing waits to be shown to a socket any more.
    #[inline]
    pub(crate) fn all_is_written(&mut self) {
        self.written = true;
    }

    /// Whether somebody is held.
    pub(crate) fn is_over(&self) -> bool {
        self.held.is_empty()
    }
}

impl Board {
    /// Stops reading from a publisher until what it caused is on its way.
    #[cold]
    pub(crate) fn had_share(&mut self, id: ConnId) {
        self.hold(id.index, Holds::SHARE);
        self.shares.held.push_back(id);
        (self.shares.written, self.shares.turns) = (false, 0);
    }
}

impl Shard {
    /// Goes on with those who had their share, as many as one turn has room for.
    pub(crate) fn go_on_with_shares(&mut self) {
        let shares = &mut self.board.shares;
        if shares.held.is_empty() {
            return;
        }
        shares.turns += 1;
        if !shares.written && !self.board.dirty.is_empty() && shares.turns < PATIENCE {
            return;
        }
        (shares.written, shares.turns) = (false, 0);
        let begun = shares.deliveries;
        for _ in 0..self.board.shares.held.len() {
            let Some(id) = self.board.shares.held.pop_front() else { return };
            if self.board.unhold(id.index, Holds::SHARE) {
                self.go_on_reading(id);
            }
            if self.board.shares.deliveries - begun >= TURN_DELIVERIES {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use cork_proto::Time;

    use super::*;
    use crate::{
        config::{Limits, ShardConfig},
        io::{Input, Output},
    };

    const SUBSCRIBERS: u32 = 100;

    fn shard() -> Shard {
        let limits = Limits { sys_interval: std::time::Duration::ZERO, ..Limits::default() };
        Shard::new(ShardConfig { limits, ..ShardConfig::default() })
    }

    fn conn(index: u32) -> ConnId {
        ConnId { index, generation: 0 }
    }

    fn connect(shard: &mut Shard, index: u32) {
        shard.handle(Time::ZERO, Input::Opened { conn: conn(index), peer: "test".into() });
        let id = [index / 16, index % 16].map(|digit| u8::try_from(digit).unwrap() + b'a');
        let bytes = [&[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 2][..], &id].concat();
        feed(shard, index, &bytes);
    }

    fn feed(shard: &mut Shard, index: u32, bytes: &[u8]) {
        shard.handle(Time::ZERO, Input::Bytes { conn: conn(index), bytes });
    }

    /// Whether the connection is read, as far as the outputs say.
    fn reading(shard: &mut Shard, index: u32) -> Option<bool> {
        let mut last = None;
        while let Some(output) = shard.poll_output() {
            match output {
                Output::Reading { conn: other, wanted } if other == conn(index) => last = Some(wanted),
                Output::Close { .. } => panic!("somebody is disconnected"),
                _ => {}
            }
        }
        last
    }

    fn write_all(shard: &mut Shard) {
        while let Some(conn) = shard.poll_transmit() {
            let take = |slices: &[IoSlice<'_>]| Ok::<_, ()>(slices.iter().map(|slice| slice.len()).sum());
            if shard.transmit(Time::ZERO, conn, take).unwrap() > 0 {
                shard.transmit_again(conn);
            }
        }
    }

    #[test]
    fn a_publisher_to_many_gets_a_share_of_each_turn_and_loses_nothing() {
        let mut shard = shard();
        let publisher = SUBSCRIBERS;
        for index in 0..=publisher {
            connect(&mut shard, index);
        }
        for index in 0..SUBSCRIBERS {
            feed(&mut shard, index, &[0x82, 6, 0, 1, 0, 1, b't', 0]);
        }
        write_all(&mut shard);
        reading(&mut shard, publisher);
        let before = shard.stats().publish_sent;
        let messages = 3 * SHARE_DELIVERIES_MAX / u64::from(SUBSCRIBERS);
        let burst = [0x30, 4, 0, 1, b't', b'x'].repeat(usize::try_from(messages).unwrap());
        feed(&mut shard, publisher, &burst);
        let sent = |shard: &Shard| shard.stats().publish_sent - before;
        let most = |turns: u64| turns * (SHARE_DELIVERIES_MAX + u64::from(SUBSCRIBERS));
        assert!(sent(&shard) <= most(1), "{} at once", sent(&shard));
        assert_eq!(reading(&mut shard, publisher), Some(false));
        assert_eq!(shard.next_timeout(), Some(Time::ZERO));
        // Not before the sockets had a chance.
        shard.handle(Time::ZERO, Input::Timeout);
        assert!(sent(&shard) <= most(1));
        for turn in 2..=4 {
            write_all(&mut shard);
            shard.handle(Time::ZERO, Input::Timeout);
            assert!(sent(&shard) <= most(turn), "{} in turn {turn}", sent(&shard));
        }
        write_all(&mut shard);
        assert_eq!(sent(&shard), messages * u64::from(SUBSCRIBERS));
        assert_eq!(reading(&mut shard, publisher), Some(true));
        assert_ne!(shard.next_timeout(), Some(Time::ZERO));
    }

    #[test]
    fn who_had_a_share_is_gone_on_with_although_others_keep_the_sockets_busy() {
        let mut shard = shard();
        for index in 0..2 {
            connect(&mut shard, index);
        }
        shard.board.had_share(conn(1));
        let mut turns = 0;
        while !shard.board.shares.is_over() {
            feed(&mut shard, 0, &[0xC0, 0]); // its answer waits to be written
            shard.handle(Time::ZERO, Input::Timeout);
            turns += 1;
        }
        assert_eq!(turns, PATIENCE);
        assert_eq!(reading(&mut shard, 1), Some(true));
    }
}
