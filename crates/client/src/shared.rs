//! What handles, streams and the driver share: the machine under one lock.
//!
//! Commands go straight into the machine and into its output buffer, on the caller's thread. The driver is woken only
//! when it sleeps, and then writes everything that came together. No lock is held over an `.await`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use cork_packet::{PropertiesBuf, ReasonCode};
use cork_proto::Time;
use slab::Slab;

use crate::{
    ConnectError, Disconnected, Event, PublishError, SubscribeError,
    event::Listener,
    machine::{self, AckKey, Connected, Granted, Incoming, Machine, Published},
    options::Limits,
    route::Routes,
    store::Ledger,
};

/// One client, for all its handles.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    start: Instant,
    pub(crate) manual_acks: bool,
    pub(crate) limits: Limits,
}

/// Behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) machine: Machine,
    pub(crate) status: Status,
    pub(crate) last_connected: Option<Box<Connected>>,
    /// What a handle asked for that ends the client.
    pub(crate) closing: Option<Closing>,
    /// The driver, when it sleeps.
    pub(crate) driver: Option<Waker>,
    /// To be woken when the lock is released.
    wakers: Vec<Waker>,
    /// Who waits for a change of `status`.
    pub(crate) status_wakers: Vec<Waker>,
    /// Who waits for room to publish.
    pub(crate) room_wakers: Vec<Waker>,
    /// Who waits for QoS 0 to be written, or for everything to be finished.
    pub(crate) written_wakers: Vec<Waker>,
    /// Connections so far.
    pub(crate) connections: u64,
    /// Bytes written on this connection, and which one it is.
    pub(crate) written: u64,
    pub(crate) generation: u64,
    /// Bytes written on earlier connections.
    ended: VecDeque<(u64, u64)>,
    pub(crate) slots: Slab<Slot>,
    /// Publications whose end is awaited or not, but not reached.
    pub(crate) unfinished: usize,
    pub(crate) routes: Routes,
    pub(crate) listeners: Slab<Listener>,
    pub(crate) records: Vec<machine::Record>,
    /// Publications with a smaller number are in the store.
    saved: u64,
    /// Handles that keep the client alive.
    pub(crate) handles: usize,
}

/// Where the client is.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// Not connected, on the way or waiting for the next attempt.
    Offline,
    Online,
    /// For good.
    Closed(Arc<ConnectError>),
}

/// How the client is to end.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub(crate) reason: ReasonCode,
    pub(crate) properties: PropertiesBuf,
}

/// What somebody waits for.
#[derive(Debug)]
pub(crate) enum Slot {
    /// A publication.
    Publish { waker: Option<Waker>, outcome: Outcome },
    /// SUBSCRIBE or UNSUBSCRIBE.
    Request { waker: Option<Waker>, outcome: Option<Result<Granted, SubscribeError>> },
    /// Nobody waits any more; gone at the end.
    Detached,
    /// A subscription is renewed.
    Resubscribe(usize),
}

/// How far a publication is.
#[derive(Debug)]
pub(crate) enum Outcome {
    Pending,
    /// QoS 0: written when so many bytes are, on this connection.
    Encoded {
        generation: u64,
        offset: u64,
    },
    Done(Result<Published, PublishError>),
}

/// The lock; what was collected to be woken is woken when it goes.
pub(crate) struct Guard<'a> {
    state: Option<MutexGuard<'a, State>>,
}

impl std::ops::Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_ref().expect("held until drop")
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("held until drop")
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let Some(mut state) = self.state.take() else { return };
        if state.wakers.is_empty() {
            return;
        }
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Shared {
    pub(crate) fn new(machine: Machine, limits: Limits, manual_acks: bool) -> Self {
        let state = State {
            machine,
            status: Status::Offline,
            last_connected: None,
            closing: None,
            driver: None,
            wakers: Vec::new(),
            status_wakers: Vec::new(),
            room_wakers: Vec::new(),
            written_wakers: Vec::new(),
            written: 0,
            connections: 0,
            generation: 0,
            ended: VecDeque::new(),
            slots: Slab::new(),
            unfinished: 0,
            routes: Routes::default(),
            listeners: Slab::new(),
            records: Vec::new(),
            saved: 0,
            handles: 0,
        };
        Self { state: Mutex::new(state), start: Instant::now(), manual_acks, limits }
    }

    /// Time for the machine.
    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// The moment of a machine's time.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.start + time.since(Time::ZERO)
    }

    pub(crate) fn lock(&self) -> Guard<'_> {
        // Nothing panics under the lock; were it so, the state is still whole enough to close.
        Guard { state: Some(self.state.lock().unwrap_or_else(PoisonError::into_inner)) }
    }

    /// Ready when the client is closed.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is_closed() {
            return Poll::Ready(());
        }
        remember(&mut state.status_wakers, cx);
        Poll::Pending
    }

    pub(crate) fn ack(&self, key: AckKey, reason: ReasonCode) {
        let mut state = self.lock();
        state.machine.ack(key, reason);
        if state.machine.pending_bytes() > 0 {
            state.wake_driver();
        }
    }
}

