//! Rows as documents.

use cork_sink::{Cell, Column, Payload, Row};
use mongodb::bson::{Binary, Bson, DateTime, Document, spec::BinarySubtype};
use serde_json::Value;

/// The document of a row: with `columns` those, else `time`, `topic`, the payload, `qos`, `retain`, and what there is of
/// the others. A number is in `value`, everything else in `payload`; of a number that a double cannot hold `text` has the
/// digits.
pub(crate) fn of(row: &Row, columns: &[Column]) -> Result<Document, String> {
    let payload = Payload::of(row);
    let mut document = Document::new();
    document.insert("_id", &*row.id);
    if !columns.is_empty() {
        for column in columns {
            document.insert(key(&column.name), bson(column.cell(row, &payload)?));
        }
        return Ok(document);
    }
    document.insert("time", DateTime::from_millis(row.time.div_euclid(1000)));
    document.insert("topic", &*row.topic);
    match payload {
        Payload::Number(number) => {
            document.insert("value", number.integer.map_or(Bson::Double(number.value), integer));
            if number.integer.is_none() && !number.is_exact() {
                document.insert("text", number.text);
            }
        }
        Payload::Json(value, _) => {
            document.insert("payload", json(value));
        }
        Payload::Text(text) => {
            document.insert("payload", text);
        }
        Payload::Binary(bytes) => {
            document.insert("payload", binary(bytes));
        }
    }
    document.insert("qos", i32::from(row.qos));
    document.insert("retain", row.retain);
    let client_id = Some(&row.client_id).filter(|id| !id.is_empty());
    let others =
        [("client_id", client_id), ("user", row.user.as_ref()), ("content_type", row.content_type.as_ref())];
    for (name, text) in others.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        document.insert(name, &**text);
    }
    if !row.user_properties.is_empty() {
        document.insert("user_properties", json(cork_sink::properties(row)));
    }
    Ok(document)
}

fn bson(cell: Cell<'_>) -> Bson {
    match cell {
        Cell::Null => Bson::Null,
        Cell::Bool(truth) => truth.into(),
        Cell::Int(number) => integer(number),
        Cell::Float(number) => number.into(),
        Cell::Text(text) => text.into_owned().into(),
        Cell::Json(text) => serde_json::from_str(&text).map_or_else(|_| text.into_owned().into(), json),
        Cell::Bytes(bytes) => binary(bytes),
        Cell::Time(micros) => DateTime::from_millis(micros.div_euclid(1000)).into(),
    }
}

/// In 32 bits where it fits, as other drivers do.
fn integer(number: i64) -> Bson {
    i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32)
}

fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}

fn json(value: Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(truth) => truth.into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => integer(number),
            (None, Some(number)) => number.into(),
            (None, None) => number.to_string().into(),
        },
        Value::String(text) => text.into(),
        Value::Array(array) => array.into_iter().map(json).collect::<Vec<Bson>>().into(),
        Value::Object(object) => {
            let mut document = Document::new();
            for (name, value) in object {
                document.insert(key(&name), json(value));
            }
            document.into()
        }
    }
}

/// A name that MongoDB has no other use for.
fn key(name: &str) -> String {
    let name = match name.strip_prefix('$') {
        Some(rest) => format!("\u{FF04}{rest}"),
        None => name.to_owned(),
    };
    name.replace('.', "\u{FF0E}").replace('\0', "\u{2400}")
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    fn payload(bytes: &[u8]) -> Document {
        let mut document = of(&Row::new("1-0-5", 1_700_000_000_123_456, "t", bytes), &[]).unwrap();
        let rest = doc! {
            "_id": "1-0-5", "time": DateTime::from_millis(1_700_000_000_123), "topic": "t", "qos": 1, "retain": false
        };
        for (name, value) in rest {
            assert_eq!(document.remove(&name), Some(value), "{name}");
        }
        document
    }

    #[test]
    fn each_kind_of_payload() {
        let cases: [(&[u8], Document); 9] = [
            (b"21.5", doc! { "value": 21.5 }),
            (b"7", doc! { "value": 7 }),
            (b"9007199254740993", doc! { "value": 9_007_199_254_740_993_i64 }),
            (
                b"18446744073709551615",
                doc! { "value": 18_446_744_073_709_551_615_f64, "text": "18446744073709551615" },
            ),
            (b"on", doc! { "payload": "on" }),
            (b"true", doc! { "payload": true }),
            (b"\xFF", doc! { "payload": binary(b"\xFF") }),
            (
                br#"{"a":{"b":[1,2.5,null,"x"]}}"#,
                doc! { "payload": { "a": { "b": [1, 2.5, Bson::Null, "x"] } } },
            ),
            (
                br#"{"$set":1,"a.b":2,"c\u0000":3,"d$":4,"":5}"#,
                doc! { "payload": { "": 5, "\u{FF04}set": 1, "a\u{FF0E}b": 2, "c\u{2400}": 3, "d$": 4 } },
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(payload(bytes), expected);
        }
    }

    #[test]
    fn every_document_can_be_written() {
        let row = Row {
            user: Some("ann".into()),
            client_id: "lamp".into(),
            user_properties: vec![("$a".into(), "1".into()), ("$a".into(), "2".into())],
            ..Row::new("1", i64::MAX, "t", "[".repeat(90).as_bytes())
        };
        let document = of(&row, &[]).unwrap();
        assert_eq!(document.get("user_properties"), Some(&doc! { "\u{FF04}a": ["1", "2"] }.into()));
        assert!(document.to_vec().is_ok());
        let deep = format!("{}{}", "[".repeat(90), "]".repeat(90));
        assert!(of(&Row::new("1", 0, "t", deep.as_bytes()), &[]).unwrap().to_vec().is_ok());
    }

    #[test]
    fn chosen_columns_only() {
        let columns =
            [Column::parse("room", "topic[0]").unwrap(), Column::parse("t", "payload.t as number").unwrap()];
        let document = of(&Row::new("1", 0, "kitchen/x", br#"{"t":"2"}"#), &columns).unwrap();
        assert_eq!(document, doc! { "_id": "1", "room": "kitchen", "t": 2.0 });
        assert!(of(&Row::new("1", 0, "kitchen/x", br#"{"t":"x"}"#), &columns).is_err());
    }
}
