//! What `gitmoor init` found and did, for people and as JSON.

mod findings;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use gitmoor_core::{
    setup_conf::{Entry, SetupConf, Warning},
    template::name,
};
use serde::{Serialize, Serializer};

use findings::{Finding, Named, counted, finding, suggest};

use super::{
    arguments::{Arguments, Mode},
    conf::place,
    display,
};
use crate::{
    failure::Exit,
    terminal::{Style, Terminal},
    work_tree::FileError,
};

pub(super) use findings::FileReport;

/// The version of the JSON document; it grows when a reader of the old one could be misled.
const FORMAT: u32 = 1;

/// Everything that there is to say.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    format: u32,
    mode: Mode,
    setup_conf: String,
    files: Vec<FileReport>,
    /// Placeholders without a value in values of setup.conf.
    left_over_in_setup_conf: Vec<Finding>,
    unused: Vec<Named>,
    /// Names whose values are still the example's, and were made up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    made_up: Vec<Named>,
    /// Names that had a value in an earlier run, and whose places keep it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) forgotten: Vec<String>,
    pub(super) warnings: Vec<String>,
    #[serde(serialize_with = "messages")]
    pub(super) errors: Vec<FileError>,
    pub(super) totals: Totals,
    /// By token; filled where values may be shown.
    #[serde(skip)]
    values: HashMap<String, String>,
    /// Tokens that stand, or stood, in files.
    #[serde(skip)]
    pub(super) found: HashSet<String>,
}

/// How many there were of each.
#[derive(Debug, Default, Serialize)]
pub(super) struct Totals {
    files: usize,
    pub(super) binary: usize,
    pub(super) links: usize,
    pub(super) changed: usize,
    replaced: usize,
    left_over: usize,
    #[serde(skip_serializing_if = "is_zero")]
    not_needed: usize,
}

fn messages<S: Serializer>(errors: &[FileError], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(errors.iter().map(message))
}

