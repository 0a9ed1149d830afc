//! All shelves together: where a message goes, and what is looked at for an answer.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use cork_store::{Message, MessageId, Row, Rows, WallTime, rows};

use crate::{
    found::Left,
    options::{OpenError, RETAINED_FOLDER, Rule, Rules},
    shelf::{Known, Place, Shelf, Snapshot},
};

/// What is kept. Can be asked from any thread; whoever asks does the work.
pub struct Vault {
    folder: PathBuf,
    shelves: Mutex<Shelves>,
    damage: Mutex<Damage>,
    /// Has what is on its way taken in, where something is.
    catch_up: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Places that were found damaged, each said and counted once.
#[derive(Debug, Default)]
struct Damage {
    blocks: BTreeMap<(Arc<Path>, u64), u32>,
    /// Places that were found at the start.
    others: u64,
}

struct Shelves {
    /// In the order of the rules.
    configured: Vec<Shelf>,
    /// For retained messages that no rule wants.
    retained: Option<Shelf>,
    /// What nobody configures any more: it ends as it was promised.
    retired: Vec<Shelf>,
    syncs: bool,
}

/// What was found at the start.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Messages there are.
    pub messages: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that a crash left unfinished; they are cut off.
    pub cut_bytes: u64,
    /// Places that are not as they were written: file, offset, bytes. They stay as they are; what stands behind them is
    /// there.
    pub damaged: Vec<String>,
    /// Files that are no history, each with what is wrong; they are left alone.
    pub unreadable: Vec<String>,
}

/// Lines about damage, at the start and later, at most.
const SAID_MAX: usize = 20;
/// Damaged blocks that are remembered.
const DAMAGED_BLOCKS_MAX: usize = 10_000;

