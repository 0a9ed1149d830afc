//! A row as one JSON document.

use serde_json::{Map, Value, json};

use crate::{Cell, Column, Payload, Row, rfc3339};

/// The row as a JSON object: with `columns` those, else `id`, `time`, `topic`, the payload, `qos`, `retain`, and of
/// `client_id`, `user`, `content_type`, `user_properties` what there is.
///
/// A number is in `value`; a JSON document or text in `payload`; other bytes as base64 in `payload_base64`, as `base64`
/// writes them.
///
/// # Errors
/// Why a value cannot become what its column asks for.
pub fn document(row: &Row, columns: &[Column], base64: fn(&[u8]) -> String) -> Result<Value, String> {
    let payload = Payload::of(row);
    let mut document = Map::new();
    if !columns.is_empty() {
        for column in columns {
            document.insert(column.name.to_string(), value(column.cell(row, &payload)?, base64));
        }
        return Ok(Value::Object(document));
    }
    let mut set = |name: &str, value: Value| document.insert(name.to_owned(), value);
    set("id", (&*row.id).into());
    set("time", rfc3339(row.time).into());
    set("topic", (&*row.topic).into());
    match payload {
        Payload::Number(number) => {
            // In JSON a number may have as many digits as it likes; the reader decides what it keeps.
            set("value", serde_json::from_str(number.text).unwrap_or_else(|_| number.value.into()));
            if number.is_exact() { None } else { set("text", number.text.into()) }
        }
        Payload::Json(value, _) => set("payload", value),
        Payload::Text(text) => set("payload", text.into()),
        Payload::Binary(bytes) => set("payload_base64", base64(bytes).into()),
    };
    set("qos", row.qos.into());
    set("retain", row.retain.into());
    let client_id = Some(&row.client_id).filter(|id| !id.is_empty());
    for (name, there) in
        [("client_id", client_id), ("user", row.user.as_ref()), ("content_type", row.content_type.as_ref())]
    {
        there.map(|text| set(name, (&**text).into()));
    }
    (!row.user_properties.is_empty()).then(|| set("user_properties", properties(row)));
    Ok(Value::Object(document))
}

/// A row's User Properties as an object; a name that comes again has a list.
#[must_use]
pub fn properties(row: &Row) -> Value {
    let mut object = Map::new();
    for (name, value) in &row.user_properties {
        match object.get_mut(&**name) {
            None => {
                object.insert(name.to_string(), (&**value).into());
            }
            Some(Value::Array(list)) => list.push((&**value).into()),
            Some(first) => *first = json!([first.take(), &**value]),
        }
    }
    Value::Object(object)
}

fn value(cell: Cell<'_>, base64: fn(&[u8]) -> String) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(truth) => truth.into(),
        Cell::Int(integer) => integer.into(),
        Cell::Float(float) => float.into(),
        Cell::Text(text) => text.into(),
        Cell::Json(text) => serde_json::from_str(&text).unwrap_or_else(|_| text.into()),
        Cell::Bytes(bytes) => base64(bytes).into(),
        Cell::Time(micros) => rfc3339(micros).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn each_kind_of_payload() {
        let cases: [(&[u8], &str); 5] = [
            (b"21.5", r#""value":21.5"#),
            (
                b"9007199254740993",
                r#""text":"9007199254740993","time":"1970-01-01T00:00:00.000000Z","topic":"t","value":9007199254740993"#,
            ),
            (br#"{"a":null}"#, r#""payload":{"a":null}"#),
            (b"on", r#""payload":"on""#),
            (b"\xFF\x00", r#""payload_base64":"ff00""#),
        ];
        for (payload, part) in cases {
            let text = document(&Row::new("1", 0, "t", payload), &[], hex).unwrap().to_string();
            assert!(text.contains(part), "{text}");
            assert!(text.contains(r#""id":"1""#) && !text.contains("client_id"), "{text}");
        }
    }

    #[test]
    fn chosen_columns_only() {
        let columns =
            ["topic[0]", "payload.a as number", "user"].map(|text| Column::parse(text, text).unwrap());
        let text = document(&Row::new("1", 0, "t/u", br#"{"a":1}"#), &columns, hex).unwrap().to_string();
        assert_eq!(text, r#"{"payload.a as number":1,"topic[0]":"t","user":null}"#);
        assert!(document(&Row::new("1", 0, "t/u", br#"{"a":"x"}"#), &columns, hex).is_err());
    }
}
