//! One client of the crowd: what it is there for, and how it comes and goes.

use std::time::{Duration, Instant};

use cork_packet::{ProtocolVersion, QoS, ReasonCode};
use cork_storm::Rng;

use crate::{
    ledger::{Ledger, Wrong, payload},
    session::{Event, Hello, Outgoing, Session},
};

/// When it is connected.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    Online,
    /// Comes and goes.
    Comes,
    /// Is there at the beginning and at the end.
    Sleeps,
}

/// Whether the broker must have a Session for it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Absent,
    Present,
    Unknown,
}

/// A filter that a reader wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) filter: String,
    /// As the topics are in it, without the share.
    pub(crate) plain: String,
    pub(crate) qos: QoS,
    /// The subscription in the ledger.
    pub(crate) sub: Option<usize>,
    /// Whether this Session has had its SUBACK: a group's subscription is older than a member's.
    pub(crate) granted: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Role {
    Publisher {
        topics: Vec<usize>,
        window: usize,
        /// Microseconds between two messages.
        gap: u64,
        retained: bool,
    },
    Reader {
        reader: usize,
        wanted: Vec<Wanted>,
        /// Subscribes and unsubscribes on its way.
        changes: bool,
    },
    /// Sometimes has a Session that stays, sometimes not.
    Fickle,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) session: Session,
    pub(crate) role: Role,
    pub(crate) habit: Habit,
    pub(crate) persistent: bool,
    pub(crate) expect: Expect,
    /// What was expected when CONNECT was sent.
    judged: Expect,
    /// DISCONNECT is sent.
    leaving: bool,
    /// When it does something next: connect, leave.
    pub(crate) turn: Duration,
    /// When it publishes next.
    pub(crate) next: Duration,
}

/// What everybody may use.
pub(crate) struct Context<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) rng: &'a mut Rng,
    pub(crate) begun: Instant,
    /// Since then; each client's step has its own.
    pub(crate) now: Duration,
    pub(crate) port: u16,
    /// Nobody leaves, nobody publishes.
    pub(crate) calm: bool,
    /// The broker runs.
    pub(crate) up: bool,
    /// Whether PUBREC is the word of a broker that it answers for a message of a Session that ends with its
    /// connection; else PUBCOMP is.
    pub(crate) word_is_pubrec: bool,
}

impl Context<'_> {
    pub(crate) fn soon(&mut self, low: usize, high: usize) -> Duration {
        self.now + Duration::from_millis(self.rng.between(low, high) as u64)
    }
}

impl Member {
    pub(crate) fn new(
        id: String,
        version: ProtocolVersion,
        role: Role,
        habit: Habit,
        persistent: bool,
    ) -> Self {
        Self {
            session: Session::new(id, version),
            role,
            habit,
            persistent,
            expect: Expect::Absent,
            judged: Expect::Absent,
            leaving: false,
            turn: Duration::ZERO,
            next: Duration::ZERO,
        }
    }

    /// Takes what came, then does what is due.
    pub(crate) fn step(&mut self, cx: &mut Context<'_>) {
        for event in self.session.pump() {
            self.on_event(cx, event);
        }
        if !self.session.is_connected() {
            self.come(cx);
        } else if self.session.is_open() {
            self.act(cx);
        }
    }

    /// Whether it has everything it asked for.
    pub(crate) fn is_settled(&self) -> bool {
        let granted = match &self.role {
            Role::Reader { wanted, .. } => wanted.iter().all(|wanted| wanted.granted),
            Role::Publisher { .. } | Role::Fickle => true,
        };
        self.session.is_open() && granted && self.session.under_way() == 0
    }

    fn come(&mut self, cx: &mut Context<'_>) {
        if !cx.up
            || cx.now < self.turn
            || (self.habit == Habit::Sleeps && !cx.calm && self.turn > Duration::ZERO)
        {
            return;
        }
        if let Role::Fickle = self.role {
            self.persistent = cx.rng.chance(50);
        }
        let hello = Hello { persistent: self.persistent, keep_alive: 0, will: None };
        self.judged = self.expect;
        // Should this connection end before its answer comes, nobody knows what was done.
        if !self.persistent || self.expect != Expect::Present {
            self.expect = Expect::Unknown;
        }
        self.turn = cx.soon(20, 60);
        self.session.connect(cx.port, &hello);
    }

