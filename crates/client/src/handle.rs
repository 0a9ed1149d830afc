//! What became of a publication.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    PublishError,
    machine::{Published, Token},
    shared::{Outcome, Shared, Slot, remember},
};

/// Completes when a publication came to its end: QoS 0 when it is written to the transport, QoS 1 with PUBACK, QoS 2
/// with PUBCOMP.
///
/// Dropping it changes nothing for the message.
#[derive(Debug)]
pub struct PublishHandle {
    shared: Arc<Shared>,
    awaited: Awaited,
}

#[derive(Debug)]
enum Awaited {
    /// Bytes of a connection.
    Written {
        generation: u64,
        offset: u64,
    },
    Token(Token),
    Over,
}

impl PublishHandle {
    pub(crate) const fn written(shared: Arc<Shared>, generation: u64, offset: u64) -> Self {
        Self { shared, awaited: Awaited::Written { generation, offset } }
    }

    pub(crate) const fn token(shared: Arc<Shared>, token: Token) -> Self {
        Self { shared, awaited: Awaited::Token(token) }
    }

    /// Whether it would complete at once.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let state = self.shared.lock();
        let settled =
            |generation, offset| state.is_closed() || state.was_written(generation, offset).is_some();
        match self.awaited {
            Awaited::Over => true,
            Awaited::Written { generation, offset } => settled(generation, offset),
            Awaited::Token(token) => match state.slots.get(token) {
                Some(Slot::Publish { outcome: Outcome::Pending, .. }) => false,
                Some(Slot::Publish { outcome: Outcome::Encoded { generation, offset }, .. }) => {
                    settled(*generation, *offset)
                }
                _ => true,
            },
        }
    }
}

impl Future for PublishHandle {
    type Output = Result<Published, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        if let Awaited::Token(token) = this.awaited {
            match state.slots.get_mut(token) {
                Some(Slot::Publish { outcome: Outcome::Encoded { generation, offset }, .. }) => {
                    this.awaited = Awaited::Written { generation: *generation, offset: *offset };
                    state.slots.remove(token);
                }
                Some(Slot::Publish { outcome: Outcome::Done(_), .. }) => {
                    this.awaited = Awaited::Over;
                    if let Slot::Publish { outcome: Outcome::Done(result), .. } = state.slots.remove(token) {
                        return Poll::Ready(result);
                    }
                }
                Some(Slot::Publish { waker, .. }) => {
                    waker.replace(cx.waker().clone());
                    state.waits();
                    return Poll::Pending;
                }
                _ => this.awaited = Awaited::Over,
            }
        }
        let Awaited::Written { generation, offset } = this.awaited else {
            return Poll::Ready(Err(PublishError::Closed));
        };
        match state.was_written(generation, offset) {
            Some(true) => {
                this.awaited = Awaited::Over;
                Poll::Ready(Ok(Published::success()))
            }
            Some(false) => {
                this.awaited = Awaited::Over;
                Poll::Ready(Err(PublishError::ConnectionLost))
            }
            None if state.is_closed() => Poll::Ready(Err(PublishError::ConnectionLost)),
            None => {
                remember(&mut state.written_wakers, cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for PublishHandle {
    fn drop(&mut self) {
        let Awaited::Token(token) = self.awaited else { return };
        let mut state = self.shared.lock();
        match state.slots.get_mut(token) {
            Some(slot @ Slot::Publish { outcome: Outcome::Pending, .. }) => *slot = Slot::Detached,
            Some(Slot::Publish { .. }) => {
                state.slots.remove(token);
            }
            _ => {}
        }
    }
}
