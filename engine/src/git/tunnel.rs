//! A port of this machine that leads to one server.
//!
//! libgit2 connects to servers of ssh by itself; through here the address is judged as it is connected to, and what went
//! wrong can be said in words of our own.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::failure::Failure;
use crate::reach::{self, Hosts};

/// The port; it leads there as long as the process lives.
pub(super) struct Tunnel {
    port: u16,
    trouble: Arc<Mutex<Option<Failure>>>,
}

/// Where it leads.
struct Way {
    /// `host:port`
    server: String,
    /// Hosts that may be inside; `None` for a server that may, wherever it is.
    hosts: Option<Hosts>,
    trouble: Arc<Mutex<Option<Failure>>>,
}

impl Tunnel {
    /// Listens on a free port.
    pub(super) fn start(server: String, hosts: Option<Hosts>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (port, trouble) = (listener.local_addr()?.port(), Arc::default());
        let way = Arc::new(Way { server, hosts, trouble: Arc::clone(&trouble) });
        thread::Builder::new().spawn(move || {
            for stream in listener.incoming().flatten() {
                let way = Arc::clone(&way);
                // A connection that cannot be led on ends; the reason is kept.
                let _ = thread::Builder::new().spawn(move || drop(way.lead(stream)));
            }
        })?;
        Ok(Self { port, trouble })
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Why the server could not be reached.
    pub(super) fn trouble(&self) -> Option<Failure> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Way {
    fn lead(&self, client: TcpStream) -> io::Result<()> {
        let server = match reach::connect(&self.server, self.hosts.as_ref()) {
            Ok(server) => server,
            Err(error) => {
                let failure = Failure::of_connection(&self.server, error);
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                return client.shutdown(Shutdown::Both);
            }
        };
        let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
        thread::Builder::new().spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })?;
        let (mut server, mut client) = (server, client);
        io::copy(&mut server, &mut client)?;
        client.shutdown(Shutdown::Both)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::git::FetchErrorKind;

    fn first_bytes(tunnel: &Tunnel) -> Vec<u8> {
        let mut client = TcpStream::connect(("127.0.0.1", tunnel.port())).unwrap();
        let mut bytes = Vec::new();
        let _ = client.read_to_end(&mut bytes);
        bytes
    }

    #[test]
    fn rule_7_nothing_inside_is_connected_to() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in server.incoming() {
                stream.unwrap().write_all(b"SSH-2.0").unwrap();
            }
        });
        let named = Hosts::new([address.clone()]);
        for (hosts, expected) in [(None, &b"SSH-2.0"[..]), (Some(named), b"SSH-2.0"), (Some(Hosts::default()), b"")] {
            let tunnel = Tunnel::start(address.clone(), hosts).unwrap();
            assert_eq!(first_bytes(&tunnel), expected);
            let forbidden = tunnel.trouble().map(|trouble| trouble.kind) == Some(FetchErrorKind::ForbiddenAddress);
            assert_eq!(forbidden, expected.is_empty());
        }
        for hosts in [Some(Hosts::new(["169.254.169.254".to_owned()])), None] {
            let tunnel = Tunnel::start("169.254.169.254:22".to_owned(), hosts).unwrap();
            assert_eq!(first_bytes(&tunnel), b"");
            assert_eq!(tunnel.trouble().unwrap().kind, FetchErrorKind::ForbiddenAddress);
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let tunnel = Tunnel::start(free.clone(), None).unwrap();
        assert_eq!(first_bytes(&tunnel), b"");
        let trouble = tunnel.trouble().unwrap();
        assert!(trouble.kind == FetchErrorKind::Unreachable && trouble.reason.starts_with(&free), "{trouble:?}");
    }
}
