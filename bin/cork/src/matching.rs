//! `cork match`.

use std::process::ExitCode;

use clap::Args;
use cork_tools::explain::{Verdict, explain};

use crate::mqtt::Colour;

#[derive(Args)]
#[command(after_help = "\
Exit code: 0 it matches, 1 it does not, 2 the filter or the topic breaks a rule.

Examples:
  cork match 'sensors/+/temperature' sensors/kitchen/temperature
  cork match '#' '$SYS/broker/version'
  cork match '$share/workers/jobs/#' jobs/7")]
pub(crate) struct MatchArgs {
    /// The topic filter; `$share/GROUP/FILTER` is understood.
    filter: String,
    /// The topic.
    topic: String,
    /// Whether to use colours.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Colour,
}

pub(crate) fn run(args: &MatchArgs) -> ExitCode {
    let (verdict, said) = explain(&args.filter, &args.topic, args.color.palette());
    match verdict {
        Verdict::Matches => println!("{said}"),
        Verdict::Differs => {
            println!("{said}");
            return ExitCode::from(1);
        }
        Verdict::Invalid => {
            eprintln!("{said}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
