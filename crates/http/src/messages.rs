//! Live messages, as Server-Sent Events or over WebSocket: one MQTT subscription for each stream, with the caller's own
//! rights. A reader that is too slow loses messages of its own, as any slow MQTT client does, and holds up nobody.

mod batch;
mod watch;
mod written;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use cork_client::{
    Message, QoS, RetainHandling, Subscribe, SubscribeError, Subscription, SubscriptionOptions,
};
use cork_packet::{split_share, validate_filter};
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{MissedTickBehavior, interval},
};

use self::watch::Watching;
use crate::{
    app::App,
    guard::{Caller, Role},
    message::{MessageView, payload_max, qos},
    problem::Problem,
    refused::{Asked, Broker, ByRole, Limited, Refused},
    time,
    told::{Told, Way},
    trace::plain,
};

/// Events that wait for the reader; behind them messages wait in the subscription, and then they are dropped.
const EVENTS_WAITING_MAX: usize = 64;
/// How often it is looked whether the caller may still read.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Filters in one stream.
const FILTERS_MAX: usize = 64;

/// What is asked for.
#[derive(Debug)]
struct Wanted {
    filters: Vec<String>,
    qos: QoS,
    retained: bool,
    payload_max: usize,
    sampled: Option<Sampled>,
}

/// A stream for pages.
#[derive(Copy, Clone, Debug)]
struct Sampled {
    interval: Duration,
    topics_max: usize,
}

impl Wanted {
    fn parse(query: &str) -> Result<Self, Problem> {
        let (mut filters, mut bytes, mut level, mut retained) = (Vec::new(), None, None, true);
        let (mut interval, mut topics_max) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let number =
                || value.parse().map_err(|_| Problem::bad_request(format!("`{name}` is a whole number")));
            match &*name {
                "filter" => filters.push(judged(&value)?),
                "payload_max" => bytes = Some(number()?),
                "qos" => level = Some(u8::try_from(number()?).unwrap_or(u8::MAX)),
                "interval" => interval = Some(number()?),
                "topics_max" => topics_max = Some(number()?),
                "retained" => {
                    retained =
                        value.parse().map_err(|_| Problem::bad_request("`retained` is `true` or `false`"))?;
                }
                _ => {
                    return Err(Problem::bad_request(format!(
                        "there is no parameter `{}`; accepted are filter, qos, retained, payload_max, interval, topics_max",
                        name.escape_debug()
                    )));
                }
            }
        }
        if filters.is_empty() || filters.len() > FILTERS_MAX {
            return Err(Problem::bad_request(format!("1 to {FILTERS_MAX} `filter` are needed")));
        }
        let sampled = match (interval, topics_max) {
            (None, None) => None,
            (None, Some(_)) => return Err(Problem::bad_request("`topics_max` needs `interval`")),
            (Some(milliseconds @ 100..=10_000), topics) => {
                let topics_max = topics.unwrap_or(1000);
                if !(1..=5000).contains(&topics_max) {
                    return Err(Problem::bad_request("`topics_max` is 1 to 5000"));
                }
                Some(Sampled { interval: Duration::from_millis(milliseconds as u64), topics_max })
            }
            (Some(_), _) => return Err(Problem::bad_request("`interval` is 100 to 10000 milliseconds")),
        };
        let default = if sampled.is_some() { 4096 } else { 65_536 };
        Ok(Self { filters, qos: qos(level)?, retained, payload_max: payload_max(bytes, default)?, sampled })
    }

    fn subscribe(&self) -> Subscribe {
        let mut options = SubscriptionOptions::with_qos(self.qos);
        if !self.retained {
            options.retain_handling = RetainHandling::DoNotSend;
        }
        self.filters.iter().fold(Subscribe::default(), |all, filter| all.with(filter.as_str(), options))
    }
}

fn judged(filter: &str) -> Result<String, Problem> {
    let wrong = |error| Problem::bad_request(format!("`filter` `{}`: {error}", filter.escape_debug()));
    let plain = split_share(filter).map_err(wrong)?.map_or(filter, |(_, filter)| filter);
    validate_filter(plain).map_err(wrong)?;
    Ok(filter.to_owned())
}

#[derive(Serialize)]
struct Grant<'a> {
    filter: &'a str,
    granted: bool,
}

/// Live messages as Server-Sent Events; asked to upgrade, over WebSocket.
///
/// Without `interval` each message is an event `message`. With it, events `batch` bring of each topic that changed the
/// last message. The first event is `ready`; the last one is `end` with a problem.
#[utoipa::path(get, path = "/api/v1/messages", tag = "messages",
    params(
        ("filter" = Vec<String>, Query, description = "Topic Filters"),
        ("qos" = Option<u8>, Query, minimum = 0, maximum = 2, description = "At most; default 0"),
        ("retained" = Option<bool>, Query, description = "Whether retained messages come first; default true"),
        ("payload_max" = Option<u32>, Query, maximum = 1_048_576, description = "Payload bytes shown of each message"),
        ("interval" = Option<u32>, Query, minimum = 100, maximum = 10000, description = "Milliseconds between two batches"),
        ("topics_max" = Option<u32>, Query, minimum = 1, maximum = 5000, description = "Topics in a batch")),
    responses(
        (status = 200, content_type = "text/event-stream", body = String),
        (status = 101, description = "WebSocket: each text frame is `{\"event\", \"data\"}`"),
        Refused<(Asked, ByRole, Limited, Broker)>))]
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    caller: Caller,
    way: Way,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let wanted = Wanted::parse(&query.unwrap_or_default())?;
    let place = app.stream_place()?;
    let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
    let events = stream::unfold(receiver, |mut receiver: mpsc::Receiver<Told>| async move {
        Some((receiver.recv().await?, receiver))
    });
    if let Some(sampled) = wanted.sampled
        && watch::suits(&wanted.filters)
        && let Some(watching) = Watching::begin(&app, &caller, &wanted.filters, wanted.payload_max).await
    {
        tokio::spawn(produce_watched(app, caller, wanted, sampled, watching, sender, place));
        return Ok(way.tell(events));
    }
    let judged = wanted.sampled.is_some() && judges(&app, &caller, &wanted.filters);
    let client = if judged { app.inside_client().await? } else { app.reading_client(&caller).await? };
    let subscription = match client.subscribe(wanted.subscribe()).await {
        Ok(subscription) => subscription,
        Err(error) => return Err(refused(&app, &caller, &wanted.filters, &error)),
    };
    tokio::spawn(produce(app, caller, wanted, (subscription, judged), sender, place));
    Ok(way.tell(events))
}

