//! `-D COMMAND NAME VALUE`: Properties from the command line, named as mosquitto's clients name them.

use cork_packet::{Properties, PropertiesBuf, Property, PropertyId, PropertyPlace};

/// Properties for each packet that can carry some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandProperties {
    /// Of CONNECT.
    pub connect: PropertiesBuf,
    /// Of the Will.
    pub will: PropertiesBuf,
    /// Of PUBLISH.
    pub publish: PropertiesBuf,
    /// Of SUBSCRIBE.
    pub subscribe: PropertiesBuf,
    /// Of UNSUBSCRIBE.
    pub unsubscribe: PropertiesBuf,
    /// Of DISCONNECT.
    pub disconnect: PropertiesBuf,
}

/// All that exist, as users write them.
const NAMES: [(&str, PropertyId); 17] = [
    ("authentication-data", PropertyId::AuthenticationData),
    ("authentication-method", PropertyId::AuthenticationMethod),
    ("content-type", PropertyId::ContentType),
    ("correlation-data", PropertyId::CorrelationData),
    ("maximum-packet-size", PropertyId::MaximumPacketSize),
    ("message-expiry-interval", PropertyId::MessageExpiryInterval),
    ("payload-format-indicator", PropertyId::PayloadFormatIndicator),
    ("reason-string", PropertyId::ReasonString),
    ("receive-maximum", PropertyId::ReceiveMaximum),
    ("request-problem-information", PropertyId::RequestProblemInformation),
    ("request-response-information", PropertyId::RequestResponseInformation),
    ("response-topic", PropertyId::ResponseTopic),
    ("session-expiry-interval", PropertyId::SessionExpiryInterval),
    ("subscription-identifier", PropertyId::SubscriptionIdentifier),
    ("topic-alias", PropertyId::TopicAlias),
    ("topic-alias-maximum", PropertyId::TopicAliasMaximum),
    ("will-delay-interval", PropertyId::WillDelayInterval),
];
/// The one that has a name and a value of its own.
const USER_PROPERTY: &str = "user-property";

impl CommandProperties {
    /// Whether none was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds one: command, name, value; for `user-property` command, name, key, value.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn add(&mut self, words: &[String]) -> Result<(), String> {
        let [command, name, values @ ..] = words else {
            return Err("a Property is COMMAND NAME VALUE, as in `-D publish content-type text/plain`".into());
        };
        let (place, buffer) = self.place(command)?;
        let (id, property) = if name.eq_ignore_ascii_case(USER_PROPERTY) {
            let [key, value] = values else {
                return Err(format!(
                    "`{name}` has a name and a value, as in `-D {command} {name} room kitchen`"
                ));
            };
            (PropertyId::UserProperty, Property::UserProperty(key, value))
        } else {
            let Some((_, id)) = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
                let known: Vec<_> = NAMES.iter().map(|(known, _)| *known).chain([USER_PROPERTY]).collect();
                return Err(format!("there is no Property `{name}`; there are {}", known.join(", ")));
            };
            let [value] = values else {
                return Err(format!("`{name}` has one value, as in `-D {command} {name} VALUE`"));
            };
            (*id, property(*id, name, value)?)
        };
        if !place.allows(id) {
            return Err(format!("`{name}` does not belong to {}", command.to_uppercase()));
        }
        let Some(buffer) = buffer else { return Ok(()) };
        let mut with = buffer.clone();
        with.push(property);
        let lone = PropertiesBuf::from_iter([property]);
        if let Err(error) = lone.check() {
            let instead = if place == PropertyPlace::PublishToServer {
                "; shorten it, or send it as the message (-f FILE)"
            } else {
                "; shorten it"
            };
            return Err(format!("`{name}` cannot be that long: {error}{instead}"));
        }
        // Authentication Data comes before or after its method: only the value is looked at here.
        let checked = if id == PropertyId::AuthenticationData { &PropertiesBuf::new() } else { &lone };
        if let Err(error) = Properties::decode(checked.as_properties().raw(), place) {
            return Err(format!("`{name}` cannot be {}: {error}", values.join(" ")));
        }
        if id != PropertyId::UserProperty && buffer.as_properties().has(id) {
            return Err(format!("`{name}` stands twice for {}", command.to_uppercase()));
        }
        *buffer = with;
        Ok(())
    }

    /// What may stand there, and where it is kept; acknowledgements send none, but scripts may name them.
    fn place(&mut self, command: &str) -> Result<(PropertyPlace, Option<&mut PropertiesBuf>), String> {
        Ok(match command.to_ascii_lowercase().as_str() {
            "connect" => (PropertyPlace::Connect, Some(&mut self.connect)),
            "will" => (PropertyPlace::Will, Some(&mut self.will)),
            "publish" => (PropertyPlace::PublishToServer, Some(&mut self.publish)),
            "subscribe" => (PropertyPlace::Subscribe, Some(&mut self.subscribe)),
            "unsubscribe" => (PropertyPlace::Unsubscribe, Some(&mut self.unsubscribe)),
            "disconnect" => (PropertyPlace::DisconnectToServer, Some(&mut self.disconnect)),
            "puback" | "pubrec" | "pubrel" | "pubcomp" => (PropertyPlace::Acknowledgement, None),
            "auth" => (PropertyPlace::Auth, None),
            _ => {
                return Err(format!(
                    "`{command}` has no Properties; there are connect, will, publish, subscribe, unsubscribe, disconnect"
                ));
            }
        })
    }
}

