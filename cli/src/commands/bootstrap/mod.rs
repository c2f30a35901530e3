//! `gitmoor bootstrap`: from a fork to a running platform. `gitmoor uninstall`: back.

mod arguments;
mod credential;
mod export;
mod install;
mod keep;
mod material;
mod purge;
mod uninstall;
mod waiting;

use gitmoor_core::builtin;
use serde_json::{Value, json};

pub(crate) use arguments::{Arguments, UninstallArguments};
pub(crate) use uninstall::run as uninstall;

use crate::{
    cluster::{Connection, failed},
    failure::{Exit, Failure},
    fork::Fork,
    table::Table,
    terminal::{Style, Terminal},
};
use credential::Given;
use install::{Became, Installer};
use material::{Material, id, is_definition};

/// Who writes the credentials.
const FIELD_MANAGER: &str = "gitmoor-bootstrap";

/// Reads the fork, applies what it has for the agent, and waits.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let given = arguments.credential.given()?;
    let material = Material::read(&arguments.sources, arguments.target.namespace.as_deref())?;
    let repository = arguments.credential.repository.clone().unwrap_or_else(|| material.repository.clone());
    given.as_ref().map_or(Ok(()), |given| given.fits(&repository))?;
    if let Some(folder) = &arguments.export {
        return export::write(folder, &material, given.is_some(), terminal);
    }
    warn_of_unpushed(terminal);
    let connection = Connection::open(&arguments.target)?;
    terminal.message(&format!("cluster {}", connection.cluster.address()));
    if arguments.credential_only {
        let Some(given) = &given else {
            return Err(Failure::new(Exit::Usage, "there is no credential to make")
                .hint("--token-env, --token-stdin, --ssh-key, or --github-app-id with its key"));
        };
        connection.wait(credentials(&connection, given, &repository, &material, arguments, terminal))?;
        return Ok(Exit::Done);
    }
    connection.wait(install(&connection, arguments, &material, given.as_ref(), &repository, terminal))
}

async fn install(
    connection: &Connection,
    arguments: &Arguments,
    material: &Material,
    given: Option<&Given>,
    repository: &str,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let mut installer = Installer::new(connection, arguments.dry_run).await?;
    let mut report = Report::new(arguments.dry_run);
    let (definitions, others): (Vec<&Value>, Vec<&Value>) =
        material.agent.iter().partition(|object| is_definition(object));
    for definition in &definitions {
        report.add(definition, installer.apply(definition).await?, terminal);
    }
    if !arguments.dry_run {
        waiting::definitions(&installer, &definitions, terminal).await?;
        installer.discover().await?;
    }
    for object in others {
        report.add(object, installer.apply(object).await?, terminal);
    }
    if let Some(given) = given {
        credentials(connection, given, repository, material, arguments, terminal).await?;
    }
    if arguments.dry_run {
        report.add(&material.root, installer.apply(&material.root).await?, terminal);
        return Ok(report.end(terminal));
    }
    if !waiting::agent(&installer, material, arguments.timeout, terminal).await? {
        report.end(terminal);
        let what =
            "the agent does not run in time, so the root Application is not applied: run this again when it does";
        return Ok(late(what, &format!("kubectl get pods -n {}", material.namespace), terminal));
    }
    terminal.message("the agent works");
    report.add(&material.root, installer.apply(&material.root).await?, terminal);
    let exit = report.end(terminal);
    if arguments.no_wait {
        terminal.message("see how it goes: gitmoor status --watch");
        return Ok(exit);
    }
    if !waiting::platform(connection, material, arguments.timeout, terminal).await? {
        return Ok(late(
            "not everything is Synced and Healthy in time; everything is applied, and the agent goes on",
            &format!("gitmoor status --namespace {}", material.namespace),
            terminal,
        ));
    }
    terminal.message("the platform is Synced and Healthy; from now on git push is how it changes");
    Ok(exit)
}

fn late(what: &str, how: &str, terminal: &mut Terminal) -> Exit {
    terminal.error(what);
    terminal.message(&format!("see why: {how}"));
    Exit::Findings
}

