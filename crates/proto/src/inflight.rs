//! What was sent and not yet acknowledged: the sender's half of QoS 1 and QoS 2 (5.0 4.3.2, 4.3.3, 4.4, 4.6).
//!
//! Packet Identifiers are handed out in turn, so the flights lie in a ring and an acknowledgement is an index:
//!
//! ```text
//! sequence    base            base+1   base+2            next
//! ring      [ PUBLISH sent  |  done  | PUBREL sent | ... ]        identifier = sequence % 65535 + 1
//! ```
//!
//! Flights that stay unanswered while thousands behind them finish are moved aside, so that the ring stays short.
//!
//! A sender that must give the same identifiers after a restart names the sequences itself ([`Inflight::push_at`]):
//! what it leaves out costs an empty place in the ring.

use std::collections::{BTreeMap, VecDeque};

use cork_packet::{PacketId, QoS};

/// What a flight waits for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// QoS 1: PUBLISH was sent, PUBACK ends the flight.
    Puback,
    /// QoS 2: PUBLISH was sent, PUBREC comes next.
    Pubrec,
    /// QoS 2: PUBREL was sent, PUBCOMP ends the flight.
    Pubcomp,
}

/// One publication under way.
#[derive(Clone, Debug)]
pub struct Flight<M> {
    /// What it waits for.
    pub awaits: Phase,
    /// What must be known to send it again; gone once PUBREC came.
    pub item: Option<M>,
    /// Whether its PUBLISH went out on the present Network Connection and uses Receive Maximum.
    counted: bool,
}

/// What an acknowledgement did.
#[derive(Debug, PartialEq, Eq)]
pub enum Acked<M> {
    /// The flight moved on or ended; what was kept for sending it again comes out.
    Taken(Option<M>),
    /// A repetition that changes nothing (PUBREC for a flight that waits for PUBCOMP).
    Again,
    /// No such flight, or it waits for another packet.
    Unknown,
}

/// Flights of one Session in the order of their first sending.
#[derive(Clone, Debug)]
pub struct Inflight<M> {
    ring: VecDeque<Option<Flight<M>>>,
    /// Sequence of `ring[0]`.
    base: u64,
    /// Older than the ring, by sequence.
    aside: BTreeMap<u64, Flight<M>>,
    /// Their identifiers, and those reserved for other packets, which have the sequence [`RESERVED`].
    aside_ids: BTreeMap<PacketId, u64>,
    /// Identifiers reserved for other packets.
    reserved: usize,
    /// Flights in `ring` and `aside`.
    live: usize,
    /// Flights that use Receive Maximum on this Network Connection.
    open: usize,
    /// Flights from here to `resend_end` are still to be sent again on this Network Connection.
    resend_at: u64,
    resend_end: u64,
    /// PUBREL of flights before this one went ahead of a PUBLISH that waits for the window.
    release_at: u64,
}

/// Packet Identifiers there are.
const IDENTIFIERS: u64 = 65_535;
const IDENTIFIERS_MAX: usize = 65_535;
/// No flight has this sequence.
const RESERVED: u64 = u64::MAX;
/// A ring longer than this is checked for flights to be moved aside.
const RING_LONG: usize = 1024;

impl<M> Default for Inflight<M> {
    fn default() -> Self {
        Self {
            ring: VecDeque::new(),
            base: 0,
            aside: BTreeMap::new(),
            aside_ids: BTreeMap::new(),
            reserved: 0,
            live: 0,
            open: 0,
            resend_at: 0,
            resend_end: 0,
            release_at: 0,
        }
    }
}

fn identifier(sequence: u64) -> PacketId {
    u16::try_from(sequence % IDENTIFIERS + 1).ok().and_then(PacketId::new).unwrap_or(PacketId::FIRST)
}

