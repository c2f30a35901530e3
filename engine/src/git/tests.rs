//! Fetching over `file://` in this process; over HTTP and in the child it is tested in the crate of tests.

use std::collections::BTreeMap;
use std::fs;

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid};
use gitmoor_core::tree::{EntryKind, RepoPath, Tree};

use super::testing::{Upstream, damage};
use super::*;

fn commits(outcome: &FetchOutcome) -> BTreeMap<&str, &CommitId> {
    outcome.heads.iter().map(|(revision, found)| (revision.as_str(), &found.commit)).collect()
}

fn path(text: &str) -> RepoPath {
    RepoPath::root().join(text).unwrap()
}

#[test]
fn only_what_is_followed_and_new_is_fetched() {
    let upstream = Upstream::new();
    let main = upstream.commit("main", &[("a.yaml", Some("1"))]);
    let first = upstream.fetch(&["main", "HEAD", "nowhere"]).unwrap();
    assert_eq!(commits(&first), BTreeMap::from([("main", &main), ("HEAD", &main)]));
    assert_eq!(first.heads["HEAD"].reference.as_deref(), Some("refs/heads/main"));
    assert_eq!((first.missing, first.changed, first.cloned), (vec!["nowhere".to_owned()], true, true));

    let second = upstream.fetch(&["main", "HEAD", "nowhere"]).unwrap();
    assert_eq!((second.changed, second.cloned, second.received_bytes), (false, false, 0));
    let newer = upstream.commit("main", &[("a.yaml", Some("2"))]);
    let third = upstream.fetch(&["main"]).unwrap();
    assert!(third.changed && !third.cloned);
    assert_eq!(commits(&third), BTreeMap::from([("main", &newer)]));
}

#[test]
fn rewritten_and_replaced_branches_are_followed() {
    let upstream = Upstream::new();
    let first = upstream.commit("main", &[("a.yaml", Some("1"))]);
    upstream.fetch(&["main"]).unwrap();
    upstream.delete("refs/heads/main");
    let rewritten = upstream.commit("main", &[("a.yaml", Some("2"))]);
    assert_eq!(commits(&upstream.fetch(&["main"]).unwrap())["main"], &rewritten);
    assert_eq!(upstream.mirror().changed_paths(&first, &rewritten).unwrap(), Some(vec![path("a.yaml")]));

    // A branch `main` stands in the way of `main/v2` on disk.
    upstream.delete("refs/heads/main");
    let nested = upstream.commit("main/v2", &[("a.yaml", Some("3"))]);
    let outcome = upstream.fetch(&["main", "main/v2"]).unwrap();
    assert_eq!(
        (commits(&outcome), &outcome.missing),
        (BTreeMap::from([("main/v2", &nested)]), &vec!["main".to_owned()])
    );
    assert!(outcome.changed);
}

#[test]
fn tags_and_commits_stand_for_their_commit() {
    let upstream = Upstream::new();
    let old = upstream.commit("main", &[("a.yaml", Some("1"))]);
    let new = upstream.commit("main", &[("a.yaml", Some("2"))]);
    let object = upstream.repository.find_object(old.oid().unwrap(), None).unwrap();
    let author = upstream.repository.find_commit(old.oid().unwrap()).unwrap().author().to_owned();
    upstream.repository.tag("v1", &object, &author, "a release", false).unwrap();
    let blob = upstream.repository.blob(b"no commit").unwrap();
    upstream.repository.reference("refs/tags/blob", blob, true, "test").unwrap();

    let unknown = "1".repeat(40);
    let outcome = upstream.fetch(&["v1", old.as_str(), new.as_str(), "blob", &unknown]).unwrap();
    assert_eq!(commits(&outcome), BTreeMap::from([("v1", &old), (old.as_str(), &old), (new.as_str(), &new)]));
    assert_eq!(outcome.heads[old.as_str()].reference, None);
    assert_eq!(outcome.missing, [unknown.as_str(), "blob"]);
}

#[test]
fn a_commit_inside_a_branch_is_found_without_the_branch_being_followed() {
    let upstream = Upstream::new();
    let old = upstream.commit("main", &[("a.yaml", Some("1"))]);
    upstream.commit("main", &[("a.yaml", Some("2"))]);
    let outcome = upstream.fetch(&[old.as_str()]).unwrap();
    assert_eq!(commits(&outcome), BTreeMap::from([(old.as_str(), &old)]));
    assert!(!upstream.fetch(&[old.as_str()]).unwrap().changed);
}

