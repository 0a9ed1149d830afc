//! The end of a batch: what is safe is acknowledged, and what was refused becomes dead letters, as long as these can be
//! kept. While they cannot, the target is offered the rows again: it may have been mended meanwhile, and an order to try
//! the letters again waits behind these rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use cork_sink::Row;
use tokio::sync::watch;

use crate::{
    backoff::Backoff,
    batch::Batch,
    figures::State,
    runner::{Runner, rest, stopped},
    saver::{Refused, Saved},
    session::Session,
};

/// The longest pause between two tries to keep a letter.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const FULL: &str =
    "there is no room for more dead letters (limits.queue_max_bytes): have them tried again, or discard them";

impl Runner {
    /// Acknowledges all of a batch but what is doubtful; false when it is time to stop before that was done. What is not
    /// acknowledged comes again.
    pub(crate) async fn settle(
        &mut self,
        session: &mut Session,
        batch: &Batch,
        saved: &mut Saved,
        stop: &mut watch::Receiver<bool>,
    ) -> io::Result<bool> {
        let mut refused = std::mem::take(&mut saved.refused);
        let open: BTreeSet<usize> =
            refused.iter().map(|(at, _)| *at).chain(saved.doubtful.iter().copied()).collect();
        for (at, receipt) in batch.receipts.iter().enumerate() {
            if !open.contains(&at) {
                session.acknowledge(*receipt);
            }
        }
        let mut backoff = Backoff::new(PAUSE_MAX);
        let mut told = false;
        loop {
            let Some(why) = self.bury(session, batch, &mut refused).await else { break };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(target: "sink", sink = self.name, "a dead letter cannot be kept, the sink waits: {why}");
            }
            self.figures.set(|now| now.lost(why));
            tokio::select! {
                biased;
                () = stopped(stop) => return Ok(false),
                lost = rest(session) => return Err(lost),
                () = tokio::time::sleep(backoff.pause()) => {}
            }
            if !self.offer_again(session, batch, &mut refused, stop).await? {
                return Ok(false);
            }
        }
        if told {
            tracing::info!(target: "sink", sink = self.name, "goes on");
            self.figures.set(|now| (now.state, now.error) = (State::Working, String::new()));
        }
        Ok(true)
    }

    /// Makes refused rows dead letters, from the first one on; why one of them cannot be kept.
    async fn bury(&mut self, session: &mut Session, batch: &Batch, refused: &mut Refused) -> Option<String> {
        let mut buried = 0;
        let mut problem = None;
        for (at, why) in refused.iter() {
            let row = &batch.rows[*at];
            let kept = match self.room.is_there_for(row).await {
                true => self.keep(row, why).await,
                false => Err(FULL.to_owned()),
            };
            if let Err(error) = kept {
                problem = Some(error);
                break;
            }
            session.acknowledge(batch.receipts[*at]);
            buried += 1;
        }
        refused.drain(..buried);
        problem
    }

    /// Makes one row a dead letter.
    pub(crate) async fn keep(&mut self, row: &Row, why: &str) -> Result<(), String> {
        tracing::debug!(target: "sink", sink = self.name, topic = ?row.topic, why, "a dead letter");
        self.desk.bury(&self.name, row, why).await?;
        self.figures.set(|now| now.dead += 1);
        Ok(())
    }

    /// Tries to save refused rows once more; those that are safe then are acknowledged. False when it is time to stop.
    async fn offer_again(
        &mut self,
        session: &mut Session,
        batch: &Batch,
        refused: &mut Refused,
        stop: &mut watch::Receiver<bool>,
    ) -> io::Result<bool> {
        let rows: Vec<Row> = refused.iter().map(|(at, _)| batch.rows[*at].clone()).collect();
        let Saved { refused: now, doubtful } = tokio::select! {
            biased;
            () = stopped(stop) => return Ok(false),
            lost = rest(session) => return Err(lost),
            saved = self.saver.save(&rows) => saved,
        };
        let mut now: BTreeMap<usize, String> = now.into_iter().collect();
        for (place, (at, why)) in std::mem::take(refused).into_iter().enumerate() {
            match now.remove(&place) {
                Some(why) => refused.push((at, why)),
                None if doubtful.contains(&place) => refused.push((at, why)),
                None => session.acknowledge(batch.receipts[at]),
            }
        }
        Ok(true)
    }
}
