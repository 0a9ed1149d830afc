//! Every log line names its subsystem, because operators choose levels by it (`docs/configuration.md`).

use crate::{finding::Finding, tree::Tree};

const MACROS: [&str; 5] = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];
const SUBSYSTEMS: [&str; 7] = ["broker", "net", "client", "access", "store", "bridge", "sink"];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_shipped =
        |path: &str| (path.starts_with("crates/") || path.starts_with("bin/")) && path.contains("/src/");
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with(".rs") && is_shipped(path)) {
        if !text.contains("tracing::") {
            continue;
        }
        for (at, name) in MACROS.iter().flat_map(|name| text.match_indices(name)) {
            let before = text[..at].chars().next_back();
            let is_ours = before.is_none_or(|c| c == ':' || !(c.is_alphanumeric() || c == '_'));
            let arguments = text[at + name.len()..].trim_start();
            let named = |subsystem: &str| arguments.starts_with(&format!("target: \"{subsystem}\""));
            if is_ours && !SUBSYSTEMS.iter().any(|subsystem| named(subsystem)) {
                let line = 1 + text[..at].matches('\n').count();
                let message = format!(
                    "a log line without subsystem; begin with `target: \"net\",` or one of {SUBSYSTEMS:?}"
                );
                findings.push(Finding::new(path, line, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::places;

    #[test]
    fn lines_without_a_subsystem() {
        let tree = Tree::of(&[
            (
                "crates/a/src/x.rs",
                "\ntracing::info!(\"no\");\ntracing::warn!(\n    target: \"net\", \"yes\");\n",
            ),
            (
                "crates/a/src/y.rs",
                "use tracing::{info};\ninfo!(target: \"other\", \"no\");\ninfo!(client, \"no\");\n",
            ),
            ("crates/a/src/z.rs", "info!(\"another info!\");\n"),
            ("crates/a/tests/x.rs", "tracing::info!(\"a test\");\n"),
        ]);
        assert_eq!(
            places(&check(&tree)),
            ["crates/a/src/x.rs:2", "crates/a/src/y.rs:2", "crates/a/src/y.rs:3"]
        );
    }
}
