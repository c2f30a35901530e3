//! A chart repository and an OCI registry over HTTP on loopback, with charts that the real helm has packed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::certificates::Authority;
use super::scratch::Scratch;
use super::tls;
use super::tools;

/// Where the repository is served; the registry is `/v2/`.
const REPOSITORY: &str = "/charts/";
const TOKEN: &str = "token-of-the-registry";

/// A request that reached the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartRequest {
    /// Such as `/charts/index.yaml`.
    pub path: String,
    /// The answer's status.
    pub status: u16,
}

/// A server of charts. It lives in the tokio runtime that started it.
#[derive(Debug)]
pub struct ChartServer {
    served: Arc<Served>,
    scheme: &'static str,
    port: u16,
    stop: CancellationToken,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Served {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    redirects: Mutex<BTreeMap<String, String>>,
    credentials: Mutex<Option<(String, String)>>,
    requests: Mutex<Vec<ChartRequest>>,
    /// Where the registry sends those who need a token.
    realm: Mutex<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}

impl ChartServer {
    /// An empty one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (served, stop) = (Arc::new(Served::default()), CancellationToken::new());
        *locked(&served.realm) = format!("http://127.0.0.1:{port}");
        let router = Router::new().fallback(respond).with_state(Arc::clone(&served));
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await });
        Self { served, scheme: "http", port, stop, scratch: Scratch::new("charts") }
    }

    /// An empty one over TLS, which goes by a name too; `mutual` when callers need a certificate of the same authority.
    pub async fn over_tls(authority: &Authority, name: &str, mutual: bool) -> Self {
        let (served, stop) = (Arc::new(Served::default()), CancellationToken::new());
        *locked(&served.realm) = format!("https://{name}");
        let router = Router::new().fallback(respond).with_state(Arc::clone(&served));
        let running = tls::serve_as(router, authority, &["localhost", name], mutual).await;
        let stopped = stop.clone();
        tokio::spawn(async move {
            stopped.cancelled().await;
            running.server.abort();
        });
        Self { served, scheme: "https", port: running.address.port(), stop, scratch: Scratch::new("charts") }
    }

    /// The address of the repository.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority(), REPOSITORY.trim_end_matches('/'))
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The address of the registry.
    pub fn registry(&self) -> String {
        format!("oci://127.0.0.1:{}/org", self.port)
    }

    /// From now on it asks for this user name and password, or for none.
    pub fn set_credentials(&self, credentials: Option<(&str, &str)>) {
        *locked(&self.served.credentials) = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
    }

    /// Packs a chart of these files with the real helm, and publishes it in the repository and in the registry.
    pub fn publish(&self, name: &str, version: &str, files: &[(&str, &str)]) {
        let folder = self.scratch.folder("source").join(format!("{name}-{version}")).join(name);
        let chart = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
        for (path, text) in files.iter().chain([&("Chart.yaml", chart.as_str())]) {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder can be made");
            std::fs::write(path, text).expect("a file can be written");
        }
        let packed = self.scratch.folder("packed");
        helm(&["package", &folder.display().to_string(), "--destination", &packed.display().to_string()]);
        self.index(&packed);
    }

    /// Serves this content at a path of the repository.
    pub fn put(&self, path: &str, content: &[u8]) {
        locked(&self.served.files).insert(format!("{REPOSITORY}{path}"), content.to_vec());
    }

    /// Answers a path of the repository with a redirect.
    pub fn redirect(&self, path: &str, target: &str) {
        locked(&self.served.redirects).insert(format!("{REPOSITORY}{path}"), target.to_owned());
    }

    /// What is served at a path of the repository.
    pub fn content(&self, path: &str) -> Vec<u8> {
        locked(&self.served.files).get(&format!("{REPOSITORY}{path}")).cloned().unwrap_or_default()
    }

    /// Every request that reached it.
    pub fn requests(&self) -> Vec<ChartRequest> {
        locked(&self.served.requests).clone()
    }

    /// How many requests for paths that hold this text ended with a status.
    pub fn count(&self, text: &str, status: u16) -> usize {
        self.requests().iter().filter(|request| request.path.contains(text) && request.status == status).count()
    }

    fn index(&self, packed: &Path) {
        helm(&["repo", "index", &packed.display().to_string()]);
        let entries = std::fs::read_dir(packed).expect("the folder is there");
        let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
        for path in paths {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            let content = std::fs::read(&path).expect("a file can be read");
            if let Some((chart, version)) = name.strip_suffix(".tgz").and_then(split_name) {
                self.push(&chart, &version, &content);
            }
            self.put(&name, &content);
        }
    }

    /// What `helm push` would leave in a registry.
    fn push(&self, chart: &str, version: &str, content: &[u8]) {
        let digest = |bytes: &[u8]| format!("sha256:{}", hexadecimal(bytes));
        let config = json!({"name": chart, "version": version, "apiVersion": "v2"}).to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(config.as_bytes()), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": digest(content), "size": content.len()}],
        });
        let base = format!("/v2/org/{chart}");
        let mut files = locked(&self.served.files);
        files.insert(format!("{base}/manifests/{}", version.replace('+', "_")), manifest.to_string().into_bytes());
        files.insert(
            format!("{base}/manifests/{}", digest(manifest.to_string().as_bytes())),
            manifest.to_string().into_bytes(),
        );
        files.insert(format!("{base}/blobs/{}", digest(content)), content.to_vec());
        files.insert(format!("{base}/blobs/{}", digest(config.as_bytes())), config.into_bytes());
        let prefix = format!("{base}/manifests/");
        let tags: Vec<&str> =
            files.keys().filter_map(|path| path.strip_prefix(&prefix)).filter(|t| !t.starts_with("sha256:")).collect();
        let tags = json!({"name": format!("org/{chart}"), "tags": tags}).to_string();
        files.insert(format!("{base}/tags/list"), tags.into_bytes());
    }
}

