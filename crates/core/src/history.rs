//! What is kept beyond its delivery, and how a subscription reaches into the past (`$history/last=100/…`).
//!
//! A shard hands what the configuration asks for to its driver, in order, and asks for pages of it. A page has whatever
//! any shard handed over before it was asked for. So the cut between past and present is a number for each shard: the
//! last message it had taken when it said that it knows of the subscription. What came up to there is replayed, what
//! comes behind is delivered live, and nothing is compared.

use std::{collections::BTreeSet, sync::Arc};

use cork_packet::{PropertiesBuf, Property, QoS, matches};
use cork_store::{Message, MessageId, Record, Replay, ReplayFrom, Replayed, Row, Rows, WallTime};

use crate::{
    board::Board,
    conn::SessionIx,
    deliver::{How, Publication},
    io::Output,
    session::{NO_GROUP, SubValue},
    shard::Shard,
};

/// Messages asked for in one go.
const PAGE_MESSAGES_MAX: u32 = 256;
/// Messages that are noted of what a client that came back got.
const SEEN_MAX: usize = 4096;
/// The most that `last` may ask for.
const LAST_MAX: u32 = 1_000_000;

/// What is kept of what is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryTable {
    /// Topic Filters of what is.
    pub filters: Vec<Box<str>>,
    /// Retained messages are, whatever their topic.
    pub retained: bool,
}

impl HistoryTable {
    /// Whether nothing is kept.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.filters.is_empty() && !self.retained
    }

    fn wants(&self, topic: &str, retain: bool) -> bool {
        (retain && self.retained && !topic.starts_with('$'))
            || self.filters.iter().any(|filter| matches(filter, topic))
    }
}

/// How far back a subscription reaches.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// So many messages.
    Last(u32),
    /// So many microseconds.
    Since(u64),
}

impl Wish {
    /// Reads `last=100` or `since=1h`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "history is asked for as $history/last=100/<topic filter> or $history/since=1h/<topic filter>; \
                             last is 1 to 1000000, since has the unit s, m, h, d or w";
        let (name, value) = text.split_once('=').ok_or(WRONG)?;
        match name {
            "last" => {
                let count = digits(value).and_then(|count| u32::try_from(count).ok());
                count.filter(|count| (1..=LAST_MAX).contains(count)).map(Self::Last).ok_or(WRONG)
            }
            "since" => {
                let at = value.char_indices().next_back().map_or(0, |(at, _)| at);
                let (number, unit) = value.split_at(at);
                let seconds = match unit {
                    "s" => 1,
                    "m" => 60,
                    "h" => 3600,
                    "d" => 86_400,
                    "w" => 604_800,
                    _ => return Err(WRONG),
                };
                let micros = digits(number).and_then(|number: u64| number.checked_mul(seconds * 1_000_000));
                micros.filter(|micros| *micros > 0).map(Self::Since).ok_or(WRONG)
            }
            _ => Err(WRONG),
        }
    }
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

/// The past of one subscription, on its way.
#[derive(Debug)]
pub(crate) struct ReplayCursor {
    /// The subscription, as the client wrote it.
    name: Box<str>,
    filter: Box<str>,
    from: ReplayFrom,
    /// By shard: arrival of the last message that counts.
    upto: Vec<u64>,
    /// Shards that have not said theirs.
    waits_for: BTreeSet<u16>,
    /// Of the SUBACK that the others are asked for.
    waiter: Option<u64>,
    value: SubValue,
    again: Again,
}

/// What a replay leaves out because the Session has it in its queue, or had when its client came back.
#[derive(Debug)]
enum Again {
    /// Nothing: the subscription is new, or was asked for on this connection before.
    No,
    /// This, and what its queue turns out to have.
    Asked(BTreeSet<MessageId>),
    /// This, and what came later than a message behind which only the store has the queue.
    Known(BTreeSet<MessageId>, Option<MessageId>),
}

/// What a client got since it came back to its Session, in which it has a subscription that reaches into the past: it
/// subscribes again, as clients do, and is not sent it twice.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    ids: BTreeSet<MessageId>,
    /// Subscriptions that were asked for again: whoever does so once more wants all of the past.
    asked: BTreeSet<Box<str>>,
}

