//! Numbers over time: each topic and field a series, cut into steps.

use std::collections::BTreeMap;

use cork_packet::matches;
use cork_store::WallTime;

use crate::{block::Block, number, shelf::Snapshot, vault::Vault, wire::Malformed};

/// What is asked.
#[derive(Clone, Debug)]
pub struct SeriesQuery {
    /// Topic Filter.
    pub filter: String,
    /// Path of a numeric field of JSON objects, as `a.b`; empty: the payload itself; `None`: all.
    pub field: Option<String>,
    /// From then on, in microseconds since 1970.
    pub since: u64,
    /// Before then.
    pub until: u64,
    /// Length of the steps in microseconds; `None`: each value.
    pub step: Option<u64>,
    /// Series, at most.
    pub series_max: usize,
    /// Points of all series together, at most.
    pub points_max: usize,
}

/// What the values of one step come to; of each value, if no steps were asked for.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Point {
    /// When the step begins, or the value came, in microseconds since 1970.
    pub time: u64,
    /// The smallest value.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their sum; infinite, or no number, if it is too large.
    pub sum: f64,
    /// The latest.
    pub last: f64,
    /// How many there are.
    pub count: u64,
    last_at: u64,
    /// The sum of all values, each times `SMALLER`: it cannot overflow.
    smaller: f64,
}

/// 2^-64: a factor that costs large numbers no digits.
const SMALLER: f64 = 1.0 / 18_446_744_073_709_551_616.0;

impl Point {
    fn of(time: u64, at: u64, value: f64) -> Self {
        Self {
            time,
            min: value,
            max: value,
            sum: value,
            last: value,
            count: 1,
            last_at: at,
            smaller: value * SMALLER,
        }
    }

    /// The mean value, also if the sum is too large for its type.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a count below 2^53")]
    pub fn mean(&self) -> f64 {
        let count = self.count as f64;
        let mean = if self.sum.is_finite() { self.sum / count } else { self.smaller / count / SMALLER };
        mean.clamp(self.min, self.max)
    }

    fn add(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.smaller += other.smaller;
        self.count += other.count;
        if other.last_at >= self.last_at {
            (self.last, self.last_at) = (other.last, other.last_at);
        }
    }
}

/// The numbers of one topic and field.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Topic Name.
    pub topic: String,
    /// Path of the field; empty: the payload itself.
    pub field: String,
    /// In the order of time.
    pub points: Vec<Point>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesAnswer {
    /// In the order of topics, then fields.
    pub series: Vec<Series>,
    /// There is more than was to be found.
    pub truncated: bool,
    /// Blocks that cannot be read: they are left out.
    pub damaged: u64,
}

/// What is being collected.
struct Collecting<'a> {
    query: &'a SeriesQuery,
    found: BTreeMap<(Box<str>, Box<str>), Steps>,
    points: usize,
    answer: SeriesAnswer,
}

#[derive(Default)]
struct Steps {
    steps: BTreeMap<u64, Point>,
    each: Vec<Point>,
}

impl Vault {
    /// The numbers of a time, of topics that `may` be read.
    #[must_use]
    pub fn series(&self, query: &SeriesQuery, now: WallTime, may: impl Fn(&str) -> bool) -> SeriesAnswer {
        self.catch_up();
        let mut all =
            Collecting { query, found: BTreeMap::new(), points: 0, answer: SeriesAnswer::default() };
        for snapshot in self.snapshots(query.since, query.until, now) {
            all.snapshot(self, &snapshot, &may);
        }
        all.finish()
    }
}

