//! What the running broker is told to do, by signals and over HTTP: one line of orders, carried out one after another.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use cork_broker::{
    Reload,
    config::{LogLevel, Subsystem},
    managed::{Edit, EditError},
};
use cork_http::{Host, LettersPage};
use cork_sinks::Letters;
use signal_hook::{consts::SIGHUP, iterator::Signals};

/// One order.
pub(crate) enum Order {
    /// Tell everybody, and end.
    End,
    /// Read the configuration again; whoever asked may want to know.
    Reload(Option<Sender<Result<Reload, String>>>),
    /// Change `managed.toml`, and take the change over.
    Manage(Box<Edit>, Sender<Result<Reload, EditError>>),
    /// Write other lines to the log.
    LogLevel { subsystem: Option<Subsystem>, level: LogLevel },
}

/// Takes orders from other threads.
#[derive(Clone)]
pub(crate) struct Desk(Sender<Order>);

/// What the HTTP API asks of the program.
pub(crate) struct Office {
    pub(crate) desk: Desk,
    pub(crate) letters: Letters,
}

const ENDS: &str = "the broker ends";

/// Starts taking orders, those of signals too.
pub(crate) fn desk(mut signals: Signals) -> (Desk, Receiver<Order>) {
    let (sender, orders) = channel();
    let desk = Desk(sender.clone());
    thread::spawn(move || {
        let mut ending = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                let _ = sender.send(Order::Reload(None)); // nobody takes orders while the broker ends
                continue;
            }
            if std::mem::replace(&mut ending, true) {
                // Whoever asks a second time does not want to wait.
                std::process::exit(130);
            }
            let _ = sender.send(Order::End);
        }
    });
    (desk, orders)
}

impl Host for Office {
    fn reload(&self) -> Result<Reload, String> {
        let (sender, answer) = channel();
        self.desk.0.send(Order::Reload(Some(sender))).map_err(|_| ENDS)?;
        answer.recv().unwrap_or_else(|_| Err(ENDS.to_owned()))
    }

    fn manage(&self, edit: Edit) -> Result<Reload, EditError> {
        let (sender, answer) = channel();
        let ends = || EditError::Failed(ENDS.to_owned());
        self.desk.0.send(Order::Manage(Box::new(edit), sender)).map_err(|_| ends())?;
        answer.recv().unwrap_or_else(|_| Err(ends()))
    }

    fn set_log_level(&self, subsystem: Option<Subsystem>, level: LogLevel) -> Result<(), String> {
        self.desk.0.send(Order::LogLevel { subsystem, level }).map_err(|_| ENDS.to_owned())
    }

    fn letters(&self, sink: &str, after: Option<&str>, limit: usize) -> Result<LettersPage, String> {
        let page = self.letters.list(sink, after, limit).map_err(|error| error.to_string())?;
        let items = page.items.into_iter().map(|letter| cork_http::Letter {
            id: letter.id,
            time: letter.time,
            reason: letter.reason,
            topic: letter.topic,
            payload: letter.payload,
            qos: letter.qos,
            retain: letter.retain,
            content_type: letter.content_type,
            user_properties: letter.user_properties,
        });
        Ok(LettersPage { items: items.collect(), next: page.next })
    }

    fn replay(&self, sink: &str, ids: Option<&[String]>) -> Result<u64, String> {
        self.letters.replay(sink, ids).map_err(|error| error.to_string())
    }

    fn discard(&self, sink: &str) -> Result<u64, String> {
        self.letters.discard(sink).map_err(|error| error.to_string())
    }
}
