//! What the store may give back of each client after a crash: one of the states its Session was in since the last one
//! that is known to be durable. And what follows from the one that it gives back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use cork_core::Ended;
use cork_proto::Time;
use cork_store::{Recovered, SessionKey};

use crate::{
    ledger::{Delayed, Fate, Ledger},
    link::{Link, LinkIx},
    options::WALL_MICROS,
};

/// How long the store may take a Session for connected that is not any more, if its client was back for a moment
/// meanwhile; and a second in which the broker is busy.
const TOLD_AFTER_MAX: Duration = Duration::from_secs(2 * 30 + 1);

/// A Session that outlives its connection, as the store would know it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) incarnation: usize,
    pub(crate) expiry: u32,
    /// Since when it has no connection, if the store would know that it has none.
    pub(crate) offline: Option<Time>,
    /// When it ends if its client stays away.
    pub(crate) ends: Time,
}

/// One state.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) session: Option<Kept>,
    /// The armed Will.
    pub(crate) will: Option<usize>,
    /// When it is due, if its client has gone.
    pub(crate) due: Option<Time>,
    /// The connection that led to it, if one began.
    pub(crate) link: Option<LinkIx>,
}

/// The states one client may be in.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    pub(crate) points: Vec<Point>,
    /// Incarnations the store will be told of; their keys are not known yet.
    pub(crate) unkeyed: VecDeque<usize>,
}

impl Default for Trail {
    fn default() -> Self {
        Self { points: vec![Point::default()], unkeyed: VecDeque::new() }
    }
}

/// What the store gave back of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Incarnation, expiry, since when it had no connection; `None`: it had one.
    session: Option<(usize, u32, Option<Time>)>,
    /// Publication, Keep Alive, delay.
    will: Option<(usize, u16, u32)>,
    /// Wills that are published at once, whatever their client does.
    due: Vec<usize>,
}

impl Point {
    /// Whether the store may have been in this state when it gave this back.
    fn fits(&self, found: &Found, now: Time, died: Time) -> bool {
        // Of who left a moment ago the store may not know it yet.
        let online_until = |kept: &Kept| kept.offline.map_or(Time::NEVER, |left| left + TOLD_AFTER_MAX);
        let session = match (self.session, found.session) {
            (None, None) => true,
            (Some(kept), Some((incarnation, expiry, offline))) => {
                let fits =
                    if offline.is_none() { died <= online_until(&kept) } else { kept.offline == offline };
                kept.incarnation == incarnation && kept.expiry == expiry && fits
            }
            (Some(kept), None) => kept.ends <= now,
            (None, Some(_)) => false,
        };
        let will = match (self.will, found.will) {
            (Some(will), Some((found, ..))) => will == found,
            (Some(will), None) => found.due.contains(&will) || self.due.is_some_and(|due| due <= now),
            (None, found) => found.is_none(),
        };
        session && will
    }
}

impl Trail {
    /// Everything up to now is durable.
    pub(crate) fn settle(&mut self) {
        let last = self.points.pop().unwrap_or_default();
        self.points.clear();
        self.points.push(last);
    }

    /// A connection's CONNACK came: the store knows what led to it.
    pub(crate) fn confirm(&mut self, link: LinkIx) {
        if let Some(at) = self.points.iter().position(|point| point.link == Some(link)) {
            self.points.drain(..at);
        }
    }
}

impl Ledger {
    /// The broker died: nobody is connected any more.
    pub(crate) fn on_restart(
        &mut self,
        now: Time,
        died: Time,
        recovered: &Recovered,
        names: &BTreeMap<String, usize>,
    ) -> Result<(), String> {
        let found = self.find_all(recovered, names)?;
        for client in 0..self.trails.len() {
            let found = found.get(&client).cloned().unwrap_or_default();
            let trail = std::mem::take(&mut self.trails[client]);
            if !trail.points.iter().any(|point| point.fits(&found, now, died)) {
                return Err(format!(
                    "of client {client} the store gave back {found:?}; it may have been one of {:?}",
                    trail.points
                ));
            }
            self.settle_wills(client, now, died, &trail, &found);
            self.known[client] = crate::presence::Known::default();
            self.trails[client].points[0] = self.take_up(client, now, &found);
        }
        Ok(())
    }

