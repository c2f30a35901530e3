//! Which objects came out differently when the same chart was rendered again.

use std::collections::BTreeMap;

use gitmoor_core::yaml;
use serde_json::Value;

/// Most objects that are named.
const MOST_NAMED: usize = 10;

/// One line for each object that differs, with the paths of its fields and without their values.
pub(crate) fn differences(first: &str, second: &str) -> Vec<String> {
    let (Some(first), Some(second)) = (objects(first), objects(second)) else { return Vec::new() };
    let mut found = Vec::new();
    for (name, one) in &first {
        let Some(other) = second.get(name) else {
            found.push(format!("{name} is not there in each render"));
            continue;
        };
        let mut fields = Vec::new();
        compare(one, other, String::new(), &mut fields);
        if !fields.is_empty() {
            fields.truncate(MOST_NAMED);
            found.push(format!("{name} differs from render to render in {}", fields.join(", ")));
        }
    }
    found.truncate(MOST_NAMED);
    found
}

fn objects(text: &str) -> Option<BTreeMap<String, Value>> {
    let documents = yaml::read_documents(text, &yaml::Limits::default()).ok()?;
    let name = |value: &Value| {
        let metadata = &value["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let namespace = metadata["namespace"].as_str().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        format!("{} {namespace}{}", text(&value["kind"]), text(&metadata["name"]))
    };
    Some(documents.into_iter().map(|document| (name(&document.value), document.value)).collect())
}

fn compare(one: &Value, other: &Value, path: String, found: &mut Vec<String>) {
    match (one, other) {
        _ if one == other => {}
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let null = Value::Null;
                let (one, other) = (one.get(key).unwrap_or(&null), other.get(key).unwrap_or(&null));
                compare(one, other, format!("{path}.{key}"), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(one, other, format!("{path}[{index}]"), found);
            }
        }
        _ => found.push(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_without_values() {
        let render = |password: &str| {
            format!(
                "kind: Secret\nmetadata: {{name: s, namespace: team}}\ndata: {{p: {password}, q: same}}\nlist: [{{a: {password}}}]\n"
            )
        };
        let found = differences(&render("hunter2"), &render("other"));
        assert_eq!(found, ["Secret team/s differs from render to render in .data.p, .list[0].a"]);
        assert_eq!(differences(&render("x"), &render("x")), [""; 0]);
    }
}