impl Drop for ChartServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// SHA-256.
fn hexadecimal(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs the real helm.
///
/// # Panics
/// When it fails, with what it said.
pub fn helm(arguments: &[&str]) -> String {
    let scratch = Scratch::new("helm-home");
    let output = Command::new(tools::tool("helm")).args(arguments).env_clear().env("HOME", scratch.path()).output();
    let output = output.expect("helm starts");
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `NAME-VERSION`, where the version begins with the first digit behind a hyphen.
fn split_name(text: &str) -> Option<(String, String)> {
    let at = text
        .match_indices('-')
        .map(|(at, _)| at)
        .find(|at| text[at + 1..].starts_with(|c: char| c.is_ascii_digit()))?;
    Some((text[..at].to_owned(), text[at + 1..].to_owned()))
}

async fn respond(State(served): State<Arc<Served>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let response = answer(&served, &path, request.headers());
    locked(&served.requests).push(ChartRequest { path, status: response.status().as_u16() });
    response
}

fn answer(served: &Served, path: &str, headers: &HeaderMap) -> Response<Body> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some((user, password)) = locked(&served.credentials).clone() {
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let bearer = format!("Bearer {TOKEN}");
        let wanted = if path.starts_with("/v2/") { bearer } else { basic };
        if given != Some(wanted.as_str()) {
            let challenge = if path.starts_with("/v2/") {
                format!("Bearer realm=\"{}/token\",service=\"test\"", locked(&served.realm))
            } else {
                "Basic realm=\"charts\"".to_owned()
            };
            return response(StatusCode::UNAUTHORIZED, &[(header::WWW_AUTHENTICATE, &challenge)], Vec::new());
        }
        if path == "/token" {
            return response(StatusCode::OK, &[], json!({"token": TOKEN}).to_string().into_bytes());
        }
    }
    if let Some(target) = locked(&served.redirects).get(path) {
        return response(StatusCode::FOUND, &[(header::LOCATION, target)], Vec::new());
    }
    let Some(content) = locked(&served.files).get(path).cloned() else {
        return response(StatusCode::NOT_FOUND, &[], Vec::new());
    };
    if !path.ends_with("index.yaml") {
        let kind = if path.contains("/manifests/") {
            "application/vnd.oci.image.manifest.v1+json"
        } else {
            "application/octet-stream"
        };
        return response(StatusCode::OK, &[(header::CONTENT_TYPE, kind)], content);
    }
    let etag = format!("\"{}\"", hexadecimal(&content));
    if headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()) == Some(etag.as_str()) {
        return response(StatusCode::NOT_MODIFIED, &[(header::ETAG, &etag)], Vec::new());
    }
    response(StatusCode::OK, &[(header::ETAG, &etag)], content)
}

fn response(status: StatusCode, headers: &[(header::HeaderName, &str)], body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().expect("a valid header"));
    }
    response
}
