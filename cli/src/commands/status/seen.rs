//! What is seen at a moment: Applications, whether their agents work, and what those have seen of repositories.

use std::collections::BTreeSet;

use futures::future::join;
use gitmoor_core::{
    recorded::Recorded,
    view::{ApplicationView, short_commit},
};
use serde_json::{Value, json};

use super::{Arguments, rows, rows::Row, tree};
use crate::{
    age::age,
    cluster::{Agent, Connection, Follower, Repositories},
    failure::Failure,
    table::Table,
    terminal::Style,
};

/// Namespaces without an agent that are named.
const NAMED: usize = 4;

/// What was seen.
pub(super) struct Seen {
    /// Where the Applications are that no namespace was named of.
    namespace: String,
    /// All of the namespaces that are looked at.
    all: Vec<ApplicationView>,
    /// Those that are asked for.
    chosen: Vec<ApplicationView>,
    /// What people have to know before they read the rest.
    pub(super) warnings: Vec<String>,
    /// The repositories of those that are asked for.
    repositories: Vec<Recorded>,
}

impl Seen {
    /// Looks now.
    pub(super) async fn now(connection: &Connection, arguments: &Arguments) -> Result<Self, Failure> {
        let named = named(arguments);
        let likely = connection.namespaces().first().copied().unwrap_or_default();
        let guessed: BTreeSet<&str> = if named.is_empty() { BTreeSet::from([likely]) } else { named.clone() };
        // Their agents are asked about at the same time: mostly they are where one would think.
        let (listed, mut agents) = join(list(connection, arguments, &named), Agents::of(connection, &guessed)).await;
        let (namespace, mut all) = listed?;
        all.sort_by_cached_key(|view| (view.is_fine(), view.key()));
        let chosen = choose(connection, arguments, &namespace, &all).await?;
        let keys: Vec<String> = chosen.iter().map(|view| view.key().namespace).collect();
        let mut places: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        if places.is_empty() {
            places.insert(&namespace);
        }
        if places != guessed {
            agents = Agents::of(connection, &places).await;
        }
        let (warnings, repositories) = (agents.warnings(), agents.repositories.of(&chosen));
        Ok(Self { namespace, all, chosen, warnings, repositories })
    }

    /// The same as before, since it could not be looked at now.
    pub(super) fn unless(self, failure: &Failure) -> Self {
        let because = failure.causes.first().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self { warnings: vec![format!("{}{because}; what follows is from before", failure.message)], ..self }
    }

    /// All that is asked for is as it should be, and somebody keeps it so.
    pub(super) fn is_fine(&self) -> bool {
        self.warnings.is_empty() && self.chosen.iter().all(ApplicationView::is_fine)
    }

    /// As JSON. `resources`: with all objects.
    pub(super) fn document(&self, resources: bool) -> Value {
        let Self { namespace, all: _, chosen, warnings, repositories } = self;
        let rows: Vec<Row> = chosen.iter().map(|view| Row::of(view, resources)).collect();
        let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
        json!({"namespace": namespace, "warning": warning, "applications": rows, "repositories": repositories})
    }

    /// What changes when something happens, and not with the time that goes by, which warnings count.
    pub(super) fn state(&self, resources: bool) -> Value {
        let mut state = self.document(resources);
        let warnings = self.warnings.concat();
        state["warning"] = warnings.chars().filter(|c| !c.is_ascii_digit()).collect::<String>().into();
        state
    }

    /// For people.
    pub(super) fn lines(&self, arguments: &Arguments) -> Vec<(Style, String)> {
        let Self { namespace, all, chosen, warnings: _, repositories } = self;
        if chosen.is_empty() {
            return vec![(Style::Plain, format!("no Applications in namespace {namespace}"))];
        }
        let mut lines = if arguments.tree {
            tree::lines(all, if arguments.names.is_empty() { None } else { Some(chosen.as_slice()) })
        } else {
            let several = arguments.all_namespaces || chosen.iter().any(|view| view.key().namespace != *namespace);
            rows::lines(chosen, several, arguments.names.len() == 1)
        };
        if !repositories.is_empty() {
            lines.push((Style::Plain, String::new()));
            lines.extend(table(repositories));
        }
        lines
    }
}

fn table(repositories: &[Recorded]) -> Vec<(Style, String)> {
    let mut table = Table::new(["REPOSITORY", "REVISION", "SEEN AT", "SINCE"]);
    for recorded in repositories {
        let since = age(&recorded.since).unwrap_or_default();
        for (revision, commit) in &recorded.revisions {
            let cells = [recorded.repo_url.as_str(), short_commit(revision), short_commit(commit), since.as_str()];
            table.row(Style::Plain, cells.map(str::to_owned));
        }
    }
    table.lines()
}

/// The namespaces of those that are named with one.
fn named(arguments: &Arguments) -> BTreeSet<&str> {
    let named = arguments.names.iter().filter_map(|name| name.split_once('/'));
    if arguments.all_namespaces { BTreeSet::new() } else { named.map(|(namespace, _)| namespace).collect() }
}

/// Where Applications without a namespace are looked for, and all Applications of the namespaces that matter.
async fn list(
    connection: &Connection,
    arguments: &Arguments,
    named: &BTreeSet<&str>,
) -> Result<(String, Vec<ApplicationView>), Failure> {
    let bare = arguments.names.is_empty() || arguments.names.iter().any(|name| !name.contains('/'));
    let (namespace, mut all) = if bare || named.is_empty() {
        connection.applications(arguments.all_namespaces, arguments.tree).await?
    } else {
        (connection.namespace().to_owned(), Vec::new())
    };
    let listed = bare.then(|| namespace.clone());
    for other in named.iter().filter(|other| listed.as_deref() != Some(**other)) {
        all.extend(connection.applications_in(other, arguments.tree).await?);
    }
    Ok((namespace, all))
}

/// Those that are named; all when none is.
async fn choose(
    connection: &Connection,
    arguments: &Arguments,
    home: &str,
    all: &[ApplicationView],
) -> Result<Vec<ApplicationView>, Failure> {
    if arguments.names.is_empty() {
        return Ok(all.to_vec());
    }
    let mut chosen = Vec::new();
    for name in &arguments.names {
        let fits = |view: &&ApplicationView| {
            let key = view.key();
            match name.split_once('/') {
                Some((namespace, name)) => key.namespace == namespace && key.name == name,
                None => key.name == *name && (arguments.all_namespaces || key.namespace == home),
            }
        };
        let found: Vec<ApplicationView> = all.iter().filter(fits).cloned().collect();
        if found.is_empty() {
            // Says which names there are; or it is in another namespace.
            let object = connection.application(name).await?;
            chosen.extend(serde_json::from_value(object).ok());
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

/// The agents of some Applications, and what they have seen.
struct Agents {
    followers: Vec<Follower>,
    repositories: Repositories,
}

impl Agents {
    async fn of(connection: &Connection, namespaces: &BTreeSet<&str>) -> Self {
        let followers = connection.agents_of(namespaces).await;
        let known = followers.iter().filter(|follower| follower.agent != Agent::Absent);
        let places = known.flat_map(|follower| follower.namespaces.iter().map(String::as_str)).collect();
        let repositories = connection.repositories(&places).await;
        Self { followers, repositories }
    }

    /// What is wrong with them, each once.
    fn warnings(&self) -> Vec<String> {
        let all: BTreeSet<String> = self.followers.iter().filter_map(Follower::warning).collect();
        let more = all.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("and the same of {more} other namespaces"));
        all.into_iter().take(NAMED).chain(more).collect()
    }
}
