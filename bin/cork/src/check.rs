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
    if report.problems.is_empty() {
        check_links(args, &mut report);
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
fn check_links(args: &CheckArgs, report: &mut Report) {
    // It was read a moment ago.
    let Ok(config) = Config::load(&args.file) else { return };
    if let Err(errors) = cork_bridge::judge(&config) {
        return report.problems.extend(errors.0.iter().map(ToString::to_string));
    }
    report.notes.extend(cork_bridge::notes(&config));
    report.notes.extend(cork_bridge::try_links(&config));
}
