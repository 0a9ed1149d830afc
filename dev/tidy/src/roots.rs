//! Every crate forbids unsafe code at its root and has the lints of the workspace.

use crate::{finding::Finding, manifest::manifests, tree::Tree};

const FORBID: &str = "#![forbid(unsafe_code)]";

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let (manifests, _) = manifests(tree); // those that can't be read are said by the floors
    let mut findings = Vec::new();
    // `fuzz` is a workspace of its own, and what its targets expand to exports a C function.
    for manifest in manifests.iter().filter(|manifest| manifest.folder != "fuzz") {
        if !manifest.workspace_lints {
            findings.push(Finding::new(manifest.path, 1, "needs `[lints]` with `workspace = true`"));
        }
        for (path, text) in tree.files_ending(".rs").filter(|(path, _)| is_root(path, manifest.folder)) {
            if !text.lines().any(|line| line.trim() == FORBID) {
                findings.push(Finding::new(path, 1, format!("needs `{FORBID}`: it is the root of a crate")));
            }
        }
    }
    findings
}

fn is_root(path: &str, folder: &str) -> bool {
    let Some(within) = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) else {
        return false;
    };
    let binary = within.strip_prefix("src/bin/").is_some_and(|name| !name.contains('/'));
    binary || ["src/lib.rs", "src/main.rs", "build.rs"].contains(&within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::places;

    const GOOD: &str = "[package]\nname = 'a'\n[lints]\nworkspace = true\n";

    #[test]
    fn what_a_crate_needs() {
        let good = [
            ("crates/a/Cargo.toml", GOOD),
            ("crates/a/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]\n"),
            ("crates/a/src/other.rs", ""),
            ("fuzz/Cargo.toml", "[package]\nname = 'f'\n"),
        ];
        assert_eq!(places(&check(&Tree::of(&good))), [""; 0]);
    }

    #[test]
    fn what_is_missing() {
        let bad = [
            ("crates/a/Cargo.toml", "[package]\nname = 'a'\n"),
            ("crates/a/src/lib.rs", "// #![forbid(unsafe_code)]\n"),
            ("dev/b/Cargo.toml", GOOD),
            ("dev/b/src/main.rs", ""),
            ("dev/b/src/bin/more.rs", "#![deny(unsafe_code)]"),
        ];
        let expected = [
            "crates/a/Cargo.toml:1",
            "crates/a/src/lib.rs:1",
            "dev/b/src/bin/more.rs:1",
            "dev/b/src/main.rs:1",
        ];
        assert_eq!(places(&check(&Tree::of(&bad))), expected);
    }
}
