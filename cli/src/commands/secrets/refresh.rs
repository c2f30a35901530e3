//! Has the agent read ExternalSecrets again.

use gitmoor_core::{
    builtin, names::ANNOTATION_FORCE_SYNC, object::text_at, resource::Resource, secrets::status::ready_condition,
    view::one_line,
};
use gitmoor_engine::cluster::ClusterError;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::Refresh;
use crate::{
    cluster::{Connection, failed, name_of},
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// How often the status is looked at while somebody waits.
const LOOK: Duration = Duration::from_millis(250);

/// Something that is to be read.
struct Asked {
    kind: Resource,
    /// As it was when it was asked for.
    before: Value,
}

/// Annotates all of them, then waits for each.
pub(super) fn run(arguments: &Refresh, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    connection.wait(async {
        let warning = connection.agent_here().await.warning();
        if let Some(why) = warning.as_ref().filter(|_| arguments.wait) {
            return Err(Failure::new(Exit::Io, why.clone()).hint("see what keeps it: gitmoor logs"));
        }
        warning.iter().for_each(|warning| terminal.warning(warning));
        let mut asked = Vec::new();
        for name in &arguments.names {
            asked.extend(ask(&connection, name).await?);
            if !arguments.wait {
                terminal.message(&format!("{name}: asked for; see what comes of it: gitmoor secrets"));
            }
        }
        let started = Instant::now();
        let (mut exit, mut documents) = (Exit::Done, Vec::new());
        if !arguments.wait {
            documents.extend(arguments.names.iter().map(|name| json!({"name": name, "result": "asked for"})));
        }
        for one in asked.iter().filter(|_| arguments.wait) {
            let (namespace, name) = name_of(&one.before);
            match answer(&connection, one, started, arguments.timeout).await? {
                Ok(()) => {
                    terminal.message(&format!("{namespace}/{name}: the agent has read it"));
                    documents.push(json!({"name": format!("{namespace}/{name}"), "result": "read"}));
                }
                Err(why) => {
                    documents.push(json!({"name": format!("{namespace}/{name}"), "result": "failed", "message": why}));
                    terminal.error(&format!("{namespace}/{name}: {why}"));
                    exit = Exit::Findings;
                }
            }
        }
        terminal.json(&json!({"refreshes": documents}));
        Ok(exit)
    })
}

/// Asks for what has this name: of the present kind, its predecessor's, or both.
async fn ask(connection: &Connection, name: &str) -> Result<Vec<Asked>, Failure> {
    let Some((namespace, bare)) = name.split_once('/') else {
        return Err(Failure::new(Exit::Usage, format!("{name}: NAMESPACE/NAME is expected")));
    };
    // To the nanosecond: only another value asks again.
    let patch = json!({"metadata": {"annotations": {ANNOTATION_FORCE_SYNC: Timestamp::now().to_string()}}});
    let mut asked = Vec::new();
    for kind in [builtin::external_secrets(), builtin::legacy_external_secrets()] {
        match connection.cluster.merge(&kind, Some(namespace), bare, &patch).await {
            Ok(before) => asked.push(Asked { kind, before }),
            Err(ClusterError::Refused { code: 404, .. }) => {}
            Err(error) => return Err(failed(format!("cannot annotate {name}"), &error)),
        }
    }
    if asked.is_empty() {
        return Err(Failure::new(Exit::Usage, format!("there is no ExternalSecret {name}"))
            .hint("see which there are: gitmoor secrets"));
    }
    Ok(asked)
}

/// Waits for what comes of one; why it is not read, otherwise.
async fn answer(
    connection: &Connection,
    asked: &Asked,
    started: Instant,
    patience: Duration,
) -> Result<Result<(), String>, Failure> {
    let (namespace, name) = name_of(&asked.before);
    loop {
        let found = connection.cluster.get(&asked.kind, Some(namespace), name).await;
        let found = found.map_err(|error| failed(format!("cannot read ExternalSecret {namespace}/{name}"), &error))?;
        let Some(present) = found else { return Ok(Err("it was deleted meanwhile".to_owned())) };
        if let Some(answer) = answered(&asked.before, &present) {
            return Ok(answer);
        }
        if started.elapsed() > patience {
            // One that fails as it did before says nothing new.
            let why = match failure(&present) {
                Some(why) => format!("it still fails: {why}"),
                None => format!("nobody has read it within {} seconds", patience.as_secs()),
            };
            return Ok(Err(why));
        }
        sleep(LOOK).await;
    }
}

/// What the status says now and did not before. One of the present kind notes which version of the object was read, with its
/// annotations; its predecessor when it was read.
fn answered(before: &Value, present: &Value) -> Option<Result<(), String>> {
    let news = |path: &[&str]| text_at(present, path) != text_at(before, path);
    let read = news(&["status", "syncedResourceVersion"]) || news(&["status", "lastSync"]);
    match failure(present) {
        Some(why) if read || ready_condition(present) != ready_condition(before) => Some(Err(why)),
        None if read => Some(Ok(())),
        _ => None,
    }
}

/// Why it is not synced.
fn failure(object: &Value) -> Option<String> {
    let ready = ready_condition(object).filter(|ready| ready["status"] != "True");
    let legacy = text_at(object, &["status", "status"]).filter(|said| *said != "SUCCESS");
    let why = ready.and_then(|ready| ready["message"].as_str()).or(legacy)?;
    Some(one_line(why.trim_start_matches("ERROR, ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_not_there_before() {
        let external = |version: &str, status: &str, message: &str| {
            let ready = json!({"type": "Ready", "status": status, "message": message});
            json!({"status": {"syncedResourceVersion": version, "conditions": [ready]}})
        };
        let legacy = |at: &str, status: &str| json!({"status": {"lastSync": at, "status": status}});
        let denied = || Some(Err("denied".to_owned()));
        for (before, present, expected) in [
            (external("1-a", "True", ""), external("1-a", "True", ""), None),
            (external("1-a", "True", ""), external("1-b", "True", ""), Some(Ok(()))),
            (external("1-a", "True", ""), external("1-a", "False", "denied"), denied()),
            (external("1-a", "False", "denied"), external("1-a", "False", "denied"), None),
            (external("1-a", "False", "denied"), external("1-b", "True", ""), Some(Ok(()))),
            (json!({}), external("1-b", "True", ""), Some(Ok(()))),
            (legacy("1", "SUCCESS"), legacy("1", "SUCCESS"), None),
            (legacy("1", "SUCCESS"), legacy("2", "SUCCESS"), Some(Ok(()))),
            (legacy("1", "ERROR, denied"), legacy("2", "ERROR, denied"), denied()),
        ] {
            assert_eq!(answered(&before, &present), expected, "{before} {present}");
        }
    }
}
