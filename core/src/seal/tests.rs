use aws_lc_rs::{encoding::AsDer, rsa::KeySize};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};
use serde_json::{Value, json};

use super::*;

/// A pair as a controller has it: the certificate and the private key as PEM.
fn pair(years: (i32, i32)) -> (String, String) {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let mut parameters = CertificateParams::default();
    (parameters.not_before, parameters.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn ours() -> (Certificate, Vec<PrivateKey>) {
    let (certificate, key) = pair((2020, 2040));
    (Certificate::read_all(&certificate).unwrap().remove(0), private_keys(&key).unwrap())
}

fn secret(annotations: Value) -> Secret {
    let metadata = json!({ "name": "app", "namespace": "db", "annotations": annotations, "labels": { "a": "b" } });
    let data = json!({ "binary": "AP/+", "empty": "", "twice": "eA==" });
    let object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "immutable": true,
        "data": data, "stringData": { "password": "hunter2", "twice": "y" } });
    Secret::read(object).unwrap()
}

const NOW: &str = "2026-01-02T03:04:05Z";

#[test]
fn what_is_sealed_opens_in_its_scope_and_nowhere_else() {
    let (certificate, keys) = ours();
    for scope in Scope::ALL {
        let mut secret = secret(json!({}));
        secret.set_scope(scope);
        let sealed = secret.seal(certificate.key(), NOW, Keep::default()).unwrap();
        assert_eq!(sealed.open(&keys).unwrap().to_value(), secret.to_value(), "{scope}");
        assert_eq!((sealed.scope(), sealed.sealed_at()), (scope, Some(NOW)));
        for (field, opens_elsewhere) in [("name", scope != Scope::Strict), ("namespace", scope == Scope::ClusterWide)] {
            let mut moved = sealed.clone().into_value();
            moved["metadata"][field] = json!("other");
            assert_eq!(SealedSecret::read(moved).unwrap().open(&keys).is_ok(), opens_elsewhere, "{scope} {field}");
        }
        let (_, others) = ours();
        assert!(matches!(sealed.open(&others), Err(SealError::CannotOpen(_))));
    }
}

#[test]
fn values_are_decoded_and_metadata_is_cleaned() {
    let annotations = json!({ "kubectl.kubernetes.io/last-applied-configuration": "hunter2", "keep": "me" });
    let secret = secret(annotations);
    assert_eq!(secret.value("binary"), Some(&b"\x00\xff\xfe"[..]));
    assert_eq!((secret.value("twice"), secret.value("empty")), (Some(&b"y"[..]), Some(&b""[..])));
    let (certificate, _) = ours();
    let sealed = secret.seal(certificate.key(), NOW, Keep::default()).unwrap().into_value();
    let text = format!("{sealed}{secret:?}");
    assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
    assert_eq!(sealed["spec"]["template"]["metadata"]["annotations"], json!({ "keep": "me" }));
    assert_eq!(
        (&sealed["spec"]["template"]["type"], &sealed["spec"]["template"]["immutable"]),
        (&json!("Opaque"), &json!(true))
    );
    assert_eq!(sealed["metadata"]["annotations"].as_object().unwrap().len(), 2, "{sealed}");
}

#[test]
fn an_unchanged_value_keeps_its_ciphertext() {
    let (certificate, keys) = ours();
    let first = secret(json!({})).seal(certificate.key(), NOW, Keep::default()).unwrap();
    let (other, _) = ours();
    let keep = Keep { old: Some(&first), keys: &keys };
    assert_eq!(secret(json!({})).seal(other.key(), "later", keep).unwrap(), first);

    let mut changed = secret(json!({}));
    changed.data.insert("password".to_owned(), b"new".to_vec().into());
    let second = changed.seal(other.key(), "later", keep).unwrap();
    let same = |name: &str| first.ciphertext(name) == second.ciphertext(name);
    assert_eq!((same("binary"), same("password"), second.sealed_at()), (true, false, Some("later")));
    let provenance = second.provenance();
    assert_eq!(provenance.get("password"), Some(other.key().fingerprint()));
    assert_eq!(provenance.get("binary"), Some(certificate.key().fingerprint()));

    let mut wider = secret(json!({}));
    wider.set_scope(Scope::ClusterWide);
    let wider = wider.seal(certificate.key(), "later", keep).unwrap();
    assert_ne!(wider.ciphertext("binary"), first.ciphertext("binary"));
    assert!(wider.open(&keys).is_ok());
}

