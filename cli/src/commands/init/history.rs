//! What Git and the state know about the files: their templates, the values that stand in them, and what
//! the user has not committed.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use gitmoor_core::{
    init_state::{self, Initialised, State, Template},
    setup_conf::SetupConf,
    template::{
        Matcher, Occurrence, Substitution,
        recover::{Recovered, recover},
        substitute,
    },
};

use super::{
    templates::{absent_templates, follow_renames, missing_templates},
    unsearchable,
};
use crate::{
    failure::{Exit, Failure},
    git::{Objects, Repository, TreeFiles},
};

/// Everything that is known about the files of one setup.conf.
pub(super) struct History {
    pub(super) repository: Repository,
    pub(super) state: State,
    /// What the state says about this setup.conf, as it is going to be.
    pub(super) section: Initialised,
    pub(super) uncommitted: HashSet<String>,
    committed: TreeFiles,
    objects: Objects,
    values: Values,
    /// Whose values look like secrets.
    secrets: HashSet<String>,
    /// Templates that no commit holds.
    pub(super) kept: BTreeMap<String, Vec<u8>>,
    /// Names that once had a value, and whose places keep it.
    pub(super) forgotten: Vec<String>,
    /// Files of the state that are no longer there.
    pub(super) gone: Vec<String>,
}

/// What stands in the files, and what is to stand there.
struct Values {
    old: Matcher,
    new: Matcher,
    /// The tokens whose value is another one now.
    changed: Option<Matcher>,
}

/// What is to become of a file.
pub(super) struct Outcome<'t> {
    pub(super) text: Cow<'t, [u8]>,
    /// The same for a diff in which values are masked.
    pub(super) shown: Option<Vec<u8>>,
    pub(super) replaced: Vec<Occurrence>,
    pub(super) left_over: Vec<Occurrence>,
    /// Places of changed values that the user has edited.
    pub(super) edited: Vec<Occurrence>,
}

impl<'t> Outcome<'t> {
    pub(super) fn new(substitution: Substitution<'t>) -> Self {
        let Substitution { text, replaced, left_over } = substitution;
        Self { text, shown: None, replaced, left_over, edited: Vec::new() }
    }
}

/// What the user named, as the repository has it.
pub(super) struct Scope {
    pub(super) setup_conf: String,
    pub(super) folders: Vec<String>,
    pub(super) also: Vec<String>,
}

impl History {
    /// Reads the state, and what Git has of the files in it. Touches nothing.
    pub(super) fn open(
        repository: Repository,
        state: State,
        scope: Scope,
        conf: &SetupConf,
        were: &[(String, String)],
    ) -> Result<Self, Failure> {
        let mut section = state.clone().of(&scope.setup_conf).clone();
        extend(&mut section.folders, scope.folders);
        extend(&mut section.also, scope.also);
        let paths = section.scope();
        let has_commit = repository.commit("HEAD").is_some();
        let committed = if has_commit { repository.files("HEAD", &paths)? } else { TreeFiles::new() };
        let uncommitted = repository.uncommitted(&paths)?;
        let is_there = |path: &str| repository.top().join(path).symlink_metadata().is_ok();
        let gone = follow_renames(&repository, &mut section, is_there, None)?;
        let (values, forgotten) = values(&section, conf, were)?;
        let objects = Objects::open(&repository)?;
        let secrets = conf.secret_values().iter().map(|(entry, _)| entry.token.clone()).collect();
        let kept = BTreeMap::new();
        let history = Self {
            repository,
            state,
            section,
            uncommitted,
            committed,
            objects,
            values,
            secrets,
            kept,
            forgotten,
            gone,
        };
        if history.values.changed.is_some() {
            history.require_templates()?;
        }
        Ok(history)
    }

    /// All templates must be there before the first file is written.
    fn require_templates(&self) -> Result<(), Failure> {
        let missing = absent_templates(&self.repository, &self.section)?;
        if missing.is_empty() { Ok(()) } else { Err(missing_templates(&self.repository, missing)) }
    }

