//! A WebRTC session: ICE-lite, DTLS, SRTP with the keys of the handshake, data channels.

use super::Path;
use super::data::DataChannels;
use super::dtls::{Dtls, DtlsIdentity, DtlsOutput};
use super::egress::Egress;
use super::flow::{DataCounts, DataLink};
use super::ice::{CONNECT_TIMEOUT, DISCONNECTED_AFTER, FAILED_AFTER, IceCredentials, IceError, IceLite};
use super::srtp::SrtpPair;
use crate::media::DataKind;
use bytes::Bytes;
use rtc_srtp::crypto::RTCCrypto;
use rtc_stun::message::Message;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Paths one peer may have checked at a time. A machine with many addresses checks from each, and
/// uses one; a path that fell out comes back with the next check on it.
const MAX_PATHS: usize = 8;

/// What becomes of a session.
#[derive(Debug)]
pub enum SessionEvent {
    /// ICE and DTLS are done.
    Connected,
    /// No ICE check for a while; it may come back.
    Disconnected,
    /// It will not come back.
    Failed(String),
    /// The peer is back after `Disconnected`.
    Recovered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Connected,
    Disconnected,
    Failed,
}

pub struct WebRtc {
    pub ice: IceLite,
    dtls: Dtls,
    srtp: Option<Box<SrtpPair>>,
    data: DataChannels,
    /// Paths that a valid check came by, oldest first.
    paths: SmallVec<[Path; MAX_PATHS]>,
    state: State,
    /// Since when the peer's checks are expected: it has what it needs for them.
    expected: Option<Instant>,
    events: SmallVec<[SessionEvent; 2]>,
}

impl WebRtc {
    /// `opens_data`: the data channels are ours to open.
    pub fn new(
        local: IceCredentials,
        identity: Arc<DtlsIdentity>,
        opens_data: bool,
        data: DataLink,
        now: Instant,
    ) -> Self {
        Self {
            ice: IceLite::new(local, now),
            dtls: Dtls::new(identity),
            srtp: None,
            data: DataChannels::new(opens_data, data),
            paths: SmallVec::new(),
            state: State::Connecting,
            // What we offer is offered at once. A connection that is the peer's to offer may never be: who only
            // watches has no use for it.
            expected: opens_data.then_some(now),
            events: SmallVec::new(),
        }
    }

    /// Stands for a handshake.
    #[cfg(test)]
    pub fn connect_for_tests(&mut self, pair: Box<SrtpPair>) {
        self.srtp = Some(pair);
        self.state = State::Connected;
        self.events.push(SessionEvent::Connected);
    }

    /// The peer has answered, or been answered: it can check the way from now on.
    pub fn expect(&mut self, now: Instant) {
        self.expected.get_or_insert(now);
    }

    /// What has become of it since the last call, oldest first.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    pub fn is_connected(&self) -> bool {
        self.srtp.is_some() && self.state != State::Failed
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

    /// Answers a connectivity check: the answer, and a path that had to make room for this one.
    pub fn check(
        &mut self,
        message: Message,
        ufrag: &str,
        path: Path,
        source: SocketAddr,
        crypto: &dyn RTCCrypto,
        now: Instant,
    ) -> Result<(Vec<u8>, Option<Path>), IceError> {
        let answer = self.ice.handle(message, ufrag, path, source, crypto, now)?;
        Ok((answer, self.note_path(path)))
    }

    /// Remembers a checked path; returns the one that had to make room, never the one in use.
    fn note_path(&mut self, path: Path) -> Option<Path> {
        self.paths.retain(|known| *known != path);
        self.paths.push(path);
        if self.paths.len() <= MAX_PATHS {
            return None;
        }
        let in_use = self.ice.path();
        let oldest = self.paths.iter().position(|known| Some(*known) != in_use)?;
        Some(self.paths.remove(oldest))
    }

