//! `docs/configuration.md` has every key, and what it shows is accepted.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use cork_broker::Config;

/// A row: key with its section, default and example as TOML, if there are any.
struct Row {
    key: String,
    default: Option<String>,
    example: Option<String>,
}

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    fs::read_to_string(path).expect("the page is there")
}

fn rows(page: &str) -> Vec<Row> {
    let code = |cell: &str| cell.split('`').nth(1).map(str::to_owned);
    page.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
            let whole = |cell: &str| code(cell).filter(|code| cell.len() == code.len() + 2);
            Some(Row {
                key: cells[0].trim_end_matches('`').to_owned(),
                default: whole(cells[1]),
                example: code(cells[2]),
            })
        })
        .collect()
}

/// A document in which `line` stands in its section, with what else the section needs.
fn document(key: &str, line: &str) -> String {
    let section = key.rsplit_once('.').map_or("", |(section, _)| section);
    match section {
        "" => line.to_owned(),
        "listener" if line.starts_with("url") => format!("[[listener]]\n{line}"),
        "listener" => format!("[[listener]]\nurl = 'mqtts://localhost'\n{line}"),
        "listener.tls" => {
            let mut needed = BTreeMap::from([("cert", "'c'"), ("key", "'k'"), ("client_ca", "'a'")]);
            needed.remove(line.split(" = ").next().expect("a key"));
            let needed: Vec<String> = needed.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            format!("[[listener]]\nurl = 'mqtts://localhost'\ntls = {{ {}, {line} }}", needed.join(", "))
        }
        section => format!("[{section}]\n{line}"),
    }
}

/// Every key the parser knows: what it says it accepts where an unknown key stands.
fn known() -> BTreeSet<String> {
    let nowhere = [
        ("", "nothing = 1"),
        ("auth", "[auth]\nnothing = 1"),
        ("limits", "[limits]\nnothing = 1"),
        ("listener", "[[listener]]\nurl = 'mqtt://localhost'\nnothing = 1"),
        (
            "listener.tls",
            "[[listener]]\nurl = 'mqtts://localhost'\ntls = { cert = 'c', key = 'k', nothing = 1 }",
        ),
        ("log", "[log]\nnothing = 1"),
        ("log.levels", "[log]\nlevels = { nothing = 'info' }"),
        ("drain", "[drain]\nnothing = 1"),
        ("presence", "[presence]\nnothing = 1"),
    ];
    let mut keys = BTreeSet::new();
    for (section, text) in nowhere {
        let error = Config::from_toml(text, "x.toml").expect_err("there is no such key").to_string();
        let (_, accepted) = error.split_once("(accepted ").expect("a list of keys");
        let (_, list) = accepted.split_once(": ").expect("a list of keys");
        for key in list.split('`').skip(1).step_by(2) {
            // Not keys of their own on the page, but a list below.
            if section == "log.levels" {
                assert!(page().contains(&format!("\n| {key} | ")), "subsystem {key} is not on the page");
                continue;
            }
            keys.insert(if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") });
        }
    }
    keys
}

#[test]
fn every_key_is_on_the_page_and_no_other() {
    let page = page();
    let there: Vec<String> = rows(&page).into_iter().map(|row| row.key).collect();
    let once: BTreeSet<String> = there.iter().cloned().collect();
    assert_eq!(once.len(), there.len(), "a key stands there twice");
    assert_eq!(once, known());
}

#[test]
fn every_example_is_accepted() {
    let page = page();
    for Row { key, example, .. } in rows(&page) {
        let is_section = ["auth", "limits", "listener", "log", "drain", "presence"].contains(&key.as_str());
        assert_eq!(example.is_none(), is_section, "{key}: an example");
        let Some(example) = example else { continue };
        let name = key.rsplit('.').next().expect("a name");
        assert!(example.starts_with(&format!("{name} = ")), "{key}: `{example}` is another key's");
        if let Err(errors) = Config::from_toml(&document(&key, &example), "example.toml") {
            panic!("{key}: {errors}");
        }
    }
    let blocks: Vec<&str> = page.split("```").skip(1).step_by(2).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let text = block.strip_prefix("toml\n").expect("all code on this page is TOML");
        if let Err(errors) = Config::from_toml(text, "example.toml") {
            panic!("{text}\n{errors}");
        }
    }
}

#[test]
fn the_defaults_on_the_page_are_those_of_the_code() {
    let page = page();
    let mut seen = 0;
    for Row { key, default, .. } in rows(&page) {
        let Some(default) = default else { continue };
        let name = key.rsplit('.').next().expect("a name");
        let text = document(&key, &format!("{name} = {default}"));
        let (said, real) = match Config::from_toml(&text, "default.toml") {
            Ok(said) => (said, Config::default()),
            Err(errors) => panic!("{key}: {errors}"),
        };
        assert_eq!(said.data_dir, real.data_dir, "{key}");
        assert_eq!(said.shards, real.shards, "{key}");
        assert_eq!(said.durability, real.durability, "{key}");
        assert_eq!(said.auth, real.auth, "{key}");
        assert_eq!(said.limits, real.limits, "{key}");
        assert_eq!(said.log, real.log, "{key}");
        assert_eq!(said.drain, real.drain, "{key}");
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} defaults were found");
}
