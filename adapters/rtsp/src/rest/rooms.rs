//! Cameras in rooms.

use super::{CameraApi, no_such_camera};
use crate::wall::is_of_cameras;
use axum::extract::State;
use http::StatusCode;
use rongtong_media_core::ids::RoomName;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, said};
use rongtong_platform::store::rooms;
use rongtong_platform::web::{Permission, Principal};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BringIn {
    camera_id: String,
}

/// Bring a camera into a room: now if the room is open, and whenever it opens
#[utoipa::path(
    post, path = "/rooms/{name}/cameras", tag = "rooms", operation_id = "bring_camera_into_room",
    params(("name" = String, Path)), request_body = BringIn,
    responses(
        (status = 204),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=camera_disabled", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn bring_in(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Path(name): Path<String>,
    Json(BringIn { camera_id }): Json<BringIn>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageRooms)?;
    let row = api.row(&camera_id).await?;
    if row.disabled {
        return Err(super::camera_disabled());
    }
    let room = RoomName::new(&name);
    let known = rooms::get(api.cameras.db(), &name).await?.is_some() || api.cameras.rooms().find(&room).is_some();
    if !known || is_of_cameras(&room) {
        return Err(no_such_room());
    }
    rooms::add_camera(api.cameras.db(), &name, &camera_id).await?;
    api.cameras.enter_one(&camera_id, &room);
    let detail = json!({ "camera": camera_id });
    api.platform.record(principal.entry("room.camera_in", format!("room:{name}")).detail(detail)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a camera out of a room
#[utoipa::path(
    delete, path = "/rooms/{name}/cameras/{camera_id}", tag = "rooms", operation_id = "take_camera_out_of_room",
    params(("name" = String, Path), ("camera_id" = String, Path)),
    responses(
        (status = 204),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn take_out(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Path((name, camera_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageRooms)?;
    if !rooms::remove_camera(api.cameras.db(), &name, &camera_id).await? {
        return Err(no_such_camera());
    }
    api.cameras.leave_one(&camera_id, &RoomName::new(&name));
    let detail = json!({ "camera": camera_id });
    api.platform.record(principal.entry("room.camera_out", format!("room:{name}")).detail(detail)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_such_room() -> Problem {
    Problem::not_found(said("没有这个会议室。", "There is no such room.")).code("no_such_room")
}
