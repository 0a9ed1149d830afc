//! What somebody meets who knows no more than the rustdoc: handles that are asked without waiting, servers that hang up
//! again and again, programs that end at once.

#![allow(clippy::unwrap_used, reason = "a test fails that way")]

mod common;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use common::{Relay, Server, soon};
use cork_client::*;

const CONNACK_5: &[u8] = b"\x20\x03\x00\x00\x00";

/// A server that does this with each connection, from another thread, until the test's process ends.
fn server(serve: impl Fn(usize, TcpStream) + Send + 'static) -> Options {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            serve(number, stream.unwrap());
        }
    });
    Options::new(&url).unwrap().version(Version::V5)
}

/// Reads the short CONNECT of these tests and lets the client in.
fn let_in(stream: &mut TcpStream) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    stream.read_exact(&mut vec![0; head[1].into()]).unwrap();
    stream.write_all(CONNACK_5).unwrap();
}

/// Asks without waiting, for some seconds at most.
async fn comes_true(what: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !what() && begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    what()
}

#[tokio::test]
async fn a_handle_that_is_only_asked_says_when_it_is_finished() {
    let server = Server::new();
    let relay = Relay::to(server.ports[0]).await;
    let client = soon(Client::connect(relay.options())).await.unwrap();
    relay.close();
    assert!(comes_true(|| !client.is_connected()).await);
    let mut handles = Vec::new();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        handles.push(soon(client.publish(Publish::new("a", "x").qos(qos))).await.unwrap());
    }
    assert!(handles.iter().all(|handle| !handle.is_finished()));
    relay.reopen();
    for handle in handles {
        assert!(comes_true(|| handle.is_finished()).await, "{handle:?}");
        soon(handle).await.unwrap();
    }
}

