//! A server of plain http inside of the child that fetches, in place of the one that is fetched from.
//!
//! libgit2 looks names up by itself, goes past proxies for plain http, knows no certificates of clients, and waits for ever
//! when it refuses a certificate behind a proxy. So where any of that matters it talks to the guard, and the guard to the
//! server: it judges addresses as they are connected to, goes through the proxy, and speaks TLS. Each connection carries
//! one request, with the server's name put back into it.
//!
//! It listens on loopback, for one fetch, and reaches nothing that the fetch may not; nor does an answer lead libgit2
//! anywhere else.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_core::authority::Authority;
use gitmoor_core::percent;
use gitmoor_core::sensitive::Sensitive;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::FetchErrorKind;
use super::answer::Answer;
use super::failure::Failure;
use crate::reach::{self, Hosts};

/// Longest silence of a server. Git's says something every five seconds, also while it packs.
const LONGEST_SILENCE: Duration = Duration::from_mins(1);
/// Longest head of a request or an answer.
const LONGEST_HEAD: usize = 64 << 10;
/// Longest address that is shown, in characters.
const LONGEST_SHOWN: usize = 200;

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
        let connected = self.connect().and_then(|server| {
            let limited = server.set_read_timeout(Some(LONGEST_SILENCE));
            limited.map(|()| server).map_err(|error| self.unreachable(&error))
        });
        let answered = connected.and_then(|server| match &self.rules.tls {
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
        let failed = |error: io::Error| self.failed(&error);
        server.write_all(&addressed(asked, &self.authority)).map_err(failed)?;
        let (_, sent) = split_head(asked);
        let rest = body_length(asked).map_err(failed)?.saturating_sub(sent.len() as u64);
        io::copy(&mut client.take(rest), &mut server).and_then(|_| server.flush()).map_err(failed)?;
        let answer = head(&mut server).and_then(|head| Answer::read(head, server)).map_err(failed)?;
        let (own, ours) = &self.origins;
        let answer = answer.led_back(own, ours).map_err(|target| {
            let target: String = target.chars().take(LONGEST_SHOWN).collect();
            let reason = format!("{} leads to {target:?}, and only the same server is followed: if the repository is there now, use that address", self.authority);
            Failure::new(FetchErrorKind::Other, reason)
        })?;
        // From here on libgit2 sees by itself what is missing.
        let _ = answer.pass_on(client);
        Ok(())
    }

    fn secured(
        &self,
        config: &Arc<ClientConfig>,
        mut server: TcpStream,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, Failure> {
        let name = ServerName::try_from(Authority::of(&self.authority).host.to_owned());
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
        let default_port = if self.rules.tls.is_some() { 443 } else { 80 };
        let asked = Authority::of(&self.authority).with_port(default_port);
        let Some(proxy) = &self.rules.proxy else {
            let connected = reach::connect(&asked, self.rules.hosts.as_ref());
            return connected.map_err(|error| Failure::of_connection(&asked, error));
        };
        let rest = proxy.expose().split_once("://").map_or(proxy.expose().as_str(), |(_, rest)| rest);
        let userinfo = rest.split('/').next().unwrap_or_default().rsplit_once('@').map(|(userinfo, _)| userinfo);
        let server = Authority::of_url(proxy.expose()).with_port(80);
        // Names are looked up by the proxy, and it alone decides what can be reached.
        let mut stream = reach::connect(&server, None).map_err(|error| Failure::of_connection(&server, error))?;
        let mut request = format!("CONNECT {asked} HTTP/1.1\r\nHost: {asked}\r\n");
        if let Some(userinfo) = userinfo {
            request.push_str(&format!(
                "Proxy-Authorization: Basic {}\r\n",
                STANDARD.encode(percent::decoded_where_it_is(userinfo))
            ));
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

    fn failed(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let reason = format!("{} has said nothing for {} s", self.authority, LONGEST_SILENCE.as_secs());
                Failure::new(FetchErrorKind::TimedOut, reason)
            }
            _ => self.unreachable(error),
        }
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(FetchErrorKind::Unreachable, format!("{}: {error}", self.authority))
    }
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

/// A request's head for a host, after whose answer the connection ends; what follows the head stays.
fn addressed(head: &[u8], authority: &str) -> Vec<u8> {
    let (text, rest) = split_head(head);
    let dropped = |line: &str| ["host:", "connection:"].iter().any(|name| line.to_ascii_lowercase().starts_with(name));
    let kept: Vec<&str> = text.split("\r\n").filter(|line| !dropped(line)).collect();
    let head = format!("{}\r\nHost: {authority}\r\nConnection: close\r\n\r\n", kept.join("\r\n"));
    [head.as_bytes(), rest].concat()
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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
        let address = server.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in server.incoming() {
                let mut stream = stream.unwrap();
                head(&mut stream).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            }
        });
        let ask = |hosts: Option<Hosts>, url: &str| {
            let guard = Guard::start(Rules { hosts, tls: None, proxy: None }, url).unwrap();
            let mut client = TcpStream::connect(guard.address).unwrap();
            client.write_all(b"GET /x HTTP/1.1\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            client.read_exact(&mut answer).unwrap();
            (String::from_utf8_lossy(&answer).into_owned(), guard.trouble().map(|trouble| trouble.kind))
        };
        let refused = ("HTTP/1.1 502".to_owned(), Some(FetchErrorKind::ForbiddenAddress));
        let url = format!("http://{address}/x");
        assert_eq!(ask(Some(Hosts::default()), &url), refused);
        for hosts in [Some(Hosts::new(["169.254.169.254".to_owned()])), None] {
            assert_eq!(ask(hosts, "http://169.254.169.254/x"), refused);
        }
        assert_eq!(ask(Some(Hosts::new([address])), &url), ("HTTP/1.1 200".to_owned(), None));
    }

    /// Answers each connection with the next of these, and then none.
    fn answering(answers: Vec<String>) -> String {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut answers, mut open) = (answers.into_iter(), Vec::new());
            for stream in server.incoming() {
                let (mut stream, Some(answer)) = (stream.unwrap(), answers.next()) else { continue };
                head(&mut stream).unwrap();
                let _ = stream.write_all(answer.as_bytes());
                stream.shutdown(Shutdown::Write).unwrap();
                open.push(stream);
            }
        });
        address
    }

    /// Fetches by way of the guard as a fetch does; gives its trouble.
    fn fetch(address: &str) -> Option<Failure> {
        let folder = tempfile::tempdir().unwrap();
        let repository = git2::Repository::init_bare(folder.path()).unwrap();
        let url = format!("http://{address}/x.git");
        let guard = Guard::start(Rules { hosts: None, tls: None, proxy: None }, &url).unwrap();
        let mut remote = repository.remote_anonymous(&guard.in_place_of(&url).unwrap()).unwrap();
        let mut options = git2::FetchOptions::new();
        options.follow_redirects(git2::RemoteRedirect::None).custom_headers(&["Authorization: Basic hunter2"]);
        let fetched = remote.download(&["+refs/heads/main:refs/heads/main"], Some(&mut options));
        assert!(fetched.is_err());
        guard.trouble()
    }

    #[test]
    fn rule_7_no_answer_leads_to_another_port_of_this_machine() {
        let inside = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = inside.local_addr().unwrap().port();
        let reached = Arc::new(AtomicUsize::new(0));
        thread::spawn({
            let reached = Arc::clone(&reached);
            move || inside.incoming().for_each(|stream| drop((reached.fetch_add(1, Ordering::SeqCst), stream)))
        });
        let target = format!("http://127.0.0.1:{port}/x.git/info/refs?service=git-upload-pack");
        let led = format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
        let head = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3 refs/heads/main\0ofs-delta side-band-64k\n";
        let listing = format!("001e# service=git-upload-pack\n0000{:04x}{head}0000", head.len() + 4);
        let kind = "Content-Type: application/x-git-upload-pack-advertisement\r\n";
        let whole = format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: {}\r\n\r\n{listing}", listing.len());
        let again = "HTTP/1.1 302 Found\r\nLocation: /y.git/info/refs?service=git-upload-pack\r\n";
        for (form, answers) in [
            ("as it is", vec![led.clone()]),
            ("over TLS", vec![led.replace("http:", "https:")]),
            ("without a scheme", vec![led.replace("http:", "")]),
            ("in other letters", vec![led.replace("http:", "HTTP:").replace("Location: ", "lOCATION:\t")]),
            ("behind a name", vec![led.replace("Location:", "Location :")]),
            ("behind a bare LF", vec![led.replace("Location", "A: b\nLocation")]),
            ("behind a bare CR", vec![led.replace("Location", "A: b\rLocation")]),
            ("in a folded line", vec![led.replace("Location", "A: b\r\n Location")]),
            ("folded itself", vec![led.replace("Location: ", "Location:\r\n ")]),
            ("behind another", vec![led.replace("Location", "Location: /x\r\nLocation")]),
            ("before another", vec![led.replace("Content-Length", "Location: /x\r\nContent-Length")]),
            ("behind a blank line", vec![format!("\r\n{led}")]),
            ("behind a head of bare LFs", vec![format!("HTTP/1.1 100 Continue\n\n{led}")]),
            ("behind what is no answer yet", vec![format!("HTTP/1.1 100 Continue\r\n\r\n{led}")]),
            (
                "behind another protocol",
                vec![format!("HTTP/1.1 101 -\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{led}")],
            ),
            ("behind the listing", vec![format!("{whole}{led}")]),
            ("in place of a body", vec![format!("HTTP/1.1 200 OK\r\n{kind}\r\n{led}")]),
            ("behind a redirect", vec![format!("{again}Content-Length: 0\r\n\r\n{led}"), whole.clone()]),
            ("in a redirect's body", vec![format!("{again}Content-Length: {}\r\n\r\n{led}", led.len()), whole.clone()]),
            ("behind a redirect without a length", vec![format!("{again}\r\n{led}"), whole.clone()]),
            ("at a second look", vec![format!("{again}Content-Length: 0\r\n\r\n"), led.clone()]),
            ("at the download", vec![whole.clone(), led.clone()]),
            (
                "behind the last chunk",
                vec![format!(
                    "HTTP/1.1 200 OK\r\n{kind}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{listing}\r\n0\r\nLocation: {target}\r\n\r\n{led}",
                    listing.len()
                )],
            ),
        ] {
            let address = answering(answers);
            let trouble = fetch(&address);
            assert_eq!(reached.load(Ordering::SeqCst), 0, "{form}: {trouble:?}");
            if form == "as it is" {
                let reason = trouble.unwrap().reason;
                assert!(reason.starts_with(&format!("{address} leads to \"{target}\"")), "{reason}");
            }
        }
    }
}
