//! How often each object was repaired: against somebody who writes back every time, the agent slows down and says so.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitmoor_core::object::ObjectId;

/// Repairs in a row that are made at once; people and scripts may well edit something a few times.
const AT_ONCE: u32 = 5;
/// The longest wait between two repairs.
const LONGEST: Duration = Duration::from_secs(300);
/// Without a repair for this long (on top of the wait), the row is over.
const CALM: Duration = Duration::from_secs(600);

/// The repairs of all objects.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    rows: Mutex<HashMap<ObjectId, Row>>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    count: u32,
    last: Instant,
}

impl Row {
    /// Wait after the last repair.
    fn wait(self) -> Duration {
        match self.count.checked_sub(AT_ONCE) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1 << over.min(16)).min(LONGEST),
        }
    }
}

impl Repairs {
    /// Asks to repair an object now; `Some`: how long to wait first.
    pub(crate) fn ask(&self, id: &ObjectId, now: Instant) -> Option<Duration> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.retain(|_, row| now.duration_since(row.last) < CALM + row.wait());
        let row = rows.get(id).copied().unwrap_or(Row { count: 0, last: now });
        let left = row.wait().saturating_sub(now.duration_since(row.last));
        if left.is_zero() {
            rows.insert(id.clone(), Row { count: row.count + 1, last: now });
            return None;
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use gitmoor_core::object::GroupKind;

    use super::*;

    #[test]
    fn a_fight_slows_down_and_is_forgotten() {
        let id = ObjectId { group_kind: GroupKind::new("", "ConfigMap"), namespace: None, name: "a".into() };
        let (repairs, start) = (Repairs::default(), Instant::now());
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..9 {
            while let Some(wait) = repairs.ask(&id, now) {
                waits.push(wait.as_secs());
                now += wait;
            }
        }
        assert_eq!(waits, [1, 2, 4, 8]);
        assert!(repairs.ask(&id, now).is_some());
        assert_eq!(repairs.ask(&id, now + CALM + LONGEST), None);
    }
}
