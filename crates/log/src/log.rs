//! The log itself: one writer's view of it, without threads.

use std::{collections::BTreeMap, io, sync::Arc};

use cork_store::{Fetch, Load, Message, Recovered, StoreError};

use crate::{
    ahead::{Ahead, Made, is_full},
    clean::{Aim, Cleaner, Plan},
    disk::{Disk, DiskFile},
    error::{Cut, Damage},
    fetch::LocatedRetained,
    format::{
        Builder, COMMIT_BYTES_MAX, COMMIT_HEADER_BYTES, CommitHeader, FRAME_BYTES, LogId,
        SEGMENT_HEADER_BYTES, Seed, segment_name,
    },
    group::{Group, Op},
    index::Index,
    options::{Durability, Options},
    queue::Place,
    record::View,
    restore::Located,
};

/// The segment that is written.
#[derive(Debug)]
pub(crate) struct Active<F> {
    pub(crate) made: Made<F>,
    pub(crate) seed: Seed,
    /// Where the next commit goes.
    pub(crate) at: u64,
}

/// What a start found.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Segments that were read.
    pub segments: usize,
    /// Commits in them.
    pub commits: u64,
    /// What a crash had left unfinished.
    pub cut: Option<Cut>,
    /// There is no space for new segments: reading and draining go on.
    pub full: bool,
    /// Messages that the history should have and lacks.
    pub remembered: Vec<Arc<Message>>,
}

/// Figures of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments that hold commits.
    pub segments: usize,
    /// Bytes of commits in them.
    pub used_bytes: u64,
    /// Bytes of what is still needed, estimated.
    pub live_bytes: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Bytes written since the start, copies included.
    pub written_bytes: u64,
    /// Bytes written again since the start, to give space back.
    pub copied_bytes: u64,
    /// Where the oldest segment cannot be read and is therefore kept.
    pub stuck: Option<Damage>,
}

/// A log that is open for writing. One at a time may be, which is for the caller to see to.
///
/// One mutation at a time, all of them with their I/O done when they return. After a write that may have left anything
/// behind that nobody knows of, every later one fails.
pub struct Log<D: Disk> {
    pub(crate) options: Options,
    pub(crate) id: LogId,
    pub(crate) index: Index,
    pub(crate) files: BTreeMap<u32, Arc<D::File>>,
    pub(crate) ahead: Ahead<D>,
    pub(crate) active: Option<Active<D::File>>,
    cleaner: Cleaner<D::File>,
    builder: Builder,
    group: Group,
    /// Number of the next commit.
    pub(crate) next: u64,
    /// Commits up to this one are durable.
    pub(crate) synced: u64,
    /// Commits before this one are not needed.
    pub(crate) first: u64,
    /// Segments to be removed once this commit is durable, which says that they are not needed.
    doomed: Vec<(u32, u64)>,
    failed: Option<String>,
    stats: Stats,
}

impl<D: Disk> std::fmt::Debug for Log<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("next", &self.next).field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// On a full disk this part of a segment is left to records that free space, and to those who come to read.
const RESERVE: u64 = 4;

/// With less than this part of a segment left, nothing more is begun.
const STUCK: u64 = 256;

/// Chunks of ended queues that are taken off the books with one commit.
const BURIED_PER_COMMIT: usize = 256;

impl<D: Disk> Log<D> {
    pub(crate) fn new(options: Options, id: LogId, index: Index, ahead: Ahead<D>) -> Self {
        Self {
            options,
            id,
            index,
            files: BTreeMap::new(),
            ahead,
            active: None,
            cleaner: Cleaner::new(),
            builder: Builder::default(),
            group: Group::default(),
            next: 1,
            synced: 0,
            first: 1,
            doomed: Vec::new(),
            failed: None,
            stats: Stats::default(),
        }
    }

