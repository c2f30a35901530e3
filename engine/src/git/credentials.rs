//! What a repository is opened with.

use gitmoor_core::sensitive::Sensitive;

/// How to authenticate; ssh keys and apps get variants of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// A repository that everybody may read.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// Name of the account; some servers take any name beside a token.
        username: String,
        /// Password or token.
        password: Sensitive<String>,
    },
}

impl Credentials {
    /// HTTP basic authentication with a password or token.
    pub fn basic(username: String, password: String) -> Self {
        Self::Basic { username, password: Sensitive::new(password) }
    }

    /// `text` without the password, for what a server or a library said.
    pub(super) fn scrub(&self, text: &str) -> String {
        match self {
            Self::Basic { password, .. } if password.expose().len() > 2 => text.replace(password.expose(), "***"),
            Self::Basic { .. } | Self::None => text.to_owned(),
        }
    }
}
