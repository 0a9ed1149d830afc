//! A message as JSON.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cork_broker::RetainedView;
use cork_packet::{Properties, Property, PropertyPlace, QoS};
use cork_store::WallTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{problem::Problem, time};

/// How a payload is written.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// As it is.
    #[default]
    Utf8,
    /// It is no UTF-8.
    Base64,
}

/// A message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MessageView {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) encoding: Encoding,
    /// Bytes of the whole payload.
    pub(crate) size: usize,
    /// Whether only its beginning is here.
    pub(crate) truncated: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) time: String,
    #[serde(skip_serializing_if = "PropertiesView::is_empty")]
    pub(crate) properties: PropertiesView,
    /// Its content is on the disk only, for the broker's memory is short.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) away: bool,
    /// Who published a retained message, or one of the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<Author>,
    /// In a batch: messages of this topic since the last batch it was in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
}

/// Who published a message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Author {
    client_id: String,
    user: Option<String>,
}

/// The properties of a message; those it does not have are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PropertiesView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_topic: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) correlation_data: Option<String>,
    /// Payload Format Indicator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) utf8: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expiry_seconds: Option<u32>,
    /// Names and values; names may repeat.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) user: Vec<(String, String)>,
}

impl PropertiesView {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those of a message as it is forwarded; none if it has none.
    pub(crate) fn of_forwarded(encoded: &[u8]) -> Option<Self> {
        if encoded.is_empty() {
            return None;
        }
        let properties = Properties::decode(encoded, PropertyPlace::PublishToServer).unwrap_or_default();
        Some(Self::of(properties)).filter(|view| !view.is_empty())
    }

    fn of(properties: Properties<'_>) -> Self {
        let mut view = Self::default();
        for property in properties.iter() {
            match property {
                Property::ContentType(text) => view.content_type = Some(text.into()),
                Property::ResponseTopic(topic) => view.response_topic = Some(topic.into()),
                Property::CorrelationData(data) => view.correlation_data = Some(STANDARD.encode(data)),
                Property::PayloadFormatIndicator(value) => view.utf8 = Some(value == 1),
                Property::MessageExpiryInterval(seconds) => view.expiry_seconds = Some(seconds),
                Property::UserProperty(name, value) => view.user.push((name.into(), value.into())),
                _ => {}
            }
        }
        view
    }
}

impl MessageView {
    fn new(topic: &str, payload: &[u8], payload_max: usize, properties: Properties<'_>) -> Self {
        let truncated = payload.len() > payload_max;
        let (shown, encoding) = shown(&payload[..payload.len().min(payload_max)], truncated);
        Self {
            topic: topic.to_owned(),
            payload: shown.into_owned(),
            encoding,
            size: payload.len(),
            truncated,
            qos: 0,
            retain: false,
            time: String::new(),
            properties: PropertiesView::of(properties),
            away: false,
            author: None,
            count: None,
        }
    }

    /// A message that came just now.
    pub(crate) fn live(message: &cork_client::Message, at: WallTime, payload_max: usize) -> Self {
        Self {
            qos: message.qos() as u8,
            retain: message.retain(),
            time: time::text(at),
            ..Self::new(message.topic(), message.payload(), payload_max, message.properties())
        }
    }

    /// A message on its way.
    pub(crate) fn of_packet(publish: &cork_packet::Publish<'_>, at: WallTime, payload_max: usize) -> Self {
        Self {
            qos: publish.qos as u8,
            retain: publish.retain,
            time: time::text(at),
            ..Self::new(publish.topic, publish.payload, payload_max, publish.properties)
        }
    }

    /// A retained message.
    pub(crate) fn of_retained(found: &RetainedView, payload_max: usize, now: WallTime) -> Self {
        match found {
            RetainedView::Here(message) => Self::retained(message, payload_max, now),
            RetainedView::Away { topic, id } => Self {
                retain: true,
                away: true,
                time: time::text(id.arrived),
                ..Self::new(topic, b"", payload_max, Properties::EMPTY)
            },
        }
    }

    /// A message of the past.
    pub(crate) fn of_kept(message: &cork_store::Message, payload_max: usize, now: WallTime) -> Self {
        Self { retain: message.retain, ..Self::retained(message, payload_max, now) }
    }

    fn retained(message: &cork_store::Message, payload_max: usize, now: WallTime) -> Self {
        let properties =
            Properties::decode(message.properties(), PropertyPlace::PublishToServer).unwrap_or_default();
        let author = &message.publisher;
        let author = Author {
            client_id: author.client_id.clone().into(),
            user: author.user_name.clone().map(Into::into),
        };
        let mut view = Self {
            qos: message.qos as u8,
            retain: true,
            time: time::text(message.id().arrived),
            author: Some(author),
            ..Self::new(message.topic(), message.payload(), payload_max, properties)
        };
        view.properties.expiry_seconds = message
            .expires()
            .map(|at| u32::try_from(at.0.saturating_sub(now.0) / 1_000_000).unwrap_or(u32::MAX));
        view
    }
}

/// A payload, or the beginning of one (`truncated`), as text.
pub(crate) fn shown(front: &[u8], truncated: bool) -> (Cow<'_, str>, Encoding) {
    match str::from_utf8(front) {
        Ok(text) => (text.into(), Encoding::Utf8),
        // A character that is cut in two does not make it binary.
        Err(error) if truncated && error.error_len().is_none() => {
            (String::from_utf8_lossy(&front[..error.valid_up_to()]), Encoding::Utf8)
        }
        Err(_) => (STANDARD.encode(front).into(), Encoding::Base64),
    }
}

/// Refuses a `payload_max` that is too large.
pub(crate) fn payload_max(asked: Option<usize>, default: usize) -> Result<usize, Problem> {
    match asked {
        None => Ok(default),
        Some(bytes) if bytes <= 1 << 20 => Ok(bytes),
        Some(_) => Err(Problem::bad_request("`payload_max` is at most 1048576")),
    }
}

/// The QoS a number stands for.
pub(crate) fn qos(number: Option<u8>) -> Result<QoS, Problem> {
    match number.unwrap_or(0) {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err(Problem::bad_request("`qos` is 0, 1 or 2")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_text_if_they_can_be() {
        let euros = "€€".as_bytes();
        for (payload, max, expected) in [
            (&b"21.5"[..], 10, ("21.5", Encoding::Utf8, false)),
            (b"21.5", 2, ("21", Encoding::Utf8, true)),
            (b"", 0, ("", Encoding::Utf8, false)),
            (euros, 4, ("€", Encoding::Utf8, true)),
            (&euros[..4], 10, ("4oKs4g==", Encoding::Base64, false)),
            (b"\xFF\0", 1, ("/w==", Encoding::Base64, true)),
        ] {
            let truncated = payload.len() > max;
            let (text, encoding) = shown(&payload[..payload.len().min(max)], truncated);
            assert_eq!((&*text, encoding, truncated), expected, "{payload:?}");
        }
    }
}
