//! The fork's new tree: the merged templates with values, and the state that belongs to them.

use std::collections::{BTreeMap, HashMap};

use gitmoor_core::{
    init_state::{self, State, Template, Upstream as Remembered},
    setup_conf::SetupConf,
    template::{Matcher, is_binary, recover::recover, substitute},
};

use super::{
    fork::{Fork, covers, matcher},
    merge::{Stage, Templates},
    upstream::Upstream,
    values::Values,
};
use crate::{
    failure::{Exit, Failure},
    git::{Entry, Objects, TreeFiles},
};

/// What is to be written.
pub(super) struct Outcome {
    pub(super) tree: String,
    pub(super) conflicts: Vec<Stage>,
}

/// Puts the values into the merged templates. Writes objects, no files.
pub(super) fn fill(
    fork: &Fork,
    upstream: &Upstream,
    templates: Templates,
    values: &Values,
) -> Result<Outcome, Failure> {
    let Templates { tree, ours, base: _, conflicts, labels } = templates;
    let repository = &fork.repository;
    let mut filler = Filler {
        fork,
        matchers: values.parts.iter().map(|part| matcher(&part.all)).collect::<Result<_, _>>()?,
        objects: Objects::open(repository)?,
        ours: repository.files(&ours, &[])?,
        theirs: repository.files(&upstream.tree, &[])?,
        labels: [(labels[0].clone(), "the fork".to_owned()), (labels[1].clone(), upstream.name.clone())],
        moved: moved(fork, upstream, &ours)?,
    };
    let merged = repository.files(&tree, &[])?;
    let mut new = New { state: fork.state.clone(), ..New::default() };
    new.state.initialised.iter_mut().for_each(|section| section.files.clear());
    for (path, entry) in merged.iter().filter(|(path, entry)| entry.is_file() && fork.covers(path)) {
        filler.file(path, entry, &mut new)?;
    }
    add_to_setup_conf(fork, values, &merged, upstream, &mut filler.objects, &mut new)?;
    remember(fork, upstream, values, &mut new)?;

    let conflicts = filler.stages(conflicts)?;
    let ids = repository.write_blobs(new.texts.values().map(|(_, text)| text.as_slice()))?;
    let entries = new.texts.iter().zip(ids).map(|((path, (mode, _)), id)| (path, Entry { mode: mode.clone(), id }));
    let changes: Vec<_> = entries
        .map(|(path, entry)| (path.clone(), Some(entry)))
        .chain(new.unchanged.iter().map(|(path, entry)| (path.clone(), Some(entry.clone()))))
        .collect();
    Ok(Outcome { tree: repository.tree_with(&tree, &changes)?, conflicts })
}

/// What becomes different from the merged templates.
#[derive(Default)]
struct New {
    state: State,
    /// By path: mode and text.
    texts: BTreeMap<String, (String, Vec<u8>)>,
    /// Files that are taken from the fork as they are.
    unchanged: BTreeMap<String, Entry>,
}

struct Filler<'f> {
    fork: &'f Fork,
    matchers: Vec<Matcher>,
    objects: Objects,
    ours: TreeFiles,
    theirs: TreeFiles,
    /// What Git wrote into conflict markers, and what people can read there.
    labels: [(String, String); 2],
    /// Files that the fork has moved: to where, from where.
    moved: HashMap<String, String>,
}

fn moved(fork: &Fork, upstream: &Upstream, ours: &str) -> Result<HashMap<String, String>, Failure> {
    let changes = fork.repository.changes(&upstream.base_tree, Some(ours), &[])?;
    Ok(changes.into_iter().filter_map(|change| Some((change.path, change.from?))).collect())
}