/// The pasts a Session waits for, first come, first served. Its queue waits behind them.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    cursors: Vec<ReplayCursor>,
    /// What came for the first one.
    page: std::collections::VecDeque<Arc<Message>>,
    /// The question for the first one that is not answered.
    asked: Option<u64>,
    /// There is no more behind the page.
    ended: bool,
}

impl Again {
    fn has(&self, message: &Message, value: SubValue, queues_qos0: bool) -> bool {
        let Self::Known(ids, behind) = self else { return false };
        let queued = queues_qos0 || (value.qos() != QoS::AtMostOnce && message.qos != QoS::AtMostOnce);
        ids.contains(&message.id()) || behind.is_some_and(|behind| queued && message.id() > behind)
    }
}

impl Replays {
    fn finish_first(&mut self) {
        self.cursors.remove(0);
        (self.asked, self.ended) = (None, false);
        self.page.clear();
    }

    /// Drops the replay of a subscription, if there is one. False: there are none left.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        match self.cursors.iter().position(|cursor| *cursor.name == *name) {
            Some(0) => self.finish_first(),
            Some(at) => drop(self.cursors.remove(at)),
            None => {}
        }
        !self.cursors.is_empty()
    }
}

/// What a shard has for its history, and waits for from it.
#[derive(Debug, Default)]
pub(crate) struct Past {
    remembered: Box<Rows>,
    /// What the driver gave back, empty.
    spare: Option<Box<Rows>>,
    questions: Vec<Replay>,
    /// Who asked: question to Session.
    asking: std::collections::BTreeMap<u64, SessionIx>,
    next: u64,
}

impl Board {
    /// Hands a publication that came to this shard to the history, if it is to be kept. It is copied: no message is built
    /// for it.
    pub(crate) fn remember(&mut self, publication: &mut Publication<'_>) {
        if !self.config.history.wants(publication.topic, publication.retain) {
            return;
        }
        let id = *publication.id.get_or_insert_with(|| self.next_message_id());
        let row = Row {
            id,
            qos: publication.qos,
            retain: publication.retain,
            expires: publication.expires,
            topic: publication.topic,
            author: &[],
            properties: publication.properties,
            payload: publication.payload,
        };
        self.past.remembered.push_by(&row, publication.publisher);
    }

    /// Lets the records of a publication, which its acknowledgement waits for, say that it belongs to the history too.
    pub(crate) fn record_remembered(&mut self, publication: &mut Publication<'_>) {
        if publication.qos != QoS::AtMostOnce
            && self.config.history.wants(publication.topic, publication.retain)
        {
            let message = self.message(publication);
            self.record(Record::Remembered { message });
        }
    }

    /// Emits what is kept, then what is asked for.
    pub(crate) fn close_past(&mut self) {
        if !self.past.remembered.is_empty() {
            let next = self.past.spare.take().unwrap_or_default();
            let rows = std::mem::replace(&mut self.past.remembered, next);
            self.outputs.push_back(Output::Remember(rows));
        }
        self.outputs.extend(self.past.questions.drain(..).map(Output::Replay));
    }

    /// A message goes out on a connection.
    #[inline]
    pub(crate) fn note_seen(&mut self, six: SessionIx, id: MessageId) {
        let Some(outgoing) = self.sessions.get_mut(six as usize).and_then(|it| it.outgoing.as_deref_mut())
        else {
            return;
        };
        if let Some(seen) = outgoing.seen.as_deref_mut() {
            seen.ids.insert(id);
            if seen.ids.len() > SEEN_MAX {
                outgoing.seen = None; // who asks as late as that gets all of the past
            }
        }
    }

    /// Finds out what waits in the Session, which its first replay leaves out. False when that has to be read first.
    fn know_queue(&mut self, six: SessionIx) -> bool {
        let session = &mut self.sessions[six as usize];
        let Some(outgoing) = session.outgoing.as_deref_mut() else { return true };
        let Some(cursor) = outgoing.replays.as_deref_mut().and_then(|replays| replays.cursors.first_mut())
        else {
            return true;
        };
        let Again::Asked(ids) = &mut cursor.again else { return true };
        let (queue, inflight) = (&outgoing.queue, &mut outgoing.inflight);
        if queue.head.is_empty() && queue.has_tail() {
            self.refill(six);
            return false; // it goes on when that has come
        }
        let mut ids = std::mem::take(ids);
        ids.extend(queue.head.iter().map(|queued| queued.message.id()));
        ids.extend(inflight.items_mut().flatten().map(|queued| queued.message.id()));
        let behind = queue.head.back().filter(|_| queue.has_tail()).map(|last| last.message.id());
        cursor.again = Again::Known(ids, behind);
        true
    }

