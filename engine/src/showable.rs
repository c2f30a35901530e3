//! What a renderer said, made fit to be shown: paths of the repository, no content of manifests, bounded.

use std::borrow::Cow;
use std::path::Path;

/// Longest message that is passed on, in bytes.
pub(crate) const LONGEST_MESSAGE: usize = 4096;

/// Replaces the scratch folder, so that paths are those of the repository.
pub(crate) fn repository_paths(text: &str, root: &Path) -> String {
    let Some(root) = root.to_str().filter(|root| root.len() > 1) else { return text.to_owned() };
    text.replace(&format!("{root}/"), "").replace(root, ".")
}

/// Takes out what stands between `start` and `end`, wherever that is; no `end` means the rest of the message.
pub(crate) fn without_quoted(text: &str, start: &str, end: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(start) {
        let (before, quoted) = rest.split_at(at + start.len());
        kept.push_str(before);
        kept.push('…');
        match quoted.find(end).filter(|_| !end.is_empty()) {
            Some(closed) => rest = &quoted[closed..],
            None => return kept,
        }
    }
    kept + rest
}

/// Beginning and end of a long message: what was built stands at the start, and the cause at the end of a chain.
pub(crate) fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST_MESSAGE {
        return Cow::Borrowed(text);
    }
    let half = LONGEST_MESSAGE / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    Cow::Owned(format!("{} … {}", &text[..head], &text[tail..]))
}