    fn on_event(&mut self, cx: &mut Context<'_>, event: Event) {
        match event {
            Event::Open { present } => self.on_open(cx, present),
            Event::Message { topic, payload, qos, .. } => {
                if let Role::Reader { reader, .. } = self.role {
                    cx.ledger.delivered(reader, &topic, &payload, qos);
                }
            }
            Event::Taken(number) if self.persistent || cx.word_is_pubrec => cx.ledger.taken(number, cx.now),
            Event::Done(number) => cx.ledger.taken(number, cx.now),
            Event::Refused(..) => cx.ledger.refused += 1,
            Event::Answered(number, codes) => self.on_answer(cx, number, &codes),
            Event::Closed => {
                self.turn = if self.leaving { cx.soon(10, 500) } else { cx.soon(0, 30) };
                self.leaving = false;
            }
            // A broker that cannot store a Session may say so: the client comes again.
            Event::Denied => {
                cx.ledger.refused += 1;
                self.session.cut();
                self.turn = cx.soon(50, 200);
            }
            Event::Broken(what) => {
                let what = format!("{}: {what}", self.session.id());
                cx.ledger.wrong(Wrong::Protocol, what);
                self.session.cut();
            }
            Event::Taken(_) | Event::Pong => {}
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_>, present: bool) {
        let id = self.session.id().to_owned();
        match (self.persistent, self.judged, present) {
            (true, Expect::Present, false) => {
                cx.ledger.wrong(Wrong::Session, format!("{id}: its Session is gone"));
            }
            (true, Expect::Absent, true) => {
                cx.ledger.wrong(Wrong::Session, format!("{id}: a Session that had ended is back"));
            }
            (false, _, true) => {
                cx.ledger.wrong(Wrong::Session, format!("{id}: Session present after a clean start"));
            }
            _ => {}
        }
        self.expect = if self.persistent { Expect::Present } else { Expect::Absent };
        self.turn = match self.habit {
            Habit::Online => Duration::MAX,
            Habit::Comes => cx.soon(50, 700),
            Habit::Sleeps => cx.soon(300, 300),
        };
        if let Role::Reader { reader, wanted, .. } = &mut self.role {
            if !present {
                begin_again(cx, reader, wanted, self.persistent);
            }
            for wanted in wanted.iter_mut() {
                ask(cx, &mut self.session, *reader, wanted);
            }
        }
    }

    fn on_answer(&mut self, cx: &mut Context<'_>, number: usize, codes: &[u8]) {
        let Role::Reader { wanted, .. } = &mut self.role else { return };
        let Some(wanted) = wanted.iter_mut().find(|wanted| wanted.sub == Some(number / 2)) else { return };
        let sub = &mut cx.ledger.subscriptions[number / 2];
        if number % 2 == 1 {
            sub.ended = Some(cx.now);
            wanted.sub = None;
            return;
        }
        wanted.granted = true;
        sub.granted.get_or_insert(cx.now);
        if codes != [wanted.qos.bits()] {
            let what = format!("{}: SUBACK for {} says {codes:?}", self.session.id(), wanted.filter);
            cx.ledger.wrong(Wrong::Subscription, what);
        }
    }

    fn act(&mut self, cx: &mut Context<'_>) {
        if cx.now >= self.turn && !cx.calm && self.may_leave() {
            return self.leave(cx);
        }
        match &self.role {
            Role::Publisher { .. } if !cx.calm => self.publish(cx),
            Role::Reader { changes: true, .. } if !cx.calm && cx.rng.rarely(4) => self.change(cx),
            _ => {}
        }
    }

    fn leave(&mut self, cx: &mut Context<'_>) {
        if cx.rng.chance(50) {
            self.session.disconnect(ReasonCode::NORMAL_DISCONNECTION);
            self.leaving = true;
        } else {
            self.session.cut();
            self.turn = cx.soon(10, 500);
        }
    }

    /// A sleeper stays until it has its subscriptions.
    fn may_leave(&self) -> bool {
        match &self.role {
            Role::Reader { wanted, .. } => wanted.iter().all(|wanted| wanted.granted),
            Role::Publisher { .. } | Role::Fickle => true,
        }
    }

    fn publish(&mut self, cx: &mut Context<'_>) {
        let Role::Publisher { topics, window, gap, retained } = &self.role else { return };
        if cx.now < self.next || self.session.under_way() >= *window {
            return;
        }
        let (topic, retain) = (cx.rng.pick(topics), *retained);
        self.next = cx.now + Duration::from_micros(*gap);
        send(cx, &mut self.session, topic, retain);
    }

    fn change(&mut self, cx: &mut Context<'_>) {
        let Role::Reader { reader, wanted, .. } = &mut self.role else { return };
        let which = cx.rng.below(wanted.len());
        let wanted = &mut wanted[which];
        match wanted.sub {
            None => {
                wanted.granted = false;
                ask(cx, &mut self.session, *reader, wanted);
            }
            Some(sub) if wanted.granted && cx.ledger.subscriptions[sub].given_up.is_none() => {
                cx.ledger.subscriptions[sub].given_up = Some(cx.now);
                self.session.unsubscribe(sub * 2 + 1, &wanted.filter);
            }
            Some(_) => {}
        }
    }

    /// Publishes one message on each of its topics.
    pub(crate) fn publish_each(&mut self, cx: &mut Context<'_>) {
        if let Role::Publisher { topics, retained: false, .. } = self.role.clone() {
            for topic in topics {
                send(cx, &mut self.session, topic, false);
            }
        }
    }
}

/// A reader without its Session: what it had subscribed is over, and it begins again.
fn begin_again(cx: &mut Context<'_>, reader: &mut usize, wanted: &mut [Wanted], persistent: bool) {
    let group = cx.ledger.readers[*reader].group;
    if !persistent {
        let name = cx.ledger.readers[*reader].name.clone();
        *reader = cx.ledger.reader(name, false, false);
    }
    for wanted in wanted {
        wanted.granted = false;
        if group {
            continue;
        }
        if let Some(sub) = wanted.sub.take() {
            cx.ledger.subscriptions[sub].given_up.get_or_insert(cx.now);
        }
    }
}

/// Asks, or asks again, for what is wanted and not answered.
fn ask(cx: &mut Context<'_>, session: &mut Session, reader: usize, wanted: &mut Wanted) {
    match wanted.sub {
        Some(sub) if cx.ledger.subscriptions[sub].given_up.is_some() => {
            session.unsubscribe(sub * 2 + 1, &wanted.filter);
        }
        Some(sub) if !wanted.granted => session.subscribe(sub * 2, &wanted.filter, wanted.qos),
        Some(_) => {}
        None => {
            let sub = cx.ledger.subscription(reader, &wanted.plain, wanted.qos);
            wanted.sub = Some(sub);
            session.subscribe(sub * 2, &wanted.filter, wanted.qos);
        }
    }
}

/// Publishes the next message of a topic; retained ones are sometimes deletions.
fn send(cx: &mut Context<'_>, session: &mut Session, topic: usize, retain: bool) {
    let name = cx.ledger.topics[topic].name.clone();
    let qos = match name.split('/').nth(2) {
        Some("0") => QoS::AtMostOnce,
        Some("1") => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let number = cx.ledger.publication(topic, qos, cx.now);
    let deletes = retain && cx.rng.chance(20);
    cx.ledger.publications[number].deletion = deletes;
    let length = if cx.rng.chance(3) { cx.rng.between(1000, 20_000) } else { cx.rng.between(10, 200) };
    let payload = if deletes { Vec::new() } else { payload(number, length) };
    session.publish(Outgoing { number, topic: name, payload, qos, retain });
}
