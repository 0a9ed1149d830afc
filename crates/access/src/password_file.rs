//! Users and their hashed passwords from a text file.
//!
//! ```text
//! # the lamps
//! ann:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$...
//! ann:$scram-sha-256$16384$c2FsdHNhbHQ=$...$...
//! bob:$7$101$mTKfi/Pk9b47BWM5$...
//! ```
//!
//! A line is a user name, exactly as the client sends it, a colon, and a hash. Blank lines, and lines whose first
//! visible character is `#`, are skipped. A user has one password line, one SCRAM line, or one of each. A file with
//! any fault at all is refused as a whole, with every fault named; so is one without users.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::{fmt, fs, io};

use crate::authenticator::{Authenticator, Credentials, DenyReason, Exchange, Verdict};
use crate::decoy;
use crate::effort::Effort;
use crate::error::{FileError, FileErrors};
use crate::hash::StoredPassword;
use crate::passwd::user_name_fault;
use crate::scram::{self, SCRAM_SHA_256, ScramExchange, ScramSecret};

/// The users of one password file; an [`Authenticator`].
///
/// A refusal costs the same time for known and unknown users, and whatever form the user's password has. Cloning is cheap.
#[derive(Clone)]
pub struct PasswordFile {
    users: Arc<Users>,
    allow_anonymous: bool,
}

/// The parsed file. At least one user.
pub(crate) struct Users {
    by_name: HashMap<String, usize>,
    /// In the order of the file, so that everything derived from them survives a restart.
    secrets: Vec<Secrets>,
    /// How the SCRAM secrets of the file were made, each kind once; empty: nobody has one.
    scram_kinds: BTreeSet<(u32, usize)>,
    /// What every refusal costs: the dearest of each form.
    refusal: Effort,
    /// Known only to who knows a file: chooses and makes what unknown users meet.
    mock_key: [u8; 32],
}

/// The key of the first file that was loaded. It stays when the file changes, or what unknown users meet would change
/// with it, and what known ones meet would not. It is the same after a restart with the same file.
static MOCK_KEY: OnceLock<[u8; 32]> = OnceLock::new();

/// What one user is known by; at least one of the two.
#[derive(Default)]
struct Secrets {
    password: Option<StoredPassword>,
    scram: Option<ScramSecret>,
}

impl PasswordFile {
    /// Reads a password file. With `allow_anonymous` a client without a user name may in; a user name that is given is
    /// checked always.
    ///
    /// # Errors
    /// All faults of the file: it can't be read, isn't a regular file, isn't UTF-8, has no users, or has lines that are
    /// not accepted.
    pub fn load(path: &Path, allow_anonymous: bool) -> Result<Self, FileErrors> {
        Ok(Self { users: Arc::new(read(path)?), allow_anonymous })
    }

    /// As [`load`](Self::load), and users that are kept elsewhere. One that stands in the file, too, is the file's. Without
    /// a file there must be one of them.
    ///
    /// # Errors
    /// As [`load`](Self::load), and everything that is wrong with the others.
    pub fn load_with(
        path: Option<&Path>,
        others: &[StoredUser],
        allow_anonymous: bool,
    ) -> Result<Self, FileErrors> {
        let mut users = path.map_or_else(|| Ok(Users::none()), read)?;
        if !others.is_empty() {
            users.add(others)?;
        }
        Ok(Self { users: Arc::new(users), allow_anonymous })
    }

    /// As [`load`](Self::load), from text; `file` is the name for errors. What unknown users meet follows from the text
    /// alone.
    ///
    /// # Errors
    /// All faults of the text.
    pub fn parse(text: &str, file: &str, allow_anonymous: bool) -> Result<Self, FileErrors> {
        let users = Parser::run(text, file)?;
        Ok(Self { users: Arc::new(users), allow_anonymous })
    }

    /// Whether a user has a SCRAM secret.
    pub fn has_scram(&self, user: &str) -> bool {
        self.users.scram_secret(user).is_some()
    }

    /// How many users the file has; never 0.
    pub fn user_count(&self) -> usize {
        self.users.secrets.len()
    }

    #[cfg(test)]
    pub(crate) fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users)
    }

    /// The user names, sorted.
    pub fn user_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.users.by_name.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordFile")
            .field("user_count", &self.user_count())
            .field("allow_anonymous", &self.allow_anonymous)
            .finish()
    }
}

impl Authenticator for PasswordFile {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Verdict {
        let Some(user) = credentials.user_name else {
            return if self.allow_anonymous {
                Verdict::Allow
            } else {
                Verdict::Deny(DenyReason::NotAuthorized)
            };
        };
        if self.users.verify(user, credentials.password) {
            Verdict::Allow
        } else {
            Verdict::Deny(DenyReason::BadUserNameOrPassword)
        }
    }

    fn mark(&self, user: &str) -> Option<u64> {
        let secrets = self.users.secrets.get(*self.users.by_name.get(user)?)?;
        let mut hasher = DefaultHasher::new();
        secrets.password.as_ref().map(StoredPassword::to_text).hash(&mut hasher);
        secrets.scram.as_ref().map(ScramSecret::to_text).hash(&mut hasher);
        Some(hasher.finish())
    }

