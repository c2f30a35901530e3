//! Where the certificate comes from.

use std::fs;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use gitmoor_tests::harness::program;
use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::sealed_secrets::SealingPair;
use serde_json::Value;

use super::{PAIRS, Repository};
use crate::init::Fork;

impl Repository {
    /// Which of the two pairs seals with these flags.
    fn sealer(&self, flags: &[&str]) -> usize {
        let sealed = self.seal(&[flags, &["-f", "secrets.yaml"]].concat()).assert(0).stdout.clone();
        let opens = |key: usize| {
            let flag = format!("--recovery-private-key={key}.key");
            self.pipe(&["--validate", &flag], &sealed).status == Some(0)
        };
        (0..PAIRS.len()).find(|key| opens(*key)).expect("one of the two has sealed it")
    }
}

#[test]
fn the_newest_valid_one_of_a_bundle_seals() {
    let repository = Repository::new();
    let expired = SealingPair::new((2015, 2020));
    let bundle = |pems: &[&str]| pems.join("\n");
    let [first, second] = [&PAIRS[0].certificate, &PAIRS[1].certificate].map(String::as_str);
    repository.write("bundle", bundle(&[&expired.certificate, second, first]));
    assert_eq!(repository.sealer(&["--cert=bundle"]), 1);
    repository.write("bundle", bundle(&[first, &expired.certificate]));
    assert_eq!(repository.sealer(&["--cert=bundle"]), 0);

    repository.write("expired", &expired.certificate);
    let run = repository.seal(&["--cert=expired", "-f", "secrets.yaml"]);
    assert!(run.assert(1).stderr.contains("the certificate expired on 2020-01-01"), "{}", run.stderr);
    repository.write(".gitmoor/sealing-cert.pem", &expired.certificate);
    let run = repository.seal(&["-f", "secrets.yaml"]);
    assert!(run.assert(1).stderr.contains("hint: pin the controller's present one"), "{}", run.stderr);
    let run = repository.seal(&["status"]);
    assert!(run.assert(1).stderr.contains("expired on 2020-01-01"), "{}", run.stderr);
}

#[test]
fn the_flag_wins_over_the_environment_and_that_over_the_repository() {
    let repository = Repository::new();
    assert_eq!(repository.sealer(&[]), 0);
    assert_eq!(repository.sealer(&["--cert=1.crt"]), 1);
    let url = format!("file://{}", repository.path("1.crt").display());
    assert_eq!(repository.sealer(&["--cert", &url]), 1);
    repository.scratch.folder("a/b");
    let run = |environment: &[(&str, &str)]| {
        let (folder, arguments) = (repository.path("a/b"), ["seal", "-f", "../../secrets.yaml", "-w", "../../out"]);
        Run::of(&program("gitmoor"), &folder, environment, &arguments, b"").assert(0);
        repository.seal(&["--validate", "--recovery-private-key=0.key", "-f", "out"]).status
    };
    assert_eq!(run(&[]), Some(0));
    assert_eq!(run(&[("SEALED_SECRETS_CERT", "../../1.crt")]), Some(1));
    let run = repository.seal(&["--fetch-cert", "--cert=1.crt"]);
    assert_eq!(run.assert(0).stdout, PAIRS[1].certificate);
}

#[test]
fn pinning_makes_the_folder_and_says_what_was_before() {
    let repository = Repository::new();
    fs::remove_dir_all(repository.path(".gitmoor")).unwrap();
    repository.scratch.folder("deep/er");
    let flags = ["seal", "--pin-cert", "--cert", "../../0.crt", "--output=json"];
    let run = Run::of(&program("gitmoor"), &repository.path("deep/er"), &[], &flags, b"");
    let first: Value = run.assert(0).json();
    assert_eq!(first["expires"], "2050-01-01");
    let run = repository.seal(&["--pin-cert", "--cert=1.crt"]);
    let before = format!("before it was {}", first["fingerprint"].as_str().unwrap());
    assert!(run.assert(0).stderr.contains(&before), "{}", run.stderr);
    assert_eq!(repository.sealer(&[]), 1);
}

#[test]
fn a_pinned_certificate_that_git_ignores_is_said() {
    let fork = Fork::committed("", &[("controller.crt", &PAIRS[0].certificate)]);
    let pin = ["seal", "--pin-cert", "--cert=controller.crt"];
    let run = fork.run(&pin);
    assert!(!run.assert(0).stderr.contains("git ignores"), "{}", run.stderr);
    fork.write(".gitignore", "*.pem\n");
    let run = fork.run(&pin);
    assert!(run.assert(0).stderr.contains("git ignores .gitmoor/sealing-cert.pem"), "{}", run.stderr);
    fork.git(&["add", "--force", ".gitmoor"]);
    let run = fork.run(&pin);
    assert!(!run.assert(0).stderr.contains("git ignores"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_fetched_and_redirects_are_followed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let certificate = async || PAIRS[1].certificate.clone();
    let router = Router::new()
        .route("/cert.pem", get(certificate))
        .route("/moved", get(async || Redirect::temporary("/cert.pem")))
        .route("/huge", get(async || "x".repeat(3 << 20)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    tokio::task::spawn_blocking(move || {
        let repository = Repository::new();
        for path in ["cert.pem", "moved"] {
            assert_eq!(repository.sealer(&["--cert", &format!("http://{address}/{path}")]), 1);
        }
        for path in ["missing", "huge"] {
            let run = repository.seal(&["--cert", &format!("http://{address}/{path}"), "-f", "secrets.yaml"]);
            assert!(run.assert(4).stderr.contains("cannot fetch"), "{}", run.stderr);
            assert!(run.stderr.contains("plain HTTP"), "{}", run.stderr);
        }
    })
    .await
    .unwrap();
}
