//! A disk in memory that keeps no promise it did not make: for tests and simulations, not for use.
//!
//! What was not synced may be lost at a crash, sector by sector and entry by entry, in any combination. After a sync
//! that failed the pages count as written although the disk never got them.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::disk::{Disk, DiskFile};

/// A sector is on the disk as a whole or not at all.
const SECTOR: usize = 512;

/// What goes wrong, and when. Calls are counted from 1.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    Never,
    /// This call fails, and no other.
    Once(u64),
    /// This call fails, and all after it.
    From(u64),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// As the operating system shows it.
    shown: Vec<u8>,
    /// As it is on the disk.
    durable: Vec<u8>,
    /// What each sector that was written since was in between, oldest first.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Lengths it had since.
    lengths: Vec<usize>,
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.shown.len() {
            self.shown.resize(end, 0);
            self.lengths.push(end);
        }
        self.shown[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let start = sector * SECTOR;
            let content = self.shown[start..(start + SECTOR).min(self.shown.len())].to_vec();
            self.dirty.entry(sector).or_default().push(content);
        }
    }

    /// What counts as unwritten gets to the disk. Pages that an earlier failure left behind do not: they count as written.
    fn flush(&mut self) {
        self.durable.resize(self.shown.len(), 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let end = ((sector + 1) * SECTOR).min(self.shown.len());
            let start = (sector * SECTOR).min(end);
            self.durable[start..end].copy_from_slice(&self.shown[start..end]);
        }
        self.lengths.clear();
    }

    /// Some of what was written gets to the disk: of each sector any of its states, or the one before.
    fn flush_some(&mut self, random: &mut Random) {
        let length = match random.below(self.lengths.len() as u64 + 1) {
            0 => self.durable.len(),
            at => self.lengths[usize::try_from(at).unwrap_or(1) - 1],
        };
        self.durable.resize(length, 0);
        for (sector, states) in std::mem::take(&mut self.dirty) {
            let at = random.below(states.len() as u64 + 1);
            let Some(state) = usize::try_from(at).ok().and_then(|at| states.get(at)) else { continue };
            let start = sector * SECTOR;
            if start < self.durable.len() {
                let end = (start + state.len()).min(self.durable.len());
                self.durable[start..end].copy_from_slice(&state[..end - start]);
            }
        }
        self.lengths.clear();
    }
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    shown: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    /// Names that were changed since the folder was synced, with what each pointed to in between.
    changed: BTreeMap<String, Vec<Option<u64>>>,
    next_inode: u64,
    calls: u64,
    fault: Fault,
    paused: bool,
    capacity: Option<u64>,
    random: Random,
    syncs: u64,
}

#[derive(Debug)]
struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(1)
    }
}

impl Random {
    /// Below `limit`, which is not 0 (splitmix64).
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

impl State {
    /// Counts a call, and fails it when that is its fate.
    fn call(&mut self) -> io::Result<()> {
        if self.paused {
            return Ok(());
        }
        self.calls += 1;
        let fails = match self.fault {
            Fault::Never => false,
            Fault::Once(call) => self.calls == call,
            Fault::From(call) => self.calls >= call,
        };
        if fails { Err(io::Error::other("the disk failed, as it was told to")) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(|inode| inode.shown.len() as u64).sum()
    }

    fn space_for(&self, more: usize) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.used() + more as u64 > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn point(&mut self, name: &str, inode: Option<u64>) {
        match inode {
            Some(inode) => drop(self.shown.insert(name.to_owned(), inode)),
            None => drop(self.shown.remove(name)),
        }
        self.changed.entry(name.to_owned()).or_default().push(inode);
    }

    /// Gives back what nothing points to.
    fn collect(&mut self) {
        let named: Vec<u64> = self
            .shown
            .values()
            .chain(self.durable.values())
            .copied()
            .chain(self.changed.values().flatten().filter_map(|inode| *inode))
            .collect();
        self.inodes.retain(|inode, _| named.contains(inode));
    }
}

/// The disk; its clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty one; what a crash leaves is drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.lock().random = Random(seed);
        disk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets calls fail from now on; calls are counted anew.
    pub fn set_fault(&self, fault: Fault) {
        let mut state = self.lock();
        (state.fault, state.calls) = (fault, 0);
    }