impl Report {
    /// Says in the log what was wrong.
    pub fn tell(&self) {
        if self.cut_bytes > 0 {
            let bytes = self.cut_bytes;
            tracing::warn!(target: "store", bytes, "the history ended in something unfinished, as a crash leaves it: it is cut off");
        }
        for file in &self.unreadable {
            tracing::error!(target: "store", "left out of the history, and left alone: {file}");
        }
        for place in self.damaged.iter().take(SAID_MAX) {
            tracing::error!(target: "store", "the history is damaged and this is left out of it; what stands behind is there: {place}");
        }
        let more = self.damaged.len().saturating_sub(SAID_MAX);
        if more > 0 {
            tracing::error!(target: "store", more, "there are more damaged places in the history");
        }
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens what is kept below `folder`, and makes what is missing. `syncs`: what is taken in is made durable.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn open(folder: &Path, rules: &Rules, syncs: bool) -> Result<(Self, Report), OpenError> {
        let shelves = Shelves { configured: Vec::new(), retained: None, retired: Vec::new(), syncs };
        let vault = Self {
            folder: folder.to_owned(),
            shelves: Mutex::new(shelves),
            damage: Mutex::default(),
            catch_up: OnceLock::new(),
        };
        let mut report = Report::default();
        let found = vault.find(rules, &mut report)?;
        let mut shelves = vault.shelves();
        for rule in found {
            let folder = vault.folder_of(&rule.0);
            let (shelf, left) = Shelf::open(folder, rule.1, syncs)?;
            note(&mut report, left);
            if rule.0 == RETAINED_FOLDER {
                shelves.retained = Some(shelf);
            } else {
                shelves.retired.push(shelf);
            }
        }
        shelves.arrange(&vault.folder, rules, &mut report)?;
        report.messages = shelves.all().map(Shelf::rows).sum();
        report.bytes = shelves.all().map(Shelf::bytes).sum();
        drop(shelves);
        vault.damage().others = report.damaged.len() as u64;
        Ok((vault, report))
    }

    /// Folders that are there, with their rules.
    fn find(&self, rules: &Rules, report: &mut Report) -> Result<Vec<(String, Rule)>, OpenError> {
        let at = || OpenError::at(&self.folder);
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(at())?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let about = fs::read_to_string(entry.path().join("about")).ok();
            let configured = || rules.rules.iter().any(|rule| rule.folder() == name);
            // One that is another folder's by its name is damaged: its messages would be there twice.
            let fits = |rule: &Rule| name == RETAINED_FOLDER || rule.folder() == name;
            match about.and_then(|text| Rule::from_text(&text)).filter(fits) {
                Some(rule) => found.push((name, rule)),
                None if configured() => {} // the configuration says what should stand there
                None if name == RETAINED_FOLDER && rules.retained_bytes > 0 => {}
                None => {
                    let path = entry.path();
                    let why = "its file `about` does not say what it keeps; a [[history]] with its filter says it again";
                    report.unreadable.push(format!("{}: {why}", path.display()));
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn folder_of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps by other rules from now on. What was kept by one that is gone stays as long as that one promised. Says what
    /// was wrong with folders that are used again.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub fn set_rules(&self, rules: &Rules) -> Result<Report, OpenError> {
        let mut report = Report::default();
        self.shelves().arrange(&self.folder, rules, &mut report)?;
        self.damage().others += report.damaged.len() as u64;
        Ok(report)
    }

    /// Before each question from now on: has what is on its way taken in.
    pub(crate) fn set_catch_up(&self, catch_up: impl Fn() + Send + Sync + 'static) {
        let _ = self.catch_up.set(Box::new(catch_up)); // once, by who writes
    }

    /// Has what is on its way taken in.
    pub(crate) fn catch_up(&self) {
        if let Some(catch_up) = self.catch_up.get() {
            catch_up();
        }
    }

    /// Takes messages in, in their order.
    ///
    /// # Errors
    /// The disk does not take them; those of other rules may be in.
    pub fn append(&self, messages: &[Arc<Message>]) -> io::Result<()> {
        let mut all = Rows::default();
        messages.iter().for_each(|message| all.push_by(&Row::of(message), &message.publisher));
        self.append_rows(all.as_bytes())
    }

    /// Takes [`Rows`] in, as bytes.
    ///
    /// # Errors
    /// As [`Vault::append`].
    pub fn append_rows(&self, bytes: &[u8]) -> io::Result<()> {
        let mut shelves = self.shelves();
        let mut result = Ok(());
        let (mut place, mut full) = (None, None);
        let mut before: Option<Row<'_>> = None;
        for row in rows(bytes).flatten() {
            // One behind the other of the same topic needs no search.
            let same = before
                .is_some_and(|last| last.topic.as_ptr() == row.topic.as_ptr() && last.retain == row.retain);
            if !same || row.topic.is_empty() {
                place = shelves.place_of(row.topic, row.retain);
            }
            before = Some(row);
            let Some(place) = place.filter(|place| full != Some(*place)) else { continue };
            if let Some(Err(error)) = shelves.at(place).map(|shelf| shelf.push(&row)) {
                (full, result) = (Some(place), Err(error));
            }
        }
        shelves.taking_mut().map(Shelf::flush).fold(result, Result::and)
    }

    /// Takes in what a crash kept from here, of messages that the store has: those that are missing. How many those were.
    ///
    /// # Errors
    /// As [`Vault::append`].
    pub fn recover(&self, mut messages: Vec<Arc<Message>>, now: WallTime) -> io::Result<usize> {
        messages.sort_by_key(|message| message.id());
        messages.dedup_by_key(|message| message.id());
        let mut known = Known::default();
        messages.retain(|message| self.misses(message, now, &mut known));
        self.append(&messages)?;
        self.sync()?;
        Ok(messages.len())
    }

    /// For finding what is missing.
    #[must_use]
    pub fn lacking(&self, now: WallTime) -> Lacking<'_> {
        Lacking { vault: self, now, known: Known::default() }
    }

    fn misses(&self, message: &Message, now: WallTime, known: &mut Known) -> bool {
        let mut shelves = self.shelves();
        let place = shelves.place_of(message.topic(), message.retain);
        place.and_then(|place| shelves.at(place)).is_some_and(|shelf| shelf.misses(message.id(), now, known))
    }

    /// A block's body; `None`, and said, if it is not what was written.
    pub(crate) fn body(&self, place: &Place) -> Option<Vec<u8>> {
        let body = place.head.read(&place.file).ok().flatten();
        if body.is_none() {
            self.note_damaged(place);
        }
        body
    }

    /// Says, once, that a block cannot be read.
    pub(crate) fn note_damaged(&self, place: &Place) {
        let mut damage = self.damage();
        let (key, full) =
            ((Arc::clone(&place.path), place.head.at), damage.blocks.len() >= DAMAGED_BLOCKS_MAX);
        if full || damage.blocks.insert(key, place.head.rows).is_some() {
            return;
        }
        if damage.blocks.len() > SAID_MAX {
            return; // counted; the log has enough of it
        }
        let (file, offset, messages) = (place.path.display(), place.head.at, place.head.rows);
        tracing::error!(target: "store", %file, offset, messages, "a block of the history is damaged: it is left out");
    }

    fn damage(&self) -> MutexGuard<'_, Damage> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks that could not be read since the start: file, offset, messages.
    #[must_use]
    pub fn damaged_blocks(&self) -> Vec<String> {
        let damage = self.damage();
        let say = |((path, at), rows): (&(Arc<Path>, u64), &u32)| {
            format!("{}: a block of {rows} messages at offset {at}", path.display())
        };
        damage.blocks.iter().map(say).collect()
    }

    /// Damaged places that were found since the start, each counted once.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        let damage = self.damage();
        damage.blocks.len() as u64 + damage.others
    }

    /// Makes durable what was taken in.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&self) -> io::Result<()> {
        let mut shelves = self.shelves();
        if !shelves.syncs {
            return Ok(());
        }
        shelves.all_mut().map(Shelf::sync).fold(Ok(()), Result::and)
    }

