//! The lists of SUBSCRIBE and UNSUBSCRIBE: a short one is seen to at once, a long one a part in each turn, so that a
//! packet with a million filters lets everybody else have theirs.
//!
//! Its client is not read meanwhile. Every filter was checked before the first one was acted on.

use cork_packet::{PacketId, ProtocolVersion, SubscribeFilters, UnsubscribeFilters};
use cork_store::Ticket;

use crate::{
    conn::{Holds, SessionIx},
    filters::Asked,
    io::ConnId,
    shard::Shard,
};

/// Filters seen to in one turn.
pub(crate) const LIST_STEPS_MAX: usize = 2048;

/// A packet whose filters are being seen to.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) packet_id: PacketId,
    pub(crate) version: ProtocolVersion,
    pub(crate) action: ListAction,
    /// Answers so far.
    pub(crate) codes: Vec<u8>,
    /// The last batch they rely on, if they do.
    pub(crate) ticket: Option<Ticket>,
    /// Why the first filter with a content filter was refused that was.
    pub(crate) why: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum ListAction {
    /// With what its User Properties ask of all its filters.
    Subscribe {
        sub_id: u32,
        asked: Asked,
    },
    Unsubscribe,
}

/// A list that goes on in the next turn.
#[derive(Debug)]
pub(crate) struct LongList {
    list: List,
    filters: Vec<u8>,
    /// Where in `filters` the next one begins.
    at: usize,
    left: usize,
}

impl Shard {
    /// Sees to as many filters as one turn has time for.
    pub(crate) fn begin_list(&mut self, id: ConnId, mut list: List, filters: &[u8], count: usize) {
        let Some(six) = self.board.conn(id).map(|conn| conn.session) else { return };
        let left = self.go_through(six, &mut list, filters, count);
        if left.count == 0 {
            return self.finish_list(id, six, &list);
        }
        let filters = filters[filters.len() - left.bytes..].to_vec();
        if let Some(conn) = self.board.conn(id) {
            conn.rare_mut().list = Some(Box::new(LongList { list, filters, at: 0, left: left.count }));
            self.board.lists.push_back(id);
            self.board.hold(id.index, Holds::LIST);
        }
    }

    /// Goes on with the lists that are not through.
    pub(crate) fn go_on_with_lists(&mut self) {
        for _ in 0..self.board.lists.len() {
            if let Some(id) = self.board.lists.pop_front() {
                self.go_on_with_list(id);
            }
        }
    }

    fn go_on_with_list(&mut self, id: ConnId) {
        let Some(conn) = self.board.conn(id) else { return };
        let six = conn.session;
        let Some(mut long) = conn.take_list() else { return };
        let LongList { list, filters, at, left } = &mut *long;
        let rest = self.go_through(six, list, &filters[*at..], *left);
        (*at, *left) = (filters.len() - rest.bytes, rest.count);
        if rest.count > 0 {
            if let Some(conn) = self.board.conn(id) {
                conn.rare_mut().list = Some(long);
                self.board.lists.push_back(id);
            }
            return;
        }
        self.finish_list(id, six, list);
        if self.board.unhold(id.index, Holds::LIST) {
            self.go_on_reading(id);
        }
    }

    fn go_through(&mut self, six: SessionIx, list: &mut List, filters: &[u8], count: usize) -> Left {
        match list.action.clone() {
            ListAction::Subscribe { sub_id, asked } => {
                let mut filters = SubscribeFilters::resume(list.version, filters, count);
                self.subscribe_some(six, list, (sub_id, &asked), &mut filters);
                Left { bytes: filters.rest().len(), count: filters.len() }
            }
            ListAction::Unsubscribe => {
                let mut filters = UnsubscribeFilters::resume(filters, count);
                self.unsubscribe_some(six, list, &mut filters);
                Left { bytes: filters.rest().len(), count: filters.len() }
            }
        }
    }

    fn finish_list(&mut self, id: ConnId, six: SessionIx, list: &List) {
        match list.action {
            ListAction::Subscribe { .. } => {
                self.finish_subscribe(id, list);
                self.board.pump(six);
            }
            ListAction::Unsubscribe => self.finish_unsubscribe(id, list),
        }
    }
}

/// What one turn left of a list.
struct Left {
    bytes: usize,
    count: usize,
}
