//! What can stand below MQTT, against a broker in the same program.
#![allow(clippy::unwrap_used, reason = "a test fails that way")]

mod common;

use common::{Certificates, Server, soon};
use std::sync::{Arc, Mutex};

use cork_client::*;

/// One message there and back, larger than a frame or record.
async fn works(options: Options) {
    let client = soon(Client::connect(options)).await.unwrap();
    let mut messages = soon(client.subscribe("t")).await.unwrap();
    let payload: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
    for _ in 0..3 {
        soon(client.deliver(Publish::new("t", payload.clone()).qos(QoS::AtLeastOnce))).await.unwrap();
        assert_eq!(soon(messages.next()).await.unwrap().payload(), &payload);
    }
    soon(client.disconnect()).await;
}

fn to(scheme: &str, port: u16) -> Options {
    Options::new(&format!("{scheme}://127.0.0.1:{port}")).unwrap()
}

#[tokio::test]
async fn unix_sockets_and_websockets() {
    let server = Server::with("[[listener]]\nurl = 'unix://@/s'\n[[listener]]\nurl = 'ws://127.0.0.1:0'");
    works(Options::new(&format!("unix://{}/s", server.folder.display())).unwrap()).await;
    works(to("ws", server.ports[0])).await;
    works(to("ws", server.ports[0]).version(Version::V311)).await;
    let error = soon(Client::connect(to("ws", *server.ports.last().unwrap()))).await.unwrap_err();
    assert!(matches!(error, ConnectError::WebSocket { .. }), "{error:?}");
}

#[tokio::test]
async fn tls_with_and_without_client_certificate() {
    let ours = Certificates::new("broker");
    let lamp = Certificates::new("lamp");
    // What `openssl req -x509` makes.
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let own_key = rcgen::KeyPair::generate().unwrap();
    let own = params.self_signed(&own_key).unwrap().pem();
    let listeners = "[[listener]]\nurl = 'mqtts://127.0.0.1:0'\ntls = { cert = '@/cert', key = '@/key' }\n\
        [[listener]]\nurl = 'wss://127.0.0.1:0'\ntls = { cert = '@/cert', key = '@/key' }\n\
        [[listener]]\nurl = 'mqtts://127.0.0.1:0'\ntls = { cert = '@/cert', key = '@/key', client_ca = '@/lamp' }\n\
        [[listener]]\nurl = 'mqtts://127.0.0.1:0'\ntls = { cert = '@/own', key = '@/own.key' }";
    let server = Server::prepared(listeners, |folder| {
        for (name, text) in [("cert", &ours.certificate), ("key", &ours.key), ("lamp", &lamp.ca)] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        std::fs::write(folder.join("own"), &own).unwrap();
        std::fs::write(folder.join("own.key"), own_key.serialize_pem()).unwrap();
    });
    let trusting = Tls::new().ca_pem(ours.ca.as_bytes());
    works(to("mqtts", server.ports[0]).tls(trusting.clone())).await;
    works(to("wss", server.ports[1]).tls(trusting.clone())).await;
    works(to("mqtts", server.ports[0]).tls(Tls::new().dangerously_trust_any_server())).await;
    let renamed = trusting.clone().server_name("other.example").dangerously_trust_any_name();
    works(to("mqtts", server.ports[0]).tls(renamed)).await;
    let proven = trusting.clone().client_certificate_pem(lamp.certificate.as_str(), lamp.key.as_str());
    works(to("mqtts", server.ports[2]).tls(proven)).await;

    let lamps = Tls::new().ca_pem(lamp.ca.as_bytes());
    let stranger = Certificates::new("stranger");
    let strange = trusting.clone().client_certificate_pem(stranger.certificate, stranger.key);
    let nobody = "the server's certificate was issued by nobody who is trusted here";
    for (tls, port, wrong, remedy) in [
        (lamps.clone(), 0, nobody, Remedy::Trust),
        (lamps.clone().dangerously_trust_any_name(), 0, nobody, Remedy::Trust),
        (
            trusting.clone().server_name("other.example"),
            0,
            "is for 127.0.0.1, not for other.example",
            Remedy::Name,
        ),
        (trusting.clone(), 2, "the server wants a certificate of this client", Remedy::Certificate),
        (strange, 2, "the server does not know who issued this client's certificate", Remedy::Certificate),
        (trusting.clone(), 3, "is that of a certificate authority (`CA:TRUE`", Remedy::Trust),
        (
            trusting.clone(),
            4,
            "the server closed the connection in the middle of the handshake",
            Remedy::Port,
        ),
    ] {
        let error = soon(Client::connect(to("mqtts", server.ports[port]).tls(tls))).await.unwrap_err();
        assert!(error.to_string().contains(wrong), "{error}");
        assert!(matches!(error, ConnectError::Tls { cause, .. } if cause.remedy() == remedy), "{wrong}");
    }
    let mixed = trusting.clone().client_certificate_pem(lamp.certificate.as_str(), ours.key.as_str());
    let swapped = trusting.clone().client_certificate_pem(lamp.key.as_str(), lamp.certificate.as_str());
    for (tls, wrong) in
        [(mixed, "the key does not belong to the certificate"), (swapped, "are the files swapped?")]
    {
        let error = soon(Client::connect(to("mqtts", server.ports[2]).tls(tls))).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Options(what) if what.contains(wrong)), "{error}");
    }
    let plain = Tls::new().ca_pem(b"nothing");
    let error = soon(Client::connect(to("mqtts", server.ports[0]).tls(plain))).await.unwrap_err();
    assert!(matches!(error, ConnectError::Options(_)), "{error:?}");
}

