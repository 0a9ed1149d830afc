//! Which subscription gets a message.

use std::{collections::VecDeque, task::Waker};

use cork_packet::{PropertiesBuf, Property, QoS, ReasonCode, SubscriptionOptions, matches};
use slab::Slab;

use crate::{
    SubscribeError,
    machine::{Granted, Incoming, Request},
};

/// The subscriptions of a client.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) subscriptions: Slab<Subscriber>,
    /// Messages that nobody claimed yet, oldest first.
    strays: VecDeque<Incoming>,
    /// Two subscriptions have the same Topic Filter: the server knows only the identifier of the later one.
    doubled: bool,
    /// The server's Session is older than this client: its Subscription Identifiers are another one's.
    pub(crate) foreign: bool,
    /// QoS 0 messages beyond this are dropped; see [`State::is_paused`](crate::shared::State::is_paused).
    pub(crate) hard_max: Option<usize>,
    /// Messages that were, since somebody asked.
    pub(crate) dropped: u64,
    /// How many buffers are over their limit.
    pub(crate) full: usize,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) filters: Vec<(String, SubscriptionOptions)>,
    pub(crate) properties: PropertiesBuf,
    /// Whether the server granted it, so that it is to be renewed with a new Session.
    pub(crate) granted: bool,
    pub(crate) queue: VecDeque<Incoming>,
    pub(crate) waker: Option<Waker>,
    /// Its buffer counts in [`Routes::full`].
    full: bool,
}

impl Subscriber {
    fn wants(&self, topic: &str) -> bool {
        self.filters.iter().any(|(filter, _)| matches(bare(filter), topic))
    }

    fn push(&mut self, incoming: Incoming, max: usize, full: &mut usize) -> Option<Waker> {
        self.queue.push_back(incoming);
        if self.queue.len() > max && !self.full {
            self.full = true;
            *full += 1;
        }
        self.waker.take()
    }
}

/// A Topic Filter as it matches Topic Names: without what servers take for instructions.
///
/// `$share/<ShareName>/` is the specification's; `$filter/<name>/`, `$where/<expression>/` and `$history/<range>/` are
/// Corkboard's.
fn bare(filter: &str) -> &str {
    let mut rest = filter;
    for prefix in ["$share/", "$filter/", "$where/", "$history/"] {
        if let Some((_, inner)) = rest.strip_prefix(prefix).and_then(|rest| rest.split_once('/')) {
            rest = inner;
        }
    }
    rest
}

impl Routes {
    /// Adds a subscription; what nobody claimed so far and it matches is its own at once.
    pub(crate) fn add(
        &mut self,
        filters: Vec<(String, SubscriptionOptions)>,
        properties: PropertiesBuf,
        max: usize,
    ) -> usize {
        self.doubled |= filters.iter().any(|(filter, _)| self.has_filter(filter));
        let mut subscriber = Subscriber {
            filters,
            properties,
            granted: false,
            queue: VecDeque::new(),
            waker: None,
            full: false,
        };
        for incoming in std::mem::take(&mut self.strays) {
            if subscriber.wants(&incoming.topic) {
                subscriber.push(incoming, max, &mut self.full);
            } else {
                self.strays.push_back(incoming);
            }
        }
        self.subscriptions.insert(subscriber)
    }

    pub(crate) fn has_filter(&self, filter: &str) -> bool {
        self.subscriptions.iter().any(|(_, other)| other.filters.iter().any(|(other, _)| other == filter))
    }

    /// The Subscription Identifier of a subscription.
    pub(crate) fn identifier(key: usize) -> Option<u32> {
        u32::try_from(key + 1).ok().filter(|id| *id <= cork_packet::MAX_REMAINING_LENGTH)
    }

    /// The SUBSCRIBE of a subscription.
    pub(crate) fn request(&self, key: usize) -> Option<Request> {
        let subscriber = self.subscriptions.get(key)?;
        let mut properties = subscriber.properties.clone();
        if let Some(id) = Self::identifier(key) {
            properties.push(Property::SubscriptionIdentifier(id));
        }
        Some(Request::Subscribe { filters: subscriber.filters.clone(), properties })
    }

    pub(crate) fn renewals(&self) -> Vec<(usize, Request)> {
        let granted = self.subscriptions.iter().filter(|(_, subscriber)| subscriber.granted);
        granted
            .filter(|(_, subscriber)| !subscriber.filters.is_empty())
            .filter_map(|(key, _)| Some((key, self.request(key)?)))
            .collect()
    }

    /// The server answered a renewal; returns the filters it refused.
    pub(crate) fn renewed(&self, key: usize, result: Result<Granted, SubscribeError>) -> Vec<String> {
        let Some(subscriber) = self.subscriptions.get(key) else { return Vec::new() };
        let codes = result.map_or_else(|_| Vec::new(), |granted| granted.codes);
        let refused = |at: usize| codes.get(at).is_none_or(|code: &ReasonCode| code.is_error());
        let filters = subscriber.filters.iter().enumerate().filter(|(at, _)| refused(*at));
        filters.map(|(_, (filter, _))| filter.clone()).collect()
    }

