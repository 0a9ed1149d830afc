//! Taking a changed configuration, and changed files, into a running broker.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher as _},
    path::Path,
    sync::{Arc, PoisonError},
};

use cork_access::{Acl, Authenticator};
use cork_core::{Bans, Door, Users};
use cork_runtime::Network;
use cork_store::WallTime;

use crate::{
    Broker,
    broker::{address_limits, settings},
    config::{Ban, Banned, Change, Config, ConfigErrors, Listener, UserNames},
    history,
    operator::InForce,
};

/// Who may in and what they may do, read from the files a configuration names.
pub(crate) struct Access {
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) users: Users,
    pub(crate) rights: Arc<Acl>,
    pub(crate) files: Fingerprints,
}

/// Tells one state of the files with users and rights from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprints {
    users: u64,
    names: UserNames,
    rights: u64,
}

impl Access {
    pub(crate) fn of(config: &Config) -> Result<Self, ConfigErrors> {
        // Before they are read: what changes meanwhile counts as a change at the next reload.
        let auth = &config.auth;
        let (of_users, of_rights) =
            (fingerprint(auth.password_file.as_deref()), fingerprint(auth.acl_file.as_deref()));
        let managed = &config.managed;
        let hashes = managed.users.iter().flat_map(|user| user.stored.stored.iter()).collect::<Vec<_>>();
        let groups: Vec<_> = managed.users.iter().map(|user| (&user.stored.name, &user.groups)).collect();
        let rules = format!("{:?} {:?} {groups:?}", managed.default_allow, managed.rules);
        let (of_users, of_rights) = (mixed(of_users, &hashes), mixed(of_rights, &rules));
        let (authenticator, names) = config.users()?;
        let door = match (config.has_users(), config.anonymous_allowed()) {
            (false, true) => Door::Open,
            (true, true) => Door::Anonymous,
            // Without a password file: nobody but who a certificate names.
            (_, false) => Door::Checked,
        };
        let rights = Arc::new(config.rights()?);
        let files = Fingerprints { users: of_users, names: names.clone(), rights: of_rights };
        Ok(Self {
            authenticator,
            users: Users { door, names: names.map(Arc::new), bans: Arc::new(bans(&config.managed.bans)) },
            rights,
            files,
        })
    }
}

/// Bans by name, as the shards take them.
fn bans(bans: &[Ban]) -> Bans {
    let mut found = Bans::default();
    for ban in bans {
        let until = WallTime(ban.until.map_or(u64::MAX, |seconds| seconds.saturating_mul(1_000_000)));
        match &ban.whom {
            Banned::Client(name) => found.clients.insert(name.as_str().into(), until),
            Banned::User(name) => found.users.insert(name.as_str().into(), until),
            Banned::Address(_) => None,
        };
    }
    found
}

/// Bans of addresses, as the gate takes them.
pub(crate) fn address_bans(bans: &[Ban]) -> Vec<(Network, Option<u64>)> {
    let of_address = |ban: &Ban| match ban.whom {
        Banned::Address(network) => Some((network, ban.until)),
        Banned::Client(_) | Banned::User(_) => None,
    };
    bans.iter().filter_map(of_address).collect()
}

fn mixed(before: u64, what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (before, what).hash(&mut hasher);
    hasher.finish()
}

fn fingerprint(path: Option<&Path>) -> u64 {
    let mut hasher = DefaultHasher::new();
    // One that can't be read is refused elsewhere, and so is a pipe, which must not be waited for here.
    let read = |path: &Path| fs::read(path).unwrap_or_default();
    path.filter(|path| path.is_file()).map(read).hash(&mut hasher);
    hasher.finish()
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// What changed, and holds now; one line for each, in words. That of `[log]` is up to the program.
    pub changed: Vec<String>,
    /// What changed and holds only after a restart. Until then the old values do.
    pub needs_restart: Vec<Change>,
}

