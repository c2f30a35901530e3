//! The commands in the documentation do what it says they do.

use std::{fs, process::Command};

use gitmoor_tests::harness::{agent::program, tools::workspace};

use crate::init::Fork;

/// The blocks of shell commands, one after another.
fn commands(page: &str) -> String {
    let text = fs::read_to_string(workspace().join("docs").join(page)).unwrap();
    let blocks = text.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```\n").unwrap().0.to_owned());
    blocks.collect::<Vec<_>>().join("\n")
}

#[test]
fn init_and_upgrade() {
    let world = Fork::new("", &[]);
    let parts = ["distribution", "setup.conf.example"].map(|part| workspace().join(part).display().to_string());
    let folder = workspace().display().to_string();
    let script = format!(
        "set -eu
        export GIT_CONFIG_GLOBAL=\"$PWD/gitconfig\"
        git config --global user.name Test; git config --global user.email test@example.com
        git init --quiet --initial-branch=main upstream
        cp -r {} upstream
        git -C upstream add --all; git -C upstream commit --quiet --message one
        git clone --quiet upstream fork
        sed -i '1i # A new line' upstream/distribution/platform.yaml
        git -C upstream commit --quiet --all --message two
        cd fork
        {}
        git status --porcelain | (! grep .)
        git log -1 --format=%P
        grep -rl ml.example.com distribution",
        parts.join(" "),
        commands("init.md"),
    );
    let path = format!("{}:/usr/bin:/bin", program("gitmoor").parent().unwrap().display());
    let mut shell = Command::new("bash");
    shell.env_clear().env("PATH", path).current_dir(world.path(".")).args(["-c", &script]);
    let output = shell.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Upgrade to upstream") && !said.contains(&folder), "{said}");
}
