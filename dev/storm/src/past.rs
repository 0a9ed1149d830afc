//! What shards hand over to be kept, how they get it back, and what a client that reaches into the past must see: the log
//! from some message on, what was kept followed by what comes, without a gap and with nothing twice.
//!
//! What was handed over is there after each crash: what a real history may lose is tested where it is
//! (`crates/history`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cork_packet::{
    Packet, Properties, PropertiesBuf, Property, QoS, SubscribeBuf, SubscriptionOptions, matches,
};
use cork_store::{Message, MessageId, Replay, ReplayFrom, Replayed, Rows};

use crate::{
    client::{Client, QOS, Request, Role},
    context::Context,
    link::LinkIx,
    plant::Plant,
};

/// Filters of those who look back.
const FILTERS: [&str; 5] = ["#", "a/#", "+/b/#", "room/#", "$x/#"];
/// Messages of a page, at most: few, so that there are many pages.
const PAGE_MAX: usize = 3;

/// Where messages are kept.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Everything that was handed over, in that order.
    log: Vec<Arc<Message>>,
    asked: Vec<(usize, Replay)>,
    plant: Option<Plant>,
}

impl Past {
    pub(crate) fn new(plant: Option<Plant>) -> Self {
        Self { plant, ..Self::default() }
    }

    pub(crate) fn take(&mut self, rows: &Rows) {
        self.log.extend(rows.messages().map(Arc::new));
    }

    pub(crate) fn ask(&mut self, shard: usize, replay: Replay) {
        self.asked.push((shard, replay));
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Answers one question, and says whose it was.
    pub(crate) fn answer(&mut self, which: usize) -> Option<(usize, Replayed)> {
        if self.asked.is_empty() {
            return None;
        }
        let (shard, replay) = self.asked.remove(which % self.asked.len());
        let page = self.page(&replay);
        Some((shard, page))
    }

    /// The broker died: nobody waits for an answer any more.
    pub(crate) fn crash(&mut self) {
        self.asked.clear();
    }

    /// Latest arrival of what is kept.
    pub(crate) fn last_arrival(&self) -> u64 {
        self.log.iter().map(|message| message.id().arrived.0).max().unwrap_or(0)
    }

    fn page(&self, replay: &Replay) -> Replayed {
        let counts =
            |message: &Message| self.plant == Some(Plant::PastHasPresent) || replay.counts(message.id());
        let wanted = |message: &&Arc<Message>| {
            counts(message)
                && matches(&replay.filter, message.topic())
                && replay.may_read.allows(message.topic())
        };
        let mut found: Vec<_> = self.log.iter().filter(wanted).cloned().collect();
        found.sort_by_key(|message| message.id());
        found.dedup_by_key(|message| message.id()); // a Will that is published once more after a crash
        let first = match replay.from {
            ReplayFrom::Last(count) => found.len().saturating_sub(count as usize),
            ReplayFrom::Since(at) => found.partition_point(|message| message.id().arrived < at),
            ReplayFrom::After(id) => found.partition_point(|message| message.id() <= id),
        };
        found.drain(..first);
        let fit = found.len().min(PAGE_MAX).min(replay.messages_max as usize);
        let next = (found.len() > fit).then(|| found[fit - 1].id());
        found.truncate(fit);
        if self.plant == Some(Plant::PastSkipsOne) && next.is_some() {
            found.pop();
        }
        Replayed { token: replay.token, messages: found, next }
    }
}

/// A subscription that reached into the past, and what came of it on its connection.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    client: usize,
    link: LinkIx,
    filter: &'static str,
    qos: QoS,
    /// So many messages; all there are otherwise.
    last: Option<usize>,
    /// Messages the log had when it was asked for.
    asked: usize,
    granted: bool,
    /// Publications that came, in their order.
    got: Vec<usize>,
}

impl Client {
    /// Whether there is something to be asked for.
    pub(crate) fn wants_past(&self, cx: &Context) -> bool {
        let looks_back = matches!(self.role, Role::LooksBack);
        let line = self.line.as_ref().filter(|line| line.open && looks_back);
        line.is_some_and(|line| cx.ledger.readings.iter().all(|reading| reading.link != line.link))
    }

    /// Subscribes, once on each connection.
    pub(crate) fn ask_for_past(&mut self, cx: &mut Context) {
        let Some(line) = self.line.as_ref().filter(|_| self.wants_past(cx)) else { return };
        let link = line.link;
        let v5 = cx.net.links[link].greeting.version.is_v5();
        let (filter, qos) = (cx.rng.pick(&FILTERS), cx.rng.pick(&QOS));
        let last = cx.rng.pick(&[None, Some(1), Some(3), Some(10), Some(1000)]);
        let wish = last.map_or_else(|| "since=1w".to_owned(), |count| format!("last={count}"));
        let by_property = v5 && cx.rng.chance(50);
        let mut properties = PropertiesBuf::new();
        if by_property {
            properties.push(Property::UserProperty("replay", &wish));
        }
        let text = if by_property { filter.to_owned() } else { format!("$history/{wish}/{filter}") };
        let mut filters = SubscribeBuf::new();
        filters
            .push(&text, SubscriptionOptions { qos, ..SubscriptionOptions::default() })
            .expect("the storm's filters are short");
        let id = self.free_id();
        let asked = cx.net.past.log.len();
        let reading =
            Reading { client: self.ix, link, filter, qos, last, asked, granted: false, got: Vec::new() };
        cx.ledger.readings.push(reading);
        if let Some(line) = &mut self.line {
            line.requests.insert(id, Request::Past);
        }
        cx.coverage.hit("SUBSCRIBE into the past");
        let properties = if by_property { properties.as_properties() } else { Properties::EMPTY };
        cx.send(link, &Packet::Subscribe(filters.subscribe(id, properties)));
    }
}

