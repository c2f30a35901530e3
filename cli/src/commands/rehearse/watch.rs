//! `gitmoor rehearse --watch`: whatever is saved is synced into the running API server.
//!
//! ```text
//! save -(another tree?)-> files -render what the change reads-> changes, told -publish-> the agent syncs
//!   looks at the Applications -> what goes wrong, what comes right -(nothing left to do)-> what it took
//! ```

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use gitmoor_core::tracking::ApplicationKey;
use serde_json::{Value, json};

use super::{
    Arguments,
    findings::{Finding, Findings},
    saves::{Saved, Saves},
    stage::Stage,
    tree::{Files, NOT_RENDERED, Tree, Versioned},
};
use crate::{
    commands::plan::Changes,
    failure::{Exit, Failure},
    fleet::{Fleet, Prepared, Surveyor},
    terminal::{Style, Terminal},
};

/// Time between two looks while the agent works.
const LOOK: Duration = Duration::from_millis(100);
/// The same while nothing is to be done: the cluster may change by itself.
const IDLE_LOOK: Duration = Duration::from_secs(3);
/// Looks in a row at which all is done: a parent's children are worked on a moment after it.
const SURE: u32 = 2;
/// The category of root Applications that cannot be read.
const ROOT: &str = "RootUnreadable";
/// Paths of a save that are named.
const MOST_PATHS: usize = 5;

/// A rehearsal that goes on.
pub(super) struct Watch<'a> {
    arguments: &'a Arguments,
    prepared: &'a Prepared,
    surveyor: Surveyor,
    stage: Stage,
    /// What the agent was given last.
    files: Files,
    /// Every Application as its last complete render had it.
    fleet: Fleet,
    /// What can be told from the files alone.
    local: BTreeSet<Finding>,
    versions: BTreeSet<Versioned>,
    /// Objects in deprecated versions.
    deprecated: BTreeSet<Finding>,
    findings: Findings,
    /// What was told, and is still so.
    told: BTreeSet<Finding>,
    round: Option<Round>,
    /// Renders of the agent until the last round.
    renders: u64,
}

/// A sync that is under way.
struct Round {
    saved: Instant,
    /// Applications that have to become Synced and Healthy, or say why not.
    staying: BTreeSet<ApplicationKey>,
    /// Those that have to go, or be kept for a reason.
    going: BTreeSet<ApplicationKey>,
    /// Applications that did not render before: until the agent has looked, it says so still.
    healing: BTreeSet<String>,
    /// When all was done first, and for how many looks.
    done: Option<(Instant, u32)>,
    state: String,
    changed: Instant,
}

impl Round {
    fn new(saved: Instant, staying: BTreeSet<ApplicationKey>, going: BTreeSet<ApplicationKey>) -> Self {
        let healing = BTreeSet::new();
        Self { saved, staying, going, healing, done: None, state: String::new(), changed: Instant::now() }
    }
}

impl<'a> Watch<'a> {
    /// With a stage on which the agent has begun.
    pub(super) fn new(
        arguments: &'a Arguments,
        prepared: &'a Prepared,
        surveyor: Surveyor,
        stage: Stage,
        files: Files,
        tree: Tree,
    ) -> Self {
        let round = Round::new(Instant::now(), tree.known(), BTreeSet::new());
        let versions = tree.versions();
        let Tree { fleet, findings: local, .. } = tree;
        Self {
            arguments,
            prepared,
            surveyor,
            stage,
            files,
            fleet,
            local,
            versions,
            deprecated: BTreeSet::new(),
            findings: Findings::default(),
            told: BTreeSet::new(),
            round: Some(round),
            renders: 0,
        }
    }

