//! Settings of external secrets.

use std::time::Duration;

use clap::Args;
use gitmoor_core::secrets::permission::{Permissions, parse_rule};

/// Settings of external secrets.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "External secrets")]
pub(crate) struct Options {
    /// Leave ExternalSecrets alone
    #[arg(long = "no-external-secrets", env = "GITMOOR_NO_EXTERNAL_SECRETS")]
    pub off: bool,

    /// Serve only stores whose spec.controller is this class or empty
    #[arg(long = "secrets-class", env = "GITMOOR_SECRETS_CLASS", default_value = "gitmoor")]
    pub class: String,

    /// Serve only these namespaces, separated by commas [default: all]
    #[arg(long = "secrets-namespaces", env = "GITMOOR_SECRETS_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,

    /// Work although another operator for the same objects runs
    #[arg(long = "secrets-beside-operator", env = "GITMOOR_SECRETS_BESIDE_OPERATOR")]
    pub beside_operator: bool,

    /// Namespaces that may use the agent's own AWS role without a ClusterSecretStore; `*` for all
    #[arg(long = "secrets-own-role-namespaces", env = "GITMOOR_SECRETS_OWN_ROLE_NAMESPACES", value_delimiter = ',')]
    pub own_role_namespaces: Vec<String>,

    /// NAMESPACE=PATTERN, separated by spaces: roles that a namespace may use, beside its annotation
    /// iam.amazonaws.com/permitted
    // Patterns may have commas, and names of roles cannot have spaces.
    #[arg(
        long = "secrets-permitted-role",
        env = "GITMOOR_SECRETS_PERMITTED_ROLES",
        value_delimiter = ' ',
        value_parser = parse_rule
    )]
    pub permitted_roles: Vec<(String, String)>,

    /// How often ExternalSecrets of kubernetes-client.io are read again
    #[arg(long = "secrets-legacy-interval", env = "GITMOOR_SECRETS_LEGACY_INTERVAL", default_value = "60s", value_parser = duration)]
    pub legacy_interval: Duration,

    /// Calls a second of Secrets Manager, in each region
    #[arg(long = "secrets-manager-rate", env = "GITMOOR_SECRETS_MANAGER_RATE", default_value = "50")]
    pub secrets_manager_rate: f64,

    /// Calls a second of Parameter Store, in each region; an account has 40 unless it was raised
    #[arg(long = "parameter-store-rate", env = "GITMOOR_PARAMETER_STORE_RATE", default_value = "20")]
    pub parameter_store_rate: f64,
}

impl Options {
    /// What may be used from where.
    pub(crate) fn permissions(&self) -> Permissions {
        Permissions { own_role_namespaces: self.own_role_namespaces.clone(), roles: self.permitted_roles.clone() }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    gitmoor_core::duration::parse(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a duration such as 60s".to_owned())
}
