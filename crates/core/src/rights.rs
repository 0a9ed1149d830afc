//! What the rights refuse, and what a change of rights or users means for who is connected.

use std::{hash::BuildHasher, sync::Arc};

use cork_access::{Acl, Action, Subject};
use cork_store::{MayRead, Proof, Publisher};
use foldhash::fast::FixedState;

use crate::{
    board::Board,
    config::Users,
    conn::{Conn, SessionIx, Stage},
    event::{Ended, Event},
    hooks::Refusal,
    io::ConnId,
    shard::Shard,
};

/// Refusals that are reported of one connection until the rights change; further ones are only counted.
const DENIALS_REPORTED_MAX: usize = 32;

/// What is reported of a refusal.
#[derive(Copy, Clone)]
pub(crate) enum Denied<'a> {
    /// A publication to this topic.
    Publish(&'a str),
    /// A subscription, as the client wrote it; the rights were asked about `filter`.
    Subscribe { text: &'a str, filter: &'a str },
    /// A delivery from this topic.
    Delivery(&'a str),
}

/// Whether this is where a bridge of Mosquitto says that it is there, by a Will too: without it none could connect.
#[cold]
fn is_own_state(publisher: &Publisher, topic: &str) -> bool {
    let name = topic.strip_prefix("$SYS/broker/connection/").and_then(|rest| rest.strip_suffix("/state"));
    name.is_some_and(|name| *name == *publisher.client_id)
}

/// Whether this is where sinks put what their targets refuse. What stands there is taken for the broker's word about who
/// published what: it makes rows again.
#[inline]
fn is_a_dead_letter(topic: &str) -> bool {
    topic.strip_prefix("$dead").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn subject(publisher: &Publisher) -> Subject<'_> {
    let user = publisher.user_name.as_deref().filter(|_| publisher.proof != Proof::Nobody);
    Subject { user, client_id: &publisher.client_id }
}

impl Board {
    /// Whom the rights are asked about. No rule may fit because of a user name that nobody vouches for.
    #[inline]
    #[expect(clippy::unused_self, reason = "reads as a question to the board, like the others here")]
    pub(crate) fn subject<'a>(&self, publisher: &'a Publisher) -> Subject<'a> {
        subject(publisher)
    }

    /// Whether the rights let somebody publish to a topic now.
    #[inline]
    pub(crate) fn may_write(&self, publisher: &Publisher, topic: &str) -> bool {
        publisher.proof == Proof::Inside
            || (!is_a_dead_letter(topic) && self.rights.allows(self.subject(publisher), Action::Write, topic))
            || (self.rights.is_permissive() && is_own_state(publisher, topic))
    }

    /// Reports a refusal with the rule it comes from, the first time for a topic on a connection.
    pub(crate) fn report_denied(&mut self, index: u32, publisher: &Publisher, denied: Denied<'_>) {
        self.report(index, publisher, denied, None);
    }

    /// The same for a refusal by a hook.
    pub(crate) fn report_refused(
        &mut self,
        index: u32,
        publisher: &Publisher,
        denied: Denied<'_>,
        by: &Refusal,
    ) {
        self.report(index, publisher, denied, Some(by));
    }

    fn report(&mut self, index: u32, publisher: &Publisher, denied: Denied<'_>, by: Option<&Refusal>) {
        let seed = self.config.seed;
        let Some(conn) = self.conn_at(index) else { return };
        if conn.rare_mut().denials.get_or_insert_default().is_new(|| denied.hash(seed)) {
            self.event_denied(publisher, denied, by);
        }
    }

    pub(crate) fn event_denied(&mut self, publisher: &Publisher, denied: Denied<'_>, by: Option<&Refusal>) {
        let (client_id, user_name) = (publisher.client_id.clone(), publisher.user_name.clone());
        let rule = self.rule_of(publisher, denied, by);
        let event = match denied {
            Denied::Publish(topic) => {
                Event::PublishDenied { client_id, user_name, topic: topic.into(), rule }
            }
            Denied::Subscribe { text, .. } => {
                Event::SubscribeDenied { client_id, user_name, filter: text.into(), rule }
            }
            Denied::Delivery(topic) => {
                Event::DeliveryDenied { client_id, user_name, topic: topic.into(), rule }
            }
        };
        self.event(event);
    }

    /// What refused: `file:line`, or a hook; none: no rule fits.
    pub(crate) fn rule_of(
        &self,
        publisher: &Publisher,
        denied: Denied<'_>,
        by: Option<&Refusal>,
    ) -> Option<Box<str>> {
        if let Some(refusal) = by {
            return Some(format!("hook: {}", refusal.why()).into());
        }
        if let Denied::Publish(topic) = denied
            && is_a_dead_letter(topic)
        {
            return Some("only the broker writes below `$dead`".into());
        }
        let who = self.subject(publisher);
        let decision = match denied {
            Denied::Publish(topic) => self.rights.explain(who, Action::Write, topic),
            Denied::Subscribe { filter, .. } => self.rights.explain_filter(who, filter),
            Denied::Delivery(topic) => self.rights.explain(who, Action::Read, topic),
        };
        decision.source.map(Box::from)
    }

    /// Whether the rights let a Session read a topic now; asked at each delivery, so that a withdrawn right also
    /// holds for what was queued or retained before. A refusal is counted.
    #[inline]
    pub(crate) fn may_read(&mut self, session: SessionIx, topic: &str) -> bool {
        if self.rights.is_permissive() {
            return true;
        }
        let allowed = self.could_read(session, topic);
        if !allowed {
            self.stats.denied_delivery += 1;
            if let Some(session) = self.sessions.get(session as usize) {
                let (index, publisher) = (session.conn, Arc::clone(&session.publisher));
                self.report_denied(index, &publisher, Denied::Delivery(topic));
            }
        }
        allowed
    }

    /// The same question for somebody else to ask, with the rights as they are now.
    pub(crate) fn reading(&self, session: SessionIx) -> MayRead {
        let Some(session) = self.sessions.get(session as usize) else { return MayRead::new(|_| false) };
        if self.rights.is_permissive() || session.publisher.proof == Proof::Inside {
            return MayRead::default();
        }
        let (rights, publisher) = (Arc::clone(&self.rights), Arc::clone(&session.publisher));
        MayRead::new(move |topic| rights.allows(subject(&publisher), Action::Read, topic))
    }

    /// The same question, for choosing among several: nothing is counted.
    pub(crate) fn could_read(&self, session: SessionIx, topic: &str) -> bool {
        let Some(session) = self.sessions.get(session as usize) else { return false };
        self.rights.is_permissive()
            || session.publisher.proof == Proof::Inside
            || self.rights.allows(self.subject(&session.publisher), Action::Read, topic)
    }
}

