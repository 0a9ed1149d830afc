//! One node's part of its filters: one or more levels, without the slashes at its ends.

/// Bytes kept in the node itself; longer labels are on the heap.
const SHORT_MAX: usize = 21;

/// The levels of one node and how they are to be compared.
#[derive(Debug)]
pub(super) enum Label {
    Short { shape: Shape, len: u8, bytes: [u8; SHORT_MAX] },
    Long { shape: Shape, bytes: Box<[u8]> },
}

/// What a label consists of, so that the common kinds need no walk over levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One level, no wildcard.
    Level,
    /// Just `+`.
    Plus,
    /// Two or more levels, no wildcard.
    Levels,
    /// Two or more levels, at least one of them `+`.
    Mixed,
}

impl Label {
    pub(super) fn new(label: &[u8]) -> Self {
        let shape = Shape::of(label);
        let mut bytes = [0; SHORT_MAX];
        match (bytes.get_mut(..label.len()), u8::try_from(label.len())) {
            (Some(front), Ok(len)) => {
                front.copy_from_slice(label);
                Self::Short { shape, len, bytes }
            }
            _ => Self::Long { shape, bytes: label.into() },
        }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes, .. } => &bytes[..usize::from(*len).min(SHORT_MAX)],
            Self::Long { bytes, .. } => bytes,
        }
    }

    #[inline]
    pub(super) fn shape(&self) -> Shape {
        match self {
            Self::Short { shape, .. } | Self::Long { shape, .. } => *shape,
        }
    }

    /// The levels before and after the slash at byte `at`.
    pub(super) fn cut(&self, at: usize) -> (Self, Self) {
        let bytes = self.bytes();
        (Self::new(&bytes[..at]), Self::new(&bytes[at + 1..]))
    }

    /// This label's levels, then `below`'s.
    pub(super) fn join(&self, below: &Self) -> Self {
        Self::new(&[self.bytes(), below.bytes()].join(&b'/'))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long { bytes, .. } => bytes.len(),
        }
    }
}

impl Shape {
    fn of(label: &[u8]) -> Self {
        let mut levels = label.split(|byte| *byte == b'/');
        let plus = levels.clone().any(|level| level == b"+");
        match (plus, levels.nth(1).is_some()) {
            (false, false) => Self::Level,
            (true, false) => Self::Plus,
            (false, true) => Self::Levels,
            (true, true) => Self::Mixed,
        }
    }
}
