//! Topic Filters and their subscribers, matched against Topic Names.
//!
//! A trie over topic levels in which a chain of levels without a branch is one node, so `n` filters need at most
//! `2n` nodes however many levels they have. Children are found in one table for the whole trie, keyed by parent and
//! level; `+` is a child with a place of its own, and `…/#` is no node but a second list of subscribers at its
//! parent, because it matches the parent and everything below it.
//!
//! ```text
//! a/b/+      (key 1)        root ── "a/b" [exact: 3]  ── "+"   [exact: 1]
//! a/b/c/d/#  (key 2)                      [below: 4]  └─ "c/d" [below: 2]
//! a/b        (key 3)
//! a/b/#      (key 4)
//! ```
//!
//! Invariant: every node but the root has a subscriber or at least two children.

mod children;
mod label;
mod list;
mod matching;
mod nodes;
#[cfg(test)]
mod tests;

use children::{ChildTable, LevelHasher};
use label::Label;
use nodes::{NONE, Nodes, ROOT};

/// Topic Filters and their subscribers; `V` is what the caller keeps per subscription.
///
/// The subscriber's key is a `u32` of the caller's choosing. Costs are per call and linear in the bytes of the filter
/// or topic; a match visits each node at most once.
///
/// Filters are taken as valid (5.0 section 4.7.1): a `#` that is not the last level is an ordinary level.
#[derive(Debug)]
pub struct SubscriptionIndex<V: Copy> {
    nodes: Nodes<V>,
    children: ChildTable,
    hasher: LevelHasher,
    subscriptions: usize,
    filters: usize,
    generation: u64,
}

/// Names a filter that has subscribers; a small dense number.
///
/// Stays the same as long as the filter has a subscriber; after that it may name another filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterId(pub u32);

impl FilterId {
    fn new(node: u32, below: bool) -> Self {
        Self(node << 1 | u32::from(below))
    }

    fn node(self) -> u32 {
        self.0 >> 1
    }

    /// Whether the filter ends in `#`.
    fn below(self) -> bool {
        self.0 & 1 == 1
    }
}

/// What [`SubscriptionIndex::insert`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted<V> {
    /// The filter.
    pub id: FilterId,
    /// The value this subscriber had for the filter before: the subscription is replaced (5.0 [MQTT-3.8.4-3]).
    pub replaced: Option<V>,
    /// The filter had no subscriber before.
    pub first: bool,
}

/// What [`SubscriptionIndex::remove`] took out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed<V> {
    /// The value of the subscription.
    pub value: V,
    /// The filter has no subscriber any more; its id is void.
    pub last: bool,
}

