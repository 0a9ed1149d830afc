//! An expression's value for one message.

use std::{cmp::Ordering, sync::Arc};

use crate::{
    compile::{Name, Node, Quantifier, Relation},
    functions,
    message::{Root, Seen},
    number::Number,
    tape::{Document, Kind},
    value::{Arithmetic, Held, Miss, Result, Value, arithmetic},
};

/// Bytes that are looked at in what counts as one step: compared, searched or checked one by one, copied.
const BYTES_READ_IN_A_STEP: usize = 1024;
const BYTES_SEARCHED_IN_A_STEP: usize = 256;
const BYTES_COPIED_IN_A_STEP: usize = 64;
/// Properties are small and are taken apart one by one.
const PROPERTY_BYTES_IN_A_STEP: usize = 16;

/// One evaluation.
pub(crate) struct Eval<'e, 'm> {
    seen: &'e Seen<'m>,
    steps: u32,
    allowance: u32,
    /// Present elements of the lists that are gone through, the innermost last.
    locals: Vec<Value<'e>>,
}

impl<'e, 'm: 'e> Eval<'e, 'm> {
    pub(crate) fn new(seen: &'e Seen<'m>) -> Self {
        Self { seen, steps: 0, allowance: seen.allowance(), locals: Vec::new() }
    }

    /// One without limit, for what is done once for each message at most.
    pub(crate) fn unbounded(seen: &'e Seen<'m>) -> Self {
        Self { allowance: u32::MAX, ..Self::new(seen) }
    }

    /// The end: what it took is charged to the message.
    pub(crate) fn finish(self) {
        self.seen.spend(self.steps.min(self.allowance));
    }

    pub(crate) const fn seen(&self) -> &'e Seen<'m> {
        self.seen
    }

    /// Counts work done.
    #[inline]
    pub(crate) fn step(&mut self, count: usize) -> Result<()> {
        self.steps = self.steps.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if self.steps > self.allowance { Err(Miss::Cost) } else { Ok(()) }
    }

    pub(crate) fn reads(&mut self, bytes: usize) -> Result<()> {
        self.step(bytes / BYTES_READ_IN_A_STEP)
    }

    pub(crate) fn searches(&mut self, bytes: usize) -> Result<()> {
        self.step(bytes / BYTES_SEARCHED_IN_A_STEP)
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
            Node::Local(depth) => match self.locals.get(*depth) {
                Some(Value::Void) | None => Err(Miss::Absent),
                Some(value) => Ok(value.clone()),
            },
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
                self.step(pattern.steps(text.len()).ok_or(Miss::Cost)?)?;
                Ok(Value::Bool(pattern.regex.is_match(&text)))
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

    fn name(&mut self, name: Name) -> Result<Value<'e>> {
        let message = &self.seen.message;
        let text = |text: &'e str| Ok(Value::Text(Held::Borrowed(text)));
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
            Name::ContentType => {
                self.step(message.properties.bytes() / PROPERTY_BYTES_IN_A_STEP)?;
                text(message.properties.content_type().unwrap_or_default())
            }
            Name::ClientId => text(message.client_id),
            Name::User => text(message.user),
            Name::Property => Ok(Value::Properties),
        }
    }

    fn payload(&mut self) -> Result<Value<'e>> {
        match self.seen.root() {
            Root::Number(number) => Ok(Value::Number(number)),
            Root::Text(text) => Ok(Value::Text(Held::Borrowed(text))),
            Root::Bytes(bytes) => Ok(Value::Bytes(Held::Borrowed(bytes))),
            Root::Tape(_) => self.part(0),
        }
    }

    /// The value at a place of the payload.
    #[inline]
    pub(crate) fn part(&mut self, at: u32) -> Result<Value<'e>> {
        let document = self.seen.document();
        let kind = document.kind(at);
        self.step(cost_of(document, kind))?;
        Ok(match kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(value),
            Kind::Int(value) => Value::Number(Number::Int(value)),
            Kind::Uint(value) => Value::Number(Number::Uint(value)),
            Kind::Double(value) => Value::Number(Number::Double(value)),
            Kind::Digits(from, to) => Value::Number(document.digits(from, to).ok_or(Miss::Absent)?),
            Kind::Text(..) | Kind::Escaped(..) => {
                Value::Text(Held::Borrowed(document.text(at).ok_or(Miss::Absent)?))
            }
            Kind::Bytes(..) => Value::Bytes(Held::Borrowed(document.bytes(at).ok_or(Miss::Absent)?)),
            Kind::List(_) | Kind::Map(_) => Value::Part(at),
            Kind::Opaque => return Err(Miss::Absent),
        })
    }

    /// An element of a list or map, where one that has no value does no harm as long as nobody asks for it.
    fn element(&mut self, at: u32) -> Result<Value<'e>> {
        match self.part(at) {
            Err(Miss::Absent) => Ok(Value::Void),
            result => result,
        }
    }

    /// The place of a map's field.
    #[inline]
    fn find(&mut self, map: u32, pairs: u32, name: &str) -> Result<Option<u32>> {
        let mut compared = 0;
        let found = self.seen.document().field(map, name, &mut compared);
        self.step(1 + pairs as usize / 8 + compared / BYTES_READ_IN_A_STEP)?;
        Ok(found)
    }

    fn path(&mut self, names: &[Box<str>]) -> Result<Value<'e>> {
        if !matches!(self.seen.root(), Root::Tape(_)) {
            return Err(Miss::Absent);
        }
        let document = self.seen.document();
        let mut at = 0;
        for name in names {
            let Kind::Map(pairs) = document.kind(at) else { return Err(Miss::Absent) };
            at = self.find(at, pairs, name)?.ok_or(Miss::Absent)?;
        }
        self.part(at)
    }

    /// Whether a map has a field, whatever can be said of its value.
    fn has(&mut self, map: &Value<'e>, name: &str) -> Result<bool> {
        let document = self.seen.document();
        if let Value::Part(at) = map
            && let Kind::Map(pairs) = document.kind(*at)
        {
            return Ok(self.find(*at, pairs, name)?.is_some());
        }
        Ok(self.field(map, name)?.is_some())
    }

    /// The field of a map; `Ok(None)` when it does not have it.
    fn field(&mut self, map: &Value<'e>, name: &str) -> Result<Option<Value<'e>>> {
        match map {
            Value::Part(at) => {
                let document = self.seen.document();
                let Kind::Map(pairs) = document.kind(*at) else { return Err(Miss::Absent) };
                self.find(*at, pairs, name)?.map(|at| self.part(at)).transpose()
            }
            Value::Properties => {
                let properties = self.seen.message.properties;
                self.step(properties.bytes() / PROPERTY_BYTES_IN_A_STEP)?;
                Ok(properties.user(name).map(|text| Value::Text(Held::Borrowed(text))))
            }
            Value::Map(pairs) => {
                self.step(pairs.len() / 8 + pairs.len() * name.len() / BYTES_READ_IN_A_STEP)?;
                let named = |key: &Value<'e>| matches!(key, Value::Text(text) if **text == *name);
                Ok(pairs.iter().find(|(key, _)| named(key)).map(|(_, value)| value.clone()))
            }
            _ => Err(Miss::Absent),
        }
    }

    fn index(&mut self, inner: &'e Node, index: &'e Node) -> Result<Value<'e>> {
        let (inner, index) = (self.value(inner)?, self.value(index)?);
        let element = match (&inner, &index) {
            (_, Value::Text(name)) => self.field(&inner, name)?,
            (Value::List(values), Value::Number(at)) => {
                let element = whole(*at).and_then(|at| values.get(at));
                element.filter(|element| !matches!(element, Value::Void)).cloned()
            }
            (Value::Levels, Value::Number(at)) => {
                let topic = self.seen.message.topic;
                let at = whole(*at).filter(|at| *at <= topic.len()).ok_or(Miss::Absent)?;
                self.step(at / 4 + topic.len() / BYTES_READ_IN_A_STEP)?;
                topic.split('/').nth(at).map(|level| Value::Text(Held::Borrowed(level)))
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
                    let key = self.element(pair[0])?;
                    if self.same_key(&key, wanted)? {
                        found = Some(pair[1]);
                    }
                }
                found.map(|at| self.part(at)).transpose()
            }
            Value::Map(pairs) => {
                self.step(pairs.len())?;
                for (key, value) in &**pairs {
                    if self.same_key(key, wanted)? {
                        return Ok(Some(value.clone()));
                    }
                }
                Ok(None)
            }
            _ => Err(Miss::Absent),
        }
    }

    fn same_key(&mut self, a: &Value<'e>, b: &Value<'e>) -> Result<bool> {
        self.compares(a, b)?;
        Ok(matches!(a.order(b), Ok(Ordering::Equal)))
    }

    /// Counts what it takes to compare two values.
    fn compares(&mut self, a: &Value<'e>, b: &Value<'e>) -> Result<()> {
        match (a, b) {
            (Value::Text(a), Value::Text(b)) => self.reads(a.len().min(b.len())),
            (Value::Bytes(a), Value::Bytes(b)) => self.reads(a.len().min(b.len())),
            _ => Ok(()),
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
                self.compares(left, right)?;
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
        self.compares(left, right)?;
        Ok(match (left, right) {
            (Value::Void, _) | (_, Value::Void) => return Err(Miss::Absent),
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a.order(*b) == Some(Ordering::Equal),
            (Value::Text(a), Value::Text(b)) => **a == **b,
            (Value::Bytes(a), Value::Bytes(b)) => **a == **b,
            _ => {
                let (one, other) = (self.count(left)?, self.count(right)?);
                match (self.is_a_list(left), self.is_a_list(right)) {
                    _ if one.is_none() || other.is_none() => false,
                    (true, true) => one == other && self.equal_lists(left, right)?,
                    (false, false) => self.equal_maps(left, right)?,
                    _ => false,
                }
            }
        })
    }

    fn is_a_list(&self, value: &Value<'e>) -> bool {
        match value {
            Value::Part(at) => self.is_list(*at),
            value => matches!(value, Value::List(_) | Value::Levels),
        }
    }

    /// Two lists of one length. As with `&&`, a pair that is not equal decides, whatever others cannot say.
    fn equal_lists(&mut self, left: &Value<'e>, right: &Value<'e>) -> Result<bool> {
        let (Some(a), Some(b)) = (self.elements(left)?, self.elements(right)?) else { return Ok(false) };
        let mut missed = None;
        for (a, b) in a.iter().zip(&b) {
            match self.equal(a, b) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(Miss::Cost) => return Err(Miss::Cost),
                Err(miss) => missed = Some(miss),
            }
        }
        missed.map_or(Ok(true), Err)
    }

    /// Two maps with the same keys. Of pairs with one key the last counts, as everywhere.
    fn equal_maps(&mut self, left: &Value<'e>, right: &Value<'e>) -> Result<bool> {
        let (Some(a), Some(b)) = (self.by_key(left)?, self.by_key(right)?) else { return Ok(false) };
        if a.len() != b.len() {
            return Ok(false);
        }
        let mut missed = None;
        for ((key, value), (other, against)) in a.iter().zip(&b) {
            if !self.same_key(key, other)? {
                return Ok(false);
            }
            match self.equal(value, against) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(Miss::Cost) => return Err(Miss::Cost),
                Err(miss) => missed = Some(miss),
            }
        }
        missed.map_or(Ok(true), Err)
    }

    /// The pairs of a map by their keys, each key once. `None` too if a key equals nothing, not even itself, such as NaN.
    fn by_key(&mut self, map: &Value<'e>) -> Result<Option<Vec<(Value<'e>, Value<'e>)>>> {
        let Some(mut pairs) = self.pairs(map)? else { return Ok(None) };
        if !pairs.iter().all(|(key, _)| key.order(key).is_ok()) {
            return Ok(None);
        }
        let rounds = pairs.len().checked_ilog2().unwrap_or(0) as usize + 1;
        self.step(pairs.len() * rounds / 4)?;
        for (key, _) in &pairs {
            self.reads(key.len() * rounds)?;
        }
        // Stable, and turned round before: of pairs with one key the last comes first.
        pairs.reverse();
        pairs.sort_by(|(a, _), (b, _)| a.order(b).unwrap_or_else(|_| a.kind().cmp(&b.kind())));
        pairs.dedup_by(|(a, _), (b, _)| matches!(a.order(b), Ok(Ordering::Equal)));
        Ok(Some(pairs))
    }

    /// The elements of a list; `None` for what is none.
    pub(crate) fn elements(&mut self, list: &Value<'e>) -> Result<Option<Vec<Value<'e>>>> {
        match list {
            Value::List(values) => {
                self.step(values.len() / 4)?;
                Ok(Some(values.to_vec()))
            }
            Value::Levels => {
                let count = self.levels()?;
                self.step(count / 4)?;
                let levels = self.seen.message.topic.split('/');
                Ok(Some(levels.map(|level| Value::Text(Held::Borrowed(level))).collect()))
            }
            Value::Part(at) if self.is_list(*at) => {
                self.children(*at)?.into_iter().map(|at| self.element(at)).collect::<Result<_>>().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How many levels the topic has.
    fn levels(&mut self) -> Result<usize> {
        let topic = self.seen.message.topic.as_bytes();
        self.searches(topic.len())?;
        Ok(memchr::memchr_iter(b'/', topic).count() + 1)
    }

    /// The keys of a map.
    fn keys(&mut self, map: &Value<'e>) -> Result<Vec<Value<'e>>> {
        match map {
            Value::Map(pairs) => {
                self.step(pairs.len() / 4)?;
                Ok(pairs.iter().map(|(key, _)| key.clone()).collect())
            }
            Value::Part(at) => {
                let children = self.children(*at)?;
                children.chunks_exact(2).map(|pair| self.element(pair[0])).collect()
            }
            _ => Err(Miss::Absent),
        }
    }

    fn pairs(&mut self, map: &Value<'e>) -> Result<Option<Vec<(Value<'e>, Value<'e>)>>> {
        match map {
            Value::Map(pairs) => {
                self.step(pairs.len() / 4)?;
                Ok(Some(pairs.to_vec()))
            }
            Value::Part(at) if !self.is_list(*at) => {
                let children = self.children(*at)?;
                let pairs =
                    children.chunks_exact(2).map(|pair| Ok((self.element(pair[0])?, self.element(pair[1])?)));
                pairs.collect::<Result<_>>().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How many elements or pairs there are.
    pub(crate) fn count(&mut self, value: &Value<'e>) -> Result<Option<usize>> {
        Ok(match value {
            Value::List(values) => Some(values.len()),
            Value::Map(pairs) => Some(pairs.len()),
            Value::Levels => Some(self.levels()?),
            Value::Part(at) => match self.seen.document().kind(*at) {
                Kind::List(count) | Kind::Map(count) => Some(count as usize),
                _ => None,
            },
            _ => None,
        })
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
        let mut missed = None;
        for value in values {
            match self.equal(wanted, value) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(Miss::Cost) => return Err(Miss::Cost),
                Err(miss) => missed = Some(miss),
            }
        }
        missed.map_or(Ok(false), Err)
    }

    fn arithmetic(&mut self, sign: Arithmetic, left: &'e Node, right: &'e Node) -> Result<Value<'e>> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        match (&left, &right) {
            (Value::Number(a), Value::Number(b)) => arithmetic(sign, *a, *b).map(Value::Number),
            _ if sign != Arithmetic::Add => Err(Miss::Absent),
            (Value::Text(a), Value::Text(b)) => {
                self.copies(a.len() + b.len())?;
                Ok(Value::Text(Held::Shared([&**a, &**b].concat().into())))
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                self.copies(a.len() + b.len())?;
                Ok(Value::Bytes(Held::Shared([&**a, &**b].concat().into())))
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
            None => self.keys(&range)?,
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
        Value::Text(text) => Value::Text(Held::Borrowed(text)),
        Value::Bytes(bytes) => Value::Bytes(Held::Borrowed(bytes)),
        other => other.clone(),
    }
}

/// What it takes to get at a value, beside looking at it.
#[inline]
fn cost_of(document: Document<'_>, kind: Kind) -> usize {
    match kind {
        Kind::Digits(from, to) => (to - from) as usize / BYTES_COPIED_IN_A_STEP,
        Kind::Text(from, to) if !document.is_text() => (to - from) as usize / BYTES_SEARCHED_IN_A_STEP,
        _ => 0,
    }
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
