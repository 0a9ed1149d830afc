//! What an evaluation may cost: time and memory have an end whatever the expression and the payload are.

use std::time::Duration;

use cork_filter::{Expression, Message, Outcome, Properties, Scratch, Seen};
use foldhash::fast::FixedState;

/// As many User Properties as a packet holds.
struct Many(Vec<(String, String)>);

impl Properties for Many {
    fn content_type(&self) -> Option<&str> {
        self.user("content type")
    }

    fn user(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| 5 + key.len() + value.len()).sum()
    }
}

fn message<'a>(topic: &'a str, payload: &'a [u8], properties: &'a Many) -> Message<'a> {
    Message { topic, payload, qos: 0, retain: false, client_id: "esp-7", user: "", properties }
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn begin_now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Far above what it takes without optimisation on a busy machine, far below what it took unbounded.
const LONG: Duration = Duration::from_millis(1500);

#[test]
fn no_expression_takes_long_whatever_the_message() {
    let escapes = format!("{{\"s\": \"{}\"}}", "\\n".repeat(400_000));
    let umlauts = format!("{{\"s\": \"{}\"}}", "ü".repeat(400_000));
    let digits = format!("{{\"s\": {}}}", "1".repeat(800_000));
    let keys = format!("{{\"a\": {{\"\\n{0}\": 1}}, \"s\": \"\\n{0}\"}}", "k".repeat(400_000));
    let mut cbor = vec![0xA1, 0x61, b's', 0x7A, 0, 0x0C, 0, 0];
    cbor.extend("ü".repeat(0x6_0000).as_bytes());
    let shared: Vec<String> = (0..10).map(|n| format!("\"{}{n}\": 1", "k".repeat(45_000))).collect();
    let shared = format!("{{\"a\": {{{0}}}, \"b\": {{{0}}}}}", shared.join(","));
    let deep_topic = "/".repeat(65_000);
    let plain_topic = "a/b";
    let none = Many(Vec::new());
    let many = Many((0..20_000).map(|n| (format!("k{n}"), "v".to_owned())).collect());
    let each = |body: &str| {
        let list: Vec<String> = (0..60).map(|n| n.to_string()).collect();
        let list = list.join(",");
        format!("[{list}].all(i, [{list}].all(j, {body}))")
    };
    let bombs: [(&str, &str, &[u8], &Many); 16] = [
        (r#"payload.s != "q""#, plain_topic, escapes.as_bytes(), &none),
        (r#"payload.s.contains("q") == false"#, plain_topic, escapes.as_bytes(), &none),
        (r#"[payload.s].map(k, k + "x").size() == 1"#, plain_topic, escapes.as_bytes(), &none),
        (r#"payload.s != "q""#, plain_topic, umlauts.as_bytes(), &none),
        (r#"payload.s != "q""#, plain_topic, &cbor, &none),
        ("payload.s.size() > 1", plain_topic, umlauts.as_bytes(), &none),
        ("payload.s > 1", plain_topic, digits.as_bytes(), &none),
        ("int(payload.s) > 1 || true", plain_topic, digits.as_bytes(), &none),
        ("payload.s in payload.a", plain_topic, keys.as_bytes(), &none),
        (r#"!("q" in payload.a)"#, plain_topic, keys.as_bytes(), &none),
        ("payload.a == payload.b", plain_topic, shared.as_bytes(), &none),
        ("size(topic) > 1", &deep_topic, b"1", &none),
        ("topic[60000] == \"\"", &deep_topic, b"1", &none),
        ("!(\"q\" in topic)", &deep_topic, b"1", &none),
        ("content_type != \"a\"", plain_topic, b"1", &many),
        ("property[\"k19999\"] == \"v\"", plain_topic, b"1", &many),
    ];
    for (body, topic, payload, properties) in bombs {
        let expression = Expression::condition(&each(body)).expect(body);
        let begin = begin_now();
        let outcome = expression.test(&Scratch::default().look(message(topic, payload, properties)));
        let took = begin.elapsed();
        assert!(took < LONG, "{body}: {took:?}, {outcome:?}");
    }
}

#[test]
fn what_is_looked_at_a_few_times_is_within_the_limits() {
    let escapes = format!("{{\"s\": \"{}end\"}}", "\\n".repeat(400_000));
    let many = Many((0..2_000).map(|n| (format!("k{n}"), "v".to_owned())).collect());
    let none = Many(Vec::new());
    let readings: Vec<String> =
        (0..900).map(|n| format!("{{\"id\":\"r\\u00e9{n}\",\"value\":{n}}}")).collect();
    let readings = format!("{{\"readings\":[{}]}}", readings.join(","));
    let cases: [(&str, &[u8], &Many); 4] = [
        (
            r#"payload.s.endsWith("end") && payload.s != "x" && payload.s.contains("\nend")"#,
            escapes.as_bytes(),
            &none,
        ),
        ("property.k1999 == 'v' && property.k0 == 'v'", b"1", &many),
        ("payload.readings.exists(r, r.value > 898)", readings.as_bytes(), &none),
        ("payload.readings.all(r, r.id.startsWith('ré'))", readings.as_bytes(), &none),
    ];
    for (text, payload, properties) in cases {
        let expression = Expression::condition(text).expect(text);
        let seen_by = |seen: &Seen<'_>| expression.test(seen);
        let outcome = seen_by(&Scratch::default().look(message("a/b", payload, properties)));
        assert_eq!(outcome, Outcome::Passes, "{text}");
    }
}

#[test]
fn strings_that_are_kept_in_lists_take_no_memory_of_their_own() {
    // 90 x 90 copies of 700 KB would be 5 GB.
    let payload = format!("{{\"s\": \"{}\\n\"}}", "x".repeat(700_000));
    let list: Vec<String> = (0..90).map(|n| n.to_string()).collect();
    let list = list.join(",");
    let none = Many(Vec::new());
    for text in [
        format!("[{list}].map(i, [{list}].map(j, payload.s)).size() == 90"),
        format!("[payload.s + 'x'].map(s, [{list}].map(i, [{list}].map(j, s)).size())[0] == 90"),
    ] {
        let expression = Expression::condition(&text).expect("it is right");
        let begin = begin_now();
        let _ = expression.test(&Scratch::default().look(message("a/b", payload.as_bytes(), &none)));
        assert!(begin.elapsed() < LONG, "{text}: {:?}", begin.elapsed());
    }
}

#[test]
fn a_value_that_is_compared_with_the_last_one_is_no_bomb_either() {
    let payload = format!("{{\"s\": \"{}\"}}", "\\n".repeat(400_000));
    let elements = vec!["payload.s"; 150].join(",");
    let none = Many(Vec::new());
    let expression = Expression::value(&format!("[{elements}]")).expect("it is right");
    let begin = begin_now();
    let mut scratch = Scratch::default();
    let seen = scratch.look(message("a/b", payload.as_bytes(), &none));
    let _ = expression.reading(&seen, &FixedState::with_seed(7));
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
}

#[test]
fn a_thousand_heavy_expressions_over_one_message_leave_the_simple_ones_alone() {
    let numbers: Vec<String> = (0..1500).map(|n| n.to_string()).collect();
    let payload = format!("{{\"t\": 30, \"list\": [{}]}}", numbers.join(","));
    let none = Many(Vec::new());
    let mut scratch = Scratch::default();
    let seen = scratch.look(message("home/kitchen", payload.as_bytes(), &none));
    let begin = begin_now();
    let heavy: Vec<Outcome> = (0..1000)
        .map(|n| {
            let text = format!("payload.list.all(x, x != {n} + 5000)");
            Expression::condition(&text).expect("it is right").test(&seen)
        })
        .collect();
    let simple =
        Expression::condition("payload.t > 25 && topic[1] == \"kitchen\" && property.u != 'x' || true");
    let outcome = simple.expect("it is right").test(&seen);
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
    assert_eq!(heavy[0], Outcome::Passes, "the first ones have what one alone would have");
    assert_eq!(heavy[999], Outcome::NotUnderstood, "the message has cost enough");
    assert_eq!(outcome, Outcome::Passes);
}
