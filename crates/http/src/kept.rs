//! What is kept of what was published: numbers over time, and whole messages.
//!
//! Whoever asks gets what its rights let it read. The work is done on threads of its own kind, a few questions at a time.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use cork_access::Action;
use cork_broker::history::{Cache, History as Vault, Point, SeriesAnswer, SeriesQuery, parse_moment};
use cork_packet::validate_filter;
use cork_settings::units::parse_duration;
use cork_store::{MayRead, MessageId, Replay, ReplayFrom, WallTime};
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, task};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extract::{Page, Params, bad_cursor, limit},
    guard::{Caller, Role},
    message::{MessageView, payload_max},
    problem::Problem,
    refused::{Asked, Broker, Refused},
    time,
};

/// Series in one answer, at most.
const SERIES_MAX: usize = 100;
/// Points in one answer, at most.
const POINTS_MAX: usize = 50_000;
/// Questions that are worked on at the same time; the others wait.
static WORKING: Semaphore = Semaphore::const_new(2);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Topic Filter.
    filter: String,
    /// Path of a numeric field of JSON payloads, as `a.b`; empty: payloads that are a number. Default: all.
    field: Option<String>,
    /// How far back, as `1h`, or a time of RFC 3339, or in seconds since 1970. Default: `1h`.
    since: Option<String>,
    /// The same for the end. Default: now.
    until: Option<String>,
    /// Length of the steps, as `1m`. Default: none, each value.
    step: Option<String>,
}

/// Numbers over time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// In the order of topics, then fields.
    series: Vec<SeriesView>,
    /// There is more: ask for fewer topics, a shorter time or longer steps.
    truncated: bool,
    /// Blocks of messages on disk that are damaged: what is in them is left out. The log says where.
    damaged: u64,
}

/// The numbers of one topic and field.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeriesView {
    topic: String,
    /// Empty: the payload itself.
    field: String,
    /// What stands in each point: `time`, `min`, `max`, `mean`, `last`, `count`; without `step` `time`, `value`.
    columns: &'static [&'static str],
    points: Vec<Vec<f64>>,
}

const STEP_COLUMNS: &[&str] = &["time", "min", "max", "mean", "last", "count"];
const VALUE_COLUMNS: &[&str] = &["time", "value"];

/// Numbers over time, of payloads and of fields of JSON payloads.
#[utoipa::path(get, path = "/api/v1/history", tag = "messages", params(Wanted), responses(
    (status = 200, content((History = "application/json"), (String = "text/csv"))),
    Refused<(Asked, Broker)>))]
pub(crate) async fn numbers(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Params(wanted): Params<Wanted>,
) -> Result<Response, Problem> {
    judged(&wanted.filter)?;
    let now = time::now();
    let since = moment("since", wanted.since.as_deref().unwrap_or("1h"), now)?;
    let until = wanted.until.as_deref().map_or(Ok(u64::MAX), |until| moment("until", until, now))?;
    let step = wanted.step.as_deref().map(step).transpose()?;
    let query = SeriesQuery {
        filter: wanted.filter,
        field: wanted.field,
        since,
        until,
        step,
        series_max: SERIES_MAX,
        points_max: POINTS_MAX,
    };
    let work = move |vault: &Vault, may: MayRead| vault.series(&query, now, |topic| may.allows(topic));
    let answer = worked(&app, &caller, work).await?;
    if accepts_csv(&headers) {
        return Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv(&answer, step.is_some()))
            .into_response());
    }
    let columns = if step.is_some() { STEP_COLUMNS } else { VALUE_COLUMNS };
    let SeriesAnswer { series, truncated, damaged } = answer;
    let series = series.into_iter().map(|one| SeriesView {
        points: one.points.iter().map(|point| row(point, step.is_some())).collect(),
        topic: one.topic,
        field: one.field,
        columns,
    });
    Ok(Json(History { series: series.collect(), truncated, damaged }).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedMessages {
    /// Topic Filter.
    filter: String,
    /// How far back, as `1h`, or a time of RFC 3339, or in seconds since 1970. Default: `1h`.
    since: Option<String>,
    /// Only so many of the last ones, instead of `since`.
    #[param(minimum = 1, maximum = 1_000_000)]
    last: Option<u32>,
    /// 1 to 1000. Default: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    cursor: Option<String>,
    /// Payload bytes shown of each message. Default: 4096.
    #[param(maximum = 1_048_576)]
    payload_max: Option<usize>,
}

/// Messages as they were published, oldest first. A page may have fewer than asked for, or none, and still a next one.
#[utoipa::path(get, path = "/api/v1/history/messages", tag = "messages", params(WantedMessages), responses(
    (status = 200, body = Page<MessageView>), Refused<(Asked, Broker)>))]
