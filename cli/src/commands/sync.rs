//! `gitmoor sync`: asks the agent for a sync, and shows how it goes.

use std::time::Duration;

use gitmoor_core::{application::ApplicationSpec, operation::named_source, view::short_revision};
use serde_json::{Map, Value, json};

use crate::{
    cluster::{Connection, Ended, Looked, Target, address, complete_applications, name_of},
    failure::{Exit, Failure},
    table::Table,
    terminal::{Style, Terminal},
};

/// How long the agent may take to look at the repository.
const LOOK: Duration = Duration::from_secs(15);

/// Asks the agent to bring Applications to what Git says
///
/// An automated Application does not need it. Others are applied only when somebody asks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor sync mlflow
  # Wait until it is Synced and Healthy, and show what is waited for
  gitmoor sync mlflow --wait
  # What would happen?
  gitmoor sync mlflow --dry-run
  # Another branch, tag or commit; automation has to be off for that
  gitmoor sync mlflow --revision v1.2.0
  # Only one object, without hooks
  gitmoor sync mlflow --resource apps:Deployment:mlflow/mlflow")]
pub(crate) struct Arguments {
    /// The Applications
    #[arg(value_name = "APP", required = true, add = clap_complete::ArgValueCandidates::new(complete_applications))]
    names: Vec<String>,
    /// Branch, tag or commit instead of the one that it follows
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Delete what left Git
    #[arg(long)]
    prune: bool,
    /// Ask the API server what it would say, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Only this object; may be repeated
    #[arg(long, value_name = "GROUP:KIND:[NAMESPACE/]NAME", value_parser = resource)]
    resource: Vec<Value>,
    /// Sync what the agent knows already, without a look at the repository
    #[arg(long)]
    no_refresh: bool,
    /// Delete and make anew what cannot be changed
    #[arg(long)]
    force: bool,
    /// Apply without running hooks
    #[arg(long)]
    no_hooks: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    target: Target,
}

/// Whether to wait, and how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Wait {
    /// Wait until everything is Synced and Healthy
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = crate::commands::duration)]
    pub(crate) timeout: Duration,
}

/// Asks, and follows what was asked for.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    connection.wait(async {
        let mut objects = Vec::new();
        for name in &arguments.names {
            let object = connection.application(name).await?;
            one_revision_is_enough(&object, arguments.revision.as_deref())?;
            may_go_elsewhere(&object, arguments.revision.as_deref())?;
            objects.push(object);
        }
        let mut asked = Vec::new();
        for object in &objects {
            connection.warn_without_agent(name_of(object).0, terminal).await;
            // What was pushed just now is what is meant.
            let looked = if arguments.no_refresh { Looked::Well } else { connection.looked_at(object, LOOK).await? };
            match looked {
                Looked::Well => {}
                Looked::Failed(why) => terminal.warning(&format!(
                    "the agent could not look at the repository, and syncs what it knew before: {why}"
                )),
                Looked::NotInTime => {
                    terminal
                        .warning("the agent has not looked at the repository in time: what it knew before is synced");
                }
            }
            asked.push((object, connection.request(object, operation(arguments)).await?));
        }
        let mut outcome = Outcome::default();
        for (object, request) in &asked {
            // What a dry run says is all there is to it.
            if !arguments.wait.wait && !arguments.dry_run {
                outcome.asked(object, "a sync is asked for; see how it goes with", terminal);
                continue;
            }
            let healthy = !arguments.dry_run && arguments.resource.is_empty();
            let ended = connection.follow(request, healthy, arguments.wait.timeout, terminal).await?;
            outcome.take(object, &ended, terminal);
        }
        Ok(outcome.end(terminal))
    })
}

/// `operation.sync` as it is asked for.
fn operation(arguments: &Arguments) -> Value {
    let mut sync = Map::new();
    sync.extend(arguments.revision.as_ref().map(|revision| ("revision".to_owned(), json!(revision))));
    sync.extend(arguments.prune.then(|| ("prune".to_owned(), json!(true))));
    sync.extend(arguments.dry_run.then(|| ("dryRun".to_owned(), json!(true))));
    sync.extend((!arguments.resource.is_empty()).then(|| ("resources".to_owned(), json!(arguments.resource))));
    let way = if arguments.no_hooks { "apply" } else { "hook" };
    if arguments.force || arguments.no_hooks {
        sync.insert("syncStrategy".to_owned(), json!({way: {"force": arguments.force}}));
    }
    Value::Object(sync)
}

/// Of several sources it says nothing which one is meant, and the agent would refuse it.
fn one_revision_is_enough(object: &Value, revision: Option<&str>) -> Result<(), Failure> {
    let name = address(object);
    if revision.is_none() || named_source(&object["spec"]).0 != "sources" {
        return Ok(());
    }
    let failure = Failure::new(Exit::Refused, format!("{name} has several sources, and --revision is one"));
    Err(failure
        .hint(format!("back to what was rolled out before: gitmoor history {name}, then gitmoor rollback {name} ID"))
        .hint("or change targetRevision of its sources in Git"))
}