#[test]
fn a_damaged_mirror_is_cloned_anew_and_a_lost_upstream_leaves_the_mirror() {
    let upstream = Upstream::new();
    let main = upstream.commit("main", &[("a.yaml", Some("1"))]);
    upstream.fetch(&["main"]).unwrap();
    let commit = upstream.mirror().commit_info(&main).unwrap();
    assert_eq!((commit.author.as_str(), commit.message.as_str()), ("Test <test@example.com>", "a change"));
    assert_eq!(commit.date.to_string(), "2023-11-14T22:13:20Z");

    for broken in ["objects/pack", "refs", "HEAD", "config"] {
        let broken = upstream.directory().join(broken);
        if broken.is_dir() {
            damage(&broken);
        } else {
            fs::write(&broken, "junk").unwrap();
        }
        upstream.fetch(&["main"]).unwrap();
        assert!(upstream.mirror().tree(&main).unwrap().entry(&path("a.yaml")).unwrap().is_some(), "{broken:?}");
    }
    fs::remove_dir_all(upstream.repository.path()).unwrap();
    let failure = upstream.fetch(&["main"]).unwrap_err();
    assert_eq!(failure.kind, FetchErrorKind::NotARepository, "{}", failure.reason);
    assert!(upstream.mirror().tree(&main).is_ok());
    let names = fs::read_dir(upstream.folder.path().join("repositories")).unwrap().count();
    assert_eq!(names, 2, "the mirror and its lock");
}

#[test]
fn nothing_is_there_before_the_first_fetch() {
    let upstream = Upstream::new();
    let id = CommitId::parse(&"1".repeat(40)).unwrap();
    assert!(matches!(upstream.mirror().tree(&id), Err(MirrorError::NotFetched { .. })));
    let outcome = upstream.fetch(&["HEAD", "main"]).unwrap();
    assert_eq!(outcome.missing, ["HEAD", "main"]);
}

#[test]
fn trees_are_read_by_path() {
    let upstream = Upstream::new();
    let link = upstream.repository.blob(b"a.yaml").unwrap();
    let mut update = TreeUpdateBuilder::new();
    update.upsert("apps/web/a.yaml", upstream.repository.blob(b"kind: A").unwrap(), FileMode::Blob);
    update.upsert("apps/web/run.sh", link, FileMode::BlobExecutable);
    update.upsert("apps/web/link", link, FileMode::Link);
    update.upsert("module", Oid::from_str(&"1".repeat(40)).unwrap(), FileMode::Commit);
    let commit = upstream.commit_update("main", update);
    upstream.fetch(&["main"]).unwrap();
    let tree = upstream.mirror().tree(&commit).unwrap();

    let kind = |text: &str| tree.entry(&path(text)).unwrap().map(|entry| entry.kind);
    assert_eq!(kind(""), Some(EntryKind::Folder));
    assert_eq!(kind("apps/web/a.yaml"), Some(EntryKind::File));
    assert_eq!(kind("apps/web/run.sh"), Some(EntryKind::Executable));
    assert_eq!(kind("apps/web/link"), Some(EntryKind::Link));
    assert_eq!(kind("module"), Some(EntryKind::Submodule));
    assert_eq!((kind("apps/no"), kind("apps/web/a.yaml/below"), kind("module/file")), (None, None, None));
    let names: Vec<_> = tree.list(&path("apps/web")).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.yaml", "link", "run.sh"]);
    assert!(tree.list(&path("apps/web/a.yaml")).unwrap().is_empty() && tree.list(&path("no")).unwrap().is_empty());
    assert_eq!(tree.read(&path("apps/web/a.yaml"), 7).unwrap(), b"kind: A");
    assert_eq!(tree.read(&path("apps/web/link"), 100).unwrap(), b"a.yaml");
    for (text, limit, reason) in
        [("apps/web/a.yaml", 6, "limit"), ("apps", 100, "folder"), ("module", 100, "submodule"), ("no", 100, "exist")]
    {
        let error = tree.read(&path(text), limit).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains(text), "{error}");
    }
    assert_eq!(tree.tree_id(&path("apps")).unwrap(), tree.entry(&path("apps")).unwrap().map(|entry| entry.id));
}

