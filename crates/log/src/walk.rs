//! Goes through a log from its first needed commit to its last sound one, and tells a torn end from damage.
//!
//! A commit that cannot be read is the torn end if no sound commit says that it was durable; otherwise something that
//! somebody relied on is damaged. The numbers of commits have no gaps, so that a file that is missing shows as well.

use std::{collections::VecDeque, io, sync::Arc};

use crate::{
    disk::{Disk, DiskFile},
    error::{Cut, Damage, OpenError},
    format::{
        CommitHeader, HeaderFault, LogId, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, segment_number,
    },
    segment::{Commit, Fault, SegmentReader},
};

/// A file that may be a segment.
pub(crate) struct Found<F> {
    pub(crate) number: u32,
    pub(crate) file: Arc<F>,
    pub(crate) header: Result<SegmentHeader, HeaderFault>,
}

/// All segments, oldest first, and which log they are of.
pub(crate) struct Survey<F> {
    pub(crate) segments: Vec<Found<F>>,
    /// `None`: there is no sound header.
    pub(crate) id: Option<LogId>,
    /// Largest epoch of a sound header.
    pub(crate) epoch: Option<u32>,
}

/// Looks at all segments' headers.
pub(crate) fn survey<D: Disk>(disk: &D) -> Result<Survey<D::File>, OpenError> {
    let mut numbers: Vec<u32> = disk
        .list()
        .map_err(OpenError::io("list the log's files"))?
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    let (mut segments, mut id, mut epoch) = (Vec::new(), None, None);
    for number in numbers {
        let name = segment_name(number);
        let file = disk.open(&name).map_err(OpenError::io(format!("open {name}")))?;
        let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(OpenError::io(format!("read {name}")))?;
        let mut header = SegmentHeader::decode(&bytes[..read], number);
        match header {
            Err(HeaderFault::Newer(version)) => return Err(OpenError::Newer { file: name, version }),
            Ok(sound) if *id.get_or_insert(sound.id) != sound.id => {
                header = Err(HeaderFault::Damaged("the segment belongs to another log"));
            }
            Ok(sound) => epoch = epoch.max(Some(sound.epoch)),
            Err(_) => {}
        }
        segments.push(Found { number, file: Arc::new(file), header });
    }
    Ok(Survey { segments, id, epoch })
}

/// The end of what is sound.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct End {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    /// The last sound commit.
    pub(crate) last: Option<CommitHeader>,
    /// Where the first commit begins that is not known to be durable.
    pub(crate) unsynced: u64,
}

/// What a walk found out.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// Segments with commits that are needed, with the first commit of each.
    pub(crate) needed: Vec<(u32, u64)>,
    pub(crate) end: Option<End>,
    pub(crate) cut: Option<Cut>,
    /// Bytes behind the end, in its segment, that are not zero.
    pub(crate) unfinished: u64,
    /// Segments behind the end in which nothing was ever written.
    pub(crate) blank: Vec<u32>,
    pub(crate) damages: Vec<Damage>,
    pub(crate) commits: u64,
}

/// What a walk shows: a sound commit, or the sound records of one that is damaged.
pub(crate) trait Visit<F> {
    /// A segment begins whose commits are needed.
    fn segment(&mut self, _number: u32, _first_commit: u64) {}

    /// A commit. Says what is wrong where a record cannot be read although its checksum is right.
    fn commit(&mut self, reader: &mut SegmentReader<F>, commit: &Commit) -> io::Result<Option<Fault>>;

    /// A commit that has a sound header and damaged records.
    fn damaged(
        &mut self,
        _reader: &mut SegmentReader<F>,
        _offset: u64,
        _header: CommitHeader,
    ) -> io::Result<()> {
        Ok(())
    }
}

/// Goes through all that is needed. After damage it goes on behind it; the result says so.
pub(crate) fn walk<F: DiskFile>(survey: &Survey<F>, visit: &mut impl Visit<F>) -> Result<Walked, OpenError> {
    let mut walk = Walk { walked: Walked::default(), readers: Vec::new(), headers: Vec::new() };
    let Some(id) = survey.id else {
        walk.without_header(survey)?;
        return Ok(walk.walked);
    };
    for found in &survey.segments {
        let reader = SegmentReader::new(Arc::clone(&found.file), id, found.number)
            .map_err(OpenError::io(format!("read {}", segment_name(found.number))))?;
        walk.readers.push(reader);
        walk.headers.push(found.header);
    }
    walk.run(visit).map_err(OpenError::io("read the log"))?;
    Ok(walk.walked)
}

struct Walk<F> {
    walked: Walked,
    readers: Vec<SegmentReader<F>>,
    headers: Vec<Result<SegmentHeader, HeaderFault>>,
}

