//! From the grammar's tree to what is evaluated: names, functions and types are looked at once, not with each message.

use crate::{
    Fault,
    message::PayloadType,
    parse::{Expr, ExprKind},
    pattern::Pattern,
    value::{Arithmetic, Value, literal},
};

/// What a message is asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Payload,
    Number,
    Type,
    Topic,
    WholeTopic,
    Qos,
    Retain,
    Size,
    ContentType,
    ClientId,
    User,
    Property,
}

const NAMES: [(&str, Name, Class); 12] = [
    ("payload", Name::Payload, Class::Any),
    ("number", Name::Number, Class::Number),
    ("type", Name::Type, Class::Text),
    ("topic", Name::Topic, Class::List),
    ("topic_name", Name::WholeTopic, Class::Text),
    ("qos", Name::Qos, Class::Number),
    ("retain", Name::Retain, Class::Bool),
    ("size", Name::Size, Class::Number),
    ("content_type", Name::ContentType, Class::Text),
    ("client_id", Name::ClientId, Class::Text),
    ("user", Name::User, Class::Text),
    ("property", Name::Property, Class::Map),
];

/// What is known of a value's type without a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Any,
    Null,
    Bool,
    Number,
    Text,
    Bytes,
    List,
    Map,
}

impl Class {
    const fn name(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Null => "null",
            Self::Bool => "a truth value",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Bytes => "bytes",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }

    fn could_be(self, other: Self) -> bool {
        self == Self::Any || other == Self::Any || self == other
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    ToInt,
    ToUint,
    ToDouble,
    ToText,
    ToBytes,
    ToBool,
    Dyn,
}

/// What is asked of the elements of a list, or the keys of a map.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// A part of a compiled expression.
#[derive(Debug)]
pub(crate) enum Node {
    Constant(Value<'static>),
    Name(Name),
    /// A name that a macro gave to the present element, by its depth.
    Local(usize),
    /// A field of the payload, of its fields, and so on: the way most expressions go.
    Path(Vec<Box<str>>),
    Field(Box<Self>, Box<str>),
    Has(Box<Self>, Box<str>),
    Index(Box<(Self, Self)>),
    Not(Box<Self>),
    Negate(Box<Self>),
    And(Box<[Self]>),
    Or(Box<[Self]>),
    Relation(Relation, Box<(Self, Self)>),
    In(Box<(Self, Self)>),
    Arithmetic(Arithmetic, Box<(Self, Self)>),
    Choice(Box<(Self, Self, Self)>),
    Call(Function, Box<[Self]>),
    Matches(Box<Self>, Box<Pattern>),
    List(Box<[Self]>),
    Map(Box<[(Self, Self)]>),
    /// Range, body, depth of the element's name.
    Each(Quantifier, Box<(Self, Self)>, usize),
}

pub(crate) fn compile(expr: &Expr) -> std::result::Result<(Node, Class), Fault> {
    Compiler { locals: Vec::new() }.node(expr)
}

struct Compiler {
    /// Names that macros gave, and whether they stand for what a message says.
    locals: Vec<(String, bool)>,
}

type Compiled = std::result::Result<(Node, Class), Fault>;

impl Compiler {
    fn node(&mut self, expr: &Expr) -> Compiled {
        if let Some(value) = literal(&expr.kind) {
            let class = class_of(&value);
            return Ok((Node::Constant(value), class));
        }
        match &expr.kind {
            ExprKind::Ident(name) => self.name(expr.at, name),
            ExprKind::Select(inner, field) => {
                let inner = self.container(inner, field)?;
                Ok((field_of(inner, field), Class::Any))
            }
            ExprKind::Index(inner, index) => {
                let (node, class) = self.node(inner)?;
                let (index_node, index_class) = self.node(index)?;
                let fits = match class {
                    Class::Any | Class::Map => true,
                    Class::List => index_class.could_be(Class::Number),
                    _ => false,
                };
                if !fits {
                    return Err(Fault::at(expr.at, format!("{} has no element like this", class.name())));
                }
                if let Node::Constant(Value::Text(field)) = &index_node {
                    return Ok((field_of(node, field), Class::Any));
                }
                Ok((Node::Index(Box::new((node, index_node))), Class::Any))
            }
            ExprKind::Not(inner) => Ok((Node::Not(Box::new(self.truth(inner)?)), Class::Bool)),
            ExprKind::Negate(inner) => {
                Ok((Node::Negate(Box::new(self.of(inner, Class::Number)?)), Class::Number))
            }
            ExprKind::And(all) => Ok((Node::And(self.truths(all)?), Class::Bool)),
            ExprKind::Or(all) => Ok((Node::Or(self.truths(all)?), Class::Bool)),
            ExprKind::Binary(sign, left, right) => self.binary(expr.at, sign, left, right),
            ExprKind::Choice(condition, yes, no) => {
                let condition = self.truth(condition)?;
                let ((yes, one), (no, other)) = (self.node(yes)?, self.node(no)?);
                let class = if one == other { one } else { Class::Any };
                Ok((Node::Choice(Box::new((condition, yes, no))), class))
            }
            ExprKind::List(all) => self.list(all),
            ExprKind::Map(entries) => {
                let pairs = entries.iter().map(|(key, value)| Ok((self.node(key)?.0, self.node(value)?.0)));
                let pairs: std::result::Result<Vec<_>, Fault> = pairs.collect();
                Ok((Node::Map(pairs?.into()), Class::Map))
            }
            ExprKind::Call(target, name, arguments) => self.call(expr.at, target.as_deref(), name, arguments),
            _ => Err(Fault::at(expr.at, "this is no expression")),
        }
    }

