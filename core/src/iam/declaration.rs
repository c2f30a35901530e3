//! One declared role or user: `distribution/iam/NAME.yaml`.

use serde::Deserialize;

use super::{ArnError, RoleArn};

/// A role or user of IAM that a component needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Name of the file, without `.yaml`.
    pub name: String,
    /// What it is for, in one line.
    pub description: Option<String>,
    /// The Application that needs it; without the Application it is left out.
    pub application: Option<String>,
    /// The environment that needs it; in another one it is left out.
    pub environment: Option<String>,
    /// Who uses it.
    pub principal: Principal,
    /// File of the permission policy, beside this one.
    pub policy: Option<String>,
    /// ARNs of policies that AWS manages.
    pub managed_policies: Vec<String>,
}

/// Who gets the permissions, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Pods with this ServiceAccount, by their token (IRSA).
    ServiceAccount {
        /// Namespace of the ServiceAccount.
        namespace: String,
        /// Its name.
        name: String,
        /// The role they assume.
        role: RoleArn,
    },
    /// The ServiceAccount of another declaration, on behalf of a namespace.
    AssumedBy {
        /// Name of that declaration, such as the agent's.
        declaration: String,
        /// The namespace whose objects may name the role.
        namespace: String,
        /// The role.
        role: RoleArn,
    },
    /// A user with static keys, for what cannot assume a role.
    User {
        /// Its name.
        name: String,
        /// The secret of Secrets Manager that its keys are put into.
        secret: String,
    },
    /// The role or user of another declaration, which gets more permissions.
    AddedTo {
        /// Name of that declaration.
        declaration: String,
    },
}

impl Principal {
    /// The role, when it is one.
    pub fn role(&self) -> Option<&RoleArn> {
        match self {
            Self::ServiceAccount { role, .. } | Self::AssumedBy { role, .. } => Some(role),
            Self::User { .. } | Self::AddedTo { .. } => None,
        }
    }

    /// The namespace that it is tied to.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount { namespace, .. } | Self::AssumedBy { namespace, .. } => Some(namespace),
            Self::User { .. } | Self::AddedTo { .. } => None,
        }
    }
}

/// Why a file declares nothing.
#[derive(Debug, thiserror::Error)]
pub enum DeclarationError {
    /// Not YAML, or not these fields.
    #[error(transparent)]
    Syntax(#[from] serde_yaml::Error),
    /// Fields that do not go together.
    #[error("{0}")]
    Fields(&'static str),
    /// The role is none.
    #[error(transparent)]
    Role(#[from] ArnError),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    description: Option<String>,
    application: Option<String>,
    environment: Option<String>,
    namespace: Option<String>,
    service_account: Option<String>,
    assumed_by: Option<String>,
    role: Option<String>,
    user: Option<String>,
    secret: Option<String>,
    added_to: Option<String>,
    policy: Option<String>,
    #[serde(default)]
    managed_policies: Vec<String>,
}

/// What a file says, before its role is looked at: what is left out need not have values for its placeholders.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    name: String,
    raw: Raw,
}

const FORMS: &str = "either namespace, serviceAccount and role; or assumedBy, namespace and role; or user and secret; \
                     or addedTo and policy";

impl Draft {
    /// Reads the text of `distribution/iam/NAME.yaml`.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, serde_yaml::Error> {
        Ok(Self { name: name.to_owned(), raw: serde_yaml::from_str(text)? })
    }

    pub(super) fn application(&self) -> Option<&str> {
        self.raw.application.as_deref()
    }

    pub(super) fn environment(&self) -> Option<&str> {
        self.raw.environment.as_deref()
    }

    pub(super) fn policy(&self) -> Option<&str> {
        self.raw.policy.as_deref()
    }

    /// What is declared.
    pub(super) fn declaration(self) -> Result<Declaration, DeclarationError> {
        let Self { name, raw } = self;
        let Raw { namespace, service_account, assumed_by, role, user, secret, added_to, .. } = raw;
        let Raw { description, application, environment, policy, managed_policies, .. } = raw;
        let role = role.as_deref().map(RoleArn::parse).transpose()?;
        let principal = match (service_account, assumed_by, user, namespace, role, secret, added_to) {
            (Some(name), None, None, Some(namespace), Some(role), None, None) => {
                Principal::ServiceAccount { namespace, name, role }
            }
            (None, Some(declaration), None, Some(namespace), Some(role), None, None) => {
                Principal::AssumedBy { declaration, namespace, role }
            }
            (None, None, Some(name), None, None, Some(secret), None) => Principal::User { name, secret },
            // One file says all about who has a policy: that of AWS would have to be said twice.
            (None, None, None, None, None, None, Some(declaration)) if managed_policies.is_empty() => {
                Principal::AddedTo { declaration }
            }
            _ => return Err(DeclarationError::Fields(FORMS)),
        };
        Ok(Declaration { name, description, application, environment, principal, policy, managed_policies })
    }
}

impl Declaration {
    /// Reads the text of `distribution/iam/NAME.yaml`.
    pub fn parse(name: &str, text: &str) -> Result<Self, DeclarationError> {
        Draft::parse(name, text)?.declaration()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "role: arn:aws:iam::123456789012:role/a\n";

    #[test]
    fn the_four_forms() {
        let text = format!("namespace: mlflow\nserviceAccount: mlflow-sa\n{ROLE}policy: mlflow.json\n");
        let declared = Declaration::parse("mlflow", &text).unwrap();
        assert_eq!(declared.principal.namespace(), Some("mlflow"));
        assert_eq!(declared.principal.role().unwrap().name, "a");
        let declared = Declaration::parse("x", &format!("assumedBy: agent\nnamespace: web\n{ROLE}")).unwrap();
        assert!(matches!(declared.principal, Principal::AssumedBy { .. }));
        let declared =
            Declaration::parse("x", "user: u\nsecret: s\nmanagedPolicies: [arn:aws:iam::aws:policy/P]").unwrap();
        assert!(matches!(declared.principal, Principal::User { .. }));
        let declared = Declaration::parse("x", "addedTo: u\npolicy: more.json").unwrap();
        assert!(matches!(declared.principal, Principal::AddedTo { .. }));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (text, expected) in [
            ("namespace: a\n", "either namespace"),
            (&format!("namespace: a\nserviceAccount: b\nuser: c\n{ROLE}"), "either namespace"),
            ("namespace: a\nserviceAccount: b\nrole: x\n", "is not the ARN of a role"),
            ("addedTo: a\nuser: b\nsecret: c\n", "or addedTo"),
            ("addedTo: a\nmanagedPolicies: [arn:aws:iam::aws:policy/P]", "or addedTo"),
            ("namespce: a\n", "unknown field `namespce`"),
            ("[]", "invalid type"),
        ] {
            let error = Declaration::parse("x", text).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
