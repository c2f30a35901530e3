//! `gitmoor render`: the objects of Applications, as the agent would apply them.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use gitmoor_core::{preview, scope::Scopes, tracking::ApplicationKey, yaml::write_document};
use serde_json::{Value, json};

use crate::{
    failure::{Exit, Failure},
    fleet::{Binder, Bound, Fleet, Ground, RenderArguments, Surveyor, idle_digester},
    terminal::Terminal,
};

/// Renders Applications of the tree, without a cluster
///
/// Follows the root Application to all others, reads of each exactly what the agent would read, runs the same kustomize
/// and helm in the same confinement, and prints the objects with the namespaces that they go to. Values of Secrets are
/// shown as ***. An Application that cannot be rendered is reported, and stops no other; the exit status is then 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # Everything, as one YAML stream
  gitmoor render
  # One Application
  gitmoor render mlflow
  # As it was, one file for each Application
  gitmoor render --revision v1.2.0 --output-dir before")]
pub(crate) struct Arguments {
    /// Applications, as NAME or NAMESPACE/NAME [default: all]
    #[arg(value_name = "APP")]
    applications: Vec<String>,
    /// Commit, branch or tag to render [default: the files as they are]
    #[arg(long, value_name = "REF")]
    revision: Option<String>,
    /// Write a file for each Application into this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Print the values of Secrets
    #[arg(long)]
    show_secrets: bool,
    /// Include the label and the annotation that tell whose an object is
    #[arg(long)]
    tracking: bool,
    #[command(flatten)]
    render: RenderArguments,
}

/// An Application and its objects, or why there are none.
type Outcome = (ApplicationKey, Result<Bound, Vec<String>>);

/// Surveys the tree, renders what was asked for, prints or writes it.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let prepared = arguments.render.prepare()?;
    let ground = match &arguments.revision {
        None => prepared.present()?,
        Some(revision) => prepared.commit(commit(&prepared, revision)?).ok_or_else(|| no_clone(revision))?,
    };
    let roots = prepared.wanted_roots(&ground)?;
    let surveyor = prepared.surveyor(&roots, None)?;
    let outcomes = super::runtime()?.block_on(async {
        let fleet = surveyor.survey(&ground, roots).await?;
        render(&arguments, &surveyor, &ground, &fleet).await
    })?;
    surveyor.renders().tidy();
    print(&arguments, &outcomes, terminal)?;
    Ok(say(&outcomes, terminal))
}

fn commit(prepared: &crate::fleet::Prepared, revision: &str) -> Result<String, Failure> {
    let found = prepared.clone.as_ref().and_then(|(repository, _)| repository.commit(revision));
    found.ok_or_else(|| Failure::new(Exit::Usage, format!("there is no commit {revision}")))
}

fn no_clone(revision: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{revision} needs a clone; this folder is not under Git"))
}

async fn render(
    arguments: &Arguments,
    surveyor: &Surveyor,
    ground: &Ground,
    fleet: &Fleet,
) -> Result<Vec<Outcome>, Failure> {
    let wanted = selected(&arguments.applications, fleet)?;
    let scopes = Scopes::new(fleet.scopes());
    let agent_namespace = fleet.agent_namespace().unwrap_or_default().to_owned();
    let installation = arguments.render.installation(&agent_namespace)?;
    let digester = idle_digester();
    let binder = Binder { installation: &installation, digester: &digester, resources: None, scopes: &scopes };
    let all = wanted.into_iter().map(async |key| {
        let bound = surveyor.bind(ground, fleet, &key, &binder).await;
        (key, bound)
    });
    Ok(futures::future::join_all(all).await)
}

/// The Applications that were named; all of them for no name.
pub(super) fn selected(names: &[String], fleet: &Fleet) -> Result<BTreeSet<ApplicationKey>, Failure> {
    if names.is_empty() {
        return Ok(fleet.applications.keys().cloned().collect());
    }
    let mut selected = BTreeSet::new();
    for name in names {
        let fits = |key: &&ApplicationKey| key.name == *name || key.to_string() == *name;
        let found: Vec<_> = fleet.applications.keys().filter(fits).cloned().collect();
        if found.is_empty() {
            let known: Vec<&str> = fleet.applications.keys().map(|key| key.name.as_str()).collect();
            return Err(Failure::new(Exit::Usage, format!("there is no Application {name}"))
                .hint(format!("there are: {}", known.join(", "))));
        }
        selected.extend(found);
    }
    Ok(selected)
}

