//! Finding Applications.

use futures::future::join_all;
use gitmoor_core::{
    builtin,
    names::ANNOTATION_TRACKING_ID,
    object::{annotation, text_at},
    overview::{Overview, Table},
    view::{ApplicationView, ViewedResource},
};
use gitmoor_engine::cluster::ClusterError;
use serde_json::Value;

use super::{Connection, FORMER_NAMESPACE, NAMESPACE, NAMESPACE_VARIABLE, failed};
use crate::failure::{Exit, Failure};

/// Applications that are read one by one: of more, the list of all is the faster way.
const MOST_SINGLY: usize = 32;

impl Connection {
    /// All Applications of the agent's namespace, or of all; and the agent's namespace. Those that are well are told by
    /// the API server's table, unless they are wanted `whole`, with their objects.
    pub(crate) async fn applications(
        &self,
        everywhere: bool,
        whole: bool,
    ) -> Result<(String, Vec<ApplicationView>), Failure> {
        if everywhere {
            let found =
                self.cluster.list_as(&builtin::applications(), None).await.map_err(|error| cannot_list(&error))?;
            return Ok((self.namespace().to_owned(), found));
        }
        for namespace in self.namespaces() {
            let found = self.applications_in(namespace, whole).await?;
            if !found.is_empty() {
                return Ok((namespace.to_owned(), found));
            }
        }
        Ok((self.namespace().to_owned(), Vec::new()))
    }

    /// All Applications of a namespace, as [`Self::applications`] gives them.
    pub(crate) async fn applications_in(&self, namespace: &str, whole: bool) -> Result<Vec<ApplicationView>, Failure> {
        if !whole && let Some(found) = self.overview(namespace).await? {
            return Ok(found);
        }
        let listed = self.cluster.list_as(&builtin::applications(), Some(namespace)).await;
        listed.map_err(|error| cannot_list(&error))
    }

    /// All Applications of a namespace by their table, and one by one where there is more to say. `None` when the list is the
    /// better way.
    async fn overview(&self, namespace: &str) -> Result<Option<Vec<ApplicationView>>, Failure> {
        let kind = builtin::applications();
        let table: Table = self.cluster.table(&kind, namespace).await.map_err(|error| cannot_list(&error))?;
        let Some(Overview { mut well, others }) = table.overview(namespace) else { return Ok(None) };
        if others.len() > MOST_SINGLY {
            return Ok(None);
        }
        let whole = others.iter().map(|name| self.cluster.get(&kind, Some(namespace), name));
        for found in join_all(whole).await {
            // It may have gone meanwhile.
            let found = found.map_err(|error| cannot_list(&error))?;
            well.extend(found.and_then(|object| serde_json::from_value(object).ok()));
        }
        Ok(Some(well))
    }

    /// One Application, by `NAME` or `NAMESPACE/NAME`.
    pub(crate) async fn application(&self, name: &str) -> Result<Value, Failure> {
        let (namespaces, name) = match name.split_once('/') {
            Some((namespace, name)) => (vec![namespace], name),
            None => (self.namespaces(), name),
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
            return Err(Failure::new(Exit::Usage, format!("`{name}` is no name of an Application")));
        }
        for namespace in &namespaces {
            let found = self.cluster.get(&builtin::applications(), Some(namespace), name).await;
            if let Some(object) =
                found.map_err(|error| failed(format!("cannot read the Application {name}"), &error))?
            {
                return Ok(object);
            }
        }
        Err(self.unknown(name, &namespaces).await)
    }

    async fn unknown(&self, name: &str, namespaces: &[&str]) -> Failure {
        let place = namespaces.join(" or ");
        let listed = self.cluster.list_metadata(&builtin::applications(), namespaces.first().copied()).await;
        if let Err(error) = listed
            && error.is_not_found()
        {
            return cannot_list(&error);
        }
        for namespace in namespaces {
            if let Some(failure) = self.not_created_yet(name, namespace).await {
                return failure;
            }
        }
        let failure = Failure::new(Exit::Usage, format!("there is no Application {name} in namespace {place}"));
        let mut known = Vec::new();
        for namespace in namespaces {
            known.extend(self.names(namespace).await.into_iter().map(|name| (name, *namespace)));
        }
        // Nobody may be allowed to look everywhere.
        let elsewhere = self.cluster.list_metadata(&builtin::applications(), None).await.unwrap_or_default();
        if let Some(there) = elsewhere.iter().find(|object| name_of(object).1 == name) {
            return failure.hint(format!("did you mean {}?", address(there)));
        }
        let similar = gitmoor_core::template::did_you_mean(name, known.iter().map(|(name, _)| name.as_str()));
        match known.iter().find(|(name, _)| similar == Some(name.as_str())) {
            Some((similar, namespace)) => failure.hint(format!("did you mean {}?", address_of(namespace, similar))),
            None if known.is_empty() => failure.hint("name the namespace of the Applications with --namespace"),
            None => failure.hint("see which there are: gitmoor status"),
        }
    }

