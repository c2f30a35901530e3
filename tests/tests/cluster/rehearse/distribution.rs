//! The distribution itself, rehearsed as a user does who has just made a fork of it.

use std::fs;
use std::path::Path;

use gitmoor_tests::distribution::selection::{copy_into, turn_off_what_needs_a_network};
use gitmoor_tests::harness::program;
use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::sealed_secrets::SealingPair;

use super::{environment, found};

/// A fork, and what its user has in the environment.
struct Fork {
    folder: Scratch,
    environment: Vec<(&'static str, String)>,
}

impl Fork {
    /// Initialised with the values of setup.conf.example for an environment.
    fn new(chosen: &str, change: impl FnOnce(&Path)) -> Self {
        let folder = Scratch::new("fork");
        let root = folder.path();
        copy_into(root).unwrap();
        change(root);
        fs::copy(root.join("setup.conf.example"), root.join("setup.conf")).unwrap();
        let fork = Self { folder, environment: environment() };
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=U", "-c", "user.email=u@example.com"];
            let environment = [("HOME", "/nonexistent")];
            let arguments = [&identity, arguments].concat();
            Run::of(Path::new("/usr/bin/git"), fork.folder.path(), &environment, &arguments, b"").assert(0);
        };
        let commit = || {
            git(&["add", "--all"]);
            git(&["commit", "--quiet", "--message=fork"]);
        };
        git(&["init", "--quiet", "--initial-branch=main", "."]);
        commit();
        fork.run(&["init", "setup.conf", "--set", &format!("environment={chosen}")]).assert(0);
        commit();
        fork
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Run::of(&program("gitmoor"), self.folder.path(), &environment, arguments, b"")
    }

    fn rehearse(&self) -> Run {
        self.run(&["rehearse", "--output", "json"])
    }
}

#[test]
fn what_needs_no_network_comes_up_and_only_the_credentials_are_missing() {
    for environment in ["aws", "single-node"] {
        let fork = Fork::new(environment, |root| drop(turn_off_what_needs_a_network(root).unwrap()));
        let run = fork.rehearse();
        run.assert(1);
        let found = found(&run);
        let is_credential =
            |line: &String| line.starts_with("SecretMissing: ") && line.contains("Secret mlflow/mlflow-");
        assert!(!found.is_empty() && found.iter().all(is_credential), "{environment}: {found:#?}");
        for (name, state) in run.json()["applications"].as_object().unwrap() {
            assert_eq!(*state, serde_json::json!(["Synced", "Healthy"]), "{environment}: {name}");
        }
        // It is told of, and something stands in for it.
        let by_hand = run.stderr.contains("Secret gitmoor/aws-access-keys (access-key-id, secret-access-key)");
        assert_eq!(by_hand, environment == "single-node", "{}", run.stderr);
    }
}

#[test]
#[ignore = "needs a network, or GITMOOR_REPLACE_SOURCE: make verify-upstream"]
fn verify_upstream() {
    for environment in ["aws", "single-node"] {
        let mut fork = Fork::new(environment, |_| {});
        let passed_on = ["GITMOOR_REPLACE_SOURCE", "https_proxy", "HTTPS_PROXY", "SSL_CERT_FILE"];
        let given = passed_on.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
        fork.environment.extend(given);
        let pair = SealingPair::new((2020, 2050));
        let beside = Scratch::new("beside");
        let certificate = beside.write("certificate.pem", pair.certificate);
        let shown = beside.path().join("shown");
        fork.run(&["seal", "--pin-cert", "--cert", certificate.to_str().unwrap()]).assert(0);
        fork.run(&["credentials", "--show-once-to", shown.to_str().unwrap()]).assert(0);
        let run = fork.rehearse();
        assert_eq!(found(&run), [] as [String; 0], "{environment}: {}", run.stderr);
        run.assert(0);
        println!("{environment}: {}", run.stderr);
    }
}
