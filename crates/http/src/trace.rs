//! Every packet of one client, decoded, as it comes and goes; or the messages of a topic, whoever sends and gets them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{extract::State, response::Response};
use cork_broker::{Taken, Tap, Tapped};
use cork_client::Direction;
use cork_packet::{Packet, Receiver, decode, matches, split_share, validate_filter};
use cork_proto::Inbound;
use cork_store::WallTime;
use cork_tools::packets::describe;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, timeout_at},
};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extract::Params,
    guard::{Admin, Caller},
    message::{MessageView, payload_max},
    problem::Problem,
    refused::{Asked, ByRole, Limited, Refused},
    time,
    told::{Told, Way},
};

/// Pieces of what goes in and out that may wait here; further ones are left out and counted.
const PIECES_WAITING_MAX: usize = 512;
/// The longest piece of a packet that is put together.
const PACKET_BYTES_MAX: usize = 32 << 20;
/// Bytes of pieces that may wait.
const BYTES_WAITING_MAX: usize = 8 << 20;
/// Directions of connections a trace of a topic keeps track of.
const LANES_MAX: usize = 20_000;
/// How often it is looked whether who asked still may.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Packets told as they are, at most; then the trace ends.
const PACKETS_MAX: usize = 100_000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Client Identifier; the client need not be there yet. Either this or `topic`.
    client_id: Option<String>,
    /// Topic Filter: the PUBLISH packets of all clients on such topics, and the SUBSCRIBE packets for them.
    topic: Option<String>,
    /// How long, 1 to 3600. Default: 60.
    #[param(minimum = 1, maximum = 3600)]
    seconds: Option<u64>,
    /// How many packets, 1 to 100,000. Default: 10,000.
    #[param(minimum = 1, maximum = 100_000)]
    limit: Option<usize>,
    /// Payload bytes shown of each PUBLISH. Default: 256.
    #[param(maximum = 1_048_576)]
    payload_max: Option<usize>,
}

/// One packet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PacketView {
    time: String,
    client_id: String,
    /// `in`: the client sent it; `out`: it was sent to the client.
    direction: &'static str,
    /// As the specification names it.
    packet: String,
    /// All of it in one line; with the Topic Name where an alias stands for it.
    text: String,
    /// Bytes.
    size: usize,
    /// Of a PUBLISH.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageView>,
}

/// Trace one client, or one topic: each packet is an event `packet`; `skipped` where some are left out; `end` is the last one.
/// Asked to upgrade, over WebSocket.
#[utoipa::path(get, path = "/api/v1/trace", tag = "operating", params(Wanted), responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 101, description = "WebSocket: each text frame is `{\"event\", \"data\"}`"),
    Refused<(Asked, ByRole, Limited)>))]
pub(crate) async fn trace(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    way: Way,
    Params(wanted): Params<Wanted>,
) -> Result<Response, Problem> {
    let (seconds, limit) = (wanted.seconds.unwrap_or(60), wanted.limit.unwrap_or(10_000));
    if !(1..=3600).contains(&seconds) || !(1..=PACKETS_MAX).contains(&limit) {
        return Err(Problem::bad_request("`seconds` is 1 to 3600, `limit` 1 to 100000"));
    }
    let payload_max = payload_max(wanted.payload_max, 256)?;
    let place = app.stream_place()?;
    let of = match (wanted.client_id, wanted.topic) {
        (Some(client_id), None) => Of::Client(client_id),
        (None, Some(topic)) => {
            validate_filter(&topic).map_err(|error| {
                Problem::bad_request(format!("`topic` `{}`: {error}", topic.escape_debug()))
            })?;
            Of::Topic(topic)
        }
        _ => return Err(Problem::bad_request("either `client_id` or `topic` says what is traced")),
    };
    let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    let make = || {
        let (sender, waiting) = (sender.clone(), Arc::clone(&waiting));
        Box::new(move |tapped: Tapped| {
            let size = weight(&tapped);
            if waiting.load(Ordering::Relaxed) + size > BYTES_WAITING_MAX
                && waiting.load(Ordering::Relaxed) > 0
            {
                return if sender.is_closed() { Taken::Over } else { Taken::No };
            }
            match sender.try_send((time::now(), tapped)) {
                Ok(()) => {
                    waiting.fetch_add(size, Ordering::Relaxed);
                    Taken::Yes
                }
                Err(mpsc::error::TrySendError::Full(_)) => Taken::No,
                Err(mpsc::error::TrySendError::Closed(_)) => Taken::Over,
            }
        }) as Tap
    };
    match &of {
        Of::Client(client_id) => app.operator.probe().tap(client_id, make()),
        Of::Topic(_) => app.operator.probe().tap_all(make),
    }
    drop(sender);
    app.audit(&caller, "trace", of.name());
    let trace = Trace {
        app,
        caller,
        of,
        waiting,
        pieces,
        until: Instant::now() + Duration::from_secs(seconds),
        left: limit,
        payload_max,
        lanes: BTreeMap::new(),
        ready: Vec::new(),
        over: false,
        _place: place,
    };
    let events = stream::unfold(trace, |mut trace| async move { Some((trace.next().await?, trace)) });
    Ok(way.tell(events))
}