const FIRST: u64 = SEGMENT_HEADER_BYTES as u64;

impl<F: DiskFile> Walk<F> {
    /// No header is sound: all files must be blank, as a start that was cut off leaves them.
    fn without_header(&mut self, survey: &Survey<F>) -> Result<(), OpenError> {
        for found in &survey.segments {
            let file = segment_name(found.number);
            let mut reader = SegmentReader::new(Arc::clone(&found.file), LogId([0; 16]), found.number)
                .map_err(OpenError::io(format!("read {file}")))?;
            let written = reader.written_behind(FIRST).map_err(OpenError::io(format!("read {file}")))?;
            if written > 0 {
                let what = match found.header {
                    Err(HeaderFault::Damaged(what)) => what,
                    _ => "the segment's header is missing",
                };
                self.walked.damages.push(Damage { file, offset: 0, what: what.to_owned() });
            }
        }
        Ok(())
    }

    /// Number of the first commit that is needed: the last sound commit before a fault says it.
    fn first_needed(&mut self) -> io::Result<Option<u64>> {
        for reader in self.readers.iter_mut().rev() {
            let (mut at, mut first) = (FIRST, None);
            while let Ok(commit) = reader.commit_at(at)? {
                first = Some(commit.header.first);
                at = commit.span.end;
            }
            if first.is_some() {
                return Ok(first);
            }
        }
        Ok(None)
    }

    /// The first segment that is not one of those that are needed no more: they may come back after a power cut.
    fn after_stale(&mut self, first: u64) -> io::Result<usize> {
        for at in 0..self.readers.len() {
            if self.readers[at].header_at(FIRST)?.is_none_or(|header| header.number >= first) {
                return Ok(at);
            }
        }
        Ok(self.readers.len())
    }

