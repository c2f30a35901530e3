//! The people of the platform: `profiles.yaml`, and what each role of theirs means.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{Account, RoleArn};

/// Prefix of the roles of users; with it a name has at most the 64 characters that IAM takes.
const ROLE_PREFIX: &str = "mlplatform-access-";
/// Prefix of their namespaces: nobody's name can be that of a component's namespace.
const NAMESPACE_PREFIX: &str = "user-";
const LONGEST_SLUG: usize = 64 - ROLE_PREFIX.len();

/// A username, `first.last`: the name of the IAM user and of the secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username {
    first: String,
    last: String,
}

impl TryFrom<String> for Username {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase()) && !part.ends_with('-') && part.chars().all(letter)
        };
        let form = || format!("username {text:?} is not first.last in lower-case letters, digits and hyphens");
        let (first, last) = text.split_once('.').ok_or_else(form)?;
        if !is_part(first) || !is_part(last) {
            return Err(form());
        }
        if text.len() > LONGEST_SLUG {
            return Err(format!("username {text:?} has more than {LONGEST_SLUG} characters"));
        }
        Ok(Self { first: first.to_owned(), last: last.to_owned() })
    }
}

impl From<Username> for String {
    fn from(name: Username) -> Self {
        name.to_string()
    }
}

impl std::fmt::Display for Username {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.first, self.last)
    }
}

impl Username {
    /// `first-last`, where a dot has no place.
    pub fn slug(&self) -> String {
        format!("{}-{}", self.first, self.last)
    }
}

/// One person.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// `first.last`.
    pub username: Username,
    /// Where mail reaches them, and how the login names them.
    pub email: String,
    /// A name of `roles.yaml`: Developer, User.
    pub role: String,
    /// When it is not the username's first part.
    #[serde(default)]
    first_name: Option<String>,
    /// When it is not the username's last part.
    #[serde(default)]
    last_name: Option<String>,
}

impl Profile {
    /// The person's namespace.
    pub fn namespace(&self) -> String {
        format!("{NAMESPACE_PREFIX}{}", self.username.slug())
    }

    /// The role that the person, and pods in the namespace, assume.
    pub fn role_arn(&self, account: &Account) -> RoleArn {
        RoleArn {
            partition: account.partition.clone(),
            account: account.id.clone(),
            path: "/".to_owned(),
            name: format!("{ROLE_PREFIX}{}", self.username.slug()),
        }
    }

    /// First and last name.
    pub fn names(&self) -> (String, String) {
        let given = |name: &Option<String>, part: &str| name.clone().unwrap_or_else(|| capitalised(part));
        (given(&self.first_name, &self.username.first), given(&self.last_name, &self.username.last))
    }

    fn problem(&self, roles: &ProfileRoles) -> Option<String> {
        let Self { username, email, role, first_name, last_name } = self;
        let odd = |text: &String| text.is_empty() || text.chars().any(|c| c.is_control() || "\"\\${}".contains(c));
        let of_mail = |c: char| c.is_ascii_alphanumeric() || "._%+-@".contains(c);
        let is_mail = email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
        if !is_mail || email.matches('@').count() != 1 || !email.chars().all(of_mail) {
            return Some(format!("{username}: {email:?} is not an e-mail address"));
        }
        if [first_name, last_name].into_iter().flatten().any(odd) {
            return Some(format!("{username}: names hold no quotes, backslashes, braces or $"));
        }
        if !roles.0.contains_key(role) {
            let known: Vec<&str> = roles.0.keys().map(String::as_str).collect();
            return Some(format!("{username}: no role is called {role:?}; there are {}", known.join(", ")));
        }
        None
    }
}

fn capitalised(part: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    };
    part.split('-').map(word).collect::<Vec<_>>().join("-")
}

/// What `profiles.yaml` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    /// The people, one a line.
    #[serde(default)]
    pub profiles: Vec<Profile>,
}

impl Profiles {
    /// Reads `profiles.yaml`.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(text: &str, roles: &ProfileRoles) -> Result<Self, Vec<String>> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let read: Self = serde_yaml::from_str(text).map_err(|error| vec![error.to_string()])?;
        let mut problems: Vec<String> = read.profiles.iter().filter_map(|profile| profile.problem(roles)).collect();
        let mut seen: HashMap<String, &Username> = HashMap::new();
        for profile in &read.profiles {
            if let Some(other) = seen.insert(profile.username.slug(), &profile.username) {
                problems.push(format!("{} and {other} would share a namespace and a role", profile.username));
            }
        }
        if problems.is_empty() { Ok(read) } else { Err(problems) }
    }
}

/// What a person with this role may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileRole {
    /// Permission policies, as paths below `distribution/iam/`.
    pub policies: Vec<String>,
    /// ARNs of policies that AWS manages.
    #[serde(default)]
    pub managed_policies: Vec<String>,
    /// ClusterRole that the person has in the namespace.
    pub cluster_role: String,
    /// `spec.hard` of the namespace's quota.
    pub quota: BTreeMap<String, String>,
}

/// The roles: `distribution/iam/profiles/roles.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ProfileRoles(pub BTreeMap<String, ProfileRole>);

impl ProfileRoles {
    /// Reads `roles.yaml`.
    pub fn parse(text: &str) -> Result<Self, serde_yaml::Error> {
        serde_yaml::from_str(text)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::account::tests::account;
    use super::*;

    pub(crate) fn roles() -> ProfileRoles {
        let role = "{policies: [profiles/user.json], clusterRole: view, quota: {pods: \"5\"}}";
        ProfileRoles::parse(&format!("User: {role}\nDeveloper: {role}\n")).unwrap()
    }

    pub(crate) fn profiles(text: &str) -> Result<Vec<Profile>, Vec<String>> {
        Profiles::parse(text, &roles()).map(|read| read.profiles)
    }

    #[test]
    fn a_line_is_a_person() {
        let read =
            profiles("profiles:\n  - { username: ada.king-noel, email: ada@example.com, role: Developer }\n").unwrap();
        let person = &read[0];
        assert_eq!(person.namespace(), "user-ada-king-noel");
        assert_eq!(
            person.role_arn(&account()).to_string(),
            "arn:aws:iam::123456789012:role/mlplatform-access-ada-king-noel"
        );
        assert_eq!(person.names(), ("Ada".to_owned(), "King-Noel".to_owned()));
        for empty in ["", "# nobody yet\n", "profiles: []\n"] {
            assert_eq!(profiles(empty), Ok(Vec::new()));
        }
    }

    #[test]
    fn all_mistakes_are_named_together() {
        let line =
            |name: &str, mail: &str, role: &str| format!("  - {{ username: {name}, email: {mail}, role: {role} }}\n");
        let text = [
            "profiles:\n".to_owned(),
            line("a-b.c", "a@example.com", "User"),
            line("a.b-c", "a@example.com", "User"),
            line("x.y", "nobody", "User"),
            line("z.y", "z@example.com", "Root"),
        ]
        .concat();
        let problems = profiles(&text).unwrap_err().join("\n");
        for expected in ["would share a namespace", "x.y: \"nobody\"", "no role is called \"Root\""] {
            assert!(problems.contains(expected), "{problems}");
        }
        for name in ["ada", "Ada.Lovelace", "a.b.c", "a_b.c", "1a.b", "a-.b", &format!("a.{}", "b".repeat(60))] {
            assert!(profiles(&format!("profiles:\n{}", line(name, "a@b.c", "User"))).is_err(), "{name}");
        }
    }
}
