//! What the running broker is told to do, by signals and over HTTP: one line of orders, carried out one after another.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use cork_broker::{
    Reload,
    config::{LogLevel, Subsystem},
};
use cork_http::Host;
use signal_hook::{consts::SIGHUP, iterator::Signals};

/// One order.
pub(crate) enum Order {
    /// Tell everybody, and end.
    End,
    /// Read the configuration again; whoever asked may want to know.
    Reload(Option<Sender<Result<Reload, String>>>),
    /// Write other lines to the log.
    LogLevel { subsystem: Option<Subsystem>, level: LogLevel },
}

/// Takes orders over HTTP.
pub(crate) struct Desk(Sender<Order>);

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

impl Host for Desk {
    fn reload(&self) -> Result<Reload, String> {
        let (sender, answer) = channel();
        let ends = "the broker ends";
        self.0.send(Order::Reload(Some(sender))).map_err(|_| ends)?;
        answer.recv().unwrap_or_else(|_| Err(ends.to_owned()))
    }

    fn set_log_level(&self, subsystem: Option<Subsystem>, level: LogLevel) -> Result<(), String> {
        self.0.send(Order::LogLevel { subsystem, level }).map_err(|_| "the broker ends".to_owned())
    }
}
