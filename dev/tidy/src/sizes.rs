//! No Rust file grows beyond what one reads in a sitting.

use crate::{finding::Finding, tree::Tree};

const LINES_MAX: usize = 800;
/// Files that may be longer, each with the reason.
const LONGER: [(&str, &str); 0] = [];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    check_but(tree, &LONGER)
}

fn check_but(tree: &Tree, longer: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files_ending(".rs") {
        let lines = text.lines().count();
        let may = longer.iter().any(|(other, _)| *other == path);
        if lines > LINES_MAX && !may {
            let message =
                format!("has {lines} lines, more than {LINES_MAX}; move a part into a file of its own");
            findings.push(Finding::new(path, LINES_MAX + 1, message));
        } else if lines <= LINES_MAX && may {
            findings.push(Finding::new(path, 1, "is short enough now; take it off the list in `sizes.rs`"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::places;

    #[test]
    fn long_files() {
        let (long, fits) = ("x\n".repeat(801), "x\n".repeat(800));
        let tree = Tree::of(&[("a.rs", &long), ("b.rs", &fits), ("c.md", &long)]);
        assert_eq!(places(&check_but(&tree, &[])), ["a.rs:801"]);
        assert_eq!(places(&check_but(&tree, &[("a.rs", "one table")])), [""; 0]);
        assert_eq!(places(&check_but(&tree, &[("a.rs", "one table"), ("b.rs", "another")])), ["b.rs:1"]);
    }
}
