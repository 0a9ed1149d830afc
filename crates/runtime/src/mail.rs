//! How threads hand things to a worker.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc::{Receiver, Sender, channel},
};

use cork_access::{Acl, Exchange};
use cork_core::{Answer, AuthOutcome, Batch, ConnId, Health, Query, Sample, Settings, Users, Watch};
use cork_net::Stream;
use mio::Waker;

use crate::{listeners::ListenerChanges, probe::Times, tap::Tap};

/// Takes an answer, on the worker's thread.
pub(crate) type Reply = Box<dyn FnOnce(Answer) + Send>;

/// What a worker is told.
pub(crate) enum Mail {
    /// A connection whose Session lives there, with what was read from it.
    Adopt { stream: Box<Stream>, bytes: Vec<u8> },
    /// What another shard has for it.
    Batch(Batch),
    /// The access threads' answer.
    Access { conn: ConnId, outcome: AuthOutcome, exchange: Option<Box<dyn Exchange>> },
    /// New rights.
    Rights(Arc<Acl>),
    /// The user database changed.
    Users(Users),
    /// Other listeners, or other ways to listen; an answer says that it is done.
    Listeners(Box<ListenerChanges>, Sender<()>),
    /// Other limits, among them the connections this shard may have.
    Settings(Box<Settings>, usize),
    /// What was measured.
    Health(Health),
    /// What certificates must be changed: look at all connections.
    CheckCertificates,
    /// Addresses were banned: look at all connections.
    CheckAddresses,
    /// A question of the operator's.
    Query(Box<Query>, Reply),
    /// A page wants to watch; the answer says whether it may.
    Watch(Box<Watch>, Box<dyn FnOnce(bool) + Send>),
    /// What a page that watches gets: so many topics at most.
    Sample(u64, usize, Box<dyn FnOnce(Sample) + Send>),
    /// A page watches no more.
    Unwatch(u64),
    /// How long things took.
    Times(Box<dyn FnOnce(Times) + Send>),
    /// A client is to go, for this reason; `session`: with all that is kept for it.
    Expel { client_id: Box<str>, why: Box<str>, session: bool },
    /// Listen in on a client, or on all.
    Tap { client_id: Option<Box<str>>, tap: Tap },
    /// Tell everybody and disconnect them.
    Drain,
    /// End the thread.
    Stop,
}

/// The way into a worker's mailbox.
#[derive(Clone)]
pub(crate) struct Post {
    sender: Sender<Mail>,
    waker: Arc<Waker>,
    woken: Arc<AtomicBool>,
}

/// A worker's mailbox.
pub(crate) struct Mailbox {
    receiver: Receiver<Mail>,
    woken: Arc<AtomicBool>,
}

pub(crate) fn mailbox(waker: Arc<Waker>) -> (Post, Mailbox) {
    let (sender, receiver) = channel();
    let woken = Arc::new(AtomicBool::new(false));
    (Post { sender, waker, woken: Arc::clone(&woken) }, Mailbox { receiver, woken })
}

impl Post {
    /// Puts something into the mailbox and wakes the worker. If that has ended, so has everything it served.
    pub(crate) fn send(&self, mail: Mail) {
        self.try_send(mail);
    }

    /// The same, for who wants to know: false if the worker has ended.
    pub(crate) fn try_send(&self, mail: Mail) -> bool {
        let sent = self.sender.send(mail).is_ok();
        if sent {
            self.wake();
        }
        sent
    }

    /// Wakes the worker, unless it has been woken and did not look yet.
    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(target: "broker", %error, "a worker could not be woken");
        }
    }
}

impl Mailbox {
    /// Everything that came. Called before the mailbox is looked at, so that what comes later wakes again.
    pub(crate) fn open(&self) -> impl Iterator<Item = Mail> + '_ {
        self.woken.store(false, Ordering::Release);
        self.receiver.try_iter()
    }
}
