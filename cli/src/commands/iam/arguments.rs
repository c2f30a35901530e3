//! The arguments of `gitmoor iam`.

use std::path::PathBuf;

use gitmoor_core::iam::Account;

use crate::fork_folder::of_fork;

/// Writes the IAM roles and policies that the tree needs
///
/// Roles are declared in distribution/iam: NAME.yaml says which ServiceAccount assumes which role, NAME.json what it may
/// do. Prints each with its trust policy; --output cloudformation prints one template with all of them, which deploys
/// as it is. Roles of Applications that are not selected are left out.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  # Read the roles with their trust policies
  gitmoor iam
  # Create or update them
  gitmoor iam --output cloudformation > iam.json
  aws cloudformation deploy --stack-name platform-iam --template-file iam.json \\
    --capabilities CAPABILITY_NAMED_IAM
  # Compare the declarations with what the tree renders to
  gitmoor iam check
  # Write the files of the people in profiles.yaml
  gitmoor iam profiles"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) inputs: Inputs,
    #[command(subcommand)]
    pub(super) action: Option<Action>,
}

/// What is done with the declarations.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    Check(Check),
    Profiles(Profiles),
}

/// Compares the declared roles with the rendered tree
///
/// Finds roles that could not be assumed, roles that more than one could assume, and roles that nobody declared. The
/// exit status is 1 when there is a finding. Applications that cannot be rendered here, such as charts, are named.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) inputs: Inputs,
    /// The kustomize program
    #[arg(long, env = "GITMOOR_KUSTOMIZE", default_value = "kustomize", value_name = "PROGRAM")]
    pub(super) kustomize: PathBuf,
}

/// Writes the files of the people in profiles.yaml
///
/// One file for each in distribution/profiles: namespace, RBAC, quota, ServiceAccount with role, and the ExternalSecret
/// that brings the person's secret in. Files of people who left are removed; files of others are not touched.
#[derive(Debug, clap::Args)]
pub(super) struct Profiles {
    #[command(flatten)]
    pub(super) inputs: Inputs,
    /// Write nothing, only say what would be written; the exit status is then 1
    #[arg(long)]
    pub(super) check: bool,
}

/// What is read.
#[derive(Debug, clap::Args)]
pub(super) struct Inputs {
    /// Folder of the distribution
    #[arg(long, value_name = "DIR", default_value_os_t = of_fork("distribution"))]
    pub(super) distribution: PathBuf,
    /// Values for placeholders, when `gitmoor init` has not put them in [default: setup.conf, where there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) setup_conf: Option<PathBuf>,
    /// The people; a file that is not there has none
    #[arg(long, value_name = "FILE", default_value_os_t = of_fork("profiles.yaml"))]
    pub(super) profiles: PathBuf,
    /// Account id, instead of the one in distribution/iam/account.yaml
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Partition: aws, aws-cn or aws-us-gov
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// Region of the cluster
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// OIDC provider of the cluster, as `aws eks describe-cluster` names it; https:// does not count
    #[arg(long, value_name = "HOST/PATH")]
    oidc_provider: Option<String>,
    /// Environment whose roles are wanted
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Also roles of Applications that are not selected
    #[arg(long)]
    pub(super) all: bool,
}

impl Inputs {
    /// Puts what was given into what the file says.
    pub(super) fn adjust(&self, account: &mut Account) {
        let Self { account: id, partition, region, oidc_provider, environment, .. } = self;
        let provider = oidc_provider.as_ref().map(|url| url.trim_start_matches("https://").to_owned());
        for (given, field) in [
            (id.clone(), &mut account.id),
            (partition.clone(), &mut account.partition),
            (region.clone(), &mut account.region),
            (provider, &mut account.oidc_provider),
        ] {
            if let Some(value) = given {
                *field = value;
            }
        }
        if environment.is_some() {
            account.environment.clone_from(environment);
        }
    }
}
