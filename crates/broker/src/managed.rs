//! Changing `managed.toml`: one change at a time, judged as a whole before it holds, on the disk before anybody is told
//! that it is done. What it says is read by [`crate::config`].

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use toml::{Table, Value};

use crate::config::{Config, ConfigErrors, MANAGED_FILE};

/// One change.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Edit {
    /// A user, new or not; what is `None` stays as it is.
    User {
        /// The user name.
        name: String,
        /// The forms its password is kept in, as [`cork_access::passwd::stored_forms`] makes them; the second is the
        /// SCRAM secret, and may be left out.
        stored: Option<(String, Option<String>)>,
        /// Its groups.
        groups: Option<Vec<String>>,
    },
    /// The managed rules, all of them.
    Rules {
        /// The revision that is changed; none: whichever there is.
        revision: Option<u64>,
        /// What holds where no rule fits.
        default_allow: Option<bool>,
        /// `[[rule]]`.
        rules: Vec<Table>,
    },
    /// A bridge, a sink or a filter, new or not. Secrets that are left out stay.
    Part {
        /// `bridge`, `sink` or `filter`.
        kind: Kind,
        /// Its name.
        name: String,
        /// Its keys, without `name`.
        table: Table,
    },
    /// A ban; an older one of the same is replaced.
    Ban {
        /// `[[ban]]`.
        table: Table,
    },
    /// Something goes.
    Remove {
        /// What.
        kind: Kind,
        /// Which: its name.
        name: String,
    },
    /// A ban ends.
    Unban {
        /// `client_id`, `user` or `address`.
        key: String,
        /// Whom.
        whom: String,
    },
}

/// Without what may be secret.
impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, name) = match self {
            Self::User { name, .. } => ("user", name.as_str()),
            Self::Rules { .. } => ("rules", ""),
            Self::Part { kind, name, .. } => (kind.as_str(), name.as_str()),
            Self::Ban { .. } => ("ban", ""),
            Self::Remove { name, .. } => ("remove", name.as_str()),
            Self::Unban { whom, .. } => ("unban", whom.as_str()),
        };
        f.debug_tuple("Edit").field(&what).field(&name).finish()
    }
}

/// What has a name.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `[[user]]`.
    User,
    /// `[[bridge]]`.
    Bridge,
    /// `[[sink]]`.
    Sink,
    /// `[[filter]]`.
    Filter,
}

impl Kind {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Bridge => "bridge",
            Self::Sink => "sink",
            Self::Filter => "filter",
        }
    }
}

/// Why nothing was changed. The text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditError {
    /// There is no such thing.
    NotFound(String),
    /// A hand-written file says something else, or the change comes too late.
    Conflict(String),
    /// The change makes no sense.
    Wrong(String),
    /// The file cannot be read or written.
    Failed(String),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(why) | Self::Conflict(why) | Self::Wrong(why) | Self::Failed(why) => {
                f.write_str(why)
            }
        }
    }
}

impl std::error::Error for EditError {}

impl From<ConfigErrors> for EditError {
    fn from(errors: ConfigErrors) -> Self {
        Self::Wrong(errors.to_string())
    }
}

/// Keys that are not shown, and stay when they are left out.
const SECRETS: [&str; 3] = ["password", "token", "headers"];
/// The file's first line.
const HEAD: &str =
    "# Written by `cork`: changes made while it runs. Hand-written files win over what stands here.\n";
/// Two changes at once wait for each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Changes the file in a data directory. `take` is given the new text, and refuses it or makes it hold; only then it takes
/// the place of the old one. A crash leaves the old file or the new one.
///
/// # Errors
/// What `take` says, or why the file cannot be read or written.
pub fn change<T>(
    data_dir: &Path,
    edit: impl FnOnce(&mut Table) -> Result<(), EditError>,
    take: impl FnOnce(&str) -> Result<T, EditError>,
) -> Result<T, EditError> {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let path = data_dir.join(MANAGED_FILE);
    let failed = |error: &dyn fmt::Display| EditError::Failed(format!("`{}`: {error}", path.display()));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
        Err(error) => return Err(failed(&error)),
    };
    // What is wrong in it was said at the start, or is said at the next one; it must not be overwritten here.
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| failed(&error.message()))?;
    edit(&mut table)?;
    let body = toml::to_string(&table).map_err(|error| failed(&error))?;
    let text = format!("{HEAD}{body}");
    let fresh = data_dir.join(format!("{MANAGED_FILE}.new"));
    write(&fresh, &text).map_err(|error| failed(&error))?;
    let done = take(&text).and_then(|done| {
        fs::rename(&fresh, &path).map_err(|error| failed(&error))?;
        File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(|error| failed(&error))?;
        Ok(done)
    });
    if done.is_err() {
        let _ = fs::remove_file(&fresh); // it may be in its place already
    }
    done
}

