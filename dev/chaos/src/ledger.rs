//! The book: what was published, asked for and delivered, as the clients saw it, and what of it was wrong.
//!
//! A publication's payload begins with its number here, so numbers grow in the order of sending.

use std::{collections::BTreeMap, fmt, time::Duration};

use cork_packet::{QoS, matches};

/// What can go wrong.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    Lost,
    Doubled,
    Reordered,
    Session,
    Subscription,
    Retained,
    Will,
    Protocol,
    Service,
}

impl Wrong {
    pub(crate) const ALL: [Self; 9] = [
        Self::Lost,
        Self::Doubled,
        Self::Reordered,
        Self::Session,
        Self::Subscription,
        Self::Retained,
        Self::Will,
        Self::Protocol,
        Self::Service,
    ];
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled at QoS 2",
            Self::Reordered => "reordered",
            Self::Session => "sessions wrong",
            Self::Subscription => "subscriptions wrong",
            Self::Retained => "retained wrong",
            Self::Will => "wills wrong",
            Self::Protocol => "protocol broken",
            Self::Service => "service missing",
        })
    }
}

/// What a topic is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Messages in order.
    Stream,
    /// Retained values, changed and deleted.
    Retained,
    /// Wills.
    Wills,
}

#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) used: Use,
}

#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) topic: usize,
    pub(crate) qos: QoS,
    /// Of a Will: CONNECT.
    pub(crate) sent: Duration,
    /// From then on the broker answers for it. Of a Will: it is due.
    pub(crate) taken: Option<Duration>,
    /// Nobody may get it: a Will that was taken back.
    pub(crate) void: bool,
    /// Deletes a retained message.
    pub(crate) deletion: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) reader: usize,
    pub(crate) filter: String,
    pub(crate) qos: QoS,
    pub(crate) granted: Option<Duration>,
    /// UNSUBSCRIBE was sent, or the Session may be gone.
    pub(crate) given_up: Option<Duration>,
    /// UNSUBACK.
    pub(crate) ended: Option<Duration>,
}

/// Somebody who gets messages: a Session, or a group that shares.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) name: String,
    /// Must get everything; others get what they are there for.
    pub(crate) persistent: bool,
    pub(crate) group: bool,
    /// By publication: how often.
    seen: BTreeMap<usize, u32>,
    /// By topic: the latest publication.
    latest: BTreeMap<usize, usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) topics: Vec<Topic>,
    pub(crate) publications: Vec<Publication>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) delivered: u64,
    pub(crate) refused: u64,
    wrongs: BTreeMap<Wrong, Vec<String>>,
}

impl Ledger {
    pub(crate) fn topic(&mut self, name: String, used: Use) -> usize {
        self.topics.push(Topic { name, used });
        self.topics.len() - 1
    }

    pub(crate) fn reader(&mut self, name: String, persistent: bool, group: bool) -> usize {
        self.readers.push(Reader { name, persistent, group, seen: BTreeMap::new(), latest: BTreeMap::new() });
        self.readers.len() - 1
    }

    /// Books a publication and gives its number.
    pub(crate) fn publication(&mut self, topic: usize, qos: QoS, sent: Duration) -> usize {
        self.publications.push(Publication { topic, qos, sent, taken: None, void: false, deletion: false });
        self.publications.len() - 1
    }

    pub(crate) fn subscription(&mut self, reader: usize, filter: &str, qos: QoS) -> usize {
        self.subscriptions.push(Subscription {
            reader,
            filter: filter.to_owned(),
            qos,
            granted: None,
            given_up: None,
            ended: None,
        });
        let Self { readers, publications, .. } = self;
        let reader = &mut readers[reader];
        if !reader.persistent {
            // What it gets at QoS 1 before it is stored is published again after a crash, with those before it that came
            // when it was not there: to its next Session, in their order.
            reader.latest.retain(|_, number| publications[*number].qos == QoS::ExactlyOnce);
        }
        self.subscriptions.len() - 1
    }

    pub(crate) fn taken(&mut self, publication: usize, now: Duration) {
        self.publications[publication].taken.get_or_insert(now);
    }

    pub(crate) fn wrong(&mut self, wrong: Wrong, what: String) {
        self.wrongs.entry(wrong).or_default().push(what);
    }

    /// How often, and the first few.
    pub(crate) fn wrongs(&self, wrong: Wrong) -> (usize, &[String]) {
        let all = self.wrongs.get(&wrong).map_or(&[][..], Vec::as_slice);
        (all.len(), &all[..all.len().min(5)])
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.wrongs.is_empty()
    }

