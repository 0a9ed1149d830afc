//! What is refused, and what the refusal says.
#![forbid(unsafe_code)]

mod support;

use serde_json::{Value, json};
use support::{ADMIN, PASSWORD, Served, VIEWER};

#[test]
fn a_property_that_is_too_long_is_refused() {
    let served = Served::open();
    let long = "x".repeat(65_536);
    let data = "eHh4".repeat(21_846);
    for properties in [
        format!("{{\"content_type\":\"{long}\"}}"),
        format!("{{\"response_topic\":\"{long}\"}}"),
        format!("{{\"correlation_data\":\"{data}\"}}"),
        format!("{{\"user\":[[\"{long}\",\"b\"]]}}"),
        format!("{{\"user\":[[\"a\",\"{long}\"]]}}"),
        "{\"content_type\":\"a\\u0000b\"}".to_owned(),
    ] {
        let body = format!("{{\"topic\":\"a\",\"properties\":{properties}}}");
        let answer = served.ask("POST", "/api/v1/publish", "", &body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad-request"), "{}", &properties[..20]);
    }
}

#[test]
fn a_wrong_or_missing_key_is_named() {
    let served = Served::open();
    for (path, body, said) in [
        ("publish", "{\"topic\":\"a\",\"retained\":true}", "unknown field `retained`"),
        ("publish", "{\"payload\":\"a\"}", "missing field `topic`"),
        ("publish", "[{\"topic\":\"a\"},{\"topic\":\"a\",\"qoss\":1}]", "message 1: unknown field `qoss`"),
        ("publish", "7", "an object, or a list of objects"),
        ("request", "{\"topic\":\"a\",\"timeout\":1}", "unknown field `timeout`"),
    ] {
        let answer = served.ask("POST", &format!("/api/v1/{path}"), "", body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains(said), "{body}: {}", answer.body);
    }
    let done = served.ask("POST", "/api/v1/publish", "", "[{\"topic\":\"a\"}]").json();
    assert_eq!(done["results"][0]["reason_code"], 0);
}

#[test]
fn a_path_that_is_no_text_is_a_problem() {
    let served = Served::open();
    for path in ["/api/v1/users/caf%FF", "/api/v1/sessions/%C3%28"] {
        let answer = served.ask("DELETE", path, "", "");
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad-request"));
        assert!(answer.head.contains("application/problem+json"));
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    let served = Served::closed();
    let body = format!("{{\"user\":\"{ADMIN}\",\"password\":\"{PASSWORD}\"}}");
    let proxied = served.ask("POST", "/api/v1/session", "Origin: https://mqtt.example\r\n", &body);
    assert_eq!((proxied.status, proxied.code().as_str()), (403, "cross-origin"));
    assert!(proxied.body.contains("pass on the header `Host`"), "{}", proxied.body);
    let headers = served.log_in(ADMIN, PASSWORD);
    let cookie = headers.lines().next().unwrap();
    let other = format!("{cookie}\r\nX-Csrf-Token: of-another-login\r\n");
    let refused = served.ask("POST", "/api/v1/publish", &other, "{\"topic\":\"a\"}");
    assert_eq!((refused.status, refused.code().as_str()), (403, "csrf"));
    assert!(refused.body.contains("another login"), "{}", refused.body);
}

#[test]
fn a_user_whose_name_no_path_can_carry_is_named_in_the_body() {
    let served = Served::closed();
    let headers = served.log_in(ADMIN, PASSWORD);
    let post =
        |path: &str, body: Value| served.ask("POST", &format!("/api/v1/{path}"), &headers, &body.to_string());
    let has = |name: &str| {
        let users = served.ask("GET", "/api/v1/users", &headers, "").json();
        users["items"].as_array().expect("a list").iter().any(|user| user["user"] == name)
    };
    for name in [".", "..", "../..", "a/b", "a b?c#d%2F"] {
        let made = post("user", json!({ "user": name, "password": "x", "groups": ["viewer"] }));
        assert_eq!((made.status, &made.json()["user"]), (201, &json!(name)));
        assert_eq!(served.try_login(name, "x").json()["role"], "viewer");
        let changed = post("user", json!({ "user": name, "groups": [] }));
        assert_eq!((changed.status, &changed.json()["role"]), (200, &Value::Null));
        assert!(has(name));
        assert_eq!(post("user/delete", json!({ "user": name })).status, 204);
        assert!(!has(name));
        assert_eq!(post("user/delete", json!({ "user": name })).status, 404);
    }
    let by_hand = post("user/delete", json!({ "user": VIEWER }));
    assert_eq!((by_hand.status, by_hand.code().as_str()), (409, "conflict"));
    let headers = served.log_in(VIEWER, PASSWORD);
    let body = "{\"user\":\"..\",\"password\":\"x\"}";
    assert_eq!(served.ask("POST", "/api/v1/user", &headers, body).status, 403);
    assert_eq!(served.ask("POST", "/api/v1/user/delete", &headers, "{\"user\":\"..\"}").status, 403);
}