fn print(arguments: &Arguments, outcomes: &[Outcome], terminal: &mut Terminal) -> Result<(), Failure> {
    if let Some(folder) = &arguments.output_dir {
        return write(arguments, folder, outcomes);
    }
    if terminal.is_json() {
        terminal.json(&document(arguments, outcomes));
        return Ok(());
    }
    let text: String = outcomes.iter().map(|outcome| stream(arguments, outcome)).collect();
    terminal.documents(text.as_bytes()).map_err(|error| Failure::io("cannot write the objects", &error))
}

fn document(arguments: &Arguments, outcomes: &[Outcome]) -> Value {
    let one = |(key, bound): &Outcome| match bound {
        Ok(Bound { manifests, problems, warnings }) => {
            let objects: Vec<Value> = manifests.items().iter().map(|item| shown(arguments, &item.object)).collect();
            json!({ "application": key.to_string(), "objects": objects, "problems": problems, "warnings": warnings })
        }
        Err(problems) => json!({ "application": key.to_string(), "objects": null, "problems": problems }),
    };
    json!({ "format": 1, "applications": outcomes.iter().map(one).collect::<Vec<_>>() })
}

fn stream(arguments: &Arguments, (key, bound): &Outcome) -> String {
    let Ok(bound) = bound else { return String::new() };
    let one = |object: &Value| format!("---\n# Application {key}\n{}", write_document(&shown(arguments, object)));
    bound.manifests.items().iter().map(|item| one(&item.object)).collect()
}

fn shown(arguments: &Arguments, object: &Value) -> Value {
    let mut shown = preview::shown(object);
    if arguments.tracking {
        // The digest of a Secret is keyed in the cluster, so that it is none that could be told here.
        shown.clone_from(object);
        if let Some(annotations) = shown.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(gitmoor_core::names::ANNOTATION_DIGEST);
        }
    }
    if arguments.show_secrets { shown } else { preview::masked(&shown) }
}

fn write(arguments: &Arguments, folder: &Path, outcomes: &[Outcome]) -> Result<(), Failure> {
    let failed = |path: &Path, error: &std::io::Error| Failure::io(format!("cannot write {}", path.display()), error);
    fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    let mut entries = fs::read_dir(folder).map_err(|error| failed(folder, &error))?;
    if entries.next().is_some() {
        let message =
            format!("{} is not empty: what an earlier run left would pass for a part of this one", folder.display());
        return Err(Failure::new(Exit::Refused, message).hint("remove the folder, or name another one"));
    }
    for outcome in outcomes {
        let path = folder.join(file_name(&outcome.0));
        let mut open = OpenOptions::new();
        let file = open.write(true).create_new(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(stream(arguments, outcome).as_bytes()));
        written.map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// Names come from the repository: what is no plain name is made one.
fn file_name(key: &ApplicationKey) -> String {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' }).collect()
    };
    format!("{}_{}.yaml", plain(&key.namespace), plain(&key.name))
}

fn say(outcomes: &[Outcome], terminal: &mut Terminal) -> Exit {
    let (mut objects, mut failed) = (0, 0);
    for (key, bound) in outcomes {
        let problems = match bound {
            Ok(bound) => {
                objects += bound.manifests.items().len();
                bound.warnings.iter().for_each(|warning| terminal.warning(&format!("{key}: {warning}")));
                &bound.problems
            }
            Err(problems) => problems,
        };
        failed += usize::from(!problems.is_empty());
        problems.iter().for_each(|problem| terminal.error(&format!("{key}: {problem}")));
    }
    let applications = outcomes.len();
    terminal.message(&format!("{objects} objects of {applications} Applications; {failed} with problems"));
    if failed == 0 { Exit::Done } else { Exit::Input }
}
