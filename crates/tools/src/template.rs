//! Payloads and topics with placeholders.

use std::fmt;

use crate::moment::Moment;

/// Text with placeholders `{{...}}`, parsed once:
///
/// | Placeholder | What it becomes |
/// | --- | --- |
/// | `{{n}}` | 1 for the first message, 2 for the second, ... |
/// | `{{line}}` | the line of standard input that made this message (`-l`) |
/// | `{{time}}` | now, RFC 3339 in UTC with microseconds |
/// | `{{unix}}`, `{{unix_ms}}` | seconds, milliseconds since 1970 |
/// | `{{random}}` | a number from 0 up to 1 |
/// | `{{random 1..6}}` | a whole number, both ends included |
/// | `{{random 20.0..30.0}}` | a number with as many decimals as the bounds |
/// | `{{uuid}}` | a random UUID (version 4) |
/// | `{{topic}}` | the topic |
/// | `{{pid}}` | the process identifier |
/// | `{{env NAME}}` | the environment variable, empty if there is none |
///
/// `{{{{` stands for `{{`.
#[derive(Clone, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Number,
    Line,
    Time,
    Unix,
    UnixMilliseconds,
    /// From, to, decimals.
    Random(f64, f64, usize),
    Whole(i64, i64),
    Uuid,
    Topic,
}

/// What the placeholders of one message mean.
#[derive(Copy, Clone, Debug)]
pub struct Context<'a> {
    /// The message's number, from 1.
    pub number: u64,
    /// The topic; not used where the topic itself is the template.
    pub topic: &'a str,
    /// The line of standard input.
    pub line: &'a str,
}

/// What is wrong with a template, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError(String);

const KNOWN: &str = "there are n, line, time, unix, unix_ms, random, random A..B, uuid, topic, pid, env NAME";

impl Template {
    /// Parses it.
    ///
    /// # Errors
    /// An unknown placeholder, or one without end.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            parts.push(Part::Text(rest[..at].to_owned()));
            let after = &rest[at + 2..];
            if let Some(escaped) = after.strip_prefix("{{") {
                parts.push(Part::Text("{{".to_owned()));
                rest = escaped;
                continue;
            }
            let place = text[..text.len() - after.len()].chars().count();
            let Some((name, tail)) = after.split_once("}}") else {
                return Err(TemplateError(format!("`{{{{` at character {} has no `}}}}`", place - 1)));
            };
            let part = part(name.trim()).map_err(|why| {
                TemplateError(format!("`{{{{{name}}}}}` at character {} means nothing: {why}", place - 1))
            })?;
            parts.push(part);
            rest = tail;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The text for one message.
    #[must_use]
    pub fn render(&self, context: Context<'_>) -> String {
        let moment = Moment::now();
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Number => out.push_str(&context.number.to_string()),
                Part::Line => out.push_str(context.line),
                Part::Time => out.push_str(&moment.rfc3339()),
                Part::Unix => out.push_str(&moment.conversion('s')),
                Part::UnixMilliseconds => out.push_str(&moment.unix_milliseconds().to_string()),
                Part::Random(from, to, decimals) => {
                    out.push_str(&format!("{:.decimals$}", from + (to - from) * fraction()));
                }
                Part::Whole(from, to) => out.push_str(&whole(*from, *to).to_string()),
                Part::Uuid => out.push_str(&uuid(random())),
                Part::Topic => out.push_str(context.topic),
            }
        }
        out
    }
}

fn part(name: &str) -> Result<Part, String> {
    let (word, argument) =
        name.split_once(' ').map_or((name, None), |(word, rest)| (word, Some(rest.trim())));
    Ok(match (word, argument) {
        ("n", None) => Part::Number,
        ("line", None) => Part::Line,
        ("time", None) => Part::Time,
        ("unix", None) => Part::Unix,
        ("unix_ms", None) => Part::UnixMilliseconds,
        ("uuid", None) => Part::Uuid,
        ("topic", None) => Part::Topic,
        ("pid", None) => Part::Text(std::process::id().to_string()),
        ("env", Some(variable)) => Part::Text(std::env::var(variable).unwrap_or_default()),
        ("random", None) => Part::Random(0.0, 1.0, 6),
        ("random", Some(range)) => range_of(range)?,
        _ => return Err(KNOWN.to_owned()),
    })
}

