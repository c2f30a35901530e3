//! The values of new placeholders: from setup.conf and the command line, asked for on a terminal, or
//! missing.

use std::collections::{BTreeMap, BTreeSet};

use gitmoor_core::{
    setup_conf::{Problems, SetupConf},
    template::name,
};

use super::{Arguments, fork::Fork, survey::Survey};
use crate::{
    commands::init::{
        conf::{Source, place},
        history,
    },
    failure::{Exit, Failure},
    git::Objects,
    terminal::{Style, Terminal},
};

/// What stands, and is to stand, in the files of each part of the state.
pub(super) struct Values {
    pub(super) parts: Vec<Part>,
    /// New placeholders without a value, with the old name whose value may be meant.
    pub(super) missing: BTreeMap<String, Option<String>>,
}

/// The values of one part.
#[derive(Default)]
pub(super) struct Part {
    pub(super) all: BTreeMap<String, String>,
    /// Those of new placeholders that look like secrets.
    pub(super) secrets: BTreeSet<String>,
    /// What setup.conf does not have yet.
    pub(super) to_be_added: BTreeMap<String, String>,
}

/// Finds a value for every new placeholder.
pub(super) fn complete(
    fork: &Fork,
    survey: &Survey,
    arguments: &Arguments,
    terminal: &mut Terminal,
) -> Result<Values, Failure> {
    let example = example(fork, survey)?;
    let mut values = Values { parts: Vec::new(), missing: BTreeMap::new() };
    for (index, needed) in survey.needed.iter().enumerate() {
        let mut finder = Finder { fork, survey, arguments, example: &example, terminal, index };
        let mut part = Part { all: fork.values[index].clone(), ..Part::default() };
        for token in needed {
            match finder.find(token) {
                Found::InConf(value) => drop(part.all.insert(token.clone(), value)),
                Found::Given(value) => drop(part.to_be_added.insert(token.clone(), value)),
                Found::Nowhere(suggestion) => drop(values.missing.insert(token.clone(), suggestion)),
            }
        }
        finder.check(&mut part)?;
        values.parts.push(part);
    }
    Ok(values)
}

/// The comments of the new setup.conf.example: they say what a value should be.
fn example(fork: &Fork, survey: &Survey) -> Result<String, Failure> {
    let path = fork.state.initialised.iter().map(|section| {
        let folder = section.setup_conf.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
        format!("{folder}setup.conf.example")
    });
    let Some(entry) = path.into_iter().find_map(|path| survey.theirs.get(&path)) else { return Ok(String::new()) };
    let text = Objects::open(&fork.repository)?.blob(&entry.id)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

enum Found {
    InConf(String),
    Given(String),
    Nowhere(Option<String>),
}

struct Finder<'a> {
    fork: &'a Fork,
    survey: &'a Survey,
    arguments: &'a Arguments,
    example: &'a str,
    terminal: &'a mut Terminal,
    index: usize,
}