    /// The segment that begins with this commit, sound or not.
    fn segment_with(&mut self, number: u64, from: usize) -> io::Result<Option<usize>> {
        for at in from..self.readers.len() {
            if self.readers[at].header_at(FIRST)?.is_some_and(|header| header.number == number) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn run(&mut self, visit: &mut impl Visit<F>) -> io::Result<()> {
        // Without any sound commit the log begins with commit 1, or its beginning is damaged.
        let mut expected = self.first_needed()?.unwrap_or(1);
        let start = self.after_stale(expected)?;
        let (mut at, mut offset) = (start, FIRST);
        let mut entered = None;
        let mut end = End { offset: FIRST, unsynced: FIRST, ..End::default() };
        // Where commits of the present segment begin that were not durable when the last one was written.
        let mut starts: VecDeque<(u64, u64)> = VecDeque::new();
        while at < self.readers.len() {
            match self.readers[at].commit_at(offset)? {
                Ok(commit) if commit.header.number == expected => {
                    if entered != Some(at) {
                        entered = Some(at);
                        starts.clear();
                        self.enter(at, expected, visit);
                    }
                    if let Some(fault) = visit.commit(&mut self.readers[at], &commit)? {
                        self.damage(at, fault);
                    }
                    self.walked.commits += 1;
                    starts.push_back((expected, offset));
                    while starts.front().is_some_and(|(number, _)| *number <= commit.header.synced) {
                        starts.pop_front();
                    }
                    offset = commit.span.end;
                    end = End {
                        segment: self.readers[at].number,
                        offset,
                        last: Some(commit.header),
                        unsynced: starts.front().map_or(offset, |(_, start)| *start),
                    };
                    expected += 1;
                }
                other => {
                    if let Some(next) = self.segment_with(expected, at + 1)? {
                        (at, offset) = (next, FIRST);
                        continue;
                    }
                    let Some((next, there, number)) = self.resume(at, offset, expected)? else {
                        self.cut(at, offset)?;
                        break;
                    };
                    if entered != Some(at) {
                        entered = Some(at);
                        self.enter(at, expected, visit);
                    }
                    let (blamed, fault) = match other {
                        Ok(_) => {
                            let what = "commits are missing before this one";
                            (at, Fault { offset, what, header: None })
                        }
                        Err(fault) if fault.header.is_none() => self.blame(at, fault, next)?,
                        Err(fault) => (at, fault),
                    };
                    if let Some(header) = fault.header.filter(|header| header.number == expected) {
                        visit.damaged(&mut self.readers[at], offset, header)?;
                    }
                    self.damage(blamed, fault);
                    (at, offset, expected) = (next, there, number);
                }
            }
        }
        self.walked.end = end.last.is_some().then_some(end);
        self.lengths(start);
        self.missing(end.segment);
        if !self.walked.damages.is_empty() {
            // Nobody knows whether somebody was told of what is unfinished beside damage, and no start cuts it off.
            self.walked.cut = None;
        }
        Ok(())
    }

    /// Segments are made one after another, so that one before a sound one was sound, and never get shorter.
    fn lengths(&mut self, start: usize) {
        let sound = self.headers.iter().rposition(Result::is_ok).unwrap_or(0);
        for at in start..self.readers.len() {
            match self.headers[at] {
                Ok(header) if self.readers[at].len() < header.length => {
                    let (offset, what) = (self.readers[at].len(), "the file is shorter than it was");
                    self.damage(at, Fault { offset, what, header: None });
                }
                Err(_) if at < sound => self.header_damage(at),
                _ => {}
            }
        }
    }

    /// Each segment behind the end says which one was there before it. If that is gone, it was not empty: what is
    /// empty goes only at a start, and then those behind it say so.
    fn missing(&mut self, end: u32) {
        for at in 0..self.readers.len() {
            let Ok(header) = self.headers[at] else { continue };
            let known =
                |before: u32| before <= end || self.readers.iter().any(|other| other.number == before);
            if header.number > end && !known(header.before) {
                let what = "the file is missing: a later one says that it was there";
                let file = segment_name(header.before);
                self.walked.damages.push(Damage { file, offset: 0, what: what.to_owned() });
            }
        }
    }

    fn header_damage(&mut self, at: usize) {
        let what = match self.headers[at] {
            Err(HeaderFault::Damaged(what)) => what,
            _ => "the segment's header is missing",
        };
        let file = self.readers[at].name();
        if !self.walked.damages.iter().any(|known| known.file == file && known.offset == 0) {
            self.damage(at, Fault { offset: 0, what, header: None });
        }
    }

    fn enter(&mut self, at: usize, first_commit: u64, visit: &mut impl Visit<F>) {
        let number = self.readers[at].number;
        self.walked.needed.push((number, first_commit));
        visit.segment(number, first_commit);
        if self.headers[at].is_err() {
            self.header_damage(at);
        }
    }

    /// There is no commit at the end of segment `at`, and it goes on in segment `next`: where it should have been.
    fn blame(&mut self, at: usize, fault: Fault, next: usize) -> io::Result<(usize, Fault)> {
        if next == at || self.readers[at].written_behind(fault.offset)? > 0 {
            return Ok((at, fault));
        }
        for between in at + 1..=next {
            // Segments are filled in order: one before others that has no first commit had one.
            if self.readers[between].header_at(FIRST)?.is_none() {
                let offset = self.readers[between].len().min(FIRST);
                return Ok((between, Fault { offset, ..fault }));
            }
        }
        let what = "commits are missing between this place and the next file";
        Ok((at, Fault { what, ..fault }))
    }

    fn damage(&mut self, at: usize, fault: Fault) {
        let (file, what) = (self.readers[at].name(), fault.what.to_owned());
        self.walked.damages.push(Damage { file, offset: fault.offset, what });
    }

    /// Commit `expected` is not at `offset` and begins no segment. Where to go on if it was durable, as a sound commit
    /// behind says; `None`: this is the end.
    fn resume(&mut self, at: usize, offset: u64, expected: u64) -> io::Result<Option<(usize, u64, u64)>> {
        let (mut next, mut durable) = (None, false);
        for there in at..self.readers.len() {
            let from = if there == at { offset + 1 } else { FIRST };
            self.readers[there].scan(from, |place, header| {
                if header.number > expected && next.is_none() {
                    next = Some((there, place, header.number));
                }
                durable |= header.number > expected && header.synced >= expected;
                durable
            })?;
            if durable {
                break;
            }
        }
        if let Some(header) = self.readers[at].header_at(offset)?.filter(|header| header.number > expected) {
            // A sound one, but one that comes too early: those before it are missing.
            durable |= header.synced >= expected;
            next = Some((at, offset, header.number));
        }
        Ok(next.filter(|_| durable))
    }

    fn cut(&mut self, at: usize, offset: u64) -> io::Result<()> {
        let mut bytes = self.readers[at].written_behind(offset)?;
        self.walked.unfinished = bytes;
        if offset == FIRST && bytes == 0 {
            self.walked.blank.push(self.readers[at].number);
        }
        for reader in &mut self.readers[at + 1..] {
            let written = reader.written_behind(FIRST)?;
            if written == 0 {
                self.walked.blank.push(reader.number);
            }
            bytes += written;
        }
        if bytes > 0 {
            self.walked.cut = Some(Cut { file: self.readers[at].name(), offset, bytes });
        }
        Ok(())
    }
}
