//! The commands in the documentation do what it says they do.

use std::{fs, process::Command};

use gitmoor_tests::harness::{
    agent::program,
    sealed_secrets::SealingPair,
    tools::{tool, workspace},
};

use crate::init::Fork;

/// Makes the folder `fork`, a clone of the folder `upstream`.
const CLONE: &str = "
    git init --quiet --initial-branch=main upstream
    cp -r $PARTS upstream
    git -C upstream add --all; git -C upstream commit --quiet --message one
    git clone --quiet upstream fork";

/// The blocks of shell commands, one after another.
fn commands(page: &str) -> String {
    let text = fs::read_to_string(workspace().join("docs").join(page)).unwrap();
    let blocks = text.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```\n").unwrap().0.to_owned());
    let commands = blocks.collect::<Vec<_>>().join("\n");
    assert!(commands.contains("gitmoor "), "{page} has no commands");
    commands
}

/// Runs the commands of a page in a fork; `before` and `after` are lines of shell around them. Gives what was said.
fn follow(page: &str, before: &str, after: &str) -> String {
    let world = Fork::new("", &[]);
    let pair = SealingPair::new((2020, 2050));
    world.write("controller.pem", &pair.certificate);
    world.write("keys.pem", &pair.key);
    let parts = ["distribution", "setup.conf.example", "profiles.yaml.example"];
    let parts = parts.map(|part| workspace().join(part).display().to_string()).join(" ");
    let script = format!("set -euo pipefail\n{CLONE}\ncd fork\n{before}\n{}\n{after}\n", commands(page));
    let gitmoor = program("gitmoor");
    let path = format!("{}:{}:/usr/bin:/bin", gitmoor.parent().unwrap().display(), world.path(".").display());
    world.write(
        "gitconfig",
        "[user]\nname = Test\nemail = test@example.com\n[commit]\ngpgsign = false\n[init]\ndefaultBranch = main\n",
    );
    let mut shell = Command::new("bash");
    shell.env_clear().envs([("PATH", path), ("PARTS", parts)]).env("GIT_CONFIG_GLOBAL", world.path("gitconfig"));
    shell.env("GITMOOR_KUSTOMIZE", tool("kustomize")).current_dir(world.path("."));
    let output = shell.args(["-c", &script]).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(&workspace().display().to_string()), "{said}");
    said
}

#[test]
fn init_and_upgrade() {
    let before = "sed -i '1i # A new line' ../upstream/distribution/platform.yaml
        git -C ../upstream commit --quiet --all --message two";
    let after = "git status --porcelain | (! grep .)
        git log -1 --format=%P
        grep -rl ml.example.com distribution";
    let said = follow("init.md", before, after);
    assert!(said.contains("Upgrade to upstream"), "{said}");
}

#[test]
fn seal() {
    let before = "mv ../controller.pem ../keys.pem .; printf '/controller.pem\\n/keys.pem\\n' > .git/info/exclude";
    let after = "git diff --stat sealed.yaml | grep -q sealed.yaml; test ! -e secret.yaml";
    let said = follow("seal.md", before, after);
    assert!(said.contains("mlflow/web"), "{said}");
    assert!(!said.contains("battery staple"), "{said}");
}

#[test]
fn credentials() {
    let before = "cp setup.conf.example setup.conf
        gitmoor seal --pin-cert --cert ../controller.pem
        gitmoor init setup.conf --commit";
    let after = "grep -q '^mlflow-db-password: ' ../passwords.txt
        ! cmp -s ../passwords.txt ../rotated.txt
        grep -q 'kind: SealedSecret' distribution/credentials/mlflow.mlflow-secret.yaml";
    let said = follow("credentials.md", before, after);
    assert!(said.contains("would seal mlflow/mlflow-secret"), "{said}");
    assert!(said.contains("restart Deployment mlflow/mlflow"), "{said}");
}

#[test]
fn iam() {
    let before = "cp setup.conf.example setup.conf";
    let after = "grep -q AWS::IAM::Role iam.json; test -f distribution/profiles/ada-lovelace.yaml";
    let said = follow("iam.md", before, after);
    assert!(said.contains("0 findings in "), "{said}");
}
