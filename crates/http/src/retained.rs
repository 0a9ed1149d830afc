//! Retained messages, with time and author.

use std::sync::Arc;

use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cork_access::Action;
use cork_broker::{Answer, Query};
use cork_client::Publish;
use cork_packet::{QoS, validate_filter};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extract::{Page, Params, bad_cursor, limit},
    guard::{Admin, Caller},
    message::{MessageView, payload_max},
    problem::Problem,
    publish::deliver,
    refused::{Asked, Broker, ByRole, Refused, Relayed},
    time,
};

/// Retained messages deleted between two looks at the set.
const DELETED_AT_ONCE: usize = 500;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Topic Filter.
    filter: String,
    /// 1 to 1000. Default: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    cursor: Option<String>,
    /// Payload bytes shown of each message. Default: 4096.
    #[param(maximum = 1_048_576)]
    payload_max: Option<usize>,
}

fn judged(filter: &str) -> Result<(), Problem> {
    validate_filter(filter)
        .map_err(|error| Problem::bad_request(format!("`filter` `{}`: {error}", filter.escape_debug())))
}

/// Retained messages in the order of topics.
#[utoipa::path(get, path = "/api/v1/retained", tag = "messages", params(Wanted), responses(
    (status = 200, body = Page<MessageView>), Refused<(Asked, Broker)>))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Page<MessageView>, Problem> {
    judged(&wanted.filter)?;
    let (limit, payload_max) = (limit(wanted.limit)?, payload_max(wanted.payload_max, 4096)?);
    let after = match &wanted.cursor {
        None => None,
        Some(cursor) => {
            let topic = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad_cursor())?;
            Some(String::from_utf8(topic).map_err(|_| bad_cursor())?.into())
        }
    };
    let query = Query::Retained { filter: wanted.filter.into(), after, limit, reader: app.reader(&caller) };
    let Answer::Retained { items, next } = app.ask(0, query).await? else {
        return Err(Problem::internal("another answer than was asked for"));
    };
    let now = time::now();
    let items = items.iter().map(|message| MessageView::of_retained(message, payload_max, now)).collect();
    Ok(Page { items, next: next.map(|topic| URL_SAFE_NO_PAD.encode(topic.as_bytes())) })
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unwanted {
    /// Topic Filter.
    filter: String,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

/// How many were deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deleted {
    deleted: u64,
}

/// Delete retained messages.
#[utoipa::path(delete, path = "/api/v1/retained", tag = "messages", params(Unwanted), responses(
    (status = 200, body = Deleted), Refused<(Asked, ByRole, Relayed)>))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Params(Unwanted { filter, dry_run }): Params<Unwanted>,
) -> Result<Json<Deleted>, Problem> {
    judged(&filter)?;
    let (mut after, mut deleted) = (None, 0);
    let client = app.client(&caller).await?;
    loop {
        let query = Query::Retained {
            filter: filter.as_str().into(),
            after: after.take(),
            limit: DELETED_AT_ONCE,
            reader: app.reader(&caller),
        };
        let Answer::Retained { items, next } = app.ask(0, query).await? else {
            return Err(Problem::internal("another answer than was asked for"));
        };
        for message in items {
            let rights = app.operator.rights();
            if !rights.allows(caller.subject(), Action::Write, message.topic()) {
                continue;
            }
            if !dry_run {
                let clear = Publish::new(message.topic(), "").retain(true).qos(QoS::AtLeastOnce);
                if deliver(&client, clear).await?.is_error() {
                    continue;
                }
            }
            deleted += 1;
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    if !dry_run {
        app.audit(&caller, "delete retained", &format!("{filter}: {deleted}"));
    }
    Ok(Json(Deleted { deleted }))
}
