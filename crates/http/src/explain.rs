//! May somebody do something: which rule says so?

use std::sync::Arc;

use axum::{Json, extract::State};
use cork_access::{Action, Subject};
use cork_packet::{split_share, validate_filter, validate_name};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extract::Params,
    guard::{Caller, Role},
    problem::Problem,
    refused::{Asked, ByRole, Refused},
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// User name. Without: somebody without one.
    user: Option<String>,
    /// Client Identifier.
    #[serde(default)]
    client_id: String,
    /// `read` or `write`.
    action: String,
    /// Topic Name, or, to read, a Topic Filter.
    topic: String,
}

/// The answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Explanation {
    allowed: bool,
    /// Where the rule that decided stands; null: none fits, and the default decides.
    rule: Option<String>,
    detail: String,
}

/// May somebody do something? A viewer may ask about itself.
#[utoipa::path(get, path = "/api/v1/acl/explain", tag = "operating", params(Question), responses(
    (status = 200, body = Explanation), Refused<(Asked, ByRole)>))]
pub(crate) async fn explain(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(question): Params<Question>,
) -> Result<Json<Explanation>, Problem> {
    if caller.role == Role::Viewer && question.user != caller.user {
        return Err(Problem::forbidden("a viewer may ask about itself; about others an admin"));
    }
    let topic = question.topic.as_str();
    let wrong = |error| Problem::bad_request(format!("`topic` `{}`: {error}", topic.escape_debug()));
    let rights = app.operator.rights();
    let who = Subject { user: question.user.as_deref(), client_id: &question.client_id };
    let decision = match question.action.as_str() {
        "write" => {
            validate_name(topic).map_err(wrong)?;
            rights.explain(who, Action::Write, topic)
        }
        "read" => {
            let filter = split_share(topic).map_err(wrong)?.map_or(topic, |(_, filter)| filter);
            validate_filter(filter).map_err(wrong)?;
            match validate_name(filter) {
                Ok(()) => rights.explain(who, Action::Read, filter),
                Err(_) => rights.explain_filter(who, filter),
            }
        }
        _ => return Err(Problem::bad_request("`action` is read or write")),
    };
    let verb = if decision.allowed { "allowed" } else { "denied" };
    let detail = match decision.source {
        Some(rule) => format!("{verb} by the rule at {rule}"),
        None if rights.groups().is_none() && rights.is_permissive() => {
            format!("{verb}: there is no rights file, so everything but writing to `$SYS` is allowed")
        }
        None => format!("{verb} by default: no rule fits"),
    };
    let rule = decision.source.map(str::to_owned);
    Ok(Json(Explanation { allowed: decision.allowed, rule, detail }))
}
