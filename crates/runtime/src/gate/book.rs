//! The tables behind the gate: who came lately, and who is banned.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use cork_proto::Time;

use super::{AddressLimits, Fault, site::Site};

/// Addresses in one half of the table. When one half is full the other is forgotten.
const SITES_MAX: usize = 8192;
/// Bans remembered, running and over. With more, the one that would be forgotten first goes.
const BANS_MAX: usize = 4096;
/// Faults within this time count together.
const WINDOW: Duration = Duration::from_secs(60);
/// An address that connects too often is told of once in this time.
const SILENCE: Duration = Duration::from_secs(60);
/// Connections that may come at once after a silence, as a time at the permitted rate.
const BURST_NANOS: u64 = 1_000_000_000;

#[derive(Default)]
pub(super) struct Book {
    recent: HashMap<Site, Visits>,
    older: HashMap<Site, Visits>,
    bans: BTreeMap<Site, Ban>,
    /// When something becomes of each ban: it ends, or it is forgotten.
    dues: BTreeSet<(Time, Site)>,
}

/// What one address did lately.
#[derive(Copy, Clone, Debug)]
pub(super) struct Visits {
    owed_nanos: u64,
    since: Time,
    window: Time,
    failures: u32,
    flaps: u32,
    reported: Option<Time>,
}

struct Ban {
    times: u32,
    running: bool,
    turned_away: u64,
    due: Time,
}

impl Visits {
    fn new(now: Time) -> Self {
        Self { owed_nanos: 0, since: now, window: now, failures: 0, flaps: 0, reported: None }
    }

    /// Whether one more connection is within the rate. One that is not costs nothing: who comes too often gets the
    /// rate, not silence.
    pub(super) fn connect(&mut self, now: Time, per_second: u32) -> bool {
        let paid = u64::try_from(now.since(self.since).as_nanos()).unwrap_or(u64::MAX);
        self.since = now;
        self.owed_nanos = self.owed_nanos.saturating_sub(paid);
        let cost = 1_000_000_000 / u64::from(per_second.max(1));
        let fits = self.owed_nanos + cost <= BURST_NANOS;
        if fits {
            self.owed_nanos += cost;
        }
        fits
    }

    /// Counts a fault and returns how many of its kind the minute has.
    pub(super) fn count(&mut self, fault: Fault, now: Time) -> u32 {
        if now.since(self.window) > WINDOW {
            (self.window, self.failures, self.flaps) = (now, 0, 0);
        }
        let counter = match fault {
            Fault::Failure => &mut self.failures,
            Fault::Flap => &mut self.flaps,
        };
        *counter += 1;
        *counter
    }

    /// Whether to say that it comes too often.
    pub(super) fn is_news(&mut self, now: Time) -> bool {
        let news = self.reported.is_none_or(|at| now.since(at) > SILENCE);
        if news {
            self.reported = Some(now);
        }
        news
    }
}

impl Book {
    pub(super) fn visits(&mut self, site: Site, now: Time) -> &mut Visits {
        if !self.recent.contains_key(&site) {
            if self.recent.len() >= SITES_MAX {
                self.older = std::mem::take(&mut self.recent);
            }
            let visits = self.older.remove(&site).unwrap_or_else(|| Visits::new(now));
            self.recent.insert(site, visits);
        }
        self.recent.entry(site).or_insert_with(|| Visits::new(now))
    }

    pub(super) fn is_banned(&self, site: Site) -> bool {
        self.bans.get(&site).is_some_and(|ban| ban.running)
    }

    /// Counts one more that is not let in, if the address is banned.
    pub(super) fn turn_away_banned(&mut self, site: Site) -> bool {
        match self.bans.get_mut(&site) {
            Some(ban) if ban.running => {
                ban.turned_away += 1;
                true
            }
            _ => false,
        }
    }

    /// Bans an address; returns for how long.
    pub(super) fn ban(&mut self, site: Site, now: Time, limits: &AddressLimits) -> Duration {
        let before = self.bans.remove(&site);
        if let Some(before) = &before {
            self.dues.remove(&(before.due, site));
        } else if self.bans.len() >= BANS_MAX
            && let Some((_, first)) = self.dues.pop_first()
        {
            self.bans.remove(&first);
        }
        let times = before.map_or(0, |ban| ban.times) + 1;
        let time = limits.ban_time.saturating_mul(1 << (times - 1).min(16)).min(limits.ban_time_max);
        let due = now + time;
        self.bans.insert(site, Ban { times, running: true, turned_away: 0, due });
        self.dues.insert((due, site));
        // It begins anew afterwards.
        let visits = self.visits(site, now);
        (visits.failures, visits.flaps) = (0, 0);
        time
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.dues.first().map(|(when, _)| *when)
    }

    /// Ends the next ban whose time is over; returns whose, and how many were turned away. Forgets those that ended
    /// `remembered` ago.
    pub(super) fn next_ended(&mut self, now: Time, remembered: Duration) -> Option<(Site, u64)> {
        loop {
            let (when, site) = *self.dues.first().filter(|(when, _)| *when <= now)?;
            self.dues.pop_first();
            let Some(ban) = self.bans.get_mut(&site).filter(|ban| ban.running) else {
                self.bans.remove(&site);
                continue;
            };
            (ban.running, ban.due) = (false, when + remembered);
            self.dues.insert((ban.due, site));
            return Some((site, ban.turned_away));
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.recent.len(), self.older.len(), self.bans.len(), self.dues.len()]
    }
}
