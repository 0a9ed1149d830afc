//! Documents and tree agree: links lead somewhere, and `ARCHITECTURE.md` names every folder of crates.

use crate::{
    finding::Finding,
    table::{code_spans, prose},
    tree::Tree,
};

const MAP: &str = "ARCHITECTURE.md";

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files_ending(".md") {
        for (line, text) in prose(text) {
            for target in targets(text) {
                if resolve(path, target).is_none_or(|file| !tree.exists(&file)) {
                    findings.push(Finding::new(path, line, format!("the link to `{target}` leads nowhere")));
                }
            }
        }
    }
    let map = tree.file(MAP).unwrap_or_default();
    for folder in ["crates", "bin", "dev"].into_iter().flat_map(|parent| tree.folders_in(parent)) {
        let name = folder.rsplit('/').next().unwrap_or(folder);
        if !code_spans(map).any(|span| span == folder || span == name) {
            findings.push(Finding::new(MAP, 1, format!("does not name `{folder}`; say what it is for")));
        }
    }
    findings
}

/// Targets of a line's links that are files of the project: neither URLs nor places in the same document.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let parts = line.split('`').step_by(2); // what is not code
    let inline = parts.flat_map(|part| part.match_indices("](").map(move |(at, _)| &part[at + 2..]));
    let inline = inline.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let reference = line.starts_with('[').then(|| line.split_once("]: ")).flatten().map(|(_, target)| target);
    inline
        .chain(reference)
        .filter_map(|target| target.split(['#', ' ']).next())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

/// The path a link means, from the project's folder; `None` if it leaves the project.
fn resolve(document: &str, target: &str) -> Option<String> {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(path.pop()?),
            part => path.push(part),
        }
    }
    Some(path.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::places;

    #[test]
    fn links_that_lead_somewhere() {
        let good = Tree::of(&[
            (
                "README.md",
                "[a](docs/a.md#part), [b](https://example.org/x.md) and `[c](c.md)`\n```\n[d](d.md)\n```\n[e](#here)\n[docs](docs/)\n[f]: LICENSE\n",
            ),
            ("docs/a.md", "[up](../README.md) [beside](./b.md \"title\")\n"),
            ("docs/b.md", ""),
            ("LICENSE", ""),
        ]);
        assert_eq!(places(&check(&good)), [""; 0]);
    }

    #[test]
    fn links_that_lead_nowhere() {
        let bad = Tree::of(&[
            ("README.md", "fine\n[a](docs/b.md) and [out](../x.md)\n[f]: gone.md\n"),
            ("docs/a.md", "[a](docs/a.md)\n"),
        ]);
        assert_eq!(places(&check(&bad)), ["README.md:2", "README.md:2", "README.md:3", "docs/a.md:1"]);
    }

    #[test]
    fn folders_the_map_lacks() {
        let files = [
            ("ARCHITECTURE.md", "`crates/a`, and `dev/*`: `tidy` looks after the house\n"),
            ("crates/a/Cargo.toml", ""),
            ("crates/b/Cargo.toml", ""),
            ("dev/tidy/Cargo.toml", ""),
            ("dev/storm/Cargo.toml", ""),
        ];
        let messages: Vec<String> =
            check(&Tree::of(&files)).into_iter().map(|finding| finding.message).collect();
        assert_eq!(messages.len(), 2);
        assert!(messages[0].contains("crates/b") && messages[1].contains("dev/storm"));
    }
}
