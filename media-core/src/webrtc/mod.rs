//! WebRTC negotiation: session descriptions, and what they make of a room's tracks.
//!
//! [`Peer`] is what signaling holds: one participant's connection or pair of
//! connections. Everything that touches packets runs on the room's shard.

mod codecs;
mod connection;
mod peer;
pub mod sdp;

pub use peer::{Peer, PeerError, PeerEvent, PeerInputs, SdpAnswer, Target, Topology, TrackSettings};
