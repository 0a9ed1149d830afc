//! `managed.toml` in the data directory: what is changed while the broker runs, over the HTTP API. It has the words of the
//! hand-written files, which win; what is written there by [`crate::managed`] is read here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use cork_access::{Acl, Actions, PasswordFile, Rule, StoredUser, Who};
use toml::de::DeValue;

use super::bridge::{Secret, read_bridge};
use super::error::{ConfigError, ConfigErrors, Origin};
use super::filters::read_named;
use super::read::{Findings, Section};
use super::sinks::{self, Password, Target};
use super::values::{number, text, word};
use super::{Config, UserNames};

/// The file's name.
pub const MANAGED_FILE: &str = "managed.toml";

/// What `managed.toml` has beside links and filters, which stand among the hand-written ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    /// The file; empty: none was read.
    pub file: String,
    /// `[[user]]`.
    pub users: Vec<ManagedUser>,
    /// `[[rule]]`, asked after the hand-written ones.
    pub rules: Vec<Rule>,
    /// `acl.default`: what holds without a hand-written rights file; none: everything is allowed but writing to `$SYS`.
    pub default_allow: Option<bool>,
    /// `acl.revision`: grows with each change of the rules.
    pub revision: u64,
    /// `[[ban]]`.
    pub bans: Vec<Ban>,
    /// What does not hold, for a hand-written file says something else; a line each.
    pub resting: Vec<String>,
}

/// `[[user]]`: a user that stands in no password file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedUser {
    /// `name`, `password` and `scram`.
    pub stored: StoredUser,
    /// `groups`.
    pub groups: Vec<String>,
}

/// `[[ban]]`: who may not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// `client_id`, `user` or `address`.
    pub whom: Banned,
    /// `until`: seconds since 1970; none: for ever.
    pub until: Option<u64>,
    /// `since`: seconds since 1970.
    pub since: u64,
    /// `reason`.
    pub reason: String,
    /// `by`: the user who said so.
    pub by: Option<String>,
}

/// Whom a ban is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Banned {
    /// `client_id`.
    Client(String),
    /// `user`.
    User(String),
    /// `address`: an IP address, or a network as `10.0.0.0/8`.
    Address(cork_runtime::Network),
}

impl Banned {
    /// The key, and what it says.
    #[must_use]
    pub fn key(&self) -> (&'static str, String) {
        match self {
            Self::Client(name) => ("client_id", name.clone()),
            Self::User(name) => ("user", name.clone()),
            Self::Address(network) => ("address", network.to_string()),
        }
    }
}

impl Config {
    /// Takes in what `managed.toml` of the data directory says, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or everything that is wrong in it; the configuration is unchanged then.
    pub fn load_managed(&mut self) -> Result<(), ConfigErrors> {
        let path = self.data_dir.join(MANAGED_FILE);
        if self.in_memory || !path.exists() {
            return Ok(());
        }
        let text = Self::text(&path)?;
        self.take_managed(&text, &path)
    }

    /// The same from text; `path` is the file's name for errors.
    ///
    /// # Errors
    /// As [`load_managed`](Self::load_managed).
    pub fn take_managed(&mut self, text: &str, path: &Path) -> Result<(), ConfigErrors> {
        let (name, folder) = (path.display().to_string(), self.data_dir.clone());
        let findings = Findings::new(text, &name);
        let mut config = self.clone();
        read_root(findings.parse(), &folder, &mut config);
        let (mut errors, _) = findings.finish();
        config.managed.file.clone_from(&name);
        config.judge_managed_links(&mut errors);
        ConfigErrors::unless_empty(errors)?;
        *self = config;
        Ok(())
    }

    /// Whether something was said in `managed.toml`.
    #[must_use]
    pub fn is_managed(&self, origin: &Origin) -> bool {
        matches!(origin, Origin::File { name, .. } if *name == self.managed.file)
    }

    /// Whether there are users to log in as.
    #[must_use]
    pub fn has_users(&self) -> bool {
        self.auth.password_file.is_some() || !self.managed.users.is_empty()
    }

    /// Whether clients without a user name may in.
    #[must_use]
    pub fn anonymous_allowed(&self) -> bool {
        self.auth.allow_anonymous.unwrap_or_else(|| !self.has_users())
    }

    /// Names of the managed users that stand in no password file, with their groups.
    ///
    /// # Errors
    /// The password file is refused.
    pub(crate) fn managed_users(&self) -> Result<BTreeMap<String, Vec<String>>, ConfigErrors> {
        let by_hand: BTreeSet<String> = match &self.auth.password_file {
            Some(path) if !self.managed.users.is_empty() => {
                let file = PasswordFile::load(path, false)
                    .map_err(|errors| self.of_file("auth.password_file", errors))?;
                file.user_names().into_iter().map(str::to_owned).collect()
            }
            _ => BTreeSet::new(),
        };
        let others = self.managed.users.iter().filter(|user| !by_hand.contains(&user.stored.name));
        Ok(others.map(|user| (user.stored.name.clone(), user.groups.clone())).collect())
    }

