//! Bridges and sinks: how they are, and changing them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cork_broker::{
    Answer, Config, Query, SessionView,
    config::{self, MANAGED_FILE, Origin, sinks::Target},
    managed::{Edit, Kind, settings, without_secret},
};
use cork_store::{LANE_SUFFIX, WallTime};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    extract::Body,
    guard::{Admin, Caller},
    manage::{by_hand, table},
    operate::Items,
    problem::Problem,
    refused::{Asked, Broker, ByRole, Managed, Missing, Refused, Sent},
    time,
};

/// A bridge or a sink.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LinkView {
    pub(crate) name: String,
    /// `mqtt`, `mongodb`, `postgresql`, `sqlite`, `influxdb` or `http`.
    r#type: &'static str,
    /// Without secrets.
    target: String,
    /// `connecting`, `online`, `waiting`; of sinks `starting`, `working`, `waiting`; `unknown` at first.
    pub(crate) state: String,
    /// Since when a bridge is online, or is not; since when a sink is in its state.
    since: Option<String>,
    pub(crate) last_error: Option<String>,
    last_error_at: Option<String>,
    pub(crate) backlog_messages: u64,
    backlog_bytes: u64,
    /// How long the first message waits.
    oldest_seconds: Option<u64>,
    /// Messages that got across, or rows saved, since the start.
    passed: u64,
    /// Messages or rows that were refused, since the start.
    failed: u64,
    /// How many wait; null for bridges.
    dead_letters: Option<u64>,
    filters: Vec<String>,
    /// Whether it can be changed here.
    managed: bool,
    /// Where it was written by hand.
    origin: Option<String>,
}

/// What a link is made of, as far as it can be shown.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkSettings {
    name: String,
    managed: bool,
    origin: Option<String>,
    /// Its keys without secrets; null for one that was written by hand.
    #[schema(value_type = Object)]
    settings: Option<serde_json::Value>,
}

/// What a configuration says of a link.
struct Said<'c> {
    name: &'c str,
    kind: &'static str,
    target: String,
    filters: Vec<String>,
    origin: &'c Origin,
}

fn bridges(config: &Config) -> Vec<Said<'_>> {
    let said = |bridge: &'_ config::Bridge| {
        let urls: Vec<String> = bridge.urls.iter().map(|url| without_secret(url)).collect();
        let topics = bridge.topics.iter();
        (urls.join(", "), topics.map(|topic| format!("{}{}", topic.local_prefix, topic.filter)).collect())
    };
    let all = config.bridges.iter().map(|bridge| {
        let (target, filters) = said(bridge);
        Said { name: &bridge.name, kind: "mqtt", target, filters, origin: &bridge.origin }
    });
    all.collect()
}

fn sinks(config: &Config) -> Vec<Said<'_>> {
    let target = |target: &Target| match target {
        Target::Mongodb { url, .. }
        | Target::Postgresql { url, .. }
        | Target::Influxdb { url, .. }
        | Target::Http { url, .. } => url.to_string(),
        Target::Sqlite { path, .. } => format!("sqlite://{}", path.display()),
    };
    let all = config.sinks.iter().map(|sink| Said {
        name: &sink.name,
        kind: sink.target.as_str(),
        target: target(&sink.target),
        filters: sink.filters.clone(),
        origin: &sink.origin,
    });
    all.collect()
}

impl App {
    /// All links of a kind, as they are now.
    pub(crate) async fn links(&self, kind: Kind) -> Result<Vec<LinkView>, Problem> {
        let config = self.operator.config();
        let of_config = if kind == Kind::Bridge { bridges(&config) } else { sinks(&config) };
        if of_config.is_empty() {
            return Ok(Vec::new());
        }
        let said = self.said(&format!("$SYS/broker/{}/", kind.as_str())).await?;
        let mut views = Vec::new();
        for link in of_config {
            views.push(self.link(kind, &config, &link, &said).await?);
        }
        Ok(views)
    }

