//! Free loopback ports.

/// A port on loopback that was free a moment ago, and that this process has not given out before.
pub fn free_port() -> u16 {
    gitmoor_local_cluster::ports::free_port().expect("a loopback port is free")
}