impl State {
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.status, Status::Closed(_))
    }

    pub(crate) fn wake_driver(&mut self) {
        self.wakers.extend(self.driver.take());
    }

    /// Somebody begins to wait for the server. Where reading rests, that decides whether it goes on.
    pub(crate) fn waits(&mut self) {
        if self.routes.full > 0 {
            self.wake_driver();
        }
    }

    /// Whether the program waits for something only the server can bring.
    fn is_awaited(&self) -> bool {
        let waits = |slot: &Slot| {
            matches!(slot, Slot::Publish { waker: Some(_), .. } | Slot::Request { waker: Some(_), .. })
        };
        !self.room_wakers.is_empty()
            || (self.unfinished > 0 && !self.written_wakers.is_empty())
            || self.slots.iter().any(|(_, slot)| waits(slot))
    }

    /// Whether reading rests because the program does not read a subscription.
    ///
    /// Not while it waits for the server: it may be the very task that would read, and PUBACK stands behind what it
    /// does not read. Then messages pile up to [`OVERFLOW`] times the buffer, and beyond that QoS 0 is dropped.
    pub(crate) fn is_paused(&mut self, now: Time, limits: &Limits) -> bool {
        self.routes.hard_max = None;
        if self.routes.full == 0 {
            return false;
        }
        let hard_max = limits.buffer_messages_max * OVERFLOW;
        if self.is_awaited() && (self.machine.version().is_v5() || self.routes.longest() < hard_max) {
            self.routes.hard_max = Some(hard_max);
            return false;
        }
        self.machine.reading_paused(now);
        true
    }

    pub(crate) fn wake_all(&mut self, which: impl FnOnce(&mut Self) -> &mut Vec<Waker>) {
        let woken = std::mem::take(which(self));
        self.wakers.extend(woken);
    }

    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        self.wakers.extend(waker);
    }

    pub(crate) fn set_status(&mut self, status: Status) {
        self.status = status;
        self.wake_all(|state| &mut state.status_wakers);
    }

    pub(crate) fn tell(&mut self, event: &Event) {
        for (_, listener) in &mut self.listeners {
            listener.push(event.clone());
            self.wakers.extend(listener.waker.take());
        }
    }

    /// Whether another publication is taken now.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        let (messages, bytes) = self.machine.queued();
        messages < limits.queue_messages_max
            && bytes < limits.queue_bytes_max
            && self.machine.pending_bytes() < limits.send_bytes_max
    }

    pub(crate) fn wake_for_room(&mut self, limits: &Limits) {
        if !self.room_wakers.is_empty() && self.has_room(limits) {
            self.wake_all(|state| &mut state.room_wakers);
        }
    }

    /// Takes over what an earlier run of the program left.
    pub(crate) fn restore(&mut self, ledger: &Ledger) {
        let (slots, unfinished) = (&mut self.slots, &mut self.unfinished);
        self.machine.restore(ledger, || {
            *unfinished += 1;
            slots.insert(Slot::Detached)
        });
        self.saved = self.machine.next_number();
    }

    /// What was taken with a smaller number is saved.
    pub(crate) fn saved_upto(&mut self, number: u64) {
        self.saved = self.saved.max(number);
        self.wake_all(|state| &mut state.written_wakers);
    }

    /// Whether everything that was taken is saved.
    pub(crate) fn is_saved(&self) -> bool {
        !self.machine.settings().records || self.saved >= self.machine.next_number()
    }

    /// Whether bytes of a connection were written: `None` when that is not known yet.
    pub(crate) fn was_written(&self, generation: u64, offset: u64) -> Option<bool> {
        if generation == self.generation {
            return (self.written >= offset).then_some(true);
        }
        let written = self.ended.iter().find(|(other, _)| *other == generation).map(|(_, written)| *written);
        Some(written.is_some_and(|written| written >= offset))
    }

    /// A connection is gone; its number goes with it.
    pub(crate) fn connection_ended(&mut self) {
        if self.ended.len() >= GENERATIONS_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((self.generation, self.written));
        self.generation += 1;
        self.written = 0;
        self.wake_all(|state| &mut state.written_wakers);
    }

    /// Distributes what the machine has to say.
    pub(crate) fn drain(&mut self, limits: &Limits) -> Option<Disconnected> {
        let mut ended = None;
        while let Some(event) = self.machine.poll_event() {
            match event {
                machine::Event::Message(incoming) => self.deliver(incoming, limits),
                machine::Event::Published(token, result) => self.published(token, result),
                machine::Event::Encoded(token, offset) => self.encoded(token, offset),
                machine::Event::Subscribed(token, granted) | machine::Event::Unsubscribed(token, granted) => {
                    self.answered(token, Ok(granted));
                }
                machine::Event::RequestFailed(token, error) => self.answered(token, Err(error)),
                machine::Event::Record(record) => self.records.push(record),
                machine::Event::Connected(connected) => self.connected(connected),
                machine::Event::Reauthenticated => self.tell(&Event::Reauthenticated),
                machine::Event::Ended(why) => ended = Some(why),
            }
        }
        self.wake_for_room(limits);
        ended
    }

    fn deliver(&mut self, incoming: Incoming, limits: &Limits) {
        let (woken, left) = self.routes.deliver(incoming, limits.buffer_messages_max);
        self.wakers.extend(woken);
        if self.routes.dropped > 0 {
            let dropped = std::mem::take(&mut self.routes.dropped);
            self.tell(&Event::Dropped(dropped));
        }
        if let Some(old) = left {
            if let Some(key) = old.ack {
                self.machine.ack(key, ReasonCode::SUCCESS);
            }
            self.tell(&Event::Unclaimed(old.topic));
        }
    }

    fn connected(&mut self, connected: Box<Connected>) {
        self.connections += 1;
        if !connected.session_present {
            self.routes.foreign = false;
            self.resubscribe();
        } else if self.last_connected.is_none() {
            self.routes.foreign = true;
        }
        self.set_status(Status::Online);
        self.last_connected = Some(connected.clone());
        self.tell(&Event::Connected(connected));
    }

    /// The Session is new: the server knows no subscription.
    fn resubscribe(&mut self) {
        for (key, request) in self.routes.renewals() {
            let token = self.slots.insert(Slot::Resubscribe(key));
            if let Err(error) = self.machine.request(request, token) {
                self.answered(token, Err(error));
            }
        }
    }

    /// A publication came to this: whoever waits for it is told.
    fn come_to(&mut self, token: usize, came_to: Outcome) {
        self.unfinished -= 1;
        match self.slots.get_mut(token) {
            Some(Slot::Publish { waker, outcome }) => {
                *outcome = came_to;
                let waker = waker.take();
                self.wake(waker);
            }
            Some(Slot::Detached) => {
                self.slots.remove(token);
            }
            _ => {}
        }
    }

    fn published(&mut self, token: usize, result: Result<Published, PublishError>) {
        self.come_to(token, Outcome::Done(result));
        if self.unfinished == 0 {
            self.wake_all(|state| &mut state.written_wakers);
        }
    }

    fn encoded(&mut self, token: usize, offset: u64) {
        self.come_to(token, Outcome::Encoded { generation: self.generation, offset });
    }

    fn answered(&mut self, token: usize, result: Result<Granted, SubscribeError>) {
        match self.slots.get_mut(token) {
            Some(Slot::Request { waker, outcome }) => {
                *outcome = Some(result);
                let waker = waker.take();
                self.wake(waker);
            }
            Some(&mut Slot::Resubscribe(key)) => {
                self.slots.remove(token);
                let failed: Vec<String> = self.routes.renewed(key, result);
                for filter in failed {
                    self.tell(&Event::ResubscribeFailed(filter));
                }
            }
            Some(Slot::Detached) => {
                self.slots.remove(token);
            }
            _ => {}
        }
    }

    /// The end: everybody who waits is told.
    pub(crate) fn close(&mut self, why: ConnectError) {
        if self.is_closed() {
            return;
        }
        for (_, slot) in &mut self.slots {
            match slot {
                Slot::Publish { waker, outcome } => {
                    if matches!(outcome, Outcome::Pending) {
                        *outcome = Outcome::Done(Err(PublishError::Closed));
                    }
                    self.wakers.extend(waker.take());
                }
                Slot::Request { waker, outcome } => {
                    outcome.get_or_insert(Err(SubscribeError::Closed));
                    self.wakers.extend(waker.take());
                }
                Slot::Detached | Slot::Resubscribe(_) => {}
            }
        }
        self.unfinished = 0;
        self.set_status(Status::Closed(Arc::new(why)));
        self.tell(&Event::Closed);
        let woken = self.routes.wake_all();
        self.wakers.extend(woken);
        self.wake_all(|state| &mut state.room_wakers);
        self.wake_all(|state| &mut state.written_wakers);
    }
}

/// Leaves a waker in a list, once for a task that asks again and again.
pub(crate) fn remember(list: &mut Vec<Waker>, cx: &Context<'_>) {
    if list.iter().rev().take(RECENT).any(|waker| waker.will_wake(cx.waker())) {
        return;
    }
    if list.len() >= WAKERS_MAX {
        // Whoever still waits comes again.
        list.drain(..).for_each(Waker::wake);
    }
    list.push(cx.waker().clone());
}

/// Wakers looked at for the one that is there already.
const RECENT: usize = 16;
/// Wakers in a list.
const WAKERS_MAX: usize = 65_536;
/// How many buffers' worth of messages are kept when the program waits for the server and does not read.
const OVERFLOW: usize = 8;
/// Connections whose written bytes are remembered, for handles that are asked late.
const GENERATIONS_MAX: usize = 64;
