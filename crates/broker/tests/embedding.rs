//! A broker in the same program: its own clients, in memory, in a test, and the example.
#![allow(clippy::unwrap_used, reason = "a test fails that way")]

use std::{
    io::{ErrorKind, Read as _},
    net::TcpStream,
    time::Duration,
};

use cork_broker::{
    Broker, Config, Connector, TestBroker,
    config::Shards,
    hooks::{Client as Who, Connect, Hooks, Publication, Refusal},
};
use cork_client::{ConnectError, Options, Property, Publish, PublishError, QoS, blocking::Client};
use cork_store::{Facts, PACKET_BYTES_ASKED_BY};

#[allow(dead_code, reason = "its main is called by its path")]
#[path = "../examples/embed.rs"]
mod embed;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn options(connector: Connector) -> Options {
    Options::in_process(move || connector.connect()).reconnect(None)
}

#[test]
fn the_example_runs_to_its_end() {
    embed::main().unwrap();
}

#[test]
fn clients_of_the_same_program_need_no_socket_and_find_their_shard() {
    let mut config = Config::in_memory();
    config.shards = Shards::Fixed(4);
    let broker = Broker::start(&config).unwrap();
    assert_eq!(broker.addresses(), []);
    let names: Vec<String> = (0..8).map(|n| format!("client-{n}")).collect();
    let clients: Vec<Client> = names
        .iter()
        .map(|name| Client::connect(options(broker.connector()).client_id(name)).unwrap())
        .collect();
    let mut inboxes: Vec<_> = clients.iter().map(|client| client.subscribe("all/#").unwrap()).collect();
    for (client, name) in clients.iter().zip(&names) {
        client.deliver(Publish::new(format!("all/{name}"), "here").qos(QoS::ExactlyOnce)).unwrap();
    }
    for inbox in &mut inboxes {
        let mut heard: Vec<String> = (0..names.len())
            .map(|_| inbox.next_timeout(PATIENCE).unwrap().unwrap().topic().to_string())
            .collect();
        heard.sort();
        assert_eq!(heard, names.iter().map(|name| format!("all/{name}")).collect::<Vec<_>>());
    }
}

#[test]
fn a_large_message_goes_through_the_pipe() {
    let broker = Broker::start(&Config::in_memory()).unwrap();
    let client = Client::connect(options(broker.connector())).unwrap();
    let mut inbox = client.subscribe("large").unwrap();
    let payload: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    client.deliver(Publish::new("large", payload.clone()).qos(QoS::AtLeastOnce)).unwrap();
    assert!(inbox.next_timeout(PATIENCE).unwrap().unwrap().payload()[..] == payload);
}

struct Guard;

impl Hooks for Guard {
    fn publish(&self, client: &Who<'_>, publication: &mut Publication<'_>) -> Result<(), Refusal> {
        if publication.payload.len() > 1000 {
            return Err(Refusal::quota_exceeded("no more than 1000 bytes here"));
        }
        publication.topic = format!("{}/{}", client.client_id, publication.topic).into();
        Ok(())
    }
}

#[test]
fn the_guard_of_the_page_keeps_clients_to_their_own_topics() {
    let broker = TestBroker::start_with(Guard);
    let client = Client::connect(Options::new(&broker.url()).unwrap().client_id("ann")).unwrap();
    let mut inbox = client.subscribe("#").unwrap();
    client.deliver(Publish::new("status", "on").qos(QoS::AtLeastOnce)).unwrap();
    assert_eq!(inbox.next_timeout(PATIENCE).unwrap().unwrap().topic()[..], *"ann/status");
    assert!(client.deliver(Publish::new("status", vec![0; 1001]).qos(QoS::AtLeastOnce)).is_err());
}

