//! A server of plain http inside of the child that fetches, in place of the one that is fetched from.
//!
//! libgit2 looks names up by itself, goes past proxies for plain http, knows no certificates of clients, and waits for ever
//! when it refuses a certificate behind a proxy. So where any of that matters it talks to the guard, and the guard to the
//! server: it judges addresses as they are connected to, goes through the proxy, and speaks TLS. Each connection carries
//! one request, with the server's name put back into it.
//!
//! It listens on loopback, for one fetch, and reaches nothing that the fetch may not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_core::sensitive::Sensitive;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::FetchErrorKind;
use super::failure::Failure;
use crate::reach::{FORBIDDEN, Hosts, may_reach};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest head of a request or an answer.
const LONGEST_HEAD: usize = 64 << 10;

/// The server in between.
pub(super) struct Guard {
    address: SocketAddr,
    /// `https://host:port` of the server that it stands in for, as written.
    origin: String,
    trouble: Arc<Mutex<Option<Failure>>>,
}

/// How the server is reached.
pub(super) struct Rules {
    /// Hosts that may be inside; `None` for a server that may, wherever it is.
    pub(super) hosts: Option<Hosts>,
    /// For https.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Address of the proxy.
    pub(super) proxy: Option<Sensitive<String>>,
}

/// The server, and how it is reached.
struct Leading {
    rules: Rules,
    /// `host` or `host:port`, as written.
    authority: String,
    /// Of the server, and of the guard: `scheme://authority`.
    origins: (String, String),
    trouble: Arc<Mutex<Option<Failure>>>,
}