impl Collecting<'_> {
    fn snapshot(&mut self, vault: &Vault, snapshot: &Snapshot, may: &impl Fn(&str) -> bool) {
        let since = self.query.since.max(snapshot.cutoff);
        for place in &snapshot.places {
            let body = vault.body(place);
            if body.is_none_or(|body| self.block(&body, since, may).is_err()) {
                vault.note_damaged(place);
                self.answer.damaged += 1;
            }
        }
        for row in snapshot.rows() {
            let at = row.id.arrived.0;
            if at < since || at >= self.query.until || !matches(&self.query.filter, row.topic) {
                continue;
            }
            if !may(row.topic) {
                continue;
            }
            let field = self.query.field.clone();
            let wanted = |path: &str| field.as_deref().is_none_or(|field| field == path);
            match number::plain(row.payload) {
                Some(value) if wanted("") => self.add(row.topic, "", &[(at, value)], since),
                Some(_) => {}
                None => number::fields(row.payload, |path, value| {
                    if wanted(path) {
                        self.add(row.topic, path, &[(at, value)], since);
                    }
                }),
            }
        }
    }

    fn block(&mut self, body: &[u8], since: u64, may: &impl Fn(&str) -> bool) -> Result<(), Malformed> {
        let block = Block::open(body)?;
        let (mut arrived, mut plain) = (None, None);
        for group in &block.groups {
            let fields = self.fields_of(group);
            if fields.is_empty() || !matches(&self.query.filter, &group.topic) || !may(&group.topic) {
                continue;
            }
            if arrived.is_none() {
                arrived = Some(block.arrived()?);
            }
            if plain.is_none() {
                plain = Some(block.plain()?);
            }
            let (Some(arrived), Some(plain)) = (&arrived, &plain) else { continue };
            for field in fields {
                let points = block.points(group, &field, arrived, plain)?;
                self.add(&group.topic, &field, &points, since);
            }
        }
        Ok(())
    }

    fn fields_of(&self, group: &crate::block::Group) -> Vec<Box<str>> {
        match &self.query.field {
            Some(field) if group.has(field) => vec![field.as_str().into()],
            Some(_) => Vec::new(),
            None => {
                let mut fields = group.fields.clone();
                if group.has("") && !fields.iter().any(|field| field.is_empty()) {
                    fields.insert(0, "".into());
                }
                fields
            }
        }
    }

    /// Adds values of one series.
    fn add(&mut self, topic: &str, field: &str, values: &[(u64, f64)], since: u64) {
        let until = self.query.until;
        let mut values = values.iter().filter(|(at, _)| *at >= since && *at < until).peekable();
        if values.peek().is_none() {
            return;
        }
        let key = (topic.into(), field.into());
        if !self.found.contains_key(&key) && self.found.len() >= self.query.series_max {
            self.answer.truncated = true;
            return;
        }
        let steps = self.found.entry(key).or_default();
        let Some(step) = self.query.step.filter(|step| *step > 0) else {
            for (at, value) in values {
                if self.points >= self.query.points_max {
                    self.answer.truncated = true;
                    return;
                }
                self.points += 1;
                steps.each.push(Point::of(*at, *at, *value));
            }
            return;
        };
        let mut present: Option<Point> = None;
        for (at, value) in values {
            let one = Point::of(at - at % step, *at, *value);
            match &mut present {
                // Within the step, without looking for it.
                Some(point) if *at >= point.time && at - point.time < step => point.add(&one),
                other => {
                    if let Some(full) = other.replace(one) {
                        self.points += merge(steps, &full);
                    }
                }
            }
        }
        if let Some(last) = present {
            self.points += merge(steps, &last);
        }
        self.answer.truncated |= self.points > self.query.points_max;
    }

    fn finish(mut self) -> SeriesAnswer {
        let mut left = self.query.points_max;
        for ((topic, field), steps) in self.found {
            let mut points: Vec<Point> = steps.steps.into_values().chain(steps.each).collect();
            points.sort_by_key(|point| point.time);
            points.truncate(left);
            left -= points.len();
            self.answer.series.push(Series { topic: topic.into(), field: field.into(), points });
        }
        self.answer
    }
}

/// Adds to a step; how many steps there are more now.
fn merge(steps: &mut Steps, point: &Point) -> usize {
    match steps.steps.entry(point.time) {
        std::collections::btree_map::Entry::Occupied(mut step) => {
            step.get_mut().add(point);
            0
        }
        std::collections::btree_map::Entry::Vacant(step) => {
            step.insert(*point);
            1
        }
    }
}
