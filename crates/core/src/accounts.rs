//! What waits for all Sessions of one user together, while that has a limit.
//!
//! Kept only while the limit is set: without it no queue pays more than a look at a flag. A Session belongs to the User
//! Name of its last client; one without belongs to nobody, and so do the broker's own parts.
//!
//! With several shards each knows its own Sessions' bytes exactly and the others' as they were told last: a shard speaks
//! up whenever its part has moved by a step since, and when it is empty. All steps together are a sixteenth of the limit.

use std::collections::BTreeMap;

use crate::{board::Board, conn::SessionIx, event::Event, io::Item, session::Session, shard::Shard};

/// What others have not been told yet is, of all shards together, at most the limit divided by this.
const UNTOLD_PART: u64 = 16;

/// What waits for one user.
#[derive(Debug, Default)]
struct Account {
    /// Bytes in this shard's Sessions.
    here: u64,
    /// Of them, what the others were told.
    told: u64,
    /// Bytes in theirs, as they told.
    there: u64,
    /// Its name is among those to be told.
    listed: bool,
    /// That it is full was reported.
    full_reported: bool,
}

impl Account {
    fn is_unused(&self) -> bool {
        self.here | self.told | self.there == 0
    }
}

/// Users for whose Sessions something waits.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// Bytes one user's Sessions may queue together; 0: nothing is counted here.
    limit: u64,
    users: BTreeMap<Box<str>, Account>,
    /// Whose bytes the others are to be told.
    changed: Vec<Box<str>>,
}

impl Accounts {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, ..Self::default() }
    }

    /// How many users there are for whom something waits.
    pub(crate) fn users(&self) -> u64 {
        self.users.len() as u64
    }

    fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// How far a shard's part may move before the others hear of it.
    fn step(&self, shards: u16) -> u64 {
        (self.limit / UNTOLD_PART / u64::from(shards)).max(1)
    }
}

impl Board {
    /// The User Name that a Session counts for.
    fn payer(session: &Session) -> Option<&str> {
        session.publisher.user_name.as_deref()
    }

    /// A Session's queue has become longer, by bytes.
    #[inline]
    pub(crate) fn queue_grew(&mut self, six: SessionIx, bytes: u64) {
        self.queue_bytes += bytes;
        if self.accounts.is_on() {
            self.charge(six, bytes);
        }
    }

    /// A Session's queue has become shorter, by bytes.
    #[inline]
    pub(crate) fn queue_shrank(&mut self, six: SessionIx, bytes: u64) {
        self.queue_bytes -= bytes;
        if self.accounts.is_on() {
            let Some(user) = self.sessions.get(six as usize).and_then(|session| Self::payer(session)) else {
                return;
            };
            discharge(&mut self.accounts, self.config.shards, user, bytes);
        }
    }

    /// The queue of a Session that is not among the others any more has gone.
    pub(crate) fn queue_went(&mut self, session: &Session, bytes: u64) {
        self.queue_bytes -= bytes;
        if self.accounts.is_on()
            && let Some(user) = Self::payer(session)
        {
            discharge(&mut self.accounts, self.config.shards, user, bytes);
        }
    }

    fn charge(&mut self, six: SessionIx, bytes: u64) {
        let Some(user) = self.sessions.get(six as usize).and_then(|session| Self::payer(session)) else {
            return;
        };
        let (accounts, shards) = (&mut self.accounts, self.config.shards);
        let step = accounts.step(shards);
        if let Some(account) = accounts.users.get_mut(user) {
            account.here += bytes;
            note(account, step, shards, user, &mut accounts.changed);
        } else if bytes > 0 {
            let mut account = Account { here: bytes, ..Account::default() };
            note(&mut account, step, shards, user, &mut accounts.changed);
            accounts.users.insert(user.into(), account);
        }
    }

    /// Whether a Session's user has no room for so many bytes more.
    pub(crate) fn user_is_full(&mut self, six: SessionIx, cost: u64) -> bool {
        if !self.accounts.is_on() {
            return false;
        }
        let limit = self.accounts.limit;
        let Some(user) = self.sessions.get(six as usize).and_then(|session| Self::payer(session)) else {
            return false;
        };
        let account = self.accounts.users.get_mut(user);
        let bytes = account.as_ref().map_or(0, |account| account.here + account.there);
        let full = bytes + cost > limit;
        // One that is too large for an empty account is always said: nothing else tells where it went.
        if full && account.is_none_or(|account| !std::mem::replace(&mut account.full_reported, true)) {
            let user = user.into();
            self.event(Event::UserQueueFull { user, bytes });
        }
        full
    }

