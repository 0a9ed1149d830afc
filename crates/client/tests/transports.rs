//! What can stand below MQTT, against a broker in the same program.
#![allow(clippy::unwrap_used, reason = "a test fails that way")]

mod common;

use common::{Certificates, Server, soon};
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
    let listeners = "[[listener]]\nurl = 'mqtts://127.0.0.1:0'\ntls = { cert = '@/cert', key = '@/key' }\n\
        [[listener]]\nurl = 'wss://127.0.0.1:0'\ntls = { cert = '@/cert', key = '@/key' }\n\
        [[listener]]\nurl = 'mqtts://127.0.0.1:0'\ntls = { cert = '@/cert', key = '@/key', client_ca = '@/lamp' }";
    let server = Server::prepared(listeners, |folder| {
        for (name, text) in [("cert", &ours.certificate), ("key", &ours.key), ("lamp", &lamp.ca)] {
            std::fs::write(folder.join(name), text).unwrap();
        }
    });
    let trusting = Tls::new().ca_pem(ours.ca.as_bytes());
    works(to("mqtts", server.ports[0]).tls(trusting.clone())).await;
    works(to("wss", server.ports[1]).tls(trusting.clone())).await;
    works(to("mqtts", server.ports[0]).tls(Tls::new().dangerously_trust_any_server())).await;
    let proven = trusting.clone().client_certificate_pem(lamp.certificate.as_str(), lamp.key.as_str());
    works(to("mqtts", server.ports[2]).tls(proven)).await;

    for (tls, port, cause) in [
        (Tls::new().ca_pem(lamp.ca.as_bytes()), 0, "UnknownIssuer"),
        (trusting.clone().server_name("other.example"), 0, "not valid for"),
        (trusting.clone(), 2, "CertificateRequired"),
    ] {
        let error = soon(Client::connect(to("mqtts", server.ports[port]).tls(tls))).await.unwrap_err();
        assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
        assert!(error.to_string().contains(cause), "{error}");
    }
    let plain = Tls::new().ca_pem(b"nothing");
    let error = soon(Client::connect(to("mqtts", server.ports[0]).tls(plain))).await.unwrap_err();
    assert!(matches!(error, ConnectError::Options(_)), "{error:?}");
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