    /// Goes on with the Session's first replay. False when it has to wait.
    pub(crate) fn send_replay(&mut self, six: SessionIx, index: u32) -> bool {
        let wall = self.wall();
        let Some(outgoing) = self.sessions.get_mut(six as usize).and_then(|it| it.outgoing.as_deref_mut())
        else {
            return false;
        };
        let Some(replays) = outgoing.replays.as_deref_mut() else { return false };
        let Some(cursor) = replays.cursors.first_mut() else {
            outgoing.replays = None; // what waited behind it goes on
            return true;
        };
        let value = cursor.value;
        if let Some(message) = replays.page.pop_front() {
            if cursor.again.has(&message, value, self.config.limits.queue_qos0) {
                return true;
            }
            self.send_past(six, index, &message, value, wall);
            return true;
        }
        if replays.ended {
            replays.finish_first();
            return true;
        }
        if replays.asked.is_some() || !cursor.waits_for.is_empty() {
            return false;
        }
        if matches!(cursor.again, Again::Asked(_)) {
            return self.know_queue(six);
        }
        let token = self.past.next;
        self.past.next += 1;
        replays.asked = Some(token);
        self.past.asking.insert(token, six);
        let (filter, from, upto) = (cursor.filter.clone(), cursor.from, cursor.upto.as_slice().into());
        let (messages_max, may_read) = (PAGE_MESSAGES_MAX, self.reading(six));
        self.past.questions.push(Replay { token, filter, from, upto, messages_max, may_read });
        false
    }

    fn send_past(
        &mut self,
        six: SessionIx,
        index: u32,
        message: &Arc<Message>,
        value: SubValue,
        wall: WallTime,
    ) {
        let session = &self.sessions[six as usize];
        let own = value.no_local() && *message.publisher.client_id == *session.publisher.client_id;
        if own || message.is_expired(wall) || !self.may_read(six, message.topic()) {
            return;
        }
        let id = [value.sub_id];
        let sub_ids = if value.sub_id == 0 { &[][..] } else { &id[..] };
        let how = How { qos: QoS::AtMostOnce, retain: false, group: NO_GROUP, share: None, sub_ids };
        let mut publication = Publication::of(message);
        if self.is_withheld(six, || how.shown(&publication)) {
            return;
        }
        let mut properties = message.properties().to_vec();
        if self.conn_at(index).is_some_and(|conn| conn.version.is_v5()) {
            let mut time = PropertiesBuf::new();
            let came = message.id().arrived.to_rfc3339();
            time.push(Property::UserProperty("time", &came));
            time.as_properties().forward_into(&mut properties);
        }
        publication.properties = &properties;
        self.write_publication(index, &publication, message, how);
    }
}

impl Shard {
    /// A subscription reaches into the past: what came to this shard up to now is replayed.
    pub(crate) fn begin_replay(
        &mut self,
        six: SessionIx,
        (name, filter): (&str, &str),
        wish: Wish,
        value: SubValue,
        new: bool,
    ) {
        let (own, shards) = (self.board.config.shard, self.board.config.shards);
        let mut upto = vec![0; usize::from(shards)];
        upto[usize::from(own)] = self.board.last_arrival();
        let waits_for: BTreeSet<u16> = (0..shards).filter(|shard| *shard != own).collect();
        let from = match wish {
            Wish::Last(count) => ReplayFrom::Last(count),
            Wish::Since(ago) => ReplayFrom::Since(WallTime(self.board.wall().0.saturating_sub(ago))),
        };
        let session = &mut self.board.sessions[six as usize];
        if let Some(key) = session.filtered.get(name).and_then(|own| own.key)
            && let Some(subscription) = self.board.filters.get_mut(key)
        {
            subscription.awaits.clone_from(&waits_for);
        }
        let outgoing = session.outgoing();
        let seen = outgoing.seen.as_deref_mut().filter(|_| !new);
        let first = seen.and_then(|seen| seen.asked.insert(name.into()).then(|| seen.ids.clone()));
        let again = first.map_or(Again::No, Again::Asked);
        let replays = outgoing.replays.get_or_insert_default();
        replays.remove(name);
        let cursor = ReplayCursor {
            name: name.into(),
            filter: filter.into(),
            from,
            upto,
            waits_for,
            waiter: None,
            value,
            again,
        };
        replays.cursors.push(cursor);
    }

