//! Writes objects as kubeseal does: JSON documents one after the other, or YAML documents with `---` in front.

use std::path::Path;

use gitmoor_core::yaml::write_document;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{arguments::Format, input::cannot_write};
use crate::{failure::Failure, terminal::Terminal, work_tree};

/// Mode of files that may be committed.
pub(super) const PUBLIC: u32 = 0o644;
/// Mode of files with secrets in clear.
pub(super) const PRIVATE: u32 = 0o600;

/// Where objects go, and how.
#[derive(Debug)]
pub(super) struct Output<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) format: Format,
    pub(super) mode: u32,
}

impl<'a> Output<'a> {
    /// A file's name says whether it is YAML, as with kubeseal.
    pub(super) fn new(file: Option<&'a Path>, format: Option<Format>, mode: u32) -> Self {
        let is_yaml = file.and_then(Path::extension).is_some_and(|extension| extension == "yaml" || extension == "yml");
        let format = if is_yaml { Format::Yaml } else { format.unwrap_or(Format::Json) };
        Self { file, format, mode }
    }

    /// Writes the objects, all or none.
    pub(super) fn write(&self, objects: &[Value], terminal: &mut Terminal) -> Result<(), Failure> {
        match self.file {
            Some(file) => {
                let text = Zeroizing::new(render(objects, self.format));
                work_tree::write_to(file, text.as_bytes(), self.mode).map_err(|error| cannot_write(&error))
            }
            None => to_stdout(objects, self.format, terminal),
        }
    }
}

fn to_stdout(objects: &[Value], format: Format, terminal: &mut Terminal) -> Result<(), Failure> {
    // With `--output json` there is one document, whatever it holds.
    let text = Zeroizing::new(if terminal.is_json() {
        match objects {
            [object] => render(std::slice::from_ref(object), Format::Json),
            _ => render(&[json!({ "apiVersion": "v1", "kind": "List", "items": objects })], Format::Json),
        }
    } else {
        render(objects, format)
    });
    terminal.documents(text.as_bytes()).map_err(|error| Failure::io("cannot write to standard output", &error))
}

/// The objects as text.
pub(super) fn render(objects: &[Value], format: Format) -> String {
    let mut text = String::new();
    for object in objects {
        match format {
            Format::Json => {
                // What is serialised here has string keys only, so it cannot fail.
                text.push_str(&Zeroizing::new(serde_json::to_string_pretty(object).unwrap_or_default()));
                text.push('\n');
            }
            Format::Yaml => {
                text.push_str("---\n");
                text.push_str(&write_document(object));
            }
        }
    }
    text
}
