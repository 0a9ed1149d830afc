//! One sink at work: from its Session to its target.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use cork_broker::Connector;
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use crate::{
    backoff::Backoff,
    batch::Batch,
    desk::Desk,
    figures::Figures,
    letter,
    letters::LETTERS_MAX,
    room::Room,
    saver::{Saved, Saver},
    session::{self, Delivery, Session},
};

/// Everything one sink needs.
pub(crate) struct Runner {
    pub(crate) name: String,
    pub(crate) connector: Connector,
    /// Topic Filters of the configuration.
    pub(crate) filters: Vec<String>,
    /// Filters the Session may still have and shall not.
    pub(crate) unwanted: Vec<String>,
    pub(crate) batch_max: usize,
    pub(crate) batch_time: Duration,
    pub(crate) saver: Saver,
    pub(crate) desk: Desk,
    pub(crate) room: Room,
    pub(crate) figures: Figures,
    /// Becomes true when it is to end.
    pub(crate) stop: watch::Receiver<bool>,
    /// One at a time reads the dead letters.
    pub(crate) letters: Arc<Mutex<()>>,
}

/// Which dead letters are to be tried again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    All,
    /// By the ids of the messages they are, or of the rows they were.
    These(BTreeSet<String>),
}

impl Replay {
    /// Of an order's payload: an id a line; none: all.
    fn of(payload: &[u8]) -> Self {
        let ids: BTreeSet<String> =
            String::from_utf8_lossy(payload).lines().filter(|id| !id.is_empty()).map(str::to_owned).collect();
        if ids.is_empty() { Self::All } else { Self::These(ids) }
    }

    /// Both orders as one.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::These(one), Self::These(other)) => Self::These(&one | &other),
            _ => Self::All,
        }
    }

    fn wants(&self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(ids) => ids.contains(id),
        }
    }
}

/// The Session of a sink.
pub(crate) fn client_id(sink: &str) -> String {
    format!("$cork/sink/{sink}")
}

/// The Session that keeps its dead letters.
pub(crate) fn letters_client_id(sink: &str) -> String {
    format!("$cork/dead/{sink}")
}

/// A message here makes it try its dead letters again.
pub(crate) fn replay_topic(sink: &str) -> String {
    format!("$cork/sink/{sink}/replay")
}

/// How long what is being saved may take when everything ends.
const GRACE: Duration = Duration::from_secs(3);
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// So many rows may fail, each for itself, without being in the way of others.
const DOUBTFUL_ROOM: usize = 64;
/// Without another dead letter for so long, the last one was there.
const LETTERS_IDLE: Duration = Duration::from_millis(500);

impl Runner {
    /// Runs until it is told to stop. What is not confirmed then stays in the Session.
    pub(crate) async fn run(mut self, session: Session) {
        let mut stop = self.stop.clone();
        let mut backoff = Backoff::new(RECONNECT_MAX);
        let mut session = Some(session);
        while !*stop.borrow() {
            // An error here is the broker's: it is ending, or something is badly wrong.
            if let Err(error) = self.serve(session.take(), &mut stop).await {
                tracing::debug!(target: "sink", sink = self.name, %error, "the connection to the broker ended");
                tokio::select! {
                    () = stopped(&mut stop) => {}
                    () = tokio::time::sleep(backoff.pause()) => {}
                }
            }
        }
    }

    /// Takes up the Session, and makes sure that there is one for the dead letters: somebody has to keep them, also when
    /// nobody looks.
    pub(crate) async fn subscribe(&mut self) -> io::Result<Session> {
        let letters = self.letters();
        Session::open(&self.connector, &letters).await?.close().await?;
        Session::open(&self.connector, &self.opening()).await
    }

    async fn serve(&mut self, session: Option<Session>, stop: &mut watch::Receiver<bool>) -> io::Result<()> {
        let mut session = match session {
            Some(session) => session,
            None => self.subscribe().await?,
        };
        // So that an operator sees early what does not work.
        tokio::select! {
            biased;
            () = stopped(stop) => return session.close().await,
            () = self.saver.open() => {}
            lost = rest(&mut session) => return Err(lost),
        }
        let (mut batch, mut replay) = (Batch::new(), None);
        loop {
            if !self.gather(&mut session, &mut batch, &mut replay, stop).await? {
                return session.close().await;
            }
            let mut next = Batch::new();
            let Some(mut saved) = self.save(&mut session, &batch, &mut next, &mut replay, stop).await? else {
                return session.close().await;
            };
            if !self.settle(&mut session, &batch, &mut saved, stop).await? {
                return session.close().await;
            }
            batch.hand_over(&saved.doubtful, &mut next);
            batch = next;
            if let Some(replay) = replay.take() {
                self.replay(&replay, stop).await?;
            }
        }
    }

