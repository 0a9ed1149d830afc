//! Subscriptions, of one Session and of all.

use std::sync::Arc;

use axum::extract::{Path, State};
use cork_broker::{Answer, Query, SubscriptionPlace, SubscriptionView as Found};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extract::{Page, Params, bad_cursor, limit},
    guard::Caller,
    problem::Problem,
    refused::{Asked, Broker, Refused},
};

/// Questions for one page, at most.
const QUESTIONS_MAX: usize = 64;

/// A subscription.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubscriptionView {
    client_id: String,
    /// Topic Filter, without `$share/<group>/`.
    filter: String,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
    /// Subscription Identifier.
    id: Option<u32>,
    /// The group of a shared subscription.
    share: Option<String>,
}

impl From<Found> for SubscriptionView {
    fn from(found: Found) -> Self {
        let options = found.options;
        Self {
            client_id: found.client_id.into(),
            filter: found.filter,
            qos: options & 0x03,
            no_local: options & 0x04 != 0,
            retain_as_published: options & 0x08 != 0,
            retain_handling: options >> 4 & 0x03,
            id: (found.id != 0).then_some(found.id),
            share: found.share.map(Into::into),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// 1 to 1000. Default: 100.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
    pub(crate) cursor: Option<String>,
    /// Part of the filter.
    pub(crate) search: Option<String>,
}

/// All subscriptions; for a viewer those of filters it may read.
#[utoipa::path(get, path = "/api/v1/subscriptions", tag = "sessions", params(Wanted), responses(
    (status = 200, body = Page<SubscriptionView>), Refused<(Asked, Broker)>))]
pub(crate) async fn all(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Page<SubscriptionView>, Problem> {
    page(&app, &caller, wanted, None).await
}

/// The subscriptions of one Session; none if it is not there.
#[utoipa::path(get, path = "/api/v1/sessions/{client_id}/subscriptions", tag = "sessions",
    params(Wanted, ("client_id" = String, Path, description = "Client Identifier")), responses(
    (status = 200, body = Page<SubscriptionView>), Refused<(Asked, Broker)>))]
pub(crate) async fn of_session(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(client_id): Path<String>,
    Params(wanted): Params<Wanted>,
) -> Result<Page<SubscriptionView>, Problem> {
    page(&app, &caller, wanted, Some(client_id)).await
}

pub(crate) async fn page(
    app: &App,
    caller: &Caller,
    wanted: Wanted,
    client_id: Option<String>,
) -> Result<Page<SubscriptionView>, Problem> {
    let limit = limit(wanted.limit)?;
    let probe = app.operator.probe();
    let (first, end) = match &client_id {
        Some(client_id) => (probe.home(client_id), probe.home(client_id) + 1),
        None => (0, probe.shards()),
    };
    let (mut shard, mut place) = match wanted.cursor.as_deref() {
        None => (first, SubscriptionPlace::default()),
        Some(cursor) => parse(cursor).ok_or_else(bad_cursor)?,
    };
    let mut items = Vec::new();
    for _ in 0..QUESTIONS_MAX {
        if items.len() >= limit || shard >= end {
            break;
        }
        let query = Query::Subscriptions {
            client_id: client_id.as_deref().map(Into::into),
            from: place,
            limit: limit - items.len(),
            search: wanted.search.as_deref().map(Into::into),
            reader: app.reader(caller),
        };
        let Answer::Subscriptions { items: found, next } = app.ask(shard, query).await? else {
            return Err(Problem::internal("another answer than was asked for"));
        };
        items.extend(found.into_iter().map(SubscriptionView::from));
        match next {
            Some(next) => place = next,
            None => (shard, place) = (shard.saturating_add(1), SubscriptionPlace::default()),
        }
    }
    let next = (shard < end).then(|| match place.after {
        Some((filter, group)) => format!("{shard}.{}.{filter}.{group}", place.session),
        None => format!("{shard}.{}", place.session),
    });
    Ok(Page { items, next })
}

fn parse(cursor: &str) -> Option<(u16, SubscriptionPlace)> {
    let mut numbers = cursor.split('.').map(|number| number.parse::<u32>().ok());
    let (shard, session) = (numbers.next()??, numbers.next()??);
    let after = match (numbers.next(), numbers.next(), numbers.next()) {
        (None, None, None) => None,
        (Some(filter), Some(group), None) => Some((filter?, group?)),
        _ => return None,
    };
    Some((u16::try_from(shard).ok()?, SubscriptionPlace { session, after }))
}
