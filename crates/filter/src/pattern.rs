//! The pattern of `matches()`, and what a search with it may cost.

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

use crate::{PATTERN_BYTES_MAX, PATTERN_TEXT_BYTES_MAX};

/// What a compiled pattern may take.
const PROGRAM_BYTES_MAX: usize = 256 << 10;
/// Nested groups and repetitions.
const NEST_MAX: u32 = 32;
/// Bytes of text in a step, and places of the pattern that are tried at a byte.
const BYTES_IN_A_STEP: usize = 64;
const TRIES_IN_A_STEP: usize = 256;

/// A pattern that is ready.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    /// Characters and classes in it, repeated ones as often as they are: so many ways to go on there are at each byte of
    /// a text, at worst.
    places: usize,
}

impl Pattern {
    /// # Errors
    /// Why it is none.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("a pattern has at most {PATTERN_BYTES_MAX} bytes"));
        }
        let why = |error: String| {
            let line = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("this is no pattern: {line}")
        };
        let regex = RegexBuilder::new(text)
            .size_limit(PROGRAM_BYTES_MAX)
            .dfa_size_limit(PROGRAM_BYTES_MAX)
            .nest_limit(NEST_MAX)
            .build()
            .map_err(|error| why(error.to_string()))?;
        let hir = regex_syntax::ParserBuilder::new()
            .nest_limit(NEST_MAX)
            .build()
            .parse(text)
            .map_err(|error| why(error.to_string()))?;
        Ok(Self { regex, places: places(&hir) })
    }

    /// The steps of a search, as if every place were tried at every byte; `None` for a text that is too long.
    pub(crate) fn steps(&self, len: usize) -> Option<usize> {
        let tries = len.saturating_mul(self.places);
        (len <= PATTERN_TEXT_BYTES_MAX).then(|| len / BYTES_IN_A_STEP + tries / TRIES_IN_A_STEP)
    }
}

/// As deep as [`NEST_MAX`] lets it be.
fn places(hir: &Hir) -> usize {
    let sum = |all: &[Hir]| all.iter().fold(0_usize, |sum, one| sum.saturating_add(places(one)));
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(_) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            places(&repetition.sub).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
        HirKind::Capture(capture) => places(&capture.sub),
        HirKind::Concat(all) | HirKind::Alternation(all) => sum(all),
    }
}
