//! The handle programs hold.

use std::{future::poll_fn, sync::Arc, task::Poll};

use cork_packet::{PropertiesBuf, Property, ReasonCode};

use crate::{
    ConnectError, Events, FileStore, Options, Publish, PublishError, PublishHandle, Subscribe,
    SubscribeError, Subscription, Version,
    driver::Driver,
    event::Listener,
    machine::{Accepted, Connected, Granted, Machine, Published, Request, Settings},
    publish::set,
    shared::{Closing, Guard, Outcome, Shared, Slot, Status, remember},
};

/// An MQTT client. Clones are handles of the same one.
///
/// A task of its own reads and writes; nothing needs to be polled. All methods may be called from any task, within
/// the handling of a message, too, and all futures may be dropped at any time: what was not accepted then is not
/// sent, what was accepted is.
///
/// When the last handle and the last [`Subscription`] are dropped the client says DISCONNECT and ends.
#[derive(Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

impl Client {
    /// Connects; an error if that fails, after one try of each server. From then on the client reconnects by itself.
    ///
    /// Needs a Tokio runtime with I/O and time enabled, on which the client's task runs.
    ///
    /// # Errors
    /// Why the last server could not be connected to.
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        let client = Self::launch(options, false)?;
        client.connected_after(0).await?;
        Ok(client)
    }

    /// Returns at once and connects in the background, as often as [`Options::reconnect`] says. Publications and
    /// subscriptions wait for the connection.
    ///
    /// # Errors
    /// Options that contradict each other, or name a file that cannot be read.
    pub fn start(options: Options) -> Result<Self, ConnectError> {
        Self::launch(options, true)
    }

    pub(crate) fn launch(mut options: Options, patient: bool) -> Result<Self, ConnectError> {
        let version = options.first_version();
        options.settings.check()?;
        let mut settings: Settings = options.settings.clone();
        settings.version = version;
        let log = options.store.as_ref().map(FileStore::open).transpose()?;
        if let Some(known) = log.as_ref().and_then(|log| log.ledger.client_id.as_deref()) {
            if !settings.client_id.is_empty() && settings.client_id != known {
                let what = format!(
                    "the file store belongs to the client `{known}`, not to `{}`",
                    settings.client_id
                );
                return Err(ConnectError::Options(what));
            }
            known.clone_into(&mut settings.client_id);
        }
        if settings.client_id.is_empty() && options.version != Version::V5 {
            settings.client_id = random_client_id()?;
        }
        options.settings = settings.clone();
        let machine = Machine::new(settings);
        let shared = Arc::new(Shared::new(machine, options.limits, options.manual_acks));
        if let Some(log) = &log {
            shared.lock().restore(&log.ledger);
        }
        tokio::spawn(Driver::new(Arc::clone(&shared), options, patient, log)?.run());
        Ok(Self::handle(shared))
    }

    fn handle(shared: Arc<Shared>) -> Self {
        shared.lock().handles += 1;
        Self { shared }
    }

    /// Waits until there is a connection, and tells what the server said of it.
    ///
    /// # Errors
    /// Why there will be none.
    pub async fn connected(&self) -> Result<Connected, ConnectError> {
        let before = self.shared.lock().connections;
        self.connected_after(before).await
    }

    /// The same; a connection that was made after so many others counts, although it may be gone again.
    pub(crate) async fn connected_after(&self, before: u64) -> Result<Connected, ConnectError> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            let news = state.connections > before;
            match (&state.status, &state.last_connected) {
                (Status::Online, Some(connected)) => Poll::Ready(Ok(connected.as_ref().clone())),
                (Status::Closed(why), _) => Poll::Ready(Err(why.as_ref().clone())),
                (_, Some(connected)) if news => Poll::Ready(Ok(connected.as_ref().clone())),
                _ => {
                    remember(&mut state.status_wakers, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.shared.lock().status, Status::Online)
    }

    /// Takes a message to be sent; waits while the queue is full. The handle tells when it came to its end, and may
    /// be dropped.
    ///
    /// # Errors
    /// What is wrong with the message, or that the client is closed.
    pub async fn publish(&self, publish: Publish) -> Result<PublishHandle, PublishError> {
        let mut publish = Some(publish);
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.is_closed() || state.closing.is_some() {
                return Poll::Ready(Err(PublishError::Closed));
            }
            if !state.has_room(&self.shared.limits) {
                remember(&mut state.room_wakers, cx);
                state.waits();
                return Poll::Pending;
            }
            match publish.take() {
                Some(publish) => Poll::Ready(self.accept(&mut state, publish)),
                None => Poll::Ready(Err(PublishError::Closed)),
            }
        })
        .await
    }

    /// Takes a message to be sent, if there is room.
    ///
    /// # Errors
    /// As [`Client::publish`]; [`PublishError::Full`] gives the message back.
    pub fn try_publish(&self, publish: Publish) -> Result<PublishHandle, PublishError> {
        let mut state = self.shared.lock();
        if state.is_closed() || state.closing.is_some() {
            return Err(PublishError::Closed);
        }
        if !state.has_room(&self.shared.limits) {
            return Err(PublishError::Full(Box::new(publish)));
        }
        self.accept(&mut state, publish)
    }

    /// Publishes and waits for the end: written, PUBACK, or PUBCOMP.
    ///
    /// # Errors
    /// As [`Client::publish`], or what became of the message.
    pub async fn deliver(&self, publish: Publish) -> Result<Published, PublishError> {
        self.publish(publish).await?.await
    }

    fn accept(&self, state: &mut Guard<'_>, publish: Publish) -> Result<PublishHandle, PublishError> {
        let now = self.shared.now();
        let state = &mut **state;
        let entry = state.slots.vacant_entry();
        let token = entry.key();
        let accepted = state.machine.publish(now, publish, Some(token))?;
        let handle = match accepted {
            Accepted::Encoded(offset) => {
                PublishHandle::written(Arc::clone(&self.shared), state.generation, offset)
            }
            Accepted::Pending => {
                entry.insert(Slot::Publish { waker: None, outcome: Outcome::Pending });
                state.unfinished += 1;
                PublishHandle::token(Arc::clone(&self.shared), token)
            }
        };
        state.wake_driver();
        Ok(handle)
    }

    /// Waits until every message that was taken so far came to its end: QoS 0 written, QoS 1 and 2 acknowledged.
    ///
    /// # Errors
    /// That the client was closed before.
    pub async fn flush(&self) -> Result<(), PublishError> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            let written = state.written >= state.machine.produced();
            if state.unfinished == 0 && written && !state.is_closed() {
                return Poll::Ready(Ok(()));
            }
            if state.is_closed() {
                return Poll::Ready(Err(PublishError::Closed));
            }
            remember(&mut state.written_wakers, cx);
            state.waits();
            Poll::Pending
        })
        .await
    }

    /// Waits until every message that was taken so far is in the [`FileStore`], from where a later run of the program
    /// would send it. At once without one.
    ///
    /// # Errors
    /// That the client was closed before.
    pub async fn saved(&self) -> Result<(), PublishError> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.is_saved() {
                return Poll::Ready(Ok(()));
            }
            if state.is_closed() {
                return Poll::Ready(Err(PublishError::Closed));
            }
            remember(&mut state.written_wakers, cx);
            state.wake_driver();
            Poll::Pending
        })
        .await
    }

    /// How many QoS 1 and 2 publications were taken so far; with a [`FileStore`] counting on from run to run, and after
    /// a crash exactly those that will be sent. A program that numbers its messages by it omits and repeats none.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.lock().machine.next_number()
    }

    /// Publications that were taken and did not come to their end, those of an earlier run of the program included.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.shared.lock().unfinished
    }

    /// Subscribes, and waits for the server's answer. Messages that arrive while the program does not read wait in a
    /// bounded buffer; when it is full the client stops reading from the server.
    ///
    /// # Errors
    /// What is wrong with the filters, that the server refused all of them, or that the client is closed. When it
    /// refused some, [`Subscription::granted`] says which.
    pub async fn subscribe(&self, subscribe: impl Into<Subscribe>) -> Result<Subscription, SubscribeError> {
        let subscribe = subscribe.into();
        let (key, token) = {
            let mut state = self.open()?;
            let key = state.routes.add(
                subscribe.filters,
                subscribe.properties,
                self.shared.limits.buffer_messages_max,
            );
            let request = state.routes.request(key).ok_or(SubscribeError::Closed)?;
            match Self::ask(&mut state, request) {
                Ok(token) => (key, token),
                Err(error) => {
                    state.routes.remove(key);
                    return Err(error);
                }
            }
        };
        let pending = Pending { client: self, key: Some(key), token };
        let granted = pending.answer().await?;
        if granted.codes.iter().all(|code| code.is_error()) {
            return Err(SubscribeError::Refused(granted.codes));
        }
        if let Some(subscriber) = self.shared.lock().routes.subscriptions.get_mut(key) {
            subscriber.granted = true;
        }
        pending.keep();
        Ok(Subscription::new(self.clone(), key, granted))
    }

    /// Ends subscriptions, whoever made them; the server's codes, one for each filter, none in 3.1.1. Streams of
    /// these filters stay and get nothing more.
    ///
    /// # Errors
    /// What is wrong with the filters, or that the client is closed.
    pub async fn unsubscribe(
        &self,
        filters: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Granted, SubscribeError> {
        let filters: Vec<String> = filters.into_iter().map(Into::into).collect();
        let token = {
            let mut state = self.open()?;
            state.routes.forget(&filters);
            Self::ask(&mut state, Request::Unsubscribe { filters, properties: PropertiesBuf::new() })?
        };
        Pending { client: self, key: None, token }.answer().await
    }

    fn open(&self) -> Result<Guard<'_>, SubscribeError> {
        let state = self.shared.lock();
        if state.is_closed() || state.closing.is_some() { Err(SubscribeError::Closed) } else { Ok(state) }
    }

    fn ask(state: &mut Guard<'_>, request: Request) -> Result<usize, SubscribeError> {
        let token = state.slots.insert(Slot::Request { waker: None, outcome: None });
        if let Err(error) = state.machine.request(request, token) {
            state.slots.remove(token);
            return Err(error);
        }
        state.wake_driver();
        Ok(token)
    }

    /// What becomes of the connection from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        let key = self.shared.lock().listeners.insert(Listener::default());
        Events { shared: Arc::clone(&self.shared), key }
    }

    /// Authenticates again with the method of the options (5.0 4.12.1); an event tells when it succeeded. False when
    /// there is no connection, or none that authenticates.
    pub fn reauthenticate(&self) -> bool {
        let mut state = self.shared.lock();
        let begun = state.machine.reauthenticate();
        state.wake_driver();
        begun
    }

    /// Says DISCONNECT, so that the server drops the Will, and ends the client. What was not acknowledged yet is given
    /// up: [`Client::flush`] first.
    pub async fn disconnect(&self) {
        self.disconnect_with(Disconnect::default()).await;
    }

    /// As [`Client::disconnect`], with a Reason Code and Properties (5.0).
    pub async fn disconnect_with(&self, disconnect: Disconnect) {
        {
            let mut state = self.shared.lock();
            let closing = Closing { reason: disconnect.reason, properties: disconnect.properties };
            state.closing.get_or_insert(closing);
            state.wake_driver();
        }
        poll_fn(|cx| self.shared.poll_closed(cx)).await;
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self::handle(Arc::clone(&self.shared))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.handles -= 1;
        if state.handles == 0 {
            let closing =
                Closing { reason: ReasonCode::NORMAL_DISCONNECTION, properties: PropertiesBuf::new() };
            state.closing.get_or_insert(closing);
            state.wake_driver();
        }
    }
}

