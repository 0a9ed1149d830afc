//! From a socket to the router: a limit on connections, on slow requests, and an end to all of it.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use crate::guard::Peer;

/// Connections at once over all listeners.
pub(crate) const CONNECTIONS_MAX: usize = 512;
/// A request's head must be complete in this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long accepting rests when there is no descriptor left.
const REST: Duration = Duration::from_millis(200);

/// Serves a listener until the task is aborted; its connections end with it.
pub(crate) async fn serve(listener: TcpListener, router: Router, places: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(target: "net", %error, "accepting an HTTP connection failed");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        let router = router.clone().layer(Extension(Peer(peer.ip().to_canonical())));
        connections.spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router))
                .with_upgrades();
            // A client that goes away is nothing to report.
            let _ = connection.await;
            drop(place);
        });
    }
}