    /// Puts a message into the buffers of those who want it. Returns who is to be woken, and a message that had to be
    /// given up.
    pub(crate) fn deliver(
        &mut self,
        incoming: Incoming,
        max: usize,
    ) -> (impl Iterator<Item = Waker> + use<>, Option<Incoming>) {
        let mut keys = Keys::default();
        self.find(&incoming, &mut keys);
        if let Some(hard_max) = self.hard_max
            && incoming.qos == QoS::AtMostOnce
        {
            keys = self.without_full(keys, hard_max);
            if keys.is_empty() {
                return (None.into_iter().chain(Vec::new()), None);
            }
        }
        let (mut first, mut others) = (None, Vec::new());
        let Some(last) = keys.pop() else {
            self.strays.push_back(incoming);
            let left = if self.strays.len() > max / 2 { self.strays.pop_front() } else { None };
            return (first.into_iter().chain(others), left);
        };
        while let Some(key) = keys.pop() {
            // One acknowledgement for all of them: the last copy carries it.
            let copy = Incoming { ack: None, ..incoming.clone() };
            others.extend(self.subscriptions[key].push(copy, max, &mut self.full));
        }
        first = self.subscriptions[last].push(incoming, max, &mut self.full).or(first);
        (first.into_iter().chain(others), None)
    }

    /// Leaves out those whose buffer overflows.
    fn without_full(&mut self, mut keys: Keys, hard_max: usize) -> Keys {
        let mut rest = Keys::default();
        while let Some(key) = keys.pop() {
            if self.subscriptions[key].queue.len() < hard_max {
                rest.push(key);
            } else {
                self.dropped += 1;
            }
        }
        rest
    }

    /// Messages in the longest buffer.
    pub(crate) fn longest(&self) -> usize {
        self.subscriptions.iter().map(|(_, subscriber)| subscriber.queue.len()).max().unwrap_or(0)
    }

    fn find(&self, incoming: &Incoming, keys: &mut Keys) {
        let properties = incoming.properties.as_properties();
        if !self.doubled && !self.foreign && !properties.is_empty() {
            for id in properties.subscription_identifiers() {
                let key = usize::try_from(id).unwrap_or(0).wrapping_sub(1);
                if self.subscriptions.contains(key) {
                    keys.push(key);
                }
            }
            if !keys.is_empty() {
                return;
            }
        }
        for (key, subscriber) in &self.subscriptions {
            if subscriber.wants(&incoming.topic) {
                keys.push(key);
            }
        }
    }

    /// Takes all messages of a subscription out. True when that lets reading go on.
    pub(crate) fn take(&mut self, key: usize, into: &mut VecDeque<Incoming>) -> bool {
        let Some(subscriber) = self.subscriptions.get_mut(key) else { return false };
        std::mem::swap(&mut subscriber.queue, into);
        self.relieve(key)
    }

    fn relieve(&mut self, key: usize) -> bool {
        let Some(subscriber) = self.subscriptions.get_mut(key) else { return false };
        if std::mem::take(&mut subscriber.full) {
            self.full -= 1;
            return self.full == 0;
        }
        false
    }

    /// Ends a subscription; returns it with what was not read.
    pub(crate) fn remove(&mut self, key: usize) -> Option<(Subscriber, bool)> {
        let relieved = self.relieve(key);
        self.subscriptions.try_remove(key).map(|subscriber| (subscriber, relieved))
    }

    /// Filters that are not to be renewed any more.
    pub(crate) fn forget(&mut self, filters: &[String]) {
        for (_, subscriber) in &mut self.subscriptions {
            subscriber.filters.retain(|(filter, _)| !filters.contains(filter));
        }
    }

    /// Keeps messages for a subscription to come.
    pub(crate) fn keep(&mut self, messages: impl Iterator<Item = Incoming>) {
        self.strays.extend(messages);
    }

    pub(crate) fn wake_all(&mut self) -> Vec<Waker> {
        self.subscriptions.iter_mut().filter_map(|(_, subscriber)| subscriber.waker.take()).collect()
    }
}

/// Keys of subscriptions; nearly always one.
#[derive(Default)]
struct Keys {
    first: Option<usize>,
    others: Vec<usize>,
}

impl Keys {
    fn push(&mut self, key: usize) {
        if self.first.is_none() {
            self.first = Some(key);
        } else {
            self.others.push(key);
        }
    }

    fn pop(&mut self) -> Option<usize> {
        self.others.pop().or_else(|| self.first.take())
    }

    const fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}
