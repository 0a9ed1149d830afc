//! `cork`: the command line. It reads arguments, files and signals; what they mean is decided in the crates below.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

mod acl;
mod log;
mod passwd;
mod serve;
mod sim;
mod store;

/// Corkboard: an MQTT broker for the home and the factory.
#[derive(Parser)]
#[command(
    name = "cork",
    version,
    about,
    after_help = "Without a command, `cork` does what `cork serve` does."
)]
struct Cork {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Start the broker.
    Serve(ServeArgs),
    /// Check a configuration file and say everything that is wrong with it.
    Check {
        /// The configuration file.
        file: PathBuf,
    },
    /// Set or delete a user in a password file.
    ///
    /// The password is asked for, or, when standard input is no terminal, read as one line from it.
    Passwd(PasswdArgs),
    /// Simulate devices: sensors that publish before the hardware is there.
    Sim(Box<sim::SimArgs>),
    /// Questions about rights.
    #[command(subcommand)]
    Acl(AclCommand),
    /// Measure a broker, or compare several.
    ///
    /// Exit code: 0 measured, 1 `--verify` found faults or `compare` could not measure everything, 2 wrong command
    /// line, 3 the broker or this machine made a measurement impossible.
    Bench(Box<cork_bench::BenchArgs>),
    /// Look after what the broker keeps on disk.
    Store(store::StoreArgs),
}

#[derive(Subcommand)]
enum AclCommand {
    /// Say whether a client may do something, and which rule decides.
    ///
    /// Exit code: 0 it may, 1 it may not, 2 there is no answer.
    Explain(ExplainArgs),
}

#[derive(Args)]
struct ExplainArgs {
    /// The user; leave it out to ask for somebody anonymous.
    #[arg(long)]
    user: Option<String>,
    /// The client identifier.
    #[arg(long, value_name = "ID", default_value = "")]
    client: String,
    /// The topic, or, to subscribe, the filter.
    #[arg(long)]
    topic: String,
    /// What the client wants to do.
    #[arg(long)]
    action: acl::Wish,
    /// Configuration file; if it is not given, `cork.toml` in this folder, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args, Default)]
struct ServeArgs {
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

#[derive(Args)]
struct PasswdArgs {
    /// The password file; made when it is not there.
    file: PathBuf,
    /// The user.
    user: String,
    /// Delete the user.
    #[arg(long)]
    delete: bool,
    /// Write a SCRAM-SHA-256 line as well, for MQTT 5 enhanced authentication.
    #[arg(long, conflicts_with = "delete")]
    scram: bool,
}

fn main() -> ExitCode {
    match Cork::parse().command.unwrap_or_else(|| Command::Serve(ServeArgs::default())) {
        Command::Serve(args) => serve::serve(&args),
        Command::Check { file } => check(&file),
        Command::Passwd(args) => passwd::passwd(&args),
        Command::Sim(args) => sim::sim(&args),
        Command::Acl(AclCommand::Explain(args)) => acl::explain(&args),
        Command::Bench(args) => cork_bench::main(&args),
        Command::Store(args) => store::store(&args),
    }
}

fn check(file: &std::path::Path) -> ExitCode {
    let report = cork_broker::config::check(file);
    for note in &report.notes {
        println!("{note}");
    }
    for problem in &report.problems {
        eprintln!("{problem}");
    }
    if report.problems.is_empty() {
        println!("{}: fine", file.display());
    }
    ExitCode::from(report.exit_code())
}
