//! Everything that is declared, read and complete: what listings, CloudFormation and checks are made of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::declaration::Draft;
use super::profile_files::SERVICE_ACCOUNT;
use super::trust::{self, Trust};
use super::{Account, Declaration, Policy, Principal, Profile, ProfileRoles, Profiles, RoleArn};
use crate::template::{Matcher, substitute};

/// The texts below `distribution/iam/`, by their paths in it.
pub type Files = BTreeMap<String, String>;

/// Names that are no declarations.
const ACCOUNT: &str = "account.yaml";
const PROFILE_ROLES: &str = "profiles/roles.yaml";

/// What is deployed.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Names of the Applications that are selected.
    pub applications: BTreeSet<String>,
    /// Names of all Applications that could be selected; empty when they are not known.
    pub offered: BTreeSet<String>,
    /// Declares also what is not selected.
    pub all: bool,
}

/// What is wrong in which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IamError {
    /// Path below `distribution/iam/`, or `profiles.yaml`.
    pub file: String,
    /// What is wrong.
    pub reason: String,
}

/// A declaration with its permission policy.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The declaration.
    pub declaration: Declaration,
    /// Its policy, when the file is there.
    pub policy: Option<Policy>,
}

/// A declaration that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inactive {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Documents {
    /// Whose they are.
    pub account: Account,
    /// What is declared, by name.
    pub declared: Vec<Attached>,
    /// What is declared and left out.
    pub inactive: Vec<Inactive>,
    /// The people.
    pub profiles: Vec<Profile>,
    /// What their roles mean.
    pub profile_roles: ProfileRoles,
    /// The policies that the roles of people name, by path.
    pub profile_policies: BTreeMap<String, Policy>,
    /// Policy files that nobody names.
    pub unused_policies: Vec<String>,
}

impl Documents {
    /// Reads `files`, and `profiles`, the text of `profiles.yaml`. `adjust` puts in what the command line overrides.
    ///
    /// # Errors
    /// All of them, in the order of the files. Files of what is left out are not looked into.
    pub fn read(
        files: &Files,
        profiles: Option<&str>,
        selection: &Selection,
        adjust: impl FnOnce(&mut Account),
    ) -> Result<Self, Vec<IamError>> {
        let mut reader = Reader { files, errors: Vec::new(), named: BTreeSet::new() };
        let account = reader.account(adjust);
        let environment = account.as_ref().and_then(|account| account.environment.as_deref());
        let (declared, inactive) = reader.declarations(selection, environment);
        let profile_roles = reader.profile_roles();
        let profiles = reader.profiles(profiles, &profile_roles);
        let profile_policies = reader.profile_policies(&profiles, &profile_roles);
        let is_policy = |file: &&String| file.ends_with(".json") && !reader.named.contains(*file);
        let unused_policies = files.keys().filter(is_policy).cloned().collect();
        match account {
            Some(account) if reader.errors.is_empty() => {
                Ok(Self { account, declared, inactive, profiles, profile_roles, profile_policies, unused_policies })
            }
            _ => Err(reader.errors),
        }
    }

    /// The declaration with this name, unless it is left out.
    pub fn find(&self, name: &str) -> Option<&Attached> {
        self.declared.iter().find(|attached| attached.declaration.name == name)
    }

    /// The trust policy of a declared role; `resolve` gives a principal's form for another declaration's role.
    pub fn trust_policy(&self, declaration: &Declaration, resolve: impl Fn(&Declaration, &RoleArn) -> Value) -> Value {
        let way = match &declaration.principal {
            Principal::User { .. } | Principal::AddedTo { .. } => return Value::Null,
            Principal::ServiceAccount { namespace, name, .. } => {
                Trust::ServiceAccount { namespace: namespace.clone(), name: name.clone() }
            }
            Principal::AssumedBy { declaration, .. } => {
                let other = self.find(declaration).map(|attached| &attached.declaration);
                let role = other.and_then(|other| Some((other, other.principal.role()?)));
                Trust::Principal(role.map_or(Value::Null, |(other, role)| resolve(other, role)))
            }
        };
        trust::policy(&[way], &self.account)
    }

    /// The trust policy of a person's role: that user, S3, and pods of the person's namespace.
    pub fn profile_trust_policy(&self, profile: &Profile, user: Value) -> Value {
        let pods = Trust::ServiceAccount { namespace: profile.namespace(), name: SERVICE_ACCOUNT.to_owned() };
        trust::policy(&[Trust::Principal(user), Trust::Service("s3.amazonaws.com"), pods], &self.account)
    }

