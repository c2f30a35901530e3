//! Free loopback ports.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use crate::StartError;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on loopback that was free a moment ago and that this process has not
/// given out before. Another process can still take it first: who listens on
/// it must be ready to try again with another one.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16, StartError> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StartError::io("no loopback port is free"))?;
        let port = listener.local_addr().map_err(StartError::io("a bound socket has no address"))?.port();
        if given.insert(port) {
            return Ok(port);
        }
    }
}