    /// Lets go of what is too old or too much.
    ///
    /// # Errors
    /// The disk failed.
    pub fn retain(&self, now: WallTime) -> io::Result<()> {
        let mut shelves = self.shelves();
        let result = shelves.all_mut().map(|shelf| shelf.retain(now)).fold(Ok(()), Result::and);
        shelves.retired.retain(|shelf| !shelf.remove_if_empty());
        result
    }

    /// Messages and bytes on disk.
    #[must_use]
    pub fn sizes(&self) -> (u64, u64) {
        let shelves = self.shelves();
        (shelves.all().map(Shelf::rows).sum(), shelves.all().map(Shelf::bytes).sum())
    }

    /// Latest arrival of a message, in microseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn last_arrival(&self) -> u64 {
        self.shelves().all().map(Shelf::last_arrival).max().unwrap_or(0)
    }

    /// What there is between two times, in microseconds since 1970.
    pub(crate) fn snapshots(&self, since: u64, until: u64, now: WallTime) -> Vec<Snapshot> {
        self.shelves().all().map(|shelf| shelf.snapshot(since, until, now)).collect()
    }
}

/// Tells which messages are missing, one after another.
pub struct Lacking<'a> {
    vault: &'a Vault,
    now: WallTime,
    known: Known,
}

impl std::fmt::Debug for Lacking<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lacking").finish_non_exhaustive()
    }
}

impl Lacking<'_> {
    /// Whether a message that is to be kept is not here, though it should be.
    pub fn lacks(&mut self, topic: &str, id: MessageId) -> bool {
        let shelves = self.vault.shelves();
        let place = shelves.configured.iter().find(|shelf| shelf.rule.wants(topic));
        let place = place.or(shelves.retained.as_ref());
        place.is_some_and(|shelf| shelf.misses(id, self.now, &mut self.known))
    }
}

fn note(report: &mut Report, left: Left) {
    report.cut_bytes += left.cut_bytes;
    report.damaged.extend(left.damaged);
    report.unreadable.extend(left.unreadable);
}

/// A shelf among those that take messages in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum PlaceOf {
    Rule(usize),
    Retained,
}

impl Shelves {
    fn all(&self) -> impl Iterator<Item = &Shelf> {
        self.configured.iter().chain(&self.retained).chain(&self.retired)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Shelf> {
        self.configured.iter_mut().chain(&mut self.retained).chain(&mut self.retired)
    }

    /// Those that may have taken something in.
    fn taking_mut(&mut self) -> impl Iterator<Item = &mut Shelf> {
        self.configured.iter_mut().chain(&mut self.retained)
    }

    fn place_of(&self, topic: &str, retain: bool) -> Option<PlaceOf> {
        let place = self.configured.iter().position(|shelf| shelf.rule.wants(topic));
        let retained = (retain && self.retained.is_some()).then_some(PlaceOf::Retained);
        place.map(PlaceOf::Rule).or(retained)
    }

    fn at(&mut self, place: PlaceOf) -> Option<&mut Shelf> {
        match place {
            PlaceOf::Rule(at) => self.configured.get_mut(at),
            PlaceOf::Retained => self.retained.as_mut(),
        }
    }

    fn arrange(&mut self, folder: &Path, rules: &Rules, report: &mut Report) -> Result<(), OpenError> {
        let syncs = self.syncs;
        let mut open = |folder: PathBuf, rule: &Rule| {
            let (shelf, left) = Shelf::open(folder, rule.clone(), syncs)?;
            note(report, left);
            Ok::<_, OpenError>(shelf)
        };
        let mut there: Vec<Shelf> = self.configured.drain(..).chain(self.retired.drain(..)).collect();
        for rule in &rules.rules {
            let at = there.iter().position(|shelf| shelf.rule.filter == rule.filter);
            let mut shelf = match at {
                Some(at) => there.remove(at),
                None => open(folder.join(rule.folder()), rule)?,
            };
            shelf.set_rule(rule.clone()).map_err(OpenError::at(folder))?;
            self.configured.push(shelf);
        }
        self.retired.extend(there);
        match (rules.for_retained(), self.retained.take()) {
            (Some(rule), Some(mut shelf)) => {
                shelf.set_rule(rule).map_err(OpenError::at(folder))?;
                self.retained = Some(shelf);
            }
            (Some(rule), None) => {
                self.retained = Some(open(folder.join(RETAINED_FOLDER), &rule)?);
            }
            (None, shelf) => self.retired.extend(shelf),
        }
        Ok(())
    }
}

/// The moment before a message.
pub(crate) fn just_before(id: MessageId) -> MessageId {
    match (id.epoch, id.shard) {
        (0, 0) => {
            MessageId { arrived: WallTime(id.arrived.0.saturating_sub(1)), shard: u16::MAX, epoch: u32::MAX }
        }
        (0, shard) => MessageId { shard: shard - 1, epoch: u32::MAX, ..id },
        (epoch, _) => MessageId { epoch: epoch - 1, ..id },
    }
}
