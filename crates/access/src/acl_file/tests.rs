use std::fs;

use proptest::prelude::*;

use crate::acl::{Acl, Action, Subject};

const ANN: Subject<'static> = Subject { user: Some("ann"), client_id: "lamp" };
const BOB: Subject<'static> = Subject { user: Some("bob"), client_id: "plug" };
const NOBODY: Subject<'static> = Subject { user: None, client_id: "ghost" };

/// Policies (lines with `|`) with questions, and what mosquitto 2.0.11 with that `acl_file` answered: user (`-`: none),
/// Client Identifier, action, answer, topic.
const MOSQUITTO: &str = include_str!("mosquitto_2_0_11.txt");

const EXAMPLE: &str = r#"
default = "deny"
[groups]
admin = ["ann"]
viewer = ["bob", "eve"]

[[rule]]
client_id = "ghost"
deny = ["write"]
topic = "home/secret"

[[rule]]
user = "ann"
allow = ["read", "write"]
topic = "home/#"

[[rule]]
group = "viewer"
allow = ["read"]
topic = "home/+"

[[rule]]
allow = ["write"]
topic = "own/%c"
"#;

#[test]
fn mosquittos_files_mean_what_they_mean_there() {
    let mut asked = 0;
    for section in MOSQUITTO.split("== ").skip(1) {
        let (story, lines) = section.split_once('\n').unwrap();
        let policy: Vec<&str> = lines.lines().filter_map(|line| line.strip_prefix('|')).collect();
        let acl = Acl::from_mosquitto(&policy.join("\n"), "acl").unwrap();
        for line in lines.lines().filter(|line| !line.starts_with('|') && !line.is_empty()) {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            let [user, client_id, action, answer, topic] = words[..] else { panic!("{story}: {line}") };
            let who = Subject { user: Some(user).filter(|user| *user != "-"), client_id };
            let allowed = match action {
                "read" => acl.allows(who, Action::Read, topic),
                "write" => acl.allows(who, Action::Write, topic),
                _ => acl.allows_filter(who, topic),
            };
            assert_eq!(if allowed { "yes" } else { "no" }, answer, "{story}: {line}");
            asked += 1;
        }
    }
    assert!(asked > 140, "only {asked} questions");
}

#[test]
fn in_a_mosquitto_file_a_name_does_not_begin_a_topic_with_a_dollar_sign() {
    let acl = Acl::from_mosquitto("pattern read %c/#", "acl").unwrap();
    assert!(acl.allows(Subject { user: None, client_id: "a" }, Action::Read, "a/broker"));
    assert!(!acl.allows(Subject { user: None, client_id: "$SYS" }, Action::Read, "$SYS/broker"));
}

#[test]
fn white_space_around_a_name_or_topic_is_no_part_of_it_in_a_mosquitto_file() {
    for white in ["", " ", "\t", "\x0b", "\x0c", "\r", " \t ", "\t\r", "\r\r", "\x0c \x0b"] {
        let text = format!(
            "user \tann{white}\r\ntopic #{white}\n{white}\ntopic deny secret{white}\ntopic deny \thidden\npattern deny %u/x{white}"
        );
        let acl = Acl::from_mosquitto(&text, "acl").unwrap();
        for (topic, allowed) in [("open", true), ("secret", false), ("hidden", false), ("ann/x", true)] {
            assert_eq!(acl.allows(ANN, Action::Write, topic), allowed, "{white:?} {topic}");
        }
        let text = format!("user bob\npattern deny %u/x{white}\npattern readwrite #{white}");
        let acl = Acl::from_mosquitto(&text, "acl").unwrap();
        for (topic, allowed) in [("bob/y", true), ("bob/x", false)] {
            assert_eq!(acl.allows(BOB, Action::Write, topic), allowed, "{white:?} {topic}");
        }
    }
    // A tab within a topic belongs to it, as does white space that C does not know.
    let acl = Acl::from_mosquitto("topic write a\tb\ntopic write c\u{a0}", "acl").unwrap();
    for (topic, allowed) in [("a\tb", true), ("a", false), ("c\u{a0}", true), ("c", false)] {
        assert_eq!(acl.allows(NOBODY, Action::Write, topic), allowed, "{topic:?}");
    }
}

