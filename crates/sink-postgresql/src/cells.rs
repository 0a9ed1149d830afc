//! Rows as arrays of text, one for each column.

use std::borrow::Cow;

use cork_sink::{Cell, Column, Payload, Row, Source, rfc3339};
use serde_json::Value;

/// The values of one column.
pub(crate) type Array = Vec<Option<String>>;

/// The columns' values, and the rows that do not fit, by their places; those are left out.
pub(crate) fn arrays(columns: &[Column], rows: &[Row]) -> (Vec<Array>, Vec<(usize, String)>) {
    let mut arrays: Vec<Array> = columns.iter().map(|_| Array::with_capacity(rows.len())).collect();
    let mut rejected = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let payload = Payload::of(row);
        let whole = storable(&payload, columns);
        let of = |column: &Column| if is_whole(&column.source) { whole.as_ref() } else { None };
        let cells: Result<Array, String> = columns
            .iter()
            .map(|column| {
                let cell = column.typed(row, of(column).unwrap_or(&payload)).map(text);
                cell.and_then(|text| without_zero(column, text))
            })
            .collect();
        match cells {
            Ok(cells) => arrays.iter_mut().zip(cells).for_each(|(array, cell)| array.push(cell)),
            Err(why) => rejected.push((at, why)),
        }
    }
    (arrays, rejected)
}

/// PostgreSQL has no text with U+0000: in the columns for a whole payload such text counts as bytes, and JSON that has it
/// escaped as text, if there is a column for that. Where there is none, the row is a bad one: it would be saved without
/// its payload.
fn storable<'a>(payload: &Payload<'a>, columns: &[Column]) -> Option<Payload<'a>> {
    let has = |source: &Source| columns.iter().any(|column| column.source == *source);
    match payload {
        Payload::Text(text) if text.contains('\0') && has(&Source::Bytes) => {
            Some(Payload::Binary(text.as_bytes()))
        }
        // Escaped, or what looks so: a file's name may have a backslash before `u0000`.
        Payload::Json(value, text) if text.contains("\\u0000") && has(&Source::Text) && has_zero(value) => {
            Some(Payload::Text(text))
        }
        _ => None,
    }
}

const fn is_whole(source: &Source) -> bool {
    matches!(source, Source::Json | Source::Text | Source::Bytes)
}

/// Whether a document has U+0000 in a name or a text.
fn has_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(array) => array.iter().any(has_zero),
        Value::Object(object) => object.iter().any(|(key, value)| key.contains('\0') || has_zero(value)),
        _ => false,
    }
}

fn without_zero(column: &Column, text: Option<String>) -> Result<Option<String>, String> {
    if text.as_ref().is_some_and(|text| text.contains('\0')) {
        return Err(format!("`{}` has U+0000 in its text, which PostgreSQL does not take", column.name));
    }
    Ok(text)
}

/// A value in the words of PostgreSQL.
fn text(cell: Cell<'_>) -> Option<String> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Bool(truth) => truth.to_string(),
        Cell::Int(integer) => integer.to_string(),
        Cell::Float(float) => format!("{float:?}"),
        Cell::Text(text) | Cell::Json(text) => Cow::into_owned(text),
        Cell::Bytes(bytes) => hex(bytes),
        Cell::Time(micros) => rfc3339(micros),
    })
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use cork_sink::standard_columns;

    use super::*;

    #[test]
    fn what_postgresql_cannot_hold_goes_where_it_can() {
        let cases: [(&[u8], [Option<&str>; 4]); 6] = [
            (b"1e300", [Some("1e300"), None, None, None]),
            (b"a\0b", [None, None, None, Some("\\x610062")]),
            (br#"{"a":"\u0000"}"#, [None, None, Some(r#"{"a":"\u0000"}"#), None]),
            (br#"{"a":"C:\\u0000"}"#, [None, Some(r#"{"a":"C:\\u0000"}"#), None, None]),
            (br#"{"a":"b"}"#, [None, Some(r#"{"a":"b"}"#), None, None]),
            (b"\xFF\x0F", [None, None, None, Some("\\xff0f")]),
        ];
        for (payload, expected) in cases {
            let (arrays, rejected) = arrays(&standard_columns(), &[Row::new("1", 0, "t", payload)]);
            let cells: Vec<Option<&str>> = arrays[3..7].iter().map(|array| array[0].as_deref()).collect();
            assert_eq!((cells, rejected.len()), (expected.to_vec(), 0));
        }
    }

    #[test]
    fn a_zero_somewhere_costs_no_other_column_its_value() {
        let columns = |named: &[(&str, &str)]| -> Vec<Column> {
            named.iter().map(|(name, source)| Column::parse(name, source).unwrap()).collect()
        };
        let chosen = columns(&[("t", "payload.t as number"), ("note", "payload.note as text")]);
        let row = |payload: &str| [Row::new("1", 0, "t", payload.as_bytes())];
        for (payload, note) in [
            (r#"{"t":21.5,"other":"\u0000"}"#, None),
            (r#"{"t":21.5,"note":"C:\\u0000"}"#, Some(r"C:\u0000".to_owned())),
        ] {
            let expected = vec![vec![Some("21.5".to_owned())], vec![note]];
            assert_eq!(arrays(&chosen, &row(payload)), (expected, vec![]), "{payload}");
        }
        let (_, rejected) = arrays(&chosen, &row(r#"{"t":21.5,"note":"\u0000"}"#));
        assert!(rejected[0].1.contains("`note` has U+0000"), "{rejected:?}");
        // Without a column that could hold it, it is not saved as nothing.
        let (_, rejected) = arrays(&columns(&[("text", "text")]), &row("a\0b"));
        assert_eq!(rejected.len(), 1);
        let (saved, _) = arrays(&columns(&[("raw", "json")]), &row(r#"{"a":"\u0000"}"#));
        assert_eq!(saved, [[Some(r#"{"a":"\u0000"}"#.to_owned())]], "what the server refuses");
    }

    #[test]
    fn rows_that_do_not_fit_are_left_out() {
        let columns = [Column::parse("t", "payload.t as number").unwrap()];
        let rows =
            [b"{\"t\":1}".as_slice(), b"{\"t\":\"x\"}", b"{}"].map(|payload| Row::new("1", 0, "t", payload));
        let (arrays, rejected) = arrays(&columns, &rows);
        assert_eq!(arrays, [vec![Some("1".to_owned()), None]]);
        assert_eq!(rejected, [(1, "`t` takes a number, and `x` is none".to_owned())]);
    }
}
