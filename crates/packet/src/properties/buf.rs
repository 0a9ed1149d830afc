//! Properties under construction.

use super::id::PropertyId;
use super::property::Property;
use super::{INVALID, Properties};
use crate::PropertyError;

/// Owns a block of Properties, for packets we send and messages we keep.
///
/// It does not know its packet, so it neither checks what belongs there nor what repeats. A value that no
/// packet can carry (a string of more than 65535 bytes, a Subscription Identifier above 268 435 455) is not
/// written but remembered: [`check`](Self::check) says which, and encoding a packet with this block fails with
/// [`EncodeError::Properties`].
///
/// [`EncodeError::Properties`]: crate::EncodeError::Properties
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PropertiesBuf {
    raw: Vec<u8>,
    present: u64,
    /// Of what was pushed, the first that could not be written.
    fault: Option<PropertyError>,
}

impl PropertiesBuf {
    /// An empty block; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { raw: Vec::new(), present: 0, fault: None }
    }

    /// Appends a Property.
    pub fn push(&mut self, property: Property<'_>) {
        let start = self.raw.len();
        match property.encode(&mut self.raw) {
            Ok(()) => self.present |= property.id().bit(),
            Err(fault) => {
                self.raw.truncate(start);
                self.present |= INVALID;
                self.fault.get_or_insert(fault);
            }
        }
    }

    /// Removes every Property with this identifier; what could not be written stays remembered. Cost: linear.
    pub fn remove(&mut self, id: PropertyId) {
        if !self.as_properties().has(id) {
            return;
        }
        let rest: Self = self.as_properties().iter().filter(|property| property.id() != id).collect();
        self.raw = rest.raw;
        self.present = rest.present | self.present & INVALID;
    }

    /// The first that was pushed and that no packet can carry.
    ///
    /// # Errors
    /// Which it is, and why.
    pub const fn check(&self) -> Result<(), PropertyError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Removes all Properties, keeps the memory.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.present = 0;
        self.fault = None;
    }

    /// Whether there is nothing to be written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The block as packets take it.
    #[inline]
    #[must_use]
    pub fn as_properties(&self) -> Properties<'_> {
        Properties { raw: &self.raw, present: self.present }
    }
}

impl From<Properties<'_>> for PropertiesBuf {
    fn from(properties: Properties<'_>) -> Self {
        // A block that lacks something is a buffer's, and that buffer is where to ask what it lacks.
        Self { raw: properties.raw.to_vec(), present: properties.present, fault: None }
    }
}

impl<'a> From<&'a PropertiesBuf> for Properties<'a> {
    fn from(buf: &'a PropertiesBuf) -> Self {
        buf.as_properties()
    }
}

impl<'a> Extend<Property<'a>> for PropertiesBuf {
    fn extend<I: IntoIterator<Item = Property<'a>>>(&mut self, properties: I) {
        for property in properties {
            self.push(property);
        }
    }
}

impl<'a> FromIterator<Property<'a>> for PropertiesBuf {
    fn from_iter<I: IntoIterator<Item = Property<'a>>>(properties: I) -> Self {
        let mut buf = Self::new();
        buf.extend(properties);
        buf
    }
}

impl std::fmt::Debug for PropertiesBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_properties().fmt(f)
    }
}
