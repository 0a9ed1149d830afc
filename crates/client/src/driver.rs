//! The task that owns the transport: connects, reads, writes, comes again.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use cork_packet::{ProtocolVersion, ReasonCode};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    ConnectError, Disconnected, Event, Options, Refusal, Version,
    saver::Saver,
    shared::{Shared, Status},
    store::Log,
    transport::{Connector, Transport},
};

/// Everything the task needs.
pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Options,
    /// Whether the first attempt is repeated when it fails.
    pub(crate) patient: bool,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) saver: Mutex<Saver>,
}

/// What one read takes at most.
const READ_BYTES: usize = 128 * 1024;

thread_local! {
    /// One read buffer for all clients of a thread: what is read is decoded before the next one reads, so that ten
    /// thousand idle clients need not hold a buffer each.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Reads and writes before other tasks get their turn.
const TURNS: usize = 16;

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        mut options: Options,
        patient: bool,
        log: Option<Log>,
    ) -> Result<Self, ConnectError> {
        let connector = match options.connector.take() {
            Some(connector) => connector,
            None => options.sockets()?,
        };
        Ok(Self { shared, options, patient, connector, saver: Mutex::new(Saver::new(log)) })
    }

    /// Runs until the client is closed.
    pub(crate) async fn run(self) {
        let why = self.connections().await;
        let Self { shared, saver, .. } = self;
        // Whoever waits for the end may open the file store again at once. What fails now was not promised.
        let mut saver = saver.into_inner().unwrap_or_else(PoisonError::into_inner);
        let _ = poll_fn(|cx| saver.poll(cx, &shared)).await;
        drop(saver);
        let mut state = shared.lock();
        state.machine.closed();
        state.close(why);
    }

    async fn connections(&self) -> ConnectError {
        let mut failures = 0;
        let mut connected_before = false;
        // Waits in a row that brought nothing, and the last of them.
        let (mut waits, mut waited) = (0, Duration::ZERO);
        loop {
            let mut error = None;
            for server in &self.options.servers {
                let Some(attempt) = self.unless_closing(self.connect(server)).await else {
                    return ConnectError::Closed;
                };
                match attempt {
                    Ok(transport) => {
                        failures = 0;
                        connected_before = true;
                        let begun = Instant::now();
                        let why = self.serve(transport).await;
                        // A server may let the client in each time and hang up at what it sends.
                        if begun.elapsed() > waited {
                            waits = 0;
                        }
                        if !self.ended(&why) {
                            return ConnectError::Disconnected(why);
                        }
                        error = None;
                        break;
                    }
                    Err(why) => error = Some(why),
                }
            }
            if let Some(why) = error {
                failures += 1;
                self.shared.lock().tell(&Event::ConnectFailed(why.clone()));
                let final_answer = match &why {
                    ConnectError::Refused(refusal) => !refusal.is_temporary(),
                    ConnectError::Options(_) => true,
                    _ => false,
                };
                if final_answer || (!connected_before && !self.patient) {
                    return why;
                }
                let Some(policy) = self.options.reconnect else { return why };
                if policy.attempts.is_some_and(|attempts| failures >= attempts) {
                    return why;
                }
            }
            let Some(policy) = self.options.reconnect else { return ConnectError::Closed };
            waits += 1;
            waited = policy.wait(waits);
            self.shared.lock().tell(&Event::Reconnecting(waited));
            if self.unless_closing(tokio::time::sleep(waited)).await.is_none() {
                return ConnectError::Closed;
            }
        }
    }

    /// Notes the end of a connection; false when it was the last one.
    fn ended(&self, why: &Disconnected) -> bool {
        let mut state = self.shared.lock();
        state.machine.closed();
        state.connection_ended();
        let again = why.is_temporary() && state.closing.is_none() && self.options.reconnect.is_some();
        state.set_status(Status::Offline);
        state.tell(&Event::Disconnected(why.clone()));
        again
    }

    /// What the future gives; `None` when a handle wants the end before.
    async fn unless_closing<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if self.shared.lock().closing.is_some() {
                return Poll::Ready(None);
            }
            let done = future.as_mut().poll(cx).map(Some);
            if done.is_pending() {
                self.save_offline(cx);
                let mut state = self.shared.lock();
                if state.closing.is_some() {
                    return Poll::Ready(None);
                }
                state.driver = Some(cx.waker().clone());
            }
            done
        })
        .await
    }

    /// Saves what is published while there is no connection. An error is met again, and told, on the next one.
    fn save_offline(&self, cx: &mut Context<'_>) {
        let mut saver = self.saver();
        if saver.poll(cx, &self.shared).is_pending() {
            return;
        }
        let mut state = self.shared.lock();
        if state.machine.is_online() || state.is_saved() {
            return;
        }
        state.drain(&self.shared.limits);
        let (records, upto) = (std::mem::take(&mut state.records), state.machine.next_number());
        drop(state);
        if let Err(error) = saver.start(records, upto, &self.shared) {
            self.shared.lock().tell(&Event::StoreFailed(Arc::new(error)));
        }
        // Registers the waker of the task, if there is one.
        let _ = saver.poll(cx, &self.shared);
    }

    fn saver(&self) -> MutexGuard<'_, Saver> {
        self.saver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One attempt at one server: transport, CONNECT, CONNACK. A server that knows no 5.0 is asked in 3.1.1.
    async fn connect(&self, server: &crate::Server) -> Result<Link, ConnectError> {
        loop {
            let attempt = tokio::time::timeout(self.options.connect_timeout, self.handshake(server)).await;
            let result =
                attempt.unwrap_or_else(|_| Err(ConnectError::Timeout { server: server.to_string() }));
            let Err(error) = result else { return result };
            let mut state = self.shared.lock();
            let version = state.machine.version();
            state.machine.closed();
            let unsupported = match &error {
                ConnectError::Refused(refusal) => refusal.reason == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
                // Some old servers just hang up.
                ConnectError::Disconnected(Disconnected::Eof) => true,
                ConnectError::Disconnected(Disconnected::Io(error)) => {
                    error.kind() == std::io::ErrorKind::ConnectionReset
                }
                _ => false,
            };
            // A server that spoke 5.0 before is only in trouble.
            let never_v5 = state.last_connected.as_ref().is_none_or(|last| !last.version.is_v5());
            if self.options.version == Version::Auto && unsupported && version.is_v5() && never_v5 {
                state.machine.set_version(ProtocolVersion::V311);
                continue;
            }
            if self.options.version == Version::Auto && !matches!(error, ConnectError::Refused(_)) {
                state.machine.set_version(ProtocolVersion::V5);
            }
            return Err(error);
        }
    }

    async fn handshake(&self, server: &crate::Server) -> Result<Link, ConnectError> {
        let transport = self.connector.connect(server).await?;
        let mut link = Link::new(transport);
        self.shared.lock().machine.opened(self.shared.now());
        match poll_fn(|cx| link.poll(self, cx, true)).await {
            None => Ok(link),
            Some(Disconnected::Refused(refusal)) => Err(ConnectError::Refused(refusal)),
            Some(why) => Err(ConnectError::ended(server, why)),
        }
    }

    async fn serve(&self, mut link: Link) -> Disconnected {
        let why = poll_fn(|cx| link.poll(self, cx, false)).await;
        link.shutdown().await;
        why.unwrap_or(Disconnected::Eof)
    }
}

