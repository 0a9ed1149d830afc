//! Every packet of one client, decoded, as it comes and goes.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use cork_broker::{Taken, Tapped};
use cork_client::Direction;
use cork_packet::{Packet, Receiver, decode};
use cork_proto::Inbound;
use cork_store::WallTime;
use cork_tools::packets::describe;
use futures_util::{Stream, stream};
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
    time,
};

/// Pieces of what goes in and out that may wait here; further ones are left out and counted.
const PIECES_WAITING_MAX: usize = 512;
/// The longest piece of a packet that is put together.
const PACKET_BYTES_MAX: usize = 32 << 20;
/// Packets told as they are, at most; then the trace ends.
const PACKETS_MAX: usize = 100_000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Client Identifier; the client need not be there yet.
    client_id: String,
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
    /// All of it in one line.
    text: String,
    /// Bytes.
    size: usize,
    /// Of a PUBLISH.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageView>,
}

/// Trace one client: each packet is an event `packet`; `skipped` where some are left out; `end` is the last one.
#[utoipa::path(get, path = "/api/v1/trace", tag = "operating", params(Wanted), responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn trace(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Params(wanted): Params<Wanted>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let (seconds, limit) = (wanted.seconds.unwrap_or(60), wanted.limit.unwrap_or(10_000));
    if !(1..=3600).contains(&seconds) || !(1..=PACKETS_MAX).contains(&limit) {
        return Err(Problem::bad_request("`seconds` is 1 to 3600, `limit` 1 to 100000"));
    }
    let payload_max = payload_max(wanted.payload_max, 256)?;
    let place = app.stream_place()?;
    let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    let tap = move |tapped: Tapped| match sender.try_send((time::now(), tapped)) {
        Ok(()) => Taken::Yes,
        Err(mpsc::error::TrySendError::Full(_)) => Taken::No,
        Err(mpsc::error::TrySendError::Closed(_)) => Taken::Over,
    };
    app.operator.probe().tap(&wanted.client_id, Box::new(tap));
    app.audit(&caller, "trace", &wanted.client_id);
    let trace = Trace {
        app,
        caller,
        client_id: wanted.client_id,
        pieces,
        until: Instant::now() + Duration::from_secs(seconds),
        left: limit,
        payload_max,
        lanes: BTreeMap::new(),
        ready: Vec::new(),
        over: false,
        _place: place,
    };
    let events = stream::unfold(trace, |mut trace| async move { Some((Ok(trace.next().await?), trace)) });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// A running trace.
struct Trace {
    app: Arc<App>,
    caller: Caller,
    client_id: String,
    pieces: mpsc::Receiver<(WallTime, Tapped)>,
    until: Instant,
    left: usize,
    payload_max: usize,
    /// What is unfinished, by shard, connection and direction.
    lanes: BTreeMap<(u16, u32, u32, bool), Inbound>,
    /// Events that are still to be told, the next one last.
    ready: Vec<Event>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl Trace {
    async fn next(&mut self) -> Option<Event> {
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
                match timeout_at(self.until, self.pieces.recv()).await {
                    Err(_) => "the time is over",
                    Ok(None) => "the broker ends, or too many traces began after this one",
                    Ok(Some(_)) if !self.app.still_holds(&self.caller) => "the login ended",
                    Ok(Some((at, tapped))) => {
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
        let Tapped { shard, conn, sent_by_client, version, begins_anew, bytes } = tapped;
        let key = (*shard, conn.index, conn.generation, *sent_by_client);
        let mut told = Vec::new();
        if *begins_anew && self.lanes.insert(key, Inbound::default()).is_some() {
            told.push(event("skipped", &json!({ "direction": direction(*sent_by_client) })));
        }
        let lane = self.lanes.entry(key).or_default();
        let mut rest = &bytes[..];
        let receiver = if *sent_by_client { Receiver::Server } else { Receiver::Client };
        while self.left > 0 {
            let packet = match cut(lane, &mut rest) {
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
            self.left -= 1;
            let mut view = PacketView {
                time: time::text(at),
                client_id: self.client_id.clone(),
                direction: direction(*sent_by_client),
                packet: String::new(),
                text: String::new(),
                size: packet.len(),
                message: None,
            };
            match decode(*version, receiver, &packet) {
                Ok(decoded) => {
                    let way = if *sent_by_client { Direction::Received } else { Direction::Sent };
                    let line = describe(way, *version, &decoded);
                    view.text = line.get(3..).unwrap_or_default().to_owned();
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

fn event(name: &str, data: &impl Serialize) -> Event {
    Event::default().event(name).json_data(data).unwrap_or_default()
}
