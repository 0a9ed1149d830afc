//! A disk whose power can be cut: a FUSE file system over [`model::Model`], with switches for what disks do wrong.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use cork_storm::Rng;
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use content::{BLOCK, Content};
use model::{Fault, Folder, Ino, Kind, Model, Node};

pub(crate) use content::Loss;

mod content;
mod model;

/// A mounted disk; unmounted when dropped, which needs everybody to have let go of it.
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    session: Option<BackgroundSession>,
}

/// What happened on a disk.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) syncs: u64,
    pub(crate) written: u64,
    pub(crate) failed: u64,
}

struct State {
    model: Model,
    counts: Counts,
    /// How long a sync takes.
    latency: Duration,
    /// After how many further syncs one fails.
    fails_after: Option<u64>,
    /// The power is off.
    off: bool,
}

impl Disk {
    /// Mounts an empty disk on a folder, which is made.
    pub(crate) fn mount(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let state = Arc::new(Mutex::new(State {
            model: Model::new(),
            counts: Counts::default(),
            latency: Duration::ZERO,
            fails_after: None,
            off: false,
        }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("cork-chaos".to_owned()), MountOption::NoAtime];
        let session = fuser::spawn_mount(Face(state.clone()), path, &config).map_err(|error| {
            let help = "power cuts need /dev/fuse, and root or Debian's fuse3";
            io::Error::new(error.kind(), format!("cannot mount {}: {error}; {help}", path.display()))
        })?;
        Ok(Self { state, path: path.to_owned(), session: Some(session) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(crate) fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// One sync fails, after so many that do not.
    pub(crate) fn fail_sync_after(&self, syncs: Option<u64>) {
        self.state().fails_after = syncs;
    }

    /// How many bytes there are; none of what is there is lost when that is less.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.state().model.set_capacity(bytes);
    }

    /// Cuts the power: what was not synced is lost, and nothing works until [`Disk::power_on`].
    pub(crate) fn cut(&self, loss: Loss, rng: &mut Rng) {
        let mut state = self.state();
        state.off = true;
        state.model.cut(loss, rng);
    }

    pub(crate) fn power_on(&self) {
        let mut state = self.state();
        state.off = false;
        state.fails_after = None;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A lazy unmount goes through even where somebody still has a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.path).output();
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the kernel sees. Nothing is cached there: every read and every look-up asks the model.
struct Face(Arc<Mutex<State>>);

impl Face {
    fn ask<T>(&self, what: impl FnOnce(&mut Model) -> Result<T, Fault>) -> Result<T, Errno> {
        let mut state = lock(&self.0);
        if state.off {
            return Err(Errno::EIO);
        }
        what(&mut state.model).map_err(errno)
    }

    fn attr(&self, ino: Ino) -> Result<FileAttr, Errno> {
        self.ask(|model| model.node(ino).map(|node| attr(ino, node)))
    }

    fn make(&self, parent: INodeNo, name: &OsStr, kind: Kind, mode: u32) -> Result<FileAttr, Errno> {
        let mode = u16::try_from(mode & 0o777).unwrap_or(0o600);
        self.ask(|model| {
            let ino = model.make(parent.0, text(name)?, kind, mode)?;
            model.node(ino).map(|node| attr(ino, node))
        })
    }

    /// Takes the time a sync takes, on a thread of its own, so that the others go on.
    fn sync(&self, ino: INodeNo, reply: ReplyEmpty) {
        let latency = lock(&self.0).latency;
        if latency.is_zero() {
            return answer(reply, sync(&self.0, ino.0));
        }
        let state = self.0.clone();
        thread::spawn(move || {
            thread::sleep(latency);
            answer(reply, sync(&state, ino.0));
        });
    }
}

fn sync(state: &Mutex<State>, ino: Ino) -> Result<(), Errno> {
    let mut state = lock(state);
    if state.off {
        return Err(Errno::EIO);
    }
    let fails = state.fails_after == Some(0);
    state.fails_after = state.fails_after.and_then(|left| left.checked_sub(1));
    state.counts.syncs += 1;
    state.counts.failed += u64::from(fails);
    state.model.sync(ino, fails).map_err(errno)
}

fn answer(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn text(name: &OsStr) -> Result<&str, Fault> {
    name.to_str().ok_or(Fault::NotFound)
}

fn errno(fault: Fault) -> Errno {
    match fault {
        Fault::NotFound => Errno::ENOENT,
        Fault::Exists => Errno::EEXIST,
        Fault::NotEmpty => Errno::ENOTEMPTY,
        Fault::NotAFolder => Errno::ENOTDIR,
        Fault::IsAFolder => Errno::EISDIR,
        Fault::NoSpace => Errno::ENOSPC,
        Fault::Io => Errno::EIO,
    }
}

fn attr(ino: Ino, node: &Node) -> FileAttr {
    let (kind, size, blocks) = match &node.kind {
        Kind::File(content) => (FileType::RegularFile, content.length(), content.blocks() * 8),
        Kind::Folder(_) => (FileType::Directory, 0, 0),
    };
    let then = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks,
        atime: then,
        mtime: then,
        ctime: then,
        crtime: then,
        kind,
        perm: node.mode,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

const UNCACHED: Duration = Duration::ZERO;

impl Filesystem for Face {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.ask(|model| {
            let ino = model.lookup(parent.0, text(name)?)?;
            model.node(ino).map(|node| attr(ino, node))
        });
        entry(reply, found);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino.0) {
            Ok(attr) => reply.attr(&UNCACHED, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.ask(|model| {
            if let Some(mode) = mode {
                model.node_mut(ino.0)?.mode = u16::try_from(mode & 0o777).unwrap_or(0o600);
            }
            if let Some(size) = size {
                model.set_length(ino.0, size)?;
            }
            model.node(ino.0).map(|node| attr(ino.0, node))
        });
        match set {
            Ok(attr) => reply.attr(&UNCACHED, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(reply, self.make(parent, name, Kind::Folder(Folder::default()), mode & !umask));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.make(parent, name, Kind::File(Content::default()), mode & !umask);
        match made.and_then(|attr| self.ask(|model| model.opened(attr.ino.0)).map(|()| attr)) {
            Ok(attr) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&UNCACHED, &attr, Generation(0), FileHandle(0), flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.ask(|model| model.remove(parent.0, text(name)?)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.ask(|model| model.remove(parent.0, text(name)?)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (parent.0, new_parent.0);
        answer(reply, self.ask(|model| model.rename((from, text(name)?), (to, text(new_name)?))));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.ask(|model| model.opened(ino.0)) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.ask(|model| model.read(ino.0, offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match self.ask(|model| model.write(ino.0, offset, data)) {
            Ok(()) => {
                lock(&self.0).counts.written += u64::from(length);
                reply.written(length);
            }
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.0).model.closed(ino.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.sync(ino, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.sync(ino, reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let names = match self.ask(|model| model.list(ino.0)) {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (name, ino)) in names.into_iter().enumerate().skip(skip) {
            let kind = self.attr(ino).map_or(FileType::RegularFile, |attr| attr.kind);
            if reply.add(INodeNo(ino), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (blocks, free) = lock(&self.0).model.space();
        let block = u32::try_from(BLOCK).unwrap_or(u32::MAX);
        reply.statfs(blocks, free, free, 1 << 20, 1 << 20, block, 255, block);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        answer(reply, self.ask(|model| model.allocate(ino.0, offset, length)));
    }
}

fn entry(reply: ReplyEntry, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attr) => reply.entry(&UNCACHED, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}
