//! Packets in words: all of a packet for `--packets`, and the lines of mosquitto's `-d`.

use std::fmt::Write as _;

use cork_client::Direction;
use cork_packet::{
    Ack, Connect, Packet, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode, RetainHandling,
    SubscriptionOptions,
};

use crate::{
    message::{name, property_value},
    view::shown,
};

/// Bytes of a payload that are shown.
const PAYLOAD_BYTES_MAX: usize = 80;

/// A packet with everything in it, in one line.
#[must_use]
pub fn describe(direction: Direction, version: ProtocolVersion, packet: &Packet<'_>) -> String {
    let arrow = match direction {
        Direction::Sent => "->",
        Direction::Received => "<-",
    };
    let mut out = String::from(arrow);
    out.push(' ');
    let properties = match packet {
        Packet::Connect(connect) => {
            connect_line(connect, &mut out);
            connect.properties
        }
        Packet::ConnAck(connack) => {
            out += "CONNACK ";
            out += &match version {
                ProtocolVersion::V5 => ReasonCode(connack.code).to_string(),
                _ => cork_packet::ConnectReturnCode(connack.code).to_string(),
            };
            out += if connack.session_present { ", Session present" } else { "" };
            connack.properties
        }
        Packet::Publish(publish) => {
            publish_line(publish, &mut out);
            publish.properties
        }
        Packet::PubAck(ack) => ack_line("PUBACK", ack, &mut out),
        Packet::PubRec(ack) => ack_line("PUBREC", ack, &mut out),
        Packet::PubRel(ack) => ack_line("PUBREL", ack, &mut out),
        Packet::PubComp(ack) => ack_line("PUBCOMP", ack, &mut out),
        Packet::Subscribe(subscribe) => {
            push(&mut out, format_args!("SUBSCRIBE #{}", subscribe.packet_id.get()));
            for filter in subscribe.filters() {
                push(&mut out, format_args!(" {}{}", quoted(filter.filter), options(filter.options)));
            }
            subscribe.properties
        }
        Packet::SubAck(suback) => {
            push(&mut out, format_args!("SUBACK #{}", suback.packet_id.get()));
            codes(suback.codes, &mut out);
            suback.properties
        }
        Packet::Unsubscribe(unsubscribe) => {
            push(&mut out, format_args!("UNSUBSCRIBE #{}", unsubscribe.packet_id.get()));
            for filter in unsubscribe.filters() {
                push(&mut out, format_args!(" {}", quoted(filter)));
            }
            unsubscribe.properties
        }
        Packet::UnsubAck(unsuback) => {
            push(&mut out, format_args!("UNSUBACK #{}", unsuback.packet_id.get()));
            codes(unsuback.codes, &mut out);
            unsuback.properties
        }
        Packet::PingReq => ending("PINGREQ", &mut out),
        Packet::PingResp => ending("PINGRESP", &mut out),
        Packet::Disconnect(disconnect) => {
            push(&mut out, format_args!("DISCONNECT {}", disconnect.reason));
            disconnect.properties
        }
        Packet::Auth(auth) => {
            push(&mut out, format_args!("AUTH {}", auth.reason));
            auth.properties
        }
    };
    write_properties(properties, &mut out);
    out
}

fn connect_line(connect: &Connect<'_>, out: &mut String) {
    let version = match connect.version {
        ProtocolVersion::V31 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    };
    push(out, format_args!("CONNECT {version} client {}", quoted(connect.client_id)));
    out.push_str(if connect.clean_start { ", Clean Start" } else { "" });
    push(out, format_args!(", Keep Alive {} s", connect.keep_alive));
    if let Some(user) = connect.user_name {
        push(out, format_args!(", user {}", quoted(user)));
    }
    // What it is stays secret: what is shown may be pasted somewhere.
    out.push_str(if connect.password.is_some() { ", a password" } else { "" });
    if let Some(will) = connect.will {
        push(out, format_args!(", Will {} QoS {}", quoted(will.topic), will.qos.bits()));
        out.push_str(if will.retain { " retain" } else { "" });
        push(out, format_args!(" {}", payload(will.payload)));
        write_properties(will.properties, out);
    }
}

fn publish_line(publish: &Publish<'_>, out: &mut String) {
    out.push_str("PUBLISH");
    if let Some(id) = publish.packet_id {
        push(out, format_args!(" #{}", id.get()));
    }
    push(out, format_args!(" {} QoS {}", quoted(publish.topic), publish.qos.bits()));
    out.push_str(if publish.retain { " retain" } else { "" });
    out.push_str(if publish.dup { " DUP" } else { "" });
    push(out, format_args!(" {} bytes {}", publish.payload.len(), payload(publish.payload)));
}

