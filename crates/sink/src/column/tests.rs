//! Where values come from, and what they become.

use proptest::prelude::*;

use super::*;

fn row() -> Row {
    Row {
        qos: 2,
        retain: true,
        client_id: "lamp".into(),
        user: Some("ann".into()),
        content_type: Some("application/json".into()),
        user_properties: vec![("a".into(), "1".into()), ("b".into(), "2".into()), ("a".into(), "3".into())],
        ..Row::new(
            "id-1",
            1_795_291_663_000_001,
            "site/7/kitchen",
            br#"{"t": 21.5, "n": "12", "on": true, "deep": {"x": [1, 2]}, "at": 1700000000, "none": null, "s": "abc"}"#,
        )
    }
}

fn cell(row: &Row, text: &str) -> String {
    let payload = Payload::of(row);
    match Column::parse("c", text).unwrap().cell(row, &payload) {
        Ok(cell) => format!("{cell:?}"),
        Err(why) => why,
    }
}

#[test]
fn every_source_of_a_json_message() {
    let row = row();
    let cases = [
        ("id", "Text(\"id-1\")"),
        ("time", "Time(1795291663000001)"),
        ("topic_name", "Text(\"site/7/kitchen\")"),
        ("topic[0]", "Text(\"site\")"),
        ("topic[2]", "Text(\"kitchen\")"),
        ("topic[3]", "Null"),
        ("topic[-1]", "Text(\"kitchen\")"),
        ("topic[-3]", "Text(\"site\")"),
        ("topic[-4]", "Null"),
        ("topic[1] as integer", "Int(7)"),
        ("payload.t", "Float(21.5)"),
        ("payload.t as text", "Text(\"21.5\")"),
        ("payload.n", "Text(\"12\")"),
        ("payload.n as number", "Float(12.0)"),
        ("payload.n as integer", "Int(12)"),
        ("payload.on", "Bool(true)"),
        ("payload.on as number", "`c` takes a number, and `true` is none"),
        ("payload.deep", "Json(\"{\\\"x\\\":[1,2]}\")"),
        ("payload.deep.x.1", "Int(2)"),
        ("payload.deep.y", "Null"),
        ("payload.at as time", "Time(1700000000000000)"),
        ("payload.none as number", "Null"),
        ("payload.missing as number", "Null"),
        ("payload.s as number", "`c` takes a number, and `abc` is none"),
        ("payload.s as json", "Json(\"\\\"abc\\\"\")"),
        ("payload.s as time", "`c` takes a time, and `abc` is none"),
        ("number", "Null"),
        ("text", "Null"),
        ("bytes", "Null"),
        ("type", "Text(\"json\")"),
        ("qos", "Int(2)"),
        ("qos as text", "Text(\"2\")"),
        ("retain", "Bool(true)"),
        ("size", "Int(101)"),
        ("client_id", "Text(\"lamp\")"),
        ("user", "Text(\"ann\")"),
        ("content_type", "Text(\"application/json\")"),
        ("property[\"a\"]", "Text(\"1\")"),
        ("property['b']", "Text(\"2\")"),
        ("property['c']", "Null"),
        ("user_properties", "Json(\"{\\\"a\\\":[\\\"1\\\",\\\"3\\\"],\\\"b\\\":\\\"2\\\"}\")"),
        ("time as text", "Text(\"2026-11-21T20:07:43.000001Z\")"),
    ];
    for (text, expected) in cases {
        assert_eq!(cell(&row, text), expected, "{text}");
    }
}

#[test]
fn each_kind_of_payload_has_its_standard_column() {
    let cases: [(&[u8], [&str; 4]); 6] = [
        (b"21.5", ["Float(21.5)", "Null", "Null", "Null"]),
        (b"7", ["Int(7)", "Null", "Null", "Null"]),
        (b"9007199254740993", ["Int(9007199254740993)", "Null", "Text(\"9007199254740993\")", "Null"]),
        (b"[1]", ["Null", "Json(\"[1]\")", "Null", "Null"]),
        (b"on", ["Null", "Null", "Text(\"on\")", "Null"]),
        (b"\xFF", ["Null", "Null", "Null", "Bytes([255])"]),
    ];
    for (bytes, expected) in cases {
        let row = Row::new("1", 0, "t", bytes);
        let payload = Payload::of(&row);
        let columns = standard_columns();
        let cells = columns[3..7].iter().map(|column| format!("{:?}", column.typed(&row, &payload).unwrap()));
        assert_eq!(cells.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn nobody_that_is_not_there_is_null() {
    let row = Row::new("1", 0, "t", b"");
    for source in ["client_id", "user", "content_type", "user_properties", "property['x']"] {
        assert_eq!(cell(&row, source), "Null", "{source}");
    }
    assert_eq!(cell(&row, "text"), "Text(\"\")");
}

#[test]
fn what_is_no_source_is_refused() {
    for text in [
        "",
        "topic",
        "topic[]",
        "topic[x]",
        "topic[1",
        "Payload",
        "payloads",
        "property[a]",
        "id as",
        "id as x",
    ] {
        assert!(Column::parse("c", text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_payload_becomes_something_or_says_why(bytes in any::<Vec<u8>>(), which in 0..7_usize) {
        let row = Row::new("1", 0, "t", &bytes);
        let payload = Payload::of(&row);
        let text = format!("payload as {}", Kind::WORDS[which].0);
        let column = Column::parse("c", &text).unwrap();
        match column.cell(&row, &payload) {
            Ok(Cell::Float(number)) => prop_assert!(number.is_finite()),
            Ok(_) => {}
            Err(why) => prop_assert!(why.len() < 500, "{}", why),
        }
    }
}