    fn name(&self, at: usize, name: &str) -> Compiled {
        if let Some(depth) = self.locals.iter().rposition(|(local, _)| local == name) {
            return Ok((Node::Local(depth), Class::Any));
        }
        match NAMES.iter().find(|(known, ..)| *known == name) {
            Some((_, name, class)) => Ok((Node::Name(*name), *class)),
            None => {
                let known: Vec<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
                let list = known.join(", ");
                Err(Fault::at(at, format!("unknown name `{name}`; there are {list}, and payload.{name}")))
            }
        }
    }

    /// Something with fields.
    fn container(&mut self, inner: &Expr, field: &str) -> std::result::Result<Node, Fault> {
        let (node, class) = self.node(inner)?;
        if class.could_be(Class::Map) {
            return Ok(node);
        }
        Err(Fault::at(inner.at, format!("{} has no field `{field}`", class.name())))
    }

    fn of(&mut self, expr: &Expr, wanted: Class) -> std::result::Result<Node, Fault> {
        let (node, class) = self.node(expr)?;
        if class.could_be(wanted) {
            return Ok(node);
        }
        Err(Fault::at(expr.at, format!("{} is expected here, this is {}", wanted.name(), class.name())))
    }

    fn truth(&mut self, expr: &Expr) -> std::result::Result<Node, Fault> {
        self.of(expr, Class::Bool)
    }

    fn truths(&mut self, all: &[Expr]) -> std::result::Result<Box<[Node]>, Fault> {
        all.iter().map(|expr| self.truth(expr)).collect()
    }

    fn list(&mut self, all: &[Expr]) -> Compiled {
        let nodes: std::result::Result<Vec<Node>, Fault> =
            all.iter().map(|expr| self.node(expr).map(|(node, _)| node)).collect();
        let nodes = nodes?;
        let constant = |node: &Node| match node {
            Node::Constant(value) => Some(value.clone()),
            _ => None,
        };
        let node = match nodes.iter().map(constant).collect::<Option<Vec<_>>>() {
            Some(values) => Node::Constant(Value::List(values.into())),
            None => Node::List(nodes.into()),
        };
        Ok((node, Class::List))
    }

    fn binary(&mut self, at: usize, sign: &str, left: &Expr, right: &Expr) -> Compiled {
        let ((left_node, one), (right_node, other)) = (self.node(left)?, self.node(right)?);
        check_type_name(left, right)?;
        let both = Box::new((left_node, right_node));
        let relation = match sign {
            "==" => Relation::Equal,
            "!=" => Relation::Unequal,
            "<" => Relation::Less,
            "<=" => Relation::LessOrEqual,
            ">" => Relation::Greater,
            ">=" => Relation::GreaterOrEqual,
            "in" => {
                if !other.could_be(Class::List) && !other.could_be(Class::Map) {
                    let what = other.name();
                    return Err(Fault::at(at, format!("`in` looks into a list or map, this is {what}")));
                }
                return Ok((Node::In(both), Class::Bool));
            }
            _ => {
                let said = self.is_said(left) || self.is_said(right);
                return calculation(at, sign, (one, other), both, said);
            }
        };
        let ordered = !matches!(relation, Relation::Equal | Relation::Unequal);
        let unordered = |class| matches!(class, Class::List | Class::Map | Class::Null);
        if !one.could_be(other) || (ordered && (unordered(one) || unordered(other))) {
            let (one, other) = (one.name(), other.name());
            return Err(Fault::at(at, format!("{one} is never compared with {other} by `{sign}`")));
        }
        Ok((Node::Relation(relation, both), Class::Bool))
    }

