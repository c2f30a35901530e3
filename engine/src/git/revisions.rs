//! Which of the references that a server lists is meant by a `targetRevision`.

use std::collections::BTreeMap;

use git2::{Oid, Reference};

use super::CommitId;

/// Prefix of the references that mirrors keep for themselves.
pub(super) const OWN: &str = "refs/gitmoor/";
/// Where a server's `HEAD` is kept that is on no branch.
pub(super) const DETACHED_HEAD: &str = "refs/gitmoor/head";

/// What the server listed.
#[derive(Debug, Default)]
pub(super) struct Advertised {
    /// Object ids by full name of the reference.
    references: BTreeMap<String, Target>,
    /// `HEAD`, and the branch that it stands for.
    head: Option<(Oid, Option<String>)>,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    id: Oid,
    /// What an annotated tag points to in the end.
    peeled: Option<Oid>,
}

/// Where a revision comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A reference of the server.
    Reference {
        /// Its name on the server.
        remote: String,
        /// Its name in the mirror.
        local: String,
        /// The object that it names: a commit or an annotated tag.
        id: Oid,
        /// The commit, when the server said so.
        commit: Oid,
    },
    /// A commit by its full id; the server may not list it.
    Commit(Oid),
    /// The server has nothing of that name.
    Missing,
}

impl Advertised {
    /// Reads a listing of `(name, id, branch that HEAD stands for)`.
    pub(super) fn new<'a>(listing: impl Iterator<Item = (&'a str, Oid, Option<&'a str>)>) -> Self {
        let mut advertised = Self::default();
        for (name, id, symbolic) in listing {
            if name == "HEAD" {
                advertised.head = Some((id, symbolic.map(str::to_owned)));
            } else if let Some(tag) = name.strip_suffix("^{}") {
                if let Some(target) = advertised.references.get_mut(tag) {
                    target.peeled = Some(id);
                }
            } else if !name.starts_with(OWN) && Reference::is_valid_name(name) {
                advertised.references.insert(name.to_owned(), Target { id, peeled: None });
            }
        }
        advertised
    }

    /// Whether the server has a reference of this full name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.references.contains_key(name)
    }

    /// Finds what `revision` means: a full commit id, `HEAD`, a full name, a branch, a tag, in this order.
    pub(super) fn resolve(&self, revision: &str) -> Source {
        if let Some(id) = CommitId::parse(revision).and_then(|id| id.oid().ok()) {
            return self.advertising(id).unwrap_or(Source::Commit(id));
        }
        if revision == "HEAD" || revision.is_empty() {
            return self.resolve_head();
        }
        ["", "refs/heads/", "refs/tags/", "refs/"]
            .iter()
            .map(|prefix| format!("{prefix}{revision}"))
            .filter(|name| name.starts_with("refs/"))
            .find_map(|name| self.reference(&name))
            .unwrap_or(Source::Missing)
    }

    fn resolve_head(&self) -> Source {
        match &self.head {
            None => Source::Missing,
            Some((id, branch)) => {
                branch.as_deref().and_then(|name| self.reference(name)).unwrap_or(Source::Reference {
                    remote: "HEAD".to_owned(),
                    local: DETACHED_HEAD.to_owned(),
                    id: *id,
                    commit: *id,
                })
            }
        }
    }

    fn reference(&self, name: &str) -> Option<Source> {
        let Target { id, peeled } = *self.references.get(name)?;
        Some(Source::Reference { remote: name.to_owned(), local: name.to_owned(), id, commit: peeled.unwrap_or(id) })
    }

    /// A reference whose fetch brings the commit; cheaper than asking for an id, and allowed everywhere.
    fn advertising(&self, commit: Oid) -> Option<Source> {
        let (name, _) = self.references.iter().find(|(_, target)| target.peeled.unwrap_or(target.id) == commit)?;
        self.reference(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(digit: char) -> Oid {
        Oid::from_str(&digit.to_string().repeat(40)).unwrap()
    }

    fn advertised(branch: Option<&'static str>) -> Advertised {
        Advertised::new(
            [
                ("HEAD", oid('1'), branch),
                ("refs/heads/main", oid('1'), None),
                ("refs/heads/both", oid('2'), None),
                ("refs/tags/both", oid('3'), None),
                ("refs/tags/v1", oid('4'), None),
                ("refs/tags/v1^{}", oid('5'), None),
                ("refs/pull/7/head", oid('6'), None),
                ("refs/gitmoor/head", oid('7'), None),
                ("refs/heads/../../config", oid('8'), None),
            ]
            .into_iter(),
        )
    }

    #[test]
    fn revisions_mean_what_git_users_expect() {
        let cases: &[(&str, Option<(&str, char)>)] = &[
            ("main", Some(("refs/heads/main", '1'))),
            ("HEAD", Some(("refs/heads/main", '1'))),
            ("", Some(("refs/heads/main", '1'))),
            ("both", Some(("refs/heads/both", '2'))),
            ("refs/tags/both", Some(("refs/tags/both", '3'))),
            ("tags/both", Some(("refs/tags/both", '3'))),
            ("v1", Some(("refs/tags/v1", '5'))),
            ("refs/pull/7/head", Some(("refs/pull/7/head", '6'))),
            ("gitmoor/head", None),
            ("../../config", None),
            ("mai", None),
            ("111111", None),
        ];
        for (revision, expected) in cases {
            let found = match advertised(Some("refs/heads/main")).resolve(revision) {
                Source::Reference { remote, commit, .. } => Some((remote, commit)),
                Source::Commit(_) | Source::Missing => None,
            };
            assert_eq!(found, expected.map(|(name, digit)| (name.to_owned(), oid(digit))), "{revision}");
        }
    }

    #[test]
    fn commits_are_taken_from_references_that_end_there() {
        let list = advertised(None);
        assert!(matches!(list.resolve(&"5".repeat(40)), Source::Reference { remote, .. } if remote == "refs/tags/v1"));
        assert_eq!(list.resolve(&"9".repeat(40)), Source::Commit(oid('9')));
        assert!(matches!(list.resolve("HEAD"), Source::Reference { local, .. } if local == DETACHED_HEAD));
        assert_eq!(Advertised::default().resolve("HEAD"), Source::Missing);
    }
}
