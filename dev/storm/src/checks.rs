//! The promises, each as plain code over the ledger. [`on_delivery`] looks at a message when it arrives; the rest looks
//! back at the end, when every client has come back and read everything.

mod retained;

use std::collections::{BTreeMap, BTreeSet};

use cork_packet::QoS;
use cork_proto::Time;

pub(crate) use retained::retained;

use crate::{
    client::{Client, Role},
    context::Context,
    ledger::{Delivery, Fate, Ledger, Publication, Subscription},
    link::Link,
};

/// Room for head and properties of a PUBLISH.
const HEAD_BYTES: usize = 48;

/// Never to a Session without a matching subscription, never with more QoS than was granted or published, never the
/// RETAIN flag out of nothing, never back to the publisher when all its subscriptions say No Local.
pub(crate) fn on_delivery(
    ledger: &Ledger,
    links: &[Link],
    client: usize,
    delivery: &Delivery,
) -> Result<(), String> {
    let message = &ledger.publications[delivery.publication];
    let about = || format!("message {} on {} for client {client}", delivery.publication, message.topic);
    let (mut highest, mut wanted_back) = (None, false);
    for sub in ledger.matching(links, delivery.incarnation, message.topic) {
        // What was routed before UNSUBSCRIBE may still come.
        if delivery.retain || sub.ended.is_none_or(|ended| ended >= message.sent) {
            highest = highest.max(Some(sub.qos));
            wanted_back |= !sub.no_local;
        }
    }
    let Some(highest) = highest else { return Err(format!("{}: no subscription matches", about())) };
    if delivery.qos > highest.min(message.qos) {
        let (qos, published) = (delivery.qos, message.qos);
        return Err(format!("{}: {qos:?}, granted {highest:?}, published {published:?}", about()));
    }
    if delivery.retain && !message.retain {
        return Err(format!("{}: RETAIN, but it was not published so", about()));
    }
    // 5.0 [MQTT-3.8.3-3]
    if message.client == client && !message.will && !wanted_back {
        return Err(format!("{}: its own, against No Local", about()));
    }
    Ok(())
}

/// Deliveries by Session and publication, in the order they came.
type Book<'a> = BTreeMap<(usize, usize), Vec<&'a Delivery>>;

/// Everything that is checked once all is delivered.
pub(crate) fn at_rest(cx: &mut Context, clients: &[Client]) -> Result<(), String> {
    let mut book = Book::new();
    for delivery in &cx.ledger.deliveries {
        book.entry((delivery.incarnation, delivery.publication)).or_default().push(delivery);
    }
    no_will_too_many(&cx.ledger)?;
    not_too_often(cx, clients, &book)?;
    let expected = everybody_got_everything(cx, clients, &book)?;
    if !cx.ledger.damaged {
        in_order(cx, clients)?;
    }
    let shared = shares(cx, clients, &book)?;
    cx.coverage.many("deliveries that had to be", expected);
    cx.coverage.many("shared deliveries that had to be", shared);
    Ok(())
}

/// A Will is never published after a clean DISCONNECT, nor when its client came back before the delay was over.
fn no_will_too_many(ledger: &Ledger) -> Result<(), String> {
    let undue = |delivery: &&Delivery| ledger.publications[delivery.publication].fate == Fate::Never;
    match ledger.deliveries.iter().find(undue) {
        Some(delivery) => Err(format!("the Will {} was published and was not due", delivery.publication)),
        None => Ok(()),
    }
}

/// QoS 2 exactly once; QoS 1 no more copies without DUP than the publisher sent; QoS 0 at most once. The retained
/// message of a topic comes once more for each SUBSCRIBE. A Will once.
fn not_too_often(cx: &Context, clients: &[Client], book: &Book<'_>) -> Result<(), String> {
    let (ledger, links) = (&cx.ledger, &cx.net.links);
    for ((incarnation, publication), deliveries) in book {
        let client = ledger.incarnations[*incarnation].client;
        let message = &ledger.publications[*publication];
        if !clients[client].is_plain() || ledger.refused.contains(publication) {
            continue;
        }
        // Those on their way when the broker died begin anew.
        let times =
            |sub: &Subscription| 1 + cx.crashes.iter().filter(|crash| **crash >= sub.requested).count();
        let subs = ledger.matching(links, *incarnation, message.topic);
        let retained: usize = subs.filter(|sub| sub.wants_retained).map(times).sum();
        // A publication, or Will, that the broker did not live to acknowledge is sent again; only a receiver at QoS 2 is
        // promised that it has not come before.
        let crashed = cx.last_crash >= message.sent;
        let again = if message.qos == QoS::AtLeastOnce || crashed { message.resends } else { 0 };
        let once = 1 + if message.retain { retained } else { 0 };
        let allowed = once + again;
        // The application never sees a QoS 2 message twice by DUP, so for QoS 2 all count.
        let exactly = deliveries.iter().filter(|one| one.qos == QoS::ExactlyOnce).count();
        let counted = deliveries.iter().filter(|one| !one.dup || one.qos == QoS::ExactlyOnce).count();
        if exactly > once {
            return Err(format!(
                "message {publication} came {exactly} times at QoS 2 to client {client}: {deliveries:?}"
            ));
        }
        if counted > allowed {
            return Err(format!(
                "message {publication} ({:?}, {} sendings) came {counted} times to client {client}: {deliveries:?}",
                message.qos,
                message.resends + 1
            ));
        }
    }
    Ok(())
}