    async fn link(
        &self,
        kind: Kind,
        config: &Config,
        link: &Said<'_>,
        said: &BTreeMap<String, String>,
    ) -> Result<LinkView, Problem> {
        let name = link.name;
        let text = |key: &str| said.get(&format!("{name}/{key}")).filter(|text| !text.is_empty()).cloned();
        let number = |key: &str| text(key).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        let id = format!("$cork/{}/{name}", kind.as_str());
        // A bridge may have a second session; its figures below `$SYS` are those of both.
        let waiting = [self.session(&id).await?, self.session(&format!("{id}{LANE_SUFFIX}")).await?];
        let waiting = || waiting.iter().flatten();
        let is_bridge = kind == Kind::Bridge;
        let dead = match is_bridge {
            true => None,
            false => {
                let letters = self.session(&format!("$cork/dead/{name}")).await?;
                Some(letters.map_or(0, |session| session.queued_messages + session.in_flight as u64))
            }
        };
        let (passed, failed) = if is_bridge {
            let refused = number("messages/refused/remote") + number("messages/refused/local");
            let failed = refused + number("messages/dropped/disconnected");
            (number("messages/out") + number("messages/in"), failed)
        } else {
            (number("rows/saved"), number("rows/dead"))
        };
        let now = time::now();
        let age = |at: WallTime| now.0.saturating_sub(at.0) / 1_000_000;
        let time_of = |key: &str| {
            let seconds = text(key)?.parse::<u64>().ok().filter(|seconds| *seconds > 0)?;
            Some(time::text(WallTime(seconds.saturating_mul(1_000_000))))
        };
        Ok(LinkView {
            name: name.to_owned(),
            r#type: link.kind,
            target: link.target.clone(),
            state: text("state").unwrap_or_else(|| "unknown".to_owned()),
            since: time_of("since"),
            last_error: text("last_error"),
            last_error_at: time_of("last_error_at"),
            backlog_messages: waiting().map(|it| it.queued_messages + it.in_flight as u64).sum(),
            backlog_bytes: waiting().map(|it| it.queued_bytes).sum(),
            oldest_seconds: waiting().filter_map(|it| it.queued_since).min().map(age),
            passed,
            failed,
            dead_letters: dead,
            filters: link.filters.clone(),
            managed: config.is_managed(link.origin),
            origin: by_hand(link.origin).filter(|_| !config.is_managed(link.origin)),
        })
    }

    /// One Session.
    async fn session(&self, client_id: &str) -> Result<Option<Box<SessionView>>, Problem> {
        let home = self.operator.probe().home(client_id);
        match self.ask(home, Query::Session { client_id: client_id.into() }).await? {
            Answer::Session(session) => Ok(session),
            _ => Err(Problem::internal("another answer than was asked for")),
        }
    }

    async fn set_link(
        &self,
        caller: &Caller,
        kind: Kind,
        name: String,
        body: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Response, Problem> {
        let before = self.links(kind).await?;
        let is_new = !before.iter().any(|link| link.name == name);
        let edit = Edit::Part { kind, name: name.clone(), table: table(body)? };
        self.manage(caller, &format!("set {}", kind.as_str()), &name, edit).await?;
        let now = self.links(kind).await?;
        let link = now.into_iter().find(|link| link.name == name);
        let link = link.ok_or_else(|| Problem::conflict("somebody else removed it at once"))?;
        Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(link)).into_response())
    }

    pub(crate) async fn remove(
        &self,
        caller: &Caller,
        kind: Kind,
        name: String,
    ) -> Result<Response, Problem> {
        let edit = Edit::Remove { kind, name: name.clone() };
        self.manage(caller, &format!("remove {}", kind.as_str()), &name, edit).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn settings(&self, kind: Kind, name: &str) -> Result<LinkSettings, Problem> {
        let config = self.operator.config();
        let all = if kind == Kind::Bridge { bridges(&config) } else { sinks(&config) };
        let link = all.iter().find(|link| link.name == name);
        let link = link.ok_or_else(|| Problem::not_found(format!("there is no such {}", kind.as_str())))?;
        let managed = config.is_managed(link.origin);
        let shown = || -> Option<serde_json::Value> {
            let text = std::fs::read_to_string(config.data_dir.join(MANAGED_FILE)).ok()?;
            let file: toml::Table = text.parse().ok()?;
            let list = file.get(kind.as_str())?.as_array()?;
            let found = list.iter().filter_map(toml::Value::as_table);
            let mut found = found.filter(|it| it.get("name").and_then(toml::Value::as_str) == Some(name));
            serde_json::to_value(settings(found.next()?)).ok()
        };
        Ok(LinkSettings {
            name: name.to_owned(),
            managed,
            origin: by_hand(link.origin).filter(|_| !managed),
            settings: if managed { shown() } else { None },
        })
    }
}

