//! Why a document cannot be read.

use thiserror::Error;

/// One document that cannot be read, and where. Holds names of keys, tags and anchors, but no values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("document {document}, line {line}, column {column}: {reason}")]
pub struct YamlError {
    /// Position of the document in the stream, from 1.
    pub document: usize,
    /// Line in the whole text, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: Reason,
}

impl YamlError {
    /// An error at a place in its chunk; the caller that knows the chunk sets the rest.
    pub(super) fn at(line: usize, column: usize, reason: Reason) -> Self {
        Self { document: 1, line, column, reason }
    }
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    /// The text is not YAML, or not JSON where it starts like JSON.
    #[error("{0}")]
    Syntax(String),
    /// A mapping has a key twice, also when it is written in two ways, like `1` and `"1"`.
    #[error("duplicate key `{key}`{}; remove one of them", first_on(*.first_line))]
    DuplicateKey {
        /// The key, as JSON has it.
        key: String,
        /// Line of the first one, where it is known.
        first_line: Option<usize>,
    },
    /// Keys become strings; this one cannot.
    #[error("{0} cannot be a key; quote it if text is meant")]
    Key(&'static str),
    /// The value is not what its tag says.
    #[error("value is not a `{0}`")]
    Tag(&'static str),
    /// `!!binary` is given as base64.
    #[error("`!!binary` value is not base64")]
    Base64,
    /// `.inf` and `.nan` have no form in JSON.
    #[error("infinity and not-a-number cannot be written as JSON; quote the value if text is meant")]
    NotFinite,
    /// `<<` with something else to merge.
    #[error("`<<` takes a mapping or a list of mappings")]
    Merge,
    /// An alias inside of what it stands for.
    #[error("alias stands inside the value of its own anchor")]
    AliasInItself,
    /// kubectl allows a comment behind `---` and nothing else.
    #[error("text after the document separator `---`; put it on the next line")]
    Separator,
    /// kubectl would drop it in silence.
    #[error("a second document without `---` in front of it")]
    SecondDocument,
    /// A character that YAML does not allow unescaped, or that breaks lines in one of its versions only.
    #[error("character U+{0:04X} is not allowed here; write it escaped in double quotes")]
    ControlCharacter(u32),
    /// See [`Limits::bytes`](super::Limits::bytes).
    #[error("{bytes} bytes of text, more than the {limit} allowed")]
    TooLarge {
        /// What was given.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// See [`Limits::nodes`](super::Limits::nodes).
    #[error("more than {limit} values, with those that aliases repeat")]
    TooManyNodes {
        /// What is allowed.
        limit: usize,
    },
    /// See [`Limits::bytes`](super::Limits::bytes).
    #[error("aliases repeat more than {limit} bytes")]
    TooManyRepeatedBytes {
        /// What is allowed.
        limit: usize,
    },
    /// See [`Limits::depth`](super::Limits::depth).
    #[error("more than {limit} mappings and lists inside each other")]
    TooDeep {
        /// What is allowed.
        limit: usize,
    },
}

impl Reason {
    /// Turns lines of a chunk into lines of the text.
    pub(super) fn moved_down(self, lines: usize) -> Self {
        match self {
            Self::DuplicateKey { key, first_line } => {
                Self::DuplicateKey { key, first_line: first_line.map(|line| line + lines) }
            }
            other => other,
        }
    }

    /// Whether no later document can be read either.
    pub(super) fn ends_the_stream(&self) -> bool {
        matches!(self, Self::TooManyNodes { .. } | Self::TooManyRepeatedBytes { .. })
    }
}

fn first_on(line: Option<usize>) -> String {
    line.map(|line| format!(", first on line {line}")).unwrap_or_default()
}