    /// Fills a batch; false when it is time to stop.
    async fn gather(
        &mut self,
        session: &mut Session,
        batch: &mut Batch,
        replay: &mut Option<Replay>,
        stop: &mut watch::Receiver<bool>,
    ) -> io::Result<bool> {
        loop {
            self.take(session, batch, replay);
            let due = batch.due(self.batch_time);
            if batch.is_full(self.batch_max) || due.is_some_and(|due| due <= Instant::now()) {
                return Ok(true);
            }
            // An order to replay waits for nothing.
            if replay.is_some() {
                return Ok(true);
            }
            tokio::select! {
                biased;
                () = stopped(stop) => return Ok(false),
                turn = session.turn(true) => turn?,
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Saves a batch and meanwhile gathers the next; `None` when it is time to stop.
    async fn save(
        &mut self,
        session: &mut Session,
        batch: &Batch,
        next: &mut Batch,
        replay: &mut Option<Replay>,
        stop: &mut watch::Receiver<bool>,
    ) -> io::Result<Option<Saved>> {
        let (name, batch_max, figures) = (&self.name, self.batch_max, &self.figures);
        let mut saving = std::pin::pin!(self.saver.save(&batch.rows));
        let mut deadline = None;
        loop {
            while !next.is_full(batch_max)
                && let Some(delivery) = session.ready()
            {
                admit(name, session, next, delivery, replay);
            }
            figures.set(|now| now.pending = (batch.rows.len() + next.rows.len()) as u64);
            let wants = !next.is_full(batch_max);
            tokio::select! {
                biased;
                saved = &mut saving => return Ok(Some(saved)),
                () = stopped(stop), if deadline.is_none() => deadline = Some(Instant::now() + GRACE),
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return Ok(None);
                }
                turn = session.turn(wants) => turn?,
            }
        }
    }

    fn take(&self, session: &mut Session, batch: &mut Batch, replay: &mut Option<Replay>) {
        while !batch.is_full(self.batch_max)
            && let Some(delivery) = session.ready()
        {
            admit(&self.name, session, batch, delivery, replay);
        }
        self.figures.set(|now| now.pending = batch.rows.len() as u64);
    }

    /// Tries all dead letters again that are there now. Those that are refused again are new ones.
    async fn replay(&mut self, which: &Replay, stop: &mut watch::Receiver<bool>) -> io::Result<()> {
        let lock = Arc::clone(&self.letters);
        let _alone = lock.lock().await;
        let asked = session::wall_time();
        let mut letters = Session::open(&self.connector, &self.letters()).await?;
        let (mut tried, mut failed, mut passed, mut over) = (0, 0, 0, false);
        while !over {
            let mut batch = Batch::new();
            while !batch.is_full(self.batch_max) && !over {
                match letters.ready() {
                    Some(Delivery { row, .. }) if row.time >= asked => over = true,
                    Some(Delivery { row: letter, receipt }) => match letter::read(&letter) {
                        Some(row) if which.wants(&letter.id) || which.wants(&row.id) => {
                            batch.push(Delivery { row, receipt });
                        }
                        // What is not acknowledged waits on; with many of them the rest is out of reach this time.
                        Some(_) => passed += 1,
                        None => letters.acknowledge(receipt),
                    },
                    None => match tokio::time::timeout(LETTERS_IDLE, letters.turn(true)).await {
                        Ok(turn) => turn?,
                        Err(_) => over = true,
                    },
                }
            }
            let Saved { mut refused, doubtful } = tokio::select! {
                biased;
                () = stopped(stop) => break,
                saved = self.saver.save(&batch.rows) => saved,
            };
            // They have been letters before; nothing is gained by holding the others up for them.
            refused.extend(doubtful.into_iter().map(|at| (at, "it failed again".to_owned())));
            tried += batch.rows.len();
            failed += refused.len();
            let mut stays = BTreeSet::new();
            for (at, why) in refused {
                // It takes the place of one that is there: no room is asked for.
                if self.keep(&batch.rows[at], &why).await.is_err() {
                    stays.insert(at);
                }
            }
            let receipts = batch.receipts.into_iter().enumerate().filter(|(at, _)| !stays.contains(at));
            receipts.for_each(|(_, receipt)| letters.acknowledge(receipt));
        }
        tracing::info!(target: "sink", sink = self.name, tried, failed, passed, "dead letters were tried again");
        letters.close().await
    }

    fn opening(&self) -> session::Opening {
        let mut filters = self.filters.clone();
        filters.push(replay_topic(&self.name));
        let wanted: BTreeSet<&String> = filters.iter().collect();
        let unwanted = self.unwanted.iter().filter(|filter| !wanted.contains(filter)).cloned().collect();
        // One batch is being saved while the next one is gathered, and some rows may be tried again and again.
        let receive_maximum = u16::try_from(2 * self.batch_max + 1 + DOUBTFUL_ROOM).unwrap_or(u16::MAX);
        let client_id = client_id(&self.name);
        session::Opening { client_id, filters, unwanted, receive_maximum, is_limited: true }
    }

    fn letters(&self) -> session::Opening {
        session::Opening {
            client_id: letters_client_id(&self.name),
            filters: vec![letter::filter(&self.name)],
            unwanted: Vec::new(),
            // Those that are passed over stay under way until the end.
            receive_maximum: u16::try_from(self.batch_max.max(LETTERS_MAX)).unwrap_or(u16::MAX),
            is_limited: false,
        }
    }
}

/// Takes a message in; an order to replay is none to be saved.
fn admit(
    name: &str,
    session: &mut Session,
    batch: &mut Batch,
    delivery: Delivery,
    replay: &mut Option<Replay>,
) {
    if *delivery.row.topic == *replay_topic(name) {
        let order = Replay::of(&delivery.row.payload);
        *replay = Some(match replay.take() {
            Some(before) => before.and(order),
            None => order,
        });
        session.acknowledge(delivery.receipt);
    } else {
        batch.push(delivery);
    }
}

/// Returns when it is time to stop, also to who asks again.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error: nobody is there to say so any more.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Keeps a connection alive without reading; returns when it is lost.
pub(crate) async fn rest(session: &mut Session) -> io::Error {
    loop {
        if let Err(error) = session.turn(false).await {
            return error;
        }
    }
}
