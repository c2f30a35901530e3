//! What `dataFrom[].rewrite` does with keys.

use regex::Regex;

use super::property::{compact, members};
use super::request::{Merge, Rewrite};
use super::template::render_key;
use super::{Category, Failure, SecretData};
use crate::sensitive::Sensitive;

/// Data after all steps, in their order.
///
/// # Errors
/// With the step that fails.
pub fn rewrite(data: SecretData, steps: &[Rewrite]) -> Result<SecretData, Failure> {
    steps.iter().enumerate().try_fold(data, |data, (index, step)| {
        let done = match step {
            Rewrite::Regexp { source, target } => regexp(data, source, target),
            Rewrite::Transform(template) => transform(data, template),
            Rewrite::Merge(merge) => merge_objects(data, merge),
        };
        done.map_err(|failure| failure.at(&format!("rewrite[{index}]")))
    })
}

fn regexp(data: SecretData, source: &str, target: &str) -> Result<SecretData, Failure> {
    let pattern = Regex::new(source)
        .map_err(|_| Failure::new(Category::InvalidSpec, format!("{source} is no regular expression")))?;
    Ok(data.into_iter().map(|(key, value)| (pattern.replace_all(&key, target).into_owned(), value)).collect())
}

fn transform(data: SecretData, template: &str) -> Result<SecretData, Failure> {
    data.into_iter().map(|(key, value)| Ok((render_key(template, &key)?, value))).collect()
}

/// The values, each a JSON object, become one: by name, those with priority last.
fn merge_objects(data: SecretData, merge: &Merge) -> Result<SecretData, Failure> {
    let first = data.keys().filter(|key| !merge.priority.contains(key)).cloned();
    let keys: Vec<String> = first.chain(merge.priority.iter().cloned()).collect();
    let mut merged: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    for key in keys {
        let Some(value) = data.get(&key) else {
            if merge.ignore_missing {
                continue;
            }
            return Err(Failure::new(Category::SecretNotFound, format!("priority key {key} is not there")));
        };
        let text = std::str::from_utf8(value.expose()).unwrap_or_default();
        let object = members(text)
            .ok_or_else(|| Failure::new(Category::NotJson, format!("{key} is no JSON object and cannot be merged")))?;
        for (member, json) in object {
            if merged.insert(member.clone(), json).is_some() && !merge.ignore_conflicts {
                return Err(Failure::new(Category::Conversion, format!("{member} is there twice")));
            }
        }
    }
    let Some(into) = &merge.into else {
        let plain = |json: &str| super::property::plain(&compact(json)).into_bytes();
        return Ok(merged.into_iter().map(|(key, json)| (key, Sensitive::new(plain(&json)))).collect());
    };
    let members: Vec<String> = merged
        .iter()
        .map(|(key, json)| format!("{}:{}", serde_json::Value::from(key.as_str()), compact(json)))
        .collect();
    let mut data = data;
    data.insert(into.clone(), Sensitive::new(format!("{{{}}}", members.join(",")).into_bytes()));
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> SecretData {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), Sensitive::new(v.as_bytes().to_vec()))).collect()
    }

    #[test]
    fn steps_follow_each_other() {
        let steps = [
            Rewrite::Regexp { source: "^/prod/(.*)$".into(), target: "$1".into() },
            Rewrite::Transform("{{ .value | upper }}_X".into()),
        ];
        assert_eq!(rewrite(data(&[("/prod/user", "me")]), &steps).unwrap(), data(&[("USER_X", "me")]));
        let bad = [Rewrite::Regexp { source: "(".into(), target: String::new() }];
        assert!(rewrite(data(&[]), &bad).unwrap_err().message.starts_with("rewrite[0]: "));
    }

    #[test]
    fn merge_takes_members_by_name_and_priority_last() {
        let both = data(&[("a", r#"{"x": 1, "y": "a"}"#), ("b", r#"{"y": "b"}"#)]);
        let merge = |merge: Merge| rewrite(both.clone(), &[Rewrite::Merge(merge)]);
        assert_eq!(merge(Merge::default()).unwrap_err().category, Category::Conversion);
        let lenient = Merge { ignore_conflicts: true, ..Merge::default() };
        assert_eq!(merge(lenient.clone()).unwrap(), data(&[("x", "1"), ("y", "b")]));
        let priority = Merge { priority: vec!["a".into()], ..lenient.clone() };
        assert_eq!(merge(priority).unwrap(), data(&[("x", "1"), ("y", "a")]));
        let missing = Merge { priority: vec!["c".into()], ..lenient.clone() };
        assert!(merge(missing.clone()).is_err());
        assert!(merge(Merge { ignore_missing: true, ..missing }).is_ok());
        let json = merge(Merge { into: Some("all".into()), ..lenient }).unwrap();
        assert_eq!(json["all"].expose(), br#"{"x":1,"y":"b"}"#);
        assert_eq!(json.len(), 3);
    }
}
