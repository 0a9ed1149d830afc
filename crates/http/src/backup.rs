//! A copy of the running store.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use cork_broker::store::export;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::{
    app::App,
    guard::Admin,
    problem::Problem,
    refused::{ByRole, Managed, Refused},
};

/// Bytes sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that may wait for who reads them: the file is read no faster.
const PIECES_MAX: usize = 4;

/// Writes into an answer.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads the backup any more");
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that is kept, as lines of JSON for `cork store import`: the state of one moment, while the broker goes on. What
/// breaks off is no whole answer.
#[utoipa::path(get, path = "/api/v1/backup", tag = "operating", responses(
    (status = 200, content_type = "application/jsonl", body = String), Refused<(ByRole, Managed)>))]
pub(crate) async fn backup(State(app): State<Arc<App>>, Admin(caller): Admin) -> Result<Response, Problem> {
    let config = app.operator.config();
    if config.in_memory {
        return Err(Problem::conflict("everything is kept in memory: there is no store"));
    }
    let place = Arc::clone(&app.backups).try_acquire_owned();
    let place = place
        .map_err(|_| Problem::unavailable("another backup runs; try again when it is done").after(10))?;
    app.audit(&caller, "backup", "");
    let (sender, mut receiver) = mpsc::channel(PIECES_MAX);
    let data_dir = config.data_dir.clone();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut out = BufWriter::with_capacity(PIECE_BYTES, Pipe(sender.clone()));
        let failed = match export(&data_dir, &mut out) {
            Ok(damages) => {
                for damage in &damages {
                    tracing::error!(target: "store", %damage, "not in the backup, for it is damaged");
                }
                out.flush().err().map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = failed {
            tracing::error!(target: "store", error, "a backup broke off");
            // The answer breaks off, too, so that nobody takes it for a whole one.
            let _ = sender.blocking_send(Err(io::Error::other(error)));
        }
    });
    let pieces = stream::poll_fn(move |context| receiver.poll_recv(context));
    let name = "attachment; filename=\"cork-backup.jsonl\"";
    let headers = [(header::CONTENT_TYPE, "application/jsonl"), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
