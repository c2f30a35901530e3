//! Which namespace may use which identity: the agent must not become a deputy of namespaces that have no right.
//!
//! Credentials that a namespace brings itself (a ServiceAccount's, access keys) are its own affair. What is reached
//! with the **agent's** credentials has to be allowed: a role by the namespace's annotation
//! `iam.amazonaws.com/permitted` or by configuration, the agent's own role by configuration. A ClusterSecretStore is
//! made by whoever may make cluster-scoped objects, and is an allowance itself, within its conditions.

use regex::Regex;

use super::identity::{Base, Identity};
use super::{Category, Failure};

/// Annotation of a namespace with a regular expression that all of a role's ARN has to match.
pub const ANNOTATION_PERMITTED: &str = "iam.amazonaws.com/permitted";

/// Annotation of a namespace with a regular expression that keys of the predecessor's objects have to match somewhere.
pub const ANNOTATION_PERMITTED_KEYS: &str = "externalsecrets.kubernetes-client.io/permitted-key-name";

/// Whether a key (or the path of a search) may be read from a namespace with such an annotation, as the predecessor has it.
///
/// # Errors
/// When it does not match, or the annotation is no regular expression.
pub fn check_key(key: &str, annotation: Option<&str>) -> Result<(), Failure> {
    let Some(pattern) = annotation.filter(|pattern| !pattern.is_empty()) else { return Ok(()) };
    if Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(key)) {
        return Ok(());
    }
    let message = format!("{key} does not match {ANNOTATION_PERMITTED_KEYS} of the namespace: {pattern}");
    Err(Failure::new(Category::KeyNotPermitted, message))
}

/// What the agent's configuration allows.
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    /// Namespaces that may use the agent's own role; `*` for all.
    pub own_role_namespaces: Vec<String>,
    /// `NAMESPACE=PATTERN` for roles; the namespace may be `*`.
    pub roles: Vec<(String, String)>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Namespace of the ExternalSecret.
    pub namespace: &'a str,
    /// The namespace's annotation.
    pub annotation: Option<&'a str>,
    /// Through a ClusterSecretStore.
    pub cluster_store: bool,
}

/// The parts of `NAMESPACE=PATTERN`.
pub fn parse_rule(text: &str) -> Result<(String, String), String> {
    let (namespace, pattern) = text.split_once('=').ok_or("a namespace, `=`, and a pattern for ARNs of roles")?;
    whole(pattern).map_err(|_| "the pattern is no regular expression")?;
    Ok((namespace.to_owned(), pattern.to_owned()))
}

impl Permissions {
    /// Whether an identity may be used.
    ///
    /// # Errors
    /// With what has to be set to allow it.
    pub fn check(&self, identity: &Identity, asker: &Asker<'_>) -> Result<(), Failure> {
        if identity.base != Base::Agent || asker.cluster_store {
            return Ok(());
        }
        let refused = |message: String| Err(Failure::new(Category::RoleNotPermitted, message));
        if identity.roles.is_empty() && !contains(&self.own_role_namespaces, asker.namespace) {
            return refused(format!(
                "namespace {} may not use the agent's own role: set a role, use a ClusterSecretStore, or start the agent \
                 with --secrets-own-role-namespaces",
                asker.namespace
            ));
        }
        match identity.roles.iter().find(|role| !self.permits(&role.arn, asker)) {
            Some(role) => refused(format!(
                "namespace {} may not assume {}: its annotation {ANNOTATION_PERMITTED} does not match all of the ARN",
                asker.namespace, role.arn
            )),
            None => Ok(()),
        }
    }

    fn permits(&self, arn: &str, asker: &Asker<'_>) -> bool {
        let rules = self.roles.iter().filter(|(namespace, _)| namespace == "*" || namespace == asker.namespace);
        let mut patterns = rules.map(|(_, pattern)| pattern.as_str()).chain(asker.annotation);
        patterns.any(|pattern| !pattern.is_empty() && whole(pattern).is_ok_and(|pattern| pattern.is_match(arn)))
    }
}

fn contains(namespaces: &[String], namespace: &str) -> bool {
    namespaces.iter().any(|name| name == "*" || name == namespace)
}

fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
mod tests {
    use super::super::identity::AssumedRole;
    use super::*;

    #[test]
    fn keys_match_the_annotation_somewhere() {
        for (key, pattern, allowed) in [
            ("/dev/app/x", Some("/dev/app/.*"), true),
            ("/other/dev/app/x", Some("/dev/app/.*"), true),
            ("/other/dev/app/x", Some("^/dev/app/.*"), false),
            ("x", Some(""), true),
            ("x", None, true),
            ("x", Some("("), false),
        ] {
            assert_eq!(check_key(key, pattern).is_ok(), allowed, "{key} {pattern:?}");
        }
    }

    #[test]
    fn a_namespace_uses_what_it_is_allowed_to_and_nothing_else() {
        let role = |arn: &str| Identity {
            base: Base::Agent,
            roles: vec![AssumedRole { arn: arn.into(), ..AssumedRole::default() }],
        };
        let own = Identity { base: Base::Agent, roles: Vec::new() };
        let keys = Identity {
            base: Base::ServiceAccount { namespace: "a".into(), name: "reader".into(), audiences: Vec::new() },
            roles: Vec::new(),
        };
        let permissions = Permissions {
            own_role_namespaces: vec!["trusted".into()],
            roles: vec![("configured".into(), "arn:aws:iam::1:role/of-.*".into())],
        };
        let ask = |identity: &Identity, namespace: &str, annotation: Option<&str>, cluster_store: bool| {
            permissions.check(identity, &Asker { namespace, annotation, cluster_store }).is_ok()
        };
        let airflow = role("arn:aws:iam::1:role/airflow");
        assert!(ask(&own, "trusted", None, false) && !ask(&own, "other", None, false));
        assert!(ask(&own, "other", None, true), "a ClusterSecretStore is an allowance");
        assert!(!ask(&airflow, "trusted", None, false), "the own role's allowance is none for others");
        assert!(ask(&airflow, "a", Some("arn:aws:iam::1:role/air.*"), false));
        for pattern in ["", "airflow", "arn:aws:iam::1:role/air", "role/airflow$", "("] {
            assert!(!ask(&airflow, "a", Some(pattern), false), "{pattern}: not all of the ARN");
        }
        assert!(ask(&role("arn:aws:iam::1:role/of-team"), "configured", None, false));
        assert!(!ask(&role("arn:aws:iam::1:role/of-team"), "a", None, false));
        assert!(ask(&keys, "a", None, false), "a namespace's own credentials are its own affair");
        assert!(parse_rule("a=(").is_err() && parse_rule("a").is_err() && parse_rule("*=.*").is_ok());
    }
}
