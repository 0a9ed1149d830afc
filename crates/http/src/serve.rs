//! From a socket to the router: a place for each connection, a limit on slow requests, and an end to all of it.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use axum::{Extension, Router};
use cork_broker::config::{ConfigErrors, Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::{
    guard::{Encrypted, Peer},
    places::Places,
};

/// In this time a TLS handshake must be over, and a request's head complete: from when the connection waits for it, so
/// one that is not used is closed as well.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long accepting rests when there is no descriptor left.
const REST: Duration = Duration::from_millis(200);
/// How often the files of certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The end of a listener, on the side of its task.
pub(crate) struct Closing {
    /// It shall end.
    pub(crate) closing: oneshot::Receiver<()>,
    /// Dropped once it has.
    pub(crate) accepting: mpsc::Sender<()>,
}

/// Serves a listener until it is closed, and its connections to their end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Keys>,
    router: Router,
    places: Arc<Places>,
    Closing { mut closing, accepting }: Closing,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            let free = places.free().await?;
            Some((free, listener.accept().await))
        };
        let next = tokio::select! {
            next = next => next,
            _ = &mut closing => None,
        };
        let Some((free, accepted)) = next else { break };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(target: "net", %error, "accepting an HTTP connection failed");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let Some(place) = places.take(free, peer.ip()) else { continue };
        let _ = socket.set_nodelay(true);
        let router = router.clone().layer(Extension(Peer(peer.ip().to_canonical())));
        let tls = tls.as_ref().map(Keys::now);
        connections.spawn(async move {
            match tls {
                None => converse(socket, router).await,
                Some(config) => {
                    let handshake = TlsAcceptor::from(config).accept(socket);
                    // One that does not come to an end is a matter of the client's.
                    if let Ok(Ok(stream)) = timeout(HEAD_TIMEOUT, handshake).await {
                        converse(stream, router.layer(Extension(Encrypted))).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop((listener, accepting));
    while connections.join_next().await.is_some() {}
}

/// Serves one connection to its end.
async fn converse(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router))
        .with_upgrades();
    // A client that goes away is nothing to report.
    let _ = connection.await;
}

/// Certificate and key of a listener, as its files have them by now.
#[derive(Clone)]
pub(crate) struct Keys {
    listener: Listener,
    now: Arc<Mutex<(u64, Arc<ServerConfig>)>>,
}

impl Keys {
    /// Those of a listener with TLS; none of another one. May block.
    pub(crate) fn read(listener: &Listener) -> Result<Option<Self>, ConfigErrors> {
        let found = listener.tls_server(None)?;
        Ok(found.map(|now| Self { listener: listener.clone(), now: Arc::new(Mutex::new(now)) }))
    }

    fn now(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Looks at the files; new ones hold for new connections. May block.
    pub(crate) fn look(&self) {
        let known = self.now.lock().unwrap_or_else(PoisonError::into_inner).0;
        match self.listener.tls_server(Some(known)) {
            Ok(None) => {}
            Ok(Some(new)) => {
                *self.now.lock().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!(target: "net", listener = %self.listener.url, "other certificates for new connections");
            }
            // Half a renewal; it is said once it matters, at a start or a reload.
            Err(errors) => {
                tracing::debug!(target: "net", listener = %self.listener.url, %errors, "the old certificates stay");
            }
        }
    }

    /// Looks at the files again and again, until the task is aborted.
    pub(crate) async fn watch(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let keys = self.clone();
            let _ = tokio::task::spawn_blocking(move || keys.look()).await;
        }
    }
}
