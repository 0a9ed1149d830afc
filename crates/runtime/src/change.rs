//! What a worker does when the operator changes something: listeners, limits, certificates.

use cork_core::{Input, Settings};
use cork_proto::Time;

use crate::{
    connections::Ending,
    listeners::{ListenerChanges, OpenSocket},
    worker::{Listener, Worker},
};

/// Certificates looked at in one turn, at most: each costs up to two verifications of a signature.
const CHECKS_PER_TURN: usize = 16;

impl Worker {
    pub(crate) fn change_listeners(&mut self, changes: ListenerChanges, now: Time) {
        // Who waits in the queue of a listener that goes has connected in time.
        self.accept(now);
        let ListenerChanges { close, rewrap, open } = changes;
        for slot in close {
            let Some(at) = self.listeners.iter().position(|listener| listener.slot == slot) else { continue };
            let mut listener = self.listeners.remove(at);
            // Copies of the socket are still open elsewhere: it would go on waking this thread.
            if let Err(error) = self.poll.registry().deregister(&mut listener.socket) {
                tracing::warn!(target: "net", %error, "a listener could not be taken out of the poll");
            }
        }
        for (slot, wrap) in rewrap {
            if let Some(listener) = self.listeners.iter_mut().find(|listener| listener.slot == slot) {
                listener.wrap = wrap;
            }
        }
        for OpenSocket { slot, socket, wrap } in open {
            // Somebody may have come before this mail did.
            self.listeners.push(Listener { slot, socket, wrap, ready: true });
        }
    }

    pub(crate) fn change_settings(&mut self, settings: Box<Settings>, connections_max: usize, now: Time) {
        self.connect_timeout = settings.limits.connect_timeout;
        self.connections_max = connections_max;
        self.shard.handle(now, Input::Settings(settings));
    }

    /// Ends the connections from addresses that may not come in.
    pub(crate) fn expel_banned(&mut self, now: Time) {
        for slot in self.connections.slots() {
            let Some(connection) = self.connections.at(slot) else { continue };
            if connection.ending == Ending::No && self.gate.is_banned_by_hand(connection.stream.origin()) {
                let conn = connection.id;
                self.shard.handle(now, Input::Expel { conn, why: "its address is banned".into() });
            }
        }
    }

    /// From now on, a few in each turn, all connections are asked whether their certificate still does. Those that come
    /// meanwhile are judged by the new settings anyway.
    pub(crate) fn begin_checks(&mut self) {
        self.to_check = self.connections.slots();
    }

    pub(crate) fn check_some(&mut self, now: Time) {
        let mut left = CHECKS_PER_TURN;
        while left > 0
            && let Some(slot) = self.to_check.pop()
        {
            let Some(connection) = self.connections.at(slot) else { continue };
            if connection.ending != Ending::No || !connection.stream.is_encrypted() {
                continue;
            }
            left -= 1;
            if let Err(why) = connection.stream.check_certificate() {
                let conn = connection.id;
                self.shard.handle(now, Input::Expel { conn, why: why.to_string().into() });
            }
        }
    }
}