#[test]
fn one_value_is_replaced_and_the_others_stay() {
    let (certificate, keys) = ours();
    let (other, _) = ours();
    let first = secret(json!({})).seal(certificate.key(), NOW, Keep::default()).unwrap();
    let mut second = first.clone();
    assert!(second.replace("password", &b"new".to_vec().into(), other.key(), "later", &keys).unwrap());
    assert!(!second.replace("empty", &Vec::new().into(), other.key(), "never", &keys).unwrap());
    assert_eq!(second.ciphertext("binary"), first.ciphertext("binary"));
    assert_eq!(second.provenance().keys().len(), 2);
    assert!(second.replace("a/b", &Vec::new().into(), other.key(), NOW, &keys).is_err());
}

#[test]
fn what_is_no_secret_is_refused_by_path_without_values() {
    let object = |change: &dyn Fn(&mut Value)| {
        let mut object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "n" }, "data": {} });
        change(&mut object);
        Secret::read(object).unwrap_err().to_string()
    };
    for (expected, change) in [
        ("not a Secret: v1 ConfigMap", &(|o: &mut Value| o["kind"] = json!("ConfigMap")) as &dyn Fn(&mut Value)),
        ("not a Secret: no mapping", &|o| *o = json!(["hunter2"])),
        ("data.a is not base64; plain text goes to stringData", &|o| o["data"]["a"] = json!("hunter2!")),
        ("data.a is not a string; quote it", &|o| o["data"]["a"] = json!(1)),
        ("stringData.a is not a string; quote it", &|o| o["stringData"] = json!({ "a": true })),
        ("data.a b may have letters, digits, `-`, `_` and `.` only, 253 at most", &|o| o["data"]["a b"] = json!("")),
        ("stringdata is no field of a Secret; remove it, it would be lost", &|o| o["stringdata"] = json!({})),
        ("metadata.labels.a is not a string; quote it", &|o| o["metadata"]["labels"] = json!({ "a": 1 })),
        ("type is not a string", &|o| o["type"] = json!(1)),
    ] {
        let error = object(change);
        assert_eq!(error, expected);
        assert!(!error.contains("hunter2"));
    }
}

#[test]
fn the_newest_valid_certificate_is_taken() {
    const YEAR_2026: i64 = 1_770_000_000;
    let pems: Vec<String> = [(2020, 2040), (2024, 2041), (2010, 2020), (2030, 2050)].map(|years| pair(years).0).into();
    let all = |order: &[usize]| {
        let text = order.iter().map(|at| pems[*at].as_str()).collect::<Vec<_>>().join("text around\n");
        Certificate::newest_valid(Certificate::read_all(&text).unwrap(), YEAR_2026)
    };
    assert_eq!(all(&[0, 1, 2, 3]).unwrap().expires(), "2041-01-01");
    assert_eq!(all(&[3, 1, 0]).unwrap().expires(), "2041-01-01");
    assert_eq!(all(&[3, 2]).unwrap().expires(), "2050-01-01");
    assert_eq!(all(&[2]).unwrap_err(), CertificateError::Expired("2020-01-01".to_owned()));

    let elliptic = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let elliptic = CertificateParams::default().self_signed(&elliptic).unwrap().pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (text, expected) in [
        (elliptic.as_str(), CertificateError::NotRsa),
        ("hello", CertificateError::Missing),
        (broken, CertificateError::Broken(1)),
    ] {
        assert_eq!(Certificate::read_all(text).unwrap_err(), expected);
    }
    let certificate = Certificate::read_all(&format!("{elliptic}{}", pems[0])).unwrap().remove(0);
    assert_eq!(certificate.pem(), pems[0].replace("\r\n", "\n"));
}

#[test]
fn private_keys_are_read_in_both_forms() {
    let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pkcs8 = pem::encode("PRIVATE KEY", pkcs8.as_ref());
    assert!(private_keys(&pkcs8).unwrap()[0].fingerprint().as_str().starts_with("SHA256:"));
    for (text, expected) in [
        ("", PrivateKeyError::Missing),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
            PrivateKeyError::Encrypted,
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----",
            PrivateKeyError::Encrypted,
        ),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", PrivateKeyError::NotRsa),
    ] {
        assert_eq!(private_keys(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn provenance_is_short_where_all_values_have_one_key() {
    let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
    for (written, again) in [
        (Some("SHA256:x"), Some("SHA256:x")),
        (Some("SHA256:x b=SHA256:y"), Some("SHA256:x b=SHA256:y")),
        (Some("SHA256:x a=SHA256:y b=SHA256:y c=SHA256:y gone=SHA256:z"), Some("SHA256:y")),
        (Some("b=SHA256:y"), Some("b=SHA256:y")),
        (None, None),
    ] {
        let provenance = Provenance::read(written, names.iter());
        assert_eq!(provenance.write(names.len()).as_deref(), again);
    }
}