    fn call(&mut self, at: usize, target: Option<&Expr>, name: &str, arguments: &[Expr]) -> Compiled {
        match (target, name, arguments) {
            (None, "has", [Expr { kind: ExprKind::Select(inner, field), .. }]) => {
                let inner = self.container(inner, field)?;
                Ok((Node::Has(Box::new(inner), field.as_str().into()), Class::Bool))
            }
            (None, "has", _) => Err(Fault::at(at, "has() asks for a field, as in has(payload.x)")),
            (Some(range), "all" | "exists" | "exists_one" | "filter" | "map", [variable, body]) => {
                self.each(name, range, variable, body)
            }
            (Some(text), "matches", [pattern]) | (None, "matches", [text, pattern]) => {
                let text = self.of(text, Class::Text)?;
                Ok((Node::Matches(Box::new(text), Box::new(regex(pattern)?)), Class::Bool))
            }
            _ => self.function(at, target, name, arguments),
        }
    }

    fn each(&mut self, name: &str, range: &Expr, variable: &Expr, body: &Expr) -> Compiled {
        let ExprKind::Ident(variable_name) = &variable.kind else {
            return Err(Fault::at(variable.at, format!("the first argument of {name}() is a name")));
        };
        let (range_node, class) = self.node(range)?;
        if !class.could_be(Class::List) && !class.could_be(Class::Map) {
            return Err(Fault::at(range.at, format!("{} has no elements", class.name())));
        }
        let depth = self.locals.len();
        let said = self.is_said(range);
        self.locals.push((variable_name.clone(), said));
        let body = if name == "map" { self.node(body).map(|(node, _)| node) } else { self.truth(body) };
        self.locals.pop();
        let quantifier = match name {
            "all" => Quantifier::All,
            "exists" => Quantifier::Exists,
            "exists_one" => Quantifier::ExistsOne,
            "filter" => Quantifier::Filter,
            _ => Quantifier::Map,
        };
        let list = matches!(quantifier, Quantifier::Filter | Quantifier::Map);
        let class = if list { Class::List } else { Class::Bool };
        Ok((Node::Each(quantifier, Box::new((range_node, body?)), depth), class))
    }

    /// Whether a number comes from the message's payload, where a sender writes 21 and 21.5 as they come.
    fn is_said(&self, expr: &Expr) -> bool {
        let any = |all: &[Expr]| all.iter().any(|one| self.is_said(one));
        match &expr.kind {
            ExprKind::Ident(name) => match self.locals.iter().rfind(|(local, _)| local == name) {
                Some((_, said)) => *said,
                None => matches!(name.as_str(), "payload" | "number"),
            },
            ExprKind::Select(inner, _) | ExprKind::Index(inner, _) | ExprKind::Negate(inner) => {
                self.is_said(inner)
            }
            ExprKind::Binary(_, left, right) | ExprKind::Choice(_, left, right) => {
                self.is_said(left) || self.is_said(right)
            }
            ExprKind::List(all) => any(all),
            ExprKind::Call(_, name, _) if CONVERSIONS.contains(&name.as_str()) => false,
            ExprKind::Call(target, _, arguments) => {
                target.as_deref().is_some_and(|target| self.is_said(target)) || any(arguments)
            }
            _ => false,
        }
    }

