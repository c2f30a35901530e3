//! Numbers.

use gotmpl::{TemplateError, Value};

use super::{Functions, failed, string, whole};

pub(super) fn add(functions: &mut Functions) {
    for name in ["int", "int64", "atoi"] {
        functions.add(name, 1, |a| Ok(Value::Int(whole(&a[0])?)));
    }
    functions.add("float64", 1, |a| Ok(Value::Float(string(&a[0]).trim().parse().unwrap_or_default())));
    functions.add("add", 0, |a| fold(a, 0, i64::checked_add));
    functions.add("add1", 1, |a| fold(&a[..1], 1, i64::checked_add));
    functions.add("mul", 1, |a| fold(a, 1, i64::checked_mul));
    functions.add("sub", 2, |a| two(a, i64::checked_sub));
    functions.add("div", 2, |a| two(a, i64::checked_div));
    functions.add("mod", 2, |a| two(a, i64::checked_rem));
    functions.add("max", 1, |a| fold(a, i64::MIN, |one, other| Some(one.max(other))));
    functions.add("min", 1, |a| fold(a, i64::MAX, |one, other| Some(one.min(other))));
}

fn fold(values: &[Value], start: i64, step: impl Fn(i64, i64) -> Option<i64>) -> Result<Value, TemplateError> {
    let done = values.iter().try_fold(start, |so_far, value| step(so_far, whole(value)?).ok_or_else(impossible));
    done.map(Value::Int)
}

fn two(values: &[Value], step: impl Fn(i64, i64) -> Option<i64>) -> Result<Value, TemplateError> {
    step(whole(&values[0])?, whole(&values[1])?).ok_or_else(impossible).map(Value::Int)
}

fn impossible() -> TemplateError {
    failed("a division by zero, or a number that is too large")
}
