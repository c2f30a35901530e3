//! Fetching over HTTP, in the child process of the real agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use axum::response::Redirect;
use gitmoor_core::tree::{RepoPath, Tree};
use gitmoor_engine::access::{Access, Credentials};
use gitmoor_engine::git::{
    CommitId, FetchError, FetchErrorKind, FetchLimits, FetchOutcome, FetchRequest, Fetcher, Mirror, MirrorError,
    RepositoryUrl, UrlPolicy,
};
use gitmoor_tests::harness::repository::git_command;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::{GitRemote, Mode, program};
use tokio::net::TcpListener;

const PASSWORD: &str = "correct-horse";

fn limits() -> FetchLimits {
    FetchLimits { timeout: Duration::from_mins(1), ..FetchLimits::default() }
}

fn mirror(scratch: &Scratch, url: &str, limits: FetchLimits) -> Mirror {
    let policy = UrlPolicy { allow_local: true, allow_plain_http: true };
    let url = RepositoryUrl::parse(url, &policy).unwrap();
    Mirror::new(scratch.path(), url, Fetcher::new(program("gitmoor-agent"), [], limits))
}

fn request(password: &str, revisions: &[&str]) -> FetchRequest {
    FetchRequest {
        access: Credentials::basic("robot".to_owned(), password.to_owned()).into(),
        revisions: revisions.iter().map(|&revision| revision.to_owned()).collect(),
        hosts: None,
    }
}

fn commit(outcome: &FetchOutcome, revision: &str) -> String {
    outcome.heads[revision].commit.to_string()
}

fn id(text: &str) -> CommitId {
    CommitId::parse(text).unwrap()
}

fn kind(result: Result<FetchOutcome, FetchError>) -> FetchErrorKind {
    let error = result.unwrap_err();
    assert!(error.to_string().contains("http://127.0.0.1") && !error.to_string().contains(PASSWORD), "{error}");
    error.kind
}

#[tokio::test]
async fn a_range_of_tags_follows_the_highest_and_polls_with_one_request() {
    let remote = GitRemote::with_credentials("robot", PASSWORD).await;
    let repository = remote.repository("platform").await;
    let tag = async |name: &str| {
        let commit = repository.commit(&[("version", name)], name).await;
        repository.git(&["tag", "--annotate", "--message", name, name]).await;
        repository.git(&["push", "--quiet", "origin", name]).await;
        commit
    };
    tag("v1.0.0").await;
    let second = tag("v1.1.0").await;
    tag("v2.0.0-rc.1").await;
    let scratch = Scratch::new("mirror-range");
    let mirror = mirror(&scratch, repository.url(), limits());
    let request = request(PASSWORD, &[">=1.0 <2", "1.x", "9.x"]);
    let outcome = mirror.fetch(&request).await.unwrap();
    assert_eq!((commit(&outcome, ">=1.0 <2"), commit(&outcome, "1.x")), (second.clone(), second.clone()));
    assert_eq!(outcome.missing, ["9.x"]);
    let tree = mirror.tree(&id(&second)).unwrap();
    assert_eq!(tree.read(&RepoPath::root().join("version").unwrap(), 100).unwrap(), b"v1.1.0");

    remote.forget_requests();
    let outcome = mirror.fetch(&request).await.unwrap();
    assert!(!outcome.changed && outcome.received_bytes == 0, "{outcome:?}");
    assert_eq!(remote.requests().len(), 1, "{:?}", remote.requests());
    let third = tag("1.2.0").await;
    let outcome = mirror.fetch(&request).await.unwrap();
    assert_eq!((commit(&outcome, "1.x"), outcome.changed), (third, true));
}

