//! Messages at which the other broker ends the connection instead of answering them, which would block a link for ever.
//!
//! Nothing says which message it was, so it is found out, and none is dropped on a guess:
//!
//! ```text
//! the same message is the first unanswered one at two ends in a row
//!   -> one by one: each message is sent when the one before it is answered
//! the same message was under way alone at two ends in a row
//!   -> a suspect: set aside, unanswered in its session in this broker; the rest goes on
//! other messages were taken on this connection, and PINGREQ answered behind them
//!   -> the trial: the suspect alone. Taken: all suspects go free. The end, three times: it is dropped
//! ```
//!
//! The first trial needs one such witness, the second two, the third three: who takes a certain number and then closes, or
//! so many in a time, closes at another place each time, and not at the suspect. Connections that end for other reasons, at
//! messages that are taken later or at none, make more trials necessary, with more witnesses before each.
//!
//! So a broker that closes at every message is never a reason to drop one: none is taken there. Where there is nothing
//! else to be sent, the link calls witnesses: messages of its own. What is known is kept in memory only. After a restart
//! all begins anew, with every message where it was.

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

/// What must have been taken on the connection before a trial: one message before the first, two before the second and so
/// on, twice as many from the second on for each end that had another reason, up to a number of ends; and at most this.
const WITNESSES_MAX: u32 = 32;
const WITNESSES_TWICE_MAX: u32 = 3;

/// With so many aside, and nothing taken, it is time to see whether anything is.
const CROWD: usize = 8;

/// After so many messages one by one there is no reason for it any more.
const ONE_BY_ONE: u32 = 100;

/// Messages set aside at once. If there are more, and none was taken since the first, it is not the messages: all go free.
const SUSPECTS_MAX: usize = 32;

/// Topics whose messages were dropped lately: there one end and one trial less are enough.
const TOPICS_MAX: usize = 64;

/// An end that comes later after the suspect than this was not its doing.
const PROMPT: Duration = Duration::from_secs(10);

/// Where nothing else is there to send, a suspect is tried again after so long online: twice as long each time it shows
/// nothing.
const IDLE: Duration = Duration::from_secs(5);
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The same after trials at whose end nobody knew anything: it came late, or by a timeout. They hold up all else.
const UNPROVEN_MAX: Duration = Duration::from_secs(600);

/// More than a client may have under way, and less than there are identifiers without that.
const FAR_AWAY: u32 = 30_000;

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
    /// The other broker ends the connection at every message; likewise.
    All(bool),
    /// The end is that of a trial.
    Trial,
    /// It came when the link sent a message of its own before one.
    NoWitness,
    /// This one was taken at its trial; likewise.
    Taken(Case, bool),
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
    /// A message of the link's own was sent, for want of another witness.
    Called(PacketId),
    /// PINGREQ was sent: its answer is behind those to all that was sent before.
    Asked,
    Sent(Time),
    /// The suspect was taken. Everything else begins anew with another connection.
    Over(Time),
}

/// What was news once, and is none until messages have passed for a while: connections that end at random would bring a
/// line for the log each time.
#[derive(Clone, Debug, Default)]
struct Said {
    aside: bool,
    all: bool,
    taken: bool,
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
    /// Other messages that were taken.
    witnesses: u32,
    answered: u32,
    /// The other broker does not want the link's own messages.
    unwanted: bool,
    /// The last identifier this broker sent something with.
    last: Option<PacketId>,
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
    /// Trials in a row that failed without enough witnesses. At every other one these are called.
    lonely: u32,
    /// Where connections end for other reasons, too, every other trial is made after one witness: it shows nothing if it
    /// fails, but so many as would be needed may seldom be taken in a row.
    early: bool,
    /// Trials in a row that ended without a word, or late.
    unproven: u32,
    /// The last connection ended at a witness that was called, or it was refused.
    in_vain: bool,
    said: Said,
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

    /// Whether connections have ended lately at messages, and will again.
    pub(super) fn is_searching(&self) -> bool {
        self.one_by_one || self.blamed.is_some()
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
        let tries_first = self.calls_at_once() && self.here.defendant.is_some();
        self.one_by_one && (self.here.under_way.is_some() || self.here.trial != Trial::None || tries_first)
    }

