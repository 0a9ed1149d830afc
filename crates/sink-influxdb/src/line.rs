//! Lines: `measurement,tag=value field=value time`.

use std::{collections::BTreeSet, fmt::Write as _};

use cork_sink::{Cell, Column, Payload, Row};
use serde_json::Value;

/// Writes rows as lines.
pub(crate) struct Writer {
    measurement: String,
    tags: Vec<Column>,
    columns: Vec<Column>,
}

/// The range of its times, in nanoseconds.
const TIMES: std::ops::RangeInclusive<i64> = -9_223_372_036_854_775_806..=9_223_372_036_854_775_806;
/// A name stands before each of its fields again, so a document may grow without limit.
const FIELDS_BYTES_MAX: usize = 4 << 20;
/// InfluxDB takes no longer text in a field.
const TEXT_BYTES_MAX: usize = 65_535;

impl Writer {
    pub(crate) fn new(measurement: &str, tags: &[Column], columns: &[Column]) -> Self {
        Self { measurement: escaped(measurement, ", "), tags: tags.to_vec(), columns: columns.to_vec() }
    }

    /// The lines of those rows that can be lines, and the others by their places.
    pub(crate) fn lines(&self, rows: &[Row]) -> (Vec<u8>, Vec<(usize, String)>) {
        let (mut lines, mut rejected) = (String::new(), Vec::new());
        for (at, row) in rows.iter().enumerate() {
            let start = lines.len();
            if let Err(why) = self.line(row, &mut lines) {
                lines.truncate(start);
                rejected.push((at, why));
            }
        }
        (lines.into_bytes(), rejected)
    }

    fn line(&self, row: &Row, out: &mut String) -> Result<(), String> {
        let payload = Payload::of(row);
        out.push_str(&self.measurement);
        for tag in &self.tags {
            // A tag without a value is no tag; a line break in one ends the line.
            let value = tag_text(tag.cell(row, &payload)?).replace(['\n', '\r'], " ");
            if !value.is_empty() {
                let _ = write!(out, ",{}={}", name(&tag.name), name(&value));
            }
        }
        let start = out.len();
        let mut fields = Fields { out, start, separator: ' ', names: BTreeSet::new() };
        let mut time = None;
        if self.columns.is_empty() {
            whole(&payload, &mut fields)?;
        } else {
            for column in &self.columns {
                match column.cell(row, &payload)? {
                    Cell::Time(micros) if &*column.name == "time" => time = Some(micros),
                    cell => fields.cell(&column.name, cell)?,
                }
            }
        }
        if fields.separator == ' ' {
            return Err(
                "it has no field: nothing of the payload is a number, a truth value or text".to_owned()
            );
        }
        let time = nanoseconds(row, time).ok_or("its time is beyond the years 1677 to 2262 of InfluxDB")?;
        let _ = writeln!(out, " {time}");
        Ok(())
    }
}

/// The time of a point. The arrival is different for each message of a shard; the shard makes up the last digits.
fn nanoseconds(row: &Row, time: Option<i64>) -> Option<i64> {
    let shard: i64 = row.id.split('-').nth(1).and_then(|shard| shard.parse().ok()).unwrap_or(0);
    let time = time.unwrap_or(row.time).checked_mul(1000)?.checked_add(shard % 1000)?;
    TIMES.contains(&time).then_some(time)
}

/// The fields of a message for which nobody named any: `value` of a number, the fields of an object by their names, of
/// what lies deeper with dots in between; text in `text`, bytes in `bytes` as hexadecimal digits.
fn whole(payload: &Payload<'_>, fields: &mut Fields<'_>) -> Result<(), String> {
    match payload {
        Payload::Number(number) => fields.cell("value", Cell::Float(number.value)),
        Payload::Text(text) => fields.cell("text", Cell::Text((*text).into())),
        Payload::Binary(bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            fields.cell("bytes", Cell::Text(digits.into()))
        }
        Payload::Json(value, _) => fields.json("", value),
    }
}

