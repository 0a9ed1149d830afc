//! Saves the records of a turn before its packets go out.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::task::JoinHandle;

use crate::{machine::Record, shared::Shared, store::Log};

/// The log, or the task that has it.
#[derive(Debug, Default)]
pub(crate) struct Saver {
    log: Option<Log>,
    task: Option<JoinHandle<(Log, io::Result<()>)>>,
    /// What is being saved, by the highest number in it.
    saving: u64,
}

impl Saver {
    pub(crate) fn new(log: Option<Log>) -> Self {
        Self { log, ..Self::default() }
    }

    /// Begins to save what the machine did so far. Only when nothing is being saved.
    pub(crate) fn start(&mut self, records: Vec<Record>, upto: u64, shared: &Shared) -> io::Result<()> {
        let Some(mut log) = self.log.take() else { return Ok(()) };
        if log.is_slow() && !records.is_empty() {
            self.saving = upto;
            self.task = Some(tokio::task::spawn_blocking(move || {
                let result = log.save(&records);
                (log, result)
            }));
            return Ok(());
        }
        let result = if records.is_empty() { Ok(()) } else { log.save(&records) };
        self.log = Some(log);
        if result.is_ok() {
            shared.lock().saved_upto(upto);
        }
        result
    }

    /// Whether everything that was started is saved.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<io::Result<()>> {
        let Some(task) = &mut self.task else { return Poll::Ready(Ok(())) };
        let (log, result) = ready!(Pin::new(task).poll(cx)).map_err(io::Error::other)?;
        self.task = None;
        self.log = Some(log);
        if result.is_ok() {
            shared.lock().saved_upto(self.saving);
        }
        Poll::Ready(result)
    }
}