    /// Goes on until a part of the stage ends, which is a failure.
    pub(super) async fn follow(mut self, mut saves: Saves, terminal: &mut Terminal) -> Result<Exit, Failure> {
        loop {
            self.look(terminal).await?;
            terminal.flush();
            let pause = if self.round.is_some() { LOOK } else { IDLE_LOOK };
            tokio::select! {
                saved = saves.next() => self.take(saved?, terminal).await?,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Something was saved: says what it changes, and has the agent sync that.
    async fn take(&mut self, saved: Saved, terminal: &mut Terminal) -> Result<(), Failure> {
        let mut files = match Files::now(self.prepared) {
            Ok(files) => files,
            Err(failure) if failure.exit == Exit::Input => {
                self.local.retain(|finding| finding.category != ROOT);
                self.local.insert(Finding::of_files(ROOT, &failure));
                return Ok(());
            }
            Err(failure) => {
                // A file may go while it is read; the next save is the next chance.
                terminal.failure(&failure);
                return Ok(());
            }
        };
        self.local.retain(|finding| finding.category != ROOT);
        if files.snapshot.tree == self.files.snapshot.tree {
            return Ok(());
        }
        // Not what was written, among which is what editors and other programs have removed again.
        let paths = files.changed_since(&self.files, self.prepared)?;
        let tree = Tree::render(self.arguments, &self.surveyor, &files, &self.fleet).await?;
        let grounds = (&self.files.ground, &files.ground);
        let changes =
            Changes::between(&self.arguments.render, &self.surveyor, grounds, &self.fleet, &tree.fleet).await?;
        tell(&paths, &changes, terminal);
        let all = files.roots.clone();
        let roots: Vec<&Value> = all.iter().filter(|root| !self.files.roots.contains(root)).collect();
        let refused = self.stage.update(&files, &roots, tree.asked()).await?;
        // It is tried again with the next save.
        files.roots.retain(|root| !refused.iter().any(|(one, _)| *one == root));
        // Of one that does not render nothing more is told than that.
        let staying = changes.staying().into_iter().filter(|key| tree.bound.contains_key(key)).collect();
        let mut round = Round::new(saved.at, staying, changes.going());
        round.healing = broken(&self.local).map(str::to_owned).collect();
        self.round = Some(round);
        // What does not render was told with the changes.
        self.told.extend(tree.findings.iter().filter(|finding| finding.category == NOT_RENDERED).cloned());
        self.versions = tree.versions();
        self.local = tree.findings;
        self.local.extend(refused.into_iter().map(|(_, finding)| finding));
        self.keep(tree.fleet);
        self.files = files;
        Ok(())
    }

    /// The last complete render of each Application is what the next one is compared with.
    fn keep(&mut self, mut fleet: Fleet) {
        for (key, surveyed) in &mut fleet.applications {
            if surveyed.outcome.is_err()
                && let Some(before) = self.fleet.applications.remove(key)
            {
                *surveyed = before;
            }
        }
        self.fleet = fleet;
        self.surveyor.renders().keep(&self.fleet);
    }

    /// Looks at the Applications once, and says what has gone wrong or come right since the last look.
    async fn look(&mut self, terminal: &mut Terminal) -> Result<(), Failure> {
        self.stage.ensure_running()?;
        // First, so that what it has done until then is in the Applications.
        let (mut rests, mut renders) = (false, self.renders);
        if self.round.is_some() {
            (rests, renders) = self.stage.rests();
        }
        let applications = self.stage.applications().await?;
        let rests = rests && !Stage::is_asked(&applications);
        self.stage.stand_in(&applications).await;
        let state = self.findings.observe(&applications, Duration::ZERO);
        self.say(terminal);
        let Some(round) = &mut self.round else { return Ok(()) };
        // Quiet is who has nothing to do, not who is slow.
        if state != round.state || !rests || self.stage.has_yet_to_speak(&applications) {
            (round.state, round.changed) = (state, Instant::now());
        }
        round.done = match round.done.take() {
            _ if !rests || !self.findings.has_answered(&round.staying, &round.going) => None,
            Some((since, times)) => Some((since, times + 1)),
            None => Some((Instant::now(), 1)),
        };
        let quiet = round.changed.elapsed() > self.arguments.quiet_seconds;
        let ended = match round.done {
            Some((since, times)) if times >= SURE => since,
            _ if quiet => round.changed,
            _ => return Ok(()),
        };
        let (took, done) = (ended - round.saved, round.done.is_some());
        self.round = None;
        // The log keeps what was written before as well.
        let deprecated = self.stage.deprecated().into_iter().filter(|it| self.versions.contains(&it.version));
        self.deprecated = deprecated.map(|it| it.finding).collect();
        self.say(terminal);
        self.end_round(took, done, renders, terminal);
        Ok(())
    }

    /// What a round came to.
    fn end_round(&mut self, took: Duration, done: bool, renders: u64, terminal: &mut Terminal) {
        let rendered = renders.saturating_sub(std::mem::replace(&mut self.renders, renders));
        let (seconds, total) = (took.as_secs_f64(), self.fleet.applications.len());
        let unfinished = self.findings.unfinished(&self.told);
        if terminal.is_json() {
            terminal.json(&json!({"event": "synced", "seconds": seconds, "renders": rendered, "done": done,
                "applications": self.findings.states(), "findings": self.told, "unfinished": unfinished}));
            return;
        }
        for (application, message) in &unfinished {
            terminal.data(Style::Yellow, &format!("{application}: {message}"));
        }
        let how = match (self.told.len(), unfinished.len()) {
            (0, 0) => "everything is Synced and Healthy".to_owned(),
            (0, some) => format!("{some} Applications are not finished"),
            (some, _) => format!("{some} findings"),
        };
        terminal.data(Style::Plain, &format!("{how} after {seconds:.1} s; {rendered} renders, {total} Applications"));
    }

    /// What is wrong now and was not, and what was and is not.
    fn say(&mut self, terminal: &mut Terminal) {
        // Of those the agent says the same once more.
        let healing = self.round.iter().flat_map(|round| &round.healing).map(String::as_str);
        let known: BTreeSet<&str> = broken(&self.local).chain(healing).collect();
        let of_agent = self.findings.present().iter().filter(|it| !known.contains(it.application.as_str()));
        let present: BTreeSet<Finding> = of_agent.chain(&self.local).chain(&self.deprecated).cloned().collect();
        let (new, over): (Vec<_>, Vec<_>) =
            (present.difference(&self.told).collect(), self.told.difference(&present).collect());
        // A message that has changed is not the end of what it is about.
        let goes_on =
            |old: &Finding| new.iter().any(|it| (&it.category, &it.application) == (&old.category, &old.application));
        let over: Vec<_> = over.into_iter().filter(|old| !goes_on(old)).collect();
        if terminal.is_json() {
            if !new.is_empty() || !over.is_empty() {
                terminal.json(&json!({"event": "findings", "new": new, "over": over}));
            }
        } else {
            for finding in &over {
                terminal.data(Style::Green, &format!("over: {finding}"));
            }
            for finding in &new {
                terminal.data(Style::Yellow, &finding.to_string());
            }
        }
        self.told = present;
    }
}

/// Applications that do not render.
fn broken(local: &BTreeSet<Finding>) -> impl Iterator<Item = &str> {
    local.iter().filter(|finding| finding.category == NOT_RENDERED).map(|finding| finding.application.as_str())
}

/// What was saved, and what that changes.
fn tell(changed: &[String], changes: &Changes, terminal: &mut Terminal) {
    if terminal.is_json() {
        terminal.json(&json!({"event": "saved", "files": changed, "applications": changes.json()}));
        return;
    }
    let mut paths = changed.iter().take(MOST_PATHS).cloned().collect::<Vec<_>>().join(", ");
    if changed.len() > MOST_PATHS {
        paths.push_str(&format!(" and {} more", changed.len() - MOST_PATHS));
    }
    terminal.data(Style::Bold, &format!("saved: {paths}"));
    changes.print(terminal);
}
