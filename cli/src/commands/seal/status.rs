//! `gitmoor seal status`: which key sealed what, and is the pinned certificate still good?

use std::path::{Path, PathBuf};

use gitmoor_core::seal::{Certificate, Fingerprint, SealedSecret};
use serde::Serialize;

use super::{
    arguments::Status,
    certificate,
    controller::Connection,
    input::{self, Object, Text},
    now,
};
use crate::{
    age::age,
    failure::{Exit, Failure},
    fork::initialised_folders,
    git::Repository,
    terminal::{Style, Terminal},
    work_tree::{self, Step, WorkTree},
};

/// What there is to say about one SealedSecret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    file: String,
    namespace: String,
    name: String,
    scope: &'static str,
    /// Fingerprints; empty when they were not noted.
    keys: Vec<String>,
    sealed_at: Option<String>,
    state: State,
}

/// How the keys of a SealedSecret compare with the pinned certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Current,
    OtherKey,
    /// Sealed by another tool, which notes no key.
    Unknown,
    NothingPinned,
}

/// The pinned certificate.
#[derive(Debug, Serialize)]
struct Pinned {
    file: PathBuf,
    fingerprint: Option<String>,
    expires: Option<String>,
}

/// Walks the tree; writes nothing.
pub(super) fn run(arguments: &Status, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let mut problems = Vec::new();
    let (pinned, key) = pinned(&mut problems);
    if arguments.check_controller {
        problems.extend(compare_with_controller(arguments, key.as_ref())?);
    }
    let rows = rows(arguments, key.as_ref(), &mut problems)?;
    if terminal.is_json() {
        let pinned = pinned.as_ref();
        terminal.json(&serde_json::json!({ "pinned": pinned, "sealedSecrets": rows, "problems": problems }));
    } else {
        print(pinned.as_ref(), &rows, terminal);
    }
    for problem in &problems {
        terminal.error(problem);
    }
    let stale = rows.iter().any(|row| row.state == State::OtherKey);
    Ok(if stale || !problems.is_empty() { Exit::Findings } else { Exit::Done })
}

fn pinned(problems: &mut Vec<String>) -> (Option<Pinned>, Option<Fingerprint>) {
    let Some((file, certificate)) = certificate::pinned() else { return (None, None) };
    let (mut fingerprint, mut expires) = (None, None);
    match certificate {
        Ok(certificate) => {
            fingerprint = Some(certificate.key().fingerprint().clone());
            expires = Some(certificate.expires().to_owned());
        }
        Err(Failure { causes, .. }) => {
            problems.push(format!(
                "{}: {}; pin the controller's present one: gitmoor seal --pin-cert",
                file.display(),
                causes.join(": ")
            ));
        }
    }
    let shown = fingerprint.as_ref().map(ToString::to_string);
    (Some(Pinned { file, fingerprint: shown, expires }), fingerprint)
}

fn compare_with_controller(arguments: &Status, pinned: Option<&Fingerprint>) -> Result<Option<String>, Failure> {
    let text = Connection::open(&arguments.source.controller)?.certificate()?;
    let certificates = Certificate::read_all(&text).and_then(|all| Certificate::newest_valid(all, now().as_second()));
    Ok(match (certificates, pinned) {
        (Err(error), _) => Some(format!("the controller's certificate: {error}")),
        (Ok(_), None) => None,
        (Ok(live), Some(pinned)) if live.key().fingerprint() == pinned => None,
        (Ok(live), Some(_)) => {
            let live = live.key().fingerprint();
            Some(format!("the controller has a newer key, {live}; pin it: gitmoor seal --pin-cert"))
        }
    })
}

fn rows(arguments: &Status, key: Option<&Fingerprint>, problems: &mut Vec<String>) -> Result<Vec<Row>, Failure> {
    let named = if arguments.paths.is_empty() { whole_tree()? } else { arguments.paths.clone() };
    let (folders, files): (Vec<_>, Vec<_>) = named.into_iter().partition(|path| path.is_dir());
    let tree = WorkTree::open(&folders, &files).map_err(|error| Failure::io(error.to_string(), &error.source))?;
    let mut rows = Vec::new();
    let mut bytes = Vec::new();
    for step in tree.walk() {
        match step {
            Step::File(path) if is_manifest(&path) => match work_tree::read(&path, &mut bytes) {
                Ok(Some(_)) => look_at(&path, &bytes, key, &mut rows, problems),
                Ok(None) => {}
                Err(error) => problems.push(format!("{error}: {}", error.source)),
            },
            Step::Failed(error) => problems.push(format!("{error}: {}", error.source)),
            Step::File(_) | Step::Link | Step::Abandoned(_) => {}
        }
    }
    Ok(rows)
}

