//! A few clients that do anything in any order, in whole packets: nothing panics, every packet the broker sends is
//! one, the counters fit together, and nothing is left in the end.
#![no_main]

mod driver;

use std::time::Duration;

use cork_core::{ConnId, Input};
use cork_packet::{
    Ack, Connect, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property, ProtocolVersion,
    Publish, QoS, ReasonCode, RetainHandling, SubscribeBuf, SubscriptionOptions, UnsubscribeBuf, Will,
};
use driver::Driver;
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};

const CLIENTS: usize = 4;
const TOPICS: [&str; 4] = ["a", "a/b", "b/long/enough/for/an/alias", "$x"];
const FILTERS: [&str; 8] = ["#", "a/#", "+", "a/b", "$share/s/#", "$share/s/a/b", "$share/t/+", "b/+/#"];

#[derive(Arbitrary, Debug)]
enum Operation {
    Connect { client: u8, version: u8, clean: bool, expiry: u8, receive_maximum: u8, will: Option<(u8, u8)> },
    Disconnect { client: u8, with_will: bool },
    Cut { client: u8 },
    Publish { client: u8, topic: u8, flags: u8, id: u8, length: u16 },
    Subscribe { client: u8, filter: u8, options: u8, id: u8 },
    Unsubscribe { client: u8, filter: u8 },
    Acknowledge { client: u8, kind: u8, id: u8, refused: bool },
    Ping { client: u8 },
    Advance { seconds: u8 },
    Read { client: u8, bytes: u8 },
    ReadAll,
}

/// One client's present connection.
#[derive(Copy, Clone)]
struct Line {
    conn: ConnId,
    version: ProtocolVersion,
}

struct Crowd {
    driver: Driver,
    lines: [Line; CLIENTS],
    /// Versions of all connections, by slot.
    versions: Vec<ProtocolVersion>,
}

fuzz_target!(|operations: Vec<Operation>| {
    let conn = ConnId { index: 0, generation: u32::MAX };
    let lines = [Line { conn, version: ProtocolVersion::V5 }; CLIENTS];
    let mut crowd = Crowd { driver: Driver::new(), lines, versions: Vec::new() };
    for operation in operations {
        crowd.carry_out(operation);
        let stats = crowd.driver.shard.stats();
        assert!(stats.sessions <= CLIENTS as u64 && stats.clients_connected <= stats.sessions, "{stats:?}");
        assert!(stats.shared_subscriptions <= stats.subscriptions, "{stats:?}");
        assert!(stats.subscriptions <= stats.sessions * FILTERS.len() as u64, "{stats:?}");
        assert_eq!(stats.queued_messages == 0, stats.queued_bytes == 0, "{stats:?}");
    }
    crowd.read_all();
    crowd.driver.end();
});

impl Crowd {
    fn carry_out(&mut self, operation: Operation) {
        match operation {
            Operation::Connect { client, version, clean, expiry, receive_maximum, will } => {
                self.connect(client, version, (clean, expiry, receive_maximum), will);
            }
            Operation::Disconnect { client, with_will } => {
                let reason = ReasonCode(if with_will { 0x04 } else { 0x00 });
                self.send(client, &Packet::Disconnect(Disconnect { reason, properties: Properties::EMPTY }));
            }
            Operation::Cut { client } => self.driver.close(self.line(client).conn),
            Operation::Publish { client, topic, flags, id, length } => {
                let qos = QoS::from_bits(flags >> 1 & 3).unwrap_or_default();
                let packet = Packet::Publish(Publish {
                    dup: flags & 8 != 0 && qos != QoS::AtMostOnce,
                    qos,
                    retain: flags & 1 != 0,
                    topic: TOPICS[usize::from(topic) % TOPICS.len()],
                    packet_id: (qos != QoS::AtMostOnce).then(|| packet_id(id)),
                    properties: Properties::EMPTY,
                    payload: &vec![b'x'; usize::from(length % 20_000)],
                });
                self.send(client, &packet);
            }
            Operation::Subscribe { client, filter, options, id } => {
                self.subscribe(client, filter, options, id)
            }
            Operation::Unsubscribe { client, filter } => {
                let mut filters = UnsubscribeBuf::new();
                filters.push(FILTERS[usize::from(filter) % FILTERS.len()]).expect("short");
                let packet = filters.unsubscribe(PacketId::FIRST, Properties::EMPTY);
                self.send(client, &Packet::Unsubscribe(packet));
            }
            Operation::Acknowledge { client, kind, id, refused } => {
                let reason = if refused { ReasonCode::UNSPECIFIED_ERROR } else { ReasonCode::SUCCESS };
                let ack = Ack { reason, ..Ack::success(packet_id(id)) };
                self.send(
                    client,
                    &match kind % 4 {
                        0 => Packet::PubAck(ack),
                        1 => Packet::PubRec(ack),
                        2 => Packet::PubRel(Ack::success(packet_id(id))),
                        _ => Packet::PubComp(Ack::success(packet_id(id))),
                    },
                );
            }
            Operation::Ping { client } => self.send(client, &Packet::PingReq),
            Operation::Advance { seconds } => self.driver.advance(Duration::from_secs(seconds.into())),
            Operation::Read { client, bytes } => self.driver.read(self.line(client).conn, bytes.into()),
            Operation::ReadAll => self.read_all(),
        }
    }