impl Broker {
    /// Takes over a configuration and reads all files it names again, without dropping a client that may stay.
    ///
    /// - Users: new clients are judged by the new ones at once; clients whose user is gone, or whose name was never
    ///   checked, are told (5.0 0x87) and disconnected, and leave no Will.
    /// - Rights hold at once for everybody.
    /// - Limits hold at once, but a client keeps what it was promised in its CONNACK until it connects again.
    /// - Listeners are opened and closed, or go on with other settings. Connections stay, whatever becomes of the
    ///   listener they came by; only a client whose certificate would not be accepted any more is disconnected.
    /// - `[log]` is up to the program.
    ///
    /// May block, see [`Config::validate`].
    ///
    /// # Errors
    /// Everything that is wrong, or an address that can't be listened on; nothing at all has changed then.
    pub fn reload(&mut self, config: &Config) -> Result<Reload, ConfigErrors> {
        self.open();
        config.validate()?;
        self.open();
        self.config.judge_opening(config)?;
        let (changes, needs_restart) = self.config.changes(config);
        let Access { authenticator, users, rights, files } = Access::of(config)?;
        let managed_users = config.managed_users()?;
        let listeners = self.listeners.plan(config, &self.runtime)?;
        // From here on nothing can fail.
        let mut changed: Vec<String> = changes.iter().map(ToString::to_string).collect();
        changed.extend(self.files.differences(&files));
        changed.extend(listener_changes(&self.config.listeners, &config.listeners));
        changed.extend(listeners.renewed.iter().map(|url| format!("listener {url}: other certificates")));
        // Rights first: a user who is new must not meet the old ones.
        self.runtime.set_rights(&rights);
        let now = InForce::new(config, &rights, &users, managed_users);
        self.runtime.set_users(authenticator, &users);
        let mut in_force = config.clone();
        in_force.memory = self.config.memory;
        if let Some(history) = &self.history {
            history.set_rules(&history::rules(config)); // before the shards hand over by them
        }
        let shards = u16::try_from(self.runtime.shards()).unwrap_or(u16::MAX);
        self.runtime.set_settings(&settings(&in_force, shards), config.limits.max_connections as usize);
        self.runtime.set_address_limits(address_limits(config));
        self.runtime.set_address_bans(address_bans(&config.managed.bans));
        self.watch.set_warn_below(config.limits.disk_free_warning);
        self.listeners.apply(listeners, &mut self.runtime);
        self.files = files;
        self.config.take_over(config);
        let in_force =
            InForce { config: Arc::new(self.config.clone()), addresses: self.addresses().into(), ..now };
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = in_force;
        Ok(Reload { changed, needs_restart })
    }
}

impl Fingerprints {
    fn differences(&self, new: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let none = BTreeSet::new();
        let (old_names, new_names) =
            (self.names.as_ref().unwrap_or(&none), new.names.as_ref().unwrap_or(&none));
        let users = [("new", new_names.difference(old_names)), ("gone", old_names.difference(new_names))]
            .map(|(what, names)| list(what, names.map(AsRef::as_ref)));
        let users: Vec<String> = users.into_iter().flatten().collect();
        if !users.is_empty() {
            found.push(format!("users: {}", users.join(", ")));
        } else if self.users != new.users {
            found.push("users: other passwords".to_owned());
        }
        if self.rights != new.rights {
            found.push("rights".to_owned());
        }
        found
    }
}

/// A few names, and how many more there are.
fn list<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    const SHOWN: usize = 5;
    let names: Vec<String> = names.map(|name| format!("`{}`", name.escape_debug())).collect();
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(" ");
    match names.len() {
        0 => None,
        few @ 1..=SHOWN => Some(format!("{few} {what} ({shown})")),
        many => Some(format!("{many} {what} ({shown} and {} more)", many - SHOWN)),
    }
}

