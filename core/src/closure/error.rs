//! What stands in the way of a read-set.

use std::fmt;

use super::ReadSet;
use crate::tree::{RepoPath, TreeError, TreeErrorKind};

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: RepoPath,
    /// The line in it, from 1, where it is known.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => write!(f, "{}", self.file),
        }
    }
}

/// One thing that stands in the way. Each names the file and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The Application's folder is not in the repository at this commit.
    #[error("the path {path} does not exist at this commit; correct the Application's path or push the folder")]
    PathNotFound {
        /// The folder.
        path: RepoPath,
    },
    /// The Application's path is a file.
    #[error("the path {path} is a file; name the folder that holds it")]
    NotAFolder {
        /// The file.
        path: RepoPath,
    },
    /// A kustomization names a path that is not there.
    #[error("{at}: {field} names {path}, which does not exist at this commit; push the file or remove the entry")]
    Missing {
        /// Where it is named.
        at: Place,
        /// The field that names it.
        field: &'static str,
        /// What it resolves to.
        path: RepoPath,
    },
    /// A kustomization names a folder without a kustomization file.
    #[error("{at}: {field} names the folder {path}, which has no kustomization.yaml; add one or name its files")]
    NoKustomization {
        /// Where it is named.
        at: Place,
        /// The field that names it.
        field: &'static str,
        /// The folder.
        path: RepoPath,
    },
    /// A folder has more than one kustomization file.
    #[error("{path} has {}; keep one", .names.join(" and "))]
    Ambiguous {
        /// The folder.
        path: RepoPath,
        /// The files.
        names: Vec<&'static str>,
    },
    /// A path is absolute or leaves the repository.
    #[error("{at}: {field} names {text:?}, which is not a path inside the repository; use a relative one")]
    Outside {
        /// Where it is named.
        at: Place,
        /// The field that names it.
        field: &'static str,
        /// As it is written.
        text: String,
    },
    /// A symbolic link cannot be followed.
    #[error("{link} is a symbolic link that {reason}; replace it by a relative link inside the repository")]
    Link {
        /// The link.
        link: RepoPath,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path leads into a submodule.
    #[error("{path} is a Git submodule, which is not supported; commit the files or name the other repository")]
    Submodule {
        /// The submodule.
        path: RepoPath,
    },
    /// Something from elsewhere that cannot be had.
    #[error("{at}: {field} names {text}, which {reason}")]
    Remote {
        /// Where it is named.
        at: Place,
        /// The field that names it.
        field: &'static str,
        /// What it is, without credentials.
        text: String,
        /// Why not, and the way out.
        reason: String,
        /// The class of the failure.
        category: Category,
    },
    /// The lock file cannot be used, and something from elsewhere needs it.
    #[error("{at} {reason}")]
    Lock {
        /// Where.
        at: Place,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// Something is wrong in what comes from elsewhere.
    #[error("in {remote}: {problem}")]
    Within {
        /// What comes from elsewhere.
        remote: String,
        /// What is wrong in it.
        problem: Box<Problem>,
    },
    /// Something that is not rendered yet.
    #[error("{at}: {what} is not supported yet")]
    Unsupported {
        /// Where it is asked for.
        at: Place,
        /// What is asked for.
        what: &'static str,
    },
    /// A base contains the kustomization that uses it.
    #[error("{at}: {field} names {path}, which contains what uses it; remove the cycle")]
    Cycle {
        /// Where it is named.
        at: Place,
        /// The field that names it.
        field: &'static str,
        /// The folder.
        path: RepoPath,
    },
    /// A document that has to be read for the paths in it is no YAML.
    #[error("{at}: cannot be read as YAML: {reason}")]
    Unreadable {
        /// Where reading stopped.
        at: Place,
        /// What the reader said.
        reason: String,
    },
    /// A file with values that is not there.
    #[error("{field} names {text:?}, and {path} {what}; push it, or correct the Application")]
    NoValueFile {
        /// The option that names it.
        field: &'static str,
        /// As it is written.
        text: String,
        /// What that resolves to.
        path: RepoPath,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The folder is to be rendered as a chart and is none.
    #[error("{path} has no Chart.yaml; correct the Application's path, or remove its options for Helm")]
    NoChart {
        /// The folder.
        path: RepoPath,
    },
    /// The folder is to be rendered as something that it is not.
    #[error("{path} has no {what}, which the options in {field} need; remove them, or add the file")]
    NotWhatIsAskedFor {
        /// The folder.
        path: RepoPath,
        /// The options.
        field: String,
        /// The file that is missing.
        what: &'static str,
    },
    /// A limit on the input is exceeded.
    #[error("{path}: {what} (limit {limit}); split the application")]
    TooLarge {
        /// Where it happened.
        path: RepoPath,
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// The repository could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// The class of an error: condition reason, event reason and metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// The Application's folder does not exist.
    PathNotFound,
    /// Something that is not supported.
    Unsupported,
    /// What stands in the repository cannot be rendered.
    InvalidSource,
    /// A limit is exceeded.
    SourceTooLarge,
    /// The repository could not be read; trying again may help.
    RepositoryUnreadable,
    /// What comes from elsewhere cannot be reached; trying again may help.
    RemoteUnreachable,
    /// What comes from elsewhere is refused: by its server, or because it may not be fetched.
    RemoteRefused,
    /// What comes from elsewhere is not what the lock file says.
    LockMismatch,
}

impl Category {
    /// The word that stands in conditions, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PathNotFound => "PathNotFound",
            Self::Unsupported => "Unsupported",
            Self::InvalidSource => "InvalidSource",
            Self::SourceTooLarge => "SourceTooLarge",
            Self::RepositoryUnreadable => "RepositoryUnreadable",
            Self::RemoteUnreachable => "RemoteUnreachable",
            Self::RemoteRefused => "RemoteRefused",
            Self::LockMismatch => "LockMismatch",
        }
    }
}

impl Problem {
    /// The class that this problem belongs to.
    pub fn category(&self) -> Category {
        match self {
            Self::PathNotFound { .. } | Self::NotAFolder { .. } => Category::PathNotFound,
            Self::Submodule { .. } | Self::Unsupported { .. } => Category::Unsupported,
            Self::Remote { category, .. } => *category,
            Self::Within { problem, .. } => problem.category(),
            Self::TooLarge { .. } => Category::SourceTooLarge,
            Self::Tree(error) => match error.kind {
                TreeErrorKind::Unreadable => Category::RepositoryUnreadable,
                TreeErrorKind::TooLarge => Category::SourceTooLarge,
                TreeErrorKind::Invalid => Category::InvalidSource,
            },
            Self::Missing { .. }
            | Self::NoKustomization { .. }
            | Self::Ambiguous { .. }
            | Self::Outside { .. }
            | Self::Link { .. }
            | Self::Cycle { .. }
            | Self::NoValueFile { .. }
            | Self::NoChart { .. }
            | Self::NotWhatIsAskedFor { .. }
            | Self::Lock { .. }
            | Self::Unreadable { .. } => Category::InvalidSource,
        }
    }
}

/// All that stands in the way of one read-set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosureError {
    /// At least one problem, in the order of the walk.
    pub problems: Vec<Problem>,
    /// What was looked at: a change to any of it may mend the problem, so it belongs into the [`super::PathIndex`].
    pub read_set: Box<ReadSet>,
}

impl ClosureError {
    /// The class of the gravest problem: a repository that cannot be read says nothing about its content.
    pub fn category(&self) -> Category {
        self.problems
            .iter()
            .map(Problem::category)
            .max_by_key(|category| gravity(*category))
            .unwrap_or(Category::InvalidSource)
    }
}

fn gravity(category: Category) -> u8 {
    match category {
        Category::Unsupported => 0,
        Category::InvalidSource => 1,
        Category::SourceTooLarge => 2,
        Category::PathNotFound => 3,
        Category::LockMismatch => 4,
        Category::RemoteRefused => 5,
        Category::RemoteUnreachable => 6,
        Category::RepositoryUnreadable => 7,
    }
}

impl fmt::Display for ClosureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ClosureError {}
