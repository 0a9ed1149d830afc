//! Dead letters for who operates the broker: looked at, tried again, thrown away.
//!
//! They wait in a Session of the broker, and are read as any client reads its messages: what is only looked at is not
//! acknowledged, and waits on.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use cork_broker::Connector;
use cork_client::{Client, Options, Publish, QoS};
use tokio::{runtime::Builder, sync::Mutex};

use crate::{
    letter,
    runner::{letters_client_id, replay_topic},
    session::{Opening, Session},
};

/// Dead letters looked at in one go, at most: so many may be under way to a client.
pub const LETTERS_MAX: usize = 16_000;
/// Without another one for so long, the last one was there.
const IDLE: Duration = Duration::from_millis(200);

/// The way to the dead letters of all sinks, from any thread. Methods block; not to be called from asynchronous code.
#[derive(Clone, Debug)]
pub struct Letters {
    connector: Connector,
    locks: Locks,
}

/// One at a time reads the letters of a sink.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks(Arc<SyncMutex<BTreeMap<String, Arc<Mutex<()>>>>>);

impl Locks {
    pub(crate) fn of(&self, sink: &str) -> Arc<Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(sink.to_owned()).or_default())
    }
}

/// A dead letter: a row that a target refused.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Which: stable, and in the order of time.
    pub id: String,
    /// When it became one, in microseconds since 1970.
    pub time: i64,
    /// What the target said.
    pub reason: String,
    /// The row's topic.
    pub topic: String,
    /// The row's payload.
    pub payload: Bytes,
    /// QoS it was published with.
    pub qos: u8,
    /// Whether it was retained.
    pub retain: bool,
    /// Its content type.
    pub content_type: Option<String>,
    /// Its User Properties.
    pub user_properties: Vec<(String, String)>,
}

/// A page of dead letters, the oldest first.
#[derive(Clone, Debug)]
pub struct LettersPage {
    /// What was found.
    pub items: Vec<Letter>,
    /// After which one to go on; none: there are no more.
    pub next: Option<String>,
}

impl Letters {
    pub(crate) fn new(connector: Connector, locks: Locks) -> Self {
        Self { connector, locks }
    }

    /// Dead letters of a sink, after the one with this id.
    ///
    /// # Errors
    /// The broker ends.
    pub fn list(&self, sink: &str, after: Option<&str>, limit: usize) -> io::Result<LettersPage> {
        block_on(async {
            let lock = self.locks.of(sink);
            let _alone = lock.lock().await;
            let mut session = self.open(sink).await?;
            let mut page = LettersPage { items: Vec::new(), next: None };
            let (mut begun, mut looked) = (after.is_none(), 0);
            while looked < LETTERS_MAX
                && let Some(delivery) = next(&mut session).await?
            {
                looked += 1;
                if !begun {
                    begun = after == Some(&*delivery.row.id);
                    continue;
                }
                if page.items.len() == limit {
                    page.next = page.items.last().map(|last: &Letter| last.id.clone());
                    break;
                }
                page.items.extend(shown(&delivery.row));
            }
            session.close().await?;
            Ok(page)
        })
    }

    /// Has dead letters tried again: these, or all that are there. How many that are; the sink does it when its target
    /// is there.
    ///
    /// # Errors
    /// The broker ends.
    pub fn replay(&self, sink: &str, ids: Option<&[String]>) -> io::Result<u64> {
        let there = self.list(sink, None, LETTERS_MAX)?.items;
        let wanted = |letter: &Letter| ids.is_none_or(|ids| ids.contains(&letter.id));
        let chosen: Vec<&str> =
            there.iter().filter(|letter| wanted(letter)).map(|letter| letter.id.as_str()).collect();
        if chosen.is_empty() {
            return Ok(0);
        }
        let order = if ids.is_some() { chosen.join("\n") } else { String::new() };
        block_on(async {
            let connector = self.connector.clone();
            let options = Options::in_process(move || connector.connect()).reconnect(None);
            let client = Client::connect(options).await.map_err(io::Error::other)?;
            let order = Publish::new(replay_topic(sink), order).qos(QoS::AtLeastOnce);
            let published = client.deliver(order).await.map_err(io::Error::other);
            client.disconnect().await;
            published.map(|_| chosen.len() as u64)
        })
    }

    /// Throws all dead letters of a sink away; how many that were.
    ///
    /// # Errors
    /// The broker ends.
    pub fn discard(&self, sink: &str) -> io::Result<u64> {
        block_on(async {
            let lock = self.locks.of(sink);
            let _alone = lock.lock().await;
            let mut session = self.open(sink).await?;
            let mut count = 0;
            while let Some(delivery) = next(&mut session).await? {
                session.acknowledge(delivery.receipt);
                count += 1;
            }
            session.close().await?;
            Ok(count)
        })
    }

    async fn open(&self, sink: &str) -> io::Result<Session> {
        let receive_maximum = u16::try_from(LETTERS_MAX).unwrap_or(u16::MAX);
        let opening = Opening {
            client_id: letters_client_id(sink),
            filters: vec![letter::filter(sink)],
            unwanted: Vec::new(),
            receive_maximum,
            is_limited: false,
        };
        Session::open(&self.connector, &opening).await
    }
}

/// The next message that waits, if there is one.
async fn next(session: &mut Session) -> io::Result<Option<crate::session::Delivery>> {
    loop {
        if let Some(delivery) = session.ready() {
            return Ok(Some(delivery));
        }
        match tokio::time::timeout(IDLE, session.turn(true)).await {
            Ok(turn) => turn?,
            Err(_) => return Ok(None),
        }
    }
}

fn shown(message: &cork_sink::Row) -> Option<Letter> {
    let row = letter::read(message)?;
    let pair = |(name, value): &(Box<str>, Box<str>)| (name.to_string(), value.to_string());
    Some(Letter {
        id: message.id.to_string(),
        time: message.time,
        reason: letter::reason(message).unwrap_or_default(),
        topic: row.topic.to_string(),
        payload: row.payload.clone(),
        qos: row.qos,
        retain: row.retain,
        content_type: row.content_type.as_deref().map(str::to_owned),
        user_properties: row.user_properties.iter().map(pair).collect(),
    })
}

fn block_on<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    Builder::new_current_thread().enable_all().build()?.block_on(what)
}
