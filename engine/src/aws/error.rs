//! Errors of AWS, without request ids and credentials, so that the same error reads the same each time.

use std::error::Error;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use gitmoor_core::secrets::reading::ReadError;

/// AWS refused, or could not be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// AWS answered with an error.
    #[error("{code}: {message}")]
    Refused {
        /// Its code.
        code: String,
        /// Its message, cleaned.
        message: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer in time, or none at all.
    #[error("AWS does not answer: {0}")]
    Unreachable(String),
    /// There are no credentials to ask with.
    #[error("no credentials for AWS: {0}")]
    NoCredentials(String),
}

/// A role that AWS gives no session of: why there are no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{role} cannot be assumed: {error}")]
pub(super) struct NotAssumed {
    /// The role.
    pub(super) role: String,
    /// Why.
    pub(super) error: AwsError,
}

const THROTTLING: &[&str] =
    &["Throttl", "TooManyRequests", "RequestLimitExceeded", "LimitExceeded", "SlowDown", "RequestThrottled"];
const DENIED: &[&str] = &["AccessDenied", "UnauthorizedOperation"];
const BAD_CREDENTIALS: &[&str] = &[
    "ExpiredToken",
    "UnrecognizedClient",
    "InvalidClientTokenId",
    "InvalidSignature",
    "SignatureDoesNotMatch",
    "MissingAuthenticationToken",
    "IncompleteSignature",
];
const UNAVAILABLE: &[&str] = &["InternalService", "InternalFailure", "InternalServer", "ServiceUnavailable"];

impl AwsError {
    /// By the code that AWS gives for one key of a batch.
    pub(super) fn of_entry(code: &str, message: &str) -> Self {
        Self::Refused { code: code.to_owned(), message: clean(message), status: 400 }
    }

    /// AWS throttles.
    pub fn is_throttled(&self) -> bool {
        matches!(self, Self::Refused { code, status, .. } if *status == 429 || is_one(code, THROTTLING))
    }

    /// What a read shows for it.
    pub fn read_error(&self) -> ReadError {
        match self {
            _ if self.is_throttled() => ReadError::Throttled,
            Self::Unreachable(why) => ReadError::Unavailable(format!("AWS does not answer: {why}")),
            Self::NoCredentials(why) => ReadError::NoCredentials(why.clone()),
            Self::Refused { code, message, status } => match code.as_str() {
                "ResourceNotFoundException" | "ParameterNotFound" | "ParameterVersionNotFound" => ReadError::NotFound,
                code if is_one(code, DENIED) => ReadError::Denied(action(message)),
                code if is_one(code, BAD_CREDENTIALS) => ReadError::NoCredentials(format!("AWS refuses them: {code}")),
                code if *status >= 500 || is_one(code, UNAVAILABLE) => {
                    ReadError::Unavailable(format!("AWS has an error of its own ({code})"))
                }
                code => ReadError::Refused(format!("{code}: {message}")),
            },
        }
    }
}

fn is_one(code: &str, list: &[&str]) -> bool {
    list.iter().any(|start| code.starts_with(start))
}

/// The operation that a message says is denied: `not authorized to perform: ssm:GetParameters on resource`.
fn action(message: &str) -> String {
    let named = message.split_once("to perform: ").and_then(|(_, rest)| rest.split_whitespace().next());
    named.unwrap_or("access").trim_end_matches(['.', ',']).to_owned()
}

/// Without request ids, credentials and other parts that differ each time.
fn clean(message: &str) -> String {
    let mut kept = Vec::new();
    let mut words = message.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let lower = word.to_ascii_lowercase();
        if lower.starts_with("credential=") || lower.starts_with("signature=") {
            continue;
        }
        let next_is_id = words.peek().is_some_and(|next| next.eq_ignore_ascii_case("id:"));
        if lower.trim_start_matches(['(', ',']).starts_with("request") && next_is_id {
            words.next();
            words.next();
            continue;
        }
        if lower.starts_with("requestid:") || lower.starts_with("(requestid:") {
            words.next();
            continue;
        }
        kept.push(word);
    }
    let text = kept.join(" ");
    text.chars().take(300).collect()
}

