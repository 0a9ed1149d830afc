//! Messages as a stream.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use cork_packet::{
    Properties, PropertiesBuf, Property, QoS, ReasonCode, RetainHandling, SubscriptionOptions,
};
use futures_core::Stream;

use crate::{
    Client, Message,
    machine::{Granted, Incoming, Request},
    publish::set,
    shared::Slot,
};

/// Topic Filters to subscribe to, and how.
///
/// From a `&str` it is one Topic Filter with QoS 1; so `client.subscribe("sensors/#")` is all that is needed mostly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    pub(crate) filters: Vec<(String, SubscriptionOptions)>,
    pub(crate) properties: PropertiesBuf,
}

impl Subscribe {
    /// One Topic Filter with QoS 1.
    pub fn new(filter: impl Into<String>) -> Self {
        Self::default().and(filter)
    }

    /// Adds a Topic Filter, with the options of the one before it (else QoS 1).
    #[must_use]
    pub fn and(mut self, filter: impl Into<String>) -> Self {
        let options =
            self.filters.last().map_or(SubscriptionOptions::with_qos(QoS::AtLeastOnce), |last| last.1);
        self.filters.push((filter.into(), options));
        self
    }

    /// Adds a Topic Filter with options of its own.
    #[must_use]
    pub fn with(mut self, filter: impl Into<String>, options: SubscriptionOptions) -> Self {
        self.filters.push((filter.into(), options));
        self
    }

    /// The largest QoS of deliveries, for all filters so far.
    #[must_use]
    pub fn qos(self, qos: QoS) -> Self {
        self.each(|options| options.qos = qos)
    }

    /// Leaves out what this client published (5.0), for all filters so far.
    #[must_use]
    pub fn no_local(self) -> Self {
        self.each(|options| options.no_local = true)
    }

    /// Keeps RETAIN as the publisher set it (5.0), for all filters so far.
    #[must_use]
    pub fn retain_as_published(self) -> Self {
        self.each(|options| options.retain_as_published = true)
    }

    /// When retained messages come (5.0), for all filters so far.
    #[must_use]
    pub fn retain_handling(self, handling: RetainHandling) -> Self {
        self.each(|options| options.retain_handling = handling)
    }

    /// Adds a User Property to the SUBSCRIBE (5.0). The Subscription Identifier is the client's own affair.
    #[must_use]
    pub fn user_property(mut self, name: &str, value: &str) -> Self {
        set(&mut self.properties, Property::UserProperty(name, value));
        self
    }

    fn each(mut self, change: impl Fn(&mut SubscriptionOptions)) -> Self {
        self.filters.iter_mut().for_each(|(_, options)| change(options));
        self
    }
}

impl From<&str> for Subscribe {
    fn from(filter: &str) -> Self {
        Self::new(filter)
    }
}

impl From<String> for Subscribe {
    fn from(filter: String) -> Self {
        Self::new(filter)
    }
}

impl<const N: usize> From<[&str; N]> for Subscribe {
    fn from(filters: [&str; N]) -> Self {
        filters.into_iter().fold(Self::default(), Self::and)
    }
}

/// The messages of one SUBSCRIBE: a [`Stream`] that ends when the client is closed.
///
/// It lives through reconnections. Dropping it unsubscribes, unless the Session outlives the connection: then the
/// server goes on collecting, for a later [`Client::subscribe`] of the same filters.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    key: usize,
    batch: VecDeque<Incoming>,
    granted: Granted,
}

impl Subscription {
    pub(crate) fn new(client: Client, key: usize, granted: Granted) -> Self {
        Self { client, key, batch: VecDeque::new(), granted }
    }

    /// The server's answer, one code for each Topic Filter in order: the granted QoS, or a refusal from 0x80.
    #[must_use]
    pub fn granted(&self) -> &[ReasonCode] {
        &self.granted.codes
    }

    /// Reason String and User Properties of the SUBACK.
    #[must_use]
    pub fn properties(&self) -> Properties<'_> {
        self.granted.properties.as_properties()
    }

    /// The next message; `None` when the client is closed. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The next message if one is there.
    pub fn try_next(&mut self) -> Option<Message> {
        if self.batch.is_empty() {
            self.fetch();
        }
        self.batch.pop_front().map(|incoming| Message::new(incoming, &self.client.shared))
    }

    fn fetch(&mut self) {
        let mut state = self.client.shared.lock();
        if state.routes.take(self.key, &mut self.batch) {
            state.wake_driver();
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Message>> {
        if let Some(message) = self.try_next() {
            return Poll::Ready(Some(message));
        }
        let mut state = self.client.shared.lock();
        let closed = state.is_closed();
        let Some(subscriber) = state.routes.subscriptions.get_mut(self.key) else { return Poll::Ready(None) };
        if !subscriber.queue.is_empty() {
            drop(state);
            return self.poll(cx);
        }
        if closed {
            return Poll::Ready(None);
        }
        subscriber.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.client.shared.lock();
        let state = &mut *state;
        let Some((subscriber, relieved)) = state.routes.remove(self.key) else { return };
        let unread = std::mem::take(&mut self.batch).into_iter().chain(subscriber.queue);
        if state.machine.settings().session_expiry > 0 || !state.machine.settings().clean_start {
            state.routes.keep(unread);
        } else {
            unread
                .filter_map(|incoming| incoming.ack)
                .for_each(|key| state.machine.ack(key, ReasonCode::SUCCESS));
            let filters = subscriber.filters.into_iter().map(|(filter, _)| filter);
            let filters: Vec<_> = filters.filter(|filter| !state.routes.has_filter(filter)).collect();
            if !filters.is_empty() && !state.is_closed() && state.closing.is_none() {
                let token = state.slots.insert(Slot::Detached);
                let request = Request::Unsubscribe { filters, properties: PropertiesBuf::new() };
                if state.machine.request(request, token).is_err() {
                    state.slots.remove(token);
                }
            }
        }
        if relieved || state.machine.pending_bytes() > 0 {
            state.wake_driver();
        }
    }
}
