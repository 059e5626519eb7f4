//! What is known of a camera at the moment, as lists and rooms show it.

use crate::plan::{AudioDescription, VideoDescription};
use crate::reason::Failure;
use rongtong_platform::clock::now_ms;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    Connecting,
    Disabled,
    /// Its last attempt failed; the next one comes.
    Failed,
    /// Nobody watches.
    #[default]
    Idle,
    Live,
}

impl CameraState {
    pub const ALL: [Self; 5] = [Self::Connecting, Self::Disabled, Self::Failed, Self::Idle, Self::Live];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
            Self::Idle => "idle",
            Self::Live => "live",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Status {
    pub state: CameraState,
    /// Why it failed last; also while the next attempt runs.
    pub failure: Option<Failure>,
    /// Milliseconds since the Unix epoch.
    pub since: i64,
    /// As last seen; kept while the camera is idle.
    pub video: Option<VideoDescription>,
    pub audio: Option<AudioDescription>,
    /// The field that last changed without a word, and when.
    pub last_break: Option<(&'static str, i64)>,
    /// Rooms the camera is in now.
    pub rooms: Vec<String>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            state: CameraState::Idle,
            failure: None,
            since: now_ms(),
            video: None,
            audio: None,
            last_break: None,
            rooms: Vec::new(),
        }
    }
}

impl Status {
    /// As far as is known: it is shown, or nobody has asked for it.
    pub fn is_to_be_had(&self) -> bool {
        matches!(self.state, CameraState::Idle | CameraState::Live)
    }

    /// The participant's attributes. An empty value deletes its key.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let reason = self.failure.as_ref().map_or("", |failure| failure.reason.code());
        let note = self.video.as_ref().map_or("", |video| video.note.as_str());
        let audio_note = self.audio.as_ref().map_or("", |audio| audio.note.as_str());
        [
            ("rongtong.kind", "camera"),
            ("rongtong.state", self.state.as_str()),
            ("rongtong.reason", reason),
            ("rongtong.video_note", note),
            ("rongtong.audio_note", audio_note),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
    }
}
