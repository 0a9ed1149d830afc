//! Text with placeholders: `sensors/{room}/temperature`, `meter-{n:04}`.

use std::fmt;

/// Text in which `{name}` stands for something that differs from device to device; `{name:04}` fills a number up with
/// zeros. Two braces are one: `{{`, `}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place { name: String, width: usize },
}

/// Zeros nobody needs more of.
const WIDTH_MAX: usize = 20;

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with its braces.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err("`}` closes nothing; write `}}` for one brace".to_owned());
            }
            let (inside, after) =
                rest.split_once('}').ok_or("`{` is not closed; write `{{` for one brace")?;
            rest = after;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(place(inside)?);
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// `sim-{run}-{n}`: a Client Identifier that differs in each run, so that two simulations do not end each other's
    /// connections.
    #[must_use]
    pub fn client_id() -> Self {
        let place = |name: &str| Part::Place { name: name.to_owned(), width: 0 };
        let parts = vec![Part::Text("sim-".to_owned()), place("run"), Part::Text("-".to_owned()), place("n")];
        Self { parts }
    }

    /// The placeholders in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Place { name, .. } => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text of one device; a placeholder without a value stays as it is.
    pub(crate) fn fill(&self, value: impl Fn(&str) -> Option<String>) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Place { name, width } => match value(name) {
                    Some(value) => {
                        (value.len()..*width).for_each(|_| filled.push('0'));
                        filled.push_str(&value);
                    }
                    None => filled.push_str(&format!("{{{name}}}")),
                },
            }
        }
        filled
    }
}

fn place(inside: &str) -> Result<Part, String> {
    let (name, width) = inside.split_once(':').map_or((inside, None), |(name, width)| (name, Some(width)));
    if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return Err(format!("`{{{inside}}}` is no placeholder; its name has letters, digits and `_`"));
    }
    let width = match width {
        None => 0,
        Some(text) => text
            .parse()
            .ok()
            .filter(|width| *width <= WIDTH_MAX)
            .ok_or_else(|| format!("`{{{inside}}}`: after the colon stands a width such as 04"))?,
    };
    Ok(Part::Place { name: name.to_owned(), width })
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Place { name, width: 0 } => write!(f, "{{{name}}}")?,
                Part::Place { name, width } => write!(f, "{{{name}:0{width}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> String {
        let value = |name: &str| match name {
            "n" => Some("7".to_owned()),
            "room" => Some("kitchen".to_owned()),
            _ => None,
        };
        Pattern::parse(text).unwrap().fill(value)
    }

    #[test]
    fn placeholders_are_filled() {
        let cases = [
            ("", ""),
            ("sensor/temperature", "sensor/temperature"),
            ("sensors/{room}/{n}", "sensors/kitchen/7"),
            ("{n:04}", "0007"),
            ("{n}{n:02}", "707"),
            ("{{n}}", "{n}"),
            ("a}}b{{", "a}b{"),
            ("{nothing}", "{nothing}"),
            ("ü{n}ü", "ü7ü"),
        ];
        for (text, expected) in cases {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    #[test]
    fn client_ids_differ_in_each_run() {
        assert_eq!(Pattern::client_id().to_string(), "sim-{run}-{n}");
    }

    #[test]
    fn broken_braces_are_explained() {
        for text in ["{n", "n}", "{}", "{a b}", "{n:x}", "{n:99}", "{:4}", "{n:}"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_shown_as_it_was_meant(text in "[a{}:0n/]*") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert_eq!(Pattern::parse(&pattern.to_string()).unwrap(), pattern);
            }
        }
    }
}
