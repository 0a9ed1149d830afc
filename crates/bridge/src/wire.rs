//! A relay with its two connections: reads, writes, waits.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use cork_client::Transport;
use cork_proto::Time;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::relay::{Relay, Side};

/// What one read takes at most.
const READ_BYTES: usize = 64 * 1024;

/// Beyond so much that one side does not take, the other is not read.
const OUTPUT_BYTES_MAX: usize = 512 << 10;

/// Reads and writes before other links get their turn.
const TURNS: usize = 16;

/// What happened.
#[derive(Debug)]
pub(crate) enum Step {
    /// This broker is to be connected: [`Wire::connect_local`].
    WantsLocal,
    /// Both sides are subscribed.
    Online,
    /// A side is gone.
    Lost(Side, io::Error),
    /// The relay says why.
    Ended,
    /// Nothing of the above for too long.
    Deadline,
}

struct Socket {
    transport: Box<dyn Transport>,
    /// How much of the relay's output is written.
    written: usize,
    /// Written bytes may still stand in a buffer of the transport.
    flush: bool,
    /// The last write found no room.
    full: bool,
}

/// How a write went.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
struct Wrote {
    any: bool,
    /// There was room again: the other end has taken something.
    drained: bool,
}

/// See the [module](self).
pub(crate) struct Wire {
    pub(crate) relay: Relay,
    remote: Socket,
    local: Option<Socket>,
    buffer: Box<[u8]>,
    sleep: Pin<Box<Sleep>>,
    began: Instant,
    told_online: bool,
}

impl Wire {
    /// `began` is the zero of the relay's time.
    pub(crate) fn new(relay: Relay, remote: Box<dyn Transport>, began: Instant) -> Self {
        Self {
            relay,
            remote: Socket::new(remote),
            local: None,
            buffer: vec![0; READ_BYTES].into(),
            sleep: Box::pin(sleep_until(began)),
            began,
            told_online: false,
        }
    }

    pub(crate) fn connect_local(&mut self, transport: Box<dyn Transport>) {
        self.local = Some(Socket::new(transport));
        self.relay.local_opened(self.now());
    }

    fn now(&self) -> Time {
        time_since(self.began)
    }

    /// Goes on until something happens.
    pub(crate) async fn run(&mut self, deadline: Option<Instant>) -> Step {
        poll_fn(|cx| self.poll(cx, deadline)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<Step> {
        for _ in 0..TURNS {
            // Before the sides: it may have something to write.
            if let Some(step) = self.poll_timer(cx, deadline) {
                return Poll::Ready(step);
            }
            let mut moved = false;
            for side in [Side::Remote, Side::Local] {
                match self.poll_side(side, cx) {
                    Ok(did) => moved |= did,
                    Err(error) => return Poll::Ready(Step::Lost(side, error)),
                }
                // What a relay says after its end must not be written: it may be an acknowledgement too many.
                if self.relay.ended().is_some() {
                    return Poll::Ready(Step::Ended);
                }
            }
            if self.relay.wants_local() && self.local.is_none() {
                return Poll::Ready(Step::WantsLocal);
            }
            if self.relay.is_online() && !self.told_online {
                self.told_online = true;
                return Poll::Ready(Step::Online);
            }
            if !moved {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Option<Step> {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Some(Step::Deadline);
        }
        self.relay.handle_timeout(time_since(self.began));
        if self.relay.ended().is_some() {
            return Some(Step::Ended);
        }
        let due = match self.relay.next_timeout() {
            Time::NEVER => now + Duration::from_secs(3600),
            due => self.began + Duration::from_micros(due.as_micros()),
        };
        let due = deadline.map_or(due, |deadline| due.min(deadline));
        if self.sleep.deadline() != due {
            self.sleep.as_mut().reset(due);
        }
        if self.sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        None
    }

    /// Writes what there is and reads once. Returns whether anything moved.
    fn poll_side(&mut self, side: Side, cx: &mut Context<'_>) -> io::Result<bool> {
        let socket = match side {
            Side::Remote => &mut self.remote,
            Side::Local => match &mut self.local {
                Some(local) => local,
                None => return Ok(false),
            },
        };
        let wrote = match socket.write(self.relay.output(side), cx) {
            Ok(wrote) => wrote,
            Err(error) => return self.last_words(side, error, cx),
        };
        if wrote.any && side == Side::Remote {
            self.relay.wrote_remote(time_since(self.began), wrote.drained);
        }
        if !self.relay.reads(side, OUTPUT_BYTES_MAX) {
            return Ok(wrote.any);
        }
        let mut buffer = ReadBuf::new(&mut self.buffer);
        match Pin::new(&mut socket.transport).poll_read(cx, &mut buffer) {
            Poll::Pending => Ok(wrote.any),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(())) => {
                self.relay.handle(side, time_since(self.began), buffer.filled());
                Ok(true)
            }
        }
    }

    /// Who closes while it is written to may have said why, and what it took before.
    fn last_words(&mut self, side: Side, error: io::Error, cx: &mut Context<'_>) -> io::Result<bool> {
        while side == Side::Remote && self.relay.ended().is_none() {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut self.remote.transport).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.relay.handle(side, time_since(self.began), buffer.filled());
                }
                _ => return Err(error),
            }
        }
        if self.relay.ended().is_some() { Ok(true) } else { Err(error) }
    }

    /// What the other broker acknowledged just before the end, in one breath with it perhaps, is for this broker to know:
    /// sent again, those messages would stand before the one at which the connection ends, each time.
    pub(crate) async fn pass_last_words(&mut self) {
        let Some(local) = &mut self.local else { return };
        let output = self.relay.output(Side::Local);
        // What does not fit at once is sent again, and nothing is wrong with that.
        let _ = poll_fn(|cx| Poll::Ready(local.write(output, cx))).await;
    }

    /// Says goodbye, if the other broker listens.
    pub(crate) async fn close(mut self) {
        self.relay.disconnect();
        let last = async {
            poll_fn(|cx| {
                let output = self.relay.output(Side::Remote);
                match self.remote.write(output, cx) {
                    Ok(_) if !output.is_empty() || self.remote.flush => Poll::Pending,
                    _ => Poll::Ready(()),
                }
            })
            .await;
            poll_fn(|cx| Pin::new(&mut self.remote.transport).poll_shutdown(cx)).await
        };
        // Whoever does not take it finds out all the same.
        let _ = tokio::time::timeout(Duration::from_millis(200), last).await;
    }
}

impl Socket {
    fn new(transport: Box<dyn Transport>) -> Self {
        Self { transport, written: 0, flush: false, full: false }
    }

    fn write(&mut self, output: &mut Vec<u8>, cx: &mut Context<'_>) -> io::Result<Wrote> {
        let (before, was_full) = (self.written, self.full);
        while self.written < output.len() {
            match Pin::new(&mut self.transport).poll_write(cx, &output[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.full = true;
                    break;
                }
            }
        }
        let any = self.written > before;
        self.full &= self.written < output.len();
        self.flush |= any;
        if self.flush && Pin::new(&mut self.transport).poll_flush(cx)?.is_ready() {
            self.flush = false;
        }
        if self.written == output.len() {
            output.clear();
            self.written = 0;
        }
        Ok(Wrote { any, drained: any && was_full })
    }
}

fn time_since(began: Instant) -> Time {
    Time::from_micros(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX))
}
