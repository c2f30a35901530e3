//! The only module that writes to standard output and standard error: data to the one, messages to the
//! other.
//!
//! Names of files and placeholders come from repositories. On a terminal their control characters are
//! shown, not obeyed.
//!
//! With `--output json` standard output is one document, whatever a command does: what commands have for it is kept until
//! the end, an error is a part of it, and data for people are messages. Only what goes on until somebody ends it
//! ([`Terminal::stream`]) is one document after the other.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, Write, stderr, stdout},
};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    arguments::Output,
    failure::Failure,
    settings::{Channel, Settings},
};

/// How a word is set off where colour is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Bold,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Style {
    /// The ANSI code for it (ECMA-48, select graphic rendition).
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
        }
    }
}

/// What becomes of documents of JSON.
enum Document {
    /// They are one, which is written at the end; without any word of a command, an empty object.
    Kept(Map<String, Value>),
    /// Each is written when it is there.
    AtOnce,
}

/// Where the program's words go.
pub(crate) struct Terminal {
    settings: Settings,
    /// What stands on the terminal as a live view, and was said of it elsewhere.
    live: Vec<String>,
    /// Of the one document of JSON.
    document: Document,
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
}

impl Terminal {
    pub(crate) fn new(settings: Settings) -> Self {
        let document = Document::Kept(Map::new());
        let stdout = Box::new(io::BufWriter::new(stdout()));
        Self { settings, live: Vec::new(), document, stdout, stderr: Box::new(stderr()) }
    }

    /// What standard output takes.
    pub(crate) fn output(&self) -> Output {
        self.settings.output
    }

    /// Whether standard output takes JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.settings.output == Output::Json
    }

    /// Whether only errors and data are wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.settings.quiet
    }

    /// Whether what goes to standard output is read by people, and not kept by a program.
    pub(crate) fn shows_to_people(&self) -> bool {
        self.settings.stdout.is_terminal && !self.is_json()
    }

    /// A line of data for people.
    pub(crate) fn data(&mut self, style: Style, line: &str) {
        if self.is_json() {
            return self.message(line);
        }
        write_line(&mut self.stdout, self.settings.stdout, style, line.as_bytes());
    }

    /// Data as it is, such as a diff: bytes of files may not be UTF-8.
    pub(crate) fn raw(&mut self, style: Style, line: &[u8]) {
        if self.is_json() {
            return self.message(&String::from_utf8_lossy(line));
        }
        write_line(&mut self.stdout, self.settings.stdout, style, line);
    }

    /// Whole documents, which somebody may redirect into a file: an incomplete one is an error. With `--output json` it is
    /// the only one.
    pub(crate) fn documents(&mut self, text: &[u8]) -> io::Result<()> {
        self.document = Document::AtOnce;
        let written = self.stdout.write_all(&shown(self.settings.stdout, text)).and_then(|()| self.stdout.flush());
        // A reader that has gone wants no more.
        written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
    }

    /// What the one document of JSON says: an object, whose members come to those that are there. Nothing for people.
    pub(crate) fn json(&mut self, document: &impl Serialize) {
        if !matches!(self.settings.output, Output::Json | Output::Cloudformation) {
            return;
        }
        // What is serialised here has string keys only, so it cannot fail.
        let Ok(Value::Object(members)) = serde_json::to_value(document) else { return };
        match &mut self.document {
            Document::Kept(kept) => kept.extend(members),
            Document::AtOnce => {
                self.write_json(&members);
                self.flush();
            }
        }
    }

    /// From now on each document reaches its reader at once: this goes on until somebody ends it.
    pub(crate) fn stream(&mut self) {
        self.document = Document::AtOnce;
    }

    fn write_json(&mut self, document: &impl Serialize) {
        // A disk may be full, and the program has no better place to say so.
        let _ = serde_json::to_writer_pretty(&mut self.stdout, document);
        let _ = self.stdout.write_all(b"\n");
    }

    /// Progress and results for people; silent with `--quiet`.
    pub(crate) fn message(&mut self, line: &str) {
        if !self.settings.quiet {
            self.write_message(Style::Plain, "", line);
        }
    }

    /// What goes on at this moment, for people; silent with `--quiet`. On a terminal the lines take the place of those
    /// before; elsewhere those that are new are written.
    pub(crate) fn live(&mut self, lines: &[String]) {
        if self.settings.quiet || self.live == lines {
            return;
        }
        if self.settings.stderr.is_terminal {
            self.take_back();
            // A line that wraps would be two to take back.
            let width = terminal_size::terminal_size_of(stderr()).map_or(80, |(width, _)| usize::from(width.0));
            for line in lines {
                self.write_message(Style::Plain, "", line.chars().take(width).collect::<String>());
            }
        } else {
            for line in lines.iter().filter(|line| !self.live.contains(line)).cloned().collect::<Vec<_>>() {
                self.write_message(Style::Plain, "", line);
            }
        }
        self.live = lines.to_vec();
    }

    /// The live view is over; what it showed last stays, or goes.
    pub(crate) fn end_live(&mut self, keep: bool) {
        if !keep && self.settings.stderr.is_terminal {
            self.take_back();
        }
        self.live.clear();
    }

    /// A whole screen of data that takes the place of the one before; on a pipe one after another.
    pub(crate) fn screen(&mut self, lines: &[(Style, String)]) {
        if self.settings.stdout.is_terminal {
            // Home, then clear what is below: no flicker.
            let _ = self.stdout.write_all(b"\x1b[H\x1b[J");
        }
        for (style, line) in lines {
            self.data(*style, line);
        }
        let _ = self.stdout.flush();
    }

    /// Whether what is printed takes the place of what was printed before.
    pub(crate) fn is_screen(&self) -> bool {
        self.settings.stdout.is_terminal
    }

    /// Standard output reaches its reader now.
    pub(crate) fn flush(&mut self) {
        let _ = self.stdout.flush();
    }

    /// Goes up over the lines of the live view and clears them.
    fn take_back(&mut self) {
        if !self.live.is_empty() {
            let _ = self.stderr.write_all(format!("\x1b[{}A\x1b[J", self.live.len()).as_bytes());
        }
    }

    /// Whether a question would be answered.
    pub(crate) fn can_ask(&self) -> bool {
        self.settings.can_ask
    }

    /// Asks for a line; `None` at the end of the input.
    pub(crate) fn ask(&mut self, question: &str) -> Option<String> {
        let _ = self.stdout.flush();
        let _ = self.stderr.write_all(&shown(self.settings.stderr, question.as_bytes()));
        let _ = self.stderr.flush();
        let mut answer = String::new();
        match io::stdin().read_line(&mut answer) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(answer.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }

    /// Something doubtful; silent with `--quiet`.
    pub(crate) fn warning(&mut self, line: &str) {
        if !self.settings.quiet {
            self.write_message(Style::Yellow, "warning: ", line);
        }
    }

    /// Something that went wrong.
    pub(crate) fn error(&mut self, line: &str) {
        self.write_message(Style::Red, "error: ", line);
    }

    /// A failure with its causes and hints, on standard error, and as JSON where that was asked for.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        let Failure { exit: _, message, causes, hints } = failure;
        self.error(message);
        for cause in causes {
            self.write_message(Style::Plain, "  ", cause);
        }
        for hint in hints {
            self.write_message(Style::Cyan, "hint: ", hint);
        }
        self.failure_for_programs(failure);
    }

    /// The same where people have been told already.
    pub(crate) fn failure_for_programs(&mut self, failure: &Failure) {
        let Failure { exit, message, causes, hints } = failure;
        if self.is_json() {
            let error =
                serde_json::json!({ "kind": exit.kind(), "message": message, "causes": causes, "hints": hints });
            self.json(&serde_json::json!({ "error": error }));
        }
    }

    fn write_message(&mut self, style: Style, label: &str, line: impl Display) {
        // Standard output first, so that both stand in the order of events on one terminal.
        let _ = self.stdout.flush();
        let label = styled(self.settings.stderr, style, label.as_bytes());
        let mut text = label.into_owned();
        text.extend_from_slice(&shown(self.settings.stderr, line.to_string().as_bytes()));
        text.push(b'\n');
        let _ = self.stderr.write_all(&text);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Document::Kept(kept) = std::mem::replace(&mut self.document, Document::AtOnce)
            && (self.is_json() || !kept.is_empty())
        {
            self.write_json(&kept);
        }
        let _ = self.stdout.flush();
    }
}

