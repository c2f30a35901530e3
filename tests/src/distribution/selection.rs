//! A copy of the distribution, as a fork has it, and the part of it that rolls out without a network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{fs, io};

use crate::harness::tools::workspace;
use crate::harness::{Repository, program};

/// What a fork has: the distribution and its settings.
const PARTS: [&str; 2] = ["distribution", "setup.conf.example"];

/// Copies the distribution and the example of its settings into a fork.
///
/// # Errors
/// When a file can be neither read nor written.
pub fn copy_into(fork: &Path) -> io::Result<()> {
    PARTS.iter().try_for_each(|part| copy(&workspace().join(part), &fork.join(part)))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Holds nothing before `gitmoor credentials` has been run: until then it needs nobody who opens it.
const EMPTY_AT_FIRST: &str = "credentials";

/// Turns off every Application of a fork that takes a chart from elsewhere, and those that need one of these in every
/// environment, as a user does: by a `#` in front of its line. Gives their names.
///
/// # Errors
/// When a file can be neither read nor written.
pub fn turn_off_what_needs_a_network(fork: &Path) -> io::Result<BTreeSet<String>> {
    let top = fork.join("distribution");
    let mut selections = vec![top.join("kustomization.yaml")];
    for entry in fs::read_dir(top.join("applications"))? {
        let nested = entry?.path().join("kustomization.yaml");
        selections.extend(nested.exists().then_some(nested));
    }
    let mut lines: Vec<(PathBuf, String, String)> = Vec::new();
    for selection in &selections {
        for line in fs::read_to_string(selection)?.lines() {
            let file = line.strip_prefix("  - ").map(|file| selection.with_file_name(file));
            if let Some(file) = file.filter(|file| file.is_file()) {
                lines.push((selection.clone(), line.to_owned(), fs::read_to_string(file)?));
            }
        }
    }
    let mut off = BTreeSet::new();
    // Until what is needed by nobody else is off as well.
    loop {
        let before = off.len();
        for (_, _, application) in &lines {
            let goes_with_one = || needs(application).any(|name| off.contains(name));
            let stays = name(application) == Some(EMPTY_AT_FIRST);
            if !stays && (application.contains("\n      chart: ") || goes_with_one()) {
                off.extend(name(application).map(str::to_owned));
            }
        }
        if off.len() == before {
            break;
        }
    }
    for (selection, line, application) in &lines {
        if name(application).is_some_and(|name| off.contains(name)) {
            let text = fs::read_to_string(selection)?;
            let commented = format!("  # - {}", line.trim_start_matches("  - "));
            fs::write(selection, text.replace(&format!("{line}\n"), &format!("{commented}\n")))?;
        }
    }
    Ok(off)
}

/// Makes a repository the fork of a user: the distribution with what needs a network turned off, initialised with the
/// values of setup.conf.example for an environment. Gives the commit.
pub async fn initialise(repository: &Repository, environment: &str) -> String {
    let tree = repository.tree();
    copy_into(tree).unwrap();
    turn_off_what_needs_a_network(tree).unwrap();
    fs::copy(tree.join("setup.conf.example"), tree.join("setup.conf")).unwrap();
    repository.commit_all("a fork").await;
    let (url, environment) = (format!("git_repo.url={}", repository.url()), format!("environment={environment}"));
    let done = tokio::process::Command::new(program("gitmoor"))
        .env_clear()
        .current_dir(tree)
        .args(["init", "setup.conf", "--set", &url, "--set", &environment])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    repository.commit_all("our platform").await
}

fn name(application: &str) -> Option<&str> {
    application.lines().find_map(|line| line.strip_prefix("  name: "))
}

fn needs(application: &str) -> impl Iterator<Item = &str> {
    let line = application.lines().find_map(|line| line.strip_prefix("    gitmoor.dev/needs: "));
    line.unwrap_or_default().split(", ").filter(|name| !name.is_empty())
}
