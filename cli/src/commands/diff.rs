//! `gitmoor diff`: what an Application's objects are, and what Git would make of them.

use futures::StreamExt as _;
use gitmoor_core::{
    hook::Role,
    manifest::Manifest,
    object::ObjectId,
    preview::difference,
    resource::Resources,
    scope::Scopes,
    tracking::ApplicationKey,
    view::{ApplicationView, one_line, short_revision},
};
use gitmoor_engine::helm::Capabilities;
use serde_json::{Value, json};

use crate::{
    cluster::{Connection, Target, complete_applications, failed},
    failure::{Exit, Failure},
    fleet::{Binder, Bound, RenderArguments, idle_digester},
    terminal::{Style, Terminal},
    trial::{AT_ONCE, IgnoredFields, Trial, Would, stays, trial},
};

/// Shows how the cluster differs from Git, object by object
///
/// Renders the Application from the clone at hand, at the commit that the agent compares with, and asks the API server
/// by dry run what each object would become: defaults, what others add, and what spec.ignoreDifferences leaves to them
/// are no difference. Values of Secrets are
/// masked. Exit status 1 when something differs, and when what Git has now cannot be compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # In a clone of the repository
  gitmoor diff mlflow
  # What would another commit, branch or tag change?
  gitmoor diff mlflow --revision origin/main")]
pub(crate) struct Arguments {
    /// The Application
    #[arg(value_name = "APP", add = clap_complete::ArgValueCandidates::new(complete_applications))]
    name: String,
    /// Commit, branch or tag of the clone [default: the one that the agent compares with]
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    #[command(flatten)]
    render: RenderArguments,
    #[command(flatten)]
    target: Target,
}

/// One object that differs.
struct Differs {
    id: ObjectId,
    what: &'static str,
    hunks: String,
}

/// Renders, asks, prints.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    let (object, served, version) = connection.wait(async {
        let cannot = |error| failed("cannot ask the cluster what it serves", &error);
        let object = connection.application(&arguments.name).await?;
        let served = connection.cluster.discover().await.map_err(cannot)?;
        let version = connection.cluster.version().await.map_err(cannot)?;
        Ok::<_, Failure>((object, served, version))
    })?;
    let view: ApplicationView = serde_json::from_value(object.clone()).unwrap_or_default();
    let revision = arguments.revision.clone().unwrap_or_else(|| view.revision());
    let bound = wanted(arguments, &object, &view.key(), &revision, (&served, version.0))?;
    let (differing, mut refused) = connection.wait(compare(&connection, &bound, &view, &served))?;
    if arguments.revision.is_none() {
        refused.extend(newer_is_broken(&view));
    }
    if terminal.is_json() {
        let objects: Vec<Value> = differing
            .iter()
            .map(|one| json!({"object": one.id.to_string(), "what": one.what, "difference": one.hunks}))
            .collect();
        terminal.json(&json!({"revision": revision, "objects": objects, "problems": refused}));
    } else {
        differing.iter().for_each(|one| print(one, terminal));
    }
    refused.iter().for_each(|problem| terminal.error(problem));
    let name = &view.key().name;
    terminal.message(&match differing.len() {
        0 => format!("{name} is as {} has it", short_revision(&revision)),
        count => format!("{count} objects of {name} differ from {}", short_revision(&revision)),
    });
    Ok(if differing.is_empty() && refused.is_empty() { Exit::Done } else { Exit::Findings })
}

/// Why what Git has now is not what is compared with: the status keeps the last commit of which something could be told.
fn newer_is_broken(view: &ApplicationView) -> Option<String> {
    let broken = view.conditions().iter().find(|condition| condition.kind == "ComparisonError")?;
    let at = short_revision(&view.revision());
    Some(format!(
        "what Git has now cannot be compared; this is {at}, the last that could: {}",
        one_line(&broken.message)
    ))
}

