//! `cork serve`.

use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use cork_bridge::Bridges;
use cork_broker::{
    Address, Broker, Config, Overrides, Reload,
    config::{Change, ClientCert, ConfigErrors, Durability, Listener, Scheme},
};
use cork_http::Surroundings;
use cork_sinks::Sinks;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    dashboard::Dashboard,
    log::Log,
    orders::{self, Order},
};

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
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (desk, orders) = orders::desk(signals);
    cork_bridge::judge(&config)?;
    cork_sinks::judge(&config)?;
    // Links and sinks have their Sessions before the first client can publish.
    let mut broker = Broker::start_closed(&config)?;
    let mut links = Links { bridges: Bridges::start(&broker)?, sinks: Sinks::start(&broker)? };
    broker.open();
    let around = Surroundings { host: Some(Arc::new(desk)), log: log.book().clone() };
    let mut dashboard = Dashboard::new(around);
    dashboard.follow(&config, &broker)?;
    welcome(&config, &broker, &dashboard);
    for order in orders {
        match order {
            Order::End => break,
            Order::Reload(answer) => {
                let running = (&mut broker, &mut links, &mut dashboard);
                let done = reload(args, &mut config, running, &log);
                let _ = answer.map(|answer| answer.send(done)); // whoever asked may have gone
            }
            Order::LogLevel { subsystem, level } => {
                let before = config.log.clone();
                match subsystem {
                    Some(subsystem) => drop(config.log.levels.insert(subsystem, level)),
                    None => (config.log.level, config.log.levels) = (level, BTreeMap::new()),
                }
                log.change(&before, &config.log);
            }
        }
    }
    tracing::info!(target: "broker", "shutting down");
    drop(dashboard);
    links.bridges.stop();
    links.sinks.stop();
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

/// What connects the broker with others.
struct Links {
    bridges: Bridges,
    sinks: Sinks,
}

/// Takes changed files in. What is wrong is logged, each fault with its place, and nothing changes.
fn reload(
    args: &ServeArgs,
    config: &mut Config,
    running: (&mut Broker, &mut Links, &mut Dashboard),
    log: &Log,
) -> Result<Reload, String> {
    let (broker, links, dashboard) = running;
    let new = configuration(args).and_then(|new| {
        cork_bridge::judge(&new)?;
        cork_sinks::judge(&new)?;
        broker.reload(&new).map(|done| (new, done))
    });
    match new {
        Ok((new, mut done)) => {
            match links.bridges.reload(&new) {
                Ok(changed) => done.changed.extend(changed),
                // It was judged a moment ago; a file may have changed since.
                Err(error) => tracing::error!(target: "bridge", %error, "the links stay as they were"),
            }
            match links.sinks.reload(&new) {
                Ok(changed) => done.changed.extend(changed),
                Err(error) => tracing::error!(target: "sink", %error, "the sinks stay as they were"),
            }
            log.change(&config.log, &new.log);
            config.log = new.log.clone();
            let answer = done.clone();
            match done.changed.as_slice() {
                [] => tracing::info!(target: "broker", "reloaded: nothing changed"),
                changed => tracing::info!(target: "broker", "reloaded: {}", changed.join("; ")),
            }
            if let Err(errors) = dashboard.follow(&new, broker) {
                tracing::error!(target: "broker", %errors, "the HTTP listeners stay as they were");
            }
            for Change { key, old, new } in done.needs_restart {
                tracing::warn!(target: "broker", key, old, new, "needs a restart: the old value stays in force");
            }
            Ok(answer)
        }
        Err(errors) => {
            let answer = errors.to_string();
            for error in errors.0 {
                tracing::error!(target: "broker", %error, "not reloaded, nothing changed");
            }
            Err(answer)
        }
    }
}

/// Tells a newcomer where the broker is and what to try.
fn welcome(config: &Config, broker: &Broker, dashboard: &Dashboard) {
    let mut text = format!("Corkboard {}\n", env!("CARGO_PKG_VERSION"));
    for (scheme, address) in broker.addresses() {
        text += &format!("  listening on  {}://{address}\n", scheme.as_str());
    }
    for address in dashboard.addresses() {
        text += &format!("  dashboard     http://{address}\n");
    }
    text += &format!("  data in       {}\n", config.data_dir.display());
    text += match config.durability {
        Durability::Always => "  messages      are on the disk before they are acknowledged\n",
        Durability::Interval(_) => "  messages      are on the disk a moment after they are acknowledged\n",
        Durability::None => {
            "  messages      are on the disk when the system writes them; a power cut can take some\n"
        }
    };
    for bridge in &config.bridges {
        text += &format!("  bridge        {} to {}\n", bridge.name, bridge.urls.join(", "));
    }
    if config.auth.password_file.is_none() {
        let certified = |listener: &Listener| {
            listener.tls.as_ref().is_some_and(|tls| tls.client_cert == ClientCert::Required)
        };
        let by_certificate = !config.listeners.is_empty()
            && (!config.auth.anonymous_allowed()
                || config
                    .listeners
                    .iter()
                    .filter(|listener| listener.url.scheme != Scheme::Http)
                    .all(certified));
        text += match config.auth.acl_file {
            None if by_certificate => {
                "  users         who has a client certificate may publish and subscribe\n"
            }
            Some(_) if by_certificate => {
                "  users         who has a client certificate; the rights file decides\n"
            }
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
