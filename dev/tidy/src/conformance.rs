//! `docs/conformance.md` answers for every normative statement of the specifications: with code and with a test.
//!
//! `statements.txt` has the identifiers. They repeat between the versions, so a test's name begins with the version:
//! `mqtt311_1_5_3_1_…` answers for [MQTT-1.5.3-1] of 3.1.1, `mqtt5_1_5_4_1_…` for [MQTT-1.5.4-1] of 5.0.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    finding::Finding,
    table::{Row, code_spans, tables},
    tree::Tree,
};

const DOCUMENT: &str = "docs/conformance.md";
const STATEMENTS: &str = "dev/tidy/statements.txt";
/// What the row of a statement says that only clients have to obey.
const CLIENT_LIBRARY: &str = "client library";

#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V311,
    V5,
}

impl Version {
    /// The version a heading names.
    fn of_heading(heading: &str) -> Option<Self> {
        if heading.contains("3.1.1") { Some(Self::V311) } else { heading.contains("5.0").then_some(Self::V5) }
    }

    fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }

    /// What the names of tests begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::V311 => "mqtt311_",
            Self::V5 => "mqtt5_",
        }
    }
}

/// A statement: version and identifier, as `MQTT-1.5.3-1`.
type Id<'a> = (Version, &'a str);

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let (statements, mut findings) = statements(tree.file(STATEMENTS).unwrap_or_default());
    let tests = tests(tree);
    let mut answered = BTreeSet::new();
    for table in tables(tree.file(DOCUMENT).unwrap_or_default()) {
        let version = table.headings.iter().rev().find_map(|heading| Version::of_heading(heading));
        for row in table.rows.iter().filter(|row| row.cells.first().is_some_and(|id| id.contains("MQTT-"))) {
            let id = row.cells[0].trim_matches(['`', '[', ']']);
            let say = |message: String| Finding::new(DOCUMENT, row.line, format!("{id}: {message}"));
            let Some(version) = version else {
                findings.push(say("stands under no heading that names 3.1.1 or 5.0".to_owned()));
                continue;
            };
            match statements.get(&(version, id)) {
                None => findings.push(say(format!("is no statement of {}", version.name()))),
                Some(_) if !answered.insert((version, id)) => {
                    findings.push(say("has a row already".to_owned()));
                }
                Some(&client) => {
                    findings.extend(faults(tree, &tests, (version, id), client, row).into_iter().map(say));
                }
            }
        }
    }
    for (version, id) in statements.keys().filter(|id| !answered.contains(*id)) {
        findings.push(Finding::new(DOCUMENT, 1, format!("has no row for {id} of {}", version.name())));
    }
    findings
}

/// Identifiers, and whether only clients have to obey.
fn statements(text: &str) -> (BTreeMap<Id<'_>, bool>, Vec<Finding>) {
    let (mut statements, mut findings, mut version) = (BTreeMap::new(), Vec::new(), None);
    for (at, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let new = match (&words[..], version) {
            ([], _) | (["#", ..], _) => continue,
            (["##", heading], _) => {
                version = Version::of_heading(heading);
                continue;
            }
            ([id], Some(version)) => statements.insert((version, *id), false).is_none(),
            ([id, "client"], Some(version)) => statements.insert((version, *id), true).is_none(),
            _ => false,
        };
        if !new {
            let message = "is no identifier under a version, or stands there twice";
            findings.push(Finding::new(STATEMENTS, at + 1, message));
        }
    }
    if statements.is_empty() {
        findings.push(Finding::new(STATEMENTS, 1, "has no identifiers"));
    }
    (statements, findings)
}

