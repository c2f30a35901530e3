//! Which of the references that a server lists is meant by a `targetRevision`.

use std::collections::BTreeMap;

use git2::{Oid, Reference};
use gitmoor_core::version::{Range, Version};

/// Prefix of the references that mirrors keep for themselves.
pub(super) const OWN: &str = "refs/gitmoor/";
/// Where a server's `HEAD` is kept that is on no branch.
pub(super) const DETACHED_HEAD: &str = "refs/gitmoor/head";

/// Full names that a revision can mean, best first.
fn candidates(revision: &str) -> impl Iterator<Item = String> {
    let full = ["", "refs/heads/", "refs/tags/", "refs/"].iter().map(move |prefix| format!("{prefix}{revision}"));
    full.filter(|name| name.starts_with("refs/") && !name.starts_with(OWN) && Reference::is_valid_name(name))
}

fn is_head(revision: &str) -> bool {
    revision.is_empty() || revision == "HEAD"
}

/// What to ask for, so that whatever the revision turns out to mean is there afterwards.
pub(super) fn refspecs(revision: &str) -> Vec<String> {
    if is_head(revision) {
        return vec![format!("+HEAD:{DETACHED_HEAD}")];
    }
    candidates(revision).map(|name| format!("+{name}:{name}")).collect()
}

/// What the server listed.
#[derive(Debug, Default)]
pub(super) struct Advertised {
    /// Object ids by full name of the reference, and what annotated tags point to in the end.
    references: BTreeMap<String, (Oid, Option<Oid>)>,
    /// `HEAD`, and the branch that it stands for.
    head: Option<(Oid, Option<String>)>,
}

/// A reference of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its name on the server.
    pub remote: String,
    /// Its name in the mirror.
    pub local: String,
    /// The object that it names: a commit or an annotated tag.
    pub id: Oid,
}

