//! What `$presence/<client id>` says, as subscribers see it, and whether it is the truth.
//!
//! The truth is what the broker says of its connections in its events, which the clients' side confirms elsewhere.

use std::collections::BTreeMap;

use cork_core::Ended;
use cork_packet::Publish;
use cork_proto::PeerError;

use crate::{client::Client, context::Context};

/// First level of the topics, with its separator.
pub(crate) const ROOT: &str = "$presence/";

/// What is said of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) online: bool,
    pub(crate) reason: String,
    pub(crate) epoch: u64,
}

impl Said {
    fn parse(payload: &[u8]) -> Result<Self, String> {
        let json = std::str::from_utf8(payload).map_err(|_| "presence that is no text")?;
        let value = |name: &str| {
            let (_, after) =
                json.split_once(&format!("\"{name}\":")).ok_or_else(|| format!("no {name} in {json}"))?;
            let end = after.strip_prefix('"').map_or_else(|| after.find([',', '}']), |text| text.find('"'));
            let start = usize::from(after.starts_with('"'));
            end.map(|end| &after[start..start + end]).ok_or_else(|| format!("{name} has no end in {json}"))
        };
        let online = match value("state")? {
            "online" => true,
            "offline" => false,
            other => return Err(format!("a client that is {other}")),
        };
        let epoch = value("epoch")?.parse().map_err(|_| format!("an epoch that is no number in {json}"))?;
        Ok(Self { online, reason: value("reason")?.to_owned(), epoch })
    }
}

/// What a subscriber was told of one client.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The last it heard.
    pub(crate) last: Said,
    /// The highest epoch it heard of.
    most: u64,
    /// The highest one that came live.
    live: u64,
}

/// What a subscriber was told of each client.
pub(crate) type Seen = BTreeMap<String, Told>;

/// What is known of a client's connections since the broker was started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// It was connected.
    pub(crate) came: bool,
    /// Why its last connection ended.
    pub(crate) reason: Option<&'static str>,
}

/// What presence calls the end of a connection.
pub(crate) const fn reason_of(cause: &Ended) -> &'static str {
    match cause {
        Ended::ByClient | Ended::ByClientWithWill => "disconnected",
        Ended::KeepAliveTimeout => "keep alive timeout",
        Ended::TakenOver { .. } => "taken over",
        Ended::Rule(PeerError::Decode(_)) => "malformed packet",
        Ended::Rule(_) => "protocol error",
        _ => "connection lost",
    }
}

impl Client {
    /// A change of somebody's presence, or what is retained of it. Each change that comes for the first time is newer
    /// than the one before, and what is retained is not older than anything that came. (What is retained may come before
    /// older changes that wait in the queue: the epoch is there to tell.)
    pub(crate) fn on_presence(
        &mut self,
        cx: &mut Context,
        topic: &str,
        publish: &Publish<'_>,
    ) -> Result<(), String> {
        let said = Said::parse(publish.payload)?;
        cx.coverage.hit(if said.online { "presence: online" } else { "presence: offline" });
        let who = topic.strip_prefix(ROOT).unwrap_or(topic).to_owned();
        let before = self.seen.get(&who);
        let (most, live) = before.map_or((0, 0), |told| (told.most, told.live));
        let older = if publish.retain { said.epoch < most } else { said.epoch <= live };
        if older && publish.dup {
            return Ok(()); // it came before, on an earlier connection
        }
        if older {
            return Err(format!("presence of {who}: {said:?} after {before:?}"));
        }
        let live = if publish.retain { live } else { said.epoch };
        self.seen.insert(who, Told { most: most.max(said.epoch), last: said, live });
        Ok(())
    }
}

/// Everything has come to rest: what a subscriber was told last is true.
pub(crate) fn is_true(cx: &Context, clients: &[Client], watcher: usize) -> Result<u64, String> {
    let mut count = 0;
    for client in clients {
        let session = cx.ledger.current(client.ix).map(|ix| &cx.ledger.incarnations[ix]);
        let online = session.is_some_and(|session| session.offline.is_none());
        let known = &cx.ledger.known[client.ix];
        let said = clients[watcher].seen.get(&client.id).map(|told| &told.last);
        let right = match said {
            Some(said) if said.online || online => said.online == online,
            Some(said) => known.reason.is_none_or(|reason| reason == said.reason),
            // Of who left before the broker's last start nothing need be known.
            None => !online && !known.came,
        };
        if !right {
            return Err(format!(
                "client {watcher} was told {said:?} of {}, which is {}; known: {known:?}",
                client.id,
                if online { "online" } else { "offline" }
            ));
        }
        count += u64::from(said.is_some());
    }
    Ok(count)
}

/// The watchers that surely are told of everything, and have been so since they subscribed.
pub(crate) fn sure_watchers(cx: &Context, clients: &[Client]) -> Vec<usize> {
    if cx.ledger.lossy {
        return Vec::new();
    }
    let sure = |client: &&Client| {
        if !client.line.as_ref().is_some_and(|line| line.open) {
            return false;
        }
        let Some(incarnation) = cx.ledger.current(client.ix).filter(|_| client.is_watcher()) else {
            return false;
        };
        let mut subs = cx.ledger.matching(&cx.net.links, incarnation, ROOT).peekable();
        subs.peek().is_some()
            && subs.all(|sub| sub.granted.is_some() && sub.given_up.is_none() && sub.qos as u8 > 0)
    };
    clients.iter().filter(sure).map(|client| client.ix).collect()
}