    /// What was recovered, by client, in the ledger's terms.
    fn find_all(
        &self,
        recovered: &Recovered,
        names: &BTreeMap<String, usize>,
    ) -> Result<BTreeMap<usize, Found>, String> {
        let mut all: BTreeMap<usize, Found> = BTreeMap::new();
        for session in &recovered.sessions {
            let name = session.client_id();
            let client = *names
                .get(name)
                .ok_or_else(|| format!("a Session of {name:?} is there, whom nobody knows"))?;
            let found = all.entry(client).or_default();
            let before = found.clone();
            if let Some(state) = session.state.as_ref().filter(|state| state.expiry_seconds != 0) {
                let incarnation = self.keys.get(&session.key).ok_or("a Session nobody made is there")?;
                let since = Time::from_micros(state.since.0.saturating_sub(WALL_MICROS));
                found.session = Some((*incarnation, state.expiry_seconds, (!state.online).then_some(since)));
            }
            if let Some(will) = &session.will {
                let number = self.find(will.message.topic(), will.message.payload())?;
                if session.state.is_none() && will.delay_seconds == u32::MAX {
                    found.due.push(number);
                } else {
                    found.will = Some((number, will.keep_alive_seconds, will.delay_seconds));
                }
            }
            let twice = before.session.is_some() && found.session != before.session
                || before.will.is_some() && found.will != before.will;
            if twice {
                return Err(format!("client {client} has two Sessions: {:?}", recovered.sessions));
            }
        }
        Ok(all)
    }

    /// Wills that may have been armed when the broker died, and are not any more.
    fn settle_wills(&mut self, client: usize, now: Time, died: Time, trail: &Trail, found: &Found) {
        let delayed = self.delayed[client].take();
        let mut wills: BTreeSet<usize> = trail.points.iter().filter_map(|point| point.will).collect();
        // A delayed one whose time had come may be out, noticed or not.
        let was_due =
            |will| delayed.as_ref().is_some_and(|delayed| delayed.publication == will && delayed.due <= died);
        for will in &found.due {
            wills.remove(will);
            let publication = &mut self.publications[*will];
            let may_be_out = publication.fate != Fate::Never || was_due(*will);
            if publication.fate == Fate::Never {
                // Under the identity it got when its time had come: what was retained since is newer.
                let due = delayed.filter(|delayed| delayed.publication == *will).map(|delayed| delayed.due);
                publication.sent = due.map_or(now, |due| due.min(now));
            }
            publication.resends += usize::from(may_be_out); // the same message, at its place among those since
            (publication.fate, publication.acked) = (Fate::Taken, None);
        }
        for will in wills {
            let sure = trail.points[0].will == Some(will);
            let publication = &mut self.publications[will];
            if found.will.is_some_and(|(found, ..)| found == will) {
                // What came of it, if anything did, the store does not know: it is armed as before.
                publication.resends += usize::from(publication.fate != Fate::Never || was_due(will));
                (publication.fate, publication.acked) = (Fate::Never, None);
                continue;
            }
            if let Some(Delayed { due, .. }) = delayed.filter(|delayed| delayed.publication == will) {
                // Its time had come, noticed or not.
                (publication.fate, publication.sent) = (Fate::Open, due.min(now));
            } else if publication.fate == Fate::Taken && !sure {
                (publication.fate, publication.acked) = (Fate::Open, None);
            }
        }
    }

    /// The client's Session, and what may become of its Will, from now on.
    fn take_up(&mut self, client: usize, now: Time, found: &Found) -> Point {
        let kept = found.session.map(|(incarnation, expiry, offline)| {
            let ends = offline.unwrap_or(now).plus_seconds(expiry.into());
            Kept { incarnation, expiry, offline, ends }
        });
        let was_over = kept.and_then(|kept| self.incarnations[kept.incarnation].over);
        for session in self.incarnations.iter_mut().filter(|it| it.client == client && it.over.is_none()) {
            session.over = Some(now);
            session.died = true;
        }
        self.current[client] = kept.map(|kept| kept.incarnation);
        let ends = kept.map_or(Time::NEVER, |kept| kept.ends);
        if let Some(kept) = kept {
            let session = &mut self.incarnations[kept.incarnation];
            let timed_out = session.offline.map(|since| since.plus_seconds(session.expiry.into()));
            let over = [was_over, timed_out].into_iter().flatten().min();
            session.gaps.extend(over.filter(|over| *over < now).map(|over| (over, now)));
            session.offline = Some(kept.offline.unwrap_or(now));
            (session.over, session.died, session.expiry) = (None, false, kept.expiry);
        }
        let mut point = Point { session: kept, ..Point::default() };
        if let Some((publication, keep_alive, delay)) = found.will {
            let gone = kept.and_then(|kept| kept.offline);
            let mut due = gone.unwrap_or(now).plus_seconds(delay.into());
            if gone.is_none() {
                let grace = std::time::Duration::from_millis(1500 * u64::from(keep_alive));
                due = due.max(now + grace);
            }
            let due = due.min(ends);
            self.delayed[client] = Some(Delayed { publication, due, void_at_return: gone.is_none() });
            (point.will, point.due) = (Some(publication), Some(due));
        }
        point
    }