/// The agent would refuse another revision while automation would undo it: better said at once.
pub(crate) fn may_go_elsewhere(object: &Value, revision: Option<&str>) -> Result<(), Failure> {
    let name = address(object);
    let Some(revision) = revision else { return Ok(()) };
    let spec = ApplicationSpec::read(object).unwrap_or_default();
    let follows = spec.sources().first().map(|source| source.revision().to_owned()).unwrap_or_default();
    if spec.automated().is_none() || follows == revision {
        return Ok(());
    }
    let failure = Failure::new(
        Exit::Refused,
        format!("{name} follows {follows} by itself, and would undo a sync to {}", short_revision(revision)),
    );
    Err(failure
        .hint(format!("gitmoor suspend {name} --with-parents; then ask again"))
        .hint(format!("and afterwards, back to {follows}: gitmoor resume {name} --with-parents")))
}

/// What became of several syncs.
#[derive(Default)]
pub(crate) struct Outcome {
    documents: Vec<Value>,
    failed: bool,
}

impl Outcome {
    /// Tells of one.
    pub(crate) fn take(&mut self, object: &Value, ended: &Ended, terminal: &mut Terminal) {
        let ((namespace, own), name) = (name_of(object), address(object));
        let (word, message, results) = match ended {
            Ended::Well(state) => {
                let message = state["message"].as_str().unwrap_or_default().to_owned();
                ("succeeded", message, state["syncResult"]["resources"].clone())
            }
            Ended::Badly(why) => ("failed", why.clone(), Value::Null),
            Ended::NotInTime { waited, .. } => ("not in time", waited.clone(), Value::Null),
        };
        if !terminal.is_json() {
            print(&results, terminal);
        }
        self.documents.push(json!({"namespace": namespace, "application": own, "result": word, "message": message, "resources": results}));
        if matches!(ended, Ended::Well(_)) {
            terminal.message(&format!("{name}: {message}"));
            return;
        }
        self.failed = true;
        terminal.error(&format!("{name}: {word}: {message}"));
        terminal.message(&format!("find out why: gitmoor explain {name}"));
        if matches!(ended, Ended::NotInTime { stays: true, .. }) {
            terminal.message(&format!(
                "the request stays, and is carried out as soon as it can be; to take it back: kubectl patch -n {namespace} \
                 applications.argoproj.io {own} --type=merge -p '{{\"operation\":null}}'"
            ));
        }
    }

    /// Tells of one that is not waited for.
    pub(crate) fn asked(&mut self, object: &Value, what: &str, terminal: &mut Terminal) {
        let ((namespace, own), name) = (name_of(object), address(object));
        let message = format!("{what} gitmoor status {name}");
        terminal.message(&format!("{name}: {message}"));
        self.documents
            .push(json!({"namespace": namespace, "application": own, "result": "asked for", "message": message}));
    }

    /// The exit status, after all of them for programs.
    pub(crate) fn end(self, terminal: &mut Terminal) -> Exit {
        terminal.json(&json!({"syncs": self.documents}));
        if self.failed { Exit::Findings } else { Exit::Done }
    }
}

fn print(results: &Value, terminal: &mut Terminal) {
    let Some(results) = results.as_array().filter(|results| !results.is_empty()) else { return };
    let mut table = Table::new(["OBJECT", "RESULT", "MESSAGE"]);
    for result in results {
        let text = |field: &str| result[field].as_str().unwrap_or_default().to_owned();
        let namespace = if text("namespace").is_empty() { String::new() } else { format!("{}/", text("namespace")) };
        let object = format!("{} {namespace}{}", text("kind"), text("name"));
        let style = if text("status") == "SyncFailed" { Style::Red } else { Style::Plain };
        table.row(style, [object, text("status"), text("message")]);
    }
    table.print(terminal);
}

/// `GROUP:KIND:NAME` or `GROUP:KIND:NAMESPACE/NAME`; the core group is empty.
fn resource(text: &str) -> Result<Value, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let [group, kind, name] = parts[..] else {
        return Err("GROUP:KIND:NAME is expected, such as apps:Deployment:web or :ConfigMap:web".to_owned());
    };
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    if kind.is_empty() || name.is_empty() {
        return Err("the kind and the name are needed, such as :ConfigMap:web".to_owned());
    }
    Ok(json!({"group": group, "kind": kind, "namespace": namespace, "name": name}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_argo_cd_has_them() {
        assert_eq!(resource("apps:Deployment:n/web").unwrap()["namespace"], "n");
        assert_eq!(resource(":ConfigMap:a").unwrap()["group"], "");
        for wrong in ["ConfigMap:a", "a:b:c:d", "::a", ":ConfigMap:"] {
            assert!(resource(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_revision_is_refused_for_several_sources() {
        let several = json!({"metadata": {"name": "web"}, "spec": {"sources": [{"repoURL": "a"}, {"repoURL": "b"}]}});
        assert_eq!(one_revision_is_enough(&several, Some("v1")).unwrap_err().exit, Exit::Refused);
        one_revision_is_enough(&several, None).unwrap();
        one_revision_is_enough(&json!({"spec": {"source": {"repoURL": "a"}}}), Some("v1")).unwrap();
    }

    #[test]
    fn another_revision_needs_automation_off() {
        let object = |automated: Value| {
            json!({"metadata": {"name": "web"}, "spec": {
                "source": {"repoURL": "https://git/x", "targetRevision": "main"}, "syncPolicy": {"automated": automated},
            }})
        };
        assert!(may_go_elsewhere(&object(json!({})), Some("v1")).is_err());
        assert!(may_go_elsewhere(&object(json!({})), Some("main")).is_ok());
        assert!(may_go_elsewhere(&object(json!({})), None).is_ok());
        assert!(may_go_elsewhere(&object(json!({"enabled": false})), Some("v1")).is_ok());
    }
}
