//! Who waits to be checked: a line for each address, served by turns, so that a flood from one address leaves the
//! others their place.

use std::collections::{BTreeMap, VecDeque};

use crate::gate::Site;

/// Logins that wait to be checked, of all addresses together.
const LOGINS_WAITING_MAX: usize = 4096;
/// Logins of one address that wait to be checked.
const LOGINS_WAITING_PER_ADDRESS_MAX: usize = 1024;

/// Whose line one stands in; all without an address share one.
pub(super) type Lane = Option<Site>;

/// Lines of waiting jobs.
pub(super) struct Queue<J> {
    lanes: BTreeMap<Lane, VecDeque<J>>,
    /// Lanes with a job, each once; the first is served next.
    turns: VecDeque<Lane>,
    waiting: usize,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), turns: VecDeque::new(), waiting: 0 }
    }
}

impl<J> Queue<J> {
    /// Puts a job at the end of its line. Returns the one that is refused for want of room, if one is: this one, or,
    /// when all lines together are full, the last of the longest line. `limited`: the limit of one address holds.
    pub(super) fn push(&mut self, lane: Lane, job: J, limited: bool) -> Option<J> {
        let here = self.lanes.get(&lane).map_or(0, VecDeque::len);
        if limited && here >= LOGINS_WAITING_PER_ADDRESS_MAX {
            return Some(job);
        }
        let mut refused = None;
        if self.waiting >= LOGINS_WAITING_MAX {
            let longest = self.lanes.iter().max_by_key(|(_, line)| line.len());
            let Some((longest, _)) = longest.filter(|(_, line)| line.len() > here + 1) else {
                return Some(job);
            };
            refused = self.take(*longest, VecDeque::pop_back);
        }
        self.push_always(lane, job);
        refused
    }

    /// As [`Queue::push`], for a job that is not refused: its client is known, or half known, already.
    pub(super) fn push_always(&mut self, lane: Lane, job: J) {
        let line = self.lanes.entry(lane).or_default();
        if line.is_empty() {
            self.turns.push_back(lane);
        }
        line.push_back(job);
        self.waiting += 1;
    }

    /// The next job: of each line one, by turns.
    pub(super) fn pop(&mut self) -> Option<J> {
        let lane = self.turns.pop_front()?;
        self.turns.push_back(lane);
        self.take(lane, VecDeque::pop_front)
    }

    fn take(&mut self, lane: Lane, which: impl FnOnce(&mut VecDeque<J>) -> Option<J>) -> Option<J> {
        let line = self.lanes.get_mut(&lane)?;
        let job = which(line);
        self.waiting -= usize::from(job.is_some());
        if line.is_empty() {
            self.lanes.remove(&lane);
            self.turns.retain(|other| *other != lane);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn lane(n: usize) -> Lane {
        Some(Site::of(Ipv4Addr::from_bits(u32::try_from(n).unwrap()).into()))
    }

    fn drain(queue: &mut Queue<usize>) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn each_address_has_its_turn_and_its_order() {
        let mut queue = Queue::default();
        for job in 0..6 {
            assert_eq!(queue.push(lane(1), job, true), None);
        }
        assert_eq!(queue.pop(), Some(0));
        assert_eq!(queue.push(lane(2), 100, true), None);
        assert_eq!(queue.push(None, 200, true), None);
        assert_eq!(queue.push(lane(2), 101, true), None);
        assert_eq!(drain(&mut queue), [1, 100, 200, 2, 101, 3, 4, 5]);
        assert!(queue.lanes.is_empty() && queue.turns.is_empty() && queue.waiting == 0);
    }

    #[test]
    fn one_address_fills_its_own_line_only() {
        let mut queue = Queue::default();
        let refused = (0..2000).filter(|job| queue.push(lane(1), *job, true) == Some(*job)).count();
        assert_eq!(refused, 2000 - LOGINS_WAITING_PER_ADDRESS_MAX);
        assert_eq!(queue.push(lane(2), 5000, true), None);
        assert_eq!([queue.pop(), queue.pop()], [Some(0), Some(5000)]);
    }

    #[test]
    fn when_all_is_full_the_longest_line_gives_way() {
        let mut queue = Queue::default();
        for job in 0..LOGINS_WAITING_MAX {
            assert_eq!(queue.push(lane(job % 5 + 1), job, false), None);
        }
        for job in 0..LOGINS_WAITING_MAX {
            assert!(queue.push(lane(100), 10_000 + job, false).is_some(), "there is no more room");
            assert_eq!(queue.waiting, LOGINS_WAITING_MAX);
        }
        let newcomers = queue.lanes[&lane(100)].len();
        assert!(
            (LOGINS_WAITING_MAX / 6 - 1..=LOGINS_WAITING_MAX / 6 + 1).contains(&newcomers),
            "{newcomers}"
        );
        assert_eq!(drain(&mut queue).len(), LOGINS_WAITING_MAX);
    }

    #[test]
    fn who_is_half_known_is_never_refused() {
        let mut queue = Queue::default();
        for job in 0..LOGINS_WAITING_MAX {
            queue.push(None, job, false);
        }
        queue.push_always(None, 9999);
        assert_eq!(drain(&mut queue).last(), Some(&9999));
    }
}