fn ack_line<'a>(kind: &str, ack: &Ack<'a>, out: &mut String) -> Properties<'a> {
    push(out, format_args!("{kind} #{}", ack.packet_id.get()));
    if ack.reason != ReasonCode::SUCCESS {
        push(out, format_args!(" {}", ack.reason));
    }
    ack.properties
}

fn ending(kind: &str, out: &mut String) -> Properties<'static> {
    out.push_str(kind);
    Properties::EMPTY
}

fn codes(codes: &[u8], out: &mut String) {
    for (at, code) in codes.iter().enumerate() {
        push(out, format_args!("{}{}", if at == 0 { " " } else { ", " }, ReasonCode(*code)));
    }
}

fn options(options: SubscriptionOptions) -> String {
    let mut out = format!(" QoS {}", options.qos.bits());
    out += if options.no_local { " no-local" } else { "" };
    out += if options.retain_as_published { " retain-as-published" } else { "" };
    out += match options.retain_handling {
        RetainHandling::SendAtSubscribe => "",
        RetainHandling::SendIfNew => " retained-if-new",
        RetainHandling::DoNotSend => " no-retained",
    };
    out
}

fn write_properties(properties: Properties<'_>, out: &mut String) {
    for property in properties.iter() {
        let value = match property {
            Property::UserProperty(key, value) => format!("{}={}", quoted(key), quoted(value)),
            other => {
                let mut json = String::new();
                property_value(&other).write_json(&mut json);
                shown(&json)
            }
        };
        push(out, format_args!(" [{} {value}]", name(&property)));
    }
}

/// Text in quotes, or bytes in hexadecimal, cut where it gets long.
fn payload(bytes: &[u8]) -> String {
    let (part, more) = match bytes.get(..PAYLOAD_BYTES_MAX) {
        Some(part) if bytes.len() > PAYLOAD_BYTES_MAX => (part, "..."),
        _ => (bytes, ""),
    };
    match str::from_utf8(part) {
        Ok(text) => quoted(text) + more,
        // A character may have been cut at the end.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 && !more.is_empty() => {
            quoted(&String::from_utf8_lossy(&part[..error.valid_up_to()])) + more
        }
        Err(_) => part.iter().fold("0x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")) + more,
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text).replace('\n', "\\n"))
}

fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = out.write_fmt(what);
}

/// What mosquitto's clients print with `-d` for this packet, as client `id`. Packet Identifiers are the true ones;
/// mosquitto's clients count QoS 0 publications, too.
#[must_use]
pub fn debug_lines(id: &str, direction: Direction, packet: &Packet<'_>) -> Vec<String> {
    let what = match packet {
        Packet::Connect(_) => "CONNECT".to_owned(),
        Packet::ConnAck(connack) => format!("CONNACK ({})", connack.code),
        Packet::Publish(publish) => format!(
            "PUBLISH (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
            u8::from(publish.dup),
            publish.qos.bits(),
            u8::from(publish.retain),
            publish.packet_id.map_or(0, |id| id.get()),
            shown(publish.topic),
            publish.payload.len()
        ),
        Packet::PubAck(ack) => debug_ack("PUBACK", direction, ack, QoS::AtLeastOnce),
        Packet::PubRec(ack) => debug_ack("PUBREC", direction, ack, QoS::ExactlyOnce),
        Packet::PubRel(ack) if direction == Direction::Sent => format!("PUBREL (m{})", ack.packet_id.get()),
        Packet::PubRel(ack) => format!("PUBREL (Mid: {})", ack.packet_id.get()),
        Packet::PubComp(ack) if direction == Direction::Sent => format!("PUBCOMP (m{})", ack.packet_id.get()),
        Packet::PubComp(ack) => format!("PUBCOMP (Mid: {}, RC:{})", ack.packet_id.get(), ack.reason.0),
        Packet::Subscribe(subscribe) => {
            let lines = subscribe.filters().map(|filter| {
                format!(
                    "Client {id} sending SUBSCRIBE (Mid: {}, Topic: {}, QoS: {}, Options: 0x{:02x})",
                    subscribe.packet_id.get(),
                    shown(filter.filter),
                    filter.options.qos.bits(),
                    filter.options.bits() & !3
                )
            });
            return lines.collect();
        }
        Packet::SubAck(suback) => {
            let codes: Vec<String> = suback.codes.iter().map(ToString::to_string).collect();
            return vec![
                format!("Client {id} received SUBACK"),
                format!("Subscribed (mid: {}): {}", suback.packet_id.get(), codes.join(", ")),
            ];
        }
        Packet::Unsubscribe(unsubscribe) => {
            let lines = unsubscribe.filters().map(|filter| {
                let filter = shown(filter);
                format!(
                    "Client {id} sending UNSUBSCRIBE (Mid: {}, Topic: {filter})",
                    unsubscribe.packet_id.get()
                )
            });
            return lines.collect();
        }
        Packet::UnsubAck(_) => "UNSUBACK".to_owned(),
        Packet::PingReq => "PINGREQ".to_owned(),
        Packet::PingResp => "PINGRESP".to_owned(),
        Packet::Disconnect(disconnect) if direction == Direction::Received => {
            format!("DISCONNECT ({})", disconnect.reason.0)
        }
        Packet::Disconnect(_) => "DISCONNECT".to_owned(),
        Packet::Auth(_) => "AUTH".to_owned(),
    };
    let way = match direction {
        Direction::Sent => "sending",
        Direction::Received => "received",
    };
    vec![format!("Client {id} {way} {what}")]
}

