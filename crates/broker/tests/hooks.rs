//! Hooks: what a program is asked and told, and what its answers do.
#![allow(clippy::unwrap_used, reason = "a test fails that way")]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cork_broker::{
    TestBroker,
    hooks::{
        Client as Who, Connect, Delivery, Ended, Hooks, Publication, QoS, ReasonCode, Refusal,
        SubscriptionOptions,
    },
};
use cork_client::{
    ConnectError, Options, Publish, PublishError, Subscribe, SubscribeError, Version,
    blocking::{Client, Subscription},
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes down what it is asked and told, and decides by names.
#[derive(Clone, Default)]
struct House(Arc<Mutex<Vec<String>>>);

impl House {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// What was noted and begins so.
    fn heard(&self, prefix: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.starts_with(prefix)).cloned().collect()
    }

    /// Waits until so many were noted that begin so.
    fn wait(&self, prefix: &str, lines: usize) -> Vec<String> {
        let begun = Instant::now();
        while self.heard(prefix).len() < lines {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.heard(""));
            std::thread::sleep(Duration::from_millis(2));
        }
        self.heard(prefix)
    }
}

impl Hooks for House {
    fn connect(&self, client: &Who<'_>, connect: &Connect<'_>) -> Result<(), Refusal> {
        self.note(format!("connect {} {}", client.client_id, connect.keep_alive));
        if client.client_id == "stranger" {
            return Err(Refusal::not_authorized("not on the list"));
        }
        Ok(())
    }

    fn publish(&self, client: &Who<'_>, publication: &mut Publication<'_>) -> Result<(), Refusal> {
        let will = if publication.is_will() { " will" } else { "" };
        self.note(format!("publish {} {}{will}", client.client_id, publication.topic));
        match &*publication.topic {
            "forbidden" => return Err(Refusal::quota_exceeded("too many of these")),
            "shout" => publication.payload.to_mut().make_ascii_uppercase(),
            "moved" => publication.topic = "moved/here".into(),
            "no/name" => publication.topic = "no/#".into(),
            "no/right" => publication.topic = "$SYS/broker/version".into(),
            "no/room" => publication.payload = vec![0; 2000].into(),
            _ => {}
        }
        Ok(())
    }

    fn subscribe(&self, client: &Who<'_>, filter: &str, options: SubscriptionOptions) -> Result<(), Refusal> {
        self.note(format!("subscribe {} {filter} {}", client.client_id, options.qos as u8));
        if filter == "secret/#" { Err(Refusal::other("a secret")) } else { Ok(()) }
    }

    fn deliver(&self, client: &Who<'_>, delivery: &Delivery<'_>) -> bool {
        let Delivery { topic, payload, qos, retain, from } = delivery;
        let payload = String::from_utf8_lossy(payload);
        self.note(format!("deliver {} {topic} {payload} {} {retain} {from}", client.client_id, *qos as u8));
        payload != "withheld"
    }

    fn disconnect(&self, client: &Who<'_>, why: &Ended) {
        self.note(format!("disconnect {} {why:?}", client.client_id));
    }
}

fn start() -> (House, TestBroker) {
    let house = House::default();
    (house.clone(), TestBroker::start_with(house))
}

fn options(broker: &TestBroker, name: &str) -> Options {
    Options::new(&broker.url()).unwrap().client_id(name).reconnect(None)
}

fn connect(broker: &TestBroker, name: &str) -> Client {
    Client::connect(options(broker, name)).unwrap()
}

/// Payload of the next message.
fn next(inbox: &mut Subscription) -> String {
    let message = inbox.next_timeout(PATIENCE).unwrap().unwrap();
    String::from_utf8_lossy(message.payload()).into_owned()
}

#[test]
fn connect_may_refuse_and_says_why() {
    let (house, broker) = start();
    connect(&broker, "ann");
    let Err(ConnectError::Refused(refusal)) = Client::connect(options(&broker, "stranger")) else { panic!() };
    assert_eq!(refusal.reason, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(refusal.reason_string.as_deref(), Some("not on the list"));
    let old = options(&broker, "stranger").version(Version::V311);
    assert!(matches!(Client::connect(old), Err(ConnectError::Refused(_))));
    assert_eq!(house.heard("connect"), ["connect ann 60", "connect stranger 60", "connect stranger 60"]);
    assert!(house.heard("disconnect stranger").is_empty(), "who was refused was never there");
}

#[test]
fn who_is_refused_takes_no_session_over() {
    struct Once(Mutex<bool>);
    impl Hooks for Once {
        fn connect(&self, _: &Who<'_>, _: &Connect<'_>) -> Result<(), Refusal> {
            let second = std::mem::replace(&mut *self.0.lock().unwrap(), true);
            if second { Err(Refusal::other("there is one already")) } else { Ok(()) }
        }
    }
    let broker = TestBroker::start_with(Once(Mutex::new(false)));
    let first = connect(&broker, "same");
    let Err(ConnectError::Refused(refusal)) = Client::connect(options(&broker, "same")) else { panic!() };
    assert_eq!(refusal.reason, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
    first.deliver(Publish::new("still", "here").qos(QoS::AtLeastOnce)).unwrap();
}

#[test]
fn publish_may_refuse_at_every_qos() {
    let (house, broker) = start();
    let (client, other) = (connect(&broker, "ann"), connect(&broker, "ben"));
    let mut inbox = other.subscribe("#").unwrap();
    client.publish(Publish::new("forbidden", "0").qos(QoS::AtMostOnce)).unwrap();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let Err(PublishError::Refused { reason, .. }) =
            client.deliver(Publish::new("forbidden", "1").qos(qos))
        else {
            panic!("taken at {qos:?}")
        };
        assert_eq!(reason, ReasonCode::QUOTA_EXCEEDED);
    }
    let old = Client::connect(options(&broker, "old").version(Version::V311)).unwrap();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        old.deliver(Publish::new("forbidden", "2").qos(qos)).unwrap(); // 3.1.1 cannot be told
    }
    client.deliver(Publish::new("allowed", "3").qos(QoS::ExactlyOnce)).unwrap();
    assert_eq!(next(&mut inbox), "3");
    assert_eq!(house.heard("publish").len(), 6);
}

