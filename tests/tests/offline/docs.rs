//! The commands in the documentation do what it says they do.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use gitmoor_core::yaml::{Limits, read_documents};
use gitmoor_tests::distribution::fork::files;
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
    follow_commands(&commands(page), before, after)
}

fn follow_commands(commands: &str, before: &str, after: &str) -> String {
    let world = Fork::new("", &[]);
    let pair = SealingPair::new((2020, 2050));
    world.write("controller.pem", &pair.certificate);
    world.write("keys.pem", &pair.key);
    let parts = ["distribution", "setup.conf.example", "profiles.yaml.example"];
    let parts = parts.map(|part| workspace().join(part).display().to_string()).join(" ");
    let script = format!("set -euo pipefail\n{CLONE}\ncd fork\n{before}\n{commands}\n{after}\n");
    let gitmoor = program("gitmoor");
    let path = format!("{}:{}:/usr/bin:/bin", gitmoor.parent().unwrap().display(), world.path(".").display());
    world.write(
        "gitconfig",
        "[user]\nname = Test\nemail = test@example.com\n[commit]\ngpgsign = false\n[init]\ndefaultBranch = main\n",
    );
    let mut shell = Command::new("bash");
    shell.env_clear().envs([("PATH", path), ("PARTS", parts)]).env("GIT_CONFIG_GLOBAL", world.path("gitconfig"));
    shell.env("GITMOOR_KUSTOMIZE", tool("kustomize")).env("GITMOOR_HELM", tool("helm")).current_dir(world.path("."));
    let output = shell.args(["-c", &script]).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(&workspace().display().to_string()), "{said}");
    said
}

/// The commands below a heading of a page.
fn commands_below(page: &str, heading: &str) -> String {
    let text = fs::read_to_string(workspace().join("docs").join(page)).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let (_, rest) = section.split_once("\n```sh\n").unwrap();
    rest.split_once("\n```\n").unwrap().0.to_owned()
}

