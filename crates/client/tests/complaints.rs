//! What users of other client libraries complain about in their trackers; see docs/client.md for the threads.

#![allow(clippy::unwrap_used, reason = "a test fails that way")]

mod common;

use std::time::Duration;

use common::{Relay, Server, soon};
use cork_client::*;

/// A publication with a number.
fn numbered(topic: &str, n: u32, qos: QoS) -> Publish {
    Publish::new(topic, n.to_string()).qos(qos)
}

fn number(message: &Message) -> u32 {
    str::from_utf8(message.payload()).unwrap().parse().unwrap()
}

#[tokio::test]
async fn publishing_from_the_loop_that_reads_never_blocks() {
    let server = Server::new();
    for (from, to) in [(QoS::AtMostOnce, QoS::AtLeastOnce), (QoS::AtLeastOnce, QoS::ExactlyOnce)] {
        let options = server.options().buffer(4).queue(4, 1000).inflight_max(4);
        let client = soon(Client::connect(options)).await.unwrap();
        let mut questions = soon(client.subscribe(Subscribe::new("q").qos(from))).await.unwrap();
        let mut answers = soon(client.subscribe(Subscribe::new("a").qos(to))).await.unwrap();
        let source = soon(Client::connect(server.options())).await.unwrap();
        for n in 0..20 {
            soon(source.publish(numbered("q", n, from))).await.unwrap();
        }
        for _ in 0..20 {
            let question = soon(questions.next()).await.unwrap();
            soon(client.deliver(numbered("a", number(&question), to))).await.unwrap();
        }
        for n in 0..20 {
            assert_eq!(number(&soon(answers.next()).await.unwrap()), n);
        }
    }
}

#[tokio::test]
async fn publishing_under_heavy_load_from_the_loop_that_reads_never_blocks() {
    let server = Server::new();
    let client =
        soon(Client::connect(server.options().buffer(8).inflight_max(8).queue(8, 1000))).await.unwrap();
    let mut events = client.events();
    let mut questions = soon(client.subscribe(Subscribe::new("q").qos(QoS::AtMostOnce))).await.unwrap();
    let source = soon(Client::connect(server.options())).await.unwrap();
    for n in 0..5000 {
        soon(source.publish(numbered("q", n, QoS::AtMostOnce))).await.unwrap();
    }
    soon(source.flush()).await.unwrap();
    let (mut read, mut last) = (0, None);
    while let Ok(Some(question)) = tokio::time::timeout(Duration::from_millis(500), questions.next()).await {
        assert!(last < Some(number(&question)));
        last = Some(number(&question));
        read += 1;
        soon(client.deliver(numbered("a", 0, QoS::AtLeastOnce))).await.unwrap();
    }
    // What was dropped is QoS 0, and it was told.
    let mut dropped = 0;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(10), events.next()).await {
        if let Event::Dropped(count) = event {
            dropped += count;
        }
    }
    assert!(read > 0 && read + dropped <= 5000, "{read} {dropped}");
}

