//! WebRTC peers: ICE-lite, DTLS-SRTP, data channels, session descriptions.
//!
//! [`Peer`] is what signaling holds: one participant's connection or pair of
//! connections. Everything that touches packets runs on the room's shard.

mod codecs;
mod connection;
pub mod data;
pub mod dtls;
pub mod ice;
mod peer;
pub mod sdp;

pub use peer::{Peer, PeerError, PeerEvent, SdpAnswer, Target, Topology, TrackSettings};
