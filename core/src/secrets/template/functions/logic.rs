//! Choices.

use gotmpl::Value;

use super::{Functions, failed, string, text};

pub(super) fn add(functions: &mut Functions) {
    functions.add("default", 1, |a| Ok(a.get(1).filter(|value| value.is_truthy()).unwrap_or(&a[0]).clone()));
    functions.add("empty", 1, |a| Ok(Value::Bool(!a[0].is_truthy())));
    functions.add("coalesce", 0, |a| Ok(a.iter().find(|value| value.is_truthy()).cloned().unwrap_or(Value::Nil)));
    functions.add("all", 0, |a| Ok(Value::Bool(a.iter().all(Value::is_truthy))));
    functions.add("any", 0, |a| Ok(Value::Bool(a.iter().any(Value::is_truthy))));
    functions.add("ternary", 3, |a| Ok(if a[2].is_truthy() { a[0].clone() } else { a[1].clone() }));
    functions.add("fail", 1, |_| Err(failed("it says so itself, with fail")));
    functions.add("kindOf", 1, |a| Ok(text(kind(&a[0]))));
    functions.add("kindIs", 2, |a| Ok(Value::Bool(string(&a[0]) == kind(&a[1]))));
    functions.add("deepEqual", 2, |a| Ok(Value::Bool(a[0] == a[1])));
    // Nothing is changed in place, so that a copy is the thing itself.
    functions.add("deepCopy", 1, |a| Ok(a[0].clone()));
    functions.add("toBool", 1, |a| {
        Ok(Value::Bool(matches!(string(&a[0]).as_str(), "1" | "t" | "T" | "true" | "True" | "TRUE")))
    });
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Uint(_) => "uint",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
        Value::Function(_) => "func",
    }
}
