//! Listening in on one client, or on all: a copy of every byte of MQTT it sends and gets, for a trace.
//!
//! A worker without taps has one look at an empty list for each read and each write, not for each packet. What a tap
//! gets begins at a packet's first byte in each direction; after something had to be left out it begins again so.

use std::collections::BTreeMap;

use cork_core::{ConnId, Shard, hooks::ProtocolVersion};

/// Taps of one shard at once.
pub(crate) const TAPS_MAX: usize = 16;

/// Bytes of a client that is traced.
#[derive(Clone, Debug)]
pub struct Tapped {
    /// The shard it is on.
    pub shard: u16,
    /// Which of its connections.
    pub conn: ConnId,
    /// Its Client Identifier; empty if nobody knows it any more.
    pub client_id: Box<str>,
    /// Whether the client sent them; else it gets them.
    pub sent_by_client: bool,
    /// What it speaks.
    pub version: ProtocolVersion,
    /// They do not follow on those before them: some were left out.
    pub begins_anew: bool,
    /// Where they begin anew: Topic Aliases of this direction that were defined before, with their Topic Names.
    pub aliases: Vec<(u16, Box<str>)>,
    /// MQTT, in order.
    pub bytes: Vec<u8>,
}

/// What whoever traces made of [`Tapped`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was taken.
    Yes,
    /// There is no room: what follows in this direction begins anew.
    No,
    /// Nobody listens any more.
    Over,
}

/// Takes what a tap gets, on the shard's thread: must not block.
pub type Tap = Box<dyn Fn(Tapped) -> Taken + Send>;

/// One client that is listened in on.
pub(crate) struct Listening {
    /// None: all of them.
    client_id: Option<Box<str>>,
    tap: Tap,
    conns: BTreeMap<ConnId, InStep>,
}

/// How far the tap has everything of a connection.
#[derive(Copy, Clone, Debug, Default)]
struct InStep {
    /// All that the client sent so far.
    from_client: bool,
    /// All that it was given so far.
    to_client: bool,
    /// What it is given next may begin in the middle of a packet.
    cut: bool,
}

impl Listening {
    /// Listens in on a client, whether it is there or not; or on all.
    pub(crate) fn new(client_id: Option<Box<str>>, tap: Tap, shard: &Shard) -> Self {
        let step = |conn| (conn, InStep { cut: shard.waiting_bytes(conn) > 0, ..InStep::default() });
        let conns = match client_id.as_deref() {
            Some(client_id) => shard.connection_of(client_id).into_iter().map(step).collect(),
            None => shard.connections().map(step).collect(),
        };
        Self { client_id, tap, conns }
    }

    /// Gives what was left in or out. False: nobody listens any more.
    fn give(&mut self, shard: &Shard, moved: Moved<'_>) -> bool {
        let Moved { number, conn, sent_by_client, bytes, whole, left, known } = moved;
        let step = match &self.client_id {
            Some(_) => self.conns.get_mut(&conn),
            // Nobody knows how far the last packet to it got.
            None => Some(self.conns.entry(conn).or_insert_with(|| InStep { cut: true, ..InStep::default() })),
        };
        let Some(step) = step else { return true };
        let whole = if sent_by_client { whole } else { !std::mem::replace(&mut step.cut, left) };
        let in_step = if sent_by_client { &mut step.from_client } else { &mut step.to_client };
        let begins_anew = !*in_step;
        if begins_anew && !whole {
            return true;
        }
        let aliases = match (begins_anew, sent_by_client) {
            (false, _) => Vec::new(),
            (true, true) => known.to_vec(),
            // They are never given to another topic, so those it does not know yet do no harm.
            (true, false) => shard.aliases_of(conn, false),
        };
        let (version, bytes) = (shard.version_of(conn), bytes.to_vec());
        let client_id = shard.client_of(conn).map(Box::from).unwrap_or_default();
        let tapped =
            Tapped { shard: number, conn, client_id, sent_by_client, version, begins_anew, aliases, bytes };
        let taken = (self.tap)(tapped);
        *in_step = taken == Taken::Yes;
        taken != Taken::Over
    }
}

/// Bytes that went in or out.
#[derive(Copy, Clone)]
pub(crate) struct Moved<'a> {
    /// The shard's.
    pub(crate) number: u16,
    pub(crate) conn: ConnId,
    pub(crate) sent_by_client: bool,
    pub(crate) bytes: &'a [u8],
    /// From the client: a packet begins with it.
    pub(crate) whole: bool,
    /// To the client: there is more.
    pub(crate) left: bool,
    /// From the client: its Topic Aliases before these bytes, see [`Taps::known`].
    pub(crate) known: &'a [(u16, Box<str>)],
}

/// Everybody who is listened in on.
#[derive(Default)]
pub(crate) struct Taps(Vec<Listening>);

impl Taps {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more; the oldest one goes if there are too many.
    pub(crate) fn add(&mut self, listening: Listening) {
        if self.0.len() >= TAPS_MAX {
            self.0.remove(0);
        }
        self.0.push(listening);
    }

    /// Looks whose connection it is. Once it was a client's it stays so: its last packet is not missed.
    pub(crate) fn notice(&mut self, shard: &Shard, conn: ConnId) {
        let Some(client_id) = shard.client_of(conn) else { return };
        for one in &mut self.0 {
            match one.client_id.as_deref() {
                Some(wanted) if wanted == client_id => drop(one.conns.entry(conn).or_default()),
                Some(_) => {}
                None => {
                    let cut = || InStep { cut: shard.waiting_bytes(conn) > 0, ..InStep::default() };
                    one.conns.entry(conn).or_insert_with(cut);
                }
            }
        }
    }

    /// The Topic Aliases of a client if somebody has not got what it sent before: as they are before the bytes that come
    /// now, which may point them elsewhere.
    pub(crate) fn known(&self, shard: &Shard, conn: ConnId) -> Vec<(u16, Box<str>)> {
        let begins = self.0.iter().any(|one| one.conns.get(&conn).is_some_and(|step| !step.from_client));
        if begins { shard.aliases_of(conn, true) } else { Vec::new() }
    }

    /// Bytes went in or out.
    pub(crate) fn give(&mut self, shard: &Shard, moved: Moved<'_>) {
        self.0.retain_mut(|one| one.give(shard, moved));
    }

    /// A connection has ended.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        for one in &mut self.0 {
            one.conns.remove(&conn);
        }
    }
}
