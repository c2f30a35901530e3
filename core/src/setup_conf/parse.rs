//! Lines to definitions.

use std::collections::{HashMap, HashSet};

use super::{Override, Place, Problem, ProblemKind, Warning, WarningKind};
use crate::template::{Position, is_conventional, token};

/// A token of fewer characters, if it is not of the form `<<__name__>>`, stands in too many places.
const SHORT: usize = 6;

/// A name with its value as written.
pub(super) struct Definition {
    pub(super) token: String,
    pub(super) value: String,
    /// Where the name stands.
    pub(super) place: Place,
    /// Where the value starts.
    pub(super) value_at: Position,
}

/// What the lines say, with everything that is wrong with them.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) definitions: Vec<Definition>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

/// Reads every line; one that is wrong does not keep the others from being read.
pub(super) fn lines(text: &[u8]) -> Parsed {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let mut parsed = Parsed::default();
    let mut first_places = HashMap::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let start = Position { line: index + 1, column: 1 };
        match definition(line, start) {
            Ok(None) => {}
            Ok(Some(definition)) => {
                parsed.warnings.extend(doubt(&definition.token, definition.place));
                let first = *first_places.entry(definition.token.clone()).or_insert(definition.place);
                if first == definition.place {
                    parsed.definitions.push(definition);
                } else {
                    let kind = ProblemKind::Duplicate { token: definition.token, first };
                    parsed.problems.push(Problem { place: definition.place, kind });
                }
            }
            Err(problem) => parsed.problems.push(problem),
        }
    }
    parsed
}

/// One line: nothing, or a definition.
fn definition(line: &[u8], start: Position) -> Result<Option<Definition>, Problem> {
    let line = std::str::from_utf8(line).map_err(|error| Problem {
        place: Place::File(start.after(&line[..error.valid_up_to()])),
        kind: ProblemKind::NotUtf8,
    })?;
    let content = line.trim_start();
    if content.is_empty() || content.starts_with('#') || content.starts_with("//") {
        return Ok(None);
    }
    let place = Place::File(start.after(&line.as_bytes()[..line.len() - content.len()]));
    let (token, value) = line.split_once('=').ok_or(Problem { place, kind: ProblemKind::NoEqualsSign })?;
    if is_empty_name(token) {
        return Err(Problem { place, kind: ProblemKind::EmptyName });
    }
    let value_at = start.after(token.as_bytes()).after(b"=");
    Ok(Some(Definition { token: token.to_owned(), value: value.to_owned(), place, value_at }))
}

fn is_empty_name(name: &str) -> bool {
    name.trim().is_empty() || name.trim() == token("")
}

fn doubt(token: &str, place: Place) -> Option<Warning> {
    let is_word = token.chars().all(char::is_alphanumeric);
    let kind = if token.trim() != token {
        WarningKind::SpaceAroundName
    } else if !is_conventional(token) && (is_word || token.chars().count() < SHORT) {
        WarningKind::HitsByAccident
    } else {
        return None;
    };
    Some(Warning { place, token: token.to_owned(), kind })
}

/// Puts the values from the command line in place of the file's.
pub(super) fn apply(overrides: &[Override], parsed: &mut Parsed) {
    let mut given = HashSet::new();
    for Override { name, value } in overrides {
        let problem = |kind| Problem { place: Place::CommandLine, kind };
        if is_empty_name(name) {
            parsed.problems.push(problem(ProblemKind::EmptyName));
            continue;
        }
        let in_file = parsed.definitions.iter().any(|definition| definition.token == *name);
        let token = if in_file || is_conventional(name) { name.clone() } else { token(name) };
        if !given.insert(token.clone()) {
            parsed.problems.push(problem(ProblemKind::Duplicate { token, first: Place::CommandLine }));
            continue;
        }
        let value = value.clone();
        let new = Definition { token, value, place: Place::CommandLine, value_at: Position::START };
        match parsed.definitions.iter_mut().find(|definition| definition.token == new.token) {
            Some(definition) => *definition = new,
            None => parsed.definitions.push(new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[u8]) -> Vec<(String, String)> {
        let parsed = lines(text);
        assert_eq!(parsed.problems, []);
        parsed.definitions.into_iter().map(|definition| (definition.token, definition.value)).collect()
    }

    #[test]
    fn a_value_is_everything_behind_the_first_equals_sign() {
        for (line, value) in [
            ("<<__a__>>=plain", "plain"),
            ("<<__a__>>=", ""),
            ("<<__a__>>= spaces  kept ", " spaces  kept "),
            ("<<__a__>>=key==", "key=="),
            ("<<__a__>>==", "="),
            ("<<__a__>>=\"3306\"", "\"3306\""),
            ("<<__a__>>='true'", "'true'"),
            ("<<__a__>>=a&b/c\\1*,d", "a&b/c\\1*,d"),
            ("<<__a__>>=x # no comment", "x # no comment"),
            ("<<__a__>>=https://example.com/?q=1#top", "https://example.com/?q=1#top"),
            ("<<__a__>>=Zürich 🚢", "Zürich 🚢"),
            ("<<__a__>>=tab\there", "tab\there"),
            ("<<__a__>>=a\rb", "a\rb"),
        ] {
            let expected = [("<<__a__>>".to_owned(), value.to_owned())];
            for ending in ["", "\n", "\r\n"] {
                assert_eq!(pairs(format!("{line}{ending}").as_bytes()), expected, "{line:?} {ending:?}");
            }
        }
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        let text = "\u{feff}# <<__no__>>=1\r\n\r\n  \n// <<__no__>>=2\n  # indented\n<<__a__>>=1\n#=\n";
        assert_eq!(pairs(text.as_bytes()), [("<<__a__>>".to_owned(), "1".to_owned())]);
        assert_eq!(pairs(b""), []);
    }

    #[test]
    fn all_problems_at_once_with_line_and_column() {
        let text = b"<<__a__>>=1\nno equals sign\n  =value\n<<____>>=value\n<<__a__>>=2\n\xC3\xBC=\xFF\n<<__b__>>=1";
        let mut parsed = lines(text);
        apply(
            &[
                Override { name: String::new(), value: String::new() },
                Override { name: "a".to_owned(), value: String::new() },
                Override { name: "<<__a__>>".to_owned(), value: String::new() },
            ],
            &mut parsed,
        );
        let found: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "2:1: no `=` in the line; write <<__name__>>=value, or start a comment with #",
                "3:3: no name before the `=`",
                "4:1: no name before the `=`",
                "5:1: <<__a__>> is defined twice; first in line 1",
                "6:3: not UTF-8; save the file as UTF-8",
                "command line: no name before the `=`",
                "command line: <<__a__>> is defined twice; first on the command line too",
            ]
        );
    }

    #[test]
    fn any_literal_token_is_a_name_and_a_doubtful_one_a_warning() {
        let kinds = |text: &str| lines(text.as_bytes()).warnings.iter().map(|w| w.kind).collect::<Vec<_>>();
        for token in ["<<__a__>>", "CHANGE_ME", "my.domain.example", "@@region@@"] {
            assert_eq!(kinds(&format!("{token}=1")), [], "{token}");
        }
        for token in ["a", "a.b", "production", "<<__>>"] {
            let expected = [WarningKind::HitsByAccident];
            assert_eq!(kinds(&format!("{token}=1")), if token == "<<__>>" { &[][..] } else { &expected }, "{token}");
        }
        assert_eq!(kinds("<<__a__>> = 1"), [WarningKind::SpaceAroundName]);
    }
}
