//! Amazon Resource Names.

use std::fmt;

/// The parts of an ARN (AWS General Reference, "Amazon Resource Names"): `arn:partition:service:region:account:resource`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn<'t> {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: &'t str,
    /// `iam`, `s3`.
    pub service: &'t str,
    /// Empty for services without regions.
    pub region: &'t str,
    /// Empty where names are unique without it, such as those of buckets; `aws` for what AWS manages.
    pub account: &'t str,
    /// The rest.
    pub resource: &'t str,
}

impl<'t> Arn<'t> {
    /// Reads an ARN, of which every part may hold wildcards.
    pub fn parse(text: &'t str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next();
        if next()? != "arn" {
            return None;
        }
        Some(Self { partition: next()?, service: next()?, region: next()?, account: next()?, resource: next()? })
    }
}

/// The ARN of an IAM role, in its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleArn {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// Twelve digits.
    pub account: String,
    /// `/`, or `/a/path/`.
    pub path: String,
    /// The name, unique in the account.
    pub name: String,
}

/// A text that is no ARN of a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the ARN of a role (arn:aws:iam::123456789012:role/NAME): {reason}")]
pub struct ArnError {
    /// As written.
    pub text: String,
    /// What is wrong.
    pub reason: &'static str,
}

impl RoleArn {
    /// Reads the ARN of a role. Length and characters of a name: IAM API reference, `CreateRole`.
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        let error = |reason| ArnError { text: text.to_owned(), reason };
        let arn = Arn::parse(text).ok_or_else(|| error("it does not start with arn:PARTITION:"))?;
        if arn.service != "iam" || !arn.region.is_empty() {
            return Err(error("a role belongs to iam, which has no region"));
        }
        if arn.account.len() != 12 || !arn.account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error("its account is not 12 digits"));
        }
        let resource = arn.resource.strip_prefix("role/").ok_or_else(|| error("it does not name a role"))?;
        let (path, name) = match resource.rsplit_once('/') {
            Some((path, name)) => (format!("/{path}/"), name),
            None => ("/".to_owned(), resource),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(error("the name of a role has 1 to 64 letters, digits or +=,.@_-"));
        }
        let [partition, account, name] = [arn.partition, arn.account, name].map(str::to_owned);
        Ok(Self { partition, account, path, name })
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, account, path, name } = self;
        write!(f, "arn:{partition}:iam::{account}:role{path}{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_and_written() {
        for text in ["arn:aws:iam::123456789012:role/a", "arn:aws-cn:iam::123456789012:role/some/path/a.b-c_d"] {
            assert_eq!(RoleArn::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(RoleArn::parse("arn:aws:iam::123456789012:role/p/a").unwrap().path, "/p/");
    }

    #[test]
    fn what_is_no_role_says_why() {
        for (text, expected) in [
            ("", "start with arn"),
            ("role/a", "start with arn"),
            ("arn:aws:s3:::bucket", "belongs to iam"),
            ("arn:aws:iam:eu-central-1:123456789012:role/a", "belongs to iam"),
            ("arn:aws:iam::1234:role/a", "12 digits"),
            ("arn:aws:iam::123456789012:user/a", "name a role"),
            ("arn:aws:iam::123456789012:role/", "1 to 64"),
            ("arn:aws:iam::123456789012:role/a b", "1 to 64"),
        ] {
            let error = RoleArn::parse(text).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
