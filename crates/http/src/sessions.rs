//! Clients and Sessions: who is there, who is away and what is kept for them; and sending them off.
//!
//! A cursor names a shard and a slot in it. Shards are asked one after another, so a page is one question, or a few.

use std::sync::Arc;

use axum::Json;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cork_broker::{
    Answer, ConnectionView as FoundConnection, Encryption, Query, SessionView as Found, Transport,
};
use cork_packet::ProtocolVersion;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extract::{Body, Page, Params, bad_cursor, limit},
    guard::{Admin, Caller},
    problem::Problem,
    refused::{Asked, Broker, ByRole, Missing, Refused, Sent},
    time,
};

/// Questions for one page, at most: a search that finds nothing answers with an empty page and goes on later.
const QUESTIONS_MAX: usize = 64;

/// A Session, with or without connection.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionView {
    client_id: String,
    user: Option<String>,
    /// Whether it is a part of the broker itself: a link, a sink, this API.
    inside: bool,
    connected: bool,
    /// Since when it is connected, or away.
    since: String,
    /// How long it lives without a connection; null: for ever.
    expiry_seconds: Option<u32>,
    /// When it ends, while it is away.
    expires: Option<String>,
    subscriptions: usize,
    in_flight: usize,
    queued_messages: u64,
    queued_bytes: u64,
    /// When the first message that waits came.
    queued_since: Option<String>,
    /// Topic of the Will.
    will: Option<String>,
    connection: Option<ConnectionView>,
}

/// A connection.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionView {
    address: String,
    /// What it goes over: `tcp`, `ws`, `unix`, or `in-process`; null where nobody can say.
    transport: Option<&'static str>,
    /// TLS; null: none.
    tls: Option<TlsView>,
    /// `3.1`, `3.1.1` or `5.0`.
    protocol: &'static str,
    /// Seconds; 0: none.
    keep_alive: u16,
    connected: String,
    last_packet: String,
    /// Bytes that wait for its socket.
    output_bytes: usize,
    /// PUBLISH packets from the client.
    messages_in: u64,
    /// PUBLISH packets to it.
    messages_out: u64,
    /// Bytes of MQTT from the client.
    bytes_in: u64,
    /// Bytes of MQTT to it.
    bytes_out: u64,
}

/// What TLS agreed upon.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TlsView {
    /// `1.2` or `1.3`.
    version: &'static str,
    /// By IANA's name.
    cipher_suite: &'static str,
    /// Subject of the client's certificate (RFC 4514); null: it showed none.
    client_subject: Option<String>,
}

impl From<Encryption> for TlsView {
    fn from(Encryption { version, cipher_suite, client_subject }: Encryption) -> Self {
        Self { version, cipher_suite, client_subject: client_subject.map(Into::into) }
    }
}

impl From<FoundConnection> for ConnectionView {
    fn from(found: FoundConnection) -> Self {
        let (transport, encryption) =
            found.carrier.map_or((None, None), |carrier| (Some(carrier.transport), carrier.encryption));
        Self {
            address: found.address.into(),
            transport: transport.map(|transport| match transport {
                Transport::Tcp => "tcp",
                Transport::WebSocket => "ws",
                Transport::Unix => "unix",
                Transport::InProcess => "in-process",
            }),
            tls: encryption.map(TlsView::from),
            protocol: match found.version {
                ProtocolVersion::V31 => "3.1",
                ProtocolVersion::V311 => "3.1.1",
                ProtocolVersion::V5 => "5.0",
            },
            keep_alive: found.keep_alive,
            connected: time::text(found.connected),
            last_packet: time::text(found.last_packet),
            output_bytes: found.output_bytes,
            messages_in: found.messages.0,
            messages_out: found.messages.1,
            bytes_in: found.bytes.0,
            bytes_out: found.bytes.1,
        }
    }
}

impl From<Found> for SessionView {
    fn from(found: Found) -> Self {
        let Found { client_id, user_name, since, expiry_seconds, expires, will, connection, .. } = found;
        Self {
            client_id: client_id.into(),
            user: user_name.map(Into::into),
            inside: found.inside,
            connected: connection.is_some(),
            since: time::text(since),
            expiry_seconds: (expiry_seconds != u32::MAX).then_some(expiry_seconds),
            expires: expires.map(time::text),
            subscriptions: found.subscriptions,
            in_flight: found.in_flight,
            queued_messages: found.queued_messages,
            queued_bytes: found.queued_bytes,
            queued_since: found.queued_since.map(time::text),
            will: will.map(Into::into),
            connection: connection.map(ConnectionView::from),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// 1 to 1000. Default: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    cursor: Option<String>,
    /// Part of the Client Identifier, the user name or the address.
    search: Option<String>,
    /// Only those that are there, or away.
    connected: Option<bool>,
    /// Those of the broker's own parts, too.
    #[serde(default)]
    inside: bool,
}

/// All Sessions.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", params(Wanted), responses(
    (status = 200, body = Page<SessionView>), Refused<(Asked, Broker)>))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Page<SessionView>, Problem> {
    page(&app, &caller, wanted).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedClients {
    /// 1 to 1000. Default: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    cursor: Option<String>,
    /// Part of the Client Identifier, the user name or the address.
    search: Option<String>,
    /// Those of the broker's own parts, too.
    #[serde(default)]
    inside: bool,
}

/// Sessions with a connection.
#[utoipa::path(get, path = "/api/v1/clients", tag = "sessions", params(WantedClients), responses(
    (status = 200, body = Page<SessionView>), Refused<(Asked, Broker)>))]
