//! Rooms as the API shows them.

use super::Rest;
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::media::{Kind, Source};
use rongtong_media_core::room::{ParticipantInfo, ParticipantKind, Room};
use rongtong_platform::clock::rfc3339;
use rongtong_platform::config::CodecPolicy;
use rongtong_platform::problem::Problem;
use rongtong_platform::store::recordings::{self, RecordingFilter};
use rongtong_platform::store::rooms::RoomRow;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Room)]
pub struct RoomBody {
    pub name: String,
    pub title: String,
    pub codec_policy: CodecPolicy,
    pub created_at: String,
    /// A person's id.
    pub created_by: String,
    /// Visible participants now.
    pub participants: u32,
    /// The recording under way.
    pub recording: Option<RecordingRef>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RecordingRef {
    pub id: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RoomDetail {
    pub name: String,
    pub title: String,
    pub codec_policy: CodecPolicy,
    pub created_at: String,
    pub created_by: String,
    pub participants: Vec<LiveParticipant>,
    pub recording: Option<RecordingRef>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LiveParticipant {
    pub sid: String,
    pub identity: String,
    pub name: String,
    #[schema(value_type = String, example = "person")]
    pub kind: ParticipantKind,
    pub joined_at: String,
    pub tracks: Vec<LiveTrack>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LiveTrack {
    pub sid: String,
    #[schema(value_type = String, example = "video")]
    pub kind: Kind,
    #[schema(value_type = String, example = "camera")]
    pub source: Source,
    pub name: String,
    /// As RTP names it: `H264`, `opus`.
    pub codec: String,
    pub muted: bool,
    /// Pixels; 0 for sound.
    pub width: u32,
    pub height: u32,
    /// Why some viewers can't see it; empty when all can.
    pub notice: String,
}

impl Rest {
    pub(super) fn live(&self, name: &str) -> Option<Arc<Room>> {
        self.signaling.rooms().find(&RoomName::new(name))
    }

    /// Recordings of rooms under way, by room.
    pub(super) async fn recordings(&self, room: Option<&str>) -> Result<HashMap<String, RecordingRef>, Problem> {
        let filter = RecordingFilter {
            kind: Some("room".to_owned()),
            subject: room.map(str::to_owned),
            state: Some("recording".to_owned()),
            ..RecordingFilter::default()
        };
        let rows = recordings::list(&self.platform.db, &filter, 500).await?;
        Ok(rows.into_iter().map(|row| (row.subject, RecordingRef { id: row.id })).collect())
    }

    pub(super) fn body(&self, row: RoomRow, recordings: &HashMap<String, RecordingRef>) -> RoomBody {
        RoomBody {
            participants: self.live(&row.name).map_or(0, |room| room.info().participants),
            recording: recordings.get(&row.name).cloned(),
            codec_policy: CodecPolicy::of_row(&row.codec_policy),
            name: row.name,
            title: row.title,
            created_at: rfc3339(row.created_at),
            created_by: row.created_by,
        }
    }

    pub(super) fn detail(&self, row: RoomRow, recordings: &HashMap<String, RecordingRef>) -> RoomDetail {
        let live = self.live(&row.name).map(|room| room.participants()).unwrap_or_default();
        RoomDetail {
            participants: live.iter().filter(|it| !it.permission.hidden).map(|it| participant(it)).collect(),
            recording: recordings.get(&row.name).cloned(),
            codec_policy: CodecPolicy::of_row(&row.codec_policy),
            name: row.name,
            title: row.title,
            created_at: rfc3339(row.created_at),
            created_by: row.created_by,
        }
    }
}

fn participant(info: &ParticipantInfo) -> LiveParticipant {
    LiveParticipant {
        sid: info.sid.to_string(),
        identity: info.identity.to_string(),
        name: info.name.clone(),
        kind: info.kind,
        joined_at: rfc3339(unix_ms(info.joined_at)),
        tracks: info
            .tracks
            .iter()
            .map(|track| LiveTrack {
                sid: track.sid.to_string(),
                kind: track.spec.kind,
                source: track.spec.source,
                name: track.spec.name.clone(),
                codec: track.spec.codec.codec.rtp_name().to_owned(),
                muted: track.spec.muted,
                width: track.spec.width,
                height: track.spec.height,
                notice: track.spec.notice.clone(),
            })
            .collect(),
    }
}

fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
