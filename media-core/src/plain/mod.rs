//! A peer of plain RTP in a room: how SIP, GB/T 28181 and H.323 bring media in and take it out.
//!
//! One [`PlainPeer`] is one RTP session (one `m=` section): a carrier of its own, at most one track that
//! comes in, and a subscription that goes out for each track sent. Whoever signals gives it the peer's
//! address ([`PlainPeer::set_peer`]) when that is known, and hears by [`TransportEvent`] whether media
//! comes. Dropping it says goodbye (RTCP BYE), takes the track back and returns the ports.

use crate::ids::{ParticipantSid, TrackSid};
use crate::media::{Codec, Keyframes};
use crate::ports::{PortPool, PortsError};
use crate::room::{Room, RoomError, TrackInfo, TrackSpec};
use crate::session::PortKey;
use crate::session::plain::LocalPorts;
pub use crate::session::plain::{RtpPeer, SdesKeys, Trust};
use crate::session::srtp::SuiteError;
use crate::shard::{
    Command, ExtensionIds, Opening, PayloadMap, PeerConfig, ReceiveSection, SendSection, SessionInit, SourceFeed,
    TransportConfig, TransportEvent, TransportInit, TransportKey,
};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// RTCP on a port of its own.
    Udp,
    /// RTP and RTCP on one port (RFC 5761).
    UdpMux,
    /// RFC 4571 frames; the peer connects to us.
    TcpPassive,
    /// RFC 4571 frames; we connect to the peer, once.
    TcpActive(SocketAddr),
}

#[derive(Debug, thiserror::Error)]
pub enum PlainError {
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Ports(#[from] PortsError),
    #[error(transparent)]
    Keys(#[from] SuiteError),
    #[error("payload types are numbers up to 127, and not 64 to 95, which RTCP uses: {0}")]
    PayloadType(u8),
    #[error("the track is {is:?}, and {wanted:?} was agreed")]
    Codec { is: Codec, wanted: Codec },
    #[error("one track already comes in over this session")]
    Receives,
}

/// A track that the peer sends.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub spec: TrackSpec,
    pub payload_type: u8,
    /// The peer repeats what is asked for by generic NACK (RFC 4585 6.2.1).
    pub nack: bool,
    /// It takes picture loss indications. Where not, [`PlainPeer::keyframe_wanted`] says when to ask
    /// for a keyframe by other means (SIP INFO, GB/T 28181 device control).
    pub pli: bool,
}

struct State {
    peer: RtpPeer,
    receive: Option<(Arc<TrackInfo>, ReceiveSection)>,
    send: Vec<(TrackSid, SendSection)>,
}

pub struct PlainPeer {
    room: Arc<Room>,
    participant: ParticipantSid,
    transport: TransportKey,
    /// The port for RTP, or the one at which the peer connects.
    port: Option<u16>,
    has_rtcp: bool,
    ask: Arc<SourceFeed>,
    state: Mutex<State>,
}

fn check_payload_type(payload_type: u8) -> Result<(), PlainError> {
    match payload_type {
        0..=63 | 96..=127 => Ok(()),
        _ => Err(PlainError::PayloadType(payload_type)),
    }
}

impl PlainPeer {
    /// Opens the session's ports. Nothing comes or goes before the peer is known, except that a peer
    /// trusted from anywhere may already send.
    ///
    /// # Errors
    /// When the participant is not in the room, or no port is free.
    pub fn open(
        room: &Arc<Room>,
        participant: &ParticipantSid,
        pool: &Arc<PortPool>,
        carrier: Carrier,
    ) -> Result<(Self, mpsc::UnboundedReceiver<TransportEvent>), PlainError> {
        room.participant_by_sid(participant).ok_or(RoomError::NoParticipant)?;
        let first = PortKey::next();
        let mut openings = Vec::new();
        let (local, port) = match carrier {
            Carrier::Udp | Carrier::UdpMux => {
                let pair = pool.udp(carrier == Carrier::Udp)?;
                let (dual, lease) = (pair.dual, pair.lease);
                let port = lease.port();
                let mut local = LocalPorts::Udp { rtp: first, rtcp: None };
                if let Some(socket) = pair.rtcp {
                    let second = PortKey::next();
                    local = LocalPorts::Udp { rtp: first, rtcp: Some(second) };
                    openings.push((second, Opening::Udp { socket, dual, lease: lease.clone() }));
                }
                openings.push((first, Opening::Udp { socket: pair.rtp, dual, lease }));
                (local, Some(port))
            }
            Carrier::TcpPassive => {
                let (listener, lease) = pool.listener()?;
                let port = lease.port();
                openings.push((first, Opening::Listen { listener, lease }));
                (LocalPorts::Tcp(first), Some(port))
            }
            Carrier::TcpActive(to) => {
                openings.push((first, Opening::Connect { to }));
                (LocalPorts::Tcp(first), None)
            }
        };
        let (transport, shard) = (TransportKey::next(), room.shard());
        let (sender, events) = mpsc::unbounded_channel();
        let session = SessionInit::Rtp(local);
        let init = TransportInit { room: room.key(), participant: participant.clone(), events: sender, session };
        shard.send(Command::AddTransport { key: transport, init });
        for (port, opening) in openings {
            shard.send(Command::OpenPort { port, opening });
        }
        let peer = Self {
            room: room.clone(),
            participant: participant.clone(),
            transport,
            port,
            has_rtcp: carrier == Carrier::Udp,
            ask: Arc::default(),
            state: Mutex::new(State { peer: RtpPeer::default(), receive: None, send: Vec::new() }),
        };
        peer.tell(&peer.state.lock());
        Ok((peer, events))
    }

