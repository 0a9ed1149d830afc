use super::*;
use crate::testing::{RULES, filters, naive_match, topics};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn matched<V: Copy + Ord>(index: &SubscriptionIndex<V>, topic: &str) -> Vec<(u32, V)> {
    let mut out = Vec::new();
    index.matches(topic, &mut out);
    out.sort_unstable();
    out
}

/// Empty but for the root, as a new index is.
fn assert_pruned<V: Copy>(index: &SubscriptionIndex<V>) {
    assert_eq!((index.nodes.live(), index.children.len(), index.len(), index.filters()), (1, 0, 0, 0));
    let root = &index.nodes[ROOT];
    assert_eq!((root.degree(), root.literal_xor), (0, 0));
}

#[test]
fn matching_follows_the_rules() {
    for (name, filter, topic, expected) in RULES {
        let mut index = SubscriptionIndex::new(1);
        index.insert(filter, 1, ());
        assert_eq!(!matched(&index, topic).is_empty(), *expected, "{name}");
        assert_eq!(naive_match(filter, topic), *expected, "{name}: the model");
    }
}

#[test]
fn matching_follows_the_rules_among_other_filters() {
    let mut index = SubscriptionIndex::new(1);
    for (_, filter, ..) in RULES {
        index.insert(
            filter,
            1,
            index.find(filter).map_or_else(|| index.filters(), |id| index.get(id, 1).unwrap()),
        );
    }
    for (name, filter, topic, expected) in RULES {
        let number = index.get(index.find(filter).unwrap(), 1).unwrap();
        assert_eq!(matched(&index, topic).contains(&(1, number)), *expected, "{name}");
    }
}

#[test]
fn mqtt5_3_8_4_3_a_second_subscription_replaces_the_first() {
    let mut index = SubscriptionIndex::new(1);
    let first = index.insert("a/+", 7, 'x');
    let second = index.insert("a/+", 7, 'y');
    assert_eq!(first, Inserted { id: first.id, replaced: None, first: true });
    assert_eq!(second, Inserted { id: first.id, replaced: Some('x'), first: false });
    assert_eq!((index.len(), index.filters(), index.get(first.id, 7)), (1, 1, Some('y')));
    assert!(!index.insert("a/+", 8, 'z').first);
    assert_eq!(index.subscribers(first.id).collect::<Vec<_>>(), [(7, 'y'), (8, 'z')]);
}

#[test]
fn ids_survive_splitting_and_folding() {
    let mut index = SubscriptionIndex::new(1);
    let deep = index.insert("a/b/c/d/e", 1, ()).id;
    let others = ["a/b/+/x", "a/b/c/d/e/f/#", "a/b/c/d", "a/#", "a/b/c/x", "+"];
    let ids: Vec<_> = others.iter().map(|filter| (index.insert(filter, 1, ()).id, filter)).collect();
    for (id, filter) in ids {
        assert_eq!((index.filter(id).as_str(), index.find(filter)), (*filter, Some(id)));
        assert_eq!(index.filter(deep), "a/b/c/d/e");
        assert_eq!(index.remove(id, 1), Some(Removed { value: (), last: true }));
        assert_eq!(index.find(filter), None);
    }
    assert_eq!((index.find("a/b/c/d/e"), index.find("a/b"), index.nodes.live()), (Some(deep), None, 2));
    index.remove(deep, 1);
    assert_pruned(&index);
}

#[test]
fn a_void_id_finds_nothing() {
    let mut index = SubscriptionIndex::new(1);
    let id = index.insert("a/b/#", 1, ()).id;
    assert_eq!(index.remove(id, 2), None);
    assert!(index.remove(id, 1).is_some());
    for id in [id, FilterId(0), FilterId(1), FilterId(4711), FilterId(u32::MAX)] {
        assert_eq!((index.get(id, 1), index.remove(id, 1), index.subscribers(id).count()), (None, None, 0));
        let _ = index.filter(id);
    }
}

#[test]
fn a_topic_of_slashes_only() {
    let mut index = SubscriptionIndex::new(1);
    let slashes = "/".repeat(65_535);
    let plus = vec!["+"; 32_768].join("/");
    index.insert(&slashes, 1, ());
    index.insert(&slashes[1..], 2, ());
    index.insert("/+//+/#", 3, ());
    index.insert(&plus, 4, ());
    assert_eq!(matched(&index, &slashes), [(1, ()), (3, ())]);
    assert_eq!(matched(&index, &slashes[..32_767]), [(3, ()), (4, ())]);
    assert!(index.nodes.live() <= 9, "chains are one node");
}

