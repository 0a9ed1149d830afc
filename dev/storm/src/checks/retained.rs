//! The last retained value wins: on every shard, and the same one.

use std::collections::BTreeMap;

use cork_packet::QoS;
use cork_proto::Time;

use crate::{
    client::{Client, Role},
    context::Context,
    ledger::{Fate, Publication},
};

/// Looks at what one late subscriber per shard was given: for each topic exactly one message, one that no publication
/// that came surely later has replaced, and the same on all shards.
pub(crate) fn retained(cx: &Context, clients: &[Client]) -> Result<(), String> {
    let mut first: Option<BTreeMap<&str, &[u8]>> = None;
    for client in clients {
        let Role::Late { found } = &client.role else { continue };
        let mut values = BTreeMap::new();
        for (topic, payload) in found {
            if values.insert(topic.as_str(), payload.as_slice()).is_some() {
                return Err(format!("the retained message of {topic} came twice"));
            }
        }
        for topic in &cx.options.topics {
            check_topic(cx, topic, values.get(topic).copied())?;
        }
        let expires =
            |topic: &str| cx.ledger.publications.iter().any(|p| p.topic == topic && p.expiry.is_some());
        values.retain(|topic, _| !expires(topic));
        if first.as_ref().is_some_and(|first| *first != values) {
            return Err("the shards do not agree on what is retained".into());
        }
        first = Some(values);
    }
    Ok(())
}

/// When a publication was surely through; `None` when that is not known.
fn through(cx: &Context, message: &Publication) -> Option<Time> {
    match message.acked {
        Some(acked) => Some(acked),
        // Nothing more comes out of a connection that is over.
        None if message.qos == QoS::AtMostOnce && !message.will => cx.net.links[message.link].over,
        None => None,
    }
}

fn check_topic(cx: &Context, topic: &str, value: Option<&[u8]>) -> Result<(), String> {
    let writers: Vec<_> = cx
        .ledger
        .publications
        .iter()
        .filter(|message| message.retain && message.topic == topic && message.fate != Fate::Never)
        .collect();
    // At QoS 0 nothing is promised of what a crash leaves.
    let sure = |message: &Publication| {
        message.fate == Fate::Taken && (message.qos != QoS::AtMostOnce || cx.last_crash == Time::ZERO)
    };
    let replaced = |message: &Publication| {
        let done = through(cx, message);
        writers.iter().any(|later| sure(later) && done.is_some_and(|done| later.sent > done))
    };
    let possible: Vec<_> = writers.iter().filter(|message| !replaced(message)).collect();
    let Some(payload) = value else {
        let may_be_gone = writers.iter().all(|message| !sure(message))
            || possible.iter().any(|message| message.payload.is_empty() || message.expiry.is_some());
        return if may_be_gone { Ok(()) } else { Err(format!("the retained message of {topic} is gone")) };
    };
    let Some(message) = possible.iter().find(|message| message.payload == payload) else {
        let known = |message: &&Publication| {
            (message.payload == payload, message.qos, message.fate, message.sent, message.acked)
        };
        let known: Vec<_> = writers.iter().map(known).collect();
        return Err(format!("the retained message of {topic} is not the last one: {known:?}"));
    };
    let over = |(acked, expiry): (Time, u32)| acked.plus_seconds(u64::from(expiry)) < cx.began_calm;
    // Sent again on a connection of 3.1.1 it would have lost its expiry.
    if message.resends == 0 && message.acked.zip(message.expiry).is_some_and(over) {
        return Err(format!("the retained message of {topic} has expired: {message:?}"));
    }
    Ok(())
}