    /// A message came to a reader.
    pub(crate) fn delivered(&mut self, reader: usize, topic: &str, payload: &[u8], qos: QoS) {
        self.delivered += 1;
        let Some(number) = number(payload).filter(|number| *number < self.publications.len()) else {
            let name = &self.readers[reader].name;
            return self.wrong(Wrong::Protocol, format!("{name} got a message on {topic} that nobody sent"));
        };
        let publication = &self.publications[number];
        let known = &self.topics[publication.topic];
        let label = format!("{} got {} on {topic}", self.readers[reader].name, number);
        if known.name != topic {
            return self.wrong(Wrong::Protocol, format!("{label}, which was sent to {}", known.name));
        }
        if publication.void {
            self.wrong(Wrong::Will, format!("{label}, a Will that was taken back"));
        }
        let granted = self.granted(reader, number);
        if granted.is_empty() {
            self.wrong(Wrong::Subscription, format!("{label} without a subscription"));
        } else if !granted.contains(&qos) {
            self.wrong(Wrong::Protocol, format!("{label} at {qos:?}, allowed was {granted:?}"));
        }
        self.count(reader, number, qos, &label);
    }

    fn count(&mut self, reader: usize, number: usize, qos: QoS, label: &str) {
        let topic = self.publications[number].topic;
        let used = self.topics[topic].used;
        let entry = &mut self.readers[reader];
        let times = entry.seen.entry(number).or_default();
        *times += 1;
        if *times > 1 {
            let times = *times;
            if qos == QoS::ExactlyOnce {
                let wrong = if used == Use::Wills { Wrong::Will } else { Wrong::Doubled };
                self.wrong(wrong, format!("{label} {times} times"));
            }
            return;
        }
        let latest = entry.latest.entry(topic).or_insert(number);
        if *latest > number && !entry.group && used == Use::Stream {
            let before = *latest;
            self.wrong(Wrong::Reordered, format!("{label} after {before}"));
        } else {
            *latest = number.max(*latest);
        }
    }

    /// The QoS at which a reader may get a publication now.
    fn granted(&self, reader: usize, number: usize) -> Vec<QoS> {
        let publication = &self.publications[number];
        let name = &self.topics[publication.topic].name;
        let fits = |sub: &&Subscription| {
            sub.reader == reader
                && sub.ended.is_none_or(|ended| ended > publication.sent)
                && matches(&sub.filter, name)
        };
        self.subscriptions.iter().filter(fits).map(|sub| sub.qos.min(publication.qos)).collect()
    }

    /// What must have been delivered and was not: reader and publication.
    pub(crate) fn missing(&self) -> Vec<(usize, usize)> {
        let mut missing = Vec::new();
        for sub in self.subscriptions.iter().filter(|sub| self.readers[sub.reader].persistent) {
            let Some(granted) = sub.granted else { continue };
            let fits: Vec<bool> = self.topics.iter().map(|topic| matches(&sub.filter, &topic.name)).collect();
            let seen = &self.readers[sub.reader].seen;
            for (number, publication) in self.publications.iter().enumerate() {
                let must = fits[publication.topic]
                    && publication.qos.min(sub.qos) != QoS::AtMostOnce
                    && !publication.deletion
                    && publication.sent >= granted
                    && publication.taken.is_some_and(|taken| sub.given_up.is_none_or(|end| taken < end));
                if must && !seen.contains_key(&number) {
                    missing.push((sub.reader, number));
                }
            }
        }
        missing
    }

    /// Books everything missing as lost.
    pub(crate) fn close(&mut self) {
        for (reader, number) in self.missing() {
            let publication = &self.publications[number];
            let topic = &self.topics[publication.topic];
            let taken = publication.taken.unwrap_or_default().as_secs_f64();
            let wrong = if topic.used == Use::Wills { Wrong::Will } else { Wrong::Lost };
            let name = &self.readers[reader].name;
            let what = format!("{name} never got {number} on {}, taken at {taken:.3} s", topic.name);
            self.wrong(wrong, what);
        }
    }

    /// What a retained topic may hold at present, and whether it may be empty. `floor`: the last publication that was
    /// taken when the look began.
    pub(crate) fn retained(&self, topic: usize, floor: Option<usize>) -> (Vec<usize>, bool) {
        let from = floor.unwrap_or(0);
        let later =
            |(number, publication): &(usize, &Publication)| publication.topic == topic && *number >= from;
        let possible: Vec<(usize, bool)> = self
            .publications
            .iter()
            .enumerate()
            .filter(later)
            .map(|(number, publication)| (number, publication.deletion))
            .collect();
        let empty = floor.is_none() || possible.iter().any(|(_, deletion)| *deletion);
        (possible.into_iter().filter(|(_, deletion)| !deletion).map(|(number, _)| number).collect(), empty)
    }

    /// By retained topic: the last publication that was taken.
    pub(crate) fn floors(&self) -> BTreeMap<usize, Option<usize>> {
        let mut floors: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        for (number, publication) in self.publications.iter().enumerate() {
            if self.topics[publication.topic].used == Use::Retained {
                let floor = floors.entry(publication.topic).or_default();
                if publication.taken.is_some() {
                    *floor = Some(number);
                }
            }
        }
        floors
    }
}

