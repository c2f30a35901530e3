//! `gitmoor completions`: what a shell needs to complete this program's command lines.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    failure::Exit,
    terminal::{Style, Terminal},
};

/// Prints completions for a shell
///
/// The shell loads them from its startup file, for instance
/// `source <(gitmoor completions bash)` in ~/.bashrc.
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

/// Prints them on standard output.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Arguments::command(), "gitmoor", &mut script);
    terminal.raw(Style::Plain, script.trim_ascii_end());
    Exit::Done
}