/// What the Application wants at a commit of the clone.
fn wanted(
    arguments: &Arguments,
    object: &Value,
    key: &ApplicationKey,
    revision: &str,
    (served, kube_version): (&Resources, String),
) -> Result<Bound, Failure> {
    let mut render = arguments.render.clone();
    if !render.root.exists() {
        // The Application is that of the cluster; only the clone is looked for.
        render.root = "platform.yaml".into();
    }
    let prepared = render.prepare()?;
    let roots = vec![object.clone()];
    let capabilities = Capabilities { kube_version, api_versions: served.api_versions.clone() };
    let surveyor = prepared.surveyor(&roots, Some(capabilities))?;
    let commit = prepared.clone.as_ref().and_then(|(repository, _)| match &arguments.revision {
        Some(name) => repository.commit(name),
        None if revision.is_empty() => None,
        None => {
            let here = surveyor.read_here(object, &revision.split(',').collect::<Vec<_>>());
            // Without a source of this repository no tree of it is looked into.
            if here.is_empty() { repository.commit("HEAD") } else { repository.newest(&here) }
        }
    });
    let ground = commit.and_then(|commit| prepared.commit(commit)).ok_or_else(|| {
        let what = match (prepared.clone.is_some(), revision) {
            (false, _) => "this folder is not in a clone of a repository".to_owned(),
            (true, "") => format!("the agent has compared {key} with no commit yet"),
            (true, revision) => format!("this clone has no commit {}", short_revision(revision)),
        };
        Failure::new(Exit::Usage, what)
            .hint("run it in a clone of the Application's repository; git fetch gets new commits")
    })?;
    let bound = super::runtime()?.block_on(async {
        let fleet = surveyor.survey(&ground, roots).await?;
        let scopes = Scopes::new(fleet.scopes());
        let installation = arguments.render.installation(&key.namespace)?;
        let digester = idle_digester();
        let resources = Some(served);
        let binder = Binder { installation: &installation, digester: &digester, resources, scopes: &scopes };
        Ok::<_, Failure>(surveyor.bind(&ground, &fleet, key, &binder).await)
    })?;
    bound.map_err(|causes| {
        let failure = Failure::new(Exit::Input, format!("{key} cannot be rendered at {}", short_revision(revision)));
        Failure { causes, ..failure }
    })
}

/// Asks the API server what each object would become; gives what differs, and what is refused.
async fn compare(
    connection: &Connection,
    bound: &Bound,
    view: &ApplicationView,
    served: &Resources,
) -> Result<(Vec<Differs>, Vec<String>), Failure> {
    let mut refused = bound.problems.clone();
    let objects = bound.manifests.items().iter().filter(|manifest| Role::of(&manifest.object) == Role::Object);
    let trials = futures::stream::iter(objects.map(|manifest| one(connection, manifest, served)));
    let answers: Vec<_> = trials.buffered(AT_ONCE).collect().await;
    let mut differing = Vec::new();
    for answer in answers {
        match answer {
            Ok(found) => differing.extend(found),
            Err(problem) => refused.push(problem),
        }
    }
    for left in view.resources().iter().filter(|resource| resource.requires_pruning) {
        let id = left.id();
        let Some(resource) = served.preferred(&id.group_kind) else { continue };
        let live = connection.cluster.get(resource, id.namespace.as_deref(), &id.name).await;
        let live = live.map_err(|error| failed(format!("cannot read {id}"), &error.about(&id)))?;
        differing.extend(live.map(|live| Differs {
            hunks: difference(Some(&live), None),
            id,
            what: "not in Git any more",
        }));
    }
    Ok((differing, refused))
}

async fn one(connection: &Connection, manifest: &Manifest, served: &Resources) -> Result<Option<Differs>, String> {
    let id = manifest.id.clone();
    let version = manifest.object["apiVersion"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let resource =
        served.find(&id.group_kind, version).ok_or_else(|| format!("{id}: the cluster does not serve it"))?;
    let missing = |id| Differs { id, what: "missing", hunks: difference(None, Some(&manifest.object)) };
    let Trial { live, would } = match trial(&connection.cluster, resource, manifest, IgnoredFields::Left).await {
        Err(error) if error.is_missing_namespace(&id) => return Ok(Some(missing(id))),
        tried => tried.map_err(|error| format!("{id}: {}", error.about(&id)))?,
    };
    let Some(live) = live else { return Ok(Some(missing(id))) };
    let (what, after) = match &would {
        Would::Become(after) | Would::Take(after, _) => ("differs", after),
        Would::Stay { .. } if manifest.handling.force => ("would be deleted and made anew", &manifest.object),
        Would::Stay { fields, message } => return Err(format!("{id}: {}", stays(fields, message))),
    };
    let hunks = difference(Some(&live), Some(after));
    Ok((!hunks.is_empty()).then_some(Differs { id, what, hunks }))
}

fn print(one: &Differs, terminal: &mut Terminal) {
    terminal.data(Style::Bold, &format!("{} {}", one.id, one.what));
    for line in one.hunks.lines() {
        let style = match line.as_bytes().first() {
            Some(b'+') => Style::Green,
            Some(b'-') => Style::Red,
            Some(b'@') => Style::Cyan,
            _ => Style::Plain,
        };
        terminal.data(style, line);
    }
}
