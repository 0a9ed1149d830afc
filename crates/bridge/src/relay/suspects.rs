//! Messages at which the other broker ends the connection instead of answering them, which would block a link for ever.
//!
//! Nothing says which message it was, so it is found out, and none is dropped on a guess:
//!
//! ```text
//! the same message is the first unanswered one at two ends in a row
//!   -> one by one: each message is sent when the one before it is answered
//! the same message was under way alone at two ends in a row
//!   -> a suspect: set aside, unanswered in its session in this broker; the rest goes on
//! another message was taken on this connection, and PINGREQ answered behind it
//!   -> the trial: the suspect alone. Taken: all suspects go free. The end, three times: it is dropped
//! ```
//!
//! Connections that end for other reasons, at messages that are taken later or at none, make more trials necessary.
//!
//! So a broker that closes at every message is never a reason to drop one: none is taken there. What is known is kept in
//! memory only. After a restart all begins anew, with every message where it was.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use cork_packet::{PacketId, Publish};
use cork_proto::Time;

/// So many ends in a row tell something.
const ENDS: u32 = 2;

/// A suspect that fails so many trials is dropped.
const TRIALS: u32 = 3;

/// So many more for each end that had another reason, up to a number of ends.
const TRIALS_MORE: u32 = 3;
const STRAYS_MAX: u32 = 5;

/// After so many messages one by one there is no reason for it any more.
const ONE_BY_ONE: u32 = 100;

/// Messages set aside at once. If there are more, and none was taken since the first, it is not the messages: all go free.
const SUSPECTS_MAX: usize = 32;

/// Topics whose messages were dropped lately: there one end and one trial less are enough.
const TOPICS_MAX: usize = 64;

/// An end that comes later after the suspect than this was not its doing.
const PROMPT: Duration = Duration::from_secs(10);

/// Where nothing else is there to send, a suspect is tried again after so long online: twice as long each time. Nothing
/// follows if it fails.
const IDLE: Duration = Duration::from_secs(5);
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What is looked at of a payload to tell one message from another.
const HASHED_BYTES_MAX: usize = 1024;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    id: PacketId,
    digest: u64,
    pub(crate) topic: String,
    /// Of its payload.
    pub(crate) bytes: usize,
}

impl Case {
    fn of(publish: &Publish<'_>) -> Option<Self> {
        let (id, digest) = (publish.packet_id?, digest(publish));
        Some(Self { id, digest, topic: publish.topic.to_owned(), bytes: publish.payload.len() })
    }

    fn is(&self, id: PacketId, digest: u64) -> bool {
        (self.id, self.digest) == (id, digest)
    }
}

/// An identifier may belong to another message by now.
fn digest(publish: &Publish<'_>) -> u64 {
    let head = &publish.payload[..publish.payload.len().min(HASHED_BYTES_MAX)];
    let mut hasher = DefaultHasher::new();
    (publish.topic, publish.payload.len(), head).hash(&mut hasher);
    hasher.finish()
}

#[derive(Clone, Debug)]
struct Suspect {
    case: Case,
    /// How often it failed.
    trials: u32,
    /// It was there on this connection.
    seen: bool,
}

/// What the end of a connection showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// A message is set aside; whether that is news for the log.
    Aside(Case, bool),
    /// The other broker ends the connection at every message.
    All,
    /// The end is that of a trial.
    Trial,
    /// This one was taken at its trial.
    Taken(Case),
}

/// What becomes of a message before it is sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Sent,
    Aside,
    /// It is dropped; whether that is news for the log.
    Dropped(bool),
}

/// How far a trial is.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Trial {
    #[default]
    None,
    /// Nothing more is sent until all is answered.
    Waiting,
    /// PINGREQ was sent: its answer is behind those to all that was sent before.
    Asked,
    Sent(Time),
    /// The suspect was taken. Everything else begins anew with another connection.
    Over(Time),
}