struct Fields<'a> {
    out: &'a mut String,
    /// Where the line's fields begin.
    start: usize,
    /// Before the next field.
    separator: char,
    /// Those that are there.
    names: BTreeSet<String>,
}

impl Fields<'_> {
    fn json(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        let own = if name.is_empty() { "value" } else { name };
        match value {
            Value::Null => Ok(()),
            Value::Bool(truth) => self.cell(own, Cell::Bool(*truth)),
            Value::Number(number) => self.cell(own, number.as_f64().map_or(Cell::Null, Cell::Float)),
            Value::String(text) if name.is_empty() => self.cell("text", Cell::Text(text.into())),
            Value::String(text) => self.cell(own, Cell::Text(text.into())),
            Value::Object(object) => object.iter().try_for_each(|(key, value)| self.json(&below(key), value)),
            Value::Array(array) => {
                array.iter().enumerate().try_for_each(|(at, value)| self.json(&below(&at.to_string()), value))
            }
        }
    }

    fn cell(&mut self, name: &str, cell: Cell<'_>) -> Result<(), String> {
        let value = match cell {
            Cell::Null => return Ok(()),
            Cell::Bool(truth) => truth.to_string(),
            // As a float: an integer now and a fraction later would be two types of one field, which is refused.
            #[allow(clippy::cast_precision_loss, reason = "numbers are doubles there")]
            Cell::Int(integer) => format!("{:?}", integer as f64),
            Cell::Float(float) => format!("{float:?}"),
            Cell::Text(text) | Cell::Json(text) => quoted(&text)?,
            Cell::Bytes(_) => return Err(format!("`{name}` cannot hold bytes")),
            Cell::Time(micros) => quoted(&cork_sink::rfc3339(micros))?,
        };
        if name.contains(['\n', '\r']) || name.is_empty() {
            return Err("a field's name is empty or has a line break".to_owned());
        }
        // The point has a time; a field of that name would be dropped without a word.
        let name = if name == "time" { "time_" } else { name };
        if self.out.len() - self.start + name.len() + value.len() > FIELDS_BYTES_MAX {
            return Err(format!("it has more than {FIELDS_BYTES_MAX} bytes of fields"));
        }
        // Of two with one name only one would be kept.
        if !self.names.insert(name.to_owned()) {
            return Err(format!("it has two fields of the name `{}`", name.escape_debug()));
        }
        let _ = write!(self.out, "{}{}={value}", self.separator, self::name(name));
        self.separator = ',';
        Ok(())
    }
}

fn quoted(text: &str) -> Result<String, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("its text has {} bytes; a field of InfluxDB takes {TEXT_BYTES_MAX}", text.len()));
    }
    Ok(format!("\"{}\"", escaped(text, "\"\\")))
}

fn tag_text(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null | Cell::Bytes(_) => String::new(),
        Cell::Bool(truth) => truth.to_string(),
        Cell::Int(integer) => integer.to_string(),
        Cell::Float(float) => float.to_string(),
        Cell::Text(text) | Cell::Json(text) => text.into_owned(),
        Cell::Time(micros) => cork_sink::rfc3339(micros),
    }
}

/// A name, or a tag's value. A backslash says nothing there but before what must be escaped, or at the end: it would be
/// read as the escape, so a look-alike stands for it.
fn name(text: &str) -> String {
    const SPECIAL: &str = ",= ";
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some(start) = rest.find('\\') {
        let after = rest[start..].trim_start_matches('\\');
        let run = &rest[start..rest.len() - after.len()];
        let escapes = after.is_empty() || after.starts_with(|next| SPECIAL.contains(next));
        out.push_str(&rest[..start]);
        out.push_str(&if escapes { run.replace('\\', "\u{FF3C}") } else { run.to_owned() });
        rest = after;
    }
    escaped(&(out + rest), SPECIAL)
}

