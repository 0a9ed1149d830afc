//! How threads hand things to a worker.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc::{Receiver, Sender, channel},
};

use cork_access::{Acl, Exchange};
use cork_core::{
    Answer, AuthOutcome, Batch, ConnId, Health, Query, Sample, Settings, TurnedAway, Users, Watch,
};
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
    /// Somebody was not let in elsewhere.
    TurnedAway(TurnedAway),
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
    door: Arc<Door>,
}

/// A worker's mailbox.
pub(crate) struct Mailbox {
    receiver: Receiver<Mail>,
    door: Arc<Door>,
}

/// What both sides know.
#[derive(Default)]
struct Door {
    /// Something came, and was not looked at.
    knocked: AtomicBool,
    /// The worker waits, or is about to: it has to be woken. While it works it looks by itself in every turn, and the
    /// system call is saved.
    asleep: AtomicBool,
}

pub(crate) fn mailbox(waker: Arc<Waker>) -> (Post, Mailbox) {
    let (sender, receiver) = channel();
    let door = Arc::new(Door::default());
    (Post { sender, waker, door: Arc::clone(&door) }, Mailbox { receiver, door })
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

    /// Wakes the worker if it waits, unless it has been woken and did not look yet.
    pub(crate) fn wake(&self) {
        // Whoever knocks first looks whether the worker sleeps, after that; the worker looks whether somebody knocked,
        // after it lay down. In one order for all threads, one of them sees the other.
        if !self.door.knocked.swap(true, Ordering::SeqCst)
            && self.door.asleep.load(Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(target: "broker", %error, "a worker could not be woken");
        }
    }
}

impl Mailbox {
    /// Everything that came. Called before the mailbox is looked at, so that what comes later knocks again.
    pub(crate) fn open(&self) -> impl Iterator<Item = Mail> + '_ {
        self.door.knocked.swap(false, Ordering::SeqCst);
        self.receiver.try_iter()
    }

    /// From now on the worker is woken when something comes. False if something is there already: do not wait then.
    pub(crate) fn lie_down(&self) -> bool {
        self.door.asleep.store(true, Ordering::SeqCst);
        !self.door.knocked.load(Ordering::SeqCst)
    }

    /// The worker looks by itself again.
    pub(crate) fn get_up(&self) {
        self.door.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use mio::{Events, Poll};

    use super::*;
    use crate::worker::WAKE;

    #[test]
    fn nobody_sleeps_over_mail() {
        let mut poll = Poll::new().unwrap();
        let (post, mailbox) = mailbox(Arc::new(Waker::new(poll.registry(), WAKE).unwrap()));
        let count = 20_000;
        let sender = thread::spawn(move || {
            for n in 0..count {
                post.send(Mail::CheckAddresses);
                if n % 7 == 0 {
                    thread::yield_now();
                }
            }
            post // its end must not wake anybody
        });
        let (mut events, mut came) = (Events::with_capacity(8), 0);
        while came < count {
            if mailbox.lie_down() {
                poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
                assert!(!events.is_empty(), "slept over mail after {came}");
            }
            mailbox.get_up();
            came += mailbox.open().count();
        }
        drop(sender.join().unwrap());
    }

    #[test]
    fn who_works_is_not_woken() {
        let mut poll = Poll::new().unwrap();
        let (post, mailbox) = mailbox(Arc::new(Waker::new(poll.registry(), WAKE).unwrap()));
        let mut events = Events::with_capacity(8);
        post.send(Mail::CheckAddresses);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        assert!(!mailbox.lie_down(), "there is mail");
        mailbox.get_up();
        assert_eq!(mailbox.open().count(), 1);
        assert!(mailbox.lie_down());
        post.send(Mail::CheckAddresses);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(!events.is_empty(), "it was about to sleep");
    }
}