    /// Our port for RTP, or the one at which the peer connects; none where we connect.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Our port for RTCP where it is another than for RTP.
    pub fn rtcp_port(&self) -> Option<u16> {
        self.port.filter(|_| self.has_rtcp).and_then(|port| port.checked_add(1))
    }

    /// What is now known of the peer.
    ///
    /// # Errors
    /// When a key is not as long as its suite wants it; nothing changes then.
    pub fn set_peer(&self, peer: RtpPeer) -> Result<(), PlainError> {
        if let Some(keys) = &peer.keys {
            keys.check()?;
        }
        let mut state = self.state.lock();
        state.peer = peer;
        self.tell(&state);
        Ok(())
    }

    /// Publishes what the peer sends as a track of the participant.
    ///
    /// # Errors
    /// When the participant may not publish such a source, another track comes in already, or the payload
    /// type is none.
    pub fn receive(&self, incoming: Incoming) -> Result<Arc<TrackInfo>, PlainError> {
        check_payload_type(incoming.payload_type)?;
        let mut state = self.state.lock();
        if state.receive.is_some() {
            return Err(PlainError::Receives);
        }
        let info = self.room.draft(&self.participant, incoming.spec)?;
        let track = self.room.publish_draft(&info, Keyframes::OnRequest, Some(self.ask.clone()))?;
        let section = ReceiveSection {
            mid: "in".into(),
            kind: info.spec.kind,
            track: Some(track),
            payloads: vec![PayloadMap::Media { pt: incoming.payload_type }],
            rids: Vec::new(),
            ssrcs: Vec::new(),
            nack: incoming.nack,
            pli: incoming.pli,
        };
        state.receive = Some((info.clone(), section));
        self.tell(&state);
        Ok(info)
    }

    /// Takes the track that comes in back.
    pub fn stop_receiving(&self) {
        let mut state = self.state.lock();
        if let Some((info, _)) = state.receive.take() {
            self.tell(&state);
            self.room.unpublish(&info.sid);
        }
    }

    /// Waits until somebody needs a keyframe of a peer that takes no picture loss indication; at most
    /// one wake in 500 ms.
    pub async fn keyframe_wanted(&self) {
        self.ask.keyframe.notified().await;
    }

    /// Sends a track to the peer under this payload type, for which `codec` was agreed. Returns the
    /// stream's SSRC. Asked again for the same track, changes its payload type.
    ///
    /// # Errors
    /// As [`Room::subscribe`]; when the track has another codec, or the payload type is none.
    pub fn send(&self, track: &TrackSid, payload_type: u8, codec: Codec) -> Result<u32, PlainError> {
        check_payload_type(payload_type)?;
        let info = self.room.track(track).ok_or(RoomError::NoTrack)?;
        let is = info.spec.codec.codec;
        if is != codec {
            return Err(PlainError::Codec { is, wanted: codec });
        }
        let subscription = self.room.subscribe(&self.participant, track)?;
        let mut state = self.state.lock();
        let known = state.send.iter_mut().find(|(sid, section)| sid == track && section.sub == subscription.sub);
        let ssrc = match known {
            Some((_, section)) => {
                section.pt = payload_type;
                section.ssrc
            }
            None => {
                state.send.retain(|(sid, _)| sid != track);
                let ssrc = rand::random_range(1..u32::MAX);
                let section = SendSection {
                    mid: String::new(),
                    track: subscription.key,
                    sub: subscription.sub,
                    ssrc,
                    // There is none; the number stands for itself alone.
                    rtx_ssrc: ssrc,
                    pt: payload_type,
                    rtx_pt: None,
                    red_pt: None,
                };
                state.send.push((track.clone(), section));
                ssrc
            }
        };
        self.tell(&state);
        Ok(ssrc)
    }

    pub fn stop_sending(&self, track: &TrackSid) {
        let mut state = self.state.lock();
        state.send.retain(|(sid, _)| sid != track);
        self.tell(&state);
        self.room.unsubscribe(&self.participant, track);
    }

    fn tell(&self, state: &State) {
        let config = TransportConfig {
            peer: PeerConfig::Rtp(state.peer.clone()),
            extensions: ExtensionIds::default(),
            receive: state.receive.iter().map(|(_, section)| section.clone()).collect(),
            send: state.send.iter().map(|(_, section)| section.clone()).collect(),
        };
        self.room.shard().send(Command::Configure { key: self.transport, config: Arc::new(config) });
    }
}

impl Drop for PlainPeer {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.room.shard().send(Command::RemoveTransport { key: self.transport });
        if let Some((info, _)) = state.receive.take() {
            self.room.unpublish(&info.sid);
        }
        for (track, _) in state.send.drain(..) {
            self.room.unsubscribe(&self.participant, &track);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