impl Guard {
    /// Starts it for the server at an address by http or https; it lives as long as the process.
    pub(super) fn start(rules: Rules, address: &str) -> io::Result<Self> {
        let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
        let authority = rest.split('/').next().unwrap_or_default().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, trouble) = (listener.local_addr()?, Arc::default());
        let origin = format!("{scheme}://{authority}");
        let origins = (origin.clone(), format!("http://{address}"));
        let leading = Arc::new(Leading { rules, authority, origins, trouble: Arc::clone(&trouble) });
        thread::Builder::new().spawn(move || {
            for stream in listener.incoming().flatten() {
                let leading = Arc::clone(&leading);
                // A connection that cannot be served ends; libgit2 says so.
                let _ = thread::Builder::new().spawn(move || drop(leading.serve(stream)));
            }
        })?;
        Ok(Self { address, origin, trouble })
    }

    /// The address that stands in for one of the server's.
    pub(super) fn in_place_of(&self, address: &str) -> Option<String> {
        Some(format!("http://{}{}", self.address, address.strip_prefix(&self.origin)?))
    }

    /// Why the server could not be reached.
    pub(super) fn trouble(&self) -> Option<Failure> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Leading {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let asked = head(&mut client)?;
        let answered = self.connect().and_then(|server| match &self.rules.tls {
            None => self.exchange(server, &asked, &mut client),
            Some(config) => self.exchange(self.secured(config, server)?, &asked, &mut client),
        });
        if let Err(failure) = answered {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            let _ = client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        client.shutdown(Shutdown::Both)
    }

    /// One request and its answer.
    fn exchange<S: Read + Write>(&self, mut server: S, asked: &[u8], client: &mut TcpStream) -> Result<(), Failure> {
        let failed = |error: io::Error| self.unreachable(&error);
        server.write_all(&addressed(asked, &self.authority)).map_err(failed)?;
        let (_, sent) = split_head(asked);
        let rest = body_length(asked).map_err(failed)?.saturating_sub(sent.len() as u64);
        io::copy(&mut client.take(rest), &mut server).and_then(|_| server.flush()).map_err(failed)?;
        let answer = head(&mut server).map_err(failed)?;
        let (own, ours) = &self.origins;
        // From here on libgit2 sees by itself what is missing.
        if client.write_all(&led_back(&answer, own, ours)).is_ok() {
            let _ = io::copy(&mut server, client);
        }
        Ok(())
    }

    fn secured(
        &self,
        config: &Arc<ClientConfig>,
        mut server: TcpStream,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, Failure> {
        let (host, _) = self.host_and_port();
        let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned());
        let name = name.map_err(|error| self.unreachable(&error))?;
        let connection = ClientConnection::new(Arc::clone(config), name);
        let mut connection = connection.map_err(|error| self.unreachable(&error))?;
        match connection.complete_io(&mut server) {
            Ok(_) => Ok(StreamOwned::new(connection, server)),
            Err(error) => {
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
                let untrusted = matches!(cause, Some(rustls::Error::InvalidCertificate(_)));
                let kind = if untrusted { FetchErrorKind::UntrustedCertificate } else { FetchErrorKind::Unreachable };
                Err(Failure::new(kind, format!("{}: {error}", self.authority)))
            }
        }
    }

    fn connect(&self) -> Result<TcpStream, Failure> {
        let (host, port) = self.host_and_port();
        let Some(proxy) = &self.rules.proxy else {
            // The scheme's own port is left out where hosts are named.
            let hosts = self.rules.hosts.as_ref();
            let inside =
                hosts.is_none_or(|hosts| hosts.allow(&self.authority) || hosts.allow(&format!("{host}:{port}")));
            return connect_to(&format!("{host}:{port}"), &|address| may_reach(address, inside) || hosts.is_none());
        };
        let rest = proxy.expose().split_once("://").map_or(proxy.expose().as_str(), |(_, rest)| rest);
        let rest = rest.split('/').next().unwrap_or_default();
        let (userinfo, server) = rest.rsplit_once('@').map_or((None, rest), |(user, server)| (Some(user), server));
        let server = if has_port(server) { server.to_owned() } else { format!("{server}:80") };
        // Names are looked up by the proxy, and it alone decides what can be reached.
        let mut stream = connect_to(&server, &|_| true)?;
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(userinfo) = userinfo {
            request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(decoded(userinfo))));
        }
        request.push_str("\r\n");
        let request = Sensitive::new(request);
        let failed =
            |error: io::Error| Failure::new(FetchErrorKind::Unreachable, format!("the proxy {server}: {error}"));
        stream.write_all(request.expose().as_bytes()).map_err(failed)?;
        let answer = head(&mut stream).map_err(failed)?;
        let status = String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned();
        match status.as_str() {
            "200" => Ok(stream),
            "407" => Err(Failure::new(
                FetchErrorKind::RefusedCredentials,
                format!("the proxy {server} refuses name and password in its address"),
            )),
            status => {
                let reason = format!("the proxy {server} does not lead to {}: status {status}", self.authority);
                Err(Failure::new(FetchErrorKind::Unreachable, reason))
            }
        }
    }

    fn host_and_port(&self) -> (&str, u16) {
        let default_port = if self.rules.tls.is_some() { 443 } else { 80 };
        match self.authority.rsplit_once(':').filter(|_| has_port(&self.authority)) {
            Some((host, port)) => (host, port.parse().unwrap_or(default_port)),
            None => (&self.authority, default_port),
        }
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(FetchErrorKind::Unreachable, format!("{}: {error}", self.authority))
    }
}

fn connect_to(server: &str, allowed: &dyn Fn(&SocketAddr) -> bool) -> Result<TcpStream, Failure> {
    let unreachable = |error: io::Error| Failure::new(FetchErrorKind::Unreachable, format!("{server}: {error}"));
    let found: Vec<SocketAddr> = server.to_socket_addrs().map_err(unreachable)?.collect();
    let mut last = Failure::new(FetchErrorKind::ForbiddenAddress, FORBIDDEN);
    for address in found.iter().filter(|address| allowed(address)) {
        match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = unreachable(error),
        }
    }
    Err(last)
}

fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// Text with `%XX` in it.
fn decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => (bytes.push(byte), rest = &tail[2..]),
            _ => (bytes.push(first), rest = tail),
        };
    }
    bytes
}

