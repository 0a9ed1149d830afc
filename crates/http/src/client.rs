//! One client, named in the body: for Client Identifiers that no path can carry. `.` and `..` are steps in a path to
//! browsers and proxies, and an identifier may be longer than an address.

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    extract::{Body, Page},
    guard::{Admin, Caller},
    problem::Problem,
    refused::{Broker, ByRole, Missing, Refused, Sent},
    sessions::{self, SessionView},
    subscriptions::{self, SubscriptionView},
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    /// Client Identifier.
    client_id: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedKick {
    /// Client Identifier.
    client_id: String,
    /// Told to the client (5.0) and the log.
    reason: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedSubscriptions {
    /// Client Identifier.
    client_id: String,
    /// 1 to 1000. Default: 100.
    limit: Option<usize>,
    cursor: Option<String>,
    /// Part of the filter.
    search: Option<String>,
}

/// One Session, named in the body. Nothing is changed.
#[utoipa::path(post, path = "/api/v1/client", tag = "sessions", request_body = Named, responses(
    (status = 200, body = SessionView), Refused<(Sent, ByRole, Missing, Broker)>))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(Named { client_id }): Body<Named>,
) -> Result<Json<SessionView>, Problem> {
    sessions::one(&app, &caller, &client_id).await
}

/// Its subscriptions; none if it is not there. Nothing is changed.
#[utoipa::path(post, path = "/api/v1/client/subscriptions", tag = "sessions", request_body = NamedSubscriptions, responses(
    (status = 200, body = Page<SubscriptionView>), Refused<(Sent, ByRole, Broker)>))]
pub(crate) async fn subscriptions(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(NamedSubscriptions { client_id, limit, cursor, search }): Body<NamedSubscriptions>,
) -> Result<Page<SubscriptionView>, Problem> {
    let wanted = subscriptions::Wanted { limit, cursor, search };
    subscriptions::page(&app, &caller, wanted, Some(client_id)).await
}

/// Disconnect it, as `POST /api/v1/clients/{client_id}/kick` does.
#[utoipa::path(post, path = "/api/v1/client/kick", tag = "sessions", request_body = NamedKick, responses(
    (status = 204), Refused<(Sent, ByRole, Missing, Broker)>))]
pub(crate) async fn kick(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Body(NamedKick { client_id, reason }): Body<NamedKick>,
) -> Result<Response, Problem> {
    sessions::disconnect(&app, &caller, &client_id, reason).await
}

/// End its Session, as `DELETE /api/v1/sessions/{client_id}` does.
#[utoipa::path(post, path = "/api/v1/client/delete", tag = "sessions", request_body = Named, responses(
    (status = 204), Refused<(Sent, ByRole, Missing, Broker)>))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Body(Named { client_id }): Body<Named>,
) -> Result<Response, Problem> {
    sessions::end(&app, &caller, &client_id).await
}
