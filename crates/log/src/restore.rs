//! From places back to contents: what a restart gives back, and deliveries that are asked for later.

use std::{collections::BTreeMap, io, iter, sync::Arc};

use cork_packet::PacketId;
use cork_store::{
    Load, Loaded, Message, Publisher, QueueExtent, QueuedDelivery, Recovered, RecoveredSession,
    RecoveredSubscription, SessionKey,
};

use crate::{
    disk::DiskFile,
    error::{Damage, OpenError},
    fetch::Shelf,
    format::{FRAME_BYTES, LogId, frame_length, read_frame, segment_name},
    index::{Index, SessionIndex},
    queue::Place,
    record::View,
    segment::SegmentReader,
};

/// Bytes that are read for one record alone; most fit.
const ALONE_BYTES: u64 = 4 << 10;
/// Bytes that are read when more of the same segment is wanted close by.
const AHEAD_BYTES: u64 = 256 << 10;
/// What lies further apart is not close by: it is read by itself, without what is in between.
const APART_BYTES: u32 = 16 << 10;

/// Each of these, in the order of one segment, with the offset up to which it is worth reading: that of the last one
/// with nothing large in between.
pub(crate) fn with_reach<T>(
    wanted: &[T],
    place: impl Fn(&T) -> Place + Copy,
) -> impl Iterator<Item = (&T, u32)> {
    let is_close = move |before: &T, next: &T| {
        place(next).offset.checked_sub(place(before).offset).is_some_and(|gap| gap <= APART_BYTES)
    };
    let last = move |close: &[T]| place(&close[close.len() - 1]).offset;
    wanted.chunk_by(is_close).flat_map(move |close| close.iter().zip(iter::repeat(last(close))))
}

impl<F: DiskFile> SegmentReader<F> {
    /// Bytes of the record at this offset as it says itself, sound or not.
    pub(crate) fn frame_length_at(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let head = self.bytes(offset..offset + FRAME_BYTES as u64)?;
        Ok(frame_length(head).map(|length| length as u64))
    }

    /// The record at this offset. `up_to`: where the last one begins that will be wanted soon.
    pub(crate) fn record_at(&mut self, offset: u32, up_to: u32) -> io::Result<Result<&[u8], &'static str>> {
        let (start, seed) = (u64::from(offset), self.seed());
        let near = u64::from(up_to.saturating_sub(offset)).saturating_add(ALONE_BYTES).min(AHEAD_BYTES);
        let head = self.bytes_near(start..start + FRAME_BYTES as u64, near)?;
        let Some(length) = frame_length(head) else { return Ok(Err("the file is cut short")) };
        let end = start + length as u64;
        if end > self.len() {
            return Ok(Err("a record is longer than its segment"));
        }
        let bytes = self.bytes_near(start..end, near)?;
        Ok(read_frame(bytes, seed, offset))
    }
}

/// Contents of all that a restart gives back, and what could not be read of it.
pub(crate) fn recover<F: DiskFile>(
    index: &Index,
    files: &BTreeMap<u32, Arc<F>>,
    id: LogId,
    epoch: u32,
    retained_bytes_max: u64,
) -> Result<(Recovered, Vec<Damage>), OpenError> {
    let mut sessions: BTreeMap<SessionKey, RecoveredSession> = BTreeMap::new();
    let mut made: BTreeMap<SessionKey, Vec<u64>> = BTreeMap::new();
    let mut places: Vec<Place> = index.retained.places().collect();
    let mut shelf = Shelf::new(retained_bytes_max);
    for (key, known) in &index.sessions {
        sessions.insert(*key, outline(*key, known));
        places.extend(known.state.iter().chain(&known.will).chain(known.subscriptions.values()));
    }
    places.sort_unstable_by_key(|place| (place.segment, place.offset));
    let (mut damages, mut publisher) = (Vec::new(), Arc::new(Publisher::default()));
    for run in places.chunk_by(|a, b| a.segment == b.segment) {
        let (number, up_to) = (run[0].segment, run[run.len() - 1].offset);
        let Some(file) = files.get(&number) else { continue };
        let read = OpenError::io(format!("read {}", segment_name(number)));
        let mut reader = match SegmentReader::new(Arc::clone(file), id, number) {
            Ok(reader) => reader,
            Err(error) => return Err(read(error)),
        };
        for place in run {
            let bytes = match reader.record_at(place.offset, up_to) {
                Ok(bytes) => bytes,
                Err(error) => return Err(read(error)),
            };
            match bytes.and_then(|bytes| View::read(bytes).map_err(|_| "a record that does not read as one"))
            {
                Ok(View::Publish(publish)) => {
                    shelf.put(&publish.message, &mut publisher);
                }
                Ok(View::Session { session, state, .. }) => {
                    sessions.entry(session).or_default().state = state.to_state();
                }
                Ok(View::WillArmed { session, will }) => {
                    let will = Box::new(will.to_will(&mut publisher));
                    sessions.entry(session).or_default().will = Some(will);
                }
                Ok(View::Subscribed { session, made: order, options, subscription_id, filter }) => {
                    let subscription =
                        RecoveredSubscription { filter: filter.into(), options, subscription_id };
                    sessions.entry(session).or_default().subscriptions.push(subscription);
                    made.entry(session).or_default().push(order);
                }
                Ok(_) => {}
                Err(what) => damages.push(Damage {
                    file: segment_name(number),
                    offset: u64::from(place.offset),
                    what: what.to_owned(),
                }),
            }
        }
    }
    for (session, order) in made {
        let recovered = sessions.entry(session).or_default();
        let mut both: Vec<_> = order.into_iter().zip(std::mem::take(&mut recovered.subscriptions)).collect();
        both.sort_by_key(|(order, _)| *order);
        recovered.subscriptions = both.into_iter().map(|(_, subscription)| subscription).collect();
    }
    let (last_arrival, sessions) = (index.latest_arrival, sessions.into_values().collect());
    let (retained, stubs) = (shelf.messages, shelf.stubs);
    Ok((Recovered { epoch, last_arrival, sessions, retained, stubs }, damages))
}

