//! Publishing, and asking over MQTT.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cork_access::Action;
use cork_client::{Client, Publish, PublishError, ReasonCode, RequestError};
use cork_packet::validate_name;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    app::App,
    extract::Body,
    guard::Caller,
    message::{Encoding, MessageView, PropertiesView, qos},
    problem::Problem,
    refused::{ByRole, Limited, Refused, Relayed, Sent},
    time,
};

/// Bytes of a string or of binary data in MQTT.
const PROPERTY_BYTES_MAX: usize = 65_535;
/// Publications in one request.
const LIST_MAX: usize = 1000;
/// Users with a connection that is kept for their next publication.
const KEPT_MAX: usize = 16;
/// It is kept for so long.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// How long the broker may take to acknowledge.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections kept for who publishes often, by user.
pub(crate) type Publishers = HashMap<Option<String>, (Client, Instant)>;

/// A message to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publication {
    topic: String,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    encoding: Encoding,
    /// 0, 1 or 2. Default: 0.
    #[schema(minimum = 0, maximum = 2)]
    qos: Option<u8>,
    #[serde(default)]
    retain: bool,
    #[serde(default)]
    properties: PropertiesView,
}

/// A body with one or several, so that what is wrong with it is said of the key it is wrong with.
#[derive(Debug)]
pub(crate) struct Given(Publications);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let publications = match Value::deserialize(from)? {
            Value::Array(list) => {
                let one = |(at, value)| {
                    serde_json::from_value(value)
                        .map_err(|error| D::Error::custom(format!("message {at}: {error}")))
                };
                Publications::Several(list.into_iter().enumerate().map(one).collect::<Result<_, _>>()?)
            }
            object @ Value::Object(_) => {
                Publications::One(serde_json::from_value(object).map_err(D::Error::custom)?)
            }
            _ => return Err(D::Error::custom("what is published is an object, or a list of objects")),
        };
        Ok(Self(publications))
    }
}

/// One message, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Publications {
    One(Box<Publication>),
    Several(Vec<Publication>),
}

/// What became of one message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Outcome {
    /// Its topic, where several were published.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// MQTT 5.0 Reason Code; 16: nobody subscribed.
    reason_code: u8,
    /// The same in words.
    reason: String,
}

/// What became of several.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Outcomes {
    results: Vec<Outcome>,
}

/// One or several outcomes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only described, in the OpenAPI document")]
pub(crate) enum Published {
    One(Outcome),
    Several(Outcomes),
}

impl Publication {
    fn build(&self) -> Result<Publish, Problem> {
        validate_name(&self.topic).map_err(|error| {
            Problem::bad_request(format!("`topic` `{}`: {error}", self.topic.escape_debug()))
        })?;
        let decode = |name: &str, text: &str| {
            STANDARD
                .decode(text)
                .map_err(|error| Problem::bad_request(format!("`{name}` is not Base64: {error}")))
        };
        let payload = match self.encoding {
            Encoding::Utf8 => self.payload.clone().into_bytes(),
            Encoding::Base64 => decode("payload", &self.payload)?,
        };
        let mut publish = Publish::new(self.topic.as_str(), payload).qos(qos(self.qos)?).retain(self.retain);
        let PropertiesView { content_type, response_topic, correlation_data, utf8, expiry_seconds, user } =
            &self.properties;
        if let Some(text) = content_type {
            fits("content_type", text.as_bytes())?;
            publish = publish.content_type(text);
        }
        if let Some(topic) = response_topic {
            fits("response_topic", topic.as_bytes())?;
            validate_name(topic)
                .map_err(|error| Problem::bad_request(format!("`response_topic`: {error}")))?;
            publish = publish.response_topic(topic);
        }
        if let Some(data) = correlation_data {
            let data = decode("correlation_data", data)?;
            long("correlation_data", &data)?;
            publish = publish.correlation_data(&data);
        }
        if *utf8 == Some(true) {
            publish = publish.utf8();
        }
        if let Some(seconds) = expiry_seconds {
            publish = publish.expiry(*seconds);
        }
        for (name, value) in user {
            fits("user", name.as_bytes())?;
            fits("user", value.as_bytes())?;
        }
        Ok(user.iter().fold(publish, |publish, (name, value)| publish.user_property(name, value)))
    }
}

/// Refuses what no MQTT packet can carry.
fn long(name: &str, data: &[u8]) -> Result<(), Problem> {
    match data.len() {
        0..=PROPERTY_BYTES_MAX => Ok(()),
        length => Err(Problem::bad_request(format!(
            "`{name}` of `properties` has {length} bytes; at most {PROPERTY_BYTES_MAX} fit"
        ))),
    }
}

/// The same for a text, which has no U+0000 either (5.0 [MQTT-1.5.4-2]).
fn fits(name: &str, text: &[u8]) -> Result<(), Problem> {
    if text.contains(&0) {
        return Err(Problem::bad_request(format!("`{name}` of `properties` has the character U+0000")));
    }
    long(name, text)
}

