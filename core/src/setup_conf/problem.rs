//! What can be wrong with a setup.conf, and what is doubtful.

use std::fmt;

use super::ValueKind;
use crate::template::Position;

/// Where a name or value was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file.
    File(Position),
    /// On the command line.
    CommandLine,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(position) => position.fmt(f),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: ProblemKind,
}

/// What is wrong. The texts name placeholders, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// The line holds bytes that are no UTF-8.
    #[error("not UTF-8; save the file as UTF-8")]
    NotUtf8,
    /// The line is neither a comment nor a definition.
    #[error("no `=` in the line; write <<__name__>>=value, or start a comment with #")]
    NoEqualsSign,
    /// Nothing stands before the first `=`, or `<<____>>`.
    #[error("no name before the `=`")]
    EmptyName,
    /// The name has a value already.
    #[error("{token} is defined twice; first {}", first_place(*first))]
    Duplicate {
        /// The name.
        token: String,
        /// Where it was defined first.
        first: Place,
    },
    /// Values that mention each other in a circle.
    #[error("values that contain each other cannot be expanded: {}", tokens.join(" -> "))]
    Cycle {
        /// The way around; the first and the last are the same.
        tokens: Vec<String>,
    },
    /// Values that grow without measure when the names in them are expanded.
    #[error("the value of {token} gets too long when the names in it are expanded")]
    TooLong {
        /// Whose value.
        token: String,
    },
}

fn first_place(place: Place) -> String {
    match place {
        Place::File(position) => format!("in line {}", position.line),
        Place::CommandLine => "on the command line too".to_owned(),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.kind)
    }
}

/// Everything that is wrong with a setup.conf, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// One thing that is allowed but doubtful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// Which name.
    pub token: String,
    /// What.
    pub kind: WarningKind,
}

/// What is doubtful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WarningKind {
    /// A short token, or a plain word, stands in many places where it is not meant.
    #[error("replaces this text wherever it stands, also inside of words; <<__name__>> is safer")]
    HitsByAccident,
    /// A space beside the `=` belongs to the name.
    #[error("has a space at its start or end, which belongs to the name")]
    SpaceAroundName,
    /// The value is not what its name or its example asks for.
    #[error("has a value that is hardly {0}")]
    Doubtful(ValueKind),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.place, self.token, self.kind)
    }
}
