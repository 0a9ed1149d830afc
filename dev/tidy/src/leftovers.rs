//! Nothing half done stays in the code: no notes to oneself, no placeholders, no test that is silently off.

use crate::{finding::Finding, tree::Tree};

/// Words of notes to oneself, in code of every language.
const NOTES: [&str; 3] = ["FIXME", "TODO", "XXX"];
/// What stands in Rust code that is not finished, and what to do.
const UNFINISHED: [(&str, &str); 4] = [
    ("todo!(", "finish it"),
    ("unimplemented!(", "finish it"),
    ("dbg!(", "take it out"),
    ("#[ignore]", "say why: `#[ignore = \"reason\"]`"),
];
const CODE: [&str; 8] = [".rs", ".py", ".js", ".mjs", ".sh", ".toml", ".yml", "justfile"];
/// This file has to name what it looks for.
const OWN: &str = "dev/tidy/src/leftovers.rs";

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, text)| is_code(path, text) && *path != OWN) {
        for (at, line) in text.lines().enumerate() {
            for note in NOTES.iter().filter(|note| has_word(line, note)) {
                findings.push(Finding::new(
                    path,
                    at + 1,
                    format!("has a `{note}` left; do it, or say it in an issue"),
                ));
            }
            let rust = if path.ends_with(".rs") { &UNFINISHED[..] } else { &[] };
            for (word, advice) in rust.iter().filter(|(word, _)| begins_within(line, word)) {
                findings.push(Finding::new(path, at + 1, format!("has `{word}` left; {advice}")));
            }
        }
    }
    findings
}

fn is_code(path: &str, text: &str) -> bool {
    CODE.iter().any(|ending| path.ends_with(ending)) || text.starts_with("#!/")
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether `word` occurs with nothing before it that would make it another word.
fn begins_within(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(is_word))
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::places;

    #[test]
    fn what_is_left() {
        let bad = Tree::of(&[
            ("a.rs", "fn a() {\n    todo!()\n}\n// TODO: more\n#[ignore]\nfn b() { dbg!(1); }"),
            ("run", "#!/usr/bin/env bash\n# FIXME\n"),
            ("x.py", "# XXX\n"),
            ("b.rs", "unimplemented!(\"later\")"),
        ]);
        assert_eq!(
            places(&check(&bad)),
            ["a.rs:2", "a.rs:4", "a.rs:5", "a.rs:6", "b.rs:1", "run:2", "x.py:1"]
        );
    }

    #[test]
    fn what_only_looks_like_it() {
        let good = Tree::of(&[
            ("a.rs", "#[ignore = \"needs a network\"]\nlet mastodon_TODOS = not_dbg!(x);\n// a todo list\n"),
            ("run", "#!/bin/sh\nmktemp -d /tmp/x.XXXXXX\n"),
            ("README.md", "TODO is a word\n"),
        ]);
        assert_eq!(places(&check(&good)), [""; 0]);
    }
}
