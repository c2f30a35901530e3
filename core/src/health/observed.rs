//! What an object says about itself: counts, generations, conditions.

use serde_json::Value;

use super::Health;
use crate::object::text_at;

/// The value at a path of keys.
pub(super) fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |at, key| at.get(key))
}

/// The whole number at a path.
pub(super) fn number(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path).and_then(Value::as_i64)
}

/// A count in an object's status; controllers leave zeros out.
pub(super) fn count(object: &Value, field: &str) -> i64 {
    number(object, &["status", field]).unwrap_or(0)
}

/// The items of the list at a path; none when it is not there.
pub(super) fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// True when the flag at a path is set.
pub(super) fn flag(object: &Value, path: &[&str]) -> bool {
    at(object, path).and_then(Value::as_bool).unwrap_or(false)
}

/// `metadata.generation`.
pub(super) fn generation(object: &Value) -> Option<i64> {
    number(object, &["metadata", "generation"])
}

/// Progressing, when the status is about an older generation of the spec.
pub(super) fn behind(object: &Value) -> Option<Health> {
    let (generation, observed) = (generation(object)?, number(object, &["status", "observedGeneration"])?);
    (observed < generation).then(|| {
        Health::progressing(format!("waiting for its controller: generation {generation}, observed {observed}"))
    })
}

/// What to say of an object that its controller has not written to yet.
pub(super) const NOT_OBSERVED: &str = "waiting for its controller: not observed yet";

/// Progressing, when a controller that always writes `status.observedGeneration` has not written one yet.
pub(super) fn unseen(object: &Value) -> Option<Health> {
    number(object, &["status", "observedGeneration"])
        .is_none_or(|observed| observed == 0)
        .then(|| Health::progressing(NOT_OBSERVED))
}

/// One entry of `status.conditions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition<'a> {
    /// `type`.
    pub(super) name: &'a str,
    /// `True`, `False`, `Unknown`, or what a controller made up.
    pub(super) status: &'a str,
    /// One PascalCase word, or empty.
    pub(super) reason: &'a str,
    /// For humans, or empty.
    pub(super) message: &'a str,
    /// The generation that the condition is about, where its controller says so.
    pub(super) observed_generation: Option<i64>,
}

impl Condition<'_> {
    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    pub(super) fn is_false(&self) -> bool {
        self.status == "False"
    }

    /// Progressing, when the condition is about an older generation of the object's spec.
    pub(super) fn stale(&self, object: &Value) -> Option<Health> {
        let (seen, now) = (self.observed_generation?, generation(object)?);
        let name = self.name;
        (seen < now).then(|| Health::progressing(format!("waiting for its controller: {name} is of an older spec")))
    }

    /// `Reason: message`, or the one that is there, or the type and status.
    pub(super) fn text(&self) -> String {
        match (self.reason, self.message) {
            ("", "") => format!("{} is {}", self.name, self.status),
            (reason, "") => reason.to_owned(),
            ("", message) => message.to_owned(),
            (reason, message) if message.starts_with(reason) => message.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

/// Reads a list of conditions; entries without a type are left out.
pub(super) fn conditions_in(list: &[Value]) -> impl Iterator<Item = Condition<'_>> {
    list.iter().filter_map(|entry| {
        let text = |key: &str| text_at(entry, &[key]).unwrap_or_default();
        Some(Condition {
            name: text_at(entry, &["type"])?,
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
            observed_generation: number(entry, &["observedGeneration"]),
        })
    })
}

/// The object's conditions, in their order.
pub(super) fn conditions(object: &Value) -> impl Iterator<Item = Condition<'_>> {
    conditions_in(items(object, &["status", "conditions"]))
}

/// The object's condition of a type.
pub(super) fn condition<'a>(object: &'a Value, name: &str) -> Option<Condition<'a>> {
    conditions(object).find(|condition| condition.name == name)
}

/// The object's condition of a type, if it is true.
pub(super) fn true_condition<'a>(object: &'a Value, name: &str) -> Option<Condition<'a>> {
    condition(object, name).filter(Condition::is_true)
}