#[test]
fn every_fault_of_a_mosquitto_file_is_named_with_its_line() {
    let cases = [
        ("hello x", ":1: `hello` is not accepted; accepted are `user NAME`, `topic"),
        ("Topic read a", ":1: `Topic` is not accepted"),
        ("topic", ":1: the topic is missing; write `topic read FILTER`"),
        ("pattern  ", ":1: the topic is missing; write `pattern read FILTER`"),
        ("topic deny", ":1: the topic is missing; if it is called `deny`, write `topic readwrite deny`"),
        ("user", ":1: the user name is missing; write `user NAME`"),
        ("user   ", ":1: the user name is missing"),
        ("topic rd a", ":1: `rd` is not accepted; accepted before the topic are `read`, `write`"),
        ("topic READ a", ":1: `READ` is not accepted"),
        ("topic a#", ":1: topic `a#`: `#` must be a level of its own"),
        ("topic read #/a", ":1: topic `#/a`: `#` must be"),
        ("topic read a # b", ":1: topic `a # b`: `#` must be"),
        ("topic read a+", ":1: topic `a+`: `+` must be a level of its own"),
        ("topic read a\0b", ":1: topic `a\\0b`: contains U+0000"),
        ("topic\tread\ta", ":1: the line has a tab where only spaces count"),
        ("topic deny\tsecret", ":1: the line has a tab where only spaces count"),
        ("topic read\ta b", ":1: the line has a tab where only spaces count"),
        ("pattern write\x0ba", ":1: the line has a tab where only spaces count"),
        ("topic \tdeny secret", ":1: the line has a tab where only spaces count"),
        ("\ttopic a", ":1: the line has a tab where only spaces count"),
        ("user\tann", ":1: the line has a tab where only spaces count"),
        ("user \t", ":1: the user name is missing"),
        ("topic deny \t", ":1: the topic is missing"),
        ("\u{feff}topic a", ":1: the file begins with a byte order mark"),
        ("user ann\n\n# fine\ntopic write", ":4: the topic is missing"),
    ];
    for (text, expected) in cases {
        let errors = Acl::from_mosquitto(text, "acl").unwrap_err();
        assert!(errors.0[0].to_string().starts_with(&format!("acl{expected}")), "{text:?}: {errors}");
    }
    let many = Acl::from_mosquitto("x\ntopic a\ny\ntopic b#", "acl").unwrap_err();
    assert_eq!(many.0.iter().map(|error| error.line).collect::<Vec<_>>(), [Some(1), Some(3), Some(4)]);
}

#[test]
fn the_example_means_what_it_says() {
    let acl = Acl::from_toml(EXAMPLE, "acl.toml").unwrap();
    let eve = Subject { user: Some("eve"), client_id: "ghost" };
    let cases = [
        (ANN, Action::Write, "home/secret", true, Some(12)),
        (ANN, Action::Read, "home", true, Some(12)),
        (ANN, Action::Read, "garden", false, None),
        (BOB, Action::Read, "home/x", true, Some(17)),
        (BOB, Action::Write, "home/x", false, None),
        (BOB, Action::Read, "home/x/y", false, None),
        (eve, Action::Write, "home/secret", false, Some(7)),
        (eve, Action::Read, "home/secret", true, Some(17)),
        (NOBODY, Action::Write, "own/ghost", true, Some(22)),
        (NOBODY, Action::Write, "own/lamp", false, None),
        (NOBODY, Action::Read, "own/ghost", false, None),
    ];
    for (who, action, topic, allowed, line) in cases {
        let decision = acl.explain(who, action, topic);
        let source = line.map(|line: usize| format!("acl.toml:{line}"));
        assert_eq!(
            (decision.allowed, decision.source),
            (allowed, source.as_deref()),
            "{who:?} {action:?} {topic}"
        );
    }
}

#[test]
fn a_toml_file_that_says_nothing_closes_everything() {
    for text in
        ["", "\n\n", "# nothing", "default = 'deny'", "[groups]", "[groups]\nadmin = ['ann']", "rule = []"]
    {
        let acl = Acl::from_toml(text, "acl.toml").unwrap();
        for who in [ANN, NOBODY] {
            assert!(!acl.allows(who, Action::Read, "a") && !acl.allows(who, Action::Write, "a"), "{text}");
            assert!(!acl.allows_filter(who, "#"), "{text}");
        }
    }
    let open = Acl::from_toml("default = 'allow'", "acl.toml").unwrap();
    assert!(open.allows(NOBODY, Action::Write, "a") && !open.allows(NOBODY, Action::Write, "$SYS/a"));
}