    pub fn forget_path(&mut self, path: Path) {
        self.paths.retain(|known| *known != path);
        self.ice.lose(path);
    }

    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    pub fn srtp(&self) -> Option<&SrtpPair> {
        self.srtp.as_deref()
    }

    pub fn srtp_mut(&mut self) -> Option<&mut SrtpPair> {
        self.srtp.as_deref_mut()
    }

    /// One datagram of DTLS; `fingerprint` is what the peer's description announced.
    pub fn handle_dtls(&mut self, slot: usize, datagram: &[u8], fingerprint: &str, egress: &mut Egress, now: Instant) {
        let mut outputs = Vec::new();
        let result = self.dtls.handle(datagram, fingerprint, now, &mut outputs);
        for output in outputs {
            match output {
                DtlsOutput::Connected(pair) => {
                    self.srtp = Some(pair);
                    self.state = State::Connected;
                    self.events.push(SessionEvent::Connected);
                }
                DtlsOutput::Application(record) => self.data.handle(record.freeze(), now),
                DtlsOutput::PeerClosed => self.fail("the peer closed the connection".into()),
            }
        }
        if let Err(error) = result {
            // After the handshake a bad record is a nuisance, before it the end.
            if self.srtp.is_none() {
                self.flush_dtls(slot, egress);
                self.fail(error.to_string());
                return;
            }
        }
        self.after_data(slot, egress, now);
    }

    pub fn send_data(&mut self, slot: usize, kind: DataKind, payload: Bytes, egress: &mut Egress, now: Instant) {
        let length = payload.len();
        self.data.send(kind, payload, now);
        self.after_data(slot, egress, now);
        self.data.taken(length);
    }

    pub fn data_counts(&self) -> DataCounts {
        self.data.counts()
    }

    fn after_data(&mut self, slot: usize, egress: &mut Egress, now: Instant) {
        if self.dtls.is_connected() {
            let _ = self.data.flush(&mut self.dtls, now);
        }
        self.data.report();
        self.flush_dtls(slot, egress);
    }

    fn flush_dtls(&mut self, slot: usize, egress: &mut Egress) {
        while let Some(packet) = self.dtls.poll_transmit() {
            if let Some(path) = self.ice.path() {
                egress.push(slot, path, &packet);
            }
        }
    }

    /// Timers of DTLS and SCTP, and how long the peer has been silent.
    pub fn handle_timeout(&mut self, slot: usize, egress: &mut Egress, now: Instant) {
        if self.dtls.poll_timeout().is_some_and(|at| at <= now)
            && let Err(error) = self.dtls.handle_timeout(now)
        {
            self.flush_dtls(slot, egress);
            self.fail(error.to_string());
            return;
        }
        if self.state == State::Connecting
            && let Some(why) = self.dtls.failure(now)
        {
            self.fail(why);
            return;
        }
        if self.data.poll_timeout().is_some_and(|at| at <= now) {
            self.data.handle_timeout(now);
        }
        self.after_data(slot, egress, now);
        let silent = self.ice.silent_for(now);
        match self.state {
            State::Connecting
                if silent > CONNECT_TIMEOUT
                    && self.expected.is_some_and(|since| now.saturating_duration_since(since) > CONNECT_TIMEOUT) =>
            {
                self.fail("no connectivity check arrived in time".into());
            }
            State::Connected if silent > DISCONNECTED_AFTER => {
                self.state = State::Disconnected;
                self.events.push(SessionEvent::Disconnected);
            }
            State::Disconnected if silent > FAILED_AFTER => self.fail("the peer has been silent for too long".into()),
            State::Disconnected if silent < DISCONNECTED_AFTER => {
                self.state = State::Connected;
                self.events.push(SessionEvent::Recovered);
            }
            _ => {}
        }
    }

    /// When DTLS or SCTP has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.dtls.poll_timeout(), self.data.poll_timeout()].into_iter().flatten().min()
    }

    pub fn close(&mut self, slot: usize, egress: &mut Egress, now: Instant) {
        self.dtls.close(now);
        self.flush_dtls(slot, egress);
    }
}
