//! What becomes of the connection.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;

use crate::{ConnectError, Disconnected, machine::Connected, shared::Shared};

/// Something about the connection, for programs that show or log it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The server accepted the client.
    Connected(Box<Connected>),
    /// The connection ended.
    Disconnected(Disconnected),
    /// An attempt failed.
    ConnectFailed(ConnectError),
    /// The next attempt begins in this time.
    Reconnecting(Duration),
    /// The Session was lost, and the server refused to renew this subscription.
    ResubscribeFailed(String),
    /// QoS 0 messages were dropped, because a subscription was not read while the program waited for the server.
    Dropped(u64),
    /// A message matches no subscription of this client and there was no room to keep it for one to come.
    Unclaimed(Arc<str>),
    /// What was published without a connection could not be saved.
    StoreFailed(Arc<std::io::Error>),
    /// A re-authentication succeeded.
    Reauthenticated,
    /// There will be no further attempt.
    Closed,
}

/// Events from the moment of [`Client::events`](crate::Client::events) on; the oldest are lost when 256 wait.
#[derive(Debug)]
pub struct Events {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: usize,
}

/// Events that wait for one reader.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    pub(crate) events: VecDeque<Event>,
    pub(crate) waker: Option<Waker>,
}

/// Events that wait at most.
const EVENTS_MAX: usize = 256;

impl Listener {
    pub(crate) fn push(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

impl Events {
    /// The next event; `None` after [`Event::Closed`].
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.shared.lock();
        let closed = state.is_closed();
        let Some(listener) = state.listeners.get_mut(self.key) else { return Poll::Ready(None) };
        if let Some(event) = listener.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if closed {
            return Poll::Ready(None);
        }
        listener.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.lock().listeners.try_remove(self.key);
    }
}
