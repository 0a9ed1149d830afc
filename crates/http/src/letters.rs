//! Dead letters of a sink.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cork_packet::{PropertiesBuf, Property, Publish, QoS};
use cork_store::WallTime;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extract::{Body, Page, Params, limit},
    guard::Admin,
    host::Letter,
    message::{MessageView, payload_max},
    problem::Problem,
    refused::{Asked, Broker, ByRole, Missing, Refused, Sent},
    time,
};

/// A row that the target refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct LetterView {
    id: String,
    /// When it was refused.
    time: String,
    topic: String,
    /// What the target said.
    reason: String,
    message: MessageView,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// 1 to 1000. Default: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    cursor: Option<String>,
    /// Payload bytes shown of each message. Default: 4096.
    #[param(maximum = 1_048_576)]
    payload_max: Option<usize>,
}

/// Which ones.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct These {
    /// Left out: all.
    ids: Option<Vec<String>>,
}

/// How many are tried again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Replayed {
    replayed: u64,
}

impl LetterView {
    fn of(letter: &Letter, payload_max: usize) -> Self {
        let at = WallTime(u64::try_from(letter.time).unwrap_or(0));
        let mut properties = PropertiesBuf::default();
        if let Some(content_type) = &letter.content_type {
            properties.push(Property::ContentType(content_type));
        }
        for (name, value) in &letter.user_properties {
            properties.push(Property::UserProperty(name, value));
        }
        let publish = Publish {
            topic: &letter.topic,
            payload: &letter.payload,
            retain: letter.retain,
            properties: properties.as_properties(),
            qos: QoS::AtMostOnce,
            dup: false,
            packet_id: None,
        };
        let mut message = MessageView::of_packet(&publish, at, payload_max);
        message.qos = letter.qos;
        Self {
            id: letter.id.clone(),
            time: time::text(at),
            topic: letter.topic.clone(),
            reason: letter.reason.clone(),
            message,
        }
    }
}

impl App {
    fn known_sink(&self, name: &str) -> Result<(), Problem> {
        let known = self.operator.config().sinks.iter().any(|sink| sink.name == name);
        known.then_some(()).ok_or_else(|| Problem::not_found("there is no such sink"))
    }
}

/// Rows that a sink's target refused, oldest first.
#[utoipa::path(get, path = "/api/v1/sinks/{name}/dead-letters", tag = "links", params(("name" = String, Path), Wanted),
    responses(
    (status = 200, body = Page<LetterView>), Refused<(Asked, ByRole, Missing, Broker)>))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(name): Path<String>,
    Params(wanted): Params<Wanted>,
) -> Result<Page<LetterView>, Problem> {
    app.known_sink(&name)?;
    let (limit, payload_max) = (limit(wanted.limit)?, payload_max(wanted.payload_max, 4096)?);
    let page = app.letters(name, wanted.cursor, limit).await?;
    let items = page.items.iter().map(|letter| LetterView::of(letter, payload_max)).collect();
    Ok(Page { items, next: page.next })
}

/// Have dead letters tried again. What is refused again is a new dead letter.
#[utoipa::path(post, path = "/api/v1/sinks/{name}/dead-letters/replay", tag = "links", params(("name" = String, Path)),
    request_body = These, responses(
    (status = 200, body = Replayed), Refused<(Sent, ByRole, Missing, Broker)>))]
pub(crate) async fn replay(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(name): Path<String>,
    Body(These { ids }): Body<These>,
) -> Result<Json<Replayed>, Problem> {
    app.known_sink(&name)?;
    let sink = name.clone();
    let replayed = app.with_host(move |host| host.replay(&sink, ids.as_deref())).await?;
    app.audit(&caller, "replay dead letters", &format!("{name}: {replayed}"));
    Ok(Json(Replayed { replayed }))
}

/// Throw all dead letters of a sink away.
#[utoipa::path(delete, path = "/api/v1/sinks/{name}/dead-letters", tag = "links", params(("name" = String, Path)),
    responses(
    (status = 204), Refused<(Asked, ByRole, Missing, Broker)>))]
pub(crate) async fn discard(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    app.known_sink(&name)?;
    let sink = name.clone();
    let gone = app.with_host(move |host| host.discard(&sink)).await?;
    app.audit(&caller, "delete dead letters", &format!("{name}: {gone}"));
    Ok(StatusCode::NO_CONTENT.into_response())
}