/// What becomes of the listeners, in words.
fn listener_changes(old: &[Listener], new: &[Listener]) -> Vec<String> {
    let mut gone: Vec<&Listener> = old.iter().collect();
    let mut found = Vec::new();
    for listener in new {
        let url = &listener.url;
        let Some(at) = gone.iter().position(|old| old.url == *url) else {
            found.push(format!("listener {url}: opened"));
            continue;
        };
        let before = gone.remove(at);
        let keys = [
            ("tls", before.tls != listener.tls),
            ("proxy", before.proxy != listener.proxy),
            ("mode", before.mode != listener.mode),
        ];
        let keys: Vec<&str> = keys.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect();
        if !keys.is_empty() {
            found.push(format!("listener {url}: other {} for new connections", keys.join(" and ")));
        }
    }
    found.extend(gone.iter().map(|old| format!("listener {}: closed, its clients stay", old.url)));
    found
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use super::*;

    const PASSWORD: &[u8] = b"pw";

    /// A configuration in its own folder, with a port of the system's choice.
    fn config(folder: &Path, rest: &str) -> Config {
        let text = format!("[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n{rest}");
        Config::from_toml(&text, &folder.join("cork.toml").display().to_string()).unwrap()
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("cork-reload-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Removes the folder however the test ends.
    struct Folder(std::path::PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_takes_a_restart_is_named_until_it_had_one() {
        let folder = Folder(folder("restart"));
        let mut broker = Broker::start(&config(&folder.0, "")).unwrap();
        assert_eq!(broker.reload(&config(&folder.0, "")).unwrap(), Reload::default());
        let new = format!("shards = 2\ndurability = 'none'\n{}", "[[listener]]\nurl = 'mqtt://127.0.0.1:0'");
        let new = Config::from_toml(&new, &folder.0.join("cork.toml").display().to_string()).unwrap();
        for _ in 0..2 {
            let done = broker.reload(&new).unwrap();
            let said: Vec<String> = done.needs_restart.iter().map(ToString::to_string).collect();
            assert_eq!(said, ["shards: 2 (was auto)", "durability: none (was always)"]);
            assert_eq!(done.changed, Vec::<String>::new());
        }
    }

    #[test]
    fn what_changed_is_said_with_both_values_once() {
        let folder = Folder(folder("changed"));
        let mut broker = Broker::start(&config(&folder.0, "")).unwrap();
        let new = "[limits]\nqueue_qos0 = true\nmax_packet_size = 1024\n[drain]\ntimeout = '1s'\nserver_reference = 'b'\n[log]\nlevel = 'warn'";
        let said = [
            "limits.max_packet_size: 1KiB (was 16MiB)",
            "limits.queue_qos0: true (was false)",
            "log.level: warn (was info)",
            "drain.timeout: 1s (was 5s)",
            "drain.server_reference: b (was not set)",
        ];
        assert_eq!(broker.reload(&config(&folder.0, new)).unwrap().changed, said);
        assert_eq!(broker.reload(&config(&folder.0, new)).unwrap(), Reload::default());
        assert_eq!(broker.config.drain.timeout, Duration::from_secs(1));

        let listener = |url: &str, rest: &str| {
            let text = format!("[[listener]]\nurl = '{url}'\n{rest}");
            Config::from_toml(&text, &folder.0.join("cork.toml").display().to_string()).unwrap()
        };
        broker.reload(&listener("mqtt://127.0.0.1:0", "")).unwrap();
        let changed = broker.reload(&listener("ws://127.0.0.1:0", "")).unwrap().changed;
        assert_eq!(
            changed,
            ["listener ws://127.0.0.1:0: opened", "listener mqtt://127.0.0.1:0: closed, its clients stay"]
        );
        let open = "[auth]\nallow_anonymous = true";
        broker.reload(&listener("ws://127.0.0.1:0", open)).unwrap();
        let proxy = format!("proxy = true\n{open}");
        let changed = broker.reload(&listener("ws://127.0.0.1:0", &proxy)).unwrap().changed;
        assert_eq!(changed, ["listener ws://127.0.0.1:0: other proxy for new connections"]);
    }

    #[test]
    fn users_and_rights_that_changed_are_named() {
        let folder = Folder(folder("users"));
        let passwords = folder.0.join("passwords");
        let set = |user: &str| cork_access::passwd::set_password(&passwords, user, PASSWORD, false).unwrap();
        set("ann");
        let without = config(&folder.0, "[auth]\nallow_anonymous = true");
        let with = config(&folder.0, "[auth]\npassword_file = 'passwords'");
        let mut broker = Broker::start(&without).unwrap();
        let changed = broker.reload(&with).unwrap().changed;
        assert_eq!(changed.last().unwrap(), "users: 1 new (`ann`)");
        set("ann");
        assert_eq!(broker.reload(&with).unwrap().changed, ["users: other passwords"]);
        for user in ["bob", "c", "d", "e", "f", "g"] {
            set(user);
        }
        cork_access::passwd::delete_user(&passwords, "ann").unwrap();
        let changed = broker.reload(&with).unwrap().changed;
        assert_eq!(changed, ["users: 6 new (`bob` `c` `d` `e` `f` and 1 more), 1 gone (`ann`)"]);
        fs::write(folder.0.join("acl.toml"), "default = 'deny'").unwrap();
        let rights = config(&folder.0, "[auth]\npassword_file = 'passwords'\nacl_file = 'acl.toml'");
        assert_eq!(broker.reload(&rights).unwrap().changed.last().unwrap(), "rights");
        assert_eq!(broker.reload(&rights).unwrap(), Reload::default());
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let folder = Folder(folder("wrong"));
        let mut broker = Broker::start(&config(&folder.0, "")).unwrap();
        let before = broker.config.clone();
        for wrong in ["[auth]\nacl_file = 'missing'", "[auth]\npassword_file = 'missing'"] {
            let wrong = format!("{wrong}\n");
            let text = format!("{wrong}[drain]\ntimeout = '1s'\n[[listener]]\nurl = 'mqtt://127.0.0.1:0'");
            let wrong = Config::from_toml(&text, &folder.0.join("cork.toml").display().to_string()).unwrap();
            assert!(broker.reload(&wrong).is_err(), "{text}");
            assert_eq!(broker.config, before);
        }
    }
}
