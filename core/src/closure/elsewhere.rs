//! The walk through what comes from elsewhere: each tree is walked on its own, by the same rules.
//!
//! What is not known yet is noted, and the walk is done again when it is.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::error::{Category, Problem};
use super::members::{ReadSet, RemoteUse, RemoteUsed, SourceKind};
use super::references::{self, Inflated};
use super::remote::{self, Base, RemoteContent, RemoteReference, Remotes};
use super::resolve::End;
use super::walk::{Named, Stop, Walk};
use crate::tree::RepoPath;

/// What has to be known before a read-set is.
pub type Wanted = BTreeSet<RemoteReference>;

/// Repositories inside each other.
const DEEPEST: usize = 16;
/// Most things from elsewhere that one kustomization or chart uses.
const MOST: usize = 500;
const TOO_MUCH: &str = "it uses too much from elsewhere";

/// Shared by a walk and those that it leads to.
#[derive(Default)]
pub(super) struct Elsewhere<'r> {
    /// What is known; `None` where nothing can be fetched.
    known: Option<&'r Remotes>,
    wanted: RefCell<Wanted>,
    /// Walks that are done.
    done: RefCell<HashMap<(RemoteReference, RepoPath), Arc<ReadSet>>>,
    /// Those that lead to the one at work.
    chain: RefCell<Vec<(RemoteReference, RepoPath)>>,
}

impl<'r> Elsewhere<'r> {
    pub(super) fn new(known: &'r Remotes) -> Self {
        Self { known: Some(known), ..Self::default() }
    }

    /// Whether anything can be fetched at all.
    pub(super) fn fetches(&self) -> bool {
        self.known.is_some()
    }

    pub(super) fn wanted(self) -> Wanted {
        self.wanted.into_inner()
    }
}

/// Where something from elsewhere is used.
pub(super) struct User<'u> {
    pub(super) folder: &'u RepoPath,
    /// The entry, and where it begins in its file, in characters.
    pub(super) text: &'u str,
    pub(super) start: Option<usize>,
    pub(super) named: &'u Named,
}

impl<'t> Walk<'t> {
    /// An entry that names something from elsewhere: a file, or else, where one may stand, a folder of a repository.
    pub(super) fn remote(&mut self, user: &User<'_>, may_be_base: bool) -> Result<(), Stop> {
        let entry = remote::entry(references::without_key(user.text, user.named.field), may_be_base);
        if let Some(reference) = entry.file {
            match self.content(user, &reference)? {
                Some(RemoteContent::File { digest, .. }) => {
                    let what = RemoteUsed::File { reference, digest: digest.clone() };
                    return self.used(user, what);
                }
                Some(RemoteContent::NoFile) if entry.base.is_some() => {}
                Some(RemoteContent::NoFile | RemoteContent::Tree { .. }) => {
                    let reason = "is no file; correct the address".to_owned();
                    return self.refused(user, &reference, reason, Category::RemoteRefused);
                }
                Some(RemoteContent::Failed { category, reason }) => {
                    return self.refused(user, &reference, reason.clone(), *category);
                }
                None => return Ok(()),
            }
        }
        match entry.base {
            Some(base) => self.remote_base(user, base),
            None => Ok(()),
        }
    }

    fn remote_base(&mut self, user: &User<'_>, base: Base) -> Result<(), Stop> {
        let Base { reference, path } = base;
        let read_set = self.elsewhere(user, &reference, &path, |walk| {
            if walk.remote_folder(&path)? { Ok(()) } else { walk.problem(Problem::PathNotFound { path: path.clone() }) }
        })?;
        match read_set {
            Some(read_set) => self.used(user, RemoteUsed::Base { reference, read_set }),
            None => Ok(()),
        }
    }

    /// A kustomization of this tree; `false` when there is none.
    fn remote_folder(&mut self, path: &RepoPath) -> Result<bool, Stop> {
        match self.resolve(path)? {
            Some(End::Folder(folder)) => {
                self.set.path = folder.clone();
                self.kustomization(&folder, None)
            }
            Some(_) => Ok(false),
            None => Ok(true),
        }
    }

    /// A chart that kustomize inflates: it looks for it in a folder, and would fetch it when it is not there.
    pub(super) fn inflated(&mut self, folder: &RepoPath, named: &Named, chart: &Inflated) -> Result<(), Stop> {
        let Inflated { name, repository, version, home, value_files } = chart;
        self.set.charts = true;
        let home = match (repository.as_str(), version.as_str()) {
            ("", _) | (_, "") => home.clone(),
            _ => format!("{home}/{name}-{version}"),
        };
        let Some(at) = self.joined(folder, &format!("{home}/{name}"), named)? else { return Ok(()) };
        for file in value_files {
            self.named_file(folder, file, named, None)?;
        }
        match self.resolve(&at)? {
            Some(End::Folder(found)) => return self.chart_folder(&found),
            Some(End::Missing(_)) if !repository.is_empty() => {}
            Some(_) => return self.missing(at, named),
            None => return Ok(()),
        }
        let (repository, name, version) = (repository.clone(), name.clone(), version.clone());
        let user = User { folder, text: "", start: None, named };
        self.remote_chart(&user, RemoteReference::Chart { repository, name, version }, at)
    }

    /// A chart of a repository, to be put into a folder of this tree.
    pub(super) fn remote_chart(
        &mut self,
        user: &User<'_>,
        reference: RemoteReference,
        at: RepoPath,
    ) -> Result<(), Stop> {
        let root = RepoPath::root();
        let read_set = self.elsewhere(user, &reference, &root, |walk| {
            walk.set.source = SourceKind::Helm;
            walk.chart_folder(&RepoPath::root())
        })?;
        let Some(read_set) = read_set else { return Ok(()) };
        let what = RemoteUsed::Chart { reference, at, read_set };
        if self.set.remotes.iter().all(|used| used.what != what) {
            self.add(RemoteUse { folder: user.folder.clone(), place: None, text: String::new(), what })?;
        }
        Ok(())
    }

