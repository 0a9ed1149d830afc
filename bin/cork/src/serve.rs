//! `cork serve`.

use std::{io::Write, path::PathBuf, process::ExitCode, thread};

use clap::Args;
use cork_broker::{
    Address, Broker, Config, Overrides,
    config::{Change, ConfigErrors, Durability, Scheme},
};
use cork_sinks::Sinks;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::log::Log;

#[derive(Args, Default)]
pub(crate) struct ServeArgs {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, for example `mqtt://127.0.0.1:1883` or `ws://localhost:8083`; may be given several times.
    /// Replaces all listeners of the configuration and the default one.
    #[arg(long, value_name = "URL")]
    listen: Vec<String>,
    /// Folder of everything that outlives the process.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Let clients in that give no user name.
    #[arg(long)]
    allow_anonymous: bool,
    /// What acknowledgements wait for: `always`, `none`, or a time such as `100ms`.
    #[arg(long, value_name = "LEVEL")]
    durability: Option<String>,
}

/// The exit code of a configuration that is refused, and of a start the system refuses.
const REFUSED: u8 = 1;

pub(crate) fn serve(args: &ServeArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(REFUSED)
        }
    }
}

fn run(args: &ServeArgs) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = configuration(args)?;
    let log = Log::start(&config.log)?;
    // Before the first client, so that a signal that comes early is not lost.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    cork_sinks::judge(&config)?;
    // Sinks have their Sessions before the first client can publish.
    let mut broker = Broker::start_closed(&config)?;
    let mut sinks = Sinks::start(&broker)?;
    broker.open();
    welcome(&config, &broker);
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        reload(args, &mut config, (&mut broker, &mut sinks), &log);
    }
    // Whoever asks a second time does not want to wait.
    thread::spawn(move || {
        signals.forever().find(|signal| *signal != SIGHUP);
        std::process::exit(130);
    });
    tracing::info!(target: "broker", "shutting down");
    sinks.stop();
    broker.shutdown();
    Ok(())
}

/// The file, and over it the flags.
fn configuration(args: &ServeArgs) -> Result<Config, ConfigErrors> {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    config.apply(&Overrides {
        listen: args.listen.clone(),
        data_dir: args.data_dir.clone(),
        allow_anonymous: args.allow_anonymous,
        durability: args.durability.clone(),
    })?;
    Ok(config)
}

/// Takes changed files in. What is wrong is logged, each fault with its place, and nothing changes.
fn reload(args: &ServeArgs, config: &mut Config, (broker, sinks): (&mut Broker, &mut Sinks), log: &Log) {
    let new = configuration(args).and_then(|new| {
        cork_sinks::judge(&new)?;
        broker.reload(&new).map(|done| (new, done))
    });
    match new {
        Ok((new, mut done)) => {
            match sinks.reload(&new) {
                Ok(changed) => done.changed.extend(changed),
                Err(error) => tracing::error!(target: "sink", %error, "the sinks stay as they were"),
            }
            log.change(&config.log, &new.log);
            config.log = new.log;
            match done.changed.as_slice() {
                [] => tracing::info!(target: "broker", "reloaded: nothing changed"),
                changed => tracing::info!(target: "broker", "reloaded: {}", changed.join("; ")),
            }
            for Change { key, old, new } in done.needs_restart {
                tracing::warn!(target: "broker", key, old, new, "needs a restart: the old value stays in force");
            }
        }
        Err(errors) => {
            for error in errors.0 {
                tracing::error!(target: "broker", %error, "not reloaded, nothing changed");
            }
        }
    }
}

/// Tells a newcomer where the broker is and what to try.
fn welcome(config: &Config, broker: &Broker) {
    let mut text = format!("Corkboard {}\n", env!("CARGO_PKG_VERSION"));
    for (scheme, address) in broker.addresses() {
        text += &format!("  listening on  {}://{address}\n", scheme.as_str());
    }
    text += &format!("  data in       {}\n", config.data_dir.display());
    text += match config.durability {
        Durability::Always => "  messages      are on the disk before they are acknowledged\n",
        Durability::Interval(_) => "  messages      are on the disk a moment after they are acknowledged\n",
        Durability::None => {
            "  messages      are on the disk when the system writes them; a power cut can take some\n"
        }
    };
    if config.auth.password_file.is_none() {
        text += match config.auth.acl_file {
            None => "  users         none: everybody who can connect may publish and subscribe\n",
            Some(_) => "  users         none: user names prove nothing; the rights file decides\n",
        };
    }
    let plain = broker.addresses().iter().find_map(|(scheme, address)| match address {
        Address::Net(address) if *scheme == Scheme::Mqtt => Some(*address),
        _ => None,
    });
    // Behind a proxy, or under a rights file, these commands may well be refused.
    let open = config.auth.acl_file.is_none() && !config.listeners.iter().any(|listener| listener.proxy);
    if let Some(address) = plain.filter(|_| open) {
        let host =
            if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() };
        let port = address.port();
        let login = if config.auth.anonymous_allowed() { "" } else { " -u USER -P PASSWORD" };
        text += &format!(
            "Try it, in two terminals:\n  cork sub -h {host} -p {port}{login} -v -t '#'\n  cork pub -h {host} -p {port}{login} -t hello -m world\n"
        );
    }
    text += "Stop with Ctrl-C.\n";
    let mut stdout = std::io::stdout();
    // Nobody may be reading it.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