/// What was initialised, seen from the top folder of the fork; everything, from elsewhere.
fn whole_tree() -> Result<Vec<PathBuf>, Failure> {
    let here = Path::new(".");
    let at_top = |repository: &Repository| here.canonicalize().is_ok_and(|here| here == repository.top());
    let Some(repository) = Repository::around(here)?.filter(at_top) else { return Ok(vec![here.to_owned()]) };
    let folders = initialised_folders(&repository).into_iter().map(PathBuf::from);
    Ok(folders.filter(|folder| folder.exists()).collect())
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

fn look_at(path: &Path, bytes: &[u8], key: Option<&Fingerprint>, rows: &mut Vec<Row>, problems: &mut Vec<String>) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if !text.contains("bitnami.com/") || !text.contains("SealedSecret") {
        return;
    }
    let shown: PathBuf = path.components().collect();
    let name = shown.display().to_string();
    let objects = match input::objects(&Text { name: name.clone(), text: text.to_owned().into() }) {
        Ok(objects) => objects,
        Err(failure) => return problems.extend(failure.causes),
    };
    for Object { place, value, .. } in objects {
        if !SealedSecret::is_one(&value) {
            continue;
        }
        match SealedSecret::read(value) {
            Ok(sealed) => rows.push(row(&name, &sealed, key)),
            Err(error) => problems.push(format!("{place}: {error}")),
        }
    }
}

fn row(file: &str, sealed: &SealedSecret, pinned: Option<&Fingerprint>) -> Row {
    let provenance = sealed.provenance();
    let keys = provenance.keys();
    let all_known = sealed.names().all(|name| provenance.get(name).is_some());
    let state = match pinned {
        None => State::NothingPinned,
        Some(pinned) if keys.iter().any(|key| *key != pinned) => State::OtherKey,
        Some(_) if all_known && !keys.is_empty() => State::Current,
        Some(_) => State::Unknown,
    };
    Row {
        file: file.to_owned(),
        namespace: sealed.namespace().to_owned(),
        name: sealed.name().to_owned(),
        scope: sealed.scope().as_str(),
        keys: keys.into_iter().map(ToString::to_string).collect(),
        sealed_at: sealed.sealed_at().map(str::to_owned),
        state,
    }
}

fn print(pinned: Option<&Pinned>, rows: &[Row], terminal: &mut Terminal) {
    match pinned {
        Some(Pinned { file, fingerprint: Some(fingerprint), expires }) => {
            let expires = expires.as_deref().unwrap_or_default();
            terminal.data(Style::Bold, &format!("pinned {fingerprint}, valid until {expires}, {}", file.display()));
        }
        Some(_) => {}
        None => terminal.data(Style::Yellow, "no certificate is pinned: gitmoor seal --pin-cert"),
    }
    let mut table = vec![["FILE", "SECRET", "SCOPE", "AGE", "STATE", "KEY"].map(str::to_owned)];
    table.extend(rows.iter().map(cells));
    let width = |column: usize| table.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..5).map(width).collect();
    for (position, cells) in table.iter().enumerate() {
        let [.., key] = cells;
        let line: String =
            cells.iter().zip(&widths).flat_map(|(cell, width)| [format!("{cell:<width$}"), "  ".to_owned()]).collect();
        let style = match position.checked_sub(1).and_then(|row| rows.get(row)).map(|row| row.state) {
            Some(State::OtherKey) => Style::Yellow,
            _ => Style::Plain,
        };
        terminal.data(style, &format!("{line}{key}"));
    }
}

fn cells(row: &Row) -> [String; 6] {
    let secret = if row.namespace.is_empty() { row.name.clone() } else { format!("{}/{}", row.namespace, row.name) };
    let state = match row.state {
        State::Current => "current",
        State::OtherKey => "other key",
        State::Unknown => "unknown key",
        State::NothingPinned => "-",
    };
    let age = row.sealed_at.as_deref().and_then(age).unwrap_or_else(|| "-".to_owned());
    let key = if row.keys.is_empty() { "-".to_owned() } else { row.keys.join(" ") };
    [row.file.clone(), secret, row.scope.to_owned(), age, state.to_owned(), key]
}