#[tokio::test]
async fn a_stream_that_is_not_read_stops_the_reading_and_loses_nothing() {
    let server = Server::with("[limits]\nqueue_qos0 = true");
    let client = soon(Client::connect(server.options().buffer(16))).await.unwrap();
    let mut slow = soon(client.subscribe(Subscribe::new("q").qos(QoS::AtLeastOnce))).await.unwrap();
    let source = soon(Client::connect(server.options())).await.unwrap();
    for n in 0..20_000 {
        soon(source.publish(numbered("q", n, QoS::AtLeastOnce))).await.unwrap();
    }
    soon(source.flush()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for n in 0..20_000 {
        assert_eq!(number(&soon(slow.next()).await.unwrap()), n);
    }
}

#[tokio::test]
async fn a_full_queue_says_so_and_gives_the_message_back() {
    let server = Server::new();
    let relay = Relay::to(*server.ports.last().unwrap()).await;
    let client = soon(Client::connect(relay.options().queue(3, 1000))).await.unwrap();
    relay.close();
    let mut events = client.events();
    while !matches!(soon(events.next()).await, Some(Event::Reconnecting(_))) {}
    let handles: Vec<_> =
        (0..3).map(|n| client.try_publish(numbered("a", n, QoS::AtLeastOnce)).unwrap()).collect();
    let Err(PublishError::Full(back)) = client.try_publish(numbered("a", 9, QoS::AtLeastOnce)) else {
        panic!("a fourth fits")
    };
    assert_eq!(back.payload(), "9");
    let waiting = tokio::time::timeout(Duration::from_millis(50), client.publish(*back));
    assert!(waiting.await.is_err(), "publish does not wait");
    relay.reopen();
    for handle in handles {
        soon(handle).await.unwrap();
    }
}

#[tokio::test]
async fn an_expired_message_is_not_sent_after_a_reconnection() {
    let server = Server::new();
    let relay = Relay::to(*server.ports.last().unwrap()).await;
    let client = soon(Client::connect(relay.options())).await.unwrap();
    relay.close();
    let mut events = client.events();
    while !matches!(soon(events.next()).await, Some(Event::Reconnecting(_))) {}
    let stale = soon(client.publish(numbered("a", 0, QoS::AtLeastOnce).expiry(1))).await.unwrap();
    let fresh = soon(client.publish(numbered("a", 1, QoS::AtLeastOnce).expiry(60))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    relay.reopen();
    assert!(matches!(soon(stale).await, Err(PublishError::Expired)));
    soon(fresh).await.unwrap();
}

#[tokio::test]
async fn nothing_is_lost_and_qos_2_never_doubled_when_the_connection_is_cut() {
    let server = Server::new();
    let relay = Relay::to(*server.ports.last().unwrap()).await;
    for version in [Version::V5, Version::V311] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let options =
                || relay.options().version(version).session_expiry(600).clean_start(version == Version::V5);
            let id = format!("{version:?}{qos:?}");
            let sender = soon(Client::connect(options().client_id(format!("s{id}")))).await.unwrap();
            let receiver = soon(Client::connect(options().client_id(format!("r{id}")))).await.unwrap();
            let mut messages = soon(receiver.subscribe(Subscribe::new(id.as_str()).qos(qos))).await.unwrap();
            let topic = id.clone();
            let publishing = async {
                for n in 0..3000 {
                    if n % 500 == 250 {
                        relay.cut();
                    }
                    sender.publish(numbered(&topic, n, qos)).await.unwrap();
                    tokio::task::yield_now().await;
                }
                sender.flush().await.unwrap();
            };
            let reading = async {
                let mut seen = vec![0; 3000];
                while seen.contains(&0) {
                    seen[number(&messages.next().await.unwrap()) as usize] += 1;
                }
                seen
            };
            let (seen, ()) = soon(async { tokio::join!(reading, publishing) }).await;
            if qos == QoS::ExactlyOnce {
                assert!(seen.iter().all(|times| *times == 1), "{version:?}: {seen:?}");
            }
            soon(sender.disconnect()).await;
        }
    }
}

#[tokio::test]
async fn subscriptions_come_back_when_the_server_lost_the_session() {
    let server = Server::new();
    let relay = Relay::to(*server.ports.last().unwrap()).await;
    let client = soon(Client::connect(relay.options())).await.unwrap();
    let mut messages = soon(client.subscribe("a/+")).await.unwrap();
    let mut events = client.events();
    relay.cut();
    assert!(matches!(soon(events.next()).await, Some(Event::Disconnected(_))));
    while !matches!(soon(events.next()).await, Some(Event::Connected(connected)) if !connected.session_present)
    {
    }
    soon(client.deliver(numbered("a/b", 7, QoS::AtLeastOnce))).await.unwrap();
    assert_eq!(number(&soon(messages.next()).await.unwrap()), 7);
}

#[tokio::test]
async fn futures_that_are_dropped_leave_nothing_behind() {
    let server = Server::new();
    let client = soon(Client::connect(server.options())).await.unwrap();
    for _ in 0..50 {
        let subscribing = client.subscribe("a/#");
        drop(tokio::time::timeout(Duration::ZERO, subscribing).await);
    }
    let mut messages = soon(client.subscribe("a/#")).await.unwrap();
    for n in 0..50 {
        drop(soon(client.publish(numbered("a/b", n, QoS::ExactlyOnce))).await.unwrap());
        drop(tokio::time::timeout(Duration::ZERO, messages.next()).await);
    }
    soon(client.flush()).await.unwrap();
    // A message that `next` handed out goes with its future; all others are there.
    soon(client.deliver(numbered("a/b", 50, QoS::ExactlyOnce))).await.unwrap();
    while number(&soon(messages.next()).await.unwrap()) != 50 {}
}

