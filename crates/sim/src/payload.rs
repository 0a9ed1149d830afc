//! Payloads: one value, or several as a JSON object.

use std::fmt::Write as _;

use crate::{
    clock::Moment,
    model::{Model, Sample, Source},
    random::Random,
    replay::Replay,
};

/// A value and how it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// How it comes about.
    pub model: Model,
    /// Decimals of numbers.
    pub decimals: u8,
}

impl Value {
    /// Decimals unless said otherwise: what a cheap sensor shows.
    pub const DECIMALS: u8 = 1;
    /// More would be noise.
    pub const DECIMALS_MAX: u8 = 9;

    /// A value with one decimal.
    #[must_use]
    pub const fn new(model: Model) -> Self {
        Self { model, decimals: Self::DECIMALS }
    }
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// One value, as it is.
    Plain(Value),
    /// Several, as a JSON object.
    Json(Vec<(String, Value)>),
    /// The row that is replayed: its value if there is one column, else a JSON object.
    Row,
}

impl Content {
    /// The values in it.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        let (one, many): (_, &[(String, Value)]) = match self {
            Self::Plain(value) => (Some(value), &[]),
            Self::Json(fields) => (None, fields),
            Self::Row => (None, &[]),
        };
        one.into_iter().chain(many.iter().map(|(_, value)| value))
    }

    /// What its models must remember, for one message of one device.
    pub(crate) fn sources(&self, place: &[u64]) -> Box<[Source]> {
        let source = |(field, _)| Source::new(Random::stream(&[place, &[field as u64]].concat()));
        self.values().enumerate().map(source).collect()
    }

    /// The next payload; `None` when nothing is to be sent this time.
    pub(crate) fn next(
        &self,
        sources: &mut [Source],
        moment: &Moment,
        row: Option<(&Replay, usize)>,
    ) -> Option<String> {
        let cell = |name: &str| row.and_then(|(replay, row)| replay.cell(row, name));
        match self {
            Self::Plain(value) => {
                let sample = sources.first_mut()?.next(&value.model, moment, cell)?;
                let mut text = String::new();
                plain(&mut text, &sample, value.decimals);
                Some(text)
            }
            Self::Json(fields) => {
                let samples = fields.iter().zip(sources).filter_map(|((name, value), source)| {
                    Some((name.as_str(), source.next(&value.model, moment, cell)?, value.decimals))
                });
                object(samples)
            }
            Self::Row => {
                let (replay, row) = row?;
                let mut cells = replay.row(row).map(|(name, sample)| (name, sample, Value::DECIMALS));
                if replay.width() > 1 {
                    return object(cells);
                }
                let (_, sample, decimals) = cells.next()?;
                let mut text = String::new();
                plain(&mut text, &sample, decimals);
                Some(text)
            }
        }
    }
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, Sample, u8)>) -> Option<String> {
    let mut text = String::new();
    for (name, sample, decimals) in fields {
        text.push(if text.is_empty() { '{' } else { ',' });
        string(&mut text, name);
        text.push(':');
        match sample {
            Sample::Text(inner) => string(&mut text, &inner),
            other => plain(&mut text, &other, decimals),
        }
    }
    if text.is_empty() {
        return None;
    }
    text.push('}');
    Some(text)
}

fn plain(into: &mut String, sample: &Sample, decimals: u8) {
    match sample {
        Sample::Literal(text) | Sample::Text(text) => into.push_str(text),
        Sample::Number(number) => {
            let start = into.len();
            // Writing into a string cannot fail.
            let _ = write!(into, "{number:.*}", usize::from(decimals));
            // -0.04 with one decimal is 0.0, as no display shows -0.0.
            if into[start..].bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'))
                && into[start..].starts_with('-')
            {
                into.remove(start);
            }
        }
    }
}

/// A JSON string.
fn string(into: &mut String, text: &str) {
    into.push('"');
    for letter in text.chars() {
        match letter {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            control if control < ' ' => {
                // Writing into a string cannot fail.
                let _ = write!(into, "\\u{:04x}", u32::from(control));
            }
            other => into.push(other),
        }
    }
    into.push('"');
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::clock::Clock;

    fn next(content: &Content, row: Option<(&Replay, usize)>) -> Option<String> {
        let moment = Clock::at("2026-01-01T08:00:00Z".parse().unwrap()).moment(Duration::ZERO);
        content.next(&mut content.sources(&[1]), &moment, row)
    }

    fn value(model: &str) -> Value {
        Value::new(Model::parse(model).unwrap())
    }

    #[test]
    fn numbers_have_their_decimals() {
        let number = |number: f64, decimals| {
            let mut text = String::new();
            plain(&mut text, &Sample::Number(number), decimals);
            text
        };
        assert_eq!(number(21.44, 1), "21.4");
        assert_eq!(number(21.5, 0), "22");
        assert_eq!(number(21.0, 3), "21.000");
        assert_eq!(number(-0.04, 1), "0.0");
        assert_eq!(number(-0.06, 1), "-0.1");
        assert_eq!(number(-0.4, 0), "0");
    }

    #[test]
    fn one_value_is_plain_and_several_are_json() {
        assert_eq!(next(&Content::Plain(value("constant:open")), None).as_deref(), Some("open"));
        let fields = [
            ("temperature", value("range:21.5..21.5")),
            ("ok", value("constant:true")),
            ("a \"b\"\n", value("constant:c\\d\u{1}")),
            ("never", value("event:x:0")),
        ];
        let json = Content::Json(fields.map(|(name, value)| (name.to_owned(), value)).into());
        let expected = "{\"temperature\":21.5,\"ok\":true,\"a \\\"b\\\"\\n\":\"c\\\\d\\u0001\"}";
        assert_eq!(next(&json, None).as_deref(), Some(expected));
    }

    #[test]
    fn what_does_not_happen_is_not_sent() {
        assert_eq!(next(&Content::Plain(value("event:x:0")), None), None);
        assert_eq!(next(&Content::Json(vec![("e".to_owned(), value("event:x:0"))]), None), None);
        assert_eq!(next(&Content::Row, None), None);
    }

    #[test]
    fn rows_are_sent_as_they_stand() {
        let read = |text: &str| Replay::parse(Path::new("x.csv"), text.as_bytes(), Some("t"), true).unwrap();
        let wide = read("t,a,b,c\n1,21.50,x,\n");
        assert_eq!(next(&Content::Row, Some((&wide, 0))).as_deref(), Some("{\"a\":21.50,\"b\":\"x\"}"));
        let narrow = read("t,a\n1,21.50\n");
        assert_eq!(next(&Content::Row, Some((&narrow, 0))).as_deref(), Some("21.50"));
        assert_eq!(next(&Content::Plain(value("column:b")), Some((&wide, 0))).as_deref(), Some("x"));
        assert_eq!(next(&Content::Plain(value("column:c")), Some((&wide, 0))), None, "an empty cell");
    }
}
