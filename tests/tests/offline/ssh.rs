//! Fetching by ssh from the real sshd, in the child process of the real agent.

use std::sync::Arc;
use std::time::Duration;

use gitmoor_core::sensitive::Sensitive;
use gitmoor_core::tree::{RepoPath, Tree};
use gitmoor_engine::access::{Access, Connection, Credentials};
use gitmoor_engine::git::{
    CommitId, FetchError, FetchErrorKind, FetchLimits, FetchRequest, Fetcher, Mirror, RepositoryUrl, UrlPolicy,
};
use gitmoor_engine::reach::Hosts;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::ssh_server::Key;
use gitmoor_tests::harness::{Repository, SshServer, program};

use crate::canary::Signs;

fn mirror(scratch: &Scratch, url: &str) -> Mirror {
    let url = RepositoryUrl::parse(url, &UrlPolicy::default()).unwrap();
    let limits = FetchLimits { timeout: Duration::from_mins(1), ..FetchLimits::default() };
    Mirror::new(scratch.path(), url, Fetcher::new(program("gitmoor-agent"), [], limits))
}

fn access(key: &Key, known_hosts: &str) -> Access {
    let credentials = Credentials::SshKey(Sensitive::new(key.private.clone()));
    Access {
        credentials,
        connection: Connection { known_hosts: Some(Arc::from(known_hosts)), ..Connection::default() },
    }
}

fn request(access: Access) -> FetchRequest {
    FetchRequest { access, revisions: ["main".to_owned()].into(), hosts: None }
}

async fn refusal(mirror: &Mirror, access: Access) -> FetchError {
    mirror.fetch(&request(access)).await.unwrap_err()
}

/// A server of one repository with one commit, a key that opens it, and a mirror of it.
struct Served {
    server: SshServer,
    repository: Repository,
    key: Key,
    mirror: Mirror,
    /// The commit.
    first: String,
    // Last: goes when nothing writes to it any more.
    scratch: Scratch,
}

async fn served(host_keys: &[&str]) -> Served {
    let server = SshServer::start(host_keys).await;
    let repository = server.repository("platform").await;
    let first = repository.commit(&[("a.yaml", "one")], "first").await;
    let key = Key::new("ed25519", &[]);
    server.authorize(&[&key]);
    let scratch = Scratch::new("mirror");
    let mirror = mirror(&scratch, repository.url());
    Served { server, repository, key, mirror, first, scratch }
}

#[tokio::test]
async fn every_kind_of_key_opens_a_repository() {
    let Served { server, repository, key, mirror: of_first_key, first, scratch: _scratch } = served(&["ed25519"]).await;
    for (kind, arguments) in [
        ("ed25519", &[][..]),
        ("ecdsa", &["-b", "256"]),
        ("ecdsa", &["-b", "384"]),
        ("ecdsa", &["-b", "521", "-m", "PKCS8"]),
        ("ecdsa", &["-m", "PEM"]),
        ("rsa", &["-b", "3072"]),
        ("rsa", &["-m", "PEM"]),
        ("rsa", &["-m", "PKCS8"]),
    ] {
        let key = Key::new(kind, arguments);
        server.authorize(&[&key]);
        let scratch = Scratch::new("mirror");
        let mirror = mirror(&scratch, repository.url());
        let fetched = mirror.fetch(&request(access(&key, &server.known_hosts()))).await;
        let outcome = fetched.unwrap_or_else(|error| panic!("{kind} {arguments:?}: {error}"));
        assert_eq!(outcome.heads["main"].commit.as_str(), first, "{kind} {arguments:?}");
    }
    server.authorize(&[&key]);
    let mirror = of_first_key;
    let request = request(access(&key, &server.known_hosts()));
    mirror.fetch(&request).await.unwrap();
    let sessions = server.sessions();
    let outcome = mirror.fetch(&request).await.unwrap();
    assert_eq!((outcome.changed, outcome.received_bytes, server.sessions() - sessions), (false, 0, 1));
    let second = repository.commit(&[("a.yaml", "two")], "second").await;
    assert!(mirror.fetch(&request).await.unwrap().changed);
    let tree = mirror.tree(&CommitId::parse(&second).unwrap()).unwrap();
    assert_eq!(tree.read(&RepoPath::root().join("a.yaml").unwrap(), 100).unwrap(), b"two");
}

#[tokio::test]
async fn a_path_may_be_relative_to_the_users_folder() {
    let server = SshServer::start(&["ed25519"]).await;
    let key = Key::new("ed25519", &[]);
    server.authorize(&[&key]);
    let scratch = Scratch::new("mirror");
    let (user, _) =
        server.url("").trim_start_matches("ssh://").split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    // Port 22 is not the test's: what counts is where the address leads.
    let url = format!("{user}@127.0.0.1:no/such/repository.git");
    let error = refusal(&mirror(&scratch, &url), access(&key, &server.known_hosts())).await;
    assert!(error.to_string().contains("127.0.0.1:22"), "{error}");
    let url = server.url("missing.git");
    let error = refusal(&mirror(&scratch, &url), access(&key, &server.known_hosts())).await;
    assert_eq!(error.kind, FetchErrorKind::NotARepository, "{error}");
}

