//! The client for programs without an async runtime: the same things, waiting on the caller's thread.
//!
//! ```no_run
//! use cork_client::{Options, Publish, blocking::Client};
//!
//! let client = Client::connect(Options::new("mqtt://127.0.0.1")?)?;
//! client.publish(Publish::new("a", "21.5"))?.wait()?;
//! for message in client.subscribe("sensors/#")? {
//!     println!("{} {:?}", message.topic(), message.payload());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use crate::{
    ConnectError, Connected, Disconnect, Event, Granted, Message, Options, Publish, PublishError, Published,
    RequestError, Subscribe, SubscribeError,
};

/// An MQTT client whose methods wait. Clones are handles of the same one; a thread of its own does the work.
#[derive(Clone, Debug)]
pub struct Client {
    inner: crate::Client,
    runtime: tokio::runtime::Handle,
}

/// What became of a publication; see [`PublishHandle`](crate::PublishHandle).
#[derive(Debug)]
pub struct PublishHandle(crate::PublishHandle);

/// The messages of one SUBSCRIBE, an iterator that ends when the client is closed; see
/// [`Subscription`](crate::Subscription).
#[derive(Debug)]
pub struct Subscription(crate::Subscription);

/// Events, an iterator; see [`Events`](crate::Events).
#[derive(Debug)]
pub struct Events(crate::Events);

impl Client {
    /// Connects; see [`Client::connect`](crate::Client::connect).
    ///
    /// # Errors
    /// Why the last server could not be connected to.
    pub fn connect(options: Options) -> Result<Self, ConnectError> {
        let client = Self::launch(options, false)?;
        wait(client.inner.connected_after(0))?;
        Ok(client)
    }

    /// Connects in the background; see [`Client::start`](crate::Client::start).
    ///
    /// # Errors
    /// Options that contradict each other, or name a file that cannot be read.
    pub fn start(options: Options) -> Result<Self, ConnectError> {
        Self::launch(options, true)
    }