fn range_of(range: &str) -> Result<Part, String> {
    let fault = || format!("a range is as `1..6` or `20.0..30.0`, not `{range}`");
    let (from, to) = range.split_once("..").ok_or_else(fault)?;
    if let (Ok(from), Ok(to)) = (from.parse::<i64>(), to.parse::<i64>()) {
        return if from <= to { Ok(Part::Whole(from, to)) } else { Err(fault()) };
    }
    let decimals = |text: &str| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let most = decimals(from).max(decimals(to)).min(17);
    match (from.parse::<f64>(), to.parse::<f64>()) {
        (Ok(from), Ok(to)) if from <= to && from.is_finite() && to.is_finite() => {
            Ok(Part::Random(from, to, most))
        }
        _ => Err(fault()),
    }
}

/// Sixteen random bytes. Where the system has none, the clock must do: nobody's safety hangs on it.
fn random() -> u128 {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        let now = Moment::now().unix_milliseconds();
        return u128::from(now.unsigned_abs()).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    }
    u128::from_le_bytes(bytes)
}

/// From 0 up to, not including, 1.
fn fraction() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let high = (random() >> 75) as f64;
    high / (1u64 << 53) as f64
}

fn whole(from: i64, to: i64) -> i128 {
    let count = i128::from(to) - i128::from(from) + 1;
    // 64 random bits: what the remainder favours is immeasurable.
    i128::from(from) + i128::try_from(random() >> 64).unwrap_or(0) % count
}

fn uuid(random: u128) -> String {
    let version = random & !(0xf << 76) | 4 << 76;
    let hex = format!("{:032x}", version & !(3 << 62) | 2 << 62);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> String {
        Template::parse(text).unwrap().render(Context { number: 7, topic: "a/b", line: "L" })
    }

    #[test]
    fn placeholders() {
        assert_eq!(
            rendered(r#"{"n":{{n}},"t":"{{topic}}","l":"{{ line }}"}"#),
            r#"{"n":7,"t":"a/b","l":"L"}"#
        );
        assert_eq!(rendered("{{{{n}} }} {"), "{{n}} }} {");
        assert_eq!(rendered("{{env CORK_SURELY_NOT_SET}}"), "");
        assert_eq!(rendered("{{pid}}"), std::process::id().to_string());
        assert!(rendered("{{time}}").ends_with('Z'));
        assert!(rendered("{{unix_ms}}").parse::<u64>().unwrap() > 1_600_000_000_000);
    }

    #[test]
    fn random_values_stay_in_their_range_and_reach_its_ends() {
        let mut seen = [false; 3];
        for _ in 0..300 {
            let value: i64 = rendered("{{random -1..1}}").parse().unwrap();
            seen[usize::try_from(value + 1).unwrap()] = true;
            let value = rendered("{{random 20.0..30.00}}");
            assert!((20.0..=30.0).contains(&value.parse::<f64>().unwrap()) && value.len() == 5, "{value}");
            assert!((0.0..=1.0).contains(&rendered("{{random}}").parse::<f64>().unwrap()));
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn uuids_have_version_and_variant() {
        let uuid = rendered("{{uuid}}");
        let parts: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]));
        assert_ne!(uuid, rendered("{{uuid}}"));
    }

    #[test]
    fn faults_name_their_place() {
        for (text, part) in [
            ("ab{{x}}", "`{{x}}` at character 3 means nothing: there are n"),
            ("ab{{n", "`{{` at character 3 has no `}}`"),
            ("{{random 6..1}}", "a range is as"),
            ("{{random x}}", "a range is as"),
            ("{{env}}", "there are n"),
        ] {
            let error = Template::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