/// The number a payload begins with.
pub(crate) fn number(payload: &[u8]) -> Option<usize> {
    let end = payload.iter().position(|byte| *byte == b' ').unwrap_or(payload.len());
    std::str::from_utf8(&payload[..end]).ok()?.parse().ok()
}

/// A payload of about `length` bytes for a publication.
pub(crate) fn payload(number: usize, length: usize) -> Vec<u8> {
    let mut bytes = format!("{number} ").into_bytes();
    bytes.resize(bytes.len().max(length), b'.');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    /// One reader with one subscription from second 1 on, and publications 0, 1, 2 at 2, 3, 4 s, taken a second later.
    fn book(qos: QoS) -> (Ledger, usize) {
        let mut ledger = Ledger::default();
        let reader = ledger.reader("reader".into(), true, false);
        let topic = ledger.topic("t/a".into(), Use::Stream);
        let sub = ledger.subscription(reader, "t/#", QoS::ExactlyOnce);
        ledger.subscriptions[sub].granted = Some(AT(1));
        for at in 2..5 {
            let number = ledger.publication(topic, qos, AT(at));
            ledger.taken(number, AT(at + 1));
        }
        (ledger, reader)
    }

    fn found(ledger: &Ledger) -> Vec<(Wrong, usize)> {
        let counted = Wrong::ALL.map(|wrong| (wrong, ledger.wrongs(wrong).0));
        counted.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn everything_once_and_in_order_is_right() {
        let (mut ledger, reader) = book(QoS::ExactlyOnce);
        for number in 0..3 {
            ledger.delivered(reader, "t/a", &payload(number, 20), QoS::ExactlyOnce);
        }
        ledger.close();
        assert_eq!(found(&ledger), []);
    }

    #[test]
    fn a_session_that_ended_has_no_order_with_its_successor_at_qos_1() {
        let late = vec![(Wrong::Reordered, 1)];
        for (qos, second, wrong) in [(QoS::AtLeastOnce, &[1, 2][..], vec![]), (QoS::ExactlyOnce, &[1], late)]
        {
            let (mut ledger, _) = book(qos);
            let passer = ledger.reader("passer".into(), false, false);
            for numbers in [&[2][..], second] {
                let sub = ledger.subscription(passer, "t/a", qos);
                ledger.subscriptions[sub].granted = Some(AT(1));
                for number in numbers {
                    ledger.delivered(passer, "t/a", &payload(*number, 20), qos);
                }
            }
            assert_eq!(found(&ledger), wrong);
        }
    }

    #[test]
    fn what_is_missing_doubled_or_late_is_found() {
        let (mut ledger, reader) = book(QoS::ExactlyOnce);
        for number in [1, 0, 1] {
            ledger.delivered(reader, "t/a", &payload(number, 20), QoS::ExactlyOnce);
        }
        ledger.close();
        assert_eq!(found(&ledger), [(Wrong::Lost, 1), (Wrong::Doubled, 1), (Wrong::Reordered, 1)]);
    }

    #[test]
    fn at_qos_1_again_is_allowed_and_missing_is_not() {
        let (mut ledger, reader) = book(QoS::AtLeastOnce);
        for number in [0, 1, 0, 1] {
            ledger.delivered(reader, "t/a", &payload(number, 20), QoS::AtLeastOnce);
        }
        ledger.close();
        assert_eq!(found(&ledger), [(Wrong::Lost, 1)]);
    }

    #[test]
    fn nothing_may_come_after_unsuback_and_nothing_need_after_unsubscribe() {
        let (mut ledger, reader) = book(QoS::AtLeastOnce);
        ledger.subscriptions[0].given_up = Some(AT(3));
        ledger.subscriptions[0].ended = Some(AT(3));
        ledger.close();
        assert_eq!(found(&ledger), []);
        ledger.delivered(reader, "t/a", &payload(2, 20), QoS::AtLeastOnce);
        assert_eq!(found(&ledger), [(Wrong::Subscription, 1)]);
    }

    #[test]
    fn a_retained_value_is_the_last_taken_or_a_later_one() {
        let mut ledger = Ledger::default();
        let topic = ledger.topic("r/a".into(), Use::Retained);
        for (at, deletion, taken) in [(1, false, true), (2, true, true), (3, false, false)] {
            let number = ledger.publication(topic, QoS::AtLeastOnce, AT(at));
            ledger.publications[number].deletion = deletion;
            if taken {
                ledger.taken(number, AT(at));
            }
        }
        let floors = ledger.floors();
        assert_eq!(floors[&topic], Some(1));
        assert_eq!(ledger.retained(topic, floors[&topic]), (vec![2], true));
    }

    #[test]
    fn payloads_carry_numbers() {
        assert_eq!(number(&payload(17, 100)), Some(17));
        assert_eq!(payload(17, 100).len(), 100);
        assert_eq!(number(b""), None);
    }
}
