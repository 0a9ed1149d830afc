//! What happens to the arguments of `pub`, `sub` and `rr` before they are parsed: the user's options file comes first, and
//! the values of -D, whose number depends on the second, are marked off.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, Command};

use super::args::END_OF_PROPERTY;

/// The commands that take mosquitto's flags.
const TOOLS: [&str; 3] = ["pub", "sub", "rr"];

/// Lets those commands take mosquitto's flags as mosquitto does: a value may begin with `-`, the last of two wins, -h is
/// the host.
pub(crate) fn tidy_up(command: Command) -> Command {
    TOOLS.into_iter().fold(command, |command, tool| {
        command.mut_subcommand(tool, |command| {
            command
                .disable_help_flag(true)
                .disable_version_flag(true)
                .version(env!("CARGO_PKG_VERSION"))
                .args_override_self(true)
                .mut_args(|arg| if takes_value(&arg) { arg.allow_hyphen_values(true) } else { arg })
        })
    })
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// The arguments, ready for the parser, and which of the three commands they are for.
pub(crate) fn expand(
    args: Vec<OsString>,
    command: &Command,
) -> Result<(Vec<OsString>, Option<&'static str>), String> {
    let tool = args.get(1).and_then(|name| TOOLS.into_iter().find(|tool| name == tool));
    let (Some(tool), Some(definition)) = (tool, tool.and_then(|tool| command.find_subcommand(tool))) else {
        return Ok((args, None));
    };
    let mut given = args.into_iter();
    let mut out: Vec<OsString> = given.by_ref().take(2).collect();
    let given: Vec<OsString> = given.collect();
    let mut words = options_of_the_user(tool, &given)?;
    words.extend(given);
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let arg = word.to_str().and_then(|word| definition.get_arguments().find(|arg| is(arg, word)));
        out.push(word);
        match arg {
            Some(arg) if arg.get_id() == "property" => {
                let values: Vec<OsString> = words.by_ref().take(2).collect();
                let pair = values.get(1).is_some_and(|name| name == "user-property");
                out.extend(values);
                out.extend(words.by_ref().take(if pair { 2 } else { 1 }));
                // After the most values there can be the parser expects no end.
                if !pair {
                    out.push(END_OF_PROPERTY.into());
                }
            }
            Some(arg) if takes_value(arg) => out.extend(words.next()),
            _ => {}
        }
    }
    Ok((out, Some(tool)))
}

fn is(arg: &Arg, word: &str) -> bool {
    match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => {
            let mut chars = word.chars();
            chars.next() == Some('-')
                && chars.next() == arg.get_short()
                && chars.next().is_none()
                && word.len() > 1
        }
    }
}

/// The options in the file that -o names, else in `cork_pub` (`cork_sub`, `cork_rr`) of the user's configuration folder,
/// else in mosquitto's file there.
fn options_of_the_user(tool: &str, given: &[OsString]) -> Result<Vec<OsString>, String> {
    if let Some(at) = given.iter().position(|word| word == "-o") {
        let Some(path) = given.get(at + 1) else { return Ok(Vec::new()) };
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            format!("cork {tool}: cannot read the options file {}: {error}", path.display())
        })?;
        return Ok(options(&text));
    }
    let Some(folder) = configuration_folder() else { return Ok(Vec::new()) };
    for name in [format!("cork_{tool}"), format!("mosquitto_{tool}")] {
        match std::fs::read_to_string(folder.join(&name)) {
            Ok(text) => return Ok(options(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = folder.join(name);
                return Err(format!("cork {tool}: cannot read the options file {}: {error}", path.display()));
            }
        }
    }
    Ok(Vec::new())
}

fn configuration_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(set("HOME")?).join(".config")))
}

/// A flag and its value on each line; lines that begin with `#` are comments. The three or four words of -D stand on one
/// line, too.
fn options(text: &str) -> Vec<OsString> {
    let mut words = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once([' ', '\t']) {
            None => words.push(line.into()),
            Some((flag @ ("-D" | "--property"), rest)) => {
                words.push(flag.into());
                words.extend(rest.split_whitespace().map(OsString::from));
            }
            Some((flag, value)) => words.extend([flag.into(), value.trim_start().into()]),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cork;

    fn expanded(words: &[&str]) -> Vec<String> {
        let args = ["cork"].iter().chain(words).map(OsString::from).collect();
        let (args, _) = expand(args, &tidy_up(Cork::command())).unwrap();
        args.into_iter().map(|word| word.into_string().unwrap()).skip(1).collect()
    }

    #[test]
    fn the_values_of_a_property_are_marked_off() {
        let words = "pub -D publish user-property -t -m -t x -D connect receive-maximum 5";
        let wanted = "pub -D publish user-property -t -m -t x -D connect receive-maximum 5 \0";
        assert_eq!(expanded(&words.split(' ').collect::<Vec<_>>()), wanted.split(' ').collect::<Vec<_>>());
        assert_eq!(expanded(&["pub", "-m", "-D", "-t", "x"]), ["pub", "-m", "-D", "-t", "x"]);
        assert_eq!(expanded(&["check", "-D", "x"]), ["check", "-D", "x"]);
    }

    #[test]
    fn values_may_look_like_flags_and_the_last_wins() {
        let command = tidy_up(Cork::command());
        let words = [
            "cork", "pub", "-t", "a", "-t", "--b", "-m", "-1", "-h", "-h", "-q", "1", "-q", "2", "-p", "1",
            "-p", "2",
        ];
        let matches = command.try_get_matches_from(words).unwrap();
        let matches = matches.subcommand_matches("pub").unwrap();
        assert_eq!(matches.get_one::<String>("message").unwrap(), "-1");
        assert_eq!(matches.get_one::<String>("host").unwrap(), "-h");
        assert_eq!(matches.get_one::<u16>("port").unwrap(), &2);
    }

    #[test]
    fn a_file_has_a_flag_on_each_line() {
        let text = "# mine\n-h example.com\n\n-u ann lee\n-d\n-D connect user-property a b\n";
        let wanted = ["-h", "example.com", "-u", "ann lee", "-d", "-D", "connect", "user-property", "a", "b"];
        assert_eq!(options(text), wanted.map(OsString::from));
    }

    #[test]
    fn the_definition_is_sound() {
        tidy_up(Cork::command()).debug_assert();
    }
}