/// The links to other brokers.
#[utoipa::path(get, path = "/api/v1/bridges", tag = "links", responses(
    (status = 200, body = Items<LinkView>), Refused<Broker>))]
pub(crate) async fn list_bridges(
    State(app): State<Arc<App>>,
    _: Caller,
) -> Result<Json<Items<LinkView>>, Problem> {
    Ok(Json(Items { items: app.links(Kind::Bridge).await? }))
}

/// The databases messages are saved to.
#[utoipa::path(get, path = "/api/v1/sinks", tag = "links", responses(
    (status = 200, body = Items<LinkView>), Refused<Broker>))]
pub(crate) async fn list_sinks(
    State(app): State<Arc<App>>,
    _: Caller,
) -> Result<Json<Items<LinkView>>, Problem> {
    Ok(Json(Items { items: app.links(Kind::Sink).await? }))
}

/// What a link to another broker is made of.
#[utoipa::path(get, path = "/api/v1/bridges/{name}", tag = "links", params(("name" = String, Path)),
    responses(
    (status = 200, body = LinkSettings), Refused<(Asked, ByRole, Missing)>))]
pub(crate) async fn show_bridge(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(name): Path<String>,
) -> Result<Json<LinkSettings>, Problem> {
    app.settings(Kind::Bridge, &name).map(Json)
}

/// What a sink is made of.
#[utoipa::path(get, path = "/api/v1/sinks/{name}", tag = "links", params(("name" = String, Path)),
    responses(
    (status = 200, body = LinkSettings), Refused<(Asked, ByRole, Missing)>))]
pub(crate) async fn show_sink(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(name): Path<String>,
) -> Result<Json<LinkSettings>, Problem> {
    app.settings(Kind::Sink, &name).map(Json)
}

/// Make a link to another broker, or change it: the keys of `[[bridge]]`.
#[utoipa::path(put, path = "/api/v1/bridges/{name}", tag = "links", params(("name" = String, Path)),
    request_body = Object, responses(
    (status = 200, body = LinkView),
    (status = 201, body = LinkView), Refused<(Sent, ByRole, Managed)>))]
pub(crate) async fn put_bridge(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(name): Path<String>,
    Body(body): Body<serde_json::Map<String, serde_json::Value>>,
) -> Result<Response, Problem> {
    app.set_link(&caller, Kind::Bridge, name, body).await
}

/// Make a sink, or change it: the keys of `[[sink]]`.
#[utoipa::path(put, path = "/api/v1/sinks/{name}", tag = "links", params(("name" = String, Path)),
    request_body = Object, responses(
    (status = 200, body = LinkView),
    (status = 201, body = LinkView), Refused<(Sent, ByRole, Managed)>))]
pub(crate) async fn put_sink(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(name): Path<String>,
    Body(body): Body<serde_json::Map<String, serde_json::Value>>,
) -> Result<Response, Problem> {
    app.set_link(&caller, Kind::Sink, name, body).await
}

/// Remove a link to another broker, with what waits for it.
#[utoipa::path(delete, path = "/api/v1/bridges/{name}", tag = "links", params(("name" = String, Path)),
    responses(
    (status = 204), Refused<(Asked, ByRole, Missing, Managed)>))]
pub(crate) async fn delete_bridge(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    app.remove(&caller, Kind::Bridge, name).await
}

/// Remove a sink, with what waits for it and its dead letters.
#[utoipa::path(delete, path = "/api/v1/sinks/{name}", tag = "links", params(("name" = String, Path)),
    responses(
    (status = 204), Refused<(Asked, ByRole, Missing, Managed)>))]
pub(crate) async fn delete_sink(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    app.remove(&caller, Kind::Sink, name).await
}