impl<E, R> From<SdkError<E, R>> for AwsError
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
    SdkError<E, R>: StatusOf,
{
    fn from(error: SdkError<E, R>) -> Self {
        let status = error.status();
        match &error {
            SdkError::ServiceError(refusal) => {
                let meta = refusal.err().meta();
                Self::Refused {
                    code: meta.code().unwrap_or("Unknown").to_owned(),
                    message: clean(meta.message().unwrap_or_default()),
                    status: status.unwrap_or_default(),
                }
            }
            SdkError::TimeoutError(_) => Self::Unreachable("it takes too long".to_owned()),
            other => failure(other, status),
        }
    }
}

/// The SDK's own wording of what happened before AWS could refuse.
fn failure<E: Error + 'static, R: std::fmt::Debug + 'static>(error: &SdkError<E, R>, status: Option<u16>) -> AwsError {
    let mut source: Option<&dyn Error> = Some(error);
    let mut last = String::new();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<aws_credential_types::provider::error::CredentialsError>() {
            return no_credentials(cause);
        }
        last = cause.to_string();
        source = cause.source();
    }
    match (error, status) {
        (SdkError::ResponseError(_), Some(status)) => {
            AwsError::Refused { code: "Unknown".to_owned(), message: "no readable answer".to_owned(), status }
        }
        _ => AwsError::Unreachable(clean(&last)),
    }
}

/// Why there are no credentials: because nothing answers, which a role does not mend, or because there are none.
fn no_credentials(error: &dyn Error) -> AwsError {
    match error.source().and_then(|cause| cause.downcast_ref::<NotAssumed>()) {
        Some(NotAssumed { role, error: AwsError::Unreachable(why) }) => {
            AwsError::Unreachable(format!("{role} cannot be assumed: {why}"))
        }
        _ => AwsError::NoCredentials(clean(&error.source().map_or_else(|| error.to_string(), ToString::to_string))),
    }
}

/// The HTTP status of an answer.
pub trait StatusOf {
    /// It, when there was an answer.
    fn status(&self) -> Option<u16>;
}

impl<E> StatusOf for SdkError<E, aws_sdk_sts::config::http::HttpResponse> {
    fn status(&self) -> Option<u16> {
        self.raw_response().map(|response| response.status().as_u16())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aws_that_does_not_answer_is_no_lack_of_a_role() {
        use aws_credential_types::provider::error::CredentialsError;
        let of = |error: AwsError| {
            no_credentials(&CredentialsError::provider_error(NotAssumed { role: "arn:a".to_owned(), error }))
        };
        let silent = of(AwsError::Unreachable("failed to lookup address".to_owned()));
        assert_eq!(silent.to_string(), "AWS does not answer: arn:a cannot be assumed: failed to lookup address");
        let denied = of(AwsError::of_entry("AccessDenied", "no"));
        assert_eq!(denied, AwsError::NoCredentials("arn:a cannot be assumed: AccessDenied: no".to_owned()));
    }

    #[test]
    fn messages_are_the_same_each_time() {
        for (message, expected) in [
            ("it failed (Service: X; Request ID: 1-2-3; more", "it failed (Service: X; more"),
            ("denied request id: abc", "denied"),
            ("bad Credential=AKIA/x Signature=123", "bad"),
        ] {
            assert_eq!(clean(message), expected);
        }
        let denied = AwsError::of_entry(
            "AccessDeniedException",
            "User: arn:x is not authorized to perform: secretsmanager:GetSecretValue on resource: y",
        );
        assert_eq!(denied.read_error(), ReadError::Denied("secretsmanager:GetSecretValue".into()));
        assert!(AwsError::of_entry("ThrottlingException", "").is_throttled());
        assert_eq!(AwsError::of_entry("ResourceNotFoundException", "").read_error(), ReadError::NotFound);
    }
}
