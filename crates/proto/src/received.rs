//! Packet Identifiers of QoS 2 publications that arrived and were not released yet.

use cork_packet::PacketId;

/// The receiver's half of QoS 2 (5.0 4.3.3, method B of 3.1.1): a publication is routed when it first arrives, its
/// identifier remembered until PUBREL, so that a second arrival is answered and not routed again.
///
/// Ascending and contiguous in practice, so a sorted vector: two bytes an identifier. Most Sessions never need one, and
/// have a pointer's room for it.
#[derive(Clone, Debug, Default)]
pub struct Received {
    #[expect(clippy::box_collection, reason = "every Session pays for this field, few use it")]
    ids: Option<Box<Vec<u16>>>,
}

impl Received {
    /// Remembers `id`. False when it is known already: the publication is a repetition (5.0 [MQTT-4.3.3-10]).
    pub fn insert(&mut self, id: PacketId) -> bool {
        let ids = self.ids.get_or_insert_default();
        match ids.last() {
            Some(last) if *last >= id.get() => match ids.binary_search(&id.get()) {
                Ok(_) => return false,
                Err(at) => ids.insert(at, id.get()),
            },
            _ => ids.push(id.get()),
        }
        true
    }

    /// Whether `id` is remembered.
    #[must_use]
    pub fn contains(&self, id: PacketId) -> bool {
        self.ids().binary_search(&id.get()).is_ok()
    }

    /// Forgets `id` at PUBREL. False when it was not known.
    pub fn remove(&mut self, id: PacketId) -> bool {
        let Some(ids) = &mut self.ids else { return false };
        ids.binary_search(&id.get()).map(|at| ids.remove(at)).is_ok()
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids().len()
    }

    /// True when none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids().is_empty()
    }

    /// All, ascending.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> + '_ {
        self.ids().iter().filter_map(|id| PacketId::new(*id))
    }

    fn ids(&self) -> &[u16] {
        self.ids.as_ref().map_or(&[], |ids| ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    #[test]
    fn an_identifier_is_new_once_until_released() {
        let mut received = Received::default();
        for n in [5, 3, 65535, 1] {
            assert!(received.insert(id(n)));
            assert!(!received.insert(id(n)));
        }
        assert!(received.contains(id(3)));
        assert!(received.remove(id(3)));
        assert!(!received.remove(id(3)));
        assert!(received.insert(id(3)));
        assert_eq!(received.iter().map(PacketId::get).collect::<Vec<_>>(), [1, 3, 5, 65535]);
        assert_eq!(received.len(), 4);
    }
}
