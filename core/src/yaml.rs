//! YAML as kubectl reads it.
//!
//! kubectl reads a manifest with `sigs.k8s.io/yaml`: YAML 1.1 by the rules of `go.yaml.in/yaml/v2`, turned into
//! JSON. [`read_documents`] gives the same values, so that `enabled: yes` is `true` and `mode: 0644` is 420 here too:
//!
//! ```text
//! text -split at `---`-> chunks -(JSON | events)-> nodes -resolve scalars, aliases, merges-> serde_json values
//! ```
//!
//! # Where it differs on purpose
//! - A duplicate key is an error. kubectl takes the last one, and a server that validates strictly would refuse it.
//! - A document that follows `...` without `---` is an error. kubectl drops it in silence.
//! - `%YAML` and `%TAG` in front of `---` are accepted. kubectl cuts them off from their document and fails.
//! - Every bad document is reported, not only the first.
//! - Aliases may expand to as much as [`Limits`] allows. kubectl goes by a ratio.
//! - The grammar around the scalars is YAML 1.2, with white space as lenient as Go's. U+0085, U+2028 and
//!   U+2029, which break lines in YAML 1.1 only, are errors unless escaped or in JSON. Byte order marks are dropped in
//!   front of a document and errors inside, and in `{a:}` the key is `a`, where kubectl takes `a:`.

use serde_json::Value;

mod build;
mod error;
mod json;
mod number;
mod repair;
mod scalar;
mod set;
mod split;
mod write;

pub use error::{Reason, YamlError};
pub use set::set_string;
pub use write::write_document;

use build::read_events;
use json::{is_json, read_json};
use split::{Chunk, split};

/// How much one call may read and make. What goes beyond is an error, never a shorter result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text, and again bytes of text that aliases repeat.
    pub bytes: usize,
    /// Values in all documents together, with what aliases repeat: mappings, lists, scalars; keys do not count.
    pub nodes: usize,
    /// Mappings and lists inside each other.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 << 20, nodes: 2_000_000, depth: 100 }
    }
}

/// One document that is not empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Position in the stream, from 1; empty documents count.
    pub index: usize,
    /// Line on which its content starts, from 1.
    pub line: usize,
    /// The content; never null.
    pub value: Value,
}

/// What one call has used of its [`Limits`].
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    nodes: usize,
    repeated_bytes: usize,
}

impl Spent {
    fn node(&mut self, limits: &Limits) -> Result<(), Reason> {
        self.repeat(1, 0, limits)
    }

    fn repeat(&mut self, nodes: usize, bytes: usize, limits: &Limits) -> Result<(), Reason> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.repeated_bytes = self.repeated_bytes.saturating_add(bytes);
        if self.nodes > limits.nodes {
            return Err(Reason::TooManyNodes { limit: limits.nodes });
        }
        if self.repeated_bytes > limits.bytes {
            return Err(Reason::TooManyRepeatedBytes { limit: limits.bytes });
        }
        Ok(())
    }
}

/// A value and the line of its chunk on which it starts.
type Located = (usize, Value);

/// Reads all documents of a stream of YAML or JSON: files, and what kustomize and helm print.
///
/// Empty, comment-only and null documents are left out, as kubectl does, but count in [`Document::index`]. When one
/// document is bad, the errors of all bad ones are returned, one each. Errors hold names of keys but no values.
pub fn read_documents(text: &str, limits: &Limits) -> Result<Vec<Document>, Vec<YamlError>> {
    if text.len() > limits.bytes {
        let reason = Reason::TooLarge { bytes: text.len(), limit: limits.bytes };
        return Err(vec![YamlError { document: 1, line: 1, column: 1, reason }]);
    }
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    let mut spent = Spent::default();
    let mut index = 0;
    for chunk in split(text) {
        index += 1;
        match read_chunk(&chunk, limits, &mut spent) {
            Ok(values) => {
                let first = index;
                index += values.len().saturating_sub(1);
                documents.extend(number_documents(first, &chunk, values));
            }
            Err(mut error) => {
                error.document = index;
                error.line += chunk.first_line - 1;
                error.reason = error.reason.moved_down(chunk.first_line - 1);
                let exhausted = error.reason.ends_the_stream();
                errors.push(error);
                if exhausted {
                    break;
                }
            }
        }
    }
    if errors.is_empty() { Ok(documents) } else { Err(errors) }
}

fn number_documents(first: usize, chunk: &Chunk<'_>, values: Vec<Located>) -> impl Iterator<Item = Document> {
    let above = chunk.first_line - 1;
    (first..).zip(values).filter(|(_, (_, value))| !value.is_null()).map(move |(index, (line, value))| Document {
        index,
        line: line + above,
        value,
    })
}

/// Reads one chunk: the values of a run of JSON, or the one of a YAML document.
/// Lines, also those of the error, are counted within the chunk.
fn read_chunk(chunk: &Chunk<'_>, limits: &Limits, spent: &mut Spent) -> Result<Vec<Located>, YamlError> {
    if chunk.bad_separator {
        return Err(YamlError::at(1, 1, Reason::Separator));
    }
    if !is_json(chunk.text) {
        return Ok(vec![read_events(chunk.text, limits, spent)?]);
    }
    let before = *spent;
    let json_error = match read_json(chunk.text, limits, spent) {
        Ok(values) => return Ok(values),
        Err(error) => error,
    };
    // A flow mapping starts like JSON, and only the events know where the first of two equal keys stands.
    *spent = before;
    match read_events(chunk.text, limits, spent) {
        Ok(value) => Ok(vec![value]),
        Err(error) if matches!(error.reason, Reason::Syntax(_)) && json::looks_strict(chunk.text) => Err(json_error),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