#[tokio::test]
async fn a_host_key_that_is_not_known_is_refused_and_named() {
    let Served { mut server, key, mirror, scratch: _scratch, .. } = served(&["ed25519", "ecdsa", "rsa"]).await;

    // By whichever of its keys it is known, that one is asked for.
    for host_key in server.host_keys().to_vec() {
        let fetched = mirror.fetch(&request(access(&key, &server.known_by(&host_key)))).await;
        fetched.unwrap_or_else(|error| panic!("{}: {error}", host_key.public));
    }
    let error = refusal(&mirror, access(&key, "other.example ssh-ed25519 AAAA\n")).await;
    assert_eq!(error.kind, FetchErrorKind::UntrustedHostKey);
    let (text, authority) = (error.to_string(), server.authority());
    let shown = server.host_keys().iter().any(|key| text.contains(&key.fingerprint()));
    let way_out = text.contains("ssh_known_hosts") && text.contains("argocd-ssh-known-hosts-cm");
    assert!(shown && way_out && text.contains(&authority), "{text}");

    // The same kinds, then another kind alone.
    let known = server.known_hosts();
    for kinds in [&["ed25519", "ecdsa", "rsa"][..], &["rsa"]] {
        let only = Key::new(kinds[kinds.len() - 1], &[]);
        let others = kinds[..kinds.len() - 1].iter().map(|kind| Key::new(kind, &[]));
        let known = if kinds.len() == 1 { known.lines().next().unwrap().to_owned() } else { known.clone() };
        server.start_with(others.chain([only]).collect()).await;
        let error = refusal(&mirror, access(&key, &known)).await;
        assert_eq!(error.kind, FetchErrorKind::UntrustedHostKey, "{error}");
        let text = error.to_string();
        let shown = server.host_keys().iter().any(|key| text.contains(&key.fingerprint()));
        assert!(shown && text.contains("none of those that it is known by"), "{text}");
    }
    let insecure = Connection { insecure: true, ..Connection::default() };
    mirror.fetch(&request(Access { connection: insecure, ..access(&key, "") })).await.unwrap();
    let sessions = server.sessions();
    assert_eq!(sessions, 4, "nobody logs in where the host key is not known");
}

#[tokio::test]
async fn what_cannot_open_the_repository_says_why() {
    let Served { server, key, mirror, scratch: _scratch, .. } = served(&["ed25519"]).await;
    let known = server.known_hosts();
    let with = |credentials: Credentials| Access { credentials, ..access(&key, &known) };
    let keyed = |key: &Key| access(key, &known);
    let broken = Key { private: key.private.replace("b3Bl", "c3Bl"), ..key.clone() };
    for (access, word) in [
        (with(Credentials::None), "there is none"),
        (with(Credentials::basic("git".to_owned(), "hunter2".to_owned())), "has no sshPrivateKey"),
        (keyed(&Key::new("rsa", &[])), "does not accept the ssh key"),
        (keyed(&Key::new("ed25519", &["-N", "hunter2"])), "is encrypted"),
        (keyed(&Key::new("rsa", &["-m", "PEM", "-N", "hunter2"])), "is encrypted"),
        (keyed(&broken), ""),
        (keyed(&Key { private: key.public.clone(), public: String::new() }), "no private key"),
    ] {
        let error = refusal(&mirror, access).await;
        assert_eq!(error.kind, FetchErrorKind::RefusedCredentials, "{error}");
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    assert_eq!(server.sessions(), 0);
    mirror.fetch(&request(keyed(&key))).await.unwrap();
}

#[tokio::test]
async fn rule_7_a_base_by_ssh_leads_nowhere_inside() {
    let Served { server, key, mirror, scratch: _scratch, .. } = served(&["ed25519"]).await;
    let within = |hosts: Hosts| FetchRequest { hosts: Some(hosts), ..request(access(&key, &server.known_hosts())) };
    let error = mirror.fetch(&within(Hosts::default())).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::ForbiddenAddress, "{error}");
    mirror.fetch(&within(Hosts::new([server.authority()]))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_in_no_process_and_no_file() {
    let Served { server, key, mirror, scratch, .. } = served(&["ed25519"]).await;
    let request = request(access(&key, &server.known_hosts()));
    let lines: Vec<&str> = key.private.lines().filter(|line| !line.contains("-----")).collect();
    let signs = Signs::new(&lines[1..], &[]);
    let runtime = tokio::runtime::Handle::current();
    let seen = tokio::task::block_in_place(|| {
        signs.in_processes(&["cmdline", "environ"], || {
            for _ in 0..5 {
                runtime.block_on(mirror.fetch(&request)).unwrap();
            }
        })
    });
    assert!(seen.is_empty(), "{seen:?}");
    assert!(signs.in_files(scratch.path()).is_empty());
    let left = crate::canary::files(scratch.path()).into_iter().filter(|file| file.ends_with("known_hosts"));
    assert_eq!(left.count(), 0, "nothing stays in the home folder of the process");
}