/// Makes the Secret with which the agent opens the repository.
async fn credentials(
    connection: &Connection,
    given: &Given,
    repository: &str,
    material: &Material,
    arguments: &Arguments,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let (namespace, dry_run) = (material.namespace.as_str(), arguments.dry_run);
    let found = credential::find(&connection.cluster, namespace, repository, &material.repository).await;
    let (name, live) =
        found.map_err(|error| failed(format!("cannot read the Secrets of namespace {namespace}"), &error))?;
    let name = name.as_str();
    let kind = builtin::secrets();
    let told = |became: Became, public: Option<&str>, terminal: &mut Terminal| {
        let secret = format!("{namespace}/{name}");
        let credential =
            json!({"secret": secret, "repository": repository, "result": became.word(dry_run), "publicKey": public});
        terminal.json(&json!({"credential": credential}));
    };
    let cannot = |what: &str, error| failed(format!("cannot {what} Secret {namespace}/{name}"), &error);
    let has_key = live.as_ref().filter(|live| credential::is_of(live, repository)).and_then(credential::public_part);
    if let (Given::SshKey, Some(public)) = (given, &has_key) {
        terminal.message("there is an SSH key already; its public part is");
        terminal.data(Style::Plain, public);
        told(Became::Unchanged, Some(public), terminal);
        return Ok(());
    }
    if let Some(live) = live.as_ref().filter(|_| !arguments.credential.replace) {
        given.may_replace(live, repository)?;
    }
    let became = if live.is_some() { Became::Changed } else { Became::Created };
    if dry_run {
        let word = became.word(true);
        terminal.message(&format!("Secret {namespace}/{name} with the credentials of {repository} {word}"));
        told(became, None, terminal);
        return Ok(());
    }
    let (mut secret, public) = credential::secret(given, repository, (namespace, name))?;
    // What another way has left would be tried first.
    for key in live.as_ref().and_then(|live| live["data"].as_object()).into_iter().flatten().map(|(key, _)| key) {
        if secret["data"].get(key).is_none() && key != "proxy" {
            secret["data"][key] = Value::Null;
        }
    }
    let mut patch = secret.clone();
    patch["data"].as_object_mut().into_iter().for_each(|data| data.retain(|_, value| !value.is_null()));
    match live {
        Some(_) => {
            let body = json!({"metadata": {"labels": secret["metadata"]["labels"]}, "data": secret["data"]});
            connection
                .cluster
                .merge_secret(FIELD_MANAGER, &kind, &id(&secret), &body)
                .await
                .map_err(|e| cannot("change", e))?;
        }
        None => {
            connection.cluster.apply_as(FIELD_MANAGER, &kind, &patch).await.map_err(|e| cannot("make", e))?;
        }
    }
    terminal.message(&format!("Secret {namespace}/{name} has the credentials of {repository}"));
    told(became, public.as_deref(), terminal);
    if let Some(public) = public {
        terminal.message("enter this key at the Git server, for reading only:");
        terminal.data(Style::Bold, &public);
        terminal.flush();
        if terminal.can_ask() {
            terminal.ask("then press Enter ");
        }
    }
    Ok(())
}

/// The agent sees what is pushed, not what is here.
fn warn_of_unpushed(terminal: &mut Terminal) {
    let Some(fork) = Fork::here() else { return };
    if let Some(count) = fork.unpushed().filter(|count| *count > 0) {
        terminal.warning(&format!("{count} commits are not pushed: the agent does not see them yet"));
    }
}

/// What became of each object.
struct Report {
    dry_run: bool,
    rows: Vec<(String, Became)>,
}

impl Report {
    fn new(dry_run: bool) -> Self {
        Self { dry_run, rows: Vec::new() }
    }

    fn add(&mut self, object: &Value, became: Became, terminal: &mut Terminal) {
        let id = id(object).to_string();
        if !self.dry_run && became != Became::Unchanged {
            terminal.message(&format!("{id} {}", became.word(false)));
        }
        self.rows.push((id, became));
    }

    fn end(&self, terminal: &mut Terminal) -> Exit {
        if terminal.is_json() {
            let rows: Vec<Value> = self
                .rows
                .iter()
                .map(|(id, became)| json!({"object": id, "result": became.word(self.dry_run)}))
                .collect();
            terminal.json(&json!({"objects": rows, "dryRun": self.dry_run}));
        } else if self.dry_run {
            let mut table = Table::new(["OBJECT", "RESULT"]);
            for (id, became) in &self.rows {
                let style = if *became == Became::Unchanged { Style::Plain } else { Style::Yellow };
                table.row(style, [id.clone(), became.word(true).to_owned()]);
            }
            table.print(terminal);
        }
        Exit::Done
    }
}
