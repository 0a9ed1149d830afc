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
        "bridge" | "bridge.tls" | "bridge.topic" => bridge(section, line),
        "filter" => with_needed("filter", line, &[("name", "'a'"), ("when", "'true'")]),
        "attach" => {
            let mut needed = vec![("client_id", "'c'"), ("topic", "'#'"), ("when", "'true'")];
            needed.retain(|(name, _)| !(*name == "client_id" && line.starts_with("user ")));
            needed.retain(|(name, _)| !(*name == "when" && line.starts_with("filter ")));
            let named = "[[filter]]\nname = 'warm'\nwhen = 'true'\n";
            format!("{named}{}", with_needed("attach", line, &needed))
        }
        "sink" => sink(line),
        "history" => with_needed("history", line, &[("filter", "'#'")]),
        section => format!("[{section}]\n{line}"),
    }
}

/// The same for a link, of which `line` may be one of the lines it needs.
fn bridge(section: &str, line: &str) -> String {
    let needed = |of: &str, lines: &[&str]| -> String {
        let key = |line: &str| line.split(" = ").next().map(str::to_owned);
        let own = if of == section { line } else { "" };
        let others = lines.iter().filter(|line| key(line) != key(own));
        others.copied().chain([own]).collect::<Vec<_>>().join("\n")
    };
    let link = needed("bridge", &["name = 'a'", "url = 'mqtts://localhost'"]);
    let tls = if section == "bridge.tls" { format!("tls = {{ {line} }}") } else { String::new() };
    let topic = needed("bridge.topic", &["filter = '#'"]);
    format!("[[bridge]]\n{link}\n{tls}\n[[bridge.topic]]\n{topic}")
}

/// A member of a list of tables with this line, and what else it needs.
fn with_needed(section: &str, line: &str, needed: &[(&str, &str)]) -> String {
    let others = needed.iter().filter(|(name, _)| !line.starts_with(&format!("{name} ")));
    let others: Vec<String> = others.map(|(name, value)| format!("{name} = {value}\n")).collect();
    format!("[[{section}]]\n{}{line}", others.concat())
}

/// A sink with this line, of a type that has the key.
fn sink(line: &str) -> String {
    let name = line.split(" = ").next().expect("a key");
    let (kind, url, more) = match name {
        "url" | "type" | "table" => ("postgresql", "postgresql://a@b", ""),
        "collection" => ("mongodb", "mongodb://b", ""),
        "headers" => ("http", "http://b", ""),
        "org" => ("influxdb", "http://b", "bucket = 'b'\n"),
        _ => ("influxdb", "http://b", ""),
    };
    let needed = [("name", "n"), ("type", kind), ("url", url), ("filter", "#")].into_iter();
    let needed = needed.filter(|(key, _)| *key != name).map(|(key, value)| format!("{key} = '{value}'\n"));
    format!("[[sink]]\n{}{more}{line}", needed.collect::<String>())
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
        ("bridge", "[[bridge]]\nnothing = 1"),
        ("bridge.tls", "[[bridge]]\ntls = { nothing = 1 }"),
        ("bridge.topic", "[[bridge]]\n[[bridge.topic]]\nfilter = '#'\nnothing = 1"),
        ("log", "[log]\nnothing = 1"),
        ("log.levels", "[log]\nlevels = { nothing = 'info' }"),
        ("drain", "[drain]\nnothing = 1"),
        ("filter", "[[filter]]\nname = 'a'\nwhen = 'true'\nnothing = 1"),
        ("attach", "[[attach]]\nuser = 'a'\ntopic = '#'\nwhen = 'true'\nnothing = 1"),
        ("sink", "[[sink]]\nname = 'n'\ntype = 'mongodb'\nurl = 'mongodb://b'\nfilter = '#'\nnothing = 1"),
        ("sink", "[[sink]]\nname = 'n'\ntype = 'sqlite'\nurl = 'sqlite://b'\nfilter = '#'\nnothing = 1"),
        ("sink", "[[sink]]\nname = 'n'\ntype = 'influxdb'\nurl = 'http://b'\nfilter = '#'\nnothing = 1"),
        ("sink", "[[sink]]\nname = 'n'\ntype = 'http'\nurl = 'http://b'\nfilter = '#'\nnothing = 1"),
        ("presence", "[presence]\nnothing = 1"),
        ("history", "[[history]]\nfilter = 'a'\nnothing = 1"),
    ];
    let mut keys = BTreeSet::new();
    for (section, text) in nowhere {
        let error = Config::from_toml(text, "x.toml").expect_err("there is no such key").to_string();
        let unknown = error.lines().find(|line| line.contains("nothing`: unknown key")).expect("it is named");
        let (_, accepted) = unknown.split_once("(accepted ").expect("a list of keys");
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
        let sections = [
            "auth",
            "limits",
            "listener",
            "bridge",
            "bridge.topic",
            "filter",
            "attach",
            "sink",
            "log",
            "drain",
            "presence",
            "history",
        ];
        let is_section = sections.contains(&key.as_str());
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

/// Without the places where they were said.
fn links(config: &Config) -> Vec<String> {
    let lines = |link| {
        format!("{link:?}")
            .split("line: ")
            .map(|part| part.trim_start_matches(char::is_numeric).to_owned())
            .collect()
    };
    config.bridges.iter().map(lines).collect()
}

#[test]
fn the_defaults_on_the_page_are_those_of_the_code() {
    let page = page();
    let mut seen = 0;
    for Row { key, default, .. } in rows(&page) {
        let Some(default) = default else { continue };
        let name = key.rsplit('.').next().expect("a name");
        let text = document(&key, &format!("{name} = {default}"));
        let least = if key.starts_with("bridge.") { bridge("", "") } else { String::new() };
        let real = Config::from_toml(&least, "default.toml").expect("the least is enough");
        let (said, real) = match Config::from_toml(&text, "default.toml") {
            Ok(said) => (said, real),
            Err(errors) => panic!("{key}: {errors}"),
        };
        assert_eq!(said.data_dir, real.data_dir, "{key}");
        assert_eq!(said.shards, real.shards, "{key}");
        assert_eq!(said.durability, real.durability, "{key}");
        assert_eq!(said.auth, real.auth, "{key}");
        assert_eq!(said.limits, real.limits, "{key}");
        assert_eq!(said.log, real.log, "{key}");
        assert_eq!(said.drain, real.drain, "{key}");
        assert_eq!(links(&said), links(&real), "{key}");
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} defaults were found");
}