/// Nobody else may read it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let _ = fs::remove_file(path); // whatever was left there, with whatever permissions
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

impl Edit {
    /// Changes a file's contents. `config`: what holds until now, with hand-written files.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn apply(&self, table: &mut Table, config: &Config) -> Result<(), EditError> {
        match self {
            Self::User { name, stored, groups } => set_user(table, name, stored.as_ref(), groups.as_deref()),
            Self::Rules { revision, default_allow, rules } => {
                set_rules(table, config, *revision, *default_allow, rules)
            }
            Self::Part { kind, name, table: new } => {
                by_hand(config, *kind, name)?;
                set_part(list(table, kind.as_str())?, name, new.clone())
            }
            Self::Ban { table: new } => {
                let bans = list(table, "ban")?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let over = |ban: &Value| {
                    let until = ban.get("until").and_then(Value::as_integer);
                    until.is_some_and(|until| u64::try_from(until).unwrap_or(0) <= now)
                };
                bans.retain(|ban| !over(ban));
                bans.retain(|ban| {
                    !["client_id", "user", "address"].iter().all(|key| ban.get(key) == new.get(*key))
                });
                bans.push(new.clone().into());
                Ok(())
            }
            Self::Remove { kind, name } => {
                by_hand(config, *kind, name)?;
                let none = || EditError::NotFound(format!("there is no {} `{name}`", kind.as_str()));
                remove(list(table, kind.as_str())?, "name", name).then_some(()).ok_or_else(none)
            }
            Self::Unban { key, whom } => {
                let none = || EditError::NotFound(format!("no ban has the {key} `{whom}`"));
                remove(list(table, "ban")?, key, whom).then_some(()).ok_or_else(none)
            }
        }
    }
}

/// What stands in a hand-written file is not changed here.
fn by_hand(config: &Config, kind: Kind, name: &str) -> Result<(), EditError> {
    let origin = match kind {
        Kind::User => None,
        Kind::Bridge => config.bridges.iter().find(|one| one.name == name).map(|one| &one.origin),
        Kind::Sink => config.sinks.iter().find(|one| one.name == name).map(|one| &one.origin),
        Kind::Filter => config.filter_origins.get(name),
    };
    match origin.filter(|origin| !config.is_managed(origin)) {
        Some(origin) => Err(EditError::Conflict(format!(
            "the {} `{name}` stands in a hand-written file, at {origin}: change it there, and reload",
            kind.as_str()
        ))),
        None => Ok(()),
    }
}

/// The tables of a list.
fn list<'t>(table: &'t mut Table, key: &str) -> Result<&'t mut Vec<Value>, EditError> {
    let list = table.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    list.as_array_mut().ok_or_else(|| EditError::Failed(format!("`{key}` in {MANAGED_FILE} is no list")))
}

fn position(list: &[Value], key: &str, name: &str) -> Option<usize> {
    list.iter().position(|one| one.get(key).and_then(Value::as_str) == Some(name))
}

fn remove(list: &mut Vec<Value>, key: &str, name: &str) -> bool {
    position(list, key, name).map(|at| list.remove(at)).is_some()
}

fn set_part(list: &mut Vec<Value>, name: &str, mut new: Table) -> Result<(), EditError> {
    new.insert("name".to_owned(), name.into());
    let Some(at) = position(list, "name", name) else {
        list.push(new.into());
        return Ok(());
    };
    let before = places(list[at].get("url"));
    let stays = places(new.get("url")).iter().all(|place| before.contains(place));
    for key in SECRETS {
        if let (None, Some(old)) = (new.get(key), list[at].get(key)) {
            if !stays {
                return Err(EditError::Wrong(format!(
                    "`{key}` was given for another host, and nobody gets it by a change of `url` alone; give it again"
                )));
            }
            new.insert(key.to_owned(), old.clone());
        }
    }
    if let (Some(Value::String(given)), Some(Value::String(old))) = (new.get("url"), list[at].get("url"))
        && *given == without_secret(old)
    {
        new.insert("url".to_owned(), old.as_str().into());
    }
    list[at] = new.into();
    Ok(())
}

