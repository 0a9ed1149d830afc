//! MQTT in WebSocket frames, over any byte stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use cork_net::WebSocketClient;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose bytes travel in binary frames.
pub(crate) struct WebSocket<T> {
    inner: T,
    framing: WebSocketClient,
    /// Frames on their way out.
    out: Vec<u8>,
    written: usize,
    /// Payload that was read and not handed on.
    payload: Vec<u8>,
    taken: usize,
    raw: Box<[u8]>,
}

/// Payload of one frame at most.
const FRAME_BYTES: usize = 64 * 1024;

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocket<T> {
    /// Shakes hands. `host` as the `Host` field has it.
    pub(crate) async fn connect(inner: T, host: &str, path: &str) -> Result<Self, String> {
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        let framing = WebSocketClient::new(host, path, random, &mut out);
        let raw = vec![0; FRAME_BYTES].into();
        let mut this = Self { inner, framing, out, written: 0, payload: Vec::new(), taken: 0, raw };
        std::future::poll_fn(|cx| this.poll_open(cx)).await.map_err(|error| error.to_string())?;
        Ok(this)
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        while !self.framing.is_open() {
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is framed.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once; the number of raw bytes, 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.raw);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        let payload = &mut self.payload;
        let received = self.framing.receive(buffer.filled(), &mut self.out, &mut |bytes| {
            payload.extend_from_slice(bytes);
        });
        Poll::Ready(received.map(|()| count).map_err(io::Error::other))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.payload.len() == this.taken {
            this.payload.clear();
            this.taken = 0;
            let end = this.framing.closed() || ready!(this.poll_fill(cx))? == 0;
            // PONG, and the answer to CLOSE; what does not fit now goes with the next write.
            if this.poll_drain(cx)?.is_ready() && Pin::new(&mut this.inner).poll_flush(cx)?.is_pending() {
                cx.waker().wake_by_ref();
            }
            if end {
                break;
            }
        }
        let rest = &this.payload[this.taken..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        this.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let count = bytes.len().min(FRAME_BYTES);
        this.framing.send(&bytes[..count], &mut this.out);
        // The frame is taken; whether it left shows at the next call.
        let _ = this.poll_drain(cx)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.framing.close(1000, &mut this.out);
        ready!(this.poll_drain(cx))?;
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
