//! Who publishes what and who must get it, in the five shapes of live traffic.

use cork_packet::QoS;

use crate::check::{Faults, Seen, Set, Stream};
use crate::dial::Session;
use crate::wildcard::Wildcard;

/// A shape of traffic, with its size.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Publisher i to subscriber i.
    Pairs { pairs: usize },
    /// All publishers to the one subscriber.
    FanIn { publishers: usize },
    /// The one publisher to all subscribers.
    FanOut { subscribers: usize },
    /// All publishers to any one of the members.
    Shared { publishers: usize, members: usize },
    /// Random topics to the owners of the filters that match.
    Wildcard { publishers: usize, filters: Wildcard },
}

impl Shape {
    /// How many publishers there are.
    pub(crate) const fn publishers(&self) -> usize {
        match self {
            Self::Pairs { pairs } => *pairs,
            Self::FanIn { publishers }
            | Self::Shared { publishers, .. }
            | Self::Wildcard { publishers, .. } => *publishers,
            Self::FanOut { .. } => 1,
        }
    }

    /// How many subscribers there are.
    pub(crate) const fn subscribers(&self) -> usize {
        match self {
            Self::Pairs { pairs } => *pairs,
            Self::FanIn { .. } => 1,
            Self::FanOut { subscribers } => *subscribers,
            Self::Shared { members, .. } => *members,
            Self::Wildcard { filters, .. } => filters.subscribers(),
        }
    }

    /// The messages of a publisher that are under way if nobody says otherwise: enough that a broker is busy, few
    /// enough that its queues do not overflow.
    pub(crate) const fn usual_window(&self) -> u32 {
        match self {
            Self::Pairs { .. } => 200,
            Self::FanIn { .. } | Self::Shared { .. } => 20,
            Self::FanOut { .. } => 40,
            Self::Wildcard { .. } => 100,
        }
    }

    /// The topic of a publisher; where topics change from message to message, one as long as they are.
    pub(crate) fn topic(&self, run: &Prefix, publisher: usize) -> String {
        match self {
            Self::Wildcard { filters, .. } => filters.topic(run, 0, 0),
            _ => format!("{run}/{publisher}"),
        }
    }

    /// The sessions of the subscribers.
    pub(crate) fn sessions(&self, run: &Prefix, qos: QoS) -> Vec<Session> {
        let session = |subscriber: usize, filters: Vec<String>| Session {
            client_id: run.client('s', subscriber),
            stays: false,
            leaves: false,
            filters,
            qos,
        };
        if let Self::Wildcard { filters, .. } = self {
            let filters = filters.filters(run);
            return filters
                .into_iter()
                .enumerate()
                .map(|(subscriber, filters)| session(subscriber, filters))
                .collect();
        }
        let filter = |subscriber: usize| match self {
            Self::Pairs { .. } => format!("{run}/{subscriber}"),
            Self::FanIn { .. } => format!("{run}/+"),
            Self::Shared { .. } => format!("$share/{run}/{run}/+"),
            Self::FanOut { .. } | Self::Wildcard { .. } => format!("{run}/0"),
        };
        (0..self.subscribers()).map(|subscriber| session(subscriber, vec![filter(subscriber)])).collect()
    }
}

/// What the topics and client identifiers of a run begin with.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    text: String,
}

impl Prefix {
    /// For a run, and one of its threads.
    pub(crate) fn new(run: u16, thread: usize) -> Self {
        Self { text: format!("bench-{run:04x}-{thread}") }
    }

