//! What one peer's packets go through, without sockets, clock or tasks: connectivity checks,
//! the DTLS handshake, data channels. A shard drives them; nothing here knows rooms or tracks.

pub mod data;
pub mod dtls;
pub mod egress;
pub mod flow;
pub mod ice;
pub mod plain;
pub mod srtp;
pub mod webrtc;

use egress::Egress;
use plain::PlainRtp;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use webrtc::{SessionEvent, WebRtc};

/// A port of one session's own, beside those that a shard's peers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortKey(u64);

impl PortKey {
    /// A key no one else has.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn of_number(number: u64) -> Self {
        Self(number)
    }

    /// A number that no other key has.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// How datagrams reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// Between a session's own UDP port and that address.
    Port(PortKey, SocketAddr),
    /// A framed TCP connection (RFC 4571), by the shard's connection number.
    Tcp(usize),
    Udp(SocketAddr),
}

/// One peer: how what it sends is opened, and what is for it sealed.
pub enum Session {
    Rtp(Box<PlainRtp>),
    WebRtc(Box<WebRtc>),
}

impl Session {
    /// Opens an RTP packet where it is; returns its plain length, or nothing for what is not the peer's.
    pub fn open_rtp(&mut self, packet: &mut [u8], path: Path, now: Instant) -> Option<usize> {
        match self {
            Self::Rtp(session) => session.open_rtp(packet, path, now),
            Self::WebRtc(session) => session.srtp_mut()?.incoming.open_rtp(packet).ok(),
        }
    }

    /// As [`Self::open_rtp`], for an RTCP compound.
    pub fn open_rtcp(&mut self, packet: &mut [u8], path: Path, now: Instant) -> Option<usize> {
        match self {
            Self::Rtp(session) => session.open_rtcp(packet, path, now),
            Self::WebRtc(session) => session.srtp_mut()?.incoming.open_rtcp(packet).ok(),
        }
    }

    /// Seals the RTP packet at the end of `buffer`, from `start` on, `header` bytes of it its header;
    /// says whether it can be sent.
    pub fn seal_rtp(&self, buffer: &mut Vec<u8>, start: usize, header: usize, rollover: u32) -> bool {
        match self {
            Self::Rtp(session) => session.seal_rtp(buffer, start, header, rollover),
            Self::WebRtc(session) => {
                let Some(srtp) = session.srtp() else { return false };
                srtp.outgoing.seal_rtp(buffer, start, header, rollover);
                true
            }
        }
    }

    /// As [`Self::seal_rtp`], for an RTCP compound.
    pub fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) -> bool {
        match self {
            Self::Rtp(session) => session.seal_rtcp(buffer, start),
            Self::WebRtc(session) => {
                let Some(srtp) = session.srtp_mut() else { return false };
                srtp.outgoing.seal_rtcp(buffer, start);
                true
            }
        }
    }

    /// Where media goes, once that is known.
    pub fn rtp_path(&self) -> Option<Path> {
        match self {
            Self::Rtp(session) => session.rtp_path(),
            Self::WebRtc(session) => session.ice.path(),
        }
    }

    /// Where RTCP goes.
    pub fn rtcp_path(&self) -> Option<Path> {
        match self {
            Self::Rtp(session) => session.rtcp_path(),
            Self::WebRtc(session) => session.ice.path(),
        }
    }

    /// All ways by which the peer may come, beside ports of its own.
    pub fn paths(&self) -> &[Path] {
        match self {
            Self::Rtp(session) => session.paths(),
            Self::WebRtc(session) => session.paths(),
        }
    }

    /// A way that is gone, or another peer's now.
    pub fn forget_path(&mut self, path: Path) {
        match self {
            Self::Rtp(session) => session.forget_path(path),
            Self::WebRtc(session) => session.forget_path(path),
        }
    }

    pub fn is_connected(&self) -> bool {
        match self {
            Self::Rtp(session) => session.is_connected(),
            Self::WebRtc(session) => session.is_connected(),
        }
    }

    pub fn is_failed(&self) -> bool {
        match self {
            Self::Rtp(session) => session.is_failed(),
            Self::WebRtc(session) => session.is_failed(),
        }
    }

    pub fn fail(&mut self, why: String) {
        match self {
            Self::Rtp(session) => session.fail(why),
            Self::WebRtc(session) => session.fail(why),
        }
    }

    /// What has become of it since the last call, oldest first.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        match self {
            Self::Rtp(session) => session.poll_event(),
            Self::WebRtc(session) => session.poll_event(),
        }
    }

    /// When [`Self::handle_timeout`] has something to do of its own; it may also be called at any time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Rtp(session) => session.poll_timeout(),
            Self::WebRtc(session) => session.poll_timeout(),
        }
    }

    /// What is due. `slot` is the sender's place in `egress`.
    pub fn handle_timeout(&mut self, slot: usize, egress: &mut Egress, now: Instant) {
        match self {
            Self::Rtp(session) => session.handle_timeout(now),
            Self::WebRtc(session) => session.handle_timeout(slot, egress, now),
        }
    }

    /// Says goodbye.
    pub fn close(&mut self, slot: usize, egress: &mut Egress, now: Instant) {
        match self {
            // Who signals says it.
            Self::Rtp(_) => {}
            Self::WebRtc(session) => session.close(slot, egress, now),
        }
    }
}
