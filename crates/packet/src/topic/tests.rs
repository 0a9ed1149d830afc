use super::*;

#[test]
fn mqtt311_4_7_1_1_names_have_no_wildcards() {
    for name in ["a", "/", "a/b", "a//b", "/a", "a/", "$SYS/x", " ", "ä/ö", "a b"] {
        assert_eq!(validate_name(name), Ok(()), "{name}");
    }
    for name in ["+", "#", "a/+", "a/b#", "a+b"] {
        assert_eq!(validate_name(name), Err(TopicError::WildcardInName), "{name}");
    }
}

#[test]
fn mqtt5_4_7_3_1_topics_are_not_empty() {
    assert_eq!(validate_name(""), Err(TopicError::Empty));
    assert_eq!(validate_filter(""), Err(TopicError::Empty));
}

#[test]
fn mqtt5_4_7_3_2_topics_have_no_nul() {
    assert_eq!(validate_name("a\0b"), Err(TopicError::Nul));
    assert_eq!(validate_filter("a\0b"), Err(TopicError::Nul));
    assert_eq!(validate_filter("+/\0"), Err(TopicError::Nul));
}

#[test]
fn mqtt5_4_7_3_3_topics_have_at_most_65535_bytes() {
    let (longest, longer) = ("a".repeat(65_535), "a".repeat(65_536));
    assert_eq!(validate_name(&longest), Ok(()));
    assert_eq!(validate_filter(&longest), Ok(()));
    assert_eq!(validate_name(&longer), Err(TopicError::TooLong));
    assert_eq!(validate_filter(&longer), Err(TopicError::TooLong));
}

#[test]
fn mqtt311_4_7_1_2_hash_is_the_whole_last_level() {
    for filter in ["#", "/#", "a/#", "+/#", "$SYS/#", "a/b/c/#"] {
        assert_eq!(validate_filter(filter), Ok(()), "{filter}");
    }
    for filter in ["a#", "a/b#", "#/a", "a/#/b", "##", "#/", "a/#b", "+#"] {
        let error = validate_filter(filter).unwrap_err();
        assert!(
            matches!(error, TopicError::MultiLevelWildcard | TopicError::SingleLevelWildcard),
            "{filter}"
        );
    }
    assert_eq!(validate_filter("a/#/b"), Err(TopicError::MultiLevelWildcard));
}

#[test]
fn mqtt311_4_7_1_3_plus_is_a_whole_level() {
    for filter in ["+", "/+", "+/", "+/+", "a/+/b", "+/a/#", "a/+"] {
        assert_eq!(validate_filter(filter), Ok(()), "{filter}");
    }
    for filter in ["a+", "+a", "a/+b", "a/b+/c", "++", "+a/#"] {
        assert_eq!(validate_filter(filter), Err(TopicError::SingleLevelWildcard), "{filter}");
    }
}

#[test]
fn matches_level_by_level() {
    let yes = [
        ("a/b", "a/b"),
        ("a/+", "a/b"),
        ("a/+", "a/"),
        ("+", "a"),
        ("+/+", "/a"),
        ("/+", "/a"),
        ("#", "a"),
        ("#", "a/b/c"),
        ("#", "/"),
        ("a/#", "a"),
        ("a/#", "a/"),
        ("a/#", "a/b/c"),
        ("+/#", "a"),
        ("a/+/#", "a/b"),
        ("a//b", "a//b"),
        ("a/+/b", "a//b"),
    ];
    for (filter, name) in yes {
        assert!(matches(filter, name), "{filter} {name}");
    }
    let no = [
        ("a/b", "a/c"),
        ("a/b", "a"),
        ("a", "a/b"),
        ("a/+", "a"),
        ("a/+", "a/b/c"),
        ("+", "/a"),
        ("+", "a/"),
        ("a/#", "ab"),
        ("a/b/#", "a"),
        ("A", "a"),
        ("a/b", "a/b/"),
        ("/a", "a"),
    ];
    for (filter, name) in no {
        assert!(!matches(filter, name), "{filter} {name}");
    }
}

#[test]
fn mqtt5_4_7_2_1_leading_wildcards_leave_out_dollar_topics() {
    assert!(!matches("#", "$SYS/x"));
    assert!(!matches("+/x", "$SYS/x"));
    assert!(!matches("+", "$"));
    assert!(matches("$SYS/#", "$SYS/x"));
    assert!(matches("$SYS/+", "$SYS/x"));
    assert!(matches("a/#", "a/$x"));
}

#[test]
fn mqtt5_4_7_3_4_topics_are_compared_byte_for_byte() {
    // The same letter, composed and not.
    assert!(!matches("\u{E4}", "a\u{308}"));
    assert!(!matches("ACCOUNTS", "accounts"));
}

#[test]
fn mqtt5_4_8_2_1_share_names() {
    assert_eq!(split_share("a/b"), Ok(None));
    assert_eq!(split_share("$shared/a/b"), Ok(None));
    assert_eq!(split_share("$SHARE/g/a"), Ok(None));
    assert_eq!(split_share("$share/g/a/b"), Ok(Some(("g", "a/b"))));
    assert_eq!(split_share("$share/g/#"), Ok(Some(("g", "#"))));
    assert_eq!(split_share("$share/g//"), Ok(Some(("g", "/"))));
    for filter in ["$share", "$share/", "$share/g", "$share//a", "$share/+/a", "$share/#/a", "$share/g+/a"] {
        assert_eq!(split_share(filter), Err(TopicError::ShareName), "{filter}");
    }
}

#[test]
fn mqtt5_4_8_2_2_share_filters() {
    assert_eq!(split_share("$share/g/"), Err(TopicError::ShareFilter));
    assert_eq!(split_share("$share/g/a#"), Err(TopicError::MultiLevelWildcard));
    assert_eq!(split_share("$share/g/+a"), Err(TopicError::SingleLevelWildcard));
    assert_eq!(split_share("$share/g/a\0"), Err(TopicError::Nul));
    assert_eq!(split_share(&format!("$share/g/{}", "a".repeat(65_530))), Err(TopicError::TooLong));
}

#[test]
fn levels_are_one_more_than_slashes() {
    assert_eq!(levels("a"), 1);
    assert_eq!(levels("/"), 2);
    assert_eq!(levels("a/b/#"), 3);
}

#[test]
fn errors_speak() {
    assert_eq!(TopicError::Empty.to_string(), "a topic must have at least one character");
}
