//! Taking a changed configuration, and changed files, into a running broker.

use std::sync::Arc;

use cork_access::{Acl, Authenticator};
use cork_core::{Door, Users};

use crate::{
    Broker,
    config::{Config, ConfigErrors},
};

/// Who may in and what they may do, read from the files a configuration names.
pub(crate) struct Access {
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) users: Users,
    pub(crate) rights: Arc<Acl>,
}

impl Access {
    pub(crate) fn of(config: &Config) -> Result<Self, ConfigErrors> {
        let (authenticator, names) = config.users()?;
        let door = match (config.auth.password_file.is_some(), config.auth.anonymous_allowed()) {
            (false, true) => Door::Open,
            (true, true) => Door::Anonymous,
            // Without a password file: nobody but who a certificate names.
            (_, false) => Door::Checked,
        };
        let rights = Arc::new(config.rights()?);
        Ok(Self { authenticator, users: Users { door, names: names.map(Arc::new) }, rights })
    }
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// Keys that changed and hold only after a restart, as `limits.queue_max_bytes`. Until then the old values do.
    pub needs_restart: Vec<&'static str>,
}

impl Broker {
    /// Takes over a configuration and reads the password file and the rights file again, without dropping a client that
    /// may stay. New clients are judged by the new users at once; clients whose user is gone are disconnected; changed
    /// rights hold at once for everybody. `[log]` is up to the program.
    ///
    /// May block, see [`Config::validate`].
    ///
    /// # Errors
    /// Everything that is wrong; nothing has changed then.
    pub fn reload(&mut self, config: &Config) -> Result<Reload, ConfigErrors> {
        config.validate()?;
        let old = &self.config;
        let mut needs_restart = old.differences(config);
        let mut effective = config.clone();
        // From "user names prove nothing" to "they are checked" there is no way for who is connected.
        if old.auth.password_file.is_some() != config.auth.password_file.is_some() {
            needs_restart.push("auth.password_file");
            effective.auth.password_file.clone_from(&old.auth.password_file);
            effective.auth.allow_anonymous = old.auth.allow_anonymous;
        }
        // Listeners stay as they are, and with them what their certificates prove.
        effective.listeners.clone_from(&old.listeners);
        let Access { authenticator, users, rights } = Access::of(&effective)?;
        // Rights first: a user who is new must not meet the old ones.
        self.runtime.set_rights(&rights);
        self.runtime.set_users(authenticator, &users);
        self.patience = config.drain.timeout;
        self.config.auth = effective.auth;
        self.config.drain.timeout = config.drain.timeout;
        Ok(Reload { needs_restart })
    }
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

    #[test]
    fn what_takes_a_restart_is_named_until_it_had_one() {
        let folder = folder("restart");
        let mut broker = Broker::start(&config(&folder, "")).unwrap();
        assert_eq!(broker.reload(&config(&folder, "")).unwrap(), Reload::default());
        let new = "[limits]\nqueue_qos0 = true\nmax_packet_size = 1000\n[drain]\ntimeout = '1s'\nserver_reference = 'b'";
        let keys = ["limits.max_packet_size", "limits.queue_qos0", "drain.server_reference"];
        for _ in 0..2 {
            assert_eq!(broker.reload(&config(&folder, new)).unwrap().needs_restart, keys);
            assert_eq!(broker.patience, Duration::from_secs(1));
        }
        let other_place = config(&folder, "[[listener]]\nurl = 'ws://127.0.0.1:0'");
        assert_eq!(broker.reload(&other_place).unwrap().needs_restart, ["listener"]);
        drop(broker);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_user_database_does_not_come_or_go_while_clients_are_there() {
        let folder = folder("users");
        cork_access::passwd::set_password(&folder.join("passwords"), "ann", PASSWORD, false).unwrap();
        let with = config(&folder, "[auth]\npassword_file = 'passwords'");
        let without = config(&folder, "[auth]\nallow_anonymous = true");
        for (first, second) in [(&with, &without), (&without, &with)] {
            let mut broker = Broker::start(first).unwrap();
            assert_eq!(broker.reload(second).unwrap().needs_restart, ["auth.password_file"]);
            assert_eq!(broker.config.auth, first.auth, "who may in stays as it was");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let folder = folder("wrong");
        let mut broker = Broker::start(&config(&folder, "")).unwrap();
        let before = broker.config.clone();
        for wrong in ["[auth]\nacl_file = 'missing'", "[auth]\npassword_file = 'missing'", "memory = '9MB'"] {
            let wrong = format!("{wrong}\n");
            let text = format!("{wrong}[drain]\ntimeout = '1s'\n[[listener]]\nurl = 'mqtt://127.0.0.1:0'");
            let wrong = Config::from_toml(&text, &folder.join("cork.toml").display().to_string()).unwrap();
            assert!(broker.reload(&wrong).is_err(), "{text}");
            assert_eq!(broker.config, before);
            assert_ne!(broker.patience, Duration::from_secs(1));
        }
        drop(broker);
        fs::remove_dir_all(&folder).unwrap();
    }
}
