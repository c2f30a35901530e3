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
    functions.add("kindOf", 1, |a| {
        Ok(text(match &a[0] {
            Value::Nil => "invalid",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::List(_) => "slice",
            Value::Map(_) => "map",
            Value::Function(_) => "func",
        }))
    });
    functions.add("toBool", 1, |a| {
        Ok(Value::Bool(matches!(string(&a[0]).as_str(), "1" | "t" | "T" | "true" | "True" | "TRUE")))
    });
}
