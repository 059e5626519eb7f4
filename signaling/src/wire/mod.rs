//! What `media-core` says, written in LiveKit's messages. Pure functions.
//!
//! Messages are those of the `livekit-protocol` crate (`livekit_models.proto`,
//! `livekit_rtc.proto`).

mod audience;
mod data;
mod leave;
mod participant;
mod room;
mod track;

pub use audience::audience;
pub use data::{Said, data_packet, said};
pub use leave::{LeaveAction, disconnect_reason, leave, leave_for};
pub use participant::{departed, participant, permission, quality};
pub use room::{
    JoinView, PING_INTERVAL_S, PING_TIMEOUT_S, enabled_codecs, join_response, reconnect_response, room, server_info,
};
pub use track::{TrackExtras, UnsupportedTrack, announcement, layers_from, subscribed_quality, track};

#[cfg(test)]
mod tests;
