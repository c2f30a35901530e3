//! A proxy inside of the child that fetches: libgit2 looks names up by itself, so whatever it connects to goes through
//! here, where addresses are judged as they are connected to.
//!
//! It is a proxy for https. Over plain http libgit2 goes past proxies: there it talks to the guard in place of the server,
//! and each connection carries one request with the server's name put back into it.
//!
//! It listens on loopback, for one fetch, and reaches nothing that the fetch may not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::reach::{Hosts, may_reach};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest head of a request.
const LONGEST_HEAD: usize = 64 << 10;

/// The proxy.
pub(super) struct Guard {
    address: SocketAddr,
    refused: Arc<AtomicBool>,
}

/// What a connection is judged by.
struct Rules {
    hosts: Hosts,
    /// Host and port of the server that is talked to over plain http.
    plain: Option<String>,
    refused: Arc<AtomicBool>,
}

impl Guard {
    /// Starts it for the server at an address; it lives as long as the process.
    pub(super) fn start(hosts: Hosts, address: &str) -> io::Result<Self> {
        let plain = address.strip_prefix("http://").and_then(|rest| rest.split('/').next()).map(str::to_owned);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, refused) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let rules = Arc::new(Rules { hosts, plain, refused: Arc::clone(&refused) });
        thread::Builder::new().spawn(move || {
            for stream in listener.incoming().flatten() {
                let rules = Arc::clone(&rules);
                // A connection that cannot be served ends; libgit2 says so.
                let _ = thread::Builder::new().spawn(move || drop(serve(stream, &rules)));
            }
        })?;
        Ok(Self { address, refused })
    }

    /// Its address.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address that stands in for one over plain http.
    pub(super) fn in_place_of(&self, address: &str) -> Option<String> {
        let rest = address.strip_prefix("http://")?;
        Some(format!("{}{}", self.url(), &rest[rest.find('/').unwrap_or(rest.len())..]))
    }

    /// Whether it has refused a connection.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }
}

fn serve(mut client: TcpStream, rules: &Rules) -> io::Result<()> {
    let head = head(&mut client)?;
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    let tunnel = line.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let (authority, default_port) = match (tunnel, &rules.plain) {
        (Some(authority), _) => (authority, 443),
        (None, Some(authority)) => (authority.as_str(), 80),
        (None, None) => return Ok(()),
    };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:{default_port}") };
    // The scheme's own port is left out where hosts are named.
    let named = with_port.strip_suffix(&format!(":{default_port}")).unwrap_or(&with_port);
    let inside = rules.hosts.allow(named) || rules.hosts.allow(&with_port);
    let found: Vec<SocketAddr> = with_port.to_socket_addrs()?.collect();
    let allowed: Vec<SocketAddr> = found.iter().copied().filter(|address| may_reach(address, inside)).collect();
    if allowed.is_empty() {
        rules.refused.store(true, Ordering::Relaxed);
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let connected = allowed.iter().find_map(|address| TcpStream::connect_timeout(address, CONNECT_TIMEOUT).ok());
    let Some(mut server) = connected else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    if tunnel.is_some() {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        server.write_all(&addressed(&head, authority))?;
    }
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::Builder::new().spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    })?;
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// A request's head for a host, after whose answer the connection ends; what follows the head stays.
fn addressed(head: &[u8], authority: &str) -> Vec<u8> {
    let end = head.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(head.len());
    let text = String::from_utf8_lossy(&head[..end]).into_owned();
    let dropped = ["host:", "connection:"];
    let kept = text.split("\r\n").filter(|line| {
        let line = line.to_ascii_lowercase();
        !dropped.iter().any(|name| line.starts_with(name))
    });
    let mut lines: Vec<String> = kept.map(str::to_owned).collect();
    lines.push(format!("Host: {authority}"));
    lines.push("Connection: close".to_owned());
    let mut request = lines.join("\r\n").into_bytes();
    request.extend_from_slice(&head[end..]);
    request
}

/// The head of a request, up to and with its empty line, and whatever came with it.
fn head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = client.read(&mut piece)?;
        if read == 0 || head.len() > LONGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&piece[..read]);
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_host_and_ends_its_connection() {
        let head = b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nConnection: keep-alive\r\nA: b\r\n\r\nbody";
        let expected = "POST /x HTTP/1.1\r\nA: b\r\nHost: git.example\r\nConnection: close\r\n\r\nbody";
        assert_eq!(String::from_utf8(addressed(head, "git.example")).unwrap(), expected);
    }

    #[test]
    fn rule_7_nothing_inside_is_connected_to() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("127.0.0.1:{}", server.local_addr().unwrap().port());
        let ask = |hosts: Hosts, url: &str, request: &str| {
            let guard = Guard::start(hosts, url).unwrap();
            let mut client = TcpStream::connect(guard.address).unwrap();
            client.write_all(request.as_bytes()).unwrap();
            let mut answer = [0; 12];
            client.read_exact(&mut answer).unwrap();
            (String::from_utf8_lossy(&answer).into_owned(), guard.has_refused())
        };
        let connect = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let refused = ("HTTP/1.1 403".to_owned(), true);
        assert_eq!(ask(Hosts::default(), "https://git.example/x", &connect), refused);
        assert_eq!(ask(Hosts::default(), &format!("http://{address}/x"), "GET /x HTTP/1.1\r\n\r\n"), refused);
        let metadata = "CONNECT 169.254.169.254:443 HTTP/1.1\r\n\r\n";
        assert_eq!(ask(Hosts::new(["169.254.169.254".to_owned()]), "https://git.example/x", metadata), refused);
        let allowed = ask(Hosts::new([address.clone()]), "https://git.example/x", &connect);
        assert_eq!(allowed, ("HTTP/1.1 200".to_owned(), false));
    }
}