#[test]
fn the_code_on_the_page_is_code_that_runs() {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let code = flat(concat!(include_str!("../examples/embed.rs"), include_str!("embedding.rs")));
    let page = include_str!("../../../docs/embedding.md");
    let blocks: Vec<&str> =
        page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        assert!(code.contains(&flat(block)), "{block}");
    }
}

/// Lets in whom the program vouches for.
struct OnlyProven;

impl Hooks for OnlyProven {
    fn connect(&self, client: &Who<'_>, _connect: &Connect<'_>) -> Result<(), Refusal> {
        match (client.user_name, client.proven, client.peer.is_some_and(|peer| peer.is("in-process"))) {
            (Some("gateway"), true, true) => Ok(()),
            other => Err(Refusal::not_authorized(format!("{other:?}"))),
        }
    }
}

#[test]
fn the_program_vouches_for_a_user_or_it_must_log_in_like_everybody() {
    let mut config = Config::in_memory();
    config.auth.allow_anonymous = Some(false);
    let broker = Broker::start_with(&config, OnlyProven).unwrap();
    let vouched = broker.connector().user("gateway");
    Client::connect(options(vouched).user_name("what it says counts for nothing")).unwrap();
    let refused = Client::connect(options(broker.connector()).credentials("gateway", "guess")).unwrap_err();
    assert!(matches!(refused, ConnectError::Refused(_)), "{refused:?}");
}

#[test]
fn when_the_broker_ends_its_clients_hear_it_and_nobody_connects_any_more() {
    let broker = Broker::start(&Config::in_memory()).unwrap();
    let connector = broker.connector();
    let mut idle = connector.connect().unwrap();
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(broker);
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(connector.connect().unwrap_err().kind(), ErrorKind::NotConnected);
}

#[test]
fn in_memory_means_that_nothing_is_kept_and_no_file_is_made() {
    let folder = std::env::temp_dir().join(format!("cork-memory-{}", std::process::id()));
    let mut config = Config::in_memory();
    config.data_dir.clone_from(&folder);
    for _ in 0..2 {
        let broker = Broker::start(&config).unwrap();
        let resumes = || options(broker.connector()).client_id("a").clean_start(false).session_expiry(3600);
        let client = Client::connect(resumes()).unwrap();
        assert!(!client.connected().unwrap().session_present);
        client.deliver(Publish::new("a", "kept").qos(QoS::AtLeastOnce).retain(true)).unwrap();
        client.disconnect();
        let client = Client::connect(resumes()).unwrap();
        assert!(client.connected().unwrap().session_present, "kept as long as the broker lives");
        broker.shutdown();
    }
    assert!(!folder.exists());
}

