//! A plain RTP session (RFC 3550, 3551): no ICE, no handshake; addresses, payload types and, where
//! there are any, SRTP keys (SDES, RFC 4568) come from whoever signals. RTP and RTCP go over ports of
//! their own (UDP), one port (RFC 5761), or one TCP connection (RFC 4571).
//!
//! Where a peer's packets may come from is [`Trust`]; where ours go to is where its last valid ones
//! came from (RFC 4961), and what was signalled until the first of them. Once a source is being heard
//! another one is listened to only when that has been silent for [`SILENT`], so that nobody who guesses
//! a port takes a stream over; a packet that the peer's key authenticates may come from anywhere.

use super::srtp::{Opener, Sealer, Suite, SuiteError};
use super::webrtc::SessionEvent;
use super::{Path, PortKey};
use crate::rtp::packet::RtpView;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// After this long without a valid packet another source may take the place.
pub const SILENT: Duration = Duration::from_secs(2);
/// After this long without a valid packet the peer counts as gone for now.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(5);
/// TCP connections that a passive session holds at a time: the one in use, and others that may
/// turn out to be the peer's.
pub const MAX_CONNECTIONS: usize = 4;

/// Which sources of packets a session listens to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Any; the first valid one is kept. For peers behind address translation.
    #[default]
    Any,
    /// The signalled host, whatever its port.
    Host,
    /// The signalled address and port, exactly.
    Address,
}

/// SRTP keys as SDES gives them: for each direction a master key followed by its salt.
#[derive(Clone, PartialEq, Eq)]
pub struct SdesKeys {
    pub suite: Suite,
    /// Of what we send.
    pub local: Vec<u8>,
    /// Of what the peer sends.
    pub remote: Vec<u8>,
}

impl std::fmt::Debug for SdesKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SdesKeys").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl SdesKeys {
    fn split(suite: Suite, keying: &[u8]) -> Result<(&[u8], &[u8]), SuiteError> {
        let wrong = SuiteError::Length { key: keying.len(), salt: suite.salt_length() };
        keying.split_at_checked(suite.key_length()).filter(|(_, salt)| salt.len() == suite.salt_length()).ok_or(wrong)
    }

    fn opener(&self) -> Result<Opener, SuiteError> {
        let (key, salt) = Self::split(self.suite, &self.remote)?;
        Opener::new(self.suite, key, salt)
    }

    fn sealer(&self) -> Result<Sealer, SuiteError> {
        let (key, salt) = Self::split(self.suite, &self.local)?;
        Sealer::new(self.suite, key, salt)
    }

    /// # Errors
    /// When a key is not as long as the suite wants it.
    pub fn check(&self) -> Result<(), SuiteError> {
        self.opener().and(self.sealer()).map(|_| ())
    }
}

/// What is known of the peer, as a whole; a new one replaces the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RtpPeer {
    /// Where it says that it takes RTP.
    pub rtp: Option<SocketAddr>,
    /// Where it takes RTCP (`a=rtcp`, RFC 3605); the port after RTP's when there is none.
    pub rtcp: Option<SocketAddr>,
    pub trust: Trust,
    /// The only stream that is its own (GB/T 28181 `y=`), when that is known.
    pub ssrc: Option<u32>,
    pub keys: Option<SdesKeys>,
    /// Silence, RTP and RTCP, after which the session has failed. None: never.
    pub timeout: Option<Duration>,
}

/// A connection of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotExpected;

/// Which ports of ours a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalPorts {
    /// UDP; without a port for RTCP both share the first (RFC 5761).
    Udp { rtp: PortKey, rtcp: Option<PortKey> },
    /// TCP connections that come in at, or go out under, this port's name.
    Tcp(PortKey),
}

impl LocalPorts {
    pub fn all(self) -> impl Iterator<Item = PortKey> {
        let (first, second) = match self {
            Self::Udp { rtp, rtcp } => (rtp, rtcp),
            Self::Tcp(port) => (port, None),
        };
        std::iter::once(first).chain(second)
    }
}

/// One way that packets come, and where they last came from.
#[derive(Default)]
struct Lane {
    from: Option<Path>,
    heard: Option<Instant>,
}

impl Lane {
    fn is_silent(&self, now: Instant) -> bool {
        self.heard.is_none_or(|at| now.saturating_duration_since(at) >= SILENT)
    }

