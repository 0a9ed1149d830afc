//! Values while an expression is evaluated, and what can be done with two of them.

use std::{borrow::Cow, cmp::Ordering, sync::Arc};

use crate::{number::Number, parse::ExprKind};

/// A value. What comes out of the payload borrows from it.
#[derive(Clone, Debug)]
pub(crate) enum Value<'e> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'e, str>),
    Bytes(Cow<'e, [u8]>),
    List(Arc<[Self]>),
    Map(Arc<[(Self, Self)]>),
    /// A list or map of the payload, by its place on the tape.
    Part(u32),
    /// `topic`.
    Levels,
    /// `property`.
    Properties,
}

/// Why an expression has no value.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// The message does not have what is asked for, or it is of another type.
    Absent,
    /// The evaluation would take too long. Nothing absorbs this.
    Cost,
}

pub(crate) type Result<T> = std::result::Result<T, Miss>;

impl Value<'_> {
    pub(crate) fn bool(&self) -> Result<bool> {
        match self {
            Self::Bool(value) => Ok(*value),
            _ => Err(Miss::Absent),
        }
    }

    pub(crate) const TRUE: Self = Self::Bool(true);

    /// The order of two scalars of one kind.
    pub(crate) fn order(&self, other: &Self) -> Result<Ordering> {
        match (self, other) {
            // With a NaN every comparison is false; that nothing is said of it comes to the same.
            (Self::Number(a), Self::Number(b)) => a.order(*b).ok_or(Miss::Absent),
            (Self::Text(a), Self::Text(b)) => Ok(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Ok(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Ok(a.cmp(b)),
            _ => Err(Miss::Absent),
        }
    }
}

/// The value of a literal, if an expression is one.
pub(crate) fn literal(kind: &ExprKind) -> Option<Value<'static>> {
    Some(match kind {
        ExprKind::Null => Value::Null,
        ExprKind::Bool(value) => Value::Bool(*value),
        ExprKind::Int(value) => Value::Number(Number::Int(*value)),
        ExprKind::Uint(value) => Value::Number(Number::Uint(*value)),
        ExprKind::Double(value) => Value::Number(Number::Double(*value)),
        ExprKind::Text(text) => Value::Text(Cow::Owned(text.clone())),
        ExprKind::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.clone())),
        _ => return None,
    })
}

/// `+ - * / %` on numbers. Whole numbers stay whole and do not overflow; with a double on one side the result is one.
pub(crate) fn arithmetic(sign: Arithmetic, a: Number, b: Number) -> Result<Number> {
    let whole = match (a, b) {
        (Number::Int(a), Number::Int(b)) => match sign {
            Arithmetic::Add => a.checked_add(b),
            Arithmetic::Subtract => a.checked_sub(b),
            Arithmetic::Multiply => a.checked_mul(b),
            Arithmetic::Divide => a.checked_div(b),
            Arithmetic::Remainder => a.checked_rem(b),
        }
        .map(Number::Int),
        (Number::Uint(a), Number::Uint(b)) => match sign {
            Arithmetic::Add => a.checked_add(b),
            Arithmetic::Subtract => a.checked_sub(b),
            Arithmetic::Multiply => a.checked_mul(b),
            Arithmetic::Divide => a.checked_div(b),
            Arithmetic::Remainder => a.checked_rem(b),
        }
        .map(Number::Uint),
        _ => {
            let (a, b) = (a.to_double(), b.to_double());
            Some(Number::Double(match sign {
                Arithmetic::Add => a + b,
                Arithmetic::Subtract => a - b,
                Arithmetic::Multiply => a * b,
                Arithmetic::Divide => a / b,
                Arithmetic::Remainder => return Err(Miss::Absent), // CEL has none for doubles
            }))
        }
    };
    whole.ok_or(Miss::Absent)
}

/// An operator on two numbers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}
