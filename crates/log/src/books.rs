//! What lies in each segment, and how much of it is still needed.

use std::collections::VecDeque;

use crate::queue::Place;

/// One segment's account. Weights are of its own making (see [`Place::weight`]); only their ratio matters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) number: u32,
    /// Its first commit.
    pub(crate) first_commit: u64,
    /// Bytes that commits take, its header included.
    pub(crate) used: u64,
    /// Bytes of its file: more than a segment's where it was made longer for a commit, which a crash may have undone.
    file_bytes: u64,
    /// Weight of all that was ever in it.
    total: u64,
    /// Weight of what is still needed.
    live: u64,
    /// Places that point into it.
    pub(crate) entries: u64,
    /// Topics whose retained message a record here has cleared.
    pub(crate) cleared: Vec<(u64, u32)>,
}

impl Book {
    /// Bytes of what is still needed, estimated.
    pub(crate) fn live_bytes(&self) -> u64 {
        let share = u128::from(self.used) * u128::from(self.live) / u128::from(self.total.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Bytes that the disk has back once the segment is removed.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.file_bytes.max(self.used)
    }
}

/// The accounts of all segments that hold commits, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    list: VecDeque<Book>,
}

impl Books {
    /// Begins the account of a segment behind all others.
    pub(crate) fn open(&mut self, number: u32, first_commit: u64, used: u64) {
        debug_assert!(self.list.back().is_none_or(|book| book.number < number), "segments come in order");
        self.list.push_back(Book { number, first_commit, used, ..Book::default() });
    }

    /// Says how long a segment's file is.
    pub(crate) fn set_file_bytes(&mut self, number: u32, bytes: u64) {
        if let Some(book) = self.get(number) {
            book.file_bytes = bytes;
        }
    }

    /// Bytes of all files but the last one's.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.list.iter().rev().skip(1).map(|book| book.file_bytes).sum()
    }

    fn get(&mut self, number: u32) -> Option<&mut Book> {
        let front = self.list.front()?.number;
        let guess = usize::try_from(number.checked_sub(front)?).ok()?;
        let at = match self.list.get(guess) {
            Some(book) if book.number == number => guess,
            _ => self.list.binary_search_by_key(&number, |book| book.number).ok()?,
        };
        self.list.get_mut(at)
    }

    pub(crate) fn grow(&mut self, number: u32, bytes: u64) {
        if let Some(book) = self.get(number) {
            book.used += bytes;
        }
    }

    pub(crate) fn add(&mut self, place: Place) {
        if let Some(book) = self.get(place.segment) {
            book.total += u64::from(place.weight);
            book.live += u64::from(place.weight);
            book.entries += 1;
        }
    }

    /// Something that nothing points to from the beginning.
    pub(crate) fn add_dead(&mut self, segment: u32, weight: u32) {
        if let Some(book) = self.get(segment) {
            book.total += u64::from(weight);
        }
    }

    pub(crate) fn release(&mut self, place: Place) {
        if let Some(book) = self.get(place.segment) {
            debug_assert!(book.entries > 0 && book.live >= u64::from(place.weight), "released twice");
            book.live = book.live.saturating_sub(u64::from(place.weight));
            book.entries = book.entries.saturating_sub(1);
        }
    }

    pub(crate) fn note_cleared(&mut self, segment: u32, topic: (u64, u32)) {
        if let Some(book) = self.get(segment) {
            book.cleared.push(topic);
        }
    }

    pub(crate) fn oldest(&self) -> Option<&Book> {
        self.list.front()
    }

    /// How many of the oldest ones hold nothing that is needed, the last one left aside.
    pub(crate) fn leading_unneeded(&self) -> usize {
        let all_but_last = self.list.len().saturating_sub(1);
        self.list.iter().take(all_but_last).take_while(|book| book.entries == 0).count()
    }

    /// The first commit of segment `at`, counted from the oldest.
    pub(crate) fn first_commit_of(&self, at: usize) -> Option<u64> {
        self.list.get(at).map(|book| book.first_commit)
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<Book> {
        self.list.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Bytes that commits take, and the part that is still needed, estimated.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        self.list.iter().fold((0, 0), |(used, live), book| (used + book.used, live + book.live_bytes()))
    }
}