    /// What becomes of a message that came as `packet`.
    pub(super) fn fate(&mut self, publish: &Publish<'_>, packet: &[u8]) -> Fate {
        self.here.last = publish.packet_id.or(self.here.last);
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
            self.here.witnesses += 1;
            self.topics.retain(|topic| *topic != case.topic);
        }
        if tried {
            self.free_all();
            self.here.trial = Trial::Over(now);
            self.here.acquitted = taken.then_some(case);
        } else if self.aside.is_empty() && self.here.answered >= ONE_BY_ONE {
            (self.one_by_one, self.strays, self.said) = (false, 0, Said::default());
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

    /// When a trial may begin, as things are.
    pub(super) fn trial_from(&self) -> Time {
        let here = &self.here;
        if here.trial != Trial::None || here.defendant.is_none() || here.under_way.is_some() {
            return Time::NEVER;
        }
        let doubled = |times: u32, max| (IDLE * (1_u32 << times.min(8))).min(max);
        let calm = if self.unproven == 0 { Duration::ZERO } else { doubled(self.unproven, UNPROVEN_MAX) };
        let enough = if self.early { 1 } else { self.witnesses_needed() };
        let ready = here.witnesses >= enough || self.calls_at_once();
        let idle = if ready { Duration::ZERO } else { doubled(self.lonely, IDLE_MAX) };
        here.since + calm.max(idle)
    }

    /// What must have been taken before the next trial of the first suspect for it to show something.
    fn witnesses_needed(&self) -> u32 {
        match self.aside.front().map_or(0, |suspect| suspect.trials) {
            0 => 1,
            trials => ((trials + 1) << self.strays.min(WITNESSES_TWICE_MAX)).min(WITNESSES_MAX),
        }
    }

    /// Whether it is not waited for others to be witnesses.
    fn calls_at_once(&self) -> bool {
        self.aside.len() >= CROWD && self.unproven == 0 && !self.in_vain && !self.here.unwanted
    }

    /// Whether the link has to send something of its own before the suspect.
    pub(super) fn wants_witness(&self) -> bool {
        let here = &self.here;
        let wanted = here.witnesses < self.witnesses_needed() && !here.unwanted;
        wanted && (self.lonely % 2 == 1 || self.calls_at_once())
    }

    /// The first suspect's topic, and an identifier that this broker does not use: what it has under way is near the last
    /// one it used, or aside.
    pub(super) fn witness(&self) -> Option<(&str, PacketId)> {
        let last = u32::from(self.here.last?.get());
        let is_free = |id: &PacketId| !self.aside.iter().any(|suspect| suspect.case.id == *id);
        let ids = (0..u32::from(u16::MAX)).map(|n| (last + FAR_AWAY + n) % u32::from(u16::MAX) + 1);
        let id = ids.filter_map(|id| PacketId::new(u16::try_from(id).ok()?)).find(is_free)?;
        Some((&self.aside.front()?.case.topic, id))
    }

    /// The witness that was called was answered, or could not be sent.
    pub(super) fn witnessed(&mut self, taken: bool) {
        self.here.trial = Trial::Waiting;
        if taken {
            self.here.witnesses += 1;
        } else {
            (self.here.unwanted, self.in_vain) = (true, true);
        }
    }

    fn free_all(&mut self) {
        self.aside.clear();
        (self.lonely, self.unproven) = (0, 0);
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
        if here.began && now.since(here.since) >= PROMPT {
            // They are gone without this: they would have come.
            self.convicted = None;
            self.aside.retain(|suspect| suspect.seen);
        }
        if let Some(case) = here.acquitted {
            return Found::Taken(case, !std::mem::replace(&mut self.said.taken, true));
        }
        let found = match here.trial {
            Trial::Sent(at) => {
                match by_remote && now.since(at) < PROMPT {
                    true => self.failed(here.witnesses),
                    false => self.unproven += 1,
                }
                Found::Trial
            }
            Trial::Called(_) => {
                self.in_vain = true;
                self.failed(0);
                Found::NoWitness
            }
            _ => Found::Nothing,
        };
        if !by_remote {
            return Found::Nothing;
        }
        if found == Found::Nothing {
            self.early = self.strays > 0;
        }
        match here.under_way {
            _ if found != Found::Nothing => found,
            Some(_) if self.one_by_one && here.muddied => Found::Nothing,
            Some(case) => self.blame(case),
            None => {
                self.strays += u32::from(self.one_by_one);
                Found::Nothing
            }
        }
    }

    /// The connection ended at a trial, before which so many messages were taken.
    fn failed(&mut self, witnesses: u32) {
        if witnesses < self.witnesses_needed() {
            self.lonely += 1;
            self.early = false;
            // Another one may be taken.
            return self.aside.rotate_left(usize::from(!self.aside.is_empty()));
        }
        // The next witnesses are called without another trial that shows nothing.
        (self.lonely, self.unproven, self.early) = (1, 0, self.strays > 0);
        let Some(suspect) = self.aside.front_mut() else { return };
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
        self.in_vain = false;
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
            self.free_all();
            return Found::All(!std::mem::replace(&mut self.said.all, true));
        }
        let news = self.aside.is_empty() && !known && !std::mem::replace(&mut self.said.aside, true);
        self.aside.push_back(Suspect { case: case.clone(), trials: 0, seen: false });
        Found::Aside(case, news)
    }
}
