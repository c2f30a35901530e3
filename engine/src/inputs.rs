//! What a source is rendered from: the read-set of its own tree, and files of other sources' trees.

use std::collections::{BTreeMap, BTreeSet};

use gitmoor_core::chart::Traits;
use gitmoor_core::closure::{
    self, ClosureError, Member, Place, Problem, ReadSet, RemoteContent, RemoteReference, RemoteUsed, Remotes,
    SourceKind, Wanted,
};
use gitmoor_core::lock::{self, Lock, LockFileError};
use gitmoor_core::source::{Recipe, ValueFile};
use gitmoor_core::tree::{RepoPath, Tree, TreeError, TreeErrorKind};
use sha2::{Digest as _, Sha256};

use crate::charts::{ChartTree, Limits};
use crate::helm::Capabilities;
use crate::remotes::{Ask, FetchRemotes};
use crate::render::{RenderError, blocking};

/// How much of a packed chart among a chart's files is looked through.
const PACKED: Limits = Limits { files: 2_000, file: 5 << 20, total: 20 << 20 };
/// What may be asked for by what was not looked through.
const ANYTHING: Traits = Traits { asks_cluster: true, may_change: true };

/// Any tree that can go to another thread.
pub type AnyTree = Box<dyn Tree + Send>;

/// Files above this are not looked at for what they ask of the cluster: helm takes none of that size either.
const LARGEST_TEMPLATE: usize = 5 << 20;

/// Files of another source.
pub struct Other {
    /// Its position among the sources.
    pub source: usize,
    /// Its tree.
    pub tree: AnyTree,
    /// The files.
    pub read_set: ReadSet,
}

/// Everything that a render of one source reads.
pub struct Inputs {
    /// How it is rendered.
    pub recipe: Recipe,
    /// Its own tree.
    pub tree: AnyTree,
    /// What is read of that.
    pub read_set: ReadSet,
    /// What is read of other sources.
    pub others: Vec<Other>,
    /// What is known of things from elsewhere.
    pub remotes: Remotes,
    /// What its templates ask for.
    pub traits: Traits,
    own_digest: String,
}

impl Inputs {
    /// Digest of the recipe, of what is read of the source's own tree, and of the cluster when that is asked, in
    /// hexadecimal. Together with the digests of the read-sets in [`Self::others`], equal digests render equally with the
    /// same programs, unless [`Traits::may_change`] says that nothing does.
    pub fn own_digest(&self) -> &str {
        &self.own_digest
    }
}

/// Finds out what a source reads, without anything from elsewhere. `others` are the trees of the sources whose files it
/// names, by position.
pub async fn inputs(
    recipe: Recipe,
    tree: AnyTree,
    others: Vec<(usize, AnyTree)>,
    capabilities: &Capabilities,
) -> Result<Inputs, RenderError> {
    Box::pin(inputs_with(recipe, tree, others, capabilities, None)).await
}

/// Rounds in which more and more is found to be needed from elsewhere.
const MOST_ROUNDS: usize = 20;

/// As [`inputs`], with what comes from elsewhere.
pub async fn inputs_with(
    recipe: Recipe,
    tree: AnyTree,
    others: Vec<(usize, AnyTree)>,
    capabilities: &Capabilities,
    fetch: Option<&dyn FetchRemotes>,
) -> Result<Inputs, RenderError> {
    let (recipe, tree, read_set, remotes) = walked(recipe, tree, fetch).await?;
    let capabilities = capabilities.digest();
    blocking(move || {
        let others = match read_set.source {
            SourceKind::Helm => files_of_others(&recipe, others, &read_set)?,
            SourceKind::Kustomize | SourceKind::Directory => Vec::new(),
        };
        let traits = traits(&recipe, &tree, &read_set, &others, &remotes)?;
        let asked = if traits.asks_cluster { capabilities.as_str() } else { "" };
        let own_digest = digest(&recipe, &read_set, asked);
        Ok(Inputs { recipe, tree, read_set, others, remotes, traits, own_digest })
    })
    .await
}

/// Walks, fetches what is wanted from elsewhere, and walks again.
async fn walked(
    mut recipe: Recipe,
    mut tree: AnyTree,
    fetch: Option<&dyn FetchRemotes>,
) -> Result<(Recipe, AnyTree, ReadSet, Remotes), RenderError> {
    let Some(fetch) = fetch else {
        return blocking(move || {
            let read_set = closure::read_set_of(&tree, &recipe)?;
            Ok((recipe, tree, read_set, Remotes::default()))
        })
        .await;
    };
    let (mut remotes, mut lock) = (Remotes::default(), None);
    for _ in 0..MOST_ROUNDS {
        let walked;
        (recipe, tree, remotes, lock, walked) = blocking(move || {
            let walked = closure::read_set_with(&tree, &recipe, &remotes)?;
            let lock = match lock {
                None if walked.is_err() => Some(lock_of(&tree)?),
                lock => lock,
            };
            Ok((recipe, tree, remotes, lock, walked))
        })
        .await?;
        match walked {
            Ok(read_set) => return Ok((recipe, tree, read_set, remotes)),
            Err(wanted) => remotes.0.extend(fetch.fetch(asked(wanted, lock.as_ref())).await.0),
        }
    }
    let reason = "what it uses from elsewhere leads to more and more";
    Err(TreeError::invalid(&recipe.path, reason).into())
}

