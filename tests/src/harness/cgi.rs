//! `git http-backend` as a function from request to response (CGI, RFC 3875).

use std::path::Path;
use std::process::Stdio;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::io::AsyncWriteExt as _;

use super::repository::git_command;

/// Answers a request from the repositories in `served`.
pub(super) async fn answer(served: &Path, parts: &Parts, user: Option<&str>, body: Bytes) -> Response<Body> {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut command = git_command(served);
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", served)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(user) = user {
        command.env("REMOTE_USER", user);
    }
    let mut child = command.spawn().expect("git starts");
    let mut input = child.stdin.take().expect("the input is a pipe");
    let feed = async move {
        // It may answer without reading all.
        let _ = input.write_all(&body).await;
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    parse(&output.expect("git can be waited for").stdout)
}

/// Header lines, an empty line, the body; the status is a header.
fn parse(output: &[u8]) -> Response<Body> {
    let (head, body) = split(output);
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(head).lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            status = code.parse().unwrap_or(StatusCode::BAD_GATEWAY);
        } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.append(name, value);
        }
    }
    let mut response = Response::new(Body::from(body.to_vec()));
    *response.status_mut() = if head.is_empty() { StatusCode::BAD_GATEWAY } else { status };
    *response.headers_mut() = headers;
    response
}

fn split(output: &[u8]) -> (&[u8], &[u8]) {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or((&[], output), |end| (&output[..end], &output[end + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_headers_are_taken_from_the_output() {
        let response = parse(b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nnone");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["content-type"], "text/plain");
    }

    #[test]
    fn no_output_is_a_bad_gateway() {
        assert_eq!(parse(b"").status(), StatusCode::BAD_GATEWAY);
    }
}
