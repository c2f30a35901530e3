//! What a process has cost so far (proc(5)).

use std::fs;
use std::time::Duration;

/// `USER_HZ`: the unit of times in `/proc`, in milliseconds.
const TICK: u64 = 10;

/// CPU time and memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of the process itself, user and system.
    pub own_cpu: Duration,
    /// CPU time of its children that have ended.
    pub children_cpu: Duration,
    /// Resident memory at its highest, in bytes.
    pub peak_resident: u64,
    /// Private memory (what it has written, not what it shares) now, in bytes.
    pub private: u64,
}

impl Usage {
    /// Of a process; `None` when it has ended.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the state, field 3, follows it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let time = |ticks: u64| Duration::from_millis(ticks * TICK);
        Some(Self {
            own_cpu: time(ticks(14)? + ticks(15)?),
            children_cpu: time(ticks(16)? + ticks(17)?),
            peak_resident: kilobytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, &["VmHWM"]),
            private: kilobytes(
                &fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default(),
                &["Private_Clean", "Private_Dirty"],
            ),
        })
    }

    /// All CPU time.
    pub fn cpu(&self) -> Duration {
        self.own_cpu + self.children_cpu
    }
}

/// The sum of some lines `NAME: COUNT kB`, in bytes.
fn kilobytes(text: &str, names: &[&str]) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| names.contains(name))
        .filter_map(|(_, value)| value.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map(|count| count * 1024)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_process() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.peak_resident > 1 << 20, "{usage:?}");
        assert!(usage.private > 0 && usage.private <= usage.peak_resident, "{usage:?}");
    }

    #[test]
    fn of_no_process() {
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
