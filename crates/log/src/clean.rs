//! Gives space back: what is still needed of the oldest segment is written again at the end of the log, a slice with
//! each commit, and then the segment goes.
//!
//! Because it is always the oldest one, a record that only undoes others (Done, Unsubscribed, the end of a Session, a
//! cleared topic) never needs to be written again: whatever it undoes lies in the same segment or an older one.

use std::{collections::BTreeMap, io, sync::Arc};

use crate::{
    books::Book,
    disk::DiskFile,
    error::Damage,
    format::{Builder, COMMIT_HEADER_BYTES, LogId, SEGMENT_HEADER_BYTES},
    index::Index,
    record::{PublishView, View, put_publish_again, put_session_again},
    segment::SegmentReader,
};

/// How far the oldest segment has been gone through.
struct Progress<F> {
    reader: SegmentReader<F>,
    at: u64,
    /// Where the present commit ends.
    commit_end: u64,
    /// Where its last commit ends.
    end: u64,
}

/// Goes through the oldest segment.
pub(crate) struct Cleaner<F> {
    progress: Option<Progress<F>>,
    /// The oldest segment cannot be read here; it stays until nothing in it is needed.
    pub(crate) stuck: Option<(u32, Damage)>,
    /// Whether the log is larger than it should be, as of the last look.
    due: bool,
    looked: u32,
}

/// What a slice leads to once the commit that carries its copies is written.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Plan {
    /// So many of the oldest segments are not needed any more.
    pub(crate) drop: usize,
    /// Commits before this one are not needed any more.
    pub(crate) first: Option<u64>,
    /// Where to go on.
    at: u64,
    commit_end: u64,
}

/// When space is given back.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Aim {
    /// So much more than what is needed the log may always be.
    pub(crate) slack_bytes: u64,
    /// So much is gone through with one commit.
    pub(crate) slice_bytes: u64,
    /// There is no space for new segments: whatever gives back more than it takes is done.
    pub(crate) short: bool,
}

/// The log's size is looked at every so many commits.
const LOOK_EVERY: u32 = 64;

impl<F: DiskFile> Cleaner<F> {
    pub(crate) const fn new() -> Self {
        Self { progress: None, stuck: None, due: false, looked: 0 }
    }

    /// Whether there is something to do even if nobody writes.
    pub(crate) fn is_due(&mut self, index: &Index, aim: Aim) -> bool {
        index.books.len() > 1
            && (index.books.oldest().is_some_and(|book| book.entries == 0)
                || self.progress.is_some()
                || self.look(index, aim) && !self.is_stuck(index))
    }

    fn is_stuck(&self, index: &Index) -> bool {
        match (&self.stuck, index.books.oldest()) {
            (Some((segment, _)), Some(oldest)) => *segment == oldest.number,
            _ => false,
        }
    }

    /// Whether the log is larger than it should be.
    fn look(&mut self, index: &Index, aim: Aim) -> bool {
        let (used, live) = index.books.bytes();
        // Each start begins a segment, however little was written to the last one, and however long that is.
        let held = used.max(index.books.held_bytes());
        // The slack saves work on a disk that has it; on a full one it would keep for ever what nobody needs.
        let gains = |book: &Book| 2 * book.live_bytes() <= book.held_bytes();
        self.due = held > (2 * live).max(live + aim.slack_bytes)
            || aim.short && index.books.oldest().is_some_and(gains);
        self.due
    }

    /// Has the size looked at again with the next commit: a segment was begun.
    pub(crate) fn look_soon(&mut self) {
        self.looked = 0;
    }

    /// Writes what is needed of the next slice into `builder`. The active segment is never touched.
    pub(crate) fn slice(
        &mut self,
        index: &Index,
        files: &BTreeMap<u32, Arc<F>>,
        id: LogId,
        aim: Aim,
        builder: &mut Builder,
    ) -> Option<Plan> {
        let drop = index.books.leading_unneeded();
        if drop > 0 {
            return Some(Plan { drop, first: index.books.first_commit_of(drop), ..Plan::default() });
        }
        if self.progress.is_none() {
            if self.looked == 0 {
                self.look(index, aim);
                self.looked = LOOK_EVERY;
            }
            self.looked -= 1;
            if !self.due || index.books.len() < 2 || self.is_stuck(index) {
                return None;
            }
            self.begin(index, files, id)?;
        }
        let oldest = index.books.oldest()?.number;
        match self.copy(index, aim, builder) {
            Ok(plan) => Some(plan),
            Err((offset, what)) => {
                let file = self.progress.take()?.reader.name();
                self.stuck = Some((oldest, Damage { file, offset, what }));
                None
            }
        }
    }

