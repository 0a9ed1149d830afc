//! Session state, transport, storing: sections 4.1, 4.2, 4.5.

use std::{
    io::{IoSlice, Read, Write},
    time::Duration,
};

use cork_conform::{
    Lab,
    wire::{self, Connect, V5},
};
use cork_net::{Stream, Transport, bind};

use crate::common::{PUBREL, acks_of, publish, publish_done, resume, subscribe, take_all};

#[test]
fn mqtt5_4_1_0_1_session_state_stays_while_the_connection_is_open() {
    for expiry in [0u32, 1, 60, u32::MAX] {
        let mut lab = Lab::new();
        let mut connect = Connect::new(V5, "a");
        connect.properties = [&[0x11][..], &expiry.to_be_bytes()].concat();
        let client = lab.connect_with(V5, &connect);
        subscribe(&mut lab, client, "t", 2);
        let publisher = lab.connect(V5, "p");
        publish_done(&mut lab, publisher, "t", 2, b"x");
        let sent = lab.publishes(client);
        // A year, and more than any Session Expiry Interval of this client but the last.
        lab.advance(Duration::from_secs(365 * 86_400));
        lab.send(client, &wire::ack(crate::common::PUBREC, sent[0].id.unwrap()));
        let released = acks_of(&mut lab, client, PUBREL);
        assert!(released.iter().any(|ack| ack.reason == 0), "the flight, expiry {expiry}");
        publish_done(&mut lab, publisher, "t", 0, b"y");
        assert_eq!(lab.payloads(client), [b"y".to_vec()], "the subscription, expiry {expiry}");
    }
}

#[test]
fn mqtt5_4_1_0_2_session_state_is_discarded_once_its_time_is_over() {
    for (expiry, wait) in [(0u32, 0), (0, 5), (10, 11), (3600, 3601)] {
        for by in ["cut", "disconnect"] {
            let mut lab = Lab::new();
            let mut connect = Connect { clean: false, ..Connect::new(V5, "a") };
            connect.properties = [&[0x11][..], &expiry.to_be_bytes()].concat();
            let client = lab.connect_with(V5, &connect);
            subscribe(&mut lab, client, "t", 1);
            if by == "disconnect" {
                lab.send(client, &wire::disconnect());
            }
            lab.cut(client);
            let publisher = lab.connect(V5, "p");
            publish_done(&mut lab, publisher, "t", 1, b"queued");
            lab.advance(Duration::from_secs(wait));
            let client = lab.connect_with(V5, &connect);
            publish_done(&mut lab, publisher, "t", 1, b"live");
            assert!(lab.payloads(client).is_empty(), "expiry {expiry}, after {wait} s, {by}");
        }
    }
}

#[test]
fn mqtt5_4_2_1_tcp_carries_the_bytes_in_order_and_without_loss() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (tcp, peer) = loop {
        match listener.accept() {
            Ok(accepted) => break accepted,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    };
    let mut stream = Stream::new(tcp, peer, Transport::Tcp);
    let sent: Vec<u8> = (0..10_000u32).flat_map(u32::to_be_bytes).collect();
    client.write_all(&sent).unwrap();
    let (mut buffer, mut heard) = (vec![0; 1000], Vec::new());
    while heard.len() < sent.len() {
        stream.read(&mut buffer, &mut |bytes| heard.extend_from_slice(bytes)).unwrap();
    }
    assert!(heard == sent, "to the server");
    let mut rest = sent.as_slice();
    let mut back = Vec::new();
    while back.len() < sent.len() {
        let took = stream.write(&[IoSlice::new(rest)]).unwrap();
        rest = &rest[took..];
        let mut piece = vec![0; took];
        client.read_exact(&mut piece).unwrap();
        back.extend(piece);
    }
    assert!(back == sent, "to the client");
}

#[test]
fn mqtt5_4_5_0_1_a_message_is_added_to_the_sessions_of_all_subscribers() {
    for shards in 1..4 {
        for qos in [1, 2] {
            let mut lab = Lab::with(|config| config.shards = shards);
            let names: Vec<String> = (0..9).map(|n| format!("away{n}")).collect();
            for (n, name) in names.iter().enumerate() {
                let client = resume(&mut lab, name);
                subscribe(&mut lab, client, ["t", "+", "#"][n % 3], 2);
                lab.cut(client);
            }
            let publisher = lab.connect(V5, "p");
            for n in 0..3 {
                publish(&mut lab, publisher, "t", qos, n + 1, &n.to_be_bytes());
            }
            for name in &names {
                let client = resume(&mut lab, name);
                let got: Vec<_> = take_all(&mut lab, client).into_iter().map(|p| p.payload).collect();
                for n in 0..3u16 {
                    assert!(got.contains(&n.to_be_bytes().to_vec()), "{name} at QoS {qos}, {shards} shards");
                }
            }
        }
    }
}