    /// All users, those of the password file first.
    pub(super) fn all_users(&self, anonymous: bool) -> Result<(PasswordFile, UserNames), ConfigErrors> {
        let stored: Vec<StoredUser> = self.managed.users.iter().map(|user| user.stored.clone()).collect();
        match PasswordFile::load_with(self.auth.password_file.as_deref(), &stored, anonymous) {
            Ok(file) => {
                let names = file.user_names().into_iter().map(Box::from).collect();
                Ok((file, Some(names)))
            }
            Err(errors) => Err(self.of_file("auth.password_file", errors)),
        }
    }

    /// Managed rules behind those that are there.
    pub(super) fn with_managed_rules(&self, acl: Acl) -> Result<Acl, ConfigErrors> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (user, of_user) in self.managed_users()? {
            for group in of_user {
                groups.entry(group).or_default().push(user.clone());
            }
        }
        let mut rules = self.managed.rules.clone();
        for rule in &mut rules {
            if let Who::Group { name, users } = &mut rule.who {
                let by_hand = acl.groups().and_then(|known| known.get(name)).cloned();
                *users = by_hand.into_iter().chain(groups.get(name).cloned()).flatten().collect();
            }
        }
        acl.with_rules(rules, &groups).map_err(|error| {
            let origin = Origin::File { name: self.managed.file.clone(), line: 0 };
            ConfigErrors(vec![ConfigError {
                origin,
                key: "rule.topic".to_owned(),
                message: error.to_string(),
            }])
        })
    }

    /// A program that speaks to the API must not make the broker read any file, or write where it likes.
    fn judge_managed_links(&self, errors: &mut Vec<ConfigError>) {
        let of_file = "names a file or variable, which only a hand-written link may; give the secret itself";
        for bridge in self.bridges.iter().filter(|bridge| self.is_managed(&bridge.origin)) {
            let tls = &bridge.tls;
            let named = !matches!(bridge.password, None | Some(Secret::Text(_)));
            if named || tls.ca.is_some() || tls.cert.is_some() || tls.key.is_some() {
                let key = if named { "bridge.password" } else { "bridge.tls" };
                errors.push(ConfigError {
                    origin: bridge.origin.clone(),
                    key: key.into(),
                    message: of_file.into(),
                });
            }
        }
        for sink in self.sinks.iter().filter(|sink| self.is_managed(&sink.origin)) {
            let secret = |secret: &Password| matches!(secret, Password::File(_));
            if secret(&sink.password) || secret(&sink.token) || sink.ca.is_some() {
                errors.push(sink.error("password", of_file));
            }
            let Target::Sqlite { path, .. } = &sink.target else { continue };
            let below = path.strip_prefix(&self.data_dir).is_ok_and(|rest| {
                rest.components().all(|part| matches!(part, std::path::Component::Normal(_)))
            });
            if !below || path.file_name().is_some_and(|name| name == MANAGED_FILE) {
                let message =
                    "a managed sink writes below the data directory only, as in sqlite://readings.db";
                errors.push(sink.error("url", message));
            }
        }
    }
}

fn read_root(mut root: Section<'_, '_>, folder: &Path, config: &mut Config) {
    let mut managed = Managed::default();
    for (span, section) in root.sections("user") {
        managed.users.extend(read_user(section, &span));
    }
    let mut acl = root.section("acl");
    managed.default_allow = acl.read("default", word(&[("deny", false), ("allow", true)]));
    managed.revision = acl.read("revision", number(0..=u64::MAX)).unwrap_or_default();
    acl.finish();
    for (span, section) in root.sections("rule") {
        managed.rules.extend(read_rule(section, &span));
    }
    for (span, section) in root.sections("ban") {
        managed.bans.extend(read_ban(section, &span));
    }
    let rests = |what: &str, name: &str, origin: &Origin, by: &Origin| {
        format!("{origin}: {what} `{name}` does not hold: the hand-written one at {by} does")
    };
    // Before the links, which may name them.
    let mut table = (*config.filters).clone();
    for (name, (rule, origin)) in read_named(&mut root) {
        match config.filter_origins.get(&name) {
            Some(other) => managed.resting.push(rests("filter", &name, &origin, other)),
            None => {
                table.named.insert(name.as_str().into(), rule.into());
                config.filter_origins.insert(name, origin);
            }
        }
    }
    config.attached_elsewhere.iter().for_each(|one| one.resolve(&mut table));
    config.filters = table.into();
    for (span, section) in root.sections("bridge") {
        let Some(bridge) = read_bridge(section, &span, folder, &config.filters) else { continue };
        match config.bridges.iter().find(|other| other.name == bridge.name) {
            Some(other) => managed.resting.push(rests("bridge", &bridge.name, &bridge.origin, &other.origin)),
            None => config.bridges.push(bridge),
        }
    }
    for (span, section) in root.sections("sink") {
        let Some(sink) = sinks::read(section, &span, folder, &config.filters) else { continue };
        match config.sinks.iter().find(|other| other.name == sink.name) {
            Some(other) => managed.resting.push(rests("sink", &sink.name, &sink.origin, &other.origin)),
            None => config.sinks.push(sink),
        }
    }
    // The HTTP API's own, see its tokens.
    root.take("token");
    root.finish();
    config.managed = managed;
}

