//! A condition and when to pass on what meets it, as it is written in a topic filter, in SUBSCRIBE's User Properties
//! and in the configuration.

use std::{fmt::Write, time::Duration};

use crate::{Expression, FilterError};

/// The longest `every`.
pub const EVERY_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What `changed` looks at.
#[derive(Debug)]
pub enum Changed {
    /// The payload: its number, its text, or all of it.
    Payload,
    /// What is named.
    Named(Expression),
}

/// One filter.
#[derive(Debug, Default)]
pub struct Rule {
    /// What a message must meet; `None`: all do.
    pub when: Option<Expression>,
    /// Only messages whose value differs from the last one passed on.
    pub changed: Option<Changed>,
    /// How much a number must differ by more than.
    pub deadband: Option<f64>,
    /// At most one message in each such time; the latest wins.
    pub every: Option<Duration>,
}

impl Rule {
    /// Reads what stands between `$where/` and the next `/`: an expression, percent-encoded, and options behind `;`.
    ///
    /// # Errors
    /// What is wrong, with its place in the expression (after decoding).
    pub fn from_prefix(text: &str) -> Result<Self, FilterError> {
        let mut parts = text.split(';');
        let expression = percent_decode(parts.next().unwrap_or_default())?;
        let mut rule = Self::default();
        if !expression.trim().is_empty() {
            rule.when(&expression).map_err(cut_short)?;
        }
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            rule.option(&percent_decode(name)?, &percent_decode(value)?)?;
        }
        rule.checked()
    }

    /// Sets the condition.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn when(&mut self, expression: &str) -> Result<(), FilterError> {
        self.when = Some(Expression::condition(expression)?);
        Ok(())
    }

    /// Sets `changed`, `deadband` or `every`.
    ///
    /// # Errors
    /// The name is unknown or was set before, or its value is wrong.
    pub fn option(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        let value = value.trim();
        let twice = match name.trim() {
            "changed" => self.changed.is_some(),
            "deadband" => self.deadband.is_some(),
            "every" => self.every.is_some(),
            other => {
                let why = format!("unknown option `{other}`; there are changed, deadband and every");
                return Err(FilterError::new(why));
            }
        };
        if twice {
            return Err(FilterError::new(format!("{} is given twice", name.trim())));
        }
        match name.trim() {
            "changed" => self.changed = changed(value)?,
            "deadband" => self.deadband = Some(deadband(value)?),
            _ => self.every = Some(every(value)?),
        }
        Ok(())
    }

    /// The rule, if it does anything.
    ///
    /// # Errors
    /// It is empty.
    pub fn checked(self) -> Result<Self, FilterError> {
        if self.when.is_none() && self.changed.is_none() && self.deadband.is_none() && self.every.is_none() {
            return Err(FilterError::new("there is no condition, and no changed, deadband or every either"));
        }
        Ok(self)
    }

    /// Whether the last message passed on matters.
    #[must_use]
    pub const fn compares(&self) -> bool {
        self.changed.is_some() || self.deadband.is_some()
    }

    /// The same rule in the form that [`Rule::from_prefix`] reads.
    #[must_use]
    pub fn to_prefix(&self) -> String {
        let mut text = percent_encode(self.when.as_ref().map_or("", Expression::source));
        match &self.changed {
            Some(Changed::Payload) => text.push_str(";changed"),
            Some(Changed::Named(named)) => {
                text.push_str(";changed=");
                text.push_str(&percent_encode(named.source()));
            }
            None => {}
        }
        // Writing to a String cannot fail.
        if let Some(deadband) = self.deadband {
            let _ = write!(text, ";deadband={deadband}");
        }
        if let Some(every) = self.every {
            let _ = write!(text, ";every={}ms", every.as_millis());
        }
        text
    }
}

fn changed(value: &str) -> Result<Option<Changed>, FilterError> {
    Ok(match value {
        "" | "true" | "1" | "payload" => Some(Changed::Payload),
        "false" | "0" => None,
        named => Some(Changed::Named(Expression::value(named).map_err(|error| within("changed", &error))?)),
    })
}

/// In a prefix an expression ends at the first `/`: where something is left open, one was most likely meant to be in it.
fn cut_short(mut error: FilterError) -> FilterError {
    if error.why.contains("no closing quote") || error.why.ends_with("` is expected here, not the end") {
        error.why.push_str("; a / in an expression is written %2F in a topic filter");
    }
    error
}

fn within(option: &str, error: &FilterError) -> FilterError {
    FilterError::new(format!("in {option}, {error}"))
}

fn deadband(value: &str) -> Result<f64, FilterError> {
    let number = value.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| FilterError::new(format!("deadband is a number, as in deadband=0.5, not `{value}`")))
}

fn every(value: &str) -> Result<Duration, FilterError> {
    let wrong =
        || FilterError::new(format!("every is a time from 1ms to 30d, as in every=10s, not `{value}`"));
    let unit = value.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (count, unit) = value.split_at(unit);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let count: f64 = count.trim().parse().map_err(|_| wrong())?;
    let time = Duration::try_from_secs_f64(count * seconds).map_err(|_| wrong())?;
    // Whole milliseconds, so that what is written down is what is meant.
    let time = Duration::from_millis(u64::try_from(time.as_micros().div_ceil(1000)).map_err(|_| wrong())?);
    if time.is_zero() || time > EVERY_MAX { Err(wrong()) } else { Ok(time) }
}

/// Takes percent-encoding back.
///
/// # Errors
/// A `%` without two hexadecimal digits behind it, or what comes out is no text.
pub fn percent_decode(text: &str) -> Result<String, FilterError> {
    let bad = |at: usize| FilterError {
        position: Some(text[..at].chars().count() + 1),
        why: "a % is written %25 here; the characters / + # ; are encoded, too (%2F %2B %23 %3B)".into(),
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        if matches!(byte, b'+' | b'#') {
            return Err(bad(at));
        }
        if *byte != b'%' {
            bytes.push(*byte);
            at += 1;
            continue;
        }
        let digits =
            text.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(|| bad(at))?;
        bytes.push(code);
        at += 3;
    }
    String::from_utf8(bytes).map_err(|_| FilterError::new("what is percent-encoded is not UTF-8"))
}

/// Encodes what may not stand in a prefix: `/ + # % ;`.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '/' => out.push_str("%2F"),
            '+' => out.push_str("%2B"),
            '#' => out.push_str("%23"),
            '%' => out.push_str("%25"),
            ';' => out.push_str("%3B"),
            other => out.push(other),
        }
    }
    out
}
