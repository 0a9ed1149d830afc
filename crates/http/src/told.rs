//! How the events of a stream reach who asked for them: as Server-Sent Events or, asked to upgrade, over WebSocket. A browser
//! opens only six connections for requests to one server, over all its windows; WebSockets are not among them.

use std::{convert::Infallible, pin::pin, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{
        FromRequestParts,
        ws::{Message as Frame, WebSocket, WebSocketUpgrade},
    },
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{sleep, timeout};

use crate::problem::Problem;

/// After so long without a word a sign of life is sent: so a reader that has gone is noticed.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// What a client may send in one go: nothing but pings is expected. The default is to put together 64 MiB.
const CLIENT_BYTES_MAX: usize = 4096;

/// A longer event is not copied once more so that it is in one piece.
const COPIED_MAX: usize = 16 << 10;

/// An event: its name, and JSON, which is one line.
pub(crate) type Told = (&'static str, String);

/// Which way the caller wants the events.
pub(crate) struct Way(Option<WebSocketUpgrade>);

impl<S: Send + Sync> FromRequestParts<S> for Way {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match WebSocketUpgrade::from_request_parts(parts, state).await {
            Ok(upgrade) => Ok(Self(Some(upgrade))),
            Err(error) if parts.headers.contains_key(header::UPGRADE) => {
                Err(Problem::bad_request(format!("the upgrade to WebSocket: {error}")))
            }
            Err(_) => Ok(Self(None)),
        }
    }
}

impl Way {
    /// The answer that tells `events` as they come, and ends with them.
    pub(crate) fn tell(self, events: impl Stream<Item = Told> + Send + 'static) -> Response {
        match self.0 {
            Some(upgrade) => upgrade
                .read_buffer_size(CLIENT_BYTES_MAX)
                .max_frame_size(CLIENT_BYTES_MAX)
                .max_message_size(CLIENT_BYTES_MAX)
                .on_upgrade(move |socket| over_websocket(socket, events)),
            None => {
                let told = stream::unfold(Box::pin(events), |mut events| async move {
                    let pieces = match timeout(SILENCE_MAX, events.next()).await {
                        Ok(told) => server_sent(told?),
                        Err(_) => vec![Bytes::from_static(b":\n\n")], // a comment
                    };
                    Some((stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)), events))
                });
                let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
                (head, Body::from_stream(told.flatten())).into_response()
            }
        }
    }
}

/// A Server-Sent Event.
fn server_sent((name, text): Told) -> Vec<Bytes> {
    let head = format!("event: {name}\ndata: ");
    let end = "\n\n";
    if text.len() > COPIED_MAX {
        return vec![head.into(), text.into(), Bytes::from_static(end.as_bytes())];
    }
    vec![[&*head, &*text, end].concat().into()]
}

async fn over_websocket(mut socket: WebSocket, events: impl Stream<Item = Told>) {
    let mut events = pin!(events);
    loop {
        tokio::select! {
            told = events.next() => {
                let Some((name, text)) = told else { break };
                let frame = ["{\"event\":\"", name, "\",\"data\":", &text, "}"].concat();
                if socket.send(Frame::Text(frame.into())).await.is_err() {
                    return;
                }
            }
            // Pings are answered by it; nothing else is expected.
            frame = socket.recv() => match frame {
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            () = sleep(SILENCE_MAX) => {
                if socket.send(Frame::Ping(Vec::new().into())).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = socket.send(Frame::Close(None)).await;
}
