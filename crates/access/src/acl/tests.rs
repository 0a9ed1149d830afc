use proptest::prelude::*;

use super::*;

const ANN: Subject<'static> = Subject { user: Some("ann"), client_id: "lamp" };
const BOB: Subject<'static> = Subject { user: Some("bob"), client_id: "plug" };
const NOBODY: Subject<'static> = Subject { user: None, client_id: "ghost" };

fn rule(who: Who, actions: Actions, allow: bool, topic: &str) -> Rule {
    Rule { who, actions, allow, topic: topic.into(), source: format!("acl.toml:{topic}") }
}

fn everybody(topic: &str) -> Rule {
    rule(Who::Everybody, Actions::BOTH, true, topic)
}

fn acl(rules: Vec<Rule>) -> Acl {
    Acl::from_rules(rules, false).unwrap()
}

#[test]
fn without_rules_everything_but_writing_sys_is_allowed() {
    let acl = Acl::permissive();
    assert!(acl.is_permissive());
    let cases = [
        (Action::Write, "home/lamp", true),
        (Action::Write, "/", true),
        (Action::Write, "$SYS", false),
        (Action::Write, "$SYS/", false),
        (Action::Write, "$SYS/broker/uptime", false),
        (Action::Write, "$SYSTEM/x", true),
        (Action::Write, "$sys/x", true),
        (Action::Write, "home/$SYS", true),
        (Action::Read, "$SYS/broker/uptime", true),
        (Action::Read, "home/lamp", true),
    ];
    for (action, topic, allowed) in cases {
        for who in [ANN, NOBODY] {
            assert_eq!(acl.allows(who, action, topic), allowed, "{action:?} {topic}");
            assert_eq!(acl.explain(who, action, topic), Decision { allowed, source: None });
        }
    }
    assert!(acl.allows_filter(NOBODY, "#") && acl.allows_filter(NOBODY, "$SYS/#"));
}

#[test]
fn rules_that_do_not_fit_leave_sys_closed_for_writing_even_if_the_default_allows() {
    let open = Acl::from_rules(vec![everybody("home/#")], true).unwrap();
    assert!(!open.is_permissive());
    assert!(open.allows(ANN, Action::Write, "garden/pump"));
    assert!(!open.allows(ANN, Action::Write, "$SYS/fake"));
    let said = acl(vec![everybody("$SYS/#")]);
    assert!(said.allows(ANN, Action::Write, "$SYS/mine"), "a rule that says so is the operator's word");
}

#[test]
fn no_rules_and_a_closed_default_allow_nothing() {
    let acl = acl(vec![]);
    assert!(!acl.is_permissive());
    assert!(!acl.allows(ANN, Action::Read, "a") && !acl.allows(ANN, Action::Write, "a"));
    assert!(!acl.allows_filter(ANN, "#"));
}

#[test]
fn the_first_rule_that_fits_decides_across_kinds_of_rules() {
    let acl = acl(vec![
        rule(Who::ClientId("lamp".into()), Actions::WRITE, false, "home/secret"),
        rule(Who::User("ann".into()), Actions::BOTH, true, "home/#"),
        rule(Who::Everybody, Actions::READ, false, "home/secret"),
        rule(
            Who::Group { name: "g".into(), users: vec!["bob".into(), "bob".into()] },
            Actions::READ,
            true,
            "home/+",
        ),
        rule(Who::Everybody, Actions::READ, true, "weather"),
    ]);
    let cases = [
        ("client rule stands before the user's", ANN, Action::Write, "home/secret", false, "home/secret"),
        ("user rule stands before everybody's", ANN, Action::Read, "home/secret", true, "home/#"),
        (
            "everybody's denial stands before the group's",
            BOB,
            Action::Read,
            "home/secret",
            false,
            "home/secret",
        ),
        ("group rule", BOB, Action::Read, "home/lamp", true, "home/+"),
        ("a group's `+` is one level", BOB, Action::Read, "home/lamp/state", false, ""),
        ("a read rule does not allow writing", BOB, Action::Write, "home/lamp", false, ""),
        ("anonymous gets everybody's rules", NOBODY, Action::Read, "weather", true, "weather"),
        ("anonymous gets nobody else's", NOBODY, Action::Read, "home/lamp", false, ""),
    ];
    for (story, who, action, topic, allowed, source) in cases {
        let source = (!source.is_empty()).then(|| format!("acl.toml:{source}"));
        assert_eq!(
            acl.explain(who, action, topic),
            Decision { allowed, source: source.as_deref() },
            "{story}"
        );
        assert_eq!(acl.allows(who, action, topic), allowed, "{story}");
    }
}

