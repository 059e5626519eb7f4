//! What a room, a participant, a track say about themselves: plain, cloneable values.

use super::Permission;
use crate::ids::{Identity, ParticipantSid, RoomName, RoomSid, TrackSid};
use crate::media::{CodecParams, Kind, Source};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Which video codecs participants may publish. Room systems, cameras and recordings
/// speak H.264, so that is what a room asks for unless told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodecPolicy {
    /// What the publisher announced, of H.264 and VP8.
    Any,
    /// H.264 and nothing else; who cannot is refused with the reason.
    H264,
    /// H.264 where the publisher can, whatever it announced; VP8 where it cannot.
    #[default]
    PreferH264,
}

#[derive(Clone, Debug)]
pub struct RoomOptions {
    /// What people read; the name when empty.
    pub title: String,
    pub codec_policy: CodecPolicy,
    pub max_participants: u32,
    /// Seconds a room without people stays open.
    pub empty_timeout: u32,
    pub metadata: String,
}

impl Default for RoomOptions {
    fn default() -> Self {
        Self {
            title: String::new(),
            codec_policy: CodecPolicy::default(),
            max_participants: 0,
            empty_timeout: 20,
            metadata: String::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct RoomInfo {
    pub sid: RoomSid,
    pub name: RoomName,
    pub title: String,
    pub codec_policy: CodecPolicy,
    pub created_at: SystemTime,
    pub empty_timeout: u32,
    pub max_participants: u32,
    pub metadata: String,
    /// Visible participants.
    pub participants: u32,
    pub publishers: u32,
    pub recording: bool,
    pub layout: Layout,
}

/// How the host arranges the pictures for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub mode: LayoutMode,
    /// Main venue (主会场): shown large whatever else happens.
    pub main: Option<Identity>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutMode {
    /// Each viewer chooses.
    #[default]
    Free,
    Grid1,
    Grid4,
    Grid9,
    Grid16,
    Focus,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantKind {
    /// A person in a browser or an app.
    #[default]
    Person,
    Camera,
    Recorder,
    /// A telephone or a room system.
    Terminal,
    Agent,
}

impl ParticipantKind {
    /// Whether a room stays open for it alone.
    pub fn keeps_room_open(self) -> bool {
        !matches!(self, Self::Camera | Self::Recorder)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantState {
    #[default]
    Joining,
    Joined,
    Active,
    Disconnected,
}

/// A request to come into a room.
#[derive(Clone, Debug, Default)]
pub struct Join {
    pub identity: String,
    pub name: String,
    pub kind: ParticipantKind,
    pub permission: Permission,
    pub metadata: String,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub struct ParticipantInfo {
    pub sid: ParticipantSid,
    pub identity: Identity,
    pub name: String,
    pub kind: ParticipantKind,
    pub state: ParticipantState,
    pub permission: Permission,
    pub metadata: String,
    pub attributes: BTreeMap<String, String>,
    pub joined_at: SystemTime,
    /// Rises with every change.
    pub version: u32,
    pub tracks: Vec<TrackInfo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerQuality {
    Low,
    Medium,
    High,
}

/// One simulcast layer as its publisher announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub quality: LayerQuality,
    pub width: u32,
    pub height: u32,
    /// Bit/s the publisher aims at; 0 when unknown.
    pub bitrate: u32,
}

/// What a participant is about to publish.
#[derive(Clone, Debug)]
pub struct TrackSpec {
    pub kind: Kind,
    pub source: Source,
    pub name: String,
    pub codec: CodecParams,
    pub width: u32,
    pub height: u32,
    pub muted: bool,
    pub layers: Vec<Layer>,
    /// The publisher's own stream label, kept for clients that group by it.
    pub stream: String,
    /// Why some viewers can't see it (`h265`, `b-frames`), empty when all can.
    pub notice: String,
}

impl TrackSpec {
    pub fn new(source: Source, codec: CodecParams) -> Self {
        Self {
            kind: codec.codec.kind(),
            source,
            name: String::new(),
            codec,
            width: 0,
            height: 0,
            muted: false,
            layers: Vec::new(),
            stream: String::new(),
            notice: String::new(),
        }
    }

    /// The layer that a tile of this size has use for: the smallest that covers it. In the order of the
    /// announcement, which is the shard's. A little too small is near enough to the eye.
    pub fn layer_that_covers(&self, width: u32, height: u32) -> u8 {
        let enough = |has: u32, wanted: u32| u64::from(has) * 10 >= u64::from(wanted) * 9;
        let covers = |layer: &Layer| enough(layer.width, width) || enough(layer.height, height);
        self.layers.iter().position(covers).map_or(2, |index| index as u8)
    }
}

#[derive(Clone, Debug)]
pub struct TrackInfo {
    pub sid: TrackSid,
    pub participant: ParticipantSid,
    pub identity: Identity,
    pub spec: TrackSpec,
    pub published_at: SystemTime,
}
