//! One value of a row, on its way into a column, a field or a tag.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    column::Kind,
    time::{from_number, parse_rfc3339, rfc3339},
};

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// There is none.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Any other number, always finite.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// A JSON document as text.
    Json(Cow<'a, str>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Microseconds since 1970-01-01 UTC.
    Time(i64),
}

impl<'a> Cell<'a> {
    /// A part of a JSON document: its scalars are what they are, objects and arrays stay JSON.
    pub(crate) fn of_json(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Self::Int(integer),
                (None, Some(float)) => Self::Float(float),
                (None, None) => Self::Text(number.to_string().into()),
            },
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::Array(_) | Value::Object(_) => Self::Json(value.to_string().into()),
        }
    }

    /// The value as the kind that is wanted; `None` if it is none of that kind.
    pub(crate) fn cast(self, kind: Kind) -> Option<Self> {
        match kind {
            _ if self == Self::Null => Some(Self::Null),
            Kind::Number => self.number(),
            Kind::Integer => self.integer().map(Self::Int),
            Kind::Text => self.text().map(Self::Text),
            Kind::Boolean => self.boolean().map(Self::Bool),
            Kind::Json => self.json().map(Self::Json),
            Kind::Time => self.time().map(Self::Time),
            Kind::Bytes => self.bytes(),
        }
    }

    fn number(self) -> Option<Self> {
        match self {
            Self::Int(_) | Self::Float(_) => Some(self),
            Self::Text(text) => {
                text.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(Self::Float)
            }
            _ => None,
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "only integers below 2^53 get there")]
    fn integer(self) -> Option<i64> {
        match self {
            Self::Int(integer) => Some(integer),
            Self::Float(float) if float.fract() == 0.0 && float.abs() < 9e15 => Some(float as i64),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) | Self::Json(text) => Some(text),
            Self::Bool(truth) => Some(truth.to_string().into()),
            Self::Int(integer) => Some(integer.to_string().into()),
            Self::Float(float) => Some(float.to_string().into()),
            Self::Time(micros) => Some(rfc3339(micros).into()),
            Self::Null | Self::Bytes(_) => None,
        }
    }

    fn boolean(self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(truth),
            Self::Int(number @ 0..=1) => Some(number == 1),
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" => Some(true),
                "false" | "off" | "no" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    fn json(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Json(text) => Some(text),
            Self::Text(text) => Some(Value::from(&*text).to_string().into()),
            Self::Bytes(_) => None,
            Self::Time(micros) => Some(Value::from(rfc3339(micros)).to_string().into()),
            other => other.text(),
        }
    }

    fn time(self) -> Option<i64> {
        #[allow(clippy::cast_precision_loss, reason = "microseconds of the next 280 years are exact")]
        match self {
            Self::Time(micros) => Some(micros),
            Self::Int(number) => from_number(number as f64),
            Self::Float(number) => from_number(number),
            Self::Text(text) => match text.trim().parse::<f64>() {
                Ok(number) => from_number(number),
                Err(_) => parse_rfc3339(&text),
            },
            _ => None,
        }
    }

    fn bytes(self) -> Option<Self> {
        match self {
            Self::Bytes(_) => Some(self),
            Self::Text(Cow::Borrowed(text)) | Self::Json(Cow::Borrowed(text)) => {
                Some(Self::Bytes(text.as_bytes()))
            }
            _ => None,
        }
    }

    /// The value for an error: short, in one line.
    pub(crate) fn shown(&self) -> String {
        const SHOWN: usize = 40;
        match self.clone().text() {
            Some(text) if text.chars().count() > SHOWN => {
                format!("`{}...`", text.chars().take(SHOWN).collect::<String>().escape_debug())
            }
            Some(text) => format!("`{}`", text.escape_debug()),
            None => "what is there".to_owned(),
        }
    }
}
