//! Threads that check who comes in.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Instant,
};

use cork_access::{Authenticator, CredentialsBuf, Exchange, ExchangeStep, Verdict};
use cork_core::{AuthOutcome, ConnId};

use crate::mail::{Mail, Post};

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
    pub(crate) answer_to: Post,
    pub(crate) question: Question,
    /// From then on nobody waits for the answer: the connection is closed by its CONNECT timeout. Without this a
    /// thousand wrong passwords at once would keep the threads busy for long after their senders have gone.
    pub(crate) wanted_until: Option<Instant>,
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

    fn now(&self) -> Arc<dyn Authenticator> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The way to the access threads.
#[derive(Clone)]
pub(crate) struct AccessDesk {
    jobs: Sender<Job>,
}

impl AccessDesk {
    /// Starts `threads` threads; they end when the last desk is dropped.
    pub(crate) fn start(keeper: &Arc<Keeper>, threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..threads.max(1) {
            let (keeper, queue) = (Arc::clone(keeper), Arc::clone(&queue));
            thread::Builder::new().name(format!("access-{n}")).spawn(move || work(&keeper, &queue))?;
        }
        Ok(Self { jobs })
    }

    pub(crate) fn ask(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!(target: "access", "the access threads have ended");
        }
    }
}

fn work(keeper: &Keeper, queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { conn, answer_to, question, wanted_until }) = job else { return };
        if wanted_until.is_some_and(|until| Instant::now() >= until) {
            continue;
        }
        let authenticator = keeper.now();
        let (outcome, exchange) = match question {
            Question::Password { credentials } => {
                let outcome = match authenticator.authenticate(&credentials.as_credentials()) {
                    Verdict::Allow => AuthOutcome::Allowed { user: None, data: None },
                    Verdict::Deny(_) => AuthOutcome::Denied,
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
        ExchangeStep::Refuse => (AuthOutcome::Denied, None),
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
        let ask = |index, wanted_until| {
            let credentials = Box::new(CredentialsBuf {
                user_name: None,
                password: None,
                client_id: String::new(),
                peer: String::new(),
            });
            let conn = ConnId { index, generation: 1 };
            let question = Question::Password { credentials };
            desk.ask(Job { conn, answer_to: post.clone(), question, wanted_until });
        };
        for index in 0..1000 {
            ask(index, Some(now));
        }
        ask(1000, Some(now + Duration::from_secs(60)));
        ask(1001, None);
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
