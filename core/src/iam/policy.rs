//! Permission policies: `distribution/iam/NAME.json`.

use serde_json::Value;

use super::{Account, Arn};

/// Longest managed policy, in characters that are not white space (IAM User Guide, "IAM and AWS STS quotas").
const LONGEST: usize = 6144;
/// The only current version of the policy language.
const VERSION: &str = "2012-10-17";

/// A permission policy that IAM would take.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy(Value);

/// Why a file is no permission policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not JSON.
    #[error("not JSON")]
    Syntax(#[from] serde_json::Error),
    /// Not what the policy language has (IAM User Guide, "Grammar of the IAM JSON policy language").
    #[error("{at}: {reason}")]
    Grammar {
        /// Where.
        at: String,
        /// What.
        reason: String,
    },
    /// Too much for one policy.
    #[error("it has {0} characters without white space, and IAM takes {LONGEST}; split it")]
    TooLong(usize),
}

impl Policy {
    /// Reads the text of a permission policy.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let document: Value = serde_json::from_str(text)?;
        let fault = |at: &str, reason: &str| Err(PolicyError::Grammar { at: at.to_owned(), reason: reason.to_owned() });
        if document["Version"] != VERSION {
            return fault("Version", "must be \"2012-10-17\"");
        }
        let Some(statements) = document["Statement"].as_array().filter(|list| !list.is_empty()) else {
            return fault("Statement", "must be a list that is not empty");
        };
        for (index, statement) in statements.iter().enumerate() {
            grammar(statement).map_err(|reason| PolicyError::Grammar { at: format!("Statement[{index}]"), reason })?;
        }
        let length = document.to_string().chars().filter(|c| !c.is_whitespace()).count();
        if length > LONGEST {
            return Err(PolicyError::TooLong(length));
        }
        Ok(Self(document))
    }

    /// The document.
    pub fn document(&self) -> &Value {
        &self.0
    }

    /// Whether a statement allows the action on the resource. Conditions, and statements that deny, are not looked at.
    pub fn may_allow(&self, action: &str, resource: &str) -> bool {
        let statements = self.0["Statement"].as_array().into_iter().flatten();
        let names = |value: &Value, text: &str| texts(value).iter().any(|pattern| is_like(pattern, text));
        let mut allowing = statements.filter(|statement| statement["Effect"] == "Allow");
        allowing.any(|statement| {
            let is_action = names(&statement["Action"], action)
                || (statement["NotAction"] != Value::Null && !names(&statement["NotAction"], action));
            let is_resource = names(&statement["Resource"], resource)
                || (statement["NotResource"] != Value::Null && !names(&statement["NotResource"], resource));
            is_action && is_resource
        })
    }

    /// ARNs in `Resource` that lie in another account or partition.
    pub fn foreign_resources(&self, account: &Account) -> Vec<String> {
        let statements = self.0["Statement"].as_array().into_iter().flatten();
        let foreign = |text: &&str| {
            Arn::parse(text).is_some_and(|arn| {
                let own =
                    arn.account.is_empty() || arn.account == "aws" || arn.account == "*" || arn.account == account.id;
                !own || (arn.partition != account.partition && arn.partition != "*")
            })
        };
        statements.flat_map(|statement| texts(&statement["Resource"])).filter(foreign).map(str::to_owned).collect()
    }
}

fn grammar(statement: &Value) -> Result<(), String> {
    const KNOWN: [&str; 7] = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    let Some(fields) = statement.as_object() else { return Err("must be an object".to_owned()) };
    if let Some(unknown) = fields.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!("{unknown} has no place in a permission policy"));
    }
    if !matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) {
        return Err("Effect must be Allow or Deny".to_owned());
    }
    for (field, opposite) in [("Action", "NotAction"), ("Resource", "NotResource")] {
        let named: Vec<&Value> = [field, opposite].iter().filter_map(|key| fields.get(*key)).collect();
        let [value] = named[..] else { return Err(format!("needs {field} or {opposite}, and not both")) };
        if texts(value).is_empty() || value.as_array().is_some_and(|list| !list.iter().all(Value::is_string)) {
            return Err(format!("{field} must be text or a list of texts"));
        }
    }
    Ok(())
}

