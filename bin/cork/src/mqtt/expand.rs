//! What happens to the arguments of `pub`, `sub` and `rr` before they are parsed: the user's options file comes first, -L
//! is spelled out, and the values of -D, whose number depends on the second, are marked off.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command};

use super::{args::END_OF_PROPERTY, url};

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
    let fault = |error: String| format!("cork {tool}: {error}");
    let given = items(given, definition);
    let named = given.iter().find(|item| item.is("options_file")).and_then(|item| item.words.get(1));
    let text = match named {
        Some(path) => read(Path::new(path)).map_err(fault)?,
        None => options_of_the_user(tool).map_err(fault)?,
    };
    let mut all = items(options(&text).into_iter(), definition);
    all.extend(given);
    out.extend(url::spelled_out(all).map_err(fault)?.into_iter().flat_map(|item| item.words));
    Ok((out, Some(tool)))
}

/// A flag with its values, or a word that is no flag the command has.
pub(super) struct Item {
    /// The flag's name in the definition; empty for other words.
    pub(super) id: String,
    pub(super) words: Vec<OsString>,
}

impl Item {
    pub(super) fn new(id: &str, words: &[&str]) -> Self {
        Self { id: id.to_owned(), words: words.iter().map(OsString::from).collect() }
    }

    pub(super) fn is(&self, id: &str) -> bool {
        self.id == id
    }
}

/// Values go with their flags, whatever they look like.
fn items(words: impl Iterator<Item = OsString>, definition: &Command) -> Vec<Item> {
    let mut words = words.peekable();
    let mut items = Vec::new();
    while let Some(word) = words.next() {
        let arg = word.to_str().and_then(|word| definition.get_arguments().find(|arg| is(arg, word)));
        let id = arg.map_or("", |arg| arg.get_id().as_str()).to_owned();
        let mut item = vec![word];
        match arg {
            Some(_) if id == "property" => {
                item.extend(words.by_ref().take(2));
                let pair = item.get(2).is_some_and(|name| name == "user-property");
                item.extend(words.by_ref().take(if pair { 2 } else { 1 }));
                // After the most values there can be the parser expects no end.
                if !pair {
                    item.push(END_OF_PROPERTY.into());
                }
            }
            Some(arg) if takes_value(arg) => item.extend(words.next()),
            _ => {}
        }
        items.push(Item { id, words: item });
    }
    items
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

/// What stands in `cork_pub` (`cork_sub`, `cork_rr`) of the user's configuration folder, else in mosquitto's file there.
fn options_of_the_user(tool: &str) -> Result<Vec<u8>, String> {
    let Some(folder) = configuration_folder() else { return Ok(Vec::new()) };
    for name in [format!("cork_{tool}"), format!("mosquitto_{tool}")] {
        let path = folder.join(name);
        if path.exists() {
            return read(&path);
        }
    }
    Ok(Vec::new())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read the options file {}: {error}", path.display()))
}

fn configuration_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(set("HOME")?).join(".config")))
}

/// A flag and its value on each line; lines that begin with `#` are comments. The three or four words of -D stand on one
/// line, too. A value may be any bytes.
fn options(text: &[u8]) -> Vec<OsString> {
    let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let mut words = Vec::new();
    for line in text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
        let (flag, value) = (&line[..end], line[end..].trim_ascii_start());
        words.push(owned(flag));
        if matches!(flag, b"-D" | b"--property") {
            words.extend(value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(owned));
        } else if !value.is_empty() {
            words.push(owned(value));
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
        assert_eq!(matches.get_one::<OsString>("message").unwrap(), "-1");
        assert_eq!(matches.get_one::<String>("host").unwrap(), "-h");
        assert_eq!(matches.get_one::<u16>("port").unwrap(), &2);
    }

    #[test]
    fn a_file_has_a_flag_on_each_line() {
        let text = "# mine\n-h example.com\n\n-u ann lee\n-d\n-D connect user-property a b\n";
        let wanted = ["-h", "example.com", "-u", "ann lee", "-d", "-D", "connect", "user-property", "a", "b"];
        assert_eq!(options(text.as_bytes()), wanted.map(OsString::from));
        let text = b"  -q 1\r\n\t# no flag\n-m \xff\xfe \n-r";
        let bytes = OsString::from_vec(b"\xff\xfe".to_vec());
        assert_eq!(options(text), ["-q".into(), "1".into(), "-m".into(), bytes, "-r".into()]);
    }

    #[test]
    fn a_value_is_no_flag() {
        for words in [&["pub", "-m", "-o", "-q", "1"][..], &["pub", "-t", "-L", "-m", "x"]] {
            assert_eq!(expanded(words), words);
        }
    }

    #[test]
    fn the_definition_is_sound() {
        tidy_up(Cork::command()).debug_assert();
    }
}
