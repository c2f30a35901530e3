//! Keys of Secrets: which are read, and which will be there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fork::text_at;
use super::references::Target;

/// The keys that Secrets will have; those of others are not known.
pub type Held = BTreeMap<Target, BTreeSet<String>>;

/// What ExternalSecrets make, as far as their keys stand in them.
pub fn held(objects: &[Value]) -> Held {
    let made = objects.iter().filter(|object| object["kind"] == "ExternalSecret").filter_map(|object| {
        let spec = &object["spec"];
        let template = &spec["target"]["template"]["data"];
        // With `dataFrom`, AWS decides. A template without `mergePolicy: Merge` decides alone.
        if spec.get("dataFrom").is_some() {
            return None;
        }
        let fetched = spec["data"].as_array().into_iter().flatten().map(|data| text_at(data, "/secretKey").to_owned());
        let keys = match template.as_object() {
            Some(template) => template.keys().cloned().collect(),
            None => fetched.collect(),
        };
        let [namespace, name, target] =
            ["/metadata/namespace", "/metadata/name", "/spec/target/name"].map(|at| text_at(object, at));
        Some((Target::new("Secret", namespace, if target.is_empty() { name } else { target }), keys))
    });
    made.collect()
}

/// The keys that an object reads one by one, but for those that it calls optional.
pub fn read(object: &Value) -> BTreeSet<(Target, String)> {
    let mut found = BTreeSet::new();
    walk(object, "", text_at(object, "/metadata/namespace"), &mut found);
    found
}

/// The same of the values of a chart that is installed into a namespace.
pub fn read_by_values(values: &Value, namespace: &str) -> BTreeSet<(Target, String)> {
    let mut found = BTreeSet::new();
    walk(values, "", namespace, &mut found);
    found
}

fn walk(value: &Value, key: &str, namespace: &str, found: &mut BTreeSet<(Target, String)>) {
    match value {
        Value::Object(fields) if fields.get("optional") == Some(&Value::Bool(true)) => {}
        Value::Object(fields) => {
            let mut add = |name: &str, key: &Value| {
                if let (false, Some(key)) = (name.is_empty(), key.as_str()) {
                    found.insert((Target::new("Secret", namespace, name), key.to_owned()));
                }
            };
            match key {
                "secretKeyRef" => add(text_at(value, "/name"), &value["key"]),
                "secret" => {
                    let items = value["items"].as_array().into_iter().flatten();
                    items.for_each(|item| add(text_at(value, "/secretName"), &item["key"]));
                }
                _ => {}
            }
            fields.iter().for_each(|(key, value)| walk(value, key, namespace, found));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, key, namespace, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_nobody_makes_is_found() {
        let secret =
            |spec: Value| json!({"kind": "ExternalSecret", "metadata": {"name": "s", "namespace": "n"}, "spec": spec});
        let keys = |spec: Value| {
            let held = held(&[secret(spec)]);
            held.get(&Target::new("Secret", "n", "s")).map(|keys| keys.iter().cloned().collect::<Vec<_>>().join(" "))
        };
        let data = json!([{"secretKey": "a"}, {"secretKey": "b"}]);
        assert_eq!(keys(json!({"data": data})).as_deref(), Some("a b"));
        assert_eq!(
            keys(json!({"data": data, "target": {"template": {"data": {"c": "{{ .a }}"}}}})).as_deref(),
            Some("c")
        );
        assert_eq!(keys(json!({"dataFrom": []})), None);

        let pod = json!({"kind": "Pod", "metadata": {"namespace": "n"}, "spec": {
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "x"}}},
                                    {"valueFrom": {"secretKeyRef": {"name": "s", "key": "y", "optional": true}}}]}],
            "volumes": [{"secret": {"secretName": "s", "items": [{"key": "z", "path": "z"}]}}, {"secret": {"secretName": "t"}}],
        }});
        let read: Vec<String> = read(&pod).into_iter().map(|(target, key)| format!("{target} {key}")).collect();
        assert_eq!(read, ["Secret n/s x", "Secret n/s z"]);
    }
}
