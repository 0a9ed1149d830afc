//! Filters by content that have names, and trying one.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cork_broker::managed::{Edit, Kind};
use cork_filter::{Changed, FilterError, Message, Outcome, Properties, Reading, Rule, Scratch};
use cork_packet::validate_name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    extract::Body,
    guard::{Admin, Caller},
    manage::by_hand,
    message::{Encoding, PropertiesView},
    operate::Items,
    problem::Problem,
    refused::{Asked, Broker, ByRole, Checked, Managed, Missing, Refused, Sent},
};

/// Messages of one try.
const MESSAGES_MAX: usize = 1000;

/// A filter with a name.
#[derive(Serialize, ToSchema)]
pub(crate) struct FilterView {
    name: String,
    when: Option<String>,
    /// `payload`, or what is looked at.
    changed: Option<String>,
    deadband: Option<f64>,
    every: Option<String>,
    /// Whether it can be changed here.
    managed: bool,
    /// Where it was written by hand.
    origin: Option<String>,
    /// Subscriptions that have it, or that it is attached to; at the last `$SYS` interval.
    subscriptions: u64,
    /// Messages it passed on, of all who use it; at the last `$SYS` interval.
    passed: u64,
    /// Messages it kept back.
    suppressed: u64,
    /// Messages whose payload it could not read.
    not_understood: u64,
}

/// What a filter is made of; at least one of them.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewFilter {
    /// A condition.
    when: Option<String>,
    /// `true`, or what to look at.
    #[schema(value_type = Option<String>)]
    changed: Option<serde_json::Value>,
    deadband: Option<f64>,
    /// As `10s`.
    every: Option<String>,
}

impl NewFilter {
    /// The filter, if it is one.
    fn rule(&self) -> Result<Rule, FilterError> {
        let mut rule = Rule::default();
        if let Some(when) = &self.when {
            rule.when(when)?;
        }
        if let Some(changed) = &self.changed {
            rule.option("changed", &changed.as_str().map_or_else(|| changed.to_string(), str::to_owned))?;
        }
        if let Some(deadband) = self.deadband {
            rule.option("deadband", &deadband.to_string())?;
        }
        if let Some(every) = &self.every {
            rule.option("every", every)?;
        }
        rule.checked()
    }
}

fn not_understood(error: &FilterError) -> Problem {
    Problem::not_understood(error.to_string()).at(error.position())
}

impl App {
    async fn filter_views(&self) -> Result<Vec<FilterView>, Problem> {
        let config = self.operator.config();
        if config.filters.named.is_empty() {
            return Ok(Vec::new());
        }
        let said = self.said("$SYS/broker/filters/").await?;
        let views = config.filters.named.iter().map(|(name, rule)| {
            let number = |key: &str| {
                said.get(&format!("{name}/{key}")).and_then(|text| text.parse().ok()).unwrap_or(0)
            };
            let origin = config.filter_origins.get(&**name);
            let managed = origin.is_some_and(|origin| config.is_managed(origin));
            FilterView {
                name: name.to_string(),
                when: rule.when.as_ref().map(|when| when.source().to_owned()),
                changed: rule.changed.as_ref().map(|changed| match changed {
                    Changed::Payload => "payload".to_owned(),
                    Changed::Named(what) => what.source().to_owned(),
                }),
                deadband: rule.deadband,
                every: rule.every.map(|every| match every.as_millis() {
                    ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
                    ms => format!("{ms}ms"),
                }),
                managed,
                origin: origin.and_then(by_hand).filter(|_| !managed),
                subscriptions: number("subscriptions"),
                passed: number("passed"),
                suppressed: number("suppressed"),
                not_understood: number("not_understood"),
            }
        });
        Ok(views.collect())
    }
}

/// The filters that have names.
#[utoipa::path(get, path = "/api/v1/filters", tag = "links", responses(
    (status = 200, body = Items<FilterView>), Refused<Broker>))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Caller) -> Result<Json<Items<FilterView>>, Problem> {
    Ok(Json(Items { items: app.filter_views().await? }))
}

/// Make a filter, or change it; who uses it gets what it passes from now on.
#[utoipa::path(put, path = "/api/v1/filters/{name}", tag = "links", params(("name" = String, Path)),
    request_body = NewFilter, responses(
    (status = 200, body = FilterView),
    (status = 201, body = FilterView), Refused<(Sent, ByRole, Managed, Checked)>))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(name): Path<String>,
    Body(new): Body<NewFilter>,
) -> Result<Response, Problem> {
    new.rule().map_err(|error| not_understood(&error))?;
    let is_new = !app.operator.config().filters.named.contains_key(&*name);
    let changed = new.changed.map(|changed| match changed {
        serde_json::Value::Bool(truth) => truth.into(),
        other => toml::Value::from(other.as_str().unwrap_or_default()),
    });
    let keys = [
        ("when", new.when.map(toml::Value::from)),
        ("changed", changed),
        ("deadband", new.deadband.map(toml::Value::from)),
        ("every", new.every.map(toml::Value::from)),
    ];
    let table = keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    app.manage(&caller, "set filter", &name, Edit::Part { kind: Kind::Filter, name: name.clone(), table })
        .await?;
    let view = app.filter_views().await?.into_iter().find(|view| view.name == name);
    let view = view.ok_or_else(|| Problem::conflict("somebody else removed it at once"))?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(view)).into_response())
}

