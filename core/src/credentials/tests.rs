//! From a file to values.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::sensitive::Sensitive;

const FILE: &str = r"
values:
  email: { input: email, default: admin@example.com }
  username: { input: username, default: admin }
  password: { input: password, default: { random: alphanumeric, characters: 24 }, show: true }
  hash: { bcrypt: password }
  line: { htpasswd: { user: username, password: password } }
  client: { random: base64url, bytes: 32 }
  cookie: { random: hex, bytes: 16 }
  fernet: { random: fernet }
  signing: { keyPair: ed25519 }
  tls: { certificate: { commonName: web, dnsNames: [web.svc], days: 30, key: ec384 } }
  token: { environment: TOKEN, default: { random: hex, bytes: 20 } }
  dex:
    template: |
      email: {{ email | json }}
      hash: {{ hash }}
      clients: [{secret: {{ client }}}]
secrets:
  - { namespace: auth, name: dex, data: { config.yaml: dex } }
  - { namespace: auth, name: proxy, data: { client: client, cookie: cookie } }
  - { namespace: web, name: tls, type: kubernetes.io/tls, data: { tls.crt: tls.certificate, tls.key: tls.private } }
  - { namespace: web, name: other, data: { fernet: fernet, line: line, public: signing.public, token: token } }
files:
  - { file: components/web/profile.yaml, object: { kind: ConfigMap, name: profile }, path: [data, email], value: email }
";

struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GenerateError> {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

fn read(text: &str) -> Result<Credentials, Vec<Problem>> {
    Credentials::read(text, &|path| {
        if path == "there.txt" { Ok("{{ b }}".to_owned()) } else { Err(format!("{path} is not there")) }
    })
}

fn given(input: Input, value: &str) -> Given {
    Given { inputs: BTreeMap::from([(input, Sensitive::new(value.to_owned()))]), ..Given::default() }
}

fn situation(credentials: &Credentials, sealed: &[(usize, &[&str])]) -> Situation {
    let sealed = sealed.iter().map(|(at, keys)| (*at, keys.iter().map(|key| (*key).to_owned()).collect())).collect();
    Situation { active: (0..credentials.secrets.len()).collect(), sealed }
}

fn everything(credentials: &Credentials) -> Situation {
    let sealed = credentials.secrets.iter().map(|secret| secret.data.keys().cloned().collect()).enumerate().collect();
    Situation { active: (0..credentials.secrets.len()).collect(), sealed }
}

fn written(plan: &Plan) -> Vec<String> {
    plan.write.iter().flat_map(|(at, keys)| keys.iter().map(move |key| format!("{at} {key}"))).collect()
}

#[test]
fn every_generator_gives_what_it_is_named_for() {
    let credentials = read(FILE).unwrap();
    let given = given(Input::Password, "correct horse");
    let mut random = Counting(0);
    let mut values = Values::new(&credentials, &given, &mut random, 1_790_000_000);
    let mut get = |name: &str| values.get(&Reference::parse(name).unwrap()).unwrap().expose().clone();
    assert_eq!(get("email"), "admin@example.com");
    assert_eq!(get("password"), "correct horse");
    assert!(get("hash").starts_with("$2y$12$"));
    assert!(bcrypt::verify("correct horse", &get("hash")).unwrap());
    assert!(bcrypt::verify("correct horse", get("line").strip_prefix("admin:").unwrap()).unwrap());
    assert_eq!(get("client").len(), 43);
    assert_eq!((get("cookie").len(), get("token").len()), (32, 40));
    assert_eq!((get("fernet").len(), get("fernet").ends_with('=')), (44, true));
    assert!(get("signing.private").starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(get("signing.public").starts_with("-----BEGIN PUBLIC KEY-----"));
    assert_eq!(get("client"), get("client"));
    let dex = get("dex");
    assert!(dex.contains("email: \"admin@example.com\"\n") && dex.contains(&get("client")), "{dex}");
    let certificate = get("tls.certificate");
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).unwrap();
    let parsed = pem.parse_x509().unwrap();
    assert_eq!(parsed.subject().to_string(), "CN=web");
    assert_eq!(parsed.validity().not_before.timestamp(), 1_789_862_400);
    assert_eq!(parsed.validity().not_after.timestamp(), 1_792_540_800);
    assert!(values.shown().is_empty());
}

#[test]
fn random_letters_are_letters_and_a_generated_password_is_shown() {
    let credentials = read(FILE).unwrap();
    let none = Given::default();
    let mut random = Counting(7);
    let mut values = Values::new(&credentials, &none, &mut random, 0);
    let password = values.get(&Reference::parse("password").unwrap()).unwrap();
    assert_eq!(password.expose().len(), 24);
    assert!(password.expose().chars().all(|c| c.is_ascii_alphanumeric()));
    assert_eq!(values.shown(), [("password", &password)]);
}

#[test]
fn a_password_that_bcrypt_would_cut_is_refused() {
    let credentials = read(FILE).unwrap();
    for (password, expected) in [("x".repeat(72), GenerateError::TooLong), ("a\0b".to_owned(), GenerateError::Nul)] {
        let given = given(Input::Password, &password);
        let mut random = Counting(0);
        let mut values = Values::new(&credentials, &given, &mut random, 0);
        assert_eq!(values.get(&Reference::parse("hash").unwrap()), Err(("hash".to_owned(), expected)));
    }
}

#[test]
fn only_what_is_missing_is_written() {
    let credentials = read(FILE).unwrap();
    let run = |sealed: &Situation, request| plan(&credentials, sealed, &Given::default(), &request);
    let first = run(&situation(&credentials, &[]), Request::Missing).unwrap();
    assert_eq!(first.write.len(), 4);
    assert_eq!(run(&everything(&credentials), Request::Missing).unwrap(), Plan::default());
    let mut almost = everything(&credentials);
    almost.sealed.get_mut(&3).unwrap().remove("fernet");
    assert_eq!(written(&run(&almost, Request::Missing).unwrap()), ["3 fernet"]);
    let all = run(&everything(&credentials), Request::All).unwrap();
    assert_eq!(written(&all), written(&first));
    let one = Situation { active: BTreeSet::from([1]), ..Situation::default() };
    assert_eq!(written(&run(&one, Request::Missing).unwrap()), ["1 client", "1 cookie"]);
}

#[test]
fn a_sealed_value_that_is_needed_again_is_no_silent_change() {
    let credentials = read(FILE).unwrap();
    let mut without_dex = everything(&credentials);
    without_dex.sealed.remove(&0);
    let errors = plan(&credentials, &without_dex, &Given::default(), &Request::Missing).unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0]
            .contains("Secret auth/dex key config.yaml needs the value client, which is sealed in Secret auth/proxy")
    );
    // With the password at hand only the client's secret is in the way.
    let errors = plan(&credentials, &without_dex, &given(Input::Password, "x"), &Request::Missing).unwrap_err();
    assert_eq!(errors.len(), 1);
}

#[test]
fn what_is_renewed_is_renewed_everywhere() {
    let credentials = read(FILE).unwrap();
    let rotate = |name: &str, given: &Given| {
        plan(&credentials, &everything(&credentials), given, &Request::Rotate(vec![name.to_owned()])).unwrap()
    };
    assert_eq!(written(&rotate("cookie", &Given::default())), ["1 cookie"]);
    let plan = rotate("client", &Given::default());
    // dex holds the client's secret with the hash of the password, and the password's line stands elsewhere.
    assert_eq!(written(&plan), ["0 config.yaml", "1 client", "3 line"]);
    assert_eq!(plan.also, BTreeSet::from(["password".to_owned()]));
    let plan = rotate("client", &given(Input::Password, "x"));
    assert_eq!(written(&plan), ["0 config.yaml", "1 client"]);
    assert_eq!(plan.also, BTreeSet::new());
    assert_eq!(written(&rotate("tls", &Given::default())), ["2 tls.crt", "2 tls.key"]);
    let unknown =
        super::plan(&credentials, &everything(&credentials), &Given::default(), &Request::Rotate(vec!["x".into()]));
    assert_eq!(unknown, Err(vec![PlanError::Unknown { name: "x".into(), meant: None }]));
}

