//! A plan for the terminal.

use super::report::{Object, Report, Touched};
use crate::terminal::{Style, Terminal};

/// Prints Application by Application, and object by object.
pub(super) fn print(report: &Report, summary: bool, terminal: &mut Terminal) {
    for touched in &report.applications {
        let Touched { key, because, objects, problems, notes, .. } = touched;
        terminal.data(Style::Bold, &format!("{key}: {}", touched.sentence()));
        if !because.is_empty() {
            terminal.data(Style::Plain, &format!("  by {}", because.join(", ")));
        }
        problems.iter().for_each(|problem| terminal.data(Style::Red, &format!("  problem: {problem}")));
        notes.iter().for_each(|note| terminal.data(Style::Yellow, &format!("  note: {note}")));
        for object in objects {
            show(object, summary, terminal);
        }
    }
}

fn show(object: &Object, summary: bool, terminal: &mut Terminal) {
    let word = object.word();
    let style = match word {
        "created" | "adopted" => Style::Green,
        "pruned" => Style::Red,
        "kept" | "changed" => Style::Yellow,
        _ => Style::Plain,
    };
    let remark = object.remark().map(|remark| format!(" ({remark})")).unwrap_or_default();
    terminal.data(style, &format!("  {word} {}{remark}", object.change.id));
    // What goes as a whole is told by its name.
    if summary || matches!(word, "pruned" | "kept" | "dropped") {
        return;
    }
    for line in object.change.difference.lines() {
        let style = match line.as_bytes().first() {
            Some(b'+') => Style::Green,
            Some(b'-') => Style::Red,
            Some(b'@') => Style::Cyan,
            _ => Style::Plain,
        };
        terminal.data(style, &format!("    {line}"));
    }
}
