//! `cork`: the command line. It reads arguments, files and signals; what they mean is decided in the crates below.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

#[macro_use]
mod out;

mod acl;
mod check;
mod ctl;
mod dashboard;
mod generate;
mod log;
mod matching;
mod mqtt;
mod orders;
mod passwd;
mod publish;
mod request;
mod serve;
mod sim;
mod store;
mod subscribe;
mod top;

/// Corkboard: an MQTT broker for the home and the factory, and its tools.
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
    Serve(serve::ServeArgs),
    /// Check a configuration file and say everything that is wrong with it.
    Check(check::CheckArgs),
    /// Set or delete a user in a password file.
    ///
    /// The password is asked for, or, when standard input is no terminal, read as one line from it.
    Passwd(passwd::PasswdArgs),
    /// Simulate devices: sensors that publish before the hardware is there.
    Sim(Box<sim::SimArgs>),
    /// Questions about rights.
    #[command(subcommand)]
    Acl(acl::AclCommand),
    /// Measure a broker, or compare several.
    ///
    /// Exit code: 0 measured, 1 `--verify` found faults or `compare` could not measure everything, 2 wrong command
    /// line, 3 the broker or this machine made a measurement impossible.
    Bench(Box<cork_bench::BenchArgs>),
    /// Publish messages. Takes the flags of mosquitto_pub.
    Pub(publish::PubArgs),
    /// Subscribe and print what comes. Takes the flags of mosquitto_sub.
    Sub(subscribe::SubArgs),
    /// Publish a request and print the answer. Takes the flags of mosquitto_rr.
    Rr(request::RrArgs),
    /// Explain why a topic filter matches a topic, or does not.
    Match(matching::MatchArgs),
    /// Write the shell's completions to standard output.
    Completions(generate::CompletionsArgs),
    /// Write the man pages into a folder.
    Man(generate::ManArgs),
    /// Operate a running broker over its HTTP API.
    Ctl(Box<ctl::CtlArgs>),
    /// Watch a running broker: rates, busiest topics and clients, once a second.
    Top(top::TopArgs),
    /// Look after what the broker keeps on disk.
    Store(store::StoreArgs),
}

fn main() -> ExitCode {
    let command = mqtt::tidy_up(Cork::command());
    let (args, tool) = match mqtt::expand(std::env::args_os().collect(), &command) {
        Ok(expanded) => expanded,
        Err(error) => return mqtt::refuse(&error),
    };
    let parsed = command.try_get_matches_from(args).and_then(|matches| Cork::from_arg_matches(&matches));
    let cork = match parsed {
        Ok(cork) => cork,
        Err(error) => return mqtt::report(&error, tool),
    };
    match cork.command.unwrap_or_else(|| Command::Serve(serve::ServeArgs::default())) {
        Command::Serve(args) => serve::serve(&args),
        Command::Check(args) => check::check(&args),
        Command::Passwd(args) => passwd::passwd(&args),
        Command::Sim(args) => sim::sim(&args),
        Command::Acl(acl::AclCommand::Explain(args)) => acl::explain(&args),
        Command::Bench(args) => cork_bench::main(&args),
        Command::Pub(args) => publish::run(args),
        Command::Sub(args) => subscribe::run(args),
        Command::Rr(args) => request::run(args),
        Command::Match(args) => matching::run(&args),
        Command::Completions(args) => generate::completions(&args, mqtt::tidy_up(Cork::command())),
        Command::Man(args) => generate::man(&args, mqtt::tidy_up(Cork::command())),
        Command::Top(args) => top::top(&args),
        Command::Ctl(args) => ctl::ctl(&args),
        Command::Store(args) => store::store(&args),
    }
}
