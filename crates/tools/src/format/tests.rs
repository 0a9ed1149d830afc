use cork_packet::{Properties, PropertiesBuf, QoS};

use super::*;

const NOTHING: Message<'static> = Message {
    topic: "x/y",
    payload: b"hello",
    qos: QoS::AtLeastOnce,
    retain: false,
    dup: false,
    packet_id: 1,
    properties: Properties::EMPTY,
};

fn printed(format: &str, message: &Message<'_>, pretty: bool) -> String {
    let mut out = Vec::new();
    let format: Format = format.parse().unwrap();
    let result = format.write(message, &Moment::at(1_770_000_000, 1000, 0), pretty, &mut out);
    String::from_utf8(out).unwrap() + if result.is_err() { "!" } else { "" }
}

fn message_with_everything() -> PropertiesBuf {
    [
        Property::ContentType("text/plain"),
        Property::CorrelationData(b"abc"),
        Property::UserProperty("a", "b"),
        Property::PayloadFormatIndicator(1),
        Property::UserProperty("c d", "e"),
        Property::ResponseTopic("rt"),
        Property::MessageExpiryInterval(100),
        Property::SubscriptionIdentifier(42),
    ]
    .into_iter()
    .collect()
}

// What mosquitto_sub 2.0.11 prints, seen and written down.
#[test]
fn widths_and_precisions() {
    let wanted = "       x/y|x/y       | x/|x/|       x/y|     hello|hello     |hel|00000005|5       |       5|    1|00001|                6865|00000000000000006865|6865                |h|";
    let format = "%10t|%-10t|%3.2t|%.2t|%010t|%10p|%-10p|%3p|%08l|%-8l|%8l|%5m|%05m|%20x|%020x|%-20x|%1.1p|";
    assert_eq!(printed(format, &NOTHING, false), wanted);
    let ab = Message { payload: b"ab", ..NOTHING };
    assert_eq!(printed("%5x|%-5x|%5X|%05p|%05t|%05q|%3q|", &ab, false), "   61|61   |   61|000ab|  x/y|1|1|");
}

#[test]
fn properties_that_are_there_and_that_are_not() {
    assert_eq!(printed("%A|%C|%D|%E|%F|%P|%R|%S|%5A|%05S|", &NOTHING, false), "||||||||     |     |");
    let properties = message_with_everything();
    let message = Message { properties: properties.as_properties(), ..NOTHING };
    assert_eq!(printed("%A|%C|%D|%E|%F|%P|%R|%S", &message, false), "|text/plain|abc|100|1|a:b c d:e|rt|42");
    assert_eq!(
        printed("%.2C|%10.2C|%08E|%-8E|%05F|%-10.1R|", &message, false),
        "te|        te|00000100|100     |00001|r         |"
    );
}

// As above: a precision without digits is 0, and a Response Topic that is missing leaves no room.
#[test]
fn oddities_of_widths() {
    assert_eq!(printed("%.t|%10.t|%5.I|%-05q|%00003l|", &NOTHING, false), "|          |     |1|005|");
    assert_eq!(printed("%10R|%-10R|%10C|", &NOTHING, false), "||          |");
    for format in ["%--5l", "%0-5r", "%-0-t"] {
        let error = format.parse::<Format>().unwrap_err().to_string();
        assert!(error.contains("`%-` means nothing"), "{error}");
    }
}

#[test]
fn a_payload_of_any_bytes_is_valid_json() {
    let payload = b"\x00\x01\xff\xfe\xc3\xa4";
    let mut out = Vec::new();
    let moment = Moment::at(1_770_000_000, 1000, 0);
    let message = Message { payload, ..NOTHING };
    "%j".parse::<Format>().unwrap().write(&message, &moment, false, &mut out).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(read["payload"], "\0\u{1}\u{fffd}\u{fffd}\u{e4}");
}

