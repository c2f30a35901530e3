//! As whom AWS is asked: everything that decides what an answer may contain.

/// A session: reads are gathered only within one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// As whom.
    pub identity: Identity,
    /// In which region; `None` for the agent's own.
    pub region: Option<String>,
}

/// A whole credential identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// What it starts from.
    pub base: Base,
    /// Roles assumed on top, one after the other.
    pub roles: Vec<AssumedRole>,
}

/// What an identity starts from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Base {
    /// The agent's own: IRSA, Pod Identity, instance profile or environment.
    Agent,
    /// The role of a ServiceAccount.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Audiences of its token beside the usual one.
        audiences: Vec<String>,
    },
    /// Access keys in Secrets.
    Keys {
        /// `accessKeyIDSecretRef`.
        access_key: KeyRef,
        /// `secretAccessKeySecretRef`.
        secret_key: KeyRef,
        /// `sessionTokenSecretRef`.
        session_token: Option<KeyRef>,
    },
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyRef {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key.
    pub key: String,
}

/// A role that is assumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssumedRole {
    /// Its ARN.
    pub arn: String,
    /// External id.
    pub external_id: Option<String>,
    /// Tags of the session.
    pub tags: Vec<(String, String)>,
    /// Tags that later roles inherit.
    pub transitive_tags: Vec<String>,
}
