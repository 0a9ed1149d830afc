//! `cork acl`.

use std::{path::Path, process::ExitCode};

use clap::ValueEnum;
use cork_broker::{Action, Config, Decision, Subject};

use crate::ExplainArgs;

/// The configuration that is asked if none is named.
const HERE: &str = "cork.toml";

/// Exit codes: the answer is no; there is no answer.
const DENIED: u8 = 1;
const FAILED: u8 = 2;

/// What somebody wants to do.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Wish {
    /// Get a message of this topic.
    Read,
    /// Publish to this topic, or leave a Will for it.
    Write,
    /// Subscribe to this filter.
    Subscribe,
}

pub(crate) fn explain(args: &ExplainArgs) -> ExitCode {
    match run(args) {
        Ok((true, said)) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Ok((false, said)) => {
            println!("{said}");
            ExitCode::from(DENIED)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Whether it is allowed, and the line that says so.
fn run(args: &ExplainArgs) -> Result<(bool, String), Box<dyn std::error::Error>> {
    let here = Path::new(HERE);
    let file = args.config.as_deref().or_else(|| here.exists().then_some(here));
    let config = match file {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    let rights = config.rights()?;
    let topic = match args.action {
        Wish::Subscribe => without_share(&args.topic)?,
        _ if args.topic.contains(['+', '#']) => {
            return Err(
                "a topic to read or write has no wildcards; ask with `--action subscribe` about a filter"
                    .into(),
            );
        }
        _ => &args.topic,
    };
    if topic.is_empty() {
        return Err("the topic is empty".into());
    }
    let mut notes = Vec::new();
    let mut user = args.user.as_deref();
    if user.is_some() && config.auth.password_file.is_none() {
        user = None;
        notes.push("there is no `password_file`, so the user name proves nothing");
    }
    let who = Subject { user, client_id: &args.client };
    let decision = match args.action {
        Wish::Read => rights.explain(who, Action::Read, topic),
        Wish::Write => rights.explain(who, Action::Write, topic),
        Wish::Subscribe => rights.explain_filter(who, topic),
    };
    if matches!(args.action, Wish::Subscribe) && rights.grants_every_filter() {
        notes.push(
            "in this format every subscription is granted, and each message is checked when it is delivered",
        );
    }
    let Decision { allowed, source } = decision;
    let mut said = if allowed { "allowed" } else { "denied" }.to_owned();
    said += &match source {
        Some(rule) => format!(" by {rule}"),
        None if config.auth.acl_file.is_none() => " by default: there is no `acl_file`".to_owned(),
        None => " by default: no rule fits".to_owned(),
    };
    for note in notes {
        said += &format!(" ({note})");
    }
    said += &match file {
        Some(file) => format!("\njudged by {}", file.display()),
        None => format!("\njudged by the defaults: there is no `{HERE}` here, and no --config was given"),
    };
    Ok((allowed, said))
}

/// The filter of a shared subscription: rights are about it alone.
fn without_share(filter: &str) -> Result<&str, &'static str> {
    let Some(rest) = filter.strip_prefix("$share/") else { return Ok(filter) };
    rest.split_once('/').map(|(_, filter)| filter).ok_or("a shared subscription is `$share/NAME/FILTER`")
}
