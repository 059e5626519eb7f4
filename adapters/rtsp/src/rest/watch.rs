//! Trying, previewing and recording a camera.

use super::body::{address, language};
use super::{CameraApi, CameraRecording, PreviewRequest, camera_disabled, no_such_camera};
use crate::plan::{AudioDescription, VideoDescription};
use crate::presence::own_room;
use crate::probe::probe;
use crate::service::HoldError;
use crate::session::{Step, Target, Transport};
use axum::extract::{Request, State};
use http::{HeaderMap, StatusCode};
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, invalid_field, said};
use rongtong_platform::web::{Client, Permission, Principal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestCamera {
    #[schema(max_length = 1000)]
    url: String,
    username: Option<String>,
    password: Option<String>,
    #[serde(default)]
    transport: Transport,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TestResult {
    ok: bool,
    /// In order; the last one is where it failed.
    steps: Vec<Step>,
    video: Option<VideoDescription>,
    audio: Option<AudioDescription>,
    /// A code such as `auth_failed`; null when all went well.
    reason: Option<&'static str>,
    /// What to do, in the caller's language; empty when there is nothing to do.
    advice: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Preview {
    token: String,
    /// WebSocket base, such as `wss://host:port`.
    url: String,
    room: String,
}

/// Try an address step by step, without adding it; takes up to half a minute
#[utoipa::path(
    post, path = "/cameras/test", tag = "cameras", operation_id = "test_camera", request_body = TestCamera,
    responses(
        (status = 200, body = TestResult),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn test(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    headers: HeaderMap,
    Json(body): Json<TestCamera>,
) -> Result<Json<TestResult>, Problem> {
    principal.require(Permission::ManageCameras)?;
    let (url, credentials) = address(&body.url, body.username.as_deref(), body.password.as_deref(), &[])?;
    if url.foreign().is_some() {
        return Err(invalid_field(
            "url",
            said(
                "此类地址由平台管理，请在设备列表中查看其状态。",
                "Addresses of this kind belong to a platform; see its list of devices.",
            ),
        ));
    }
    let detail = json!({ "url": url.as_str() });
    let target = Target { url, credentials, transport: body.transport };
    let limit = api.cameras.config().connect_timeout;
    // In a task of its own, so that a panic on what a stranger sends is this test's failure only.
    let result = tokio::spawn(async move { probe(&target, limit).await }).await.map_err(Problem::internal)?;
    let reason = result.failure.as_ref().map(|failure| failure.reason);
    api.platform.record(principal.entry("camera.test", "camera:").detail(detail)).await?;
    let language = language(&headers);
    let note = result.video.as_ref().map_or("", |video| video.note.as_str());
    let advice = match reason {
        Some(reason) => reason.advice(language).to_owned(),
        None => crate::reason::note_advice(note, language).to_owned(),
    };
    Ok(Json(TestResult {
        ok: reason.is_none(),
        steps: result.steps,
        video: result.video,
        audio: result.audio,
        reason: reason.map(crate::reason::Reason::code),
        advice,
    }))
}

/// A token for the camera's own room, to watch it; the camera is pulled while somebody is there
#[utoipa::path(
    post, path = "/cameras/{id}/preview", tag = "cameras", operation_id = "preview_camera", params(("id" = String, Path)),
    responses(
        (status = 200, body = Preview),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=camera_disabled", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn preview(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Preview>, Problem> {
    principal.require(Permission::Join)?;
    if api.cameras.lent_name(&id).is_some() {
        // What a device has recorded is shown to those who see recordings.
        principal.require(Permission::ManageRecordings)?;
    } else if api.row(&id).await?.disabled {
        return Err(camera_disabled());
    }
    let room = own_room(&id);
    let suffix: u32 = rand::random();
    let token = api.minter.subscribe_only(PreviewRequest {
        room: &room,
        identity: &format!("preview:{}:{suffix:08x}", principal.person_id),
        name: &principal.name,
        headers: request.headers(),
        over_tls: Client::of(request.extensions()).over_tls,
    })?;
    Ok(Json(Preview { token: token.token, url: token.url, room: room.to_string() }))
}

/// Record one camera until the recording is stopped
#[utoipa::path(
    post, path = "/cameras/{id}/recordings", tag = "recordings", operation_id = "record_camera", params(("id" = String, Path)),
    responses(
        (status = 201, description = "The Recording", body = serde_json::Value),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn record(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<serde_json::Value>), Problem> {
    principal.require(Permission::ManageRecordings)?;
    let row = api.row(&id).await?;
    let hold = api.cameras.hold(&id).map_err(|error| match error {
        HoldError::Disabled => camera_disabled(),
        HoldError::NoCamera => no_such_camera(),
        HoldError::Room(_) => {
            Problem::unavailable(said("摄像机的会议室不可用。", "The camera's room is not available."))
        }
    })?;
    let entry = principal.entry("camera.record", format!("camera:{id}"));
    let recording = CameraRecording { camera_id: id, camera_name: row.name, hold, by: principal };
    let started = api.recorder.start(recording).await?;
    api.platform.record(entry).await?;
    Ok((StatusCode::CREATED, Json(started)))
}
