//! What a filter costs. `cargo bench -p cork-filter`.
//!
//! `fresh` reads the payload with each call, as the first expression over a message does; `again` is what every further
//! expression over the same message costs.

use std::hint::black_box;

use cork_filter::{Expression, Message, NoProperties, Scratch};
use divan::Bencher;

fn main() {
    divan::main();
}

/// 60 bytes, as a sensor sends them.
const SMALL: &str = r#"{"sensor":"esp-7f3a","temperature":26.5,"humidity":41,"n":7}"#;

const CASES: [(&str, &str); 4] = [
    ("qos", "qos > 0"),
    ("one comparison", "payload.temperature > 25"),
    ("text and number", "payload.sensor.startsWith('esp-') && payload.temperature > 25"),
    ("list", "payload.humidity in [10, 20, 30, 41]"),
];

/// 1 KiB with 24 members, 20 of which have two.
fn large() -> String {
    let mut text = String::from("{");
    for n in 0..20 {
        text.push_str(&format!("\"reading_{n:02}\":{{\"value\":{n}.25,\"unit\":\"kWh\"}},"));
    }
    text.push_str("\"site\":\"plant 3\",\"line\":\"B\",\"count\":12,\"note\":\"");
    while text.len() < 1022 {
        text.push('x');
    }
    text.push_str("\"}");
    text
}

fn message(payload: &str) -> Message<'_> {
    Message {
        topic: "home/kitchen/climate",
        payload: payload.as_bytes(),
        qos: 0,
        retain: false,
        client_id: "esp-7f3a",
        user: "",
        properties: &NoProperties,
    }
}

fn fresh(bencher: Bencher<'_, '_>, expression: &str, payload: &str) {
    let expression = Expression::condition(expression).expect("it is right");
    let mut scratch = Scratch::default();
    bencher.bench_local(|| {
        let seen = scratch.look(message(black_box(payload)));
        let outcome = expression.test(&seen);
        scratch.take_back(seen);
        outcome
    });
}

#[divan::bench(args = CASES.map(|(name, _)| name))]
fn fresh_60_bytes(bencher: Bencher<'_, '_>, name: &str) {
    let (_, expression) = CASES.iter().find(|(case, _)| *case == name).expect("one of them");
    fresh(bencher, expression, SMALL);
}

#[divan::bench(args = CASES.map(|(name, _)| name))]
fn again_60_bytes(bencher: Bencher<'_, '_>, name: &str) {
    let (_, expression) = CASES.iter().find(|(case, _)| *case == name).expect("one of them");
    let expression = Expression::condition(expression).expect("it is right");
    let mut scratch = Scratch::default();
    let seen = scratch.look(message(SMALL));
    bencher.bench_local(|| expression.test(black_box(&seen)));
}

#[divan::bench]
fn fresh_1_kib_three_fields(bencher: Bencher<'_, '_>) {
    let expression = "payload.reading_03.value > 1 && payload.reading_17.value > 1 && payload.count == 12";
    fresh(bencher, expression, &large());
}

#[divan::bench]
fn fresh_plain_number(bencher: Bencher<'_, '_>) {
    fresh(bencher, "number > 20", "21.5");
}

#[divan::bench]
fn parse_an_expression() -> Expression {
    Expression::condition(black_box("payload.temperature > 25 && topic[1] == \"kitchen\""))
        .expect("it is right")
}
