//! What a server is opened with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_core::sensitive::Sensitive;

/// How to authenticate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// What everybody may read.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// Name of the account; some servers take any name beside a token.
        username: String,
        /// Password or token.
        password: Sensitive<String>,
    },
    /// A token in the header `Authorization`.
    Bearer(Sensitive<String>),
    /// A private key for ssh, as OpenSSH or PEM files have it.
    SshKey(Sensitive<String>),
}

impl Credentials {
    /// HTTP basic authentication with a password or token.
    pub fn basic(username: String, password: String) -> Self {
        Self::Basic { username, password: Sensitive::new(password) }
    }

    /// Value of the header `Authorization`; none where there is nothing for HTTP.
    pub(crate) fn authorization(&self) -> Option<Sensitive<String>> {
        match self {
            Self::Basic { username, password } => {
                let pair = Sensitive::new(format!("{username}:{}", password.expose()));
                Some(Sensitive::new(format!("Basic {}", STANDARD.encode(pair.expose()))))
            }
            Self::Bearer(token) => Some(Sensitive::new(format!("Bearer {}", token.expose()))),
            Self::None | Self::SshKey(_) => None,
        }
    }

    /// `text` without the secret, for what a server or a library said.
    pub(crate) fn scrub(&self, text: &str) -> String {
        match self {
            Self::Basic { password: secret, .. } | Self::Bearer(secret) if secret.expose().len() > 2 => {
                text.replace(secret.expose(), "***")
            }
            Self::SshKey(key) => {
                let lines =
                    key.expose().lines().map(str::trim).filter(|line| line.len() > 16 && !line.contains("-----"));
                lines.fold(text.to_owned(), |text, line| text.replace(line, "***"))
            }
            Self::Basic { .. } | Self::Bearer(_) | Self::None => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_shown_without_the_secret() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
        for (credentials, secret) in [
            (Credentials::basic("me".to_owned(), "hunter2".to_owned()), "hunter2"),
            (Credentials::Bearer(Sensitive::new("hunter2".to_owned())), "hunter2"),
            (Credentials::SshKey(Sensitive::new(key.to_owned())), "b3BlbnNzaC1rZXktdjEAAAAA"),
        ] {
            assert_eq!(credentials.scrub(&format!("you said {secret}")), "you said ***");
            assert!(!format!("{credentials:?}").contains(secret));
        }
    }
}
