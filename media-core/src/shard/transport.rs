//! One WebRTC connection on its shard: ICE, DTLS, SRTP, data channels, and the
//! tables that tell which stream is what. Packets go in and come out as bytes;
//! the shard owns the sockets.

use super::config::{PayloadMap, TransportConfig, TransportEvent, TransportInit};
use super::egress::Egress;
use super::{RoomKey, SubKey, TrackKey, TransportKey};
use crate::clock::ClockEstimator;
use crate::ids::ParticipantSid;
use crate::rtp::ext;
use crate::rtp::packet::{Extensions, RtpHeader, write_header};
use crate::rtp::twcc::TwccReceiver;
use crate::session::Path;
use crate::session::data::DataChannels;
use crate::session::dtls::{Dtls, DtlsOutput, SrtpPair};
use crate::session::flow::DataCounts;
use crate::session::ice::{CONNECT_TIMEOUT, DISCONNECTED_AFTER, FAILED_AFTER, IceLite};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Streams one peer may have bound at a time. Senders stop naming a stream once they think it known,
/// so that the one to make room for a newer one is whichever has been silent the longest.
const MAX_STREAMS: usize = 256;

/// Paths one peer may have checked at a time. A machine with many addresses checks from each, and
/// uses one; a path that fell out comes back with the next check on it.
const MAX_PATHS: usize = 8;

/// Where an incoming stream belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub section: usize,
    pub layer: usize,
    pub rtx: bool,
}

#[derive(Clone, Copy)]
struct Bound {
    route: Route,
    /// [`Transport::arrivals`] when a packet of it last came.
    used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Connected,
    Disconnected,
    Failed,
}

pub(super) struct Transport {
    pub key: TransportKey,
    pub room: RoomKey,
    pub participant: ParticipantSid,
    /// A subscriber connection: we offer, and open the data channels.
    pub opens_data: bool,
    pub ice: IceLite,
    dtls: Dtls,
    srtp: Option<Box<SrtpPair>>,
    data: DataChannels,
    events: mpsc::UnboundedSender<TransportEvent>,
    pub config: Option<Arc<TransportConfig>>,
    routes: HashMap<u32, Bound>,
    /// Packets that were to be routed so far.
    arrivals: u64,
    /// Our media and RTX streams, to find a subscription from a peer's feedback.
    pub outgoing: HashMap<u32, (TrackKey, SubKey)>,
    /// Paths that a valid check came by, oldest first.
    paths: SmallVec<[Path; MAX_PATHS]>,
    pub twcc: TwccReceiver,
    pub twcc_media_ssrc: u32,
    /// Our own identity in RTCP.
    pub ssrc: u32,
    pub rtt: Duration,
    /// Until the round trip has been measured, `rtt` is a guess.
    measured: bool,
    /// The other connection of the same participant, which goes the same way.
    pub pair: Option<TransportKey>,
    pub next_tick: Instant,
    /// When the shard's timer heap will look here.
    pub scheduled: Option<Instant>,
    pub next_report: Instant,
    pub last_quality: Instant,
    /// The peer's clock, from its sender reports.
    pub clock: ClockEstimator,
    state: State,
    pub dead: bool,
    scratch: Vec<u8>,
}

impl Transport {
    pub fn new(key: TransportKey, init: TransportInit, ssrc: u32, now: Instant) -> Self {
        Self {
            key,
            room: init.room,
            participant: init.participant,
            opens_data: init.opens_data,
            ice: IceLite::new(init.local_ice, now),
            dtls: Dtls::new(init.identity),
            srtp: None,
            data: DataChannels::new(init.opens_data, init.data),
            events: init.events,
            config: None,
            routes: HashMap::new(),
            arrivals: 0,
            outgoing: HashMap::new(),
            paths: SmallVec::new(),
            twcc: TwccReceiver::default(),
            twcc_media_ssrc: 0,
            ssrc,
            rtt: Duration::from_millis(50),
            measured: false,
            pair: init.pair,
            next_tick: now,
            scheduled: None,
            next_report: now + Duration::from_secs(1),
            last_quality: now,
            clock: ClockEstimator::default(),
            state: State::Connecting,
            dead: false,
            scratch: Vec::with_capacity(2048),
        }
    }

    /// Stands for a handshake.
    #[cfg(test)]
    pub fn connect_for_tests(&mut self, pair: Box<SrtpPair>) {
        self.srtp = Some(pair);
        self.state = State::Connected;
        self.tell(TransportEvent::Connected);
    }

    pub fn tell(&self, event: TransportEvent) {
        let _ = self.events.send(event);
    }

    pub fn is_connected(&self) -> bool {
        self.srtp.is_some() && self.state != State::Failed
    }

    pub fn fail(&mut self, why: String) {
        if self.state != State::Failed {
            self.state = State::Failed;
            self.dead = true;
            self.tell(TransportEvent::Failed(why));
        }
    }

