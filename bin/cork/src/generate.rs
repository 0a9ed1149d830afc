//! `cork completions` and `cork man`: made from the definition of the flags.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args)]
#[command(after_help = "\
Examples:
  cork completions bash > /etc/bash_completion.d/cork
  cork completions zsh > ~/.zfunc/_cork
  cork completions fish > ~/.config/fish/completions/cork.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

#[derive(Args)]
#[command(after_help = "\
One page for `cork` and one for each command: cork.1, cork-pub.1, ...

Example:
  cork man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The folder; it is made when it is not there.
    folder: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> ExitCode {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut command, "cork", &mut out);
    // Nobody may be reading it.
    let _ = std::io::stdout().write_all(&out);
    ExitCode::SUCCESS
}

pub(crate) fn man(args: &ManArgs, command: Command) -> ExitCode {
    let made = std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(command.disable_help_subcommand(true), &args.folder));
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cork man: cannot write to {}: {error}", args.folder.display());
            ExitCode::FAILURE
        }
    }
}
