//! Retained messages by topic: exact look-up, and wildcard look-up that can be interrupted after any message.
//!
//! The set is sorted by topic with `/` below every other byte, which is the order of the lists of levels: everything
//! below a topic follows it directly. A cursor is therefore nothing but the last topic seen, and may be taken up again
//! after any change to the set; a wildcard filter leaps from one candidate to the next instead of reading all topics.
//!
//! Three floors of sorted shelves (a B+ tree of fixed height) hold the values. There is no hash table beside it: a
//! look-up reads about two topics, since a shelf keeps eight telling bytes of each of its entries.

mod order;
mod shelf;
#[cfg(test)]
mod tests;
mod walk;

use std::ops::ControlFlow;

use order::Key;
use shelf::Shelf;
use walk::{Verdict, judge, literal_front};

pub(crate) use order::common_prefix;

/// A value that knows its Topic Name. The topic must never change while the value is in a [`RetainedSet`].
pub trait Retained {
    /// The Topic Name the message was published to.
    fn topic(&self) -> &str;

    /// The same where no text is needed, as in most of what a set does with it.
    fn topic_bytes(&self) -> &[u8] {
        self.topic().as_bytes()
    }
}

/// Values sorted by topic, at most one per topic.
///
/// Filters are taken as valid (5.0 section 4.7.1) and without a `$share` prefix.
#[derive(Debug)]
pub struct RetainedSet<V: Retained> {
    /// Shelves of leaves; no shelf in it is empty.
    root: Shelf<Shelf<Shelf<V>>>,
    len: usize,
}

/// What [`RetainedSet::scan`] found within its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan<'a, V> {
    /// The first match after the given topic; go on after its own topic.
    Found(&'a V),
    /// No further match.
    Done,
    /// Out of steps: no match up to and including this topic; go on after it.
    Pause(&'a str),
}

/// Where a value is: the positions on the three floors. One past the end on the leaf's floor means the next leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Place {
    branch: usize,
    leaf: usize,
    item: usize,
}

impl<V: Retained> RetainedSet<V> {
    /// An empty set. The seed is not used: an ordered set cannot be flooded with collisions.
    #[must_use]
    pub fn new(_seed: u64) -> Self {
        Self { root: Shelf::new(), len: 0 }
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a topic.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&V> {
        let place = self.search(&Key::of(topic)).ok()?;
        self.value(place)
    }

    /// Keeps the value; returns the one it takes the place of (5.0 [MQTT-3.3.1-5]).
    pub fn insert(&mut self, value: V) -> Option<V> {
        let found = self.search(&Key::of_bytes(value.topic_bytes()));
        let (Ok(place) | Err(place)) = found;
        if self.root.is_empty() {
            self.root.insert(0, Shelf::of(Shelf::of(value)));
            self.len = 1;
            return None;
        }
        let branch = self.root.item_mut(place.branch);
        let leaf = branch.item_mut(place.leaf);
        if found.is_ok() {
            return Some(std::mem::replace(leaf.item_mut(place.item), value));
        }
        leaf.insert(place.item, value);
        self.len += 1;
        if place.item == 0 {
            branch.changed(place.leaf);
            self.root.changed(place.branch);
        }
        self.split(place);
        None
    }

    /// Takes the topic's value out (5.0 [MQTT-3.3.1-6]).
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        let place = self.search(&Key::of(topic)).ok()?;
        let branch = self.root.item_mut(place.branch);
        let value = branch.item_mut(place.leaf).remove(place.item);
        branch.tidy(place.leaf);
        self.root.tidy(place.branch);
        self.len -= 1;
        Some(value)
    }

