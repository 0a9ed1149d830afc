//! Rows as arrays of text, one for each column.

use std::borrow::Cow;

use cork_sink::{Cell, Column, Payload, Row, rfc3339};

/// The values of one column.
pub(crate) type Array = Vec<Option<String>>;

/// The columns' values, and the rows that do not fit, by their places; those are left out.
pub(crate) fn arrays(columns: &[Column], rows: &[Row]) -> (Vec<Array>, Vec<(usize, String)>) {
    let mut arrays: Vec<Array> = columns.iter().map(|_| Array::with_capacity(rows.len())).collect();
    let mut rejected = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let payload = storable(row);
        let cells: Result<Array, String> = columns
            .iter()
            .map(|column| column.typed(row, &payload).map(text).and_then(|text| without_zero(column, text)))
            .collect();
        match cells {
            Ok(cells) => arrays.iter_mut().zip(cells).for_each(|(array, cell)| array.push(cell)),
            Err(why) => rejected.push((at, why)),
        }
    }
    (arrays, rejected)
}

/// PostgreSQL has no text with U+0000: such text counts as bytes, and JSON that has it escaped as text.
fn storable(row: &Row) -> Payload<'_> {
    match Payload::of(row) {
        Payload::Text(text) if text.contains('\0') => Payload::Binary(text.as_bytes()),
        Payload::Json(_, text) if text.contains("\\u0000") => Payload::Text(text),
        other => other,
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
        let cases: [(&[u8], [Option<&str>; 4]); 5] = [
            (b"1e300", [Some("1e300"), None, None, None]),
            (b"a\0b", [None, None, None, Some("\\x610062")]),
            (br#"{"a":"\u0000"}"#, [None, None, Some(r#"{"a":"\u0000"}"#), None]),
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
    fn rows_that_do_not_fit_are_left_out() {
        let columns = [Column::parse("t", "payload.t as number").unwrap()];
        let rows =
            [b"{\"t\":1}".as_slice(), b"{\"t\":\"x\"}", b"{}"].map(|payload| Row::new("1", 0, "t", payload));
        let (arrays, rejected) = arrays(&columns, &rows);
        assert_eq!(arrays, [vec![Some("1".to_owned()), None]]);
        assert_eq!(rejected, [(1, "`t` takes a number, and `x` is none".to_owned())]);
    }
}
