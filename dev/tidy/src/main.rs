//! Checks of the house itself: what a machine can check is a test, not a remark in a review.
//!
//! `cargo run -p cork-tidy` prints one line per finding, as `file:line: what to do`, and exits 1 if there is any.
//! `cargo test -p cork-tidy` does the same as a test, after showing that each check finds what it is there for.
//!
//! Each check is a module with a function from the [`Tree`] to its [`Finding`]s. What a check needs to know stands in
//! the documents that people read (the floors in `ARCHITECTURE.md`, the answers in `docs/conformance.md`), never in a
//! copy here.
#![forbid(unsafe_code)]

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use finding::Finding;
use tree::Tree;

mod conformance;
mod finding;
mod floors;
mod leftovers;
mod links;
mod manifest;
mod roots;
mod sizes;
mod subsystems;
mod table;
mod tree;
mod trust;
mod words;

const CHECKS: [fn(&Tree) -> Vec<Finding>; 9] = [
    floors::check,
    roots::check,
    sizes::check,
    leftovers::check,
    words::check,
    links::check,
    conformance::check,
    subsystems::check,
    trust::check,
];

fn main() -> ExitCode {
    match findings() {
        Ok(findings) => {
            for finding in &findings {
                println!("{finding}");
            }
            println!("tidy: {} checks, {} findings", CHECKS.len(), findings.len());
            if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("tidy: the tree can't be read: {error}");
            ExitCode::FAILURE
        }
    }
}

fn findings() -> io::Result<Vec<Finding>> {
    let tree = Tree::read(&root())?;
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// The project's folder: two above this crate's.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let findings: Vec<String> = findings().unwrap().iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }

    #[test]
    fn the_whole_tree_is_seen() {
        let tree = Tree::read(&root()).unwrap();
        for path in ["ARCHITECTURE.md", "dev/tidy/src/main.rs", "crates/packet/src/lib.rs", ".gitignore"] {
            assert!(tree.file(path).is_some(), "{path}");
        }
        assert!(!tree.exists("target") && !tree.exists(".git/config"));
    }
}
