//! What expressions say of messages, in tables.

use cork_filter::{Expression, Message, Outcome, PayloadType, Properties, Rule, Scratch};

use Outcome::{Fails, NotUnderstood, Passes};

/// Properties as a list.
struct Given(&'static [(&'static str, &'static str)]);

impl Properties for Given {
    fn content_type(&self) -> Option<&str> {
        self.user("content type")
    }

    fn user(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn bytes(&self) -> usize {
        self.0.len() * 16
    }
}

fn message<'a>(payload: &'a [u8], properties: &'a Given) -> Message<'a> {
    Message {
        topic: "home/kitchen/climate",
        payload,
        qos: 1,
        retain: false,
        client_id: "esp-7",
        user: "ann",
        properties,
    }
}

fn test(expression: &str, payload: &[u8]) -> Outcome {
    test_with(expression, payload, &Given(&[("unit", "C")]))
}

fn test_with(expression: &str, payload: &[u8], properties: &Given) -> Outcome {
    let expression = match Expression::condition(expression) {
        Ok(expression) => expression,
        Err(error) => panic!("{expression}: {error}"),
    };
    let mut scratch = Scratch::default();
    expression.test(&scratch.look(message(payload, properties)))
}

const CLIMATE: &[u8] =
    br#" {"temperature": 26.5, "humidity": 40, "on": true, "room": "K\u00fcche", "none": null,
    "error": {"code": "E42"}, "values": [1, 2.5, "x", {"v": 3}], "a/b": 1, "big": 18446744073709551615} "#;

#[test]
fn expressions_over_a_json_payload() {
    let cases = [
        ("payload.temperature > 25", Passes),
        ("payload.temperature > 25 && topic[1] == \"kitchen\"", Passes),
        ("payload.temperature > 25 && topic[1] == 'bath'", Fails),
        ("type == \"json\" && payload.error.code in [\"E42\", \"E43\"]", Passes),
        ("payload.error.code in [\"E1\"]", Fails),
        ("qos > 0 && !retain", Passes),
        ("property[\"unit\"] == \"C\"", Passes),
        ("property.unit == \"C\"", Passes),
        ("property[\"other\"] == \"C\"", NotUnderstood),
        ("\"unit\" in property && !(\"other\" in property)", Passes),
        ("has(property.unit)", Passes),
        ("size < 1024 && size > 10", Passes),
        ("client_id.startsWith(\"esp-\") && user == \"ann\"", Passes),
        ("content_type == \"image/jpeg\"", Fails),
        ("topic_name == \"home/kitchen/climate\" && size(topic) == 3", Passes),
        ("topic[3] == \"x\"", NotUnderstood),
        ("\"kitchen\" in topic", Passes),
        ("topic.exists(level, level.endsWith(\"chen\"))", Passes),
        // Fields.
        ("has(payload.temperature) && !has(payload.pressure)", Passes),
        ("has(payload.error.code)", Passes),
        ("has(payload.nothing.code)", NotUnderstood),
        ("payload.pressure > 1", NotUnderstood),
        ("payload[\"a/b\"] == 1", Passes),
        ("payload.values[3].v == 3 && payload.values[0] == 1", Passes),
        ("payload.values[4] == 1", NotUnderstood),
        ("payload.values[-1] == 1", NotUnderstood),
        ("payload.room == \"Küche\" && size(payload.room) == 5", Passes),
        ("payload.none == null && payload.on", Passes),
        ("payload.none == 1", Fails),
        ("payload.none != 1", Passes),
        ("payload.on == 1", Fails),
        ("payload.on > 0", NotUnderstood),
        ("payload.room > 5", NotUnderstood),
        ("payload.temperature", NotUnderstood),
        ("payload.big == 18446744073709551615u && payload.big > 5", Passes),
        ("size(payload) == 9 && payload.values.size() == 4", Passes),
        ("\"on\" in payload && !(\"off\" in payload)", Passes),
        ("2.5 in payload.values && !(7 in payload.values)", Passes),
        // What is wrong on one side, the other one may absorb.
        ("payload.pressure > 1 || payload.temperature > 25", Passes),
        ("payload.temperature > 25 || payload.pressure > 1", Passes),
        ("payload.pressure > 1 || payload.temperature > 99", NotUnderstood),
        ("payload.pressure > 1 && payload.temperature > 99", Fails),
        ("payload.pressure > 1 && payload.temperature > 25", NotUnderstood),
        ("!(payload.pressure > 1)", NotUnderstood),
        ("payload.room && false", Fails),
        // Numbers.
        ("payload.temperature + 1 == 27.5", Passes),
        ("int(payload.humidity) / 3 == 13 && payload.humidity % 7 == 5", Passes),
        ("payload.humidity * 2 - 80 == 0", Passes),
        ("int(payload.humidity) / 0 == 1", NotUnderstood),
        ("9223372036854775807 + payload.humidity > 0", NotUnderstood),
        ("-payload.humidity == -40 && -9223372036854775808 < 0", Passes),
        ("payload.humidity == 40.0 && payload.humidity < 40.5", Passes),
        ("0x28 == payload.humidity && 4e1 == payload.humidity", Passes),
        // Conversions.
        ("int(payload.temperature) == 26 && double(\"1.5\") == 1.5", Passes),
        ("string(payload.humidity) == \"40\" && string(true) == \"true\"", Passes),
        ("bool(\"true\") && uint(5) == 5u && int(\"-3\") == -3", Passes),
        ("int(payload.room) == 1", NotUnderstood),
        // Choice, lists, maps, macros.
        ("payload.on ? payload.temperature > 20 : payload.nothing", Passes),
        ("[1, 2] + [3] == [1, 2, 3] && {\"a\": 1}.a == 1", Passes),
        ("{\"E42\": true, \"E1\": false}[payload.error.code]", Passes),
        ("payload.values.exists(x, x == 2.5)", Passes),
        ("payload.values.exists(x, x > 2)", Passes),
        ("payload.values.exists(x, x > 5)", NotUnderstood),
        ("payload.values.all(x, x != 7)", Passes),
        ("[1, 2, 3].all(x, x > 1)", Fails),
        ("[1, 2, 3].exists_one(x, x > 2)", Passes),
        ("size([1, 2, 3].filter(x, x > 1)) == 2 && [1].map(x, x + 1) == [2]", Passes),
        ("payload.error.exists(key, key == \"code\")", Passes),
        ("[[1], [2, 3]].exists(a, a.exists(b, b == 3 && size(a) == 2))", Passes),
        // Strings.
        ("payload.room.contains(\"üch\") && payload.room.matches(\"^K.*e$\")", Passes),
        ("\"ab\" + \"c\" == \"abc\" && \"a\" < \"b\"", Passes),
        (r#"'\x41\u0042\103' == "ABC" && r'\n' == "\\n" && """a"b""" == 'a"b'"#, Passes),
        ("// a comment\n true", Passes),
    ];
    for (expression, expected) in cases {
        assert_eq!(test(expression, CLIMATE), expected, "{expression}");
    }
}

#[test]
fn payloads_are_recognised_in_order() {
    use PayloadType::{Binary, Cbor, Json, MsgPack, Number, Text};
    let cases: [(&str, &[u8], PayloadType); 33] = [
        ("", b"21.5", Number),
        ("", b" 21.5\r\n", Number),
        ("", b"-3", Number),
        ("", b"007", Number),
        ("", b"nan", Text),
        ("", b"true", Json),
        ("", b"null", Json),
        ("", b"\"x\"", Json),
        ("", b"{}", Json),
        ("", b" [1] ", Json),
        ("", b"{\"a\": 1", Text),
        ("", b"{\"a\": 1} x", Text),
        ("", b"[1,]", Text),
        ("", b"[01]", Text),
        ("", b"[\"\\ud800\"]", Text),
        ("", b"[\"\x01\"]", Text),
        ("", b"truely", Text),
        ("", b"", Text),
        ("", "grün".as_bytes(), Text),
        ("", b"\xA1\x61a\x01", Cbor),
        ("", b"\x9F\x01\x02\xFF", Cbor),
        ("", b"\xD9\xD9\xF7\x81\x01", Cbor),
        ("", b"\x81\x7F\x61\xC3\x61\xBC\xFF", Binary), // pieces that are no texts
        ("", b"\x81\xA1a\x01", MsgPack),
        ("", b"\xDC\x00\x01\xC0", MsgPack),
        ("", b"\xFF\xD8\xFF\xE0", Binary),
        ("", b"\xA1\x61a\x01\x00", Binary),
        ("application/json; charset=utf-8", b"5", Json),
        ("application/json", b"no json", Text),
        ("text/plain", b"5", Text),
        ("application/cbor", b"\x18\x2A", Cbor),
        ("application/msgpack", b"\x2A", MsgPack),
        ("image/png", b"5", Binary),
    ];
    for (content_type, payload, expected) in cases {
        let properties = match content_type {
            "" => Given(&[]),
            "application/json" => Given(&[("content type", "application/json")]),
            "text/plain" => Given(&[("content type", "text/plain")]),
            "application/cbor" => Given(&[("content type", "application/cbor")]),
            "application/msgpack" => Given(&[("content type", "application/msgpack")]),
            "image/png" => Given(&[("content type", "image/png")]),
            _ => Given(&[("content type", "application/json; charset=utf-8")]),
        };
        let mut scratch = Scratch::default();
        let seen = scratch.look(message(payload, &properties));
        assert_eq!(seen.payload_type(), expected, "{content_type} {}", payload.escape_ascii());
    }
}

#[test]
fn each_type_has_its_value() {
    let cases: [(&[u8], &str, Outcome); 22] = [
        (b"31", "number > 30 && payload > 30 && type == 'number'", Passes),
        (b"31.5", "number > 30", Passes),
        (b"29", "number > 30", Fails),
        (b"warm", "number > 30", NotUnderstood),
        (b"warm", "payload == 'warm' && type == 'text' && size(payload) == 4", Passes),
        (b"warm", "payload.x == 1", NotUnderstood),
        (b"\"31\"", "payload == '31'", Passes),
        (b"[31]", "payload[0] > 30", Passes),
        (b"true", "payload", Passes),
        (b"false", "payload", Fails),
        (b"\xFF\x00", "payload == b'\\xff\\x00' && type == 'binary'", Passes),
        // {"t": 21.5, "n": -7, "l": [1, h'01'], 5: "five"}
        (
            b"\xA4\x61t\xFB\x40\x35\x80\x00\x00\x00\x00\x00\x61n\x26\x61l\x82\x01\x41\x01\x05\x64five",
            "payload.t == 21.5 && payload.n == -7 && payload.l[1] == b'\\x01' && payload[5] == 'five'",
            Passes,
        ),
        (b"\xA1\x61t\xF9\x3C\x00", "payload.t == 1.0", Passes), // half precision
        (b"\xA1\x61t\xC0\x61x", "payload.t == 'x'", Passes),    // a tag
        (b"\xA1\x61t\x7F\x62ab\x60\x61c\xFF", "payload.t == 'abc'", Passes), // a text in pieces
        (b"\xA1\x7F\x61a\x61b\xFF\x01", "payload.ab == 1 && has(payload.ab)", Passes),
        (b"\xBF\x61t\x1B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "payload.t == 18446744073709551615u", Passes),
        // The same in MessagePack.
        (
            b"\x83\xA1t\xCB\x40\x35\x80\x00\x00\x00\x00\x00\xA1n\xF9\xA1l\x92\x01\xC4\x01\x01",
            "payload.t == 21.5 && payload.n == -7 && payload.l[1] == b'\\x01'",
            Passes,
        ),
        (b"\x81\xA1u\xCD\x01\x00", "payload.u == 256", Passes),
        (b"\x81\xA1u\xD1\xFF\x00", "payload.u == -256", Passes),
        (b"\x82\xA1a\x01\xA1a\x02", "payload.a == 2", Passes), // the last one of two
        (b"{\"a\": 1, \"\\u0061\": 2}", "payload.a == 2", Passes),
    ];
    for (payload, expression, expected) in cases {
        assert_eq!(test(expression, payload), expected, "{expression} of {}", payload.escape_ascii());
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        ("payload.temperature >", "at character 22: a value is expected here, not the end"),
        (
            "temperature > 25",
            "at character 1: unknown name `temperature`; there are payload, number, type, topic, topic_name, qos, retain, size, content_type, client_id, user, property, and payload.temperature",
        ),
        ("payload.x = 1", "at character 11: equality is written `==`"),
        ("(payload.x == 1", "at character 16: `)` is expected here, not the end"),
        ("payload.x == \"a", "at character 14: this string has no closing quote"),
        ("payload.ü", "at character 9: `\\u{fc}` has no meaning here"),
        ("ü", "at character 1: `\\u{fc}` has no meaning here"),
        ("payload.x == 1 payload", "at character 16: `payload` is not expected here"),
        ("qos + 1", "a filter is true or false; this is a value, compare it with another"),
        ("qos == \"1\"", "at character 5: a number is never compared with a string by `==`"),
        ("!qos", "at character 2: a truth value is expected here, this is a number"),
        (
            "payload.x.lower() == 'a'",
            "at character 10: unknown function lower(); there are has, size, startsWith, endsWith, contains, matches, int, uint, double, string, bytes, bool, dyn, all, exists, exists_one, filter and map",
        ),
        ("client_id.startsWith()", "at character 10: startsWith() takes 1 argument(s), not 0"),
        ("has(payload)", "at character 1: has() asks for a field, as in has(payload.x)"),
        (
            "type == 'jsno'",
            "at character 9: no payload has the type \"jsno\"; there are number, json, text, cbor, msgpack, binary",
        ),
        ("99999999999999999999 > 1", "at character 1: the number 99999999999999999999 is too large"),
        ("payload.matches(client_id)", "at character 17: the pattern of matches() is a string literal"),
        ("while == 1", "at character 1: `while` is a reserved word"),
        ("12abc == 1", "at character 1: this is neither a number nor a name"),
        ("", "at character 1: a value is expected here, not the end"),
    ];
    for (expression, expected) in cases {
        let error = Expression::condition(expression).unwrap_err();
        assert_eq!(error.to_string(), expected, "{expression}");
    }
}

#[test]
fn a_call_that_is_nearly_right_is_told_what_is_missing() {
    let cases = [
        (
            "payload.map(x, p, t)",
            "map() takes 2 argument(s), not 3: a name for the element and what is asked of it",
        ),
        ("all(payload, x)", "all() stands behind a list, as in payload.list.all(x, x > 1)"),
        ("payload.matches()", "matches() takes 1 argument(s), not 0"),
        ("payload.matches('a', 'b')", "matches() takes 1 argument(s), not 2"),
        (
            "startsWith(payload, 'a')",
            "startsWith() stands behind a text, as in payload.name.startsWith(\"a\")",
        ),
        ("payload.int() > 1", "int() stands before its value, as in int(payload.x)"),
    ];
    for (expression, expected) in cases {
        let error = Expression::condition(expression).unwrap_err();
        assert_eq!(error.reason(), expected, "{expression}");
    }
}

#[test]
fn an_expression_that_a_slash_cut_off_is_told_so() {
    let cases = [
        ("topic == \"a", true),
        ("(payload.a ", true),
        ("payload[1", true),
        ("payload.t >", false),
        ("topic =", false),
    ];
    for (text, hint) in cases {
        let error = Rule::from_prefix(text).unwrap_err().to_string();
        assert_eq!(
            error.ends_with("; a / in an expression is written %2F in a topic filter"),
            hint,
            "{error}"
        );
    }
}

#[test]
fn bombs_are_refused() {
    let deep =
        |open: &str, close: &str, count: usize| format!("{}true{}", open.repeat(count), close.repeat(count));
    let cases = [
        "a".repeat(5000),
        deep("(", ")", 2000),
        deep("!", "", 2000),
        deep("[", "]", 2000) + " == 1",
        format!("payload{} == 1", ".a".repeat(2000)),
        format!("payload{} == 1", "[0]".repeat(1000)),
        format!("1{} == 1", " + 1".repeat(1000)),
        format!("true{}", " ? true : true".repeat(250)),
        vec!["true"; 600].join("||"),
        format!("payload.matches('{}')", "(a*)*".repeat(100)),
        "payload.matches('(a{1000}){1000}')".into(),
        "payload.matches('(')".into(),
    ];
    for expression in cases {
        assert!(Expression::condition(&expression).is_err(), "{expression:.60}");
    }
    assert!(Expression::condition(&deep("(", ")", 30)).is_ok());
}

#[test]
fn an_evaluation_has_an_end() {
    let list = format!("[{}]", vec!["1"; 10_000].join(","));
    let cases = [
        "payload.all(a, payload.all(b, payload.all(c, a + b + c > 0)))",
        "payload.map(a, payload.map(b, payload)) == []",
        "payload.all(a, payload == payload)",
        "(payload.all(a, payload == payload)) || true",
        "payload + payload + payload + payload + payload == []",
    ];
    for expression in cases {
        assert_eq!(test(expression, list.as_bytes()), NotUnderstood, "{expression}");
    }
    let text = "a".repeat(1 << 20);
    assert_eq!(test("payload.contains('b')", text.as_bytes()), Fails);
    assert_eq!(test("payload + payload + payload == ''", text.as_bytes()), NotUnderstood);
    assert_eq!(test("payload.matches('a*b')", text.as_bytes()), NotUnderstood);
    let short = "[".repeat(63) + &"]".repeat(63);
    assert_eq!(test("type == 'json'", short.as_bytes()), Passes);
    let deep = "[".repeat(65) + &"]".repeat(65);
    assert_eq!(test("type == 'text'", deep.as_bytes()), Passes);
    let long = format!("[{}]", vec!["1"; 70_000].join(","));
    assert_eq!(test("type == 'text'", long.as_bytes()), Passes);
    let huge = vec![b'1'; (1 << 20) + 1];
    assert_eq!(test("type == 'binary' && size > 1000000", &huge), Passes);
}

#[test]
fn what_has_no_value_spoils_only_what_uses_it() {
    let cases: [(&str, &str, Outcome); 22] = [
        ("payload.exists(v, v > 3)", "[1e400, 5]", Passes),
        ("payload.exists(v, v > 3)", "[1e400, 1]", NotUnderstood),
        ("payload.all(v, v > 3)", "[1e400, 1]", Fails),
        ("payload.exists(v, v == 1)", "[1, 1e400]", Passes),
        ("5 in payload", "[1e400, 5]", Passes),
        ("5 in payload", "[5, 1e400]", Passes),
        ("7 in payload", "[1e400, 5]", NotUnderstood),
        ("payload[1] == 5", "[1e400, 5]", Passes),
        ("payload[0] == 5", "[1e400, 5]", NotUnderstood),
        ("size(payload) == 2", "[1e400, 5]", Passes),
        ("payload.exists(k, k == 'm')", r#"{"x": 1e400, "m": 1}"#, Passes),
        ("payload.m != 'a'", r#"{"x": 1e400, "m": "b"}"#, Passes),
        ("payload.m != 'a'", r#"{"m": [1e400]}"#, Passes),
        ("payload.m != [1]", r#"{"m": [1e400, 2]}"#, Passes),
        ("payload.m == [1, 3]", r#"{"m": [1e400, 2]}"#, Fails),
        ("payload.m == [1, 2]", r#"{"m": [1e400, 2]}"#, NotUnderstood),
        ("payload.m == {'a': 1, 'b': 2}", r#"{"m": {"a": 1e400, "b": 3}}"#, Fails),
        ("payload.m == {'a': 1}", r#"{"m": {"a": 1e400}}"#, NotUnderstood),
        ("has(payload.m)", r#"{"m": 1e400}"#, Passes),
        ("payload.filter(v, true).size() == 2", "[1e400, 5]", Passes),
        ("payload.filter(v, true)[0] == 5", "[1e400, 5]", NotUnderstood),
        ("payload.filter(v, true)[1] == 5", "[1e400, 5]", Passes),
    ];
    for (expression, payload, expected) in cases {
        assert_eq!(test(expression, payload.as_bytes()), expected, "{expression}: {payload}");
    }
}

#[test]
fn a_number_of_the_payload_is_divided_the_same_whole_or_not() {
    let cases: [(&str, &str, Outcome); 20] = [
        ("(payload - 32) * 5 / 9 > 37", "100", Passes),
        ("(payload - 32) * 5 / 9 > 37", "100.0", Passes),
        ("payload / 10 > 3", "35", Passes),
        ("number / 10 == 3.5", "35", Passes),
        ("payload / 7 == 5", "35", Passes),
        ("payload.t / 2 == 0.5", r#"{"t": 1}"#, Passes),
        ("payload[0] / payload[1] == 0.5", "[1, 2]", Passes),
        ("100 / payload == 12.5", "8", Passes),
        ("payload.all(x, x / 2 == 0.5)", "[1, 1.0]", Passes),
        ("payload.map(x, x + 1)[0] / 4 == 0.5", "[1]", Passes),
        ("-payload / 2 == -0.5", "1", Passes),
        ("9007199254740993 / payload == 9007199254740993", "1", Passes),
        ("18446744073709551614u / payload == 9223372036854775807.0", "2", Passes),
        // What the expression itself says is CEL's: whole.
        ("int(payload) / 10 == 3", "35", Passes),
        ("int(payload / 10) == 3", "35", Passes),
        ("size / 2 == 1", "123", Passes),
        ("7 / 2 == 3 && [7].all(x, x / 2 == 3)", "1", Passes),
        ("5 / 9 * payload == 0", "100", Passes),
        ("payload % 2 == 1", "35", Passes),
        ("payload / 0 > 5", "35", Passes),
    ];
    for (expression, payload, expected) in cases {
        assert_eq!(test(expression, payload.as_bytes()), expected, "{expression}: {payload}");
    }
}

#[test]
fn maps_are_equal_by_what_counts_of_them() {
    const TWICE: &[u8] = br#"{"a": 1, "b": {"c": "x"}, "a": "last"}"#;
    let cases = [
        ("payload == payload", Passes),
        ("payload == {'a': 'last', 'b': {'c': 'x'}}", Passes),
        ("payload == {'b': {'c': 'x'}, 'a': 'last'}", Passes),
        ("payload == {'a': 1, 'b': {'c': 'x'}}", Fails),
        ("payload == {'a': 'last', 'b': {'c': 'y'}}", Fails),
        ("payload == {'a': 'last'}", Fails),
        ("payload == {'a': 'last', 'b': {'c': 'x'}, 'd': 1}", Fails),
        ("payload == {'a': 'last', 1: {'c': 'x'}}", Fails),
        ("payload != [1]", Passes),
    ];
    for (expression, outcome) in cases {
        assert_eq!(test(expression, TWICE), outcome, "{expression}");
    }
}
