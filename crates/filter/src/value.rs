//! Values while an expression is evaluated, and what can be done with two of them.

use std::{cmp::Ordering, fmt, ops::Deref, sync::Arc};

use crate::{number::Number, parse::ExprKind};

/// A text or bytes: where they are, or shared by all who hold them, so that a copy of a value copies no contents.
pub(crate) enum Held<'e, T: ?Sized> {
    Borrowed(&'e T),
    Shared(Arc<T>),
}

impl<T: ?Sized> Clone for Held<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(there) => Self::Borrowed(there),
            Self::Shared(shared) => Self::Shared(Arc::clone(shared)),
        }
    }
}

impl<T: ?Sized> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(there) => there,
            Self::Shared(shared) => shared,
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Held<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A value. What comes out of the payload borrows from it.
#[derive(Clone, Debug)]
pub(crate) enum Value<'e> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Held<'e, str>),
    Bytes(Held<'e, [u8]>),
    List(Arc<[Self]>),
    Map(Arc<[(Self, Self)]>),
    /// A list or map of the payload, by its place on the tape.
    Part(u32),
    /// An element that is there and of which nothing can be said, such as a number beyond a double's range.
    Void,
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

    /// A number for each kind of those that have an order, so that scalars of different kinds can be sorted.
    pub(crate) const fn kind(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
            Self::Bytes(_) => 3,
            _ => 4,
        }
    }

    /// Bytes of a text or of bytes; 0 for anything else.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 0,
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
        ExprKind::Text(text) => Value::Text(Held::Shared(text.as_str().into())),
        ExprKind::Bytes(bytes) => Value::Bytes(Held::Shared(bytes.as_slice().into())),
        _ => return None,
    })
}

/// `+ - * / %` on numbers. Whole numbers stay whole and do not overflow; with a double on one side the result is one.
pub(crate) fn arithmetic(sign: Arithmetic, a: Number, b: Number) -> Result<Number> {
    let both = (a, b);
    let whole = match both {
        (Number::Int(a), Number::Int(b)) => match sign {
            Arithmetic::Add => a.checked_add(b),
            Arithmetic::Subtract => a.checked_sub(b),
            Arithmetic::Multiply => a.checked_mul(b),
            Arithmetic::Divide => a.checked_div(b),
            Arithmetic::Share => {
                return Ok(share(a.checked_rem(b) == Some(0), a.checked_div(b).map(Number::Int), both));
            }
            Arithmetic::Remainder => a.checked_rem(b),
        }
        .map(Number::Int),
        (Number::Uint(a), Number::Uint(b)) => match sign {
            Arithmetic::Add => a.checked_add(b),
            Arithmetic::Subtract => a.checked_sub(b),
            Arithmetic::Multiply => a.checked_mul(b),
            Arithmetic::Divide => a.checked_div(b),
            Arithmetic::Share => {
                return Ok(share(a.checked_rem(b) == Some(0), a.checked_div(b).map(Number::Uint), both));
            }
            Arithmetic::Remainder => a.checked_rem(b),
        }
        .map(Number::Uint),
        _ => {
            let (a, b) = (a.to_double(), b.to_double());
            Some(Number::Double(match sign {
                Arithmetic::Add => a + b,
                Arithmetic::Subtract => a - b,
                Arithmetic::Multiply => a * b,
                Arithmetic::Divide | Arithmetic::Share => a / b,
                Arithmetic::Remainder => return Err(Miss::Absent), // CEL has none for doubles
            }))
        }
    };
    whole.ok_or(Miss::Absent)
}

/// A quotient with its fraction; a whole number where that is exact.
fn share(exact: bool, quotient: Option<Number>, (a, b): (Number, Number)) -> Number {
    quotient.filter(|_| exact).unwrap_or_else(|| Number::Double(a.to_double() / b.to_double()))
}

/// An operator on two numbers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    /// Of whole numbers the whole part, as CEL divides them.
    Divide,
    /// With the fraction, as doubles are divided: what a message says, whether it says `100` or `100.0`.
    Share,
    Remainder,
}
