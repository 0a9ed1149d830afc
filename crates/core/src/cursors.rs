//! Retained messages on their way to new subscriptions (5.0 3.3.1.3): one cursor a filter, served in order.
//!
//! One SUBSCRIBE may bring a million filters, so each operation costs the logarithm of the number of cursors.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use cork_store::{Message, MessageId, Ticket};

use crate::session::SubValue;

/// How far one subscription's retained messages have been sent.
#[derive(Clone, Debug)]
pub(crate) struct RetainedCursor {
    /// The subscription, as the client wrote it.
    pub(crate) name: Arc<str>,
    /// What topics are matched with.
    pub(crate) filter: Arc<str>,
    /// Its place among the subscriptions with filters.
    pub(crate) filtered: Option<u32>,
    /// The last topic that was looked at.
    pub(crate) after: Option<Box<str>>,
    pub(crate) value: SubValue,
    /// The store knows that the subscription was not sent all of them.
    pub(crate) owed: bool,
    /// Not before this batch is stored: SUBACK goes first.
    pub(crate) ticket: Ticket,
}

/// The cursors of a Session, first come, first served.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    waiting: BTreeMap<u64, RetainedCursor>,
    /// A subscription's text to its cursor's number.
    numbers: BTreeMap<Arc<str>, u64>,
    next: u64,
    /// What the store gave back for the first cursor, in its order.
    pub(crate) fetched: VecDeque<Arc<Message>>,
    /// Topics whose message the store could not read.
    pub(crate) damaged: Vec<Box<str>>,
    /// What the store is asked for.
    pub(crate) fetch: Option<u64>,
    /// The store does not have it yet; it is asked again later.
    pub(crate) patient: bool,
    pub(crate) tries: u32,
}

impl Cursors {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nothing is under way for a cursor either.
    pub(crate) fn is_unused(&self) -> bool {
        self.waiting.is_empty() && self.fetch.is_none() && !self.patient
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut RetainedCursor> {
        self.waiting.values_mut()
    }

    pub(crate) fn first(&self) -> Option<&RetainedCursor> {
        self.waiting.first_key_value().map(|(_, cursor)| cursor)
    }

    /// The message that was asked for, if it has come. What lies before it is not wanted any more.
    pub(crate) fn take_fetched(&mut self, topic: &str, id: MessageId) -> Option<Arc<Message>> {
        while let Some(message) = self.fetched.pop_front() {
            if message.id() == id && *message.topic() == *topic {
                return Some(message);
            }
        }
        None
    }

    /// Notes the last topic the first cursor looked at.
    pub(crate) fn advance(&mut self, after: Box<str>) {
        if let Some(mut first) = self.waiting.first_entry() {
            first.get_mut().after = Some(after);
        }
    }

    /// The first cursor has come to its end.
    pub(crate) fn finish_first(&mut self) -> Option<RetainedCursor> {
        let (_, cursor) = self.waiting.pop_first()?;
        self.numbers.remove(&cursor.name);
        Some(cursor)
    }

    /// The cursor of a subscription, if it has one.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut RetainedCursor> {
        self.waiting.get_mut(self.numbers.get(name)?)
    }

    /// Adds a cursor behind all others; one of the same filter that is on its way starts again with it.
    pub(crate) fn push(&mut self, cursor: RetainedCursor) {
        let number = self.next;
        self.next += 1;
        if let Some(earlier) = self.numbers.insert(Arc::clone(&cursor.name), number) {
            self.waiting.remove(&earlier);
        }
        self.waiting.insert(number, cursor);
    }

    /// Drops the cursor of a subscription, if there is one.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(number) = self.numbers.remove(name) {
            self.waiting.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(filter: &str, sub_id: u32) -> RetainedCursor {
        RetainedCursor {
            name: filter.into(),
            filter: filter.into(),
            filtered: None,
            after: None,
            value: SubValue { options: 0, sub_id },
            owed: false,
            ticket: Ticket(0),
        }
    }

    /// Takes all out, as (filter, Subscription Identifier).
    fn drain(mut cursors: Cursors) -> Vec<(String, u32)> {
        let mut order = Vec::new();
        while let Some(first) = cursors.first() {
            order.push((first.filter.to_string(), first.value.sub_id));
            cursors.finish_first();
        }
        assert!(cursors.is_empty() && cursors.numbers.is_empty());
        order
    }

    #[test]
    fn cursors_are_served_in_the_order_they_came() {
        let mut cursors = Cursors::default();
        for (filter, sub_id) in [("b", 1), ("a", 2), ("c", 3)] {
            cursors.push(cursor(filter, sub_id));
        }
        assert_eq!(drain(cursors), [("b".into(), 1), ("a".into(), 2), ("c".into(), 3)]);
    }

    #[test]
    fn a_second_subscribe_of_a_filter_starts_again() {
        let mut cursors = Cursors::default();
        cursors.push(cursor("a", 1));
        cursors.advance("a".into());
        cursors.push(cursor("b", 2));
        cursors.push(cursor("a", 3));
        assert!(cursors.waiting.values().all(|cursor| cursor.after.is_none()));
        assert_eq!(drain(cursors), [("b".into(), 2), ("a".into(), 3)]);
    }

    #[test]
    fn an_unsubscribed_filter_has_no_cursor() {
        let mut cursors = Cursors::default();
        for (filter, sub_id) in [("a", 1), ("b", 2)] {
            cursors.push(cursor(filter, sub_id));
        }
        cursors.remove("a");
        cursors.remove("never there");
        assert_eq!(drain(cursors), [("b".into(), 2)]);
    }
}
