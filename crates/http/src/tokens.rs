//! Tokens for programs: each acts for a user, with at most that user's role. Only their hashes are kept, in
//! `managed.toml` of the data directory.

use std::{
    collections::BTreeSet,
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
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cork_broker::{config::MANAGED_FILE, managed};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::{
    app::App,
    extract::Body,
    guard::{Admin, Role, same},
    keep,
    login::secret,
    operate::Items,
    problem::Problem,
    refused::{Asked, Broker, ByRole, Managed, Missing, Refused, Sent},
    time,
};

/// What a token begins with, so that one that got lost is known for what it is.
const PREFIX: &str = "cork_";
/// Tokens there may be.
const TOKENS_MAX: usize = 1000;
/// Bytes of a token's name.
const NAME_MAX: usize = 100;

/// All tokens, and where they are kept.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// The data directory; none: in memory only.
    folder: Option<PathBuf>,
    kept: Kept,
}

/// What the file has of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    token: Vec<Token>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    id: String,
    name: String,
    user: String,
    role: Role,
    made: String,
    /// RFC 3339; texts of this form are in the order of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    /// SHA-256 of the token, Base64.
    hash: String,
}

/// A token, without itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenView {
    id: String,
    name: String,
    /// For whom it acts.
    user: String,
    role: Role,
    made: String,
    /// Null: never.
    expires: Option<String>,
    /// Itself, shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    name: String,
    role: Role,
    /// How long it is good, at most ten years; null: for ever.
    seconds: Option<u32>,
}

impl Token {
    fn is_good(&self) -> bool {
        self.expires.as_ref().is_none_or(|expires| *expires > time::text(time::now()))
    }

    fn view(&self) -> TokenView {
        let Self { id, name, user, role, made, expires, hash: _ } = self.clone();
        TokenView { id, name, user, role, made, expires, token: None }
    }
}

fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}

impl Tokens {
    /// Those of a data directory; without one they are kept in memory.
    pub(crate) fn open(folder: Option<&FilePath>) -> io::Result<Self> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let file = folder.join(MANAGED_FILE);
        let kept = match keep::read(&file)? {
            None => Kept::default(),
            Some(bytes) => String::from_utf8(bytes)
                .map_err(|error| error.to_string())
                .and_then(|text| toml::from_str(&text).map_err(|error| error.to_string()))
                .map_err(|error| {
                    io::Error::other(format!("`{}` is not accepted: {error}", file.display()))
                })?,
        };
        Ok(Self { folder: Some(folder.to_owned()), kept })
    }

    /// For whom a token acts, with which role at most, and its id.
    pub(crate) fn find(&self, token: &str) -> Option<(String, Role, String)> {
        let hash = hash(token);
        let found = self.kept.token.iter().find(|known| same(known.hash.as_bytes(), hash.as_bytes()))?;
        found.is_good().then(|| (found.user.clone(), found.role, found.id.clone()))
    }

    /// Whether a token is there and good.
    pub(crate) fn holds(&self, id: &str) -> bool {
        self.kept.token.iter().any(|token| token.id == id && token.is_good())
    }

    /// Removes the tokens of all others.
    pub(crate) fn keep_those_of(&mut self, users: &BTreeSet<Box<str>>) -> Result<(), Problem> {
        let stays = |token: &Token| users.contains(token.user.as_str());
        if self.kept.token.iter().all(stays) {
            return Ok(());
        }
        self.change(|tokens| {
            tokens.retain(stays);
            Ok(())
        })
    }

    /// Changes the tokens, on the disk too, or not at all.
    fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Vec<Token>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut kept = self.kept.clone();
        let done = change(&mut kept.token)?;
        if let Some(folder) = &self.folder {
            let table = toml::Table::try_from(&kept).map_err(|error| Problem::internal(error.to_string()))?;
            let replace = |file: &mut toml::Table| {
                file.remove("token");
                file.extend(table);
                Ok(())
            };
            managed::change(folder, replace, |_| Ok(()))?;
        }
        self.kept = kept;
        Ok(done)
    }
}

/// All tokens, without themselves.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "login", responses(
    (status = 200, body = Items<TokenView>), Refused<ByRole>))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Json<Items<TokenView>> {
    Json(Items { items: app.tokens().kept.token.iter().map(Token::view).collect() })
}

/// Make a token. It is shown in the answer, and never again.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "login", request_body = NewToken, responses(
    (status = 201, body = TokenView), Refused<(Sent, ByRole, Managed)>))]
pub(crate) async fn make(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Body(new): Body<NewToken>,
) -> Result<Response, Problem> {
    let Some(user) = caller.user.clone() else {
        return Err(Problem::conflict("there are no users, so nobody needs a token"));
    };
    if new.name.is_empty() || new.name.len() > NAME_MAX {
        return Err(Problem::bad_request(format!("`name` has 1 to {NAME_MAX} bytes")));
    }
    if new.seconds.is_some_and(|seconds| !(1..=315_360_000).contains(&seconds)) {
        return Err(Problem::bad_request("`seconds` is 1 to 315360000"));
    }
    let token = format!("{PREFIX}{}", secret()?);
    let now = time::now();
    let record = Token {
        id: secret()?[..12].to_owned(),
        name: new.name,
        user,
        role: new.role,
        made: time::text(now),
        expires: new.seconds.map(|seconds| time::text(now.plus_seconds(seconds))),
        hash: hash(&token),
    };
    let view = TokenView { token: Some(token), ..record.view() };
    let asker = Arc::clone(&app);
    let made = tokio::task::spawn_blocking(move || {
        asker.tokens().change(|tokens| {
            tokens.retain(Token::is_good);
            if tokens.len() >= TOKENS_MAX {
                return Err(Problem::conflict(format!(
                    "there are {TOKENS_MAX} tokens, which is all there may be"
                )));
            }
            tokens.push(record);
            Ok(())
        })
    });
    made.await.map_err(|error| Problem::internal(error.to_string()))??;
    app.audit(&caller, "make token", &view.name);
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Delete a token: it is refused from now on.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "login", params(("id" = String, Path)), responses(
    (status = 204), Refused<(Asked, ByRole, Missing, Broker)>))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let asker = Arc::clone(&app);
    let deleted = tokio::task::spawn_blocking(move || {
        asker.tokens().change(|tokens| {
            let at = tokens.iter().position(|token| token.id == id);
            let at = at.ok_or_else(|| Problem::not_found("there is no such token"))?;
            Ok(tokens.remove(at).name)
        })
    });
    let name = deleted.await.map_err(|error| Problem::internal(error.to_string()))??;
    app.audit(&caller, "delete token", &name);
    Ok(StatusCode::NO_CONTENT.into_response())
}