/// A tree written by hand, since libgit2 refuses to write such names.
fn raw_tree(upstream: &Upstream, entries: &[(&str, &[u8], Oid)]) -> Oid {
    let mut raw = Vec::new();
    for (mode, name, id) in entries {
        raw.extend_from_slice(mode.as_bytes());
        raw.push(b' ');
        raw.extend_from_slice(name);
        raw.push(0);
        raw.extend_from_slice(id.as_bytes());
    }
    upstream.repository.odb().unwrap().write(git2::ObjectType::Tree, &raw).unwrap()
}

#[test]
fn hostile_names_reach_nothing() {
    let upstream = Upstream::new();
    let blob = upstream.repository.blob(b"text").unwrap();
    let good = upstream.commit("main", &[("a.yaml", Some("1"))]);
    for name in [&b".."[..], b".", b"a/b", b"a\\b", b"\xff\xfe"] {
        let folder = raw_tree(&upstream, &[("100644", name, blob), ("100644", b"z.yaml", blob)]);
        let root = raw_tree(&upstream, &[("40000", b"folder", folder)]);
        let commit = upstream.commit_tree("refs/heads/hostile", root, None);
        upstream.fetch(&["main", "hostile"]).unwrap();
        let mirror = upstream.mirror();
        let tree = mirror.tree(&commit).unwrap();
        let error = tree.list(&path("folder")).unwrap_err().to_string();
        assert!(error.contains("no path can hold"), "{error}");
        assert!(tree.entry(&path("folder/z.yaml")).unwrap().is_some());
        let changed = mirror.changed_paths(&good, &commit).unwrap().unwrap();
        assert_eq!(changed, [path("a.yaml"), path("folder"), path("folder/z.yaml")]);
    }
}

#[test]
fn a_few_trees_that_stand_for_billions_of_paths_are_not_walked() {
    let upstream = Upstream::new();
    let good = upstream.commit("main", &[("a.yaml", Some("1"))]);
    let mut tree = raw_tree(&upstream, &[("100644", b"file", upstream.repository.blob(b"text").unwrap())]);
    for _ in 0..12 {
        let names: Vec<String> = (10..20).map(|number| number.to_string()).collect();
        let entries: Vec<_> = names.iter().map(|name| ("40000", name.as_bytes(), tree)).collect();
        tree = raw_tree(&upstream, &entries);
    }
    let commit = upstream.commit_tree("refs/heads/bomb", tree, None);
    upstream.fetch(&["main", "bomb"]).unwrap();
    assert_eq!(upstream.mirror().changed_paths(&good, &commit).unwrap(), None);
}

#[test]
fn differences_are_paths_of_both_sides() {
    let upstream = Upstream::new();
    let old = upstream.commit(
        "main",
        &[
            ("same/a", Some("1")),
            ("changed/a", Some("1")),
            ("changed/b", Some("1")),
            ("moved/from", Some("x")),
            ("file", Some("1")),
            ("file.d/x", Some("1")),
            ("gone/deep/a", Some("1")),
        ],
    );
    let new = upstream.commit(
        "main",
        &[
            ("changed/b", Some("2")),
            ("moved/from", None),
            ("moved/to", Some("x")),
            ("file", None),
            ("gone/deep/a", None),
        ],
    );
    let newer = upstream.commit("main", &[("file/inside", Some("1"))]);
    upstream.fetch(&["main"]).unwrap();
    let mirror = upstream.mirror();
    let changed = |old: &CommitId, new: &CommitId| {
        let paths = mirror.changed_paths(old, new).unwrap().unwrap();
        paths.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(changed(&old, &new), ["changed/b", "file", "gone/deep/a", "moved/from", "moved/to"]);
    assert_eq!(changed(&old, &newer), ["changed/b", "file", "file/inside", "gone/deep/a", "moved/from", "moved/to"]);
    assert_eq!(changed(&newer, &old), changed(&old, &newer));
    assert!(changed(&old, &old).is_empty());
    let gone = CommitId::parse(&"1".repeat(40)).unwrap();
    assert_eq!(mirror.changed_paths(&gone, &new).unwrap(), None);
    assert!(matches!(mirror.changed_paths(&old, &gone), Err(MirrorError::NoSuchCommit { .. })));
}

#[test]
fn a_download_beyond_the_limit_is_refused() {
    let upstream = Upstream::new();
    upstream.commit("main", &[("a", Some(&"x".repeat(100)))]);
    let limits = FetchLimits { size_bytes: 10, ..FetchLimits::default() };
    let failure = upstream.fetch_within(&["main"], limits).unwrap_err();
    assert_eq!(failure.kind, FetchErrorKind::TooLarge, "{}", failure.reason);
    assert!(!upstream.directory().exists());
}
