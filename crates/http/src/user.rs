//! One user, named in the body: for names that no path can carry. `.` and `..` are steps in a path to browsers and proxies,
//! some proxies take `%2F` for a `/`, and a name may be longer than an address.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    extract::Body,
    guard::Admin,
    problem::Problem,
    refused::{ByRole, Managed, Missing, Refused, Sent},
    users::{self, NewUser, UserView},
};

/// What a user shall be; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedUser {
    /// User Name.
    user: String,
    /// Needed for a new one.
    password: Option<String>,
    groups: Option<Vec<String>>,
    /// With a password: whether to keep what SCRAM-SHA-256 needs, too.
    #[serde(default)]
    scram: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserName {
    /// User Name.
    user: String,
}

/// Make a user, or change one, as `PUT /api/v1/users/{user}` does.
#[utoipa::path(post, path = "/api/v1/user", tag = "operating", request_body = NamedUser, responses(
    (status = 200, body = UserView),
    (status = 201, body = UserView),
    Refused<(Sent, ByRole, Managed)>))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Body(NamedUser { user, password, groups, scram }): Body<NamedUser>,
) -> Result<Response, Problem> {
    users::set(&app, &caller, user, NewUser { password, groups, scram }).await
}

/// Remove a user, as `DELETE /api/v1/users/{user}` does.
#[utoipa::path(post, path = "/api/v1/user/delete", tag = "operating", request_body = UserName, responses(
    (status = 204), Refused<(Sent, ByRole, Missing, Managed)>))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Body(UserName { user }): Body<UserName>,
) -> Result<Response, Problem> {
    users::remove(&app, &caller, user).await
}