#[test]
fn test_brokers_are_apart_and_end_with_their_values() {
    {
        let broker = TestBroker::start();
        let client = Client::connect(Options::new(&broker.url()).unwrap()).unwrap();
        assert!(client.is_connected());
    }
    let (mut one, two) =
        (TestBroker::start(), TestBroker::configured(|config| config.limits.queue_qos0 = true));
    assert_ne!(one.url(), two.url());
    assert!(one.broker().config().in_memory);
    let client = Client::connect(Options::new(&one.url()).unwrap()).unwrap();
    let mut inbox = client.subscribe("#").unwrap();
    let own = Client::connect(options(two.connector())).unwrap();
    own.deliver(Publish::new("elsewhere", "").qos(QoS::AtLeastOnce)).unwrap();
    let own = Client::connect(options(one.connector())).unwrap();
    own.deliver(Publish::new("here", "").qos(QoS::AtLeastOnce)).unwrap();
    assert_eq!(inbox.next_timeout(PATIENCE).unwrap().unwrap().topic()[..], *"here");
    let address = one.address();
    drop((client, inbox, own, one));
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// CONNECT as a part of the broker does, or as somebody who wants to pass for one.
fn part(connector: Connector, client_id: &str) -> Options {
    options(connector)
        .client_id(client_id)
        .connect_property(Property::UserProperty(Facts::ASKED_BY, ""))
        .clean_start(false)
        .session_expiry(u32::MAX)
}

#[test]
fn a_part_of_the_broker_is_bound_by_no_right_and_told_the_facts() {
    let acl = std::env::temp_dir().join(format!("cork-inside-{}.toml", std::process::id()));
    let rule = "[[rule]]\nuser = \"ann\"\nallow = [\"write\"]\ntopic = \"a\"\n";
    std::fs::write(&acl, format!("default = \"deny\"\n{rule}")).unwrap();
    let mut config = Config::in_memory();
    config.auth.acl_file = Some(acl.clone());
    config.auth.allow_anonymous = Some(true);
    let broker = Broker::start(&config).unwrap();
    std::fs::remove_file(&acl).unwrap();

    let outsider = Client::connect(part(broker.connector(), "$cork/sink/x"));
    assert!(matches!(outsider, Err(ConnectError::Refused(_))), "{outsider:?}");

    let inside = Client::connect(part(broker.connector().inside(), "$cork/sink/x")).unwrap();
    let mut inbox = inside.subscribe("#").unwrap();
    let ann = Client::connect(options(broker.connector().user("ann")).client_id("lamp")).unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        ann.deliver(Publish::new("a", "1").qos(qos).user_property("unit", "C")).unwrap();
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        let message = inbox.next_timeout(PATIENCE).unwrap().unwrap();
        let properties: Vec<_> = message.properties().user_properties().collect();
        let [unit, id, who] = properties[..] else { panic!("{properties:?}") };
        assert_eq!(unit, ("unit", "C"));
        let facts = Facts::from_pairs(id, who).unwrap();
        assert_eq!((facts.client_id.as_str(), facts.user_name.as_deref()), ("lamp", Some("ann")));
        ids.push(facts.id);
    }
    assert!(ids.is_sorted() && ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");

    let bystander = Client::connect(part(broker.connector(), "lamp2")).unwrap();
    assert!(bystander.subscribe("a").is_err(), "the facts are asked for in vain, and rights hold");
}

#[test]
fn a_part_of_the_broker_may_send_longer_packets_than_others_if_it_asks() {
    let mut config = Config::in_memory();
    config.limits.max_packet_size = 1024;
    let broker = Broker::start(&config).unwrap();
    let asking = |connector| {
        let asked = Property::UserProperty(PACKET_BYTES_ASKED_BY, "4096");
        Client::connect(options(connector).connect_property(asked)).unwrap()
    };
    let publish = |bytes: usize| Publish::new("a", vec![b'x'; bytes]).qos(QoS::AtLeastOnce);
    let inside = asking(broker.connector().inside());
    inside.deliver(publish(4000)).unwrap();
    assert!(matches!(inside.deliver(publish(4096)), Err(PublishError::TooLarge { maximum: 4096, .. })));
    let others = [asking(broker.connector()), Client::connect(options(broker.connector().inside())).unwrap()];
    for other in others {
        assert!(matches!(other.deliver(publish(4000)), Err(PublishError::TooLarge { maximum: 1024, .. })));
    }
}

#[test]
fn nobody_but_the_broker_writes_dead_letters() {
    let broker = Broker::start(&Config::in_memory()).unwrap();
    let somebody = Client::connect(options(broker.connector())).unwrap();
    let inside = Client::connect(options(broker.connector().inside())).unwrap();
    for (topic, allowed) in
        [("$dead/readings/x", false), ("$dead", false), ("$deadly", true), ("dead/x", true)]
    {
        let delivered = somebody.deliver(Publish::new(topic, "").qos(QoS::AtLeastOnce));
        match delivered {
            Ok(_) => assert!(allowed, "{topic}"),
            Err(error) => assert!(!allowed && error.to_string().contains("uthorized"), "{topic}: {error}"),
        }
        inside.deliver(Publish::new(topic, "").qos(QoS::AtLeastOnce)).unwrap();
    }
}
