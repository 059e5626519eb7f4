//! SSRCs as GB/T 28181 has them: ten digits, of which the first is 0 for live and 1 for history, the next five are
//! digits four to eight of the domain, and the last four count (annex C.2.2).

use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A number that was used rests, since its last packets may still be on their way.
const REST: Duration = Duration::from_secs(15);
const COUNT: u16 = 10_000;

/// All that are in use.
pub struct SsrcPool {
    domain: String,
    state: Mutex<State>,
}

struct State {
    used: HashSet<u16>,
    resting: VecDeque<(Instant, u16)>,
    next: u16,
}

/// One in use.
pub struct Ssrc {
    text: String,
    number: u16,
    pool: Arc<SsrcPool>,
}

impl SsrcPool {
    pub fn new(domain: &str) -> Arc<Self> {
        let digits: String =
            domain.chars().filter(char::is_ascii_digit).chain("0000000000".chars()).skip(3).take(5).collect();
        let next = rand::random::<u16>() % COUNT;
        Arc::new(Self {
            domain: digits,
            state: Mutex::new(State { used: HashSet::new(), resting: VecDeque::new(), next }),
        })
    }

    /// `None` when all 10,000 are in use or resting.
    pub fn take(self: &Arc<Self>, history: bool) -> Option<Ssrc> {
        let mut state = self.state.lock();
        let now = Instant::now();
        while state.resting.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, number)) = state.resting.pop_front() {
                state.used.remove(&number);
            }
        }
        let number = (0..COUNT).map(|step| (state.next + step) % COUNT).find(|number| !state.used.contains(number))?;
        state.used.insert(number);
        state.next = (number + 1) % COUNT;
        let text = format!("{}{}{number:04}", u8::from(history), self.domain);
        Some(Ssrc { text, number, pool: self.clone() })
    }

    pub fn in_use(&self) -> usize {
        let state = self.state.lock();
        state.used.len() - state.resting.len()
    }
}

impl Ssrc {
    /// Ten digits.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn value(&self) -> Option<u32> {
        parse(&self.text)
    }
}

impl Drop for Ssrc {
    fn drop(&mut self) {
        self.pool.state.lock().resting.push_back((Instant::now() + REST, self.number));
    }
}

/// The RTP SSRC that a `y=` line means; `None` where it means none (a device's code, nothing).
pub fn parse(text: &str) -> Option<u32> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_not_used_twice() {
        let pool = SsrcPool::new("3402000000");
        let live = pool.take(false).unwrap();
        assert!(live.as_str().starts_with("020000") && live.as_str().len() == 10, "{}", live.as_str());
        assert!(pool.take(true).unwrap().as_str().starts_with("120000"));
        let all: Vec<_> = std::iter::from_fn(|| pool.take(false)).collect();
        let texts: HashSet<_> = all.iter().map(|ssrc| ssrc.as_str().to_owned()).collect();
        assert_eq!(all.len(), texts.len());
        assert_eq!(all.len(), 9_998, "one is in use and one rests");
        drop(all);
        assert!(pool.take(false).is_none(), "they rest");
        assert_eq!(pool.in_use(), 1);
    }

    #[test]
    fn what_devices_answer() {
        assert_eq!(parse("0200000001"), Some(200_000_001));
        assert_eq!(parse("200000001"), Some(200_000_001));
        assert_eq!(parse("34020000001320000001"), None);
    }
}
