//! What libgit2's errors mean to somebody who waits for a repository.

use git2::{ErrorClass, ErrorCode};
use serde::{Deserialize, Serialize};

use super::FetchErrorKind;
use crate::reach::{ConnectError, FORBIDDEN};

/// A failed fetch inside the child: no address, no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub kind: FetchErrorKind,
    pub reason: String,
}

impl Failure {
    pub(super) fn new(kind: FetchErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    /// Of a server that is not connected to.
    pub(super) fn of_connection(server: &str, error: ConnectError) -> Self {
        match error {
            ConnectError::Forbidden => Self::new(FetchErrorKind::ForbiddenAddress, FORBIDDEN),
            ConnectError::Unreachable(error) => Self::new(FetchErrorKind::Unreachable, format!("{server}: {error}")),
        }
    }

    /// Of a call that talks to the server.
    pub(super) fn from_remote(error: &git2::Error) -> Self {
        let said =
            if error.class() == ErrorClass::Ssh { first_line(error.message()) } else { error.message().to_owned() };
        Self::new(remote_kind(error.code(), error.class(), &said), said)
    }
}

/// Of a call that only touches the mirror.
impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        let kind = match error.class() {
            ErrorClass::NoMemory => FetchErrorKind::TooLarge,
            ErrorClass::Os | ErrorClass::Filesystem => FetchErrorKind::Other,
            _ if error.code() == ErrorCode::Owner => FetchErrorKind::Other,
            _ => FetchErrorKind::Corrupt,
        };
        Self::new(kind, error.message())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let out_of_memory = error.kind() == std::io::ErrorKind::OutOfMemory;
        let kind = if out_of_memory { FetchErrorKind::TooLarge } else { FetchErrorKind::Other };
        Self::new(kind, format!("the mirror's folder: {error}"))
    }
}

fn remote_kind(code: ErrorCode, class: ErrorClass, message: &str) -> FetchErrorKind {
    use FetchErrorKind as Kind;
    let text = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match (code, class) {
        (ErrorCode::Auth, _) => Kind::RefusedCredentials,
        (ErrorCode::Timeout, _) => Kind::TimedOut,
        (ErrorCode::Certificate, _) => Kind::UntrustedCertificate,
        (_, ErrorClass::Ssl) if says(&["certificate", "self-signed", "self signed"]) => Kind::UntrustedCertificate,
        (_, ErrorClass::NoMemory) => Kind::TooLarge,
        (_, ErrorClass::Http) => http_kind(&text),
        (_, ErrorClass::Ssh) if says(&["not found", "not exist", "not appear to be a git repository", "not a git"]) => {
            Kind::NotARepository
        }
        (_, ErrorClass::Ssh) if says(&["denied", "private key", "publickey", "authenticat"]) => {
            Kind::RefusedCredentials
        }
        (_, ErrorClass::Net) if says(&["not found", "does not exist", "unsupported url protocol"]) => {
            Kind::NotARepository
        }
        (_, ErrorClass::Net) if says(&["redirect"]) => Kind::Other,
        (_, ErrorClass::Net | ErrorClass::Ssl | ErrorClass::Ssh) => Kind::Unreachable,
        (_, ErrorClass::Os) if says(&["failed to resolve path"]) => Kind::NotARepository,
        (_, ErrorClass::Os) if says(&["connect", "socket", "network", "resolve"]) => Kind::Unreachable,
        (ErrorCode::NotFound, ErrorClass::Repository | ErrorClass::Os) => Kind::NotARepository,
        (_, ErrorClass::Indexer | ErrorClass::Zlib | ErrorClass::Odb | ErrorClass::Object | ErrorClass::Reference) => {
            Kind::Corrupt
        }
        _ => Kind::Other,
    }
}

/// What a server of ssh says goes through a buffer of libgit2 that may hold more behind it.
fn first_line(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// By the status that the server answered with.
fn http_kind(text: &str) -> FetchErrorKind {
    let status = text.rsplit_once("status code: ").and_then(|(_, digits)| digits.trim().parse::<u16>().ok());
    match status {
        Some(401 | 403) => FetchErrorKind::RefusedCredentials,
        Some(404 | 410) => FetchErrorKind::NotARepository,
        Some(408 | 429 | 500..) => FetchErrorKind::Unreachable,
        None if text.contains("content-type") => FetchErrorKind::NotARepository,
        None if text.contains("authentication") => FetchErrorKind::RefusedCredentials,
        _ => FetchErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_errors_have_a_category() {
        use FetchErrorKind as Kind;
        let cases = [
            (ErrorCode::Auth, ErrorClass::Http, "no callback set", Kind::RefusedCredentials),
            (ErrorCode::GenericError, ErrorClass::Http, "unexpected http status code: 403", Kind::RefusedCredentials),
            (ErrorCode::GenericError, ErrorClass::Http, "unexpected http status code: 404", Kind::NotARepository),
            (ErrorCode::GenericError, ErrorClass::Http, "unexpected http status code: 503", Kind::Unreachable),
            (ErrorCode::GenericError, ErrorClass::Http, "unexpected http status code: 418", Kind::Other),
            (ErrorCode::GenericError, ErrorClass::Http, "invalid content-type: 'text/html'", Kind::NotARepository),
            (
                ErrorCode::GenericError,
                ErrorClass::Net,
                "failed to resolve address for host: no such",
                Kind::Unreachable,
            ),
            (ErrorCode::GenericError, ErrorClass::Net, "cannot redirect from 'a' to 'b'", Kind::Other),
            (
                ErrorCode::GenericError,
                ErrorClass::Os,
                "failed to connect to host: Connection refused",
                Kind::Unreachable,
            ),
            (ErrorCode::GenericError, ErrorClass::Os, "failed to write: No space left on device", Kind::Other),
            (ErrorCode::Certificate, ErrorClass::Ssl, "the SSL certificate is invalid", Kind::UntrustedCertificate),
            (ErrorCode::GenericError, ErrorClass::NoMemory, "out of memory", Kind::TooLarge),
            (ErrorCode::GenericError, ErrorClass::Indexer, "corrupted packfile", Kind::Corrupt),
            (ErrorCode::Eof, ErrorClass::Ssh, "ERROR: Repository not found.", Kind::NotARepository),
            (ErrorCode::GenericError, ErrorClass::Ssh, "failed to start SSH session: x", Kind::Unreachable),
        ];
        for (code, class, message, kind) in cases {
            assert_eq!(remote_kind(code, class, message), kind, "{message}");
        }
    }
}