    fn template(&mut self, path: &str, template: &Template) -> Option<Vec<u8>> {
        match template {
            Template::Kept => fs::read(self.repository.top().join(init_state::TEMPLATES).join(path)).ok(),
            Template::Blob(id) => self.objects.blob(id).ok().flatten(),
        }
    }

    /// A file with placeholders where their values stand, as far as they are found.
    pub(super) fn template_of(&mut self, path: &str, text: &[u8]) -> Vec<u8> {
        let known = self.section.files.get(path).cloned();
        let template = known.and_then(|known| self.template(path, &known));
        template.map_or_else(|| text.to_vec(), |template| self.recover(&template, text).template())
    }

    /// Whether the last commit has the file as it is in the work tree.
    fn is_clean(&self, path: &str) -> bool {
        self.committed.contains_key(path) && !self.uncommitted.contains(path)
    }

    /// What is to become of a file, and what the state is to say about it.
    pub(super) fn outcome<'t>(&mut self, path: &str, text: &'t [u8], shown: Option<&Matcher>) -> Outcome<'t> {
        let known = self.section.files.get(path).cloned();
        let template = known.as_ref().filter(|_| self.values.changed.is_some());
        let template = template.and_then(|template| self.template(path, template));
        let is_affected = |template: &Vec<u8>| {
            self.values.changed.as_ref().is_some_and(|changed| !changed.tokens_in(template).is_empty())
        };
        let Some(template) = template.filter(is_affected) else { return self.first(path, text, shown, known.as_ref()) };

        let recovered = self.recover(&template, text);
        let filled = recovered.fill(&self.values.new);
        let was_changed = |edited: &Occurrence| {
            self.values.changed.as_ref().is_some_and(|changed| changed.value(&edited.token).is_some())
        };
        let edited: Vec<_> = recovered.edited.iter().filter(|edited| was_changed(edited)).cloned().collect();
        let outcome = Outcome {
            shown: shown.map(|shown| recovered.fill_as(&self.values.new, shown)),
            text: Cow::Owned(filled.text.into_owned()),
            replaced: filled.replaced,
            left_over: filled.left_over,
            edited,
        };
        self.record(path, &recovered.template(), &outcome.text, &[(known, template)]);
        outcome
    }

    /// A run that was killed has left some files with the new values: those are right already.
    fn recover<'p>(&self, template: &[u8], text: &'p [u8]) -> Recovered<'p> {
        let with_old = recover(template, &self.values.old, text);
        if with_old.edited.is_empty() {
            return with_old;
        }
        let with_new = recover(template, &self.values.new, text);
        if with_new.edited.len() < with_old.edited.len() { with_new } else { with_old }
    }

    /// A file in which only its own placeholders count.
    fn first<'t>(
        &mut self,
        path: &str,
        text: &'t [u8],
        shown: Option<&Matcher>,
        known: Option<&Template>,
    ) -> Outcome<'t> {
        let mut outcome = Outcome::new(substitute(text, &self.values.new));
        if !outcome.replaced.is_empty() {
            outcome.shown = shown.map(|shown| substitute(text, shown).text.into_owned());
            self.record_first(path, text, &outcome.text, known);
        } else if known.is_none() && self.uncommitted.contains(path) {
            self.record_interrupted(path, text);
        }
        outcome
    }

    fn record_first(&mut self, path: &str, text: &[u8], new_text: &[u8], known: Option<&Template>) {
        let committed = self.committed.get(path).map(|entry| Template::Blob(entry.id.clone()));
        if known.is_none() && self.is_clean(path) {
            // What was in the file is what the last commit holds.
            self.section.files.extend(committed.map(|template| (path.to_owned(), template)));
            return;
        }
        let candidates: Vec<_> = known.cloned().into_iter().chain(committed).collect();
        let mut texts = Vec::new();
        for template in candidates {
            texts.extend(self.template(path, &template).map(|text| (Some(template), text)));
        }
        // The values that stand there already are found by the template that the state knows.
        let wanted = match texts.first() {
            Some((_, template)) if known.is_some() => self.recover(template, text).template(),
            _ => text.to_vec(),
        };
        self.record(path, &wanted, new_text, &texts);
    }

    /// A run that was killed before it wrote the state has left files whose template is the last commit.
    fn record_interrupted(&mut self, path: &str, text: &[u8]) {
        let Some(entry) = self.committed.get(path).cloned() else { return };
        let Ok(Some(template)) = self.objects.blob(&entry.id) else { return };
        let recovered = recover(&template, &self.values.new, text);
        if recovered.found() > 0 {
            let tokens: Vec<String> = recovered.tokens().map(str::to_owned).collect();
            self.section.files.insert(path.to_owned(), Template::Blob(entry.id));
            for token in tokens {
                self.set(&token);
            }
        }
    }

    /// Takes the first template by which every placeholder is found again; where there is none, keeps one.
    fn record(&mut self, path: &str, wanted: &[u8], new_text: &[u8], candidates: &[(Option<Template>, Vec<u8>)]) {
        let places = substitute(wanted, &self.values.new).replaced.len();
        let finds_all = |text: &[u8]| recover(text, &self.values.new, new_text).found() >= places;
        let found = candidates.iter().find(|(_, text)| finds_all(text)).and_then(|(template, _)| template.clone());
        let template = found.unwrap_or(Template::Kept);
        if template == Template::Kept {
            self.kept.insert(path.to_owned(), wanted.to_vec());
        }
        self.section.files.insert(path.to_owned(), template);
    }

    /// Records what stands for a token now.
    pub(super) fn set(&mut self, token: &str) {
        if let Some(value) = self.values.new.value(token)
            && self.section.values.get(token).is_none_or(|known| known != value)
        {
            let is_secret = self.secrets.contains(token) || self.section.withheld.contains_key(token);
            self.section.set(token, value, is_secret);
        }
    }

    /// The state after all of it was written: what changed has its new value.
    pub(super) fn finish(&mut self) -> State {
        let known: Vec<String> = self.section.values.keys().chain(self.section.withheld.keys()).cloned().collect();
        for token in known {
            self.set(&token);
        }
        let mut state = self.state.clone();
        *state.of(&self.section.setup_conf) = self.section.clone();
        if self.section.files.is_empty() && self.state.initialised.is_empty() { self.state.clone() } else { state }
    }

    /// Whether the file is just what the last run made of its template, or of what was committed, so that
    /// nothing uncommitted of the user's is in it.
    pub(super) fn is_own_work(&mut self, path: &str, text: &[u8]) -> bool {
        let is_text = |filled: &[u8]| *filled == *text;
        let section = self.state.initialised.iter().find(|one| one.setup_conf == self.section.setup_conf);
        let known = section.and_then(|section| section.files.get(path)).cloned();
        let template = known.and_then(|template| self.template(path, &template)).unwrap_or_default();
        if [&self.values.old, &self.values.new].iter().any(|values| is_text(&substitute(&template, values).text)) {
            return true;
        }
        self.of_last_commit(path).is_some_and(|(_, filled)| filled.iter().any(|filled| is_text(filled)))
    }

    /// What runs have written and no commit holds: files of the state that the last commit has with other values, or
    /// without. What else the user has changed in them goes along.
    pub(super) fn uncommitted_work(&mut self) -> Vec<String> {
        let is_there = |path: &&String| self.repository.top().join(path).symlink_metadata().is_ok();
        let files = self.section.files.keys().filter(|path| self.uncommitted.contains(*path)).filter(is_there);
        let mut files: Vec<String> = files.cloned().collect();
        files.retain(|path| self.of_last_commit(path).is_none_or(|(committed, [_, new])| committed != new));
        files
    }

    /// The file as the last commit has it, and the same with the old and with the new values in their places.
    fn of_last_commit(&mut self, path: &str) -> Option<(Vec<u8>, [Vec<u8>; 2])> {
        let committed = self.committed.get(path).cloned()?;
        let committed = self.objects.blob(&committed.id).ok()??;
        let known = self.at_last_commit(path);
        let Values { old, new, .. } = &self.values;
        let filled = match known {
            None => [old, new].map(|values| substitute(&committed, values).text.into_owned()),
            Some((template, values)) => {
                let recovered = recover(&template, &values, &committed);
                [old, new].map(|values| recovered.fill(values).text.into_owned())
            }
        };
        Some((committed, filled))
    }

    /// The template and the values that the file had when it was committed.
    fn at_last_commit(&mut self, path: &str) -> Option<(Vec<u8>, Matcher)> {
        let state = self.objects.blob(&format!("HEAD:{}", init_state::PATH)).ok()??;
        let mut state = State::parse(std::str::from_utf8(&state).ok()?).ok()?;
        let section = state.of(&self.section.setup_conf);
        let template = match section.files.get(path)? {
            Template::Blob(id) => self.objects.blob(id),
            Template::Kept => self.objects.blob(&format!("HEAD:{}/{path}", init_state::TEMPLATES)),
        };
        let values = section.values.iter().map(|(token, value)| (token.as_str(), value.as_str()));
        Some((template.ok()??, Matcher::new(values).ok()?))
    }

    /// The files, below what is worked on, that differ from the last commit.
    pub(super) fn uncommitted_files(&self) -> Vec<(String, PathBuf)> {
        let mut paths: Vec<_> = self.uncommitted.iter().filter(|path| self.section.covers(path)).cloned().collect();
        paths.sort();
        paths.into_iter().map(|path| (path.clone(), self.repository.top().join(path))).collect()
    }
}

