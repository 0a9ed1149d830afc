//! The JSON of a batch for a page of many topics. It is written by hand: a thousand small messages some times a second are
//! most of what such a page costs outside of the shards, and all but their texts and numbers is the same in each.

use cork_broker::Sampled;
use cork_client::QoS;
use cork_store::WallTime;
use serde::Serialize;

use crate::{
    message::{Encoding, MessageView, PropertiesView, shown},
    time::{self, Writer},
};

/// A batch on its way to a page.
#[derive(Debug)]
pub(super) struct Batch {
    json: Vec<u8>,
    items: usize,
    clock: Writer,
    pub(super) seen: u64,
    pub(super) skipped: u64,
    pub(super) waiting: usize,
}

impl Batch {
    /// An empty one. `length`: of the one before it, which this one is about as long as.
    pub(super) fn new(at: WallTime, length: usize) -> Self {
        let mut json = Vec::with_capacity(length + length / 8);
        json.extend_from_slice(b"{\"time\":");
        text(&mut json, &time::text(at));
        json.extend_from_slice(b",\"items\":[");
        Self { json, items: 0, clock: Writer::default(), seen: 0, skipped: 0, waiting: 0 }
    }

    /// Adds a message that was noted: what a [`MessageView`] of it says. `qos`: at most.
    pub(super) fn live(&mut self, one: &Sampled<'_>, qos: QoS) {
        self.next();
        let truncated = one.size > one.payload.len();
        let (payload, encoding) = shown(one.payload, truncated);
        let (time, json) = (self.clock.write(one.at), &mut self.json);
        json.extend_from_slice(b"{\"topic\":");
        text(json, one.topic);
        json.extend_from_slice(b",\"payload\":");
        text(json, &payload);
        json.extend_from_slice(match encoding {
            Encoding::Utf8 => b",\"encoding\":\"utf8\",\"size\":",
            Encoding::Base64 => b",\"encoding\":\"base64\",\"size\":",
        });
        number(json, one.size as u64);
        json.extend_from_slice(match (truncated, one.qos.min(qos)) {
            (false, QoS::AtMostOnce) => b",\"truncated\":false,\"qos\":0",
            (false, QoS::AtLeastOnce) => b",\"truncated\":false,\"qos\":1",
            (false, QoS::ExactlyOnce) => b",\"truncated\":false,\"qos\":2",
            (true, QoS::AtMostOnce) => b",\"truncated\":true,\"qos\":0",
            (true, QoS::AtLeastOnce) => b",\"truncated\":true,\"qos\":1",
            (true, QoS::ExactlyOnce) => b",\"truncated\":true,\"qos\":2",
        });
        json.extend_from_slice(b",\"retain\":false,\"time\":\"");
        json.extend_from_slice(time);
        json.push(b'"');
        if let Some(properties) = PropertiesView::of_forwarded(one.properties) {
            json.extend_from_slice(b",\"properties\":");
            any(json, &properties);
        }
        json.extend_from_slice(b",\"count\":");
        number(json, one.count);
        json.push(b'}');
    }

    /// Adds a message.
    pub(super) fn view(&mut self, view: &MessageView) {
        self.next();
        any(&mut self.json, view);
    }

    fn next(&mut self) {
        if self.items > 0 {
            self.json.push(b',');
        }
        self.items += 1;
    }

    pub(super) fn finish(self) -> String {
        let Self { mut json, seen, skipped, waiting, .. } = self;
        for (name, value) in
            [("],\"seen\":", seen), (",\"skipped\":", skipped), (",\"waiting\":", waiting as u64)]
        {
            json.extend_from_slice(name.as_bytes());
            number(&mut json, value);
        }
        json.push(b'}');
        String::from_utf8(json).unwrap_or_default()
    }
}

/// A text, in most of which nothing has to be written otherwise.
fn text(json: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
    if !text.as_bytes().iter().all(is_plain) {
        any(json, text);
        return;
    }
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
}

/// A number, mostly a small one.
fn number(json: &mut Vec<u8>, number: u64) {
    match u8::try_from(number) {
        Ok(digit @ 0..=9) => json.push(b'0' + digit),
        Ok(two @ 10..=99) => json.extend_from_slice(&[b'0' + two / 10, b'0' + two % 10]),
        _ => any(json, &number),
    }
}

/// Texts, numbers and what is derived of them have no way to fail.
fn any(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let _ = serde_json::to_writer(json, value);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn one<'a>(topic: &'a str, payload: &'a [u8]) -> Sampled<'a> {
        let at = WallTime(1_795_291_200_123_456);
        Sampled { topic, properties: &[], payload, size: payload.len(), qos: QoS::AtMostOnce, at, count: 1 }
    }

    /// As the other streams say it.
    fn view(one: &Sampled<'_>, qos: QoS) -> Value {
        let truncated = one.size > one.payload.len();
        let (payload, encoding) = shown(one.payload, truncated);
        let view = MessageView {
            topic: one.topic.to_owned(),
            payload: payload.into_owned(),
            encoding,
            size: one.size,
            truncated,
            qos: one.qos.min(qos) as u8,
            retain: false,
            time: time::text(one.at),
            properties: PropertiesView::of_forwarded(one.properties).unwrap_or_default(),
            away: false,
            author: None,
            count: Some(one.count),
        };
        serde_json::to_value(view).unwrap()
    }

    #[test]
    fn a_batch_says_what_a_message_of_any_stream_says() {
        let plain = one("a/b", b"21.5");
        let all = [
            plain,
            one("", b""),
            one("say \"hello\"/\\", b"{\"temperature\": 21.5,\n\t\"unit\": \"\xC2\xB0C\"}"),
            one("\u{7f}/\u{1}/\u{fffd}", b"\xFF\0"),
            Sampled { payload: b"21", size: 1 << 20, ..plain },
            Sampled { payload: "\u{20ac}".as_bytes().get(..2).unwrap(), size: 3, ..plain },
            Sampled { properties: &[3, 0, 1, b'x'], qos: QoS::AtLeastOnce, ..plain },
            Sampled { properties: &[3, 0, 9, b'x'], qos: QoS::ExactlyOnce, count: 9, ..plain },
            Sampled { count: 10, at: WallTime(1_795_291_201_000_999), ..plain },
            Sampled { count: 99, ..plain },
            Sampled { count: 100, ..plain },
            Sampled { count: u64::MAX, ..plain },
        ];
        for qos in [QoS::AtMostOnce, QoS::ExactlyOnce] {
            let mut batch = Batch::new(plain.at, 0);
            all.iter().for_each(|one| batch.live(one, qos));
            (batch.seen, batch.skipped, batch.waiting) = (12_000, 7, 42);
            let items: Vec<Value> = all.iter().map(|one| view(one, qos)).collect();
            let expected = json!({
                "time": time::text(plain.at), "items": items, "seen": 12_000, "skipped": 7, "waiting": 42
            });
            assert_eq!(serde_json::from_str::<Value>(&batch.finish()).unwrap(), expected);
        }
        let empty: Value = serde_json::from_str(&Batch::new(plain.at, 9).finish()).unwrap();
        assert_eq!((&empty["items"], &empty["seen"]), (&json!([]), &json!(0)));
    }
}
