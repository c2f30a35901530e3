//! What an upgrade brings, said before anything is written.

use std::collections::BTreeSet;

use gitmoor_core::{setup_conf::SetupConf, template::name};
use serde::Serialize;

use super::{
    Arguments,
    fork::Fork,
    merge::Templates,
    survey::{Names, Survey},
    upstream::Upstream,
};
use crate::{
    failure::Failure,
    git::Change,
    terminal::{Style, Terminal},
};

/// The version of the JSON document.
const FORMAT: u32 = 1;

/// For people and as JSON.
#[derive(Serialize)]
pub(super) struct Report<'s> {
    format: u32,
    upstream: &'s str,
    commit: &'s str,
    base: &'s str,
    commits: usize,
    components: &'s Names,
    placeholders: &'s Names,
    /// New placeholders without a value in the files or in setup.conf.
    needed: BTreeSet<&'s str>,
    /// Those that only components need which are off.
    not_needed: BTreeSet<&'s str>,
    files_changed_upstream: usize,
    /// Files that both sides changed, values apart.
    files_changed_on_both_sides: Vec<String>,
    conflicts: BTreeSet<&'s str>,
    /// Names whose value in setup.conf is not the one in the files.
    not_initialised: Vec<String>,
}

impl<'s> Report<'s> {
    pub(super) fn new(
        fork: &Fork,
        upstream: &'s Upstream,
        survey: &'s Survey,
        templates: &'s Templates,
    ) -> Result<Self, Failure> {
        let repository = &fork.repository;
        let ours = repository.changes(&templates.base, Some(&templates.ours), &[])?;
        let theirs = repository.changes(&upstream.base_tree, Some(&upstream.tree), &[])?;
        let origin = |change: &Change| change.from.clone().unwrap_or_else(|| change.path.clone());
        let by_us: BTreeSet<String> = ours.iter().map(origin).collect();
        let both: BTreeSet<String> = theirs.iter().map(origin).filter(|path| by_us.contains(path)).collect();
        let range = format!("{}..{}", upstream.base, upstream.commit);
        let commits = repository.text(&["rev-list", "--count", &range])?.parse().unwrap_or_default();
        let differs = fork.values.iter().zip(&fork.confs).flat_map(|(values, conf)| {
            let entries = conf.iter().flat_map(SetupConf::entries);
            entries.filter(|entry| values.get(&entry.token).is_some_and(|value| *value != entry.value))
        });
        Ok(Self {
            format: FORMAT,
            upstream: &upstream.name,
            commit: &upstream.commit,
            base: &upstream.base,
            commits,
            components: &survey.components,
            placeholders: &survey.placeholders,
            needed: survey.needed.iter().flatten().map(String::as_str).collect(),
            not_needed: survey.idle.iter().map(String::as_str).collect(),
            files_changed_upstream: theirs.len(),
            files_changed_on_both_sides: both.into_iter().collect(),
            conflicts: templates.conflicts.iter().map(|stage| stage.path.as_str()).collect(),
            not_initialised: differs.map(|entry| entry.token.clone()).collect(),
        })
    }

    pub(super) fn print(&self, arguments: &Arguments, terminal: &mut Terminal) {
        if !self.not_initialised.is_empty() {
            let names = self.not_initialised.join(", ");
            terminal.warning(&format!("setup.conf has another value than the files for {names}; `gitmoor init setup.conf` puts it there, before or after the upgrade"));
        }
        if terminal.is_json() {
            terminal.json(self);
        } else if !terminal.is_quiet() || arguments.dry_run {
            self.print_text(terminal);
        }
    }

    fn print_text(&self, terminal: &mut Terminal) {
        let Self { upstream, commits, files_changed_upstream, .. } = self;
        terminal.data(Style::Bold, &format!("{upstream}: {commits} commits, {files_changed_upstream} files changed"));
        print_names(terminal, "components", self.components, str::to_owned);
        print_names(terminal, "placeholders", self.placeholders, |token| name(token).to_owned());
        let off = self.not_needed.iter().map(|token| name(token));
        print_list(terminal, Style::Plain, "not needed: placeholders of components that are off", off);
        let lists = [("changed by you and upstream", &self.files_changed_on_both_sides, Style::Yellow)];
        for (title, files, style) in lists {
            print_list(terminal, style, title, files.iter().map(String::as_str));
        }
        print_list(terminal, Style::Red, "in conflict", self.conflicts.iter().copied());
    }
}

fn print_names(terminal: &mut Terminal, what: &str, names: &Names, show: impl Fn(&str) -> String) {
    let Names { added, removed, renamed } = names;
    let is_new = |name: &&String| !renamed.contains_key(*name);
    let is_gone = |name: &&String| !renamed.values().any(|old| old == *name);
    let lines = added.iter().filter(is_new).map(|name| format!("added: {}", show(name)));
    let lines = lines.chain(removed.iter().filter(is_gone).map(|name| format!("removed: {}", show(name))));
    let lines = lines.chain(renamed.iter().map(|(new, old)| format!("renamed: {} to {}", show(old), show(new))));
    let lines: Vec<String> = lines.collect();
    print_list(terminal, Style::Cyan, what, lines.iter().map(String::as_str));
}

fn print_list<'l>(terminal: &mut Terminal, style: Style, title: &str, lines: impl IntoIterator<Item = &'l str>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        terminal.data(style, title);
    }
    for line in lines {
        terminal.data(Style::Plain, &format!("  {line}"));
    }
}
