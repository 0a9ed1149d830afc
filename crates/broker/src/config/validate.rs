//! Whether a configuration makes sense as a whole, with the files it names.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use cork_access::{Acl, AllowAnonymous, Authenticator, Credentials, DenyReason, FileErrors, Verdict};

use super::error::{ConfigError, ConfigErrors, Origin};
use super::file::{DURABILITY_ACCEPTED, DURABILITY_INTERVAL};
use super::filters::ATTACHED;
use super::{ClientCert, Config, Durability, Host, Listener, Managed, Scheme, Shards};
use crate::tls;

/// All users by name, where there is a password file.
pub(crate) type UserNames = Option<BTreeSet<Box<str>>>;

impl Config {
    /// Judges the configuration as a whole and reads the files it names. A broker must not start with one that fails.
    ///
    /// May block: files are read, and listeners with a host name ask the system's resolver.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = Vec::new();
        self.judge_values(&mut errors);
        self.judge_data_dir(&mut errors);
        self.judge_listeners(&mut errors);
        self.judge_doors(&mut errors);
        errors.extend(self.unknown_attached());
        ConfigErrors::unless_empty(errors)
    }

    /// What `[[attach]]` names and neither the file nor `managed.toml` defines.
    fn unknown_attached(&self) -> impl Iterator<Item = ConfigError> {
        self.attached_elsewhere.iter().filter_map(|one| one.fault(&self.filters))
    }

    /// Who lets clients in, by this configuration: a password file, or everybody may.
    ///
    /// # Errors
    /// The password file is refused, or nobody could ever log in.
    pub fn authenticator(&self) -> Result<Arc<dyn Authenticator>, ConfigErrors> {
        self.users().map(|(authenticator, _)| authenticator)
    }

    /// The same, with the names of all users if there is a password file.
    pub(crate) fn users(&self) -> Result<(Arc<dyn Authenticator>, UserNames), ConfigErrors> {
        let anonymous = self.anonymous_allowed();
        if !self.has_users() {
            if anonymous {
                return Ok((Arc::new(AllowAnonymous), None));
            }
            // Certificates, or the program around the broker, say who somebody is.
            if self.listeners.is_empty() || self.listeners.iter().any(has_client_ca) {
                return Ok((Arc::new(NoPasswords), None));
            }
            let message = "nobody could log in: it is false and there is no `password_file`; make one with `cork passwd` and name it, or set it to true";
            return Err(ConfigErrors(vec![self.error("auth.allow_anonymous", message.to_owned())]));
        }
        self.all_users(anonymous).map(|(file, names)| (Arc::new(file) as Arc<dyn Authenticator>, names))
    }

    /// What clients may do, by this configuration: a rights file, or everything except writing to `$SYS`.
    ///
    /// # Errors
    /// The rights file is refused.
    pub fn rights(&self) -> Result<Acl, ConfigErrors> {
        let acl = match &self.auth.acl_file {
            Some(path) => Acl::load(path).map_err(|errors| self.of_file("auth.acl_file", errors))?,
            None => Acl::permissive().with_default(self.managed.default_allow.unwrap_or(true)),
        };
        if self.managed == Managed::default() { Ok(acl) } else { self.with_managed_rules(acl) }
    }

    /// Faults within a file keep their own place; that it can't be used at all belongs to the key.
    pub(super) fn of_file(&self, key: &str, errors: FileErrors) -> ConfigErrors {
        let own = |error: cork_access::FileError| match error.line {
            Some(line) => ConfigError {
                origin: Origin::File { name: error.file, line },
                key: String::new(),
                message: error.message,
            },
            None => self.error(key, format!("`{}`: {}", error.file, error.message)),
        };
        ConfigErrors(errors.0.into_iter().map(own).collect())
    }

    /// What a program that fills in the fields could get wrong; a file can't.
    fn judge_values(&self, errors: &mut Vec<ConfigError>) {
        if let Shards::Fixed(count) = self.shards
            && !(1..=Shards::MAX).contains(&count)
        {
            errors.push(
                self.error("shards", format!("`{count}` is not accepted; accepted is 1 to {}", Shards::MAX)),
            );
        }
        if let Durability::Interval(time) = self.durability
            && !DURABILITY_INTERVAL.contains(&time)
        {
            errors
                .push(self.error("durability", format!("`{time:?}` is not accepted; {DURABILITY_ACCEPTED}")));
        }
        if self.limits.ban_time > self.limits.ban_time_max {
            let message = "is longer than `ban_time_max`; make one of them fit the other".to_owned();
            errors.push(self.error("limits.ban_time", message));
        }
        if self.limits.receive_maximum == 0 {
            let message = "`0` is not accepted; accepted is 1 to 65535".to_owned();
            errors.push(self.error("limits.receive_maximum", message));
        }
    }

    fn judge_data_dir(&self, errors: &mut Vec<ConfigError>) {
        if !self.in_memory && self.data_dir.exists() && !self.data_dir.is_dir() {
            let message = format!(
                "`{}` is not a directory; name one, or a path where one can be made",
                self.data_dir.display()
            );
            errors.push(self.error("data_dir", message));
        }
    }

    fn judge_listeners(&self, errors: &mut Vec<ConfigError>) {
        let (mut taken, mut sockets) = (Vec::new(), Vec::new());
        for listener in &self.listeners {
            if let Some(message) = unsupported(listener) {
                errors.push(of_listener(listener, &message));
                continue;
            }
            self.judge_tls(listener, errors);
            if let Host::Path(path) = &listener.url.host {
                if let Err(message) = judge_socket(path) {
                    errors.push(of_listener(listener, &message));
                } else if sockets.contains(&path) {
                    errors.push(of_listener(listener, "is named twice; give it another path"));
                }
                sockets.push(path);
                continue;
            }
            match self.addresses(listener) {
                Err(error) => errors.push(of_listener(listener, &format!("can't be resolved ({error})"))),
                Ok(addresses) => {
                    for address in addresses.into_iter().filter(|address| address.port() != 0) {
                        match taken.iter().find(|(other, _)| overlap(*other, address)) {
                            Some((other, first)) => {
                                let which =
                                    if *other == address { String::new() } else { format!(" as {other}") };
                                let message = format!(
                                    "needs {address}, which `{first}` has already{which}; give it another port"
                                );
                                errors.push(of_listener(listener, &message));
                                break;
                            }
                            None => taken.push((address, &listener.url)),
                        }
                    }
                }
            }
        }
    }

    /// The addresses of one of the listeners, at least one. `[::]` is every interface in both families, but leaves
    /// IPv4 to a listener that names an address of it with the same port.
    ///
    /// # Errors
    /// Those of [`ListenerUrl::resolve`](super::ListenerUrl::resolve).
    pub fn addresses(&self, listener: &Listener) -> io::Result<Vec<SocketAddr>> {
        let every = Host::Ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let mut addresses = listener.url.resolve()?;
        let port = listener.url.port;
        if listener.url.host == every && port != 0 {
            let others = self.listeners.iter().map(|other| &other.url);
            let others = others.filter(|url| url.host != every && url.port == port);
            if others.filter_map(|url| url.resolve().ok()).flatten().any(|address| address.is_ipv4()) {
                addresses.retain(SocketAddr::is_ipv6);
            }
        }
        Ok(addresses)
    }

    /// Certificates that no client would accept are found here, not by the first client.
    fn judge_tls(&self, listener: &Listener, errors: &mut Vec<ConfigError>) {
        let Some(tls) = &listener.tls else { return };
        if let Err(problems) = tls::judge(tls, listener.url.scheme) {
            errors.extend(problems.into_iter().map(|problem| ConfigError {
                origin: listener.origin.clone(),
                key: format!("listener.tls.{}", problem.key),
                message: problem.message,
            }));
        }
    }

    fn judge_doors(&self, errors: &mut Vec<ConfigError>) {
        if let Err(found) = self.authenticator() {
            errors.extend(found.0);
        }
        if let Err(found) = self.rights() {
            errors.extend(found.0);
        }
        self.judge_http(errors);
        if self.has_users() || self.auth.allow_anonymous.is_some() {
            return;
        }
        for listener in &self.listeners {
            let who = match () {
                () if asks_certificates(listener) || listener.url.scheme.is_http() => continue,
                () if !listener.url.is_local() => "can be reached from other machines",
                () if listener.proxy => "has `proxy`, so others come through it",
                () => continue,
            };
            let message = format!(
                "{who}, and nobody would need a password; make a password file with `cork passwd` and name it as `password_file` in [auth], or say `allow_anonymous = true` there (or `--allow-anonymous`) if everybody may in"
            );
            errors.push(of_listener(listener, &message));
        }
    }

    /// Who reaches the API without a password is an administrator, so nobody may reach it from elsewhere; not even where
    /// everybody may publish.
    fn judge_http(&self, errors: &mut Vec<ConfigError>) {
        for listener in self.listeners.iter().filter(|it| it.url.scheme.is_http() && it.proxy) {
            let message = "has `proxy`, but no HTTP connection begins with a PROXY header here; take the key away and let the proxy pass on requests, with the header `Host` as it came";
            errors.push(of_listener(listener, message));
        }
        if self.has_users() || self.auth.allow_anonymous == Some(false) {
            return;
        }
        for listener in self.listeners.iter().filter(|listener| listener.url.scheme.is_http()) {
            if !listener.url.is_local() {
                let message = "can be reached from other machines, and everybody there would be an administrator; make a password file with `cork passwd` and name it as `password_file` in [auth], or listen on 127.0.0.1";
                errors.push(of_listener(listener, message));
            }
        }
    }

    /// A running broker that knows its users, or what they may do, does not forget it because a file lost some lines.
    pub(crate) fn judge_opening(&self, new: &Self) -> Result<(), ConfigErrors> {
        let mut errors = Vec::new();
        let asked = new.has_users() || new.auth.allow_anonymous.is_some();
        let had = self.has_users() || self.auth.allow_anonymous == Some(false);
        if had && !asked {
            let message = "is not there, but the running broker has users; if everybody may in from now on, say `allow_anonymous = true`";
            errors.push(new.error("auth.password_file", message.to_owned()));
        }
        if self.auth.acl_file.is_some() && new.auth.acl_file.is_none() {
            let message = "is not there, but the running broker has a rights file; if everybody may do everything from now on, name one that says `default = \"allow\"`";
            errors.push(new.error("auth.acl_file", message.to_owned()));
        }
        if !had && !asked {
            let opened = new.listeners.iter().filter(|listener| self.asked_certificates_for(listener));
            let message = "lets everybody in, but in the running broker it takes a certificate; if that is meant, say `allow_anonymous = true` in [auth]";
            errors.extend(opened.map(|listener| of_listener(listener, message)));
        }
        ConfigErrors::unless_empty(errors)
    }

    /// Whether a certificate is needed now where a changed listener takes none: at its own URL, or everywhere.
    fn asked_certificates_for(&self, new: &Listener) -> bool {
        if new.url.scheme.is_http() || asks_certificates(new) {
            return false;
        }
        let before = || self.listeners.iter().filter(|old| !old.url.scheme.is_http());
        if before().any(|old| old.url == new.url) {
            return before().filter(|old| old.url == new.url).all(asks_certificates);
        }
        before().next().is_some() && before().all(asks_certificates)
    }

    /// An error about a key, with the place where the key was said.
    fn error(&self, key: &str, message: String) -> ConfigError {
        if let Some(flag) = self.places.flags.get(key) {
            return ConfigError { origin: Origin::CommandLine, key: (*flag).to_owned(), message };
        }
        let origin = match &self.places.file {
            Some(name) => {
                Origin::File { name: name.clone(), line: self.places.lines.get(key).copied().unwrap_or(0) }
            }
            None => Origin::Default,
        };
        ConfigError { origin, key: key.to_owned(), message }
    }

    /// What is accepted, but better known.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.auth.allow_anonymous == Some(true) {
            for listener in self
                .listeners
                .iter()
                .filter(|listener| !listener.url.is_local() && !asks_certificates(listener))
            {
                notes.push(format!(
                    "note: everybody who can reach `{}` may in without a password",
                    listener.url
                ));
            }
        }
        notes.extend(self.notes_about_rights());
        let keys = self.listeners.iter().filter_map(|listener| Some(listener.tls.as_ref()?.key.as_path()));
        let secrets: BTreeSet<&Path> = self.auth.password_file.as_deref().into_iter().chain(keys).collect();
        for path in secrets.into_iter().filter(|path| others_may_read(path)) {
            let path = path.display();
            notes.push(format!(
                "note: every user of this machine may read `{path}`; `chmod o-r {path}` ends that"
            ));
        }
        notes
    }

    fn notes_about_rights(&self) -> Vec<String> {
        let (Some(path), Ok(rights)) = (&self.auth.acl_file, self.rights()) else { return Vec::new() };
        if rights.closes_everything() {
            return vec![format!(
                "note: `{}` has no rules, so nobody may read or write anything; without `acl_file` users may do everything except write to `$SYS`",
                path.display()
            )];
        }
        // A certificate may bring any name.
        if self.listeners.iter().any(has_client_ca) {
            return Vec::new();
        }
        match (&self.auth.password_file, self.users()) {
            (None, _) if rights.speaks_of_users() => vec![
                "note: there is no `password_file`, so user names prove nothing: rules for users and groups never fit"
                    .to_owned(),
            ],
            (Some(file), Ok((_, Some(names)))) => rights
                .named_users()
                .into_iter()
                .filter(|(user, _)| !names.contains(*user))
                .map(|(user, rule)| {
                    let user = user.escape_debug();
                    format!("note: {rule}: there is no user `{user}` in `{}`, so the rule never fits for that name", file.display())
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// Whether clients may show certificates.
fn has_client_ca(listener: &Listener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
}

/// Certificates let clients in, and nothing else.
struct NoPasswords;

impl Authenticator for NoPasswords {
    fn authenticate(&self, _credentials: &Credentials<'_>) -> Verdict {
        Verdict::Deny(DenyReason::NotAuthorized)
    }
}

/// Whether nobody may in without a certificate.
fn asks_certificates(listener: &Listener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.client_cert == ClientCert::Required)
}

/// Whether the system lets only one socket listen at the two. IPv6 sockets here take no IPv4.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let either_is_all = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || either_is_all)
}

fn unsupported(listener: &Listener) -> Option<String> {
    let scheme = listener.url.scheme;
    let name = scheme.as_str();
    if listener.tls.is_some() && !scheme.has_tls() {
        return Some(format!("has `tls`, but `{name}://` is not encrypted; remove `tls`"));
    }
    if listener.tls.is_none() && scheme.has_tls() {
        let message = "needs a certificate: `tls = { cert = \"cert.pem\", key = \"key.pem\" }` below the `url` of a [[listener]] in the configuration file";
        return Some(message.to_owned());
    }
    if listener.mode.is_some() && scheme != Scheme::Unix {
        return Some(format!("has `mode`, but `{name}://` has no socket file; remove `mode`"));
    }
    None
}

/// What can be known of a socket file before it is made.
fn judge_socket(path: &Path) -> Result<(), String> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(format!("has a path of more than {SOCKET_PATH_MAX} bytes, which no socket can have"));
    }
    if !folder.is_dir() {
        return Err(format!("is in `{}`, which is not a directory; make it", folder.display()));
    }
    if path.exists() && !is_socket(path) {
        return Err("is a file that is not a socket; remove it or name another path".to_owned());
    }
    Ok(())
}

