//! Opens a log: reads it, cuts off what a crash left unfinished, and begins a new segment.

use std::{collections::BTreeMap, io, sync::Arc};

use cork_store::{Message, MessageId, Publisher, Recovered};

use crate::{
    ahead::{Ahead, Made, is_full},
    disk::{Disk, DiskFile},
    error::OpenError,
    format::{FRAME_BYTES, LogId, SEGMENT_HEADER_BYTES, Seed, SegmentHeader, segment_name, segment_number},
    index::Index,
    log::{Active, Log, OpenReport},
    options::Options,
    queue::Place,
    record::View,
    restore::recover,
    segment::{Commit, Fault, SegmentReader},
    walk::{End, Found, Survey, Visit, Walked, survey, walk},
};

/// Takes commits into an index.
pub(crate) struct Replay<'a> {
    pub(crate) index: Index,
    /// Of messages that the history should have: those it wants.
    wants: Option<&'a mut Wants<'a>>,
    remembered: Vec<Arc<Message>>,
    publisher: Arc<Publisher>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(seed: u64, wants: Option<&'a mut Wants<'a>>) -> Self {
        Self { index: Index::new(seed), wants, remembered: Vec::new(), publisher: Arc::default() }
    }
}

/// Says whether the history lacks a message of this topic.
pub type Wants<'a> = dyn FnMut(&str, MessageId) -> bool + 'a;

impl<F: DiskFile> Visit<F> for Replay<'_> {
    fn segment(&mut self, number: u32, first_commit: u64) {
        self.index.books.open(number, first_commit, SEGMENT_HEADER_BYTES as u64);
    }

    fn commit(&mut self, reader: &mut SegmentReader<F>, commit: &Commit) -> io::Result<Option<Fault>> {
        let segment = reader.number;
        self.index.books.grow(segment, commit.span.end - commit.span.start);
        self.index.latest_arrival = self.index.latest_arrival.max(commit.header.latest_arrival);
        for (offset, bytes) in reader.records(commit)? {
            let weight = u32::try_from(FRAME_BYTES + bytes.len()).unwrap_or(u32::MAX);
            let Ok(view) = View::read(bytes) else {
                let what = "a record that does not read as one";
                return Ok(Some(Fault { offset: u64::from(offset), what, header: None }));
            };
            if let View::Publish(publish) = &view
                && publish.remembered
                && let Some(wants) = &mut self.wants
                && wants(publish.message.topic, publish.message.id)
            {
                self.remembered.push(Arc::new(publish.message.to_message(&mut self.publisher)));
            }
            self.index.apply(&view, Place { segment, offset, weight });
        }
        Ok(None)
    }

    fn damaged(
        &mut self,
        reader: &mut SegmentReader<F>,
        offset: u64,
        header: crate::format::CommitHeader,
    ) -> io::Result<()> {
        let (segment, mut at) = (reader.number, offset + crate::format::COMMIT_HEADER_BYTES as u64);
        let end = at + u64::from(header.bytes);
        while at < end {
            let short = u32::try_from(at).unwrap_or(u32::MAX);
            let record = reader.record_at(short, short)?;
            let Ok(bytes) = record else {
                // Its length may still be right: what comes behind it tells.
                let Some(length) = reader.frame_length_at(at)? else { break };
                at += length;
                continue;
            };
            let weight = u32::try_from(FRAME_BYTES + bytes.len()).unwrap_or(u32::MAX);
            at += u64::from(weight);
            if let Ok(view) = View::read(bytes) {
                self.index.apply(&view, Place { segment, offset: short, weight });
            }
        }
        Ok(())
    }
}

/// Randomness, as much as a log needs once.
fn random(options: &Options) -> Result<(LogId, u64), OpenError> {
    let mut bytes = [0; 24];
    match options.seed {
        Some(seed) => bytes[16..].copy_from_slice(&seed.to_le_bytes()),
        None => getrandom::fill(&mut bytes)
            .map_err(|error| OpenError::io("get random numbers")(io::Error::other(error.to_string())))?,
    }
    let (id, seed) = bytes.split_at(16);
    let mut log_id = [0; 16];
    log_id.copy_from_slice(id);
    let seed = seed.iter().fold(0_u64, |seed, byte| seed << 8 | u64::from(*byte));
    if options.seed.is_some() {
        log_id[..8].copy_from_slice(&seed.to_le_bytes());
    }
    Ok((LogId(log_id), seed))
}

/// Where a new log begins to count its starts: anywhere, so that messages of two brokers, which may be saved to one
/// database, have different names. There is room above for millions of starts.
fn first_epoch(options: &Options) -> Result<u32, OpenError> {
    let (_, random) = random(options)?;
    let spread = random & (EPOCHS / 2 - 1);
    Ok(if options.seed.is_some() { 0 } else { u32::try_from(spread).unwrap_or(0) })
}