    /// A client identifier; `role` tells apart those of one run.
    pub(crate) fn client(&self, role: char, number: usize) -> String {
        format!("{self}-{role}{number}")
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The judge of all deliveries.
#[derive(Debug)]
pub(crate) struct Ledger {
    shape: Shape,
    topics: Vec<String>,
    /// Pairs, fan-in: by publisher. Fan-out: by subscriber.
    streams: Vec<Stream>,
    /// Shared: by publisher. Wildcard: by publisher and kind of filter.
    sets: Vec<Set>,
    /// One past the last sequence number. Shared: by member and publisher. Wildcard: by publisher, kind and device.
    latest: Vec<u32>,
    /// Fan-out: what the slowest subscriber has, and how many have no more.
    slowest: (u32, usize),
    /// Messages sent, by publisher.
    sent: Vec<u32>,
    /// Deliveries that must come for what was sent.
    pub(crate) expected: u64,
    /// Deliveries that came, each counted once.
    pub(crate) unique: u64,
    /// Deliveries that came, or were skipped by a later one: `expected - settled` may still come.
    pub(crate) settled: u64,
    pub(crate) faults: Faults,
}

impl Ledger {
    pub(crate) fn new(shape: &Shape, run: &Prefix) -> Self {
        let (publishers, subscribers) = (shape.publishers(), shape.subscribers());
        let (streams, sets, latest) = match shape {
            Shape::Pairs { .. } | Shape::FanIn { .. } => (publishers, 0, 0),
            Shape::FanOut { .. } => (subscribers, 0, 0),
            Shape::Shared { .. } => (0, publishers, publishers * subscribers),
            Shape::Wildcard { filters, .. } => (0, publishers * 3, publishers * 3 * filters.devices()),
        };
        Self {
            topics: (0..publishers).map(|publisher| shape.topic(run, publisher)).collect(),
            streams: vec![Stream::default(); streams],
            sets: vec![Set::default(); sets],
            latest: vec![0; latest],
            slowest: (0, subscribers),
            sent: vec![0; publishers],
            shape: shape.clone(),
            expected: 0,
            unique: 0,
            settled: 0,
            faults: Faults::default(),
        }
    }

    /// The sequence number of the publisher's next message.
    pub(crate) fn next(&self, publisher: usize) -> u32 {
        self.sent[publisher]
    }

    /// Where the publisher's messages go, or went last.
    pub(crate) fn topic(&self, publisher: usize) -> &str {
        &self.topics[publisher]
    }

    /// Messages sent so far by all publishers.
    pub(crate) fn published(&self) -> u64 {
        self.sent.iter().map(|&sent| u64::from(sent)).sum()
    }

    /// Notes that the publisher sends its next message; returns how much that adds to what it has under way.
    #[inline]
    pub(crate) fn send(&mut self, publisher: usize) -> u32 {
        let sequence = self.sent[publisher];
        self.sent[publisher] += 1;
        match &self.shape {
            Shape::FanOut { subscribers } => {
                self.expected += *subscribers as u64;
                1
            }
            Shape::Wildcard { filters, .. } => {
                let hit = filters.hit(publisher, sequence);
                filters.write(&mut self.topics[publisher], hit);
                self.expected += u64::from(hit.copies());
                hit.copies()
            }
            _ => {
                self.expected += 1;
                1
            }
        }
    }

    /// Judges a delivery to `subscriber`; returns how much it takes off what the publisher has under way. `None`: it
    /// is a fault, or nothing new.
    #[inline]
    pub(crate) fn arrive(
        &mut self,
        subscriber: usize,
        publisher: usize,
        sequence: u32,
        topic: &str,
    ) -> Option<u32> {
        if self.sent.get(publisher).is_none_or(|&sent| sequence >= sent) {
            self.faults.misrouted += 1;
            return None;
        }
        match &self.shape {
            Shape::Shared { publishers, .. } => {
                let latest = subscriber * publishers + publisher;
                let routed = topic == self.topics[publisher];
                self.arrive_in_set(routed, publisher, Some(latest), sequence)
            }
            Shape::Wildcard { filters, .. } => {
                let hit = filters.hit(publisher, sequence);
                let kind = filters.kind(subscriber);
                let routed = filters.is_owner(subscriber, kind, hit)
                    && filters.is_topic(&self.topics[publisher], topic, hit);
                let stream = publisher * 3 + kind;
                // A device's topics at other sites are other topics, each too rare to have an order.
                let latest = hit.at_home.then(|| stream * filters.devices() + hit.device as usize);
                self.arrive_in_set(routed, stream, latest, sequence)
            }
            Shape::Pairs { .. } => {
                let routed = subscriber == publisher && topic == self.topics[publisher];
                self.arrive_in_stream(routed, publisher, sequence)
            }
            Shape::FanIn { .. } => {
                let routed = topic == self.topics[publisher];
                self.arrive_in_stream(routed, publisher, sequence)
            }
            Shape::FanOut { .. } => {
                let routed = topic == self.topics[publisher];
                let before = self.streams[subscriber].next();
                self.arrive_in_stream(routed, subscriber, sequence)?;
                Some(self.pass(before, self.streams[subscriber].next()))
            }
        }
    }

    #[inline]
    fn arrive_in_stream(&mut self, routed: bool, stream: usize, sequence: u32) -> Option<u32> {
        if !routed {
            self.faults.misrouted += 1;
            return None;
        }
        let stream = &mut self.streams[stream];
        let before = stream.next();
        match stream.see(sequence) {
            Seen::New => {}
            Seen::Late => self.faults.reordered += 1,
            Seen::Again => {
                self.faults.duplicated += 1;
                return None;
            }
        }
        let step = stream.next() - before;
        self.unique += 1;
        self.settled += u64::from(step);
        Some(step)
    }

    #[inline]
    fn arrive_in_set(
        &mut self,
        routed: bool,
        set: usize,
        latest: Option<usize>,
        sequence: u32,
    ) -> Option<u32> {
        if !routed {
            self.faults.misrouted += 1;
            return None;
        }
        if !self.sets[set].insert(sequence) {
            self.faults.duplicated += 1;
            return None;
        }
        if let Some(latest) = latest.map(|at| &mut self.latest[at]) {
            if sequence < *latest {
                self.faults.reordered += 1;
            } else {
                *latest = sequence + 1;
            }
        }
        self.unique += 1;
        self.settled += 1;
        Some(1)
    }

    /// A subscriber of the fan-out went from `before` to `after`: how far the slowest of all moved on. Looking through
    /// all of them costs no more than one step for each delivery, for each look moves on by one message at least.
    #[inline]
    fn pass(&mut self, before: u32, after: u32) -> u32 {
        let (slowest, have_no_more) = self.slowest;
        if before > slowest || after == before {
            return 0;
        }
        if have_no_more > 1 {
            self.slowest.1 -= 1;
            return 0;
        }
        let next = self.streams.iter().map(Stream::next).min().unwrap_or(after);
        self.slowest = (next, self.streams.iter().filter(|stream| stream.next() == next).count());
        next - slowest
    }

    /// Gives up what a publisher waits for, so that a loss does not stop it for ever.
    pub(crate) fn forgive(&mut self, under_way: u32) {
        self.faults.stalled += 1;
        if matches!(self.shape, Shape::Shared { .. } | Shape::Wildcard { .. }) {
            self.settled += u64::from(under_way);
        }
    }

    /// The faults, once nothing more comes.
    pub(crate) fn close(&self) -> Faults {
        let lost = match &self.shape {
            Shape::Shared { .. } | Shape::Wildcard { .. } => self.expected.saturating_sub(self.unique),
            Shape::FanOut { .. } => self.streams.iter().map(|stream| stream.lost(self.sent[0])).sum(),
            Shape::Pairs { .. } | Shape::FanIn { .. } => {
                self.streams.iter().zip(&self.sent).map(|(stream, &sent)| stream.lost(sent)).sum()
            }
        };
        Faults { lost, ..self.faults }
    }
}

#[cfg(test)]
mod tests;