    /// Another Application has it in Git, and waits for something.
    async fn not_created_yet(&self, name: &str, namespace: &str) -> Option<Failure> {
        let all: Vec<ApplicationView> = self.cluster.list_as(&builtin::applications(), Some(namespace)).await.ok()?;
        let (parent, leaves) = all.iter().find_map(|view| Some((view, leaves(view, name)?)))?;
        let (parent, reason) = (address_of(&parent.key().namespace, &parent.key().name), parent.reason());
        if leaves {
            let message = format!("there is no Application {name} any more: it left Git, and {parent} has deleted it");
            return Some(Failure::new(Exit::Usage, message).hint("see which there are: gitmoor status"));
        }
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let message = format!("Application {name} is not created yet; {parent} has it in Git{why}");
        Some(Failure::new(Exit::Usage, message).hint(format!("see what it waits for: gitmoor explain {parent}")))
    }

    /// The names of all Applications of a namespace; none when they cannot be read.
    pub(super) async fn names(&self, namespace: &str) -> Vec<String> {
        let listed = self.cluster.list_metadata(&builtin::applications(), Some(namespace)).await.unwrap_or_default();
        listed.iter().filter_map(|object| text_at(object, &["metadata", "name"]).map(str::to_owned)).collect()
    }
}

/// Of an Application that has another one among its objects, whether that one has left Git.
fn leaves(view: &ApplicationView, name: &str) -> Option<bool> {
    let is_it = |resource: &&ViewedResource| {
        resource.id().group_kind == builtin::applications().group_kind && resource.name == name
    };
    view.resources().iter().find(is_it).map(|resource| resource.requires_pruning)
}

fn cannot_list(error: &ClusterError) -> Failure {
    let failure = failed("cannot list Applications", error);
    if error.is_not_found() {
        return failure
            .hint("the cluster does not know the kind Application: install the agent with gitmoor bootstrap");
    }
    failure
}

/// What an Application is called in commands that people paste: its name alone where commands look without being told.
pub(crate) fn address(object: &Value) -> String {
    let (namespace, name) = name_of(object);
    address_of(namespace, name)
}

/// The same, of the two parts.
pub(crate) fn address_of(namespace: &str, name: &str) -> String {
    // A `--namespace` of this command is not said again.
    let usual = crate::settings::variable(NAMESPACE_VARIABLE).filter(|usual| !usual.is_empty());
    let is_usual = usual.map_or_else(|| [NAMESPACE, FORMER_NAMESPACE].contains(&namespace), |usual| usual == namespace);
    if is_usual || namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// `NAMESPACE/NAME` of an object; the name alone in the given namespace.
pub(crate) fn name_of(object: &Value) -> (&str, &str) {
    let text = |key| text_at(object, &["metadata", key]).unwrap_or_default();
    (text("namespace"), text("name"))
}

/// Namespace and name of the Application that an object's tracking id names: `INSTALLATION:NAMESPACE/NAME:…`.
pub(crate) fn owner_of(object: &Value) -> Option<(&str, &str)> {
    annotation(object, ANNOTATION_TRACKING_ID)?.split(':').nth(1)?.split_once('/')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_left_git_is_not_what_waits_to_be_created() {
        let view = |pruned: bool| -> ApplicationView {
            let resource =
                json!({"group": "argoproj.io", "kind": "Application", "name": "web", "requiresPruning": pruned});
            serde_json::from_value(json!({"status": {"resources": [resource]}})).unwrap()
        };
        assert_eq!(leaves(&view(false), "web"), Some(false));
        assert_eq!(leaves(&view(true), "web"), Some(true));
        assert_eq!(leaves(&view(true), "other"), None);
    }
}