impl Finder<'_> {
    fn find(&mut self, token: &str) -> Found {
        let Arguments { set, set_file, accept_suggestions, dry_run, .. } = self.arguments;
        if let Some((_, value)) = set.iter().find(|(name, _)| history::token(name) == token) {
            return Found::Given(value.clone());
        }
        let in_conf =
            self.fork.confs[self.index].iter().flat_map(SetupConf::entries).find(|entry| entry.token == token);
        if let Some(entry) = in_conf {
            let is_given = set_file.iter().any(|(name, _)| history::token(name) == token);
            return if is_given { Found::Given(entry.value.clone()) } else { Found::InConf(entry.value.clone()) };
        }
        let old_name = self.survey.placeholders.renamed.get(token);
        let suggestion = old_name.and_then(|old| self.fork.values[self.index].get(old));
        if let (Some(value), true) = (suggestion, *accept_suggestions) {
            return Found::Given(value.clone());
        }
        if !*dry_run && self.terminal.can_ask() {
            return self.ask(token, suggestion.cloned());
        }
        Found::Nowhere(old_name.cloned())
    }

    fn ask(&mut self, token: &str, suggestion: Option<String>) -> Found {
        for line in comment(self.example, token) {
            self.terminal.message(line);
        }
        let offer = suggestion.as_ref().map(|value| format!(" [{value}]")).unwrap_or_default();
        match self.terminal.ask(&format!("{token}{offer}: ")) {
            Some(answer) if !answer.is_empty() => Found::Given(answer),
            _ => suggestion.map_or(Found::Nowhere(None), Found::Given),
        }
    }

    /// New values as setup.conf would have them: names in them expanded, secrets refused, doubts said.
    fn check(&mut self, part: &mut Part) -> Result<(), Failure> {
        let section = &self.fork.state.initialised[self.index];
        let path = self.fork.repository.top().join(&section.setup_conf);
        let set: Vec<_> = part.to_be_added.clone().into_iter().collect();
        let text = std::fs::read(&path).unwrap_or_default();
        let overrides = set
            .iter()
            .map(|(name, value)| gitmoor_core::setup_conf::Override { name: name.clone(), value: value.clone() });
        let conf = SetupConf::parse(&text, &overrides.collect::<Vec<_>>()).map_err(|Problems(problems)| {
            let mut failure = Failure::new(Exit::Input, "the new values are wrong; nothing was written");
            failure.causes = problems.iter().map(ToString::to_string).collect();
            failure
        })?;
        let source = Source { path: &path, set: &[], set_file: &[] };
        let is_new = |token: &str| self.survey.needed[self.index].contains(token);
        let secrets = conf.secret_values();
        if secrets.iter().any(|(entry, _)| is_new(&entry.token)) {
            source.refuse_secrets(&conf, self.arguments.allow_secret_values)?;
        }
        part.secrets = secrets.iter().map(|(entry, _)| entry.token.clone()).filter(|token| is_new(token)).collect();
        for warning in conf.doubtful_values(self.example).iter().filter(|warning| is_new(&warning.token)) {
            let at = place(&path, warning.place);
            self.terminal.warning(&format!("{at}: {} {}", warning.token, warning.kind));
        }
        for entry in conf.entries().iter().filter(|entry| part.to_be_added.contains_key(&entry.token)) {
            part.all.insert(entry.token.clone(), entry.value.clone());
        }
        Ok(())
    }
}

/// The comment above a placeholder in setup.conf.example.
fn comment<'e>(example: &'e str, token: &str) -> Vec<&'e str> {
    let mut comment = Vec::new();
    for line in example.lines() {
        if line.starts_with('#') {
            comment.push(line);
        } else if line.split_once('=').is_some_and(|(name, _)| name == token) {
            return comment;
        } else {
            comment.clear();
        }
    }
    Vec::new()
}

impl Values {
    /// Says what has to be given before the upgrade can be done.
    pub(super) fn list_missing(&self, terminal: &mut Terminal) {
        if !terminal.is_json() {
            terminal.data(Style::Yellow, "missing: new placeholders without a value");
            for (token, old_name) in &self.missing {
                let hint = old_name.as_ref().map(|old| format!(", which was {old}")).unwrap_or_default();
                terminal.data(Style::Plain, &format!("  {token}{hint}"));
            }
        }
        let example = self.missing.keys().next().map_or("name", |token| name(token));
        terminal.message("nothing was written: put these names into setup.conf and commit it,");
        terminal.message(&format!(
            "or give the values here: --set {example}=VALUE; --accept-suggestions takes the old ones"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_above_a_placeholder() {
        let example = "# Title\n\n# One\n# line more\n<<__a__>>=1\n<<__b__>>=2\n";
        assert_eq!(comment(example, "<<__a__>>"), ["# One", "# line more"]);
        assert_eq!(comment(example, "<<__b__>>"), [""; 0]);
    }
}
