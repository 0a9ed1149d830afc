//! The broker at a glance.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, response::Response};
use cork_broker::Stats;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extract::Params,
    guard::Caller,
    history::Series,
    links::LinkView,
    problem::Problem,
    process::Process,
    refused::{Asked, Limited, Refused},
    told::Way,
};

/// The broker at a glance.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Overview {
    pub(crate) version: &'static str,
    /// When this was counted.
    pub(crate) time: String,
    pub(crate) started: String,
    pub(crate) uptime_seconds: u64,
    pub(crate) shards: u16,
    /// Per second, over the last second.
    pub(crate) rates: BTreeMap<&'static str, f64>,
    /// What is there now.
    pub(crate) gauges: BTreeMap<&'static str, u64>,
    /// Messages dropped since the start, by reason.
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    /// What was refused since the start, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Counters since the start.
    pub(crate) counters: BTreeMap<&'static str, u64>,
    pub(crate) process: Process,
    /// Null: everything is in memory.
    pub(crate) store: Option<StoreView>,
    /// Where the broker listens.
    pub(crate) listeners: Vec<String>,
    pub(crate) bridges: Vec<Link>,
    pub(crate) sinks: Vec<Link>,
    /// The counters this was made from.
    #[serde(skip)]
    pub(crate) stats: Stats,
}

/// What is on the disk.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct StoreView {
    pub(crate) path: String,
    pub(crate) durability: String,
    /// What the data directory takes.
    pub(crate) bytes: u64,
    /// What is free on its disk.
    pub(crate) free_bytes: u64,
}

/// A bridge or a sink.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Link {
    name: String,
    state: String,
    backlog: u64,
    error: Option<String>,
}

impl From<LinkView> for Link {
    fn from(link: LinkView) -> Self {
        let LinkView { name, state, backlog_messages: backlog, last_error: error, .. } = link;
        Self { name, state, backlog, error }
    }
}

impl Overview {
    /// Puts the counters where they are shown; rates are against `before`, `seconds` ago.
    pub(crate) fn count(&mut self, stats: &Stats, before: &Stats, seconds: f64) {
        let rate = |now: u64, then: u64| {
            #[expect(clippy::cast_precision_loss, reason = "what comes in a second")]
            let more = now.saturating_sub(then) as f64;
            (more / seconds * 10.0).round() / 10.0
        };
        self.stats = *stats;
        self.rates = BTreeMap::from([
            ("messages_in", rate(stats.publish_received, before.publish_received)),
            ("messages_out", rate(stats.publish_sent, before.publish_sent)),
            ("bytes_in", rate(stats.bytes_received, before.bytes_received)),
            ("bytes_out", rate(stats.bytes_sent, before.bytes_sent)),
            ("connects", rate(stats.connects, before.connects)),
            ("dropped", rate(stats.dropped(), before.dropped())),
        ]);
        // Those of the program itself are not listed either, unless somebody asks for them.
        self.gauges = BTreeMap::from([
            ("clients", stats.clients_connected.saturating_sub(stats.clients_inside)),
            ("sockets", stats.sockets),
            ("sessions", stats.sessions.saturating_sub(stats.clients_inside)),
            ("subscriptions", stats.subscriptions),
            ("shared_subscriptions", stats.shared_subscriptions),
            ("retained", stats.retained),
            ("queued_messages", stats.queued_messages),
            ("queued_bytes", stats.queued_bytes),
            ("output_bytes", stats.output_bytes),
            ("in_flight", stats.inflight),
        ]);
        self.dropped = BTreeMap::from([
            ("slow_reader", stats.dropped_slow_reader),
            ("queue_full", stats.dropped_queue_full),
            ("user_queue_full", stats.dropped_user_queue_full),
            ("expired", stats.dropped_expired),
            ("too_large", stats.dropped_too_large),
            ("damaged", stats.lost_damaged),
        ]);
        self.refused = BTreeMap::from([
            ("publish", stats.denied_publish),
            ("delivery", stats.denied_delivery),
            ("subscribe", stats.denied_subscribe),
            ("login", stats.refused_login),
            ("rate", stats.refused_rate),
            ("banned", stats.refused_banned),
            ("http", stats.refused_http),
            ("busy", stats.refused_busy),
            ("store_full", stats.refused_full),
        ]);
        self.counters = counters(stats);
    }
}

fn counters(stats: &Stats) -> BTreeMap<&'static str, u64> {
    macro_rules! of { ($($field:ident)*) => { BTreeMap::from([$( (stringify!($field), stats.$field) ),*]) }; }
    of!(bytes_received bytes_sent packets_received packets_sent publish_received publish_sent publish_bytes_received
        publish_bytes_sent connects sessions_expired dropped_slow_reader dropped_queue_full
        dropped_user_queue_full dropped_expired dropped_too_large lost_damaged refused_full denied_publish denied_delivery denied_subscribe peer_errors refused_rate
        refused_banned refused_http refused_busy refused_login bans closed_connect_timeout closed_packet_timeout closed_keep_alive
        closed_login_memory slowed)
}

/// The broker at a glance.
#[utoipa::path(get, path = "/api/v1/overview", tag = "overview", responses(
    (status = 200, body = Overview), Refused<()>))]
pub(crate) async fn show(State(app): State<Arc<App>>, _: Caller) -> Json<Overview> {
    Json(Overview::clone(&app.overview.borrow()))
}

/// The same once a second, as events `overview`: Server-Sent Events or, asked to upgrade, over WebSocket.
#[utoipa::path(get, path = "/api/v1/overview/stream", tag = "overview", responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 101, description = "WebSocket: each text frame is `{\"event\", \"data\"}`"),
    Refused<(Asked, Limited)>))]
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    caller: Caller,
    way: Way,
) -> Result<Response, Problem> {
    let place = app.stream_place()?;
    let mut overview = app.overview.clone();
    overview.mark_changed();
    let state = (app, caller, overview, place);
    let events = stream::unfold(state, |(app, caller, mut overview, place)| async move {
        overview.changed().await.ok()?;
        if !app.still_holds(&caller) {
            return None;
        }
        let text = serde_json::to_string(&**overview.borrow_and_update()).unwrap_or_default();
        Some((("overview", text), (app, caller, overview, place)))
    });
    Ok(way.tell(events))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Past {
    /// How far back, 1 to 86,400; beyond 3600 in steps of a minute. Default: 600.
    seconds: Option<u32>,
}

/// What the overview said in the past.
#[utoipa::path(get, path = "/api/v1/overview/history", tag = "overview", params(Past), responses(
    (status = 200, body = Series), Refused<Asked>))]
pub(crate) async fn past(
    State(app): State<Arc<App>>,
    _: Caller,
    Params(Past { seconds }): Params<Past>,
) -> Result<Json<Series>, Problem> {
    match seconds.unwrap_or(600) {
        seconds @ 1..=86_400 => Ok(Json(app.history().series(seconds))),
        _ => Err(Problem::bad_request("`seconds` is 1 to 86400")),
    }
}
