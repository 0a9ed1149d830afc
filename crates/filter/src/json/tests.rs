//! What is read against the plainest reader there is: a letter at a time, one function for each rule of RFC 8259.

use proptest::prelude::*;

use super::read;
use crate::{
    PAYLOAD_DEPTH_MAX, PAYLOAD_VALUES_MAX,
    tape::{Document, Kind, Tape},
};

#[derive(Clone, Debug, PartialEq)]
enum Tree {
    /// `true`, `false` and `null`.
    Word(&'static str),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// What the tape says.
fn ours(payload: &str, tape: &mut Tape) -> Option<Tree> {
    let outcome = tape.write(|writer| read(payload, writer));
    let entries = tape.values();
    assert_eq!(outcome.is_err(), entries.is_empty(), "what is not read through is not there");
    outcome.ok()?;
    let document =
        Document { payload: payload.as_bytes(), text: payload, entries, unescaped: &tape.unescaped };
    assert_eq!(document.children(0).count(), direct(document, 0));
    Some(tree(document, 0))
}

/// The values directly in a list or map, as it says itself.
fn direct(document: Document<'_>, at: u32) -> usize {
    match document.kind(at) {
        Kind::List(count) => count as usize,
        Kind::Map(count) => 2 * count as usize,
        _ => 0,
    }
}

fn tree(document: Document<'_>, at: u32) -> Tree {
    let text = |at| document.text(at).expect("a text").to_owned();
    match document.kind(at) {
        Kind::Null => Tree::Word("null"),
        Kind::Bool(value) => Tree::Word(if value { "true" } else { "false" }),
        Kind::Digits(from, to) => Tree::Number(document.text[from as usize..to as usize].to_owned()),
        Kind::Text(..) | Kind::Escaped(..) => Tree::Text(text(at)),
        Kind::List(count) => {
            let elements: Vec<Tree> = document.children(at).map(|at| tree(document, at)).collect();
            assert_eq!(elements.len(), count as usize);
            Tree::List(elements)
        }
        Kind::Map(count) => {
            let children: Vec<u32> = document.children(at).collect();
            assert_eq!(children.len(), 2 * count as usize);
            let pairs: Vec<(String, u32)> = children.chunks(2).map(|pair| (text(pair[0]), pair[1])).collect();
            for (key, _) in &pairs {
                let last = pairs.iter().rfind(|(other, _)| other == key).map(|(_, at)| *at);
                assert_eq!(document.field(at, key, &mut 0), last, "the last one of a name counts");
            }
            Tree::Map(pairs.into_iter().map(|(key, at)| (key, tree(document, at))).collect())
        }
        other => panic!("JSON has no {other:?}"),
    }
}

/// The plainest reader.
struct Plain<'a> {
    rest: &'a str,
    values: usize,
}

fn plain(payload: &str) -> Option<Tree> {
    let mut reader = Plain { rest: payload, values: 0 };
    let tree = reader.value(0)?;
    reader.rest.is_empty().then_some(tree)
}

impl Plain<'_> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn takes(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).inspect(|rest| self.rest = rest).is_some()
    }

    fn one(&mut self) -> Option<char> {
        let first = self.rest.chars().next()?;
        self.rest = &self.rest[first.len_utf8()..];
        Some(first)
    }

    /// With the blanks around it. `depth` is how many lists and maps it is in.
    fn value(&mut self, depth: usize) -> Option<Tree> {
        self.blank();
        let words = ["true", "false", "null"];
        let tree = if let Some(word) = words.into_iter().find(|word| self.takes(word)) {
            self.counts()?;
            Tree::Word(word)
        } else if self.rest.starts_with('"') {
            Tree::Text(self.text()?)
        } else if self.takes("[") {
            self.counts()?;
            Tree::List(self.elements(depth + 1, "]", |reader| reader.value(depth + 1))?)
        } else if self.takes("{") {
            self.counts()?;
            let pair = |reader: &mut Self| {
                reader.blank();
                let key = reader.text()?;
                reader.blank();
                if reader.takes(":") { Some((key, reader.value(depth + 1)?)) } else { None }
            };
            Tree::Map(self.elements(depth + 1, "}", pair)?)
        } else {
            self.counts()?;
            Tree::Number(self.number()?)
        };
        self.blank();
        Some(tree)
    }

    fn counts(&mut self) -> Option<()> {
        self.values += 1;
        (self.values <= PAYLOAD_VALUES_MAX).then_some(())
    }

    fn elements<T>(
        &mut self,
        depth: usize,
        close: &str,
        mut element: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut all = Vec::new();
        if depth > PAYLOAD_DEPTH_MAX {
            return None;
        }
        self.blank();
        if self.takes(close) {
            return Some(all);
        }
        loop {
            all.push(element(self)?);
            self.blank();
            if self.takes(close) {
                return Some(all);
            }
            self.takes(",").then_some(())?;
        }
    }

    fn text(&mut self) -> Option<String> {
        self.counts()?;
        self.takes("\"").then_some(())?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            match self.one()? {
                '"' => return String::from_utf16(&units).ok(),
                '\\' => units.push(match self.one()? {
                    'b' => 8,
                    'f' => 12,
                    'n' => 10,
                    'r' => 13,
                    't' => 9,
                    'u' => {
                        let digits = self
                            .rest
                            .get(..4)
                            .filter(|digits| digits.chars().all(|digit| digit.is_ascii_hexdigit()))?;
                        self.rest = &self.rest[4..];
                        u16::from_str_radix(digits, 16).ok()?
                    }
                    same @ ('"' | '\\' | '/') => u16::try_from(u32::from(same)).ok()?,
                    _ => return None,
                }),
                '\0'..='\x1F' => return None,
                plain => units.extend_from_slice(plain.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn number(&mut self) -> Option<String> {
        let begin = self.rest;
        self.takes("-");
        if !self.takes("0") {
            self.digits()?;
        }
        if self.takes(".") {
            self.digits()?;
        }
        if self.takes("e") || self.takes("E") {
            let _ = self.takes("+") || self.takes("-");
            self.digits()?;
        }
        Some(begin[..begin.len() - self.rest.len()].to_owned())
    }

    fn digits(&mut self) -> Option<()> {
        let rest = self.rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let some = rest.len() < self.rest.len();
        self.rest = rest;
        some.then_some(())
    }
}

/// Pieces of JSON, sound ones and others, of all lengths around those that are looked at together.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[\\[\\]{}:,\" ]",
        2 => "[ \t\r\n]{1,3}",
        1 => "[\0\x0B\x0C\x1F\x7F\u{A0}]",
        4 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
        1 => "[-+.eE0-9]{1,6}",
        2 => "(true|false|null|tru|nulll)",
        6 => "\"[a-z0-9_ .{}:,\\[\\]]{0,40}\"",
        2 => "\"[a-zäß€😀 ]{0,20}\"",
        2 => "\"([a-z]{0,12}\\\\([\"\\\\/bfnrt]|u[0-9a-fA-F]{4}|ud83d\\\\ude00|u{1,2}[0-9]{0,3}|x)){1,3}[a-z]{0,18}\"",
        1 => "\"[a-z]{0,20}[\0-\x1F\"\\\\][a-z]{0,20}\"",
        4 => "\"[ab]\": ?",
    ]
}

