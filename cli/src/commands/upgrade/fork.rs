//! The fork: its last commit, and the same with placeholders in place of values.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use gitmoor_core::{
    init_state::{self, Initialised, State, Template},
    setup_conf::SetupConf,
    template::{Matcher, is_binary, recover::recover},
};

use super::Arguments;
use crate::{
    commands::init::{conf::Source, history, state_file, templates, unsearchable},
    failure::{Exit, Failure},
    git::{Entry, Objects, Repository, TreeFiles},
};

/// Everything about the fork that the upgrade needs.
pub(super) struct Fork {
    pub(super) repository: Repository,
    pub(super) state: State,
    pub(super) head: TreeFiles,
    /// What stands in the files, by token, for each part of the state.
    pub(super) values: Vec<BTreeMap<String, String>>,
    /// The setup.conf of each part, where there is one.
    pub(super) confs: Vec<Option<SetupConf>>,
}

impl Fork {
    /// Reads the fork in the current folder. Refuses one with uncommitted changes.
    pub(super) fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let repository = Repository::around(Path::new("."))?
            .ok_or_else(|| Failure::new(Exit::Refused, "this folder is not in a Git repository"))?;
        require_merge_tree(&repository)?;
        require_clean(&repository)?;
        let mut state = state_file::load(&repository)?;
        if state.initialised.is_empty() {
            return Err(Failure::new(Exit::Refused, format!("there is no {}; nothing was written", init_state::PATH))
                .hint(
                    "`gitmoor init setup.conf` makes it, and for a fork that was initialised by another tool: --adopt",
                ));
        }
        let head = repository.files("HEAD", &[])?;
        for section in &mut state.initialised {
            templates::follow_renames(&repository, section, |path| head.contains_key(path), Some("HEAD"))?;
            let absent = templates::absent_templates(&repository, section)?;
            if !absent.is_empty() {
                return Err(templates::missing_templates(&repository, absent));
            }
        }
        let (mut values, mut confs) = (Vec::new(), Vec::new());
        for section in &state.initialised {
            let conf = read_conf(&repository, section, arguments)?;
            values.push(values_in_files(section, conf.as_ref(), &arguments.was)?);
            confs.push(conf);
        }
        Ok(Self { repository, state, head, values, confs })
    }

    /// The parts of the state with the values that stand in their files.
    pub(super) fn parts(&self) -> impl DoubleEndedIterator<Item = (&Initialised, &BTreeMap<String, String>)> {
        self.state.initialised.iter().zip(&self.values)
    }

    /// All tokens that have a value.
    pub(super) fn known(&self) -> BTreeSet<&str> {
        self.values.iter().flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    /// Whether the path belongs to what is filled in.
    pub(super) fn covers(&self, path: &str) -> bool {
        self.state.initialised.iter().any(|section| covers(section, path))
    }

    /// The files whose values become placeholders again, as they then are.
    pub(super) fn templates(&self) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        let mut objects = Objects::open(&self.repository)?;
        let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        // What was put in last is taken out first.
        for (section, values) in self.parts().rev() {
            let values = matcher(values)?;
            for (path, template) in &section.files {
                let (Some(entry), Some(template)) = (self.head.get(path), self.template(&mut objects, path, template)?)
                else {
                    continue;
                };
                let text = match texts.remove(path) {
                    Some(text) => text,
                    None => objects.blob(&entry.id)?.unwrap_or_default(),
                };
                if entry.is_file() && !is_binary(&text) {
                    texts.insert(path.clone(), recover(&template, &values, &text).template());
                }
            }
        }
        Ok(texts)
    }

    /// The text of a template of the state.
    pub(super) fn template(
        &self,
        objects: &mut Objects,
        path: &str,
        template: &Template,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let id = match template {
            Template::Blob(id) => id,
            Template::Kept => match self.head.get(&format!("{}/{path}", init_state::TEMPLATES)) {
                Some(Entry { id, .. }) => id,
                None => return Ok(None),
            },
        };
        Ok(objects.blob(id)?)
    }
}

/// What `init` works on: the files of a part without setup.conf and its example.
pub(super) fn covers(section: &Initialised, path: &str) -> bool {
    let folder = section.setup_conf.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    let is_conf = path.strip_prefix(&folder).is_some_and(|name| matches!(name, "setup.conf" | "setup.conf.example"));
    section.covers(path) && !is_conf && path != section.setup_conf && !path.starts_with(init_state::FOLDER)
}

/// A matcher of these values.
pub(super) fn matcher(values: &BTreeMap<String, String>) -> Result<Matcher, Failure> {
    Matcher::new(values.iter().map(|(token, value)| (token.as_str(), value.as_str()))).map_err(unsearchable)
}

fn read_conf(
    repository: &Repository,
    section: &Initialised,
    arguments: &Arguments,
) -> Result<Option<SetupConf>, Failure> {
    let path = repository.top().join(&section.setup_conf);
    if !path.is_file() {
        return Ok(None);
    }
    let source = Source { path: &path, set: &arguments.set, set_file: &arguments.set_file };
    source.read().map(Some)
}

fn values_in_files(
    section: &Initialised,
    conf: Option<&SetupConf>,
    were: &[(String, String)],
) -> Result<BTreeMap<String, String>, Failure> {
    let given = conf.into_iter().flat_map(SetupConf::entries).map(|entry| (entry.token.clone(), entry.value.clone()));
    let were = were.iter().map(|(name, value)| (history::token(name), value.clone()));
    let known: Vec<_> = given.chain(were).collect();
    let (values, unknown) = section.values_with(known.iter().map(|(token, value)| (token.as_str(), value.as_str())));
    if unknown.is_empty() { Ok(values) } else { Err(history::unknown_secrets(unknown)) }
}

/// `git merge-tree --write-tree` came with Git 2.38.
fn require_merge_tree(repository: &Repository) -> Result<(), Failure> {
    let version = repository.text(&["version"])?;
    let numbers: Vec<u32> = version.split([' ', '.']).filter_map(|part| part.parse().ok()).collect();
    if matches!(numbers[..], [major, minor, ..] if (major, minor) >= (2, 38)) {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, format!("an upgrade needs Git 2.38 or newer; here is {version}")))
}

fn require_clean(repository: &Repository) -> Result<(), Failure> {
    if repository.commit("MERGE_HEAD").is_some() {
        return Err(Failure::new(Exit::Refused, "a merge has not been finished")
            .hint("resolve its conflicts and `git commit`, or go back with `git merge --abort`"));
    }
    let changed = repository.text(&["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"])?;
    let untracked = repository.text(&["status", "--porcelain", "--", init_state::FOLDER])?;
    if changed.is_empty() && untracked.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(Exit::Refused, "there are uncommitted changes; nothing was written")
        .hint("commit them first, or put them aside with `git stash`");
    let lines: BTreeSet<&str> = changed.lines().chain(untracked.lines()).map(str::trim_start).collect();
    failure.causes = lines.into_iter().map(str::to_owned).collect();
    Err(failure)
}
