//! The functions of CEL's standard set that say something of a message.

use crate::{
    compile::{Function, Node},
    eval::Eval,
    number::{self, Number},
    value::{Held, Miss, Result, Value},
};

pub(crate) fn call<'e>(
    eval: &mut Eval<'e, '_>,
    function: Function,
    arguments: &'e [Node],
) -> Result<Value<'e>> {
    let value = eval.value(arguments.first().ok_or(Miss::Absent)?)?;
    match function {
        Function::Size => size(eval, &value).map(Value::Number),
        Function::StartsWith | Function::EndsWith | Function::Contains => {
            let other = eval.value(arguments.get(1).ok_or(Miss::Absent)?)?;
            let (Value::Text(text), Value::Text(part)) = (value, other) else { return Err(Miss::Absent) };
            match function {
                Function::Contains => eval.searches(text.len() + part.len())?,
                _ => eval.reads(part.len())?,
            }
            Ok(Value::Bool(match function {
                Function::StartsWith => text.starts_with(&*part),
                Function::EndsWith => text.ends_with(&*part),
                _ => memchr::memmem::find(text.as_bytes(), part.as_bytes()).is_some(),
            }))
        }
        Function::ToInt => to_int(eval, &value).map(|value| Value::Number(Number::Int(value))),
        Function::ToUint => to_uint(eval, &value).map(|value| Value::Number(Number::Uint(value))),
        Function::ToDouble => to_double(eval, &value).map(|value| Value::Number(Number::Double(value))),
        Function::ToText => to_text(eval, value),
        Function::ToBytes => match value {
            Value::Bytes(_) => Ok(value),
            Value::Text(Held::Borrowed(text)) => Ok(Value::Bytes(Held::Borrowed(text.as_bytes()))),
            Value::Text(Held::Shared(text)) => Ok(Value::Bytes(Held::Shared(text.into()))),
            _ => Err(Miss::Absent),
        },
        Function::ToBool => match &value {
            Value::Bool(_) => Ok(value),
            Value::Text(text) => match &**text {
                "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
                "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
                _ => Err(Miss::Absent),
            },
            _ => Err(Miss::Absent),
        },
        Function::Dyn => Ok(value),
    }
}

/// Characters of a text, bytes, elements or pairs.
fn size<'e>(eval: &mut Eval<'e, '_>, value: &Value<'e>) -> Result<Number> {
    let size = match value {
        Value::Text(text) => {
            eval.reads(text.len())?;
            text.chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        other => eval.count(other)?.ok_or(Miss::Absent)?,
    };
    i64::try_from(size).map(Number::Int).map_err(|_| Miss::Absent)
}

/// -2^63 and 2^63, between which a double is an `i64` once its fraction is cut off.
const INT_EDGE: f64 = 9_223_372_036_854_775_808.0;

#[expect(
    clippy::cast_possible_truncation,
    reason = "the fraction is cut off, as CEL says; the range is checked"
)]
fn to_int<'e>(eval: &mut Eval<'e, '_>, value: &Value<'e>) -> Result<i64> {
    match value {
        Value::Number(Number::Int(value)) => Ok(*value),
        Value::Number(Number::Uint(value)) => i64::try_from(*value).map_err(|_| Miss::Absent),
        Value::Number(Number::Double(value)) if *value > -INT_EDGE && *value < INT_EDGE => Ok(*value as i64),
        Value::Text(text) => whole_text(eval, text)?.parse().map_err(|_| Miss::Absent),
        _ => Err(Miss::Absent),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn to_uint<'e>(eval: &mut Eval<'e, '_>, value: &Value<'e>) -> Result<u64> {
    match value {
        Value::Number(Number::Int(value)) => u64::try_from(*value).map_err(|_| Miss::Absent),
        Value::Number(Number::Uint(value)) => Ok(*value),
        Value::Number(Number::Double(value)) if *value > -1.0 && *value < 2.0 * INT_EDGE => Ok(*value as u64),
        Value::Text(text) => whole_text(eval, text)?.parse().map_err(|_| Miss::Absent),
        _ => Err(Miss::Absent),
    }
}

fn to_double<'e>(eval: &mut Eval<'e, '_>, value: &Value<'e>) -> Result<f64> {
    match value {
        Value::Number(number) => Ok(number.to_double()),
        Value::Text(text) => {
            number::parse(whole_text(eval, text)?.as_bytes()).map(Number::to_double).ok_or(Miss::Absent)
        }
        _ => Err(Miss::Absent),
    }
}

fn to_text<'e>(eval: &mut Eval<'e, '_>, value: Value<'e>) -> Result<Value<'e>> {
    let text = match value {
        Value::Text(_) => return Ok(value),
        Value::Bool(value) => value.to_string(),
        Value::Number(Number::Int(value)) => value.to_string(),
        Value::Number(Number::Uint(value)) => value.to_string(),
        Value::Number(Number::Double(value)) => value.to_string(),
        Value::Bytes(bytes) => {
            eval.copies(bytes.len())?;
            std::str::from_utf8(&bytes).map_err(|_| Miss::Absent)?.to_owned()
        }
        _ => return Err(Miss::Absent),
    };
    eval.copies(text.len())?;
    Ok(Value::Text(Held::Shared(text.into())))
}

/// A text that is read digit by digit.
fn whole_text<'t, 'e>(eval: &mut Eval<'e, '_>, text: &'t str) -> Result<&'t str> {
    eval.copies(text.len())?;
    Ok(text)
}