/// Where one or several URLs lead: scheme, host and port, which together see the secrets.
fn places(url: Option<&Value>) -> Vec<String> {
    let place = |url: &Value| {
        let url = without_secret(url.as_str().unwrap_or_default());
        let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
        let authority = rest.split('/').next().unwrap_or_default();
        format!("{scheme}://{authority}").to_ascii_lowercase()
    };
    match url {
        Some(Value::Array(urls)) => urls.iter().map(place).collect(),
        Some(url) => vec![place(url)],
        None => Vec::new(),
    }
}

/// A URL without what stands before `@`, and of `http` and `https` without the path, where webhooks have their token. One in
/// which a password cannot be told from the rest is not shown.
#[must_use]
pub fn without_secret(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if path.contains('@') {
        return format!("{scheme}://***");
    }
    let path = match path.split(['?', '#']).next().unwrap_or(path) {
        path if path.len() > 1 && matches!(scheme, "http" | "https") => "/…",
        path => path,
    };
    format!("{scheme}://{authority}{path}")
}

/// What is told of a link's keys: everything but secrets.
#[must_use]
pub fn settings(table: &Table) -> Table {
    let mut shown = table.clone();
    for key in SECRETS.iter().chain(&["name"]) {
        shown.remove(*key);
    }
    match shown.get_mut("url") {
        Some(Value::String(url)) => *url = without_secret(url),
        Some(Value::Array(urls)) => {
            for url in urls {
                if let Value::String(url) = url {
                    *url = without_secret(url);
                }
            }
        }
        _ => {}
    }
    shown
}

fn set_user(
    table: &mut Table,
    name: &str,
    stored: Option<&(String, Option<String>)>,
    groups: Option<&[String]>,
) -> Result<(), EditError> {
    let users = list(table, "user")?;
    let at = position(users, "name", name);
    let mut user = match at {
        Some(at) => users[at].as_table().cloned().unwrap_or_default(),
        None => Table::from_iter([("name".to_owned(), name.into())]),
    };
    match stored {
        Some((password, scram)) => {
            user.insert("password".to_owned(), password.as_str().into());
            user.remove("scram");
            if let Some(scram) = scram {
                user.insert("scram".to_owned(), scram.as_str().into());
            }
        }
        None if at.is_none() => {
            return Err(EditError::Wrong(format!("the user `{name}` is new and needs a `password`")));
        }
        None => {}
    }
    if let Some(groups) = groups {
        user.insert("groups".to_owned(), groups.to_vec().into());
    }
    match at {
        Some(at) => users[at] = user.into(),
        None => users.push(user.into()),
    }
    Ok(())
}

fn set_rules(
    table: &mut Table,
    config: &Config,
    revision: Option<u64>,
    default_allow: Option<bool>,
    rules: &[Table],
) -> Result<(), EditError> {
    let acl = table.entry("acl").or_insert_with(|| Table::new().into());
    let wrong = || EditError::Failed(format!("`acl` in {MANAGED_FILE} is no table"));
    let acl = acl.as_table_mut().ok_or_else(wrong)?;
    let before = acl.get("revision").and_then(Value::as_integer).unwrap_or(0);
    if revision.is_some_and(|revision| i64::try_from(revision) != Ok(before)) {
        return Err(EditError::Conflict(format!(
            "somebody else changed the rules: the revision is {before} now; read them again"
        )));
    }
    acl.insert("revision".to_owned(), (before + 1).into());
    match (default_allow, &config.auth.acl_file) {
        (Some(allow), Some(file)) => {
            let by_hand =
                cork_access::Acl::load(file).map_err(|error| EditError::Failed(error.to_string()))?;
            if by_hand.default_allows() != allow {
                let why = format!("`default` stands in the hand-written {}: change it there", file.display());
                return Err(EditError::Conflict(why));
            }
        }
        (Some(allow), None) => {
            acl.insert("default".to_owned(), if allow { "allow" } else { "deny" }.into());
        }
        (None, _) => {}
    }
    table.insert("rule".to_owned(), rules.iter().cloned().map(Value::Table).collect::<Vec<_>>().into());
    Ok(())
}

#[cfg(test)]
mod tests;
