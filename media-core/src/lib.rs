//! The media plane: rooms and what is in them, RTP, WebRTC sessions, and the
//! shards that forward packets without decoding them.
//!
//! [`room`] is the one API of the house: signaling, adapters and the recorder
//! reach media only through it, and it knows no protocol. [`shard`] is the
//! packet path (one pinned thread a shard, no tokio in it); [`webrtc`] turns a
//! browser into tracks and subscriptions, [`plain`] a peer of plain RTP; [`rtp`] is pure functions and
//! state machines over bytes.

#[cfg(test)]
pub(crate) mod allocations;
pub mod audio;
pub mod clock;
pub mod device;
pub mod ids;
pub mod leg;
pub mod media;
pub mod mpeg;
pub mod plain;
pub mod ports;
pub mod room;
pub mod rtp;
pub mod session;
pub mod shard;
pub mod tap;
pub mod webrtc;
