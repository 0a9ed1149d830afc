//! Packets as bytes, made by hand: the tests' own encoder.

/// Protocol version: the level byte of CONNECT.
pub type Version = u8;
/// MQTT 3.1 (`MQIsdp`).
pub const V31: Version = 3;
/// MQTT 3.1.1.
pub const V311: Version = 4;
/// MQTT 5.0.
pub const V5: Version = 5;

/// A UTF-8 Encoded String, or Binary Data: length and bytes.
///
/// # Panics
/// `text` has more than 65,535 bytes.
#[must_use]
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let length = u16::try_from(text.len()).expect("a string of a test fits");
    [&length.to_be_bytes()[..], text].concat()
}

/// A Variable Byte Integer.
#[must_use]
pub fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = (value & 0x7F).to_le_bytes();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A packet: first byte, length, body.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &varint(body.len()), body].concat()
}

/// A property block: length and properties.
#[must_use]
pub fn properties(properties: &[u8]) -> Vec<u8> {
    [&varint(properties.len())[..], properties].concat()
}

/// The length of the packet at the front, once it is complete.
#[must_use]
pub fn packet_length(bytes: &[u8]) -> Option<usize> {
    let (mut length, mut shift, mut at) = (0usize, 0, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7F) << shift;
        (shift, at) = (shift + 7, at + 1);
        if byte & 0x80 == 0 {
            return (bytes.len() >= at + length).then_some(at + length);
        }
    }
}

/// A Will for [`Connect`].
#[derive(Clone, Debug, Default)]
pub struct Will {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS bits.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Raw v5 properties.
    pub properties: Vec<u8>,
}

/// A CONNECT to be filled in.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Level byte; the name follows from it unless `name` is set.
    pub version: Version,
    /// Protocol name.
    pub name: String,
    /// Clean Start, or CleanSession.
    pub clean: bool,
    /// Seconds.
    pub keep_alive: u16,
    /// Client Identifier.
    pub client_id: String,
    /// Will.
    pub will: Option<Will>,
    /// User Name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Raw v5 properties.
    pub properties: Vec<u8>,
}

impl Connect {
    /// Clean, Keep Alive 0, nothing else.
    #[must_use]
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            name: if version == V31 { "MQIsdp" } else { "MQTT" }.to_owned(),
            clean: true,
            keep_alive: 0,
            client_id: client_id.to_owned(),
            will: None,
            user: None,
            password: None,
            properties: Vec::new(),
        }
    }

    /// A Session that stays: CleanSession 0; in v5 also a Session Expiry Interval of 3600 s.
    #[must_use]
    pub fn persistent(version: Version, client_id: &str) -> Self {
        let properties = if version == V5 { vec![0x11, 0, 0, 0x0E, 0x10] } else { Vec::new() };
        Self { clean: false, properties, ..Self::new(version, client_id) }
    }

    /// With a Will of QoS 0.
    #[must_use]
    pub fn with_will(self, topic: &str, payload: &[u8]) -> Self {
        let will = Will { topic: topic.to_owned(), payload: payload.to_vec(), ..Will::default() };
        Self { will: Some(will), ..self }
    }

    /// The connect flags byte that follows from the fields.
    #[must_use]
    pub fn flags(&self) -> u8 {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | (will.qos << 3) | (u8::from(will.retain) << 5);
        }
        flags | (u8::from(self.password.is_some()) << 6) | (u8::from(self.user.is_some()) << 7)
    }

    /// The packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with_flags(self.flags())
    }

    /// The packet with other connect flags than the fields ask for.
    #[must_use]
    pub fn bytes_with_flags(&self, flags: u8) -> Vec<u8> {
        let v5 = self.version & 0x7F == V5;
        let mut body = string(&self.name);
        body.extend([self.version, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if v5 {
            body.extend(properties(&self.properties));
        }
        body.extend(string(&self.client_id));
        if let Some(will) = &self.will {
            if v5 {
                body.extend(properties(&will.properties));
            }
            body.extend(string(&will.topic));
            body.extend(string(&will.payload));
        }
        if let Some(user) = &self.user {
            body.extend(string(user));
        }
        if let Some(password) = &self.password {
            body.extend(string(password));
        }
        packet(0x10, &body)
    }
}

/// PUBLISH without properties. `flags`: the low four bits (DUP 8, QoS 2/4, RETAIN 1).
#[must_use]
pub fn publish(version: Version, flags: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    publish_with(version, flags, topic, id, &[], payload)
}

/// PUBLISH with raw v5 properties.
#[must_use]
pub fn publish_with(
    version: Version,
    flags: u8,
    topic: &str,
    id: Option<u16>,
    props: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = string(topic);
    if let Some(id) = id {
        body.extend(id.to_be_bytes());
    }
    if version == V5 {
        body.extend(properties(props));
    }
    body.extend(payload);
    packet(0x30 | flags, &body)
}

/// An acknowledgement in its short form: first byte 0x40 PUBACK, 0x50 PUBREC, 0x62 PUBREL, 0x70 PUBCOMP.
#[must_use]
pub fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// A v5 acknowledgement with a Reason Code.
#[must_use]
pub fn ack_with(first: u8, id: u16, reason: u8) -> Vec<u8> {
    packet(first, &[&id.to_be_bytes()[..], &[reason]].concat())
}

/// SUBSCRIBE without properties; each filter with its options byte (QoS in the low two bits).
#[must_use]
pub fn subscribe(version: Version, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(version, id, &[], filters)
}

/// SUBSCRIBE with raw v5 properties.
#[must_use]
pub fn subscribe_with(version: Version, id: u16, props: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == V5 {
        body.extend(properties(props));
    }
    for (filter, options) in filters {
        body.extend(string(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// UNSUBSCRIBE.
#[must_use]
pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == V5 {
        body.push(0);
    }
    for filter in filters {
        body.extend(string(filter));
    }
    packet(0xA2, &body)
}

/// DISCONNECT in its short form.
#[must_use]
pub fn disconnect() -> Vec<u8> {
    vec![0xE0, 0]
}

/// A v5 DISCONNECT with Reason Code and raw properties.
#[must_use]
pub fn disconnect_with(reason: u8, props: &[u8]) -> Vec<u8> {
    packet(0xE0, &[&[reason][..], &properties(props)].concat())
}

/// A v5 AUTH.
#[must_use]
pub fn auth(reason: u8, method: &str, data: &[u8]) -> Vec<u8> {
    let mut props = vec![0x15];
    props.extend(string(method));
    props.push(0x16);
    props.extend(string(data));
    packet(0xF0, &[&[reason][..], &properties(&props)].concat())
}

/// PINGREQ.
#[must_use]
pub fn pingreq() -> Vec<u8> {
    vec![0xC0, 0]
}