/// What is known of a Session without reading.
fn outline(key: SessionKey, known: &SessionIndex) -> RecoveredSession {
    let first_queued = known.queue.next_from(0);
    let first_released = known.rare().released.keys().next().copied();
    let first = first_queued.into_iter().chain(first_released).min().unwrap_or(0);
    RecoveredSession {
        key,
        received: known.rare().received.keys().filter_map(|packet_id| PacketId::new(*packet_id)).collect(),
        released: known.rare().released.keys().copied().collect(),
        queue: QueueExtent {
            first,
            last: known.last,
            messages: known.queue.len(),
            bytes: known.queue.bytes(),
        },
        shifts: known
            .rare()
            .shifts
            .iter()
            .filter(|(from, _)| known.shift_matters(**from))
            .map(|(from, (shift, _))| (*from, *shift))
            .collect(),
        ..RecoveredSession::default()
    }
}

/// Where the answer to a [`Load`] lies. Reading it needs nothing of the log, and may happen on another thread; what
/// is done with the log meanwhile does no harm.
#[derive(Debug)]
pub struct Located<F> {
    /// Who asked.
    pub shard: u16,
    load: Load,
    places: Vec<(u64, Place)>,
    files: BTreeMap<u32, Arc<F>>,
    next: Option<u64>,
    id: LogId,
}

impl<F: DiskFile> Located<F> {
    pub(crate) fn new(shard: u16, load: Load, index: &Index, all: &BTreeMap<u32, Arc<F>>, id: LogId) -> Self {
        let mut located = Self { shard, load, places: Vec::new(), files: BTreeMap::new(), next: None, id };
        let Some(known) = index.sessions.get(&load.session) else { return located };
        let mut bytes = 0_u64;
        for (number, place) in known.queue.from(load.from) {
            let enough = located.places.len() >= load.messages_max as usize
                || bytes >= u64::from(load.bytes_max) && !located.places.is_empty();
            if enough {
                located.next = Some(number);
                break;
            }
            bytes += u64::from(place.weight);
            if let Some(file) = all.get(&place.segment) {
                located.files.entry(place.segment).or_insert_with(|| Arc::clone(file));
            }
            located.places.push((number, place));
        }
        located
    }

    /// Reads the deliveries. What cannot be read, or is not what was written, is named and left out.
    #[must_use]
    pub fn read(self) -> Loaded {
        let Self { load, places, files, next, id, .. } = self;
        let Load { token, session, from, .. } = load;
        let mut loaded = Loaded { token, session, from, deliveries: Vec::new(), next, damaged: Vec::new() };
        let (mut publisher, mut last) = (Arc::new(Publisher::default()), None::<(Place, Arc<Message>)>);
        for run in places.chunk_by(|a, b| a.1.segment == b.1.segment) {
            let number = run[0].1.segment;
            let mut reader = match files.get(&number) {
                Some(file) => SegmentReader::new(Arc::clone(file), id, number),
                None => Err(io::ErrorKind::NotFound.into()),
            };
            for ((delivery, place), up_to) in with_reach(run, |wanted| wanted.1) {
                let read = match &mut reader {
                    Ok(reader) => {
                        delivery_at(reader, session, *delivery, *place, up_to, &mut publisher, &mut last)
                    }
                    Err(error) => Err(error.to_string()),
                };
                match read {
                    Ok(queued) => loaded.deliveries.push(queued),
                    Err(what) => {
                        let damage =
                            Damage { file: segment_name(number), offset: u64::from(place.offset), what };
                        loaded.damaged.push((*delivery, damage.to_string()));
                    }
                }
            }
        }
        loaded
    }
}

/// `last`: the message that was read last, for another delivery of the same one.
fn delivery_at<F: DiskFile>(
    reader: &mut SegmentReader<F>,
    session: SessionKey,
    delivery: u64,
    place: Place,
    up_to: u32,
    publisher: &mut Arc<Publisher>,
    last: &mut Option<(Place, Arc<Message>)>,
) -> Result<QueuedDelivery, String> {
    let bytes = reader.record_at(place.offset, up_to).map_err(|error| error.to_string())??;
    let Ok(View::Publish(publish)) = View::read(bytes) else {
        return Err("the record there is no message".to_owned());
    };
    let receiver = publish
        .receivers()
        .find(|receiver| receiver.session == session && receiver.delivery == delivery)
        .ok_or("the message there is for others")?;
    let message = match last {
        Some((there, message)) if there.is_at(place.segment, place.offset) => Arc::clone(message),
        _ => {
            let message = Arc::new(publish.message.to_message(publisher));
            *last = Some((place, Arc::clone(&message)));
            message
        }
    };
    Ok(receiver.to_delivery(message))
}