    /// What a restart would give back now.
    ///
    /// # Errors
    /// Of the disk; or something in the log is damaged.
    pub fn recovered(&self, epoch: u32) -> Result<Recovered, crate::OpenError> {
        match crate::restore::recover(&self.index, &self.files, self.id, epoch, u64::MAX)? {
            (recovered, damages) if damages.is_empty() => Ok(recovered),
            (_, damages) => Err(crate::OpenError::Damaged(damages)),
        }
    }

    /// Writes what `ops` want kept, as a whole or not at all, and says where to read what they want loaded.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing was done, and it can be tried again. [`StoreError::Failed`]: nothing is known of
    /// what was written, and nothing will be written any more; a later start finds all of it or nothing.
    pub fn commit(&mut self, ops: &[Op]) -> Result<Vec<Located<D::File>>, StoreError> {
        self.commit_with(ops, false)
    }

    fn commit_with(&mut self, ops: &[Op], even_empty: bool) -> Result<Vec<Located<D::File>>, StoreError> {
        if let Some(how) = &self.failed {
            return Err(StoreError::Failed(how.clone()));
        }
        self.index.bury(BURIED_PER_COMMIT);
        self.builder.clear();
        let plan = self.clean_slice();
        let copied = self.builder.len() - COMMIT_HEADER_BYTES;
        self.group.write(ops, &self.index, &mut self.builder);
        if self.builder.records() > 0 || even_empty {
            let first = plan.and_then(|plan| plan.first).unwrap_or(self.first);
            let place = self.write(first)?;
            self.stats.commits += 1;
            self.stats.written_bytes += self.builder.len() as u64;
            self.stats.copied_bytes += copied as u64;
            let located = self.apply(place);
            self.follow(plan, self.next - 1);
            self.remove_doomed();
            return Ok(located);
        }
        self.follow(plan, self.next);
        let loads = std::mem::take(&mut self.group.loads);
        Ok(loads.iter().map(|(_, shard, load)| self.locate(*shard, *load)).collect())
    }

