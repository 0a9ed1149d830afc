//! What the checks want to know of a `Cargo.toml`.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::{finding::Finding, tree::Tree};

/// A crate of the project.
#[derive(Debug)]
pub(crate) struct Manifest<'a> {
    /// The path of the `Cargo.toml`.
    pub(crate) path: &'a str,
    /// Its folder, as `crates/packet`.
    pub(crate) folder: &'a str,
    /// The package's name, as `cork-packet`.
    pub(crate) name: String,
    /// What is linked into it: package and line. Not what only its tests use.
    pub(crate) dependencies: Vec<(String, usize)>,
    /// Whether it has the lints of the workspace.
    pub(crate) workspace_lints: bool,
}

/// Every crate in the tree, and the manifests that can't be understood.
pub(crate) fn manifests(tree: &Tree) -> (Vec<Manifest<'_>>, Vec<Finding>) {
    let (mut manifests, mut findings) = (Vec::new(), Vec::new());
    for (path, text) in tree.files_ending("/Cargo.toml") {
        match parse(path, text) {
            Ok(manifest) => manifests.push(manifest),
            Err(finding) => findings.push(finding),
        }
    }
    (manifests, findings)
}

fn parse<'a>(path: &'a str, text: &'a str) -> Result<Manifest<'a>, Finding> {
    let line = |span: Range<usize>| 1 + text[..span.start].matches('\n').count();
    let table = DeTable::parse(text).map_err(|error| {
        Finding::new(path, error.span().map_or(1, line), format!("is not TOML: {}", error.message()))
    })?;
    let root = table.get_ref();
    let name = section(root, "package").and_then(|package| package.get("name")?.get_ref().as_str());
    let Some(name) = name else { return Err(Finding::new(path, 1, "has no package name")) };
    let targets = section(root, "target").into_iter().flat_map(|targets| targets.values());
    let tables = targets.filter_map(|target| target.get_ref().as_table()).chain([root]);
    let dependencies = tables
        .flat_map(|table| [section(table, "dependencies"), section(table, "build-dependencies")])
        .flatten()
        .flat_map(|dependencies| dependencies.iter())
        .map(|(key, value)| {
            let renamed =
                value.get_ref().as_table().and_then(|table| table.get("package")?.get_ref().as_str());
            (renamed.unwrap_or(key.get_ref()).to_owned(), line(key.span()))
        })
        .collect();
    let lints = section(root, "lints").and_then(|lints| lints.get("workspace")?.get_ref().as_bool());
    Ok(Manifest {
        path,
        folder: path.trim_end_matches("/Cargo.toml"),
        name: name.to_owned(),
        dependencies,
        workspace_lints: lints == Some(true),
    })
}

fn section<'t, 'a>(table: &'t DeTable<'a>, key: &str) -> Option<&'t DeTable<'a>> {
    match table.get(key)?.get_ref() {
        DeValue::Table(section) => Some(section),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manifest_says() {
        let text = "[package]\nname = \"cork-a\"\n[lints]\nworkspace = true\n[dependencies]\ncork-b.workspace = true\nx = { package = \"cork-c\", path = \"../c\" }\n[dev-dependencies]\ncork-d.workspace = true\n[target.'cfg(unix)'.dependencies]\ncork-e = \"1\"\n[build-dependencies]\ncork-f = \"1\"\n";
        let manifest = parse("crates/a/Cargo.toml", text).unwrap();
        assert_eq!((manifest.folder, manifest.name.as_str()), ("crates/a", "cork-a"));
        assert!(manifest.workspace_lints);
        let mut dependencies = manifest.dependencies;
        dependencies.sort();
        let expected = [("cork-b", 6), ("cork-c", 7), ("cork-e", 11), ("cork-f", 13)];
        assert_eq!(dependencies, expected.map(|(name, line)| (name.to_owned(), line)));
        assert!(!parse("x/Cargo.toml", "[package]\nname = 'x'").unwrap().workspace_lints);
    }

    #[test]
    fn what_is_no_manifest_is_a_finding() {
        assert_eq!(parse("x/Cargo.toml", "[package]\nname = ").unwrap_err().line, 2);
        assert_eq!(parse("x/Cargo.toml", "[dependencies]").unwrap_err().line, 1);
    }
}
