//! Models in short: `range:20..30`, `walk:20..30:0.2`, `states:open,closed:0.1`.

use std::time::Duration;

use cork_settings::{read::nearest, units::parse_duration};

use super::{Model, Sample, TimeFormat};

/// Every model and how it is written.
pub const MODELS: [(&str, &str); 9] = [
    ("range", "range:20..30"),
    ("walk", "walk:20..30:0.2"),
    ("daily", "daily:18..24:0.2"),
    ("constant", "constant:21.5"),
    ("states", "states:open,closed:0.1"),
    ("event", "event:motion:0.2"),
    ("count", "count:0:1"),
    ("time", "time"),
    ("column", "column:temperature"),
];

/// When it is warmest, unless said otherwise.
pub(crate) const PEAK: Duration = Duration::from_secs(15 * 3600);
/// How long a day is, unless said otherwise.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

impl Model {
    /// Reads a model in short; bounds alone, as `20..30`, are a range.
    ///
    /// # Errors
    /// What is wrong, and how it would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        if let Some((min, max)) = text.split_once("..").filter(|_| !text.contains(':')) {
            let (min, max) = bounds(min, max)?;
            return Ok(Self::Range { min, max });
        }
        let parts: Vec<&str> = if rest.is_empty() { Vec::new() } else { rest.split(':').collect() };
        let model = match (name, parts.as_slice()) {
            ("range", [range]) => {
                let (min, max) = parse_range(range)?;
                Self::Range { min, max }
            }
            ("walk", [range, more @ ..]) if more.len() <= 1 => {
                let (min, max) = parse_range(range)?;
                let step = more.first().map_or(Ok((max - min) / 50.0), |step| positive(step))?;
                Self::Walk { min, max, step }
            }
            ("daily", [range, more @ ..]) if more.len() <= 2 => {
                let (min, max) = parse_range(range)?;
                let noise = more.first().map_or(Ok((max - min) / 50.0), |noise| positive(noise))?;
                let period = more.get(1).map_or(Ok(DAY), |period| day(period))?;
                Self::Daily {
                    min,
                    max,
                    noise,
                    peak: PEAK.mul_f64(period.as_secs_f64() / DAY.as_secs_f64()),
                    period,
                }
            }
            // A constant may have colons in it.
            ("constant", [_, ..]) => Self::Constant(Sample::of(rest)),
            ("states", [list, more @ ..]) if more.len() <= 1 => {
                let states: Vec<Sample> = list.split(',').map(Sample::of).collect();
                Self::States { states, probability: more.first().map_or(Ok(0.1), |text| probability(text))? }
            }
            ("event", [value, more @ ..]) if more.len() <= 1 => Self::Event {
                value: Sample::of(value),
                probability: more.first().map_or(Ok(0.1), |text| probability(text))?,
            },
            ("count", more) if more.len() <= 2 => Self::Count {
                from: more.first().map_or(Ok(0.0), |text| number(text))?,
                step: more.get(1).map_or(Ok(1.0), |text| number(text))?,
            },
            ("time", []) => Self::Time(TimeFormat::Rfc3339),
            ("time", ["unix"]) => Self::Time(TimeFormat::Unix),
            ("time", ["unix_ms"]) => Self::Time(TimeFormat::UnixMillis),
            ("column", [_, ..]) => Self::Column(rest.to_owned()),
            _ => return Err(refused(name)),
        };
        Ok(model)
    }
}

fn refused(name: &str) -> String {
    if let Some((_, example)) = MODELS.iter().find(|(known, _)| *known == name) {
        return format!("`{name}` is written like `{example}`");
    }
    let names = MODELS.map(|(name, _)| name);
    let meant = nearest(name, &names).map_or_else(String::new, |name| format!(" Did you mean `{name}`?"));
    let examples: Vec<String> = MODELS.iter().map(|(_, example)| format!("`{example}`")).collect();
    format!("there is no model `{name}`.{meant} Models are {}", examples.join(", "))
}

/// Reads `20..30`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_range(text: &str) -> Result<(f64, f64), String> {
    let (min, max) = text
        .split_once("..")
        .ok_or_else(|| format!("`{text}` has no bounds; they are written like 20..30"))?;
    bounds(min, max)
}

fn bounds(min: &str, max: &str) -> Result<(f64, f64), String> {
    let (min, max) = (number(min)?, number(max)?);
    if min > max {
        return Err(format!("{min}..{max} goes down; write {max}..{min}"));
    }
    Ok((min, max))
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number: &f64| number.abs() <= NUMBER_MAX);
    number.ok_or_else(|| format!("`{text}` is no number"))
}

/// No measurement is larger, and sums of these cannot overflow.
pub(crate) const NUMBER_MAX: f64 = 1e15;

fn positive(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if number < 0.0 { Err(format!("`{text}` is less than 0")) } else { Ok(number) }
}

fn probability(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err(format!("`{text}`: a probability is from 0 to 1"))
    }
}

fn day(text: &str) -> Result<Duration, String> {
    let period = parse_duration(text).filter(|period| !period.is_zero());
    period.ok_or_else(|| format!("`{text}` is no time; a day is as long as 24h, or 5m to see it soon"))
}