#[test]
fn patterns_cover_what_topic_filters_cover() {
    let cases = [
        ("home/lamp", "home/lamp", true),
        ("home/lamp", "home/lamp/", false),
        ("home/lamp", "Home/lamp", false),
        ("home/lamp", "home/lam", false),
        ("home/+", "home/lamp", true),
        ("home/+", "home/", true),
        ("home/+", "home", false),
        ("+", "home", true),
        ("+", "/home", false),
        ("/+", "/home", true),
        ("+/+", "/", true),
        ("home/#", "home", true),
        ("home/#", "home/", true),
        ("home/#", "home/a/b", true),
        ("home/#", "homework", false),
        ("/#", "", true),
        ("#", "a/b", true),
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("$SYS/#", "$SYS/x", true),
        ("$SYS/+", "$SYS/x", true),
    ];
    for (pattern, topic, allowed) in cases {
        assert_eq!(
            acl(vec![everybody(pattern)]).allows(ANN, Action::Write, topic),
            allowed,
            "{pattern} {topic}"
        );
    }
}

#[test]
fn names_are_filled_in_literally() {
    let cases = [
        ("user/%u/#", "ann", "lamp", "user/ann/x", true),
        ("user/%u/#", "ann", "lamp", "user/bob/x", false),
        ("dev-%c/state", "ann", "lamp", "dev-lamp/state", true),
        ("dev-%c/state", "ann", "lamp", "dev-lamp2/state", false),
        ("%u-%c", "ann", "lamp", "ann-lamp", true),
        ("%u%c", "ann", "lamp", "annlamp", true),
        ("100%/%c", "ann", "lamp", "100%/lamp", true),
        ("%%u", "ann", "lamp", "%ann", true),
        ("%x/%U", "ann", "lamp", "%x/%U", true),
        ("user/%u/#", "+", "lamp", "user/bob/x", false),
        ("user/%u/#", "+", "lamp", "user/+/x", false),
        ("user/%u/#", "#", "lamp", "user/#", false),
        ("user/%u", "bob/private", "lamp", "user/bob/private", false),
        ("user/%u/#", "", "lamp", "user//x", false),
        ("%c/#", "ann", "$SYS", "$SYS/broker", false),
        ("$dev-%c/#", "ann", "lamp", "$dev-lamp/x", true),
        ("user/%u", "%c", "lamp", "user/lamp", false),
        ("user/%u", "%c", "lamp", "user/%c", true),
    ];
    for (pattern, user, client_id, topic, allowed) in cases {
        let who = Subject { user: Some(user), client_id };
        let acl = acl(vec![everybody(pattern)]);
        assert_eq!(acl.allows(who, Action::Write, topic), allowed, "{pattern} {user} {client_id} {topic}");
    }
    let acl = acl(vec![everybody("user/%u")]);
    assert!(!acl.allows(NOBODY, Action::Read, "user/"), "somebody anonymous has no name to fill in");
}

