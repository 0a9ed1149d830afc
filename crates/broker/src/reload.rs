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
            (false, _) => Door::Open,
            (true, true) => Door::Anonymous,
            (true, false) => Door::Checked,
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
