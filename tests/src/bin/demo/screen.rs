//! What the demo shows: steps with the time, commands with their output, and a table that is drawn again where it stands.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::{Duration, Instant};

/// Columns of every terminal.
const WIDTH: usize = 80;
/// What stands before every line of a command's output.
const MARGIN: &str = "    ";

/// An Application as a row shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// `Synced`, `OutOfSync`, `Unknown`.
    pub sync: String,
    /// `Healthy`, `Progressing`, …
    pub health: String,
    /// The last commit that changed it, shortened.
    pub revision: String,
    /// What else there is to say.
    pub note: String,
}

/// Standard output.
pub(crate) struct Screen {
    started: Instant,
    terminal: bool,
    colour: bool,
    shown: BTreeMap<String, Row>,
    /// Lines of the table that the cursor stands under.
    drawn: usize,
}

impl Screen {
    /// One whose clock starts now.
    pub(crate) fn new() -> Self {
        let terminal = stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { started: Instant::now(), terminal, colour, shown: BTreeMap::new(), drawn: 0 }
    }

    /// What comes next.
    pub(crate) fn heading(&mut self, text: &str) {
        let line = format!("\n{}", self.paint("1", text));
        self.line(&line);
    }

    /// Something that is done or begins, with the time.
    pub(crate) fn step(&mut self, text: &str) {
        let time = format!("[{:>5.1} s]", self.started.elapsed().as_secs_f64());
        let line = format!("{} {text}", self.paint("2", &time));
        self.line(&line);
    }

    /// A command as a user types it.
    pub(crate) fn command(&mut self, text: &str) {
        let line = format!("{MARGIN}{}", self.paint("36", &format!("$ {text}")));
        self.line(&line);
    }

    /// What a command says.
    pub(crate) fn output(&mut self, text: &str) {
        for line in text.lines() {
            self.line(&format!("{MARGIN}{line}"));
        }
    }

    /// A line as it is.
    pub(crate) fn line(&mut self, text: &str) {
        // A reader that went away, as `head` does, is no reason to stop in the middle.
        let _ = writeln!(stdout(), "{text}");
        let _ = stdout().flush();
        self.drawn = 0;
    }

    /// The Applications as they are now: the table anew on a terminal, else a line for each that has changed.
    pub(crate) fn table(&mut self, rows: &BTreeMap<String, Row>) {
        if *rows == self.shown && !(self.terminal && self.drawn == 0) {
            return;
        }
        if self.terminal {
            self.redraw(rows);
        } else {
            let changed = rows.iter().filter(|(name, row)| self.shown.get(*name) != Some(row));
            let lines: Vec<String> = changed.map(|(name, row)| self.format(name, row)).collect();
            for line in lines {
                self.step(&line);
            }
        }
        self.shown.clone_from(rows);
    }

    fn redraw(&mut self, rows: &BTreeMap<String, Row>) {
        let mut text = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        let title = format!("{:<14} {:<10} {:<12} {:<8}", "APPLICATION", "SYNC", "HEALTH", "REVISION");
        let lines =
            std::iter::once(self.paint("2", &title)).chain(rows.iter().map(|(name, row)| self.format(name, row)));
        for line in lines {
            // Writing to a String does not fail.
            let _ = writeln!(text, "\x1b[2K{MARGIN}{line}");
        }
        // What a longer table has left below.
        text.push_str("\x1b[J");
        let _ = write!(stdout(), "{text}");
        let _ = stdout().flush();
        self.drawn = rows.len() + 1;
    }

    fn format(&self, name: &str, row: &Row) -> String {
        let Row { sync, health, revision, note } = row;
        let room = WIDTH.saturating_sub(MARGIN.len() + 14 + 10 + 12 + 8 + 5);
        let note: String = note.chars().take(if self.terminal { room } else { usize::MAX }).collect();
        let sync = self.paint(shade(sync, "Synced"), &format!("{sync:<10}"));
        let health = self.paint(shade(health, "Healthy"), &format!("{health:<12}"));
        format!("{name:<14} {sync} {health} {revision:<8} {note}").trim_end().to_owned()
    }

    /// Sets a text off (ECMA-48, select graphic rendition) where colour is wanted.
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn shade(word: &str, good: &str) -> &'static str {
    match word {
        _ if word == good => "32",
        "Degraded" | "Unknown" => "31",
        _ => "33",
    }
}

/// A time as people say it.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
