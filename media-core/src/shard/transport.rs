//! One connection on its shard, a browser's or one of plain RTP: its session, and the
//! tables that tell which stream is what. Packets go in and come out as bytes;
//! the shard owns the sockets.

use super::config::{
    ExtensionIds, PayloadMap, PeerConfig, SessionInit, TransportConfig, TransportEvent, TransportInit,
};
use super::{RoomKey, SubKey, TrackKey, TransportKey};
use crate::clock::ClockEstimator;
use crate::ids::ParticipantSid;
use crate::rtp::ext;
use crate::rtp::packet::{Extensions, RtpHeader, write_header};
use crate::rtp::rtcp;
use crate::rtp::twcc::TwccReceiver;
use crate::session::Session;
use crate::session::egress::Egress;
use crate::session::plain::PlainRtp;
use crate::session::webrtc::WebRtc;
use foldhash::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Our name in RTCP (RFC 3550 6.5.1): one for all streams of a peer, which so belong together.
pub(super) const CNAME: &str = "rongtong";
/// Streams one peer may have bound at a time. Senders stop naming a stream once they think it known,
/// so that the one to make room for a newer one is whichever has been silent the longest.
const MAX_STREAMS: usize = 256;

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

pub(super) struct Transport {
    pub key: TransportKey,
    pub room: RoomKey,
    pub participant: ParticipantSid,
    /// What we describe the peer knows when we do it: a subscriber connection of a browser, which we offer.
    pub we_offer: bool,
    /// Its own place in the shard's table, and with it in the egress.
    pub slot: usize,
    pub session: Session,
    events: mpsc::UnboundedSender<TransportEvent>,
    pub config: Option<Arc<TransportConfig>>,
    /// Those of `config`.
    extensions: ExtensionIds,
    /// What each payload type of each receive section means.
    meanings: Vec<[Meaning; 128]>,
    routes: HashMap<u32, Bound>,
    /// Packets that were to be routed so far.
    arrivals: u64,
    /// Our media and RTX streams, to find a subscription from a peer's feedback.
    pub outgoing: HashMap<u32, (TrackKey, SubKey)>,
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
    pub dead: bool,
}

impl Transport {
    pub fn new(key: TransportKey, init: TransportInit, ssrc: u32, now: Instant) -> Self {
        let (session, we_offer, pair) = match init.session {
            SessionInit::Rtp(local) => (Session::Rtp(Box::new(PlainRtp::new(local, now))), true, None),
            SessionInit::WebRtc { local_ice, identity, opens_data, data, pair } => {
                let session = WebRtc::new(local_ice, identity, opens_data, data, now);
                (Session::WebRtc(Box::new(session)), opens_data, pair)
            }
        };
        Self {
            key,
            room: init.room,
            participant: init.participant,
            we_offer,
            slot: 0,
            session,
            events: init.events,
            config: None,
            extensions: ExtensionIds::default(),
            meanings: Vec::new(),
            routes: HashMap::default(),
            arrivals: 0,
            outgoing: HashMap::default(),
            twcc: TwccReceiver::default(),
            twcc_media_ssrc: 0,
            ssrc,
            rtt: Duration::from_millis(50),
            measured: false,
            pair,
            next_tick: now,
            scheduled: None,
            next_report: now + Duration::from_secs(1),
            last_quality: now,
            clock: ClockEstimator::default(),
            dead: false,
        }
    }

    /// The session, where it is a browser's.
    pub fn webrtc(&mut self) -> Option<&mut WebRtc> {
        match &mut self.session {
            Session::WebRtc(session) => Some(session),
            Session::Rtp(_) => None,
        }
    }

    /// Whether RTCP must be whole compounds with a name, as RFC 3550 6.1 has it.
    pub fn is_plain(&self) -> bool {
        matches!(self.session, Session::Rtp(_))
    }

