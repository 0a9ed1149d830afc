//! Threads that check who comes in.

mod queue;

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    thread,
    time::Instant,
};

use cork_access::{Authenticator, CredentialsBuf, Exchange, ExchangeStep, Verdict};
use cork_core::{AuthOutcome, ConnId};

use crate::{
    gate::Site,
    mail::{Mail, Post},
};
use queue::Queue;

/// Something to check.
pub(crate) enum Question {
    Password {
        credentials: Box<CredentialsBuf>,
    },
    Exchange {
        begin: Option<(Box<str>, Box<str>)>,
        exchange: Option<Box<dyn Exchange>>,
        data: Option<Vec<u8>>,
    },
}

/// Who asks, and where the answer goes.
pub(crate) struct Job {
    pub(crate) conn: ConnId,
    /// Who waits for the answer; nobody any more when this is gone.
    pub(crate) asker: Weak<()>,
    /// Its address.
    pub(crate) site: Option<Site>,
    /// Whether limits hold for that address.
    pub(crate) limited: bool,
    pub(crate) answer_to: Post,
    pub(crate) question: Question,
    /// From then on nobody waits for the answer: the connection is closed by its CONNECT timeout. Without this a
    /// thousand wrong passwords at once would keep the threads busy for long after their senders have gone.
    pub(crate) wanted_until: Option<Instant>,
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.asker.strong_count() > 0 && self.wanted_until.is_none_or(|until| Instant::now() < until)
    }

    /// Whether somebody begins to log in; an exchange that has begun goes on.
    fn is_beginning(&self) -> bool {
        match &self.question {
            Question::Password { .. } => true,
            Question::Exchange { begin, .. } => begin.is_some(),
        }
    }
}

/// Who answers now; a reload puts somebody else there.
pub(crate) struct Keeper(RwLock<Arc<dyn Authenticator>>);

impl Keeper {
    pub(crate) fn new(authenticator: Arc<dyn Authenticator>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(authenticator)))
    }

    /// From now on new questions are answered by another one. Those under way are answered by the old one.
    pub(crate) fn replace(&self, authenticator: Arc<dyn Authenticator>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = authenticator;
    }

    pub(crate) fn now(&self) -> Arc<dyn Authenticator> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The way to the access threads.
#[derive(Clone)]
pub(crate) struct AccessDesk {
    desk: Arc<Desk>,
    _open: Arc<Opening>,
}

/// Where the jobs wait.
#[derive(Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Default)]
struct Waiting {
    queue: Queue<Job>,
    closed: bool,
}

/// Held by everybody who may ask: the threads end when it is dropped.
struct Opening(Arc<Desk>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.waiting().closed = true;
        self.0.bell.notify_all();
    }
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; `None` when nobody will ask any more.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(job) = waiting.queue.pop() {
                return Some(job);
            }
            waiting = self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl AccessDesk {
    /// Starts `threads` threads; they end when the last desk is dropped.
    pub(crate) fn start(keeper: &Arc<Keeper>, threads: usize) -> std::io::Result<Self> {
        let desk = Arc::<Desk>::default();
        let opening = Arc::new(Opening(Arc::clone(&desk)));
        for n in 0..threads.max(1) {
            let (keeper, desk) = (Arc::clone(keeper), Arc::clone(&desk));
            thread::Builder::new().name(format!("access-{n}")).spawn(move || work(&keeper, &desk))?;
        }
        Ok(Self { desk, _open: opening })
    }

    /// Lets a job wait for its turn. When too many do, somebody is told to come back later.
    pub(crate) fn ask(&self, job: Job) {
        let (site, limited, beginning) = (job.site, job.limited, job.is_beginning());
        let refused = {
            let queue = &mut self.desk.waiting().queue;
            if beginning {
                queue.push(site, job, limited)
            } else {
                queue.push_always(site, job);
                None
            }
        };
        self.desk.bell.notify_one();
        if let Some(Job { conn, answer_to, .. }) = refused {
            answer_to.send(Mail::Access { conn, outcome: AuthOutcome::Busy, exchange: None });
        }
    }
}

fn work(keeper: &Keeper, desk: &Desk) {
    while let Some(job) = desk.next() {
        if !job.is_wanted() {
            continue;
        }
        let Job { conn, answer_to, question, .. } = job;
        let authenticator = keeper.now();
        let (outcome, exchange) = match question {
            Question::Password { credentials } => {
                let outcome = match authenticator.authenticate(&credentials.as_credentials()) {
                    Verdict::Allow => AuthOutcome::Allowed { user: None, data: None },
                    Verdict::Deny(_) => AuthOutcome::Denied { user: None },
                };
                (outcome, None)
            }
            Question::Exchange { begin, exchange, data } => {
                let exchange = match begin {
                    Some((method, client_id)) => authenticator.begin_exchange(&method, &client_id),
                    None => exchange,
                };
                step(exchange, data.as_deref())
            }
        };
        answer_to.send(Mail::Access { conn, outcome, exchange });
    }
}

fn step(
    exchange: Option<Box<dyn Exchange>>,
    data: Option<&[u8]>,
) -> (AuthOutcome, Option<Box<dyn Exchange>>) {
    let Some(mut exchange) = exchange else { return (AuthOutcome::UnknownMethod, None) };
    match exchange.step(data) {
        ExchangeStep::Continue(data) => (AuthOutcome::Continue { data }, Some(exchange)),
        ExchangeStep::Done { data, user } => {
            (AuthOutcome::Allowed { user: Some(user.into()), data: Some(data) }, None)
        }
        ExchangeStep::Refuse => (AuthOutcome::Denied { user: exchange.user_name().map(Box::from) }, None),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cork_access::Credentials;
    use mio::{Poll, Waker};

    use super::*;
    use crate::mail::mailbox;

    /// Lets everybody in, and takes its time.
    struct Slow;

    impl Authenticator for Slow {
        fn authenticate(&self, _: &Credentials<'_>) -> Verdict {
            thread::sleep(Duration::from_millis(5));
            Verdict::Allow
        }
    }

    #[test]
    fn a_question_nobody_waits_for_any_more_is_not_worked_on() {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (post, mailbox) = mailbox(Arc::new(waker));
        let desk = AccessDesk::start(&Keeper::new(Arc::new(Slow)), 1).unwrap();
        let now = Instant::now();
        let (here, gone) = (Arc::new(()), Weak::new());
        let ask = |index, asker: &Weak<()>, wanted_until| {
            let credentials = Box::new(CredentialsBuf {
                user_name: None,
                password: None,
                client_id: String::new(),
                peer: String::new(),
            });
            let conn = ConnId { index, generation: 1 };
            let question = Question::Password { credentials };
            let (asker, answer_to) = (asker.clone(), post.clone());
            desk.ask(Job { conn, asker, site: None, limited: false, answer_to, question, wanted_until });
        };
        for index in 0..1000 {
            ask(index, &Arc::downgrade(&here), Some(now));
            ask(index, &gone, None);
        }
        ask(1000, &Arc::downgrade(&here), Some(now + Duration::from_secs(60)));
        ask(1001, &Arc::downgrade(&here), None);
        let mut answered = Vec::new();
        while answered.len() < 2 {
            assert!(now.elapsed() < Duration::from_secs(4), "only {answered:?}");
            answered.extend(mailbox.open().map(|mail| match mail {
                Mail::Access { conn, .. } => conn.index,
                _ => unreachable!("only answers come"),
            }));
        }
        assert_eq!(answered, [1000, 1001]);
    }
}
