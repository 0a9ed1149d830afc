//! The log, the configuration, a reload, who changed what.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cork_broker::config::{LogLevel, Subsystem};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::{sync::broadcast::error::RecvError, time::timeout};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extract::{Body, Params},
    guard::{Admin, Caller},
    logbook::LogLine,
    problem::Problem,
    refused::{Asked, Broker, ByRole, Limited, Managed, Refused, Sent},
    time,
    told::Way,
};

/// Changes that are kept in memory; all are in the log.
const AUDIT_MAX: usize = 1000;

/// How often it is looked whether who follows the log still may.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A list that is not long.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Items<T> {
    pub(crate) items: Vec<T>,
}

/// One key of the configuration in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Entry {
    key: String,
    value: String,
    /// `cork.toml:12`, a flag, or `default`.
    origin: String,
}

/// The configuration in force.
#[utoipa::path(get, path = "/api/v1/config", tag = "operating", responses(
    (status = 200, body = Items<Entry>), Refused<ByRole>))]
pub(crate) async fn config(State(app): State<Arc<App>>, _: Admin) -> Json<Items<Entry>> {
    let entries = app.operator.config().entries().into_iter();
    Json(Items { items: entries.map(|(key, value, origin)| Entry { key, value, origin }).collect() })
}

/// What a reload did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reloaded {
    /// What changed and holds now.
    changed: Vec<String>,
    /// What changed and holds after a restart.
    needs_restart: Vec<String>,
}

/// Read the configuration again.
#[utoipa::path(post, path = "/api/v1/reload", tag = "operating", responses(
    (status = 200, body = Reloaded), Refused<(ByRole, Managed)>))]
pub(crate) async fn reload(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
) -> Result<Json<Reloaded>, Problem> {
    let host = app.host()?;
    app.audit(&caller, "reload", "");
    let done = tokio::task::spawn_blocking(move || host.reload()).await;
    let done = done.map_err(|error| Problem::internal(error.to_string()))?.map_err(Problem::conflict)?;
    let needs_restart = done.needs_restart.iter().map(ToString::to_string).collect();
    Ok(Json(Reloaded { changed: done.changed, needs_restart }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// 1 to 1000. Default: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `error`, `warn`, `info`, `debug` or `trace`: this and more important ones.
    level: Option<String>,
    /// `broker`, `net`, `client`, `access`, `store`.
    subsystem: Option<String>,
    /// Part of the text or of a field.
    search: Option<String>,
}

/// Which lines.
#[derive(Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// `error`, `warn`, `info`, `debug` or `trace`: this and more important ones.
    level: Option<String>,
    /// `broker`, `net`, `client`, `access`, `store`.
    subsystem: Option<String>,
    /// Part of the text or of a field.
    search: Option<String>,
}

const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

impl Filter {
    fn judge(mut self) -> Result<Self, Problem> {
        self.level = self.level.map(|level| level.to_ascii_uppercase());
        match &self.level {
            Some(level) if !LEVELS.contains(&level.as_str()) => {
                Err(Problem::bad_request("`level` is error, warn, info, debug or trace"))
            }
            _ => Ok(self),
        }
    }

    fn takes(&self, line: &LogLine) -> bool {
        let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
        self.level.as_deref().is_none_or(|level| rank(line.level) <= rank(level))
            && self.subsystem.as_deref().is_none_or(|subsystem| line.subsystem == subsystem)
            && self.search.as_deref().is_none_or(|part| {
                line.message.contains(part)
                    || line
                        .fields
                        .iter()
                        .any(|(_, value)| value.as_str().is_some_and(|text| text.contains(part)))
            })
    }
}

/// The last log lines, oldest first.
#[utoipa::path(get, path = "/api/v1/log", tag = "operating", params(Wanted), responses(
    (status = 200, body = Items<LogLine>), Refused<(Asked, ByRole)>))]
pub(crate) async fn log(
    State(app): State<Arc<App>>,
    _: Admin,
    Params(Wanted { limit, level, subsystem, search }): Params<Wanted>,
) -> Result<Json<Items<LogLine>>, Problem> {
    let filter = Filter { level, subsystem, search }.judge()?;
    let limit = crate::extract::limit(limit)?;
    Ok(Json(Items { items: app.log.last(limit, |line| filter.takes(line)) }))
}

