//! Objects as people may see them: without stamps, and without the values of Secrets.

use serde_json::{Map, Value};

use crate::names::{ANNOTATION_DIGEST, ANNOTATION_LAST_APPLIED, ANNOTATION_TRACKING_ID, LABEL_APPLICATION};

/// Stands for a value.
pub const MASK: &str = "***";
/// Stands for a value that another one replaces.
pub const CHANGED_FROM: &str = "*** (before)";
/// Stands for the value that replaces another one.
pub const CHANGED_TO: &str = "*** (after)";

/// Characters of each end of a ciphertext that are shown.
const ENDS: usize = 12;

/// kubectl keeps a copy of the whole object there.
/// Fields that hold values.
const VALUES: [&str; 2] = ["data", "stringData"];
/// What only the server writes.
const OF_SERVER: [&str; 6] = ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"];

/// The object without what Gitmoor and the API server write into it; values of a Secret still in it.
pub fn shown(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return object };
    metadata.retain(|key, _| !OF_SERVER.contains(&key.as_str()));
    for (field, ours) in
        [("labels", &[LABEL_APPLICATION][..]), ("annotations", &[ANNOTATION_TRACKING_ID, ANNOTATION_DIGEST])]
    {
        let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) else { continue };
        map.retain(|key, _| !ours.contains(&key.as_str()));
        if map.is_empty() {
            metadata.remove(field);
        }
    }
    object
}

/// One object, with `***` in place of each value of a Secret.
pub fn masked(object: &Value) -> Value {
    let mut object = object.clone();
    mask(&mut object, &Value::Null, MASK);
    object
}

/// Two states of an object; a value of a Secret that differs is told from one that does not.
pub fn masked_pair(before: &Value, after: &Value) -> (Value, Value) {
    let (mut from, mut to) = (before.clone(), after.clone());
    mask(&mut from, after, CHANGED_FROM);
    mask(&mut to, before, CHANGED_TO);
    (from, to)
}

/// The object with the ciphertexts of a SealedSecret cut: people see that they differ, and nothing else in them.
pub(super) fn shortened(mut object: Value) -> Value {
    if object["kind"] != "SealedSecret" {
        return object;
    }
    let values = object.pointer_mut("/spec/encryptedData").and_then(Value::as_object_mut);
    for value in values.into_iter().flat_map(|values| values.values_mut()) {
        // Ciphertexts are ASCII; what is not is shown as it is.
        let cut = value
            .as_str()
            .filter(|text| text.len() > 3 * ENDS && text.is_ascii())
            .map(|text| format!("{}…{} ({} characters)", &text[..ENDS], &text[text.len() - ENDS..], text.len()));
        if let Some(cut) = cut {
            *value = Value::String(cut);
        }
    }
    object
}

fn is_secret(object: &Value) -> bool {
    object["kind"] == "Secret" && object["apiVersion"] == "v1"
}

/// Masks the values of an object when it, or its other state, is a Secret; `differs` stands for those that are other
/// ones in the other state.
fn mask(object: &mut Value, other: &Value, differs: &str) {
    if !is_secret(object) && !is_secret(other) {
        return;
    }
    for field in VALUES {
        let other = other.get(field);
        match object.get_mut(field) {
            Some(Value::Object(values)) => {
                for (key, value) in values.iter_mut() {
                    let changed = other.and_then(|other| other.get(key)).is_some_and(|other| other != value);
                    *value = Value::String(if changed { differs } else { MASK }.to_owned());
                }
            }
            // No map of strings, but nobody knows what it is instead.
            Some(value) if !value.is_null() => *value = Value::String(MASK.to_owned()),
            _ => {}
        }
    }
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(copy) = annotations.and_then(|map: &mut Map<String, Value>| map.get_mut(ANNOTATION_LAST_APPLIED)) {
        *copy = Value::String(MASK.to_owned());
    }
}
