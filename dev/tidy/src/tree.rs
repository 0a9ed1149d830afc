//! The project's files, read once.
//!
//! What `.gitignore` names at the top of the project is not part of it; so this needs no git, and works in an unpacked
//! archive.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// All files and folders, by their path from the project's folder, with `/`.
#[derive(Default)]
pub(crate) struct Tree {
    /// Folders, and files of every kind.
    paths: BTreeSet<String>,
    /// Files that are UTF-8.
    texts: BTreeMap<String, String>,
}

impl Tree {
    /// Reads everything below `root`.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let ignored = match fs::read_to_string(root.join(".gitignore")) {
            Ok(text) => Ignored::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ignored::default(),
            Err(error) => return Err(error),
        };
        let mut tree = Self::default();
        tree.read_folder(root, "", &ignored)?;
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, path: &str, ignored: &Ignored) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            if ignored.contains(&path) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.read_folder(&entry.path(), &path, ignored)?;
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(fs::read(entry.path())?)
            {
                self.texts.insert(path.clone(), text);
            }
            self.paths.insert(path);
        }
        Ok(())
    }

    /// A tree of these files.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.texts.insert((*path).to_owned(), (*text).to_owned());
            for (end, _) in path.match_indices('/') {
                tree.paths.insert(path[..end].to_owned());
            }
            tree.paths.insert((*path).to_owned());
        }
        tree
    }

    /// Whether there is a file or folder.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// A file's text.
    pub(crate) fn file(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Path and text of every file that is text.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Path and text of the files with an ending, as `.rs`.
    pub(crate) fn files_ending(&self, ending: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(move |(path, _)| path.ends_with(ending))
    }

    /// The folders directly within `folder`.
    pub(crate) fn folders_in(&self, folder: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{folder}/");
        self.paths.iter().map(String::as_str).filter(move |path| {
            path.strip_prefix(&prefix).is_some_and(|name| !name.contains('/'))
                && !self.texts.contains_key(*path)
        })
    }
}

/// What `.gitignore` names: whole names, at the top (with `/` in front) or anywhere.
#[derive(Default)]
struct Ignored {
    paths: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Ignored {
    fn parse(text: &str) -> Self {
        let mut ignored = Self { names: BTreeSet::from([".git".to_owned()]), ..Self::default() };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let line = line.trim_end_matches('/');
            match line.strip_prefix('/') {
                Some(path) => ignored.paths.insert(path.to_owned()),
                None => ignored.names.insert(line.to_owned()),
            };
        }
        ignored
    }

    fn contains(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.paths.contains(path) || self.names.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored() {
        let ignored = Ignored::parse("# built\n/target\n/fuzz/target\nnode_modules/\n\n.venv\n");
        for path in ["target", "fuzz/target", "dev/e2e/node_modules", ".venv", "a/.venv", ".git"] {
            assert!(ignored.contains(path), "{path}");
        }
        for path in ["src", "dev/target", "docs/target.md", ".gitignore", "targets"] {
            assert!(!ignored.contains(path), "{path}");
        }
    }

    #[test]
    fn folders_and_files() {
        let tree =
            Tree::of(&[("crates/a/src/lib.rs", ""), ("crates/b/Cargo.toml", ""), ("crates/readme", "")]);
        assert_eq!(tree.folders_in("crates").collect::<Vec<_>>(), ["crates/a", "crates/b"]);
        assert!(tree.exists("crates/a/src") && tree.exists("crates/readme") && !tree.exists("crates/c"));
        assert_eq!(tree.files_ending(".rs").count(), 1);
    }
}