#[test]
fn publish_may_change_topic_and_payload() {
    let (_house, broker) = start();
    let client = connect(&broker, "ann");
    let mut inbox = client.subscribe("#").unwrap();
    client.deliver(Publish::new("shout", "hello").qos(QoS::ExactlyOnce)).unwrap();
    assert_eq!(next(&mut inbox), "HELLO");
    client.deliver(Publish::new("moved", "there").qos(QoS::AtLeastOnce).retain(true)).unwrap();
    assert_eq!(inbox.next_timeout(PATIENCE).unwrap().unwrap().topic()[..], *"moved/here");
    assert_eq!(next(&mut client.subscribe("moved/#").unwrap()), "there");
}

#[test]
fn what_a_hook_makes_of_a_publication_must_be_one() {
    let house = House::default();
    let mut broker = TestBroker::start_with(house);
    let mut config = broker.broker().config().clone();
    config.limits.max_packet_size = 1000;
    broker.broker().reload(&config).unwrap();
    let client = connect(&broker, "ann");
    for topic in ["no/name", "no/right", "no/room"] {
        let refused = client.deliver(Publish::new(topic, "").qos(QoS::AtLeastOnce));
        let Err(PublishError::Refused { reason, .. }) = refused else { panic!("{topic}: {refused:?}") };
        assert_eq!(reason, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
    }
}

#[test]
fn subscribe_may_refuse_one_filter_of_many() {
    let (house, broker) = start();
    let client = connect(&broker, "ann");
    let shared = "$share/workers/jobs/#";
    let many = Subscribe::new("open/#").and("secret/#").and(shared).qos(QoS::ExactlyOnce);
    let granted: Vec<u8> = client.subscribe(many).unwrap().granted().iter().map(|code| code.0).collect();
    assert_eq!(granted, [2, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR.0, 2]);
    let refused = client.subscribe("secret/#").unwrap_err();
    assert!(matches!(refused, SubscribeError::Refused(_)), "{refused:?}");
    let heard = house.heard("subscribe");
    assert_eq!(heard[..2], ["subscribe ann open/# 2", "subscribe ann secret/# 2"]);
    assert_eq!(heard[2], format!("subscribe ann {shared} 2"));
}

#[test]
fn deliver_may_withhold_live_queued_and_retained_messages_and_is_asked_once_for_each() {
    let (house, broker) = start();
    let sender = connect(&broker, "ann");
    let resumes = || options(&broker, "ben").clean_start(false).session_expiry(3600);
    let away = Client::connect(resumes()).unwrap();
    away.subscribe(Subscribe::new("queued").qos(QoS::ExactlyOnce)).unwrap();
    away.disconnect();
    house.wait("disconnect ben", 1);
    let send = |topic: &str, payload: &str, qos: QoS, retain: bool| {
        sender
            .publish(Publish::new(topic, payload.to_owned()).qos(qos).retain(retain))
            .unwrap()
            .wait()
            .unwrap();
    };
    for payload in ["withheld", "shown"] {
        send("queued", payload, QoS::AtLeastOnce, false);
        send(&format!("retained/{payload}"), payload, QoS::AtLeastOnce, true);
    }
    assert!(house.heard("deliver").is_empty(), "nothing has gone out yet");

    let back = Client::connect(resumes()).unwrap();
    let mut live = back.subscribe(Subscribe::new("#").qos(QoS::ExactlyOnce)).unwrap();
    let mut got = vec![next(&mut live), next(&mut live)];
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        send("live", "withheld", qos, false);
        send("live", &format!("live {}", qos as u8), qos, false);
        got.push(next(&mut live));
    }
    assert_eq!(got, ["shown", "shown", "live 0", "live 1", "live 2"]);
    let asked = |what: &str| house.heard(&format!("deliver ben {what}")).len();
    assert_eq!(
        (asked("queued"), asked("retained"), asked("live")),
        (2, 2, 6),
        "{:?}",
        house.heard("deliver")
    );
    assert!(house.heard("deliver").contains(&"deliver ben retained/shown shown 1 true ann".to_owned()));
}

#[test]
fn disconnect_tells_why_and_wills_are_publications() {
    let (house, broker) = start();
    let watcher = connect(&broker, "ann");
    let mut wills = watcher.subscribe("#").unwrap();
    connect(&broker, "polite").disconnect();
    assert_eq!(house.wait("disconnect polite", 1), ["disconnect polite ByClient"]);

    let leave_will = |name: &str, topic: &str| {
        let will = Publish::new(topic, "gone").qos(QoS::AtLeastOnce);
        let client = Client::connect(options(&broker, name).will(will)).unwrap();
        client.disconnect_with(cork_client::Disconnect::new(ReasonCode::DISCONNECT_WITH_WILL));
    };
    leave_will("silent", "forbidden");
    leave_will("loud", "shout");
    assert_eq!(next(&mut wills), "GONE");
    assert_eq!(house.heard("disconnect silent"), ["disconnect silent ByClientWithWill"]);
    assert_eq!(house.heard("publish silent"), ["publish silent forbidden will"]);

    let first = connect(&broker, "twin");
    let second = connect(&broker, "twin");
    let told = house.wait("disconnect twin", 1);
    assert!(told[0].starts_with("disconnect twin TakenOver"), "{told:?}");
    drop((first, second));
}
