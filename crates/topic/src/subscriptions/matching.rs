//! Which filters match a Topic Name (5.0 section 4.7).
//!
//! The walk keeps a stack of nodes whose path agrees with the front of the topic. It takes several off the stack at
//! once, looks up all their children first, and only then reads the children: with a large index nearly each of these
//! reads misses the processor's caches, and reads that do not wait for each other overlap.

use super::children::LevelHasher;
use super::label::Shape;
use super::nodes::{NONE, Node, ROOT};
use super::{SubscriptionIndex, first_level};

impl<V: Copy> SubscriptionIndex<V> {
    /// Appends key and value of every subscription whose filter matches the topic; returns how many filters had any.
    ///
    /// Within one filter keys ascend; the order of filters is fixed by the filters alone. `+` stands for one level,
    /// an empty one too (5.0 [MQTT-4.7.1-2]); `#` for its parent and everything below (5.0 [MQTT-4.7.1-1]); neither
    /// in the first level for a topic that starts with `$` (5.0 [MQTT-4.7.2-1]).
    ///
    /// Visits each node at most once. Allocates room in `out` only, unless dozens of branches are open at once.
    pub fn matches(&self, topic: &str, out: &mut Vec<(u32, V)>) -> usize {
        let topic = Topic::new(topic.as_bytes(), &self.hasher);
        let mut stack = Stack::new();
        let mut found = if topic.hidden { 0 } else { self.nodes[ROOT].subscribers.append(true, out) };
        let mut branches = [Branch::default(); BATCH];
        let mut arrivals = [Arrival::default(); 2 * BATCH];
        stack.push(Branch { node: ROOT, at: Position::default() });
        loop {
            let taken = stack.take(&mut branches);
            if taken == 0 {
                return found;
            }
            let arrived = self.depart(&topic, &branches[..taken], &mut arrivals);
            for arrival in &arrivals[..arrived] {
                let Some((id, at)) = self.arrive(&topic, arrival) else { continue };
                let node = &self.nodes[id];
                found += node.subscribers.append(true, out);
                if topic.ends_before(at) {
                    found += node.subscribers.append(false, out);
                } else if node.literals > 0 || node.plus != NONE {
                    stack.push(Branch { node: id, at });
                }
            }
        }
    }

    /// Finds the children to look at; how many is returned.
    #[inline]
    fn depart(&self, topic: &Topic<'_>, branches: &[Branch], arrivals: &mut [Arrival; 2 * BATCH]) -> usize {
        // First all reads of the table, then what depends on them.
        let mut probes = [(0, 0); BATCH];
        for (probe, branch) in probes.iter_mut().zip(branches) {
            if self.nodes[branch.node].literals > 0 {
                let hash = self.hasher.child(branch.node, topic.hash(branch.at));
                *probe = (hash, self.children.touch(hash));
            }
        }
        let mut arrived = 0;
        for ((hash, slot), Branch { node: parent, at }) in probes.into_iter().zip(branches.iter().copied()) {
            let plus = self.nodes[parent].plus;
            if plus != NONE && !(topic.hidden && parent == ROOT) {
                arrivals[arrived] = Arrival { parent, child: plus, found_parent: parent, at };
                arrived += 1;
            }
            if slot != 0
                && let Some(child) = self.children.candidate(hash)
            {
                arrivals[arrived] = Arrival { parent, child, found_parent: parent, at };
                arrived += 1;
            }
        }
        // The same with the children's nodes.
        for arrival in &mut arrivals[..arrived] {
            arrival.found_parent = self.nodes[arrival.child].parent;
        }
        arrived
    }

    /// The child and the position after its label, if the topic agrees with the label.
    #[inline]
    fn arrive(&self, topic: &Topic<'_>, arrival: &Arrival) -> Option<(u32, Position)> {
        let Arrival { parent, child, found_parent, at } = *arrival;
        if found_parent == parent
            && let Some(at) = topic.agrees(&self.nodes[child], at)
        {
            return Some((child, at));
        }
        self.arrive_again(topic, arrival)
    }

    /// The topic disagrees with the child that was looked at. Two children with the same hash are rare, but may be:
    /// the other one could be meant.
    fn arrive_again(&self, topic: &Topic<'_>, arrival: &Arrival) -> Option<(u32, Position)> {
        let Arrival { parent, child, found_parent, at } = *arrival;
        let level = first_level(topic.rest(at));
        if self.nodes[parent].plus == child
            || (found_parent == parent && first_level(self.nodes[child].label.bytes()) == level)
        {
            return None;
        }
        let right = self.literal_child(parent, level)?;
        topic.agrees(&self.nodes[right], at).map(|at| (right, at))
    }
}

/// Branches looked at together.
const BATCH: usize = 4;

/// A place in the topic: the start of a level.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    /// In bytes; one past the topic's length when its last level is passed.
    offset: u32,
    /// The level's number.
    level: u32,
}

/// A node all of whose levels agree with the topic.
#[derive(Debug, Clone, Copy, Default)]
struct Branch {
    node: u32,
    at: Position,
}