/// Log lines as they are written: events `line`, and `skipped` if the reader is too slow. Asked to upgrade, over WebSocket.
#[utoipa::path(get, path = "/api/v1/log/stream", tag = "operating", params(Filter), responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 101, description = "WebSocket: each text frame is `{\"event\", \"data\"}`"),
    Refused<(Asked, ByRole, Limited)>))]
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    way: Way,
    Params(filter): Params<Filter>,
) -> Result<Response, Problem> {
    let (filter, place) = (filter.judge()?, app.stream_place()?);
    let state = (app.log.follow(), app, caller, filter, place);
    let events = stream::unfold(state, |(mut lines, app, caller, filter, place)| async move {
        let event = loop {
            let Ok(line) = timeout(LOOK_EVERY, lines.recv()).await else {
                if app.still_holds(&caller) {
                    continue;
                }
                return None;
            };
            match line {
                Ok(line) => {
                    let line = line.to_line();
                    if filter.takes(&line) {
                        break ("line", serde_json::to_string(&line).unwrap_or_default());
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    break ("skipped", serde_json::json!({ "lines": missed }).to_string());
                }
                Err(RecvError::Closed) => return None,
            }
        };
        let holds = app.still_holds(&caller);
        holds.then_some((event, (lines, app, caller, filter, place)))
    });
    Ok(way.tell(events))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Level {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    level: String,
    /// `broker`, `net`, `client`, `access` or `store`; null: all.
    subsystem: Option<String>,
}

/// Write more, or less, to the log until the next reload or restart.
#[utoipa::path(put, path = "/api/v1/log/level", tag = "operating", request_body = Level, responses(
    (status = 204), Refused<(Sent, ByRole, Broker)>))]
pub(crate) async fn set_level(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Body(Level { level, subsystem }): Body<Level>,
) -> Result<Response, Problem> {
    use LogLevel::{Debug, Error, Info, Off, Trace, Warn};
    let chosen = [Off, Error, Warn, Info, Debug, Trace].into_iter().find(|known| known.as_str() == level);
    let chosen =
        chosen.ok_or_else(|| Problem::bad_request("`level` is off, error, warn, info, debug or trace"))?;
    let which =
        match subsystem.as_deref() {
            None => None,
            Some(name) => {
                let known = Subsystem::ALL.into_iter().find(|known| known.as_str() == name);
                Some(known.ok_or_else(|| {
                    Problem::bad_request("`subsystem` is broker, net, client, access or store")
                })?)
            }
        };
    let host = app.host()?;
    app.audit(&caller, "log level", &format!("{}: {level}", subsystem.as_deref().unwrap_or("all")));
    let done = tokio::task::spawn_blocking(move || host.set_log_level(which, chosen)).await;
    done.map_err(|error| Problem::internal(error.to_string()))?.map_err(Problem::unavailable)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A change somebody made.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Change {
    time: String,
    /// Null: there were no users.
    user: Option<String>,
    address: String,
    action: String,
    detail: String,
}

/// The last changes made over HTTP, oldest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "operating", responses(
    (status = 200, body = Items<Change>), Refused<ByRole>))]
pub(crate) async fn audit(State(app): State<Arc<App>>, _: Admin) -> Json<Items<Change>> {
    Json(Items { items: app.changes().iter().cloned().collect() })
}

impl App {
    /// Notes a change somebody makes, here and in the log.
    pub(crate) fn audit(&self, caller: &Caller, action: &str, detail: &str) {
        let (user, address) = (caller.user.as_deref().unwrap_or("-"), caller.peer.to_string());
        tracing::info!(target: "access", user, address, action, detail, "changed over HTTP");
        let mut changes: std::sync::MutexGuard<'_, VecDeque<Change>> = self.changes();
        if changes.len() == AUDIT_MAX {
            changes.pop_front();
        }
        changes.push_back(Change {
            time: time::text(time::now()),
            user: caller.user.clone(),
            address,
            action: action.to_owned(),
            detail: detail.to_owned(),
        });
    }
}
