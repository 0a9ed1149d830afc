//! `cork serve`.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    thread,
};

use cork_broker::{
    Address, Broker, Config, Overrides,
    config::{LogFormat, Scheme},
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tracing_subscriber::filter::LevelFilter;

use crate::ServeArgs;

/// The exit code of a configuration that is refused, and of a start the system refuses.
const REFUSED: u8 = 1;

pub(crate) fn serve(args: ServeArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(REFUSED)
        }
    }
}

fn run(args: ServeArgs) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    config.apply(&Overrides {
        listen: args.listen,
        data_dir: args.data_dir,
        allow_anonymous: args.allow_anonymous,
        durability: args.durability,
    })?;
    start_log(&config);
    // Before the first client, so that a signal that comes early is not lost.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let broker = Broker::start(&config)?;
    welcome(&config, &broker);
    signals.forever().next();
    // Whoever asks a second time does not want to wait.
    thread::spawn(move || {
        signals.forever().next();
        std::process::exit(130);
    });
    tracing::info!("shutting down");
    broker.shutdown();
    Ok(())
}

fn start_log(config: &Config) {
    let level = config.log.level.as_str().parse().unwrap_or(LevelFilter::INFO);
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Tells a newcomer where the broker is and what to try.
fn welcome(config: &Config, broker: &Broker) {
    let mut text = format!("Corkboard {}\n", env!("CARGO_PKG_VERSION"));
    for (scheme, address) in broker.addresses() {
        text += &format!("  listening on  {}://{address}\n", scheme.as_str());
    }
    text += &format!("  data in       {}\n", config.data_dir.display());
    text += "  messages      are kept in memory: they do not outlive this process yet\n";
    if config.auth.password_file.is_none() {
        text += "  users         none: everybody who can connect may publish and subscribe\n";
    }
    let plain = broker.addresses().iter().find_map(|(scheme, address)| match address {
        Address::Net(address) if *scheme == Scheme::Mqtt => Some(*address),
        _ => None,
    });
    if let Some(address) = plain {
        let (host, port) = (address.ip(), address.port());
        let login = if config.auth.anonymous_allowed() { "" } else { " -u USER -P PASSWORD" };
        text += &format!(
            "Try it, in two terminals:\n  mosquitto_sub -h {host} -p {port}{login} -v -t '#'\n  mosquitto_pub -h {host} -p {port}{login} -t hello -m world\n"
        );
    }
    text += "Stop with Ctrl-C.\n";
    let mut stdout = std::io::stdout();
    // Nobody may be reading it.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
