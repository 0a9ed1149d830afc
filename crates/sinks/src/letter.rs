//! Dead letters: rows that a target refuses, with the reason, as messages.

use bytes::Bytes;
use cork_client::{Publish, QoS};
use cork_sink::Row;

use crate::desk::CLIENT_ID;

/// The topic of a sink's dead letters, and with `/` and a row's topic behind it of one of them.
pub(crate) fn topic(sink: &str) -> String {
    format!("{PREFIX}{sink}")
}

/// All dead letters of a sink.
pub(crate) fn filter(sink: &str) -> String {
    format!("{}/#", topic(sink))
}

/// Where dead letters are.
pub(crate) const PREFIX: &str = "$dead/";
const TOPIC_BYTES_MAX: usize = 65_535;
/// What is kept of a reason.
const REASON_BYTES_MAX: usize = 4096;
/// The first of the properties that are added.
const FIRST: &str = "dead-reason";

/// The letter of a row: its payload and its own properties, and all else that it takes to make it again.
pub(crate) fn write(sink: &str, row: &Row, reason: &str) -> Publish {
    let full = format!("{}/{}", topic(sink), row.topic);
    let topic = if full.len() <= TOPIC_BYTES_MAX { full } else { topic(sink) };
    let mut publish = Publish::new(topic, Bytes::clone(&row.payload)).qos(QoS::AtLeastOnce);
    if let Some(content_type) = &row.content_type {
        publish = publish.content_type(content_type);
    }
    for (name, value) in &row.user_properties {
        publish = publish.user_property(name, value);
    }
    let (time, qos) = (row.time.to_string(), row.qos.to_string());
    // A database may say the whole value that it does not like; a property holds 65535 bytes.
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    let own = [
        (FIRST, reason),
        ("dead-topic", &row.topic),
        ("dead-id", &row.id),
        ("dead-time", &time),
        ("dead-qos", &qos),
        ("dead-retain", if row.retain { "true" } else { "false" }),
        ("dead-client-id", &row.client_id),
    ];
    let user = row.user.as_deref().map(|user| ("dead-user", user));
    own.into_iter().chain(user).fold(publish, |publish, (name, value)| publish.user_property(name, value))
}

/// Why a letter is one.
pub(crate) fn reason(letter: &Row) -> Option<String> {
    let (_, own) = apart(letter)?;
    own.first().map(|(_, value)| value.to_string())
}

type Properties = [(Box<str>, Box<str>)];

/// The properties of the row, and those of the letter. The sender's may have the same names; the letter's come last.
fn apart(letter: &Row) -> Option<(&Properties, &Properties)> {
    let all = &letter.user_properties;
    let start = all.iter().rposition(|(name, _)| &**name == FIRST)?;
    Some(all.split_at(start))
}

/// The row of a letter; `None` if it is none. What anybody else published is none, whatever it says: it would make rows
/// under others' names.
pub(crate) fn read(letter: &Row) -> Option<Row> {
    if *letter.client_id != *CLIENT_ID {
        return None;
    }
    let (properties, letters) = apart(letter)?;
    let own = |name: &str| letters.iter().find(|(other, _)| **other == *name).map(|(_, value)| value.clone());
    Some(Row {
        id: own("dead-id")?,
        time: own("dead-time")?.parse().ok()?,
        topic: own("dead-topic")?,
        payload: Bytes::clone(&letter.payload),
        qos: own("dead-qos")?.parse().ok()?,
        retain: &*own("dead-retain")? == "true",
        client_id: own("dead-client-id")?,
        user: own("dead-user"),
        content_type: letter.content_type.clone(),
        user_properties: properties.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(row: &Row) -> (String, Row) {
        let publish = write("readings", row, "no number");
        let properties = publish.properties();
        let pairs = properties.user_properties().map(|(name, value)| (name.into(), value.into()));
        let arrived = Row {
            user_properties: pairs.collect(),
            content_type: properties.content_type().map(Into::into),
            client_id: CLIENT_ID.into(),
            ..Row::new("2", 9, publish.topic(), publish.payload())
        };
        (publish.topic().to_owned(), arrived)
    }

    #[test]
    fn a_reason_of_any_length_makes_a_letter() {
        let row = Row::new("0-0-7", -5, "sensors/a", b"x");
        let publish = write("readings", &row, &"ä".repeat(40_000));
        assert_eq!(publish.check(), Ok(()));
        let kept = publish.properties().user_properties().find(|(name, _)| *name == FIRST);
        assert_eq!(kept.map(|(_, value)| value.len()), Some(REASON_BYTES_MAX));
    }

    #[test]
    fn a_row_comes_back_from_its_letter() {
        let mut row = Row::new("0-0-7", -5, "sensors/a", b"\xFFx");
        row.user_properties = vec![("a".into(), "1".into()), ("a".into(), "2".into())];
        for (user, retain) in [(None, true), (Some("ann".into()), false)] {
            row = Row {
                user,
                retain,
                qos: 2,
                content_type: Some("x/y".into()),
                client_id: "lamp".into(),
                ..row
            };
            let (topic, arrived) = letter(&row);
            assert_eq!(topic, "$dead/readings/sensors/a");
            assert!(
                arrived
                    .user_properties
                    .iter()
                    .any(|(name, value)| &**name == "dead-reason" && &**value == "no number")
            );
            assert_eq!(read(&arrived), Some(row.clone()));
        }
        assert_eq!(read(&row), None);
    }

    #[test]
    fn nobody_passes_for_somebody_else() {
        let forged = [("dead-user", "admin"), ("dead-reason", "x"), ("dead-id", "1"), ("plain", "y")];
        let user_properties = forged.map(|(name, value)| (name.into(), value.into())).to_vec();
        let row = Row { user_properties, ..Row::new("0-0-7", 5, "t", b"1") };
        let (_, arrived) = letter(&row);
        assert_eq!(read(&arrived), Some(row));
        assert_eq!(reason(&arrived).as_deref(), Some("no number"));
        assert_eq!(read(&Row { client_id: "mallory".into(), ..arrived }), None);
    }

    #[test]
    fn the_longest_topic_has_room() {
        let row = Row::new("1", 0, &"t".repeat(TOPIC_BYTES_MAX), b"");
        let (topic, arrived) = letter(&row);
        assert_eq!(topic, "$dead/readings");
        assert_eq!(read(&arrived).map(|row| row.topic.len()), Some(TOPIC_BYTES_MAX));
    }
}
