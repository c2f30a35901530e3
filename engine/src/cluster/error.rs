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
    /// A field was to be changed that cannot be changed.
    #[error(
        "{fields} cannot be changed once it is set ({message}); undo the change, delete the object, or have it made anew with the annotation argocd.argoproj.io/sync-options: Force=true"
    )]
    Immutable {
        /// The fields, as the API server names them.
        fields: String,
        /// Its message, or why the object is not made anew.
        message: String,
    },
}

impl ClusterError {
    /// The HTTP status, when the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Immutable { .. } => Some(422),
            Self::Configuration(_) | Self::Unreachable(_) => None,
        }
    }

    /// The reason of the API's Status.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused { reason, .. } => reason,
            Self::Immutable { .. } => "Invalid",
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

    /// True when the same request may be answered differently in a moment, whatever the object is: the server is
    /// busy, restarting or out of reach, or an admission webhook does not answer.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Configuration(_) | Self::Unreachable(_) => true,
            Self::Immutable { .. } => false,
            Self::Refused { code, .. } => matches!(code, 409 | 429 | 502..=504) || self.is_webhook_failure(),
        }
    }

    /// True when an admission webhook could not be asked (`apiserver/pkg/admission/plugin/webhook/errors`).
    pub fn is_webhook_failure(&self) -> bool {
        matches!(self, Self::Refused { code: 500, message, .. } if message.contains("failed calling webhook"))
    }

    /// True when an object has a field that its kind does not have: server-side apply refuses it against the schema, and
    /// strict validation when decoding.
    pub fn is_unknown_field(&self) -> bool {
        matches!(self, Self::Refused { code: 400 | 422 | 500, message, .. }
            if message.contains("field not declared in schema") || message.contains("unknown field \""))
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
        if self.is_missing_namespace(id) {
            return self;
        }
        match self {
            Self::Refused { code: 500, message, .. } if is_malformed(&message) => {
                Self::Refused { code: 422, reason: "Invalid".to_owned(), message }.about(id)
            }
            Self::Refused { code, reason, .. } if id.group_kind.is("", "Secret") => Self::Refused {
                code,
                reason,
                message: "refused; the message is withheld, because it may quote values".to_owned(),
            },
            Self::Immutable { fields, .. } if id.group_kind.is("", "Secret") => {
                Self::Immutable { fields, message: "the message is withheld, because it may quote values".to_owned() }
            }
            other => other,
        }
    }
}

/// A patch that does not fit the schema, or the Go type, is answered as if the server itself had failed
/// (apimachinery, `managedfields/internal/structuredmerge.go`).
fn is_malformed(message: &str) -> bool {
    message.starts_with("failed to create typed patch object")
        || message.contains("unable to convert unstructured object")
}

impl From<kube::Error> for ClusterError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match immutable_fields(&status) {
                Some(fields) => Self::Immutable { fields, message: status.message },
                None => Self::Refused { code: status.code, reason: status.reason, message: status.message },
            },
            other => Self::Unreachable(chain(&other)),
        }
    }
}

/// How validations say that a field cannot be changed (k8s.io/kubernetes, `pkg/apis/*/validation`; rules of definitions
/// speak of immutable values by habit).
const IMMUTABLE: [&str; 7] = [
    "immutable",
    "updates to ",
    "may not change once set",
    "cannot change ",
    "may not be changed",
    "cannot be changed",
    "may not be modified",
];

/// The fields that a refusal calls immutable; `None` when it is about something else too.
fn immutable_fields(status: &kube::core::Status) -> Option<String> {
    let causes = &status.details.as_ref().filter(|_| status.code == 422)?.causes;
    let immutable = |text: &str| IMMUTABLE.iter().any(|phrase| text.contains(phrase));
    if causes.is_empty() || !causes.iter().all(|cause| immutable(&cause.message)) {
        return None;
    }
    let mut fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
    fields.sort_unstable();
    fields.dedup();
    Some(fields.join(", "))
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

#[cfg(test)]
mod tests {
    use gitmoor_core::object::GroupKind;

    use super::*;

    fn refused(code: u16, message: &str) -> ClusterError {
        ClusterError::Refused { code, reason: String::new(), message: message.to_owned() }
    }

    fn object(kind: &str) -> ObjectId {
        ObjectId { group_kind: GroupKind::new("", kind), namespace: Some("web".into()), name: "a".into() }
    }

    #[test]
    fn errors_about_secrets_quote_nothing_but_a_missing_namespace() {
        let quoting = refused(
            500,
            "failed to create typed patch object (web/a; /v1, Kind=Secret): .data.a: expected string, got 1234",
        );
        let told = quoting.clone().about(&object("Secret"));
        assert_eq!(told.code(), Some(422), "an object that does not fit the schema is refused for good");
        assert!(!told.to_string().contains("1234"), "{told}");
        assert!(quoting.about(&object("ConfigMap")).to_string().contains("1234"));
        let undecodable = "failed to convert new object (/a; /v1, Kind=Secret) to proper version: unable to convert unstructured \
                           object to /v1, Kind=Secret: error decoding from json: illegal base64 data at input byte 3";
        assert_eq!(refused(500, undecodable).about(&object("Secret")).code(), Some(422));
        assert_eq!(refused(500, "etcdserver: request timed out").about(&object("Secret")).code(), Some(500));
        let missing = refused(404, "namespaces \"web\" not found").about(&object("Secret"));
        assert!(missing.is_missing_namespace(&object("Secret")), "{missing}");
    }
}
