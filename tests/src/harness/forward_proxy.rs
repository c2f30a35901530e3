//! A proxy for https on loopback, which counts who was asked for, and leads wherever a test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Whom it lets in.
const USER: &str = "gitmoor";
/// With what.
pub const PASSWORD: &str = "canary-of-the-proxy";

/// A running proxy, which asks for a name and a password. It lives in the tokio runtime that started it.
#[derive(Debug)]
pub struct ForwardProxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl ForwardProxy {
    /// One that leads to `host:port` by this map, and else where it is asked for.
    pub async fn start(leads: &[(&str, &str)]) -> Self {
        let leads: BTreeMap<String, String> =
            leads.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (leads, told) = (Arc::new(leads), Arc::clone(&asked));
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (leads, told) = (Arc::clone(&leads), Arc::clone(&told));
                // Whoever says nothing sensible is let go.
                tokio::spawn(async move { drop(serve(client, &leads, &told).await) });
            }
        });
        Self { port, asked, server }
    }

    /// Its address, with name and password.
    pub fn url(&self) -> String {
        format!("http://{USER}:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// Its address alone.
    pub fn url_without_password(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The servers that it has led to, as `host:port`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panics while it holds this").clone()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    leads: &BTreeMap<String, String>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let expected = format!("basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    // After a 407 the same connection may ask again.
    loop {
        let head = head(&mut client).await?;
        let authorized = head.lines().any(|line| {
            let (name, value) = line.split_once(':').unwrap_or_default();
            let (scheme, rest) = value.trim().split_once(' ').unwrap_or_default();
            name.eq_ignore_ascii_case("proxy-authorization")
                && format!("{} {}", scheme.to_ascii_lowercase(), rest.trim()) == expected
        });
        if !authorized {
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"proxy\"\r\n\
                           Content-Length: 0\r\n\r\n";
            client.write_all(refusal.as_bytes()).await?;
            continue;
        }
        let Some(target) = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) else {
            return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n").await;
        };
        asked.lock().expect("no test panics while it holds this").push(target.to_owned());
        let mut server = TcpStream::connect(leads.get(target).map_or(target, String::as_str)).await?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        copy_bidirectional(&mut client, &mut server).await?;
        return Ok(());
    }
}

async fn head(client: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
