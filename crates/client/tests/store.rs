//! What a run of the program left in its file store, the next one finishes.

#![allow(clippy::unwrap_used, reason = "a test fails that way")]

mod common;

use common::{Relay, Server, soon};
use cork_client::*;

#[tokio::test]
async fn what_was_saved_without_a_connection_is_sent_by_the_next_run() {
    let server = Server::new();
    let receiver = soon(Client::connect(server.options())).await.unwrap();
    for durable in [false, true] {
        let relay = Relay::to(*server.ports.last().unwrap()).await;
        let topic = format!("store/{durable}");
        let wanted = Subscribe::new(topic.as_str()).qos(QoS::ExactlyOnce);
        let mut messages = soon(receiver.subscribe(wanted)).await.unwrap();
        let file = FileStore::new(server.folder.join(format!("store-{durable}"))).durable(durable);
        let options = relay.options().client_id(topic.as_str()).session_expiry(60).store(file);
        relay.close();
        let first = Client::start(options.clone()).unwrap();
        for n in 0..20 {
            let qos = if n % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            soon(first.publish(Publish::new(topic.as_str(), n.to_string()).qos(qos))).await.unwrap();
        }
        soon(first.saved()).await.unwrap();
        assert_eq!((first.accepted(), first.unfinished()), (20, 20));
        assert!(Client::start(options.clone()).is_err(), "two clients share a store");
        soon(first.disconnect()).await;
        assert!(messages.try_next().is_none());

        relay.reopen();
        let second = loop {
            // The file is free once the first client's task is gone.
            match Client::start(options.clone()) {
                Ok(client) => break client,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!((second.accepted(), second.unfinished()), (20, 20));
        soon(second.flush()).await.unwrap();
        for n in 0..20 {
            assert_eq!(soon(messages.next()).await.unwrap().payload(), n.to_string().as_bytes());
        }
        soon(second.disconnect()).await;
    }
}

#[tokio::test]
async fn a_store_belongs_to_one_client_identifier() {
    let server = Server::new();
    let file = FileStore::new(server.folder.join("one"));
    let options = server.options().session_expiry(60).store(file.clone());
    let client = soon(Client::connect(options.clone().client_id("ann"))).await.unwrap();
    soon(client.deliver(Publish::new("a", "").qos(QoS::AtLeastOnce))).await.unwrap();
    soon(client.disconnect()).await;
    tokio::task::yield_now().await;
    let error = Client::start(options.clone().client_id("bob")).unwrap_err();
    assert!(error.to_string().contains("`ann`"), "{error}");
    // Without one it is the store's.
    let again = soon(Client::connect(options)).await.unwrap();
    assert_eq!(&*soon(again.connected()).await.unwrap().client_id, "ann");
    let nowhere = FileStore::new(server.folder.join("no/such/folder"));
    assert!(matches!(Client::start(server.options().store(nowhere)), Err(ConnectError::Options(_))));
}