    /// A round trip was measured.
    pub fn note_rtt(&mut self, rtt: Duration) {
        let rtt = rtt.min(Duration::from_secs(5));
        self.rtt = if self.measured { (self.rtt * 7 + rtt) / 8 } else { rtt };
        self.measured = true;
    }

    /// A lost packet came this long after it was first asked for: a round trip, or more when the
    /// first answer was lost too.
    pub fn note_answer(&mut self, after: Duration) {
        // So that one lost answer counts for little, and a way that became longer is followed.
        self.note_rtt(if self.measured { after.min(self.rtt * 3) } else { after });
    }

    /// Remembers a checked path; returns the one that had to make room, never the one in use.
    pub fn note_path(&mut self, path: Path) -> Option<Path> {
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

    /// Takes a new negotiated state. Streams learned by header extensions of
    /// sections that did not change stay bound.
    pub fn configure(&mut self, config: Arc<TransportConfig>) {
        self.ice.restart(config.local_ice.clone());
        let old = self.config.replace(config.clone());
        let mid_of =
            |section: usize| old.as_ref().and_then(|old| old.receive.get(section)).map(|section| section.mid.as_str());
        self.routes.retain(|_, bound| {
            let Some(mid) = mid_of(bound.route.section) else { return false };
            let section = config.receive.iter().position(|section| section.mid == mid);
            bound.route.section = section.unwrap_or_default();
            section.is_some()
        });
        for (index, section) in config.receive.iter().enumerate() {
            if section.rids.is_empty() {
                for &(ssrc, rtx) in section.ssrcs.iter().take(1) {
                    self.bind(ssrc, Route { section: index, layer: 0, rtx: false });
                    if let Some(rtx) = rtx {
                        self.bind(rtx, Route { section: index, layer: 0, rtx: true });
                    }
                }
            }
        }
    }

    /// Finds (and remembers) what an incoming stream is.
    pub fn route(&mut self, header: &RtpHeader, extensions: &Extensions<'_>) -> Option<Route> {
        self.arrivals += 1;
        if let Some(bound) = self.routes.get_mut(&header.ssrc) {
            bound.used = self.arrivals;
            return Some(bound.route);
        }
        let config = self.config.clone()?;
        let ids = config.extensions;
        let text = |id: u8| (id != 0).then(|| extensions.get(id)).flatten().and_then(ext::stream_name);
        let section = match text(ids.mid) {
            Some(mid) => config.receive.iter().position(|section| section.mid == mid)?,
            None => {
                // Without a MID the payload type must name exactly one section.
                let mut fitting = config.receive.iter().enumerate().filter(|(_, section)| {
                    section.track.is_some()
                        && section.payloads.iter().any(|payload| payload.pt() == header.payload_type)
                });
                let (index, _) = fitting.next()?;
                if fitting.next().is_some() {
                    return None;
                }
                index
            }
        };
        let described = config.receive.get(section)?;
        let repaired = text(ids.repaired_rid);
        let rtx = repaired.is_some()
            || described
                .payloads
                .iter()
                .any(|payload| matches!(payload, PayloadMap::Rtx { pt } if *pt == header.payload_type));
        let layer = match repaired.or_else(|| text(ids.rid)) {
            Some(rid) => described.rids.iter().position(|known| known == rid)?,
            None if described.rids.len() <= 1 => 0,
            None => return None,
        };
        let route = Route { section, layer, rtx };
        self.bind(header.ssrc, route);
        Some(route)
    }

    fn bind(&mut self, ssrc: u32, route: Route) {
        if self.routes.len() >= MAX_STREAMS
            && !self.routes.contains_key(&ssrc)
            && let Some((&quietest, _)) = self.routes.iter().min_by_key(|(_, bound)| bound.used)
        {
            self.routes.remove(&quietest);
        }
        self.routes.insert(ssrc, Bound { route, used: self.arrivals });
    }

    /// The peer's media stream of a layer, once it is known.
    pub fn ssrc_of(&self, section: usize, layer: usize) -> Option<u32> {
        let wanted = Route { section, layer, rtx: false };
        self.routes
            .iter()
            .filter(|(_, bound)| bound.route == wanted)
            .max_by_key(|(_, bound)| bound.used)
            .map(|(&ssrc, _)| ssrc)
    }

    pub fn handle_dtls(&mut self, datagram: &[u8], egress: &mut Egress, now: Instant) {
        let Some(config) = self.config.clone() else { return };
        let mut outputs = Vec::new();
        let result = self.dtls.handle(datagram, &config.fingerprint, now, &mut outputs);
        for output in outputs {
            match output {
                DtlsOutput::Connected(pair) => {
                    tracing::debug!(profile = ?pair.profile, "dtls connected");
                    self.srtp = Some(pair);
                    self.state = State::Connected;
                    self.tell(TransportEvent::Connected);
                }
                DtlsOutput::Application(record) => self.data.handle(record.freeze(), now),
                DtlsOutput::PeerClosed => self.fail("the peer closed the connection".into()),
            }
        }
        if let Err(error) = result {
            // After the handshake a bad record is a nuisance, before it the end.
            if self.srtp.is_none() {
                self.flush_dtls(egress);
                self.fail(error.to_string());
                return;
            }
        }
        self.after_data(egress, now);
    }

    pub fn send_data(&mut self, kind: crate::media::DataKind, payload: Bytes, egress: &mut Egress, now: Instant) {
        let length = payload.len();
        self.data.send(kind, payload, now);
        self.after_data(egress, now);
        self.data.taken(length);
    }

    pub fn data_counts(&self) -> DataCounts {
        self.data.counts()
    }

    fn after_data(&mut self, egress: &mut Egress, now: Instant) {
        if self.dtls.is_connected() {
            let _ = self.data.flush(&mut self.dtls, now);
        }
        self.data.report();
        self.flush_dtls(egress);
    }

    fn flush_dtls(&mut self, egress: &mut Egress) {
        while let Some(packet) = self.dtls.poll_transmit() {
            if let Some(path) = self.ice.path() {
                egress.push(&packet, path);
            }
        }
    }

    /// Decrypts one SRTP datagram.
    pub fn open_rtp(&mut self, datagram: &[u8]) -> Option<Bytes> {
        self.srtp.as_mut()?.incoming.decrypt_rtp(datagram).ok().map(|plain| plain.freeze())
    }

    pub fn open_rtcp(&mut self, datagram: &[u8]) -> Option<Bytes> {
        self.srtp.as_mut()?.incoming.decrypt_rtcp(datagram).ok().map(|plain| plain.freeze())
    }

    pub fn send_rtp(
        &mut self,
        header: &RtpHeader,
        extensions: &[(u8, &[u8])],
        prefix: &[u8],
        payload: &[u8],
        egress: &mut Egress,
    ) -> bool {
        let Some(path) = self.ice.path() else { return false };
        let Some(srtp) = self.srtp.as_mut() else { return false };
        self.scratch.clear();
        write_header(&mut self.scratch, header, extensions);
        self.scratch.extend_from_slice(prefix);
        self.scratch.extend_from_slice(payload);
        match srtp.outgoing.encrypt_rtp(&self.scratch) {
            Ok(sealed) => {
                egress.push(&sealed, path);
                true
            }
            Err(_) => false,
        }
    }

    /// Seals and sends a compound that was written by `write`.
    pub fn send_rtcp(&mut self, egress: &mut Egress, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(path) = self.ice.path() else { return };
        let Some(srtp) = self.srtp.as_mut() else { return };
        self.scratch.clear();
        write(&mut self.scratch);
        if self.scratch.is_empty() {
            return;
        }
        if let Ok(sealed) = srtp.outgoing.encrypt_rtcp(&self.scratch) {
            egress.push(&sealed, path);
        }
    }

    /// Timers of DTLS and SCTP, and how long the peer has been silent.
    pub fn tick(&mut self, egress: &mut Egress, now: Instant) {
        if self.dtls.poll_timeout().is_some_and(|at| at <= now)
            && let Err(error) = self.dtls.handle_timeout(now)
        {
            self.flush_dtls(egress);
            self.fail(error.to_string());
            return;
        }
        if self.data.poll_timeout().is_some_and(|at| at <= now) {
            self.data.handle_timeout(now);
        }
        self.after_data(egress, now);
        let silent = self.ice.silent_for(now);
        match self.state {
            State::Connecting if silent > CONNECT_TIMEOUT => self.fail("no connectivity check arrived in time".into()),
            State::Connected if silent > DISCONNECTED_AFTER => {
                self.state = State::Disconnected;
                self.tell(TransportEvent::Disconnected);
            }
            State::Disconnected if silent > FAILED_AFTER => self.fail("the peer has been silent for too long".into()),
            State::Disconnected if silent < DISCONNECTED_AFTER => {
                self.state = State::Connected;
                self.tell(TransportEvent::Recovered);
            }
            _ => {}
        }
    }

    pub fn next_timeout(&self) -> Instant {
        [self.dtls.poll_timeout(), self.data.poll_timeout()]
            .into_iter()
            .flatten()
            .fold(self.next_tick, |soonest, at| soonest.min(at))
    }

    pub fn close(&mut self, egress: &mut Egress, now: Instant) {
        self.dtls.close(now);
        self.flush_dtls(egress);
    }
}

impl PayloadMap {
    pub fn pt(self) -> u8 {
        match self {
            Self::Media { pt } | Self::Red { pt } | Self::Rtx { pt } => pt,
        }
    }
}
