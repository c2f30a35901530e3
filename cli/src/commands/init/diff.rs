//! What would change in one file, as a unified diff that `git apply` takes.

use std::path::Path;

use similar::TextDiff;

use super::display;
use crate::terminal::{Style, Terminal};

/// Prints the diff; where the output is JSON, gives it as text instead.
pub(super) fn show(path: &Path, old: &[u8], new: &[u8], terminal: &mut Terminal) -> Option<String> {
    let diff = unified(&display(path), old, new);
    if terminal.is_json() {
        return Some(String::from_utf8_lossy(&diff).into_owned());
    }
    for line in diff.strip_suffix(b"\n").unwrap_or(&diff).split(|byte| *byte == b'\n') {
        terminal.raw(style(line), line);
    }
    None
}

fn unified(path: &str, old: &[u8], new: &[u8]) -> Vec<u8> {
    let path = path.trim_start_matches('/');
    let (old, new) = (lines(old), lines(new));
    let diff = TextDiff::configure().newline_terminated(true).diff_slices(&old, &new);
    let mut text = format!("--- a/{path}\n+++ b/{path}\n").into_bytes();
    for hunk in diff.unified_diff().iter_hunks() {
        // Writing to memory does not fail. Hunk by hunk, because only so bytes come through.
        let _ = hunk.to_writer(&mut text);
    }
    text
}

/// Lines as Git has them: a carriage return alone ends none.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

fn style(line: &[u8]) -> Style {
    match line {
        [b'-', b'-', b'-', ..] | [b'+', b'+', b'+', ..] => Style::Bold,
        [b'+', ..] => Style::Green,
        [b'-', ..] => Style::Red,
        [b'@', b'@', ..] => Style::Cyan,
        _ => Style::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_through_and_a_missing_newline_is_said() {
        let diff = unified("x/y.yaml", b"a\r\nb\rc\xFF", b"A\r\nb\rc\xFF");
        let expected = b"@@ -1,2 +1,2 @@\n-a\r\n+A\r\n b\rc\xFF\n\\ No newline at end of file\n";
        assert_eq!(diff, [&b"--- a/x/y.yaml\n+++ b/x/y.yaml\n"[..], expected].concat());
    }
}
