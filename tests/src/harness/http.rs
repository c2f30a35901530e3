//! Plain HTTP requests to servers on loopback.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// Gets `http://HOST:PORT/PATH`; an error says why there is no answer.
pub async fn get(url: &str) -> Result<Answer, String> {
    send("GET", url, &[], "").await
}

/// Sends a request to `http://HOST:PORT/PATH`; an error says why there is no answer.
pub async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer, String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url} is not plain HTTP"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    // With HTTP/1.0 the answer ends with the connection and is never chunked.
    let mut request = format!("{method} /{path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.extend(["\r\n", body]);
    let answer = tokio::time::timeout(PATIENCE, exchange(host, &request))
        .await
        .map_err(|_| format!("{method} {url}: no answer within {PATIENCE:?}"))?
        .map_err(|error| format!("{method} {url}: {error}"))?;
    parse(&answer).ok_or_else(|| format!("{method} {url}: not an answer: {answer}"))
}

async fn exchange(host: &str, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}