impl Advertised {
    /// Reads a listing of `(name, id, branch that HEAD stands for)`.
    pub(super) fn new<'a>(listing: impl Iterator<Item = (&'a str, Oid, Option<&'a str>)>) -> Self {
        let mut advertised = Self::default();
        for (name, id, symbolic) in listing {
            if name == "HEAD" {
                advertised.head = Some((id, symbolic.map(str::to_owned)));
            } else if let Some(tag) = name.strip_suffix("^{}") {
                if let Some((_, peeled)) = advertised.references.get_mut(tag) {
                    *peeled = Some(id);
                }
            } else if !name.starts_with(OWN) && Reference::is_valid_name(name) {
                advertised.references.insert(name.to_owned(), (id, None));
            }
        }
        advertised
    }

    /// Whether the server has a reference of this full name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.references.contains_key(name)
    }

    /// Finds what a name means: `HEAD`, a full name, a branch, a tag, a range of tags, in this order.
    pub(super) fn resolve(&self, revision: &str) -> Option<Target> {
        if !is_head(revision) {
            let named = candidates(revision).find_map(|name| self.reference(&name));
            return named.or_else(|| self.highest_tag(revision));
        }
        let (id, branch) = self.head.as_ref()?;
        // The branch only when it stands where `HEAD` does, since that is what was asked for.
        let branch = branch.as_deref().and_then(|name| self.reference(name)).filter(|target| target.id == *id);
        branch.or_else(|| Some(Target { remote: "HEAD".to_owned(), local: DETACHED_HEAD.to_owned(), id: *id }))
    }

    /// The highest version among the tags that lies in a range. A version that lacks parts is a name, as for Argo CD.
    fn highest_tag(&self, revision: &str) -> Option<Target> {
        let range = Range::parse(revision).filter(|_| Version::parse(revision).is_none())?;
        let tags = self.references.keys().filter_map(|name| {
            let version = Version::parse(name.strip_prefix("refs/tags/")?)?;
            Some((version, name))
        });
        range.highest(tags).and_then(|(_, name)| self.reference(name))
    }

    fn reference(&self, name: &str) -> Option<Target> {
        let (id, _) = *self.references.get(name)?;
        Some(Target { remote: name.to_owned(), local: name.to_owned(), id })
    }

    /// What to ask for to get a commit from a server that gives out only what it lists: the reference that ends there,
    /// or all branches and tags.
    pub(super) fn refspecs_for(&self, commit: Oid) -> Vec<String> {
        let ends = |(id, peeled): &(Oid, Option<Oid>)| peeled.unwrap_or(*id) == commit;
        match self.references.iter().find(|(_, target)| ends(target)) {
            Some((name, _)) => vec![format!("+{name}:{name}")],
            None => vec!["+refs/heads/*:refs/heads/*".to_owned(), "+refs/tags/*:refs/tags/*".to_owned()],
        }
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
            ("v1", Some(("refs/tags/v1", '4'))),
            ("refs/pull/7/head", Some(("refs/pull/7/head", '6'))),
            ("gitmoor/head", None),
            ("../../config", None),
            ("mai", None),
            ("111111", None),
        ];
        for (revision, expected) in cases {
            let found = advertised(Some("refs/heads/main")).resolve(revision).map(|target| (target.remote, target.id));
            assert_eq!(found, expected.map(|(name, digit)| (name.to_owned(), oid(digit))), "{revision}");
        }
        assert_eq!(advertised(None).resolve("HEAD").unwrap().local, DETACHED_HEAD);
        assert_eq!(advertised(Some("refs/heads/both")).resolve("HEAD").unwrap().local, DETACHED_HEAD);
        assert_eq!(Advertised::default().resolve("HEAD"), None);
    }

    #[test]
    fn ranges_mean_the_highest_tag() {
        let tags = ["v1.0.0", "v1.2.0", "1.10.0", "v2.0.0-rc.1", "release", "v1"].iter().zip('1'..);
        let names: Vec<(String, Oid)> = tags.map(|(tag, digit)| (format!("refs/tags/{tag}"), oid(digit))).collect();
        let branch = [("refs/heads/1.x".to_owned(), oid('9'))];
        let listed =
            |names: &[(String, Oid)]| Advertised::new(names.iter().map(|(name, id)| (name.as_str(), *id, None)));
        for (revision, expected) in [
            ("1.x", Some("refs/tags/1.10.0")),
            ("~1.2", Some("refs/tags/v1.2.0")),
            (">=1.0 <1.5", Some("refs/tags/v1.2.0")),
            (">=2.0.0-0", Some("refs/tags/v2.0.0-rc.1")),
            ("*", Some("refs/tags/1.10.0")),
            ("v1", Some("refs/tags/v1")),
            ("v1.0", None),
            ("3.x", None),
        ] {
            assert_eq!(listed(&names).resolve(revision).map(|target| target.remote).as_deref(), expected, "{revision}");
        }
        let both = [&names[..], &branch[..]].concat();
        assert_eq!(listed(&both).resolve("1.x").unwrap().remote, "refs/heads/1.x", "a name comes before a range");
    }

    #[test]
    fn names_that_are_patterns_or_reach_the_mirror_s_own_are_not_asked_for() {
        assert_eq!(refspecs("a/*"), [""; 0]);
        assert_eq!(
            refspecs("refs/gitmoor/head"),
            ["refs/heads/refs/gitmoor/head", "refs/tags/refs/gitmoor/head", "refs/refs/gitmoor/head"]
                .map(|name| format!("+{name}:{name}"))
        );
        assert_eq!(refspecs("a:b"), [""; 0]);
        assert_eq!(refspecs("v1").len(), 3);
    }

    #[test]
    fn commits_are_taken_from_references_that_end_there() {
        assert_eq!(advertised(None).refspecs_for(oid('5')), ["+refs/tags/v1:refs/tags/v1"]);
        assert_eq!(advertised(None).refspecs_for(oid('9')).len(), 2);
    }
}