    /// A Session is another user's from now on: `before` is who it was.
    pub(crate) fn queue_changes_hands(&mut self, six: SessionIx, before: Option<&str>) {
        if !self.accounts.is_on() {
            return;
        }
        let bytes = self.bytes_of(six);
        if let Some(before) = before {
            discharge(&mut self.accounts, self.config.shards, before, bytes);
        }
        self.charge(six, bytes);
    }

    fn bytes_of(&self, six: SessionIx) -> u64 {
        let session = self.sessions.get(six as usize);
        session.and_then(|session| session.outgoing.as_ref()).map_or(0, |outgoing| outgoing.queue.bytes)
    }
}

impl Shard {
    /// The limit changed. Where there was none, what waits now is counted first.
    pub(crate) fn limit_users(&mut self, limit: u64) {
        let board = &mut self.board;
        let was_on = board.accounts.is_on();
        board.accounts.limit = limit;
        if was_on == (limit > 0) {
            return;
        }
        if was_on {
            // The others forget what they were told; what they told is kept: they do not say it again.
            for (user, account) in &mut board.accounts.users {
                account.here = 0;
                account.full_reported = false;
                if account.told > 0 && !std::mem::replace(&mut account.listed, true) {
                    board.accounts.changed.push(user.clone());
                }
            }
            board.accounts.users.retain(|_, account| account.listed || !account.is_unused());
            return;
        }
        let sessions: Vec<usize> = board.sessions.iter().map(|(key, _)| key).collect();
        for key in sessions {
            let Ok(six) = SessionIx::try_from(key) else { continue };
            let bytes = board.bytes_of(six);
            board.charge(six, bytes);
        }
    }

    /// Tells the others what has changed for users.
    pub(crate) fn tell_accounts(&mut self) {
        let accounts = &mut self.board.accounts;
        if accounts.changed.is_empty() {
            return;
        }
        for user in std::mem::take(&mut accounts.changed) {
            let Some(account) = accounts.users.get_mut(&user) else { continue };
            account.listed = false;
            let (here, told) = (account.here, std::mem::replace(&mut account.told, account.here));
            if account.is_unused() {
                accounts.users.remove(&user);
            }
            if here != told {
                for shard in (0..self.board.config.shards).filter(|it| *it != self.board.config.shard) {
                    self.peers.tell(shard, Item::Account { user: user.clone(), before: told, now: here });
                }
            }
        }
    }

    /// Another shard told what waits there for a user.
    pub(crate) fn on_account(&mut self, user: &str, before: u64, now: u64) {
        let users = &mut self.board.accounts.users;
        let account = match users.get_mut(user) {
            Some(account) => account,
            None => users.entry(user.into()).or_default(),
        };
        account.there = (account.there + now).saturating_sub(before);
        if account.here + account.there <= self.board.accounts.limit / 2 {
            account.full_reported = false;
        }
        if account.is_unused() && !account.listed {
            users.remove(user);
        }
    }
}

/// Takes bytes off a user's account.
fn discharge(accounts: &mut Accounts, shards: u16, user: &str, bytes: u64) {
    let (step, limit) = (accounts.step(shards), accounts.limit);
    let Some(account) = accounts.users.get_mut(user) else { return };
    account.here = account.here.saturating_sub(bytes);
    if account.here + account.there <= limit / 2 {
        account.full_reported = false;
    }
    note(account, step, shards, user, &mut accounts.changed);
    if account.is_unused() && !account.listed {
        accounts.users.remove(user);
    }
}

/// Notes that the others are to be told, if it has moved far enough.
fn note(account: &mut Account, step: u64, shards: u16, user: &str, changed: &mut Vec<Box<str>>) {
    let moved = account.here.abs_diff(account.told);
    if shards > 1 && !account.listed && moved > 0 && (moved >= step || account.here == 0) {
        account.listed = true;
        changed.push(user.into());
    }
}
