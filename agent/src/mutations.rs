//! Which applied values admission webhooks have overwritten: one condition each, for as long as it is so.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use gitmoor_core::names::ANNOTATION_DIGEST;
use gitmoor_core::object::ObjectId;
use gitmoor_core::status::{Condition, ConditionKind};
use gitmoor_core::tracking::ApplicationKey;
use serde_json::Value;

const CATEGORY: &str = "MutatedByAdmission";

/// Of each Application: objects, as conditions name them, and the field of each.
#[derive(Debug, Default)]
pub(crate) struct Mutations {
    known: Mutex<HashMap<ApplicationKey, BTreeMap<String, String>>>,
}

impl Mutations {
    /// Takes up what the status of an Application says, once: what is as it should be is not applied again to find out.
    pub(crate) fn recall(&self, key: &ApplicationKey, status: &Value) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(key.clone()).or_insert_with(|| {
            let conditions = status["conditions"].as_array().into_iter().flatten();
            let messages = conditions.filter_map(|condition| condition["message"].as_str());
            let told = messages.filter_map(|text| text.strip_prefix(CATEGORY)?.strip_prefix(": ")?.split_once(": "));
            told.filter_map(|(id, rest)| Some((id.to_owned(), rest.split_once(" is overwritten")?.0.to_owned())))
                .collect()
        });
    }

    /// Takes in what became of an apply.
    pub(crate) fn note(&self, key: &ApplicationKey, id: &ObjectId, field: Option<String>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match (field, known.get_mut(key)) {
            (Some(field), _) => drop(known.entry(key.clone()).or_default().insert(id.to_string(), field)),
            (None, Some(of_application)) => drop(of_application.remove(&id.to_string())),
            (None, None) => {}
        }
    }

    /// True when somebody overwrites the very digest by which an object is known to be up to date.
    pub(crate) fn hides_digest(&self, key: &ApplicationKey, id: &ObjectId) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let field = known.get(key).and_then(|of_application| of_application.get(&id.to_string()));
        field.is_some_and(|field| field.ends_with(ANNOTATION_DIGEST))
    }

    /// The conditions of those objects of an Application that it still wants.
    pub(crate) fn conditions<'a>(
        &self,
        key: &ApplicationKey,
        wanted: impl Iterator<Item = &'a ObjectId>,
    ) -> Vec<Condition> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_application) = known.get(key).filter(|found| !found.is_empty()) else { return Vec::new() };
        let found = wanted.filter_map(|id| {
            let id = id.to_string();
            let field = of_application.get(&id)?;
            let message = format!(
                "{id}: {field} is overwritten by an admission webhook; have the webhook leave it, or take its value into Git"
            );
            Some(Condition { kind: ConditionKind::AdmissionWarning, category: CATEGORY, message })
        });
        found.collect()
    }
}

#[cfg(test)]
mod tests {
    use gitmoor_core::object::GroupKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_in_a_status_is_said_again_until_an_apply_shows_otherwise() {
        let key = ApplicationKey { namespace: "gitmoor".into(), name: "web".into() };
        let id =
            ObjectId { group_kind: GroupKind::new("", "ConfigMap"), namespace: Some("web".into()), name: "a".into() };
        let (first, second) = (Mutations::default(), Mutations::default());
        first.note(&key, &id, Some("data.a: b".into()));
        let told = first.conditions(&key, [&id].into_iter());
        let messages: Vec<_> =
            told.iter().map(|told| json!({"message": format!("{}: {}", told.category, told.message)})).collect();
        second.recall(&key, &json!({"conditions": messages}));
        assert_eq!(second.conditions(&key, [&id].into_iter()), told);
        assert_eq!(second.conditions(&key, [].into_iter()), []);
        second.note(&key, &id, None);
        second.recall(&key, &json!({"conditions": messages}));
        assert_eq!(second.conditions(&key, [&id].into_iter()), []);
    }
}