    fn launch(options: Options, patient: bool) -> Result<Self, ConnectError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let work = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let failed = ConnectError::Options(format!("cannot start the client's thread: {error}"));
                    return sender.send(Err(failed)).unwrap_or_default();
                }
            };
            let entered = runtime.enter();
            let launched = crate::Client::launch(options, patient);
            drop(entered);
            let shared = launched.as_ref().ok().map(|client| Arc::clone(&client.shared));
            let handle = runtime.handle().clone();
            // The caller waits for it, so it arrives.
            sender.send(launched.map(|inner| Self { inner, runtime: handle })).unwrap_or_default();
            if let Some(shared) = shared {
                runtime.block_on(poll_fn(|cx| shared.poll_closed(cx)));
            }
        };
        thread::Builder::new()
            .name("mqtt-client".into())
            .spawn(work)
            .map_err(|error| ConnectError::Options(format!("cannot start the client's thread: {error}")))?;
        receiver.recv().unwrap_or(Err(ConnectError::Closed))
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    /// Why there will be none.
    pub fn connected(&self) -> Result<Connected, ConnectError> {
        wait(self.inner.connected())
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    /// Takes a message to be sent; waits while the queue is full.
    ///
    /// # Errors
    /// What is wrong with the message, or that the client is closed.
    pub fn publish(&self, publish: Publish) -> Result<PublishHandle, PublishError> {
        wait(self.inner.publish(publish)).map(PublishHandle)
    }

    /// Takes a message to be sent, if there is room.
    ///
    /// # Errors
    /// As [`Client::publish`], and [`PublishError::Full`].
    pub fn try_publish(&self, publish: Publish) -> Result<PublishHandle, PublishError> {
        self.inner.try_publish(publish).map(PublishHandle)
    }

    /// Publishes and waits for the end.
    ///
    /// # Errors
    /// As [`Client::publish`], or what became of the message.
    pub fn deliver(&self, publish: Publish) -> Result<Published, PublishError> {
        wait(self.inner.deliver(publish))
    }

    /// Waits until everything that was taken came to its end.
    ///
    /// # Errors
    /// That the client was closed before.
    pub fn flush(&self) -> Result<(), PublishError> {
        wait(self.inner.flush())
    }

    /// Waits until everything that was taken is in the file store; see [`Client::saved`](crate::Client::saved).
    ///
    /// # Errors
    /// That the client was closed before.
    pub fn saved(&self) -> Result<(), PublishError> {
        wait(self.inner.saved())
    }

    /// How many QoS 1 and 2 publications were taken so far; see [`Client::accepted`](crate::Client::accepted).
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.inner.accepted()
    }

    /// Publications that were taken and did not come to their end.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.inner.unfinished()
    }

    /// Authenticates again; see [`Client::reauthenticate`](crate::Client::reauthenticate).
    #[must_use]
    pub fn reauthenticate(&self) -> bool {
        self.inner.reauthenticate()
    }

    /// Subscribes, and waits for the server's answer.
    ///
    /// # Errors
    /// As [`Client::subscribe`](crate::Client::subscribe).
    pub fn subscribe(&self, subscribe: impl Into<Subscribe>) -> Result<Subscription, SubscribeError> {
        wait(self.inner.subscribe(subscribe)).map(Subscription)
    }

    /// Ends subscriptions.
    ///
    /// # Errors
    /// As [`Client::unsubscribe`](crate::Client::unsubscribe).
    pub fn unsubscribe(
        &self,
        filters: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Granted, SubscribeError> {
        wait(self.inner.unsubscribe(filters))
    }

    /// One question and its answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn request(&self, question: Publish, timeout: Duration) -> Result<Message, RequestError> {
        let _timers = self.runtime.enter();
        wait(self.inner.request(question, timeout))
    }

    /// What becomes of the connection from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events(self.inner.events())
    }

    /// Says DISCONNECT and ends the client.
    pub fn disconnect(&self) {
        wait(self.inner.disconnect());
    }

    /// As [`Client::disconnect`], with a Reason Code and Properties (5.0).
    pub fn disconnect_with(&self, disconnect: Disconnect) {
        wait(self.inner.disconnect_with(disconnect));
    }
}

impl PublishHandle {
    /// Waits for the end.
    ///
    /// # Errors
    /// What became of the message.
    pub fn wait(self) -> Result<Published, PublishError> {
        wait(self.0)
    }

    /// Whether it came to its end.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Subscription {
    /// The server's answer; see [`Subscription::granted`](crate::Subscription::granted).
    #[must_use]
    pub fn granted(&self) -> &[crate::ReasonCode] {
        self.0.granted()
    }

    /// Properties of the server's answer.
    #[must_use]
    pub fn properties(&self) -> crate::Properties<'_> {
        self.0.properties()
    }

    /// The next message, if it comes within `timeout`. `Ok(None)` when the client is closed.
    ///
    /// # Errors
    /// That none came.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, Timeout> {
        wait_until(self.0.next(), Instant::now().checked_add(timeout)).ok_or(Timeout)
    }

    /// The next message if one is there.
    pub fn try_next(&mut self) -> Option<Message> {
        self.0.try_next()
    }
}

impl Iterator for Subscription {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        wait(self.0.next())
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        wait(self.0.next())
    }
}

/// Nothing came in time.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Timeout;

impl std::fmt::Display for Timeout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing came in time")
    }
}

impl std::error::Error for Timeout {}

/// Wakes a thread that waits.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    wait_until(future, None).expect("waits without end")
}

/// What the future gives; `None` when the time comes before.
fn wait_until<T>(future: impl Future<Output = T>, until: Option<Instant>) -> Option<T> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return Some(value);
        }
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(Duration::ZERO) => return None,
            Some(left) => thread::park_timeout(left),
        }
    }
}