    fn hear(&mut self, path: Path, now: Instant) {
        self.from = Some(path);
        self.heard = Some(now);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Connected,
    Silent,
    Failed,
}

pub struct PlainRtp {
    local: LocalPorts,
    peer: RtpPeer,
    /// Payload types that the peer sends; none are named where it is not to send at all.
    accepts: [bool; 128],
    receives: bool,
    sealer: Option<Box<Sealer>>,
    opener: Option<Box<Opener>>,
    rtp: Lane,
    rtcp: Lane,
    /// TCP connections, oldest first.
    connections: SmallVec<[Path; MAX_CONNECTIONS]>,
    /// When it was last heard, or since when that is expected.
    heard: Instant,
    state: State,
    events: SmallVec<[SessionEvent; 2]>,
}

impl PlainRtp {
    pub fn new(local: LocalPorts, now: Instant) -> Self {
        Self {
            local,
            peer: RtpPeer::default(),
            accepts: [false; 128],
            receives: false,
            sealer: None,
            opener: None,
            rtp: Lane::default(),
            rtcp: Lane::default(),
            connections: SmallVec::new(),
            heard: now,
            state: State::Waiting,
            events: SmallVec::new(),
        }
    }

    pub fn local(&self) -> LocalPorts {
        self.local
    }

    /// What is now known of the peer, and the payload types it sends. Keys that are as before go on
    /// where they were.
    pub fn configure(&mut self, peer: &RtpPeer, payload_types: impl Iterator<Item = u8>, now: Instant) {
        self.accepts = [false; 128];
        self.receives = false;
        for payload_type in payload_types {
            self.receives = true;
            if let Some(accepted) = self.accepts.get_mut(usize::from(payload_type)) {
                *accepted = true;
            }
        }
        let moved = peer.rtp != self.peer.rtp || peer.rtcp != self.peer.rtcp || peer.trust != self.peer.trust;
        if moved {
            // Signalled anew: what was heard from the old place is no ground to stay there.
            let is_tcp = |path: &Path| matches!(path, Path::Tcp(_));
            self.rtp = Lane { from: self.rtp.from.filter(is_tcp), heard: None };
            self.rtcp = Lane { from: self.rtcp.from.filter(is_tcp), heard: None };
            self.heard = now;
        }
        let (old, new) = (self.peer.keys.as_ref(), peer.keys.as_ref());
        if old.map(|keys| (keys.suite, &keys.remote)) != new.map(|keys| (keys.suite, &keys.remote)) {
            self.opener = new.and_then(|keys| keys.opener().ok()).map(Box::new);
        }
        if old.map(|keys| (keys.suite, &keys.local)) != new.map(|keys| (keys.suite, &keys.local)) {
            self.sealer = new.and_then(|keys| keys.sealer().ok()).map(Box::new);
        }
        if let Some(Err(error)) = new.map(SdesKeys::check) {
            self.fail(error.to_string());
        }
        self.peer = peer.clone();
    }

    /// Whether packets from there may be the peer's at all.
    fn trusts(&self, path: Path, signalled: Option<SocketAddr>) -> bool {
        match (path, self.peer.trust) {
            // Who connected is judged when the connection comes.
            (Path::Tcp(_), _) | (_, Trust::Any) => true,
            (Path::Port(_, from), Trust::Host) => signalled.is_some_and(|address| address.ip() == from.ip()),
            (Path::Port(_, from), Trust::Address) => signalled == Some(from),
            (Path::Udp(_), _) => false,
        }
    }

