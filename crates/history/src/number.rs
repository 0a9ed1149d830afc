//! The numbers in a payload: a plain one, or the numeric fields of a JSON object.

use serde_json::Value;

/// Objects within objects that are looked into.
const DEPTH_MAX: usize = 4;
/// Fields of one message that become series.
const FIELDS_MAX: usize = 64;
/// A longer payload is no plain number.
const PLAIN_BYTES_MAX: usize = 32;

/// The number that a payload is, with nothing but spaces around it.
#[must_use]
pub fn plain(payload: &[u8]) -> Option<f64> {
    let text = payload.trim_ascii();
    let first = text.first()?;
    let number =
        text.len() <= PLAIN_BYTES_MAX && (first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.'));
    let value: f64 = if number { std::str::from_utf8(text).ok()?.parse().ok()? } else { return None };
    value.is_finite().then_some(value)
}

/// The number that a payload is, if its text follows from the number.
pub(crate) fn canonical(payload: &[u8]) -> Option<f64> {
    let value = plain(payload)?;
    let text = shortest(value);
    (text.as_bytes() == payload).then_some(value)
}

/// How a number is written that was read by [`canonical`].
pub(crate) fn shortest(value: f64) -> String {
    // Rust writes the shortest text that reads as the same number, without exponent.
    value.to_string()
}

/// Calls `found` with the path (`a.b`) and value of each numeric field of a JSON object.
pub fn fields(payload: &[u8], mut found: impl FnMut(&str, f64)) {
    if payload.trim_ascii_start().first() != Some(&b'{') {
        return;
    }
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(payload) else { return };
    let mut left = FIELDS_MAX;
    let mut path = String::new();
    walk(&object, &mut path, DEPTH_MAX, &mut left, &mut found);
}

fn walk(
    object: &serde_json::Map<String, Value>,
    path: &mut String,
    depth: usize,
    left: &mut usize,
    found: &mut impl FnMut(&str, f64),
) {
    for (name, value) in object {
        let before = path.len();
        if before > 0 {
            path.push('.');
        }
        path.push_str(name);
        match value {
            Value::Number(number) if *left > 0 => {
                if let Some(value) = number.as_f64().filter(|value| value.is_finite()) {
                    *left -= 1;
                    found(path, value);
                }
            }
            Value::Object(inner) if depth > 1 => walk(inner, path, depth - 1, left, found),
            _ => {}
        }
        path.truncate(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_number_is_read_and_nothing_else() {
        for (text, value) in [("21.5", 21.5), (" 7\n", 7.0), ("-0.25", -0.25), ("1e3", 1000.0), ("+3", 3.0)] {
            assert_eq!(plain(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "on", "nan", "inf", "-inf", "1 2", "0x10", "{}", "1e999"] {
            assert_eq!(plain(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn only_text_that_follows_from_its_number_counts_as_canonical() {
        for text in ["21.5", "0", "-3", "0.001", "1000000", "-0"] {
            let value = canonical(text.as_bytes());
            assert_eq!(value.map(shortest).as_deref(), Some(text));
        }
        for text in ["21.50", "+3", " 7", "1e3", "007", ".5", "5."] {
            assert_eq!(canonical(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn fields_are_named_by_their_path() {
        let mut seen = Vec::new();
        fields(br#"{"t":21.5,"at":{"lat":1,"name":"x"},"ok":true,"list":[1]}"#, |path, value| {
            seen.push((path.to_owned(), value));
        });
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(seen, [("at.lat".to_owned(), 1.0), ("t".to_owned(), 21.5)]);
        fields(b"[1,2]", |path, _| panic!("{path} of a list"));
        fields(b"{\"a\":", |path, _| panic!("{path} of no JSON"));
    }
}
