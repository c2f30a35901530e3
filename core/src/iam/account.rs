//! The AWS account and the cluster that roles are made for: `distribution/iam/account.yaml`.

use serde::{Deserialize, Serialize};

/// Whose roles they are. Every field can be overridden on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// Region of the cluster.
    pub region: String,
    /// The OIDC provider of the cluster, without `https://`.
    pub oidc_provider: String,
    /// Which overlay of the components is deployed. Declarations for another one are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

impl Account {
    /// What is wrong with it, as `field: reason`.
    pub fn problems(&self) -> Vec<String> {
        let Self { id, partition, region, oidc_provider, environment: _ } = self;
        let mut problems = Vec::new();
        if id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            problems.push(format!("id: {id:?} is not 12 digits; quote it, so that it stays text"));
        }
        if partition_of(region) != partition {
            let expected = partition_of(region);
            problems.push(format!("partition: {partition:?}, but the region {region} is in {expected}"));
        }
        if oidc_provider.contains("://") || oidc_provider.is_empty() || oidc_provider.contains(char::is_whitespace) {
            problems.push(format!("oidcProvider: {oidc_provider:?} is not HOST/PATH without https://"));
        }
        problems
    }

    /// The ARN of the cluster's OIDC provider in IAM.
    pub fn oidc_provider_arn(&self) -> String {
        format!("arn:{}:iam::{}:oidc-provider/{}", self.partition, self.id, self.oidc_provider)
    }
}

/// The partition of a region (AWS General Reference, "Regions and endpoints").
fn partition_of(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn account() -> Account {
        Account {
            id: "123456789012".into(),
            partition: "aws".into(),
            region: "eu-central-1".into(),
            oidc_provider: "oidc.eks.eu-central-1.amazonaws.com/id/ABC".into(),
            environment: Some("aws".into()),
        }
    }

    #[test]
    fn every_problem_is_named() {
        assert_eq!(account().problems(), [""; 0]);
        let wrong = Account {
            id: "12".into(),
            region: "cn-north-1".into(),
            oidc_provider: "https://oidc.example.com".into(),
            ..account()
        };
        let problems = wrong.problems().join("\n");
        for expected in ["id: \"12\"", "is in aws-cn", "without https://"] {
            assert!(problems.contains(expected), "{problems}");
        }
    }
}