    /// The store was told of a Session.
    pub(crate) fn on_recorded(&mut self, client: usize, key: SessionKey) -> Result<(), String> {
        let incarnation =
            self.trails[client].unkeyed.pop_front().ok_or("a Session nobody made is recorded")?;
        self.keys.insert(key, incarnation);
        Ok(())
    }

    /// A connection began: what the store will know of its Session.
    pub(crate) fn trace_connected(&mut self, client: usize, link: LinkIx, entry: &Link, is_new: bool) {
        let greeting = &entry.greeting;
        let will = greeting.will.map(|(publication, _)| publication);
        let Some(incarnation) = entry.incarnation else { return };
        let trail = &mut self.trails[client];
        if is_new && (greeting.expiry != 0 || will.is_some()) {
            trail.unkeyed.push_back(incarnation);
        }
        let expiry = greeting.expiry;
        let session = (expiry != 0).then_some(Kept { incarnation, expiry, offline: None, ends: Time::NEVER });
        trail.points.push(Point { session, will, due: None, link: Some(link) });
    }

    /// A connection ended: the same.
    pub(crate) fn trace_ended(
        &mut self,
        client: usize,
        incarnation: usize,
        cause: &Ended,
        will: Option<usize>,
    ) {
        let session = &self.incarnations[incarnation];
        let expiry = session.expiry;
        let ends = session.offline.map_or(Time::NEVER, |offline| offline.plus_seconds(expiry.into()));
        let kept = Kept { incarnation, expiry, offline: session.offline, ends };
        let session = (expiry != 0).then_some(kept);
        let delayed = self.delayed[client].map(|delayed| delayed.due);
        let fires = delayed.is_none() && !matches!(cause, Ended::ByClient);
        let will = will.filter(|_| delayed.is_some() || fires);
        let points = &mut self.trails[client].points;
        if fires && will.is_some() {
            // Until it is published.
            points.push(Point { session, will, due: session.and(kept.offline), link: None });
        }
        points.push(Point { session, will: will.filter(|_| !fires), due: delayed, link: None });
    }
}

#[cfg(test)]
mod tests {
    use cork_store::{Proof, RecoveredSession, SessionState, WallTime};

    use super::*;
    use crate::ledger::Incarnation;

    const KEY: SessionKey = SessionKey(6);

    fn after(seconds: u64) -> Time {
        Time::ZERO.plus_seconds(seconds)
    }

    /// A Session with an expiry of eight seconds that was left after 15, taken up again, and left once more after 20.
    fn left_twice() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.add_client();
        let kept = |offline: Option<Time>| {
            let ends = offline.map_or(Time::NEVER, |offline| offline.plus_seconds(8));
            Point { session: Some(Kept { incarnation: 0, expiry: 8, offline, ends }), ..Point::default() }
        };
        let last = Some(after(20));
        let (link, gaps) = (1, Vec::new());
        ledger.incarnations =
            vec![Incarnation { client: 0, expiry: 8, link, offline: last, over: None, died: false, gaps }];
        ledger.current[0] = Some(0);
        ledger.keys.insert(KEY, 0);
        ledger.trails[0].points = vec![kept(Some(after(15))), kept(None), kept(last)];
        ledger
    }

    /// What the store gives back, and when the Session ends by that.
    fn ends(offline: Option<Time>) -> Result<Time, String> {
        let since = WallTime(WALL_MICROS + offline.unwrap_or_else(|| after(18)).as_micros());
        let state = SessionState {
            client_id: "client-0".into(),
            user_name: None,
            proof: Proof::Nobody,
            expiry_seconds: 8,
            online: offline.is_none(),
            since,
            sent_up_to: 0,
        };
        let session = RecoveredSession { key: KEY, state: Some(state), ..RecoveredSession::default() };
        let recovered = Recovered { sessions: vec![session], ..Recovered::default() };
        let names = [("client-0".to_owned(), 0)].into();
        let mut ledger = left_twice();
        ledger.on_restart(after(22), after(21), &recovered, &names)?;
        Ok(ledger.trails[0].points[0].session.map_or(Time::ZERO, |kept| kept.ends))
    }

    #[test]
    fn a_session_that_comes_back_in_an_earlier_state_ends_when_that_says() {
        assert_eq!(ends(Some(after(15))), Ok(after(23)), "the store did not hear of what came later");
        assert_eq!(ends(Some(after(20))), Ok(after(28)));
        assert_eq!(ends(None), Ok(after(30)), "it counts from the restart");
        assert!(ends(Some(after(17))).is_err(), "nobody left then");
    }
}