/// Which filters the caller may subscribe to. Of the others a stream for pages brings what may be read.
fn granted(app: &App, caller: &Caller, filters: &[String]) -> Vec<bool> {
    let rights = app.operator.rights();
    let may = |filter: &String| {
        caller.role == Role::Admin || rights.explain_filter(caller.subject(), plain(filter)).allowed
    };
    filters.iter().map(may).collect()
}

/// Whether a stream for pages is to leave out itself what the caller may not read: there is a filter with wildcards the
/// caller may not subscribe to. A member of a share group takes what others would get, so that it does not come into
/// question.
fn judges(app: &App, caller: &Caller, filters: &[String]) -> bool {
    let shared = |filter: &String| !matches!(split_share(filter), Ok(None));
    let partly = granted(app, caller, filters).into_iter().zip(filters);
    !filters.iter().any(shared)
        && partly.into_iter().any(|(granted, filter)| !granted && filter.contains(['+', '#']))
}

async fn produce_watched(
    app: Arc<App>,
    caller: Caller,
    wanted: Wanted,
    sampled: Sampled,
    watching: Watching,
    sender: mpsc::Sender<Told>,
    _place: OwnedSemaphorePermit,
) {
    let granted = granted(&app, &caller, &wanted.filters);
    if !ready(&sender, wanted.filters.iter().zip(granted)).await {
        return;
    }
    if let Some(problem) = watch::run(&app, &caller, &wanted, sampled, watching, &sender).await {
        let _ = sender.send(("end", serde_json::to_string(&problem).unwrap_or_default())).await;
    }
}

/// Says which filters hold. False: the reader is gone.
async fn ready<'a>(sender: &mpsc::Sender<Told>, filters: impl Iterator<Item = (&'a String, bool)>) -> bool {
    let grants: Vec<_> = filters.map(|(filter, granted)| Grant { filter, granted }).collect();
    sender.send(("ready", json!({ "filters": grants }).to_string())).await.is_ok()
}

fn refused(app: &App, caller: &Caller, filters: &[String], error: &SubscribeError) -> Problem {
    match error {
        SubscribeError::Refused(_) => denied(app, caller, filters),
        SubscribeError::Closed => Problem::unavailable("the broker ends"),
        other => Problem::bad_request(other.to_string()),
    }
}

fn denied(app: &App, caller: &Caller, filters: &[String]) -> Problem {
    let rights = app.operator.rights();
    let rule = filters.iter().find_map(|filter| {
        let decision = rights.explain_filter(caller.subject(), plain(filter));
        (!decision.allowed).then(|| decision.source.unwrap_or("the default of the rights").to_owned())
    });
    Problem::denied(match rule {
        Some(rule) => format!("the rights do not allow this subscription: {rule}"),
        None => "the broker refuses this subscription".to_owned(),
    })
}

/// Turns messages into events until the reader is gone, or the subscription ends.
async fn produce(
    app: Arc<App>,
    caller: Caller,
    wanted: Wanted,
    (mut subscription, judged): (Subscription, bool),
    sender: mpsc::Sender<Told>,
    _place: OwnedSemaphorePermit,
) {
    let granted = match judged {
        true => granted(&app, &caller, &wanted.filters),
        false => subscription.granted().iter().map(|code| !code.is_error()).collect(),
    };
    if !ready(&sender, wanted.filters.iter().zip(granted)).await {
        return;
    }
    let end = match wanted.sampled {
        None => one_by_one(&app, &caller, wanted.payload_max, &mut subscription, &sender).await,
        Some(sampled) => {
            let shown = |message: &Message| !judged || app.may_read(&caller, message.topic());
            batch::run(&app, &caller, sampled, wanted.payload_max, (&mut subscription, shown), &sender).await
        }
    };
    if let Some(problem) = end {
        let _ = sender.send(("end", serde_json::to_string(&problem).unwrap_or_default())).await;
    }
}

fn over() -> Option<Problem> {
    Some(Problem::unavailable(
        "the broker ended the subscription: it stops, or somebody disconnected this stream",
    ))
}

fn no_longer() -> Option<Problem> {
    Some(Problem::login_required("the login ended, or its role changed"))
}

/// None: the reader is gone.
async fn one_by_one(
    app: &App,
    caller: &Caller,
    payload_max: usize,
    subscription: &mut Subscription,
    sender: &mpsc::Sender<Told>,
) -> Option<Problem> {
    let mut checks = interval(CHECK_EVERY);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = subscription.next() => {
                let Some(message) = message else { return over() };
                let view = MessageView::live(&message, time::now(), payload_max);
                let text = serde_json::to_string(&view).unwrap_or_default();
                sender.send(("message", text)).await.ok()?;
            }
            _ = checks.tick() => {
                if !app.still_holds(caller) {
                    return no_longer();
                }
            }
            () = sender.closed() => return None,
        }
    }
}
