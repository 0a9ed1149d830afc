//! How long a login or a token is good for something, and what a ban takes away.
#![forbid(unsafe_code)]

mod support;

use std::{
    io::Read as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use support::{ADMIN, PASSWORD, Served, VIEWER, until};

/// Whether a stream comes to its end soon.
fn ends(mut socket: TcpStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
    let (begun, mut bytes) = (Instant::now(), [0; 4096]);
    while begun.elapsed() < Duration::from_secs(5) {
        match socket.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// All that goes on for longer than a request.
const STREAMS: [&str; 5] = [
    "/api/v1/messages?filter=a",
    "/api/v1/messages?filter=%23&interval=2000",
    "/api/v1/overview/stream",
    "/api/v1/log/stream",
    "/api/v1/trace?client_id=x",
];

#[test]
fn streams_end_with_their_login() {
    let served = Served::closed();
    let headers = served.log_in(ADMIN, PASSWORD);
    let other = served.log_in(ADMIN, PASSWORD);
    let streams = STREAMS.map(|path| served.stream(path, &headers));
    let stays = served.stream("/api/v1/messages?filter=a", &other);
    assert_eq!(served.ask("DELETE", "/api/v1/session", &headers, "").status, 204);
    for (path, stream) in STREAMS.into_iter().zip(streams) {
        assert!(ends(stream), "{path}");
    }
    assert!(!ends(stays));
}

#[test]
fn streams_end_with_their_token() {
    let served = Served::closed();
    let admin = served.log_in(ADMIN, PASSWORD);
    let (deleted, id) = served.token(&admin, "\"role\":\"admin\"");
    let (short, _) = served.token(&admin, "\"role\":\"admin\",\"seconds\":2");
    let streams = [&deleted, &short].map(|headers| served.stream("/api/v1/messages?filter=a", headers));
    assert_eq!(served.ask("DELETE", &format!("/api/v1/tokens/{id}"), &admin, "").status, 204);
    assert!(streams.into_iter().all(ends));
    assert_eq!(served.ask("GET", "/api/v1/overview", &short, "").status, 401);
}

#[test]
fn a_user_made_anew_has_nothing_of_the_one_before() {
    let served = Served::closed();
    let admin = served.log_in(ADMIN, PASSWORD);
    let make = "{\"password\":\"pw\",\"groups\":[\"admin\"]}";
    assert_eq!(served.ask("PUT", "/api/v1/users/carl", &admin, make).status, 201);
    let cookie = served.log_in("carl", PASSWORD);
    let (token, _) = served.token(&cookie, "\"role\":\"admin\"");
    for headers in [&cookie, &token] {
        assert_eq!(served.ask("GET", "/api/v1/overview", headers, "").status, 200);
    }
    assert_eq!(served.ask("DELETE", "/api/v1/users/carl", &admin, "").status, 204);
    assert_eq!(served.ask("PUT", "/api/v1/users/carl", &admin, make).status, 201);
    for headers in [&cookie, &token] {
        assert_eq!(served.ask("GET", "/api/v1/overview", headers, "").status, 401);
    }
    let tokens = served.ask("GET", "/api/v1/tokens", &admin, "").json();
    assert_eq!(tokens["items"].as_array().map(Vec::len), Some(0));
}

#[test]
fn another_password_ends_the_other_logins() {
    let served = Served::closed();
    let admin = served.log_in(ADMIN, PASSWORD);
    let make = "{\"password\":\"pw\",\"groups\":[\"admin\"]}";
    served.ask("PUT", "/api/v1/users/carl", &admin, make);
    let (lost, own) = (served.log_in("carl", PASSWORD), served.log_in("carl", PASSWORD));
    let (token, _) = served.token(&own, "\"role\":\"viewer\"");
    assert_eq!(served.ask("PUT", "/api/v1/users/carl", &own, "{\"password\":\"new\"}").status, 200);
    for (headers, status) in [(&lost, 401), (&own, 200), (&token, 200)] {
        assert_eq!(served.ask("GET", "/api/v1/overview", headers, "").status, status);
    }
}

#[test]
fn who_is_removed_by_hand_loses_the_tokens_too() {
    let served = Served::closed();
    let (token, _) = served.token(&served.log_in(ADMIN, PASSWORD), "\"role\":\"admin\"");
    let passwords = served.folder.join("passwords");
    let set =
        |user: &str| cork_access::passwd::set_password(&passwords, user, b"pw", false).expect("it is set");
    cork_access::passwd::delete_user(&passwords, ADMIN).expect("it is removed");
    served.reload();
    until("no tokens", || {
        let kept = std::fs::read_to_string(served.folder.join("data/managed.toml"));
        kept.is_ok_and(|kept| !kept.contains("hash"))
    });
    set(ADMIN);
    served.reload();
    assert_eq!(served.ask("GET", "/api/v1/overview", &token, "").status, 401);
}

#[test]
fn who_is_banned_stays_out_of_everything() {
    let served = Served::closed();
    let (admin, viewer) = (served.log_in(ADMIN, PASSWORD), served.log_in(VIEWER, PASSWORD));
    let streams =
        ["/api/v1/messages?filter=a", "/api/v1/messages?filter=%23&interval=2000", "/api/v1/overview/stream"]
            .map(|path| served.stream(path, &viewer));
    let ban = format!("{{\"user\":\"{VIEWER}\"}}");
    assert_eq!(served.ask("PUT", "/api/v1/bans", &admin, &ban).status, 200);
    assert!(streams.into_iter().all(ends));
    let publication = "{\"topic\":\"a\"}";
    for (method, path, body) in [
        ("GET", "/api/v1/overview", ""),
        ("GET", "/api/v1/retained?filter=%23", ""),
        ("GET", "/api/v1/messages?filter=%23&interval=1000", ""),
        ("GET", "/metrics", ""),
        ("POST", "/api/v1/publish", publication),
    ] {
        let answer = served.ask(method, path, &viewer, body);
        assert_eq!((answer.status, answer.code().as_str()), (403, "banned"), "{path}");
    }
    let answer = served.try_login(VIEWER, PASSWORD);
    assert_eq!((answer.status, answer.code().as_str()), (403, "banned"));
    assert_eq!(served.try_login(VIEWER, "wrong").code(), "login-failed");
    assert_eq!(served.ask("DELETE", &format!("/api/v1/bans?user={VIEWER}"), &admin, "").status, 204);
    assert_eq!(served.ask("GET", "/api/v1/overview", &viewer, "").status, 200);
}

#[test]
fn nobody_bans_themselves() {
    let served = Served::closed();
    let admin = served.log_in(ADMIN, PASSWORD);
    let own = served.ask("PUT", "/api/v1/bans", &admin, &format!("{{\"user\":\"{ADMIN}\"}}"));
    assert_eq!((own.status, own.code().as_str()), (409, "conflict"));
    // Clients on the broker's own machine can be kept out, and the way back stays.
    assert_eq!(served.ask("PUT", "/api/v1/bans", &admin, "{\"address\":\"127.0.0.1\"}").status, 200);
    assert_eq!(served.ask("GET", "/api/v1/overview", &admin, "").status, 200);
}

#[test]
fn ones_own_login_does_not_clear_guesses_at_others() {
    let served = Served::closed();
    let mut refused = 0;
    for _ in 0..4 {
        for _ in 0..2 {
            refused += u32::from(served.try_login(ADMIN, "guess").status == 429);
        }
        refused += u32::from(served.try_login(VIEWER, PASSWORD).status == 429);
    }
    assert!(refused > 0, "eight guesses, and no wait");
}

#[test]
fn ones_own_typing_errors_are_forgiven() {
    let served = Served::closed();
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(served.try_login(VIEWER, "typo").status, 401);
        }
        assert_eq!(served.try_login(VIEWER, PASSWORD).status, 200);
    }
}

#[test]
fn tokens_that_are_over_make_room() {
    let served = Served::closed();
    let admin = served.log_in(ADMIN, PASSWORD);
    served.token(&admin, "\"role\":\"viewer\",\"seconds\":1");
    let (_, stays) = served.token(&admin, "\"role\":\"viewer\"");
    std::thread::sleep(Duration::from_millis(1500));
    let (_, new) = served.token(&admin, "\"role\":\"viewer\"");
    let tokens = served.ask("GET", "/api/v1/tokens", &admin, "").json();
    let ids: Vec<&str> =
        tokens["items"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [stays.as_str(), &new]);
}
