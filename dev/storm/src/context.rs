//! What a client works with.

use cork_packet::Packet;
use cork_proto::Time;

use crate::{
    coverage::Coverage,
    ledger::Ledger,
    link::LinkIx,
    net::Net,
    options::Options,
    rng::Rng,
};

/// Everything in a storm but the clients.
pub(crate) struct Context {
    pub(crate) rng: Rng,
    pub(crate) options: Options,
    pub(crate) now: Time,
    pub(crate) net: Net,
    pub(crate) ledger: Ledger,
    pub(crate) coverage: Coverage,
    /// When the chaos was over.
    pub(crate) began_calm: Time,
}

impl Context {
    /// Puts a packet on the wire.
    pub(crate) fn send(&mut self, link: LinkIx, packet: &Packet<'_>) {
        let entry = &mut self.net.links[link];
        let mut bytes = Vec::new();
        packet.encode(entry.greeting.version, &mut bytes).expect("clients make packets that can be written");
        entry.up.extend(bytes);
    }
}