/// A document of blanks, lists, maps and pieces that are right.
fn sound() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        3 => "\"[ab]\"",
        2 => "\"[a-zé_]{0,36}\"",
        1 => "\"\\\\u006[12]\"",
        1 => "\"[a-z]{0,20}\\\\(n|u00e9|\"|\\\\)[a-z]{0,20}\"",
    ];
    let leaf = prop_oneof![
        2 => "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,3})?",
        1 => "(true|false|null)",
        1 => "\"[a-zé€😀 {}:,]{0,40}\"",
        1 => "\"[a-z]{0,20}\\\\(n|u00e9|ud83d\\\\ude00|\"|\\\\)[a-z]{0,20}\"",
    ];
    let blank = || prop_oneof![6 => "", 3 => " ", 1 => "[ \t\r\n]{1,4}"];
    leaf.prop_recursive(6, 120, 12, move |inner| {
        let element = (blank(), inner, blank()).prop_map(|(a, value, b)| format!("{a}{value}{b}"));
        let pair = (blank(), key.clone(), blank(), element.clone())
            .prop_map(|(a, key, b, value)| format!("{a}{key}{b}:{value}"));
        prop_oneof![
            (blank(), prop::collection::vec(element, 0..12)).prop_map(|(blank, all)| {
                if all.is_empty() { format!("[{blank}]") } else { format!("[{}]", all.join(",")) }
            }),
            (blank(), prop::collection::vec(pair, 0..12)).prop_map(|(blank, all)| {
                if all.is_empty() { format!("{{{blank}}}") } else { format!("{{{}}}", all.join(",")) }
            }),
        ]
    })
}

