//! Values in scenario files: in short as on the command line, or as a table.

use std::{ops::Range, time::Duration};

use cork_settings::{
    read::Section,
    values::{duration, number, text, word},
};
use toml::{Spanned, de::DeValue};

use super::{Fields, PACE};
use crate::{
    model::{DAY, MODELS, Model, NUMBER_MAX, PEAK, Sample, TimeFormat},
    payload::Value,
};

const FORMATS: &[(&str, TimeFormat)] =
    &[("rfc3339", TimeFormat::Rfc3339), ("unix", TimeFormat::Unix), ("unix_ms", TimeFormat::UnixMillis)];

/// A value: `"range:20..30"`, `{ model = "range", min = 20, max = 30 }`, or a number or truth that stays the same.
pub(super) fn value<'i>(section: &Section<'_, 'i>, key: &str, said: Spanned<DeValue<'i>>) -> Option<Value> {
    let at = said.span();
    let model = match said.into_inner() {
        DeValue::Table(table) => return tabled(&at, section.nested(key, table)),
        DeValue::String(text) => Model::parse(&text),
        other => constant(&other).map(Model::Constant),
    };
    model.map(Value::new).map_err(|why| section.fault(&at, key, why)).ok()
}

/// The fields of a JSON object.
pub(super) fn fields(section: &mut Section<'_, '_>) -> Option<Fields> {
    let said = section.take("fields")?;
    let at = said.span();
    let DeValue::Table(table) = said.into_inner() else {
        section.fault(&at, "fields", "is a table, as fields.temperature = \"range:20..30\"".to_owned());
        return None;
    };
    let mut members: Vec<_> = table.into_iter().collect();
    members.sort_by_key(|(name, _)| name.span().start);
    let fields = members.into_iter().filter_map(|(name, said)| {
        let name = name.into_inner();
        Some((name.to_string(), value(section, &format!("fields.{name}"), said)?))
    });
    Some(fields.collect())
}

fn tabled(at: &Range<usize>, mut section: Section<'_, '_>) -> Option<Value> {
    let names = MODELS.map(|(name, _)| (name, name));
    let name = match section.take("model") {
        Some(said) => {
            word(&names)(said.get_ref()).map_err(|why| section.fault(&said.span(), "model", why)).ok()?
        }
        None => {
            let known = MODELS.map(|(name, _)| name).join(", ");
            section.fault(at, "model", format!("is needed: one of {known}"));
            return None;
        }
    };
    let model = Table { at, section: &mut section }.model(name);
    let decimals = section.read("decimals", number(0..=u64::from(Value::DECIMALS_MAX)));
    section.finish();
    Some(Value { model: model?, decimals: decimals.unwrap_or(Value::DECIMALS) })
}

/// The keys of one model.
struct Table<'s, 'f, 'i> {
    at: &'s Range<usize>,
    section: &'s mut Section<'f, 'i>,
}

impl Table<'_, '_, '_> {
    fn model(&mut self, name: &str) -> Option<Model> {
        Some(match name {
            "range" => {
                let (min, max) = self.bounds()?;
                Model::Range { min, max }
            }
            "walk" => {
                let (min, max) = self.bounds()?;
                Model::Walk { min, max, step: self.not_negative("step").unwrap_or((max - min) / 50.0) }
            }
            "daily" => {
                let (min, max) = self.bounds()?;
                let noise = self.not_negative("noise").unwrap_or((max - min) / 50.0);
                let peak = self.section.read("peak", duration(Duration::ZERO..=*PACE.end())).unwrap_or(PEAK);
                let period = self.section.read("period", duration(PACE)).unwrap_or(DAY);
                Model::Daily { min, max, noise, peak, period }
            }
            "constant" => Model::Constant(self.needed("value", constant)?),
            "states" => {
                Model::States { states: self.needed("states", states)?, probability: self.probability() }
            }
            "event" => {
                Model::Event { value: self.needed("value", constant)?, probability: self.probability() }
            }
            "count" => {
                let from = self.section.read("from", any_number).unwrap_or(0.0);
                Model::Count { from, step: self.section.read("step", any_number).unwrap_or(1.0) }
            }
            "time" => Model::Time(self.section.read("format", word(FORMATS)).unwrap_or(TimeFormat::Rfc3339)),
            _ => Model::Column(self.needed("column", text)?),
        })
    }

    fn needed<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        super::needed(self.at, self.section, key, read)
    }

    fn bounds(&mut self) -> Option<(f64, f64)> {
        let (min, max) = (self.needed("min", any_number), self.needed("max", any_number));
        let (min, max) = (min?, max?);
        if min > max {
            self.section.fault(self.at, "min", format!("{min} is more than max, which is {max}"));
            return None;
        }
        Some((min, max))
    }

    fn not_negative(&mut self, key: &'static str) -> Option<f64> {
        self.section.read(key, |value| {
            let number = any_number(value).ok().filter(|number| *number >= 0.0);
            number.ok_or_else(|| "accepted is a number from 0 on".to_owned())
        })
    }

    fn probability(&mut self) -> f64 {
        let read = self.section.read("probability", |value| {
            let number = any_number(value).ok().filter(|number| (0.0..=1.0).contains(number));
            number.ok_or_else(|| "accepted is a number from 0 to 1".to_owned())
        });
        read.unwrap_or(0.1)
    }
}

/// A number, if it is one.
pub(super) fn any_number(value: &DeValue<'_>) -> Result<f64, String> {
    let text = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        _ => "",
    };
    let number = text.parse().ok().filter(|number: &f64| number.abs() <= NUMBER_MAX);
    number.ok_or_else(|| "accepted is a number".to_owned())
}

/// Something that is sent as it stands.
fn constant(value: &DeValue<'_>) -> Result<Sample, String> {
    match value {
        DeValue::String(text) => Ok(Sample::Text(text.as_ref().into())),
        DeValue::Boolean(truth) => Ok(Sample::of(if *truth { "true" } else { "false" })),
        DeValue::Integer(number) if number.radix() == 10 => Ok(Sample::of(number.as_str())),
        DeValue::Float(number) if any_number(value).is_ok() => Ok(Sample::of(number.as_str())),
        _ => Err("accepted is text, a number, `true` or `false`".to_owned()),
    }
}

fn states(value: &DeValue<'_>) -> Result<Vec<Sample>, String> {
    let accepted = || "accepted is a list, as [\"open\", \"closed\"]".to_owned();
    let DeValue::Array(array) = value else { return Err(accepted()) };
    if array.is_empty() {
        return Err(accepted());
    }
    array.iter().map(|member| constant(member.get_ref())).collect()
}