/// What is wrong with the row of a statement.
fn faults(tree: &Tree, tests: &BTreeSet<&str>, id: Id<'_>, client: bool, row: &Row<'_>) -> Vec<String> {
    let [_, says, code, test] = row.cells[..] else {
        return vec!["needs four cells: id, what it says, code, test".to_owned()];
    };
    let mut faults = Vec::new();
    if says.is_empty() {
        faults.push("does not say what it says".to_owned());
    }
    if code == CLIENT_LIBRARY || test == CLIENT_LIBRARY {
        if !client {
            faults.push("binds servers, too; name code and test".to_owned());
        }
        return faults;
    }
    let places: Vec<&str> = code_spans(code).filter(|span| span.contains('/')).collect();
    if places.is_empty() {
        faults.push("names no code; as in `crates/core/src/connect.rs::admit`".to_owned());
    }
    faults.extend(places.iter().filter_map(|place| missing(tree, place)));
    let names: Vec<&str> = code_spans(test).collect();
    faults.extend(
        names.iter().filter(|name| !tests.contains(*name)).map(|name| format!("there is no test `{name}`")),
    );
    if !names.iter().any(|name| answers_for(name, id)) {
        faults.push(format!("names no test that begins with `{}`", test_prefix(id)));
    }
    faults
}

/// What does not exist of `path` or `path::name::name`.
fn missing(tree: &Tree, place: &str) -> Option<String> {
    let mut parts = place.split("::");
    let path = parts.next()?;
    let Some(text) = tree.file(path) else { return Some(format!("there is no file `{path}`")) };
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let name = parts.find(|name| !text.split(|c| !word(c)).any(|other| other == *name))?;
    Some(format!("`{path}` has no `{name}`"))
}

/// `mqtt5_1_5_4_1` for `MQTT-1.5.4-1` of 5.0.
fn test_prefix((version, id): Id<'_>) -> String {
    let numbers = id.trim_start_matches("MQTT-").replace(['.', '-'], "_");
    format!("{}{numbers}", version.prefix())
}

/// Whether a test's name begins with the statement's numbers, and not with those of another one that go on.
fn answers_for(name: &str, id: Id<'_>) -> bool {
    match name.strip_prefix(&test_prefix(id)) {
        Some("") => true,
        Some(rest) => {
            rest.strip_prefix('_').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
        }
        None => false,
    }
}

/// The names of all test functions that run.
fn tests(tree: &Tree) -> BTreeSet<&str> {
    tree.files_ending(".rs").flat_map(|(_, text)| tests_of(text)).collect()
}

