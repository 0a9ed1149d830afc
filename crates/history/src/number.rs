//! The numbers in a payload: a plain one, or the numeric fields of a JSON object.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::Deserialize;
use serde_json::value::RawValue;

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
    if is_short(payload) {
        return Some(value);
    }
    let text = shortest(value);
    (text.as_bytes() == payload).then_some(value)
}

/// Whether a text is a decimal of at most 15 digits, without any that could be left out: those all have an `f64` of their
/// own, and are the shortest text for it.
fn is_short(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let dot = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = dot.map_or((digits, None), |at| (&digits[..at], Some(&digits[at + 1..])));
    let decimal = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    digits.len() <= 15
        && decimal(whole)
        && (whole == b"0" || whole[0] != b'0')
        && fraction.is_none_or(|fraction| decimal(fraction) && !fraction.ends_with(b"0"))
}

/// How a number is written that was read by [`canonical`].
pub(crate) fn shortest(value: f64) -> String {
    // Rust writes the shortest text that reads as the same number, without exponent.
    value.to_string()
}

/// Calls `found` with the path (`a.b`) and value of each numeric field of a JSON object, once for each path: a field of an
/// object within comes before one whose own name has the dot. Fields without a name, or with a number that is too large
/// for `f64`, are passed over.
pub fn fields(payload: &[u8], mut found: impl FnMut(&str, f64)) {
    if payload.trim_ascii_start().first() != Some(&b'{') {
        return;
    }
    let Ok(object) = serde_json::from_slice::<Object<'_>>(payload) else { return };
    let (mut left, mut dotted) = (FIELDS_MAX, Vec::new());
    walk(&object, &mut String::new(), false, DEPTH_MAX, &mut |path, value, has_dot| {
        if has_dot && dotted.len() < FIELDS_MAX {
            dotted.push((path.to_owned(), value));
        } else if !has_dot && left > 0 {
            left -= 1;
            found(path, value);
        }
    });
    if dotted.is_empty() {
        return;
    }
    let mut seen = BTreeSet::new();
    walk(&object, &mut String::new(), false, DEPTH_MAX, &mut |path, _, has_dot| {
        if !has_dot {
            seen.insert(path.to_owned());
        }
    });
    for (path, value) in dotted.into_iter().take(left) {
        if !seen.contains(&path) {
            found(&path, value);
            seen.insert(path);
        }
    }
}

/// An object whose values are read where they are wanted: one that is too large spoils only itself. Of several fields with
/// the same name the last one counts.
type Object<'a> = BTreeMap<Name<'a>, &'a RawValue>;

/// A name; nearly always there as it stands.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Calls `found` with path and value, and whether a name on the path has a dot.
fn walk(
    object: &Object<'_>,
    path: &mut String,
    has_dot: bool,
    depth: usize,
    found: &mut impl FnMut(&str, f64, bool),
) {
    for (Name(name), value) in object {
        let (before, text) = (path.len(), value.get());
        if name.is_empty() {
            continue; // it would be the payload itself, or its own object
        }
        if before > 0 {
            path.push('.');
        }
        path.push_str(name);
        let has_dot = has_dot || name.contains('.');
        match text.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => {
                if let Some(value) = text.parse().ok().filter(|value: &f64| value.is_finite()) {
                    found(path, value, has_dot);
                }
            }
            Some(b'{') if depth > 1 => {
                if let Ok(inner) = serde_json::from_str::<Object<'_>>(text) {
                    walk(&inner, path, has_dot, depth - 1, found);
                }
            }
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

    proptest::proptest! {
        /// What is seen at once to be the shortest text is so.
        #[test]
        fn short_decimals_are_the_shortest_text(text in "-?[0-9]{1,9}(\\.[0-9]{1,9})?") {
            let value: f64 = text.parse().unwrap();
            if is_short(text.as_bytes()) {
                proptest::prop_assert_eq!(shortest(value), text);
            } else {
                proptest::prop_assert!(shortest(value) != text || text.len() > 15);
            }
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

    fn seen(payload: &str) -> Vec<(String, f64)> {
        let mut seen = Vec::new();
        fields(payload.as_bytes(), |path, value| seen.push((path.to_owned(), value)));
        seen
    }

    fn named(fields: &[(&str, f64)]) -> Vec<(String, f64)> {
        fields.iter().map(|(path, value)| ((*path).to_owned(), *value)).collect()
    }

    #[test]
    fn a_number_that_is_too_large_hides_no_other_field() {
        assert_eq!(seen(r#"{"t":1e400,"u":5,"in":{"x":-1e999,"y":2}}"#), named(&[("in.y", 2.0), ("u", 5.0)]));
        let large = r#"{"a":18446744073709551616,"b":1.7e308,"c":-0}"#;
        assert_eq!(seen(large), named(&[("a", 18_446_744_073_709_551_616.0), ("b", 1.7e308), ("c", -0.0)]));
    }

    #[test]
    fn each_path_has_one_field() {
        assert_eq!(seen(r#"{"a.b":1,"a":{"b":2}}"#), named(&[("a.b", 2.0)]));
        assert_eq!(seen(r#"{"a":{"b":2},"a.b":1,"a.c":3}"#), named(&[("a.b", 2.0), ("a.c", 3.0)]));
        assert_eq!(seen(r#"{"a.b":{"c":1},"a":{"b.c":2}}"#), named(&[("a.b.c", 2.0)]));
        assert_eq!(seen(r#"{"a":1,"a":2}"#), named(&[("a", 2.0)]), "the last one, as in JSON elsewhere");
        assert_eq!(seen(r#"{"":5,"a":{"":6},"b":{"":{"c":7}},"":{"a":8}}"#), []);
        assert_eq!(seen(r#"{"\u0061\n":5}"#), named(&[("a\n", 5.0)]), "with escapes");
    }

    #[test]
    fn many_fields_are_cut() {
        let many: Vec<String> = (0..100).map(|n| format!("\"f{n}\":{n},\"d.{n}\":{n}")).collect();
        let found = seen(&format!("{{{}}}", many.join(",")));
        assert_eq!(found.len(), FIELDS_MAX);
        assert!(found.iter().all(|(path, _)| path.starts_with('f')));
    }
}