#[test]
fn escapes_and_times() {
    assert_eq!(
        printed(r"%%|@@|\\|\n|\t|\0|\a|\e|\r|\v", &NOTHING, false),
        "%|@|\\|\n|\t|\0|\u{7}|\u{1b}|\r|\u{b}"
    );
    assert_eq!(printed("@H@@%%@5|@-|@N|%U", &NOTHING, false), "02@%%5|%-|000001000|1770000000.000001000");
    assert_eq!(
        printed("%I|%.4I|%30I|", &NOTHING, false),
        "2026-02-02T02:40:00+0000|2026|      2026-02-02T02:40:00+0000|"
    );
    assert_eq!(
        printed("%x|%X|%q|%r|%l", &Message { payload: b"\xab\x01", ..NOTHING }, false),
        "ab01|AB01|1|0|2"
    );
}

#[test]
fn json_as_cjson_writes_it() {
    let properties = message_with_everything();
    let message = Message { payload: b"he\"l\\lo\tx\x01", properties: properties.as_properties(), ..NOTHING };
    let wanted = r#"{"tst":"2026-02-02T02:40:00.000001Z+0000","topic":"x/y","qos":1,"retain":0,"payloadlen":10,"mid":1,"properties":{"content-type":"text/plain","correlation-data":"abc","user-properties":{"a":"b","c d":"e"},"payload-format-indicator":1,"response-topic":"rt","message-expiry-interval":100,"subscription-identifier":42},"payload":"he\"l\\lo\tx\u0001"}"#;
    assert_eq!(printed("%j", &message, false), wanted);
    assert!(printed("%j", &Message { payload: b"", ..NOTHING }, false).ends_with("\"payload\":null}"));
}

#[test]
fn numbers_as_cjson_writes_them() {
    let payload = b"[1e10,1e16,1e15,123456789012345678901,0.1,1e-7,1e-4,-0.0,3.141592653589793,100000.0,2147483648,0.30000000000000004,1.50,{}]";
    let wanted = "[10000000000,1e+16,1e+15,1.2345678901234568e+20,0.1,1e-07,0.0001,-0,3.1415926535897931,100000,2147483648,0.3,1.5,{}]";
    assert!(
        printed("%J", &Message { payload, ..NOTHING }, false).ends_with(&format!("\"payload\":{wanted}}}"))
    );
}

#[test]
fn a_number_too_large_for_a_float_is_json_all_the_same() {
    let payload = br#"{"a":0.1,"b":1e400,"c":[-1E+999,"1e400"]}"#;
    let wanted = r#""payload":{"a":0.1,"b":null,"c":[null,"1e400"]}}"#;
    let shown = printed("%J", &Message { payload, ..NOTHING }, false);
    assert!(shown.ends_with(wanted), "{shown}");
    for payload in ["01e400", "1.e400", "1e400e", "{1e400:1}", "1e+", "\"1e400", "[1e400"] {
        let shown = printed("%J", &Message { payload: payload.as_bytes(), ..NOTHING }, false);
        assert_eq!(shown, "!", "{payload}");
    }
    let long = "9".repeat(400);
    assert!(printed("%J", &Message { payload: long.as_bytes(), ..NOTHING }, false).ends_with(":null}"));
}

#[test]
fn pretty_json() {
    let payload = br#"{"b":[1,{"c":null},[],{}],"e":{}}"#;
    let wanted = "\t\"payload\":\t{\n\t\t\"b\":\t[1, {\n\t\t\t\t\"c\":\tnull\n\t\t\t}, [], {\n\t\t\t}],\n\t\t\"e\":\t{\n\t\t}\n\t}\n}";
    let all = printed("%J", &Message { payload, ..NOTHING }, true);
    assert!(all.starts_with("{\n\t\"tst\":\t\"") && all.ends_with(wanted), "{all}");
}

#[test]
fn what_is_no_json_is_left_out() {
    assert_eq!(printed("%t %J.", &NOTHING, false), "x/y .!");
    assert!(printed("%J", &Message { payload: b"", ..NOTHING }, false).ends_with("\"payload\":null}"));
}

#[test]
fn a_wrong_format_is_shown_with_its_place() {
    for (format, at) in
        [("%", 0), ("a%z", 2), ("\\", 0), ("ab\\q", 3), ("@", 0), ("%-", 0), ("%10", 0), ("%5.", 0)]
    {
        let error = format.parse::<Format>().unwrap_err();
        assert!(error.to_string().ends_with(&format!("\n  {format}\n  {}^", " ".repeat(at))), "{error}");
    }
    assert!("%5.t%5.5p%99999999999t".parse::<Format>().is_ok());
}
