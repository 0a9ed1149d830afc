//! `cork check`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use cork_broker::{Config, config::Report};

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The configuration file.
    file: PathBuf,
}

pub(crate) fn check(args: &CheckArgs) -> ExitCode {
    let mut report = cork_broker::config::check(&args.file);
    if report.problems.is_empty()
        && let Ok(config) = Config::load(&args.file)
    {
        check_links(&config, &mut report);
        look(&config, &mut report);
    }
    for note in &report.notes {
        println!("{note}");
    }
    for problem in &report.problems {
        eprintln!("{problem}");
    }
    if report.problems.is_empty() {
        println!("{}: fine", args.file.display());
    }
    ExitCode::from(report.exit_code())
}

/// What links would do, and whether they can be reached now.
fn check_links(config: &Config, report: &mut Report) {
    if let Err(errors) = cork_bridge::judge(config) {
        return report.problems.extend(errors.0.iter().map(ToString::to_string));
    }
    report.notes.extend(cork_bridge::notes(config));
    report.notes.extend(cork_bridge::try_links(config));
}

/// Databases: whether they can be reached, and what would be made there. One that is away keeps no broker from starting.
fn look(config: &Config, report: &mut Report) {
    match cork_sinks::judge(config) {
        Err(errors) => report.problems.extend(errors.0.iter().map(ToString::to_string)),
        Ok(()) => match cork_sinks::look(config) {
            Ok(lines) => report.notes.extend(lines.into_iter().map(|line| format!("note: {line}"))),
            Err(error) => report.problems.push(error.to_string()),
        },
    }
}