fn extend(known: &mut Vec<String>, more: Vec<String>) {
    for path in more {
        if !known.contains(&path) {
            known.push(path);
        }
    }
}

/// Old and new values, and which names are no longer in setup.conf.
fn values(
    section: &Initialised,
    conf: &SetupConf,
    were: &[(String, String)],
) -> Result<(Values, Vec<String>), Failure> {
    let given = conf.entries().iter().map(|entry| (entry.token.as_str(), entry.value.as_str()));
    let were = were.iter().map(|(name, value)| (token(name), value.as_str())).collect::<Vec<_>>();
    let known = given.clone().chain(were.iter().map(|(token, value)| (token.as_str(), *value)));
    let (old, unknown) = section.values_with(known);
    if !unknown.is_empty() {
        return Err(unknown_secrets(unknown));
    }
    let mut new = old.clone();
    new.extend(given.map(|(token, value)| (token.to_owned(), value.to_owned())));
    let in_conf: HashSet<&str> = conf.entries().iter().map(|entry| entry.token.as_str()).collect();
    let forgotten = old.keys().filter(|token| !in_conf.contains(token.as_str())).cloned().collect();
    let changed: BTreeMap<_, _> = old
        .iter()
        .filter(|(token, value)| new.get(*token) != Some(*value))
        .map(|(t, v)| (t.clone(), v.clone()))
        .collect();
    let matcher = |values: &BTreeMap<String, String>| {
        Matcher::new(values.iter().map(|(token, value)| (token.as_str(), value.as_str()))).map_err(unsearchable)
    };
    let changed = if changed.is_empty() { None } else { Some(matcher(&changed)?) };
    Ok((Values { old: matcher(&old)?, new: matcher(&new)?, changed }, forgotten))
}

/// Values that the state does not repeat, and that nobody knows any more.
pub(crate) fn unknown_secrets(tokens: Vec<String>) -> Failure {
    let mut failure = Failure::new(
        Exit::Input,
        "values that look like secrets have changed, and the state does not repeat them; nothing was written",
    )
    .hint("say what they were: --was NAME=VALUE");
    failure.causes = tokens;
    failure
}

/// The token of a name as it may be given on the command line.
pub(crate) fn token(name: &str) -> String {
    use gitmoor_core::template;
    if template::is_conventional(name) { name.to_owned() } else { template::token(name) }
}

/// The path that leads to the top folder of the repository from here.
pub(super) fn from_here(repository: &Repository, path: &str) -> PathBuf {
    let here = Path::new(".").canonicalize().unwrap_or_default();
    if here == repository.top() { PathBuf::from(path) } else { repository.top().join(path) }
}
