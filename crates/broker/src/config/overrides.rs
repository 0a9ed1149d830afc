//! Flags of the command line: what was said there wins over the file.

use std::path::PathBuf;

use super::error::{ConfigError, ConfigErrors, Origin};
use super::file::DURABILITY_INTERVAL;
use super::units::parse_duration;
use super::{Config, Durability, Listener};

/// What the command line says; what it doesn't say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen URL`, as often as given: these listeners replace all others, the defaults too.
    pub listen: Vec<String>,
    /// `--data-dir DIR`; a relative path starts at the working directory.
    pub data_dir: Option<PathBuf>,
    /// `--allow-anonymous`.
    pub allow_anonymous: bool,
    /// `--durability always|none|100ms`.
    pub durability: Option<String>,
}

impl Config {
    /// Lets the command line win.
    ///
    /// # Errors
    /// Every flag whose value is not accepted; the configuration is unchanged then.
    pub fn apply(&mut self, overrides: &Overrides) -> Result<(), ConfigErrors> {
        let mut errors = Vec::new();
        let mut listeners = Vec::new();
        for text in &overrides.listen {
            match text.parse() {
                Ok(url) => listeners.push(Listener { origin: Origin::CommandLine, ..Listener::new(url) }),
                Err(error) => errors.push(flag_error("--listen", text, &format!("{error}"))),
            }
        }
        let durability = overrides.durability.as_deref().and_then(|text| {
            let parsed = parse_durability(text);
            if parsed.is_none() {
                let accepted =
                    "is not accepted; accepted are `always`, `none` and a time from 1ms to 1m, as `100ms`";
                errors.push(flag_error("--durability", text, accepted));
            }
            parsed
        });
        ConfigErrors::unless_empty(errors)?;
        if !listeners.is_empty() {
            self.listeners = listeners;
        }
        if let Some(durability) = durability {
            self.durability = durability;
            self.places.flags.insert("durability", "--durability");
        }
        if let Some(data_dir) = &overrides.data_dir {
            self.data_dir.clone_from(data_dir);
            self.places.flags.insert("data_dir", "--data-dir");
        }
        if overrides.allow_anonymous {
            self.auth.allow_anonymous = Some(true);
            self.places.flags.insert("auth.allow_anonymous", "--allow-anonymous");
        }
        Ok(())
    }
}

fn parse_durability(text: &str) -> Option<Durability> {
    match text {
        "always" => Some(Durability::Always),
        "none" => Some(Durability::None),
        _ => parse_duration(text).filter(|time| DURABILITY_INTERVAL.contains(time)).map(Durability::Interval),
    }
}

fn flag_error(flag: &str, value: &str, message: &str) -> ConfigError {
    let message = format!("`{}` {message}", value.escape_debug());
    ConfigError { origin: Origin::CommandLine, key: flag.to_owned(), message }
}
