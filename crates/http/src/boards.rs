//! What the dashboard saves. The broker keeps it and does not look into it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    app::App,
    extract::Body,
    guard::{Admin, Caller},
    keep,
    operate::Items,
    problem::Problem,
    refused::{Asked, Broker, ByRole, Managed, Missing, Refused, Sent},
    time,
};

/// The file in the data directory.
const FILE: &str = "boards.json";
/// Boards there may be.
const BOARDS_MAX: usize = 200;
/// What one may take, in bytes of JSON.
const BOARD_BYTES_MAX: usize = 256 << 10;
/// Bytes of a name.
const NAME_MAX: usize = 200;

/// All boards, and where they are kept.
#[derive(Debug, Default)]
pub(crate) struct Boards {
    /// None: in memory only.
    file: Option<PathBuf>,
    boards: BTreeMap<String, Board>,
}

/// One board.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Board {
    name: String,
    /// Counts its changes.
    revision: u64,
    updated: String,
    /// Who changed it last.
    by: Option<String>,
    #[schema(value_type = Object)]
    content: Value,
}

/// A board without what it shows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BoardHead {
    id: String,
    name: String,
    revision: u64,
    updated: String,
    by: Option<String>,
}

/// A board with what it shows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BoardView {
    #[serde(flatten)]
    head: BoardHead,
    #[schema(value_type = Object)]
    content: Value,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBoard {
    name: String,
    #[schema(value_type = Object)]
    content: Value,
    /// The present one; 0 for a new board.
    revision: u64,
}

impl Board {
    fn head(&self, id: &str) -> BoardHead {
        let Self { name, revision, updated, by, content: _ } = self.clone();
        BoardHead { id: id.to_owned(), name, revision, updated, by }
    }
}

impl Boards {
    /// Those of a data directory; without one they are kept in memory.
    pub(crate) fn open(folder: Option<&FilePath>) -> io::Result<Self> {
        let Some(file) = folder.map(|folder| folder.join(FILE)) else { return Ok(Self::default()) };
        let boards = match keep::read(&file)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                io::Error::other(format!("`{}` is damaged ({error}); move it away", file.display()))
            })?,
            None => BTreeMap::new(),
        };
        Ok(Self { file: Some(file), boards })
    }

    fn save(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| keep::write(file, &serde_json::to_vec(&self.boards)?))
    }

    /// Changes the boards, on the disk too, or not at all.
    fn change<T>(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<String, Board>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let before = self.boards.clone();
        let done = change(&mut self.boards)?;
        if let Err(error) = self.save() {
            self.boards = before;
            return Err(Problem::unavailable(format!("the boards cannot be saved: {error}")));
        }
        Ok(done)
    }
}

fn missing(id: &str) -> Problem {
    Problem::not_found(format!("there is no board `{}`", id.escape_debug()))
}

/// All boards.
#[utoipa::path(get, path = "/api/v1/boards", tag = "boards", responses(
    (status = 200, body = Items<BoardHead>), Refused<()>))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Caller) -> Json<Items<BoardHead>> {
    let boards = app.boards();
    Json(Items { items: boards.boards.iter().map(|(id, board)| board.head(id)).collect() })
}

/// One board.
#[utoipa::path(get, path = "/api/v1/boards/{id}", tag = "boards", params(("id" = String, Path)), responses(
    (status = 200, body = BoardView), Refused<(Asked, Missing)>))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(id): Path<String>,
) -> Result<Json<BoardView>, Problem> {
    let boards = app.boards();
    let board = boards.boards.get(&id).ok_or_else(|| missing(&id))?;
    Ok(Json(BoardView { head: board.head(&id), content: board.content.clone() }))
}

/// Save a board.
#[utoipa::path(put, path = "/api/v1/boards/{id}", tag = "boards", params(("id" = String, Path)),
    request_body = NewBoard, responses(
    (status = 200, body = BoardHead),
    (status = 201, body = BoardHead), Refused<(Sent, ByRole, Managed)>))]
pub(crate) async fn save(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    Body(new): Body<NewBoard>,
) -> Result<Response, Problem> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        return Err(Problem::bad_request("the id of a board is 1 to 64 of a-z, 0-9 and -"));
    }
    if new.name.is_empty() || new.name.len() > NAME_MAX {
        return Err(Problem::bad_request(format!("`name` has 1 to {NAME_MAX} bytes")));
    }
    if !new.content.is_object() {
        return Err(Problem::bad_request("`content` is an object"));
    }
    if serde_json::to_vec(&new.content).map_or(true, |bytes| bytes.len() > BOARD_BYTES_MAX) {
        return Err(Problem::too_large(format!("a board has at most {BOARD_BYTES_MAX} bytes of JSON")));
    }
    let (asker, at) = (Arc::clone(&app), id.clone());
    let by = caller.user.clone();
    let saved = tokio::task::spawn_blocking(move || {
        asker.boards().change(|boards| {
            let present = boards.get(&at).map_or(0, |board| board.revision);
            if present != new.revision {
                return Err(Problem::conflict(format!(
                    "the board is at revision {present} now, not {}; read it again",
                    new.revision
                )));
            }
            if present == 0 && boards.len() >= BOARDS_MAX {
                return Err(Problem::conflict(format!(
                    "there are {BOARDS_MAX} boards, which is all there may be"
                )));
            }
            let updated = time::text(time::now());
            let board = Board { name: new.name, revision: present + 1, updated, by, content: new.content };
            let head = board.head(&at);
            boards.insert(at, board);
            Ok(head)
        })
    });
    let head = saved.await.map_err(|error| Problem::internal(error.to_string()))??;
    app.audit(&caller, "save board", &id);
    let status = if head.revision == 1 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(head)).into_response())
}

/// Delete a board.
#[utoipa::path(delete, path = "/api/v1/boards/{id}", tag = "boards", params(("id" = String, Path)), responses(
    (status = 204), Refused<(Asked, ByRole, Missing, Broker)>))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (asker, at) = (Arc::clone(&app), id.clone());
    let deleted = tokio::task::spawn_blocking(move || {
        asker.boards().change(|boards| boards.remove(&at).map(|_| ()).ok_or_else(|| missing(&at)))
    });
    deleted.await.map_err(|error| Problem::internal(error.to_string()))??;
    app.audit(&caller, "delete board", &id);
    Ok(StatusCode::NO_CONTENT.into_response())
}
