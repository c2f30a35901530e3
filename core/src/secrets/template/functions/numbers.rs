//! Numbers.

use gotmpl::{TemplateError, Value};

use super::{Functions, failed, list, string, whole};

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
    for name in ["max", "biggest"] {
        functions.add(name, 1, |a| fold(a, i64::MIN, |one, other| Some(one.max(other))));
    }
    functions.add("min", 1, |a| fold(a, i64::MAX, |one, other| Some(one.min(other))));
    functions.add("ceil", 1, |a| Ok(Value::Float(float(&a[0]).ceil())));
    functions.add("floor", 1, |a| Ok(Value::Float(float(&a[0]).floor())));
    functions.add("round", 2, |a| {
        let scale = 10_f64.powi(i32::try_from(whole(&a[1])?.clamp(0, 15)).unwrap_or_default());
        Ok(Value::Float((float(&a[0]) * scale).round() / scale))
    });
    functions.add("until", 1, |a| {
        let stop = whole(&a[0])?;
        steps(0, stop, if stop < 0 { -1 } else { 1 })
    });
    functions.add("untilStep", 3, |a| steps(whole(&a[0])?, whole(&a[1])?, whole(&a[2])?));
}

/// Numbers as Go reads them, of texts too; 0 for what is none.
fn float(value: &Value) -> f64 {
    string(value).trim().parse().unwrap_or_default()
}

/// From the first number to before the second.
fn steps(start: i64, stop: i64, step: i64) -> Result<Value, TemplateError> {
    /// No list of numbers may grow beyond this.
    const LONGEST: usize = 100_000;
    let mut numbers = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        if numbers.len() == LONGEST {
            return Err(failed("a list of numbers that is too long"));
        }
        numbers.push(Value::Int(at));
        at = at.checked_add(step).ok_or_else(impossible)?;
    }
    Ok(list(numbers))
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
