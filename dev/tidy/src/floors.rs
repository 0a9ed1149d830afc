//! Floors: which crate may use which.
//!
//! The table stands in `ARCHITECTURE.md`, from the ground up: a crate's row names exactly the crates it uses, and all
//! of them stand above it in the table, which is below it in the house. Only what is linked counts; tests may use
//! anything.

use std::collections::BTreeMap;

use crate::{
    finding::Finding,
    manifest::{Manifest, manifests},
    table::{code_spans, tables},
    tree::Tree,
};

const DOCUMENT: &str = "ARCHITECTURE.md";

/// A row of the table, for one of its crates.
struct Floor<'a> {
    line: usize,
    /// A folder, or with `/*` all folders within.
    folder: &'a str,
    /// Short names, as `packet`; `None`: anything.
    uses: Option<Vec<&'a str>>,
}

impl Floor<'_> {
    fn is_of(&self, folder: &str) -> bool {
        match self.folder.strip_suffix("/*") {
            Some(parent) => folder.rsplit_once('/').is_some_and(|(above, _)| above == parent),
            None => self.folder.trim_end_matches('/') == folder,
        }
    }
}

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let text = tree.file(DOCUMENT).unwrap_or_default();
    let Some(floors) = parse(text) else {
        return vec![Finding::new(DOCUMENT, 1, "needs a table with the columns `Crate` and `Uses`")];
    };
    let (manifests, mut findings) = manifests(tree);
    let folders: BTreeMap<&str, &str> =
        manifests.iter().map(|manifest| (manifest.name.as_str(), manifest.folder)).collect();
    for manifest in &manifests {
        match floors.iter().position(|floor| floor.is_of(manifest.folder)) {
            Some(at) => check_crate(manifest, &floors[at], &floors[..at], &folders, &mut findings),
            None => {
                let message =
                    format!("`{}` stands on no floor; give it a row in {DOCUMENT}", manifest.folder);
                findings.push(Finding::new(manifest.path, 1, message));
            }
        }
    }
    for floor in &floors {
        if !manifests.iter().any(|manifest| floor.is_of(manifest.folder)) {
            let message = format!("`{}` is no crate; take it out of the table", floor.folder);
            findings.push(Finding::new(DOCUMENT, floor.line, message));
        }
    }
    findings
}

fn check_crate(
    manifest: &Manifest<'_>,
    floor: &Floor<'_>,
    below: &[Floor<'_>],
    folders: &BTreeMap<&str, &str>,
    findings: &mut Vec<Finding>,
) {
    let Some(uses) = &floor.uses else { return };
    let mut used = Vec::new();
    for (name, line) in &manifest.dependencies {
        let Some(folder) = folders.get(name.as_str()) else { continue };
        let short = short_name(folder);
        used.push(short);
        let message = if !uses.contains(&short) {
            format!("`{}` may not use `{folder}` by the table in {DOCUMENT}", manifest.folder)
        } else if !below.iter().any(|floor| floor.is_of(folder)) {
            format!("`{}` may not use `{folder}`, which is no floor below it", manifest.folder)
        } else {
            continue;
        };
        findings.push(Finding::new(manifest.path, *line, message));
    }
    for unused in uses.iter().filter(|name| !used.contains(name)) {
        let message = format!("`{}` does not use `{unused}`; take it out of its row", manifest.folder);
        findings.push(Finding::new(DOCUMENT, floor.line, message));
    }
}

fn parse(text: &str) -> Option<Vec<Floor<'_>>> {
    let (table, crates, uses) = tables(text).into_iter().find_map(|table| {
        let column = |name| table.header.cells.iter().position(|cell| *cell == name);
        let (crates, uses) = (column("Crate")?, column("Uses")?);
        Some((table, crates, uses))
    })?;
    let mut floors = Vec::new();
    for row in table.rows {
        let cell = |at: usize| row.cells.get(at).copied().unwrap_or_default();
        let uses = match cell(uses) {
            "anything" => None,
            "-" => Some(Vec::new()),
            names => Some(names.split(',').map(str::trim).collect()),
        };
        for folder in code_spans(cell(crates)) {
            floors.push(Floor { line: row.line, folder, uses: uses.clone() });
        }
    }
    Some(floors)
}

fn short_name(folder: &str) -> &str {
    folder.rsplit('/').next().unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::places;

    const TABLE: &str = "| Floor | Crate | Uses |\n| --- | --- | --- |\n| Words | `crates/a` | - |\n| | `crates/b` | a |\n| Doors | `bin/c` | a, b |\n| | `dev/*`, `fuzz/` | anything |\n";
    const A: (&str, &str) = ("crates/a/Cargo.toml", "[package]\nname = 'k-a'\n");
    const B: (&str, &str) = (
        "crates/b/Cargo.toml",
        "[package]\nname = 'k-b'\n[dependencies]\nk-a.workspace = true\nserde = '1'\n",
    );
    const C: (&str, &str) = (
        "bin/c/Cargo.toml",
        "[package]\nname = 'k'\n[dependencies]\nk-a.workspace = true\nk-b.workspace = true\n",
    );
    const D: (&str, &str) =
        ("dev/d/Cargo.toml", "[package]\nname = 'd'\n[dependencies]\nk.path = '../../bin/c'\n");
    const F: (&str, &str) =
        ("fuzz/Cargo.toml", "[package]\nname = 'f'\n[dependencies]\nk-a.path = '../crates/a'\n");

    fn found(table: &str, files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![(DOCUMENT, table)];
        all.extend(files);
        places(&check(&Tree::of(&all)))
    }

    #[test]
    fn a_house_that_stands() {
        assert_eq!(found(TABLE, &[A, B, C, D, F]), [""; 0]);
        let tested =
            ("crates/a/Cargo.toml", "[package]\nname = 'k-a'\n[dev-dependencies]\nk-b.path = '../b'\n");
        assert_eq!(found(TABLE, &[tested, B, C, D, F]), [""; 0], "tests may use anything");
    }

    #[test]
    fn a_crate_that_uses_what_it_may_not() {
        let upward = ("crates/a/Cargo.toml", "[package]\nname = 'k-a'\n[dependencies]\nk-b.path = '../b'\n");
        assert_eq!(found(TABLE, &[upward, B, C, D, F]), ["crates/a/Cargo.toml:4"]);
        let circle = TABLE.replace("`crates/a` | -", "`crates/a` | b");
        assert_eq!(
            found(&circle, &[upward, B, C, D, F]),
            ["crates/a/Cargo.toml:4"],
            "permitted, but not below"
        );
    }

    #[test]
    fn a_table_that_does_not_fit() {
        let unknown = ("crates/z/Cargo.toml", "[package]\nname = 'z'\n");
        assert_eq!(found(TABLE, &[A, B, C, D, F, unknown]), ["crates/z/Cargo.toml:1"]);
        assert_eq!(found(TABLE, &[A, B, C, F]), ["ARCHITECTURE.md:6"], "no dev/*");
        let idle = ("bin/c/Cargo.toml", "[package]\nname = 'k'\n[dependencies]\nk-a.workspace = true\n");
        assert_eq!(found(TABLE, &[A, B, idle, D, F]), ["ARCHITECTURE.md:5"]);
        assert_eq!(found("no table", &[A]), ["ARCHITECTURE.md:1"]);
    }
}