fn asked(wanted: Wanted, lock: Option<&Lock>) -> BTreeSet<Ask> {
    let ask = |reference: RemoteReference| {
        let locked = lock.and_then(|lock| lock.get(&reference)).cloned();
        Ask { reference, locked }
    };
    wanted.into_iter().map(ask).collect()
}

/// The lock file at the top of a tree; empty when there is none. Blocking.
///
/// # Errors
/// When there is one that cannot be used.
pub fn lock_of(tree: &AnyTree) -> Result<Lock, RenderError> {
    Lock::of_tree(tree).map_err(|error| {
        let problem = match error {
            LockFileError::Tree(error) => Problem::Tree(error),
            LockFileError::Lock(error) => {
                Problem::Lock { at: Place { file: lock::path(), line: error.line }, reason: error.reason }
            }
        };
        ClosureError { problems: vec![problem], read_set: Box::new(lock_reads()) }.into()
    })
}

/// For the index of paths: whoever uses something from elsewhere looks into the lock file, whether it is there or not.
/// What it says is no part of any digest: what it leads to is.
pub fn lock_reads() -> ReadSet {
    let members = BTreeMap::from([(lock::path(), Member::Absent)]);
    let (path, remotes) = (RepoPath::root(), Vec::new());
    ReadSet { charts: false, path, source: SourceKind::Directory, members, remotes }
}

fn files_of_others(recipe: &Recipe, trees: Vec<(usize, AnyTree)>, own: &ReadSet) -> Result<Vec<Other>, RenderError> {
    let mut by_source: BTreeMap<usize, Vec<(&'static str, &ValueFile)>> = BTreeMap::new();
    for (field, file) in recipe.helm.files() {
        if let Some(source) = file.source {
            by_source.entry(source).or_default().push((field, file));
        }
    }
    let mut others = Vec::new();
    for (source, tree) in trees {
        let Some(files) = by_source.remove(&source) else { continue };
        let read_set = closure::read_set_of_files(&tree, files, recipe.helm.ignore_missing_value_files)
            .map_err(|error| RenderError::OtherInputs { position: source, error, own: Box::new(own.clone()) })?;
        others.push(Other { source, tree, read_set });
    }
    Ok(others)
}

/// Looks through the chart, and through values, which templates may evaluate.
fn traits(
    recipe: &Recipe,
    tree: &AnyTree,
    read_set: &ReadSet,
    others: &[Other],
    remotes: &Remotes,
) -> Result<Traits, RenderError> {
    let mut traits = Traits::default();
    if read_set.inflates() {
        // Charts of any kind: looking through all of them would cost more than rendering anew when the cluster changes.
        traits.asks_cluster = true;
    }
    if read_set.source != SourceKind::Helm {
        return Ok(traits);
    }
    for (reference, members) in charts_of(read_set) {
        let Some(RemoteContent::Tree { tree, .. }) = remotes.0.get(reference) else { continue };
        look_through(&mut traits, &tree.open()?, members)?;
    }
    traits.add("", recipe.helm.values.as_bytes());
    for assignment in recipe.helm.set.iter().chain(&recipe.helm.set_string) {
        traits.add("", assignment.as_bytes());
    }
    let own = std::iter::once((tree, read_set));
    for (tree, set) in own.chain(others.iter().map(|other| (&other.tree, &other.read_set))) {
        look_through(&mut traits, tree, set)?;
    }
    Ok(traits)
}

fn look_through(traits: &mut Traits, tree: &AnyTree, set: &ReadSet) -> Result<(), RenderError> {
    for (path, member) in &set.members {
        let Member::File { .. } = member else { continue };
        let name = path.as_str().rsplit('/').next().unwrap_or_default();
        match tree.read(path, LARGEST_TEMPLATE) {
            Ok(bytes) if is_packed(name) => look_into(traits, &bytes),
            Ok(bytes) => traits.add(name, &bytes),
            // It may ask for anything.
            Err(error) if error.kind == TreeErrorKind::TooLarge && is_packed(name) => *traits = ANYTHING,
            Err(error) if error.kind == TreeErrorKind::TooLarge => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Looks through a packed chart, as helm reads it from the folder `charts` of another one. Of one that is too large, or
/// has packed charts in turn, nothing is known; whether it can be used at all says helm.
fn look_into(traits: &mut Traits, packed: &[u8]) {
    let Ok(tree) = ChartTree::read(packed, &PACKED) else {
        *traits = ANYTHING;
        return;
    };
    for (path, bytes) in tree.files() {
        let name = path.rsplit('/').next().unwrap_or_default();
        if is_packed(name) {
            *traits = ANYTHING;
        } else {
            traits.add(name, bytes);
        }
    }
}

fn is_packed(name: &str) -> bool {
    name.ends_with(".tgz")
}

/// Charts from elsewhere that a chart depends on, and those that they depend on.
fn charts_of(read_set: &ReadSet) -> Vec<(&RemoteReference, &ReadSet)> {
    let mut found = Vec::new();
    for used in &read_set.remotes {
        if let RemoteUsed::Chart { reference, read_set, .. } = &used.what {
            found.push((reference, &**read_set));
            found.extend(charts_of(read_set));
        }
    }
    found
}

fn digest(recipe: &Recipe, read_set: &ReadSet, capabilities: &str) -> String {
    let mut hash = Sha256::new();
    let mut feed = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    feed("gitmoor inputs 1");
    feed(&read_set.digest());
    feed(&recipe.digest(read_set.source));
    feed(capabilities);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
