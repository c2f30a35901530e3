//! Free loopback ports.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on loopback that was free a moment ago and that this process has not
/// given out before. Another process can still take it first: who listens on
/// it must be ready to try again with another one.
pub fn free_port() -> u16 {
    let mut given = GIVEN.lock().expect("no test panics while it holds this");
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        if given.insert(port) {
            return port;
        }
    }
}
