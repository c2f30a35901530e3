//! The `gitmoor` command, as a user runs it in the fork.

use std::path::Path;
use std::process::Output;

use anyhow::{Context as _, ensure};
use gitmoor_tests::harness::{program, tools};
use tokio::process::Command;

use crate::screen::Screen;

/// Lines of a command's output that are shown before its last one.
const MOST_LINES: usize = 16;

/// Runs it, and shows the command and what it says. `kubeconfig` is that of the demo's cluster, for what looks there.
///
/// # Errors
/// When it does not start, or ends with another status than `expected`.
pub(crate) async fn run(
    folder: &Path,
    kubeconfig: Option<&Path>,
    (arguments, expected): (&[&str], i32),
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let shown = format!("gitmoor {}", arguments.join(" "));
    screen.command(&shown);
    let mut command = Command::new(program("gitmoor"));
    command.args(arguments).current_dir(folder).kill_on_drop(true);
    command.env("GITMOOR_KUSTOMIZE", tools::tool("kustomize")).env("GITMOOR_HELM", tools::tool("helm"));
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    let Output { status, stdout, stderr } = command.output().await.context("gitmoor does not start")?;
    let said = [String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)].concat();
    let lines: Vec<&str> = said.lines().collect();
    // The last one sums up.
    if let Some((last, first)) = lines.split_last() {
        first.iter().take(MOST_LINES).for_each(|line| screen.output(line));
        if first.len() > MOST_LINES {
            screen.output(&format!("… {} more lines", first.len() - MOST_LINES));
        }
        screen.output(last);
    }
    ensure!(status.code() == Some(expected), "{shown} ended with {status}");
    Ok(())
}