fn property<'a>(id: PropertyId, name: &str, value: &'a str) -> Result<Property<'a>, String> {
    let number = |most: u32| {
        value
            .parse::<u32>()
            .ok()
            .filter(|number| *number <= most)
            .ok_or_else(|| format!("`{name}` is a whole number from 0 to {most}, not `{value}`"))
    };
    let short = || number(u16::MAX.into()).map(|number| u16::try_from(number).unwrap_or(u16::MAX));
    let flag = || number(1).map(|number| number == 1);
    Ok(match id {
        PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(flag()?.into()),
        PropertyId::RequestProblemInformation => Property::RequestProblemInformation(flag()?),
        PropertyId::RequestResponseInformation => Property::RequestResponseInformation(flag()?),
        PropertyId::ReceiveMaximum => Property::ReceiveMaximum(short()?),
        PropertyId::TopicAlias => Property::TopicAlias(short()?),
        PropertyId::TopicAliasMaximum => Property::TopicAliasMaximum(short()?),
        PropertyId::MaximumPacketSize => Property::MaximumPacketSize(number(u32::MAX)?),
        PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(number(u32::MAX)?),
        PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(number(u32::MAX)?),
        PropertyId::WillDelayInterval => Property::WillDelayInterval(number(u32::MAX)?),
        PropertyId::SubscriptionIdentifier => Property::SubscriptionIdentifier(number(268_435_455)?),
        PropertyId::AuthenticationData => Property::AuthenticationData(value.as_bytes()),
        PropertyId::CorrelationData => Property::CorrelationData(value.as_bytes()),
        PropertyId::AuthenticationMethod => Property::AuthenticationMethod(value),
        PropertyId::ContentType => Property::ContentType(value),
        PropertyId::ReasonString => Property::ReasonString(value),
        PropertyId::ResponseTopic => Property::ResponseTopic(value),
        // No other is among the names.
        _ => return Err(format!("`{name}` is not for clients to say")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(to: &mut CommandProperties, words: &str) -> Result<(), String> {
        to.add(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_packet_has_its_own() {
        let mut properties = CommandProperties::default();
        for words in [
            "connect receive-maximum 10",
            "CONNECT user-property a b",
            "connect USER-property a c",
            "connect authentication-data x",
            "connect authentication-method m",
            "will will-delay-interval 5",
            "publish Content-TYPE text/plain",
            "publish topic-alias 3",
            "subscribe subscription-identifier 42",
            "disconnect session-expiry-interval 0",
            "disconnect reason-string done",
            "pubrel user-property a b",
        ] {
            add(&mut properties, words).unwrap();
        }
        assert_eq!(properties.connect.as_properties().iter().count(), 5);
        assert_eq!(properties.publish.as_properties().content_type(), Some("text/plain"));
        assert_eq!(properties.subscribe.as_properties().subscription_identifier(), Some(42));
        assert!(properties.unsubscribe.is_empty());
    }

    #[test]
    fn faults_say_what_would_be_right() {
        let long = "x".repeat(65_536);
        for (words, part) in [
            ("publish", "COMMAND NAME VALUE"),
            ("pingreq content-type x", "`pingreq` has no Properties"),
            ("publish contenttype x", "there are authentication-data"),
            ("connect content-type x", "does not belong to CONNECT"),
            ("publish reason-string x", "does not belong to PUBLISH"),
            ("publish content-type", "one value"),
            ("publish content-type a b", "one value"),
            ("publish user-property a", "a name and a value"),
            ("connect receive-maximum 0", "cannot be 0"),
            ("connect receive-maximum 70000", "from 0 to 65535"),
            ("connect receive-maximum x", "not `x`"),
            ("publish payload-format-indicator 2", "from 0 to 1"),
            ("subscribe subscription-identifier 0", "cannot be 0"),
            ("publish response-topic a/#", "cannot be a/#"),
            (&format!("publish content-type {long}"), "Content Type has 65536 bytes; at most 65535 fit"),
            (&format!("publish user-property a {long}"), "or send it as the message (-f FILE)"),
            (&format!("connect user-property {long} b"), "shorten it"),
            (&format!("will correlation-data {long}"), "Correlation Data has 65536 bytes"),
        ] {
            let error = add(&mut CommandProperties::default(), words).unwrap_err();
            assert!(error.contains(part), "{words}: {error}");
        }
        let mut properties = CommandProperties::default();
        add(&mut properties, "publish content-type a").unwrap();
        assert!(add(&mut properties, "publish content-type b").unwrap_err().contains("twice"));
    }
}
