//! Who may not come in.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cork_broker::{config::Ban, managed::Edit};
use cork_store::WallTime;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extract::{Body, Params},
    guard::Admin,
    operate::Items,
    problem::Problem,
    refused::{Asked, ByRole, Managed, Missing, Refused, Sent},
    time,
};

/// Bytes of a reason, at most.
const REASON_MAX: usize = 1000;

/// A ban.
#[derive(Serialize, ToSchema)]
pub(crate) struct BanView {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// Null: for ever.
    until: Option<String>,
    reason: String,
    /// Who said so; null: there were no users.
    by: Option<String>,
    since: String,
}

impl From<&Ban> for BanView {
    fn from(ban: &Ban) -> Self {
        let (key, whom) = ban.whom.key();
        let is = |wanted: &str| (key == wanted).then(|| whom.clone());
        let at = |seconds: u64| time::text(WallTime(seconds.saturating_mul(1_000_000)));
        Self {
            client_id: is("client_id"),
            user: is("user"),
            address: is("address"),
            until: ban.until.map(at),
            reason: ban.reason.clone(),
            by: ban.by.clone(),
            since: at(ban.since),
        }
    }
}

/// One of `client_id`, `user` and `address`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBan {
    client_id: Option<String>,
    user: Option<String>,
    /// An IP address, or a network as `10.0.0.0/8`.
    address: Option<String>,
    /// At most ten years; null: for ever.
    seconds: Option<u32>,
    #[serde(default)]
    reason: String,
}

/// One of them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whom {
    client_id: Option<String>,
    user: Option<String>,
    address: Option<String>,
}

/// Whom a request means: the key and what it says.
fn whom(
    client_id: Option<String>,
    user: Option<String>,
    address: Option<String>,
) -> Result<(&'static str, String), Problem> {
    let given = [("client_id", client_id), ("user", user), ("address", address)];
    let mut given = given.into_iter().filter_map(|(key, text)| Some((key, text?)));
    match (given.next(), given.next()) {
        (Some((_, text)), None) if text.is_empty() => Err(Problem::bad_request("who is meant is empty")),
        (Some(("address", text)), None) => match text.parse::<cork_broker::Network>() {
            Ok(network) => Ok(("address", network.to_string())),
            Err(error) => Err(Problem::bad_request(format!("`address` is {error}"))),
        },
        (Some(one), None) => Ok(one),
        _ => Err(Problem::bad_request("one of `client_id`, `user` and `address` says who is meant")),
    }
}

fn has(network: &str, address: IpAddr) -> bool {
    network.parse::<cork_broker::Network>().is_ok_and(|network| network.has(address))
}

fn now() -> u64 {
    time::now().0 / 1_000_000
}

/// Who may not come in, as long as it may not.
#[utoipa::path(get, path = "/api/v1/bans", tag = "operating", responses(
    (status = 200, body = Items<BanView>), Refused<ByRole>))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Json<Items<BanView>> {
    let (config, now) = (app.operator.config(), now());
    let hold = config.managed.bans.iter().filter(|ban| ban.until.is_none_or(|until| until > now));
    Json(Items { items: hold.map(BanView::from).collect() })
}

/// Ban a client, a user or an address: who is there is disconnected.
#[utoipa::path(put, path = "/api/v1/bans", tag = "operating", request_body = NewBan,
    responses(
    (status = 200, body = BanView), Refused<(Sent, ByRole, Managed)>))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Body(NewBan { client_id, user, address, seconds, reason }): Body<NewBan>,
) -> Result<Json<BanView>, Problem> {
    let (key, name) = whom(client_id, user, address)?;
    if reason.len() > REASON_MAX || reason.contains(char::is_control) {
        return Err(Problem::bad_request(format!("`reason` is one line of at most {REASON_MAX} bytes")));
    }
    if seconds.is_some_and(|seconds| !(1..=315_360_000).contains(&seconds)) {
        return Err(Problem::bad_request("`seconds` is 1 to 315360000"));
    }
    let own = match key {
        "user" => caller.user.as_deref() == Some(&name),
        "address" => !caller.peer.is_loopback() && has(&name, caller.peer),
        _ => false,
    };
    if own {
        return Err(Problem::conflict("this ban would be on yourself; somebody else may say so"));
    }
    let mut table = toml::Table::new();
    table.insert(key.to_owned(), name.as_str().into());
    table.insert("reason".to_owned(), reason.as_str().into());
    let seconds_of = |at: u64| toml::Value::from(i64::try_from(at).unwrap_or(i64::MAX));
    table.insert("since".to_owned(), seconds_of(now()));
    if let Some(seconds) = seconds {
        table.insert("until".to_owned(), seconds_of(now() + u64::from(seconds)));
    }
    if let Some(by) = &caller.user {
        table.insert("by".to_owned(), by.as_str().into());
    }
    app.manage(&caller, "ban", &format!("{key} {name}: {reason}"), Edit::Ban { table }).await?;
    let config = app.operator.config();
    let ban = config.managed.bans.iter().find(|ban| ban.whom.key() == (key, name.clone()));
    let ban = ban.ok_or_else(|| Problem::conflict("somebody else has ended the ban at once"))?;
    Ok(Json(ban.into()))
}

/// End a ban.
#[utoipa::path(delete, path = "/api/v1/bans", tag = "operating", params(Whom), responses(
    (status = 204), Refused<(Asked, ByRole, Missing, Managed)>))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Params(Whom { client_id, user, address }): Params<Whom>,
) -> Result<Response, Problem> {
    let (key, whom) = whom(client_id, user, address)?;
    let detail = format!("{key} {whom}");
    app.manage(&caller, "unban", &detail, Edit::Unban { key: key.to_owned(), whom }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