    /// Passes on what has become of the session.
    pub fn settle(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.dead |= matches!(event, TransportEvent::Failed(_));
            let _ = self.events.send(event);
        }
    }

    pub fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    pub fn fail(&mut self, why: String) {
        self.session.fail(why);
        self.settle();
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

    /// Takes a new negotiated state. Streams learned by header extensions of
    /// sections that did not change stay bound.
    pub fn configure(&mut self, config: Arc<TransportConfig>, now: Instant) {
        match (&mut self.session, &config.peer) {
            (Session::WebRtc(session), PeerConfig::WebRtc { local_ice, .. }) => {
                session.ice.restart(local_ice.clone());
                session.expect(now);
            }
            (Session::Rtp(session), PeerConfig::Rtp(peer)) => {
                let receive = config.receive.iter().filter(|section| section.track.is_some());
                session.configure(peer, receive.flat_map(|it| &it.payloads).map(|it| it.pt()), now);
            }
            // Whoever made the transport configures it.
            _ => {}
        }
        self.extensions = config.extensions;
        self.meanings = config.receive.iter().map(|section| Meaning::table(&section.payloads)).collect();
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
                let mut fitting = config.receive.iter().enumerate().filter(|(index, section)| {
                    section.track.is_some() && self.meaning(*index, header.payload_type) != Meaning::Unknown
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
        let rtx = repaired.is_some() || self.meaning(section, header.payload_type) == Meaning::Rtx;
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

    /// What a payload type means in a receive section.
    pub fn meaning(&self, section: usize, payload_type: u8) -> Meaning {
        let meaning = self.meanings.get(section).and_then(|table| table.get(usize::from(payload_type)));
        meaning.copied().unwrap_or_default()
    }

    /// The track that a receive section carries.
    pub fn track_of(&self, section: usize) -> Option<TrackKey> {
        self.config.as_ref()?.receive.get(section)?.track
    }

    pub fn extension_ids(&self) -> ExtensionIds {
        self.extensions
    }

    /// Writes a packet where it is sent from, has `patch` change its payload there, and seals it.
    pub fn send_rtp(&self, packet: &Outbound<'_>, patch: impl FnOnce(&mut [u8]), egress: &mut Egress) -> bool {
        let Some(path) = self.session.rtp_path() else { return false };
        egress.write(self.slot, path, |out, start| {
            write_header(out, packet.header, packet.extensions);
            let header = out.len() - start;
            out.extend_from_slice(packet.prefix);
            let payload_at = out.len();
            out.extend_from_slice(packet.payload);
            if let Some(payload) = out.get_mut(payload_at..) {
                patch(payload);
            }
            self.session.seal_rtp(out, start, header, packet.rollover)
        })
    }

    /// Seals and sends a compound that was written by `write`.
    pub fn send_rtcp(&mut self, egress: &mut Egress, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(path) = self.session.rtcp_path() else { return };
        let session = &mut self.session;
        egress.write(self.slot, path, |out, start| {
            write(out);
            out.len() > start && session.seal_rtcp(out, start)
        });
    }

    /// Timers of the session, and how long the peer has been silent.
    pub fn tick(&mut self, egress: &mut Egress, now: Instant) {
        self.session.handle_timeout(self.slot, egress, now);
        self.settle();
    }

    pub fn next_timeout(&self) -> Instant {
        self.session.poll_timeout().map_or(self.next_tick, |at| at.min(self.next_tick))
    }

    /// The next tick is at this moment at the latest; says whether that is sooner than it would have been.
    pub fn tick_by(&mut self, at: Option<Instant>) -> bool {
        let sooner = at.filter(|at| *at < self.next_tick);
        if let Some(at) = sooner {
            self.next_tick = at;
        }
        sooner.is_some()
    }

    pub fn close(&mut self, egress: &mut Egress, now: Instant) {
        if self.is_plain()
            && let Some(config) = self.config.clone()
            && !config.send.is_empty()
        {
            let ours = self.ssrc;
            let streams: Vec<u32> = config.send.iter().map(|section| section.ssrc).take(30).collect();
            self.send_rtcp(egress, |out| {
                rtcp::write_receiver_report(out, ours, &[]);
                rtcp::write_sdes_cname(out, ours, CNAME);
                rtcp::write_bye(out, &streams);
            });
        }
        self.session.close(self.slot, egress, now);
    }
}

/// An RTP packet that is to be written.
pub(super) struct Outbound<'a> {
    pub header: &'a RtpHeader,
    pub rollover: u32,
    pub extensions: &'a [(u8, &'a [u8])],
    /// Stands before the payload and is sealed with it.
    pub prefix: &'a [u8],
    pub payload: &'a [u8],
}

/// What a payload type means in a receive section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing that was agreed: padding probes, or a fault of the peer's.
    #[default]
    Unknown,
    Media,
    /// RFC 2198 around the payload type given.
    Red(u8),
    Rtx,
}

impl Meaning {
    fn table(payloads: &[PayloadMap]) -> [Self; 128] {
        let media = payloads.iter().find_map(|payload| match payload {
            PayloadMap::Media { pt } => Some(*pt),
            _ => None,
        });
        let mut table = [Self::Unknown; 128];
        for payload in payloads.iter().rev() {
            let meaning = match payload {
                PayloadMap::Media { .. } => Self::Media,
                PayloadMap::Red { .. } => media.map_or(Self::Media, Self::Red),
                PayloadMap::Rtx { .. } => Self::Rtx,
            };
            if let Some(entry) = table.get_mut(usize::from(payload.pt())) {
                *entry = meaning;
            }
        }
        table
    }
}

impl PayloadMap {
    pub fn pt(self) -> u8 {
        match self {
            Self::Media { pt } | Self::Red { pt } | Self::Rtx { pt } => pt,
        }
    }
}
