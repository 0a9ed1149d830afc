//! `cork check`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The configuration file.
    file: PathBuf,
}

pub(crate) fn check(args: &CheckArgs) -> ExitCode {
    let report = cork_broker::config::check(&args.file);
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
