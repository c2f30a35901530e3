//! How a value is made.

use std::fmt;

use serde_json::{Map, Value};

use super::template::Template;

/// A part of a value that has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The only one of most values.
    Whole,
    /// The private key of a pair or a certificate.
    Private,
    /// The public key of a pair.
    Public,
    /// A certificate.
    Certificate,
}

/// A value, or a part of one: `name`, `name.private`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Name of the value.
    pub name: String,
    /// Which part of it.
    pub part: Part,
}

impl Reference {
    /// Reads a reference; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, part) = match text.split_once('.') {
            None => (text, Part::Whole),
            Some((name, "private")) => (name, Part::Private),
            Some((name, "public")) => (name, Part::Public),
            Some((name, "certificate")) => (name, Part::Certificate),
            Some(_) => return None,
        };
        is_name(name).then(|| Self { name: name.to_owned(), part })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Whole => "",
            Part::Private => ".private",
            Part::Public => ".public",
            Part::Certificate => ".certificate",
        };
        write!(f, "{}{part}", self.name)
    }
}

/// Letters, digits and hyphens.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Random bytes or characters, as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomText {
    /// Bytes in hexadecimal.
    Hex(usize),
    /// Bytes in URL-safe base64, without padding.
    Base64Url(usize),
    /// Letters and digits.
    Alphanumeric(usize),
    /// A Fernet key: 32 bytes in URL-safe base64 with padding.
    Fernet,
}

/// Algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with so many bits: 2048, 3072 or 4096.
    Rsa(u16),
    /// The curve P-256.
    Ec256,
    /// The curve P-384.
    Ec384,
    /// Ed25519.
    Ed25519,
}

/// What a person says on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Input {
    /// `--email`
    Email,
    /// `--username`
    Username,
    /// `--firstname`
    Firstname,
    /// `--lastname`
    Lastname,
    /// `--password`, `--password-file`, `GITMOOR_PASSWORD`
    Password,
}

impl Input {
    /// Its name in `credentials.yaml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Username => "username",
            Self::Firstname => "firstname",
            Self::Lastname => "lastname",
            Self::Password => "password",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Email, Self::Username, Self::Firstname, Self::Lastname, Self::Password]
            .into_iter()
            .find(|input| input.name() == text)
    }
}

/// What stands in for a value that nobody gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: it is asked for.
    None,
    /// A text.
    Template(Template),
    /// Something random.
    Random(RandomText),
}

/// How a value is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Generator {
    /// By chance.
    Random(RandomText),
    /// The bcrypt hash of another value: cost 12, `$2y$`.
    Bcrypt(Reference),
    /// A line of an htpasswd file.
    Htpasswd {
        /// Who.
        user: Reference,
        /// Whose password.
        password: Reference,
    },
    /// A key pair: `.private` (PKCS #8) and `.public` (SubjectPublicKeyInfo), in PEM.
    KeyPair(Algorithm),
    /// A self-signed certificate: `.certificate` and `.private`, in PEM.
    Certificate {
        /// Common name of subject and issuer.
        common_name: String,
        /// Names for which it is valid.
        dns_names: Vec<String>,
        /// How long it is valid.
        days: u32,
        /// Of its key.
        algorithm: Algorithm,
    },
    /// Text with other values in it.
    Template(Template),
    /// A flag of the command line.
    Input(Input, Fallback),
    /// A variable of the environment.
    Environment(String, Fallback),
}

