//! Commands in any folder of the clone, as Git's.

use crate::{
    init::{Fork, Run},
    plan::{application, root},
};
use gitmoor_tests::harness::tools::tool;

fn run_in(fork: &Fork, folder: &str, arguments: &[&str]) -> Run {
    let mut command = fork.command(arguments);
    command.current_dir(fork.path(folder)).env("PATH", "/usr/bin:/bin").env("HOME", fork.path("../none"));
    command.env("GITMOOR_KUSTOMIZE", tool("kustomize")).env("GITMOOR_HELM", tool("helm"));
    Run::of(&mut command)
}

/// A fork whose placeholder has its value in setup.conf alone, and a folder with a file of its own.
fn fork() -> Fork {
    Fork::committed(
        "<<__name__>>=from-setup-conf\n",
        &[
            ("distribution/platform.yaml", &root()),
            ("distribution/iam/account.yaml", "accountId: \"123456789012\"\npartition: aws\n"),
            ("applications/one.yaml", &application("one", "")),
            ("apps/one/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: <<__name__>>}\n"),
            ("docs/deep/readme.md", "\n"),
        ],
    )
}

#[test]
fn in_any_folder_of_the_clone_a_command_finds_the_fork() {
    let fork = fork();
    fork.write("apps/one/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: <<__name__>>-too}\n");
    for arguments in [
        &["plan", "HEAD", "--output", "json"][..],
        &["render", "--output", "json"],
        &["lock", "--check", "--output", "json"],
        &["init", "--check", "--output", "json"],
    ] {
        let told = ["", "docs/deep", "distribution", "distribution/iam"].map(|folder| {
            let up = "../".repeat(folder.split('/').filter(|name| !name.is_empty()).count());
            let conf = format!("{up}setup.conf");
            let mut arguments = arguments.to_vec();
            if arguments[0] == "init" {
                arguments.insert(1, &conf);
            }
            let mut told = run_in(&fork, folder, &arguments).assert(0).json();
            // What was rendered before is not rendered again.
            told.as_object_mut().unwrap().remove("renders");
            told.to_string().replace(&format!("\"{up}"), "\"")
        });
        assert!(told.iter().all(|one| *one == told[0]), "{arguments:?}: {told:#?}");
    }
    let planned = run_in(&fork, "docs", &["plan", "HEAD"]).assert(0).stdout.clone();
    assert!(planned.contains("from-setup-conf-too"), "{planned}");
    assert!(fork.git(&["status", "--porcelain"]).trim() == "M apps/one/map.yaml", "looking leaves nothing behind");
}

#[test]
fn what_is_named_is_taken_from_the_working_folder() {
    let fork = fork();
    let named = run_in(&fork, "docs", &["render", "--root", "distribution/platform.yaml"]);
    assert_eq!(named.status(), Some(2), "{named:?}");
    assert!(named.stderr.contains("there is no file distribution/platform.yaml\n"), "{named:?}");
    run_in(&fork, "docs", &["render", "--root", "../distribution/platform.yaml"]).assert(0);
}

#[test]
fn without_a_clone_the_working_folder_counts_alone() {
    let fork = Fork::new("", &[("distribution/platform.yaml", &root()), ("docs/readme.md", "")]);
    let run = run_in(&fork, "docs", &["render"]);
    assert_eq!(run.status(), Some(2), "{run:?}");
    assert!(
        run.stderr.contains("no file distribution/platform.yaml, and this folder is in no Git repository"),
        "{run:?}"
    );
}
