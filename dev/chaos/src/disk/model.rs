//! A file system in memory that knows what was synced: folders and files, no links.
//!
//! Stricter than most real ones: the name of a new file is safe only when its folder was synced, whatever was done to
//! the file. POSIX promises no more.

use std::collections::{BTreeMap, BTreeSet};

use cork_storm::Rng;

use super::content::{BLOCK, Content, Loss};

/// Number of a node; 1 is the root.
pub(crate) type Ino = u64;
pub(crate) const ROOT: Ino = 1;

/// Why something did not work.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotFound,
    Exists,
    NotEmpty,
    NotAFolder,
    IsAFolder,
    NoSpace,
    /// The device is gone, or a sync failed.
    Io,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    now: BTreeMap<String, Ino>,
    safe: BTreeMap<String, Ino>,
    /// Names changed since the last sync; those changed together (by a rename) survive together.
    changes: Vec<BTreeSet<String>>,
}

impl Folder {
    fn changed(&mut self, names: &[&str]) {
        let mut group: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.changes.retain(|other| {
            let apart = other.is_disjoint(&group);
            if !apart {
                group.extend(other.iter().cloned());
            }
            apart
        });
        self.changes.push(group);
    }

    fn sync(&mut self) {
        self.safe = self.now.clone();
        self.changes.clear();
    }

    fn cut(&mut self, loss: Loss, rng: &mut Rng) {
        let mut left = self.safe.clone();
        for name in self.changes.iter().filter(|_| loss == Loss::Half && rng.chance(50)).flatten() {
            match self.now.get(name) {
                Some(ino) => left.insert(name.clone(), *ino),
                None => left.remove(name),
            };
        }
        *self = Self { now: left.clone(), safe: left, changes: Vec::new() };
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(Content),
    Folder(Folder),
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u16,
    opens: u64,
    /// Whether a name leads here.
    named: bool,
}

/// The file system.
#[derive(Debug)]
pub(crate) struct Model {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
    /// Blocks there are, and blocks taken.
    capacity: u64,
    used: u64,
}

impl Model {
    pub(crate) fn new() -> Self {
        let root = Node { kind: Kind::Folder(Folder::default()), mode: 0o755, opens: 1, named: true };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, capacity: u64::MAX, used: 0 }
    }

