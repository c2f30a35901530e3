//! `gitmoor uninstall`: the agent goes, and what it has deployed stays, unless everything is to go.

use std::time::Duration;

use gitmoor_core::builtin;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    arguments::UninstallArguments,
    install::Installer,
    keep::Keeper,
    material::{Material, id, is_definition},
    purge,
};
use crate::{
    cluster::{Agent, Connection},
    failure::{Exit, Failure},
    terminal::{Style, Terminal},
};

const LOOK: Duration = Duration::from_millis(500);
/// How long the agent may take to finish what it has begun. One that was killed keeps its lease for half of that.
const FAREWELL: Duration = Duration::from_secs(60);

/// Deletes the agent's objects; with `--purge` what it has deployed before, and definitions and namespace after.
pub(crate) fn run(arguments: &UninstallArguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let material = Material::read(&arguments.sources, arguments.target.namespace.as_deref())?;
    let connection = Connection::open(&arguments.target)?;
    terminal.message(&format!("cluster {}", connection.cluster.address()));
    connection.wait(async {
        let installer = Installer::new(&connection, arguments.dry_run).await?;
        let (kept, gone) = objects(&material);
        if !arguments.purge && !arguments.dry_run {
            refuse_elsewhere(&connection, &material.namespace).await?;
        }
        // While its lease says so.
        let followed = connection.followed_from(&material.namespace).await;
        if arguments.purge {
            if !purge::applications(&installer, arguments, &material, &followed, terminal).await? {
                return Ok(Exit::Findings);
            }
        } else if !arguments.dry_run && !confirmed(arguments, &material, terminal)? {
            terminal.message("nothing was deleted");
            return Ok(Exit::Findings);
        }
        let mut removal = Removal { installer: &installer, deleted: Vec::new(), left: Vec::new() };
        let (workloads, others): (Vec<&Value>, Vec<&Value>) = gone.into_iter().partition(|object| is_workload(object));
        removal.delete(&workloads, terminal).await?;
        // Without Applications there is nothing that it could make again.
        if !arguments.purge && !arguments.dry_run {
            silence(&connection, &material.namespace).await?;
        }
        removal.delete(&others, terminal).await?;
        if arguments.purge {
            let keeper = Keeper::new(&installer, &material.namespace, &followed).await?;
            removal.delete_unless_kept(&kept, &keeper, terminal).await?;
        }
        terminal.json(&json!({"deleted": removal.deleted, "left": removal.left, "dryRun": arguments.dry_run}));
        if !arguments.purge {
            let stays =
                "Applications, definitions, credentials and all that runs stay; to have them taken up again: gitmoor bootstrap";
            terminal.message(stays);
        }
        Ok(Exit::Done)
    })
}

/// What has gone, and what was left.
struct Removal<'i> {
    installer: &'i Installer<'i>,
    deleted: Vec<String>,
    left: Vec<Value>,
}

impl Removal<'_> {
    async fn delete(&mut self, objects: &[&Value], terminal: &mut Terminal) -> Result<(), Failure> {
        let word = if self.installer.dry_run { "would be deleted" } else { "deleted" };
        for object in objects {
            if self.installer.delete(object).await? {
                terminal.message(&format!("{} {word}", id(object)));
                self.deleted.push(id(object).to_string());
            }
        }
        Ok(())
    }

    /// The same for what takes others along.
    async fn delete_unless_kept(
        &mut self,
        objects: &[&Value],
        keeper: &Keeper<'_>,
        terminal: &mut Terminal,
    ) -> Result<(), Failure> {
        for object in objects {
            let why = if is_definition(object) { keeper.reason(object).await? } else { None };
            let Some(why) = why else {
                self.delete(&[object], terminal).await?;
                continue;
            };
            let word = if self.installer.dry_run { "would be left" } else { "left" };
            terminal.message(&format!("{} {word} as it is: {why}", id(object)));
            self.left.push(json!({"object": id(object).to_string(), "why": why}));
        }
        Ok(())
    }
}

/// What stays without `--purge` (definitions and namespaces, which take others along), and what goes, workloads first.
fn objects(material: &Material) -> (Vec<&Value>, Vec<&Value>) {
    let stays = |object: &&Value| is_definition(object) || object["kind"] == "Namespace";
    let (mut kept, mut gone): (Vec<&Value>, Vec<&Value>) = material.agent.iter().partition(stays);
    // Definitions before the namespace.
    kept.sort_by_key(|object| object["kind"] == "Namespace");
    gone.reverse();
    gone.sort_by_key(|object| !is_workload(object));
    (kept, gone)
}

fn is_workload(object: &Value) -> bool {
    id(object).group_kind.group == "apps"
}

/// An agent that is no pod of this cluster goes on, whatever is deleted here.
async fn refuse_elsewhere(connection: &Connection, namespace: &str) -> Result<(), Failure> {
    let Agent::Works { holder } = connection.agent(namespace).await else { return Ok(()) };
    match connection.cluster.get(&builtin::pods(), Some(namespace), &holder).await {
        Ok(None) => Err(still_works(namespace, &holder, "it is no pod of the namespace; nothing was deleted")),
        // It is one, or that may not be known.
        _ => Ok(()),
    }
}

/// Waits until nobody holds the lease: who works makes again what is deleted.
async fn silence(connection: &Connection, namespace: &str) -> Result<(), Failure> {
    let started = Instant::now();
    while let Agent::Works { holder } = connection.agent(namespace).await {
        if started.elapsed() > FAREWELL {
            return Err(still_works(namespace, &holder, "its workload was deleted, the rest is left"));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

fn still_works(namespace: &str, holder: &str, what: &str) -> Failure {
    let message =
        format!("the agent {holder} holds the lease of namespace {namespace}, and makes again what goes: {what}");
    Failure::new(Exit::Refused, message).hint(format!("stop {holder}, then run this again"))
}

fn confirmed(arguments: &UninstallArguments, material: &Material, terminal: &mut Terminal) -> Result<bool, Failure> {
    if arguments.yes {
        return Ok(true);
    }
    if !terminal.can_ask() {
        return Err(Failure::new(Exit::Refused, "nobody is there to confirm").hint("confirm with --yes"));
    }
    terminal.data(
        Style::Plain,
        &format!("the agent of namespace {} is removed; what runs keeps running", material.namespace),
    );
    Ok(terminal.ask("remove it? (yes/no) ").is_some_and(|answer| matches!(answer.trim(), "y" | "yes")))
}
