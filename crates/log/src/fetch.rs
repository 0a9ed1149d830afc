//! Retained messages that are asked for one by one, because memory has no room for all of them.

use std::{collections::BTreeMap, sync::Arc};

use cork_store::{Fetch, Fetched, Message, Publisher, RetainedStub, RetainedStubs};

use crate::{
    disk::DiskFile,
    error::Damage,
    format::{LogId, segment_name},
    index::Index,
    message::MessageView,
    queue::Place,
    record::View,
    restore::with_reach,
    segment::SegmentReader,
};

/// Where the answer to a [`Fetch`] lies. Reading it needs nothing of the log, as with [`crate::Located`].
#[derive(Debug)]
pub struct LocatedRetained<F> {
    /// Who asked.
    pub shard: u16,
    fetch: Fetch,
    places: Vec<Option<Place>>,
    files: BTreeMap<u32, Arc<F>>,
    id: LogId,
}

impl<F: DiskFile> LocatedRetained<F> {
    pub(crate) fn new(
        shard: u16,
        fetch: Fetch,
        index: &Index,
        all: &BTreeMap<u32, Arc<F>>,
        id: LogId,
    ) -> Self {
        let retained = &index.retained;
        let place = |topic: &str| {
            let entry = retained.get(retained.hash(topic)).filter(|entry| !entry.cleared)?;
            Some(entry.place())
        };
        let places: Vec<Option<Place>> = fetch.topics.iter().map(|topic| place(topic)).collect();
        let files = places.iter().flatten().filter_map(|place| {
            let file = all.get(&place.segment)?;
            Some((place.segment, Arc::clone(file)))
        });
        let files = files.collect();
        Self { shard, fetch, places, files, id }
    }

    /// Reads the messages, in the order of the log. What cannot be read, or is not what was written, is named.
    #[must_use]
    pub fn read(self) -> Fetched {
        let Self { fetch, places, files, id, .. } = self;
        let mut fetched =
            Fetched { token: fetch.token, messages: vec![None; places.len()], damaged: Vec::new() };
        let mut order: Vec<(Place, usize)> =
            places.iter().enumerate().filter_map(|(at, place)| Some(((*place)?, at))).collect();
        order.sort_unstable_by_key(|(place, _)| (place.segment, place.offset));
        let mut publisher = Arc::new(Publisher::default());
        for run in order.chunk_by(|a, b| a.0.segment == b.0.segment) {
            let number = run[0].0.segment;
            let mut reader =
                files.get(&number).ok_or_else(|| "the segment is not there".to_owned()).and_then(|file| {
                    SegmentReader::new(Arc::clone(file), id, number).map_err(|it| it.to_string())
                });
            // In the order of topics they lie anywhere: what is between two of them is not read.
            for ((place, at), up_to) in with_reach(run, |wanted| wanted.0) {
                let topic = &fetch.topics[*at];
                let read = match &mut reader {
                    Ok(reader) => message_at(reader, topic, *place, up_to, &mut publisher),
                    Err(error) => Err(error.clone()),
                };
                match read {
                    Ok(message) => fetched.messages[*at] = Some(message),
                    Err(what) => {
                        let damage =
                            Damage { file: segment_name(number), offset: u64::from(place.offset), what };
                        fetched.damaged.push((topic.clone(), damage.to_string()));
                    }
                }
            }
        }
        fetched
    }
}

fn message_at<F: DiskFile>(
    reader: &mut SegmentReader<F>,
    topic: &str,
    place: Place,
    up_to: u32,
    publisher: &mut Arc<Publisher>,
) -> Result<Arc<Message>, String> {
    let bytes = reader.record_at(place.offset, up_to).map_err(|error| error.to_string())??;
    match View::read(bytes) {
        Ok(View::Publish(publish)) if publish.retained && publish.message.topic == topic => {
            Ok(Arc::new(publish.message.to_message(publisher)))
        }
        _ => Err("the record there is not this topic's retained message".to_owned()),
    }
}

/// What a restart gives back of retained messages: bodies up to so many bytes, and of the rest that they are there.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) messages: Vec<Arc<Message>>,
    pub(crate) stubs: RetainedStubs,
    bytes_left: u64,
}

impl Shelf {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { messages: Vec::new(), stubs: RetainedStubs::new(), bytes_left: bytes_max }
    }

    pub(crate) fn put(&mut self, message: &MessageView<'_>, publisher: &mut Arc<Publisher>) {
        let cost = u64::from(message.cost_bytes());
        if cost <= self.bytes_left || message.topic.starts_with('$') {
            self.bytes_left = self.bytes_left.saturating_sub(cost);
            return self.messages.push(Arc::new(message.to_message(publisher)));
        }
        self.stubs.push(&RetainedStub {
            topic: message.topic.into(),
            id: message.id,
            expires: message.expires,
            cost_bytes: u32::try_from(cost).unwrap_or(u32::MAX),
        });
    }
}