#[tokio::test]
async fn one_request_says_that_nothing_is_new_and_two_bring_what_is() {
    let remote = GitRemote::with_credentials("robot", PASSWORD).await;
    let repository = remote.repository("platform").await;
    let first = repository.commit(&[("a.yaml", "one")], "first").await;
    repository.git(&["checkout", "--quiet", "-b", "unfollowed"]).await;
    let unfollowed = repository.commit(&[("b.yaml", "two")], "second").await;
    repository.git(&["checkout", "--quiet", "main"]).await;
    let scratch = Scratch::new("mirror");
    let mirror = mirror(&scratch, repository.url(), limits());
    let request = request(PASSWORD, &["main", "HEAD", "nowhere"]);

    let outcome = mirror.fetch(&request).await.unwrap();
    assert_eq!((commit(&outcome, "main"), commit(&outcome, "HEAD")), (first.clone(), first.clone()));
    assert_eq!((outcome.missing.as_slice(), outcome.changed), (["nowhere".to_owned()].as_slice(), true));
    assert!(outcome.received_bytes > 0);
    assert_eq!(remote.requests().len(), 2, "a listing and a pack: {:?}", remote.requests());
    let tree = mirror.tree(&id(&first)).unwrap();
    assert_eq!(tree.read(&RepoPath::root().join("a.yaml").unwrap(), 100).unwrap(), b"one");
    assert!(matches!(mirror.tree(&id(&unfollowed)), Err(MirrorError::NoSuchCommit { .. })));

    remote.forget_requests();
    let outcome = mirror.fetch(&request).await.unwrap();
    assert_eq!((outcome.changed, outcome.received_bytes, remote.requests().len()), (false, 0, 1));

    remote.forget_requests();
    let second = repository.commit(&[("a.yaml", "three"), ("c/d.yaml", "four")], "third").await;
    let outcome = mirror.fetch(&request).await.unwrap();
    assert_eq!((outcome.changed, commit(&outcome, "main")), (true, second.clone()));
    assert!(remote.requests().len() <= 3, "{:?}", remote.requests());
    let changed = mirror.changed_paths(&id(&first), &id(&second)).unwrap().unwrap();
    assert_eq!(changed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.yaml", "c/d.yaml"]);
}

#[tokio::test]
async fn a_force_push_and_a_commit_id_are_followed() {
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    let first = repository.commit(&[("a.yaml", "one")], "first").await;
    let second = repository.commit(&[("a.yaml", "two")], "second").await;
    let scratch = Scratch::new("mirror");
    let mirror = mirror(&scratch, repository.url(), limits());
    let pinned = request("", &[&first]);
    let anonymous = |request: FetchRequest| FetchRequest { access: Access::default(), ..request };

    let outcome = mirror.fetch(&anonymous(pinned.clone())).await.unwrap();
    assert_eq!(commit(&outcome, &first), first);
    remote.forget_requests();
    assert!(!mirror.fetch(&anonymous(pinned)).await.unwrap().changed);
    assert_eq!(remote.requests(), [], "what a commit id means cannot change");

    mirror.fetch(&anonymous(request("", &["main"]))).await.unwrap();
    repository.git(&["reset", "--quiet", "--hard", &first]).await;
    let third = repository.commit(&[("a.yaml", "three")], "third").await;
    let outcome = mirror.fetch(&anonymous(request("", &["main", &second, &"1".repeat(40)]))).await.unwrap();
    assert_eq!((commit(&outcome, "main"), commit(&outcome, &second)), (third, second));
    assert_eq!(outcome.missing, ["1".repeat(40)]);
}

#[tokio::test]
async fn failures_have_a_category_and_leave_the_mirror() {
    let remote = GitRemote::with_credentials("robot", PASSWORD).await;
    let repository = remote.repository("platform").await;
    let first = repository.commit(&[("a.yaml", "one")], "first").await;
    let scratch = Scratch::new("mirror");
    let mirror_at = |url: &str| mirror(&scratch, url, limits());
    let mirror = mirror_at(repository.url());
    let good = request(PASSWORD, &["main"]);
    mirror.fetch(&good).await.unwrap();

    remote.forget_requests();
    assert_eq!(kind(mirror.fetch(&request("wrong", &["main"])).await), FetchErrorKind::RefusedCredentials);
    let anonymous = FetchRequest { access: Access::default(), ..good.clone() };
    assert_eq!(kind(mirror.fetch(&anonymous).await), FetchErrorKind::RefusedCredentials);
    assert_eq!(remote.requests().len(), 2, "wrong credentials are sent once");
    for (status, expected) in [
        (403, FetchErrorKind::RefusedCredentials),
        (404, FetchErrorKind::NotARepository),
        (429, FetchErrorKind::Unreachable),
        (503, FetchErrorKind::Unreachable),
    ] {
        remote.set_mode(Mode::Fail(status));
        assert_eq!(kind(mirror.fetch(&good).await), expected, "{status}");
    }
    remote.set_mode(Mode::Ok);
    let elsewhere = mirror_at(&format!("{}/nothing.git", remote.url()));
    assert_eq!(kind(elsewhere.fetch(&good).await), FetchErrorKind::NotARepository);
    assert_eq!(kind(mirror_at("http://127.0.0.1:1/r.git").fetch(&good).await), FetchErrorKind::Unreachable);
    assert!(mirror.tree(&id(&first)).is_ok());
    assert!(!mirror.fetch(&good).await.unwrap().changed);
}

#[tokio::test]
async fn a_hanging_server_is_given_up_and_the_child_is_gone() {
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    let first = repository.commit(&[("a.yaml", "one")], "first").await;
    let scratch = Scratch::new("mirror");
    let impatient = FetchLimits { timeout: Duration::from_secs(2), ..limits() };
    remote.set_mode(Mode::Hang);
    let fetched = mirror(&scratch, repository.url(), impatient).fetch(&request(PASSWORD, &["main"])).await;
    assert_eq!(kind(fetched), FetchErrorKind::TimedOut);
    // The lock of the folder is free again: a child that still ran would hold it.
    remote.set_mode(Mode::Ok);
    let outcome = mirror(&scratch, repository.url(), limits()).fetch(&request(PASSWORD, &["main"])).await.unwrap();
    assert_eq!(commit(&outcome, "main"), first);
}

#[tokio::test]
async fn a_repository_beyond_the_limits_is_refused() {
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    // The second version travels as a difference to the first, which takes both in memory.
    let large = "0123456789abcdef".repeat(1_500_000);
    repository.commit(&[("large", &large)], "large").await;
    repository.commit(&[("large", &format!("{large}more"))], "larger").await;
    let scratch = Scratch::new("mirror");
    for limits in [FetchLimits { size_bytes: 1 << 10, ..limits() }, FetchLimits { memory_bytes: 20 << 20, ..limits() }]
    {
        let mirror = mirror(&scratch, repository.url(), limits);
        assert_eq!(kind(mirror.fetch(&request(PASSWORD, &["main"])).await), FetchErrorKind::TooLarge, "{limits:?}");
        assert!(!mirror.directory().exists());
    }
}

/// `url.*.insteadOf` would send credentials to another server.
#[tokio::test]
async fn the_machine_s_git_configuration_has_no_effect() {
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    let first = repository.commit(&[("a.yaml", "one")], "first").await;
    let scratch = Scratch::new("mirror");
    let rewrite =
        "[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = http://127.0.0.1\n[http]\n\tproxy = http://127.0.0.1:1\n";
    let home = scratch.folder("home");
    fs::write(home.join(".gitconfig"), rewrite).unwrap();
    let rewritten = git_command(Path::new("/")).env("HOME", &home).args(["ls-remote", repository.url()]).output();
    assert!(!rewritten.await.unwrap().status.success(), "git itself is led astray");

    // Also when it is found, as the machine's own in /etc would be.
    let found = scratch.write(
        "found",
        format!("#!/bin/sh\nexport HOME={}\nexec {} \"$@\"\n", home.display(), program("gitmoor-agent").display()),
    );
    fs::set_permissions(&found, fs::Permissions::from_mode(0o755)).unwrap();
    let url = RepositoryUrl::parse(repository.url(), &UrlPolicy::default()).unwrap();
    let environment = [("HOME".to_owned(), home.display().to_string())];
    for program in [program("gitmoor-agent"), found] {
        let fetcher = Fetcher::new(program, environment.clone(), limits());
        let mirror = Mirror::new(&scratch.folder("data"), url.clone(), fetcher);
        let outcome = mirror.rebuild(&request("", &["main"])).await.unwrap();
        assert_eq!(commit(&outcome, "main"), first);
    }
}

#[tokio::test]
async fn fetches_of_one_mirror_wait_for_each_other_and_killed_ones_leave_it_whole() {
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    repository.commit(&[("a.yaml", "one")], "first").await;
    let scratch = Scratch::new("mirror");
    let mirror = mirror(&scratch, repository.url(), limits());
    let request = request("", &["main"]);
    let mut known = BTreeMap::new();
    for round in 0..12 {
        let head = repository
            .commit(&[("a.yaml", &format!("{round}")), ("b.yaml", &"x".repeat(round * 10_000))], "more")
            .await;
        known.insert(round, head.clone());
        // Dropped at any moment, which kills the child.
        let after = Duration::from_millis(7 * round as u64);
        let _ = tokio::time::timeout(after, mirror.fetch(&request)).await;
        let (one, other) = tokio::join!(mirror.fetch(&request), mirror.fetch(&request));
        assert_eq!((commit(&one.unwrap(), "main"), commit(&other.unwrap(), "main")), (head.clone(), head));
    }
    let commits: BTreeSet<_> = known.values().collect();
    assert!(commits.iter().all(|commit| mirror.commit_info(&id(commit)).is_ok()));
    let names: Vec<_> = fs::read_dir(scratch.path().join("repositories")).unwrap().collect();
    assert_eq!(names.len(), 2, "the mirror and its lock: {names:?}");

    let outcome = mirror.rebuild(&request).await.unwrap();
    assert!(outcome.cloned);
    assert!(mirror.commit_info(&outcome.heads["main"].commit).is_ok());
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    repository.commit(&[("a.yaml", "one")], "first").await;
    let target = remote.url().replace("127.0.0.1", "localhost");
    let redirect = move |uri: Uri| async move { Redirect::temporary(&format!("{target}{uri}")) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/platform.git", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(redirect)).await });
    let scratch = Scratch::new("mirror");
    let error = mirror(&scratch, &url, limits()).fetch(&request(PASSWORD, &["main"])).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Other);
    assert!(error.reason.contains("cannot redirect from '127.0.0.1' to 'localhost'"), "{error}");
    assert_eq!(remote.requests(), []);
}
