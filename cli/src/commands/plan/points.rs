//! The two states that are compared.

use crate::{
    failure::{Exit, Failure},
    fleet::{Ground, Prepared},
    git::Repository,
};

/// One of them.
pub(super) struct Point {
    /// For people.
    pub(super) name: String,
    /// The commit; none for the work tree.
    pub(super) commit: Option<String>,
    pub(super) ground: Ground,
}

/// Both of them.
pub(super) struct Points {
    pub(super) base: Point,
    pub(super) head: Point,
}

impl Points {
    /// Finds them as the arguments name them.
    pub(super) fn find(prepared: &Prepared, base: Option<&str>, head: Option<&str>) -> Result<Self, Failure> {
        let Some((repository, _)) = &prepared.clone else {
            return Err(Failure::new(Exit::Usage, "this folder is not under Git, so there is nothing to compare with")
                .hint("`gitmoor render` works without Git"));
        };
        let (base, head) = sides(base, head)?;
        let head_commit = head.map(|head| commit(repository, head)).transpose()?;
        let (name, id) = base.resolve(repository, head_commit.as_deref().unwrap_or("HEAD"))?;
        let base = Self::at(prepared, name, id)?;
        let head = match (head, head_commit) {
            (Some(name), Some(id)) => Self::at(prepared, name.to_owned(), id)?,
            _ => Point { name: "the files as they are".to_owned(), commit: None, ground: prepared.present()? },
        };
        Ok(Self { base, head })
    }

    fn at(prepared: &Prepared, name: String, id: String) -> Result<Point, Failure> {
        let ground = prepared.commit(id.clone());
        let ground = ground.ok_or_else(|| Failure::new(Exit::Usage, format!("{name} needs a clone")))?;
        Ok(Point { name, commit: Some(id), ground })
    }
}

/// What is compared with, and what is looked at; none: the files as they are. No commit has two dots in its name.
fn sides<'a>(base: Option<&'a str>, head: Option<&'a str>) -> Result<(Base<'a>, Option<&'a str>), Failure> {
    let three = base.and_then(|base| base.split_once("...")).map(|(base, head)| (Base::Left(or_head(base)), head));
    let two = || base.and_then(|base| base.split_once("..")).map(|(base, head)| (Base::Exactly(or_head(base)), head));
    match three.or_else(two) {
        Some(_) if head.is_some() => {
            Err(Failure::new(Exit::Usage, "BASE...HEAD and BASE..HEAD name both sides; leave the second argument out"))
        }
        Some((base, head)) => Ok((base, Some(or_head(head)))),
        None => Ok((base.map_or(Base::Default, Base::Exactly), head)),
    }
}

fn or_head(name: &str) -> &str {
    if name.is_empty() { "HEAD" } else { name }
}

#[derive(Debug, PartialEq, Eq)]
enum Base<'a> {
    /// Where the head left its upstream, or the default branch.
    Default,
    /// Where the head left this.
    Left(&'a str),
    Exactly(&'a str),
}

impl Base<'_> {
    fn resolve(&self, repository: &Repository, head: &str) -> Result<(String, String), Failure> {
        let shallow = |failure: Failure| {
            if repository.is_shallow() {
                failure.hint("the clone has no history; run `git fetch --unshallow`")
            } else {
                failure
            }
        };
        match self {
            Self::Exactly(name) => Ok(((*name).to_owned(), commit(repository, name)?)),
            Self::Left(name) => {
                commit(repository, name)?;
                let id = repository.merge_base(name, head).ok_or_else(|| {
                    shallow(Failure::new(Exit::Usage, format!("{name} and {head} have no commit in common")))
                })?;
                Ok((format!("where it left {name}"), id))
            }
            Self::Default => {
                let (id, name) = repository.base_of(head).ok_or_else(|| {
                    shallow(Failure::new(Exit::Usage, "there is no upstream and no default branch to compare with"))
                        .hint("name the commit to compare with, such as `gitmoor plan HEAD~1`")
                })?;
                let name = name.trim_start_matches("refs/remotes/").replace("@{upstream}", "its upstream");
                Ok((format!("where it left {name}"), id))
            }
        }
    }
}

fn commit(repository: &Repository, name: &str) -> Result<String, Failure> {
    repository.commit(name).ok_or_else(|| {
        let failure = Failure::new(Exit::Usage, format!("this clone has no commit {name}"));
        failure.hint("fetch it first: `git fetch origin`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_name_both_sides() {
        for (base, head, expected) in [
            (None, None, (Base::Default, None)),
            (Some("main"), Some("x"), (Base::Exactly("main"), Some("x"))),
            (Some("main...x"), None, (Base::Left("main"), Some("x"))),
            (Some("main.."), None, (Base::Exactly("main"), Some("HEAD"))),
            (Some("v1.0..x"), None, (Base::Exactly("v1.0"), Some("x"))),
        ] {
            assert_eq!(sides(base, head).unwrap(), expected);
        }
        assert!(sides(Some("a..b"), Some("c")).is_err());
    }
}