impl<V: Copy> SubscriptionIndex<V> {
    /// An empty index. `seed` is a secret: who knows it can choose topics that make look-ups slow.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            nodes: Nodes::new(),
            children: ChildTable::new(),
            hasher: LevelHasher::new(seed),
            subscriptions: 0,
            filters: 0,
            generation: 0,
        }
    }

    /// Subscribes `key` to `filter`, or replaces the value of that subscription.
    ///
    /// # Panics
    /// With 2^31 nodes in the index, 128 GiB at the least.
    pub fn insert(&mut self, filter: &str, key: u32, value: V) -> Inserted<V> {
        let (path, below) = split_filter(filter);
        let node = path.map_or(ROOT, |path| self.node_for(path));
        let (replaced, first) = self.nodes.subscribe(node, below, key, value);
        self.subscriptions += usize::from(replaced.is_none());
        self.filters += usize::from(first);
        self.generation += 1;
        Inserted { id: FilterId::new(node, below), replaced, first }
    }

    /// Ends the subscription of `key` to the filter; `None` if there is no such filter or subscription.
    pub fn remove(&mut self, id: FilterId, key: u32) -> Option<Removed<V>> {
        let (value, last) = self.nodes.unsubscribe(id.node(), id.below(), key)?;
        self.subscriptions -= 1;
        self.filters -= usize::from(last);
        self.generation += 1;
        if last {
            self.prune(id.node());
        }
        Some(Removed { value, last })
    }

    /// The filter's id, if it has subscribers.
    #[must_use]
    pub fn find(&self, filter: &str) -> Option<FilterId> {
        let (path, below) = split_filter(filter);
        let node = match path {
            None => ROOT,
            Some(path) => match self.locate(path) {
                Place { node, rest: None, .. } => node,
                Place { .. } => return None,
            },
        };
        self.nodes[node].subscribers.any(below).then(|| FilterId::new(node, below))
    }

    /// The value of one subscription.
    #[must_use]
    pub fn get(&self, id: FilterId, key: u32) -> Option<V> {
        self.nodes.get(id.node())?.subscribers.get(id.below(), key)
    }

    /// The text of a filter that has subscribers, put together from the trie.
    ///
    /// For an id that is void the text of some other filter, or nothing.
    #[must_use]
    pub fn filter(&self, id: FilterId) -> String {
        let mut labels = Vec::new();
        let mut node = id.node();
        while node != ROOT
            && let Some(inner) = self.nodes.get(node)
        {
            labels.push(inner.label.bytes());
            node = inner.parent;
        }
        let mut text = labels.into_iter().rev().collect::<Vec<_>>().join(&b'/');
        if id.below() {
            text.extend_from_slice(if id.node() == ROOT { b"#" } else { b"/#" });
        }
        // Labels are cut at '/' only, so this is what was inserted, byte for byte.
        String::from_utf8(text).unwrap_or_default()
    }

    /// The subscriptions of one filter, keys ascending; none for a void id.
    pub fn subscribers(&self, id: FilterId) -> impl Iterator<Item = (u32, V)> + '_ {
        let node = self.nodes.get(id.node());
        node.into_iter().flat_map(move |node| node.subscribers.slices(id.below())).flatten().copied()
    }

    /// A number that grows with every change that can alter the result of a match.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of subscriptions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subscriptions
    }

    /// Whether there is no subscription.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions == 0
    }

    /// Number of different filters that have subscribers.
    #[must_use]
    pub fn filters(&self) -> usize {
        self.filters
    }

    /// Bytes held, estimated: exact for nodes, table and long labels, a guess for the slack of subscriber lists.
    /// Memory of removed filters is kept for new ones; the look-up table shrinks.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.nodes.memory_bytes() + self.children.memory_bytes()
    }

    /// The node for `path`, made if need be; the caller gives it a subscriber.
    fn node_for(&mut self, path: &str) -> u32 {
        let Place { node, rest, partial } = self.locate(path);
        let Some(rest) = rest else { return node };
        let Some((child, common)) = partial else { return self.add_leaf(node, rest) };
        let upper = self.split(child, common);
        if rest.len() == common { upper } else { self.add_leaf(upper, &rest[common + 1..]) }
    }

    /// Walks down as far as whole labels agree with `path`.
    fn locate<'a>(&self, path: &'a str) -> Place<'a> {
        let (mut node, mut rest) = (ROOT, path);
        loop {
            let Some(child) = self.child(node, first_level(rest.as_bytes())) else {
                return Place { node, rest: Some(rest), partial: None };
            };
            let label = self.nodes[child].label.bytes();
            let common = common_levels(label, rest.as_bytes());
            if common < label.len() {
                return Place { node, rest: Some(rest), partial: Some((child, common)) };
            }
            if common == rest.len() {
                return Place { node: child, rest: None, partial: None };
            }
            (node, rest) = (child, &rest[common + 1..]);
        }
    }

    fn child(&self, parent: u32, level: &[u8]) -> Option<u32> {
        let node = &self.nodes[parent];
        if level == b"+" {
            return (node.plus != NONE).then_some(node.plus);
        }
        self.literal_child(parent, level)
    }

    fn literal_child(&self, parent: u32, level: &[u8]) -> Option<u32> {
        let hash = self.hasher.child(parent, self.hasher.level(level));
        self.children.find(hash, |child| {
            let child = &self.nodes[child];
            child.parent == parent && first_level(child.label.bytes()) == level
        })
    }

    fn add_leaf(&mut self, parent: u32, label: &str) -> u32 {
        let id = self.nodes.add(Label::new(label.as_bytes()));
        self.link(parent, id);
        id
    }

    /// Cuts `child`'s label after `common` bytes, which end a level: a new node takes the front part and the place
    /// under the parent, `child` keeps the rest, its id and its subscribers.
    fn split(&mut self, child: u32, common: usize) -> u32 {
        let parent = self.nodes[child].parent;
        self.unlink(parent, child);
        let (front, back) = self.nodes[child].label.cut(common);
        let upper = self.nodes.add(front);
        self.nodes.relabel(child, back);
        self.link(parent, upper);
        self.link(upper, child);
        upper
    }

    /// Restores the invariant at `node`, which has lost a filter.
    fn prune(&mut self, node: u32) {
        if node == ROOT || self.nodes[node].subscribers.any_at_all() {
            return;
        }
        match self.nodes[node].degree() {
            0 => {
                let parent = self.nodes[node].parent;
                self.unlink(parent, node);
                self.nodes.free(node);
                let left = &self.nodes[parent];
                if parent != ROOT && left.degree() == 1 && !left.subscribers.any_at_all() {
                    self.fold(parent);
                }
            }
            1 => self.fold(node),
            _ => {}
        }
    }

    /// Removes a node that has one child and no subscribers; the child takes its place, its label in front.
    fn fold(&mut self, node: u32) {
        let (parent, child) = (self.nodes[node].parent, self.nodes[node].only_child());
        self.unlink(parent, node);
        self.unlink(node, child);
        let label = self.nodes[node].label.join(&self.nodes[child].label);
        self.nodes.relabel(child, label);
        self.nodes.free(node);
        self.link(parent, child);
    }

    fn link(&mut self, parent: u32, child: u32) {
        self.nodes[child].parent = parent;
        let level = first_level(self.nodes[child].label.bytes());
        if level == b"+" {
            self.nodes[parent].plus = child;
            return;
        }
        self.children.insert(self.hasher.child(parent, self.hasher.level(level)), child);
        let parent = &mut self.nodes[parent];
        parent.literals += 1;
        parent.literal_xor ^= child;
    }

    fn unlink(&mut self, parent: u32, child: u32) {
        let level = first_level(self.nodes[child].label.bytes());
        if level == b"+" {
            self.nodes[parent].plus = NONE;
            return;
        }
        self.children.remove(self.hasher.child(parent, self.hasher.level(level)), child);
        let parent = &mut self.nodes[parent];
        parent.literals -= 1;
        parent.literal_xor ^= child;
    }
}