    fn begin_exchange(&self, method: &str, _client_id: &str) -> Option<Box<dyn Exchange>> {
        if method != SCRAM_SHA_256 || self.users.scram_kinds.is_empty() {
            return None;
        }
        Some(Box::new(ScramExchange::with_random_nonce(Arc::clone(&self.users))?))
    }
}

/// A user that is not kept in a password file.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredUser {
    /// The user name.
    pub name: String,
    /// What stands behind the colon in a password file: a password's hash, a SCRAM secret, or both.
    pub stored: Vec<String>,
    /// The file it stands in, for errors.
    pub file: String,
    /// The line.
    pub line: usize,
}

impl fmt::Debug for StoredUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredUser").field("name", &self.name).finish_non_exhaustive()
    }
}

impl StoredUser {
    /// Whether it has a SCRAM secret.
    #[must_use]
    pub fn has_scram(&self) -> bool {
        self.stored.iter().any(|stored| stored.starts_with(scram::PREFIX))
    }
}

impl Users {
    fn none() -> Self {
        Self {
            by_name: HashMap::new(),
            secrets: Vec::new(),
            scram_kinds: BTreeSet::new(),
            refusal: Effort::default(),
            mock_key: [0; 32],
        }
    }

    /// Takes others in, behind those of a file.
    fn add(&mut self, others: &[StoredUser]) -> Result<(), FileErrors> {
        let mut errors = Vec::new();
        let in_file = self.by_name.len();
        for other in others {
            if self.by_name.get(&other.name).is_some_and(|at| *at < in_file) {
                continue;
            }
            if let Err(message) = self.add_one(other) {
                errors.push(FileError { file: other.file.clone(), line: Some(other.line), message });
            }
        }
        if !errors.is_empty() {
            return Err(FileErrors(errors));
        }
        self.finish();
        if self.mock_key == [0; 32] {
            self.mock_key = *MOCK_KEY.get_or_init(|| mock_key(&self.secrets));
        }
        Ok(())
    }

    fn add_one(&mut self, other: &StoredUser) -> Result<(), String> {
        let name = &other.name;
        if let Some(fault) = user_name_fault(name) {
            return Err(format!("the user name {fault}"));
        }
        if self.by_name.contains_key(name) {
            return Err(format!("there is another user `{name}`"));
        }
        let mut secrets = Secrets::default();
        for stored in &other.stored {
            let why = |why: &dyn fmt::Display| format!("user `{name}`: {why}");
            match stored.strip_prefix(scram::PREFIX) {
                Some(rest) => secrets.scram = Some(ScramSecret::parse(rest).map_err(|error| why(&error))?),
                None => secrets.password = Some(StoredPassword::parse(stored).map_err(|error| why(&error))?),
            }
        }
        if secrets.password.is_none() && secrets.scram.is_none() {
            return Err(format!("user `{name}` has no password"));
        }
        self.by_name.insert(name.clone(), self.secrets.len());
        self.secrets.push(secrets);
        Ok(())
    }

    /// What follows from all secrets.
    fn finish(&mut self) {
        let scram = self.secrets.iter().filter_map(|secrets| secrets.scram.as_ref());
        self.scram_kinds = scram.map(ScramSecret::kind).collect();
        for secrets in &self.secrets {
            self.refusal.raise_to(&secrets.effort());
        }
    }

    /// A refusal costs the same whatever is asked, so that the time taken says nothing about the name; who is let in
    /// does not wait for that.
    fn verify(&self, user: &str, password: Option<&[u8]>) -> bool {
        let found = self.by_name.get(user).map(|at| &self.secrets[*at]);
        let given = password.unwrap_or_default();
        let right = found.is_some_and(|secrets| secrets.verify(given)) & password.is_some();
        if !right {
            let spent = found.map(Secrets::effort).unwrap_or_default();
            self.refusal.without(&spent).spend(given);
        }
        right
    }

    pub(crate) fn scram_secret(&self, user: &str) -> Option<&ScramSecret> {
        self.secrets[*self.by_name.get(user)?].scram.as_ref()
    }

    /// How an unknown user's secret seems to have been made: fixed for a name, not to be foretold from outside, and no
    /// other one when users of the same kinds come and go.
    pub(crate) fn some_scram_kind(&self, user: &str) -> Option<(u32, usize)> {
        let draw = |(iterations, salt_bytes): &(u32, usize)| {
            let kind = format!("{iterations} {salt_bytes} ");
            scram::hmac(self.mock_key(), &[b"choose ", kind.as_bytes(), user.as_bytes()])
        };
        self.scram_kinds.iter().max_by_key(|kind| draw(kind)).copied()
    }

    pub(crate) fn mock_key(&self) -> &[u8; 32] {
        decoy::key_or(&self.mock_key)
    }
}

impl Secrets {
    /// A user with only a SCRAM line can log in with the password itself, too: the secret suffices to check it.
    fn verify(&self, password: &[u8]) -> bool {
        match (&self.password, &self.scram) {
            (Some(stored), _) => stored.verify(password),
            (None, Some(secret)) => secret.verify(password),
            (None, None) => false,
        }
    }