    /// The others are asked under this number where their present begins.
    pub(crate) fn name_replays(&mut self, six: SessionIx, number: u64) {
        let Some(session) = self.board.sessions.get_mut(six as usize) else { return };
        let Some(replays) = session.outgoing.as_deref_mut().and_then(|it| it.replays.as_deref_mut()) else {
            return;
        };
        for cursor in replays.cursors.iter_mut().filter(|cursor| cursor.waiter.is_none()) {
            cursor.waiter = Some(number);
        }
    }

    /// Another shard knows of a subscription, and says which message was its last up to now: what it sends from now on
    /// is the present.
    pub(crate) fn note_present(&mut self, six: SessionIx, number: u64, from: u16, last: u64) {
        let Some(session) = self.board.sessions.get_mut(six as usize) else { return };
        let Some(replays) = session.outgoing.as_deref_mut().and_then(|it| it.replays.as_deref_mut()) else {
            return;
        };
        for cursor in replays.cursors.iter_mut().filter(|cursor| cursor.waiter == Some(number)) {
            if !cursor.waits_for.remove(&from) {
                continue;
            }
            cursor.upto[usize::from(from)] = last;
            if let Some(key) = session.filtered.get(&cursor.name).and_then(|own| own.key)
                && let Some(subscription) = self.board.filters.get_mut(key)
            {
                subscription.awaits.remove(&from);
            }
        }
    }

    /// A page of the past comes.
    pub(crate) fn on_replayed(&mut self, replayed: Replayed) {
        let Replayed { token, messages, next } = replayed;
        let Some(six) = self.board.past.asking.remove(&token) else { return };
        let session = self.board.sessions.get_mut(six as usize);
        let Some(replays) = session
            .and_then(|session| session.outgoing.as_deref_mut())
            .and_then(|outgoing| outgoing.replays.as_deref_mut())
            .filter(|replays| replays.asked == Some(token))
        else {
            return; // the client left meanwhile, or does not want it any more
        };
        replays.asked = None;
        replays.page = messages.into();
        replays.ended = next.is_none();
        if let (Some(next), Some(cursor)) = (next, replays.cursors.first_mut()) {
            cursor.from = ReplayFrom::After(next);
        }
        self.board.pump(six);
    }

    /// Takes the memory of [`Output::Remember`] back for the next turn, empty.
    pub fn reuse(&mut self, rows: Box<Rows>) {
        self.board.past.spare = Some(rows).filter(|rows| rows.is_empty());
    }

    /// Whether anything is kept that could be asked for.
    pub(crate) fn keeps_history(&self) -> bool {
        !self.board.config.history.is_empty()
    }
}

const _: () = assert!(size_of::<MessageId>() == 16, "a place in a history is small");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_a_count_or_a_time() {
        for (text, wish) in [
            ("last=1", Wish::Last(1)),
            ("last=1000000", Wish::Last(1_000_000)),
            ("since=90s", Wish::Since(90_000_000)),
            ("since=1h", Wish::Since(3_600_000_000)),
            ("since=7d", Wish::Since(604_800_000_000)),
            ("since=1w", Wish::Since(604_800_000_000)),
        ] {
            assert_eq!(Wish::parse(text), Ok(wish), "{text}");
        }
        for text in [
            "",
            "last",
            "last=",
            "last=0",
            "last=-1",
            "last=1000001",
            "since=",
            "since=0s",
            "since=1",
            "since=h",
            "since=1y",
            "since=99999999999999999999d",
            "since=1é",
            "first=3",
        ] {
            assert!(Wish::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_kept_depends_on_topic_and_retain() {
        let table = HistoryTable { filters: vec!["a/#".into()], retained: true };
        assert!(table.wants("a/b", false) && table.wants("b", true));
        assert!(!table.wants("b", false) && !table.wants("$SYS/broker/uptime", true));
        assert!(!table.is_empty() && HistoryTable::default().is_empty());
    }
}