/// The QoS a Session surely had for a publication, if it surely was subscribed when it was routed.
fn surely_granted(cx: &Context, incarnation: usize, message: &Publication) -> Option<QoS> {
    let (ledger, links) = (&cx.ledger, &cx.net.links);
    let session = &ledger.incarnations[incarnation];
    let in_gap =
        |(from, to): &(Time, Time)| message.acked.is_none_or(|acked| acked >= *from) && message.sent <= *to;
    if session.gaps.iter().any(in_gap) {
        return None;
    }
    let own = session.client == message.client;
    let subs: Vec<_> = ledger.matching(links, incarnation, message.topic).collect();
    let mut surely = None;
    for sub in &subs {
        let before = sub.granted.is_some_and(|granted| granted < message.sent);
        if !before || sub.given_up.is_some() {
            continue;
        }
        // The same filter may have been subscribed again with other options meanwhile.
        let later =
            subs.iter().filter(|other| other.filter == sub.filter && other.requested >= sub.requested);
        if own && later.clone().any(|sub| sub.no_local) {
            continue;
        }
        surely = surely.max(later.map(|sub| sub.qos).min());
    }
    surely
}

/// Whether a publication can be expected to arrive.
fn is_owed(message: &Publication) -> bool {
    message.fate == Fate::Taken
        && message.qos > QoS::AtMostOnce
        && !message.payload.is_empty()
        && message.expiry.is_none()
}

/// The smallest Maximum Packet Size that any connection of a Session had.
fn smallest_maximum(cx: &Context, incarnation: usize) -> u32 {
    let mine = |link: &&Link| link.incarnation == Some(incarnation);
    cx.net.links.iter().filter(mine).map(|link| link.greeting.packet_max).min().unwrap_or(u32::MAX)
}

/// Whether a message may have been dropped because its PUBLISH is larger (5.0 [MQTT-3.1.2-25]).
fn may_be_too_large(message: &Publication, maximum: u32) -> bool {
    (maximum as usize) < message.payload.len() + message.topic.len() + HEAD_BYTES
}

/// QoS 1 at least once and QoS 2 exactly once (with [`not_too_often`]): what the broker acknowledged, and every Will
/// that was due, reached every Session that was subscribed before and lives to the end.
fn everybody_got_everything(cx: &Context, clients: &[Client], book: &Book<'_>) -> Result<u64, String> {
    let ledger = &cx.ledger;
    let mut expected = 0;
    if ledger.lossy {
        return Ok(0);
    }
    for client in clients.iter().filter(|client| client.is_plain()) {
        let Some(incarnation) = ledger.current(client.ix) else { continue };
        let smallest = smallest_maximum(cx, incarnation);
        for (number, message) in
            ledger.publications.iter().enumerate().filter(|(_, message)| is_owed(message))
        {
            let Some(granted) = surely_granted(cx, incarnation, message) else { continue };
            let qos = granted.min(message.qos);
            if qos == QoS::AtMostOnce || may_be_too_large(message, smallest) {
                continue;
            }
            expected += 1;
            let got = book.get(&(incarnation, number));
            if !got.is_some_and(|got| got.iter().any(|delivery| delivery.qos > QoS::AtMostOnce)) {
                let kind = if message.will { "Will" } else { "message" };
                let subs: Vec<_> = ledger.matching(&cx.net.links, incarnation, message.topic).collect();
                return Err(format!(
                    "{kind} {number} on {} never reached client {}, which had {subs:?}",
                    message.topic, client.ix
                ));
            }
        }
    }
    Ok(expected)
}