/// Puts a backslash before each of these characters.
fn escaped(text: &str, special: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if special.contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(payload: &[u8], columns: &[(&str, &str)]) -> Result<String, String> {
        let tags = [Column::parse("topic", "topic_name").unwrap(), Column::parse("user", "user").unwrap()];
        let columns: Vec<Column> =
            columns.iter().map(|(name, text)| Column::parse(name, text).unwrap()).collect();
        let writer = Writer::new("my readings", &tags, &columns);
        let row = Row::new("4-2-7", 1_700_000_000_000_007, "a b/c,d=e", payload);
        let (lines, mut rejected) = writer.lines(&[row]);
        match rejected.pop() {
            Some((_, why)) => Err(why),
            None => Ok(String::from_utf8(lines).unwrap()),
        }
    }

    #[test]
    fn each_kind_of_payload() {
        let cases: [(&[u8], &str); 9] = [
            (b"21.5", "value=21.5"),
            (b"7", "value=7.0"),
            (b"true", "value=true"),
            (b"1e300", "value=1e300"),
            (b"on \"x\" \\ \n y", "text=\"on \\\"x\\\" \\\\ \n y\""),
            (b"\xFF", "bytes=\"ff\""),
            (
                br#"{"t":1,"in side":{"x,y":[1,"b"]},"none":null}"#,
                r#"in\ side.x\,y.0=1.0,in\ side.x\,y.1="b",t=1.0"#,
            ),
            (b"\"on\"", "text=\"on\""),
            (b"", "text=\"\""),
        ];
        for (payload, fields) in cases {
            let expected = format!("my\\ readings,topic=a\\ b/c\\,d\\=e {fields} 1700000000000007002\n");
            assert_eq!(lines(payload, &[]), Ok(expected));
        }
        let time = lines(br#"{"time":5,"a":{"time":6}}"#, &[]).unwrap();
        assert!(time.contains(" a.time=6.0,time_=5.0 "), "{time}");
        assert!(lines(br#"{"a.b":1,"a":{"b":2}}"#, &[]).unwrap_err().contains("`a.b`"));
        let bomb = format!("{{\"{}\":[{}1]}}", "n".repeat(60_000), "0,".repeat(100_000));
        assert!(lines(bomb.as_bytes(), &[]).unwrap_err().contains("bytes of fields"));
        for empty in [b"{}".as_slice(), b"null", b"{\"a\":null}", b"[]", b"{\"a\\nb\":1}"] {
            assert!(lines(empty, &[]).is_err(), "{}", String::from_utf8_lossy(empty));
        }
        assert!(lines(&[b'x'; 65_536], &[]).unwrap_err().contains("65535"));
    }

    #[test]
    fn backslashes_that_would_escape_something_have_look_alikes() {
        let cases = [
            ("s/x", "s/x"),
            (r"s/x\", "s/x\u{FF3C}"),
            (r"C:\\x\y", r"C:\\x\y"),
            (r"a\,b", "a\u{FF3C}\\,b"),
            (r"a\\ b\", "a\u{FF3C}\u{FF3C}\\ b\u{FF3C}"),
            ("a b", r"a\ b"),
        ];
        for (text, written) in cases {
            assert_eq!(name(text), written, "{text}");
        }
        let line = lines(br#"{"a\\":1,"a":2}"#, &[]).unwrap();
        assert!(line.contains(" a=2.0,a\u{FF3C}=1.0 "), "{line}");
    }

    #[test]
    fn named_fields_and_a_time_of_their_own() {
        let columns = [("celsius", "payload.t"), ("who", "client_id"), ("time", "payload.at as time")];
        let line = lines(br#"{"t":1.5,"at":1700000001}"#, &columns).unwrap();
        assert!(line.ends_with(" celsius=1.5 1700000001000000002\n"), "{line}");
        let late = lines(br#"{"t":1.5,"at":"2300-01-01T00:00:00Z"}"#, &columns);
        assert!(late.unwrap_err().contains("2262"));
        assert!(lines(br#"{"t":1.5,"at":"x"}"#, &columns).is_err());
    }
}