/// Where a walk down the trie ended.
struct Place<'a> {
    /// The last node whose whole label agreed.
    node: u32,
    /// What of the path is left below `node`; `None` when `node` is the path's own node.
    rest: Option<&'a str>,
    /// A child of `node` that agrees with `rest` for this many bytes of its label, at least a level, but not all.
    partial: Option<(u32, usize)>,
}

/// The levels above a final `#` (none for `#` alone), and whether there was one.
fn split_filter(filter: &str) -> (Option<&str>, bool) {
    match filter.strip_suffix('#') {
        Some("") => (None, true),
        Some(front) => front.strip_suffix('/').map_or((Some(filter), false), |path| (Some(path), true)),
        None => (Some(filter), false),
    }
}

fn first_level(path: &[u8]) -> &[u8] {
    &path[..memchr::memchr(b'/', path).unwrap_or(path.len())]
}

/// Length in bytes of the whole levels two paths have in common; their first levels are known to be equal.
fn common_levels(a: &[u8], b: &[u8]) -> usize {
    let same = crate::retained::common_prefix(a, b);
    let ends = |path: &[u8]| path.get(same).is_none_or(|byte| *byte == b'/');
    if ends(a) && ends(b) { same } else { memchr::memrchr(b'/', &a[..same]).unwrap_or(0) }
}