pub(crate) async fn clients(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(WantedClients { limit, cursor, search, inside }): Params<WantedClients>,
) -> Result<Page<SessionView>, Problem> {
    page(&app, &caller, Wanted { limit, cursor, search, connected: Some(true), inside }).await
}

/// A Session as somebody may see it: the topic of its Will only where they may read it.
fn shown(app: &App, caller: &Caller, found: Found) -> SessionView {
    let mut view = SessionView::from(found);
    view.will = view.will.filter(|topic| app.may_read(caller, topic));
    view
}

async fn page(app: &App, caller: &Caller, wanted: Wanted) -> Result<Page<SessionView>, Problem> {
    let limit = limit(wanted.limit)?;
    let (mut shard, mut slot) = match wanted.cursor.as_deref() {
        None => (0, 0),
        Some(cursor) => cursor
            .split_once('.')
            .and_then(|(shard, slot)| Some((shard.parse().ok()?, slot.parse().ok()?)))
            .ok_or_else(bad_cursor)?,
    };
    let (mut items, shards) = (Vec::new(), app.operator.probe().shards());
    for _ in 0..QUESTIONS_MAX {
        if items.len() >= limit || shard >= shards {
            break;
        }
        let query = Query::Sessions {
            from: slot,
            limit: limit - items.len(),
            connected: wanted.connected,
            search: wanted.search.as_deref().map(Into::into),
            inside: wanted.inside,
        };
        let Answer::Sessions { items: found, next } = app.ask(shard, query).await? else {
            return Err(Problem::internal("another answer than was asked for"));
        };
        items.extend(found.into_iter().map(|found| shown(app, caller, found)));
        (shard, slot) = next.map_or_else(|| (shard.saturating_add(1), 0), |slot| (shard, slot));
    }
    let next = (shard < shards).then(|| format!("{shard}.{slot}"));
    Ok(Page { items, next })
}

async fn find(app: &App, client_id: &str) -> Result<Box<Found>, Problem> {
    let shard = app.operator.probe().home(client_id);
    match app.ask(shard, Query::Session { client_id: client_id.into() }).await? {
        Answer::Session(Some(found)) => Ok(found),
        _ => Err(Problem::not_found(format!("there is no session `{}`", client_id.escape_debug()))),
    }
}

/// One Session.
#[utoipa::path(get, path = "/api/v1/sessions/{client_id}", tag = "sessions",
    params(("client_id" = String, Path, description = "Client Identifier")), responses(
    (status = 200, body = SessionView), Refused<(Asked, Missing, Broker)>))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(client_id): Path<String>,
) -> Result<Json<SessionView>, Problem> {
    one(&app, &caller, &client_id).await
}

pub(crate) async fn one(app: &App, caller: &Caller, client_id: &str) -> Result<Json<SessionView>, Problem> {
    Ok(Json(shown(app, caller, *find(app, client_id).await?)))
}

/// End a Session: its client is disconnected, and all that is kept for it is forgotten.
#[utoipa::path(delete, path = "/api/v1/sessions/{client_id}", tag = "sessions",
    params(("client_id" = String, Path, description = "Client Identifier")), responses(
    (status = 204), Refused<(Asked, ByRole, Missing, Broker)>))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(client_id): Path<String>,
) -> Result<Response, Problem> {
    end(&app, &caller, &client_id).await
}

pub(crate) async fn end(app: &App, caller: &Caller, client_id: &str) -> Result<Response, Problem> {
    find(app, client_id).await?;
    app.operator.probe().end_session(client_id, "the operator ended this session");
    app.audit(caller, "delete session", client_id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kick {
    /// Told to the client (5.0) and the log.
    reason: Option<String>,
}

/// Disconnect a client. Its Session stays if it outlives its connection; its Will is not sent.
#[utoipa::path(post, path = "/api/v1/clients/{client_id}/kick", tag = "sessions", request_body = Kick,
    params(("client_id" = String, Path, description = "Client Identifier")), responses(
    (status = 204), Refused<(Sent, ByRole, Missing, Broker)>))]
pub(crate) async fn kick(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(client_id): Path<String>,
    Body(Kick { reason }): Body<Kick>,
) -> Result<Response, Problem> {
    disconnect(&app, &caller, &client_id, reason).await
}

pub(crate) async fn disconnect(
    app: &App,
    caller: &Caller,
    client_id: &str,
    reason: Option<String>,
) -> Result<Response, Problem> {
    if find(app, client_id).await?.connection.is_none() {
        let detail = format!("the client `{}` is not connected", client_id.escape_debug());
        return Err(Problem::not_found(detail));
    }
    let reason = reason.unwrap_or_else(|| "disconnected by the operator".to_owned());
    if reason.len() > 1000 || reason.contains('\0') {
        return Err(Problem::bad_request("`reason` has at most 1000 bytes, and no U+0000"));
    }
    app.operator.probe().kick(client_id, &reason);
    app.audit(caller, "kick", &format!("{client_id}: {reason}"));
    Ok(StatusCode::NO_CONTENT.into_response())
}