    /// All values in topic order, those of topics that start with `$` too.
    pub fn iter(&self) -> impl Iterator<Item = &V> + '_ {
        self.root.items().iter().flat_map(Shelf::items).flat_map(Shelf::items)
    }

    /// The first value in topic order whose topic matches `filter` and sorts after `after`.
    ///
    /// `after` need not be in the set. Takes a few tree searches where the filter's levels tell where to look, and at
    /// worst reads every topic the filter's literal front does not exclude; [`scan`](Self::scan) limits that.
    #[must_use]
    pub fn next_match(&self, filter: &str, after: Option<&str>) -> Option<&V> {
        match self.scan(filter, after, usize::MAX) {
            Scan::Found(value) => Some(value),
            Scan::Done | Scan::Pause(_) => None,
        }
    }

    /// [`next_match`](Self::next_match) that looks at no more than `max_steps` topics (at least one).
    #[must_use]
    pub fn scan(&self, filter: &str, after: Option<&str>, max_steps: usize) -> Scan<'_, V> {
        let mut place = self.start(filter, after);
        let mut steps = 0;
        while let Some(value) = self.value(place) {
            let verdict = judge(filter.as_bytes(), value.topic_bytes());
            if matches!(verdict, Verdict::Match | Verdict::MatchUntil(_)) {
                return Scan::Found(value);
            }
            steps += 1;
            if steps >= max_steps {
                return Scan::Pause(value.topic());
            }
            match self.follow(place, &verdict) {
                Some(next) => place = next,
                None => break,
            }
        }
        Scan::Done
    }

    /// Hands every value that matches `filter` and sorts after `from` to `f`, in topic order, until `f` breaks.
    ///
    /// The same values as repeated [`next_match`](Self::next_match), without searching anew for each.
    pub fn for_each_match(&self, filter: &str, from: Option<&str>, mut f: impl FnMut(&V) -> ControlFlow<()>) {
        let mut place = self.start(filter, from);
        while let Some(value) = self.value(place) {
            let verdict = judge(filter.as_bytes(), value.topic_bytes());
            let (flow, next) = match &verdict {
                Verdict::Match => (f(value), Some(self.after(place))),
                Verdict::MatchUntil(end) => {
                    let end = end.as_ref().map(|key| self.lower_bound(key));
                    (self.range(place, end, &mut f), end)
                }
                Verdict::Next | Verdict::Seek(_) | Verdict::End => {
                    (ControlFlow::Continue(()), self.follow(place, &verdict))
                }
            };
            match (flow, next) {
                (ControlFlow::Continue(()), Some(next)) => place = next,
                _ => return,
            }
        }
    }

    /// All values from `place` to before `end`, or to the last.
    fn range(
        &self,
        place: Place,
        end: Option<Place>,
        f: &mut impl FnMut(&V) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut from = place;
        while let Some(branch) = self.root.get(from.branch) {
            while let Some(leaf) = branch.get(from.leaf) {
                let items = leaf.items();
                let here = end.filter(|end| (end.branch, end.leaf) == (from.branch, from.leaf));
                let until = here.map_or(items.len(), |end| end.item);
                items.get(from.item..until).unwrap_or_default().iter().try_for_each(&mut *f)?;
                if here.is_some() {
                    return ControlFlow::Continue(());
                }
                from = Place { leaf: from.leaf + 1, item: 0, ..from };
            }
            from = Place { branch: from.branch + 1, leaf: 0, item: 0 };
        }
        ControlFlow::Continue(())
    }

    /// Where to look first.
    fn start(&self, filter: &str, after: Option<&str>) -> Place {
        match after {
            None => self.lower_bound(&Key::of_bytes(literal_front(filter.as_bytes()))),
            Some(after) => match self.search(&Key::of(after)) {
                Ok(place) => self.after(place),
                Err(place) => self.normal(place),
            },
        }
    }

    /// Where to look after a topic that does not match.
    fn follow(&self, place: Place, verdict: &Verdict<'_>) -> Option<Place> {
        match verdict {
            Verdict::Match | Verdict::MatchUntil(_) | Verdict::Next => Some(self.after(place)),
            Verdict::Seek(key) => Some(self.seek(place, key)),
            Verdict::End => None,
        }
    }

    /// The first value not below `key`, which is above the value at `place`; often near it.
    fn seek(&self, place: Place, key: &Key<'_>) -> Place {
        let leaf = self.root.get(place.branch).and_then(|branch| branch.get(place.leaf));
        match leaf {
            Some(leaf) if leaf.reaches_beyond(key) => {
                let (Ok(item) | Err(item)) = leaf.search(key);
                Place { item, ..place }
            }
            _ => self.lower_bound(key),
        }
    }

    fn lower_bound(&self, key: &Key<'_>) -> Place {
        let (Ok(place) | Err(place)) = self.search(key);
        self.normal(place)
    }

    /// The place of the topic equal to `key`, or where it would be inserted.
    fn search(&self, key: &Key<'_>) -> Result<Place, Place> {
        let branch = self.root.shelf_for(key);
        let Some(leaves) = self.root.get(branch) else { return Err(Place::default()) };
        let leaf = leaves.shelf_for(key);
        let Some(items) = leaves.get(leaf) else { return Err(Place::default()) };
        match items.search(key) {
            Ok(item) => Ok(Place { branch, leaf, item }),
            Err(item) => Err(Place { branch, leaf, item }),
        }
    }

    fn value(&self, place: Place) -> Option<&V> {
        self.root.get(place.branch)?.get(place.leaf)?.get(place.item)
    }

    fn after(&self, place: Place) -> Place {
        self.normal(Place { item: place.item + 1, ..place })
    }

    /// Turns the place behind a leaf's last item into that of the next leaf's first.
    fn normal(&self, place: Place) -> Place {
        let Some(branch) = self.root.get(place.branch) else { return place };
        match branch.get(place.leaf) {
            Some(leaf) if place.item < leaf.len() => place,
            _ if place.leaf + 1 < branch.len() => Place { leaf: place.leaf + 1, item: 0, ..place },
            _ => Place { branch: place.branch + 1, leaf: 0, item: 0 },
        }
    }

    /// Splits the shelves on the way to `place`, where a value was inserted, that have become too long.
    fn split(&mut self, place: Place) {
        let branch = self.root.item_mut(place.branch);
        let Some(tail) = branch.item_mut(place.leaf).split(place.item) else { return };
        branch.insert(place.leaf + 1, tail);
        if let Some(tail) = branch.split(place.leaf + 1) {
            self.root.insert(place.branch + 1, tail);
        }
    }
}
