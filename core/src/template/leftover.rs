//! Placeholders that are left in an object: values that setup.conf should have given.

use std::collections::BTreeSet;

use serde_json::Value;

use super::placeholder::{OPEN, length};

/// Every placeholder in the strings and keys of a value.
pub fn placeholders_in(value: &Value) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    collect(value, &mut found);
    found
}

fn collect<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::String(text) => in_text(text, found),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            in_text(key, found);
            collect(item, found);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn in_text<'v>(text: &'v str, found: &mut BTreeSet<&'v str>) {
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        rest = &rest[at..];
        let length = length(rest.as_bytes());
        found.extend(length.and_then(|length| rest.get(..length)));
        rest = &rest[length.unwrap_or(OPEN.len())..];
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn they_are_found_wherever_they_stand() {
        let value = json!({"a": ["x <<__b__>> y<<__a__>>", 1], "<<__key__>>": {"script": "cat <<__EOF__\ntext\n"}});
        let found: Vec<&str> = placeholders_in(&value).into_iter().collect();
        assert_eq!(found, ["<<__a__>>", "<<__b__>>", "<<__key__>>"]);
        assert!(placeholders_in(&json!({"a": "<< __x__ >>"})).is_empty());
    }
}