    fn begin(&mut self, index: &Index, files: &BTreeMap<u32, Arc<F>>, id: LogId) -> Option<()> {
        let oldest = index.books.oldest()?;
        let file = files.get(&oldest.number)?;
        let at = SEGMENT_HEADER_BYTES as u64;
        match SegmentReader::new(Arc::clone(file), id, oldest.number) {
            Ok(reader) => self.progress = Some(Progress { reader, at, commit_end: at, end: oldest.used }),
            Err(error) => {
                let file = crate::format::segment_name(oldest.number);
                self.stuck = Some((oldest.number, Damage { file, offset: 0, what: error.to_string() }));
            }
        }
        self.progress.is_some().then_some(())
    }

    /// One slice. The error says where it cannot be read.
    fn copy(&mut self, index: &Index, aim: Aim, builder: &mut Builder) -> Result<Plan, (u64, String)> {
        let Some(progress) = &mut self.progress else { return Ok(Plan::default()) };
        let number = progress.reader.number;
        let (mut at, mut commit_end) = (progress.at, progress.commit_end);
        let until = at + aim.slice_bytes;
        let wrong = |at: u64| move |error: io::Error| (at, error.to_string());
        while at < progress.end && at < until {
            if at == commit_end {
                let header = progress.reader.header_at(at).map_err(wrong(at))?;
                let header =
                    header.ok_or_else(|| (at, "the checksum of a commit's header is wrong".to_owned()))?;
                at += COMMIT_HEADER_BYTES as u64;
                commit_end = at + u64::from(header.bytes);
                continue;
            }
            let offset = u32::try_from(at).unwrap_or(u32::MAX);
            let up_to = u32::try_from(until).unwrap_or(u32::MAX);
            let record = progress.reader.record_at(offset, up_to).map_err(wrong(at))?;
            let bytes = record.map_err(|what| (at, what.to_owned()))?;
            let view =
                View::read(bytes).map_err(|_| (at, "a record that does not read as one".to_owned()))?;
            copy_if_needed(index, &view, bytes, (number, offset), builder);
            at += (crate::format::FRAME_BYTES + bytes.len()) as u64;
        }
        let done = at >= progress.end;
        let first = if done { index.books.first_commit_of(1) } else { None };
        Ok(Plan { drop: usize::from(done), first, at, commit_end })
    }

    /// The commit with the slice's copies is written.
    pub(crate) fn written(&mut self, plan: &Plan) {
        if plan.drop > 0 {
            self.progress = None;
            self.looked = 0;
        } else if let Some(progress) = &mut self.progress {
            (progress.at, progress.commit_end) = (plan.at, plan.commit_end);
        }
    }
}

/// Writes a record again if something in the index points to it, without what is over of it.
fn copy_if_needed(
    index: &Index,
    view: &View<'_>,
    bytes: &[u8],
    (segment, offset): (u32, u32),
    builder: &mut Builder,
) {
    let is_here =
        |place: Option<&crate::queue::Place>| place.is_some_and(|place| place.is_at(segment, offset));
    let known = |session: &cork_store::SessionKey| index.sessions.get(session);
    let needed = match view {
        View::Publish(publish) => return copy_publish(index, publish, (segment, offset), builder),
        View::Session { session, state, .. } => {
            if let Some(known) = known(session).filter(|known| is_here(known.state.as_ref())) {
                builder.record(|into| put_session_again(into, *session, known.last, state.raw));
            }
            return;
        }
        View::Subscribed { session, filter, .. } => {
            let hash = index.filter_hash(filter);
            known(session).is_some_and(|known| is_here(known.subscriptions.get(hash)))
        }
        View::Shifted { session, from, .. } => known(session).is_some_and(|known| {
            is_here(known.rare().shifts.get(from).map(|(_, place)| place)) && known.shift_matters(*from)
        }),
        View::Released { session, delivery } => {
            known(session).is_some_and(|known| is_here(known.rare().released.get(delivery)))
        }
        View::Received { session, packet_id } => {
            known(session).is_some_and(|known| is_here(known.rare().received.get(&packet_id.get())))
        }
        View::WillArmed { session, .. } => known(session).is_some_and(|known| is_here(known.will.as_ref())),
        View::SessionEnded { .. }
        | View::Unsubscribed { .. }
        | View::Done { .. }
        | View::Forgotten { .. }
        | View::WillDisarmed { .. } => false,
    };
    if needed {
        builder.record(|into| into.extend_from_slice(bytes));
    }
}

fn copy_publish(
    index: &Index,
    publish: &PublishView<'_>,
    (segment, offset): (u32, u32),
    builder: &mut Builder,
) {
    let waiting = || {
        publish.receivers().filter(|receiver| {
            let known = index.sessions.get(&receiver.session);
            let place = known.and_then(|known| known.queue.get(receiver.delivery));
            place.is_some_and(|place| place.is_at(segment, offset))
        })
    };
    let retained = publish.retained && {
        let topic = index.retained.hash(publish.message.topic);
        let known = index.retained.get(topic);
        known.is_some_and(|known| !known.cleared && known.place().is_at(segment, offset))
    };
    if retained || waiting().next().is_some() {
        builder.record(|into| {
            put_publish_again(into, retained, publish.raw);
            waiting().for_each(|receiver| into.extend_from_slice(receiver.raw));
        });
    }
}