/// What a connection has seen.
#[derive(Clone, Debug, Default)]
struct Here {
    /// When it began.
    since: Time,
    /// Something was sent.
    began: bool,
    /// One by one: the message that was sent and not answered. Else that is the connection's first one.
    under_way: Option<Case>,
    /// Something that is never answered was sent since the last answer.
    muddied: bool,
    /// Another message was taken.
    witness: bool,
    answered: u32,
    /// The first suspect, as this broker sent it.
    defendant: Option<Vec<u8>>,
    trial: Trial,
    /// It was taken.
    acquitted: Option<Case>,
}

/// See the [module](self). It outlives connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suspects {
    /// Which message was under way, at so many ends in a row.
    blamed: Option<(Case, u32)>,
    one_by_one: bool,
    aside: VecDeque<Suspect>,
    /// To be dropped when it comes; whether that is news.
    convicted: Option<(Case, bool)>,
    topics: VecDeque<String>,
    /// Ends that had no message for a reason.
    strays: u32,
    /// Trials in a row that failed without a witness.
    lonely: u32,
    here: Here,
}

impl Suspects {
    /// A connection begins.
    pub(super) fn begin(&mut self, now: Time) {
        self.here = Here { since: now, ..Here::default() };
        for suspect in &mut self.aside {
            suspect.seen = false;
        }
    }

    /// Messages that are set aside.
    pub(crate) fn len(&self) -> usize {
        self.aside.len()
    }

    /// How many messages this broker is to have under way, if the other one takes `inflight`: what is aside may be no
    /// reason that nothing else comes. As one is sent at a time, the other broker never gets more than it takes.
    pub(super) fn window(&self, inflight: u16) -> u16 {
        inflight.max(u16::try_from(self.aside.len() + 1).unwrap_or(u16::MAX))
    }

    pub(super) const fn one_by_one(&self) -> bool {
        self.one_by_one
    }

    /// Whether no message may be sent now.
    pub(super) fn hold(&self) -> bool {
        self.one_by_one && (self.here.under_way.is_some() || self.here.trial != Trial::None)
    }

    /// What becomes of a message that came as `packet`.
    pub(super) fn fate(&mut self, publish: &Publish<'_>, packet: &[u8]) -> Fate {
        if self.aside.is_empty() && self.convicted.is_none() {
            return Fate::Sent;
        }
        let Some(id) = publish.packet_id else { return Fate::Sent };
        let digest = digest(publish);
        if let Some((_, news)) = self.convicted.take_if(|(case, _)| case.is(id, digest)) {
            return Fate::Dropped(news);
        }
        let Some(at) = self.aside.iter().position(|suspect| suspect.case.is(id, digest)) else {
            return Fate::Sent;
        };
        self.aside[at].seen = true;
        if at == 0 {
            self.here.defendant = Some(packet.to_vec());
        }
        Fate::Aside
    }

    /// A message was sent, to be answered.
    pub(super) fn sent(&mut self, publish: &Publish<'_>) {
        if self.one_by_one || !self.here.began {
            self.here.began = true;
            self.here.under_way = Case::of(publish);
        }
    }

    /// One was sent that is not answered.
    pub(super) const fn sent_at_most_once(&mut self) {
        self.here.muddied = true;
    }

    /// A message was answered; whether it was `taken`.
    pub(super) fn answered(&mut self, now: Time, id: PacketId, taken: bool) {
        let Some(case) = self.here.under_way.take_if(|case| case.id == id) else { return };
        let blamed = self.blamed.take_if(|(blamed, _)| blamed.id == id).is_some();
        if !self.one_by_one {
            return;
        }
        let tried = matches!(self.here.trial, Trial::Sent(_));
        self.strays += u32::from(blamed || tried);
        self.here.muddied = false;
        self.here.answered += 1;
        if taken {
            (self.here.witness, self.lonely) = (true, 0);
            self.topics.retain(|topic| *topic != case.topic);
        }
        if tried {
            self.aside.clear();
            self.here.trial = Trial::Over(now);
            self.here.acquitted = taken.then_some(case);
        } else if self.aside.is_empty() && self.here.answered >= ONE_BY_ONE {
            (self.one_by_one, self.strays) = (false, 0);
            self.topics.clear();
        }
    }

