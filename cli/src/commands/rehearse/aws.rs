//! What stands in for AWS: Secrets Manager, Parameter Store and STS on loopback.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse, routing::post};
use gitmoor_core::object::text_at;
use serde_json::{Value, json};

use super::asked::{Asked, Keys};
use crate::failure::Failure;

/// Answers for Secrets Manager, Parameter Store and STS on loopback, with a generated value for every key that the tree
/// names.
pub(super) struct StandInAws {
    address: SocketAddr,
    known: Arc<Known>,
}

/// What is asked at this moment.
type Known = RwLock<Asked>;

impl StandInAws {
    /// Starts to answer.
    pub(super) async fn serve(asked: Asked) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io("the stand-in for AWS cannot start", &error);
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let known = Arc::new(RwLock::new(asked));
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&known));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, known })
    }

    /// Where.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The tree names other keys now.
    pub(super) fn learn(&self, asked: Asked) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = asked;
    }

    /// The Secrets with access keys that somebody makes by hand, but for those that are there.
    pub(super) fn by_hand(&self) -> Keys {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_hand.clone()
    }

    /// One of them is there.
    pub(super) fn has(&self, secret: &(String, String)) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).by_hand.remove(secret);
    }
}

async fn answer(State(known): State<Arc<Known>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    if operation.is_empty() {
        return ([("content-type", "text/xml")], token(&String::from_utf8_lossy(&body)));
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let known = known.read().unwrap_or_else(PoisonError::into_inner);
    let document = document(&known, operation, &request).to_string();
    ([("content-type", "application/x-amz-json-1.1")], document)
}

fn document(known: &Asked, operation: &str, request: &Value) -> Value {
    let secret = |key: &str| {
        json!({ "ARN": format!("arn:aws:secretsmanager:us-east-1:000000000000:secret:{key}-standi"), "Name": key,
            "SecretString": known.value(key), "VersionId": "00000000-0000-0000-0000-000000000000" })
    };
    let parameter = |key: &str| json!({ "Name": key, "Type": "SecureString", "Value": known.value(key), "Version": 1 });
    let texts = |field: &str| -> Vec<String> {
        let list = request[field].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let text = |field: &str| text_at(request, &[field]).unwrap_or_default();
    let tags = |key: &str| -> Vec<Value> {
        known.members(key).iter().map(|(name, value)| json!({ "Key": name, "Value": value })).collect()
    };
    match operation {
        "GetSecretValue" => secret(text("SecretId")),
        "BatchGetSecretValue" => {
            json!({ "SecretValues": texts("SecretIdList").iter().map(|key| secret(key)).collect::<Vec<_>>(), "Errors": [] })
        }
        "GetParameter" => json!({ "Parameter": parameter(text("Name")) }),
        "GetParameters" => {
            json!({ "Parameters": texts("Names").iter().map(|key| parameter(key)).collect::<Vec<_>>(), "InvalidParameters": [] })
        }
        "GetParametersByPath" => {
            let below = known.keys().filter(|key| key.starts_with(text("Path")));
            json!({ "Parameters": below.map(parameter).collect::<Vec<_>>() })
        }
        "ListSecrets" => json!({ "SecretList": known.keys().map(|key| json!({ "Name": key })).collect::<Vec<_>>() }),
        "DescribeParameters" => {
            json!({ "Parameters": known.keys().map(|key| json!({ "Name": key })).collect::<Vec<_>>() })
        }
        "DescribeSecret" => json!({ "Name": text("SecretId"), "Tags": tags(text("SecretId")) }),
        "ListTagsForResource" => json!({ "TagList": tags(text("ResourceId")) }),
        _ => json!({}),
    }
}

/// STS: every role may be assumed.
fn token(request: &str) -> String {
    let action = request.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or("AssumeRole");
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>rehearsal</AccessKeyId><SecretAccessKey>rehearsal</SecretAccessKey><SessionToken>rehearsal</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><Arn>arn:aws:sts::000000000000:assumed-role/rehearsal/rehearsal</Arn>\
         <Account>000000000000</Account><UserId>rehearsal</UserId></{action}Result></{action}Response>"
    )
}
