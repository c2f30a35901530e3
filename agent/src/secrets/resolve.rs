//! From requests to reads: which session each item is read in, if it may be.

use std::sync::Arc;

use gitmoor_core::secrets::identity::{AssumedRole, Base, Identity, SessionKey};
use gitmoor_core::secrets::permission::{Asker, Permissions, check_key};
use gitmoor_core::secrets::reading::Read;
use gitmoor_core::secrets::request::{Form, Item, RequestId, SecretRequest, Source, StoreRef};
use gitmoor_core::secrets::store::{Store, read};
use gitmoor_core::secrets::{Category, Failure};

use super::book::{Known, NamespaceFacts};
use super::watch::not_ready;

/// A request whose items are all known to be readable.
pub(super) struct Resolved {
    /// The request.
    pub request: Arc<SecretRequest>,
    /// For each item, where it is read and what.
    pub reads: Vec<(SessionKey, Read)>,
}

/// What there is to do for a request.
pub(super) enum Resolution {
    /// It is to be read.
    Read(Resolved),
    /// It cannot be read.
    Failed(Failure),
    /// It is another controller's.
    NotOurs,
}

/// Resolves one request.
pub(super) fn resolve(known: &Known, id: &RequestId, permissions: &Permissions, class: &str) -> Resolution {
    let Some(entry) = known.entries.get(id) else { return Resolution::NotOurs };
    let request = match &entry.request {
        Ok(request) => Arc::clone(request),
        Err(failure) => return Resolution::Failed(failure.clone()),
    };
    if request.items.iter().any(|item| of_other_class(known, id, item, class)) {
        return Resolution::NotOurs;
    }
    let facts = known.namespaces.get(&id.namespace).cloned().unwrap_or_default();
    let reads = request.items.iter().map(|item| {
        let resolved = resolve_item(known, id, item, &facts, permissions);
        resolved.map_err(|failure| failure.at(&item.place))
    });
    match reads.collect() {
        Ok(reads) => Resolution::Read(Resolved { request, reads }),
        Err(failure) => Resolution::Failed(failure),
    }
}

fn store<'a>(known: &'a Known, id: &RequestId, reference: &StoreRef) -> Option<&'a Result<Store, Failure>> {
    let namespace = (!reference.cluster).then(|| id.namespace.clone());
    known.stores.get(&(namespace, reference.clone()))
}

fn of_other_class(known: &Known, id: &RequestId, item: &Item, class: &str) -> bool {
    let Source::Store(reference) = &item.source else { return false };
    let Some(Ok(store)) = store(known, id, reference) else { return false };
    !store.controller.is_empty() && store.controller != class
}

fn resolve_item(
    known: &Known,
    id: &RequestId,
    item: &Item,
    facts: &NamespaceFacts,
    permissions: &Permissions,
) -> Result<(SessionKey, Read), Failure> {
    let (session, read, cluster_store) = match &item.source {
        Source::Inline { service, role, region } => {
            let roles = role.iter().map(|arn| AssumedRole { arn: arn.clone(), ..AssumedRole::default() }).collect();
            let identity = Identity { base: Base::Agent, roles };
            (SessionKey { identity, region: region.clone() }, read(*service, "", &item.wanted), false)
        }
        Source::Store(reference) => {
            let store = store(known, id, reference).ok_or_else(|| not_ready(reference, "does not exist"))?;
            let store = store.as_ref().map_err(|failure| failure.clone().at(&reference.to_string()))?;
            if !store.admits(&id.namespace, &facts.labels) {
                return Err(not_ready(reference, &format!("is not for namespace {}", id.namespace)));
            }
            (store.session(&id.namespace)?, store.read(&item.wanted), reference.cluster)
        }
    };
    let asker = Asker { namespace: &id.namespace, annotation: facts.permitted.as_deref(), cluster_store };
    permissions.check(&session.identity, &asker)?;
    if id.form == Form::Legacy {
        check_key(&read.subject(), facts.permitted_keys.as_deref())?;
    }
    if read.subject().is_empty() {
        return Err(Failure::new(Category::InvalidSpec, "the key is empty"));
    }
    Ok((session, read))
}
