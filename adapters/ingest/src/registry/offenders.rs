//! Addresses that guess keys.
//!
//! Invariant: at most [`MAX_KNOWN`] are remembered; the ones that failed longest ago make room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many failures within [`WINDOW`], and an address is refused for as long.
const MOST_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
const MAX_KNOWN: usize = 4_096;

#[derive(Default)]
pub struct Offenders(HashMap<IpAddr, Offender>);

struct Offender {
    failures: u32,
    /// When they began to be counted, and, once they are too many, when the last one was.
    since: Instant,
}

/// Whoever has an IPv6 address has as a rule 2⁶⁴ of them.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

impl Offenders {
    pub fn is_banned(&self, address: IpAddr, now: Instant) -> bool {
        self.0.get(&source(address)).is_some_and(|known| known.failures >= MOST_FAILURES && now < known.since + WINDOW)
    }

    pub fn failed(&mut self, address: IpAddr, now: Instant) {
        let address = source(address);
        if self.0.len() >= MAX_KNOWN && !self.0.contains_key(&address) {
            self.0.retain(|_, known| now < known.since + WINDOW);
            let oldest = self.0.iter().min_by_key(|(_, known)| known.since).map(|(address, _)| *address);
            if let Some(oldest) = oldest.filter(|_| self.0.len() >= MAX_KNOWN) {
                self.0.remove(&oldest);
            }
        }
        let known = self.0.entry(address).or_insert(Offender { failures: 0, since: now });
        if now >= known.since + WINDOW {
            *known = Offender { failures: 0, since: now };
        }
        known.failures += 1;
        if known.failures == MOST_FAILURES {
            known.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_in_a_minute_cost_a_minute() {
        let (mut offenders, start, guilty) = (Offenders::default(), Instant::now(), IpAddr::from([192, 0, 2, 1]));
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            assert!(!offenders.is_banned(guilty, now));
            offenders.failed(guilty, now);
        }
        assert!(offenders.is_banned(guilty, start + Duration::from_secs(68)));
        assert!(!offenders.is_banned(IpAddr::from([192, 0, 2, 2]), start + Duration::from_secs(10)));
        assert!(!offenders.is_banned(guilty, start + Duration::from_secs(69)));
        offenders.failed(guilty, start + Duration::from_secs(70));
        assert!(!offenders.is_banned(guilty, start + Duration::from_secs(70)));
    }

    #[test]
    fn a_flood_of_addresses_is_bounded() {
        let (mut offenders, now) = (Offenders::default(), Instant::now());
        for number in 0..10_000u32 {
            offenders.failed(IpAddr::V4(number.into()), now + Duration::from_millis(number.into()));
        }
        assert!(offenders.0.len() <= MAX_KNOWN);
    }

    #[test]
    fn one_line_of_ipv6_is_one_address() {
        let (mut offenders, now) = (Offenders::default(), Instant::now());
        for number in 0..10u16 {
            offenders.failed([0x2001, 0xdb8, 0, 1, 0, 0, 0, number].into(), now);
        }
        assert!(offenders.is_banned([0x2001, 0xdb8, 0, 1, 7, 7, 7, 7].into(), now));
        assert!(!offenders.is_banned([0x2001, 0xdb8, 0, 2, 7, 7, 7, 7].into(), now));
    }
}
