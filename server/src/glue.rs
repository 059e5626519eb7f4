//! What one part needs of another: the crates don't know each other, so the
//! server lends them each other's services.

use axum::http::HeaderMap;
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::room::{CodecPolicy, RoomOptions};
use rongtong_platform::Platform;
use rongtong_platform::config;
use rongtong_platform::problem::{Problem, said};
use rongtong_platform::store::rooms;
use rongtong_recorder::Recorder;
use rongtong_rtsp::is_of_cameras;
use rongtong_rtsp::rest::{CameraRecorder, CameraRecording, PreviewRequest, PreviewToken, TokenMinter};
use rongtong_signaling::token::{self, TokenRequest};
use rongtong_signaling::{RoomEntry, RoomLookup, codec_policy};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Options a room opens with: from its row, or the defaults for a room that a
/// token may open by joining.
pub fn room_lookup(platform: Arc<Platform>) -> RoomLookup {
    Arc::new(move |name: RoomName| {
        let platform = platform.clone();
        Box::pin(async move {
            let media = &platform.config.media;
            let defaults = RoomOptions {
                max_participants: media.max_participants,
                codec_policy: codec_policy(media.codec_policy),
                ..RoomOptions::default()
            };
            if is_of_cameras(&name) {
                return RoomEntry::Known(RoomOptions { codec_policy: CodecPolicy::Any, ..defaults });
            }
            match rooms::get(&platform.db, name.as_str()).await {
                Ok(Some(row)) if row.closed_at.is_none() => {
                    let codec_policy = codec_policy(config::CodecPolicy::of_row(&row.codec_policy));
                    RoomEntry::Known(RoomOptions { title: row.title, codec_policy, ..defaults })
                }
                Ok(Some(_)) => RoomEntry::Absent,
                Ok(None) => RoomEntry::Known(defaults),
                Err(error) => {
                    tracing::error!(%error, "the room's row can't be read");
                    RoomEntry::Unavailable
                }
            }
        })
    })
}

/// Room tokens for camera previews.
pub struct PreviewMinter(pub token::TokenMinter);

impl TokenMinter for PreviewMinter {
    fn subscribe_only(&self, request: PreviewRequest<'_>) -> Result<PreviewToken, Problem> {
        let token = self.0.subscribe_only(wanted(&request));
        Ok(PreviewToken { token, url: websocket_base(request.headers, request.over_tls) })
    }

    fn speak(&self, request: PreviewRequest<'_>) -> Result<PreviewToken, Problem> {
        let token = self.0.speak(wanted(&request));
        Ok(PreviewToken { token, url: websocket_base(request.headers, request.over_tls) })
    }
}

fn wanted<'a>(request: &PreviewRequest<'a>) -> TokenRequest<'a> {
    TokenRequest { room: request.room.as_str(), identity: request.identity, name: request.name }
}

/// `ws(s)://` and the host that the caller used.
fn websocket_base(headers: &HeaderMap, over_tls: bool) -> String {
    let host = headers.get(axum::http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("{}://{host}", if over_tls { "wss" } else { "ws" })
}

/// Records one camera with the recorder.
pub struct RecorderOfCameras(pub Arc<Recorder>);

impl CameraRecorder for RecorderOfCameras {
    fn start(
        &self,
        recording: CameraRecording,
    ) -> Pin<Box<dyn Future<Output = Result<serde_json::Value, Problem>> + Send + '_>> {
        Box::pin(async move {
            let CameraRecording { camera_id, camera_name, hold, by } = recording;
            let started = self.0.start_camera(&camera_id, &camera_name, &by.person_id).await?;
            // The recorder stays in the camera's room by itself from here on.
            drop(hold);
            let body = rongtong_recorder::rest::RecordingBody::from(started);
            serde_json::to_value(body)
                .map_err(|error| Problem::internal(error).detail(said("录像已开始。", "The recording has begun.")))
        })
    }
}