#[test]
fn quick_start() {
    let commands = commands_below("quick-start.md", "Your platform");
    let before = "git -C ../upstream config receive.denyCurrentBranch ignore";
    let after = "git status --porcelain | (! grep .)
        test $(git rev-parse HEAD) = $(git -C ../upstream rev-parse main)";
    let said = follow_commands(&commands, before, after);
    assert!(!said.contains("left over: placeholders"), "{said}");
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

/// Leaves the Applications out whose charts are on the Internet.
const NO_CHARTS: &str = "
    sed -i -E '/(__environment__|cert-manager.*|metrics-server.yaml|sealed-secrets.yaml)/d' distribution/kustomization.yaml
    git commit --quiet --all --message 'no charts'";

#[test]
fn plan() {
    let before = "cp setup.conf.example setup.conf
        gitmoor init setup.conf --commit
        sed -i 's/^replicas: .*/replicas: 7/' distribution/components/inference/values-aws.yaml
        git commit --quiet --all --message replicas
        git checkout --quiet -b feature; git branch --force main HEAD~1";
    let after = "grep -q 'kind: Deployment' everything.yaml; test -f before/gitmoor_mlflow.yaml
        grep -q '<!-- gitmoor plan -->' comment.md";
    let said = follow("plan.md", &format!("{NO_CHARTS}\n{before}"), after);
    assert!(said.contains("changed Deployment.apps inference/inference"), "{said}");
    assert!(said.contains("+  replicas: 7"), "{said}");
}

/// The commands of the files for CI, with the variables that they get there.
#[test]
fn workflows() {
    let read = |name: &str| fs::read_to_string(workspace().join("docs/ci").join(name)).unwrap();
    for (name, command) in [
        ("github-plan.yaml", "gitmoor plan --output markdown \"$BASE...HEAD\" > plan.md"),
        ("gitlab-plan.yaml", "gitmoor plan --output markdown \"$CI_MERGE_REQUEST_DIFF_BASE_SHA...HEAD\" > plan.md"),
        ("pre-commit-config.yaml", "gitmoor --quiet init --check setup.conf"),
        ("pre-commit-config.yaml", "sh -c 'gitmoor --quiet render > /dev/null'"),
    ] {
        let text = read(name);
        assert!(text.contains(command), "{name}");
        let document: serde_json::Value = read_documents(&text, &Limits::default()).unwrap()[0].value.clone();
        assert!(document.is_object(), "{name}");
    }
    let commands = "gitmoor --quiet init --check setup.conf; sh -c 'gitmoor --quiet render > /dev/null'
        gitmoor plan --output markdown \"$BASE...HEAD\" > plan.md";
    let before = "cp setup.conf.example setup.conf
        gitmoor init setup.conf --commit; BASE=HEAD~1";
    let said = follow_commands(commands, &format!("{NO_CHARTS}\n{before}"), "head -n 1 plan.md");
    assert!(said.contains("<!-- gitmoor plan -->"), "{said}");
}

/// The script of docs/single-node.md, with programs in place of git, curl and k3s that write down what they are told.
#[test]
fn single_node() {
    let world = Fork::new("", &[]);
    let page = fs::read_to_string(workspace().join("docs/single-node.md")).unwrap();
    let (_, cloud_init) = page.split_once("```yaml\n#cloud-config\n").unwrap();
    let cloud_init: serde_json::Value = serde_yaml::from_str(cloud_init.split_once("\n```\n").unwrap().0).unwrap();
    let file = |path: &str| {
        let mut all = cloud_init["write_files"].as_array().unwrap().iter();
        let found = all.find(|file| file["path"] == path).unwrap_or_else(|| panic!("no {path}"));
        found["content"].as_str().unwrap().to_owned()
    };
    let script = cloud_init["runcmd"][0][0].as_str().unwrap();
    world.write("install", file(script));
    let settings = file("/etc/platform/settings")
        .replace("TOKEN=", "TOKEN=the-token")
        .replace("KEY_ID=", "KEY_ID=the-id")
        .replace("ACCESS_KEY=", "ACCESS_KEY=the-key");
    world.write("settings", settings);
    let noted = "#!/bin/sh\necho \"$(basename $0) $*\" >> $LOG\n";
    world.write("bin/curl", noted);
    world.write("bin/git", format!("{noted}for last; do :; done\nmkdir -p $last/bootstrap\n$GIT_ASKPASS >> $LOG\n"));
    world.write("bin/k3s", format!("{noted}case \"$*\" in *' -') cat >> $APPLIED;; esac\n"));
    for program in ["bin/curl", "bin/git", "bin/k3s"] {
        fs::set_permissions(world.path(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut shell = Command::new("bash");
    let path = format!("{}:/usr/bin:/bin", world.path("bin").display());
    shell.env_clear().env("PATH", path).arg(world.path("install")).current_dir(world.path("."));
    for (name, file) in [("SETTINGS", "settings"), ("LOG", "log"), ("APPLIED", "applied")] {
        shell.env(name, world.path(file));
    }
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let log = world.read("log");
    let told: Vec<&str> = log.lines().collect();
    assert!(told[0].starts_with("git clone ") && told[0].contains("https://git@git.example.com/"), "{log}");
    assert_eq!(told[1], "the-token");
    let applied: Vec<&str> =
        told.iter().filter_map(|line| line.split_once("--filename ")).map(|(_, file)| file).collect();
    let names: Vec<&str> = applied.iter().map(|file| file.rsplit('/').next().unwrap()).collect();
    assert_eq!(
        names,
        ["10-definitions.yaml", "-", "20-agent.yaml", "30-platform.yaml"],
        "as bootstrap --export names them"
    );
    assert_eq!(told.iter().filter(|line| line.contains("the-")).count(), 1, "a secret on a command line: {log}");
    assert!(!world.path("settings").exists());

    let objects: Vec<serde_json::Value> = serde_yaml::Deserializer::from_str(&world.read("applied"))
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect();
    assert_eq!(objects[1]["stringData"]["password"], "the-token");
    let store = workspace().join("distribution/components/aws-credentials/base/store.yaml");
    let store: serde_json::Value = serde_yaml::from_str(&fs::read_to_string(store).unwrap()).unwrap();
    let keys = &store["spec"]["provider"]["aws"]["auth"]["secretRef"];
    for (field, value) in [("accessKeyIDSecretRef", "the-id"), ("secretAccessKeySecretRef", "the-key")] {
        let (name, key) = (&keys[field]["name"], keys[field]["key"].as_str().unwrap());
        assert_eq!(&objects[2]["metadata"]["name"], name);
        assert_eq!(objects[2]["stringData"][key], value);
    }
}

/// The table of stages names files; a name alone stands in the folder of the one before it.
#[test]
fn the_files_that_the_architecture_names_are_there() {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let mut named = 0;
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let mut folder = None;
        for word in line.split('`').skip(1).step_by(2) {
            let path = match word.rsplit_once('/') {
                Some((above, name)) if name.is_empty() || name.ends_with(".rs") => {
                    folder = name.ends_with(".rs").then(|| above.to_owned());
                    word.to_owned()
                }
                None if word.ends_with(".rs") => match &folder {
                    Some(folder) => format!("{folder}/{word}"),
                    None => continue,
                },
                _ => continue,
            };
            named += 1;
            assert!(workspace().join(&path).exists(), "{path} is not there: {line}");
        }
    }
    assert!(named > 60, "{named} names found");
}

/// The words before the colon of conditions, as the page on troubleshooting has them.
#[test]
fn the_words_of_conditions_are_those_of_the_program() {
    let page = fs::read_to_string(workspace().join("docs/troubleshooting.md")).unwrap();
    let (_, table) = page.split_once("## The first word of a condition").unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    let words: Vec<&str> = cells.flat_map(|(cell, _)| cell.trim_end_matches('`').split("`, `")).collect();
    assert!(words.len() > 20, "{words:?}");
    let sources = ["agent/src", "core/src", "engine/src"].map(|part| files(&workspace().join(part)));
    let source: String = sources.iter().flatten().map(|file| fs::read_to_string(file).unwrap()).collect();
    for word in words {
        assert!(source.contains(&format!("\"{word}\"")), "no condition begins with {word}");
    }
}
