//! Connections that can be cut: a device that loses its power says no DISCONNECT.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use cork_client::{Connecting, Connector, Server, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Makes connections as another connector does, and cuts them.
#[derive(Clone, Debug)]
pub(crate) struct Cuttable {
    inner: Arc<dyn Connector>,
    cut: Arc<Cut>,
}

#[derive(Debug, Default)]
struct Cut {
    is_cut: AtomicBool,
    /// Who waits to read.
    reader: Mutex<Option<Waker>>,
}

impl Cuttable {
    pub(crate) fn new(inner: Arc<dyn Connector>) -> Self {
        Self { inner, cut: Arc::default() }
    }

    /// Ends the connection without a word. There will be no other one.
    pub(crate) fn cut(&self) {
        self.cut.is_cut.store(true, Relaxed);
        let reader = self.cut.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Connector for Cuttable {
    fn connect<'a>(&'a self, server: &'a Server) -> Connecting<'a> {
        Box::pin(async move {
            let inner = self.inner.connect(server).await?;
            Ok(Box::new(Line { inner, cut: Arc::clone(&self.cut) }) as Box<dyn Transport>)
        })
    }
}

/// One connection.
struct Line {
    inner: Box<dyn Transport>,
    cut: Arc<Cut>,
}

impl Line {
    fn alive(&self) -> io::Result<()> {
        if self.cut.is_cut.load(Relaxed) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.alive()?;
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if polled.is_pending() {
            let mut reader = self.cut.reader.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *reader {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        polled
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.alive()?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive()?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// A goodbye of TLS or WebSocket is one, too.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive()?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
