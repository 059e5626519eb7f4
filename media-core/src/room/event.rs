//! What happens in a room, as told to its participants and observers.

use super::subscription::{Subscription, SubscriptionEnd};
use super::{ParticipantInfo, Permission, RoomInfo, TrackInfo};
use crate::ids::{Identity, ParticipantSid, TrackSid};
use crate::leg::LegInfo;
use crate::media::DataKind;
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;

/// Why a participant is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// It said so itself.
    ClientInitiated,
    /// The same identity joined again.
    DuplicateIdentity,
    /// Its signalling was away for longer than the time to come back.
    ConnectionLost,
    /// Its media could not be established.
    MediaFailed,
    /// It could not keep up with the room's events.
    Overrun,
    Removed,
    RoomClosed,
    ServerShutdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    Lost,
    Poor,
    Good,
    Excellent,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Speaker {
    pub sid: ParticipantSid,
    /// 0.0 … 1.0, linear.
    pub level: f32,
    pub active: bool,
}

/// A message from one participant to others.
#[derive(Clone, Debug)]
pub struct DataMessage {
    pub kind: DataKind,
    /// None when the server itself speaks.
    pub from: Option<(ParticipantSid, Identity)>,
    /// Empty means everybody else.
    pub to: Arc<[Identity]>,
    /// The sender's own numbering of its reliable messages, from 1; 0 without.
    pub sequence: u32,
    pub content: DataContent,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataContent {
    /// From one application to the others.
    User(UserMessage),
    /// Between clients of one client protocol (calls, streams, transcripts), encoded as it has it.
    Client(Bytes),
}

/// An application's own message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserMessage {
    pub topic: Option<String>,
    pub id: Option<String>,
    pub payload: Bytes,
    /// Which stretch of media it belongs to, on the sender's clock.
    pub start_time: Option<u64>,
    pub end_time: Option<u64>,
    /// By which receivers know a doubled message.
    pub nonce: Bytes,
}

impl DataContent {
    /// Bytes that it holds.
    pub fn size(&self) -> usize {
        match self {
            Self::User(user) => {
                let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                user.payload.len() + user.nonce.len() + text(&user.topic) + text(&user.id)
            }
            Self::Client(encoded) => encoded.len(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum RoomEvent {
    /// To observers: a leg came, changed its state, or ended.
    Leg(Arc<LegInfo>),
    /// To everybody: the room is gone.
    Closed(LeaveReason),
    /// To the publisher: for the first time somebody subscribed to this track of its own.
    FirstSubscribed(TrackSid),
    /// To the publisher: nobody (`false`) or somebody (`true`) wants these layers, low to high.
    LayersWanted {
        track: TrackSid,
        wanted: [bool; 3],
    },
    /// To one participant: please mute (or unmute, where allowed) this track of yours.
    MuteRequested {
        track: TrackSid,
        muted: bool,
    },
    ParticipantJoined(Arc<ParticipantInfo>),
    ParticipantLeft(Arc<ParticipantInfo>, LeaveReason),
    /// Name, metadata, attributes, permission, state.
    ParticipantUpdated(Arc<ParticipantInfo>),
    /// To one participant: its permission changed.
    PermissionChanged(Permission),
    /// Connection quality of participants, 0.0 … 1.0 beside the word.
    Qualities(Arc<[(ParticipantSid, Quality, f32)]>),
    /// To one participant: it is out.
    Removed(LeaveReason),
    RoomUpdated(Arc<RoomInfo>),
    /// Those whose state changed since the last time.
    Speakers(Arc<[Speaker]>),
    /// To one participant: it asked for this track, might not have it, and may now.
    Subscribable(Arc<TrackInfo>),
    /// To one subscriber: this subscription of its own is over, and not by its own word.
    SubscriptionEnded {
        subscription: Subscription,
        why: SubscriptionEnd,
    },
    TrackPublished(Arc<TrackInfo>),
    TrackUnpublished(Arc<TrackInfo>),
    /// Muted, dimensions, layers, name.
    TrackUpdated(Arc<TrackInfo>),
}
