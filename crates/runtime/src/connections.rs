//! A worker's connections: the socket side of each.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use cork_core::ConnId;
use cork_net::Stream;
use cork_proto::Time;
use slab::Slab;

/// How long a connection that is being closed may take to read its last packet.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long the peer of a closed connection may go on sending before it is cut: closing a socket with unread input
/// would destroy the DISCONNECT that is still on its way to the peer.
const LINGER: Duration = Duration::from_millis(1000);

/// How a connection ends, from this side.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    No,
    /// What waits is sent first.
    Flushing,
    /// All is sent, this side is shut; what still comes is thrown away.
    Lingering,
}

/// Which line a connection waits in to be read. Whole lines are served after each other: a crowd that comes, or goes,
/// does not stand before those who are there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Clients that are logged in.
    Inside,
    /// Connections that were ended by the peer.
    Leaving,
    /// Everybody else.
    Outside,
}

/// Slots that are to be read.
#[derive(Default)]
struct Lines {
    inside: VecDeque<usize>,
    leaving: VecDeque<usize>,
    outside: VecDeque<usize>,
}

impl Lines {
    fn of(&mut self, line: Line) -> &mut VecDeque<usize> {
        match line {
            Line::Inside => &mut self.inside,
            Line::Leaving => &mut self.leaving,
            Line::Outside => &mut self.outside,
        }
    }
}

/// One socket.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) id: ConnId,
    /// The socket may have something to read.
    pub(crate) readable: bool,
    /// The peer's end was announced; it stands behind what is still to be read.
    pub(crate) hung_up: bool,
    /// It stands in a line of connections to read.
    pub(crate) queued: bool,
    /// It belongs to a client that is logged in.
    pub(crate) inside: bool,
    /// The shard does not want more of it now.
    pub(crate) paused: bool,
    /// The socket took nothing; a writable event comes.
    pub(crate) blocked: bool,
    /// The socket takes nothing any more. What the peer sent before stands in it still, and counts: acknowledgements, and
    /// a DISCONNECT that takes the Will back.
    pub(crate) deaf: bool,
    pub(crate) ending: Ending,
    /// Alive as long as somebody waits for the access threads' answer.
    pub(crate) asking: Option<Arc<()>>,
    deadline: Time,
}

/// All of a worker's sockets.
#[derive(Default)]
pub(crate) struct Connections {
    slots: Slab<Connection>,
    /// By slot: how often it was used.
    generations: Vec<u32>,
    /// To be read at the next turn.
    ready: Lines,
    deadlines: BTreeSet<(Time, usize)>,
}

impl Connections {
    pub(crate) fn insert(&mut self, stream: Stream) -> ConnId {
        let entry = self.slots.vacant_entry();
        let slot = entry.key();
        if self.generations.len() <= slot {
            self.generations.resize(slot + 1, 0);
        }
        self.generations[slot] = self.generations[slot].wrapping_add(1);
        let index = u32::try_from(slot).expect("fewer sockets than 2^32");
        let id = ConnId { index, generation: self.generations[slot] };
        entry.insert(Connection {
            stream,
            id,
            readable: false,
            hung_up: false,
            queued: false,
            inside: false,
            paused: false,
            blocked: false,
            deaf: false,
            ending: Ending::No,
            asking: None,
            deadline: Time::NEVER,
        });
        id
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slots of all that are there.
    pub(crate) fn slots(&self) -> Vec<usize> {
        self.slots.iter().map(|(slot, _)| slot).collect()
    }

    pub(crate) fn at(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)
    }

    pub(crate) fn look(&self, id: ConnId) -> Option<&Connection> {
        self.slots.get(id.index as usize).filter(|connection| connection.id == id)
    }

    pub(crate) fn get(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(id.index as usize).filter(|connection| connection.id == id)
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        let connection = self.get(id)?;
        let deadline = (connection.deadline, id.index as usize);
        self.deadlines.remove(&deadline);
        Some(self.slots.remove(id.index as usize))
    }

    /// Whether there is something to read.
    pub(crate) fn any_ready(&self) -> bool {
        let Lines { inside, leaving, outside } = &self.ready;
        !(inside.is_empty() && leaving.is_empty() && outside.is_empty())
    }

    /// How many wait in a line.
    pub(crate) fn ready_in(&mut self, line: Line) -> usize {
        self.ready.of(line).len()
    }

    /// The next of a line.
    pub(crate) fn next_in(&mut self, line: Line) -> Option<usize> {
        self.ready.of(line).pop_front()
    }

    /// Puts a connection into the line of those to be read.
    pub(crate) fn mark_readable(&mut self, slot: usize) {
        let Some(connection) = self.slots.get_mut(slot) else { return };
        connection.readable = true;
        if !connection.queued && !connection.paused {
            connection.queued = true;
            let line = match connection {
                Connection { hung_up: true, .. } => Line::Leaving,
                Connection { inside: true, .. } => Line::Inside,
                _ => Line::Outside,
            };
            self.ready.of(line).push_back(slot);
        }
    }

    /// Moves a connection on in its ending; it is cut when the next step takes too long.
    pub(crate) fn set_ending(&mut self, id: ConnId, ending: Ending, now: Time) {
        let Some(connection) = self.get(id) else { return };
        connection.ending = ending;
        let deadline = now + if ending == Ending::Lingering { LINGER } else { FAREWELL };
        let before = std::mem::replace(&mut connection.deadline, deadline);
        self.deadlines.remove(&(before, id.index as usize));
        self.deadlines.insert((deadline, id.index as usize));
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(when, _)| *when)
    }

    /// A connection whose time is over.
    pub(crate) fn overdue(&mut self, now: Time) -> Option<ConnId> {
        let (when, slot) = *self.deadlines.first()?;
        if when > now {
            return None;
        }
        self.deadlines.pop_first();
        self.slots.get(slot).map(|connection| connection.id)
    }
}
