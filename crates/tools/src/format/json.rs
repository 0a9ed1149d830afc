//! `%j` and `%J`: JSON just as mosquitto_sub writes it, which is how the library cJSON does.

use cork_packet::Property;

use crate::{
    message::{Message, name, property_value},
    moment::Moment,
    value::{Value, escape},
};

/// The payload of `%J`; an empty one is `null`.
pub(super) fn payload(bytes: &[u8]) -> Option<Value> {
    if bytes.is_empty() { Some(Value::Null) } else { Value::from_json(bytes) }
}

/// Appends the object. `value`: what the payload says, for `%J`; else it is quoted.
pub(super) fn write(
    message: &Message<'_>,
    moment: &Moment,
    value: Option<Value>,
    pretty: bool,
    out: &mut Vec<u8>,
) {
    let length = u32::try_from(message.payload.len()).unwrap_or(u32::MAX);
    let mut members = vec![
        ("tst", moment.mosquitto().as_str().into()),
        ("topic", message.topic.into()),
        ("qos", u32::from(message.qos.bits()).into()),
        ("retain", u32::from(message.retain).into()),
        ("payloadlen", length.into()),
    ];
    if message.packet_id != 0 {
        members.push(("mid", u32::from(message.packet_id).into()));
    }
    if !message.properties.is_empty() {
        members.push(("properties", properties(message)));
    }
    members.push(("payload", value.unwrap_or_else(|| quoted(message.payload))));
    node(&Value::object(members), pretty.then_some(0), out);
}

fn quoted(payload: &[u8]) -> Value {
    if payload.is_empty() { Value::Null } else { Value::Bytes(payload.to_vec()) }
}

/// All User Properties stand in one object, where the first of them stood.
fn properties(message: &Message<'_>) -> Value {
    let mut members: Vec<(Value, Value)> = Vec::new();
    let users = Value::from("user-properties");
    for property in message.properties.iter() {
        match property {
            Property::UserProperty(name, value) => {
                let pair = (name.into(), value.into());
                match members.iter_mut().find(|(name, _)| *name == users) {
                    Some((_, Value::Map(pairs))) => pairs.push(pair),
                    _ => members.push((users.clone(), Value::Map(vec![pair]))),
                }
            }
            Property::CorrelationData(data) => {
                members.push((name(&property).as_str().into(), Value::Bytes(data.to_vec())));
            }
            other => members.push((name(&other).as_str().into(), property_value(&other))),
        }
    }
    Value::Map(members)
}

/// `depth`: of tabs, if it is to be pretty.
fn node(value: &Value, depth: Option<usize>, out: &mut Vec<u8>) {
    match value {
        Value::Null | Value::Tagged(..) => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Integer(value) => {
            #[expect(clippy::cast_precision_loss, reason = "cJSON knows no other numbers than these")]
            number(*value as f64, out);
        }
        Value::Float(value) => number(*value, out),
        Value::Text(text) => string(text.as_bytes(), out),
        Value::Bytes(bytes) => string(bytes, out),
        Value::List(values) => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(if depth.is_some() { b", " } else { b"," });
                }
                node(value, depth.map(|depth| depth + 1), out);
            }
            out.push(b']');
        }
        Value::Map(members) => object(members, depth, out),
    }
}

fn object(members: &[(Value, Value)], depth: Option<usize>, out: &mut Vec<u8>) {
    let tabs = |count: usize, out: &mut Vec<u8>| out.extend(std::iter::repeat_n(b'\t', count));
    out.extend_from_slice(if depth.is_some() { b"{\n" } else { b"{" });
    for (at, (name, value)) in members.iter().enumerate() {
        if let Some(depth) = depth {
            tabs(depth + 1, out);
        }
        node(name, None, out);
        out.extend_from_slice(if depth.is_some() { b":\t" } else { b":" });
        node(value, depth.map(|depth| depth + 1), out);
        if at + 1 < members.len() {
            out.push(b',');
        }
        if depth.is_some() {
            out.push(b'\n');
        }
    }
    if let Some(depth) = depth {
        tabs(depth, out);
    }
    out.push(b'}');
}

/// cJSON stops at a NUL and passes on what is no UTF-8. Here the one is written out and the other becomes U+FFFD, so that
/// it is JSON whatever the bytes are.
fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in String::from_utf8_lossy(bytes).bytes() {
        match escape(char::from(byte)) {
            Some(escape) => out.extend_from_slice(escape.as_bytes()),
            None if byte < b' ' => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            None => out.push(byte),
        }
    }
    out.push(b'"');
}

/// As printf(3) with `%1.15g`, and with `%1.17g` where that is another number.
fn number(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return out.extend_from_slice(b"null");
    }
    let short = general(value, 15);
    let same = short
        .parse::<f64>()
        .is_ok_and(|back| (back - value).abs() <= back.abs().max(value.abs()) * f64::EPSILON);
    out.extend_from_slice(if same { short } else { general(value, 17) }.as_bytes());
}

/// `%g` with this many significant digits.
fn general(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let precision = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= precision {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(precision - 1 - exponent).unwrap_or(0);
    without_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}