#[test]
fn wildcards_in_every_position_visit_each_node_once() {
    // 2^12 filters: all ways to write twelve levels as `a` or `+`.
    let mut index = SubscriptionIndex::new(1);
    for bits in 0..1u32 << 12 {
        let levels: Vec<_> = (0..12).map(|level| if bits >> level & 1 == 1 { "+" } else { "a" }).collect();
        index.insert(&levels.join("/"), bits, ());
    }
    let mut out = Vec::new();
    assert_eq!(index.matches(&["a"; 12].join("/"), &mut out), 1 << 12);
    assert_eq!(index.matches(&["a"; 13].join("/"), &mut out), 0);
    assert_eq!(index.matches(&["b"; 12].join("/"), &mut out), 1);
}

#[test]
fn a_hundred_thousand_subscribers_of_one_filter() {
    let mut index = SubscriptionIndex::new(1);
    for key in (0..100_000).rev() {
        index.insert("a/#", key, 0u64);
    }
    let id = index.find("a/#").unwrap();
    let mut out = Vec::new();
    assert_eq!(index.matches("a/b", &mut out), 1);
    assert!(out.iter().map(|entry| entry.0).eq(0..100_000));
    for key in 0..100_000 {
        assert_eq!(index.remove(id, key).unwrap().last, key == 99_999);
    }
    assert_pruned(&index);
}

#[test]
fn a_hundred_thousand_filters_of_one_client() {
    let mut index = SubscriptionIndex::new(1);
    let ids: Vec<_> = (0..100_000).map(|n| index.insert(&format!("site/+/dev/{n}/#"), 1, n).id).collect();
    assert_eq!(matched(&index, "site/x/dev/4711/temp"), [(1, 4711)]);
    assert!(index.memory_bytes() < 100_000 * 150, "{} bytes", index.memory_bytes());
    for id in ids {
        assert!(index.remove(id, 1).unwrap().last);
    }
    assert_pruned(&index);
}

#[test]
fn a_node_is_one_cache_line() {
    assert_eq!(size_of::<nodes::Node<[u32; 4]>>(), 64);
    assert_eq!(size_of::<nodes::Node<u64>>(), 64);
}

#[derive(Debug, Clone)]
enum Step {
    Insert(String, u32),
    Remove(usize),
    Match(String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (filters(), 0u32..4).prop_map(|(filter, key)| Step::Insert(filter, key)),
        3 => any::<usize>().prop_map(Step::Remove),
        2 => topics().prop_map(Step::Match),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn agrees_with_a_list_of_filters(steps in steps(), seed in any::<u64>(), collide in any::<bool>()) {
        let mut index = SubscriptionIndex::new(seed);
        if collide {
            index.hasher = LevelHasher::colliding();
        }
        let mut model: BTreeMap<(String, u32), (FilterId, usize)> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            let before = index.generation();
            match step {
                Step::Insert(filter, key) => {
                    let first = !model.keys().any(|it| it.0 == filter);
                    let inserted = index.insert(&filter, key, number);
                    prop_assert_eq!(index.filter(inserted.id), &filter[..]);
                    let former = model.insert((filter, key), (inserted.id, number));
                    let replaced = former.map(|it| it.1);
                    prop_assert_eq!(inserted, Inserted { id: inserted.id, replaced, first });
                    prop_assert!(index.generation() > before);
                }
                Step::Remove(_) if model.is_empty() => {}
                Step::Remove(at) => {
                    let (filter, key) = model.keys().nth(at % model.len()).unwrap().clone();
                    let (id, value) = model.remove(&(filter.clone(), key)).unwrap();
                    let last = !model.keys().any(|it| it.0 == filter);
                    prop_assert_eq!(index.find(&filter), Some(id));
                    prop_assert_eq!(index.remove(id, key), Some(Removed { value, last }));
                    prop_assert_eq!(index.find(&filter).is_some(), !last);
                    prop_assert!(index.generation() > before);
                }
                Step::Match(topic) => {
                    let matching = || model.iter().filter(|((filter, _), _)| naive_match(filter, &topic));
                    let mut expected: Vec<_> = matching().map(|((_, key), (_, value))| (*key, *value)).collect();
                    let mut filters: Vec<_> = matching().map(|((filter, _), _)| filter).collect();
                    filters.dedup();
                    let mut out = Vec::new();
                    prop_assert_eq!(index.matches(&topic, &mut out), filters.len());
                    out.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(out, expected);
                }
            }
            prop_assert_eq!(index.len(), model.len());
            prop_assert!(index.nodes.live() <= 2 * index.filters() + 1);
        }
        for ((filter, key), (id, value)) in &model {
            prop_assert_eq!(index.find(filter), Some(*id));
            prop_assert_eq!(index.get(*id, *key), Some(*value));
        }
        for ((_, key), (id, _)) in model {
            prop_assert!(index.remove(id, key).is_some());
        }
        assert_pruned(&index);
    }
}