#[tokio::test]
async fn dropping_the_client_says_goodbye_and_errors_say_who_ended_it() {
    let server = Server::new();
    let watcher = soon(Client::connect(server.options())).await.unwrap();
    let mut wills = soon(watcher.subscribe("will")).await.unwrap();
    let options = || server.options().client_id("x").will(Publish::new("will", "x"));
    drop(soon(Client::connect(options())).await.unwrap());
    let first = soon(Client::connect(options())).await.unwrap();
    let mut events = first.events();
    let second = soon(Client::connect(server.options().client_id("x"))).await.unwrap();
    // Only the one that was taken over leaves its Will.
    assert_eq!(soon(wills.next()).await.unwrap().payload(), "x");
    let Some(Event::Disconnected(Disconnected::ByServer { reason, .. })) = soon(events.next()).await else {
        panic!("not by the server")
    };
    assert_eq!(reason, ReasonCode::SESSION_TAKEN_OVER);
    assert!(matches!(soon(first.publish(Publish::new("a", ""))).await, Err(PublishError::Closed)));
    soon(second.disconnect()).await;
    assert!(wills.try_next().is_none());
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let server = Server::new();
    let relay = Relay::to(*server.ports.last().unwrap()).await;
    let options = relay.options().manual_acks(true).client_id("m").session_expiry(60);
    let client = soon(Client::connect(options)).await.unwrap();
    let mut messages = soon(client.subscribe(Subscribe::new("m").qos(QoS::AtLeastOnce))).await.unwrap();
    for n in 0..3 {
        soon(client.deliver(numbered("m", n, QoS::AtLeastOnce))).await.unwrap();
    }
    let first = soon(messages.next()).await.unwrap();
    drop(soon(messages.next()).await.unwrap());
    first.ack();
    soon(messages.next()).await.unwrap().ack();
    tokio::time::sleep(Duration::from_millis(100)).await; // the first PUBACK travels
    relay.cut();
    // 2 was acknowledged, but its PUBACK has to wait for that of 1.
    for n in [1, 2] {
        let message = soon(messages.next()).await.unwrap();
        assert!(message.dup());
        assert_eq!(number(&message), n);
        message.ack();
    }
}

#[test]
fn a_blocking_client_waits_on_its_callers_thread() {
    let server = Server::new();
    let client = blocking::Client::connect(server.options()).unwrap();
    let mut messages = client.subscribe("b").unwrap();
    assert_eq!(messages.next_timeout(Duration::from_millis(20)).unwrap_err(), blocking::Timeout);
    for n in 0..100 {
        client.publish(numbered("b", n, QoS::AtLeastOnce)).unwrap();
    }
    client.flush().unwrap();
    let got: Vec<u32> = messages.by_ref().take(100).map(|message| number(&message)).collect();
    assert_eq!(got, (0..100).collect::<Vec<_>>());
    client.deliver(numbered("b", 100, QoS::ExactlyOnce)).unwrap();
    let error = client.request(Publish::new("q", "").qos(QoS::AtLeastOnce), Duration::from_secs(5));
    assert!(matches!(error, Err(RequestError::NobodyListens)), "{error:?}");
    client.disconnect();
    assert_eq!(messages.count(), 1);
}

#[tokio::test]
async fn questions_are_answered() {
    let server = Server::new();
    let lamp = soon(Client::connect(server.options())).await.unwrap();
    let mut questions = soon(lamp.subscribe("lamp/get")).await.unwrap();
    let answering = tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let answer = question.reply(format!("{} on", number(&question))).unwrap();
            lamp.publish(answer).await.unwrap();
        }
    });
    let client = soon(Client::connect(server.options())).await.unwrap();
    let requester = soon(client.requester()).await.unwrap();
    for n in 0..10 {
        let question = numbered("lamp/get", n, QoS::AtLeastOnce);
        let answer = soon(requester.request(question, Duration::from_secs(5))).await.unwrap();
        assert_eq!(answer.payload(), format!("{n} on").as_bytes());
    }
    let late = requester.request(Publish::new("lamp/off", ""), Duration::from_millis(30));
    assert!(matches!(soon(late).await, Err(RequestError::Timeout)));
    let old = soon(Client::connect(server.options().version(Version::V311))).await.unwrap();
    assert!(matches!(soon(old.requester()).await, Err(RequestError::NotSupported)));
    answering.abort();
}
