//! An [`Access`] as it goes through the pipe to the child that fetches: the only place where its secrets are written out.

use std::collections::BTreeMap;
use std::sync::Arc;

use gitmoor_core::sensitive::Sensitive;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::access::{Access, ClientCertificate, Connection, Credentials, Proxy};

pub(super) fn serialize<S: Serializer>(access: &Access, serializer: S) -> Result<S::Ok, S::Error> {
    InPipe::from(access).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Access, D::Error> {
    InPipe::deserialize(deserializer).map(Access::from)
}

#[derive(Serialize, Deserialize)]
struct InPipe {
    opens: Opens,
    insecure: bool,
    known_hosts: Option<String>,
    authorities: BTreeMap<String, String>,
    client: Option<(String, Exposed)>,
    proxy: Option<(Exposed, String)>,
}

#[derive(Serialize, Deserialize)]
enum Opens {
    Nothing,
    Basic(String, Exposed),
    Bearer(Exposed),
    SshKey(Exposed),
}

struct Exposed(Sensitive<String>);

impl Serialize for Exposed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Exposed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Sensitive::new(text)))
    }
}

impl From<&Access> for InPipe {
    fn from(access: &Access) -> Self {
        let Access { credentials, connection } = access.clone();
        let Connection { insecure, known_hosts, authorities, client, proxy } = connection;
        Self {
            opens: match credentials {
                Credentials::None => Opens::Nothing,
                Credentials::Basic { username, password } => Opens::Basic(username, Exposed(password)),
                Credentials::Bearer(token) => Opens::Bearer(Exposed(token)),
                Credentials::SshKey(key) => Opens::SshKey(Exposed(key)),
            },
            insecure,
            known_hosts: known_hosts.map(|text| text.as_ref().to_owned()),
            authorities: authorities.as_ref().clone(),
            client: client.map(|ClientCertificate { certificate, key }| (certificate, Exposed(key))),
            proxy: proxy.map(|Proxy { url, except }| (Exposed(url), except)),
        }
    }
}

impl From<InPipe> for Access {
    fn from(given: InPipe) -> Self {
        let InPipe { opens, insecure, known_hosts, authorities, client, proxy } = given;
        let credentials = match opens {
            Opens::Nothing => Credentials::None,
            Opens::Basic(username, Exposed(password)) => Credentials::Basic { username, password },
            Opens::Bearer(Exposed(token)) => Credentials::Bearer(token),
            Opens::SshKey(Exposed(key)) => Credentials::SshKey(key),
        };
        let connection = Connection {
            insecure,
            known_hosts: known_hosts.map(Arc::from),
            authorities: Arc::new(authorities),
            client: client.map(|(certificate, Exposed(key))| ClientCertificate { certificate, key }),
            proxy: proxy.map(|(Exposed(url), except)| Proxy { url, except }),
        };
        Self { credentials, connection }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let hidden = |text: &str| Sensitive::new(text.to_owned());
        let connection = Connection {
            insecure: true,
            known_hosts: Some(Arc::from("host ssh-rsa x")),
            authorities: Arc::new([("host".to_owned(), "PEM".to_owned())].into()),
            client: Some(ClientCertificate { certificate: "PEM".to_owned(), key: hidden("key") }),
            proxy: Some(Proxy { url: hidden("http://proxy"), except: "host".to_owned() }),
        };
        for credentials in [
            Credentials::None,
            Credentials::basic("me".to_owned(), "x".to_owned()),
            Credentials::Bearer(hidden("x")),
            Credentials::SshKey(hidden("x")),
        ] {
            let access = Access { credentials, connection: connection.clone() };
            let text = serde_json::to_string(&InPipe::from(&access)).unwrap();
            assert_eq!(Access::from(serde_json::from_str::<InPipe>(&text).unwrap()), access);
        }
    }
}
