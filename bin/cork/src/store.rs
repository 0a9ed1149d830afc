//! `cork store`.

use std::{
    error::Error,
    fs::File,
    io::{self, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use cork_broker::{
    Config,
    store::{CheckReport, check, export, import, repair},
};

/// Exit codes: something is damaged; there is no answer.
const DAMAGED: u8 = 1;
const FAILED: u8 = 2;

#[derive(Args)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
    /// The broker's data directory; by default the configuration's.
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Read everything and say what is damaged, by file and offset.
    ///
    /// Exit code: 0 all is sound, 1 something is damaged, 2 it cannot be read.
    Check {
        /// Copy what is sound of a damaged log into a new one. The damaged one is kept beside it, as `log.damaged-1`. The
        /// broker must not be running.
        #[arg(long)]
        repair: bool,
    },
    /// Say what is kept and how much space it takes.
    Stats,
    /// Write everything as lines of JSON; also while the broker is running.
    Export {
        /// Where to; standard output without it. A file that is there is not overwritten.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read what `export` wrote into a data directory that has nothing yet.
    Import {
        /// Where from; standard input without it.
        file: Option<PathBuf>,
    },
}

pub(crate) fn store(args: &StoreArgs) -> ExitCode {
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cork store: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(args: &StoreArgs) -> Result<u8, Box<dyn Error>> {
    let data_dir = match (&args.data_dir, &args.config) {
        (Some(data_dir), _) => data_dir.clone(),
        (None, Some(file)) => Config::load(file)?.data_dir,
        (None, None) => Config::default().data_dir,
    };
    match &args.command {
        StoreCommand::Check { repair: false } => Ok(report(&check(&data_dir)?)),
        StoreCommand::Check { repair: true } => save(&data_dir),
        StoreCommand::Stats => {
            stats(&check(&data_dir)?);
            Ok(0)
        }
        StoreCommand::Export { output } => write(&data_dir, output.as_deref()),
        StoreCommand::Import { file } => {
            let lines = match file {
                Some(file) => import(&data_dir, &mut BufReader::new(open(file)?))?,
                None => import(&data_dir, &mut io::stdin().lock())?,
            };
            eprintln!("{lines} lines imported into {}", data_dir.display());
            Ok(0)
        }
    }
}

fn open(file: &Path) -> Result<File, String> {
    File::open(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// Says what is wrong, if anything is: the exit code.
fn report(found: &CheckReport) -> u8 {
    for damage in &found.damages {
        println!("damaged: {damage}");
    }
    if let Some(cut) = &found.cut {
        println!("unfinished: {cut}; the next start cuts it off, nobody was told that it was stored");
    }
    for name in &found.strangers {
        println!("stranger: {name} is no part of the log");
    }
    println!("{} commits in {} segments were read", found.commits, found.segments);
    if found.damages.is_empty() {
        println!("sound");
        return 0;
    }
    println!("what is sound can be saved with `cork store check --repair`");
    DAMAGED
}

fn save(data_dir: &Path) -> Result<u8, Box<dyn Error>> {
    let repaired = repair(data_dir)?;
    for damage in &repaired.before.damages {
        println!("damaged: {damage}");
    }
    for lost in &repaired.left_out {
        println!("left out: {lost}");
    }
    let Some(moved_to) = &repaired.moved_to else {
        println!("nothing is damaged, nothing was done");
        return Ok(0);
    };
    println!(
        "everything else is in a new log; the damaged one is kept as {}. What a damaged place said is not known any \
         more: deliveries that were over may come again.",
        moved_to.display()
    );
    Ok(0)
}

fn stats(found: &CheckReport) {
    println!("sessions             {:>12}", found.sessions);
    println!("queued deliveries    {:>12}", found.queued);
    println!("retained messages    {:>12}", found.retained);
    println!("segments             {:>12}", found.segments);
    println!("bytes                {:>12}", found.used_bytes);
    println!("bytes still needed   {:>12}  (estimated)", found.live_bytes);
    println!("commits              {:>12}", found.commits);
    for (kind, count) in &found.records {
        println!("records, {:<11} {count:>12}", format!("{kind}:"));
    }
}

fn write(data_dir: &Path, output: Option<&Path>) -> Result<u8, Box<dyn Error>> {
    let damages = match output {
        Some(path) => {
            let named = |error: io::Error| format!("{}: {error}", path.display());
            let mut file = BufWriter::new(File::create_new(path).map_err(named)?);
            let damages = export(data_dir, &mut file)?;
            file.into_inner().map_err(|error| named(error.into_error()))?.sync_all().map_err(named)?;
            damages
        }
        None => {
            let mut output = BufWriter::new(io::stdout().lock());
            let damages = export(data_dir, &mut output)?;
            output.flush()?;
            damages
        }
    };
    for damage in &damages {
        eprintln!("not exported, for it is damaged: {damage}");
    }
    Ok(if damages.is_empty() { 0 } else { DAMAGED })
}
