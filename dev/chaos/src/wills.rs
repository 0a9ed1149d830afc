//! Clients that are there for their Wills: each connects once, and goes with or without a word.

use std::time::Duration;

use cork_packet::{ProtocolVersion, QoS, ReasonCode};

use crate::{
    ledger::payload,
    member::Context,
    session::{Event, Hello, Session},
};

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    /// CONNECT is sent.
    Asked,
    Armed,
    /// DISCONNECT is sent.
    Leaving,
    Gone,
}

/// A place where one such client after another lives.
#[derive(Debug)]
pub(crate) struct WillSlot {
    topic: usize,
    lives: usize,
    session: Session,
    state: State,
    publication: usize,
    turn: Duration,
    next_ping: Duration,
    /// Wills that were taken back, with the time.
    taken_back: Vec<(usize, Duration)>,
}

/// Seconds; 1.5 times as long a Will may wait after a crash.
pub(crate) const KEEP_ALIVE: u16 = 4;
/// The broker need not remember a DISCONNECT at once: nothing acknowledges it.
const DISCONNECT_SETTLES: Duration = Duration::from_secs(2);

impl WillSlot {
    pub(crate) fn new(topic: usize) -> Self {
        Self {
            topic,
            lives: 0,
            session: Session::new(String::new(), ProtocolVersion::V5),
            state: State::Gone,
            publication: 0,
            turn: Duration::ZERO,
            next_ping: Duration::ZERO,
            taken_back: Vec::new(),
        }
    }

    pub(crate) fn step(&mut self, cx: &mut Context<'_>) {
        for event in self.session.pump() {
            match event {
                Event::Open { .. } if self.state == State::Asked => {
                    self.state = State::Armed;
                    self.turn = cx.soon(50, 1500);
                }
                Event::Closed => self.on_closed(cx),
                _ => {}
            }
        }
        match self.state {
            State::Gone if cx.up && !cx.calm && cx.now >= self.turn => self.connect(cx),
            State::Armed if cx.now >= self.turn || cx.calm => self.leave(cx),
            State::Armed if cx.now >= self.next_ping => {
                self.session.ping();
                self.next_ping = cx.now + Duration::from_secs(1);
            }
            _ => {}
        }
    }

    fn connect(&mut self, cx: &mut Context<'_>) {
        self.lives += 1;
        let version = cx.rng.pick(&[ProtocolVersion::V311, ProtocolVersion::V5]);
        self.session = Session::new(format!("will-{}-{}", self.topic, self.lives), version);
        let qos = cx.rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
        self.publication = cx.ledger.publication(self.topic, qos, cx.now);
        let name = cx.ledger.topics[self.topic].name.clone();
        let will = Some((name, payload(self.publication, 40), qos));
        self.next_ping = cx.now + Duration::from_secs(1);
        let hello = Hello { persistent: false, keep_alive: KEEP_ALIVE, will };
        self.state = if self.session.connect(cx.port, &hello) { State::Asked } else { State::Gone };
        self.turn = cx.soon(20, 100);
    }

    fn leave(&mut self, cx: &mut Context<'_>) {
        if cx.rng.chance(30) {
            self.session.disconnect(ReasonCode::NORMAL_DISCONNECTION);
            self.state = State::Leaving;
        } else {
            self.session.cut();
            self.due(cx);
        }
    }

    fn on_closed(&mut self, cx: &mut Context<'_>) {
        match self.state {
            State::Armed => return self.due(cx),
            State::Leaving if cx.up => {
                cx.ledger.publications[self.publication].void = true;
                self.taken_back.push((self.publication, cx.now));
            }
            State::Leaving | State::Asked | State::Gone => {}
        }
        self.state = State::Gone;
        self.turn = cx.soon(20, 400);
    }

    fn due(&mut self, cx: &mut Context<'_>) {
        cx.ledger.taken(self.publication, cx.now);
        self.state = State::Gone;
        self.turn = cx.soon(20, 400);
    }

    /// The broker is killed: Wills taken back just now may come all the same.
    pub(crate) fn broker_killed(&mut self, cx: &mut Context<'_>) {
        for (publication, at) in self.taken_back.drain(..) {
            if cx.now < at + DISCONNECT_SETTLES {
                cx.ledger.publications[publication].void = false;
            }
        }
    }
}