#[test]
fn what_nobody_gives_is_asked_for_before_anything_is_made() {
    let credentials =
        read("values: {a: {environment: KEY}}\nsecrets: [{namespace: ns, name: s, data: {k: a}}]").unwrap();
    let all = situation(&credentials, &[]);
    let error = plan(&credentials, &all, &Given::default(), &Request::Missing).unwrap_err();
    assert_eq!(error[0].to_string(), "the value a is not given: set the environment variable KEY");
    let given = Given { environment: BTreeMap::from([("KEY".into(), Sensitive::new("v".into()))]), ..Given::default() };
    assert!(plan(&credentials, &all, &given, &Request::Missing).is_ok());
}

#[test]
fn mistakes_are_named_with_their_paths() {
    for (text, path, reason) in [
        ("values: {a: {radnom: hex}}", "values.a", "unknown generator radnom"),
        ("values: {a: {random: hex, bytes: 4}}", "values.a", "bytes must be a number from 16"),
        ("values: {a: {random: hex, bytes: 16, x: 1}}", "values.a", "unknown field x"),
        ("values: {a: {random: rot13}}", "values.a", "unknown alphabet"),
        ("values: {a: {bcrypt: b, random: fernet}}", "values.a", "at once"),
        ("values: {a: {keyPair: dsa}}", "values.a", "unknown algorithm"),
        ("values: {a: {input: age}}", "values.a", "unknown input"),
        ("values: {A: {random: fernet}}", "values.A", "lower-case"),
        ("values: {a: {bcrypt: b}}", "values.a", "no value is called b"),
        ("values: {a: {bcrypt: a}}", "values.a", "a -> a"),
        ("values: {a: {template: '{{ b }}'}, b: {bcrypt: c}, c: {bcrypt: a}}", "values.a", "a -> b -> c -> a"),
        ("values: {a: {templateFile: there.txt}}", "values.a", "no value is called b"),
        ("values: {a: {templateFile: none.txt}}", "values.a", "none.txt is not there"),
        (
            "values: {a: {keyPair: ec256}}\nsecrets: [{namespace: ns, name: s, data: {k: a}}]",
            "secrets[0].data.k",
            "no part",
        ),
        ("secrets: [{namespace: ns, data: {k: a}}]", "secrets[0]", "missing field `name`"),
        ("secrets: [{namespace: ns, name: s, data: {}}]", "secrets[0]", "holds nothing"),
        ("secrets: [{namespace: ns, name: s, file: ../x, data: {k: a}}]", "secrets[0]", "not a path below"),
        ("values: {a: {random: fernet}}\nfiles: [{file: f, path: [x], value: a}]", "files[0].value", "is secret"),
        ("valeus: {}", "", "unknown field valeus"),
        ("- a", "", "one mapping"),
        ("values: {a: {random: fernet}, a: {random: fernet}}", "", "a"),
    ] {
        let problems = read(text).unwrap_err();
        assert_eq!(problems[0].path, path, "{text}: {problems:?}");
        assert!(problems[0].reason.contains(reason), "{text}: {problems:?}");
    }
}

#[test]
fn no_value_is_printed() {
    let credentials = read(FILE).unwrap();
    let given = given(Input::Password, "canary-value");
    let mut random = Counting(0);
    let mut values = Values::new(&credentials, &given, &mut random, 0);
    let made = values.get(&Reference::parse("password").unwrap()).unwrap();
    assert!(!format!("{given:?} {made:?}").contains("canary"));
}
