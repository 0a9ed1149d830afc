//! Any bytes as a payload: every way to understand it, and expressions that look at all of it.
#![no_main]

use std::sync::LazyLock;

use cork_filter::{Expression, Message, Outcome, PayloadType, Properties, Scratch};
use libfuzzer_sys::fuzz_target;

struct Given(Option<&'static str>);

impl Properties for Given {
    fn content_type(&self) -> Option<&str> {
        self.0
    }

    fn user(&self, _: &str) -> Option<&str> {
        None
    }

    fn bytes(&self) -> usize {
        0
    }
}

static EXPRESSIONS: LazyLock<Vec<Expression>> = LazyLock::new(|| {
    let all = [
        "payload == payload",
        "payload.t > 5 || payload.a.b == 'x' || payload[0] == 1 || payload[-1] == 1 || payload[1.0] == 2",
        "payload.exists(x, x == 1 || x == 'a' || x.all(y, y != null))",
        "size(payload) > 3 && string(payload).contains('a')",
        "payload in [1, 'x', 2.5, null, [1], {'a': 1}] || 'a' in payload || 1 in payload",
        "payload.map(x, [x, x]).size() > 2 && number + 1 > 0",
        "payload.matches('a+b') || payload + payload == payload || payload * 2 > 4",
        "payload.filter(k, payload[k] == payload[k]).size() == size(payload)",
    ];
    all.into_iter().map(|text| Expression::condition(text).expect(text)).collect()
});

fuzz_target!(|payload: &[u8]| {
    let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
    let mut scratch = Scratch::default();
    for content_type in [
        None,
        Some("application/json"),
        Some("application/cbor"),
        Some("application/msgpack"),
        Some("text/plain"),
        Some("image/png"),
    ] {
        let properties = Given(content_type);
        let message = Message {
            topic: "a",
            payload,
            qos: 0,
            retain: false,
            client_id: "",
            user: "",
            properties: &properties,
        };
        let seen = scratch.look(message);
        match seen.payload_type() {
            PayloadType::Text | PayloadType::Json | PayloadType::Number => {
                assert!(std::str::from_utf8(payload).is_ok(), "text is text");
            }
            PayloadType::Cbor | PayloadType::MsgPack => assert!(!payload.is_empty()),
            PayloadType::Binary => {}
        }
        assert_eq!(seen.reading(&hasher).differs(seen.reading(&hasher), 0.0), false, "it is what it is");
        for expression in EXPRESSIONS.iter() {
            let outcome = expression.test(&seen);
            assert_eq!(outcome, expression.test(&seen));
        }
        // Equal to itself, unless there is a NaN in it, or more than is looked at.
        if seen.payload_type() == PayloadType::Json && payload.len() < 1000 {
            assert_ne!(EXPRESSIONS[0].test(&seen), Outcome::Fails, "{}", payload.escape_ascii());
        }
        scratch.take_back(seen);
    }
});
