//! Clients that go away in the middle, send slowly, or send what nobody asked for.
#![forbid(unsafe_code)]

mod support;

use std::{
    io::{Read as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use support::{ADMIN, PASSWORD, Served, VIEWER, answer, until};

#[test]
fn a_login_whose_client_goes_away_locks_nobody_out() {
    let served = Served::closed();
    for number in 0..4 {
        let body = format!("{{\"user\":\"x{number}\",\"password\":\"y\"}}");
        served.ask_and_go("POST", "/api/v1/session", "", &body);
        thread::sleep(Duration::from_millis(50));
    }
    // As long as the passwords are being checked others have to wait, and no longer.
    until("a login", || served.try_login(ADMIN, PASSWORD).status == 200);
}

#[test]
fn a_change_whose_client_goes_away_is_noted_all_the_same() {
    let served = Served::closed();
    let headers = served.log_in(ADMIN, PASSWORD);
    let token = ("POST", "tokens", "", "{\"name\":\"one\",\"role\":\"admin\"}", "make token");
    let filter = ("PUT", "filters", "/warm", "{\"when\":\"number > 15\"}", "set filter");
    let board = ("PUT", "boards", "/b", "{\"name\":\"b\",\"content\":{},\"revision\":0}", "save board");
    for (method, path, name, body, action) in [token, filter, board] {
        until(path, || {
            // Who goes away before it is read has asked for nothing.
            served.ask_and_go(method, &format!("/api/v1/{path}{name}"), &headers, body);
            let items = served.ask("GET", &format!("/api/v1/{path}"), &headers, "").json()["items"].clone();
            items.as_array().is_some_and(|items| !items.is_empty())
        });
        until(action, || served.ask("GET", "/api/v1/audit", &headers, "").body.contains(action));
    }
}

#[test]
fn a_body_that_does_not_come_ends_its_connection() {
    let served = Served::closed();
    let head = "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let begun = Instant::now();
    let mut slow = served.connect();
    slow.write_all(head.as_bytes()).unwrap();
    let told = answer(&mut slow);
    assert_eq!((told.status, told.code().as_str()), (408, "too-slow"));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_stranger_has_no_long_body_kept_for_it() {
    let served = Served::closed();
    let long = format!("{{\"user\":\"x\",\"password\":\"{}\"}}", "y".repeat(100_000));
    assert_eq!(served.ask("POST", "/api/v1/session", "", &long).status, 413);
    let headers = served.log_in(VIEWER, PASSWORD);
    let long = format!("{{\"topic\":\"x\",\"payload\":\"{}\"}}", "y".repeat(3_000_000));
    assert_eq!(served.ask("POST", "/api/v1/publish", &headers, &long).status, 200);
}

#[test]
fn a_websocket_takes_nothing_long_from_its_client() {
    let served = Served::open();
    let mut socket = served.connect();
    let upgrade = format!(
        "GET /api/v1/messages?filter=nothing HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        served.address
    );
    socket.write_all(upgrade.as_bytes()).unwrap();
    let mut first = [0; 1024];
    let length = socket.read(&mut first).unwrap();
    assert!(first[..length].starts_with(b"HTTP/1.1 101"));
    // The first fragment of a text that never ends, and more and more of it.
    let mut sent = 0_u32;
    for number in 0..1000 {
        let opcode = u8::from(number == 0);
        let mut frame = vec![opcode, 0x80 | 126];
        frame.extend(1024_u16.to_be_bytes());
        frame.extend([0; 4]);
        frame.resize(frame.len() + 1024, b'a');
        if socket.write_all(&frame).is_err() {
            break;
        }
        sent += 1;
        thread::sleep(Duration::from_millis(1));
    }
    assert!(sent < 1000, "a megabyte was taken");
}
