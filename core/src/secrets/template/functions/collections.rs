//! Lists and maps. None is changed in place.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{TemplateError, Value};

use super::{Functions, failed, items, length, list, string, text};

pub(super) fn add(functions: &mut Functions) {
    lists(functions);
    ends(functions);
    maps(functions);
}

fn lists(functions: &mut Functions) {
    for name in ["list", "tuple"] {
        functions.add(name, 0, |a| Ok(list(a.to_vec())));
    }
    for name in ["append", "push"] {
        functions.add(name, 2, |a| Ok(list([items(&a[0])?, vec![a[1].clone()]].concat())));
    }
    functions.add("slice", 1, |a| {
        let all = items(&a[0])?;
        let end = a.get(2).map_or(Ok(all.len()), length)?;
        let part = all.get(a.get(1).map_or(Ok(0), length)?..end);
        Ok(list(part.ok_or_else(|| failed("slice is given positions outside of the list"))?.to_vec()))
    });
    functions.add("chunk", 2, |a| {
        let size = length(&a[0])?.max(1);
        Ok(list(items(&a[1])?.chunks(size).map(|part| list(part.to_vec())).collect()))
    });
    functions.add("prepend", 2, |a| Ok(list([vec![a[1].clone()], items(&a[0])?].concat())));
    functions.add("concat", 0, |a| {
        let all: Vec<Vec<Value>> = a.iter().map(items).collect::<Result<_, _>>()?;
        Ok(list(all.concat()))
    });
    functions.add("has", 2, |a| Ok(Value::Bool(items(&a[1])?.contains(&a[0]))));
    functions
        .add("without", 1, |a| Ok(list(items(&a[0])?.into_iter().filter(|value| !a[1..].contains(value)).collect())));
    functions.add("compact", 1, |a| Ok(list(items(&a[0])?.into_iter().filter(Value::is_truthy).collect())));
    functions.add("uniq", 1, |a| {
        let mut seen: Vec<Value> = Vec::new();
        for value in items(&a[0])? {
            if !seen.contains(&value) {
                seen.push(value);
            }
        }
        Ok(list(seen))
    });
    functions.add("reverse", 1, |a| Ok(list(items(&a[0])?.into_iter().rev().collect())));
    functions.add("sortAlpha", 1, |a| {
        let mut texts: Vec<String> = items(&a[0])?.iter().map(string).collect();
        texts.sort();
        Ok(list(texts.into_iter().map(text).collect()))
    });
}

fn ends(functions: &mut Functions) {
    functions.add("first", 1, |a| Ok(items(&a[0])?.first().cloned().unwrap_or(Value::Nil)));
    functions.add("last", 1, |a| Ok(items(&a[0])?.last().cloned().unwrap_or(Value::Nil)));
    functions.add("rest", 1, |a| Ok(list(items(&a[0])?.into_iter().skip(1).collect())));
    functions.add("initial", 1, |a| {
        let mut all = items(&a[0])?;
        all.pop();
        Ok(list(all))
    });
}

fn maps(functions: &mut Functions) {
    functions.add("dict", 0, |a| {
        let pairs = a.chunks(2).map(|pair| (string(&pair[0]).into(), pair.get(1).cloned().unwrap_or_else(|| text(""))));
        Ok(Value::Map(Arc::new(pairs.collect())))
    });
    functions.add("get", 2, |a| Ok(map(&a[0])?.get(string(&a[1]).as_str()).cloned().unwrap_or_else(|| text(""))));
    functions.add("hasKey", 2, |a| Ok(Value::Bool(map(&a[0])?.contains_key(string(&a[1]).as_str()))));
    functions.add("keys", 1, |a| Ok(list(map(&a[0])?.keys().map(|key| Value::String(Arc::clone(key))).collect())));
    functions.add("values", 1, |a| Ok(list(map(&a[0])?.values().cloned().collect())));
    functions.add("pick", 1, |a| chosen(a, true));
    functions.add("omit", 1, |a| chosen(a, false));
    functions.add("merge", 1, |a| merged(a.iter().rev()));
    functions.add("mergeOverwrite", 1, |a| merged(a.iter()));
    functions.add("pluck", 1, |a| {
        let key = string(&a[0]);
        let maps = a[1..].iter().map(map).collect::<Result<Vec<_>, _>>()?;
        Ok(list(maps.into_iter().filter_map(|map| map.get(key.as_str()).cloned()).collect()))
    });
    functions.add("dig", 3, |a| {
        let (keys, rest) = a.split_at(a.len() - 2);
        let found = keys.iter().try_fold(&rest[1], |at, key| at.field(&string(key)));
        Ok(found.unwrap_or(&rest[0]).clone())
    });
}

fn map(value: &Value) -> Result<&BTreeMap<Arc<str>, Value>, TemplateError> {
    match value {
        Value::Map(map) => Ok(map),
        Value::Nil => Err(failed("a map is needed where there is nothing")),
        other => Err(TemplateError::TypeMismatch { expected: "map", got: other.type_name() }),
    }
}

/// Maps as one, those inside of them too; later ones win.
fn merged<'a>(maps: impl Iterator<Item = &'a Value>) -> Result<Value, TemplateError> {
    let mut all = BTreeMap::new();
    for one in maps {
        for (key, value) in map(one)? {
            let value = match (all.get(key), value) {
                (Some(before @ Value::Map(_)), Value::Map(_)) => merged([before, value].into_iter())?,
                _ => value.clone(),
            };
            all.insert(Arc::clone(key), value);
        }
    }
    Ok(Value::Map(Arc::new(all)))
}

fn chosen(arguments: &[Value], keep: bool) -> Result<Value, TemplateError> {
    let named: Vec<String> = arguments[1..].iter().map(string).collect();
    let pairs = map(&arguments[0])?.iter().filter(|(key, _)| named.iter().any(|name| **name == ***key) == keep);
    Ok(Value::Map(Arc::new(pairs.map(|(key, value)| (Arc::clone(key), value.clone())).collect())))
}