/// Numbers of Sessions have so many bits for the epoch.
const EPOCHS: u64 = 1 << 24;

impl<D: Disk> Log<D> {
    /// Opens the log on this disk, or makes one.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing is changed then, except that what a crash left unfinished may have been cut off.
    pub fn open(disk: D, options: Options) -> Result<(Self, Recovered, OpenReport), OpenError> {
        let first = first_epoch(&options)?;
        Self::open_from(disk, options, first, &mut |_, _| false)
    }

    /// The same for a log beside a history: the report has the messages that the history should have and `wants`.
    ///
    /// # Errors
    /// See [`Log::open`].
    pub fn open_with<'a>(
        disk: D,
        options: Options,
        wants: &'a mut Wants<'a>,
    ) -> Result<(Self, Recovered, OpenReport), OpenError> {
        let first = first_epoch(&options)?;
        Self::open_from(disk, options, first, wants)
    }

    /// Makes a log, and counts its starts from this epoch on.
    pub(crate) fn create(disk: D, options: Options, epoch: u32) -> Result<Self, OpenError> {
        let names = disk.list().map_err(OpenError::io("list the log's files"))?;
        if names.iter().any(|name| segment_number(name).is_some()) {
            return Err(OpenError::NotEmpty);
        }
        Ok(Self::open_from(disk, options, epoch, &mut |_, _| false)?.0)
    }

    fn open_from<'a>(
        disk: D,
        options: Options,
        first_epoch: u32,
        wants: &'a mut Wants<'a>,
    ) -> Result<(Self, Recovered, OpenReport), OpenError> {
        let disk = Arc::new(disk);
        // What is there may be what another process wrote a moment ago.
        disk.sync_dir().map_err(OpenError::io("sync the log's folder"))?;
        let survey = survey(&*disk)?;
        let (fresh, seed) = random(&options)?;
        let mut replay = Replay::new(seed, Some(wants));
        let walked = walk(&survey, &mut replay)?;
        if !walked.damages.is_empty() {
            return Err(OpenError::Damaged(walked.damages));
        }
        while replay.index.bury(usize::MAX) {}
        for found in &survey.segments {
            let bytes = found.file.len().map_err(OpenError::io("look at a segment"))?;
            replay.index.books.set_file_bytes(found.number, bytes);
        }
        let id = survey.id.unwrap_or(fresh);
        let epoch = survey.epoch.map_or(first_epoch, |epoch| epoch.saturating_add(1));
        let number = survey.segments.last().map_or(1, |found| found.number.saturating_add(1));
        let files: BTreeMap<u32, Arc<D::File>> = survey
            .segments
            .iter()
            .filter(|found| walked.needed.iter().any(|(number, _)| *number == found.number))
            .map(|found| (found.number, Arc::clone(&found.file)))
            .collect();
        let (recovered, damages) = recover(&replay.index, &files, id, epoch, options.retained_bytes_max)?;
        if !damages.is_empty() {
            return Err(OpenError::Damaged(damages));
        }
        let tidied = tidy(&*disk, &survey, &walked, (id, epoch), &options)?;
        let last = survey.segments.iter().rfind(|found| tidied.keeps(found.number, &walked));
        let last = last.map_or(0, |found| found.number);
        // A removed file that is open still takes space, and on a full disk none is left for the next segment.
        drop(survey);
        let sizes = (options.segment_bytes, options.spare_segments.max(1));
        let remembered = replay.remembered;
        let ahead = Ahead::new(disk, (id, epoch), (last, number), sizes, tidied.spares);
        let mut log = Self::new(options, id, replay.index, ahead);
        log.files = files;
        if let Some(End { last: Some(last), .. }) = walked.end {
            (log.next, log.synced, log.first) = (last.number + 1, last.number, last.first);
        }
        log.ahead.refill();
        // The epoch is used up before anybody hears of it.
        let full = match log.ahead.shortage() {
            Some(error) if !is_full(error) && log.ahead.spares() == 0 => {
                let error = io::Error::new(error.kind(), error.to_string());
                return Err(OpenError::Io { what: "make a segment".to_owned(), error });
            }
            shortage => shortage.is_some(),
        };
        if full && tidied.settled {
            log.go_on(walked.end)?;
        }
        let report = OpenReport {
            segments: walked.needed.len(),
            commits: walked.commits,
            cut: walked.cut,
            full,
            remembered,
        };
        Ok((log, recovered, report))
    }
}

