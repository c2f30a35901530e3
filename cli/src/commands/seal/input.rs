//! Reads what may hold secrets: every buffer is wiped.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, stdin},
    path::Path,
};

use gitmoor_core::{
    seal::{SealError, SealedSecret, Secret, scrub},
    sensitive::Sensitive,
    yaml::{Limits, read_documents},
};
use serde_json::Value;
use zeroize::Zeroizing;

use super::rejected;
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Larger than anything that an API server takes, smaller than what makes trouble.
const LIMITS: Limits = Limits { bytes: 512 << 20, nodes: 4_000_000, depth: 100 };
/// Size of the first buffer.
const BUFFER: usize = 64 << 10;

/// A text with the name to call it by.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) name: String,
    pub(super) text: Sensitive<String>,
}

/// An object and where it stands.
#[derive(Debug)]
pub(super) struct Object {
    /// `FILE:LINE`
    pub(super) place: String,
    pub(super) line: usize,
    pub(super) value: Value,
}

/// Reads a file, or standard input.
pub(super) fn bytes(path: Option<&Path>, what: &str, terminal: &mut Terminal) -> Result<Sensitive<Vec<u8>>, Failure> {
    let Some(path) = path else {
        if stdin().is_terminal() {
            terminal.message(&format!("reading {what} from the terminal; end with Ctrl-D"));
        }
        return read_all(&mut stdin().lock(), 0).map_err(|error| Failure::io("cannot read standard input", &error));
    };
    let read = || {
        let mut file = File::open(path)?;
        let size = file.metadata().map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(0));
        read_all(&mut file, size)
    };
    read().map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))
}

/// The same as text.
pub(super) fn text(path: Option<&Path>, what: &str, terminal: &mut Terminal) -> Result<Text, Failure> {
    let name = path.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let bytes = bytes(path, what, terminal)?;
    match std::str::from_utf8(bytes.expose()) {
        Ok(text) => Ok(Text { text: Sensitive::new(text.to_owned()), name }),
        Err(_) => Err(rejected(format!("{name} is not UTF-8"))),
    }
}

/// Like `read_to_end`, but a buffer that has become too small is wiped before it goes.
fn read_all(stream: &mut impl Read, size: usize) -> io::Result<Sensitive<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; (size + 1).max(BUFFER)]);
    let mut length = 0;
    loop {
        if length == buffer.len() {
            let mut larger = Zeroizing::new(vec![0; 2 * length]);
            larger[..length].copy_from_slice(&buffer);
            buffer = larger;
        }
        match stream.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(length);
    Ok(Sensitive::new(std::mem::take(&mut *buffer)))
}

/// The objects of a text; Lists are taken apart.
pub(super) fn objects(text: &Text) -> Result<Vec<Object>, Failure> {
    let Text { name, text } = text;
    let documents = read_documents(text.expose(), &LIMITS).map_err(|errors| {
        let mut failure = rejected(format!("{name} cannot be read; nothing was written"));
        failure.causes = errors.iter().map(|error| format!("{name}: {error}")).collect();
        failure
    })?;
    let mut objects = Vec::with_capacity(documents.len());
    for document in documents {
        let place = format!("{name}:{}", document.line);
        flatten(document.value, &place, document.line, &mut objects);
    }
    Ok(objects)
}

fn flatten(mut value: Value, place: &str, line: usize, objects: &mut Vec<Object>) {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match value.get_mut("items").filter(|_| is_list).map(Value::take) {
        Some(Value::Array(items)) => items.into_iter().for_each(|item| flatten(item, place, line, objects)),
        _ => objects.push(Object { place: place.to_owned(), line, value }),
    }
}

/// Reads every object with `read`; all that fail are reported together.
pub(super) fn each<T>(
    objects: Vec<Object>,
    name: &str,
    expected: &str,
    read: impl Fn(Value) -> Result<T, SealError>,
) -> Result<Vec<(String, T)>, Failure> {
    if objects.is_empty() {
        return Err(rejected(format!("no {expected} in {name}")));
    }
    let all = objects.into_iter().map(|Object { place, value, .. }| {
        let called = called(&value);
        let read = read(value).map_err(|error| format!("{place}: {called}{error}"));
        read.map(|read| (place, read))
    });
    together(all, name)
}

/// All results, or all errors.
pub(super) fn together<T>(all: impl Iterator<Item = Result<T, String>>, name: &str) -> Result<Vec<T>, Failure> {
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    for result in all {
        match result {
            Ok(one) => done.push(one),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        return Ok(done);
    }
    let has = if errors.len() == 1 { "an error".to_owned() } else { format!("{} errors", errors.len()) };
    let mut failure = rejected(format!("{name} has {has}; nothing was written"));
    failure.causes = errors;
    Err(failure)
}

/// `Secret db/app: `, as far as it can be said.
fn called(value: &Value) -> String {
    let metadata = &value["metadata"];
    let (Some(kind), Some(name)) = (value["kind"].as_str(), metadata["name"].as_str()) else { return String::new() };
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}: "),
        None => format!("{kind} {name}: "),
    }
}

/// The Secrets of a text.
pub(super) fn secrets(text: &Text) -> Result<Vec<(String, Secret)>, Failure> {
    each(objects(text)?, &text.name, "Secret", Secret::read)
}

/// The SealedSecrets of a text.
pub(super) fn sealed_secrets(text: &Text) -> Result<Vec<(String, SealedSecret)>, Failure> {
    each(objects(text)?, &text.name, "SealedSecret", SealedSecret::read)
}

/// The exit of a failure to write.
pub(super) fn cannot_write(error: &crate::work_tree::FileError) -> Failure {
    Failure::new(Exit::Io, error.to_string()).because(&error.source)
}

/// Wipes objects that were read and are not wanted.
pub(super) fn forget(objects: Vec<Object>) {
    objects.into_iter().map(|object| object.value).for_each(scrub);
}