    fn function(&mut self, at: usize, target: Option<&Expr>, name: &str, arguments: &[Expr]) -> Compiled {
        let method = target.is_some();
        let known = match name {
            "size" => Some((Function::Size, 1, Class::Any, Class::Number)),
            "startsWith" if method => Some((Function::StartsWith, 2, Class::Text, Class::Bool)),
            "endsWith" if method => Some((Function::EndsWith, 2, Class::Text, Class::Bool)),
            "contains" if method => Some((Function::Contains, 2, Class::Text, Class::Bool)),
            "int" if !method => Some((Function::ToInt, 1, Class::Any, Class::Number)),
            "uint" if !method => Some((Function::ToUint, 1, Class::Any, Class::Number)),
            "double" if !method => Some((Function::ToDouble, 1, Class::Any, Class::Number)),
            "string" if !method => Some((Function::ToText, 1, Class::Any, Class::Text)),
            "bytes" if !method => Some((Function::ToBytes, 1, Class::Any, Class::Bytes)),
            "bool" if !method => Some((Function::ToBool, 1, Class::Any, Class::Bool)),
            "dyn" if !method => Some((Function::Dyn, 1, Class::Any, Class::Any)),
            _ => None,
        };
        let Some((function, count, wanted, class)) = known else {
            return Err(Fault::at(at, wrong_call(name, method, arguments.len())));
        };
        let all: Vec<&Expr> = target.into_iter().chain(arguments).collect();
        if all.len() != count {
            let wanted = count - usize::from(method);
            return Err(Fault::at(at, wrong_count(name, wanted, arguments.len())));
        }
        let nodes: std::result::Result<Box<[Node]>, Fault> =
            all.into_iter().map(|expr| self.of(expr, wanted)).collect();
        Ok((Node::Call(function, nodes?), class))
    }
}

/// What names a function that says how whole its number is.
const CONVERSIONS: [&str; 3] = ["int", "uint", "size"];

/// `x.field`, and `x["field"]`, which is the same.
fn field_of(inner: Node, field: &str) -> Node {
    match inner {
        Node::Name(Name::Payload) => Node::Path(vec![field.into()]),
        Node::Path(mut path) => {
            path.push(field.into());
            Node::Path(path)
        }
        inner => Node::Field(Box::new(inner), field.into()),
    }
}

fn wrong_count(name: &str, wanted: usize, given: usize) -> String {
    format!("{name}() takes {wanted} argument(s), not {given}")
}

/// What is wrong with a call that no function answers.
fn wrong_call(name: &str, method: bool, given: usize) -> String {
    match name {
        "all" | "exists" | "exists_one" | "filter" | "map" if method => {
            format!("{}: a name for the element and what is asked of it", wrong_count(name, 2, given))
        }
        "all" | "exists" | "exists_one" | "filter" | "map" => {
            format!("{name}() stands behind a list, as in payload.list.{name}(x, x > 1)")
        }
        "matches" => wrong_count(name, if method { 1 } else { 2 }, given),
        "startsWith" | "endsWith" | "contains" => {
            format!("{name}() stands behind a text, as in payload.name.{name}(\"a\")")
        }
        "int" | "uint" | "double" | "string" | "bytes" | "bool" | "dyn" => {
            format!("{name}() stands before its value, as in {name}(payload.x)")
        }
        _ => format!("unknown function {name}(); {FUNCTIONS}"),
    }
}

const FUNCTIONS: &str = "there are has, size, startsWith, endsWith, contains, matches, int, uint, double, string, \
                         bytes, bool, dyn, all, exists, exists_one, filter and map";

fn calculation(
    at: usize,
    sign: &str,
    (one, other): (Class, Class),
    both: Box<(Node, Node)>,
    said: bool,
) -> Compiled {
    let operator = match sign {
        "+" => Arithmetic::Add,
        "-" => Arithmetic::Subtract,
        "*" => Arithmetic::Multiply,
        "/" if said => Arithmetic::Share,
        "/" => Arithmetic::Divide,
        _ => Arithmetic::Remainder,
    };
    let joins = [Class::Text, Class::Bytes, Class::List];
    let fits = |class: Class| class.could_be(Class::Number) || (sign == "+" && joins.contains(&class));
    if !fits(one) || !fits(other) || !one.could_be(other) {
        return Err(Fault::at(at, format!("`{sign}` does not go with {} and {}", one.name(), other.name())));
    }
    let class = if one == Class::Any { other } else { one };
    Ok((Node::Arithmetic(operator, both), class))
}

/// `type == "jsno"` would never match, and nobody would see why.
fn check_type_name(left: &Expr, right: &Expr) -> std::result::Result<(), Fault> {
    let is_type = |expr: &Expr| matches!(&expr.kind, ExprKind::Ident(name) if name == "type");
    for (one, other) in [(left, right), (right, left)] {
        if let (true, ExprKind::Text(text)) = (is_type(one), &other.kind)
            && !PayloadType::NAMES.contains(&text.as_str())
        {
            let known = PayloadType::NAMES.join(", ");
            return Err(Fault::at(
                other.at,
                format!("no payload has the type \"{text}\"; there are {known}"),
            ));
        }
    }
    Ok(())
}

/// The pattern is part of the expression, so that its cost is known before the first message.
fn regex(pattern: &Expr) -> std::result::Result<Pattern, Fault> {
    let ExprKind::Text(text) = &pattern.kind else {
        return Err(Fault::at(pattern.at, "the pattern of matches() is a string literal"));
    };
    Pattern::read(text).map_err(|why| Fault::at(pattern.at, why))
}

fn class_of(value: &Value<'_>) -> Class {
    match value {
        Value::Null => Class::Null,
        Value::Bool(_) => Class::Bool,
        Value::Number(_) => Class::Number,
        Value::Text(_) => Class::Text,
        Value::Bytes(_) => Class::Bytes,
        Value::List(_) | Value::Levels => Class::List,
        Value::Map(_) | Value::Properties => Class::Map,
        Value::Part(_) | Value::Void => Class::Any,
    }
}
