//! Ports for media of sessions that have ports of their own (SIP, GB/T 28181, H.323).
//!
//! They come from a configured range, in pairs of an even one for RTP and the next for RTCP (RFC 3550
//! 11). The one that has rested longest is taken first, and none before it has rested for a while: what
//! is still on its way to an ended session must not reach another one. A [`Lease`] gives its pair back
//! when it is dropped.

use crate::shard::{bind_tcp, bind_udp};
use mio::net::{TcpListener, UdpSocket};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a pair rests before it is used again.
pub const REST: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// To be answered by the operator: a wider range, or fewer sessions.
    #[error("all {pairs} pairs of ports {first} to {last} are in use or resting")]
    Exhausted { pairs: usize, first: u16, last: u16 },
    #[error("the range of ports {first} to {last} holds no even port with the next one")]
    Empty { first: u16, last: u16 },
}

/// The range, and what of it is free.
pub struct PortPool {
    range: RangeInclusive<u16>,
    rest: Duration,
    pairs: usize,
    /// Even ports with the time from which each may be used, in the order in which they were given back.
    free: Mutex<VecDeque<(Option<Instant>, u16)>>,
}

/// A pair of ports in use. It is given back when the last clone is gone.
#[derive(Clone)]
pub struct Lease(Arc<Leased>);

struct Leased {
    pool: Arc<PortPool>,
    port: u16,
}

/// Bound sockets of a pair.
pub struct UdpPair {
    pub rtp: UdpSocket,
    /// None where RTCP shares RTP's.
    pub rtcp: Option<UdpSocket>,
    /// They take IPv4 as mapped addresses of IPv6.
    pub dual: bool,
    pub lease: Lease,
}

impl Lease {
    /// The even port.
    pub fn port(&self) -> u16 {
        self.0.port
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.pool.give_back(self.port, Some(Instant::now() + self.pool.rest));
    }
}

impl PortPool {
    /// # Errors
    /// When there is no pair in the range.
    pub fn new(range: RangeInclusive<u16>) -> Result<Arc<Self>, PortsError> {
        Self::resting(range, REST)
    }

    /// As [`Self::new`], with another time to rest.
    pub fn resting(range: RangeInclusive<u16>, rest: Duration) -> Result<Arc<Self>, PortsError> {
        let (first, last) = (*range.start(), *range.end());
        let even = first.checked_add(first % 2).ok_or(PortsError::Empty { first, last })?;
        let free: VecDeque<_> = (even..last).step_by(2).filter(|port| *port > 0).map(|port| (None, port)).collect();
        if free.is_empty() {
            return Err(PortsError::Empty { first, last });
        }
        Ok(Arc::new(Self { range, rest, pairs: free.len(), free: Mutex::new(free) }))
    }

    /// Pairs in the range.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Pairs that nobody uses; some of them may still rest.
    pub fn free(&self) -> usize {
        self.free.lock().len()
    }

    /// Binds UDP sockets.
    ///
    /// # Errors
    /// When no pair is free, rested, and free of other programs.
    pub fn udp(self: &Arc<Self>, with_rtcp: bool) -> Result<UdpPair, PortsError> {
        let ((rtp, rtcp, dual), lease) = self.bind(|port| {
            let rtp = bind_udp(port)?;
            let rtcp = if with_rtcp { Some(bind_udp(port + 1)?.socket) } else { None };
            Ok((rtp.socket, rtcp, rtp.dual))
        })?;
        Ok(UdpPair { rtp, rtcp, dual, lease })
    }

    /// Binds a socket at which a TCP peer connects.
    ///
    /// # Errors
    /// As [`Self::udp`].
    pub fn listener(self: &Arc<Self>) -> Result<(TcpListener, Lease), PortsError> {
        self.bind(bind_tcp)
    }

    /// Takes the pair that has rested longest, and those after it while another program has one of its ports.
    fn bind<T>(self: &Arc<Self>, open: impl Fn(u16) -> io::Result<T>) -> Result<(T, Lease), PortsError> {
        let now = Instant::now();
        for _ in 0..self.pairs {
            let rested = self.free.lock().pop_front_if(|(from, _)| from.is_none_or(|from| from <= now));
            let Some((_, port)) = rested else { break };
            match open(port) {
                Ok(opened) => return Ok((opened, Lease(Arc::new(Leased { pool: self.clone(), port })))),
                Err(error) => {
                    tracing::debug!(port, %error, "a port of the range for media is not to be had");
                    self.give_back(port, None);
                }
            }
        }
        Err(PortsError::Exhausted { pairs: self.pairs, first: *self.range.start(), last: *self.range.end() })
    }

    fn give_back(&self, port: u16, from: Option<Instant>) {
        // Behind all others, and with a time no earlier than theirs, so that the front has always rested longest.
        let mut free = self.free.lock();
        let from = from.max(free.back().and_then(|(from, _)| *from));
        free.push_back((from, port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_pair_is_even_and_odd_rests_and_is_returned() {
        let pool = PortPool::resting(41_001..=41_006, Duration::from_millis(300)).unwrap();
        assert_eq!((pool.pairs(), pool.free()), (2, 2));
        let first = pool.udp(true).unwrap();
        let (rtp, rtcp) = (first.rtp.local_addr().unwrap().port(), first.rtcp.as_ref().unwrap().local_addr().unwrap());
        assert_eq!((rtp, rtcp.port(), first.lease.port()), (41_002, 41_003, 41_002));
        let (listener, second) = pool.listener().unwrap();
        assert_eq!(listener.local_addr().unwrap().port(), 41_004);
        let error = pool.udp(false).err().unwrap().to_string();
        assert_eq!(error, "all 2 pairs of ports 41001 to 41006 are in use or resting");
        drop(first);
        assert_eq!(pool.free(), 1);
        assert!(pool.udp(false).is_err(), "not used again at once");
        drop((listener, second));
        std::thread::sleep(Duration::from_millis(350));
        let again = pool.udp(false).unwrap();
        assert_eq!(again.lease.port(), 41_002, "the one that rested longest");
        drop(again);
        assert_eq!(pool.free(), 2);
    }

    #[test]
    fn ports_that_other_programs_have_are_passed_over() {
        let other = std::net::UdpSocket::bind("0.0.0.0:41013").unwrap();
        let pool = PortPool::resting(41_010..=41_017, Duration::ZERO).unwrap();
        let mut seen = HashSet::new();
        for _ in 0..8 {
            seen.insert(pool.udp(true).unwrap().lease.port());
        }
        assert_eq!(seen, HashSet::from([41_010, 41_014, 41_016]));
        drop(other);
    }

    #[test]
    fn a_range_without_a_pair_is_refused() {
        let error = PortPool::new(41_021..=41_022).err().unwrap().to_string();
        assert_eq!(error, "the range of ports 41021 to 41022 holds no even port with the next one");
        assert!(PortPool::new(65_535..=65_535).is_err());
    }
}
