//! What counts as a change.

use cork_filter::{Expression, Message, NoProperties, Reading, Scratch};
use foldhash::fast::FixedState;

fn reading(expression: &str, payload: &str) -> Option<Reading> {
    let mut scratch = Scratch::default();
    let seen = scratch.look(Message {
        topic: "a/b",
        payload: payload.as_bytes(),
        qos: 0,
        retain: false,
        client_id: "",
        user: "",
        properties: &NoProperties,
    });
    let hasher = FixedState::with_seed(7);
    match expression {
        "" => Some(seen.reading(&hasher)),
        text => Expression::value(text).expect("it is right").reading(&seen, &hasher),
    }
}

/// Expression (empty: the payload), a payload, another one, and whether the second is a change.
const CASES: [(&str, &str, &str, bool); 28] = [
    ("[payload.pos]", r#"{"pos":{"x":1}}"#, r#"{"pos":{"x":2}}"#, true),
    ("[payload.pos]", r#"{"pos":{"x":1}}"#, r#"{"pos": {"x":1.0}}"#, false),
    ("[payload.pos, [1]]", r#"{"pos":[[1]]}"#, r#"{"pos":[[2]]}"#, true),
    ("payload.s.filter(q, q.on)", r#"{"s":[{"on":true,"v":1}]}"#, r#"{"s":[{"on":true,"v":2}]}"#, true),
    ("payload.s.map(q, q)", r#"{"s":[1]}"#, r#"{"s":[1.0]}"#, false),
    ("payload.s.map(q, q)", r#"{"s":[1]}"#, r#"{"s":[2]}"#, true),
    ("payload.s", r#"{"s":[1]}"#, r#"{"s":[1.0]}"#, false),
    ("{\"a\": payload.x}", r#"{"x":1}"#, r#"{"x":2}"#, true),
    ("{\"a\": payload.x}", r#"{"x":1}"#, r#"{"x":1.0, "y":1}"#, false),
    ("{\"a\": payload.x, \"b\": 1}", r#"{"x":[1,{"y":"z"}]}"#, r#"{"x":[1,{"y":"z"}]}"#, false),
    ("[payload.x, payload.y]", r#"{"x":1,"y":2}"#, r#"{"x":2,"y":1}"#, true),
    ("[[payload.x], payload.y]", r#"{"x":1,"y":2}"#, r#"{"x":1,"y":[2]}"#, true),
    ("", r#"{"x":1,"y":2}"#, r#"{"y": 2.0, "x": 1}"#, false),
    ("", r#"{"x":1,"y":2}"#, r#"{"y": 1, "x": 2}"#, true),
    ("", r#"{"x":{"a":1},"y":{}}"#, r#"{"x":{},"y":{"a":1}}"#, true),
    ("", r#"{"x":1,"x":2}"#, r#"{"x":2,"x":1}"#, true),
    ("", r#"{"x":1,"x":2}"#, r#"{"x":2}"#, false),
    ("", r#"[1,2]"#, r#"[2,1]"#, true),
    ("", r#"[]"#, r#"{}"#, true),
    ("", r#"["1"]"#, r#"[1]"#, true),
    ("", r#"["a\u0062"]"#, r#"["ab"]"#, false),
    ("", r#"{"a\u0062":1}"#, r#"{"ab":1}"#, false),
    ("", r#"[1e400]"#, r#"[1e400]"#, false),
    ("", r#"[1e400]"#, r#"[1e401]"#, true),
    ("", r#"[0]"#, r#"[-0.0]"#, false),
    ("", r#"[9007199254740993]"#, r#"[9007199254740992]"#, true),
    ("payload.t", r#"{"t":"a\n"}"#, r#"{"t":"a\n"}"#, false),
    ("topic", "1", "2", false),
];

#[test]
fn a_change_is_another_value_however_it_is_written() {
    for (expression, before, after, changes) in CASES {
        let (one, other) = (reading(expression, before), reading(expression, after));
        let (one, other) = (one.expect(expression), other.expect(expression));
        assert_eq!(other.differs(one, 0.0), changes, "{expression}: {before} {after}");
    }
}

#[test]
fn a_large_payload_has_a_reading_and_one_that_costs_too_much_has_none() {
    let large = format!("[{}1]", "1,".repeat(60_000));
    assert!(reading("", &large).is_some());
    assert_eq!(reading("payload.map(x, [payload])", &large), None);
}
