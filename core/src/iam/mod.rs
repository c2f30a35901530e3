//! IAM roles that will be assumed correctly: from declarations to trust policies, CloudFormation and findings.
//!
//! ```text
//! distribution/iam/account.yaml ---> Account --+
//! distribution/iam/NAME.yaml ------> Role -----+-> trust policy -> listing, JSON, CloudFormation
//! distribution/iam/NAME.json ------> Policy ---+
//! profiles.yaml -> Profile ---+----------------+-> user, role, secret
//!                             +-> the files of the user's namespace
//! rendered tree -> Uses ---------------------------> check: findings
//! ```
//!
//! Roles are declared, because many ServiceAccounts come from charts that nobody renders here; what can be rendered
//! checks the declarations.

mod account;
mod arn;
mod check;
mod cloudformation;
mod declaration;
mod documents;
mod policy;
mod profile;
mod profile_files;
mod trust;
mod uses;

pub use account::Account;
pub use arn::{Arn, ArnError, RoleArn};
pub use check::{Finding, Kind, Scene, check};
pub use cloudformation::template;
pub use declaration::{Declaration, DeclarationError, Principal};
pub use documents::{Attached, Documents, Files, IamError, Inactive, Selection};
pub use policy::{Policy, PolicyError};
pub use profile::{Profile, ProfileRole, ProfileRoles, Profiles, Username};
pub use profile_files::{HEADER, file_name, manifests};
pub use trust::Trust;
pub use uses::{RoleUse, User, Uses};
