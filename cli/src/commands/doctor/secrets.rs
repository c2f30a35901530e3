//! Secrets of AWS: the keys with which one machine reads them, and ExternalSecrets that give no Secret.

use gitmoor_core::{builtin, secrets::status::ready_condition, setup_conf::SetupConf, view::one_line};
use serde_json::Value;

use super::{Finding, aws};
use crate::cluster::{Connection, name_of};

/// The Secret that is made by hand where no role can be assumed.
const KEYS: &str = "aws-access-keys";

/// Both of them.
pub(super) async fn check(connection: &Connection, conf: Option<&SetupConf>) -> Vec<Finding> {
    let keys = if aws::is_single_node(conf) { keys(connection).await } else { None };
    keys.into_iter().chain(unread(connection).await).collect()
}

async fn keys(connection: &Connection) -> Option<Finding> {
    let namespace = connection.namespace();
    // Whoever may not look is told nothing.
    let found = connection.cluster.get_metadata(&builtin::secrets(), Some(namespace), KEYS).await.ok()?;
    Some(match found {
        Some(_) => Finding::fine("keys", format!("the Secret {namespace}/{KEYS} is there")),
        None => Finding::wrong(
            "keys",
            format!("there is no Secret {namespace}/{KEYS}, with which the agent reads secrets of AWS"),
            "make it, with access-key-id and secret-access-key: docs/single-node.md",
        ),
    })
}

async fn unread(connection: &Connection) -> Option<Finding> {
    let all = connection.cluster.list(&builtin::external_secrets(), None).await.unwrap_or_default();
    let mut failed = all.iter().filter_map(|object| Some((object, reason(object)?)));
    let Some((first, reason)) = failed.next() else {
        return (!all.is_empty())
            .then(|| Finding::fine("secrets", format!("{} ExternalSecrets are synced", all.len())));
    };
    let (namespace, name) = name_of(first);
    let said =
        format!("{} of {} ExternalSecrets give no Secret: {namespace}/{name}: {reason}", 1 + failed.count(), all.len());
    Some(Finding::wrong("secrets", said, "see all of them: gitmoor secrets"))
}

fn reason(object: &Value) -> Option<String> {
    let ready = ready_condition(object).filter(|ready| ready["status"] == "False")?;
    Some(one_line(ready["message"].as_str().unwrap_or("it is not ready")))
}
