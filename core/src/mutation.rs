//! What an admission webhook made of what we applied.
//!
//! The API server records who applied a field before it asks webhooks, so that a value which one of them overwrites
//! stays ours: it is no drift, and applying it again would change nothing. It is only seen by comparing the answer.

use serde_json::{Map, Value};

use crate::ownership::{Entry, FieldPath, item_fields, merge_keys};

/// The first field of a manifest that an answer has with another value, although we own it.
pub fn overwritten(applied: &Value, answer: &Value) -> Option<FieldPath> {
    let entry = Entry::of(answer)?;
    // The API server writes Secrets in its own way, and their values are nobody's business.
    let secret = applied["kind"] == "Secret" && applied["apiVersion"] == "v1";
    let skipped = |key: &str| matches!(key, "apiVersion" | "kind") || (secret && key == "data");
    let mut path = applied.as_object()?.iter().filter(|(key, _)| !skipped(key)).find_map(|(key, value)| {
        let found = differs(value, answer.get(key), entry.fields.get(format!("f:{key}")));
        found.map(|path| with(path, key))
    })?;
    path.reverse();
    Some(FieldPath::of(path))
}

/// The path below a value, innermost part first.
fn differs(applied: &Value, live: Option<&Value>, fields: Option<&Value>) -> Option<Vec<String>> {
    let tree = fields.and_then(Value::as_object);
    let whole = tree.is_some_and(Map::is_empty);
    match (applied, tree) {
        (_, None) => None,
        (Value::Object(map), Some(tree)) if !whole => map.iter().find_map(|(key, value)| {
            let below = differs(value, live.and_then(|live| live.get(key)), tree.get(&format!("f:{key}")));
            below.map(|path| with(path, key))
        }),
        (Value::Array(items), Some(tree)) if !whole => items.iter().enumerate().find_map(|(index, item)| {
            let (key, below) = item_fields(tree, item, index)?;
            // Without keys it is a set, whose item is there or not ours.
            let keys = merge_keys(key)?;
            let items = live?.as_array()?;
            let live = items.iter().find(|live| keys.iter().all(|(key, value)| live.get(key) == Some(value)));
            differs(item, live, Some(below)).map(|path| with(path, &format!("[{index}]")))
        }),
        _ => (!means_the_same(applied, live)).then(Vec::new),
    }
}

fn with(mut path: Vec<String>, part: &str) -> Vec<String> {
    path.push(part.to_owned());
    path
}

/// True when the API server may have written one for the other: defaults in lists and maps, quantities, empty for none.
fn means_the_same(applied: &Value, live: Option<&Value>) -> bool {
    let Some(live) = live else { return says_nothing(applied) };
    match (applied, live) {
        // Asks for the default.
        (Value::Null, _) => true,
        (Value::Object(own), Value::Object(live)) => {
            own.iter().all(|(key, value)| means_the_same(value, live.get(key)))
        }
        (Value::Array(own), Value::Array(live)) => {
            own.len() == live.len() && own.iter().zip(live).all(|(own, live)| means_the_same(own, Some(live)))
        }
        (own, live) if own == live => true,
        (own, live) => {
            quantity(own).zip(quantity(live)).is_some_and(|(own, live)| (own - live).abs() <= own.abs() * 1e-6)
        }
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(says_nothing),
    }
}

/// The number that a Kubernetes quantity stands for: `100m`, `1Gi`, `1e3`.
fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.trim(),
        _ => return None,
    };
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let power = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * power)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(fields: Value, body: &Value) -> Value {
        let mut answer = body.clone();
        answer["metadata"]["managedFields"] =
            json!([{"manager": "gitmoor", "operation": "Apply", "apiVersion": "v1", "fieldsV1": fields}]);
        answer
    }

    #[test]
    fn an_overwritten_value_is_named() {
        let fields =
            json!({"f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}}}}});
        let applied = json!({"kind": "X", "spec": {"replicas": 2, "containers": [{"name": "web", "image": "web:1"}]}});
        let named = |live: Value| overwritten(&applied, &answer(fields.clone(), &live)).map(|path| path.to_string());
        assert_eq!(named(applied.clone()), None);
        let mirrored = json!({"spec": {"replicas": 2, "containers": [{"name": "side"}, {"name": "web", "image": "mirror/web:1"}]}});
        assert_eq!(named(mirrored).unwrap(), "spec.containers[0].image");
        assert_eq!(
            named(json!({"spec": {"replicas": 3, "containers": applied["spec"]["containers"]}})).unwrap(),
            "spec.replicas"
        );
    }

    #[test]
    fn other_spellings_of_the_same_and_fields_of_others_are_no_mutation() {
        let fields = json!({"f:spec": {"f:a": {}, "f:list": {}}, "f:data": {}});
        for (applied, live) in [
            (json!("1000m"), json!("1")),
            (json!(0.5), json!("500m")),
            (json!("1024Mi"), json!("1Gi")),
            (json!(""), Value::Null),
            (Value::Null, json!({})),
            (json!({"x": 1}), json!({"x": 1, "defaulted": true})),
            (json!([{"x": 1}]), json!([{"x": 1, "defaulted": true}])),
        ] {
            let body = |value: &Value| json!({"kind": "X", "spec": {"a": value, "foreign": value}});
            let live = if live.is_null() { json!({"spec": {}}) } else { body(&live) };
            assert_eq!(overwritten(&body(&applied), &answer(fields.clone(), &live)), None, "{applied}");
        }
        let body = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": value}});
        assert_eq!(overwritten(&body("MQ=="), &answer(fields.clone(), &body("Mg=="))), None);
        let body = |value: &str| json!({"apiVersion": "v1", "kind": "X", "spec": {"a": value}});
        assert!(overwritten(&body("one"), &answer(fields, &body("two"))).is_some());
    }
}