/// What is traced.
enum Of {
    Client(String),
    Topic(String),
}

impl Of {
    fn name(&self) -> &str {
        match self {
            Self::Client(name) | Self::Topic(name) => name,
        }
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Lane {
    inbox: Inbound,
    client_id: Box<str>,
    /// What Topic Aliases stand for, as far as it was seen.
    aliases: BTreeMap<u16, String>,
}

impl Lane {
    /// Whether a packet is one of a topic's.
    fn concerns(filter: &str, packet: &Packet<'_>) -> bool {
        match packet {
            // One whose alias nobody knows is of no topic.
            Packet::Publish(publish) => !publish.topic.is_empty() && matches(filter, publish.topic),
            Packet::Subscribe(subscribe) => {
                subscribe.filters().any(|other| overlap(filter, plain(other.filter)))
            }
            _ => false,
        }
    }
}

/// Puts the Topic Name in the place of its alias, and learns what aliases stand for. True: it came by its alias alone.
fn resolve<'a>(aliases: &'a mut BTreeMap<u16, String>, packet: &mut Packet<'a>) -> bool {
    let Packet::Publish(publish) = packet else { return false };
    let Some(alias) = publish.properties.topic_alias() else { return false };
    if !publish.topic.is_empty() {
        aliases.insert(alias, publish.topic.to_owned());
        return false;
    }
    let topic = aliases.get(&alias);
    publish.topic = topic.map_or("", String::as_str);
    topic.is_some()
}

/// Bytes that wait with a piece.
fn weight(tapped: &Tapped) -> usize {
    tapped.bytes.len() + tapped.aliases.iter().map(|(_, topic)| topic.len()).sum::<usize>()
}

/// A Topic Filter without what stands before it: a share, a content filter.
pub(crate) fn plain(filter: &str) -> &str {
    let filter = split_share(filter).ok().flatten().map_or(filter, |(_, filter)| filter);
    let mut parts = filter.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("$filter" | "$where" | "$history"), Some(_), Some(rest)) => rest,
        _ => filter,
    }
}

/// Whether some topic fits both filters.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(left), Some(right)) if left == right || left == "+" || right == "+" => {}
            _ => return false,
        }
    }
}