    fn line(&self, client: u8) -> Line {
        self.lines[usize::from(client) % CLIENTS]
    }

    fn send(&mut self, client: u8, packet: &Packet<'_>) {
        let Line { conn, version } = self.line(client);
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("a packet that can be written");
        if self.driver.is_open(conn) {
            self.driver.input(Input::Bytes { conn, bytes: &bytes });
        }
    }

    fn connect(&mut self, client: u8, version: u8, session: (bool, u8, u8), will: Option<(u8, u8)>) {
        let (clean_start, expiry, receive_maximum) = session;
        let version = match version % 3 {
            0 => ProtocolVersion::V31,
            1 => ProtocolVersion::V311,
            _ => ProtocolVersion::V5,
        };
        let mut properties = PropertiesBuf::new();
        let mut will_properties = PropertiesBuf::new();
        if version.is_v5() {
            properties.push(Property::SessionExpiryInterval(expiry.into()));
            properties.push(Property::ReceiveMaximum(u16::from(receive_maximum % 4) + 1));
            properties.push(Property::TopicAliasMaximum(u16::from(receive_maximum % 3)));
            will_properties.push(Property::WillDelayInterval(u32::from(expiry) / 2));
        }
        // The last connection stays half open: the new one takes over.
        let index = u32::try_from(self.versions.len()).expect("inputs are short");
        let slot = usize::from(client) % CLIENTS;
        self.lines[slot] = Line { conn: ConnId { index, generation: 0 }, version };
        self.versions.push(version);
        self.driver.open(self.lines[slot].conn);
        let packet = Packet::Connect(Connect {
            version,
            bridge: false,
            clean_start,
            keep_alive: u16::from(receive_maximum / 32),
            client_id: ["a", "b", "c", "d"][slot],
            will: will.map(|(topic, flags)| Will {
                qos: QoS::from_bits(flags & 3).unwrap_or_default(),
                retain: flags & 4 != 0,
                topic: TOPICS[usize::from(topic) % TOPICS.len()],
                payload: b"will",
                properties: will_properties.as_properties(),
            }),
            user_name: None,
            password: None,
            properties: properties.as_properties(),
        });
        self.send(client, &packet);
    }

    fn subscribe(&mut self, client: u8, filter: u8, options: u8, id: u8) {
        let filter = FILTERS[usize::from(filter) % FILTERS.len()];
        let options = SubscriptionOptions {
            qos: QoS::from_bits(options & 3).unwrap_or_default(),
            no_local: options & 4 != 0 && !filter.starts_with("$share"),
            retain_as_published: options & 8 != 0,
            retain_handling: match options >> 4 & 3 {
                0 => RetainHandling::SendAtSubscribe,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        };
        let mut filters = SubscribeBuf::new();
        filters.push(filter, options).expect("short");
        let mut properties = PropertiesBuf::new();
        if id % 2 == 1 {
            properties.push(Property::SubscriptionIdentifier(id.into()));
        }
        self.send(client, &Packet::Subscribe(filters.subscribe(packet_id(id), properties.as_properties())));
    }

    fn read_all(&mut self) {
        self.driver.read_all(|conn| self.versions[conn.index as usize]);
    }
}

/// Few identifiers, so that they meet.
fn packet_id(id: u8) -> PacketId {
    PacketId::new(u16::from(id % 12) + 1).unwrap_or(PacketId::FIRST)
}