/// Remove a filter; who has subscribed by its name gets nothing more.
#[utoipa::path(delete, path = "/api/v1/filters/{name}", tag = "links", params(("name" = String, Path)),
    responses(
    (status = 204), Refused<(Asked, ByRole, Missing, Managed)>))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    app.remove(&caller, Kind::Filter, name).await
}

/// A filter, and messages to try it on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trial {
    when: Option<String>,
    #[schema(value_type = Option<String>)]
    changed: Option<serde_json::Value>,
    deadband: Option<f64>,
    every: Option<String>,
    /// At most 1000, as if they came one right after the other.
    messages: Vec<TrialMessage>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialMessage {
    topic: String,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    #[serde(default)]
    properties: PropertiesView,
}

/// What became of each message.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tried {
    results: Vec<Verdict>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Verdict {
    passes: bool,
    /// `passes`, `when is false`, `not changed`, `within the deadband`, `too early`, `not understood`.
    reason: &'static str,
}

impl Properties for PropertiesView {
    fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    fn user(&self, name: &str) -> Option<&str> {
        self.user.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn bytes(&self) -> usize {
        self.user.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// What one subscription with the filter passed on, by topic.
#[derive(Default)]
struct Before {
    last: BTreeMap<String, Option<Reading>>,
}

impl Before {
    fn judge(&mut self, rule: &Rule, message: &TrialMessage, payload: &[u8]) -> &'static str {
        let mut scratch = Scratch::default();
        let seen = scratch.look(Message {
            topic: &message.topic,
            payload,
            qos: message.qos,
            retain: message.retain,
            client_id: "",
            user: "",
            properties: &message.properties,
        });
        match rule.when.as_ref().map_or(Outcome::Passes, |when| when.test(&seen)) {
            Outcome::Passes => {}
            Outcome::Fails => return "when is false",
            Outcome::NotUnderstood => return "not understood",
        }
        let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
        let reading = match &rule.changed {
            _ if !rule.compares() => None,
            Some(Changed::Named(what)) => what.reading(&seen, &hasher),
            Some(Changed::Payload) | None => Some(seen.reading(&hasher)),
        };
        if rule.compares() && reading.is_none() {
            return "not understood";
        }
        let before = self.last.get(&message.topic);
        if let (Some(Some(last)), Some(new)) = (before, reading)
            && !new.differs(*last, rule.deadband.unwrap_or(0.0))
        {
            return if rule.deadband.is_some() { "within the deadband" } else { "not changed" };
        }
        if rule.every.is_some() && before.is_some() {
            return "too early";
        }
        self.last.insert(message.topic.clone(), reading);
        "passes"
    }
}

/// Try a filter on messages.
#[utoipa::path(post, path = "/api/v1/filters/try", tag = "links", request_body = Trial,
    responses(
    (status = 200, body = Tried), Refused<(Sent, Checked)>))]
pub(crate) async fn attempt(_: Caller, Body(trial): Body<Trial>) -> Result<Json<Tried>, Problem> {
    let Trial { when, changed, deadband, every, messages } = trial;
    if messages.len() > MESSAGES_MAX {
        return Err(Problem::bad_request(format!("there may be {MESSAGES_MAX} messages")));
    }
    let rule = NewFilter { when, changed, deadband, every }.rule().map_err(|error| not_understood(&error))?;
    let (mut before, mut results) = (Before::default(), Vec::new());
    for message in &messages {
        let wrong =
            |error| Problem::bad_request(format!("`topic` `{}`: {error}", message.topic.escape_debug()));
        validate_name(&message.topic).map_err(wrong)?;
        if message.qos > 2 {
            return Err(Problem::bad_request("`qos` is 0, 1 or 2"));
        }
        let payload = match message.encoding {
            Encoding::Utf8 => message.payload.clone().into_bytes(),
            Encoding::Base64 => STANDARD
                .decode(&message.payload)
                .map_err(|error| Problem::bad_request(format!("`payload` is no Base64: {error}")))?,
        };
        let reason = before.judge(&rule, message, &payload);
        results.push(Verdict { passes: reason == "passes", reason });
    }
    Ok(Json(Tried { results }))
}