    /// Whether a message is under way alone.
    pub(super) const fn is_one_under_way(&self) -> bool {
        self.here.under_way.is_some()
    }

    pub(super) const fn trial(&self) -> Trial {
        self.here.trial
    }

    pub(super) const fn set_trial(&mut self, trial: Trial) {
        self.here.trial = trial;
    }

    /// Whether a trial may begin.
    pub(super) fn may_try(&self, now: Time) -> bool {
        self.here.trial == Trial::None
            && self.here.defendant.is_some()
            && self.here.under_way.is_none()
            && (self.here.witness || now >= self.idle_until())
    }

    /// When one may begin without a witness.
    pub(super) fn idle_until(&self) -> Time {
        match self.here.defendant {
            Some(_) => self.here.since + (IDLE * (1_u32 << self.lonely.min(8))).min(IDLE_MAX),
            None => Time::NEVER,
        }
    }

    /// The suspect, to be sent now.
    pub(super) fn try_it(&mut self, now: Time) -> Option<Vec<u8>> {
        self.here.trial = Trial::Sent(now);
        self.here.muddied = false;
        self.here.defendant.take()
    }

    /// The suspect was not sent, but finished in another way.
    pub(super) fn finished(&mut self, now: Time) {
        self.aside.pop_front();
        self.here.trial = Trial::Over(now);
    }

    /// The connection is over; whether it was the other broker that ended it, so that a message may be the reason.
    pub(crate) fn ended(&mut self, now: Time, by_remote: bool) -> Found {
        let here = std::mem::take(&mut self.here);
        if here.began {
            // It is gone without this: it would have come.
            self.convicted = None;
            let long = now.since(here.since) >= PROMPT;
            self.aside.retain(|suspect| suspect.seen || !long);
        }
        if let Some(case) = here.acquitted {
            return Found::Taken(case);
        }
        if !by_remote {
            return Found::Nothing;
        }
        if let Trial::Sent(at) = here.trial {
            self.failed(here.witness, now.since(at) < PROMPT);
            return Found::Trial;
        }
        match here.under_way {
            Some(_) if self.one_by_one && here.muddied => Found::Nothing,
            Some(case) => self.blame(case),
            None => {
                self.strays += u32::from(self.one_by_one);
                Found::Nothing
            }
        }
    }

    fn failed(&mut self, witness: bool, prompt: bool) {
        if !witness {
            self.lonely += 1;
            // Another one may be taken, and be the witness.
            return self.aside.rotate_left(usize::from(!self.aside.is_empty()));
        }
        let Some(suspect) = self.aside.front_mut().filter(|_| prompt) else { return };
        suspect.trials += 1;
        let known = self.topics.contains(&suspect.case.topic);
        if suspect.trials + u32::from(known) < TRIALS + TRIALS_MORE * self.strays.min(STRAYS_MAX) {
            return;
        }
        let Some(Suspect { case, .. }) = self.aside.pop_front() else { return };
        if !known {
            if self.topics.len() >= TOPICS_MAX {
                self.topics.pop_front();
            }
            self.topics.push_back(case.topic.clone());
        }
        self.convicted = Some((case, !known));
    }

    fn blame(&mut self, case: Case) -> Found {
        let before = self.blamed.take().filter(|(blamed, _)| blamed.is(case.id, case.digest));
        let ends = before.map_or(1, |(_, ends)| ends + 1);
        let known = self.topics.contains(&case.topic);
        if ends + u32::from(known) < ENDS {
            self.blamed = Some((case, ends));
            return Found::Nothing;
        }
        if !self.one_by_one {
            self.one_by_one = true;
            return Found::Nothing;
        }
        if self.aside.len() >= SUSPECTS_MAX {
            self.aside.clear();
            return Found::All;
        }
        let news = self.aside.is_empty() && !known;
        self.aside.push_back(Suspect { case: case.clone(), trials: 0, seen: false });
        Found::Aside(case, news)
    }
}
