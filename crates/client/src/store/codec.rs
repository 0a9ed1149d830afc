//! Records as bytes.

use cork_packet::{PacketId, Properties, PropertiesBuf, PropertyPlace, QoS};

use crate::{Publish, machine::Record};

const SESSION: u8 = 1;
const ACCEPTED: u8 = 2;
const SENT: u8 = 3;
const RELEASED: u8 = 4;
const FINISHED: u8 = 5;
const RECEIVED: u8 = 6;
const COMPLETED: u8 = 7;
const SESSION_LOST: u8 = 8;
const NEXT: u8 = 9;

/// Length and checksum.
const HEAD: usize = 8;

/// Appends a record with its head.
pub(super) fn write(record: &Record, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    match record {
        Record::Session(client_id) => {
            out.push(SESSION);
            out.extend_from_slice(client_id.as_bytes());
        }
        Record::Accepted(number, publish) => {
            out.push(ACCEPTED);
            out.extend_from_slice(&number.to_le_bytes());
            out.push(publish.qos.bits() | u8::from(publish.retain) << 2);
            put(publish.topic.as_bytes(), out);
            put(publish.properties.as_properties().raw(), out);
            out.extend_from_slice(&publish.payload);
        }
        Record::Sent(number, packet_id) => {
            out.push(SENT);
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&packet_id.get().to_le_bytes());
        }
        Record::Next(number) | Record::Released(number) | Record::Finished(number) => {
            out.push(match record {
                Record::Next(_) => NEXT,
                Record::Released(_) => RELEASED,
                _ => FINISHED,
            });
            out.extend_from_slice(&number.to_le_bytes());
        }
        Record::Received(packet_id) | Record::Completed(packet_id) => {
            out.push(if matches!(record, Record::Received(_)) { RECEIVED } else { COMPLETED });
            out.extend_from_slice(&packet_id.get().to_le_bytes());
        }
        Record::SessionLost => out.push(SESSION_LOST),
    }
    let body = out.len() - start - HEAD;
    let length = u32::try_from(body).unwrap_or(u32::MAX); // a packet is smaller than 256 MiB
    let checksum = crc32fast::hash(&out[start + HEAD..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + HEAD].copy_from_slice(&checksum.to_le_bytes());
}

fn put(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Reads records up to the first that is cut short or damaged; returns how many bytes the good ones take.
pub(super) fn read(log: &[u8], mut take: impl FnMut(Record)) -> usize {
    let mut rest = log;
    while let Some((record, after)) = next(rest) {
        take(record);
        rest = after;
    }
    log.len() - rest.len()
}

fn next(log: &[u8]) -> Option<(Record, &[u8])> {
    let (length, rest) = log.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let (body, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    Some((record(body)?, rest))
}

fn record(body: &[u8]) -> Option<Record> {
    let (&kind, body) = body.split_first()?;
    Some(match kind {
        SESSION => Record::Session(str::from_utf8(body).ok()?.into()),
        ACCEPTED => {
            let (number, body) = body.split_first_chunk()?;
            Record::Accepted(u64::from_le_bytes(*number), publish(body)?)
        }
        SENT => {
            let (number, body) = body.split_first_chunk()?;
            Record::Sent(u64::from_le_bytes(*number), packet_id(body)?)
        }
        NEXT => Record::Next(u64::from_le_bytes(body.try_into().ok()?)),
        RELEASED => Record::Released(u64::from_le_bytes(body.try_into().ok()?)),
        FINISHED => Record::Finished(u64::from_le_bytes(body.try_into().ok()?)),
        RECEIVED => Record::Received(packet_id(body)?),
        COMPLETED => Record::Completed(packet_id(body)?),
        SESSION_LOST => Record::SessionLost,
        _ => return None,
    })
}

fn packet_id(bytes: &[u8]) -> Option<PacketId> {
    PacketId::new(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn publish(body: &[u8]) -> Option<Publish> {
    let (&flags, body) = body.split_first()?;
    let (topic, body) = get(body)?;
    let (properties, payload) = get(body)?;
    let properties = Properties::decode(properties, PropertyPlace::PublishToServer).ok()?;
    Some(Publish {
        topic: str::from_utf8(topic).ok()?.into(),
        payload: payload.to_vec().into(),
        qos: QoS::from_bits(flags & 3)?,
        retain: flags & 4 != 0,
        properties: PropertiesBuf::from(properties),
    })
}

fn get(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}