// A reader that has gone, such as `head`, is no error of ours.
fn write_line(stream: &mut impl Write, channel: Channel, style: Style, line: &[u8]) {
    let _ = stream.write_all(&styled(channel, style, &shown(channel, line)));
    let _ = stream.write_all(b"\n");
}

fn styled(channel: Channel, style: Style, text: &[u8]) -> Cow<'_, [u8]> {
    if !channel.colour || style == Style::Plain || text.is_empty() {
        return Cow::Borrowed(text);
    }
    let code = style.code();
    let mut coloured = format!("\x1b[{code}m").into_bytes();
    coloured.extend_from_slice(text);
    coloured.extend_from_slice(b"\x1b[0m");
    Cow::Owned(coloured)
}

fn shown(channel: Channel, text: &[u8]) -> Cow<'_, [u8]> {
    let text_is_safe = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    if !channel.is_terminal || std::str::from_utf8(text).is_ok_and(text_is_safe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::new();
    for c in String::from_utf8_lossy(text).chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Channel = Channel { is_terminal: false, colour: false };
    const TERMINAL: Channel = Channel { is_terminal: true, colour: true };

    #[test]
    fn control_characters_reach_no_terminal() {
        for (channel, text, expected) in [
            (TERMINAL, &b"a\tb\nc"[..], &b"a\tb\nc"[..]),
            (TERMINAL, b"\x1b]0;title\x07", b"\\u{1b}]0;title\\u{7}"),
            (TERMINAL, b"\xFFx", "\u{fffd}x".as_bytes()),
            (PIPE, b"\x1b\xFF\r", b"\x1b\xFF\r"),
        ] {
            assert_eq!(&*shown(channel, text), expected);
        }
    }

    #[test]
    fn colour_only_where_it_is_wanted() {
        assert_eq!(&*styled(TERMINAL, Style::Red, b"x"), b"\x1b[31mx\x1b[0m");
        for (channel, style) in [(PIPE, Style::Red), (TERMINAL, Style::Plain)] {
            assert_eq!(&*styled(channel, style, b"x"), b"x");
        }
    }
}
