//! A short sorted list that is searched almost without reading its entries' topics.
//!
//! Topics live behind pointers, and each one read is a cache miss. So a shelf remembers how many leading bytes all its
//! topics share, and of each topic the eight bytes after those; a search compares these numbers, which lie side by
//! side, and reads topics only among entries that are equal there.

use super::Retained;
use super::order::{Key, common_prefix, window};

/// Entries of a full shelf: one more is split after it was inserted, without outgrowing room for 128.
const SHELF_MAX: usize = 127;
/// Room for so many more entries is made at a time: half of what doubling makes would stay empty.
const ROOM: usize = 16;

/// Entries sorted by topic; shelves of shelves are sorted by their first topics.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    /// Bytes that all topics have in common at the front, or fewer.
    shared: usize,
    /// For each entry its [`window`] at `shared`.
    windows: Vec<u64>,
    items: Vec<T>,
}

impl<T: Retained> Retained for Shelf<T> {
    fn topic(&self) -> &str {
        // An empty shelf exists only on its way out.
        self.items.first().map_or("", Retained::topic)
    }

    fn topic_bytes(&self) -> &[u8] {
        self.items.first().map_or(&[], Retained::topic_bytes)
    }
}

impl<T> Shelf<T> {
    pub(super) const fn new() -> Self {
        Self { shared: 0, windows: Vec::new(), items: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn items(&self) -> &[T] {
        &self.items
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.items.get(at)
    }

    pub(super) fn item_mut(&mut self, at: usize) -> &mut T {
        &mut self.items[at]
    }
}

impl<T: Retained> Shelf<T> {
    pub(super) fn of(item: T) -> Self {
        let mut shelf = Self::new();
        shelf.insert(0, item);
        shelf
    }

    /// The position of the topic equal to `key`, or where it would be inserted.
    pub(super) fn search(&self, key: &Key<'_>) -> Result<usize, usize> {
        let Some(first) = self.items.first() else { return Err(0) };
        let front = &first.topic_bytes()[..self.shared];
        if key.common_prefix(front) < self.shared {
            return Err(if key.compare(front).is_lt() { 0 } else { self.len() });
        }
        let wanted = key.window(self.shared);
        let from = self.windows.partition_point(|window| *window < wanted);
        let equal = self.windows[from..].partition_point(|window| *window == wanted);
        let among = &self.items[from..from + equal];
        match among.binary_search_by(|item| key.compare(item.topic_bytes()).reverse()) {
            Ok(at) => Ok(from + at),
            Err(at) => Err(from + at),
        }
    }

    /// Whether the shelf surely has a topic above `key`.
    pub(super) fn reaches_beyond(&self, key: &Key<'_>) -> bool {
        let (Some(first), Some(last)) = (self.items.first(), self.windows.last()) else { return false };
        let front = &first.topic_bytes()[..self.shared];
        key.common_prefix(front) == self.shared && key.window(self.shared) < *last
    }

    pub(super) fn insert(&mut self, at: usize, item: T) {
        if self.items.len() == self.items.capacity() {
            self.windows.reserve_exact(ROOM);
            self.items.reserve_exact(ROOM);
        }
        self.windows.insert(at, 0);
        self.items.insert(at, item);
        if self.len() == 1 {
            self.shared = self.items[0].topic_bytes().len();
        }
        self.changed(at);
    }

    pub(super) fn remove(&mut self, at: usize) -> T {
        self.windows.remove(at);
        let item = self.items.remove(at);
        if self.items.len() * 4 < self.items.capacity() {
            self.windows.shrink_to(self.items.len() * 2);
            self.items.shrink_to(self.items.len() * 2);
        }
        item
    }

    /// To be called when the entry at this position is new or has another topic: takes note of it.
    pub(super) fn changed(&mut self, at: usize) {
        // What the ends have in common, all between them has.
        if (at == 0 || at + 1 == self.len()) && self.common() < self.shared {
            self.measure();
        } else {
            self.windows[at] = window(self.items[at].topic_bytes(), self.shared);
        }
    }

    /// Cuts a shelf that is too long after the insertion at `at`; returns its upper part.
    pub(super) fn split(&mut self, at: usize) -> Option<Self> {
        if self.len() <= SHELF_MAX {
            return None;
        }
        // Behind the end only the new entry moves: topics inserted in order fill their shelves.
        let cut = if at + 1 == self.len() { at } else { self.len() / 2 };
        let (windows, items) = (self.windows.split_off(cut), self.items.split_off(cut));
        let mut tail = Self { shared: 0, windows, items };
        self.windows.shrink_to(cut + ROOM);
        self.items.shrink_to(cut + ROOM);
        self.measure();
        tail.measure();
        Some(tail)
    }

    /// Determines anew what the topics share.
    fn measure(&mut self) {
        self.shared = self.common();
        for (window_of, item) in self.windows.iter_mut().zip(&self.items) {
            *window_of = window(item.topic_bytes(), self.shared);
        }
    }

    fn common(&self) -> usize {
        match (self.items.first(), self.items.last()) {
            (Some(first), Some(last)) => common_prefix(first.topic_bytes(), last.topic_bytes()),
            _ => 0,
        }
    }

    fn append(&mut self, mut other: Self) {
        self.windows.append(&mut other.windows);
        self.items.append(&mut other.items);
        self.measure();
    }
}

impl<T: Retained> Shelf<Shelf<T>> {
    /// The entry in which `key` is or would be: the last that begins at or below it.
    pub(super) fn shelf_for(&self, key: &Key<'_>) -> usize {
        self.search(key).unwrap_or_else(|at| at.saturating_sub(1))
    }

    /// Removes the shelf at this position, which has lost an entry, if it is empty, and joins it with a neighbour if
    /// both are short.
    pub(super) fn tidy(&mut self, at: usize) {
        let len = self.items[at].len();
        if len == 0 {
            self.remove(at);
            return;
        }
        self.changed(at);
        if len >= SHELF_MAX / 4 {
            return;
        }
        let short = |it: &Shelf<T>| len + it.len() <= SHELF_MAX / 2;
        let lower = match at.checked_sub(1) {
            Some(below) if short(&self.items[below]) => below,
            _ if self.items.get(at + 1).is_some_and(short) => at,
            _ => return,
        };
        let upper = self.remove(lower + 1);
        self.items[lower].append(upper);
        self.changed(lower);
    }
}
