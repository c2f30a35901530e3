//! `gitmoor completions`: what a shell needs to complete this program's command lines.

use clap_complete::{Shell, env::Shells};
use serde_json::json;

use crate::{
    failure::{Exit, Failure},
    terminal::{Style, Terminal},
};

/// Prints completions for a shell
///
/// The shell loads them from its startup file, for instance
/// `source <(gitmoor completions bash)` in ~/.bashrc. Names of Applications are asked of the cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor completions bash > ~/.local/share/bash-completion/completions/gitmoor
  gitmoor completions zsh > \"${fpath[1]}/_gitmoor\"
  gitmoor completions fish > ~/.config/fish/completions/gitmoor.fish")]
pub(crate) struct Arguments {
    /// For which shell
    shell: Shell,
}

/// Prints them on standard output: a script that asks this program, because names are in the cluster.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    let name = arguments.shell.to_string();
    let shells = Shells::builtins();
    let written = match shells.completer(&name) {
        Some(shell) => shell.write_registration("COMPLETE", "gitmoor", "gitmoor", "gitmoor", &mut script),
        None => return Err(Failure::new(Exit::Usage, format!("no completions for {name}"))),
    };
    written.map_err(|error| Failure::io("cannot make the completions", &error))?;
    if terminal.is_json() {
        terminal.json(&json!({"shell": name, "script": String::from_utf8_lossy(&script)}));
    } else {
        terminal.raw(Style::Plain, script.trim_ascii_end());
    }
    Ok(Exit::Done)
}