#[test]
fn a_filter_is_judged_by_its_text() {
    let acl = acl(vec![everybody("home/#"), everybody("own/%c"), everybody("one/+")]);
    let cases = [
        ("home/#", true),
        ("home/+/state", true),
        ("home", true),
        ("#", false),
        ("+/temperature", false),
        ("own/lamp", true),
        ("own/+", false),
        ("own/#", false),
        ("one/+", true),
        ("one/x/#", false),
    ];
    for (filter, allowed) in cases {
        assert_eq!(acl.allows_filter(ANN, filter), allowed, "{filter}");
    }
}

#[test]
fn topics_that_are_no_filters_are_errors_with_their_source() {
    let cases = [
        ("", "is empty"),
        ("a/#/b", "last level"),
        ("a#", "level of its own"),
        ("##", "level of its own"),
        ("a/b+/c", "level of its own"),
        ("a\0b", "U+0000"),
    ];
    for (topic, reason) in cases {
        let rules = vec![everybody("fine"), Rule { source: "acl.toml:7".into(), ..everybody(topic) }];
        let error = Acl::from_rules(rules, true).unwrap_err();
        assert_eq!((error.source.as_str(), error.topic.as_str()), ("acl.toml:7", topic));
        assert!(error.to_string().starts_with("acl.toml:7: topic `"), "{error}");
        assert!(error.reason.contains(reason), "{topic}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_as_rule_name_and_topic_is_safe(
        pattern in "[a%uc+#/$]{0,8}|.*", user in "[a+#/$]{0,3}|.*", client_id in "[a+#/$]{0,3}|.*", topic in "[a+#/$]{0,8}|.*"
    ) {
        if let Ok(acl) = Acl::from_rules(vec![everybody(&pattern)], false) {
            let who = Subject { user: Some(&user), client_id: &client_id };
            let allowed = acl.allows(who, Action::Read, &topic);
            // A name never opens more than its own text: without the name's text in the topic it can't matter.
            if allowed && (pattern.contains("%u") && !pattern.contains("%c")) {
                prop_assert!(topic.contains(&user) && !user.contains(['+', '#', '/']));
            }
        }
    }

    #[test]
    fn merged_lists_come_in_order(mut all in proptest::collection::btree_map(0usize..100, 0usize..3, 0..40)) {
        let mut lists = [vec![], vec![], vec![]];
        for (position, list) in &all { lists[*list].push(*position); }
        let merged: Vec<usize> = Merged([&lists[0], &lists[1], &lists[2]]).collect();
        prop_assert_eq!(merged, std::mem::take(&mut all).into_keys().collect::<Vec<_>>());
    }
}

#[test]
fn what_is_added_comes_behind_and_knows_more_members() {
    let file = "[groups]\nstaff = ['ann']\n[[rule]]\ngroup = 'staff'\nallow = ['read']\ntopic = 'a'\n[[rule]]\nuser = 'cid'\ndeny = ['read']\ntopic = 'b'";
    let groups = std::collections::BTreeMap::from([("staff".to_owned(), vec!["bob".to_owned()])]);
    let added =
        |who| Rule { who, actions: Actions::BOTH, allow: true, topic: "b".into(), source: "m:1".into() };
    let acl =
        Acl::from_toml(file, "acl.toml").unwrap().with_rules(vec![added(Who::Everybody)], &groups).unwrap();
    let may = |user, topic| acl.explain(Subject { user: Some(user), client_id: "" }, Action::Read, topic);
    assert!(may("ann", "a").allowed && may("bob", "a").allowed && !may("cid", "a").allowed);
    assert!(!may("cid", "b").allowed, "the older rule decides");
    assert_eq!(may("bob", "b"), Decision { allowed: true, source: Some("m:1") });
    assert_eq!(acl.groups().unwrap()["staff"], ["ann", "bob"]);
    assert_eq!(acl.rules().map(|rule| rule.topic.as_str()).collect::<Vec<_>>(), ["a", "b", "b"]);
    assert!(!Acl::permissive().with_default(false).allows(
        Subject { user: None, client_id: "" },
        Action::Read,
        "a"
    ));
}
