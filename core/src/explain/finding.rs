//! A finding: the cause in a sentence, the evidence, the way out.

use serde::Serialize;

/// What can be wrong. What explains more of the others comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Cause {
    /// Argo CD works on it, or on an object of it.
    LeftToArgoCd,
    /// Nobody follows the Application.
    NoAgent,
    /// A placeholder of setup.conf has no value.
    UnresolvedPlaceholder,
    /// The Application itself cannot be worked with.
    InvalidApplication,
    /// Its project refuses it, or something of it.
    ProjectViolation,
    /// The repository refuses the agent's credentials.
    RefusedCredentials,
    /// The repository cannot be fetched.
    RepositoryUnreachable,
    /// The branch, tag or commit does not exist.
    UnknownRevision,
    /// The folder does not exist.
    PathMissing,
    /// The chart, or its version, does not exist.
    ChartNotFound,
    /// What comes from elsewhere is not what the lock file says.
    LockMismatch,
    /// What comes from elsewhere may not be used, or is not there.
    RemoteRefused,
    /// A file of the repository cannot be read.
    BrokenFile,
    /// kustomize or helm refuses.
    RenderFailed,
    /// The cluster does not serve a kind.
    KindMissing,
    /// An object has a field that its kind does not have.
    UnknownField,
    /// An admission webhook does not answer.
    WebhookDown,
    /// A quota is used up.
    QuotaExceeded,
    /// A namespace does not exist.
    NamespaceMissing,
    /// The agent may not do something.
    Forbidden,
    /// The API server refuses an object.
    Rejected,
    /// A field cannot be changed.
    ImmutableField,
    /// AWS has no such secret.
    SecretMissing,
    /// AWS or the namespace's rules do not let it be read.
    SecretDenied,
    /// A secret cannot be read for another reason.
    SecretFailed,
    /// A volume claim waits for its volume.
    ClaimPending,
    /// An image cannot be pulled.
    ImageNotPulled,
    /// A container needs something that is not there.
    ContainerConfig,
    /// A container ends with an error, again and again.
    ContainerCrashes,
    /// No node takes a pod.
    Unschedulable,
    /// Pods cannot be created.
    PodsRefused,
    /// Two want the same object, or the same field.
    Contested,
    /// The last sync failed.
    SyncFailed,
    /// An object is not well for a reason that it says itself.
    Unhealthy,
    /// Deletions wait for people.
    PruneBlocked,
    /// An object is being deleted, and something holds it.
    Leaving,
    /// It differs from Git, and nobody has asked for a sync.
    NotSynced,
    /// Its automation is switched off.
    Suspended,
    /// Something that people should know.
    Warning,
    /// It is on its way.
    Progressing,
    /// It has left Git, and waits to be deleted: whatever is wrong with it, nothing waits for it.
    LeftGit,
}

/// Where in Git a cause may have come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: whatever was changed last there has nothing to do with it.
    Nowhere,
    /// The file in which the Application itself stands.
    Definition,
    /// Anything that the Application reads, and that file.
    Content,
}

impl Cause {
    /// Whether an Application of which nothing else is known is as people want it: they have switched its automation off.
    pub fn is_wanted(self) -> bool {
        self == Self::Suspended
    }

    /// Where in Git it may have come from.
    pub fn origin(self) -> Origin {
        match self {
            Self::LeftToArgoCd
            | Self::NoAgent
            | Self::RefusedCredentials
            | Self::RepositoryUnreachable
            | Self::WebhookDown
            | Self::SecretDenied
            | Self::SecretFailed
            | Self::NotSynced
            | Self::Suspended
            | Self::Progressing
            | Self::LeftGit => Origin::Nowhere,
            Self::InvalidApplication | Self::ProjectViolation | Self::UnknownRevision | Self::ChartNotFound => {
                Origin::Definition
            }
            _ => Origin::Content,
        }
    }
}

/// One thing that shows the cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// `condition`, `object`, `pod`, `event`, `log` or `commit`.
    pub what: &'static str,
    /// What it says.
    pub text: String,
}

/// Why an Application is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The kind of cause.
    pub cause: Cause,
    /// The cause in one sentence.
    pub sentence: String,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// What to do, the first thing first.
    pub remedy: Vec<String>,
    /// Files of the repository that it is about: who changed them last belongs to the evidence.
    pub files: Vec<String>,
    /// The Application below the explained one that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
}

impl Finding {
    /// A cause in a sentence.
    pub fn new(cause: Cause, sentence: impl AsRef<str>) -> Self {
        let sentence = crate::view::one_line(sentence.as_ref());
        Self { cause, sentence, evidence: Vec::new(), remedy: Vec::new(), files: Vec::new(), application: None }
    }

    /// With something that shows it; an empty text shows nothing.
    pub fn shown_by(mut self, what: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.evidence.push(Evidence { what, text });
        }
        self
    }

    /// With something to do.
    pub fn mended_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedy.push(remedy.into());
        self
    }

    /// With a file that it is about.
    pub fn about(mut self, file: impl Into<String>) -> Self {
        self.files.push(file.into());
        self
    }
}
