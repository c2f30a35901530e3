//! `gitmoor lock`: writes down what the tree uses from elsewhere, so that every render takes the same.

use std::collections::{BTreeMap, BTreeSet};

use gitmoor_core::{
    closure::RemoteReference,
    lock::{Lock, Locked, PATH, is_named},
};
use gitmoor_engine::inputs::lock_of;
use serde_json::{Value, json};

use crate::{
    failure::{Exit, Failure, described},
    fleet::{Fleet, Prepared, RenderArguments, Update},
    terminal::{Style, Terminal},
    work_tree,
};

/// Locks what the tree uses from elsewhere
///
/// Renders every Application from the root on, and writes gitmoor.lock at the top of the repository: the commit of each
/// remote base, the version and digest of each chart (of Applications, of kustomizations, and those that charts depend
/// on), the digest of each remote file. What stands in it already stays; what is missing is looked up; what nobody uses
/// any more goes. The agent, and every command that renders, takes exactly what it names.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # Lock what is new, and drop what is not used any more
  gitmoor lock
  # In CI: fail when the file does not fit the tree
  gitmoor lock --check
  # Take what is there now, of everything or by name of chart, repository or file
  gitmoor lock --update
  gitmoor lock --update podinfo https://github.com/org/bases")]
pub(crate) struct Arguments {
    /// Write nothing; exit with 1 when an entry is missing, or one is not used
    #[arg(long, conflicts_with = "update")]
    check: bool,
    /// Look up anew what goes by these names (of charts, repositories, files, or their addresses) [default: everything]
    #[arg(long, value_name = "NAME", num_args = 0..)]
    update: Option<Vec<String>>,
    #[command(flatten)]
    render: RenderArguments,
}

/// How an entry differs from the file.
struct Change<'c> {
    reference: &'c RemoteReference,
    old: Option<&'c Locked>,
    new: Option<&'c Locked>,
}

/// Finds out what is used, compares it with the file, and writes that.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let prepared = arguments.render.prepare()?;
    let Some((repository, _)) = &prepared.clone else {
        return Err(Failure::new(Exit::Usage, "this folder is not under Git: the lock file belongs to a repository")
            .hint("run it in a clone of your fork"));
    };
    let path = repository.top().join(PATH);
    let (before, after) = look(&prepared, arguments.update.as_deref())?;
    let changes = changes(&before, &after);
    say(&arguments, &changes, &after, terminal);
    if arguments.check {
        return Ok(if changes.is_empty() { Exit::Done } else { Exit::Findings });
    }
    if !changes.is_empty() {
        let put = work_tree::put(&path, after.write().as_bytes());
        put.map_err(|error| Failure::io(error.to_string(), &error.source))?;
    }
    Ok(Exit::Done)
}

/// What is locked, and what is to be.
fn look(prepared: &Prepared, update: Option<&[String]>) -> Result<(Lock, Lock), Failure> {
    let ground = prepared.present()?;
    let before = ground.open().and_then(|tree| lock_of(&tree));
    let before = before.map_err(|error| {
        let mut failure = Failure::new(Exit::Input, format!("{PATH} cannot be used"));
        failure.causes.push(described(&error));
        failure
    })?;
    let roots = prepared.wanted_roots(&ground)?;
    let names = update.unwrap_or_default().to_vec();
    let all = update.is_some_and(<[String]>::is_empty);
    let surveyor = prepared.surveyor_updating(&roots, None, Update { all, names: names.clone(), anew: true })?;
    let fleet = super::runtime()?.block_on(surveyor.survey(&ground, roots))?;
    surveyor.renders().tidy();
    let used = used(&fleet)?;
    if let Some(name) = names.iter().find(|name| !used.keys().any(|reference| is_named(reference, name))) {
        return Err(Failure::new(Exit::Usage, format!("nothing that the tree uses from elsewhere goes by {name}"))
            .hint("name a chart, the last part of a repository's or file's address, or the whole address"));
    }
    let mut after = Lock::default();
    used.into_iter().for_each(|(reference, locked)| after.insert(&reference, locked));
    Ok((before, after))
}

/// What all Applications use, as it is: what is locked stands as it is locked.
fn used(fleet: &Fleet) -> Result<BTreeMap<RemoteReference, Locked>, Failure> {
    let broken = fleet.applications.iter().filter_map(|(key, surveyed)| {
        let reasons = surveyed.outcome.as_ref().err()?;
        Some(reasons.iter().map(move |reason| format!("{key}: {reason}")))
    });
    let causes: Vec<String> = broken.flatten().collect();
    if !causes.is_empty() {
        let message = "what the tree uses from elsewhere cannot be told: not every Application can be rendered";
        return Err(Failure { causes, ..Failure::new(Exit::Input, message) });
    }
    let all = fleet.applications.values().flat_map(|surveyed| surveyed.elsewhere.iter());
    Ok(all.map(|(reference, locked)| (reference.clone(), locked.clone())).collect())
}

fn changes<'c>(before: &'c Lock, after: &'c Lock) -> Vec<Change<'c>> {
    let all: BTreeSet<&RemoteReference> = before.iter().chain(after.iter()).map(|(reference, _)| reference).collect();
    let change = |reference| Change { reference, old: before.get(reference), new: after.get(reference) };
    all.into_iter().map(change).filter(|change| change.old != change.new).collect()
}

fn say(arguments: &Arguments, changes: &[Change<'_>], after: &Lock, terminal: &mut Terminal) {
    if terminal.is_json() {
        let changes: Vec<Value> = changes.iter().map(Change::json).collect();
        return terminal.json(&json!({ "format": 1, "path": PATH, "entries": after.len(), "changes": changes }));
    }
    for change in changes {
        let (style, line) = change.line(arguments.check);
        terminal.data(style, &line);
    }
    let end = match (changes.len(), arguments.check) {
        (0, _) => format!("{PATH} has all {} entries that the tree needs, and no others", after.len()),
        (count, true) => format!("{PATH} is out of date in {count} entries; run `gitmoor lock`"),
        (count, false) => format!("{PATH} has {} entries; {count} differ from before: commit it", after.len()),
    };
    terminal.message(&end);
}

impl Change<'_> {
    fn line(&self, check: bool) -> (Style, String) {
        let Self { reference, old, new } = self;
        match (old, new) {
            (None, Some(_)) if check => (Style::Red, format!("missing  {reference}")),
            (Some(_), None) if check => (Style::Red, format!("unused   {reference}")),
            (None, Some(new)) => (Style::Green, format!("added    {reference}: {}", new.short())),
            (Some(old), Some(new)) => {
                (Style::Cyan, format!("updated  {reference}: {} to {}", old.short(), new.short()))
            }
            (Some(old), None) => (Style::Red, format!("removed  {reference}: {}", old.short())),
            (None, None) => (Style::Plain, String::new()),
        }
    }

    fn json(&self) -> Value {
        let Self { reference, old, new } = self;
        json!({ "what": reference.to_string(), "old": old.map(Locked::short), "new": new.map(Locked::short) })
    }
}
