//! What makes the Client Identifiers of this broker's links its own: a number in the data directory, made once. Two
//! brokers with the same lines in their configuration would otherwise share one session in the cloud, and each would
//! acknowledge what the other one sent.

use std::{
    fs::{self, File, OpenOptions},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::OnceLock,
};

use cork_broker::Config;

use crate::hops;

/// Where it stands, in the data directory.
const FILE: &str = "links-id";

/// Hexadecimal digits of it.
const DIGITS: usize = 12;

/// This broker's number, if it has one yet: a data directory gets it with its first link.
pub(crate) fn known(config: &Config) -> Option<String> {
    if config.in_memory {
        return Some(of_machine().to_owned());
    }
    let text = fs::read_to_string(config.data_dir.join(FILE)).ok()?;
    let text = text.trim();
    (text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}

/// Sees to it that there is a number, if any link needs one.
///
/// # Errors
/// It cannot be written into the data directory.
pub(crate) fn keep(config: &Config) -> io::Result<()> {
    let needed = config.bridges.iter().any(|bridge| bridge.client_id.is_none());
    if !needed || known(config).is_some() {
        return Ok(());
    }
    write(&config.data_dir).map_err(|error| {
        let place = config.data_dir.join(FILE);
        io::Error::new(
            error.kind(),
            format!("cannot keep what links are known by in `{}`: {error}", place.display()),
        )
    })
}

/// Whole or not at all, also after a power cut.
fn write(folder: &Path) -> io::Result<()> {
    let (place, new) = (folder.join(FILE), folder.join(format!("{FILE}.new")));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    writeln!(file, "{}", &hops::new_mark()[..DIGITS])?;
    file.sync_all()?;
    fs::rename(&new, &place)?;
    File::open(folder)?.sync_all()
}

/// Of a broker that keeps nothing: the same at each start, as far as the machine tells what it is.
fn of_machine() -> &'static str {
    static MACHINE: OnceLock<String> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let told = ["/etc/machine-id", "/proc/sys/kernel/hostname"].map(|path| fs::read(path).ok());
        if told.iter().all(Option::is_none) {
            return hops::new_mark()[..DIGITS].to_owned();
        }
        let mut hasher = DefaultHasher::new();
        told.hash(&mut hasher);
        format!("{:016x}", hasher.finish())[..DIGITS].to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "[[bridge]]\nname = 'a'\nurl = 'mqtt://b'\n[[bridge.topic]]\nfilter = '#'\n";

    fn config(text: &str, data_dir: &Path) -> Config {
        let mut config = Config::from_toml(text, "cork.toml").unwrap();
        config.data_dir = data_dir.to_owned();
        config
    }

    #[test]
    fn each_data_directory_has_a_number_of_its_own_and_keeps_it() {
        let folder = std::env::temp_dir().join(format!("cork-links-id-{}", std::process::id()));
        let mut found = Vec::new();
        for name in ["one", "other"] {
            let data_dir = folder.join(name);
            fs::create_dir_all(&data_dir).unwrap();
            let (none, link) = (config("", &data_dir), config(LINK, &data_dir));
            keep(&none).unwrap();
            assert_eq!(known(&none), None, "no link needs one");
            keep(&link).unwrap();
            let number = known(&link).unwrap();
            keep(&link).unwrap();
            assert_eq!((known(&link).as_ref(), number.len()), (Some(&number), DIGITS));
            fs::write(data_dir.join(FILE), "torn").unwrap();
            keep(&link).unwrap();
            found.push(known(&link).unwrap());
        }
        assert_ne!(found[0], found[1]);
        let mut nowhere = config(LINK, &folder.join("missing"));
        assert!(keep(&nowhere).unwrap_err().to_string().contains("missing/links-id"));
        nowhere.in_memory = true;
        keep(&nowhere).unwrap();
        assert_eq!(known(&nowhere).unwrap().len(), DIGITS);
        fs::remove_dir_all(folder).unwrap();
    }
}