    /// Neither counts nor fails calls for a while, so that a test can look at what is there.
    pub fn pause_faults(&self, pause: bool) {
        self.lock().paused = pause;
    }

    /// Lets it hold so many bytes; `None`: as many as there are.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Calls since [`Self::set_fault`].
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Successful syncs of files so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The power fails, and comes back: of what was not synced any part may be there.
    pub fn crash(&self) {
        let mut state = self.lock();
        let state = &mut *state;
        for (name, states) in std::mem::take(&mut state.changed) {
            let at = usize::try_from(state.random.below(states.len() as u64 + 1)).unwrap_or(0);
            match states.get(at) {
                Some(Some(inode)) => drop(state.durable.insert(name, *inode)),
                Some(None) => drop(state.durable.remove(&name)),
                None => {}
            }
        }
        for inode in state.inodes.values_mut() {
            inode.flush_some(&mut state.random);
            inode.shown.clone_from(&inode.durable);
        }
        state.shown = state.durable.clone();
        state.fault = Fault::Never;
        state.collect();
    }

    /// A copy as it is now, with a randomness of its own.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let state = self.lock();
        Self {
            state: Arc::new(Mutex::new(State {
                inodes: state.inodes.clone(),
                shown: state.shown.clone(),
                durable: state.durable.clone(),
                changed: state.changed.clone(),
                next_inode: state.next_inode,
                capacity: state.capacity,
                random: Random(seed),
                ..State::default()
            })),
        }
    }

    /// Changes a file behind everybody's back, durably. False: there is no such file.
    #[must_use]
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.lock();
        let Some(inode) = state.shown.get(name).copied() else { return false };
        let Some(inode) = state.inodes.get_mut(&inode) else { return false };
        change(&mut inode.shown);
        inode.durable.clone_from(&inode.shown);
        inode.dirty.clear();
        inode.lengths.clear();
        true
    }

    /// What is in all files, by name.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        let content = |inode: &u64| state.inodes.get(inode).map(|inode| inode.shown.clone());
        state.shown.iter().filter_map(|(name, inode)| Some((name.clone(), content(inode)?))).collect()
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.call()?;
        Ok(state.shown.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.lock();
        state.call()?;
        if state.shown.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.point(name, Some(inode));
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.lock();
        state.call()?;
        let inode = *state.shown.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        if !state.shown.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.point(name, None);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        state.durable = state.shown.clone();
        state.changed.clear();
        Ok(())
    }
}

/// A file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, &mut Inode) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock();
        state.call()?;
        // Taken out, so that both can be borrowed.
        let mut inode = state.inodes.remove(&self.inode).unwrap_or_default();
        let result = act(&mut state, &mut inode);
        state.inodes.insert(self.inode, inode);
        result
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|_, inode| Ok(inode.shown.len() as u64))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|_, inode| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.shown.len());
            let size = into.len().min(inode.shown.len() - start);
            into[..size].copy_from_slice(&inode.shown[start..start + size]);
            Ok(size)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, inode| {
            let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let more = (offset + bytes.len()).saturating_sub(inode.shown.len());
            let before = inode.shown.len();
            if more > 0 && state.space_for(before + more).is_err() {
                // A part of it gets there.
                let part = usize::try_from(state.random.below(bytes.len() as u64)).unwrap_or(0);
                let part = part.min(before.saturating_sub(offset));
                inode.write(offset, &bytes[..part]);
                return Err(io::ErrorKind::StorageFull.into());
            }
            inode.write(offset, bytes);
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.with(|state, inode| {
            let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
            if length > inode.shown.len() {
                state.space_for(length)?;
                inode.shown.resize(length, 0);
                inode.lengths.push(length);
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let failed = {
            let mut state = self.disk.lock();
            state.call().err()
        };
        let mut state = self.disk.lock();
        let state = &mut *state;
        let Some(inode) = state.inodes.get_mut(&self.inode) else { return Ok(()) };
        if let Some(error) = failed {
            // The worst that systems do: pages count as clean, and what got to the disk is anybody's guess.
            inode.flush_some(&mut state.random);
            return Err(error);
        }
        inode.flush();
        state.syncs += 1;
        Ok(())
    }
}
