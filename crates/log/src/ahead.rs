//! Segments made ahead, so that a commit never waits for one, and the removal of those that are done with.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

use crate::{
    disk::{Disk, DiskFile},
    format::{LogId, SegmentHeader, segment_name},
};

/// A segment that is durable and empty.
#[derive(Debug)]
pub(crate) struct Made<F> {
    pub(crate) number: u32,
    pub(crate) file: Arc<F>,
    /// Its length in bytes.
    pub(crate) capacity: u64,
}

enum Job {
    Make { number: u32, before: u32 },
    Remove(u32),
}

/// What is needed to make a segment.
struct Maker<D> {
    disk: Arc<D>,
    id: LogId,
    epoch: u32,
    bytes: u64,
}

impl<D: Disk> Maker<D> {
    fn make(&self, number: u32, before: u32) -> io::Result<Made<D::File>> {
        let name = segment_name(number);
        let file = match self.disk.create(&name) {
            // Left by an attempt that failed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&name)?;
                self.disk.create(&name)?
            }
            created => created?,
        };
        let made = self.fill(&file, number, before);
        if let Err(error) = made {
            drop(file);
            // What is left of it is harmless: it holds no commit.
            let _ = self.disk.remove(&name);
            return Err(error);
        }
        Ok(Made { number, file: Arc::new(file), capacity: self.bytes })
    }

    fn fill(&self, file: &D::File, number: u32, before: u32) -> io::Result<()> {
        let header = SegmentHeader { number, epoch: self.epoch, id: self.id, length: self.bytes, before };
        file.allocate(self.bytes)?;
        file.write_at(0, &header.encode())?;
        file.sync_data()?;
        self.disk.sync_dir()
    }

    /// Removes what is listed. What cannot be removed stays listed; should it stay for good, or come back after a power
    /// cut, it is passed over at the next start.
    fn remove(&self, useless: &mut Vec<u32>) {
        useless.retain(|number| {
            let removed = self.disk.remove(&segment_name(*number));
            removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        });
    }

    fn clone(&self) -> Self {
        Self { disk: Arc::clone(&self.disk), id: self.id, epoch: self.epoch, bytes: self.bytes }
    }
}

/// Another thread that does it.
struct Helper<F> {
    jobs: Sender<Job>,
    made: Receiver<io::Result<Made<F>>>,
    pending: bool,
}

pub(crate) struct Ahead<D: Disk> {
    maker: Maker<D>,
    helper: Option<Helper<D::File>>,
    spares: VecDeque<Made<D::File>>,
    spares_max: usize,
    /// Files that could not be removed yet.
    useless: Vec<u32>,
    /// Used again after a failure: a segment is made only after the one before it.
    next_number: u32,
    /// The last segment there is.
    last_number: u32,
    /// Why spares are missing: the last attempt failed, and there are not enough again.
    failed: Option<io::Error>,
    /// Whether the next attempt may be made although the last one failed.
    try_again: bool,
}

impl<D: Disk> Ahead<D> {
    /// Segments have the number `first_number` and those behind it; `last_number` is the last one there is, 0: none.
    pub(crate) fn new(
        disk: Arc<D>,
        (id, epoch): (LogId, u32),
        (last_number, first_number): (u32, u32),
        (bytes, spares_max): (u64, usize),
        spares: Vec<Made<D::File>>,
    ) -> Self {
        Self {
            maker: Maker { disk, id, epoch, bytes },
            helper: None,
            spares: spares.into(),
            spares_max,
            useless: Vec::new(),
            next_number: first_number,
            last_number,
            failed: None,
            try_again: false,
        }
    }

    /// From now on segments are made and removed by whoever runs what this gives back, on a thread of its own.
    pub(crate) fn by_helper(&mut self) -> impl FnOnce() + Send + use<D> {
        let ((jobs, to_do), (done, made)) = (channel(), channel());
        self.helper = Some(Helper { jobs, made, pending: false });
        let maker = self.maker.clone();
        move || {
            let mut useless = Vec::new();
            for job in to_do {
                match job {
                    Job::Make { number, before } => {
                        if done.send(maker.make(number, before)).is_err() {
                            return;
                        }
                    }
                    Job::Remove(number) => {
                        useless.push(number);
                        maker.remove(&mut useless);
                    }
                }
            }
        }
    }

    fn took(&mut self, made: io::Result<Made<D::File>>) {
        match made {
            Ok(made) => {
                self.next_number = made.number.saturating_add(1);
                self.last_number = made.number;
                self.spares.push_back(made);
                self.try_again = true;
                if self.spares.len() >= self.spares_max {
                    self.failed = None;
                }
            }
            Err(error) => self.failed = Some(error),
        }
    }

    /// Sees to it that there are enough spares, now or soon.
    pub(crate) fn refill(&mut self) {
        self.collect(false);
        if !self.useless.is_empty() {
            self.maker.remove(&mut self.useless);
        }
        while !self.pending()
            && (self.failed.is_none() || self.try_again)
            && self.spares.len() < self.spares_max
        {
            self.try_again = false;
            let (number, before) = (self.next_number, self.last_number);
            match &mut self.helper {
                Some(helper) if helper.jobs.send(Job::Make { number, before }).is_ok() => {
                    helper.pending = true;
                }
                _ => {
                    let made = self.maker.make(number, before);
                    self.took(made);
                }
            }
        }
    }

    /// Whether a segment is being made, and nobody knows yet whether there is space for it.
    pub(crate) fn pending(&self) -> bool {
        self.helper.as_ref().is_some_and(|helper| helper.pending)
    }

    /// Waits until it is made, or is not.
    pub(crate) fn settle(&mut self) {
        self.collect(true);
        self.refill();
    }

    /// Takes what the helper has made, or waits for it.
    fn collect(&mut self, wait: bool) {
        let Some(helper) = self.helper.as_mut().filter(|helper| helper.pending) else { return };
        let made = if wait { helper.made.recv().ok() } else { helper.made.try_recv().ok() };
        helper.pending &= made.is_none() && !wait;
        if let Some(made) = made {
            self.took(made);
        }
    }

    /// The next segment, with room for so many bytes.
    pub(crate) fn take(&mut self, bytes: u64) -> io::Result<Made<D::File>> {
        self.refill();
        if self.spares.is_empty() {
            self.collect(true);
        }
        if self.spares.is_empty() {
            let made = self.maker.make(self.next_number, self.last_number)?;
            self.took(Ok(made));
        }
        let mut made = self.spares.pop_front().ok_or(io::ErrorKind::NotFound)?;
        if made.capacity < bytes
            && let Err(error) = made.file.allocate(bytes).and_then(|()| made.file.sync_data())
        {
            self.spares.push_front(made);
            return Err(error);
        }
        made.capacity = made.capacity.max(bytes);
        self.refill();
        Ok(made)
    }

    pub(crate) fn remove(&mut self, number: u32) {
        match &self.helper {
            Some(helper) if helper.jobs.send(Job::Remove(number)).is_ok() => {}
            _ => {
                self.useless.push(number);
                self.maker.remove(&mut self.useless);
            }
        }
    }

    /// Tries again after a failure.
    pub(crate) fn retry(&mut self) {
        self.try_again = true;
        self.refill();
    }

    /// Why there are fewer spares than there should be, if there are.
    pub(crate) fn shortage(&self) -> Option<&io::Error> {
        self.failed.as_ref()
    }

    pub(crate) fn spares(&self) -> usize {
        self.spares.len()
    }
}

impl<D: Disk> std::fmt::Debug for Ahead<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead").field("spares", &self.spares.len()).finish_non_exhaustive()
    }
}

/// Whether an error says that there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
