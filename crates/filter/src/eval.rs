//! An expression's value for one message.

use std::{borrow::Cow, cmp::Ordering, sync::Arc};

use crate::{
    PATTERN_TEXT_BYTES_MAX, STEPS_MAX,
    compile::{Name, Node, Quantifier, Relation},
    functions,
    message::{Root, Seen},
    number::Number,
    tape::Kind,
    value::{Arithmetic, Miss, Result, Value, arithmetic},
};

/// Bytes that are looked at, and that are copied, in what counts as one step.
const BYTES_READ_IN_A_STEP: usize = 1024;
const BYTES_COPIED_IN_A_STEP: usize = 64;

/// One evaluation.
pub(crate) struct Eval<'e, 'm> {
    seen: &'e Seen<'m>,
    steps: u32,
    /// Present elements of the lists that are gone through, the innermost last.
    locals: Vec<Value<'e>>,
}

impl<'e, 'm: 'e> Eval<'e, 'm> {
    pub(crate) fn new(seen: &'e Seen<'m>) -> Self {
        Self { seen, steps: 0, locals: Vec::new() }
    }

    /// Counts work done.
    #[inline]
    fn step(&mut self, count: usize) -> Result<()> {
        self.steps = self.steps.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if self.steps > STEPS_MAX { Err(Miss::Cost) } else { Ok(()) }
    }

    pub(crate) fn reads(&mut self, bytes: usize) -> Result<()> {
        self.step(bytes / BYTES_READ_IN_A_STEP)
    }

    pub(crate) fn copies(&mut self, bytes: usize) -> Result<()> {
        self.step(bytes / BYTES_COPIED_IN_A_STEP)
    }

    /// Whether a condition holds. The way most of an evaluation goes: no value is made of what is true or false.
    pub(crate) fn truth(&mut self, node: &'e Node) -> Result<bool> {
        match node {
            Node::Not(inner) => {
                self.step(1)?;
                Ok(!self.truth(inner)?)
            }
            Node::And(all) => self.decided_by(all, false),
            Node::Or(all) => self.decided_by(all, true),
            Node::Relation(relation, both) => self.relation(*relation, &both.0, &both.1),
            Node::In(both) => self.is_in(&both.0, &both.1),
            _ => self.value(node)?.bool(),
        }
    }

    pub(crate) fn value(&mut self, node: &'e Node) -> Result<Value<'e>> {
        self.step(1)?;
        match node {
            Node::Constant(value) => Ok(borrowed(value)),
            Node::Name(name) => self.name(*name),
            Node::Local(depth) => self.locals.get(*depth).cloned().ok_or(Miss::Absent),
            Node::Path(names) => self.path(names),
            Node::Field(inner, name) => {
                let inner = self.value(inner)?;
                self.field(&inner, name)?.ok_or(Miss::Absent)
            }
            Node::Has(inner, name) => {
                let inner = self.value(inner)?;
                self.has(&inner, name).map(Value::Bool)
            }
            Node::Index(both) => self.index(&both.0, &both.1),
            Node::Not(_) | Node::And(_) | Node::Or(_) | Node::Relation(..) | Node::In(_) => {
                self.truth(node).map(Value::Bool)
            }
            Node::Negate(inner) => self.negate(inner),
            Node::Arithmetic(sign, both) => self.arithmetic(*sign, &both.0, &both.1),
            Node::Choice(parts) => {
                let (condition, yes, no) = &**parts;
                if self.truth(condition)? { self.value(yes) } else { self.value(no) }
            }
            Node::Call(function, arguments) => functions::call(self, *function, arguments),
            Node::Matches(text, pattern) => {
                let Value::Text(text) = self.value(text)? else { return Err(Miss::Absent) };
                if text.len() > PATTERN_TEXT_BYTES_MAX {
                    return Err(Miss::Cost);
                }
                self.copies(text.len())?;
                Ok(Value::Bool(pattern.is_match(&text)))
            }
            Node::List(nodes) => {
                let values: Result<Arc<[Value<'e>]>> = nodes.iter().map(|node| self.value(node)).collect();
                Ok(Value::List(values?))
            }
            Node::Map(pairs) => {
                let pairs: Result<Arc<[(Value<'e>, Value<'e>)]>> =
                    pairs.iter().map(|(key, value)| Ok((self.value(key)?, self.value(value)?))).collect();
                Ok(Value::Map(pairs?))
            }
            Node::Each(quantifier, parts, depth) => self.each(*quantifier, &parts.0, &parts.1, *depth),
        }
    }

    fn name(&self, name: Name) -> Result<Value<'e>> {
        let message = &self.seen.message;
        let text = |text: &'e str| Ok(Value::Text(Cow::Borrowed(text)));
        match name {
            Name::Payload => self.payload(),
            Name::Number => self.seen.number().map(Value::Number).ok_or(Miss::Absent),
            Name::Type => text(self.seen.payload_type().name()),
            Name::Topic => Ok(Value::Levels),
            Name::WholeTopic => text(message.topic),
            Name::Qos => Ok(Value::Number(Number::Int(message.qos.into()))),
            Name::Retain => Ok(Value::Bool(message.retain)),
            Name::Size => {
                Ok(Value::Number(Number::Int(i64::try_from(message.payload.len()).unwrap_or(i64::MAX))))
            }
            Name::ContentType => text(message.properties.content_type().unwrap_or_default()),
            Name::ClientId => text(message.client_id),
            Name::User => text(message.user),
            Name::Property => Ok(Value::Properties),
        }
    }

    fn payload(&self) -> Result<Value<'e>> {
        match self.seen.root() {
            Root::Number(number) => Ok(Value::Number(number)),
            Root::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
            Root::Bytes(bytes) => Ok(Value::Bytes(Cow::Borrowed(bytes))),
            Root::Tape => self.part(0),
        }
    }

    /// The value at a place of the payload.
    #[inline]
    pub(crate) fn part(&self, at: u32) -> Result<Value<'e>> {
        let document = self.seen.document();
        Ok(match document.kind(at) {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(value),
            Kind::Int(value) => Value::Number(Number::Int(value)),
            Kind::Uint(value) => Value::Number(Number::Uint(value)),
            Kind::Double(value) => Value::Number(Number::Double(value)),
            Kind::Digits(from, to) => Value::Number(document.digits(from, to).ok_or(Miss::Absent)?),
            Kind::Text(..) | Kind::Escaped(..) => Value::Text(document.text(at).ok_or(Miss::Absent)?),
            Kind::Bytes(..) => Value::Bytes(Cow::Borrowed(document.bytes(at).ok_or(Miss::Absent)?)),
            Kind::List(_) | Kind::Map(_) => Value::Part(at),
            Kind::Opaque => return Err(Miss::Absent),
        })
    }

    fn path(&mut self, names: &[Box<str>]) -> Result<Value<'e>> {
        if self.seen.root() != Root::Tape {
            return Err(Miss::Absent);
        }
        let document = self.seen.document();
        let mut at = 0;
        for name in names {
            let Kind::Map(pairs) = document.kind(at) else { return Err(Miss::Absent) };
            self.step(1 + pairs as usize / 8)?;
            at = document.field(at, name).ok_or(Miss::Absent)?;
        }
        self.part(at)
    }

    /// Whether a map has a field, whatever can be said of its value.
    fn has(&mut self, map: &Value<'e>, name: &str) -> Result<bool> {
        let document = self.seen.document();
        if let Value::Part(at) = map
            && let Kind::Map(pairs) = document.kind(*at)
        {
            self.step(pairs as usize / 8)?;
            return Ok(document.field(*at, name).is_some());
        }
        Ok(self.field(map, name)?.is_some())
    }

    /// The field of a map; `Ok(None)` when it does not have it.
    fn field(&mut self, map: &Value<'e>, name: &str) -> Result<Option<Value<'e>>> {
        match map {
            Value::Part(at) => {
                let document = self.seen.document();
                let Kind::Map(pairs) = document.kind(*at) else { return Err(Miss::Absent) };
                self.step(pairs as usize / 8)?;
                document.field(*at, name).map(|at| self.part(at)).transpose()
            }
            Value::Properties => {
                Ok(self.seen.message.properties.user(name).map(|text| Value::Text(Cow::Borrowed(text))))
            }
            Value::Map(pairs) => {
                self.step(pairs.len() / 8)?;
                let named = |key: &Value<'e>| matches!(key, Value::Text(text) if text == name);
                Ok(pairs.iter().find(|(key, _)| named(key)).map(|(_, value)| value.clone()))
            }
            _ => Err(Miss::Absent),
        }
    }

    fn index(&mut self, inner: &'e Node, index: &'e Node) -> Result<Value<'e>> {
        let (inner, index) = (self.value(inner)?, self.value(index)?);
        let element = match (&inner, &index) {
            (_, Value::Text(name)) => self.field(&inner, name)?,
            (Value::List(values), Value::Number(at)) => whole(*at).and_then(|at| values.get(at)).cloned(),
            (Value::Levels, Value::Number(at)) => {
                let level = whole(*at).and_then(|at| self.seen.message.topic.split('/').nth(at));
                level.map(|level| Value::Text(Cow::Borrowed(level)))
            }
            (Value::Part(at), Value::Number(index)) if self.is_list(*at) => {
                let document = self.seen.document();
                let index = whole(*index).ok_or(Miss::Absent)?;
                self.step(index / 8)?;
                document.children(*at).nth(index).map(|at| self.part(at)).transpose()?
            }
            (Value::Part(_) | Value::Map(_), _) => return self.entry(&inner, &index)?.ok_or(Miss::Absent),
            _ => None,
        };
        element.ok_or(Miss::Absent)
    }

    fn is_list(&self, at: u32) -> bool {
        matches!(self.seen.document().kind(at), Kind::List(_))
    }

    /// The value under a key of a map that need not be a text.
    fn entry(&mut self, map: &Value<'e>, wanted: &Value<'e>) -> Result<Option<Value<'e>>> {
        match map {
            Value::Part(at) if !self.is_list(*at) => {
                let children: Vec<u32> = self.children(*at)?;
                let mut found = None;
                for pair in children.chunks_exact(2) {
                    self.step(1)?;
                    if self.part(pair[0]).is_ok_and(|key| same_scalar(&key, wanted)) {
                        found = Some(self.part(pair[1])?);
                    }
                }
                Ok(found)
            }
            Value::Map(pairs) => {
                self.step(pairs.len())?;
                Ok(pairs.iter().find(|(key, _)| same_scalar(key, wanted)).map(|(_, value)| value.clone()))
            }
            _ => Err(Miss::Absent),
        }
    }

    /// The places of a list's elements, or of a map's keys and values by turns.
    fn children(&mut self, at: u32) -> Result<Vec<u32>> {
        let document = self.seen.document();
        if let Kind::List(count) | Kind::Map(count) = document.kind(at) {
            self.step(count as usize / 4)?;
        }
        Ok(document.children(at).collect())
    }

    fn negate(&mut self, inner: &'e Node) -> Result<Value<'e>> {
        let Value::Number(number) = self.value(inner)? else { return Err(Miss::Absent) };
        let negative = match number {
            Number::Int(value) => Number::Int(value.checked_neg().ok_or(Miss::Absent)?),
            Number::Double(value) => Number::Double(-value),
            Number::Uint(_) => return Err(Miss::Absent),
        };
        Ok(Value::Number(negative))
    }

    /// `&&` and `||`: one side that decides absorbs what is wrong with the others.
    fn decided_by(&mut self, all: &'e [Node], deciding: bool) -> Result<bool> {
        let mut missed = None;
        for node in all {
            match self.truth(node) {
                Ok(value) if value == deciding => return Ok(deciding),
                Ok(_) => {}
                Err(Miss::Cost) => return Err(Miss::Cost),
                Err(miss) => missed = Some(miss),
            }
        }
        missed.map_or(Ok(!deciding), Err)
    }

    fn relation(&mut self, relation: Relation, left: &'e Node, right: &'e Node) -> Result<bool> {
        let left = self.value(left)?;
        if let Node::Constant(right) = right {
            return self.holds(relation, &left, right); // without a copy
        }
        let right = self.value(right)?;
        self.holds(relation, &left, &right)
    }

    fn holds(&mut self, relation: Relation, left: &Value<'e>, right: &Value<'e>) -> Result<bool> {
        let order = match relation {
            Relation::Equal => return self.equal(left, right),
            Relation::Unequal => return self.equal(left, right).map(|equal| !equal),
            _ => {
                if let (Value::Text(a), Value::Text(b)) = (left, right) {
                    self.reads(a.len().min(b.len()))?;
                }
                left.order(right)?
            }
        };
        Ok(match relation {
            Relation::Less => order == Ordering::Less,
            Relation::LessOrEqual => order != Ordering::Greater,
            Relation::Greater => order == Ordering::Greater,
            _ => order != Ordering::Less,
        })
    }

    /// Equality by value. Values of different types are not equal; numbers are one type.
    pub(crate) fn equal(&mut self, left: &Value<'e>, right: &Value<'e>) -> Result<bool> {
        self.step(1)?;
        Ok(match (left, right) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a.order(*b) == Some(Ordering::Equal),
            (Value::Text(a), Value::Text(b)) => {
                self.reads(a.len().min(b.len()))?;
                a == b
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                self.reads(a.len().min(b.len()))?;
                a == b
            }
            _ => match (self.elements(left)?, self.elements(right)?) {
                (Some(a), Some(b)) => self.equal_lists(&a, &b)?,
                (None, None) => self.equal_maps(left, right)?,
                _ => false,
            },
        })
    }

    fn equal_lists(&mut self, a: &[Value<'e>], b: &[Value<'e>]) -> Result<bool> {
        if a.len() != b.len() {
            return Ok(false);
        }
        for (a, b) in a.iter().zip(b) {
            if !self.equal(a, b)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn equal_maps(&mut self, left: &Value<'e>, right: &Value<'e>) -> Result<bool> {
        let (Some(a), Some(b)) = (self.pairs(left)?, self.pairs(right)?) else { return Ok(false) };
        if a.len() != b.len() {
            return Ok(false);
        }
        for (key, value) in &a {
            self.step(b.len())?;
            let Some((_, other)) = b.iter().find(|(other, _)| same_scalar(key, other)) else {
                return Ok(false);
            };
            if !self.equal(value, other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The elements of a list; `None` for what is none.
    pub(crate) fn elements(&mut self, list: &Value<'e>) -> Result<Option<Vec<Value<'e>>>> {
        match list {
            Value::List(values) => {
                self.step(values.len() / 4)?;
                Ok(Some(values.to_vec()))
            }
            Value::Levels => {
                let levels = self.seen.message.topic.split('/');
                Ok(Some(levels.map(|level| Value::Text(Cow::Borrowed(level))).collect()))
            }
            Value::Part(at) if self.is_list(*at) => {
                self.children(*at)?.into_iter().map(|at| self.part(at)).collect::<Result<_>>().map(Some)
            }
            _ => Ok(None),
        }
    }

    fn pairs(&mut self, map: &Value<'e>) -> Result<Option<Vec<(Value<'e>, Value<'e>)>>> {
        match map {
            Value::Map(pairs) => Ok(Some(pairs.to_vec())),
            Value::Part(at) if !self.is_list(*at) => {
                let children = self.children(*at)?;
                let pairs =
                    children.chunks_exact(2).map(|pair| Ok((self.part(pair[0])?, self.part(pair[1])?)));
                pairs.collect::<Result<_>>().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How many elements or pairs there are.
    pub(crate) fn count(&self, value: &Value<'e>) -> Option<usize> {
        match value {
            Value::List(values) => Some(values.len()),
            Value::Map(pairs) => Some(pairs.len()),
            Value::Levels => Some(self.seen.message.topic.split('/').count()),
            Value::Part(at) => match self.seen.document().kind(*at) {
                Kind::List(count) | Kind::Map(count) => Some(count as usize),
                _ => None,
            },
            _ => None,
        }
    }

    fn is_in(&mut self, wanted: &'e Node, container: &'e Node) -> Result<bool> {
        let wanted = self.value(wanted)?;
        if let Node::Constant(Value::List(values)) = container {
            return self.is_one_of(&wanted, values); // the usual case, without a copy
        }
        let container = self.value(container)?;
        if let Some(elements) = self.elements(&container)? {
            return self.is_one_of(&wanted, &elements);
        }
        match &wanted {
            Value::Text(name) => Ok(self.field(&container, name)?.is_some()),
            _ => Ok(self.entry(&container, &wanted)?.is_some()),
        }
    }

    fn is_one_of(&mut self, wanted: &Value<'e>, values: &[Value<'e>]) -> Result<bool> {
        for value in values {
            if self.equal(wanted, value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn arithmetic(&mut self, sign: Arithmetic, left: &'e Node, right: &'e Node) -> Result<Value<'e>> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        match (&left, &right) {
            (Value::Number(a), Value::Number(b)) => arithmetic(sign, *a, *b).map(Value::Number),
            _ if sign != Arithmetic::Add => Err(Miss::Absent),
            (Value::Text(a), Value::Text(b)) => {
                self.copies(a.len() + b.len())?;
                Ok(Value::Text(Cow::Owned([&**a, &**b].concat())))
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                self.copies(a.len() + b.len())?;
                Ok(Value::Bytes(Cow::Owned([&**a, &**b].concat())))
            }
            _ => {
                let (Some(mut a), Some(b)) = (self.elements(&left)?, self.elements(&right)?) else {
                    return Err(Miss::Absent);
                };
                self.step(a.len() + b.len())?;
                a.extend(b);
                Ok(Value::List(a.into()))
            }
        }
    }

    fn each(
        &mut self,
        quantifier: Quantifier,
        range: &'e Node,
        body: &'e Node,
        depth: usize,
    ) -> Result<Value<'e>> {
        let range = self.value(range)?;
        let elements = match self.elements(&range)? {
            Some(elements) => elements,
            None => self.pairs(&range)?.ok_or(Miss::Absent)?.into_iter().map(|(key, _)| key).collect(),
        };
        let (mut missed, mut count, mut kept) = (None, 0, Vec::new());
        for element in elements {
            self.locals.truncate(depth);
            self.locals.push(element.clone());
            if quantifier == Quantifier::Map {
                kept.push(self.value(body)?);
                continue;
            }
            match (quantifier, self.truth(body)) {
                (_, Err(Miss::Cost)) => return Err(Miss::Cost),
                // As with `&&` and `||`: an element that decides absorbs what is wrong with others.
                (Quantifier::All | Quantifier::Exists, Err(miss)) => missed = Some(miss),
                (_, Err(miss)) => return Err(miss),
                (Quantifier::All, Ok(false)) => return Ok(Value::Bool(false)),
                (Quantifier::Exists, Ok(true)) => return Ok(Value::TRUE),
                (Quantifier::Filter, Ok(true)) => kept.push(element),
                (_, Ok(holds)) => count += usize::from(holds),
            }
        }
        self.locals.truncate(depth);
        match (quantifier, missed) {
            (_, Some(miss)) => Err(miss),
            (Quantifier::All, None) => Ok(Value::TRUE),
            (Quantifier::Exists, None) => Ok(Value::Bool(false)),
            (Quantifier::ExistsOne, None) => Ok(Value::Bool(count == 1)),
            (Quantifier::Filter | Quantifier::Map, None) => Ok(Value::List(kept.into())),
        }
    }
}

/// A constant without copying its text.
fn borrowed<'e>(value: &'e Value<'static>) -> Value<'e> {
    match value {
        Value::Text(text) => Value::Text(Cow::Borrowed(text)),
        Value::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        other => other.clone(),
    }
}

fn same_scalar(a: &Value<'_>, b: &Value<'_>) -> bool {
    matches!(a.order(b), Ok(Ordering::Equal))
}

/// The place a number names, if it is a whole one.
fn whole(number: Number) -> Option<usize> {
    match number {
        Number::Int(value) => usize::try_from(value).ok(),
        Number::Uint(value) => usize::try_from(value).ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number within range"
        )]
        Number::Double(value) => {
            ((0.0..4e9).contains(&value) && value.fract() == 0.0).then_some(value as usize)
        }
    }
}