fn tests_of(text: &str) -> impl Iterator<Item = &str> {
    let (mut test, mut ignored) = (false, false);
    text.lines().map(str::trim).filter_map(move |line| {
        if line.starts_with("#[") {
            test |= line.starts_with("#[test]");
            ignored |= line.starts_with("#[ignore");
            return None;
        }
        if line.is_empty() || line.starts_with("//") {
            return None;
        }
        let (was_test, was_ignored) = (std::mem::take(&mut test), std::mem::take(&mut ignored));
        let name = line.strip_prefix("fn ")?.split_once('(')?.0;
        (was_test && !was_ignored).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: (&str, &str) =
        (STATEMENTS, "# Ours\n\n## 3.1.1\nMQTT-1.1-1\nMQTT-1.1-2 client\n## 5.0\nMQTT-1.1-1\n");
    const CODE: (&str, &str) = ("crates/a/src/x.rs", "impl X {\n    fn obey() {}\n}\n");
    const TESTS: (&str, &str) = (
        "crates/a/tests/t.rs",
        "#[test]\nfn mqtt311_1_1_1_holds() {}\n#[test]\n// why\nfn mqtt5_1_1_1() {}\nfn mqtt5_1_1_1_helper() {}\n#[test]\n#[ignore = \"slow\"]\nfn mqtt5_1_1_1_off() {}\n#[test]\nfn mqtt5_1_1_1_2_other() {}\n",
    );
    const ROWS: [&str; 3] = [
        "| MQTT-1.1-1 | obey | `crates/a/src/x.rs::X::obey` | `mqtt311_1_1_1_holds` |",
        "| MQTT-1.1-2 | send | client library | client library |",
        "| MQTT-1.1-1 | obey | `crates/a/src/x.rs` | `mqtt5_1_1_1`, `mqtt311_1_1_1_holds` |",
    ];

    /// What is said of a document with these rows: two for 3.1.1, one for 5.0.
    fn said(rows: [&str; 3]) -> Vec<String> {
        let header = "| id | what it says | code | test |\n| - | - | - | - |";
        let document = format!(
            "# Conformance\n## MQTT 3.1.1\n{header}\n{}\n{}\n## MQTT 5.0\n### One\n{header}\n{}\n",
            rows[0], rows[1], rows[2]
        );
        let tree = Tree::of(&[LIST, CODE, TESTS, (DOCUMENT, &document)]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_statement_is_answered() {
        assert_eq!(said(ROWS), [""; 0]);
    }

    #[test]
    fn answers_that_are_none() {
        let cases = [
            (
                "| MQTT-1.1-1 | obey | `crates/a/src/y.rs` | `mqtt5_1_1_1` |",
                "there is no file `crates/a/src/y.rs`",
            ),
            (
                "| MQTT-1.1-1 | obey | `crates/a/src/x.rs::bey` | `mqtt5_1_1_1` |",
                "`crates/a/src/x.rs` has no `bey`",
            ),
            ("| MQTT-1.1-1 | obey | the shard | `mqtt5_1_1_1` |", "names no code"),
            ("| MQTT-1.1-1 | | `crates/a/src/x.rs` | `mqtt5_1_1_1` |", "does not say what it says"),
            (
                "| MQTT-1.1-1 | obey | `crates/a/src/x.rs` | `mqtt311_1_1_1_holds` |",
                "names no test that begins with `mqtt5_1_1_1`",
            ),
            (
                "| MQTT-1.1-1 | obey | `crates/a/src/x.rs` | `mqtt5_1_1_1_2_other` |",
                "names no test that begins",
            ),
            (
                "| MQTT-1.1-1 | obey | `crates/a/src/x.rs` | `mqtt5_1_1_1_gone` |",
                "there is no test `mqtt5_1_1_1_gone`",
            ),
            ("| MQTT-1.1-1 | obey | `crates/a/src/x.rs` | `mqtt5_1_1_1_helper` |", "there is no test"),
            ("| MQTT-1.1-1 | obey | `crates/a/src/x.rs` | `mqtt5_1_1_1_off` |", "there is no test"),
            ("| MQTT-1.1-1 | obey | client library | client library |", "binds servers, too"),
            ("| MQTT-1.1-1 | obey | `crates/a/src/x.rs` |", "needs four cells"),
        ];
        for (row, expected) in cases {
            let said = said([ROWS[0], ROWS[1], row]);
            assert_eq!(said.len(), 1, "{row}: {said:?}");
            assert!(
                said[0].starts_with("docs/conformance.md:11: MQTT-1.1-1: ") && said[0].contains(expected),
                "{said:?}"
            );
        }
    }

    #[test]
    fn rows_too_many_or_too_few() {
        assert_eq!(said([ROWS[0], ROWS[1], ""]), ["docs/conformance.md:1: has no row for MQTT-1.1-1 of 5.0"]);
        let twice = said([ROWS[0], ROWS[0], ROWS[2]]);
        assert!(twice[0].contains("6: MQTT-1.1-1: has a row already"), "{twice:?}");
        let foreign = said([ROWS[0], ROWS[1], "| MQTT-1.1-2 | x | client library | client library |"]);
        assert!(foreign[0].contains("MQTT-1.1-2: is no statement of 5.0"), "{foreign:?}");
    }

    #[test]
    fn a_list_that_is_none() {
        let lines = |text| statements(text).1.iter().map(|finding| finding.line).collect::<Vec<_>>();
        assert_eq!(lines("MQTT-1.1-1\n## 5.0\nMQTT-1.1-1\nMQTT-1.1-1\nMQTT-2-1 servers\n"), [1, 4, 5]);
        assert_eq!(lines("# nothing\n"), [1]);
    }

    #[test]
    fn the_specifications_have_as_many_statements() {
        let (statements, findings) = statements(include_str!("../statements.txt"));
        assert_eq!(findings, []);
        let count = |version| statements.keys().filter(|(other, _)| *other == version).count();
        assert_eq!((count(Version::V311), count(Version::V5)), (141, 251));
    }
}
