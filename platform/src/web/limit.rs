//! How many sign-ins one address may try.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered at most; beyond it, those whose minute is over are forgotten first.
const ADDRESSES: usize = 16_384;

/// Counts tries by address in windows of a minute.
///
/// IPv6 clients own whole networks, so there the /64 counts.
pub struct SignInLimit {
    per_minute: u32,
    windows: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl SignInLimit {
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, windows: Mutex::default() }
    }

    /// Counts one try. The error is the number of seconds to wait.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        let mut windows = self.windows.lock();
        if windows.len() >= ADDRESSES {
            windows.retain(|_, (began, _)| now.saturating_duration_since(*began) < WINDOW);
            if windows.len() >= ADDRESSES {
                windows.clear();
            }
        }
        let (began, tries) = windows.entry(group(address)).or_insert((now, 0));
        let age = now.saturating_duration_since(*began);
        if age >= WINDOW {
            (*began, *tries) = (now, 0);
        }
        if *tries >= self.per_minute {
            return Err((WINDOW - age).as_secs().max(1));
        }
        *tries += 1;
        Ok(())
    }
}

fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => {
            let network = u128::from(v6) >> 64 << 64;
            IpAddr::V6(network.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_for_the_next_minute_and_others_do_not() {
        let limit = SignInLimit::new(2);
        let (start, a, b) = (Instant::now(), [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        assert_eq!(limit.admit(a, start), Ok(()));
        assert_eq!(limit.admit(a, start), Ok(()));
        assert_eq!(limit.admit(a, start + Duration::from_secs(20)), Err(40));
        assert_eq!(limit.admit(b, start), Ok(()));
        assert_eq!(limit.admit(a, start + WINDOW), Ok(()));
    }

    #[test]
    fn a_v6_network_counts_as_one() {
        let limit = SignInLimit::new(1);
        let now = Instant::now();
        assert_eq!(limit.admit("2001:db8::1".parse().unwrap(), now), Ok(()));
        assert!(limit.admit("2001:db8::2".parse().unwrap(), now).is_err());
        assert_eq!(limit.admit("2001:db8:0:1::1".parse().unwrap(), now), Ok(()));
    }
}
