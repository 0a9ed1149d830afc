//! `[[filter]]`, `[[attach]]` and `[[history]]`.

use super::*;

#[test]
fn filters_have_names_and_are_attached() {
    let page = include_str!("../../../../../docs/filters.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let filters = config(example).filters;
    assert_eq!(filters.named["warm"].to_prefix(), "payload.temperature > 25;changed=payload.temperature");
    let attached: Vec<_> = filters.attached.iter().map(|one| (&*one.name, &*one.topic)).collect();
    assert_eq!(attached, [("$filter/warm", "home/+/climate"), ("$attach/2", "#")]);
    assert_eq!(filters.attached[1].rule.to_prefix(), "!retain && size < 1024;every=10000ms");
    assert_eq!(config("").filters.named.len(), 0);
}

#[test]
fn a_wrong_filter_is_told_with_its_line() {
    let cases = [
        (
            "[[filter]]\nname = \"a\"\nwhen = \"payload.t >\"",
            "cork.toml:3: key `filter.when`: at character 12: a value is expected here, not the end",
        ),
        (
            "[[filter]]\nname = \"a\"",
            "cork.toml:1: key `filter.when`: there is no condition, and no changed, deadband or every either",
        ),
        (
            "[[filter]]\nname = \"a/b\"\nwhen = \"true\"",
            "cork.toml:2: key `filter.name`: `\"a/b\"` is not accepted; accepted is a name without `/`, `+` and `#`",
        ),
        (
            "[[filter]]\nname = \"a\"\nevery = \"5\"",
            "cork.toml:3: key `filter.every`: every is a time from 1ms to 30d, as in every=10s, not `5`",
        ),
        (
            "[[attach]]\ntopic = \"#\"\nwhen = \"true\"",
            "cork.toml:1: key `attach.user`: either `user` or `client_id` says whose subscriptions are meant",
        ),
        (
            "[[attach]]\nuser = \"ann\"\nwhen = \"true\"",
            "cork.toml:1: key `attach.topic`: says which topics are meant, as in topic = \"sensors/#\"; \"#\" is all",
        ),
        (
            "[[filter]]\nname = \"a\"\nwhen = \"true\"\n[[filter]]\nname = \"a\"\nwhen = \"false\"",
            "cork.toml:4: key `filter.name`: there is another filter named `a`",
        ),
        (
            "[[filter]]\nname = \"a\"\nwen = \"true\"\nchanged = true",
            "cork.toml:3: key `filter.wen`: unknown key; did you mean `when`? (accepted in `filter`: `name`, `when`, `changed`, `deadband`, `every`)",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(errors(text), expected, "{text}");
    }
}

#[test]
fn a_filter_that_is_attached_stands_in_the_file_or_is_managed() {
    let text =
        "[[filter]]\nname = 'warm'\nwhen = 'true'\n[[attach]]\nuser = 'ann'\ntopic = '#'\nfilter = 'worm'";
    let mut config = config(text);
    let expected = "cork.toml:7: key `attach.filter`: there is no filter `worm`; did you mean `warm`?";
    assert!(refused(&config).contains(expected), "{}", refused(&config));
    let managed = "[[filter]]\nname = 'worm'\nwhen = 'qos > 0'";
    config.take_managed(managed, std::path::Path::new("managed.toml")).unwrap();
    assert_eq!(config.validate(), Ok(()));
    let attached = &config.filters.attached[0];
    assert_eq!((&*attached.name, attached.rule.to_prefix().as_str()), ("$filter/worm", "qos > 0"));
}

#[test]
fn histories_say_what_is_kept_and_for_how_long() {
    let text =
        "[[history]]\nfilter = 'sensor/#'\n[[history]]\nfilter = '+/state'\nkeep = '30d'\nmax_bytes = '20MB'";
    let rules = config(text).history;
    let seen: Vec<_> = rules.iter().map(|one| (&*one.filter, one.keep.as_secs(), one.max_bytes)).collect();
    assert_eq!(seen, [("sensor/#", 604_800, 1_000_000_000), ("+/state", 2_592_000, 20_000_000)]);
    for (text, line, wrong) in [
        ("[[history]]\nkeep = '1d'", 1, "says which topics are kept"),
        ("[[history]]\nfilter = 'a/#/b'", 2, "accepted is a topic filter"),
        ("[[history]]\nfilter = 'a'\nkeep = '1s'", 3, "1m"),
        ("[[history]]\nfilter = 'a'\nmax_bytes = '1kB'", 3, "accepted"),
        ("[[history]]\nfilter = 'a'\n[[history]]\nfilter = 'a'", 3, "already"),
        ("[[history]]\nfilter = 'a'\nkepp = '1d'", 3, "keep"),
    ] {
        let errors = Config::from_toml(text, "cork.toml").unwrap_err().to_string();
        assert!(errors.contains(&format!("cork.toml:{line}")) && errors.contains(wrong), "{text}: {errors}");
    }
}