impl<D: Disk> Log<D> {
    /// Goes on behind the end of the last segment, so that a start uses up no space. Its header has the epoch.
    fn go_on(&mut self, end: Option<End>) -> Result<(), OpenError> {
        let Some(end) = end else { return Ok(()) };
        let Some(file) = self.files.get(&end.segment).map(Arc::clone) else { return Ok(()) };
        let name = segment_name(end.segment);
        let capacity = file.len().map_err(OpenError::io(format!("look at {name}")))?;
        let made = Made { number: end.segment, file, capacity };
        self.active = Some(Active { made, seed: Seed::new(self.id, end.segment), at: end.offset });
        Ok(())
    }
}

/// What is there once what a crash left is settled.
struct Tidied<F> {
    /// Segments that nothing was ever written to: on a full disk nobody would give them back.
    spares: Vec<Made<F>>,
    /// The last segment has the epoch of this start, and zeros behind its end: the log may go on there.
    settled: bool,
}

impl<F> Tidied<F> {
    fn keeps(&self, number: u32, walked: &Walked) -> bool {
        self.spares.iter().any(|made| made.number == number)
            || walked.needed.iter().any(|(needed, _)| *needed == number)
    }
}

/// Cuts off what is unfinished, makes durable what is not known to be, removes what is not needed.
///
/// The epoch is used up first, in the headers of what stays: it may be known only by what is removed.
fn tidy<D: Disk>(
    disk: &D,
    survey: &Survey<D::File>,
    walked: &Walked,
    (id, epoch): (LogId, u32),
    options: &Options,
) -> Result<Tidied<D::File>, OpenError> {
    let mut tidied = Tidied { spares: Vec::new(), settled: false };
    let mut before = 0;
    if let Some(end) = &walked.end
        && let Some(found) = survey.segments.iter().find(|found| found.number == end.segment)
    {
        before = end.segment;
        let name = segment_name(end.segment);
        tidied.settled = settle(&*found.file, end, walked.unfinished)
            .and_then(|settled| Ok(settled && stamp(found, id, epoch, None)?))
            .map_err(OpenError::io(format!("settle {name}")))?;
    }
    for found in survey.segments.iter().filter(|found| walked.blank.contains(&found.number)) {
        let fits = found.header.is_ok_and(|header| header.length == options.segment_bytes);
        if !fits || tidied.spares.len() >= options.spare_segments.max(1) {
            continue;
        }
        let name = segment_name(found.number);
        if stamp(found, id, epoch, Some(before)).map_err(OpenError::io(format!("write to {name}")))? {
            before = found.number;
            let (file, capacity) = (Arc::clone(&found.file), options.segment_bytes);
            tidied.spares.push(Made { number: found.number, file, capacity });
        }
    }
    let mut removed = false;
    for found in survey.segments.iter().rev() {
        if !tidied.keeps(found.number, walked) {
            let name = segment_name(found.number);
            disk.remove(&name).map_err(OpenError::io(format!("remove {name}")))?;
            removed = true;
        }
    }
    if removed {
        disk.sync_dir().map_err(OpenError::io("sync the log's folder"))?;
    }
    Ok(tidied)
}

/// Writes a segment's header, which is one sector, once more with this epoch. False: there is no space for it, on a file
/// system that puts elsewhere what is written again.
fn stamp<F: DiskFile>(found: &Found<F>, id: LogId, epoch: u32, before: Option<u32>) -> io::Result<bool> {
    let Ok(header) = found.header else { return Ok(false) };
    let header = SegmentHeader { id, epoch, before: before.unwrap_or(header.before), ..header };
    match found.file.write_at(0, &header.encode()) {
        Err(error) if is_full(&error) => Ok(false),
        written => written.and_then(|()| found.file.sync_data()).map(|()| true),
    }
}

/// Bytes that are written again at once.
const STEP_BYTES: u64 = 1 << 20;

/// Makes the end of the log what was read of it: after an earlier failure to sync, memory may hold what the disk does
/// not, and counts it as written. So it is written once more; and what is unfinished becomes zeros. False: there was no
/// space for all of that.
fn settle<F: DiskFile>(file: &F, end: &End, unfinished: u64) -> io::Result<bool> {
    let mut bytes = Vec::new();
    let mut at = end.unsynced;
    let behind = end.offset + unfinished;
    while at < behind {
        let until = if at < end.offset { end.offset } else { behind };
        let size = usize::try_from((until - at).min(STEP_BYTES)).unwrap_or(0);
        bytes.clear();
        bytes.resize(size, 0);
        if at < end.offset && file.read_at(at, &mut bytes)? < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match file.write_at(at, &bytes) {
            // On a file system that puts elsewhere what is written again; nothing is lost by leaving it.
            Err(error) if is_full(&error) => {
                file.sync_data()?;
                return Ok(false);
            }
            written => written?,
        }
        at += size as u64;
    }
    file.sync_data()?;
    Ok(true)
}