impl Filler<'_> {
    fn file(&mut self, path: &str, entry: &Entry, new: &mut New) -> Result<(), Failure> {
        let template = self.objects.blob(&entry.id)?.unwrap_or_default();
        if is_binary(&template) {
            return Ok(());
        }
        let text = self.readable(self.filled(path, &template));
        let parts = new.state.initialised.iter_mut().zip(&self.fork.state.initialised).enumerate();
        for (index, (section, old)) in parts.filter(|(_, (_, old))| covers(old, path)) {
            let values = &self.matchers[index];
            if values.tokens_in(&template).is_empty() {
                continue;
            }
            let from = self.moved.get(path).map_or(path, String::as_str);
            let known = self.theirs.get(from).map(|entry| Template::Blob(entry.id.clone()));
            let mut kept = true;
            for candidate in known.into_iter().chain(old.files.get(path).cloned()) {
                let Some(candidate_text) = self.fork.template(&mut self.objects, path, &candidate)? else { continue };
                let places = substitute(&template, values).replaced.len();
                if recover(&candidate_text, values, &text).found() >= places {
                    kept = candidate == Template::Kept;
                    section.files.insert(path.to_owned(), candidate);
                    break;
                }
            }
            if kept {
                section.files.insert(path.to_owned(), Template::Kept);
                let kept = format!("{}/{path}", init_state::TEMPLATES);
                new.texts.insert(kept, ("100644".to_owned(), template.clone()));
            }
        }
        match self.fork.head.get(path) {
            // Only the fork has changed it: not even what looks like a placeholder in it is touched.
            Some(head) if self.ours.get(path) == Some(entry) && !self.has_new(&template) => {
                new.unchanged.insert(path.to_owned(), head.clone());
            }
            _ if text != template => drop(new.texts.insert(path.to_owned(), (entry.mode.clone(), text))),
            _ => {}
        }
        Ok(())
    }

    /// Whether a placeholder stands there that has got its value only now.
    fn has_new(&self, template: &[u8]) -> bool {
        let old = self.fork.known();
        self.matchers.iter().any(|values| values.tokens_in(template).iter().any(|token| !old.contains(token)))
    }

    fn filled(&self, path: &str, template: &[u8]) -> Vec<u8> {
        let mut text = template.to_vec();
        let parts = self.fork.state.initialised.iter().zip(&self.matchers);
        for (_, values) in parts.filter(|(section, _)| covers(section, path)) {
            text = substitute(&text, values).text.into_owned();
        }
        text
    }

    fn readable(&self, text: Vec<u8>) -> Vec<u8> {
        let labels = self.labels.iter().map(|(id, name)| (id.as_str(), name.as_str()));
        Matcher::new(labels).map_or(text.clone(), |labels| substitute(&text, &labels).text.into_owned())
    }

    /// The sides of the conflicts with values, so that every tool shows what a user knows.
    fn stages(&mut self, conflicts: Vec<Stage>) -> Result<Vec<Stage>, Failure> {
        let mut texts = Vec::new();
        let mut stages = Vec::new();
        for stage in conflicts {
            let is_ours = stage.side == 2 && self.ours.get(&stage.path) == Some(&stage.entry);
            if let Some(head) = self.fork.head.get(&stage.path).filter(|_| is_ours) {
                stages.push((Stage { entry: head.clone(), ..stage }, None));
            } else if stage.entry.is_file() && self.fork.covers(&stage.path) {
                let template = self.objects.blob(&stage.entry.id)?.unwrap_or_default();
                texts.push(if is_binary(&template) { template } else { self.filled(&stage.path, &template) });
                stages.push((stage, Some(texts.len() - 1)));
            } else {
                stages.push((stage, None));
            }
        }
        let ids = self.fork.repository.write_blobs(texts.iter().map(Vec::as_slice))?;
        let with_id = |(stage, index): (Stage, Option<usize>)| {
            let id = index.map_or(stage.entry.id.clone(), |index| ids[index].clone());
            Stage { entry: Entry { id, ..stage.entry.clone() }, ..stage }
        };
        Ok(stages.into_iter().map(with_id).collect())
    }
}

/// New values are written down where the next `init` looks for them.
fn add_to_setup_conf(
    fork: &Fork,
    values: &Values,
    merged: &TreeFiles,
    upstream: &Upstream,
    objects: &mut Objects,
    new: &mut New,
) -> Result<(), Failure> {
    for (section, part) in fork.state.initialised.iter().zip(&values.parts) {
        let Some(entry) = merged.get(&section.setup_conf).filter(|_| !part.to_be_added.is_empty()) else { continue };
        let mut text = objects.blob(&entry.id)?.unwrap_or_default();
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(format!("\n# New in {}\n", upstream.name).as_bytes());
        for (token, value) in part.to_be_added.iter().filter(|(_, value)| !value.contains('\n')) {
            text.extend_from_slice(format!("{token}={value}\n").as_bytes());
        }
        // Nothing may become unreadable by it.
        if SetupConf::parse(&text, &[]).is_ok() {
            new.texts.insert(section.setup_conf.clone(), (entry.mode.clone(), text));
        }
    }
    Ok(())
}

fn remember(fork: &Fork, upstream: &Upstream, values: &Values, new: &mut New) -> Result<(), Failure> {
    new.state.upstream = Some(Remembered { url: Some(upstream.url.clone()), commit: upstream.commit.clone() });
    for ((section, part), old) in new.state.initialised.iter_mut().zip(&values.parts).zip(&fork.values) {
        for (token, value) in part.all.iter().filter(|(token, _)| !old.contains_key(*token)) {
            section.set(token, value, part.secrets.contains(token));
        }
    }
    let text = new.state.text().map_err(|error| Failure::new(Exit::Input, "cannot write the state").because(&error))?;
    new.texts.insert(init_state::PATH.to_owned(), ("100644".to_owned(), text.into_bytes()));
    Ok(())
}
