//! Whose an object is: the Application of Argo CD that it says it belongs to.

use serde_json::Value;

use super::Controller;
use crate::object::{ObjectId, annotation, text_at};
use crate::tracking::ApplicationKey;

pub(super) const ANNOTATION_TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
pub(super) const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";

/// The Application of Argo CD that an object says it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name; with `NAMESPACE_` in front where that is not Argo CD's own.
    name: String,
    /// The annotation says so, and names this very object. Labels are also set by charts: the status of the Application
    /// has to have the object too.
    proven: bool,
}

impl Owner {
    /// What the annotation of an object says; without one, what the label says that Argo CD 2 tracked by.
    pub fn of(id: &ObjectId, object: &Value) -> Option<Self> {
        if let Some(text) = annotation(object, ANNOTATION_TRACKING_ID) {
            let mut parts = text.splitn(3, ':');
            let (name, kind, place) = (parts.next()?, parts.next()?, parts.next()?);
            let fits = kind.split_once('/') == Some((&id.group_kind.group, &id.group_kind.kind))
                && place.split_once('/').is_some_and(|(namespace, own)| {
                    // Of what is in no namespace it has that of the destination.
                    own == id.name && id.namespace.as_ref().is_none_or(|other| namespace == other)
                });
            return fits.then(|| Self { name: name.to_owned(), proven: true });
        }
        let name = text_at(object, &["metadata", "labels", LABEL_INSTANCE])?;
        Some(Self { name: name.to_owned(), proven: false })
    }

    /// Which Applications that may be, of these controllers.
    pub fn candidates<'a>(&self, controllers: impl IntoIterator<Item = &'a Controller>) -> Vec<ApplicationKey> {
        let mut candidates: Vec<_> =
            controllers.into_iter().filter_map(|controller| controller.application(&self.name)).collect();
        candidates.sort();
        candidates.dedup();
        candidates
    }

    /// Whether an Application that exists has the object: it is not being deleted.
    pub fn is(&self, application: &Value, id: &ObjectId) -> bool {
        let has = |resource: &Value| {
            let text = |field: &str| resource[field].as_str().unwrap_or_default();
            (text("group"), text("kind"), text("name")) == (&id.group_kind.group, &id.group_kind.kind, &id.name)
                && id.namespace.as_ref().is_none_or(|namespace| text("namespace") == namespace)
        };
        let resources = || application["status"]["resources"].as_array().into_iter().flatten();
        application["metadata"].get("deletionTimestamp").is_none() && (self.proven || resources().any(has))
    }
}
