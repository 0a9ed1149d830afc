//! Reading a TOML document key by key, collecting every fault instead of stopping at the first.
//!
//! Each key is asked for once, with the function that understands its value; what nobody asked for is unknown. So the
//! list of known keys, from which suggestions are made, can't differ from what is read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{ConfigError, Origin};

/// The faults of one document, and where its keys stand; shared by all its sections while they are read.
pub struct Findings<'i> {
    file: &'i str,
    text: &'i str,
    faults: RefCell<Vec<Fault>>,
    unknown: RefCell<Vec<Unknown>>,
    /// The known keys of each section.
    known: RefCell<BTreeMap<String, Vec<&'static str>>>,
    /// The line of each key that was read, by its full name.
    lines: RefCell<BTreeMap<String, usize>>,
}

/// One fault; one of the TOML syntax has no key.
struct Fault {
    line: usize,
    key: String,
    message: String,
}

/// A key that nobody asked for; what it could have meant is known when everything has been read.
struct Unknown {
    line: usize,
    section: String,
    key: String,
}

impl<'i> Findings<'i> {
    /// For the text of the file with this name.
    #[must_use]
    pub fn new(text: &'i str, file: &'i str) -> Self {
        Self {
            file,
            text,
            faults: RefCell::default(),
            unknown: RefCell::default(),
            known: RefCell::default(),
            lines: RefCell::default(),
        }
    }

    /// Parses the text; what can't be parsed is among the findings, the rest is in the table.
    #[must_use]
    pub fn parse(&self) -> Section<'_, 'i> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let end = self.text.len();
        let mut faults: Vec<Fault> = errors
            .iter()
            .map(|error| {
                let span = error.span().unwrap_or(end..end);
                let line = self.line(&span);
                Fault { line, key: String::new(), message: self.in_plain_words(error.message(), span) }
            })
            .collect();
        // One slip can throw the parser off for the rest of its line: the first fault of a line is the one to tell.
        faults.sort_by_key(|fault| fault.line);
        faults.dedup_by_key(|fault| fault.line);
        self.faults.replace(faults);
        Section { findings: self, name: String::new(), table: table.into_inner() }
    }

    /// Notes a fault. On a line that didn't parse there is no point in judging what was made of it.
    fn fault(&self, at: &Range<usize>, key: String, message: String) {
        let line = self.line(at);
        if !self.has_syntax_error(line) {
            self.faults.borrow_mut().push(Fault { line, key, message });
        }
    }

    /// All faults in the order of the file, and the line of each key.
    #[must_use]
    pub fn finish(self) -> (Vec<ConfigError>, BTreeMap<String, usize>) {
        let unknown = self.unknown.take();
        let of_unknown = unknown.iter().filter(|unknown| !self.has_syntax_error(unknown.line));
        let mut faults: Vec<Fault> = of_unknown.map(|unknown| self.explain(unknown)).collect();
        faults.extend(self.faults.take());
        faults.sort_by_key(|fault| fault.line);
        let errors = faults.into_iter().map(|fault| ConfigError {
            origin: Origin::File { name: self.file.to_owned(), line: fault.line },
            key: fault.key,
            message: fault.message,
        });
        (errors.collect(), self.lines.take())
    }

    /// The line, from 1, in which a range of the text begins.
    fn line(&self, at: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn has_syntax_error(&self, line: usize) -> bool {
        self.faults.borrow().iter().any(|fault| fault.line == line && fault.key.is_empty())
    }

    /// The parser's message, with the slips to expect said so that an operator knows what to do.
    fn in_plain_words(&self, message: &str, span: Range<usize>) -> String {
        if message.starts_with("string values must be quoted") {
            return "text, sizes and times stand in quotes, as in \"16MiB\"".to_owned();
        }
        if message == "duplicate key" {
            let key = self.text.get(span).unwrap_or_default().escape_debug();
            return format!("`{key}` stands here a second time; keep the one that is meant");
        }
        message.to_owned()
    }

    fn explain(&self, unknown: &Unknown) -> Fault {
        let all = self.known.borrow();
        let known = all.get(&unknown.section).map_or(&[][..], |known| known);
        let suggestion = match nearest(&unknown.key, known) {
            Some(key) => format!("; did you mean `{key}`?"),
            None => match all.iter().find(|(_, keys)| keys.contains(&unknown.key.as_str())) {
                Some((section, _)) => format!("; did you mean `{}`?", full_name(section, &unknown.key)),
                None => String::new(),
            },
        };
        let list: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
        let place =
            if unknown.section.is_empty() { "here".to_owned() } else { format!("in `{}`", unknown.section) };
        Fault {
            line: unknown.line,
            key: full_name(&unknown.section, &unknown.key.escape_debug().to_string()),
            message: format!("unknown key{suggestion} (accepted {place}: {})", list.join(", ")),
        }
    }
}

/// One table of the document.
pub struct Section<'f, 'i> {
    findings: &'f Findings<'i>,
    name: String,
    table: DeTable<'i>,
}

