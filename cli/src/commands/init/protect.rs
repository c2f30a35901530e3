//! What was never committed is not overwritten.

use super::history::History;
use crate::{
    failure::{Exit, Failure},
    work_tree,
};

/// Stops where the run would write into a file that the last commit does not have as it is: the change
/// could not be taken back, and no commit would hold the file's template. What is only the work of an
/// earlier run may be overwritten.
pub(super) fn refuse_to_overwrite(history: &mut History) -> Result<(), Failure> {
    let mut refused = Vec::new();
    let mut text = Vec::new();
    let (section, kept) = (history.section.clone(), history.kept.clone());
    for (name, path) in history.uncommitted_files() {
        // What cannot be read now is reported by the pass over all files.
        let Ok(Some(_)) = work_tree::read(&path, &mut text) else { continue };
        let changes = *history.outcome(&name, &text, None).text != *text;
        if changes && !history.is_own_work(&name, &text) {
            refused.push(name);
        }
    }
    (history.section, history.kept) = (section, kept);
    if refused.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(
        Exit::Refused,
        "uncommitted changes would be overwritten, and no commit would hold the templates; nothing was written",
    )
    .hint("commit these files first")
    .hint("--force to write into them as they are");
    failure.causes = refused;
    Err(failure)
}