/// SUBACK for it.
pub(crate) fn granted(cx: &mut Context, link: LinkIx, codes: &[u8]) -> Result<(), String> {
    let reading = cx.ledger.readings.iter_mut().find(|reading| reading.link == link);
    let reading = reading.ok_or("SUBACK for nothing")?;
    if codes != [reading.qos as u8] {
        return Err(format!("{codes:?} is granted where {:?} was asked for", reading.qos));
    }
    reading.granted = true;
    Ok(())
}

/// A message came on a connection that reached into the past.
pub(crate) fn came(cx: &mut Context, link: LinkIx, number: usize, retain: bool) -> Result<(), String> {
    let reading = cx.ledger.readings.iter_mut().find(|reading| reading.link == link);
    let reading = reading.ok_or("a message nobody subscribed to")?;
    if retain {
        return Err(format!("message {number} comes with RETAIN behind the past"));
    }
    reading.got.push(number);
    cx.coverage.hit("messages of the past and behind it");
    Ok(())
}

/// A retained message was cleared: that counts among the last ones, and cannot be told from others.
const NO_NUMBER: usize = usize::MAX;

/// A message of the log that may have come.
#[derive(Copy, Clone, Debug)]
struct Entry {
    id: MessageId,
    number: usize,
    /// It came to the log before the past was asked for,
    before: bool,
    /// and may be missing: it expired, or a queue was full.
    optional: bool,
}

/// What came on each connection is the log from some message on; up to its end where the connection is still there.
pub(crate) fn is_the_log(cx: &mut Context, clients: &[Client]) -> Result<(), String> {
    let mut whole = 0;
    for reading in &cx.ledger.readings {
        let line = clients[reading.client].line.as_ref();
        let to_its_end = reading.granted && line.is_some_and(|line| line.link == reading.link);
        whole += u64::from(to_its_end);
        let entries = entries(cx, reading)?;
        let about = |what: &str, more: String| {
            format!(
                "the past of client {} on [{}]: {what}: {more}; {reading:?}",
                reading.client, reading.link
            )
        };
        // Of one publisher, topic and QoS the order is promised.
        let group = |number: usize| {
            let message = &cx.ledger.publications[number];
            (message.client, message.topic, message.qos as u8)
        };
        let mut groups: BTreeMap<_, (Vec<Entry>, Vec<usize>)> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.number != NO_NUMBER) {
            groups.entry(group(entry.number)).or_default().0.push(*entry);
        }
        for number in &reading.got {
            groups.entry(group(*number)).or_default().1.push(*number);
        }
        for (key, (log, got)) in &groups {
            let comes = |order: Vec<Entry>| follows(&order, got, reading.last.is_some(), to_its_end);
            if !orders(log).any(comes) {
                return Err(about("not the log", format!("{key:?}: {got:?} of {log:?}")));
            }
        }
        let Some(last) = reading.last else { continue };
        let entries = by_identity(&entries);
        let before = entries.iter().filter(|entry| entry.before);
        let came: Vec<_> = before.clone().filter(|entry| reading.got.contains(&entry.number)).collect();
        // A publication that was sent again is in the log again.
        let known = || entries.iter().map(|entry| entry.number).filter(|number| *number != NO_NUMBER);
        let sent_again = known().count() - known().collect::<BTreeSet<_>>().len();
        if came.len() > last + sent_again {
            return Err(about("too many", format!("{came:?}")));
        }
        // What came to the log since may have pushed out as many of those before.
        let since = entries.iter().filter(|entry| !entry.before).count();
        let mut owed: Vec<_> = before.collect();
        owed.drain(..owed.len().saturating_sub(last.saturating_sub(since)));
        let missing = owed.iter().find(|entry| !entry.optional && !reading.got.contains(&entry.number));
        if let Some(entry) = missing.filter(|_| to_its_end) {
            return Err(about("one of the last is missing", format!("{entry:?}")));
        }
    }
    cx.coverage.many("pasts that had to be whole", whole);
    Ok(())
}

