//! Reads one segment, commit by commit.

use std::{io, ops::Range, sync::Arc};

use crate::{
    disk::DiskFile,
    format::{
        COMMIT_HEADER_BYTES, COMMIT_MAGIC, CommitHeader, FRAME_BYTES, LogId, SEGMENT_HEADER_BYTES, Seed,
        frame_length, read_frame, segment_name,
    },
};

/// So much is read at once.
const STEP_BYTES: usize = 1 << 20;

/// A segment's file and a window of what is in it.
pub(crate) struct SegmentReader<F> {
    file: Arc<F>,
    pub(crate) number: u32,
    seed: Seed,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// A sound commit. Its records are `frames` of [`SegmentReader::bytes`].
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) header: CommitHeader,
    /// Where it begins and ends in the segment.
    pub(crate) span: Range<u64>,
}

/// Something that is not sound, and where.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) offset: u64,
    pub(crate) what: &'static str,
    /// The header of the commit is sound, one of its records is not.
    pub(crate) header: Option<CommitHeader>,
}

impl<F: DiskFile> SegmentReader<F> {
    pub(crate) fn new(file: Arc<F>, id: LogId, number: u32) -> io::Result<Self> {
        // Offsets are 32 bits: what lies beyond was never written by a log.
        let len = file.len()?.min(u64::from(u32::MAX));
        Ok(Self { file, number, seed: Seed::new(id, number), len, window: Vec::new(), window_at: 0 })
    }

    pub(crate) fn name(&self) -> String {
        segment_name(self.number)
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    pub(crate) const fn seed(&self) -> Seed {
        self.seed
    }

    /// These bytes, or as many of them as the file has.
    pub(crate) fn bytes(&mut self, span: Range<u64>) -> io::Result<&[u8]> {
        self.bytes_near(span, STEP_BYTES as u64)
    }

    /// The same; if they must be read, then so many bytes at once.
    pub(crate) fn bytes_near(&mut self, span: Range<u64>, step: u64) -> io::Result<&[u8]> {
        let end = span.end.min(self.len);
        let start = span.start.min(end);
        let window_end = self.window_at + self.window.len() as u64;
        if start < self.window_at || end > window_end {
            let want = usize::try_from(end - start).map_err(|_| io::ErrorKind::OutOfMemory)?;
            let step = usize::try_from(step.min(self.len - start)).map_err(|_| io::ErrorKind::OutOfMemory)?;
            let size = want.max(step);
            self.window.clear();
            self.window.resize(size, 0);
            self.window_at = start;
            let read = self.file.read_at(start, &mut self.window)?;
            self.window.truncate(read);
        }
        let from = usize::try_from(start - self.window_at).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let size = usize::try_from(end - start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let from = from.min(self.window.len());
        Ok(&self.window[from..(from + size).min(self.window.len())])
    }

    pub(crate) fn header_at(&mut self, offset: u64) -> io::Result<Option<CommitHeader>> {
        let (seed, short) = (self.seed, u32::try_from(offset).unwrap_or(u32::MAX));
        let bytes = self.bytes(offset..offset + COMMIT_HEADER_BYTES as u64)?;
        Ok(CommitHeader::decode(bytes, seed, short))
    }

    /// The commit that begins here, if all of it is sound.
    pub(crate) fn commit_at(&mut self, offset: u64) -> io::Result<Result<Commit, Fault>> {
        let fault = |offset, what, header| Ok(Err(Fault { offset, what, header }));
        let Some(header) = self.header_at(offset)? else {
            return fault(offset, "there is no commit, or the checksum of its header is wrong", None);
        };
        let records = offset + COMMIT_HEADER_BYTES as u64;
        let span = offset..records + u64::from(header.bytes);
        if span.end > self.len {
            return fault(offset, "a commit is longer than its segment", Some(header));
        }
        let (mut at, mut count, seed) = (records, 0_u32, self.seed);
        // The whole of it at once, so that it can be taken in after it was looked through.
        let bytes = self.bytes(span.clone())?;
        let mut rest = bytes.get(COMMIT_HEADER_BYTES..).unwrap_or_default();
        while !rest.is_empty() {
            match read_frame(rest, seed, u32::try_from(at).unwrap_or(u32::MAX)) {
                Ok(body) => {
                    rest = &rest[FRAME_BYTES + body.len()..];
                    at += (FRAME_BYTES + body.len()) as u64;
                    count += 1;
                }
                Err(what) => return fault(at, what, Some(header)),
            }
        }
        if at != span.end || count != header.records {
            return fault(offset, "a commit has other records than it says", Some(header));
        }
        Ok(Ok(Commit { header, span }))
    }

    /// The records of a sound commit: where each begins, its kind and fields.
    pub(crate) fn records(
        &mut self,
        commit: &Commit,
    ) -> io::Result<impl Iterator<Item = (u32, &[u8])> + use<'_, F>> {
        let mut at = u32::try_from(commit.span.start).unwrap_or(u32::MAX);
        let bytes = self.bytes(commit.span.clone())?;
        let (_, mut rest) = bytes.split_at_checked(COMMIT_HEADER_BYTES).unwrap_or((&[], &[]));
        at = at.saturating_add(u32::try_from(COMMIT_HEADER_BYTES).unwrap_or(0));
        Ok(std::iter::from_fn(move || {
            let length = frame_length(rest)?;
            let (frame, behind) = rest.split_at_checked(length)?;
            let offset = at;
            at = at.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
            rest = behind;
            Some((offset, &frame[FRAME_BYTES..]))
        }))
    }

    /// Sound headers of commits anywhere from `offset` on; stops where `enough` says so.
    pub(crate) fn scan(
        &mut self,
        mut offset: u64,
        mut enough: impl FnMut(u64, CommitHeader) -> bool,
    ) -> io::Result<()> {
        offset = offset.max(SEGMENT_HEADER_BYTES as u64);
        while offset + COMMIT_HEADER_BYTES as u64 <= self.len {
            let step = offset..(offset + STEP_BYTES as u64).min(self.len);
            let bytes = self.bytes(step.clone())?;
            let places: Vec<u64> =
                memchr::memmem::find_iter(bytes, &COMMIT_MAGIC).map(|at| offset + at as u64).collect();
            for at in places {
                if let Some(header) = self.header_at(at)?
                    && enough(at, header)
                {
                    return Ok(());
                }
            }
            // What begins in the last bytes is found in the next step.
            offset = step.end.max(offset + COMMIT_MAGIC.len() as u64) - (COMMIT_MAGIC.len() as u64 - 1);
        }
        Ok(())
    }

    /// How many bytes from here to the last one that is not zero.
    pub(crate) fn written_behind(&mut self, offset: u64) -> io::Result<u64> {
        let (mut at, mut last) = (offset, offset);
        while at < self.len {
            let end = (at + STEP_BYTES as u64).min(self.len);
            let bytes = self.bytes(at..end)?;
            if let Some(byte) = bytes.iter().rposition(|byte| *byte != 0) {
                last = at + byte as u64 + 1;
            }
            at = end;
        }
        Ok(last - offset)
    }
}
