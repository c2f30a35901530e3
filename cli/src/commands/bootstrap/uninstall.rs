//! `gitmoor uninstall`: the agent goes, and what it has deployed stays, unless everything is to go.

use serde_json::{Value, json};

use super::{
    arguments::UninstallArguments,
    install::Installer,
    material::{Material, id, is_definition},
    purge,
};
use crate::{
    cluster::Connection,
    failure::{Exit, Failure},
    terminal::{Style, Terminal},
};

/// Deletes the agent's objects; with `--purge` what it has deployed before, and definitions and namespace after.
pub(crate) fn run(arguments: &UninstallArguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let material = Material::read(&arguments.sources, arguments.target.namespace.as_deref())?;
    let connection = Connection::open(&arguments.target)?;
    terminal.message(&format!("cluster {}", connection.cluster.address()));
    connection.wait(async {
        let installer = Installer::new(&connection, arguments.dry_run).await?;
        let (kept, gone) = objects(&material);
        let mut deleted = Vec::new();
        if arguments.purge {
            if !purge::applications(&installer, arguments, &material, terminal).await? {
                return Ok(Exit::Findings);
            }
        } else if !arguments.dry_run && !confirmed(arguments, &material, terminal)? {
            terminal.message("nothing was deleted");
            return Ok(Exit::Findings);
        }
        let last: &[&Value] = if arguments.purge { &kept } else { &[] };
        for object in gone.iter().chain(last) {
            if installer.delete(object).await? {
                deleted.push(id(object).to_string());
            }
        }
        for object in &deleted {
            let word = if arguments.dry_run { "would be deleted" } else { "deleted" };
            terminal.message(&format!("{object} {word}"));
        }
        if terminal.is_json() {
            terminal.json(&json!({"deleted": deleted, "dryRun": arguments.dry_run}));
        }
        if !arguments.purge {
            let stays =
                "Applications, definitions, credentials and all that runs stay; gitmoor bootstrap takes them up again";
            terminal.message(stays);
        }
        Ok(Exit::Done)
    })
}

/// What stays without `--purge` (definitions and namespaces, which take others along), and what goes, workloads first.
fn objects(material: &Material) -> (Vec<&Value>, Vec<&Value>) {
    let stays = |object: &&Value| is_definition(object) || object["kind"] == "Namespace";
    let (mut kept, mut gone): (Vec<&Value>, Vec<&Value>) = material.agent.iter().partition(stays);
    // Definitions before the namespace.
    kept.sort_by_key(|object| object["kind"] == "Namespace");
    gone.reverse();
    gone.sort_by_key(|object| id(object).group_kind.group != "apps");
    (kept, gone)
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