fn message(error: &FileError) -> String {
    format!("{error}: {}", error.source)
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Report {
    pub(super) fn new(conf: &SetupConf, example: &str, arguments: &Arguments) -> Self {
        let path = &arguments.setup_conf;
        let mut warnings = conf.warnings().to_vec();
        warnings.extend(conf.doubtful_values(example));
        warnings.sort_by_key(|warning| warning.place);
        let warnings =
            warnings.iter().map(|Warning { place: at, token, kind }| format!("{}: {token} {kind}", place(path, *at)));
        let in_conf = conf.left_over().iter().map(|found| finding(found.token.clone(), found.before));
        let pair = |entry: &Entry| (entry.token.clone(), entry.value.clone());
        let mut report = Self {
            format: FORMAT,
            mode: arguments.mode(),
            setup_conf: display(path),
            files: Vec::new(),
            left_over_in_setup_conf: in_conf.collect(),
            unused: Vec::new(),
            made_up: Vec::new(),
            forgotten: Vec::new(),
            warnings: warnings.collect(),
            errors: Vec::new(),
            totals: Totals { left_over: conf.left_over().len(), ..Totals::default() },
            values: if arguments.show_values { conf.entries().iter().map(pair).collect() } else { HashMap::new() },
            found: HashSet::new(),
        };
        suggest(&mut report.left_over_in_setup_conf, conf);
        report
    }

    /// Takes up what was found in one file.
    pub(super) fn add(&mut self, mut file: FileReport, conf: &SetupConf) {
        self.totals.files += 1;
        self.totals.changed += usize::from(file.changed);
        self.totals.replaced += file.replaced.len();
        self.totals.left_over += file.left_over.len();
        suggest(&mut file.left_over, conf);
        for replaced in &mut file.replaced {
            replaced.value = self.values.get(&replaced.placeholder).cloned();
            if !self.found.contains(&replaced.placeholder) {
                self.found.insert(replaced.placeholder.clone());
            }
        }
        if !(file.replaced.is_empty() && file.left_over.is_empty() && file.edited.is_empty()) {
            self.files.push(file);
        }
    }

    /// Where placeholders without a value were found.
    pub(super) fn has_left_over(&self) -> bool {
        self.totals.left_over > 0
    }

    /// Takes those out of the placeholders without a value that stand in files which nothing reads.
    pub(super) fn set_apart(&mut self, is_read: impl Fn(&Path) -> bool) {
        for file in self.files.iter_mut().filter(|file| !file.left_over.is_empty() && !is_read(Path::new(&file.path))) {
            file.not_needed = std::mem::take(&mut file.left_over);
            self.totals.left_over -= file.not_needed.len();
            self.totals.not_needed += file.not_needed.len();
        }
    }

    /// What can only be said when all files have been seen.
    pub(super) fn finish(&mut self, conf: &SetupConf) {
        let unused = conf.unused(|token| self.found.contains(token));
        self.unused = self.named(&unused);
    }

    /// Takes up the entries that are still the example's.
    pub(super) fn take_made_up(&mut self, entries: &[&Entry]) {
        self.made_up = self.named(entries);
    }

    fn named(&self, entries: &[&Entry]) -> Vec<Named> {
        let path = Path::new(&self.setup_conf);
        let named = |entry: &&Entry| Named { placeholder: entry.token.clone(), place: place(path, entry.place) };
        entries.iter().map(named).collect()
    }

    /// How the program ends because of it.
    pub(super) fn exit(&self, allow_missing: bool) -> Exit {
        if !self.errors.is_empty() {
            Exit::Io
        } else if self.totals.left_over > 0 && !allow_missing {
            Exit::Findings
        } else {
            Exit::Done
        }
    }

    /// Says it: as the one document of `--output json`, or for people, grouped by file. Beside a diff on
    /// standard output the report goes to standard error.
    pub(super) fn print(&self, terminal: &mut Terminal) {
        for warning in &self.warnings {
            terminal.warning(warning);
        }
        if terminal.is_json() {
            terminal.json(self);
        } else {
            self.print_replaced(terminal);
            self.print_left_over(terminal);
            self.print_not_needed(terminal);
            self.print_edited(terminal);
            self.print_forgotten(terminal);
            self.print_unused(terminal);
            self.print_made_up(terminal);
        }
        for error in &self.errors {
            terminal.error(&message(error));
        }
        terminal.message(&self.summary());
    }

    fn line(&self, terminal: &mut Terminal, style: Style, line: &str) {
        match self.mode {
            Mode::Write | Mode::Check => terminal.data(style, line),
            Mode::DryRun => terminal.message(line),
        }
    }

    fn print_replaced(&self, terminal: &mut Terminal) {
        if terminal.is_quiet() || self.totals.replaced == 0 {
            return;
        }
        self.line(terminal, Style::Bold, if self.mode == Mode::Write { "replaced" } else { "would be replaced" });
        for file in self.files.iter().filter(|file| !file.replaced.is_empty()) {
            self.line(terminal, Style::Plain, &format!("  {}: {}", file.path, counted(&file.replaced)));
            for Finding { placeholder, position, value, .. } in &file.replaced {
                if let Some(value) = value {
                    self.line(terminal, Style::Plain, &format!("    {position} {placeholder} = {value}"));
                }
            }
        }
    }

    fn print_left_over(&self, terminal: &mut Terminal) {
        if self.totals.left_over == 0 {
            return;
        }
        self.line(terminal, Style::Yellow, "left over: placeholders without a value");
        let in_conf = [(&self.setup_conf, &self.left_over_in_setup_conf)];
        let in_files = self.files.iter().map(|file| (&file.path, &file.left_over));
        for (path, left_over) in in_conf.into_iter().chain(in_files) {
            for Finding { placeholder, position, did_you_mean, .. } in left_over {
                let hint = did_you_mean.as_ref().map(|known| format!(", did you mean {known}?")).unwrap_or_default();
                self.line(terminal, Style::Plain, &format!("  {path}:{position}: {placeholder}{hint}"));
            }
        }
    }

    /// By name: their values are asked for when the component is selected.
    fn print_not_needed(&self, terminal: &mut Terminal) {
        if terminal.is_quiet() || self.totals.not_needed == 0 {
            return;
        }
        self.line(
            terminal,
            Style::Plain,
            "without a value, and not needed: nothing that is selected reads these files",
        );
        for file in self.files.iter().filter(|file| !file.not_needed.is_empty()) {
            self.line(terminal, Style::Plain, &format!("  {}: {}", file.path, counted(&file.not_needed)));
        }
    }

    fn print_edited(&self, terminal: &mut Terminal) {
        if self.files.iter().all(|file| file.edited.is_empty()) {
            return;
        }
        self.line(terminal, Style::Yellow, "edited: places that no longer hold the value, and are left as they are");
        for file in &self.files {
            for Finding { placeholder, position, .. } in &file.edited {
                self.line(terminal, Style::Plain, &format!("  {}:{position}: {placeholder}", file.path));
            }
        }
    }

    fn print_forgotten(&self, terminal: &mut Terminal) {
        if terminal.is_quiet() || self.forgotten.is_empty() {
            return;
        }
        self.line(terminal, Style::Yellow, "no longer in setup.conf: names whose places keep the value that they have");
        for token in &self.forgotten {
            self.line(terminal, Style::Plain, &format!("  {token}"));
        }
    }

    /// The files that were written.
    pub(super) fn written(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter(|file| file.changed).map(|file| file.path.as_str())
    }

    /// What the commit is about; no values. The name of setup.conf is the repository's, and not this machine's.
    pub(super) fn commit_message(&self, setup_conf: &str) -> String {
        let Totals { changed, replaced, .. } = self.totals;
        let tokens: std::collections::BTreeSet<&str> =
            self.files.iter().flat_map(|file| &file.replaced).map(|found| name(&found.placeholder)).collect();
        let names: Vec<&str> = tokens.into_iter().collect();
        if replaced == 0 {
            return format!("Put the values of {setup_conf} in place\n");
        }
        let names = wrapped(&names.join(", "));
        format!("Put the values of {setup_conf} in place\n\n{replaced} places in {changed} files:\n{names}\n")
    }

    /// A tree that is initialised already would make every name a finding.
    fn print_unused(&self, terminal: &mut Terminal) {
        if terminal.is_quiet() || self.unused.is_empty() || self.totals.replaced == 0 {
            return;
        }
        self.line(terminal, Style::Yellow, "unused: names that stand in no file");
        for Named { placeholder, place } in &self.unused {
            self.line(terminal, Style::Plain, &format!("  {place}: {placeholder}"));
        }
    }

    /// Once, for all of them: whoever only tries things out has many.
    fn print_made_up(&self, terminal: &mut Terminal) {
        if terminal.is_quiet() || self.made_up.is_empty() {
            return;
        }
        self.line(
            terminal,
            Style::Yellow,
            "made up: values that are still those of setup.conf.example, and are nobody's",
        );
        for Named { placeholder, place } in &self.made_up {
            self.line(terminal, Style::Plain, &format!("  {place}: {placeholder}"));
        }
    }

    fn summary(&self) -> String {
        let Totals { files, binary: _, links: _, changed, replaced, left_over, not_needed } = self.totals;
        if replaced == 0 && left_over == 0 && not_needed == 0 && self.errors.is_empty() {
            return format!("nothing to replace in {files} files: none holds a placeholder (any more)");
        }
        let (change, done) = match self.mode {
            Mode::Write => ("changed", "replaced"),
            Mode::Check | Mode::DryRun => ("would change", "to replace"),
        };
        let apart = if not_needed > 0 { format!(", {not_needed} not needed") } else { String::new() };
        format!("{change} {changed} of {files} files; {replaced} placeholders {done}, {left_over} left over{apart}")
    }
}

/// Lines as Git's commands show them well.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 72;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