    /// What [`verify`](Self::verify) costs.
    fn effort(&self) -> Effort {
        let of_password = self.password.as_ref().map(StoredPassword::effort);
        of_password.or_else(|| self.scram.as_ref().map(ScramSecret::effort)).unwrap_or_default()
    }
}

fn read(path: &Path) -> Result<Users, FileErrors> {
    let file = path.display().to_string();
    let bytes = read_regular(path).map_err(|error| {
        let todo = "name a file that the broker may read; `cork passwd` makes one";
        FileErrors::whole_file(&file, format!("the password file can't be read ({error}); {todo}"))
    })?;
    let text = str::from_utf8(&bytes)
        .map_err(|error| FileErrors::not_utf8(&file, "the password file", &bytes, error))?;
    let mut users = Parser::run(text, &file)?;
    users.mock_key = *MOCK_KEY.get_or_init(|| users.mock_key);
    Ok(users)
}

/// Reads a file that is one: a directory, or a pipe that would make us wait, is refused.
pub(crate) fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    fs::read(path)
}

/// Walks over the lines and collects every fault.
struct Parser<'a> {
    file: &'a str,
    users: Users,
    /// Where each user's password and SCRAM line stood.
    lines: BTreeMap<&'a str, [Option<usize>; 2]>,
    errors: Vec<FileError>,
}

impl<'a> Parser<'a> {
    fn run(text: &'a str, file: &'a str) -> Result<Users, FileErrors> {
        let users = Users::none();
        let mut parser = Self { file, users, lines: BTreeMap::new(), errors: Vec::new() };
        if text.starts_with('\u{feff}') {
            parser.fault(
                1,
                "the file begins with a byte order mark, which would become part of a name; save it without",
            );
        }
        for (position, line) in text.lines().enumerate() {
            if is_entry(line)
                && let Err(message) = parser.entry(position + 1, line)
            {
                parser.fault(position + 1, &message);
            }
        }
        if !parser.errors.is_empty() {
            return Err(FileErrors(parser.errors));
        }
        let mut users = parser.users;
        if users.secrets.is_empty() {
            let message =
                "the password file has no users, so nobody could log in; `cork passwd` adds one".into();
            return Err(FileErrors::whole_file(file, message));
        }
        users.finish();
        users.mock_key = mock_key(&users.secrets);
        Ok(users)
    }

    fn fault(&mut self, line: usize, message: &str) {
        self.errors.push(FileError {
            file: self.file.to_owned(),
            line: Some(line),
            message: message.to_owned(),
        });
    }

    fn entry(&mut self, line: usize, text: &'a str) -> Result<(), String> {
        let Some((user, stored)) = text.split_once(':') else {
            return Err("the line has no colon; a line is `user:hash`, `cork passwd` writes one".into());
        };
        if let Some(fault) = user_name_fault(user) {
            return Err(format!("the user name {fault}; a line is `user:hash`"));
        }
        let stored = stored.trim_end();
        let is_scram = stored.starts_with(scram::PREFIX);
        let seen = &mut self.lines.entry(user).or_default()[usize::from(is_scram)];
        if let Some(first) = seen {
            let kind = if is_scram { "SCRAM" } else { "password" };
            return Err(format!(
                "user `{user}` has a second {kind} line, the first is line {first}; remove the one that no longer holds"
            ));
        }
        *seen = Some(line);
        let secrets = self.secrets_of(user);
        match stored.strip_prefix(scram::PREFIX) {
            Some(rest) => {
                secrets.scram =
                    Some(ScramSecret::parse(rest).map_err(|why| format!("user `{user}`: {why}"))?);
            }
            None => {
                secrets.password =
                    Some(StoredPassword::parse(stored).map_err(|why| format!("user `{user}`: {why}"))?);
            }
        }
        Ok(())
    }

    fn secrets_of(&mut self, user: &str) -> &mut Secrets {
        let secrets = &mut self.users.secrets;
        let position = *self.users.by_name.entry(user.to_owned()).or_insert_with(|| {
            secrets.push(Secrets::default());
            secrets.len() - 1
        });
        &mut secrets[position]
    }
}

/// Whether a line holds a user, rather than nothing or a comment.
pub(crate) fn is_entry(line: &str) -> bool {
    let visible = line.trim_start();
    !visible.is_empty() && !visible.starts_with('#')
}

/// Made of all secrets, so that it survives a restart and nobody without the file knows it.
fn mock_key(secrets: &[Secrets]) -> [u8; 32] {
    let mut key = scram::hmac(b"cork: users that don't exist", &[]);
    for secrets in secrets {
        let password = secrets.password.as_ref().map(StoredPassword::to_text).unwrap_or_default();
        let server_key = secrets.scram.as_ref().map_or(&[][..], |secret| secret.server_key());
        key = scram::hmac(&key, &[password.as_bytes(), server_key]);
    }
    key
}

#[cfg(test)]
mod tests;
