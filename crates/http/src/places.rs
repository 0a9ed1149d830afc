//! Places for connections: so many over all listeners, and so many of them for one network address.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cork_broker::{Operator, Site};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once over all listeners.
const CONNECTIONS_MAX: usize = 512;
/// That connections are closed for their address is told of once in this time.
const SILENCE: Duration = Duration::from_secs(60);

/// All places.
pub(crate) struct Places {
    operator: Operator,
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// How many an address has; none that has no place.
    sites: HashMap<Site, u32>,
    turned_away: u32,
    told: Option<Instant>,
}

/// A place that is taken, until this value is dropped.
pub(crate) struct Place {
    _free: OwnedSemaphorePermit,
    site: Site,
    places: Arc<Places>,
}

impl Places {
    pub(crate) fn new(operator: Operator) -> Self {
        Self { operator, free: Arc::new(Semaphore::new(CONNECTIONS_MAX)), taken: Mutex::default() }
    }

    /// A place that nobody has, as soon as there is one.
    pub(crate) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Gives it to who has connected; none if its address has as many as it may.
    pub(crate) fn take(self: &Arc<Self>, free: OwnedSemaphorePermit, from: IpAddr) -> Option<Place> {
        let site = Site::of(from);
        let most = self.most(site);
        let mut taken = self.taken();
        let has = taken.sites.entry(site).or_insert(0);
        if *has < most {
            *has += 1;
            return Some(Place { _free: free, site, places: Arc::clone(self) });
        }
        taken.turned_away = taken.turned_away.saturating_add(1);
        if taken.told.is_none_or(|told| told.elapsed() > SILENCE) {
            taken.told = Some(Instant::now());
            tracing::info!(target: "net", address = %site, most, "address has as many HTTP connections as it may: further ones are closed");
        }
        None
    }

    /// How many an address may have.
    fn most(&self, site: Site) -> u32 {
        let limits = &self.operator.config().limits;
        match limits.http_connections_per_address {
            0 => u32::MAX,
            _ if site.is_loopback() && !limits.loopback => u32::MAX,
            most => most,
        }
    }

    /// How many were closed since this was asked last, if any.
    pub(crate) fn turned_away(&self) -> Option<u32> {
        Some(std::mem::take(&mut self.taken().turned_away)).filter(|connections| *connections > 0)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut has) = self.places.taken().sites.entry(self.site) {
            match has.get() {
                0 | 1 => drop(has.remove()),
                _ => *has.get_mut() -= 1,
            }
        }
    }
}
