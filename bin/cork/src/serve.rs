//! `cork serve`.

use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use cork_bridge::Bridges;
use cork_broker::{
    Address, Broker, Config, Overrides, Reload,
    config::{
        Change, ClientCert, ConfigError, ConfigErrors, Durability, Listener, MANAGED_FILE, Origin, Scheme,
    },
    managed::{self, Edit, EditError},
};
use cork_http::Surroundings;
use cork_sinks::Sinks;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    dashboard::{Dashboard, DashboardError},
    log::Log,
    orders::{self, Office, Order},
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
    // What was written by hand, and with it what `managed.toml` says.
    let mut base = configuration(args)?;
    let mut config = base.clone();
    config.load_managed()?;
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
    let office = Office { desk, letters: links.sinks.letters() };
    let around = Surroundings { host: Some(Arc::new(office)), log: log.book().clone() };
    let mut dashboard = Dashboard::new(around);
    dashboard.follow(&config, &broker)?;
    welcome(&config, &broker, &dashboard);
    say_resting(&config);
    for order in orders {
        match order {
            Order::End => break,
            Order::Reload(answer) => {
                let running = (&mut broker, &mut links, &mut dashboard);
                let new = configuration(args).and_then(|new| {
                    let mut whole = new.clone();
                    whole.load_managed().map(|()| (new, whole))
                });
                let done = new.and_then(|(new, whole)| {
                    let done = take(whole, &mut config, running, &log)?;
                    base = new;
                    Ok(done)
                });
                let done = done.map_err(|errors| {
                    for error in &errors.0 {
                        tracing::error!(target: "broker", %error, "not reloaded, nothing changed");
                    }
                    errors.to_string()
                });
                let _ = answer.map(|answer| answer.send(done)); // whoever asked may have gone
            }
            Order::Manage(edit, answer) => {
                let running = (&mut broker, &mut links, &mut dashboard);
                let _ = answer.send(manage(&edit, &base, &mut config, running, &log));
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

/// Changes `managed.toml`. The hand-written configuration stays as it was read last: a change over HTTP is no reload.
fn manage(
    edit: &Edit,
    base: &Config,
    config: &mut Config,
    running: (&mut Broker, &mut Links, &mut Dashboard),
    log: &Log,
) -> Result<Reload, EditError> {
    if base.in_memory {
        return Err(EditError::Conflict("everything is kept in memory".to_owned()));
    }
    let before = config.clone();
    let change = |table: &mut _| edit.apply(table, &before);
    managed::change(&base.data_dir, change, |text| {
        let mut whole = base.clone();
        // As if the log level had been there all the time, until the next reload.
        whole.log = config.log.clone();
        whole
            .take_managed(text, &base.data_dir.join(MANAGED_FILE))
            .map_err(|errors| without_place(&errors))?;
        take(whole, config, running, log).map_err(|errors| without_place(&errors))
    })
}

/// Lines of `managed.toml` say nothing to who has not written it.
fn without_place(errors: &ConfigErrors) -> EditError {
    let is_managed = |error: &ConfigError| matches!(&error.origin, Origin::File { name, .. } if name.ends_with(MANAGED_FILE));
    let text = |error: &ConfigError| match (is_managed(error), error.key.as_str()) {
        (false, _) => error.to_string(),
        (true, "") => error.message.clone(),
        (true, key) => format!("`{key}` {}", error.message),
    };
    let conflict = errors.0.iter().any(|error| !is_managed(error));
    let text: Vec<String> = errors.0.iter().map(text).collect();
    if conflict { EditError::Conflict(text.join("; ")) } else { EditError::Wrong(text.join("; ")) }
}

/// Says what in `managed.toml` a hand-written file stands over.
fn say_resting(config: &Config) {
    for line in &config.managed.resting {
        tracing::warn!(target: "broker", "{line}");
    }
}

/// Takes a changed configuration over, if all of it can be; else nothing changes.
fn take(
    new: Config,
    config: &mut Config,
    running: (&mut Broker, &mut Links, &mut Dashboard),
    log: &Log,
) -> Result<Reload, ConfigErrors> {
    let (broker, links, dashboard) = running;
    cork_bridge::judge(&new)?;
    cork_sinks::judge(&new)?;
    new.validate()?;
    // Everything that can fail comes before anything changes.
    let http = dashboard.plan(&new, broker).map_err(DashboardError::of_config)?;
    let mut done = broker.reload(&new)?;
    dashboard.apply(http);
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
    let answer = done.clone();
    match done.changed.as_slice() {
        [] => tracing::info!(target: "broker", "reloaded: nothing changed"),
        changed => tracing::info!(target: "broker", "reloaded: {}", changed.join("; ")),
    }
    for Change { key, old, new } in done.needs_restart {
        tracing::warn!(target: "broker", key, old, new, "needs a restart: the old value stays in force");
    }
    if new.managed.resting != config.managed.resting {
        say_resting(&new);
    }
    *config = new;
    Ok(answer)
}

/// Tells a newcomer where the broker is and what to try.
fn welcome(config: &Config, broker: &Broker, dashboard: &Dashboard) {
    let mut text = format!("Corkboard {}\n", env!("CARGO_PKG_VERSION"));
    for (scheme, address) in broker.addresses() {
        text += &format!("  listening on  {}://{address}\n", scheme.as_str());
    }
    for (scheme, address) in dashboard.addresses() {
        text += &format!("  dashboard     {}://{address}\n", scheme.as_str());
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
    if !config.has_users() {
        let certified = |listener: &Listener| {
            listener.tls.as_ref().is_some_and(|tls| tls.client_cert == ClientCert::Required)
        };
        let by_certificate = !config.listeners.is_empty()
            && (!config.anonymous_allowed()
                || config.listeners.iter().filter(|listener| !listener.url.scheme.is_http()).all(certified));
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
        let login = if config.anonymous_allowed() { "" } else { " -u USER -P PASSWORD" };
        text += &format!(
            "Try it, in two terminals:\n  cork sub -h {host} -p {port}{login} -v -t '#'\n  cork pub -h {host} -p {port}{login} -t hello -m world\n"
        );
    }
    text += "Stop with Ctrl-C.\n";
    let mut stdout = std::io::stdout();
    // Nobody may be reading it.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