impl<M> Inflight<M> {
    /// Flights under way.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// True when nothing is under way.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// PUBLISH packets sent on this Network Connection whose flights go on: what Receive Maximum bounds
    /// (5.0 [MQTT-3.3.4-9], [MQTT-4.9.0-2]).
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }

    /// Whether flights of an earlier Network Connection wait to be sent again.
    #[must_use]
    pub const fn is_resending(&self) -> bool {
        self.resend_at < self.resend_end
    }

    /// Sequence of the oldest flight.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        let ring = (self.base..).zip(&self.ring).find(|(_, slot)| slot.is_some()).map(|(n, _)| n);
        let aside = self.aside.keys().next().copied();
        ring.into_iter().chain(aside).min()
    }

    /// Starts a flight at QoS 1 or 2 and gives it a Packet Identifier not in use (5.0 [MQTT-2.2.1-4]).
    ///
    /// `None` when all 65,535 are in use. QoS 0 needs no flight and is treated as QoS 1.
    pub fn push(&mut self, item: M, qos: QoS) -> Option<PacketId> {
        let sequence = self.free_from(self.next())?;
        self.push_at(sequence, item, qos)
    }

    /// Sequence of the flight that [`Inflight::push`] would start, were its identifier free.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.base + self.ring.len() as u64
    }

    /// The first sequence from `from` on whose identifier is not in use; `None` when all are.
    #[must_use]
    pub fn free_from(&self, from: u64) -> Option<u64> {
        if self.live + self.reserved >= IDENTIFIERS_MAX {
            return None;
        }
        (from..from + IDENTIFIERS).find(|sequence| !self.is_used(identifier(*sequence)))
    }

    /// Starts a flight at QoS 1 or 2 under the identifier of `sequence`, which is not below [`Inflight::next`].
    ///
    /// `None`, and nothing happens, when the identifier is in use.
    pub fn push_at(&mut self, sequence: u64, item: M, qos: QoS) -> Option<PacketId> {
        let id = identifier(sequence);
        if self.live + self.reserved >= IDENTIFIERS_MAX || self.is_used(id) {
            return None;
        }
        self.shorten();
        self.pad_to(sequence);
        let awaits = if qos == QoS::ExactlyOnce { Phase::Pubrec } else { Phase::Puback };
        self.ring.push_back(Some(Flight { awaits, item: Some(item), counted: true }));
        self.live += 1;
        self.open += 1;
        Some(id)
    }

    /// Takes up a flight of an earlier life of the sender that waits for PUBCOMP. Other flights may start before
    /// and behind it.
    pub fn restore_released(&mut self, sequence: u64) {
        let id = identifier(sequence);
        if !self.is_used(id) {
            self.aside.insert(sequence, Flight { awaits: Phase::Pubcomp, item: None, counted: false });
            self.aside_ids.insert(id, sequence);
            self.live += 1;
        }
    }

    /// Sequence of the flight under way with this identifier.
    #[must_use]
    pub fn sequence_of(&self, id: PacketId) -> Option<u64> {
        let offset = self.offset(id);
        match self.ring.get(offset) {
            Some(Some(_)) => Some(self.base + offset as u64),
            _ => self.aside_ids.get(&id).copied(),
        }
    }

    /// Whether the identifier of a sequence is not in use.
    #[must_use]
    pub fn is_free(&self, sequence: u64) -> bool {
        !self.is_used(identifier(sequence))
    }

    fn is_used(&self, id: PacketId) -> bool {
        matches!(self.ring.get(self.offset(id)), Some(Some(_))) || self.aside_ids.contains_key(&id)
    }

    /// Lets the ring end right before `sequence`.
    fn pad_to(&mut self, sequence: u64) {
        if sequence.saturating_sub(self.next()) > RING_LONG as u64 {
            while !self.ring.is_empty() {
                self.move_first_aside();
            }
        }
        if self.ring.is_empty() {
            self.base = self.base.max(sequence);
        }
        while self.next() < sequence {
            self.ring.push_back(None);
        }
    }

    /// Takes a Packet Identifier out of the row for a packet that is no publication (SUBSCRIBE, UNSUBSCRIBE), until
    /// [`Inflight::free`] (5.0 [MQTT-2.2.1-3]). `None` when all are in use.
    pub fn reserve(&mut self) -> Option<PacketId> {
        let sequence = self.free_from(self.next())?;
        self.shorten();
        self.pad_to(sequence + 1);
        let id = identifier(sequence);
        self.aside_ids.insert(id, RESERVED);
        self.reserved += 1;
        Some(id)
    }

    /// Gives an identifier back that [`Inflight::reserve`] handed out. False when it was not reserved.
    pub fn free(&mut self, id: PacketId) -> bool {
        let reserved = self.aside_ids.get(&id) == Some(&RESERVED);
        if reserved {
            self.aside_ids.remove(&id);
            self.reserved -= 1;
        }
        reserved
    }

    /// Puts a flight of an earlier program run behind the others, under the identifier it had; its packet goes out
    /// when [`Inflight::reconnected`] was called. False when the identifier is in use.
    pub fn restore(&mut self, id: PacketId, awaits: Phase, item: Option<M>) -> bool {
        if self.is_used(id) {
            return false;
        }
        // The next sequence that has this identifier.
        let ahead = u64::from(id.get()) - 1 + IDENTIFIERS - self.next() % IDENTIFIERS;
        self.pad_to(self.next() + ahead % IDENTIFIERS);
        self.ring.push_back(Some(Flight { awaits, item, counted: false }));
        self.live += 1;
        true
    }

    /// What the flight with this identifier waits for; `None` when there is none.
    #[must_use]
    pub fn awaits(&mut self, id: PacketId) -> Option<Phase> {
        self.find(id).map(|flight| flight.awaits)
    }

    /// All flights in order, taken out: the Session is over.
    pub fn take_all(&mut self) -> impl Iterator<Item = (PacketId, Flight<M>)> + use<M> {
        let Self { ring, base, aside, .. } = std::mem::take(self);
        let ring = ring.into_iter().zip(base..).filter_map(|(slot, n)| Some((n, slot?)));
        let mut flights: Vec<_> = aside.into_iter().chain(ring).collect();
        flights.sort_unstable_by_key(|(n, _)| *n);
        flights.into_iter().map(|(n, flight)| (identifier(n), flight))
    }

    /// PUBACK arrived: a QoS 1 flight ends.
    pub fn puback(&mut self, id: PacketId) -> Acked<M> {
        self.end(id, Phase::Puback)
    }

    /// PUBREC arrived. `refused`: its Reason Code is 0x80 or above, which ends the flight (5.0 4.3.3).
    pub fn pubrec(&mut self, id: PacketId, refused: bool) -> Acked<M> {
        match self.find(id) {
            Some(Flight { awaits: Phase::Pubcomp, .. }) => Acked::Again,
            Some(flight) if flight.awaits == Phase::Pubrec && !refused => {
                flight.awaits = Phase::Pubcomp;
                Acked::Taken(flight.item.take())
            }
            _ if refused => self.end(id, Phase::Pubrec),
            _ => Acked::Unknown,
        }
    }

    /// PUBCOMP arrived: a QoS 2 flight ends.
    pub fn pubcomp(&mut self, id: PacketId) -> Acked<M> {
        self.end(id, Phase::Pubcomp)
    }

    /// A new Network Connection takes the Session over: everything under way is to be sent again
    /// (5.0 [MQTT-4.4.0-1]), in order ([MQTT-4.6.0-1] of 3.1.1), within its Receive Maximum.
    pub fn reconnected(&mut self) {
        for flight in self.ring.iter_mut().flatten().chain(self.aside.values_mut()) {
            flight.counted = false;
        }
        self.open = 0;
        self.resend_at = self.aside.keys().next().map_or(self.base, |first| self.base.min(*first));
        self.resend_end = self.aside.keys().next_back().map_or(0, |last| last + 1).max(self.next());
        self.release_at = self.resend_at;
    }

    /// The next flight to send again: its PUBLISH (with DUP), or PUBREL when it waits for PUBCOMP.
    ///
    /// `None` when there is none left, or when only PUBLISH packets are and `window` (Receive Maximum) is used up.
    pub fn resend(&mut self, window: usize) -> Option<(PacketId, &Flight<M>)> {
        let room = self.open < window;
        let released = self.release_at;
        let next = self.seek(self.resend_at, |n, flight| flight.awaits != Phase::Pubcomp || n >= released);
        self.resend_at = next.unwrap_or(self.resend_end);
        let mut sequence = next?;
        if room || self.find(identifier(sequence)).is_some_and(|flight| flight.awaits == Phase::Pubcomp) {
            self.resend_at += 1;
        } else {
            // 5.0 [MQTT-3.3.4-10]: a PUBLISH that waits holds up no PUBREL behind it.
            // What lies before it went out on the way here.
            let behind = released.max(sequence);
            let release = self.seek(behind, |_, flight| flight.awaits == Phase::Pubcomp);
            self.release_at = release.map_or(self.resend_end, |sequence| sequence + 1);
            sequence = release?;
        }
        let flight = match self.aside.get_mut(&sequence) {
            Some(flight) => flight,
            None => self.ring.get_mut(usize::try_from(sequence - self.base).ok()?)?.as_mut()?,
        };
        if flight.awaits != Phase::Pubcomp {
            flight.counted = true;
            self.open += 1;
        }
        Some((identifier(sequence), flight))
    }

    /// Sequence of the first wanted flight, from `from` on, among those to be sent again.
    fn seek(&self, from: u64, wanted: impl Fn(u64, &Flight<M>) -> bool) -> Option<u64> {
        let aside = self.aside.range(from..).find(|(n, flight)| wanted(**n, flight)).map(|(n, _)| *n);
        let start = from.max(self.base);
        let skip = usize::try_from(start - self.base).unwrap_or(usize::MAX);
        let mut ring = (start..).zip(self.ring.iter().skip(skip));
        let ring =
            ring.find(|(n, slot)| slot.as_ref().is_some_and(|flight| wanted(*n, flight))).map(|(n, _)| n);
        let next = match (aside, ring) {
            (Some(aside), Some(ring)) => Some(aside.min(ring)),
            (one, other) => one.or(other),
        };
        next.filter(|sequence| *sequence < self.resend_end)
    }

    /// All flights in order, with their identifiers.
    pub fn iter(&self) -> impl Iterator<Item = (PacketId, &Flight<M>)> + '_ {
        let ring = self.ring.iter().zip(self.base..).filter_map(|(slot, n)| Some((n, slot.as_ref()?)));
        self.aside
            .iter()
            .map(|(n, flight)| (*n, flight))
            .chain(ring)
            .map(|(n, flight)| (identifier(n), flight))
    }

    /// What is kept for sending flights again, in no particular order.
    pub fn items_mut(&mut self) -> impl Iterator<Item = &mut M> + '_ {
        let flights = self.ring.iter_mut().flatten().chain(self.aside.values_mut());
        flights.filter_map(|flight| flight.item.as_mut())
    }

    /// Where `id` lies in the ring, if it can.
    fn offset(&self, id: PacketId) -> usize {
        let wanted = u64::from(id.get()) - 1;
        let offset = (wanted + IDENTIFIERS - self.base % IDENTIFIERS) % IDENTIFIERS;
        usize::try_from(offset).unwrap_or(usize::MAX)
    }

    fn find(&mut self, id: PacketId) -> Option<&mut Flight<M>> {
        let offset = self.offset(id);
        match self.ring.get_mut(offset) {
            Some(Some(flight)) => Some(flight),
            _ => self.aside.get_mut(self.aside_ids.get(&id)?),
        }
    }

    fn end(&mut self, id: PacketId, awaited: Phase) -> Acked<M> {
        let offset = self.offset(id);
        let slot = self.ring.get_mut(offset);
        let flight = match slot {
            Some(slot) if slot.as_ref().is_some_and(|flight| flight.awaits == awaited) => slot.take(),
            Some(Some(_)) => None,
            _ => self.end_aside(id, awaited),
        };
        let Some(flight) = flight else { return Acked::Unknown };
        self.live -= 1;
        self.open -= usize::from(flight.counted);
        self.pop_done();
        Acked::Taken(flight.item)
    }

    fn end_aside(&mut self, id: PacketId, awaited: Phase) -> Option<Flight<M>> {
        let sequence = *self.aside_ids.get(&id)?;
        if self.aside.get(&sequence)?.awaits != awaited {
            return None;
        }
        self.aside_ids.remove(&id);
        self.aside.remove(&sequence)
    }

    fn pop_done(&mut self) {
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.base += 1;
        }
        if self.ring.is_empty() && self.ring.capacity() > RING_LONG {
            self.ring = VecDeque::new(); // a burst is over: give its memory back
        }
    }

    /// Moves the oldest flights aside while most of a long ring is done.
    fn shorten(&mut self) {
        let full = (self.ring.len() as u64) >= IDENTIFIERS;
        while self.ring.len() > RING_LONG && (full || self.live * 4 < self.ring.len()) {
            self.move_first_aside();
            self.pop_done();
        }
    }

    fn move_first_aside(&mut self) {
        if let Some(Some(flight)) = self.ring.pop_front() {
            self.aside.insert(self.base, flight);
            self.aside_ids.insert(identifier(self.base), self.base);
        }
        self.base += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    #[test]
    fn a_qos_2_flight_goes_through_its_two_acknowledgements() {
        let mut inflight = Inflight::default();
        let a = inflight.push("a", QoS::ExactlyOnce).unwrap();
        assert_eq!(inflight.puback(a), Acked::Unknown);
        assert_eq!(inflight.pubcomp(a), Acked::Unknown);
        assert_eq!(inflight.pubrec(a, false), Acked::Taken(Some("a")));
        assert_eq!(inflight.pubrec(a, false), Acked::Again);
        assert_eq!(inflight.open(), 1);
        assert_eq!(inflight.pubcomp(a), Acked::Taken(None));
        assert_eq!((inflight.len(), inflight.open()), (0, 0));
        let b = inflight.push("b", QoS::ExactlyOnce).unwrap();
        assert_eq!(inflight.pubrec(b, true), Acked::Taken(Some("b")));
        assert!(inflight.is_empty());
    }

    #[test]
    fn mqtt311_4_4_0_1_everything_unanswered_is_sent_again_in_order() {
        let mut inflight = Inflight::default();
        let ids: Vec<_> = (0..4).map(|n| inflight.push(n, QoS::ExactlyOnce).unwrap()).collect();
        inflight.pubrec(ids[1], false);
        inflight.pubrec(ids[2], true);
        inflight.reconnected();
        assert_eq!(inflight.open(), 0);
        let mut again = Vec::new();
        while let Some((id, flight)) = inflight.resend(2) {
            again.push((id.get(), flight.awaits, flight.item));
        }
        assert_eq!(
            again,
            [(1, Phase::Pubrec, Some(0)), (2, Phase::Pubcomp, None), (4, Phase::Pubrec, Some(3))]
        );
        assert_eq!(inflight.open(), 2);
    }

    #[test]
    fn mqtt5_3_3_4_9_resending_respects_receive_maximum() {
        let mut inflight = Inflight::default();
        let ids: Vec<_> = (0..3).map(|n| inflight.push(n, QoS::AtLeastOnce).unwrap()).collect();
        inflight.reconnected();
        assert!(inflight.resend(1).is_some());
        assert!(inflight.resend(1).is_none());
        assert!(inflight.is_resending());
        inflight.puback(ids[0]);
        assert_eq!(inflight.resend(1).unwrap().0, ids[1]);
    }

    #[test]
    fn mqtt5_3_3_4_10_a_publish_that_waits_for_the_window_holds_up_no_pubrel() {
        let mut inflight = Inflight::default();
        let ids: Vec<_> = (0..5).map(|n| inflight.push(n, QoS::ExactlyOnce).unwrap()).collect();
        inflight.pubrec(ids[2], false);
        inflight.pubrec(ids[4], false);
        inflight.reconnected();
        let mut again = Vec::new();
        while let Some((id, flight)) = inflight.resend(1) {
            again.push((id, flight.awaits));
        }
        assert_eq!(again, [(ids[0], Phase::Pubrec), (ids[2], Phase::Pubcomp), (ids[4], Phase::Pubcomp)]);
        assert!(inflight.is_resending());
        // The rest follows as room comes, and no PUBREL a second time.
        let mut rest = Vec::new();
        while let Some((id, flight)) = inflight.resend(3) {
            rest.push((id, flight.awaits));
        }
        assert_eq!(rest, [(ids[1], Phase::Pubrec), (ids[3], Phase::Pubrec)]);
        assert!(!inflight.is_resending());
    }

    #[test]
    fn a_flight_that_is_never_answered_blocks_nobody() {
        let mut inflight = Inflight::default();
        let stuck = inflight.push(0u32, QoS::AtLeastOnce).unwrap();
        for n in 1..200_000 {
            let next = inflight.push(n, QoS::AtLeastOnce).unwrap();
            assert_ne!(next, stuck);
            assert_eq!(inflight.puback(next), Acked::Taken(Some(n)));
        }
        assert!(inflight.ring.len() <= RING_LONG + 1);
        inflight.reconnected();
        assert_eq!(inflight.resend(10).unwrap().0, stuck);
        assert_eq!(inflight.puback(stuck), Acked::Taken(Some(0)));
    }

    #[test]
    fn all_identifiers_can_be_in_use_and_then_none_is_left() {
        let mut inflight = Inflight::default();
        let ids: BTreeSet<_> = (0..65_535u32).map(|n| inflight.push(n, QoS::AtLeastOnce).unwrap()).collect();
        assert_eq!(ids.len(), 65_535);
        assert_eq!(inflight.push(0, QoS::AtLeastOnce), None);
        inflight.puback(id(30_000));
        assert_eq!(inflight.push(7, QoS::AtLeastOnce), Some(id(30_000)));
    }

    #[test]
    fn a_sender_that_names_its_sequences_gets_the_same_identifiers_again() {
        let mut before = Inflight::default();
        let ids: Vec<_> = [0, 1, 5, 5000].map(|n| before.push_at(n, n, QoS::ExactlyOnce).unwrap()).into();
        assert_eq!(ids, [id(1), id(2), id(6), id(5001)]);
        assert_eq!(before.sequence_of(id(6)), Some(5));
        assert_eq!(before.sequence_of(id(3)), None);
        before.pubrec(ids[1], false);
        // A new start knows of 1 that it was released; the others it sends again, in order.
        let mut after = Inflight::default();
        after.restore_released(1);
        let again: Vec<_> = [0, 5, 5000].map(|n| after.push_at(n, n, QoS::ExactlyOnce).unwrap()).into();
        assert_eq!(again, [ids[0], ids[2], ids[3]]);
        after.reconnected();
        let mut order = Vec::new();
        while let Some((id, flight)) = after.resend(usize::MAX) {
            order.push((id, flight.awaits == Phase::Pubcomp));
        }
        assert_eq!(order, [(ids[0], false), (ids[1], true), (ids[2], false), (ids[3], false)]);
        assert_eq!(after.pubcomp(ids[1]), Acked::Taken(None));
    }

    #[test]
    fn an_identifier_in_use_is_left_out() {
        let mut inflight = Inflight::default();
        inflight.push_at(0, 0, QoS::AtLeastOnce).unwrap();
        assert_eq!(inflight.push_at(IDENTIFIERS, 1, QoS::AtLeastOnce), None);
        assert_eq!(inflight.free_from(IDENTIFIERS), Some(IDENTIFIERS + 1));
        assert_eq!(inflight.push_at(IDENTIFIERS + 1, 1, QoS::AtLeastOnce), Some(id(2)));
        assert_eq!(inflight.len(), 2);
        assert!(inflight.ring.len() < 10);
    }

    #[test]
    fn a_pubrel_before_a_publish_that_waits_for_the_window_goes_once() {
        let mut inflight = Inflight::default();
        let ids: Vec<_> = (0..4).map(|n| inflight.push(n, QoS::ExactlyOnce).unwrap()).collect();
        inflight.pubrec(ids[1], false);
        inflight.reconnected();
        let again: Vec<_> = std::iter::from_fn(|| inflight.resend(2).map(|(id, _)| id)).collect();
        assert_eq!(again, ids[..3]);
    }

    #[test]
    fn mqtt5_2_2_1_3_a_reserved_identifier_is_given_to_no_publication() {
        let mut inflight = Inflight::default();
        let reserved = inflight.reserve().unwrap();
        for n in 0..65_534u32 {
            assert_ne!(inflight.push(n, QoS::AtLeastOnce).unwrap(), reserved);
        }
        assert_eq!((inflight.push(0, QoS::AtLeastOnce), inflight.reserve()), (None, None));
        assert!(inflight.free(reserved) && !inflight.free(reserved));
        assert_eq!(inflight.push(0, QoS::AtLeastOnce), Some(reserved));
    }

    #[test]
    fn flights_of_an_earlier_run_keep_identifier_and_order() {
        let mut inflight = Inflight::default();
        for (n, phase) in [(65_530, Phase::Puback), (3, Phase::Pubcomp), (9, Phase::Pubrec)] {
            assert!(inflight.restore(id(n), phase, Some(n)));
            assert!(!inflight.restore(id(n), phase, Some(n)));
        }
        assert_eq!((inflight.len(), inflight.open()), (3, 0));
        assert_eq!(inflight.push(10, QoS::AtLeastOnce), Some(id(10)));
        inflight.reconnected();
        let again: Vec<_> = std::iter::from_fn(|| inflight.resend(9).map(|(id, _)| id.get())).collect();
        assert_eq!(again, [65_530, 3, 9, 10]);
        assert_eq!(inflight.awaits(id(3)), Some(Phase::Pubcomp));
        let all: Vec<_> = inflight.take_all().map(|(id, flight)| (id.get(), flight.item)).collect();
        assert_eq!(all, [(65_530, Some(65_530)), (3, Some(3)), (9, Some(9)), (10, Some(10))]);
        assert!(inflight.is_empty());
    }

    proptest! {
        /// Against a list of (identifier, number): same members, same order, identifiers never doubled.
        #[test]
        fn agrees_with_a_list(ops in prop::collection::vec((0u8..3, any::<prop::sample::Index>()), 1..400)) {
            let (mut inflight, mut model, mut next) = (Inflight::default(), Vec::<(PacketId, u32)>::new(), 0);
            for (op, index) in ops {
                match op {
                    0 => {
                        let id = inflight.push(next, QoS::AtLeastOnce).unwrap();
                        prop_assert!(model.iter().all(|(other, _)| *other != id));
                        model.push((id, next));
                        next += 1;
                    }
                    1 if !model.is_empty() => {
                        let (id, n) = model.remove(index.index(model.len()));
                        prop_assert_eq!(inflight.puback(id), Acked::Taken(Some(n)));
                        prop_assert_eq!(inflight.puback(id), Acked::Unknown);
                    }
                    _ => {
                        inflight.reconnected();
                        let mut again = Vec::new();
                        while let Some((id, flight)) = inflight.resend(usize::MAX) {
                            again.push((id, flight.item.unwrap()));
                        }
                        prop_assert_eq!(&again, &model);
                    }
                }
                prop_assert_eq!(inflight.len(), model.len());
            }
        }
    }
}
