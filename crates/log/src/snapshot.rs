//! What is in a log at one moment, to be read while others go on writing it.

use std::{collections::BTreeMap, sync::Arc};

use cork_store::{
    Message, Publisher, QueuedDelivery, Record, Recovered, RecoveredSession, SessionKey, StoreError,
};

use crate::{
    disk::{Disk, DiskFile},
    error::{Damage, OpenError},
    format::{LogId, segment_name},
    index::Index,
    queue::Place,
    record::View,
    restore::recover,
    segment::SegmentReader,
    walk::Survey,
};

/// Places, and the files they are in: held open, so that a segment that is removed meanwhile can be read on.
pub(crate) struct Snapshot<D: Disk> {
    index: Index,
    files: BTreeMap<u32, Arc<D::File>>,
    id: LogId,
    epoch: u32,
}

/// A message with all that wait for it.
pub(crate) struct Waiting {
    pub(crate) message: Arc<Message>,
    pub(crate) receivers: Vec<(SessionKey, QueuedDelivery)>,
}

/// So many records make a batch.
const BATCH: usize = 256;

impl<D: Disk> Snapshot<D> {
    pub(crate) fn new(index: Index, survey: &Survey<D::File>) -> Self {
        let files = survey.segments.iter().map(|found| (found.number, Arc::clone(&found.file))).collect();
        let epoch = survey.epoch.map_or(0, |epoch| epoch.saturating_add(1));
        Self { index, files, id: survey.id.unwrap_or(LogId([0; 16])), epoch }
    }

    /// Makes durable what was seen.
    pub(crate) fn sync(&self) -> Result<(), OpenError> {
        for (number, file) in &self.files {
            file.sync_data().map_err(OpenError::io(format!("sync {}", segment_name(*number))))?;
        }
        Ok(())
    }

    /// What a start would give back, and what cannot be read of it.
    pub(crate) fn recover(&self) -> Result<(Recovered, Vec<Damage>), OpenError> {
        recover(&self.index, &self.files, self.id, self.epoch, u64::MAX)
    }

    /// Shows every message that waits, once, in the order they lie in the log.
    pub(crate) fn waiting<E>(
        &self,
        unreadable: &mut Vec<Damage>,
        mut show: impl FnMut(Waiting) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut places: Vec<(Place, SessionKey, u64)> = Vec::new();
        for (key, known) in &self.index.sessions {
            places.extend(known.queue.from(0).map(|(delivery, place)| (place, *key, delivery)));
        }
        places.sort_unstable_by_key(|(place, key, delivery)| (place.segment, place.offset, *key, *delivery));
        let mut publisher = Arc::new(Publisher::default());
        let mut reader: Option<SegmentReader<D::File>> = None;
        for run in places.chunk_by(|a, b| a.0.is_at(b.0.segment, b.0.offset)) {
            let place = run[0].0;
            if reader.as_ref().is_none_or(|reader| reader.number != place.segment) {
                reader = self
                    .files
                    .get(&place.segment)
                    .and_then(|file| SegmentReader::new(Arc::clone(file), self.id, place.segment).ok());
            }
            match read(reader.as_mut(), place, run, &mut publisher) {
                Ok(waiting) => show(waiting)?,
                Err(what) => unreadable.push(Damage {
                    file: segment_name(place.segment),
                    offset: u64::from(place.offset),
                    what: format!("{what}; {} deliveries", run.len()),
                }),
            }
        }
        Ok(())
    }

    /// The records that make a log with the same content.
    pub(crate) fn batches(
        &self,
        recovered: &Recovered,
        unreadable: &mut Vec<Damage>,
        mut write: impl FnMut(Vec<Record>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for session in &recovered.sessions {
            write(session_records(session))?;
        }
        let mut batch = Vec::new();
        self.waiting(unreadable, |waiting| {
            batch.extend(
                waiting.receivers.into_iter().map(|(session, queued)| Record::Queued { session, queued }),
            );
            if batch.len() >= BATCH { write(std::mem::take(&mut batch)) } else { Ok(()) }
        })?;
        write(batch)?;
        for messages in recovered.retained.chunks(BATCH) {
            write(
                messages.iter().map(|message| Record::Retained { message: Arc::clone(message) }).collect(),
            )?;
        }
        Ok(())
    }
}

/// All of a Session but its queue.
pub(crate) fn session_records(session: &RecoveredSession) -> Vec<Record> {
    let key = session.key;
    let mut records = Vec::new();
    if let Some(state) = &session.state {
        records.push(Record::Session { session: key, state: Box::new(state.clone()) });
    }
    for known in &session.subscriptions {
        records.push(Record::Subscribed {
            session: key,
            filter: known.filter.clone(),
            options: known.options,
            subscription_id: known.subscription_id,
        });
    }
    if let Some(will) = &session.will {
        records.push(Record::WillArmed { session: key, will: will.clone() });
    }
    records.extend(session.received.iter().map(|id| Record::Received { session: key, packet_id: *id }));
    records.extend(session.shifts.iter().map(|(from, shift)| Record::Shifted {
        session: key,
        from: *from,
        shift: *shift,
    }));
    // Says which number was the largest; the delivery itself is over, or comes below.
    if session.queue.last > 0 && session.state.is_some() {
        records.push(Record::Done { session: key, delivery: session.queue.last });
    }
    let released = session.released.iter();
    records.extend(released.map(|delivery| Record::Released { session: key, delivery: *delivery }));
    records
}

fn read<F: DiskFile>(
    reader: Option<&mut SegmentReader<F>>,
    place: Place,
    run: &[(Place, SessionKey, u64)],
    publisher: &mut Arc<Publisher>,
) -> Result<Waiting, String> {
    let reader = reader.ok_or("the file cannot be read")?;
    let ahead = place.offset.saturating_add(1 << 20);
    let bytes = reader.record_at(place.offset, ahead).map_err(|error| error.to_string())??;
    let Ok(View::Publish(publish)) = View::read(bytes) else {
        return Err("the record there is no message".to_owned());
    };
    let message = Arc::new(publish.message.to_message(publisher));
    let wanted = |session: SessionKey, delivery: u64| {
        run.binary_search_by_key(&(session, delivery), |(_, session, delivery)| (*session, *delivery)).is_ok()
    };
    let receivers = publish.receivers().filter(|receiver| wanted(receiver.session, receiver.delivery));
    let receivers =
        receivers.map(|receiver| (receiver.session, receiver.to_delivery(Arc::clone(&message)))).collect();
    Ok(Waiting { message, receivers })
}