pub(crate) async fn messages(
    State(app): State<Arc<App>>,
    caller: Caller,
    Params(wanted): Params<WantedMessages>,
) -> Result<Page<MessageView>, Problem> {
    judged(&wanted.filter)?;
    let (now, limit) = (time::now(), limit(wanted.limit)?);
    let payload_max = payload_max(wanted.payload_max, 4096)?;
    let from = match (&wanted.cursor, wanted.last) {
        (Some(cursor), _) => ReplayFrom::After(cursor.parse::<MessageId>().map_err(|_| bad_cursor())?),
        (None, Some(last @ 1..=1_000_000)) => ReplayFrom::Last(last),
        (None, Some(_)) => return Err(Problem::bad_request("`last` is 1 to 1000000")),
        (None, None) => {
            let since = wanted.since.as_deref().unwrap_or("1h");
            ReplayFrom::Since(WallTime(moment("since", since, now)?))
        }
    };
    let messages_max = u32::try_from(limit).unwrap_or(u32::MAX);
    let (filter, upto) = (wanted.filter.into(), Arc::default());
    let work = move |vault: &Vault, may_read| {
        let replay = Replay { token: 0, filter, from, upto, messages_max, may_read };
        vault.page(&replay, now, &Cache::default())
    };
    let page = worked(&app, &caller, work).await?;
    let items = page.messages.iter().map(|message| MessageView::of_kept(message, payload_max, now)).collect();
    Ok(Page { items, next: page.next.map(|id| id.to_string()) })
}

fn judged(filter: &str) -> Result<(), Problem> {
    validate_filter(filter)
        .map_err(|error| Problem::bad_request(format!("`filter` `{}`: {error}", filter.escape_debug())))
}

/// Asks what is kept, on a thread that may take its time, for somebody.
async fn worked<T: Send + 'static>(
    app: &Arc<App>,
    caller: &Caller,
    ask: impl FnOnce(&Vault, MayRead) -> T + Send + 'static,
) -> Result<T, Problem> {
    let none = || Problem::unavailable("this broker keeps everything in memory: there is no history");
    let vault = Arc::clone(app.operator.history().ok_or_else(none)?);
    let (rights, caller) = (app.operator.rights(), caller.clone());
    let place = WORKING.acquire().await.map_err(|_| Problem::internal("the history is closed"))?;
    let done = task::spawn_blocking(move || {
        let all = caller.role == Role::Admin;
        let allows = move |topic: &str| all || rights.allows(caller.subject(), Action::Read, topic);
        ask(&vault, MayRead::new(allows))
    });
    let done = done.await.map_err(|_| Problem::internal("the question ended by a panic"));
    drop(place);
    done
}

/// A moment, in microseconds since 1970.
fn moment(name: &str, text: &str, now: WallTime) -> Result<u64, Problem> {
    parse_moment(text, now).ok_or_else(|| {
        let why =
            format!("`{name}` is a time such as `1h` or `7d`, `2026-11-22T10:00:00Z`, or seconds since 1970");
        Problem::bad_request(why)
    })
}

fn step(text: &str) -> Result<u64, Problem> {
    let step = parse_duration(text).map(micros).filter(|step| *step > 0);
    step.ok_or_else(|| Problem::bad_request("`step` is a time such as `1m`"))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn accepts_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.split(',').next().is_some_and(|first| first.trim().starts_with("text/csv"))
}

#[allow(clippy::cast_precision_loss, reason = "times and counts are below 2^53")]
fn row(point: &Point, steps: bool) -> Vec<f64> {
    let time = point.time as f64 / 1e6;
    if !steps {
        return vec![time, point.last];
    }
    vec![time, point.min, point.max, point.mean(), point.last, point.count as f64]
}

/// One line for each point, with topic and field before it.
fn csv(answer: &SeriesAnswer, steps: bool) -> String {
    let columns = if steps { STEP_COLUMNS } else { VALUE_COLUMNS };
    let mut text = format!("topic,field,{}\r\n", columns.join(","));
    for series in &answer.series {
        let head = format!("{},{}", quoted(&series.topic), quoted(&series.field));
        for point in &series.points {
            text.push_str(&head);
            for number in row(point, steps) {
                text.push(',');
                text.push_str(&number.to_string());
            }
            text.push_str("\r\n");
        }
    }
    text
}

/// A field as RFC 4180 has it.
fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_time_is_refused() {
        let now = WallTime(10_000_000_000);
        assert_eq!(moment("since", "1h", now).ok(), Some(6_400_000_000));
        assert!(moment("since", "yesterday", now).is_err());
        assert!(step("0s").is_err() && step("1m").is_ok());
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        assert_eq!(quoted("a/b"), "a/b");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