/// One character of `text` taken away, doubled or another one.
fn harmed(text: &str, at: prop::sample::Index, kind: u8, other: char) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let at = at.index(letters.len());
    match kind {
        0 => drop(letters.remove(at)),
        1 => letters.insert(at, letters[at]),
        2 => letters.truncate(at),
        3 => letters.insert(at, other),
        _ => letters[at] = other,
    }
    letters.into_iter().collect()
}

proptest! {
    #[test]
    fn pieces_put_together_are_read_as_the_plainest_reader_does(pieces in prop::collection::vec(piece(), 0..12)) {
        let payload = pieces.concat();
        prop_assert_eq!(ours(&payload, &mut Tape::default()), plain(&payload));
        // Nearly JSON more often than by chance.
        let payload = format!("[{}]", pieces.join(","));
        prop_assert_eq!(ours(&payload, &mut Tape::default()), plain(&payload));
    }

    #[test]
    fn documents_are_read_as_the_plainest_reader_does(
        (payload, next) in (sound(), sound()),
        harm in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..5_u8, prop::sample::select(b"{}[]:,\" \\\n\x0109.-e+tn\x7F".to_vec())),
            8,
        ),
    ) {
        // The tape of an earlier payload is written over.
        let mut tape = Tape::default();
        let tree = ours(&payload, &mut tape);
        prop_assert!(tree.is_some());
        prop_assert_eq!(tree, plain(&payload));
        for (at, kind, other) in harm {
            let harmed = harmed(&payload, at, kind, other.into());
            prop_assert_eq!(ours(&harmed, &mut tape), plain(&harmed), "{}", harmed);
        }
        prop_assert_eq!(ours(&next, &mut tape), plain(&next));
    }
}

#[test]
fn no_document_is_read_that_breaks_off_in_the_middle() {
    let payload = r#"{"sensor": "esp-7f3a with a long name", "t": [26.5, -1e-3, true, {}, []], "é\n": null}"#;
    let mut tape = Tape::default();
    assert!(ours(payload, &mut tape).is_some());
    for (at, _) in payload.char_indices() {
        assert_eq!(ours(&payload[..at], &mut tape), None, "{at}");
    }
}

#[test]
fn the_limits_are_where_they_are_said_to_be() {
    let mut tape = Tape::default();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let maps = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let values = |count: usize| format!("[{}]", vec!["1"; count - 1].join(","));
    for (sound, too_much) in [
        (nested(PAYLOAD_DEPTH_MAX), nested(PAYLOAD_DEPTH_MAX + 1)),
        (maps(PAYLOAD_DEPTH_MAX), maps(PAYLOAD_DEPTH_MAX + 1)),
        (values(PAYLOAD_VALUES_MAX), values(PAYLOAD_VALUES_MAX + 1)),
    ] {
        assert!(ours(&sound, &mut tape).is_some());
        assert_eq!(ours(&too_much, &mut tape), None);
        assert!(ours(&sound, &mut tape).is_some());
    }
}
