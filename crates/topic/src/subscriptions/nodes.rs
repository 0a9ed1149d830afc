//! The trie's nodes, in chunks that never move.
//!
//! A chunk is allocated once and stays: growing the index copies no nodes, so a SUBSCRIBE never waits for it.

use std::ops::{Index, IndexMut};

use super::label::Label;
use super::list::Subscribers;

/// The node of no levels: filters start below it, and `#` is its `below` list.
pub(super) const ROOT: u32 = 0;

/// No node; nodes are numbered below 2^31.
pub(super) const NONE: u32 = u32::MAX;

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// One node: 64 bytes, one cache line, for values of up to 8 bytes (16 if aligned to 4).
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Node<V> {
    /// In a free node: the next free one.
    pub(super) parent: u32,
    /// The child whose label starts with `+`, or `NONE`.
    pub(super) plus: u32,
    /// How many other children there are; they are in the child table.
    pub(super) literals: u32,
    /// Their ids, all XORed: with one left, this is it.
    pub(super) literal_xor: u32,
    pub(super) label: Label,
    pub(super) subscribers: Subscribers<V>,
}

impl<V: Copy> Node<V> {
    fn new(label: Label) -> Self {
        Self { parent: NONE, plus: NONE, literals: 0, literal_xor: 0, label, subscribers: Subscribers::None }
    }

    /// Number of children.
    pub(super) fn degree(&self) -> u32 {
        self.literals + u32::from(self.plus != NONE)
    }

    /// The child of a node of degree 1.
    pub(super) fn only_child(&self) -> u32 {
        debug_assert_eq!(self.degree(), 1);
        if self.plus == NONE { self.literal_xor } else { self.plus }
    }
}

/// All nodes; freed ones are used again.
#[derive(Debug)]
pub(super) struct Nodes<V> {
    chunks: Vec<Box<[Node<V>; CHUNK]>>,
    /// Ids below this have been handed out at some time.
    used: u32,
    free: u32,
    live: usize,
    label_bytes: usize,
    /// Subscriptions that are not stored in their node.
    listed: usize,
}

impl<V: Copy> Nodes<V> {
    pub(super) fn new() -> Self {
        let mut nodes = Self { chunks: Vec::new(), used: 0, free: NONE, live: 0, label_bytes: 0, listed: 0 };
        nodes.add(Label::new(b""));
        nodes
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&Node<V>> {
        self.chunks.get((id >> CHUNK_BITS) as usize).map(|chunk| &chunk[id as usize % CHUNK])
    }

    pub(super) fn add(&mut self, label: Label) -> u32 {
        self.live += 1;
        self.label_bytes += label.heap_bytes();
        let id = self.free;
        if id != NONE {
            self.free = self[id].parent;
            self[id] = Node::new(label);
            return id;
        }
        let id = self.used;
        assert!(id < NONE >> 1, "more nodes than a FilterId can name");
        if id as usize == self.chunks.len() * CHUNK {
            self.chunks.push(new_chunk());
        }
        self.used += 1;
        self[id] = Node::new(label);
        id
    }

    pub(super) fn free(&mut self, id: u32) {
        self.live -= 1;
        self.label_bytes -= self[id].label.heap_bytes();
        self[id] = Node { parent: self.free, ..Node::new(Label::new(b"")) };
        self.free = id;
    }

    pub(super) fn relabel(&mut self, id: u32, label: Label) {
        self.label_bytes += label.heap_bytes();
        let former = std::mem::replace(&mut self[id].label, label);
        self.label_bytes -= former.heap_bytes();
    }

    /// Adds or replaces a subscriber: the value it had, and whether it is the first of the filter.
    pub(super) fn subscribe(&mut self, id: u32, below: bool, key: u32, value: V) -> (Option<V>, bool) {
        let subscribers = &mut self[id].subscribers;
        let first = !subscribers.any(below);
        let before = subscribers.listed();
        let replaced = subscribers.insert(below, key, value);
        let after = subscribers.listed();
        self.listed = self.listed + after - before;
        (replaced, first)
    }

    /// Takes a subscriber out: its value, and whether it was the last of the filter.
    pub(super) fn unsubscribe(&mut self, id: u32, below: bool, key: u32) -> Option<(V, bool)> {
        self.get(id)?;
        let subscribers = &mut self[id].subscribers;
        let before = subscribers.listed();
        let value = subscribers.remove(below, key)?;
        let (after, last) = (subscribers.listed(), !subscribers.any(below));
        self.listed = self.listed + after - before;
        Some((value, last))
    }

    #[cfg(test)]
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.len() * size_of::<[Node<V>; CHUNK]>()
            + self.label_bytes
            + self.listed * size_of::<(u32, V)>() * 3 / 2
    }
}

fn new_chunk<V: Copy>() -> Box<[Node<V>; CHUNK]> {
    let nodes: Vec<_> = (0..CHUNK).map(|_| Node::new(Label::new(b""))).collect();
    let Ok(chunk) = nodes.try_into() else { unreachable!("the length is CHUNK") };
    chunk
}

impl<V> Index<u32> for Nodes<V> {
    type Output = Node<V>;

    #[inline]
    fn index(&self, id: u32) -> &Node<V> {
        &self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK]
    }
}

impl<V> IndexMut<u32> for Nodes<V> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut Node<V> {
        &mut self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK]
    }
}
