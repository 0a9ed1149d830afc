//! `docs/limits.md` says what the code does.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, fs, path::Path};

use cork_broker::Config;

/// The cells of each table row that has a code span in its second column, in backticks or not.
fn rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect::<Vec<_>>())
        .filter(|cells| cells.get(1).is_some_and(|cell| cell.starts_with('`')))
        .collect()
}

fn code(cell: &str) -> Option<&str> {
    cell.split('`').nth(1)
}

fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn page() -> String {
    fs::read_to_string(project().join("docs/limits.md")).expect("the page is there")
}

#[test]
fn the_defaults_on_the_page_are_those_of_the_code() {
    let page = page();
    let mut settings: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in rows(&page).iter().filter(|row| !row[1].contains('/')) {
        let key = code(row[1]).expect("a key");
        if key.starts_with("history.") {
            continue; // of each member of a list, which is empty by default
        }
        let (section, key) = key.rsplit_once('.').unwrap_or(("", key));
        // A key without a value by default has none on the page.
        let line = code(row[2]).map(|value| format!("{key} = {value}"));
        settings.entry(section).or_default().extend(line);
    }
    let mut text = String::new();
    for (section, lines) in &settings {
        if !section.is_empty() {
            text += &format!("[{section}]\n");
        }
        text += &format!("{}\n", lines.join("\n"));
    }
    let said = Config::from_toml(&text, "limits.md").expect("the page's defaults are accepted");
    let real = Config::default();
    assert_eq!(said.limits, real.limits);
    assert_eq!(said.drain, real.drain);
    assert_eq!(said.shards, real.shards);
    assert_eq!((said.memory, real.memory), (None, None));

    let errors = Config::from_toml("[limits]\nnothing = 1", "x.toml").expect_err("there is no such key");
    for key in errors.to_string().split('`').filter(|word| word.contains('_') && !word.contains(' ')) {
        let there = settings["limits"].iter().any(|line| line.starts_with(&format!("{key} = ")));
        assert!(there, "`limits.{key}` is not on the page with its default");
    }
}

#[test]
fn the_fixed_values_on_the_page_are_those_of_the_code() {
    let page = page();
    let mut seen = 0;
    for row in rows(&page).iter().filter(|row| row[1].contains("::")) {
        let place = code(row[1]).expect("a place");
        let (path, name) = place.split_once("::").expect("a name");
        let source = fs::read_to_string(project().join(path)).expect("the file is there");
        assert_eq!(said(row[2]), constant(&source, name), "{place}");
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} fixed limits were found");
}

#[test]
fn no_limit_of_the_code_is_missing() {
    // The protocol's own, those of the client's side, and those of a single system call.
    const OTHERS: [&str; 3] = ["websocket/frame.rs", "websocket/client.rs", "net/src/stream.rs"];
    let page = page();
    let mut seen = 0;
    for folder in ["core", "runtime", "net"] {
        for (path, source) in sources(&project().join("crates").join(folder).join("src")) {
            if path.ends_with("tests.rs") || OTHERS.iter().any(|other| path.ends_with(other)) {
                continue;
            }
            let names = source.lines().filter_map(|line| line.split_once("const ")?.1.split_once(": "));
            for (name, _) in names.filter(|(name, _)| name.ends_with("_MAX")) {
                assert!(page.contains(&format!("::{name}`")), "{path}: {name} is not on the page");
                seen += 1;
            }
        }
    }
    assert!(seen >= 8, "only {seen} limits were found");
}

/// Path and text of each Rust file in a folder and below.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else {
            let text = fs::read_to_string(&path).expect("it is text");
            files.push((path.display().to_string(), text));
        }
    }
    files
}

#[test]
fn topics_on_the_page_are_published() {
    let (page, source) = (page(), project().join("crates/core/src/sys.rs"));
    let source = fs::read_to_string(source).expect("the file is there");
    let mut seen = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let counted = line.trim_end_matches(" |").rsplit(" | ").next().expect("a last cell");
        for topic in counted.split('`').skip(1).step_by(2).filter(|word| word.contains('/')) {
            assert!(source.contains(&format!("\"{topic}\"")), "{topic}");
            seen += 1;
        }
    }
    assert!(seen >= 15, "only {seen} topics were found");
}

/// `8 KiB`, `200 ms`, `4,096`: bytes, milliseconds, or a number.
fn said(cell: &str) -> u64 {
    let (number, unit) = cell.split_once(' ').unwrap_or((cell, ""));
    let number: u64 = number.replace(',', "").parse().expect("a number");
    let unit = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        other => panic!("{other} is no unit of this page"),
    };
    number * unit
}

/// The value of `const NAME: T = value;`, or of `name: value,` in a `Default`.
fn constant(source: &str, name: &str) -> u64 {
    let line = source
        .lines()
        .map(str::trim)
        .filter(|line| line.contains(&format!("const {name}: ")) || line.starts_with(&format!("{name}: ")))
        .find_map(|line| line.strip_suffix(';').or_else(|| line.strip_suffix(',')))
        .unwrap_or_else(|| panic!("there is no {name}"));
    let value = line.rsplit(" = ").next().expect("a value");
    let value = value.strip_prefix(&format!("{name}: ")).unwrap_or(value);
    let number =
        |text: &str| text.replace('_', "").parse::<u64>().unwrap_or_else(|_| panic!("{name}: {text}"));
    if let Some((ones, shift)) = value.split_once(" << ") {
        return number(ones) << number(shift);
    }
    let duration = |unit: &str| value.strip_prefix(unit)?.strip_suffix(')').map(number);
    duration("Duration::from_millis(")
        .or_else(|| duration("Duration::from_secs(").map(|seconds| seconds * 1000))
        .unwrap_or_else(|| number(value))
}
