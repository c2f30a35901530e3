//! The root Application: nobody but `gitmoor bootstrap` applies it, so that a cluster may follow what its file no longer says.

use serde_json::{Map, Value};

/// A field in which the live one is not as its file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Such as `spec.source.repoURL`.
    pub field: String,
    /// What the file says; nothing when it does not name the field.
    pub wanted: Option<Value>,
    /// What the cluster has.
    pub live: Option<Value>,
}

/// Where two specs differ: in everything that the file says, and in all that says what is followed. What else is in the
/// cluster, such as that automation is suspended, may be wanted. Lists are compared as a whole.
pub fn differences(file: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("spec", Some(&file["spec"]), Some(&live["spec"]), &mut found);
    found
}

fn compare(field: &str, wanted: Option<&Value>, live: Option<&Value>, found: &mut Vec<Difference>) {
    let follows = field.starts_with("spec.source");
    match (wanted, live) {
        (None, Some(_)) if !follows => {}
        (Some(Value::Object(wanted)), Some(Value::Object(live))) => {
            let empty = Map::new();
            let only_live = if follows || field == "spec" { live } else { &empty };
            let mut keys: Vec<&String> = wanted.keys().chain(only_live.keys()).collect();
            keys.sort();
            keys.dedup();
            keys.into_iter().for_each(|key| compare(&format!("{field}.{key}"), wanted.get(key), live.get(key), found));
        }
        (wanted, live) if wanted == live => {}
        (wanted, live) => {
            found.push(Difference { field: field.to_owned(), wanted: wanted.cloned(), live: live.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_followed_counts_both_ways_and_the_rest_as_the_file_says() {
        let file = json!({"spec": {
            "source": {"repoURL": "https://new", "targetRevision": "main", "path": "distribution"},
            "syncPolicy": {"automated": {"prune": true}},
        }});
        let with = |pointer: &str, value: Value| {
            let mut live = file.clone();
            *live.pointer_mut(pointer).unwrap() = value;
            differences(&file, &live).into_iter().map(|it| it.field).collect::<Vec<_>>()
        };
        assert!(differences(&file, &file).is_empty());
        assert_eq!(with("/spec/source/repoURL", json!("https://old")), ["spec.source.repoURL"]);
        assert_eq!(with("/spec/syncPolicy/automated", json!({"prune": true, "enabled": false})), [""; 0], "suspended");
        assert_eq!(with("/spec/syncPolicy/automated", json!({"prune": false})), ["spec.syncPolicy.automated.prune"]);
        let options = json!({"repoURL": "https://new", "path": "distribution", "targetRevision": "main", "kustomize": {"namePrefix": "a"}});
        assert_eq!(with("/spec/source", options), ["spec.source.kustomize"]);
        let several = json!({"sources": [{"repoURL": "https://new"}], "syncPolicy": {"automated": {"prune": true}}});
        assert_eq!(with("/spec", several), ["spec.source", "spec.sources"]);
    }
}
