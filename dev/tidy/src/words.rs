//! Words that belong to the machine something was made on, not into the project.

use crate::{finding::Finding, tree::Tree};

/// Folders of a build machine, where they begin a path.
const FOLDERS: [&str; 3] = ["/work", "/root", "/home"];
/// Hosts that package managers ask; which one is the user's affair. In two parts, so that this file names none.
const HOSTS: [(&str, &str); 7] = [
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("crates", ".io-index"),
    ("pypi", ".org"),
    ("files.pythonhosted", ".org"),
    ("registry.npmjs", ".org"),
    ("deb.debian", ".org"),
];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| !is_lock(path)) {
        for (at, line) in text.lines().enumerate() {
            for folder in FOLDERS.iter().filter(|folder| names_folder(line, folder)) {
                if *folder == "/home" && path.contains("examples/") {
                    continue;
                }
                let message = format!("names `{folder}/`, a folder of one machine; use a relative path");
                findings.push(Finding::new(path, at + 1, message));
            }
            for host in
                HOSTS.map(|(name, end)| format!("{name}{end}")).iter().filter(|host| line.contains(*host))
            {
                let message = format!("names `{host}`; leave to the package manager whom it asks");
                findings.push(Finding::new(path, at + 1, message));
            }
        }
    }
    findings
}

fn is_lock(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".lock") || name == "package-lock.json"
}

/// Whether a path into `folder` occurs: a whole first component with something below it. `/home` alone is a fine
/// Topic Name, and `a/home/b` a fine part of one.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let first = before
            .is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '}' | '+' | '*')));
        let mut after = line[at + folder.len()..].chars();
        first && after.next() == Some('/') && after.next().is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::places;

    #[test]
    fn words_of_a_machine() {
        let bad = Tree::of(&[
            ("a.rs", concat!("let a = \"/wo", "rk/main\";\n// see /ro", "ot/notes\n")),
            ("b.md", concat!("`/ho", "me/ann/cork`\n")),
            ("c.sh", concat!("pip install -i https://pypi", ".org/simple\n")),
            ("d.toml", concat!("\nregistry = 'https://index.crates", ".io/'\n")),
        ]);
        assert_eq!(places(&check(&bad)), ["a.rs:1", "a.rs:2", "b.md:1", "c.sh:1", "d.toml:2"]);
    }

    #[test]
    fn words_that_only_look_like_them() {
        let good = Tree::of(&[
            ("a.rs", "subscribe(\"/home\"); publish(\"a/home/b\"); // /workspace/x, $dir/work/x, /root\n"),
            ("examples/cork.toml", concat!("data_dir = \"/ho", "me/ann/cork\"\n")),
            (
                "Cargo.lock",
                concat!("source = \"registry+https://github.com/rust-lang/crates", ".io-index\"\n"),
            ),
            ("dev/e2e/package-lock.json", concat!("https://registry.npmjs", ".org/mqtt\n")),
            ("README.md", "published on crates.io\n"),
        ]);
        assert_eq!(places(&check(&good)), [""; 0]);
    }
}
