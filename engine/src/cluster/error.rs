//! What can go wrong with the API server, and whether waiting helps.

use gitmoor_core::object::ObjectId;

/// The API server refused, or could not be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// No usable kubeconfig and not in a pod.
    #[error("no access to a cluster: {0}; set KUBECONFIG, or run in a pod with a ServiceAccount")]
    Configuration(String),
    /// No answer, or an answer that is none of the API's.
    #[error("the API server does not answer: {0}")]
    Unreachable(String),
    /// The API server refused the request.
    #[error("{message} ({reason}, {code})")]
    Refused {
        /// HTTP status.
        code: u16,
        /// Reason of the API's Status, such as `Invalid` or `Forbidden`.
        reason: String,
        /// Its message.
        message: String,
    },
}

impl ClusterError {
    /// The HTTP status, when the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Configuration(_) | Self::Unreachable(_) => None,
        }
    }

    /// The reason of the API's Status.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused { reason, .. } => reason,
            Self::Configuration(_) | Self::Unreachable(_) => "Unreachable",
        }
    }

    /// True when the object or the kind is not there.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// True when the object changed meanwhile, or the preconditions of a delete do not hold.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// True when the namespace of an object does not exist.
    pub fn is_missing_namespace(&self, id: &ObjectId) -> bool {
        let Self::Refused { code: 404, message, .. } = self else { return false };
        id.namespace
            .as_ref()
            .is_some_and(|namespace| message.contains(&format!("namespaces \"{namespace}\" not found")))
    }

    /// The error for an object; for Secrets without the server's message, which may quote values.
    pub fn about(self, id: &ObjectId) -> Self {
        match self {
            Self::Refused { code, reason, .. } if id.group_kind.is("", "Secret") => Self::Refused {
                code,
                reason,
                message: "refused; the message is withheld, because it may quote values".to_owned(),
            },
            other => other,
        }
    }
}

impl From<kube::Error> for ClusterError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                Self::Refused { code: status.code, reason: status.reason, message: status.message }
            }
            other => Self::Unreachable(chain(&other)),
        }
    }
}

/// The error and its causes in one line; kube's own text often says only which layer failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
