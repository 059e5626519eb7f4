//! Recordings as the API shows them.

use crate::service::Recording;
use rongtong_platform::clock::rfc3339;
use rongtong_platform::store::recordings::RecordingTrackRow;
use serde::Serialize;
use utoipa::ToSchema;

/// A recording.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Recording)]
pub struct RecordingBody {
    id: String,
    /// `room` or `camera`
    kind: String,
    /// A room's name or a camera's id.
    subject: String,
    title: String,
    #[schema(format = DateTime)]
    started_at: String,
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    duration_ms: i64,
    bytes: i64,
    /// `recording`, `finished`, or `recovered` when the server went down meanwhile
    state: String,
    /// Why it ended early: `disk_full`, `server_stopped`, `write_failed`; otherwise empty.
    reason: String,
    /// A person's id.
    started_by: String,
    tracks: Vec<RecordingTrackBody>,
}

/// A track of a recording.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecordingTrack)]
pub struct RecordingTrackBody {
    id: String,
    /// An identity.
    participant: String,
    participant_name: String,
    /// `video` or `audio`
    kind: String,
    /// `camera`, `microphone`, `screen_share` or `screen_share_audio`
    source: String,
    /// `h264`, `h265`, `vp8`, `opus`, `aac`, `pcma`, `pcmu`
    codec: String,
    /// Browsers play it; H.265 only some of them.
    playable: bool,
    /// `has_copy` (a copy of it plays in browsers), `export_only`, `h265`, `not_recorded`, or empty.
    note: String,
    /// From the recording's start; a little below 0 when a group of pictures had begun before it.
    start_ms: i64,
    duration_ms: i64,
    bytes: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<i64>,
    /// For a copy in another codec: the track it copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    original_of: Option<String>,
}

impl From<Recording> for RecordingBody {
    fn from(Recording { row, tracks, reason }: Recording) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            subject: row.subject,
            title: row.title,
            started_at: rfc3339(row.started_at),
            ended_at: row.ended_at.map(rfc3339),
            duration_ms: row.duration_ms,
            bytes: row.bytes,
            state: row.state,
            reason,
            started_by: row.started_by,
            tracks: tracks.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<RecordingTrackRow> for RecordingTrackBody {
    fn from(row: RecordingTrackRow) -> Self {
        Self {
            id: row.id,
            participant: row.participant,
            participant_name: row.participant_name,
            kind: row.kind,
            source: row.source,
            codec: row.codec,
            playable: row.playable,
            note: row.note,
            start_ms: row.start_ms,
            duration_ms: row.duration_ms,
            bytes: row.bytes,
            width: row.width,
            height: row.height,
            original_of: row.original_of,
        }
    }
}