impl<'i> Section<'_, 'i> {
    /// Takes a key out of the table; `None` if it isn't there.
    pub fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        let mut all = self.findings.known.borrow_mut();
        let known = all.entry(self.name.clone()).or_default();
        if !known.contains(&key) {
            known.push(key);
        }
        let value = self.table.remove(key)?;
        self.findings.lines.borrow_mut().insert(self.full_name(key), self.findings.line(&value.span()));
        Some(value)
    }

    /// Reads a key into `into` if it is there. `read` says what would be accepted if it can't take the value.
    pub fn set<T>(
        &mut self,
        key: &'static str,
        into: &mut T,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) {
        if let Some(read) = self.read(key, read) {
            *into = read;
        }
    }

    /// Reads a key that need not be there.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take(key)?;
        read(value.get_ref())
            .map_err(|accepted| {
                let message = format!("{} is not accepted; {accepted}", show(value.get_ref()));
                self.fault(&value.span(), key, message);
            })
            .ok()
    }

    /// How many faults the document has until now; unknown keys do not count.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.findings.faults.borrow().len()
    }

    /// Notes a fault of one of the table's keys.
    pub fn fault(&self, at: &Range<usize>, key: &str, message: String) {
        self.findings.fault(at, self.full_name(key), message);
    }

    /// Takes a table out of the table; an empty one if it isn't there, so that its keys become known.
    pub fn section(&mut self, key: &'static str) -> Self {
        self.inline(key).map_or_else(|| self.nested(key, DeTable::new()), |(_, section)| section)
    }

    /// Takes a table out of the table, with where it stands, if it is there.
    pub fn inline(&mut self, key: &'static str) -> Option<(Range<usize>, Self)> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some((span, self.nested(key, table))),
            other => {
                let name = self.full_name(key);
                self.fault(
                    &span,
                    key,
                    format!("{} is not accepted; a table is, as after `[{name}]`", show(&other)),
                );
                None
            }
        }
    }

    /// Takes an array of tables, with where each begins.
    pub fn sections(&mut self, key: &'static str) -> Vec<(Range<usize>, Self)> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let accepted =
            format!("each one begins with the line `[[{}]]`, in double brackets", self.full_name(key));
        let span = value.span();
        let DeValue::Array(array) = value.into_inner() else {
            self.fault(&span, key, format!("is not a list; {accepted}"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for member in array {
            let span = member.span();
            match member.into_inner() {
                DeValue::Table(table) => sections.push((span, self.nested(key, table))),
                other => self.fault(&span, key, format!("{} is not accepted; {accepted}", show(&other))),
            }
        }
        sections
    }

    /// Ends reading: what is left is unknown.
    pub fn finish(self) {
        let mut unknown = self.findings.unknown.borrow_mut();
        for key in self.table.keys() {
            let line = self.findings.line(&key.span());
            unknown.push(Unknown { line, section: self.name.clone(), key: key.get_ref().to_string() });
        }
    }

    /// Where a part of the text was said.
    #[must_use]
    pub fn origin(&self, at: &Range<usize>) -> Origin {
        Origin::File { name: self.findings.file.to_owned(), line: self.findings.line(at) }
    }

    /// A table that stands at `key`, as a section.
    #[must_use]
    pub fn nested(&self, key: &str, table: DeTable<'i>) -> Self {
        Self { findings: self.findings, name: self.full_name(key), table }
    }

    fn full_name(&self, key: &str) -> String {
        full_name(&self.name, key)
    }
}

fn full_name(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A value as the operator wrote it, cut if it is long.
fn show(value: &DeValue<'_>) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => return "a list".to_owned(),
        DeValue::Table(_) => return "a table".to_owned(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// The known key that is so near to `wrong` that it was probably meant.
#[must_use]
pub fn nearest<'k>(wrong: &str, known: &[&'k str]) -> Option<&'k str> {
    // No key is this long, and the cost is the product of both lengths.
    if wrong.len() > 64 {
        return None;
    }
    let wrong: Vec<char> = wrong.to_lowercase().replace('-', "_").chars().collect();
    let distances = known.iter().map(|key| (distance(&wrong, &key.chars().collect::<Vec<_>>()), *key));
    let (distance, key) = distances.min()?;
    (distance <= 3 && distance * 2 < key.len()).then_some(key)
}

/// How many characters must be put in, taken out or exchanged to make `left` into `right`.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (taken, from) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = taken + 1;
        for (put, to) in right.iter().enumerate() {
            let exchanged = diagonal + usize::from(from != to);
            diagonal = row[put + 1];
            row[put + 1] = exchanged.min(diagonal + 1).min(row[put] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let cases = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
            ("ü", "u", 1),
        ];
        for (left, right, expected) in cases {
            assert_eq!(distance(&chars(left), &chars(right)), expected, "{left} {right}");
            assert_eq!(distance(&chars(right), &chars(left)), expected, "{right} {left}");
        }
    }

    #[test]
    fn only_a_near_key_is_suggested() {
        let known = ["max_packet_size", "max_connections", "url", "tls"];
        let cases = [
            ("max_packet_siz", Some("max_packet_size")),
            ("max-packet-size", Some("max_packet_size")),
            ("Max_Packet_Size", Some("max_packet_size")),
            ("uri", Some("url")),
            ("host", None),
            ("", None),
            ("queue", None),
        ];
        for (wrong, expected) in cases {
            assert_eq!(nearest(wrong, &known), expected, "{wrong}");
        }
        assert_eq!(nearest("x", &[]), None);
    }
}