/// One transport and what is on its way through it.
struct Link {
    transport: Box<dyn Transport>,
    sending: Vec<u8>,
    sent: usize,
    /// Written bytes may still stand in a buffer of the transport.
    flush: bool,
    ended: Option<Disconnected>,
    /// Since when nothing could be written, although the program wants the end.
    stalled: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

/// How long somebody who wants the end waits for a server that takes nothing.
const GOODBYE: Duration = Duration::from_secs(3);

impl Link {
    fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            transport,
            sending: Vec::new(),
            sent: 0,
            flush: false,
            ended: None,
            stalled: None,
            sleep: Box::pin(sleep_until(Instant::now())),
        }
    }

    /// Reads and writes until nothing goes any more. Ready when the connection ended, or, `until_online`, with `None`
    /// when CONNACK came.
    fn poll(
        &mut self,
        driver: &Driver,
        cx: &mut Context<'_>,
        until_online: bool,
    ) -> Poll<Option<Disconnected>> {
        let shared = &*driver.shared;
        for _ in 0..TURNS {
            if until_online && self.ended.is_none() && shared.lock().machine.is_online() {
                return Poll::Ready(None);
            }
            let wrote = match self.poll_write(driver, cx) {
                Ok(wrote) => wrote,
                Err(error) => {
                    // The server may have said why before it hung up.
                    while self.ended.is_none() && matches!(self.poll_read(shared, cx), Ok(true)) {}
                    return Poll::Ready(Some(self.ended.take().unwrap_or(error)));
                }
            };
            if self.stalled.is_some_and(|since| since.elapsed() >= GOODBYE) {
                return Poll::Ready(Some(self.ended.take().unwrap_or(Disconnected::ByUs)));
            }
            if self.ended.is_some() && self.sent == self.sending.len() && !self.flush {
                return Poll::Ready(self.ended.take());
            }
            let read = match self.poll_read(shared, cx) {
                Ok(read) => read,
                Err(error) => return Poll::Ready(Some(self.ended.take().unwrap_or(error))),
            };
            let due = self.poll_timer(shared, cx);
            if !wrote && !read && !due && self.park(shared, cx) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Fetches what is to be sent and writes as much as the transport takes.
    fn poll_write(&mut self, driver: &Driver, cx: &mut Context<'_>) -> Result<bool, Disconnected> {
        let shared = &*driver.shared;
        let failed = |error| Disconnected::Store(Arc::new(error));
        let mut saver = driver.saver();
        if saver.poll(cx, shared).map_err(failed)?.is_pending() {
            self.stalled = self.stalled.map(|_| Instant::now()); // the disk is slow, not the server
            return Ok(false);
        }
        if self.sent == self.sending.len() {
            self.sending.clear();
            self.sent = 0;
            let mut state = shared.lock();
            if let Some(closing) = state.closing.clone() {
                state.machine.disconnect(closing.reason, closing.properties.as_properties());
            }
            self.note(state.drain(&shared.limits));
            state.machine.transmit(&mut self.sending);
            state.wake_for_room(&shared.limits);
            let (records, upto) = (std::mem::take(&mut state.records), state.machine.next_number());
            drop(state);
            saver.start(records, upto, shared).map_err(failed)?;
            if saver.poll(cx, shared).map_err(failed)?.is_pending() {
                self.stalled = self.stalled.map(|_| Instant::now());
                return Ok(false);
            }
        }
        drop(saver);
        let before = self.sent;
        let mut blocked = false;
        while self.sent < self.sending.len() {
            match Pin::new(&mut self.transport).poll_write(cx, &self.sending[self.sent..]) {
                Poll::Ready(Ok(0)) => return Err(Disconnected::Eof),
                Poll::Ready(Ok(count)) => self.sent += count,
                Poll::Ready(Err(error)) => return Err(Disconnected::Io(Arc::new(error))),
                Poll::Pending => {
                    blocked = true;
                    break;
                }
            }
        }
        let wrote = self.sent - before;
        self.flush |= wrote > 0;
        if self.flush {
            match Pin::new(&mut self.transport).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flush = false,
                Poll::Ready(Err(error)) => return Err(Disconnected::Io(Arc::new(error))),
                Poll::Pending => {}
            }
        }
        if wrote > 0 {
            self.stalled = None;
            let mut state = shared.lock();
            state.written += wrote as u64;
            state.machine.transmitted(shared.now());
            state.wake_all(|state| &mut state.written_wakers);
        }
        Ok(wrote > 0 && !blocked)
    }

    fn poll_read(&mut self, shared: &Shared, cx: &mut Context<'_>) -> Result<bool, Disconnected> {
        if self.ended.is_some() || shared.lock().is_paused(shared.now(), &shared.limits) {
            return Ok(false);
        }
        READ.with_borrow_mut(|read| {
            let mut buffer = ReadBuf::new(read);
            match Pin::new(&mut self.transport).poll_read(cx, &mut buffer) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(error)) => Err(error.into()),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(Disconnected::Eof),
                Poll::Ready(Ok(())) => {
                    let mut state = shared.lock();
                    state.machine.handle_bytes(shared.now(), buffer.filled());
                    self.note(state.drain(&shared.limits));
                    Ok(true)
                }
            }
        })
    }

    fn poll_timer(&mut self, shared: &Shared, cx: &mut Context<'_>) -> bool {
        let due = shared.lock().machine.next_timeout().map(|due| Instant::from_std(shared.instant(due)));
        let goodbye = self.stalled.map(|since| since + GOODBYE);
        let Some(due) = due.into_iter().chain(goodbye).min() else { return false };
        if self.sleep.deadline() != due {
            self.sleep.as_mut().reset(due);
        }
        if self.sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        let mut state = shared.lock();
        state.machine.handle_timeout(shared.now());
        self.note(state.drain(&shared.limits));
        true
    }

    /// Leaves a waker, unless something came up meanwhile.
    fn park(&mut self, shared: &Shared, cx: &Context<'_>) -> bool {
        let mut state = shared.lock();
        if state.closing.is_some() && self.stalled.is_none() {
            self.stalled = Some(Instant::now());
            return false;
        }
        let idle = self.sent == self.sending.len();
        if idle && (state.machine.pending_bytes() > 0 || (state.closing.is_some() && self.ended.is_none())) {
            return false;
        }
        state.driver = Some(cx.waker().clone());
        true
    }

    fn note(&mut self, ended: Option<Disconnected>) {
        if self.ended.is_none() {
            self.ended = ended;
        }
    }

    /// Says goodbye below MQTT (TLS, WebSocket, TCP), for a moment at most.
    async fn shutdown(&mut self) {
        let goodbye = poll_fn(|cx| Pin::new(&mut self.transport).poll_shutdown(cx));
        // Whether it works makes no difference any more.
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }
}

impl From<Refusal> for ConnectError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