/// IAM's wildcards: `*` stands for any text, `?` for one character. Case counts in ARNs, and not in actions.
fn is_like(pattern: &str, text: &str) -> bool {
    let is_action = !text.starts_with("arn:");
    let fold = |text: &str| if is_action { text.to_ascii_lowercase() } else { text.to_owned() };
    let (pattern, text): (Vec<char>, Vec<char>) = (fold(pattern).chars().collect(), fold(text).chars().collect());
    // Where the last `*` stood, and how much of the text it has taken so far.
    let (mut at, mut in_text, mut star) = (0, 0, None);
    while in_text < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(expected) if *expected == '?' || *expected == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((behind, taken)) = star else { return false };
                star = Some((behind, taken + 1));
                (at, in_text) = (behind + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|left| *left == '*')
}

/// One text, or a list of them.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::account;
    use super::*;

    fn policy(statement: &str) -> Result<Policy, PolicyError> {
        Policy::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#))
    }

    #[test]
    fn the_grammar_of_a_policy() {
        policy(r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":["arn:aws:s3:::b/*"]}"#).unwrap();
        for (statement, expected) in [
            ("", "not empty"),
            ("1", "Statement[0]: must be an object"),
            (r#"{"Effect":"Maybe","Action":"a","Resource":"*"}"#, "Allow or Deny"),
            (r#"{"Effect":"Allow","Resource":"*"}"#, "needs Action"),
            (r#"{"Effect":"Allow","Action":"a","Resource":[1]}"#, "Resource must be text"),
            (r#"{"Effect":"Allow","Action":"a","Resource":"*","Principal":"*"}"#, "Principal has no place"),
        ] {
            let error = policy(statement).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let long = format!(r#"{{"Effect":"Allow","Action":"{}","Resource":"*"}}"#, "a".repeat(LONGEST));
        assert!(matches!(policy(&long), Err(PolicyError::TooLong(_))));
        assert!(matches!(Policy::parse("{"), Err(PolicyError::Syntax(_))));
    }

    #[test]
    fn what_a_policy_allows() {
        let role = "arn:aws:iam::1:role/platform_secrets_web";
        for (action, resource, expected) in [
            ("\"sts:AssumeRole\"", "\"arn:aws:iam::1:role/platform_secrets*\"", true),
            ("\"STS:assume*\"", "[\"arn:aws:s3:::b\", \"arn:*:role/*_secrets_w?b\"]", true),
            ("[\"*\"]", "\"*\"", true),
            ("\"sts:AssumeRole\"", "\"arn:aws:iam::1:role/Platform*\"", false),
            ("\"sts:AssumeRole\"", "\"arn:aws:iam::1:role/platform_secrets\"", false),
            ("\"sts:AssumeRoleWith*\"", "\"*\"", false),
        ] {
            let allow = policy(&format!(r#"{{"Effect":"Allow","Action":{action},"Resource":{resource}}}"#)).unwrap();
            assert_eq!(allow.may_allow("sts:AssumeRole", role), expected, "{action} {resource}");
        }
        let deny = policy(r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#).unwrap();
        assert!(!deny.may_allow("sts:AssumeRole", role));
        let but = policy(r#"{"Effect":"Allow","NotAction":"iam:*","NotResource":"arn:aws:s3:::*"}"#).unwrap();
        assert!(but.may_allow("sts:AssumeRole", role) && !but.may_allow("iam:PassRole", role));
    }

    #[test]
    fn resources_elsewhere_are_found() {
        let own = r#"["*","arn:aws:s3:::b","arn:aws:iam::aws:policy/P","arn:aws:iam::123456789012:role/a"]"#;
        let foreign = r#"["arn:aws:iam::999999999999:role/a","arn:aws-cn:s3:::b"]"#;
        let found = |resources: &str| {
            let policy = policy(&format!(r#"{{"Effect":"Allow","Action":"a","Resource":{resources}}}"#)).unwrap();
            policy.foreign_resources(&account()).len()
        };
        assert_eq!((found(own), found(foreign)), (0, 2));
    }
}
