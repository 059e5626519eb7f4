//! What the control side tells a shard about a transport and a track: whole,
//! declarative states that replace the ones before.

use super::{RoomKey, SourceFeed, SubKey, TrackKey, TransportKey};
use crate::clock::DeviceClock;
use crate::ids::ParticipantSid;
use crate::media::{CodecParams, Keyframes, Kind, Source};
use crate::session::dtls::DtlsIdentity;
use crate::session::flow::DataLink;
use crate::session::ice::IceCredentials;
use crate::session::plain::{LocalPorts, RtpPeer};
pub use crate::session::webrtc::SessionEvent as TransportEvent;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Clone)]
pub struct ShardConfig {
    pub name: String,
    /// Port 0 takes a free one.
    pub udp_port: u16,
    /// Passive ICE-TCP; `None` is off.
    pub tcp_port: Option<u16>,
    /// Addresses told to peers as host candidates.
    pub advertise: Vec<IpAddr>,
    pub gop_cache_bytes: usize,
    pub gop_cache_duration: Duration,
    /// The core to run on, where the system has one of that number.
    pub core: Option<usize>,
    /// Called on the shard's thread before anything else.
    pub on_thread: Option<fn()>,
}

/// Header extension ids of a bundle, 0 when not negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    pub abs_send_time: u8,
    pub audio_level: u8,
    pub mid: u8,
    pub playout_delay: u8,
    pub repaired_rid: u8,
    pub rid: u8,
    pub transport_cc: u8,
    pub video_orientation: u8,
}

/// One payload type of a receive section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadMap {
    Media {
        pt: u8,
    },
    /// RFC 2198 around the section's primary codec.
    Red {
        pt: u8,
    },
    Rtx {
        pt: u8,
    },
}

/// A media section in which the peer sends.
#[derive(Clone, Debug)]
pub struct ReceiveSection {
    pub mid: String,
    pub kind: Kind,
    /// None: negotiated but not (any more) bound to a track; packets are dropped.
    pub track: Option<TrackKey>,
    pub payloads: Vec<PayloadMap>,
    /// Simulcast stream names, lowest layer first; empty without simulcast.
    pub rids: Vec<String>,
    /// Streams announced by `a=ssrc`: media and its RTX.
    pub ssrcs: Vec<(u32, Option<u32>)>,
    pub nack: bool,
    /// The peer takes picture loss indications (RFC 4585 6.3.1). Where it does not, whoever signals
    /// asks for keyframes his own way: [`TrackConfig::ask`].
    pub pli: bool,
}

/// A media section in which we send.
#[derive(Clone, Debug)]
pub struct SendSection {
    pub mid: String,
    pub track: TrackKey,
    pub sub: SubKey,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    pub pt: u8,
    pub rtx_pt: Option<u8>,
    pub red_pt: Option<u8>,
}

/// The negotiated state of a transport.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    pub peer: PeerConfig,
    pub extensions: ExtensionIds,
    pub receive: Vec<ReceiveSection>,
    pub send: Vec<SendSection>,
}

/// What of it is the session's.
#[derive(Clone, Debug)]
pub enum PeerConfig {
    Rtp(RtpPeer),
    WebRtc {
        local_ice: IceCredentials,
        /// `a=fingerprint` of the peer, SHA-256.
        fingerprint: String,
    },
}

pub struct TransportInit {
    pub room: RoomKey,
    pub participant: ParticipantSid,
    pub events: mpsc::UnboundedSender<TransportEvent>,
    pub session: SessionInit,
}

/// How a transport's session begins.
pub enum SessionInit {
    /// Over ports that are opened by [`super::Command::OpenPort`].
    Rtp(LocalPorts),
    WebRtc {
        local_ice: IceCredentials,
        identity: Arc<DtlsIdentity>,
        /// We open the data channels (a subscriber connection).
        opens_data: bool,
        data: DataLink,
        /// The other connection of the same participant: what one learns of the way, both know.
        pair: Option<TransportKey>,
    },
}

/// A track as its shard knows it.
#[derive(Clone)]
pub struct TrackConfig {
    /// The room it is in; none of a source that is placed in rooms by [`super::Command::Place`].
    pub room: Option<RoomKey>,
    pub source: Source,
    pub codec: CodecParams,
    /// 1 without simulcast.
    pub layers: usize,
    pub muted: bool,
    pub keyframes: Keyframes,
    /// Present when an adapter feeds the track.
    pub feed: Option<Arc<SourceFeed>>,
    /// The clock of the device behind a fed track, shared by all of its tracks.
    pub device: Arc<DeviceClock>,
    /// Notified for a keyframe where the publisher's connection takes no such request.
    pub ask: Option<Arc<SourceFeed>>,
}
