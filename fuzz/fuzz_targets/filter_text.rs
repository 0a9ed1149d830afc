//! Any text as a filter: nothing panics, a refusal names a character of it, and what is taken ends with any message.
//! The first line is the filter, what follows the payload.
#![no_main]

use cork_filter::{Expression, Message, NoProperties, Rule, Scratch, percent_decode, percent_encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (filter, payload) = text.split_once('\n').unwrap_or((text, r#"{"t": 1, "l": [1, "x"]}"#));
    assert_eq!(percent_decode(&percent_encode(filter)).as_deref(), Ok(filter));
    if let Ok(rule) = Rule::from_prefix(filter) {
        // What is written down means the same.
        let again = Rule::from_prefix(&rule.to_prefix()).expect("its own form");
        assert_eq!(again.to_prefix(), rule.to_prefix());
    }
    let message = Message {
        topic: "a/b/c",
        payload: payload.as_bytes(),
        qos: 1,
        retain: true,
        client_id: "c",
        user: "u",
        properties: &NoProperties,
    };
    let mut scratch = Scratch::default();
    let seen = scratch.look(message);
    match Expression::condition(filter) {
        Ok(condition) => {
            assert_eq!(condition.test(&seen), condition.test(&seen), "the same again");
        }
        Err(error) => {
            let position = error.position().unwrap_or(1);
            assert!(position >= 1 && position <= filter.chars().count() + 1, "{error}");
            assert!(!error.reason().is_empty());
        }
    }
    if let Ok(value) = Expression::value(filter) {
        let _ = value.reading(&seen, &std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default());
    }
});
