//! `cork sim`: what its help and `docs/sim.md` show works, and says the same each time with a seed.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const CORK: &str = env!("CARGO_BIN_EXE_cork");

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cork-sim-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

fn page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sim.md")).expect("the page is there")
}

/// The code blocks of a language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// Runs a command line of a page as a shell does, but prints twenty messages at once instead of sending them.
fn run(folder: &Path, line: &str) -> Output {
    let mut line = line.to_owned();
    for (flag, text) in [("--print", "--print"), ("--speed", "--speed max"), ("--messages", "--messages 20")]
    {
        if flag == "--speed" && line.contains("--speed 60") {
            line = line.replace("--speed 60", "--speed max");
        } else if !line.contains(flag) {
            line = format!("{line} {text}");
        }
    }
    let line = line.replace("cork sim", &format!("{CORK} sim"));
    Command::new("sh").args(["-c", &line]).current_dir(folder).output().expect("a shell")
}

fn works(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    let (said, printed) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{line}\n{said}");
    let messages = printed.lines().filter(|line| !line.starts_with('#')).count();
    assert!(messages > 0 && said.is_empty(), "{line}\n{said}\n{printed}");
    printed.into_owned()
}

fn sim(arguments: &str) -> Output {
    Command::new(CORK).arg("sim").args(arguments.split_whitespace()).output().expect("cork starts")
}

#[test]
fn examples_of_the_help_work() {
    let folder = Folder::new("help");
    fs::write(folder.0.join("day.csv"), blocks(&page(), "csv")[0]).expect("a file");
    let help = String::from_utf8(sim("--help").stdout).expect("text");
    let examples: Vec<&str> =
        help.lines().filter(|line| line.starts_with("  cork sim")).map(str::trim).collect();
    assert!(examples.len() >= 8, "{examples:?}");
    for example in examples {
        works(&folder.0, example);
    }
}

#[test]
fn examples_of_the_page_work() {
    let folder = Folder::new("page");
    let page = page();
    fs::write(folder.0.join("day.csv"), blocks(&page, "csv")[0]).expect("a file");
    let lines: Vec<&str> = blocks(&page, "sh").into_iter().flat_map(str::lines).collect();
    assert!(lines.len() >= 12, "{lines:?}");
    for line in lines {
        works(&folder.0, line);
    }
    let scenarios = blocks(&page, "toml");
    assert!(!scenarios.is_empty());
    for scenario in scenarios {
        fs::write(folder.0.join("page.toml"), scenario).expect("a file");
        let printed = works(&folder.0, "cork sim --config page.toml");
        assert!(
            printed.contains("factory/north/press/1 {\"time\":\"2026-01-01T08:00:00.000Z\",\"temperature\":")
        );
    }
    // Models as the table has them, in short and as a table.
    let mut models = 0;
    for row in page.lines().filter(|row| row.starts_with('|') && row.contains("{ model = ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let long = cells[1].trim().trim_matches('`');
        let shorts = cells[0].trim().trim_matches('`').split("`, `");
        let values = shorts.map(|short| format!("\"{short}\"")).chain([long.to_owned()]);
        for value in values {
            let scenario = format!(
                "[[device]]\n[[device.message]]\ntopic = 't'\nvalue = {value}\nreplay.file = 'day.csv'\n"
            );
            fs::write(folder.0.join("model.toml"), scenario).expect("a file");
            works(&folder.0, "cork sim --config model.toml");
            models += 1;
        }
    }
    assert!(models > 18, "{models}");
}

/// The keys a section accepts: what it says where an unknown key stands.
fn accepted(folder: &Path, scenario: &str, section: &str) -> Vec<String> {
    fs::write(folder.join("unknown.toml"), scenario).expect("a file");
    let output =
        Command::new(CORK).args(["sim", "--print", "--config", "unknown.toml"]).current_dir(folder).output();
    let said = String::from_utf8(output.expect("cork starts").stderr).expect("text");
    let line = said
        .lines()
        .find(|line| line.contains("unknown key"))
        .unwrap_or_else(|| panic!("{scenario}: {said}"));
    let (_, accepted) = line.split_once("(accepted ").expect("a list");
    let (_, list) = accepted.split_once(": ").expect("a list");
    let full = |key: &str| if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
    list.split('`').skip(1).step_by(2).map(full).collect()
}

#[test]
fn the_page_has_every_key_and_no_other() {
    let folder = Folder::new("keys");
    let message = "[[device]]\n[[device.message]]\ntopic = 't'\nvalue = 1\n";
    let mut known = BTreeSet::new();
    for (scenario, section) in [
        ("xyzzy = 1".to_owned(), ""),
        ("[broker]\nxyzzy = 1".to_owned(), "broker"),
        ("[[device]]\nxyzzy = 1".to_owned(), "device"),
        ("[[device]]\nstatus = { topic = 't', xyzzy = 1 }".to_owned(), "device.status"),
        ("[[device]]\noutage = { every = '1s', xyzzy = 1 }".to_owned(), "device.outage"),
        (format!("{message}xyzzy = 1"), "device.message"),
        (format!("{message}replay = {{ file = 'x', xyzzy = 1 }}"), "device.message.replay"),
    ] {
        known.extend(accepted(&folder.0, &scenario, section));
    }
    let page = page();
    let keys = page.split("| Key | Default |").nth(1).expect("the table of keys");
    let keys = keys.lines().skip(2).map_while(|row| row.strip_prefix("| `")?.split('`').next());
    assert_eq!(keys.map(str::to_owned).collect::<BTreeSet<_>>(), known);
}

#[test]
fn a_seed_prints_the_same_each_time() {
    let printed = |seed: u32| sim(&format!("--print --speed max --messages 500 --seed {seed}")).stdout;
    assert_eq!(printed(5), printed(5));
    assert_ne!(printed(5), printed(6));
}

#[test]
fn what_is_wrong_is_told_with_exit_code_2() {
    let cases = [
        ("t --range 30..20", "command line: --range: 30..20 goes down; write 20..30"),
        ("t --value bnaana", "command line: --value: there is no model `bnaana`"),
        ("t --field x", "command line: --field: `x` is no field"),
        ("t --every soon", "command line: --every: `soon` is not accepted"),
        ("t --csv /nowhere.csv", "command line: --csv: /nowhere.csv: cannot be read"),
        ("t/# --print", "command line: `t/#` is no topic to publish to"),
        (
            "t/{rom} --list room=a",
            "command line: nothing is called {rom}; there are {n}, {run}, {client_id}, {room}",
        ),
        ("t --jitter 2s", "command line: the jitter is more than half"),
        ("--config /nowhere.toml", "/nowhere.toml: cannot be read"),
        ("--devices 3", "error: the following required arguments were not provided"),
        ("--speed 0", "command line: --speed: accepted is a number"),
    ];
    for (arguments, expected) in cases {
        let output = sim(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.starts_with(expected), "{arguments}: {said}");
    }
}

#[test]
fn options_of_the_broker_that_make_no_sense_end_with_exit_code_1() {
    for arguments in ["--broker gopher://x", "--password x", "--cafile /nowhere.pem"] {
        let output = sim(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