    /// Does what is left to do when nobody writes. True: there is more.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn clean_step(&mut self) -> Result<bool, StoreError> {
        let more = self.index.bury(BURIED_PER_COMMIT);
        let due = self.cleaner.is_due(&self.index, self.aim()) && self.may_copy();
        if due || self.doomed_wait() {
            self.commit_with(&[], self.doomed_wait())?;
        }
        Ok(more || due || self.doomed_wait())
    }

    /// Whether only a further commit, be it empty, lets useless segments go.
    fn doomed_wait(&self) -> bool {
        self.doomed.last().is_some_and(|(_, commit)| *commit >= self.next)
    }

    fn aim(&self) -> Aim {
        let Options { slack_bytes, clean_slice_bytes, .. } = self.options;
        Aim { slack_bytes, slice_bytes: clean_slice_bytes, short: self.is_full() }
    }

    /// On a full disk the last space is for those who need it; what is copied must come back soon, with a segment of
    /// which little is left. Without a spare, half of what the present segment has room for stays theirs.
    fn may_copy(&self) -> bool {
        if self.ahead.shortage().is_none() {
            return true;
        }
        let most = if self.ahead.spares() > 0 { self.options.segment_bytes / 2 } else { self.room() / 2 };
        self.index.books.oldest().is_some_and(|book| book.entries == 0 || book.live_bytes() <= most)
    }

    /// Bytes that the present segment has room for.
    fn room(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.made.capacity.saturating_sub(active.at))
    }

    fn clean_slice(&mut self) -> Option<Plan> {
        if !self.may_copy() {
            return None;
        }
        self.cleaner.slice(&self.index, &self.files, self.id, self.aim(), &mut self.builder)
    }

    /// Writes the commit in the builder: where it is.
    fn write(&mut self, first: u64) -> Result<(u32, u32), StoreError> {
        let length = self.builder.len();
        if length > COMMIT_BYTES_MAX {
            return Err(self.fail(&format!("{length} bytes are too much for one commit")));
        }
        self.make_room(length as u64, self.group.grows)?;
        let Some(active) = &self.active else { return Err(StoreError::Full) };
        let offset = u32::try_from(active.at).unwrap_or(u32::MAX);
        let header = CommitHeader {
            number: self.next,
            records: u32::try_from(self.builder.records()).unwrap_or(u32::MAX),
            bytes: u32::try_from(length - COMMIT_HEADER_BYTES).unwrap_or(u32::MAX),
            synced: self.synced,
            first,
            latest_arrival: self.group.latest_arrival.max(self.index.latest_arrival),
        };
        let written = active.made.file.write_at(active.at, self.builder.seal(header, active.seed, offset));
        let (number, file) = (active.made.number, Arc::clone(&active.made.file));
        if let Err(error) = written {
            // Without an acknowledgement nothing of it counts; the next attempt is written over it.
            return Err(if is_full(&error) {
                StoreError::Full
            } else {
                self.failed_at("write to", number, &error)
            });
        }
        if matches!(self.options.durability, Durability::Always) {
            if let Err(error) = file.sync_data() {
                return Err(self.failed_at("sync", number, &error));
            }
            self.synced = self.next;
        }
        if let Some(active) = &mut self.active {
            if active.at == SEGMENT_HEADER_BYTES as u64 {
                self.index.books.open(number, self.next, SEGMENT_HEADER_BYTES as u64);
                self.index.books.set_file_bytes(number, active.made.capacity);
                self.files.insert(number, file);
                self.cleaner.look_soon();
            }
            active.at += length as u64;
        }
        self.index.books.grow(number, length as u64);
        self.next += 1;
        Ok((number, offset))
    }

    /// Begins a new segment unless the present one has room for so many bytes. `grows`: they bring new messages, for
    /// which the last space is not.
    fn make_room(&mut self, bytes: u64, grows: bool) -> Result<(), StoreError> {
        // Whether the next segment can be had is known before half of this one is gone: what was appended before
        // everybody heard that it cannot has place in the other half and in the spare.
        let half = self.options.segment_bytes / 2;
        let begun = |active: &Active<D::File>| active.at + bytes > half;
        if self.ahead.pending() && self.active.as_ref().is_none_or(begun) {
            self.ahead.settle();
        }
        if grows && self.ahead.shortage().is_some_and(is_full) && !self.leaves_reserve(bytes) {
            return Err(StoreError::Full);
        }
        let fits = |active: &Active<D::File>| active.at + bytes <= active.made.capacity;
        if !self.active.as_ref().is_some_and(fits) {
            // So that only the last segment of a log can hold what is not durable.
            self.sync()?;
            let made = match self.ahead.take(SEGMENT_HEADER_BYTES as u64 + bytes) {
                Ok(made) => made,
                Err(error) if is_full(&error) => return Err(StoreError::Full),
                Err(error) => return Err(self.fail(&format!("cannot make a segment: {error}"))),
            };
            let seed = Seed::new(self.id, made.number);
            self.active = Some(Active { made, seed, at: SEGMENT_HEADER_BYTES as u64 });
        }
        Ok(())
    }

    /// Whether, after a commit of so many bytes, there is enough left for records that free space.
    fn leaves_reserve(&self, bytes: u64) -> bool {
        let (segment, spares) = (self.options.segment_bytes, self.ahead.spares() as u64);
        let left = match self.room().checked_sub(bytes) {
            Some(left) => left + spares * segment,
            None => {
                let of_next = segment.saturating_sub(SEGMENT_HEADER_BYTES as u64 + bytes);
                spares.checked_sub(1).map_or(0, |others| of_next + others * segment)
            }
        };
        left >= segment / RESERVE
    }

    /// Takes the commit that was written into the index, and finds what was asked for in between.
    fn apply(&mut self, (segment, offset): (u32, u32)) -> Vec<Located<D::File>> {
        let loads = std::mem::take(&mut self.group.loads);
        let (mut loads, mut located) = (loads.into_iter().peekable(), Vec::new());
        self.index.latest_arrival = self.index.latest_arrival.max(self.group.latest_arrival);
        for at in 0..=self.builder.records() {
            while let Some((_, shard, load)) = loads.next_if(|(before, ..)| *before == at) {
                located.push(self.locate(shard, load));
            }
            if at < self.builder.records() {
                let (start, bytes) = self.builder.get(at);
                let weight = u32::try_from(FRAME_BYTES + bytes.len()).unwrap_or(u32::MAX);
                match View::read(bytes) {
                    Ok(view) => self.index.apply(&view, Place { segment, offset: offset + start, weight }),
                    Err(_) => debug_assert!(false, "a record that was just written reads back"),
                }
            }
        }
        located
    }

    /// Does what a slice of cleaning led to; this commit says so.
    fn follow(&mut self, plan: Option<Plan>, commit: u64) {
        let Some(plan) = plan else { return };
        self.cleaner.written(&plan);
        for _ in 0..plan.drop {
            if let Some(number) = self.index.drop_oldest() {
                self.files.remove(&number);
                self.doomed.push((number, commit));
            }
        }
        self.first = plan.first.unwrap_or(self.first);
    }

    /// Removes segments that the last durable commit does not need.
    fn remove_doomed(&mut self) {
        let synced = self.synced;
        let ready = self.doomed.iter().take_while(|(_, commit)| *commit <= synced).count();
        for (number, _) in self.doomed.drain(..ready) {
            self.ahead.remove(number);
        }
        self.ahead.refill();
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// [`StoreError::Failed`], from then on for ever.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(how) = &self.failed {
            return Err(StoreError::Failed(how.clone()));
        }
        let Some(active) = self.active.as_ref().filter(|_| self.synced + 1 < self.next) else {
            return Ok(());
        };
        let number = active.made.number;
        if let Err(error) = active.made.file.sync_data() {
            return Err(self.failed_at("sync", number, &error));
        }
        self.synced = self.next - 1;
        self.remove_doomed();
        Ok(())
    }

    /// Makes everything durable, and leaves a proof of it, so that a damaged last commit is not taken for a torn one.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn close(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        self.commit_with(&[], true)?;
        self.sync()
    }

    /// Where the answer to `load` lies.
    #[must_use]
    pub fn locate(&self, shard: u16, load: Load) -> Located<D::File> {
        Located::new(shard, load, &self.index, &self.files, self.id)
    }

    /// Where the answer to `fetch` lies.
    #[must_use]
    pub fn locate_retained(&self, shard: u16, fetch: Fetch) -> LocatedRetained<D::File> {
        LocatedRetained::new(shard, fetch, &self.index, &self.files, self.id)
    }

    /// Why nothing is written any more, if that is so.
    #[must_use]
    pub fn failure(&self) -> Option<StoreError> {
        self.failed.clone().map(StoreError::Failed)
    }

    /// Whether a new segment cannot be had; what is left is for records that free space.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.ahead.shortage().is_some()
    }

    /// Whether not even the reserve is left.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let least = self.options.segment_bytes / STUCK;
        self.is_full() && self.ahead.spares() == 0 && self.room() < least
    }

    /// Looks whether new segments can be had again.
    pub fn retry(&mut self) {
        self.ahead.retry();
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (used_bytes, live_bytes) = self.index.books.bytes();
        let stuck = self.cleaner.stuck.as_ref().map(|(_, damage)| damage.clone());
        Stats { segments: self.index.books.len(), used_bytes, live_bytes, stuck, ..self.stats.clone() }
    }

    fn failed_at(&mut self, what: &str, segment: u32, error: &io::Error) -> StoreError {
        self.fail(&format!("cannot {what} {}: {error}", segment_name(segment)))
    }

    fn fail(&mut self, how: &str) -> StoreError {
        self.failed = Some(how.to_owned());
        StoreError::Failed(how.to_owned())
    }
}
