//! `cork passwd`.

use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use cork_broker::passwd::{delete_user, set_password};

#[derive(Args)]
pub(crate) struct PasswdArgs {
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

pub(crate) fn passwd(args: &PasswdArgs) -> ExitCode {
    match run(args) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cork passwd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &PasswdArgs) -> Result<String, String> {
    let (file, user) = (args.file.display(), &args.user);
    if args.delete {
        return match delete_user(&args.file, user).map_err(|error| error.to_string())? {
            true => Ok(format!("{file}: user `{user}` deleted")),
            false => Err(format!("{file}: there is no user `{user}`")),
        };
    }
    let password = ask(user).map_err(|error| format!("cannot read the password: {error}"))?;
    if password.is_empty() {
        return Err("the password is empty; nothing was changed".to_owned());
    }
    set_password(&args.file, user, password.as_bytes(), args.scram).map_err(|error| error.to_string())?;
    Ok(format!("{file}: password of `{user}` set"))
}

/// From a prompt, twice; or one line of standard input.
fn ask(user: &str) -> io::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        stdin.lock().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\n', '\r']).to_owned());
    }
    let password = rpassword::prompt_password(format!("Password for {user}: "))?;
    let again = rpassword::prompt_password("Again: ")?;
    if password == again {
        Ok(password)
    } else {
        Err(io::Error::other("the two passwords differ; nothing was changed"))
    }
}
