//! A limit of the bytes a second that an operation moves.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::{Cancelled, Control};

/// The longest time between two looks at the control.
const NAP: Duration = Duration::from_millis(100);

/// A limit that several threads share.
#[derive(Debug)]
pub(crate) struct Rate {
    /// Bytes; 0 for no limit.
    per_second: u64,
    /// When the bytes that were let through so far will have taken their time.
    free_at: Mutex<Instant>,
}

impl Rate {
    /// At most `per_second` bytes a second; 0 is no limit.
    pub(crate) fn new(per_second: u64) -> Self {
        Self {
            per_second,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Lets `bytes` through: returns when those before have taken their time.
    ///
    /// # Errors
    /// When the work is cancelled while it waits.
    pub(crate) fn pass(&self, bytes: u64, control: &Control) -> Result<(), Cancelled> {
        if self.per_second == 0 {
            return Ok(());
        }
        let turn = self.book(bytes, Instant::now());
        loop {
            control.checkpoint()?;
            let wait = turn.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(());
            }
            thread::sleep(wait.min(NAP));
        }
    }

    /// When it is the turn of the next `bytes`.
    fn book(&self, bytes: u64, now: Instant) -> Instant {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.per_second.max(1));
        let duration = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*free_at).max(now);
        // Too far away to be told: it will not come in any case.
        *free_at = turn.checked_add(duration).unwrap_or(turn);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time() {
        let rate = Rate::new(1000);
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(rate.book(500, now), now);
        let half_a_second = now + Duration::from_millis(500);
        assert_eq!(rate.book(1000, now), half_a_second);
        assert_eq!(rate.book(1, now), half_a_second + Duration::from_secs(1));
        let later = now + Duration::from_secs(60);
        assert_eq!(rate.book(u64::MAX, later), later);
    }

    #[test]
    fn waiting_ends_with_a_cancel() {
        let control = Control::new();
        let rate = Rate::new(1);
        rate.pass(1 << 40, &control).unwrap();
        control.cancel();
        assert!(rate.pass(1, &control).is_err());
        assert!(Rate::new(0).pass(u64::MAX, &control).is_ok());
    }
}
