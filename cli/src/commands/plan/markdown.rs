//! A plan as a comment for a pull or merge request.
//!
//! Names, messages and manifests come from the repository, also from that of a stranger: outside of fences every
//! character that means something is written as an entity, and a fence is longer than any in what it holds.

use std::fmt::Write as _;

use super::{
    points::Points,
    report::{Object, Report, Touched},
};
use crate::{failure::Failure, terminal::Terminal};

/// By this a workflow finds its own comment again.
const MARKER: &str = "<!-- gitmoor plan -->";
/// Bytes of a comment, with room for what a workflow adds: GitHub takes 65,536 characters.
const LONGEST: usize = 60_000;
/// Bytes of one difference.
const LONGEST_DIFFERENCE: usize = 20_000;

/// Prints it.
pub(super) fn print(report: &Report, points: &Points, summary: bool, terminal: &mut Terminal) -> Result<(), Failure> {
    let text = comment(report, &report.sentence(points), summary);
    terminal.documents(text.as_bytes()).map_err(|error| Failure::io("cannot write the plan", &error))
}

fn comment(report: &Report, sentence: &str, summary: bool) -> String {
    let mut text = format!("{MARKER}\n### Gitmoor plan\n\n{}\n\n", escaped(sentence));
    if report.applications.is_empty() {
        return text;
    }
    text.push_str("| Application | created | changed | moved | pruned | kept back | |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for touched in &report.applications {
        let count = touched.count();
        let numbers = [count.created, count.changed, count.moved, count.pruned, count.kept_back];
        let numbers = numbers.map(|number| if number == 0 { String::new() } else { number.to_string() }).join(" | ");
        let remark = if touched.problems.is_empty() { "" } else { "has problems" };
        let row = format!("| {} | {numbers} | {remark} |\n", code(&touched.key.to_string()));
        if text.len() + row.len() > LONGEST / 2 {
            text.push_str("| … |\n");
            break;
        }
        text.push_str(&row);
    }
    text.push('\n');
    let mut left_out = 0;
    for touched in &report.applications {
        let section = section(touched, summary);
        let section = if text.len() + section.len() > LONGEST { self::section(touched, true) } else { section };
        if text.len() + section.len() > LONGEST {
            left_out += 1;
        } else {
            text.push_str(&section);
        }
    }
    if left_out > 0 {
        let _ = writeln!(text, "{left_out} Applications are left out here: run `gitmoor plan` to see them.");
    }
    text
}

fn section(touched: &Touched, summary: bool) -> String {
    let Touched { key, because, objects, problems, notes, .. } = touched;
    let open = if problems.is_empty() { "" } else { " open" };
    let sentence = escaped(&touched.sentence());
    let mut text = format!("<details{open}><summary>{}: {sentence}</summary>\n\n", code(&key.to_string()));
    if !because.is_empty() {
        let paths: Vec<String> = because.iter().map(|path| code(path)).collect();
        let _ = writeln!(text, "By {}\n", paths.join(", "));
    }
    for problem in problems {
        let _ = writeln!(text, "**Problem**: {}\n", escaped(problem));
    }
    for note in notes {
        let _ = writeln!(text, "Note: {}\n", escaped(note));
    }
    for object in objects {
        show(&mut text, object, summary);
    }
    text.push_str("\n</details>\n\n");
    text
}

fn show(text: &mut String, object: &Object, summary: bool) {
    let word = object.word();
    let remark = object.remark().map(|remark| format!(" ({})", escaped(&remark))).unwrap_or_default();
    let _ = writeln!(text, "- **{word}** {}{remark}", code(&object.change.id.to_string()));
    let difference = &object.change.difference;
    if summary || difference.is_empty() || matches!(word, "pruned" | "kept" | "dropped") {
        return;
    }
    let shown = &difference[..difference.floor_char_boundary(LONGEST_DIFFERENCE)];
    let fence = "`".repeat(longest_run(shown).max(2) + 1);
    let _ = writeln!(text, "\n{fence}diff\n{}\n{fence}", shown.trim_end_matches('\n'));
    if shown.len() < difference.len() {
        text.push_str("\nThe rest is left out.\n");
    }
    text.push('\n');
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// Text that is shown as it is, on one line.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '+' | '!' | '|' | '<' | '>' | '&' | '~'
            | '@' | ':' | '\\' | '"' | '\'' | '$' => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use gitmoor_core::{
        object::{GroupKind, ObjectId},
        preview::{Change, What},
        tracking::ApplicationKey,
    };

    use super::super::report::Fate;
    use super::*;

    fn touched(name: &str, difference: &str) -> Touched {
        let id = ObjectId { group_kind: GroupKind::new("", "ConfigMap"), namespace: None, name: name.to_owned() };
        let change =
            Change { id, what: What::Changed, hook: false, difference: difference.to_owned(), contested: Vec::new() };
        Touched {
            key: ApplicationKey { namespace: "gitmoor".to_owned(), name: name.to_owned() },
            fate: Fate::Stays,
            because: Vec::new(),
            objects: vec![Object::of(change)],
            problems: vec![format!("{name}\n# see https://example.com/{name}")],
            broke: false,
            notes: Vec::new(),
        }
    }

    fn report(applications: Vec<Touched>) -> String {
        comment(&Report { applications, total: 1, renders: 0 }, "", false)
    }

    #[test]
    fn nothing_of_a_repository_is_taken_for_markdown() {
        let text = report(vec![touched("x|<img src=a>![](b)@team", "+a: 1\n+```\n+</details> @team\n")]);
        let (before, rest) = text.split_once("````diff\n").unwrap();
        let (inside, after) = rest.split_once("````\n").unwrap();
        assert!(inside.contains("+```\n") && inside.contains("@team"));
        for outside in [before, after] {
            for word in ["<img", "@team", "![", "https://", "\n# see"] {
                assert!(!outside.contains(word), "{word} in {outside}");
            }
        }
    }

    #[test]
    fn a_comment_fits() {
        let line = "+ab: 1\n".repeat(1500);
        let many: Vec<Touched> = (0..1000).map(|index| touched(&format!("app-{index}"), &line)).collect();
        let text = report(many);
        assert!(text.len() < LONGEST + 200, "{}", text.len());
        assert!(text.contains("Applications are left out here"));
        assert_eq!(text.matches("<details").count(), text.matches("</details>").count());
    }
}
