//! Limits per network address: how often it may connect, and bans for those that only fail or flap.
//!
//! One [`Gate`] serves all shards. Its tables are bounded: a crowd of addresses makes it forget quiet ones, never grow.

mod book;
mod network;
mod site;

use std::{
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cork_core::{Ended, Peer};
use cork_proto::Time;

use book::Book;
pub use network::{Network, NetworkError};
pub use site::Site;

/// Limits that hold for each network address: an IPv4 address, or the /64 of an IPv6 one.
#[derive(Clone, Copy, Debug)]
pub struct AddressLimits {
    /// New connections each second; 0: no limit. A second's worth may come at once.
    pub connects_per_second: u32,
    /// Whether all this holds for loopback, too.
    pub loopback: bool,
    /// Failures (refused logins, broken rules, CONNECT or a packet not finished in time) within a minute that bring a
    /// ban; 0: none does.
    pub ban_failures: u32,
    /// Connections within a minute that broke within ten seconds of their beginning, and bring a ban; 0: none does.
    pub ban_flaps: u32,
    /// How long the first ban lasts; each further one twice as long as the one before.
    pub ban_time: Duration,
    /// How long a ban lasts at most, and how long after its end it counts as the one before.
    pub ban_time_max: Duration,
}

impl Default for AddressLimits {
    fn default() -> Self {
        Self {
            connects_per_second: 0,
            loopback: false,
            ban_failures: 30,
            ban_flaps: 120,
            ban_time: Duration::from_secs(60),
            ban_time_max: Duration::from_secs(3600),
        }
    }
}

/// A connection that breaks sooner than this flaps.
const FLAP: Duration = Duration::from_secs(10);

/// What becomes of somebody who connects.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Welcome,
    TooOften,
    Banned,
}

/// What an ended connection says of its address.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Fault {
    Failure,
    Flap,
}

pub(crate) struct Gate {
    limits: RwLock<AddressLimits>,
    book: Mutex<Book>,
    /// Those an operator banned, until seconds since 1970 or for ever.
    by_hand: RwLock<Vec<(Network, Option<u64>)>>,
    /// When the book is to be looked at again, in microseconds; `u64::MAX`: nothing is due.
    due: AtomicU64,
}

impl Gate {
    pub(crate) fn new(limits: AddressLimits) -> Self {
        Self {
            limits: RwLock::new(limits),
            book: Mutex::default(),
            by_hand: RwLock::default(),
            due: AtomicU64::new(u64::MAX),
        }
    }

    /// Other limits. Bans that were pronounced last as long as was said.
    pub(crate) fn set_limits(&self, limits: AddressLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn limits(&self) -> AddressLimits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether limits hold for an address.
    pub(crate) fn holds_for(&self, site: Site) -> bool {
        self.limits().loopback || !site.is_loopback()
    }

    /// Addresses that may not come in. These hold for loopback, too: somebody named it.
    pub(crate) fn set_bans(&self, bans: Vec<(Network, Option<u64>)>) {
        *self.by_hand.write().unwrap_or_else(PoisonError::into_inner) = bans;
    }

    /// Whether an operator banned this address.
    pub(crate) fn is_banned_by_hand(&self, from: Option<IpAddr>) -> bool {
        let bans = self.by_hand.read().unwrap_or_else(PoisonError::into_inner);
        let Some(from) = from.filter(|_| !bans.is_empty()) else { return false };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        bans.iter().any(|(network, until)| network.has(from) && until.is_none_or(|until| until > now))
    }

    /// Somebody connects. `None`: over a socket without an address.
    pub(crate) fn enter(&self, from: Option<IpAddr>, now: Time) -> Entry {
        if self.is_banned_by_hand(from) {
            return Entry::Banned;
        }
        let Some(site) = from.map(Site::of).filter(|site| self.holds_for(*site)) else {
            return Entry::Welcome;
        };
        let mut book = self.book();
        if book.turn_away_banned(site) {
            return Entry::Banned;
        }
        let per_second = self.limits().connects_per_second;
        if per_second == 0 {
            return Entry::Welcome;
        }
        let visits = book.visits(site, now);
        if visits.connect(now, per_second) {
            return Entry::Welcome;
        }
        if visits.is_news(now) {
            tracing::info!(target: "net", address = %site, per_second, "address connects too often: it is turned away");
        }
        Entry::TooOften
    }

    /// A connection ended. Returns whether that began a ban.
    pub(crate) fn ended(&self, peer: &Peer, cause: &Ended, lasted: Duration, now: Time) -> bool {
        let Some(fault) = fault(cause, lasted) else { return false };
        let Some(site) = Site::of_peer(&peer.to_string()).filter(|site| self.holds_for(*site)) else {
            return false;
        };
        let limits = self.limits();
        let (what, most) = match fault {
            Fault::Failure => ("connections that failed", limits.ban_failures),
            Fault::Flap => ("connections that broke at once", limits.ban_flaps),
        };
        let mut book = self.book();
        if most == 0 || book.is_banned(site) || book.visits(site, now).count(fault, now) < most {
            return false;
        }
        let time = book.ban(site, now, &limits);
        tracing::info!(target: "net", address = %site, seconds = time.as_secs(), "address banned: {most} {what} within a minute");
        self.set_due(&book);
        true
    }

    /// When to call [`Gate::pass_time`].
    pub(crate) fn due(&self) -> Option<Time> {
        let due = self.due.load(Ordering::Relaxed);
        (due != u64::MAX).then(|| Time::from_micros(due))
    }

    /// Ends the bans whose time is over.
    pub(crate) fn pass_time(&self, now: Time) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        let ban_time_max = self.limits().ban_time_max;
        let mut book = self.book();
        while let Some((site, turned_away)) = book.next_ended(now, ban_time_max) {
            tracing::info!(target: "net", address = %site, turned_away, "ban of an address is over");
        }
        self.set_due(&book);
    }

    fn set_due(&self, book: &Book) {
        self.due.store(book.due().map_or(u64::MAX, Time::as_micros), Ordering::Relaxed);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fault(cause: &Ended, lasted: Duration) -> Option<Fault> {
    match cause {
        failed if failed.is_failure() => Some(Fault::Failure),
        Ended::Lost | Ended::TakenOver { .. } => (lasted < FLAP).then_some(Fault::Flap),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
