//! `docs/trust.md` names tests; each must be there.

use crate::{
    finding::Finding,
    table::{code_spans, tables},
    tree::Tree,
};

const DOCUMENT: &str = "docs/trust.md";

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in tables(tree.file(DOCUMENT).unwrap_or_default()) {
        for row in &table.rows {
            let say = |message: String| Finding::new(DOCUMENT, row.line, message);
            let tests = row.cells.last().map(|cell| code_spans(cell)).into_iter().flatten();
            let named: Vec<(&str, &str)> = tests.filter_map(|test| test.split_once("::")).collect();
            if named.is_empty() {
                findings.push(say("names no test".to_owned()));
            }
            for (path, name) in named {
                let there = |text: &str| {
                    [format!("fn {name}("), format!("def {name}(")].iter().any(|head| text.contains(head))
                };
                if !tree.file(path).is_some_and(there) {
                    findings.push(say(format!("there is no test `{name}` in `{path}`")));
                }
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
    fn tests_that_are_not_there() {
        let page = "| Class | Tests |\n| --- | --- |\n| a | `x.rs::one` `y.py::two` |\n| b | `x.rs::two` |\n| c | - |\n";
        let tree = Tree::of(&[(DOCUMENT, page), ("x.rs", "fn one() {}"), ("y.py", "def two(x):")]);
        assert_eq!(places(&check(&tree)), ["docs/trust.md:4", "docs/trust.md:5"]);
    }
}
