//! Where log lines go, how they look, and which are written. All of it can change while the broker runs.
//!
//! Lines are made where something happens and written by a thread of their own: a full disk, a pipe that nobody reads or
//! a journal that hangs costs lines, never messages. How many were lost is said as soon as one can be written again.

use std::io::{self, IsTerminal as _};

use cork_broker::config::{Log as LogConfig, LogFormat, LogLevel, LogOutput, Subsystem};
use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    reload::{self, Handle},
    util::SubscriberInitExt as _,
};

use cork_http::LogBook;
use line::Look;
use output::Output;
use writer::WriterThread;

mod journal;
mod line;
mod output;
mod page;
mod writer;

/// The running log. What is still on its way is written when this is dropped.
pub(crate) struct Log {
    filter: Handle<Targets, Registry>,
    thread: WriterThread,
    book: LogBook,
}

impl Log {
    /// Starts it, once in a process.
    ///
    /// An output that does not work is no reason not to start: the lines go to standard error then.
    pub(crate) fn start(config: &LogConfig) -> io::Result<Self> {
        let book = LogBook::default();
        let thread = WriterThread::start(output(config), look(config), book.clone())?;
        let (targets, filter) = reload::Layer::new(filter(config));
        tracing_subscriber::registry().with(targets).with(thread.queue()).init();
        Ok(Self { filter, thread, book })
    }

    /// The last lines, for who looks at them over HTTP.
    pub(crate) const fn book(&self) -> &LogBook {
        &self.book
    }

    /// Goes on with another configuration. A log file is opened again even if nothing changed: it may have been moved
    /// away to make room for a new one.
    pub(crate) fn change(&self, old: &LogConfig, new: &LogConfig) {
        if old.output == new.output {
            self.thread.reopen();
        } else {
            self.thread.switch(output(new));
        }
        // It fails only where there is no log any more.
        let _ = self.filter.reload(filter(new));
        if old.output != new.output || old.format != new.format {
            self.thread.dress(look(new));
        }
    }
}

/// Which lines are written. The target of a line is the name of its subsystem, or the crate that forgot to say it.
fn filter(config: &LogConfig) -> Targets {
    let mut targets = Targets::new().with_default(level(config.level));
    for (subsystem, chosen) in &config.levels {
        let names: &[&str] = match subsystem {
            Subsystem::Broker => &["broker", "cork_broker", "cork"],
            Subsystem::Net => &["net", "cork_net"],
            Subsystem::Client => &["client", "cork_core"],
            Subsystem::Access => &["access", "cork_access"],
            Subsystem::Store => &["store", "cork_store"],
            Subsystem::Bridge => &["bridge", "cork_bridge"],
            Subsystem::Sink => &["sink", "cork_sinks"],
        };
        for name in names {
            targets = targets.with_target(*name, level(*chosen));
        }
    }
    targets
}

fn level(level: LogLevel) -> LevelFilter {
    level.as_str().parse().unwrap_or(LevelFilter::INFO)
}

/// How a line looks.
fn look(config: &LogConfig) -> Look {
    let in_journal = match config.output {
        LogOutput::Journal => true,
        LogOutput::Stderr => journal::is_stderr(),
        LogOutput::File(_) => false,
    };
    let colours = config.output == LogOutput::Stderr && io::stderr().is_terminal();
    match config.format {
        // The journal notes the time itself.
        LogFormat::Text => Look::Text { time: !in_journal, colours },
        LogFormat::Json => Look::Json,
    }
}

fn output(config: &LogConfig) -> Output {
    match &config.output {
        LogOutput::Stderr => Output::stderr(journal::is_stderr()),
        LogOutput::Journal => Output::journal(),
        LogOutput::File(path) => Output::file(path),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tracing::Level;

    use super::*;

    #[test]
    fn each_subsystem_has_its_level() {
        let config = LogConfig {
            level: LogLevel::Warn,
            levels: BTreeMap::from([(Subsystem::Net, LogLevel::Debug), (Subsystem::Access, LogLevel::Off)]),
            ..LogConfig::default()
        };
        let filter = filter(&config);
        let cases = [
            ("net", Level::DEBUG, true),
            ("net", Level::TRACE, false),
            ("cork_net::listener", Level::DEBUG, true),
            ("access", Level::ERROR, false),
            ("client", Level::INFO, false),
            ("client", Level::WARN, true),
            ("somebody_else", Level::WARN, true),
        ];
        for (target, level, expected) in cases {
            assert_eq!(filter.would_enable(target, &level), expected, "{target} {level}");
        }
    }
}
