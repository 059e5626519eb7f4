//! Rooms: participants who publish and subscribe tracks, and what they may do.
//!
//! Everything that meets is a participant: a browser, a camera, a telephone, a
//! recorder. No protocol is named here. The control side (this module) is
//! ordinary locked state that changes a few times a second; the packets live in
//! [`crate::shard`] and the two talk by commands and events.
//!
//! Invariant: every change of a room's state is told, in order, to every
//! participant and observer of that room before the call that made it returns.

mod event;
mod inbox;
mod info;
mod permission;
mod publish;
mod registry;
#[allow(clippy::module_inception)]
mod room;
mod source;
mod subscription;
mod tap;
mod tell;
#[cfg(test)]
mod tests;

pub use crate::media::{DataKind, Keyframes, SourcePacket};
pub use crate::tap::{Discontinuity, GapCause, LayerWish, TapItem, Wish};
pub use event::{DataContent, DataMessage, LeaveReason, Quality, RoomEvent, Speaker, UserMessage};
pub use inbox::DataReceiver;
pub use info::{
    CodecPolicy, Join, Layer, LayerQuality, Layout, LayoutMode, ParticipantInfo, ParticipantKind, ParticipantState,
    RoomInfo, RoomOptions, TrackInfo, TrackSpec,
};
pub use permission::Permission;
pub use registry::{Rooms, RoomsEvent};
pub use room::{Membership, ParticipantChange, Room, RoomError, RoomHold};
pub use source::{Feeder, Publication, SourceTap, StreamSource, TrackSource};
pub use subscription::{Audience, Holder, Listed, Listener, MAX_SUBSCRIPTIONS, Subscription, SubscriptionEnd, Tracks};
pub use tap::Tap;
