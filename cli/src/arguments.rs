//! The command line, as clap reads it. Each command's own arguments stand in its file.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    commands::{
        bootstrap, completions, credentials, diff, doctor, explain, history, iam, init, lock, logs, plan, prune,
        refresh, rehearse, render, seal, secrets, status, suspend, sync, upgrade,
    },
    failure::EXIT_STATUS_HELP,
};

/// Turns a fork of a distribution into your repository, and shows what a cluster makes of it.
#[derive(Debug, Parser)]
#[command(name = "gitmoor", version, about, after_help = EXIT_STATUS_HELP, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command accepts.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// What to print on standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub(crate) output: Output,
    /// Print no messages, only errors, and what was asked for
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// A format of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// One JSON document, also for an error
    Json,
    /// A CloudFormation template, from `gitmoor iam`
    Cloudformation,
    /// A comment for a pull or merge request, from `gitmoor plan`
    Markdown,
}

/// The commands, in the order in which one meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Arguments),
    Upgrade(upgrade::Arguments),
    Seal(Box<seal::Arguments>),
    Credentials(Box<credentials::Arguments>),
    Iam(Box<iam::Arguments>),
    Render(Box<render::Arguments>),
    Lock(Box<lock::Arguments>),
    Plan(Box<plan::Arguments>),
    Rehearse(Box<rehearse::Arguments>),
    Bootstrap(Box<bootstrap::Arguments>),
    Status(Box<status::Arguments>),
    Explain(Box<explain::Arguments>),
    Diff(Box<diff::Arguments>),
    Sync(Box<sync::Arguments>),
    Refresh(Box<refresh::Arguments>),
    Suspend(Box<suspend::SuspendArguments>),
    Resume(Box<suspend::ResumeArguments>),
    History(Box<history::HistoryArguments>),
    Rollback(Box<history::RollbackArguments>),
    Prune(Box<prune::Arguments>),
    Secrets(Box<secrets::Arguments>),
    Logs(Box<logs::Arguments>),
    Doctor(Box<doctor::Arguments>),
    Uninstall(Box<bootstrap::UninstallArguments>),
    Completions(completions::Arguments),
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use clap::{CommandFactory, Parser, error::ErrorKind};

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// People paste what a message, a hint or an example names: from `gitmoor` to the end of the line or of the clause.
    #[test]
    fn every_command_that_is_named_to_people_can_be_pasted() {
        let commands: Vec<String> =
            Arguments::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let (mut tried, mut wrong) = (0, Vec::new());
        for file in sources() {
            let text = fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for literal in literals(text) {
                for line in named(&literal).filter(|line| commands.contains(&line[1])) {
                    tried += 1;
                    match Arguments::try_parse_from(&line) {
                        Err(error) if error.kind() != ErrorKind::DisplayHelp => {
                            wrong.push(format!("{}: {}", file.display(), line.join(" ")));
                        }
                        _ => {}
                    }
                }
            }
        }
        assert_eq!(wrong, [""; 0], "no command lines; prose goes on after a backtick, a comma or a semicolon");
        assert!(tried > 150, "{tried} command lines were found");
    }

    /// The same of the pages: their blocks of code, and what stands between backticks.
    #[test]
    fn every_command_of_the_pages_can_be_pasted() {
        let commands: Vec<String> =
            Arguments::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let (mut tried, mut wrong) = (0, Vec::new());
        for file in pages() {
            let text = fs::read_to_string(&file).unwrap();
            let (mut code, mut block) = (Vec::new(), false);
            for line in text.lines() {
                if line.trim_start().starts_with("```") {
                    block = !block;
                } else if block {
                    code.extend(line.split(" #").next().unwrap().split("&&").map(str::to_owned));
                } else {
                    // Two words are the name of a command, as prose has it.
                    let spans = line.split('`').skip(1).step_by(2).filter(|span| span.split(' ').count() > 2);
                    code.extend(spans.flat_map(|span| span.split("&&")).map(str::to_owned));
                }
            }
            for line in code.iter().flat_map(|code| named(code).collect::<Vec<_>>()) {
                if commands.contains(&line[1]) {
                    tried += 1;
                    let parsed = Arguments::try_parse_from(&line);
                    if parsed.is_err_and(|error| error.kind() != ErrorKind::DisplayHelp) {
                        wrong.push(format!("{}: {}", file.display(), line.join(" ")));
                    }
                }
            }
        }
        assert_eq!(wrong, [""; 0], "no command lines");
        assert!(tried > 120, "{tried} command lines were found");
    }

    fn pages() -> Vec<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        pages.chain([root.join("README.md"), root.join("distribution/README.md")]).collect()
    }

    /// The files of all crates whose words people read.
    fn sources() -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = ["cli/src", "core/src", "engine/src", "agent/src"]
            .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(folder))
            .into();
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.extension() {
                    _ if path.file_stem().is_some_and(|name| name == "tests") => {}
                    _ if path.is_dir() => folders.push(path),
                    Some(extension) if extension == "rs" => files.push(path),
                    _ => {}
                }
            }
        }
        files
    }

    /// What stands between quotes, but in no comment.
    fn literals(text: &str) -> Vec<String> {
        let (mut all, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['"', '/', '\'']) {
            let here = &rest[at..];
            if here.starts_with("//") {
                rest = here.split_once('\n').map_or("", |(_, next)| next);
            } else if let Some(next) = here.strip_prefix("'\"'") {
                rest = next;
            } else if let Some(inside) = here.strip_prefix('"') {
                let (mut literal, mut chars) = (String::new(), inside.char_indices());
                let end = loop {
                    match chars.next() {
                        Some((end, '"')) => break end,
                        None => return all,
                        Some((_, '\\')) => match chars.next() {
                            // The next line goes on where this one ends.
                            Some((end, '\n')) => {
                                let spaces = inside[end..].len() - inside[end..].trim_start().len();
                                for _ in 1..spaces {
                                    chars.next();
                                }
                            }
                            Some((_, 'n')) => literal.push('\n'),
                            Some((_, c)) => literal.push(c),
                            None => return all,
                        },
                        Some((_, c)) => literal.push(c),
                    }
                };
                all.push(literal);
                rest = &inside[end + 1..];
            } else {
                rest = &here[1..];
            }
        }
        all
    }

    /// The command lines in a text, with a word for everything that is put in.
    fn named(text: &str) -> impl Iterator<Item = Vec<String>> {
        // Comments of files and of examples are prose.
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let starts = lines.flat_map(|line| line.match_indices("gitmoor ").map(|(start, _)| &line[start..]));
        let line = |text: &str| -> Vec<String> {
            let end = text.find(['`', ',', ';', ')', '>', '|', '…']).unwrap_or(text.len());
            text[..end].split_whitespace().map(word).filter(|word| !word.is_empty()).collect()
        };
        starts.map(line).filter(|line| line.len() > 1).collect::<Vec<_>>().into_iter()
    }

    /// `{…}` alone is a name, and behind something else, a part that may be missing; capitals stand for a number or a name.
    fn word(text: &str) -> String {
        let mut word = String::new();
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once('{') {
            word.push_str(before);
            rest = inside.split_once('}').map_or("", |(_, after)| after);
            if word.is_empty() || word.ends_with('/') {
                word.push_str("name");
            }
        }
        word.push_str(rest);
        if word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_') { "1".to_owned() } else { word }
    }
}