/// The messages of the log that the subscription wants, in the order in which they came to it.
fn entries(cx: &Context, reading: &Reading) -> Result<Vec<Entry>, String> {
    let disks = cx.coverage.of("full disks") + cx.coverage.of("failing disks") > 0;
    let (lossy, slow) =
        (cx.ledger.lossy || disks, cx.options.output_bytes_max == 0 || cx.options.memory_permille > 0);
    let (mut entries, mut ids) = (Vec::new(), BTreeSet::new());
    for (at, message) in cx.net.past.log.iter().enumerate() {
        if !matches(reading.filter, message.topic()) {
            continue;
        }
        let (id, before) = (message.id(), at < reading.asked);
        let again = !ids.insert(id);
        if message.payload().is_empty() {
            entries.push(Entry { id, number: NO_NUMBER, before, optional: true });
            continue;
        }
        let number = cx.ledger.find(message.topic(), message.payload())?;
        if again && !cx.ledger.publications[number].will {
            return Err(format!("message {number} is in the log twice under one identity"));
        }
        let at_qos_0 = message.qos.min(reading.qos) == QoS::AtMostOnce;
        let may_be_dropped = !before && (lossy || (slow && at_qos_0));
        entries.push(Entry { id, number, before, optional: message.expires().is_some() || may_be_dropped });
    }
    Ok(entries)
}

/// What is kept, in the order of a replay. A Will that was published once more after a crash, under its own identity, is
/// kept once; whoever has it from the past may get it again.
fn by_identity(log: &[Entry]) -> Vec<Entry> {
    let mut entries = log.to_vec();
    entries.sort_by_key(|entry| entry.id);
    let mut before = None;
    for entry in &mut entries {
        if before.replace(entry.id) == Some(entry.id) {
            (entry.before, entry.optional) = (false, true);
        }
    }
    entries
}

/// In which orders the log of one publisher, topic and QoS may come: up to where its shard said that the present begins in
/// the order of identities, each once, then as it came to the log. The two differ in Wills that were published once more
/// after a crash, and where the present begins is not seen from here.
fn orders(log: &[Entry]) -> impl Iterator<Item = Vec<Entry>> {
    let asked = log.partition_point(|entry| entry.before);
    let plain = log.is_sorted_by(|a, b| a.id < b.id);
    (asked..=if plain { asked } else { log.len() }).map(move |begins| {
        let (past, present) = log.split_at(begins);
        let mut order = past.to_vec();
        order.sort_by_key(|entry| entry.id);
        order.dedup_by_key(|entry| entry.id);
        order.extend(present);
        order
    })
}

/// Whether `got` is the log from its beginning, or from `anywhere`, up to some message, or `to_its_end`.
fn follows(log: &[Entry], got: &[usize], anywhere: bool, to_its_end: bool) -> bool {
    let beginnings = if anywhere { log.len() } else { 0 };
    // Where the log may go on: a publication that was sent again is there more than once.
    let mut places: BTreeSet<usize> = (0..=beginnings).collect();
    for number in got {
        let mut next = BTreeSet::new();
        for place in places {
            for (at, entry) in log.iter().enumerate().skip(place) {
                if entry.number == *number {
                    next.insert(at + 1);
                }
                if !entry.optional {
                    break;
                }
            }
        }
        places = next;
    }
    places.iter().any(|place| !to_its_end || log[*place..].iter().all(|entry| entry.optional))
}

#[cfg(test)]
mod tests {
    use cork_store::WallTime;

    use super::*;

    /// Of six messages, three were there before the past was asked for, and one expired.
    fn entry(arrived: u64, number: usize) -> Entry {
        let id = MessageId { arrived: WallTime(arrived), shard: 0, epoch: 0 };
        Entry { id, number, before: number < 3, optional: number == 4 }
    }

    #[test]
    fn a_gap_and_a_double_are_seen() {
        let log: Vec<_> = (0..6).map(|number| entry(number as u64, number)).collect();
        for (got, anywhere, to_its_end, right) in [
            (&[0, 1, 2, 3, 4, 5][..], false, true, true),
            (&[0, 1, 2, 3, 5], false, true, true),
            (&[0, 1, 2], false, false, true),
            (&[0, 1, 2], false, true, false),
            (&[0, 1, 3], false, false, false),
            (&[0, 1, 1, 2], false, false, false),
            (&[2, 3, 4, 5], true, true, true),
            (&[2, 3, 4, 5], false, true, false),
            (&[2, 4, 5], true, true, false),
            (&[1, 0], true, false, false),
            (&[], true, true, true),
            (&[], false, true, false),
        ] {
            assert_eq!(follows(&log, got, anywhere, to_its_end), right, "{got:?} {anywhere} {to_its_end}");
        }
    }

    #[test]
    fn a_will_that_was_published_again_comes_where_it_came_to_the_log() {
        let again = Entry { before: false, ..entry(1, 1) };
        let log = [entry(0, 0), entry(1, 1), entry(2, 2), again, entry(3, 3), entry(5, 5)];
        for (got, right) in [
            (&[0, 1, 2, 1, 3, 5][..], true),
            (&[0, 1, 2, 3, 5], true), // its past had it
            (&[0, 1, 1, 2, 3, 5], false),
            (&[0, 1, 2, 3, 1, 5], false),
            (&[0, 2, 1, 3, 5], false),
            (&[0, 1, 2, 1, 1, 3, 5], false),
        ] {
            let comes = orders(&log).any(|order| follows(&order, got, false, true));
            assert_eq!(comes, right, "{got:?}");
        }
    }
}