    /// Walks a tree from elsewhere; `None` after noting that it is wanted, or a problem.
    fn elsewhere(
        &mut self,
        user: &User<'_>,
        reference: &RemoteReference,
        path: &RepoPath,
        work: impl FnOnce(&mut Walk<'_>) -> Result<(), Stop>,
    ) -> Result<Option<Arc<ReadSet>>, Stop> {
        let (tree, known) = match self.content(user, reference)? {
            Some(RemoteContent::Tree { tree, .. }) => (Arc::clone(tree), self.elsewhere),
            Some(RemoteContent::Failed { category, reason }) => {
                self.refused(user, reference, reason.clone(), *category)?;
                return Ok(None);
            }
            Some(RemoteContent::File { .. } | RemoteContent::NoFile) | None => return Ok(None),
        };
        let key = (reference.clone(), path.clone());
        if let Some(done) = known.done.borrow().get(&key) {
            return Ok(Some(Arc::clone(done)));
        }
        if known.chain.borrow().contains(&key) || known.chain.borrow().len() >= DEEPEST {
            let reason = "leads back to itself, or lies too deep".to_owned();
            self.refused(user, reference, reason, Category::InvalidSource)?;
            return Ok(None);
        }
        let tree = match tree.open() {
            Ok(tree) => tree,
            Err(error) => return self.stop(Problem::Tree(error)),
        };
        known.chain.borrow_mut().push(key.clone());
        let mut walk = Walk::new(&*tree, path, self.limits, known);
        // What stopped it is among its problems.
        let _ = work(&mut walk);
        known.chain.borrow_mut().pop();
        if walk.problems.is_empty() {
            let read_set = Arc::new(walk.set);
            known.done.borrow_mut().insert(key, Arc::clone(&read_set));
            return Ok(Some(read_set));
        }
        for problem in walk.problems {
            self.problem(Problem::Within { remote: reference.to_string(), problem: Box::new(problem) })?;
        }
        Ok(None)
    }

    /// What is known of a reference; `None` after noting that it is wanted, or that nothing can be fetched here.
    fn content(&mut self, user: &User<'_>, reference: &RemoteReference) -> Result<Option<&'t RemoteContent>, Stop> {
        let shared = self.elsewhere;
        let Some(known) = shared.known else {
            let reason = "is not fetched here; copy it into the repository".to_owned();
            self.refused(user, reference, reason, Category::Unsupported)?;
            return Ok(None);
        };
        let found = known.0.get(reference);
        if found.is_none() && !shared.wanted.borrow().contains(reference) {
            // What is wanted is fetched: it has to be bounded before.
            if known.0.len() + shared.wanted.borrow().len() >= MOST {
                return self.too_large(&user.named.at.file, TOO_MUCH, MOST);
            }
            shared.wanted.borrow_mut().insert(reference.clone());
        }
        Ok(found)
    }

    fn refused(
        &mut self,
        user: &User<'_>,
        reference: &RemoteReference,
        reason: String,
        category: Category,
    ) -> Result<(), Stop> {
        let Named { at, field } = user.named.clone();
        self.problem(Problem::Remote { at, field, text: reference.to_string(), reason, category })
    }

    fn used(&mut self, user: &User<'_>, what: RemoteUsed) -> Result<(), Stop> {
        let at = user.named.at.clone();
        // Options of the Application stand in no file.
        let place = match user.start.filter(|_| at.line.is_some()) {
            Some(start) => self.place(&at.file, start, user.text)?,
            None => None,
        };
        if at.line.is_some() && place.is_none() {
            let what = "an address from elsewhere inside of other text, or over several lines,";
            return self.problem(Problem::Unsupported { at, what });
        }
        let (folder, text) = (user.folder.clone(), user.text.to_owned());
        self.add(RemoteUse { folder, place, text, what })
    }

    fn add(&mut self, used: RemoteUse) -> Result<(), Stop> {
        if self.set.remotes.len() >= MOST {
            return self.too_large(&used.folder.clone(), TOO_MUCH, MOST);
        }
        self.set.remotes.push(used);
        Ok(())
    }

    /// The bytes of an entry in its file, quotes included; `None` when it is not written there as it is.
    fn place(&mut self, file: &RepoPath, start: usize, text: &str) -> Result<Option<(RepoPath, Range<usize>)>, Stop> {
        let bytes = match self.tree.read(file, self.limits.document) {
            Ok(bytes) => bytes,
            Err(error) => return self.stop(Problem::Tree(error)),
        };
        Ok(range(&String::from_utf8_lossy(&bytes), start, text).map(|range| (file.clone(), range)))
    }
}

fn range(document: &str, start: usize, text: &str) -> Option<Range<usize>> {
    let start = document.char_indices().nth(start)?.0;
    let rest = &document[start..];
    if rest.starts_with(text) {
        return Some(start..start + text.len());
    }
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let inner = rest[1..].strip_prefix(text)?;
    inner.starts_with(quote).then(|| start..start + text.len() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_in_their_text() {
        let document = "# é\nresources: [https://a/b, \"https://c\", 'https://d']\n";
        for (start, text, expected) in [
            (16, "https://a/b", Some("https://a/b")),
            (29, "https://c", Some("\"https://c\"")),
            (42, "https://d", Some("'https://d'")),
            (29, "https://d", None),
            (900, "x", None),
        ] {
            assert_eq!(range(document, start, text).map(|range| &document[range]), expected, "{text}");
        }
    }
}
