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
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = TextDiff::from_lines(old, new)
        .unified_diff()
        .header(&format!("a/{path}"), &format!("b/{path}"))
        .to_writer(&mut text);
    text
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
        let diff = unified("x/y.yaml", b"a\r\nb\xFF", b"A\r\nb\xFF");
        assert_eq!(
            diff,
            b"--- a/x/y.yaml\n+++ b/x/y.yaml\n@@ -1,2 +1,2 @@\n-a\r\n+A\r\n b\xFF\n\\ No newline at end of file\n"
        );
    }
}