    /// What every person may read: the secret that has the person's name.
    pub fn own_secret_policy(&self, profile: &Profile) -> Value {
        let Account { partition, region, id, .. } = &self.account;
        // Secrets Manager appends six characters to the name (its User Guide, "IAM policy reference").
        let secret = format!("arn:{partition}:secretsmanager:{region}:{id}:secret:{}-??????", profile.username);
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Sid": "OwnSecret",
                "Effect": "Allow",
                "Action": ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"],
                "Resource": secret,
            }],
        })
    }
}

struct Reader<'f> {
    files: &'f Files,
    errors: Vec<IamError>,
    /// Policies that some declaration names, also one that is left out.
    named: BTreeSet<String>,
}

impl Reader<'_> {
    fn error(&mut self, file: &str, reason: impl ToString) {
        self.errors.push(IamError { file: file.to_owned(), reason: reason.to_string() });
    }

    /// The text of a file in which every placeholder has its value.
    fn filled(&mut self, file: &str) -> Option<&str> {
        let text = self.files.get(file)?;
        let left_over = Matcher::new([]).map(|none| substitute(text.as_bytes(), &none).left_over).unwrap_or_default();
        for found in &left_over {
            self.error(file, format!("{}: {} has no value", found.before, found.token));
        }
        if left_over.is_empty() { self.files.get(file).map(String::as_str) } else { None }
    }

    fn account(&mut self, adjust: impl FnOnce(&mut Account)) -> Option<Account> {
        if !self.files.contains_key(ACCOUNT) {
            self.error(ACCOUNT, "missing: it names account, region and OIDC provider");
            return None;
        }
        let read = serde_yaml::from_str::<Account>(self.files.get(ACCOUNT)?);
        let mut account = read.map_err(|error| self.error(ACCOUNT, error)).ok()?;
        adjust(&mut account);
        // After the overrides: a value from the command line takes the place of a placeholder.
        let problems: Vec<String> = match serde_yaml::to_string(&account).ok().and_then(|text| placeholder(&text)) {
            Some(token) => vec![format!("{token} has no value")],
            None => account.problems(),
        };
        problems.iter().for_each(|problem| self.error(ACCOUNT, problem));
        problems.is_empty().then_some(account)
    }

    fn declarations(&mut self, selection: &Selection, environment: Option<&str>) -> (Vec<Attached>, Vec<Inactive>) {
        let (mut declared, mut inactive) = (Vec::new(), Vec::new());
        for file in self.files.keys().filter(|file| file.ends_with(".yaml") && !file.contains('/') && *file != ACCOUNT)
        {
            let name = file.trim_end_matches(".yaml");
            let Some(draft) = self.draft(name, file) else { continue };
            self.named.extend(draft.policy().map(str::to_owned));
            if let Some(reason) = left_out(&draft, selection, environment) {
                inactive.push(Inactive { name: name.to_owned(), reason });
            } else if self.filled(file).is_some() {
                match draft.declaration() {
                    Ok(declaration) => {
                        let policy = declaration.policy.clone().and_then(|policy| self.policy(&policy));
                        declared.push(Attached { declaration, policy });
                    }
                    Err(error) => self.error(file, error),
                }
            }
        }
        (declared, inactive)
    }

    fn draft(&mut self, name: &str, file: &str) -> Option<Draft> {
        let text = self.files.get(file)?;
        Draft::parse(name, text).map_err(|error| self.error(file, error)).ok()
    }

    /// A policy; `None` when there is no such file, which is a finding and no error.
    fn policy(&mut self, file: &str) -> Option<Policy> {
        let text = self.filled(file)?.to_owned();
        Policy::parse(&text).map_err(|error| self.error(file, describe(&error))).ok()
    }

    fn profile_roles(&mut self) -> ProfileRoles {
        let Some(text) = self.files.get(PROFILE_ROLES) else { return ProfileRoles::default() };
        let roles = ProfileRoles::parse(text).map_err(|error| self.error(PROFILE_ROLES, error)).unwrap_or_default();
        self.named.extend(roles.0.values().flat_map(|role| role.policies.iter().cloned()));
        roles
    }

    fn profiles(&mut self, text: Option<&str>, roles: &ProfileRoles) -> Vec<Profile> {
        match Profiles::parse(text.unwrap_or_default(), roles) {
            Ok(read) => read.profiles,
            Err(problems) => {
                problems.iter().for_each(|problem| self.error("profiles.yaml", problem));
                Vec::new()
            }
        }
    }

    fn profile_policies(&mut self, profiles: &[Profile], roles: &ProfileRoles) -> BTreeMap<String, Policy> {
        let used: BTreeSet<&str> = profiles.iter().map(|profile| profile.role.as_str()).collect();
        let roles = roles.0.iter().filter(|(name, _)| used.contains(name.as_str()));
        let files: BTreeSet<&String> = roles.flat_map(|(_, role)| &role.policies).collect();
        let mut policies = BTreeMap::new();
        for file in files {
            if !self.files.contains_key(file) {
                self.error(PROFILE_ROLES, format!("{file} is not there"));
            }
            policies.extend(self.policy(file).map(|policy| (file.clone(), policy)));
        }
        policies
    }
}