#[tokio::test]
async fn handles_are_finished_when_the_client_is_closed() {
    let options = server(|_, mut stream| {
        let_in(&mut stream);
        // Reads nothing more: what is large is not written in full.
        thread::sleep(Duration::from_secs(60));
    });
    let client = soon(Client::connect(options)).await.unwrap();
    let mut handles = Vec::new();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let large = Publish::new("a", vec![0; 10 << 20]).qos(qos);
        handles.push(soon(client.publish(large)).await.unwrap());
    }
    soon(client.disconnect()).await;
    for handle in handles {
        assert!(handle.is_finished(), "{handle:?}");
        assert!(soon(handle).await.is_err());
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_again_and_again_is_visited_less_and_less() {
    let (sender, visits) = mpsc::channel();
    let options = server(move |_, mut stream| {
        let_in(&mut stream);
        sender.send(Instant::now()).unwrap_or_default();
    });
    let slower = Reconnect { min: Duration::from_millis(20), max: Duration::from_secs(5), attempts: None };
    let client = soon(Client::connect(options.reconnect(slower))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(client);
    let visits: Vec<Instant> = visits.try_iter().collect();
    assert!((4..=12).contains(&visits.len()), "{} visits in three seconds", visits.len());
}

#[tokio::test]
async fn what_the_server_said_counts_more_than_how_the_writing_failed() {
    for _ in 0..5 {
        let options = server(|_, mut stream| {
            let_in(&mut stream);
            stream.read_exact(&mut [0; 5]).unwrap();
            stream.write_all(b"\xe0\x01\x95").unwrap();
        });
        let client = soon(Client::connect(options.reconnect(None))).await.unwrap();
        let mut events = client.events();
        soon(client.publish(Publish::new("a", vec![0; 15 << 20]).qos(QoS::AtLeastOnce))).await.unwrap();
        let why = loop {
            match soon(events.next()).await.unwrap() {
                Event::Disconnected(why) => break why,
                _ => continue,
            }
        };
        assert!(
            matches!(why, Disconnected::ByServer { reason: ReasonCode::PACKET_TOO_LARGE, .. }),
            "{why:?}"
        );
    }
}

#[test]
fn a_program_that_publishes_and_ends_has_published() {
    let server = Server::new();
    let listener = blocking::Client::connect(server.options()).unwrap();
    let mut all = listener.subscribe(Subscribe::new("a").qos(QoS::AtLeastOnce)).unwrap();
    let client = blocking::Client::connect(server.options()).unwrap();
    for n in 0..500 {
        let qos = if n % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        client.publish(Publish::new("a", n.to_string()).qos(qos)).unwrap();
    }
    client.flush().unwrap();
    client.disconnect();
    for n in 0..500 {
        let message = all.next_timeout(Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!(message.payload(), n.to_string().as_bytes());
    }
}

#[test]
fn a_blocking_program_can_number_its_messages() {
    let server = Server::new();
    let store = server.folder.join("store");
    let options = || server.options().client_id("numbers").session_expiry(60).store(FileStore::new(&store));
    let client = blocking::Client::connect(options()).unwrap();
    for n in 0..3 {
        assert_eq!(client.accepted(), n);
        client.publish(Publish::new("a", n.to_string()).qos(QoS::AtLeastOnce)).unwrap();
    }
    client.saved().unwrap();
    client.flush().unwrap();
    assert_eq!(client.unfinished(), 0);
    client.disconnect();
    let client = blocking::Client::connect(options()).unwrap();
    assert_eq!(client.accepted(), 3);
    client.disconnect();
}

#[test]
fn a_file_that_is_no_store_is_left_alone() {
    let server = Server::new();
    for text in ["my diary\n", "corkcl", ""] {
        let path = server.folder.join("diary");
        std::fs::write(&path, text).unwrap();
        let options = server.options().client_id("diary").store(FileStore::new(&path));
        let result = blocking::Client::connect(options);
        if text == "my diary\n" {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("diary"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        } else {
            result.unwrap().disconnect();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_subscriptions_and_dropped_futures() {
    let server = Server::new();
    let client = soon(Client::connect(server.options())).await.unwrap();
    let mut streams = Vec::new();
    for n in 0..3000 {
        let filter = format!("s/{n}");
        // Every third is given up at once or a moment later.
        if n % 3 == 0 {
            let wait = Duration::from_micros(n % 7 * 50);
            drop(tokio::time::timeout(wait, client.subscribe(filter.as_str())).await);
        } else {
            streams.push((n, soon(client.subscribe(filter.as_str())).await.unwrap()));
        }
        if n % 5 == 0 {
            let publish = client.publish(Publish::new("s/0", "x").qos(QoS::ExactlyOnce));
            drop(tokio::time::timeout(Duration::from_micros(n % 3 * 100), publish).await);
        }
    }
    for (n, stream) in &mut streams {
        soon(client.deliver(Publish::new(format!("s/{n}"), n.to_string()).qos(QoS::AtLeastOnce)))
            .await
            .unwrap();
        assert_eq!(soon(stream.next()).await.unwrap().payload(), n.to_string().as_bytes());
    }
    soon(client.flush()).await.unwrap();
    assert_eq!(client.unfinished(), 0);
}

#[tokio::test]
async fn one_message_under_way_at_a_time_is_enough() {
    let server = Server::with("[limits]\nreceive_maximum = 1");
    let client = soon(Client::connect(server.options().receive_maximum(1).buffer(1))).await.unwrap();
    let mut all = soon(client.subscribe(Subscribe::new("a").qos(QoS::ExactlyOnce))).await.unwrap();
    for n in 0..50 {
        soon(client.publish(Publish::new("a", n.to_string()).qos(QoS::ExactlyOnce))).await.unwrap();
    }
    for n in 0..50 {
        let message = soon(all.next()).await.unwrap();
        assert_eq!(message.payload(), n.to_string().as_bytes());
    }
    soon(client.flush()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_was_lost_at_once_was_a_connection() {
    for _ in 0..20 {
        let options = server(|_, mut stream| let_in(&mut stream));
        let seldom = Reconnect { min: Duration::from_secs(60), max: Duration::from_secs(60), attempts: None };
        soon(Client::connect(options.reconnect(seldom))).await.unwrap();
    }
}

#[tokio::test]
async fn the_store_is_free_when_the_client_has_ended() {
    let server = Server::new();
    let store = FileStore::new(server.folder.join("store")).durable(true);
    for n in 0..20 {
        let options = server.options().client_id("again").session_expiry(60).store(store.clone());
        let client = soon(Client::connect(options)).await.unwrap();
        assert!(client.accepted() >= n);
        soon(client.publish(Publish::new("a", "x").qos(QoS::AtLeastOnce))).await.unwrap();
        soon(client.disconnect()).await;
    }
}