/// Bytes behind a request's head.
fn body_length(head: &[u8]) -> io::Result<u64> {
    let (head, _) = split_head(head);
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    // libgit2 sends chunks when it pushes, which it never does here.
    if field("transfer-encoding").is_some() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    field("content-length").map_or(Ok(0), |length| length.parse().map_err(|_| io::ErrorKind::InvalidData.into()))
}

/// The lines of a head, and what came behind it.
fn split_head(head: &[u8]) -> (String, &[u8]) {
    let end = head.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(head.len());
    (String::from_utf8_lossy(&head[..end]).into_owned(), head.get(end + 4..).unwrap_or_default())
}

/// The same message with other lines in its head.
fn with_lines(head: &[u8], change: impl Fn(&str) -> Option<String>, added: &[String]) -> Vec<u8> {
    let (text, rest) = split_head(head);
    let mut lines: Vec<String> = text.split("\r\n").filter_map(change).collect();
    lines.extend_from_slice(added);
    let mut message = (lines.join("\r\n") + "\r\n\r\n").into_bytes();
    message.extend_from_slice(rest);
    message
}

/// A request's head for a host, after whose answer the connection ends; what follows the head stays.
fn addressed(head: &[u8], authority: &str) -> Vec<u8> {
    let dropped = |line: &str| ["host:", "connection:"].iter().any(|name| line.to_ascii_lowercase().starts_with(name));
    let kept = |line: &str| (!dropped(line)).then(|| line.to_owned());
    with_lines(head, kept, &[format!("Host: {authority}"), "Connection: close".to_owned()])
}

/// An answer's head, in which a redirect within the server leads to the guard.
fn led_back(head: &[u8], own: &str, ours: &str) -> Vec<u8> {
    let led = |line: &str| match line.split_once(':') {
        Some((name, target)) if name.eq_ignore_ascii_case("location") => {
            let within = target.trim().strip_prefix(own).filter(|rest| rest.starts_with('/'));
            Some(within.map_or_else(|| line.to_owned(), |rest| format!("Location: {ours}{rest}")))
        }
        _ => Some(line.to_owned()),
    };
    with_lines(head, led, &[])
}

/// The head of a request or an answer, up to and with its empty line, and whatever came with it.
fn head(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = from.read(&mut piece)?;
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
        let (own, ours) = ("https://git.example", "http://127.0.0.1:9");
        for (target, led) in [
            ("https://git.example/x.git/info/refs", "http://127.0.0.1:9/x.git/info/refs"),
            ("https://git.example.evil/x", "https://git.example.evil/x"),
            ("https://other.example/x", "https://other.example/x"),
            ("/x", "/x"),
        ] {
            let answer = format!("HTTP/1.1 301 Moved\r\nlocation: {target}\r\n\r\nbody");
            let expected = format!("{led}\r\n\r\nbody");
            let led = String::from_utf8(led_back(answer.as_bytes(), own, ours)).unwrap();
            assert!(led.ends_with(&expected), "{led}");
        }
        assert_eq!(decoded("me:p%40ss%"), b"me:p@ss%");
    }

    #[test]
    fn rule_7_nothing_inside_is_connected_to() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in server.incoming() {
                let mut stream = stream.unwrap();
                head(&mut stream).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            }
        });
        let ask = |hosts: Hosts, url: &str| {
            let guard = Guard::start(Rules { hosts: Some(hosts), tls: None, proxy: None }, url).unwrap();
            let mut client = TcpStream::connect(guard.address).unwrap();
            client.write_all(b"GET /x HTTP/1.1\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            client.read_exact(&mut answer).unwrap();
            (String::from_utf8_lossy(&answer).into_owned(), guard.trouble().map(|trouble| trouble.kind))
        };
        let refused = ("HTTP/1.1 502".to_owned(), Some(FetchErrorKind::ForbiddenAddress));
        let url = format!("http://{address}/x");
        assert_eq!(ask(Hosts::default(), &url), refused);
        let metadata = Hosts::new(["169.254.169.254".to_owned()]);
        assert_eq!(ask(metadata, "http://169.254.169.254/x"), refused);
        assert_eq!(ask(Hosts::new([address]), &url), ("HTTP/1.1 200".to_owned(), None));
    }
}