    fn signalled_rtcp(&self) -> Option<SocketAddr> {
        match self.local {
            LocalPorts::Udp { rtcp: Some(_), .. } => self.peer.rtcp.or_else(|| {
                let rtp = self.peer.rtp?;
                Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?))
            }),
            _ => self.peer.rtp,
        }
    }

    /// Opens an RTP packet where it is; returns its plain length, or nothing for what is not the peer's.
    pub fn open_rtp(&mut self, packet: &mut [u8], path: Path, now: Instant) -> Option<usize> {
        if !self.trusts(path, self.peer.rtp) {
            return None;
        }
        let authenticated = self.opener.is_some();
        if !authenticated && self.peer.keys.is_some() {
            return None;
        }
        if !authenticated && self.rtp.from != Some(path) && !self.rtp.is_silent(now) {
            return None;
        }
        let length = match &mut self.opener {
            Some(opener) => opener.open_rtp(packet).ok()?,
            None => packet.len(),
        };
        let header = RtpView::parse(packet.get(..length)?).ok()?.header;
        if self.peer.ssrc.is_some_and(|ssrc| ssrc != header.ssrc) {
            return None;
        }
        let accepted = self.accepts.get(usize::from(header.payload_type)).copied().unwrap_or(false);
        if !authenticated && self.receives && !accepted && self.rtp.from != Some(path) {
            // Nothing that was agreed, from somebody new.
            return None;
        }
        self.rtp.hear(path, now);
        self.note_heard(now);
        Some(length)
    }

    /// As [`Self::open_rtp`], for an RTCP compound.
    pub fn open_rtcp(&mut self, packet: &mut [u8], path: Path, now: Instant) -> Option<usize> {
        if !self.trusts(path, self.signalled_rtcp()) && !self.trusts(path, self.peer.rtp) {
            return None;
        }
        if self.opener.is_none() && self.peer.keys.is_some() {
            return None;
        }
        let length = match &mut self.opener {
            Some(opener) => opener.open_rtcp(packet).ok()?,
            None => {
                // Reports come from the host that the media comes from, once that is known.
                if let (Path::Port(_, from), Some(Path::Port(_, media))) = (path, self.rtp.from)
                    && from.ip() != media.ip()
                {
                    return None;
                }
                if self.rtcp.from.is_some() && self.rtcp.from != Some(path) && !self.rtcp.is_silent(now) {
                    return None;
                }
                crate::rtp::rtcp::parse_compound(packet).ok()?;
                packet.len()
            }
        };
        self.rtcp.hear(path, now);
        self.note_heard(now);
        Some(length)
    }

    fn note_heard(&mut self, now: Instant) {
        self.heard = now;
        match self.state {
            State::Waiting => {
                self.state = State::Connected;
                self.events.push(SessionEvent::Connected);
            }
            State::Silent => {
                self.state = State::Connected;
                self.events.push(SessionEvent::Recovered);
            }
            State::Connected | State::Failed => {}
        }
    }

    /// Seals the RTP packet at the end of `buffer`; says whether it can be sent.
    pub fn seal_rtp(&self, buffer: &mut Vec<u8>, start: usize, header: usize, rollover: u32) -> bool {
        match &self.sealer {
            Some(sealer) => sealer.seal_rtp(buffer, start, header, rollover),
            None => return self.peer.keys.is_none(),
        }
        true
    }

    pub fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) -> bool {
        match &mut self.sealer {
            Some(sealer) => sealer.seal_rtcp(buffer, start),
            None => return self.peer.keys.is_none(),
        }
        true
    }

    pub fn rtp_path(&self) -> Option<Path> {
        match (self.rtp.from, self.local) {
            (Some(path), _) => Some(path),
            (None, LocalPorts::Udp { rtp, .. }) => self.peer.rtp.map(|address| Path::Port(rtp, address)),
            (None, LocalPorts::Tcp(_)) => self.connections.first().copied(),
        }
    }

    pub fn rtcp_path(&self) -> Option<Path> {
        match self.local {
            LocalPorts::Udp { rtcp: Some(port), .. } => match self.rtcp.from {
                Some(path) => Some(path),
                None => self.signalled_rtcp().map(|address| Path::Port(port, address)),
            },
            _ => self.rtp_path(),
        }
    }

    /// A TCP connection of its port has come up. Where it is taken, returns the one that makes room for it: the
    /// oldest that has brought nothing, so that those who say nothing keep nobody out.
    pub fn connected(&mut self, path: Path, from: SocketAddr) -> Result<Option<Path>, NotExpected> {
        let expected = match self.peer.trust {
            Trust::Any => true,
            Trust::Host | Trust::Address => self.peer.rtp.is_some_and(|address| address.ip() == from.ip()),
        };
        if !expected {
            return Err(NotExpected);
        }
        let full = self.connections.len() >= MAX_CONNECTIONS;
        let silent = self.connections.iter().position(|known| Some(*known) != self.rtp.from).filter(|_| full);
        let displaced = silent.map(|at| self.connections.remove(at));
        self.connections.push(path);
        Ok(displaced)
    }

    pub fn paths(&self) -> &[Path] {
        &self.connections
    }

    /// A TCP connection is gone. Where it was the one in use, so is the peer, unless it comes again.
    pub fn forget_path(&mut self, path: Path) {
        self.connections.retain(|known| *known != path);
        if self.rtp.from == Some(path) && self.state == State::Connected {
            self.state = State::Silent;
            self.events.push(SessionEvent::Disconnected);
        }
        for lane in [&mut self.rtp, &mut self.rtcp] {
            if lane.from == Some(path) {
                *lane = Lane::default();
            }
        }
    }

    pub fn is_connected(&self) -> bool {
        self.state != State::Failed && self.rtp_path().is_some()
    }

    pub fn is_failed(&self) -> bool {
        self.state == State::Failed
    }

    pub fn fail(&mut self, why: String) {
        if self.state != State::Failed {
            self.state = State::Failed;
            self.events.push(SessionEvent::Failed(why));
        }
    }

    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    /// When its silence next means something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let failed = self.peer.timeout.map(|timeout| self.heard + timeout);
        match self.state {
            State::Connected => Some(self.heard + DISCONNECTED_AFTER).into_iter().chain(failed).min(),
            State::Waiting | State::Silent => failed,
            State::Failed => None,
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let silent = now.saturating_duration_since(self.heard);
        if self.state != State::Failed && self.peer.timeout.is_some_and(|timeout| silent >= timeout) {
            self.fail(format!("the peer has sent nothing for {} seconds", silent.as_secs()));
        } else if self.state == State::Connected && silent >= DISCONNECTED_AFTER {
            self.state = State::Silent;
            self.events.push(SessionEvent::Disconnected);
        }
    }
}

#[cfg(test)]
mod tests;