    /// Sets how many bytes there are; less than is taken means that nothing more fits.
    pub(crate) fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes / BLOCK as u64;
    }

    /// Blocks there are, and blocks free.
    pub(crate) fn space(&self) -> (u64, u64) {
        let blocks = self.capacity.min(1 << 28);
        (blocks, blocks.saturating_sub(self.used))
    }

    pub(crate) fn node(&self, ino: Ino) -> Result<&Node, Fault> {
        self.nodes.get(&ino).ok_or(Fault::NotFound)
    }

    pub(crate) fn node_mut(&mut self, ino: Ino) -> Result<&mut Node, Fault> {
        self.nodes.get_mut(&ino).ok_or(Fault::NotFound)
    }

    fn folder(&mut self, ino: Ino) -> Result<&mut Folder, Fault> {
        match &mut self.node_mut(ino)?.kind {
            Kind::Folder(folder) => Ok(folder),
            Kind::File(_) => Err(Fault::NotAFolder),
        }
    }

    fn file(&mut self, ino: Ino) -> Result<&mut Content, Fault> {
        match &mut self.node_mut(ino)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Folder(_) => Err(Fault::IsAFolder),
        }
    }

    pub(crate) fn lookup(&self, parent: Ino, name: &str) -> Result<Ino, Fault> {
        match &self.node(parent)?.kind {
            Kind::Folder(folder) => folder.now.get(name).copied().ok_or(Fault::NotFound),
            Kind::File(_) => Err(Fault::NotAFolder),
        }
    }

    pub(crate) fn list(&self, ino: Ino) -> Result<Vec<(String, Ino)>, Fault> {
        match &self.node(ino)?.kind {
            Kind::Folder(folder) => Ok(folder.now.iter().map(|(name, ino)| (name.clone(), *ino)).collect()),
            Kind::File(_) => Err(Fault::NotAFolder),
        }
    }

    /// Makes a file or a folder.
    pub(crate) fn make(&mut self, parent: Ino, name: &str, kind: Kind, mode: u16) -> Result<Ino, Fault> {
        let ino = self.next;
        let folder = self.folder(parent)?;
        if folder.now.contains_key(name) {
            return Err(Fault::Exists);
        }
        folder.now.insert(name.to_owned(), ino);
        folder.changed(&[name]);
        self.next += 1;
        self.nodes.insert(ino, Node { kind, mode, opens: 0, named: true });
        Ok(ino)
    }

    pub(crate) fn remove(&mut self, parent: Ino, name: &str) -> Result<(), Fault> {
        let ino = self.lookup(parent, name)?;
        if matches!(&self.node(ino)?.kind, Kind::Folder(folder) if !folder.now.is_empty()) {
            return Err(Fault::NotEmpty);
        }
        let folder = self.folder(parent)?;
        folder.now.remove(name);
        folder.changed(&[name]);
        self.unname(ino);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: (Ino, &str), to: (Ino, &str)) -> Result<(), Fault> {
        let ino = self.lookup(from.0, from.1)?;
        let replaced = self.lookup(to.0, to.1).ok();
        self.folder(from.0)?.now.remove(from.1);
        self.folder(to.0)?.now.insert(to.1.to_owned(), ino);
        if from.0 == to.0 {
            self.folder(from.0)?.changed(&[from.1, to.1]);
        } else {
            self.folder(from.0)?.changed(&[from.1]);
            self.folder(to.0)?.changed(&[to.1]);
        }
        if let Some(replaced) = replaced.filter(|replaced| *replaced != ino) {
            self.unname(replaced);
        }
        Ok(())
    }

    fn unname(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.named = false;
            self.count();
        }
    }

    pub(crate) fn opened(&mut self, ino: Ino) -> Result<(), Fault> {
        self.node_mut(ino)?.opens += 1;
        Ok(())
    }

    pub(crate) fn closed(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.opens = node.opens.saturating_sub(1);
            if !node.named {
                self.count();
            }
        }
    }

    pub(crate) fn read(&mut self, ino: Ino, offset: u64, length: usize) -> Result<Vec<u8>, Fault> {
        Ok(self.file(ino)?.read(offset, length))
    }

    /// Writes as much as there is space for.
    pub(crate) fn write(&mut self, ino: Ino, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.take(ino, offset, bytes.len() as u64)?;
        self.file(ino)?.write(offset, bytes);
        Ok(())
    }

    pub(crate) fn allocate(&mut self, ino: Ino, offset: u64, length: u64) -> Result<(), Fault> {
        self.take(ino, offset, length)?;
        self.file(ino)?.allocate(offset, length);
        Ok(())
    }

    fn take(&mut self, ino: Ino, offset: u64, length: u64) -> Result<(), Fault> {
        let missing = self.file(ino)?.missing(offset, length);
        if missing > 0 && self.used + missing > self.capacity {
            return Err(Fault::NoSpace);
        }
        self.used += missing;
        Ok(())
    }

    pub(crate) fn set_length(&mut self, ino: Ino, length: u64) -> Result<(), Fault> {
        self.file(ino)?.set_length(length);
        self.count();
        Ok(())
    }

    /// Syncs a file or a folder. A failed sync of a file makes what was written count as clean.
    pub(crate) fn sync(&mut self, ino: Ino, fails: bool) -> Result<(), Fault> {
        match (&mut self.node_mut(ino)?.kind, fails) {
            (Kind::File(content), false) => content.sync(),
            (Kind::File(content), true) => content.sync_failed(),
            (Kind::Folder(folder), false) => folder.sync(),
            (Kind::Folder(_), true) => {}
        }
        if fails {
            return Err(Fault::Io);
        }
        self.sweep();
        Ok(())
    }

    /// A power cut; nobody has anything open afterwards.
    pub(crate) fn cut(&mut self, loss: Loss, rng: &mut Rng) {
        for node in self.nodes.values_mut() {
            node.opens = 0;
            node.named = false;
            match &mut node.kind {
                Kind::File(content) => content.cut(loss, rng),
                Kind::Folder(folder) => folder.cut(loss, rng),
            }
        }
        let names = self.names(|folder| &folder.now);
        for (ino, node) in &mut self.nodes {
            node.named = *ino == ROOT || names.contains(ino);
        }
        self.sweep();
        self.count();
    }

    fn names(&self, which: fn(&Folder) -> &BTreeMap<String, Ino>) -> BTreeSet<Ino> {
        let folder = |node: &Node| match &node.kind {
            Kind::Folder(folder) => which(folder).values().copied().collect(),
            Kind::File(_) => Vec::new(),
        };
        self.nodes.values().flat_map(folder).collect()
    }

    /// Forgets what nothing leads to, now or after a cut.
    fn sweep(&mut self) {
        let safe = self.names(|folder| &folder.safe);
        self.nodes.retain(|ino, node| node.named || node.opens > 0 || safe.contains(ino));
    }

    /// Counts the space again: of what has a name or is open.
    fn count(&mut self) {
        let blocks = |node: &Node| match &node.kind {
            Kind::File(content) if node.named || node.opens > 0 => content.blocks(),
            _ => 0,
        };
        self.used = self.nodes.values().map(blocks).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(model: &mut Model, name: &str, text: &[u8]) -> Ino {
        let ino = model.make(ROOT, name, Kind::File(Content::default()), 0o600).unwrap();
        model.write(ino, 0, text).unwrap();
        model.sync(ino, false).unwrap();
        ino
    }

    fn names(model: &Model) -> Vec<String> {
        model.list(ROOT).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_new_name_needs_a_sync_of_its_folder() {
        let mut model = Model::new();
        file(&mut model, "a", b"1");
        model.sync(ROOT, false).unwrap();
        file(&mut model, "b", b"2");
        model.remove(ROOT, "a").unwrap();
        assert_eq!(names(&model), ["b"]);
        model.cut(Loss::All, &mut Rng::new(1));
        assert_eq!(names(&model), ["a"]);
        let ino = model.lookup(ROOT, "a").unwrap();
        assert_eq!(model.read(ino, 0, 10).unwrap(), b"1");
    }

    #[test]
    fn a_rename_survives_as_a_whole_or_not_at_all() {
        let mut seen = BTreeSet::new();
        for seed in 0..20 {
            let mut model = Model::new();
            file(&mut model, "old", b"1");
            file(&mut model, "new", b"2");
            model.sync(ROOT, false).unwrap();
            model.rename((ROOT, "new"), (ROOT, "old")).unwrap();
            model.cut(Loss::Half, &mut Rng::new(seed));
            seen.insert(names(&model));
        }
        assert_eq!(Vec::from_iter(seen), [vec!["new", "old"], vec!["old"]]);
    }

    #[test]
    fn a_full_disk_takes_nothing_until_space_comes_back() {
        let mut model = Model::new();
        model.set_capacity(3 * 4096);
        let a = file(&mut model, "a", &[1; 8192]);
        let b = file(&mut model, "b", b"x");
        assert_eq!(model.write(b, 4096, b"y"), Err(Fault::NoSpace));
        assert_eq!(model.write(b, 0, b"in place"), Ok(()));
        model.opened(a).unwrap();
        model.remove(ROOT, "a").unwrap();
        assert_eq!(model.write(b, 4096, b"y"), Err(Fault::NoSpace), "somebody has it open");
        model.closed(a);
        assert_eq!(model.write(b, 4096, b"y"), Ok(()));
    }
}