/// A child whose label is to be compared.
#[derive(Debug, Clone, Copy, Default)]
struct Arrival {
    parent: u32,
    child: u32,
    /// The child's parent, as its node says.
    found_parent: u32,
    at: Position,
}

/// Levels cut and hashed once, in advance; those after them are each time they are needed.
const PREPARED: usize = 8;

/// A Topic Name prepared for comparing.
struct Topic<'a> {
    bytes: &'a [u8],
    hasher: &'a LevelHasher,
    /// Starts with `$`.
    hidden: bool,
    levels: [Level; PREPARED],
}

#[derive(Debug, Clone, Copy, Default)]
struct Level {
    hash: u64,
    end: u32,
}

impl<'a> Topic<'a> {
    fn new(bytes: &'a [u8], hasher: &'a LevelHasher) -> Self {
        let mut levels = [Level::default(); PREPARED];
        let mut rest = Some(bytes);
        for level in &mut levels {
            let Some(path) = rest else { break };
            let first = first_level(path);
            let end = bytes.len() - path.len() + first.len();
            *level = Level { hash: hasher.level(first), end: offset(end) };
            rest = path.get(first.len() + 1..);
        }
        Self { bytes, hasher, hidden: bytes.first() == Some(&b'$'), levels }
    }

    /// Whether all levels lie before the position.
    #[inline]
    fn ends_before(&self, at: Position) -> bool {
        at.offset as usize > self.bytes.len()
    }

    #[inline]
    fn rest(&self, at: Position) -> &'a [u8] {
        &self.bytes[at.offset as usize..]
    }

    #[inline]
    fn hash(&self, at: Position) -> u64 {
        match self.levels.get(at.level as usize) {
            Some(level) => level.hash,
            None => self.hasher.level(first_level(self.rest(at))),
        }
    }

    #[inline]
    fn end(&self, at: Position) -> u32 {
        match self.levels.get(at.level as usize) {
            Some(level) => level.end,
            None => at.offset + offset(first_level(self.rest(at)).len()),
        }
    }

    /// The position after the node's label, if the levels from `at` on agree with it.
    #[inline]
    fn agrees<V>(&self, node: &Node<V>, at: Position) -> Option<Position> {
        let next = match node.label.shape() {
            Shape::Plus => self.end(at),
            Shape::Level => {
                let end = self.end(at);
                (self.bytes[at.offset as usize..end as usize] == *node.label.bytes()).then_some(end)?
            }
            Shape::Levels => return self.agrees_with_levels(node.label.bytes(), at),
            Shape::Mixed => return self.agrees_with_mixed(node.label.bytes(), at),
        };
        Some(Position { offset: next + 1, level: at.level + 1 })
    }

    fn agrees_with_levels(&self, label: &[u8], at: Position) -> Option<Position> {
        let rest = self.rest(at).strip_prefix(label)?;
        let levels = memchr::memchr_iter(b'/', label).count() + 1;
        rest.first().is_none_or(|byte| *byte == b'/').then(|| Position {
            offset: at.offset + offset(label.len() + 1),
            level: at.level + offset(levels),
        })
    }

    fn agrees_with_mixed(&self, label: &[u8], mut at: Position) -> Option<Position> {
        for level in label.split(|byte| *byte == b'/') {
            if self.ends_before(at) {
                return None;
            }
            let end = self.end(at);
            if level != b"+" && level != &self.bytes[at.offset as usize..end as usize] {
                return None;
            }
            at = Position { offset: end + 1, level: at.level + 1 };
        }
        Some(at)
    }
}

/// A Topic Name has at most 65,535 bytes (5.0 section 1.5.4); longer text than `u32` counts is none.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX - 1)
}

const STACK: usize = 16;

/// Branches still to be followed. Two children at most follow one branch, so the stack stays as short as the trie is
/// deep times [`BATCH`]; only adversarial filters reach the heap.
struct Stack {
    first: [Branch; STACK],
    len: usize,
    more: Vec<Branch>,
}

impl Stack {
    fn new() -> Self {
        Self { first: [Branch::default(); STACK], len: 0, more: Vec::new() }
    }

    #[inline]
    fn push(&mut self, branch: Branch) {
        match self.first.get_mut(self.len) {
            Some(place) => {
                *place = branch;
                self.len += 1;
            }
            None => self.more.push(branch),
        }
    }

    /// Takes off the branches, of the last few, that have come least far, and returns their number: thus branches
    /// meet at the same level and are looked up together.
    #[inline]
    fn take(&mut self, taken: &mut [Branch; BATCH]) -> usize {
        if let Some(branch) = self.more.pop() {
            taken[0] = branch;
            return 1;
        }
        let from = self.len.saturating_sub(BATCH);
        let last = &mut self.first[from..self.len];
        let lowest = last.iter().map(|branch| branch.at.level).min().unwrap_or(0);
        let (mut count, mut kept) = (0, 0);
        for at in 0..last.len() {
            if last[at].at.level == lowest {
                taken[count] = last[at];
                count += 1;
            } else {
                last[kept] = last[at];
                kept += 1;
            }
        }
        self.len = from + kept;
        count
    }
}
