//! Free loopback ports.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::StartError;

/// Where a port is looked for first.
const QUIET: Range<u16> = 20_000..30_000;
/// How many are tried there.
const TRIES: usize = 100;
/// The first and the last port that Linux gives to whoever wants just any: ip(7).
const GIVEN_TO_ANYBODY: &str = "/proc/sys/net/ipv4/ip_local_port_range";

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on loopback that was free a moment ago and that this process has not given out before. Where that can be told, it
/// is none that the system gives to connections and to those who listen anywhere: until somebody listens on it, there may be
/// hundreds of these. Another process can still take it first: who listens on it must be ready to try again with another one.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16, StartError> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let tries = if is_quiet() { TRIES } else { 0 };
    for port in (0..tries).map(|_| by_chance()) {
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && given.insert(port) {
            return Ok(port);
        }
    }
    loop {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StartError::io("no loopback port is free"))?;
        let port = listener.local_addr().map_err(StartError::io("a bound socket has no address"))?.port();
        if given.insert(port) {
            return Ok(port);
        }
    }
}

fn is_quiet() -> bool {
    let range = std::fs::read_to_string(GIVEN_TO_ANYBODY).unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse::<u16>().ok());
    first.is_some_and(|first| first >= QUIET.end)
}

/// One of the quiet ports; processes that look at the same time look elsewhere.
fn by_chance() -> u16 {
    // Two of these have different keys.
    let chance = RandomState::new().hash_one(0);
    let offset = chance % u64::from(QUIET.end - QUIET.start);
    u16::try_from(offset).map_or(QUIET.start, |offset| QUIET.start + offset)
}
