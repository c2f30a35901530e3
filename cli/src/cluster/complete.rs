//! Names of the cluster for the shell's completion. Whatever goes wrong, there is nothing to offer.

use std::{ffi::OsStr, time::Duration};

use clap_complete::CompletionCandidate;
use gitmoor_core::{builtin, object::text_at};
use gitmoor_engine::cluster::Cluster;

use super::{Connection, Target};

/// Somebody waits at the prompt.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Names of Applications.
pub(crate) fn applications() -> Vec<CompletionCandidate> {
    ask(async |connection| {
        for namespace in connection.namespaces() {
            let names = connection.names(namespace).await;
            if !names.is_empty() {
                return names;
            }
        }
        Vec::new()
    })
}

/// `NAMESPACE/NAME` of ExternalSecrets.
pub(crate) fn external_secrets() -> Vec<CompletionCandidate> {
    ask(async |connection| {
        let mut names = Vec::new();
        for kind in [builtin::external_secrets(), builtin::legacy_external_secrets()] {
            let listed = connection.cluster.list_metadata(&kind, None).await.unwrap_or_default();
            let text = |object, key| text_at(object, &["metadata", key]).unwrap_or_default().to_owned();
            names.extend(listed.iter().map(|object| format!("{}/{}", text(object, "namespace"), text(object, "name"))));
        }
        names
    })
}

/// Contexts of the kubeconfig.
pub(crate) fn contexts() -> Vec<CompletionCandidate> {
    let target = of_line(std::env::args_os());
    Cluster::contexts(target.kubeconfig.as_deref()).into_iter().map(CompletionCandidate::new).collect()
}

fn ask(names: impl AsyncFnOnce(&Connection) -> Vec<String>) -> Vec<CompletionCandidate> {
    let target = of_line(std::env::args_os());
    let Ok(connection) = Connection::open(&target) else { return Vec::new() };
    let found = connection.wait(async { tokio::time::timeout(PATIENCE, names(&connection)).await });
    found.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

/// The cluster that the line names so far.
fn of_line(words: impl Iterator<Item = impl AsRef<OsStr>>) -> Target {
    let words: Vec<String> = words.map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
    let value = |names: &[&str]| {
        words.iter().enumerate().find_map(|(at, word)| {
            let joined = names.iter().find_map(|name| word.strip_prefix(name)?.strip_prefix('='));
            let next = names.contains(&word.as_str()).then(|| words.get(at + 1).map(String::as_str)).flatten();
            joined.or(next).filter(|value| !value.is_empty()).map(str::to_owned)
        })
    };
    Target {
        kubeconfig: value(&["--kubeconfig"]).map(Into::into),
        context: value(&["--context"]),
        namespace: value(&["--namespace", "-n"]).or_else(|| crate::settings::variable(super::NAMESPACE_VARIABLE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_which_cluster_is_meant() {
        let target = of_line(["gitmoor", "--", "gitmoor", "sync", "--context=c", "-n", "apps", ""].iter());
        assert_eq!((target.context.as_deref(), target.namespace.as_deref()), (Some("c"), Some("apps")));
        let target = of_line(["gitmoor", "status", "--kubeconfig", "file", "--namespace"].iter());
        assert_eq!((target.kubeconfig, target.namespace), (Some("file".into()), None));
    }
}