/// Hands out pipes within the program.
#[derive(Debug)]
struct Pipes(u16);

impl Connector for Pipes {
    fn connect<'a>(&'a self, _: &'a cork_client::Server) -> Connecting<'a> {
        Box::pin(async move {
            let (ours, mut theirs) = tokio::io::duplex(1000);
            let mut tcp = tokio::net::TcpStream::connect(("127.0.0.1", self.0)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut theirs, &mut tcp).await });
            Ok(Box::new(ours) as Box<dyn Transport>)
        })
    }
}

#[tokio::test]
async fn any_byte_stream_will_do_and_every_packet_is_shown() {
    let server = Server::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let options = Options::new("mqtt://nowhere.example").unwrap().connector(Pipes(server.ports[0]));
    works(options.observe(move |direction, packet| {
        log.lock().unwrap().push(format!("{direction:?} {}", packet.packet_type()));
    }))
    .await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen[..4], ["Sent CONNECT", "Received CONNACK", "Sent SUBSCRIBE", "Received SUBACK"]);
    assert_eq!(seen.last().unwrap(), "Sent DISCONNECT");
    assert_eq!(seen.iter().filter(|line| *line == "Received PUBLISH").count(), 3);
}

#[tokio::test]
async fn the_next_server_is_tried_and_names_that_do_not_exist_are_told() {
    let server = Server::new();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead = format!("mqtt://{dead}");
    works(Options::new(&dead).unwrap().server(&server.url()).unwrap()).await;
    let error =
        soon(Client::connect(Options::new("mqtt://no.such.host.invalid").unwrap())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Dns { .. }), "{error:?}");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options::new(&format!("mqtt://{}", silent.local_addr().unwrap())).unwrap();
    let options = options.connect_timeout(std::time::Duration::from_millis(100));
    let error = soon(Client::connect(options)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error:?}");
}

/// A server of 3.1.1 alone: refuses 5.0 in its own words, and accepts 3.1.1.
#[tokio::test]
async fn a_server_without_5_0_is_spoken_to_in_3_1_1() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    for answer in [&[0x20, 2, 0, 1][..], &[]] {
        let connecting = tokio::spawn(Client::connect(Options::new(&url).unwrap()));
        let mut level = [0; 9];
        let (mut first, _) = soon(listener.accept()).await.unwrap();
        first.read_exact(&mut level).await.unwrap();
        assert_eq!(level[8], 5);
        first.write_all(answer).await.unwrap();
        drop(first);
        let (mut second, _) = soon(listener.accept()).await.unwrap();
        second.read_exact(&mut level).await.unwrap();
        assert_eq!(level[8], 4);
        second.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        let client = soon(connecting).await.unwrap().unwrap();
        assert_eq!(soon(client.connected()).await.unwrap().version, ProtocolVersion::V311);
    }
}

#[tokio::test]
async fn passwords_and_scram_with_reauthentication() {
    let server = Server::prepared("[auth]\npassword_file = '@/users'", |folder| {
        cork_broker::passwd::set_password(&folder.join("users"), "ann", b"secret", true).unwrap();
    });
    works(server.options().credentials("ann", "secret")).await;
    let error = soon(Client::connect(server.options().credentials("ann", "wrong"))).await.unwrap_err();
    let ConnectError::Refused(refusal) = error else { panic!("{error:?}") };
    assert_eq!(refusal.reason, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    let old = server.options().credentials("ann", "wrong").version(Version::V311);
    let error = soon(Client::connect(old)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused(_)), "{error:?}");

    let scram = server.options().authentication(Scram::new("ann", "secret"));
    works(scram.clone()).await;
    let client = soon(Client::connect(scram)).await.unwrap();
    let mut events = client.events();
    assert!(client.reauthenticate());
    assert!(matches!(soon(events.next()).await, Some(Event::Reauthenticated)));
    let error =
        soon(Client::connect(server.options().authentication(Scram::new("ann", "no")))).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused(_)), "{error:?}");
}

#[test]
fn mqtt311_7_1_2_1_the_client_has_ordered_lossless_transports() {
    let server = Server::with("[[listener]]\nurl = 'ws://127.0.0.1:0'");
    for (scheme, port) in [("ws", server.ports[0]), ("mqtt", server.ports[1])] {
        let client = blocking::Client::connect(to(scheme, port).version(Version::V311)).unwrap();
        let messages = client.subscribe("n").unwrap();
        for n in 0..200u8 {
            client.publish(Publish::new("n", vec![n; usize::from(n)])).unwrap();
        }
        for (n, message) in (0..200).zip(messages) {
            assert_eq!(message.payload(), &vec![n; usize::from(n)]);
        }
    }
}
