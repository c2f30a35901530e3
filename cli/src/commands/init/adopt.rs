//! `--adopt`: the state of a fork that another tool has initialised, from the upstream commit that it was
//! made from and the setup.conf. Writes the state and nothing else.

use std::{fs, path::PathBuf};

use gitmoor_core::{
    init_state::{Initialised, Template, Upstream},
    setup_conf::SetupConf,
    template::{Matcher, Position, is_binary, recover::recover},
};
use serde::Serialize;

use super::{Arguments, arguments::Mode, from_here, setup_conf_in, state_file, unsearchable};
use crate::{
    failure::{Exit, Failure},
    fork_folder::of_fork,
    git::{Objects, Repository, TreeFiles},
    terminal::{Style, Terminal},
};

/// What was found, for people and as JSON.
#[derive(Debug, Default, Serialize)]
struct Report {
    upstream_commit: String,
    files: usize,
    found: usize,
    /// Places that hold something else than the value.
    not_placed: Vec<NotPlaced>,
    /// Places in lines, or files, that the fork no longer has.
    removed: usize,
}

#[derive(Debug, Serialize)]
struct NotPlaced {
    path: String,
    placeholder: String,
    #[serde(flatten)]
    position: Position,
    /// Where it stands in the upstream file.
    upstream: Position,
}

/// Finds the placeholders of the upstream commit in the files as they are now.
pub(super) fn run(conf: &SetupConf, arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let folder = arguments.distribution.first().cloned().unwrap_or_else(|| of_fork("distribution"));
    let repository = Repository::around(&folder)?.ok_or_else(|| {
        Failure::new(
            Exit::Refused,
            format!("{} is not in a Git repository; there is nothing to adopt", folder.display()),
        )
    })?;
    let commit = upstream_commit(&repository, arguments)?;
    let state = state_file::load(&repository)?;
    let setup_conf = setup_conf_in(&repository, &arguments.setup_conf);
    let named = if arguments.distribution.is_empty() { std::slice::from_ref(&folder) } else { &arguments.distribution };
    let inside = |paths: &[PathBuf]| paths.iter().filter_map(|path| repository.relative(path)).collect();
    let section =
        Initialised { setup_conf, folders: inside(named), also: inside(&arguments.also), ..Initialised::default() };

    let mut adoption = Adoption::new(repository, conf, section)?;
    adoption.report.upstream_commit.clone_from(&commit);
    adoption.find(&commit)?;
    let Adoption { repository, section, report, .. } = adoption;
    if arguments.mode() == Mode::Write {
        let mut new = state.clone();
        let setup_conf = section.setup_conf.clone();
        *new.of(&setup_conf) = section;
        new.upstream =
            Some(Upstream { url: state.upstream.as_ref().and_then(|upstream| upstream.url.clone()), commit });
        state_file::save(&repository, &state, &new, &[])?;
    }
    report.print(arguments, terminal);
    Ok(if report.not_placed.is_empty() || arguments.allow_missing { Exit::Done } else { Exit::Findings })
}

fn upstream_commit(repository: &Repository, arguments: &Arguments) -> Result<String, Failure> {
    let Some(name) = &arguments.upstream_commit else {
        let heads = ["upstream/HEAD", "upstream/main", "upstream/master"];
        return heads.into_iter().find_map(|head| repository.ask(&["merge-base", "HEAD", head])).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "the upstream commit is not known: there is no remote `upstream` that was fetched",
            )
            .hint("name the commit that the fork was made from: --upstream-commit COMMIT")
        });
    };
    repository.commit(name).ok_or_else(|| {
        Failure::new(Exit::Input, format!("this clone has no commit {name}"))
            .hint("fetch it from upstream first: git fetch URL-OF-UPSTREAM")
    })
}

struct Adoption<'c> {
    repository: Repository,
    conf: &'c SetupConf,
    matcher: Matcher,
    objects: Objects,
    section: Initialised,
    report: Report,
}

impl<'c> Adoption<'c> {
    fn new(repository: Repository, conf: &'c SetupConf, section: Initialised) -> Result<Self, Failure> {
        let matcher = conf.matcher().map_err(unsearchable)?;
        let objects = Objects::open(&repository)?;
        Ok(Self { repository, conf, matcher, objects, section, report: Report::default() })
    }

    fn find(&mut self, commit: &str) -> Result<(), Failure> {
        let paths = self.section.scope();
        let files: TreeFiles = self.repository.files(commit, &paths)?;
        let changes = self.repository.changes(commit, None, &paths)?;
        let own = ["setup.conf", "setup.conf.example"];
        for (path, entry) in files.into_iter().filter(|(_, entry)| entry.is_file()) {
            if own.iter().any(|own| path.ends_with(own)) || path == self.section.setup_conf {
                continue;
            }
            let moved = changes.iter().find(|change| change.from.as_ref() == Some(&path));
            let path = moved.map_or(path, |change| change.path.clone());
            self.find_in(path, entry.id)?;
        }
        Ok(())
    }

    fn find_in(&mut self, path: String, template_id: String) -> Result<(), Failure> {
        let template = self.objects.blob(&template_id)?.unwrap_or_default();
        if is_binary(&template) || self.matcher.tokens_in(&template).is_empty() {
            return Ok(());
        }
        let Ok(present) = fs::read(from_here(&self.repository, &path)) else {
            self.report.removed += self.matcher.tokens_in(&template).len();
            return Ok(());
        };
        let recovered = recover(&template, &self.matcher, &present);
        self.report.files += 1;
        self.report.found += recovered.found();
        self.report.removed += recovered.removed;
        // Tokens that still stand there as such were never replaced: `init` will.
        let text = String::from_utf8_lossy(&present);
        let not_placed = recovered.edited.iter().filter(|edited| !text.contains(&edited.token));
        self.report.not_placed.extend(not_placed.map(|edited| NotPlaced {
            path: path.clone(),
            placeholder: edited.token.clone(),
            position: edited.after,
            upstream: edited.before,
        }));
        let secrets = self.conf.secret_values();
        for entry in self.conf.entries().iter().filter(|entry| recovered.tokens().any(|token| token == entry.token)) {
            let is_secret = secrets.iter().any(|(secret, _)| secret.token == entry.token);
            self.section.set(&entry.token, &entry.value, is_secret);
        }
        self.section.files.insert(path, Template::Blob(template_id));
        Ok(())
    }
}

impl Report {
    fn print(&self, arguments: &Arguments, terminal: &mut Terminal) {
        if terminal.is_json() {
            terminal.json(self);
        } else if !self.not_placed.is_empty() {
            terminal.data(Style::Yellow, "not placed: here stands something else than the value in setup.conf");
            for NotPlaced { path, placeholder, position, upstream } in &self.not_placed {
                terminal.data(Style::Plain, &format!("  {path}:{position}: {placeholder} (upstream {upstream})"));
            }
        }
        let Self { files, found, removed, not_placed, .. } = self;
        let done = if arguments.mode() == Mode::Write { "adopted" } else { "would adopt" };
        let not_placed = not_placed.len();
        terminal.message(&format!(
            "{done} {found} placeholders in {files} files; {not_placed} not placed, {removed} in lines or files that are gone"
        ));
        if not_placed > 0 {
            terminal.message("a changed value will not reach those places; put the value of setup.conf there and adopt again, or change them by hand");
        }
    }
}
