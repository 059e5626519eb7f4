//! Who was watching what a moment ago, so that a player's many requests are one line of audit.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Requests closer together than this are one viewing.
const VIEWING: Duration = Duration::from_secs(600);

/// Viewings remembered at most.
const MOST: usize = 4096;

#[derive(Default)]
pub struct Watched(Mutex<HashMap<(String, String), Instant>>);

impl Watched {
    /// True when this begins a viewing of `recording` by `session`.
    pub fn begins(&self, session: &str, recording: &str, now: Instant) -> bool {
        let mut viewings = self.0.lock();
        if viewings.len() >= MOST {
            viewings.retain(|_, last| now.saturating_duration_since(*last) < VIEWING);
            if viewings.len() >= MOST {
                viewings.clear();
            }
        }
        let last = viewings.insert((session.to_owned(), recording.to_owned()), now);
        last.is_none_or(|last| now.saturating_duration_since(last) >= VIEWING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewing_lasts_while_requests_come() {
        let (watched, start) = (Watched::default(), Instant::now());
        assert!(watched.begins("s", "r", start));
        assert!(!watched.begins("s", "r", start + Duration::from_secs(500)));
        assert!(!watched.begins("s", "r", start + Duration::from_secs(1000)));
        assert!(watched.begins("other", "r", start + Duration::from_secs(1000)));
        assert!(watched.begins("s", "r", start + Duration::from_secs(1700)));
    }
}
