//! The command line.

use std::path::PathBuf;

use crate::broker::Kind;

/// What to do to the broker.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// SIGKILL, on a real file system.
    Kill,
    /// Power cuts that lose everything unsynced and a random half of it, in turn.
    Cut,
    /// A sync that fails, then a power cut.
    Sync,
    /// A full disk, then SIGKILL, then a start on the full disk.
    Full,
    /// The same with a power cut.
    FullCut,
    /// What the system calls say about the order of things.
    Trace,
}

impl Mode {
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("kill", Self::Kill),
        ("cut", Self::Cut),
        ("sync", Self::Sync),
        ("full", Self::Full),
        ("full-cut", Self::FullCut),
        ("trace", Self::Trace),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) modes: Vec<Mode>,
    pub(crate) seed: u64,
    pub(crate) rounds: u32,
    /// Messages per second.
    pub(crate) rate: u64,
    pub(crate) broker: Kind,
    pub(crate) binary: PathBuf,
    pub(crate) shards: u32,
    /// As in the configuration file.
    pub(crate) durability: String,
    /// Whose packets are told.
    pub(crate) tell: Option<String>,
}

pub(crate) const USAGE: &str = "\
usage: cork-chaos MODE... [options]

modes: kill  SIGKILL at random moments, on a real file system
       cut   power cuts: all or a random half of what was not synced is lost
       sync  a sync fails, then the power is cut
       full  a full disk, SIGKILL, a start on the full disk; full-cut: a power cut instead
       trace the order of system calls: write, fdatasync, then the acknowledgement
       all   all of these

--seed N              where all chance comes from (default: 1)
--rounds N            kills or cuts in each mode (default: 5)
--rate N              messages per second (default: 800)
--binary FILE         the broker (default: $CORK_BIN, else target/release/cork)
--shards N            Corkboard's threads (default: 1)
--durability TEXT     as in Corkboard's configuration (default: \"always\")
--tell CLIENT         print every packet of one client, as reader-0
--broker mosquitto    test Mosquitto instead, with its safest settings; kill and cut only";

impl Options {
    /// Reads the command line.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let binary = std::env::var_os("CORK_BIN").map_or_else(|| "target/release/cork".into(), PathBuf::from);
        let mut options = Self {
            modes: Vec::new(),
            seed: 1,
            rounds: 5,
            rate: 800,
            broker: Kind::Cork,
            binary,
            shards: 1,
            durability: "\"always\"".to_owned(),
            tell: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if !argument.starts_with("--") {
                options.add_mode(&argument)?;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{argument} {value}: not a number"));
            let small = || number().map(|number| u32::try_from(number).unwrap_or(u32::MAX));
            match argument.as_str() {
                "--seed" => options.seed = number()?,
                "--rounds" => options.rounds = small()?,
                "--rate" => options.rate = number()?,
                "--shards" => options.shards = small()?,
                "--binary" => options.binary = value.into(),
                "--durability" => options.durability = value,
                "--tell" => options.tell = Some(value),
                "--broker" if value == "mosquitto" => {
                    options.broker = Kind::Mosquitto;
                    options.binary = "mosquitto".into();
                }
                "--broker" if value == "cork" => {}
                _ => return Err(format!("{argument} {value}: unknown")),
            }
        }
        options.check()
    }

    fn add_mode(&mut self, name: &str) -> Result<(), String> {
        for (other, mode) in Mode::ALL {
            if name == other || name == "all" {
                self.modes.push(mode);
            }
        }
        if self.modes.is_empty() { Err(format!("{name}: no such mode")) } else { Ok(()) }
    }

    fn check(self) -> Result<Self, String> {
        if self.modes.is_empty() {
            return Err("what should be done? name a mode".to_owned());
        }
        let only_ours = |mode: &Mode| !matches!(mode, Mode::Kill | Mode::Cut);
        if self.broker == Kind::Mosquitto && self.modes.iter().any(only_ours) {
            return Err("Mosquitto can only be killed and cut".to_owned());
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn command_lines() {
        let options = parse("cut kill --seed 7 --rounds 3").unwrap();
        assert_eq!((options.modes, options.seed, options.rounds), (vec![Mode::Cut, Mode::Kill], 7, 3));
        assert_eq!(parse("all").unwrap().modes.len(), Mode::ALL.len());
        for wrong in ["", "cut --seed", "cut --seed x", "burn", "cut --what 1", "full --broker mosquitto"] {
            parse(wrong).unwrap_err();
        }
    }
}