/// The system's limit, without the zero at the end.
const SOCKET_PATH_MAX: usize = 107;

#[cfg(unix)]
fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[cfg(not(unix))]
fn is_socket(_path: &Path) -> bool {
    false
}

fn of_listener(listener: &Listener, message: &str) -> ConfigError {
    ConfigError {
        origin: listener.origin.clone(),
        key: listener.key().to_owned(),
        message: format!("`{}` {message}", listener.url),
    }
}

#[cfg(unix)]
fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn others_may_read(_path: &Path) -> bool {
    false
}

/// What `cork check` prints, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One line per problem; none if a broker would start.
    pub problems: Vec<String>,
    /// What is accepted, but better known; lines beginning with `note:`.
    pub notes: Vec<String>,
}

impl Report {
    /// The exit code of `cork check`: 0 if a broker would start, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.problems.is_empty())
    }
}

/// Reads and judges a configuration file, as `cork check` does: everything that is wrong in one pass, by line.
///
/// May block, see [`Config::validate`].
pub fn check(path: &Path) -> Report {
    let name = path.display().to_string();
    let (mut config, mut errors) = match Config::text(path) {
        Ok(text) => Config::read(&text, &name),
        Err(errors) => return Report::of(&errors.0, Vec::new()),
    };
    // Where a line could not be read at all, nobody knows what is missing: what would be said of the rest is guessed.
    if errors.iter().all(|error| !error.key.is_empty()) {
        let unread = |section: &str| errors.iter().any(|error| error.key.starts_with(section));
        let auth_is_whole = !unread("auth");
        let about_doors =
            |error: &ConfigError| error.key.starts_with("auth") || error.key.starts_with("listener.url");
        let found = config.validate().err().map(|found| found.0).unwrap_or_default();
        // The filters it may name are not read yet.
        let found = found.into_iter().filter(|error| error.key != ATTACHED);
        errors.extend(found.filter(|error| auth_is_whole || !about_doors(error)));
        // The file itself first, then those it names.
        let elsewhere =
            |error: &ConfigError| !matches!(&error.origin, Origin::File { name: of, .. } if *of == name);
        errors.sort_by_key(|error| (elsewhere(error), error.origin.clone()));
        errors.dedup();
    }
    let mut notes = if errors.is_empty() { config.notes() } else { Vec::new() };
    if errors.is_empty() {
        match config.load_managed() {
            Ok(()) => notes.extend(config.managed.resting.iter().map(|line| format!("note: {line}"))),
            Err(found) => errors.extend(found.0),
        }
        errors.extend(config.unknown_attached());
    }
    Report::of(&errors, notes)
}

impl Report {
    fn of(errors: &[ConfigError], notes: Vec<String>) -> Self {
        Self { problems: errors.iter().map(ToString::to_string).collect(), notes }
    }
}