impl Denied<'_> {
    /// Stands for the refusal in [`Denials`]. The seed is secret, so that nobody makes one refusal hide another.
    fn hash(self, seed: u64) -> u64 {
        FixedState::with_seed(seed).hash_one(match self {
            Self::Publish(topic) => (0_u8, topic),
            Self::Subscribe { text, .. } => (1, text),
            Self::Delivery(topic) => (2, topic),
        })
    }
}

/// Refusals reported of one connection.
#[derive(Debug, Default)]
pub(crate) struct Denials(Vec<u64>);

impl Denials {
    /// Whether this one is to be reported: it is another one, and there is room.
    fn is_new(&mut self, hash: impl FnOnce() -> u64) -> bool {
        if self.0.len() >= DENIALS_REPORTED_MAX {
            return false;
        }
        let hash = hash();
        let new = !self.0.contains(&hash);
        if new {
            self.0.push(hash);
        }
        new
    }
}

impl Shard {
    /// New rights hold at once: they are asked anew for everything that is published or sent from now on.
    pub(crate) fn on_rights(&mut self, rights: Arc<Acl>) {
        if let Some(watchers) = &mut self.watchers {
            watchers.follow_rights(&self.board.rights);
        }
        self.board.rights = rights;
        // What the new rights refuse is worth a line even from a client of which the old ones had one.
        for conn in self.board.conns.iter_mut().flatten() {
            conn.forget_denials();
        }
    }

    /// The user database changed. Who may not be in any more is told and disconnected; its Will is not sent, as its
    /// owner might not send it any more either.
    pub(crate) fn on_users(&mut self, users: Users) {
        self.board.users = users;
        let now = self.board.wall();
        let gone = |conn: &Conn| {
            let session = self.board.sessions.get(conn.session as usize)?;
            let cause = if !self.board.users.may_stay(&session.publisher) {
                Ended::UserRemoved
            } else if self.board.users.bans.hold_for(&session.publisher, now) {
                Ended::Kicked("banned".into())
            } else {
                return None;
            };
            matches!(conn.stage, Stage::Connected { .. }).then_some((conn.id, cause))
        };
        let gone: Vec<(ConnId, Ended)> =
            self.board.conns.iter().flatten().filter_map(|conn| gone(conn)).collect();
        for (id, cause) in gone {
            match cause {
                Ended::Kicked(why) => self.on_expel(id, Ended::Kicked(why)),
                cause => self.end(id, cause),
            }
        }
    }
}
