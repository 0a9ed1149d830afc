//! A population of wildcard filters, and topics that hit some of them.
//!
//! Each device is at home on one site and has three filters: one with both wildcards, one with `+` and one with `#`.
//! A message goes to a random device, three times of four under its home site, where all three filters match, else
//! under a random one, where only the first does. Each kind of filter has subscribers of its own, so that no
//! subscriber has two filters that match one message.

use crate::payload::fold;
use crate::shape::Prefix;
use crate::units::small;

/// The population.
#[derive(Clone, Debug)]
pub(crate) struct Wildcard {
    devices: u32,
    subscribers: usize,
    seed: u64,
}

/// Where one message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) site: u32,
    pub(crate) device: u32,
    pub(crate) at_home: bool,
}

impl Hit {
    /// How many filters match.
    pub(crate) const fn copies(self) -> u32 {
        if self.at_home { 3 } else { 1 }
    }
}

impl Wildcard {
    /// `filters` in all, rounded down to three for each device, over `subscribers`, of which there are three at least.
    pub(crate) fn new(filters: usize, subscribers: usize, seed: u64) -> Self {
        Self { devices: small(filters / 3).clamp(1, 1_000_000), subscribers: subscribers.max(KINDS), seed }
    }

    pub(crate) const fn subscribers(&self) -> usize {
        self.subscribers
    }

    pub(crate) const fn devices(&self) -> usize {
        self.devices as usize
    }

    /// How many filters there are.
    pub(crate) const fn len(&self) -> usize {
        self.devices() * KINDS
    }

    /// The filters of each subscriber.
    pub(crate) fn filters(&self, run: &Prefix) -> Vec<Vec<String>> {
        let mut filters = vec![Vec::new(); self.subscribers];
        for device in 0..self.devices {
            let home = self.home(device);
            filters[self.owner(0, device)].push(format!("{run}/site/+/dev/{device:06}/#"));
            filters[self.owner(1, device)].push(format!("{run}/site/{home:03}/+/{device:06}/temperature"));
            filters[self.owner(2, device)].push(format!("{run}/site/{home:03}/dev/{device:06}/#"));
        }
        filters
    }

    /// Where message `sequence` of a publisher goes.
    #[inline]
    pub(crate) fn hit(&self, publisher: usize, sequence: u32) -> Hit {
        let random = fold(fold(self.seed, publisher as u64), u64::from(sequence));
        let device = small((random >> 40) as usize % self.devices());
        let home = self.home(device);
        let site = if random & 3 == 0 { small((random >> 8) as usize & 0xFFFF) % SITES } else { home };
        Hit { site, device, at_home: site == home }
    }

    /// The kind of the filters of a subscriber, 0 to 2.
    #[inline]
    pub(crate) const fn kind(&self, subscriber: usize) -> usize {
        subscriber % KINDS
    }

    /// Whether the subscriber owns the filter of its kind that matches.
    #[inline]
    pub(crate) fn is_owner(&self, subscriber: usize, kind: usize, hit: Hit) -> bool {
        (kind == 0 || hit.at_home) && self.owner(kind, hit.device) == subscriber
    }

    pub(crate) fn topic(&self, run: &Prefix, site: u32, device: u32) -> String {
        format!("{run}/site/{site:03}/dev/{device:06}/temperature")
    }

    /// Makes `topic`, which [`Wildcard::topic`] made, that of `hit`.
    #[inline]
    pub(crate) fn write(&self, topic: &mut String, hit: Hit) {
        let digits = Digits::of(hit);
        let at = topic.len() - TAIL;
        topic.replace_range(at..at + 3, digits.site());
        let at = at + SITE_TO_DEVICE;
        topic.replace_range(at..at + 6, digits.device());
    }

    /// Whether `topic` is that of `hit`; `like` is any topic of the run.
    #[inline]
    pub(crate) fn is_topic(&self, like: &str, topic: &str, hit: Hit) -> bool {
        let digits = Digits::of(hit);
        let at = like.len() - TAIL;
        let device = at + SITE_TO_DEVICE;
        topic.len() == like.len()
            && topic.get(..at) == like.get(..at)
            && topic.get(at..at + 3) == Some(digits.site())
            && topic.get(at + 3..device) == like.get(at + 3..device)
            && topic.get(device..device + 6) == Some(digits.device())
            && topic.get(device + 6..) == like.get(device + 6..)
    }

    fn home(&self, device: u32) -> u32 {
        small((fold(self.seed ^ 1, u64::from(device)) >> 32) as usize) % SITES
    }

    /// Subscribers of one kind are `kind`, `kind + 3`, and so on.
    #[inline]
    fn owner(&self, kind: usize, device: u32) -> usize {
        let of_kind = (self.subscribers - kind).div_ceil(KINDS);
        kind + device as usize % of_kind * KINDS
    }
}

/// The numbers of a topic in text: three digits and six.
struct Digits([u8; 9]);

impl Digits {
    #[inline]
    fn of(hit: Hit) -> Self {
        let mut digits = [b'0'; 9];
        fill(&mut digits[..3], hit.site);
        fill(&mut digits[3..], hit.device);
        Self(digits)
    }

    fn site(&self) -> &str {
        std::str::from_utf8(&self.0[..3]).unwrap_or_default()
    }

    fn device(&self) -> &str {
        std::str::from_utf8(&self.0[3..]).unwrap_or_default()
    }
}

#[inline]
fn fill(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

const KINDS: usize = 3;
const SITES: u32 = 100;
/// From the digits of the site to the end of a topic: `SSS/dev/DDDDDD/temperature`.
const TAIL: usize = 26;
/// From the digits of the site to those of the device.
const SITE_TO_DEVICE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_written_in_place() {
        let run = Prefix::new(1, 0);
        let filters = Wildcard::new(3000, 9, 42);
        let mut topic = filters.topic(&run, 0, 0);
        let hit = Hit { site: 42, device: 987_654, at_home: false };
        filters.write(&mut topic, hit);
        assert_eq!(topic, filters.topic(&run, 42, 987_654));
        assert!(filters.is_topic(&filters.topic(&run, 1, 2), &topic, hit));
        assert!(!filters.is_topic(&topic, &filters.topic(&run, 42, 987_655), hit));
        assert!(!filters.is_topic(&topic, &topic.replace("temp", "damp"), hit));
    }

    #[test]
    fn hits_are_spread_and_mostly_at_home() {
        let filters = Wildcard::new(300, 30, 1);
        let hits: Vec<Hit> = (0..10_000).map(|sequence| filters.hit(3, sequence)).collect();
        let home = hits.iter().filter(|hit| hit.at_home).count();
        assert!((7_300..7_800).contains(&home), "{home}");
        let devices: std::collections::BTreeSet<u32> = hits.iter().map(|hit| hit.device).collect();
        assert_eq!(devices.len(), 100);
        assert_eq!(filters.len(), 300);
    }
}
