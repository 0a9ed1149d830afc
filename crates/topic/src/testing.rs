//! What the tests of this crate compare with: the matching rules written down as plainly as possible.

use proptest::prelude::*;

/// Whether a Topic Name matches a Topic Filter (5.0 section 4.7), level by level.
pub(crate) fn naive_match(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => levels(filter, topic),
            ([a, filter @ ..], [b, topic @ ..]) => a == b && levels(filter, topic),
            _ => false,
        }
    }
    let wild = filter.starts_with('+') || filter.starts_with('#');
    if wild && topic.starts_with('$') {
        return false;
    }
    levels(&filter.split('/').collect::<Vec<_>>(), &topic.split('/').collect::<Vec<_>>())
}

/// `(name, filter, topic, matches)`, for both structures that know the rules.
pub(crate) const RULES: &[(&str, &str, &str, bool)] = &[
    ("mqtt5_4_7_1_2_hash_matches_parent", "sport/tennis/#", "sport/tennis", true),
    ("mqtt5_4_7_1_2_hash_matches_child", "sport/tennis/#", "sport/tennis/x", true),
    ("mqtt5_4_7_1_2_hash_matches_deep", "sport/tennis/#", "sport/tennis/x/y/z", true),
    ("mqtt5_4_7_1_2_hash_matches_no_sibling", "sport/tennis/#", "sport/tennisball", false),
    ("mqtt5_4_7_1_2_hash_matches_no_grandparent", "sport/tennis/#", "sport", false),
    ("mqtt5_4_7_1_2_hash_alone_matches_all", "#", "a/b", true),
    ("mqtt5_4_7_1_2_hash_alone_matches_leading_slash", "#", "/a", true),
    ("mqtt5_4_7_1_2_hash_below_empty_level", "/#", "/", true),
    ("mqtt5_4_7_1_2_hash_below_empty_level_needs_it", "/#", "a", false),
    ("mqtt5_4_7_1_3_plus_is_one_level", "sport/tennis/+", "sport/tennis/x", true),
    ("mqtt5_4_7_1_3_plus_is_not_two_levels", "sport/tennis/+", "sport/tennis/x/y", false),
    ("mqtt5_4_7_1_3_plus_is_not_the_parent", "sport/+", "sport", false),
    ("mqtt5_4_7_1_3_plus_matches_empty_level", "sport/+", "sport/", true),
    ("mqtt5_4_7_1_3_two_plus_match_leading_slash", "+/+", "/finance", true),
    ("mqtt5_4_7_1_3_slash_plus_matches_leading_slash", "/+", "/finance", true),
    ("mqtt5_4_7_1_3_plus_matches_no_leading_slash", "+", "/finance", false),
    ("mqtt5_4_7_1_3_plus_in_the_middle", "a/+/c", "a/b/c", true),
    ("mqtt5_4_7_1_3_plus_in_the_middle_empty", "a/+/c", "a//c", true),
    ("mqtt5_4_7_1_3_plus_then_hash", "+/b/#", "a/b", true),
    ("mqtt5_4_7_1_3_plus_then_hash_needs_a_level", "a/+/#", "a", false),
    ("mqtt5_4_7_2_1_hash_does_not_match_dollar", "#", "$SYS/x", false),
    ("mqtt5_4_7_2_1_plus_does_not_match_dollar", "+/monitor/clients", "$SYS/monitor/clients", false),
    ("mqtt5_4_7_2_1_plus_does_not_match_bare_dollar", "+", "$", false),
    ("mqtt5_4_7_2_1_literal_matches_dollar", "$SYS/#", "$SYS/monitor/clients", true),
    ("mqtt5_4_7_2_1_literal_then_plus_matches_dollar", "$SYS/monitor/+", "$SYS/monitor/clients", true),
    ("mqtt5_4_7_2_1_dollar_later_is_ordinary", "+/#", "a/$SYS", true),
    ("mqtt5_4_7_3_case_counts", "accounts", "ACCOUNTS", false),
    ("mqtt5_4_7_3_spaces_count", "a b/+", "a b/c", true),
    ("mqtt5_4_7_3_trailing_slash_is_a_level", "a", "a/", false),
    ("mqtt5_4_7_3_slash_alone_is_two_levels", "/", "/", true),
    ("mqtt5_4_7_3_slash_alone_is_not_a_plus", "+", "/", false),
    ("mqtt5_4_7_3_longer_literal", "a/b/c", "a/b", false),
    ("mqtt5_4_7_3_shorter_literal", "a/b", "a/b/c", false),
    ("mqtt5_4_7_3_part_of_a_level", "a/b", "a/bc", false),
];

/// Filters over few levels, so that they meet.
pub(crate) fn filters() -> impl Strategy<Value = String> {
    let level = prop_oneof![4 => Just("a"), 2 => Just("b"), 1 => Just(""), 1 => Just("$x"), 3 => Just("+")];
    (proptest::collection::vec(level, 1..6), proptest::bool::weighted(0.3)).prop_map(|(mut levels, hash)| {
        if hash {
            levels.pop();
            levels.push("#");
        }
        levels.join("/")
    })
}

/// Topics over the same levels, and some that sort around `/` and `$`.
pub(crate) fn topics() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        5 => Just("a"), 3 => Just("b"), 1 => Just(""), 1 => Just("$x"), 1 => Just("a!"), 1 => Just("!"),
    ];
    proptest::collection::vec(level, 1..6).prop_map(|levels| levels.join("/"))
}
