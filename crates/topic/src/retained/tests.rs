use super::*;
use crate::testing::{RULES, filters, naive_match, topics};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Message(String, usize);

impl Retained for Message {
    fn topic(&self) -> &str {
        &self.0
    }
}

fn set<'a>(topics: impl IntoIterator<Item = &'a str>) -> RetainedSet<Message> {
    let mut set = RetainedSet::new(1);
    for topic in topics {
        set.insert(Message(topic.into(), 0));
    }
    set
}

fn all(set: &RetainedSet<Message>, filter: &str) -> Vec<String> {
    let mut found = Vec::new();
    set.for_each_match(filter, None, |message| {
        found.push(message.0.clone());
        ControlFlow::Continue(())
    });
    found
}

/// The same by single steps with a limit on the work of each.
fn by_scan(set: &RetainedSet<Message>, filter: &str, max_steps: usize) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        match set.scan(filter, after.as_deref(), max_steps) {
            Scan::Found(message) => {
                found.push(message.0.clone());
                after = Some(message.0.clone());
            }
            Scan::Pause(topic) => after = Some(topic.to_owned()),
            Scan::Done => return found,
        }
    }
}

#[test]
fn matching_follows_the_rules() {
    for (name, filter, topic, expected) in RULES {
        let alone = set([*topic]);
        assert_eq!(alone.next_match(filter, None).is_some(), *expected, "{name}");
        let crowd = set(RULES.iter().map(|rule| rule.2));
        assert_eq!(all(&crowd, filter).contains(&(*topic).to_owned()), *expected, "{name}: in a crowd");
    }
}

#[test]
fn a_subtree_follows_its_topic() {
    let set = set(["a!", "a", "ab", "a/b", "a/", "a/b/c", "a/b!", "b", "/", "!"]);
    let order: Vec<_> = set.iter().map(|message| message.0.as_str()).collect();
    assert_eq!(order, ["/", "!", "a", "a/", "a/b", "a/b/c", "a/b!", "a!", "ab", "b"]);
    assert_eq!(all(&set, "a/#"), ["a", "a/", "a/b", "a/b/c", "a/b!"]);
}

#[test]
fn a_cursor_survives_the_removal_of_its_topic() {
    let mut set = set(["a/1", "a/2", "a/3"]);
    set.remove("a/2");
    assert_eq!(set.next_match("a/+", Some("a/2")).map(Retained::topic), Some("a/3"));
    assert_eq!(set.next_match("a/+", Some("a/3")), None);
}

#[test]
fn mqtt5_3_3_1_5_a_new_message_takes_the_place_of_the_old() {
    let mut set = set(["a"]);
    assert_eq!(set.insert(Message("a".into(), 5)), Some(Message("a".into(), 0)));
    assert_eq!((set.len(), set.get("a").map(|message| message.1)), (1, Some(5)));
}

fn sites() -> RetainedSet<Message> {
    let mut set = RetainedSet::new(1);
    for number in 0..20_000 {
        let (site, device) = (number % 100, number / 100);
        set.insert(Message(format!("site/{site}/dev/{device}/temp"), number));
        if number % 1000 == 0 {
            set.insert(Message(format!("$SYS/{number}"), number));
        }
    }
    set
}

#[test]
fn wildcards_leap_instead_of_reading_everything() {
    let set = sites();
    assert_eq!(set.len(), 20_020);
    let steps = |filter: &str| {
        let (mut steps, mut found, mut after) = (0, 0, None::<String>);
        loop {
            steps += 1;
            // Two topics per call: every call makes at most one leap.
            match set.scan(filter, after.as_deref(), 2) {
                Scan::Done => return (found, steps),
                Scan::Found(message) => (found, after) = (found + 1, Some(message.0.clone())),
                Scan::Pause(topic) => after = Some(topic.to_owned()),
            }
        }
    };
    assert_eq!(steps("site/7/dev/+/temp").0, 200);
    let (found, cost) = steps("site/+/dev/150/temp");
    assert!(found == 100 && cost < 500, "{found} matches in {cost} steps");
    let (found, cost) = steps("site/+/nothing/#");
    assert!(found == 0 && cost < 300, "{found} matches in {cost} steps");
    let (found, cost) = steps("+/7/#");
    assert!(found == 200 && cost < 230, "{found} matches in {cost} steps");
    assert_eq!(steps("nothing/#"), (0, 1));
    assert_eq!(all(&set, "#").len(), 20_000);
    assert_eq!(all(&set, "$SYS/+").len(), 20);
}

#[test]
fn breaking_off_and_going_on() {
    let set = sites();
    let mut seen = Vec::new();
    while set.next_match("#", seen.last().map(String::as_str)).is_some() {
        let from = seen.last().cloned();
        let mut budget = 999;
        set.for_each_match("#", from.as_deref(), |message| {
            seen.push(message.0.clone());
            budget -= 1;
            if budget == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    assert_eq!(seen, all(&set, "#"));
}

#[test]
fn everything_can_be_taken_out_again() {
    for backwards in [false, true] {
        let mut set = sites();
        let mut topics: Vec<_> = set.iter().map(|message| message.0.clone()).collect();
        if backwards {
            topics.reverse();
        }
        for (left, topic) in topics.iter().enumerate().map(|(done, topic)| (topics.len() - done - 1, topic)) {
            assert!(set.remove(topic).is_some());
            assert!(set.remove(topic).is_none());
            assert_eq!(set.len(), left);
        }
        assert!(set.root.is_empty());
    }
}

fn naive<'a>(model: &'a BTreeMap<Vec<&'a str>, usize>, filter: &str) -> Vec<String> {
    model.keys().map(|levels| levels.join("/")).filter(|topic| naive_match(filter, topic)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn agrees_with_a_sorted_map(
        steps in proptest::collection::vec((topics(), proptest::bool::weighted(0.3)), 1..400),
        filters in proptest::collection::vec(filters(), 8),
        max_steps in 1usize..5,
    ) {
        let mut set = RetainedSet::new(1);
        let mut model = BTreeMap::new();
        for (number, (topic, remove)) in steps.iter().enumerate() {
            let levels: Vec<_> = topic.split('/').collect();
            if *remove {
                prop_assert_eq!(set.remove(topic).map(|it: Message| it.1), model.remove(&levels));
            } else {
                let former = set.insert(Message(topic.clone(), number));
                prop_assert_eq!(former.map(|it| it.1), model.insert(levels, number));
            }
            prop_assert_eq!(set.get(topic).is_some(), !remove);
        }
        prop_assert_eq!(set.len(), model.len());
        prop_assert!(set.iter().map(|it| it.0.clone()).eq(model.keys().map(|levels| levels.join("/"))));
        for filter in &filters {
            let expected = naive(&model, filter);
            prop_assert_eq!(&all(&set, filter), &expected);
            prop_assert_eq!(&by_scan(&set, filter, usize::MAX), &expected);
            prop_assert_eq!(&by_scan(&set, filter, max_steps), &expected);
        }
        for (topic, _) in steps {
            set.remove(&topic);
        }
        prop_assert!(set.root.is_empty() && set.is_empty());
    }
}
