//! Trust policies: who may assume a role.

use serde_json::{Value, json};

use super::Account;

/// One way into a role.
#[derive(Clone, Debug, PartialEq)]
pub enum Trust {
    /// By the token of one ServiceAccount: its subject and its audience must both fit, or any pod of the cluster, or a
    /// token made for somebody else, would do.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// By a role or user of IAM: its ARN, or what CloudFormation resolves to it.
    Principal(Value),
    /// By a service of AWS, such as `s3.amazonaws.com`.
    Service(&'static str),
}

impl Trust {
    /// The statement of a trust policy for this way.
    pub fn statement(&self, account: &Account) -> Value {
        match self {
            Self::ServiceAccount { namespace, name } => json!({
                "Effect": "Allow",
                "Principal": { "Federated": account.oidc_provider_arn() },
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": { "StringEquals": {
                    format!("{}:sub", account.oidc_provider): format!("system:serviceaccount:{namespace}:{name}"),
                    format!("{}:aud", account.oidc_provider): "sts.amazonaws.com",
                } },
            }),
            Self::Principal(principal) => json!({
                "Effect": "Allow", "Principal": { "AWS": principal }, "Action": "sts:AssumeRole",
            }),
            Self::Service(service) => json!({
                "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole",
            }),
        }
    }
}

/// The trust policy of a role with these ways in.
pub(super) fn policy(ways: &[Trust], account: &Account) -> Value {
    let statements: Vec<Value> = ways.iter().map(|way| way.statement(account)).collect();
    json!({ "Version": "2012-10-17", "Statement": statements })
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::account;
    use super::*;

    #[test]
    fn a_token_is_bound_to_subject_and_audience() {
        let way = Trust::ServiceAccount { namespace: "mlflow".into(), name: "mlflow-sa".into() };
        let statement = way.statement(&account());
        let provider = "oidc.eks.eu-central-1.amazonaws.com/id/ABC";
        assert_eq!(statement["Principal"]["Federated"], format!("arn:aws:iam::123456789012:oidc-provider/{provider}"));
        let condition = statement["Condition"]["StringEquals"].as_object().unwrap();
        assert_eq!(condition.len(), 2);
        assert_eq!(condition[&format!("{provider}:sub")], "system:serviceaccount:mlflow:mlflow-sa");
        assert_eq!(condition[&format!("{provider}:aud")], "sts.amazonaws.com");
    }
}