fn placeholder(text: &str) -> Option<String> {
    let none = Matcher::new([]).ok()?;
    substitute(text.as_bytes(), &none).left_over.first().map(|found| found.token.clone())
}

fn left_out(draft: &Draft, selection: &Selection, environment: Option<&str>) -> Option<String> {
    if selection.all {
        return None;
    }
    if let (Some(wanted), Some(actual)) = (draft.environment(), environment)
        && wanted != actual
    {
        return Some(format!("for the environment {wanted}, not {actual}"));
    }
    let application = draft.application()?;
    if selection.applications.contains(application) {
        None
    } else if selection.offered.is_empty() || selection.offered.contains(application) {
        Some(format!("the Application {application} is not selected"))
    } else {
        Some(format!("there is no Application {application}"))
    }
}

fn describe(error: &super::PolicyError) -> String {
    match error {
        super::PolicyError::Syntax(source) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}"#;

    pub(crate) fn files(more: &[(&str, &str)]) -> Files {
        let account = "id: \"123456789012\"\npartition: aws\nregion: eu-central-1\n\
                       oidcProvider: oidc.eks.eu-central-1.amazonaws.com/id/ABC\nenvironment: aws\n";
        let role = "{policies: [profiles/user.json], clusterRole: view, quota: {pods: \"5\"}}";
        let mut files: Files = [
            ("account.yaml", account),
            ("profiles/roles.yaml", &format!("User: {role}\n")),
            ("profiles/user.json", POLICY),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into();
        files.extend(more.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
        files
    }

    pub(crate) fn read(files: &Files, profiles: &str) -> Result<Documents, Vec<IamError>> {
        let selection = Selection { applications: ["web".to_owned()].into(), ..Selection::default() };
        Documents::read(files, Some(profiles), &selection, |_| {})
    }

    pub(crate) fn declaration(application: &str, account: &str, role: &str) -> String {
        format!(
            "application: {application}\nnamespace: web\nserviceAccount: {account}\n\
             role: arn:aws:iam::123456789012:role/{role}\npolicy: web.json\n"
        )
    }

    #[test]
    fn what_is_not_selected_needs_no_values() {
        let unfilled = "application: off\nnamespace: x\nserviceAccount: y\nrole: <<__role__>>\npolicy: off.json\n";
        let elsewhere = "environment: single-node\nuser: u\nsecret: s\npolicy: web.json\n";
        let files = files(&[
            ("web.yaml", &declaration("web", "web", "web")),
            ("web.json", POLICY),
            ("off.yaml", unfilled),
            ("off.json", "<<__broken__>>"),
            ("keys.yaml", elsewhere),
            ("lost.json", POLICY),
        ]);
        let documents = read(&files, "").unwrap();
        let names: Vec<_> = documents.declared.iter().map(|attached| attached.declaration.name.as_str()).collect();
        assert_eq!(names, ["web"]);
        let inactive: Vec<_> = documents.inactive.iter().map(|inactive| inactive.name.as_str()).collect();
        assert_eq!(inactive, ["keys", "off"]);
        assert_eq!(documents.unused_policies, ["lost.json"]);
        let everything = Selection { all: true, ..Selection::default() };
        let errors = Documents::read(&files, None, &everything, |_| {}).unwrap_err();
        assert_eq!(errors[0].file, "off.yaml");
        assert_eq!(errors[0].reason, "4:7: <<__role__>> has no value");
    }

    #[test]
    fn errors_name_their_files_all_at_once() {
        let files = files(&[
            ("account.yaml", "id: \"1\"\npartition: aws\nregion: eu-central-1\noidcProvider: x\n"),
            ("a.yaml", "nonsense: 1\n"),
            ("web.yaml", &declaration("web", "web", "web")),
            ("web.json", "{"),
        ]);
        let errors = read(&files, "profiles: [{username: x, email: y, role: z}]").unwrap_err();
        let named: Vec<_> = errors.iter().map(|error| error.file.as_str()).collect();
        assert_eq!(named, ["account.yaml", "a.yaml", "web.json", "profiles.yaml"]);
    }

    #[test]
    fn the_command_line_fills_the_account() {
        let text = "id: <<__aws_account_id__>>\npartition: aws\nregion: eu-central-1\noidcProvider: x/id/A\n";
        let files = files(&[("account.yaml", text)]);
        assert_eq!(read(&files, "").unwrap_err()[0].reason, "<<__aws_account_id__>> has no value");
        let documents =
            Documents::read(&files, None, &Selection::default(), |account| account.id = "123456789012".into());
        assert_eq!(documents.unwrap().account.id, "123456789012");
    }
}
