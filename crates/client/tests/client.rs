//! The client against a broker in the same program.
#![allow(clippy::unwrap_used, reason = "a test fails that way")]

mod common;

use common::{Server, soon};
use cork_client::*;

#[tokio::test]
async fn every_qos_both_ways_in_both_versions() {
    let server = Server::new();
    for version in [Version::V5, Version::V311] {
        let client = soon(Client::connect(server.options().version(version))).await.unwrap();
        let wanted = Subscribe::new("a/#").qos(QoS::ExactlyOnce);
        let mut messages = soon(client.subscribe(wanted)).await.unwrap();
        assert_eq!(messages.granted(), [ReasonCode::GRANTED_QOS_2]);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for n in 0..100 {
                soon(client.publish(Publish::new("a/b", n.to_string()).qos(qos))).await.unwrap();
            }
            soon(client.flush()).await.unwrap();
            for n in 0..100 {
                let message = soon(messages.next()).await.unwrap();
                assert_eq!((message.topic().as_ref(), message.qos()), ("a/b", qos));
                assert_eq!(message.payload(), n.to_string().as_bytes());
            }
        }
        soon(client.disconnect()).await;
        assert!(soon(messages.next()).await.is_none());
    }
}

#[tokio::test]
async fn a_handle_tells_what_the_server_said() {
    let server = Server::new();
    let client = soon(Client::connect(server.options())).await.unwrap();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let published = soon(client.deliver(Publish::new("nobody", "").qos(qos))).await.unwrap();
        assert_eq!(published.reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    }
    assert_eq!(soon(client.deliver(Publish::new("a", ""))).await.unwrap().reason, ReasonCode::SUCCESS);
    let wrong = soon(client.publish(Publish::new("a/#", ""))).await;
    assert!(matches!(wrong, Err(PublishError::Topic(_))), "{wrong:?}");
}

#[tokio::test]
async fn nobody_listens() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = soon(Client::connect(Options::new(&format!("mqtt://{free}")).unwrap())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains(&free.to_string()), "{error}");
}

#[tokio::test]
async fn a_property_that_fits_into_no_packet_is_a_fault_that_names_it() {
    let server = Server::new();
    let long = "x".repeat(70_000);
    let too_long = |id| PropertyError::TooLong { id, length: 70_000 };
    let bad = || Publish::new("a", "").content_type(&long);
    for version in [Version::V5, Version::V311] {
        let client = soon(Client::connect(server.options().version(version))).await.unwrap();
        for refused in [soon(client.publish(bad())).await.err(), client.try_publish(bad()).err()] {
            let fault = too_long(PropertyId::ContentType);
            assert!(matches!(refused, Some(PublishError::Property(is)) if is == fault), "{refused:?}");
        }
        let wanted = Subscribe::new("a").user_property("k", &long);
        let refused = soon(client.subscribe(wanted)).await.unwrap_err();
        let fault = too_long(PropertyId::UserProperty);
        assert!(matches!(refused, SubscribeError::Property(is) if is == fault), "{refused:?}");
        let will = soon(Client::connect(server.options().version(version).will(bad()))).await.unwrap_err();
        assert_eq!(will.to_string(), "Content Type has 70000 bytes; at most 65535 fit into a packet");
        let own = server.options().version(version).connect_property(Property::UserProperty(&long, "v"));
        let own = soon(Client::connect(own)).await.unwrap_err();
        assert!(matches!(own, ConnectError::Property(is) if is == fault), "{own:?}");
    }
    let long_will = server.options().will(Publish::new("a", long.clone()));
    let refused = soon(Client::connect(long_will)).await.unwrap_err().to_string();
    assert!(refused.contains("Will Payload has 70000 bytes"), "{refused}");
}

#[test]
fn the_same_for_programs_without_a_runtime() {
    let server = Server::new();
    let long = "x".repeat(70_000);
    let client = blocking::Client::connect(server.options()).unwrap();
    let bad = Publish::new("a", "").response_topic(&long);
    let refused = client.deliver(bad.clone()).unwrap_err();
    assert!(matches!(refused, PublishError::Property(_)), "{refused:?}");
    let refused = blocking::Client::connect(server.options().will(bad)).unwrap_err();
    assert!(matches!(refused, ConnectError::Property(_)), "{refused:?}");
}
