//! Who subscribed to the two filters of a node: the node's path itself, and the path followed by `#`.

/// The subscribers of a node. One subscriber in all, the usual case, is stored in the node.
#[derive(Debug)]
pub(super) enum Subscribers<V> {
    None,
    /// One subscriber of the path itself.
    Exact((u32, V)),
    /// One subscriber of the path followed by `#`.
    Below((u32, V)),
    /// Any others.
    Many(Box<Many<V>>),
}

#[derive(Debug)]
pub(super) struct Many<V> {
    exact: List<V>,
    below: List<V>,
}

impl<V> Many<V> {
    fn new() -> Self {
        Self { exact: List::new(), below: List::new() }
    }

    fn list(&self, below: bool) -> &List<V> {
        if below { &self.below } else { &self.exact }
    }

    fn list_mut(&mut self, below: bool) -> &mut List<V> {
        if below { &mut self.below } else { &mut self.exact }
    }
}

impl<V: Copy> Subscribers<V> {
    #[inline]
    pub(super) fn any(&self, below: bool) -> bool {
        match self {
            Self::None => false,
            Self::Exact(_) => !below,
            Self::Below(_) => below,
            Self::Many(many) => !many.list(below).is_empty(),
        }
    }

    pub(super) fn any_at_all(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Entries that are not stored in the node.
    pub(super) fn listed(&self) -> usize {
        match self {
            Self::None | Self::Exact(_) | Self::Below(_) => 0,
            Self::Many(many) => many.exact.len + many.below.len,
        }
    }

    pub(super) fn get(&self, below: bool, key: u32) -> Option<V> {
        match self {
            Self::Exact((it, value)) if !below && *it == key => Some(*value),
            Self::Below((it, value)) if below && *it == key => Some(*value),
            Self::Many(many) => many.list(below).get(key),
            _ => None,
        }
    }

    /// The entries of one filter, in pieces, keys ascending.
    pub(super) fn slices(&self, below: bool) -> impl Iterator<Item = &[(u32, V)]> {
        let (head, runs) = match self {
            Self::Exact(entry) if !below => (std::slice::from_ref(entry), Default::default()),
            Self::Below(entry) if below => (std::slice::from_ref(entry), Default::default()),
            Self::Many(many) => (&many.list(below).head[..], &many.list(below).runs[..]),
            _ => Default::default(),
        };
        std::iter::once(head).chain(runs.iter().map(Vec::as_slice))
    }

    /// Appends the entries of one filter and returns 1, or 0 if it has none.
    #[inline]
    pub(super) fn append(&self, below: bool, out: &mut Vec<(u32, V)>) -> usize {
        match self {
            Self::Exact(entry) if !below => out.push(*entry),
            Self::Below(entry) if below => out.push(*entry),
            Self::Many(many) if !many.list(below).is_empty() => {
                for run in self.slices(below) {
                    out.extend_from_slice(run);
                }
            }
            _ => return 0,
        }
        1
    }

    /// Adds a subscriber, or replaces its value and returns the former one.
    pub(super) fn insert(&mut self, below: bool, key: u32, value: V) -> Option<V> {
        match self {
            Self::None => {
                *self = if below { Self::Below((key, value)) } else { Self::Exact((key, value)) };
                None
            }
            Self::Exact((it, former)) if !below && *it == key => Some(std::mem::replace(former, value)),
            Self::Below((it, former)) if below && *it == key => Some(std::mem::replace(former, value)),
            Self::Exact(_) | Self::Below(_) => {
                let (only_below, (only, former)) = match *self {
                    Self::Below(entry) => (true, entry),
                    Self::Exact(entry) => (false, entry),
                    _ => return None,
                };
                let mut many = Many::new();
                many.list_mut(only_below).insert(only, former);
                many.list_mut(below).insert(key, value);
                *self = Self::Many(Box::new(many));
                None
            }
            Self::Many(many) => many.list_mut(below).insert(key, value),
        }
    }

    /// Takes a subscriber out and returns its value.
    pub(super) fn remove(&mut self, below: bool, key: u32) -> Option<V> {
        let value = match self {
            Self::Many(many) => many.list_mut(below).remove(key)?,
            _ => {
                let value = self.get(below, key)?;
                *self = Self::None;
                return Some(value);
            }
        };
        if let Self::Many(many) = self {
            match (&many.exact.head[..], &many.below.head[..]) {
                ([entry], []) if many.exact.runs.is_empty() => *self = Self::Exact(*entry),
                ([], [entry]) if many.below.runs.is_empty() => *self = Self::Below(*entry),
                _ => {}
            }
        }
        Some(value)
    }
}

/// Entries per run: adding or removing one moves at most this many.
const RUN_MAX: usize = 512;

/// Entries sorted by key, in runs, so that a hundred thousand subscribers of one filter can come and go in any order.
#[derive(Debug)]
struct List<V> {
    /// The first run; empty only if the list is. Most lists have no other.
    head: Vec<(u32, V)>,
    /// The runs after it; none is empty.
    runs: Vec<Vec<(u32, V)>>,
    len: usize,
}

impl<V> List<V> {
    fn new() -> Self {
        Self { head: Vec::new(), runs: Vec::new(), len: 0 }
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<V: Copy> List<V> {
    fn get(&self, key: u32) -> Option<V> {
        let run = self.run(self.run_of(key));
        run.binary_search_by_key(&key, |entry| entry.0).ok().map(|at| run[at].1)
    }

    fn insert(&mut self, key: u32, value: V) -> Option<V> {
        let mut index = self.run_of(key);
        let run = self.run_mut(index);
        let mut at = match run.binary_search_by_key(&key, |entry| entry.0) {
            Ok(at) => return Some(std::mem::replace(&mut run[at].1, value)),
            Err(at) => at,
        };
        if run.len() >= RUN_MAX {
            // At the end an ascending sequence leaves full runs behind, elsewhere both halves get room.
            let cut = if at == run.len() { at } else { RUN_MAX / 2 };
            let tail = run.split_off(cut);
            if at >= cut {
                (index, at) = (index + 1, at - cut);
                self.runs.insert(index - 1, tail);
            } else {
                self.runs.insert(index, tail);
            }
        }
        self.run_mut(index).insert(at, (key, value));
        self.len += 1;
        None
    }

    fn remove(&mut self, key: u32) -> Option<V> {
        let index = self.run_of(key);
        let run = self.run_mut(index);
        let at = run.binary_search_by_key(&key, |entry| entry.0).ok()?;
        let (_, value) = run.remove(at);
        if run.len() * 4 < run.capacity() {
            run.shrink_to(run.len() * 2);
        }
        let left = run.len();
        self.len -= 1;
        if left == 0 {
            self.drop_run(index);
        } else if left < RUN_MAX / 4
            && index < self.runs.len()
            && left + self.runs[index].len() <= RUN_MAX / 2
        {
            let next = self.runs.remove(index);
            self.run_mut(index).extend_from_slice(&next);
        }
        Some(value)
    }

    /// The run in which the key is or would be.
    fn run_of(&self, key: u32) -> usize {
        self.runs.partition_point(|run| run[0].0 <= key)
    }

    fn run(&self, index: usize) -> &[(u32, V)] {
        if index == 0 { &self.head } else { &self.runs[index - 1] }
    }

    fn run_mut(&mut self, index: usize) -> &mut Vec<(u32, V)> {
        if index == 0 { &mut self.head } else { &mut self.runs[index - 1] }
    }

    fn drop_run(&mut self, index: usize) {
        if index > 0 {
            self.runs.remove(index - 1);
        } else if !self.runs.is_empty() {
            self.head = self.runs.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entries(list: &Subscribers<u64>, below: bool) -> Vec<(u32, u64)> {
        list.slices(below).flatten().copied().collect()
    }

    #[test]
    fn one_subscriber_needs_no_heap() {
        let mut list = Subscribers::None;
        list.insert(true, 4, 40);
        assert!(matches!(list, Subscribers::Below((4, 40))));
        list.insert(false, 4, 41);
        assert_eq!((entries(&list, true), entries(&list, false)), (vec![(4, 40)], vec![(4, 41)]));
        list.remove(true, 4);
        assert!(matches!(list, Subscribers::Exact((4, 41))));
        assert_eq!(list.remove(true, 4), None);
        assert_eq!(list.remove(false, 4), Some(41));
        assert!(!list.any_at_all());
    }

    #[test]
    fn ascending_keys_fill_runs() {
        let mut list = List::new();
        for key in 0..10_000 {
            list.insert(key, ());
        }
        assert_eq!(list.runs.len() + 1, 10_000usize.div_ceil(RUN_MAX));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_a_map(seed in any::<u32>(), range in 1u32..6000, order in 0u32..3) {
            let mut list = Subscribers::None;
            let mut model = BTreeMap::new();
            let mut random = seed | 1;
            for step in 0..6000u32 {
                random = random.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
                let key = match order { 0 => step, 1 => 6000 - step, _ => (random >> 8) % range };
                if order == 2 && random >> 30 == 0 {
                    prop_assert_eq!(list.remove(true, key), model.remove(&key));
                } else {
                    prop_assert_eq!(list.insert(true, key, u64::from(step)), model.insert(key, u64::from(step)));
                }
            }
            prop_assert!(entries(&list, true).into_iter().eq(model.clone()));
            for key in model.into_keys() {
                prop_assert!(list.get(true, key).is_some());
                prop_assert!(list.remove(true, key).is_some());
            }
            prop_assert!(!list.any_at_all());
        }
    }
}