fn read_user(mut section: Section<'_, '_>, span: &Range<usize>) -> Option<ManagedUser> {
    let name = section.read("name", text);
    // What is wrong with a hash is not shown.
    let hidden = |_: &DeValue<'_>, read: Result<String, String>| {
        read.map_err(|_| "accepted is what `cork passwd` writes behind the colon".to_owned())
    };
    let mut stored = Vec::new();
    for key in ["password", "scram"] {
        let Some(value) = section.take(key) else { continue };
        match hidden(value.get_ref(), text(value.get_ref())) {
            Ok(text) => stored.push(text),
            Err(accepted) => section.fault(&value.span(), key, format!("is not accepted; {accepted}")),
        }
    }
    let groups = section.read("groups", texts).unwrap_or_default();
    let (file, line) = place(section.origin(span));
    if name.is_none() {
        section.fault(span, "name", "is missing; a user needs one".to_owned());
    }
    section.finish();
    Some(ManagedUser { stored: StoredUser { name: name?, stored, file, line }, groups })
}

fn read_rule(mut section: Section<'_, '_>, span: &Range<usize>) -> Option<Rule> {
    let faults = section.faults();
    let names = ["user", "group", "client_id"].map(|key| section.read(key, text));
    let (allow, deny) = (section.read("allow", actions), section.read("deny", actions));
    let topic = section.read("topic", |value| {
        let topic = text(value)?;
        match Acl::judge_topic(&topic) {
            Err(reason) => Err(reason.to_owned()),
            Ok(()) if topic.starts_with("$share/") => Err("leave `$share/NAME/` out".to_owned()),
            Ok(()) => Ok(topic),
        }
    });
    let source = section.origin(span).to_string();
    let who = match names {
        [None, None, None] => Some(Who::Everybody),
        [Some(user), None, None] => Some(Who::User(user)),
        [None, Some(name), None] => Some(Who::Group { name, users: Vec::new() }),
        [None, None, Some(client)] => Some(Who::ClientId(client)),
        _ => {
            let message = "stands beside another; a rule has one of `user`, `group` and `client_id`, or none";
            section.fault(span, "user", message.to_owned());
            None
        }
    };
    let decision = match (allow, deny) {
        (Some(actions), None) => Some((actions, true)),
        (None, Some(actions)) => Some((actions, false)),
        _ if section.faults() > faults => None,
        _ => {
            section.fault(span, "allow", "a rule has either `allow` or `deny`".to_owned());
            None
        }
    };
    if topic.is_none() && section.faults() == faults {
        section.fault(span, "topic", "is missing; a rule needs one, as in topic = \"home/#\"".to_owned());
    }
    section.finish();
    let (actions, allow) = decision?;
    Some(Rule { who: who?, actions, allow, topic: topic?, source })
}

fn read_ban(mut section: Section<'_, '_>, span: &Range<usize>) -> Option<Ban> {
    let (client, user) = (section.read("client_id", text), section.read("user", text));
    let address = section.read("address", |value| {
        let accepted = || "accepted are an IP address and a network as \"10.0.0.0/8\"".to_owned();
        text(value)?.parse().map_err(|_| accepted())
    });
    let until = section.read("until", number(0..=u64::MAX));
    let since = section.read("since", number(0..=u64::MAX)).unwrap_or_default();
    let reason = section.take("reason").and_then(|value| value.get_ref().as_str().map(str::to_owned));
    let by = section.read("by", text);
    let whom = match (client, user, address) {
        (Some(client), None, None) => Some(Banned::Client(client)),
        (None, Some(user), None) => Some(Banned::User(user)),
        (None, None, Some(network)) => Some(Banned::Address(network)),
        _ => {
            let message = "one of `client_id`, `user` and `address` says who is banned".to_owned();
            section.fault(span, "client_id", message);
            None
        }
    };
    section.finish();
    Some(Ban { whom: whom?, until, since, reason: reason.unwrap_or_default(), by })
}

fn actions(value: &DeValue<'_>) -> Result<Actions, String> {
    let accepted = || "accepted are [\"read\"], [\"write\"] and [\"read\", \"write\"]".to_owned();
    let mut found = Actions { read: false, write: false };
    for word in texts(value).map_err(|_| accepted())? {
        match word.as_str() {
            "read" => found.read = true,
            "write" => found.write = true,
            _ => return Err(accepted()),
        }
    }
    if found.read || found.write { Ok(found) } else { Err(accepted()) }
}

fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let accepted = || "accepted is a list of names in quotes".to_owned();
    let list = value.as_array().ok_or_else(accepted)?;
    list.iter().map(|one| text(one.get_ref()).map_err(|_| accepted())).collect()
}

fn place(origin: Origin) -> (String, usize) {
    match origin {
        Origin::File { name, line } => (name, line),
        Origin::Default | Origin::CommandLine => (MANAGED_FILE.to_owned(), 0),
    }
}