/// What DISCONNECT says.
#[derive(Clone, Debug, Default)]
pub struct Disconnect {
    reason: ReasonCode,
    properties: PropertiesBuf,
}

impl Disconnect {
    /// With this Reason Code: [`ReasonCode::DISCONNECT_WITH_WILL`] has the Will published.
    #[must_use]
    pub const fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: PropertiesBuf::new() }
    }

    /// Adds a Property: Session Expiry Interval, Reason String, User Property. With one that fits into no packet (more
    /// than 65535 bytes) the DISCONNECT goes without any: a client that ends has nobody to tell.
    #[must_use]
    pub fn property(mut self, property: Property<'_>) -> Self {
        set(&mut self.properties, property);
        self
    }
}

/// A request whose answer is awaited; dropping it forgets the request.
struct Pending<'a> {
    client: &'a Client,
    /// The subscription that is not one yet.
    key: Option<usize>,
    token: usize,
}

impl Pending<'_> {
    async fn answer(&self) -> Result<Granted, SubscribeError> {
        poll_fn(|cx| {
            let mut state = self.client.shared.lock();
            match state.slots.get_mut(self.token) {
                Some(Slot::Request { outcome: Some(result), .. }) => Poll::Ready(result.clone()),
                Some(Slot::Request { waker, .. }) => {
                    waker.replace(cx.waker().clone());
                    state.waits();
                    Poll::Pending
                }
                _ => Poll::Ready(Err(SubscribeError::Closed)),
            }
        })
        .await
    }

    fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut state = self.client.shared.lock();
        match state.slots.get_mut(self.token) {
            Some(slot @ Slot::Request { outcome: None, .. }) => *slot = Slot::Detached,
            Some(Slot::Request { .. }) => {
                state.slots.remove(self.token);
            }
            _ => {}
        }
        if let Some(key) = self.key.take() {
            let state = &mut *state;
            let filters = state.routes.remove(key).map(|(subscriber, _)| subscriber.filters);
            let filters = filters.into_iter().flatten().map(|(filter, _)| filter);
            let filters: Vec<_> = filters.filter(|filter| !state.routes.has_filter(filter)).collect();
            // The caller lost interest: what the server may have granted ends again.
            let token = state.slots.insert(Slot::Detached);
            let request = Request::Unsubscribe { filters, properties: PropertiesBuf::new() };
            if state.is_closed() || state.machine.request(request, token).is_err() {
                state.slots.remove(token);
            }
            state.wake_driver();
        }
    }
}

fn random_client_id() -> Result<String, ConnectError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| ConnectError::Options(format!("no Client Identifier is given, and {error}")))?;
    Ok(format!("cork-{:016x}", u64::from_le_bytes(random)))
}