/// Publish one message, or a list of up to 1000.
#[utoipa::path(post, path = "/api/v1/publish", tag = "messages", request_body = Publications, responses(
    (status = 200, body = Published), Refused<(Sent, ByRole, Relayed)>))]
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(Given(publications)): Body<Given>,
) -> Result<Response, Problem> {
    match publications {
        Publications::One(publication) => {
            let publish = publication.build()?;
            judge(&app, &caller, &publication.topic)?;
            let client = app.publisher(&caller).await?;
            let reason = deliver(&client, publish).await?;
            let outcome = Outcome { topic: None, reason_code: reason.0, reason: reason.to_string() };
            Ok(Json(outcome).into_response())
        }
        Publications::Several(list) if list.len() > LIST_MAX => {
            Err(Problem::bad_request(format!("at most {LIST_MAX} messages in one request")))
        }
        Publications::Several(list) => {
            let built: Vec<Publish> = list.iter().map(Publication::build).collect::<Result<_, _>>()?;
            let client = app.publisher(&caller).await?;
            let mut results = Vec::new();
            for (publication, publish) in list.into_iter().zip(built) {
                let reason = match judge(&app, &caller, &publication.topic) {
                    Ok(()) => deliver(&client, publish).await?,
                    Err(_) => ReasonCode::NOT_AUTHORIZED,
                };
                let topic = Some(publication.topic);
                results.push(Outcome { topic, reason_code: reason.0, reason: reason.to_string() });
            }
            Ok(Json(Outcomes { results }).into_response())
        }
    }
}

/// At QoS 0 the broker would not tell.
fn judge(app: &App, caller: &Caller, topic: &str) -> Result<(), Problem> {
    let rights = app.operator.rights();
    let decision = rights.explain(caller.subject(), Action::Write, topic);
    if decision.allowed {
        return Ok(());
    }
    let rule = decision.source.unwrap_or("their default");
    Err(Problem::denied(format!("the rights do not allow writing to `{}`: {rule}", topic.escape_debug())))
}

/// Publishes and waits for what the broker says of it.
pub(crate) async fn deliver(client: &Client, publish: Publish) -> Result<ReasonCode, Problem> {
    match tokio::time::timeout(PATIENCE, client.deliver(publish)).await {
        Ok(Ok(published)) => Ok(published.reason),
        Ok(Err(PublishError::Refused { reason, .. })) => Ok(reason),
        Ok(Err(PublishError::ConnectionLost | PublishError::Closed | PublishError::SessionLost)) => {
            Err(Problem::unavailable(
                "the connection to the broker ended; the message may or may not have arrived",
            ))
        }
        Ok(Err(error @ PublishError::TooLarge { .. })) => Err(Problem::too_large(error.to_string())),
        Ok(Err(error)) => Err(Problem::bad_request(error.to_string())),
        Err(_) => Err(Problem::timeout("the broker does not acknowledge the message")),
    }
}

impl App {
    /// A connection to publish with, kept for the next time.
    async fn publisher(&self, caller: &Caller) -> Result<Client, Problem> {
        let mut publishers = self.publishers.lock().await;
        publishers.retain(|_, (client, used)| used.elapsed() < KEPT_FOR && client.is_connected());
        if let Some((client, used)) = publishers.get_mut(&caller.user) {
            *used = Instant::now();
            return Ok(client.clone());
        }
        let client = self.client(caller).await?;
        if publishers.len() < KEPT_MAX {
            publishers.insert(caller.user.clone(), (client.clone(), Instant::now()));
        }
        Ok(client)
    }
}

// The keys of `Publication` stand here again: with `flatten` serde could take them from there, but would no longer
// refuse a key that it does not know, and a misspelt one would count for nothing.
/// A message that wants an answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    topic: String,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    encoding: Encoding,
    /// 0, 1 or 2. Default: 0.
    #[schema(minimum = 0, maximum = 2)]
    qos: Option<u8>,
    #[serde(default)]
    retain: bool,
    #[serde(default)]
    properties: PropertiesView,
    /// How long to wait, at most 60. Default: 5.
    #[schema(minimum = 1, maximum = 60)]
    timeout_seconds: Option<u64>,
}

/// Publish a message with a Response Topic, and wait for the first response.
#[utoipa::path(post, path = "/api/v1/request", tag = "messages", request_body = Question, responses(
    (status = 200, body = MessageView), Refused<(Sent, ByRole, Limited, Relayed)>))]
pub(crate) async fn request(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(question): Body<Question>,
) -> Result<Json<MessageView>, Problem> {
    let Question { topic, payload, encoding, qos, retain, properties, timeout_seconds } = question;
    let publication = Publication { topic, payload, encoding, qos, retain, properties };
    let seconds = timeout_seconds.unwrap_or(5);
    if !(1..=60).contains(&seconds) {
        return Err(Problem::bad_request("`timeout_seconds` is 1 to 60"));
    }
    let publish = publication.build()?;
    judge(&app, &caller, &publication.topic)?;
    let _place = app.stream_place()?;
    let client = app.client(&caller).await?;
    let asked = client.request(publish, Duration::from_secs(seconds)).await;
    match asked {
        Ok(answer) => Ok(Json(MessageView::live(&answer, time::now(), 1 << 20))),
        Err(RequestError::Timeout) => Err(Problem::timeout(format!("nobody answered within {seconds} s"))),
        Err(RequestError::NobodyListens) => Err(Problem::timeout("nobody is subscribed to this topic")),
        Err(RequestError::Closed) => Err(Problem::unavailable("the broker ends")),
        Err(RequestError::Publish(PublishError::Refused { reason, .. })) => {
            Err(Problem::denied(format!("the broker refuses the message: {reason}")))
        }
        Err(RequestError::Subscribe(error)) => {
            Err(Problem::denied(format!("the topic for the answer, `response/...`: {error}")))
        }
        Err(error) => Err(Problem::bad_request(error.to_string())),
    }
}
