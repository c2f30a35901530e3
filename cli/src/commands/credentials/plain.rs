//! Values that are no secret, in files that are not sealed: one text is set, every other byte stays.

use std::path::Path;

use gitmoor_core::{
    credentials::{Credentials, Given, Plain, Values},
    object::text_at,
    template::{CLOSE, OPEN},
    yaml::{Document, Limits, read_documents, set_string},
};
use serde_json::Value;

use super::{NewFile, not_made};
use crate::{
    distribution::Distribution,
    failure::{Exit, Failure},
};

/// The files that change. A text that stands there already stays, unless its value was given in this run.
pub(super) fn files(
    credentials: &Credentials,
    given: &Given,
    values: &mut Values<'_>,
    distribution: &Distribution,
) -> Result<Vec<NewFile>, Failure> {
    let mut files: Vec<NewFile> = Vec::new();
    for plain in &credentials.plain {
        let path = distribution.path_of(&plain.file);
        let text = match files.iter().find(|file| file.path == path) {
            Some(file) => Some(file.text.clone()),
            None => distribution.raw_text(&plain.file)?,
        };
        let text = text.ok_or_else(|| wrong(&path, plain, "there is no such file"))?;
        let document = document(&text, plain).ok_or_else(|| wrong(&path, plain, "there is no such object in it"))?;
        let is_given = credentials.generator(&plain.value.name).is_some_and(|generator| given.gives(generator));
        if !is_given && !is_open(&document.value, plain) {
            continue;
        }
        let value = values.get(&plain.value).map_err(not_made)?;
        let keys: Vec<&str> = plain.path.iter().map(String::as_str).collect();
        if text_at(&document.value, &keys) == Some(value.expose()) {
            continue;
        }
        let new = set_string(&text, document.line, &keys, value.expose())
            .ok_or_else(|| wrong(&path, plain, "the text cannot be set there; write it as a plain value"))?;
        files.retain(|file| file.path != path);
        files.push(NewFile { path, text: new });
    }
    Ok(files)
}

fn document(text: &str, plain: &Plain) -> Option<Document> {
    let documents = read_documents(text, &Limits::default()).ok()?;
    documents.into_iter().find(|document| match &plain.object {
        None => true,
        Some((kind, name)) => {
            document.value["kind"] == kind.as_str() && text_at(&document.value, &["metadata", "name"]) == Some(name)
        }
    })
}

/// Nothing stands there yet, or a placeholder.
fn is_open(object: &Value, plain: &Plain) -> bool {
    match plain.path.iter().try_fold(object, |at, key| at.get(key)) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty() || (text.starts_with(OPEN) && text.ends_with(CLOSE)),
        Some(_) => false,
    }
}

fn wrong(path: &Path, plain: &Plain, reason: &str) -> Failure {
    let at = plain.path.join(".");
    Failure::new(Exit::Rejected, format!("{}: {at}: {reason}; nothing was written", path.display()))
}