/// A running trace.
struct Trace {
    app: Arc<App>,
    caller: Caller,
    of: Of,
    /// Bytes that wait in `pieces`.
    waiting: Arc<AtomicUsize>,
    pieces: mpsc::Receiver<(WallTime, Tapped)>,
    until: Instant,
    left: usize,
    payload_max: usize,
    /// What is unfinished, by shard, connection and direction.
    lanes: BTreeMap<(u16, u32, u32, bool), Lane>,
    /// Events that are still to be told, the next one last.
    ready: Vec<Told>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl Trace {
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(event) = self.ready.pop() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            let why = if self.left == 0 {
                "as many packets as were asked for"
            } else {
                let look = self.until.min(Instant::now() + LOOK_EVERY);
                match timeout_at(look, self.pieces.recv()).await {
                    Err(_) if look < self.until => {
                        if self.app.still_holds(&self.caller) {
                            continue;
                        }
                        "the login ended"
                    }
                    Err(_) => "the time is over",
                    Ok(None) => "the broker ends, or too many traces began after this one",
                    Ok(Some(_)) if !self.app.still_holds(&self.caller) => "the login ended",
                    Ok(Some((at, tapped))) => {
                        self.waiting.fetch_sub(weight(&tapped), Ordering::Relaxed);
                        self.take_in(at, &tapped);
                        continue;
                    }
                }
            };
            self.over = true;
            return Some(event("end", &json!({ "reason": why })));
        }
    }

    /// Cuts packets off and makes events of them.
    fn take_in(&mut self, at: WallTime, tapped: &Tapped) {
        let Tapped { shard, conn, client_id, sent_by_client, version, begins_anew, aliases, bytes } = tapped;
        let key = (*shard, conn.index, conn.generation, *sent_by_client);
        let mut told = Vec::new();
        if *begins_anew && self.lanes.insert(key, Lane::default()).is_some() {
            told.push(event("skipped", &json!({ "direction": direction(*sent_by_client) })));
        }
        if matches!(self.of, Of::Topic(_)) && self.lanes.len() > LANES_MAX {
            self.lanes.clear(); // most of them have gone
        }
        let lane = self.lanes.entry(key).or_default();
        lane.aliases.extend(aliases.iter().map(|(alias, topic)| (*alias, topic.to_string())));
        if !client_id.is_empty() {
            lane.client_id.clone_from(client_id);
        }
        let mut rest = &bytes[..];
        let receiver = if *sent_by_client { Receiver::Server } else { Receiver::Client };
        while self.left > 0 {
            let packet = match cut(&mut lane.inbox, &mut rest) {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(error) => {
                    told.push(event(
                        "skipped",
                        &json!({ "direction": direction(*sent_by_client), "error": error }),
                    ));
                    self.lanes.remove(&key);
                    break;
                }
            };
            let mut decoded = decode(*version, receiver, &packet);
            let by_alias = decoded.as_mut().is_ok_and(|decoded| resolve(&mut lane.aliases, decoded));
            if let Of::Topic(filter) = &self.of
                && !decoded.as_ref().is_ok_and(|decoded| Lane::concerns(filter, decoded))
            {
                continue;
            }
            self.left -= 1;
            let mut view = PacketView {
                time: time::text(at),
                client_id: match &self.of {
                    Of::Client(client_id) => client_id.clone(),
                    Of::Topic(_) => lane.client_id.to_string(),
                },
                direction: direction(*sent_by_client),
                packet: String::new(),
                text: String::new(),
                size: packet.len(),
                message: None,
            };
            match decoded {
                Ok(decoded) => {
                    let way = if *sent_by_client { Direction::Received } else { Direction::Sent };
                    let line = describe(way, *version, &decoded);
                    view.text = line.get(3..).unwrap_or_default().to_owned();
                    view.text += if by_alias { ", Topic Name by its alias" } else { "" };
                    view.packet = view.text.split([' ', ',']).next().unwrap_or_default().to_owned();
                    if let Packet::Publish(publish) = &decoded {
                        view.message = Some(MessageView::of_packet(publish, at, self.payload_max));
                    }
                }
                Err(error) => view.text = format!("malformed: {error}"),
            }
            told.push(event("packet", &view));
        }
        told.reverse();
        self.ready = told;
    }
}

fn cut(lane: &mut Inbound, rest: &mut &[u8]) -> Result<Option<Vec<u8>>, String> {
    lane.complete(rest, PACKET_BYTES_MAX).map_err(|error| error.to_string())
}

const fn direction(sent_by_client: bool) -> &'static str {
    if sent_by_client { "in" } else { "out" }
}

fn event(name: &'static str, data: &impl Serialize) -> Told {
    (name, serde_json::to_string(data).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_overlap_if_a_topic_fits_both() {
        for (one, other, both) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/+", "+/b", true),
            ("#", "a", true),
            ("a/#", "a", true),
            ("a/#", "b/#", false),
            ("a/b", "a", false),
            ("a/+/c", "a/b/#", true),
        ] {
            assert_eq!(overlap(one, other), both, "{one} {other}");
            assert_eq!(overlap(other, one), both, "{other} {one}");
        }
        for (filter, rest) in
            [("$share/g/a/b", "a/b"), ("$where/x/a/b", "a/b"), ("$share/g/$filter/f/a", "a"), ("a", "a")]
        {
            assert_eq!(plain(filter), rest);
        }
    }
}