impl Generator {
    /// The values that it needs.
    pub fn references(&self) -> Vec<&Reference> {
        match self {
            Self::Bcrypt(of) => vec![of],
            Self::Htpasswd { user, password } => vec![user, password],
            Self::Template(template)
            | Self::Input(_, Fallback::Template(template))
            | Self::Environment(_, Fallback::Template(template)) => template.references().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it has this part.
    pub fn has(&self, part: Part) -> bool {
        match self {
            Self::KeyPair(_) => matches!(part, Part::Private | Part::Public),
            Self::Certificate { .. } => matches!(part, Part::Private | Part::Certificate),
            _ => part == Part::Whole,
        }
    }

    /// Reads the fields of a value; `read` gives the text of a file beside `credentials.yaml`.
    pub(super) fn parse(
        fields: &mut Map<String, Value>,
        read: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Self, String> {
        const GENERATORS: [&str; 9] = [
            "random",
            "bcrypt",
            "htpasswd",
            "keyPair",
            "certificate",
            "template",
            "templateFile",
            "input",
            "environment",
        ];
        let named: Vec<&str> = GENERATORS.into_iter().filter(|name| fields.contains_key(*name)).collect();
        match named[..] {
            ["random"] => random(fields).map(Self::Random),
            ["bcrypt"] => reference(fields, "bcrypt").map(Self::Bcrypt),
            ["htpasswd"] => {
                let mut inner = mapping(fields, "htpasswd")?;
                let (user, password) = (reference(&mut inner, "user")?, reference(&mut inner, "password")?);
                nothing_else(&inner).map(|()| Self::Htpasswd { user, password })
            }
            ["keyPair"] => text(fields, "keyPair").and_then(|name| algorithm(&name)).map(Self::KeyPair),
            ["certificate"] => certificate(fields),
            ["template"] => text(fields, "template").and_then(|text| template(&text)).map(Self::Template),
            ["templateFile"] => {
                let path = text(fields, "templateFile")?;
                let text = read(&path)?;
                template(&text).map_err(|error| format!("{path}: {error}")).map(Self::Template)
            }
            ["input"] => {
                let name = text(fields, "input")?;
                let input = Input::parse(&name).ok_or_else(|| {
                    format!("unknown input {name:?}; there are email, username, firstname, lastname, password")
                })?;
                Ok(Self::Input(input, fallback(fields)?))
            }
            ["environment"] => Ok(Self::Environment(text(fields, "environment")?, fallback(fields)?)),
            [] => {
                let unknown: Vec<&str> = fields.keys().map(String::as_str).collect();
                Err(format!("unknown generator {}; there are {}", unknown.join(", "), GENERATORS.join(", ")))
            }
            _ => Err(format!("{} at once: a value is made in one way", named.join(" and "))),
        }
    }
}

fn random(fields: &mut Map<String, Value>) -> Result<RandomText, String> {
    let alphabet = text(fields, "random")?;
    let mut number = |field: &str, least: u64| match fields.remove(field) {
        Some(value) => match value.as_u64() {
            Some(number) if (least..=65_536).contains(&number) => Ok(number as usize),
            _ => Err(format!("{field} must be a number from {least} to 65536")),
        },
        None => Err(format!("{field} is missing")),
    };
    match alphabet.as_str() {
        // Fewer than 16 bytes can be guessed.
        "hex" => number("bytes", 16).map(RandomText::Hex),
        "base64url" => number("bytes", 16).map(RandomText::Base64Url),
        "alphanumeric" => number("characters", 8).map(RandomText::Alphanumeric),
        "fernet" => Ok(RandomText::Fernet),
        other => Err(format!("unknown alphabet {other:?}; there are hex, base64url, alphanumeric and fernet")),
    }
}

fn certificate(fields: &mut Map<String, Value>) -> Result<Generator, String> {
    let mut inner = mapping(fields, "certificate")?;
    let common_name = text(&mut inner, "commonName")?;
    let dns_names = match inner.remove("dnsNames").unwrap_or(Value::Array(Vec::new())) {
        Value::Array(names) if names.iter().all(Value::is_string) => {
            names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => return Err("dnsNames must be a list of texts".to_owned()),
    };
    let days = match inner.remove("days").map_or(Some(365), |days| days.as_u64()) {
        Some(days @ 1..=36_500) => days as u32,
        _ => return Err("days must be a number from 1 to 36500".to_owned()),
    };
    let key = if inner.contains_key("key") { text(&mut inner, "key")? } else { "ec256".to_owned() };
    nothing_else(&inner)?;
    Ok(Generator::Certificate { common_name, dns_names, days, algorithm: algorithm(&key)? })
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Ok(match name {
        "rsa2048" => Algorithm::Rsa(2048),
        "rsa3072" => Algorithm::Rsa(3072),
        "rsa4096" => Algorithm::Rsa(4096),
        "ec256" => Algorithm::Ec256,
        "ec384" => Algorithm::Ec384,
        "ed25519" => Algorithm::Ed25519,
        other => {
            return Err(format!(
                "unknown algorithm {other:?}; there are rsa2048, rsa3072, rsa4096, ec256, ec384, ed25519"
            ));
        }
    })
}

fn fallback(fields: &mut Map<String, Value>) -> Result<Fallback, String> {
    match fields.remove("default") {
        None => Ok(Fallback::None),
        Some(Value::String(text)) => template(&text).map(Fallback::Template),
        Some(Value::Object(mut inner)) => {
            let random = random(&mut inner)?;
            nothing_else(&inner).map(|()| Fallback::Random(random))
        }
        Some(_) => Err("default must be a text, or { random: … }".to_owned()),
    }
}

fn template(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| error.to_string())
}

fn text(fields: &mut Map<String, Value>, field: &str) -> Result<String, String> {
    match fields.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("{field} must be a text")),
        None => Err(format!("{field} is missing")),
    }
}

fn reference(fields: &mut Map<String, Value>, field: &str) -> Result<Reference, String> {
    let text = text(fields, field)?;
    Reference::parse(&text).ok_or_else(|| format!("{field}: {text:?} is no name of a value"))
}

fn mapping(fields: &mut Map<String, Value>, field: &str) -> Result<Map<String, Value>, String> {
    match fields.remove(field) {
        Some(Value::Object(inner)) => Ok(inner),
        _ => Err(format!("{field} must be a mapping")),
    }
}

/// What was not read is a mistake in the writing.
pub(super) fn nothing_else(fields: &Map<String, Value>) -> Result<(), String> {
    match fields.keys().next() {
        Some(unknown) => Err(format!("unknown field {unknown}")),
        None => Ok(()),
    }
}
