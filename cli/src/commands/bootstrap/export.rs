//! What would be applied, as files in the order in which they are applied.

use std::path::Path;

use gitmoor_core::{names::FIELD_MANAGER, yaml::write_document};
use serde_json::{Value, json};

use super::material::{Material, is_definition};
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Writes the files; credentials are left out.
pub(super) fn write(
    folder: &Path,
    material: &Material,
    credential: bool,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let cannot = |error: &dyn std::error::Error| Failure::io(format!("cannot write into {}", folder.display()), error);
    std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
    let (definitions, agent): (Vec<&Value>, Vec<&Value>) =
        material.agent.iter().partition(|object| is_definition(object));
    let files =
        [("10-definitions.yaml", definitions), ("20-agent.yaml", agent), ("30-platform.yaml", vec![&material.root])];
    let mut written = Vec::new();
    for (name, objects) in files {
        let text: String = objects.iter().map(|object| format!("---\n{}", write_document(object))).collect();
        let path = folder.join(name);
        crate::work_tree::write_to(&path, text.as_bytes(), 0o644).map_err(|error| cannot(&error.source))?;
        terminal.message(&format!("{}: {} objects", path.display(), objects.len()));
        written.push(path);
    }
    if credential {
        terminal.warning("credentials are not written into files: make them with gitmoor bootstrap --credential-only");
    }
    // As the agent's, so that neither takes the other's fields for somebody else's.
    terminal.message(&format!(
        "apply them in this order: kubectl apply --server-side --field-manager={FIELD_MANAGER} -f FILE"
    ));
    if terminal.is_json() {
        terminal.json(&json!({"files": written}));
    }
    Ok(Exit::Done)
}
