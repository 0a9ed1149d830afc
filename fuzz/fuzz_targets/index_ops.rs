//! Operations on the subscription index and the retained set, against ordered maps and a naive matcher.
#![no_main]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cork_topic::{Retained, RetainedSet, Scan, SubscriptionIndex};
use libfuzzer_sys::fuzz_target;

/// The input as operations: every byte sequence is some.
struct Input<'a>(std::slice::Iter<'a, u8>);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    /// One to eight levels of few kinds, so that paths meet.
    fn path(&mut self, kinds: &[&'static str]) -> Option<String> {
        let count = self.byte()? % 8 + 1;
        let levels: Option<Vec<_>> =
            (0..count).map(|_| Some(kinds[usize::from(self.byte()?) % kinds.len()])).collect();
        Some(levels?.join("/"))
    }

    fn topic(&mut self) -> Option<String> {
        self.path(&["a", "b", "", "$x", "a!", "a-level-longer-than-a-node-holds"])
    }

    fn filter(&mut self) -> Option<String> {
        let mut filter = self.path(&["a", "b", "", "$x", "+", "+", "a-level-longer-than-a-node-holds"])?;
        match self.byte()? % 4 {
            0 => filter.push_str("/#"),
            1 => filter.replace_range(filter.rfind('/').map_or(0, |slash| slash + 1).., "#"),
            _ => {}
        }
        Some(filter)
    }
}

fn naive_match(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(given)) if level == given => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

#[derive(Debug, PartialEq)]
struct Message(String, usize);

impl Retained for Message {
    fn topic(&self) -> &str {
        &self.0
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data.iter());
    run(&mut input);
});

fn run(input: &mut Input<'_>) -> Option<()> {
    let mut index = SubscriptionIndex::new(u64::from(input.byte()?));
    let mut subscriptions = BTreeMap::new();
    let mut retained = RetainedSet::new(0);
    let mut messages: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for number in 0.. {
        match input.byte()? % 6 {
            0 | 1 => {
                let (filter, key) = (input.filter()?, u32::from(input.byte()? % 4));
                let inserted = index.insert(&filter, key, number);
                assert_eq!(index.filter(inserted.id), filter);
                assert_eq!(inserted.replaced, subscriptions.insert((filter, key), number));
            }
            2 => {
                let at = usize::from(input.byte()?) % subscriptions.len().max(1);
                let Some((filter, key)) = subscriptions.keys().nth(at).cloned() else { continue };
                let value = subscriptions.remove(&(filter.clone(), key));
                let id = index.find(&filter).expect("it has a subscriber");
                assert_eq!(index.remove(id, key).map(|removed| removed.value), value);
            }
            3 => {
                let topic = input.topic()?;
                let mut found = Vec::new();
                index.matches(&topic, &mut found);
                let matching = subscriptions.iter().filter(|((filter, _), _)| naive_match(filter, &topic));
                let mut expected: Vec<_> = matching.map(|((_, key), value)| (*key, *value)).collect();
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected, "{topic}");
            }
            4 => {
                let topic = input.topic()?;
                let levels = topic.split('/').map(str::to_owned).collect();
                if number % 3 == 0 {
                    let removed = retained.remove(&topic).map(|message: Message| message.1);
                    assert_eq!(removed, messages.remove(&levels));
                } else {
                    let former = retained.insert(Message(topic, number)).map(|message| message.1);
                    assert_eq!(former, messages.insert(levels, number));
                }
            }
            _ => {
                let (filter, max_steps) = (input.filter()?, usize::from(input.byte()? % 5));
                let topics = messages.keys().map(|levels| levels.join("/"));
                let expected: Vec<_> = topics.filter(|topic| naive_match(&filter, topic)).collect();
                assert_eq!(scanned(&retained, &filter, max_steps), expected, "{filter}");
                let mut found = Vec::new();
                retained.for_each_match(&filter, None, |message| {
                    found.push(message.0.clone());
                    ControlFlow::Continue(())
                });
                assert_eq!(found, expected, "{filter}");
            }
        }
        assert_eq!((index.len(), retained.len()), (subscriptions.len(), messages.len()));
    }
    None
}

fn scanned(set: &RetainedSet<Message>, filter: &str, max_steps: usize) -> Vec<String> {
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