/// What one publisher sends to one topic arrives in order, for each QoS of delivery (3.1.1 [MQTT-4.6.0-5] and -6,
/// 5.0 [MQTT-4.6.0-6]); repetitions aside.
fn in_order(cx: &Context, clients: &[Client]) -> Result<(), String> {
    let ledger = &cx.ledger;
    let mut last = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for delivery in &ledger.deliveries {
        let message = &ledger.publications[delivery.publication];
        let receiver = ledger.incarnations[delivery.incarnation].client;
        let first = seen.insert((delivery.incarnation, delivery.publication));
        if !first || delivery.retain || message.will || !clients[receiver].is_plain() {
            continue;
        }
        // A message sent again may be overtaken by later ones of QoS 0. Of QoS 1 it is routed again: who missed it the
        // first time, being new or QoS 0, or because it was dropped, gets it late.
        let too_large = may_be_too_large(message, smallest_maximum(cx, delivery.incarnation));
        let dropped = ledger.lossy || message.expiry.is_some() || too_large;
        let granted = || surely_granted(cx, delivery.incarnation, message).unwrap_or_default();
        let late = delivery.qos == QoS::AtMostOnce
            || ((message.qos == QoS::AtLeastOnce || cx.last_crash > message.sent)
                && (dropped || granted() == QoS::AtMostOnce));
        // So may one be that was refused for want of space.
        let refused = cx.coverage.of("full disks") + cx.coverage.of("failing disks") > 0;
        if message.resends > 0 && (late || refused) {
            continue;
        }
        // 5.0 [MQTT-3.1.2-25]: one that was too large for an earlier connection counts as sent then. After a crash it is
        // sent again as such, at its place; only that the client did not see it the first time.
        if delivery.dup && too_large && cx.last_crash > message.sent {
            continue;
        }
        // What several shards store together may be stored later, and be lost, where a later message of another QoS is
        // not: the order is promised for each QoS.
        let died = cx.last_crash > Time::ZERO;
        let published = if died { message.qos } else { delivery.qos };
        let key = (delivery.incarnation, message.client, message.topic, delivery.qos, published);
        if let Some(before) = last.insert(key, delivery.publication)
            && before > delivery.publication
        {
            return Err(format!(
                "message {} of client {} came after {before} to client {receiver} with {:?}, at {}",
                delivery.publication, message.client, delivery.qos, delivery.at
            ));
        }
    }
    Ok(())
}

/// Of a shared subscription, one member gets each message: exactly one of QoS 2, at least one of QoS 1, as long as
/// there is a member throughout (5.0 4.8.2).
fn shares(cx: &Context, clients: &[Client], book: &Book<'_>) -> Result<u64, String> {
    let ledger = &cx.ledger;
    let mut groups: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
    for client in clients {
        if let Role::Worker { share, filter } = client.role {
            groups.entry((share, filter)).or_default().push(client.ix);
        }
    }
    let mut expected = 0;
    for ((share, filter), members) in groups {
        let incarnations: Vec<usize> = (0..ledger.incarnations.len())
            .filter(|ix| members.contains(&ledger.incarnations[*ix].client))
            .collect();
        for (number, message) in ledger.publications.iter().enumerate() {
            let qos = message.qos.min(cx.options.share_qos[share]);
            if qos == QoS::AtMostOnce || !cork_packet::matches(filter, message.topic) {
                continue;
            }
            let got =
                incarnations.iter().filter_map(|ix| book.get(&(*ix, number))).map(Vec::len).sum::<usize>();
            if qos == QoS::ExactlyOnce && got > 1 && !ledger.refused.contains(&number) {
                return Err(format!(
                    "QoS 2 message {number} went to {got} members of share {share} {filter}"
                ));
            }
            if !is_owed(message) || ledger.lossy {
                continue;
            }
            let stays = |ix: &usize| {
                ledger.current(ledger.incarnations[*ix].client) == Some(*ix)
                    && surely_granted(cx, *ix, message).is_some()
            };
            // A QoS 2 flow that has begun dies with its Session (5.0 [MQTT-4.8.2-5]); so does what a member had when
            // it unsubscribed.
            let died = |ix: &usize| ledger.incarnations[*ix].over.is_some_and(|over| over >= message.sent);
            let left = |ix: &usize| {
                ledger
                    .matching(&cx.net.links, *ix, message.topic)
                    .any(|sub| sub.given_up.is_some() && sub.ended.is_none_or(|ended| ended >= message.sent))
            };
            let excused = |ix: &usize| died(ix) && (qos == QoS::ExactlyOnce || left(ix));
            let excused = incarnations.iter().any(excused);
            if !incarnations.iter().any(stays) || excused {
                continue;
            }
            expected += 1;
            if got == 0 {
                return Err(format!(
                    "message {number} ({qos:?}) is lost between the members of {share} {filter}"
                ));
            }
        }
    }
    Ok(expected)
}
