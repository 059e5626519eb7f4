//! The host's tools: sending somebody away, muting.

use super::Rest;
use axum::extract::State;
use axum::http::StatusCode;
use rongtong_media_core::ids::{Identity, TrackSid};
use rongtong_media_core::room::{Room, RoomError};
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, said};
use rongtong_platform::web::{Permission, Principal};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MuteRequest {
    track_sid: String,
    /// `false` asks the participant to unmute; it decides.
    muted: bool,
}

/// Send a participant away
#[utoipa::path(
    post, path = "/rooms/{name}/participants/{identity}/remove", tag = "rooms", operation_id = "remove_participant",
    params(("name" = String, Path), ("identity" = String, Path)),
    responses(
        (status = 204),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(rest): State<Arc<Rest>>,
    principal: Principal,
    Path((name, identity)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageRooms)?;
    let room = rest.open_room(&name).await?;
    room.remove(&Identity::new(&identity)).map_err(refused)?;
    let entry = principal.entry("participant.remove", format!("room:{name}")).detail(json!({ "identity": identity }));
    rest.platform.record(entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Mute a track, or ask its publisher to unmute it
#[utoipa::path(
    post, path = "/rooms/{name}/participants/{identity}/mute", tag = "rooms", operation_id = "mute_track",
    params(("name" = String, Path), ("identity" = String, Path)), request_body = MuteRequest,
    responses(
        (status = 204),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn mute(
    State(rest): State<Arc<Rest>>,
    principal: Principal,
    Path((name, identity)): Path<(String, String)>,
    Json(request): Json<MuteRequest>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageRooms)?;
    let room = rest.open_room(&name).await?;
    let sid = TrackSid::new(&request.track_sid);
    if room.track(&sid).is_none_or(|track| track.identity.as_str() != identity) {
        return Err(refused(RoomError::NoTrack));
    }
    room.request_mute(&sid, request.muted).map_err(refused)?;
    let entry = principal
        .entry("track.mute", format!("room:{name}"))
        .detail(json!({ "identity": identity, "track": request.track_sid, "muted": request.muted }));
    rest.platform.record(entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Rest {
    /// A room that was made and has somebody in it.
    async fn open_room(&self, name: &str) -> Result<Arc<Room>, Problem> {
        self.row(name).await?;
        self.live(name).ok_or_else(|| refused(RoomError::NoParticipant))
    }
}

fn refused(error: RoomError) -> Problem {
    match error {
        RoomError::NoParticipant => {
            Problem::not_found(said("房间里没有这个参会者。", "There is no such participant in the room."))
                .code("no_such_participant")
        }
        RoomError::NoTrack => {
            Problem::not_found(said("这个参会者没有这路媒体。", "The participant has no such track."))
                .code("no_such_track")
        }
        error => {
            Problem::conflict(said(format!("现在不能这样做：{error}"), format!("That can't be done now: {error}")))
        }
    }
}