#[test]
fn every_fault_of_a_toml_file_is_named_with_its_line() {
    let rule = |rest: &str| format!("[[rule]]\n{rest}");
    let cases = [
        ("default = 'alow'".to_owned(), ":1: `default` is not accepted; accepted are \"deny\" and \"allow\""),
        (
            "defualt = 'deny'".to_owned(),
            ":1: unknown key `defualt` (accepted `default`, `[groups]` and `[[rule]]`)",
        ),
        (
            "[rule]\ntopic = 'a'".to_owned(),
            ":1: `rule` is not a list; each rule begins with the line `[[rule]]`",
        ),
        ("rule = [1]".to_owned(), ":1: a rule is not a table"),
        ("groups = 1".to_owned(), ":1: `groups` is not a table"),
        (
            "[groups]\nadmin = 'ann'".to_owned(),
            ":2: group `admin` is not accepted; a group is a list of user names",
        ),
        ("[groups]\nadmin = ['ann', 1]".to_owned(), ":2: group `admin` is not accepted"),
        ("[groups]\nadmin = ['']".to_owned(), ":2: group `admin` is not accepted"),
        (rule("allow = ['read']"), ":1: the rule has no `topic`"),
        (rule("topic = 'a'"), ":1: the rule has neither `allow` nor `deny`"),
        (rule("allow = ['read']\ndeny = ['read']\ntopic = 'a'"), ":3: `deny` stands beside `allow`"),
        (
            rule("allow = []\ntopic = 'a'"),
            ":2: `allow` is not accepted; accepted are [\"read\"], [\"write\"]",
        ),
        (rule("allow = 'read'\ntopic = 'a'"), ":2: `allow` is not accepted"),
        (rule("deny = ['read', 'subscribe']\ntopic = 'a'"), ":2: `deny` is not accepted"),
        (rule("allow = ['read']\ntopic = 'a#'"), ":3: topic `a#`: `#` must be a level of its own"),
        (rule("allow = ['read']\ntopic = ''"), ":3: topic ``: is empty"),
        (rule("allow = ['read']\ntopic = 1"), ":3: `topic` is not accepted"),
        (rule("allow = ['read']\ntopic = '$share/g/a'"), ":3: topic `$share/g/a`: begins with `$share/`"),
        (
            rule("user = ''\nallow = ['read']\ntopic = 'a'"),
            ":2: `user` is not accepted; accepted is one name",
        ),
        (rule("user = ['ann']\nallow = ['read']\ntopic = 'a'"), ":2: `user` is not accepted"),
        (rule("group = 'admin'\nallow = ['read']\ntopic = 'a'"), ":2: there is no group `admin`"),
        (
            rule("user = 'a'\nclient_id = 'b'\nallow = ['read']\ntopic = 'a'"),
            ":3: `client_id` stands beside another",
        ),
        (
            rule("users = 'a'\nallow = ['read']\ntopic = 'a'"),
            ":2: unknown key `users` (accepted in a rule: `user`",
        ),
        (rule("topic = 'a'\ntopic = 'b'\nallow = ['read']"), ":3: the key stands here a second time"),
        (rule("topic = a\nallow = ['read']"), ":2: text stands in quotes"),
        (rule("topic 'a'"), ":2: "),
        ("[[rule".to_owned(), ":1: "),
    ];
    for (text, expected) in cases {
        let errors = Acl::from_toml(&text, "acl.toml").unwrap_err();
        assert!(errors.0[0].to_string().starts_with(&format!("acl.toml{expected}")), "{text:?}: {errors}");
    }
    let many = "[[rule]]\ntopic = 'a'\n[[rule]]\nallow = ['read']\nzzz = 1\n";
    let lines: Vec<_> =
        Acl::from_toml(many, "x").unwrap_err().0.into_iter().map(|error| error.line).collect();
    assert_eq!(lines, [Some(1), Some(3), Some(5)]);
}

#[test]
fn files_that_can_not_be_read_are_errors() {
    let folder = std::env::temp_dir().join(format!("cork-acl-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let error = |name: &str| Acl::load(&folder.join(name)).unwrap_err().to_string();
    assert!(error("missing.toml").contains("missing.toml: the rights file can't be read"));
    assert!(error("missing").contains("can't be read"));
    fs::create_dir_all(folder.join("folder.toml")).unwrap();
    assert!(error("folder.toml").contains("not a regular file"));
    for name in ["damaged.toml", "damaged"] {
        fs::write(folder.join(name), b"# fine\n\xff").unwrap();
        assert!(error(name).contains(":2: the rights file is not UTF-8 text"), "{}", error(name));
    }
    fs::write(folder.join("acl.toml"), EXAMPLE).unwrap();
    assert!(Acl::load(&folder.join("acl.toml")).unwrap().allows(ANN, Action::Write, "home/x"));
    fs::write(folder.join("acl.conf"), "user ann\ntopic home/#").unwrap();
    assert!(Acl::load(&folder.join("acl.conf")).unwrap().allows(ANN, Action::Write, "home/x"));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn nobody_escapes_a_denial_by_a_name() {
    let text = "default = 'allow'\n[[rule]]\ndeny = ['read', 'write']\ntopic = 'p/%c/#'\n[[rule]]\ndeny = ['read']\ntopic = '%u/x'";
    let acl = Acl::from_toml(text, "acl.toml").unwrap();
    for (client_id, topic) in
        [("a", "p/a/x"), ("a/b", "p/a/b/x"), ("a/b", "p/a/b"), ("+", "p/+/x"), ("", "p//x")]
    {
        assert!(!acl.allows(Subject { user: None, client_id }, Action::Write, topic), "{client_id} {topic}");
    }
    assert!(acl.allows(Subject { user: None, client_id: "a/b" }, Action::Write, "p/a/c"));
    assert!(!acl.allows(Subject { user: Some("$SYS"), client_id: "a" }, Action::Read, "$SYS/x"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(topic|pattern|user|read|deny| |[a%u+#/]|\n){0,20}|.*", topic in "[a+#/$]{0,6}") {
        if let Ok(acl) = Acl::from_mosquitto(&text, "acl") {
            let allowed = acl.allows(NOBODY, Action::Write, &topic);
            prop_assert!(!allowed || text.contains("topic") || text.contains("pattern"));
        }
        let _ = Acl::from_toml(&text, "acl.toml");
    }
}