fn debug_ack(kind: &str, direction: Direction, ack: &Ack<'_>, qos: QoS) -> String {
    let id = ack.packet_id.get();
    match (direction, qos) {
        (Direction::Sent, _) => format!("{kind} (m{id}, rc{})", ack.reason.0),
        (Direction::Received, QoS::AtLeastOnce) => format!("{kind} (Mid: {id}, RC:{})", ack.reason.0),
        (Direction::Received, _) => format!("{kind} (Mid: {id})"),
    }
}

#[cfg(test)]
mod tests {
    use cork_packet::{PacketId, PropertiesBuf, SubscribeBuf};

    use super::*;

    #[test]
    fn a_publish_in_words() {
        let properties: PropertiesBuf =
            [Property::ContentType("text/plain"), Property::UserProperty("a", "b\x1b")].into_iter().collect();
        let mut publish = Publish {
            dup: true,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: "a/b",
            packet_id: PacketId::new(7),
            properties: properties.as_properties(),
            payload: b"21.5\n",
        };
        let line = describe(Direction::Received, ProtocolVersion::V5, &Packet::Publish(publish));
        assert_eq!(
            line,
            r#"<- PUBLISH #7 "a/b" QoS 1 retain DUP 5 bytes "21.5\n" [content-type "text/plain"] [user-property "a"="b\u{1b}"]"#
        );
        publish.payload = b"\xff\x01";
        assert!(describe(Direction::Sent, ProtocolVersion::V5, &Packet::Publish(publish)).contains("0xff01"));
        let long = "\u{e4}".repeat(100);
        let long = format!("x{long}");
        publish.payload = long.as_bytes();
        let line = describe(Direction::Sent, ProtocolVersion::V5, &Packet::Publish(publish));
        assert!(line.contains("201 bytes") && line.contains("\u{e4}\"..."), "{line}");
    }

    #[test]
    fn a_connect_keeps_its_password() {
        let connect = Connect {
            version: ProtocolVersion::V311,
            bridge: false,
            clean_start: true,
            keep_alive: 60,
            client_id: "me",
            will: None,
            user_name: Some("ann"),
            password: Some(b"secret"),
            properties: Properties::EMPTY,
        };
        let line = describe(Direction::Sent, ProtocolVersion::V311, &Packet::Connect(connect));
        assert_eq!(
            line,
            r#"-> CONNECT 3.1.1 client "me", Clean Start, Keep Alive 60 s, user "ann", a password"#
        );
    }

    #[test]
    fn what_mosquitto_prints() {
        let id = PacketId::new(2).unwrap();
        let mut filters = SubscribeBuf::new();
        for (filter, qos) in [("a", QoS::AtMostOnce), ("b/#", QoS::ExactlyOnce)] {
            let options =
                SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::with_qos(qos) };
            filters.push(filter, options).unwrap();
        }
        let subscribe = Packet::Subscribe(filters.subscribe(id, Properties::EMPTY));
        assert_eq!(
            debug_lines("me", Direction::Sent, &subscribe),
            [
                "Client me sending SUBSCRIBE (Mid: 2, Topic: a, QoS: 0, Options: 0x08)",
                "Client me sending SUBSCRIBE (Mid: 2, Topic: b/#, QoS: 2, Options: 0x08)",
            ]
        );
        let ack = Ack { packet_id: id, reason: ReasonCode::SUCCESS, properties: Properties::EMPTY };
        for (direction, packet, wanted) in [
            (Direction::Received, Packet::PubAck(ack), "Client me received PUBACK (Mid: 2, RC:0)"),
            (Direction::Sent, Packet::PubAck(ack), "Client me sending PUBACK (m2, rc0)"),
            (Direction::Received, Packet::PubRec(ack), "Client me received PUBREC (Mid: 2)"),
            (Direction::Sent, Packet::PubRel(ack), "Client me sending PUBREL (m2)"),
            (Direction::Received, Packet::PubComp(ack), "Client me received PUBCOMP (Mid: 2, RC:0)"),
            (Direction::Sent, Packet::PubComp(ack), "Client me sending PUBCOMP (m2)"),
            (Direction::Sent, Packet::PingReq, "Client me sending PINGREQ"),
        ] {
            assert_eq!(debug_lines("me", direction, &packet), [wanted]);
        }
    }
}
