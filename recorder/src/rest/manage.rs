//! List, read, start, stop, delete.

use super::{Api, RecordingBody};
use axum::extract::State;
use http::StatusCode;
use rongtong_media_core::ids::RoomName;
use rongtong_platform::clock::parse_rfc3339;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, Query, invalid_field, said};
use rongtong_platform::rest::{Page, decode_cursor, limit};
use rongtong_platform::store::recordings::RecordingFilter;
use rongtong_platform::store::rooms;
use rongtong_platform::web::{Permission, Principal};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// A room's name.
    room: Option<String>,
    /// A camera's id.
    camera: Option<String>,
    /// RFC 3339: those that ran at or after this time.
    #[param(format = DateTime)]
    from: Option<String>,
    /// RFC 3339: those that began before this time.
    #[param(format = DateTime)]
    to: Option<String>,
    /// A part of the title, the room's name or the camera's id.
    q: Option<String>,
    /// 50 unless told.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// From the page before.
    cursor: Option<String>,
}

/// List recordings, newest first
#[utoipa::path(
    get, path = "/recordings", tag = "recordings", operation_id = "list_recordings", params(ListQuery),
    responses(
        (status = 200, body = Page<RecordingBody>),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    principal: Principal,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<RecordingBody>>, Problem> {
    principal.require(Permission::ManageRecordings)?;
    let limit = limit(query.limit)?;
    let (kind, subject) = match (given(query.room), given(query.camera)) {
        (None, None) => (None, None),
        (Some(room), None) => (Some("room".to_owned()), Some(room)),
        (None, Some(camera)) => (Some("camera".to_owned()), Some(camera)),
        (Some(_), Some(_)) => {
            return Err(invalid_field(
                "camera",
                said("room 与 camera 只能给一个。", "Give a room or a camera, not both."),
            ));
        }
    };
    let filter = RecordingFilter {
        kind,
        subject,
        state: None,
        from: time("from", query.from)?,
        to: time("to", query.to)?,
        text: given(query.q),
        after: decode_cursor(query.cursor.as_deref())?,
    };
    let found = api.recorder.list(&filter, limit + 1).await?;
    let key = |recording: &crate::Recording| (recording.row.started_at, recording.row.id.clone());
    Ok(Json(Page::new(found, limit, key, RecordingBody::from)))
}

/// One recording
#[utoipa::path(
    get, path = "/recordings/{id}", tag = "recordings", operation_id = "read_recording",
    params(("id" = String, Path)),
    responses(
        (status = 200, body = RecordingBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(api): State<Api>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<RecordingBody>, Problem> {
    principal.require(Permission::ManageRecordings)?;
    Ok(Json(api.recorder.get(&id).await?.into()))
}

/// Delete a recording that has ended, with its media
#[utoipa::path(
    delete, path = "/recordings/{id}", tag = "recordings", operation_id = "delete_recording",
    params(("id" = String, Path)),
    responses(
        (status = 204),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(api): State<Api>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageRecordings)?;
    let recording = api.recorder.get(&id).await?;
    let detail = json!({ "title": recording.row.title, "subject": recording.row.subject });
    let entry = principal.entry("recording.delete", format!("recording:{id}")).detail(detail);
    let deleted = api.recorder.delete(&id).await.map_err(Problem::from);
    let result = deleted.as_ref().err().map_or("ok", Problem::code_str).to_owned();
    api.recorder.platform().record(entry.result(result)).await?;
    deleted.map(|()| StatusCode::NO_CONTENT)
}

/// End a running recording; answers when its files are complete
#[utoipa::path(
    post, path = "/recordings/{id}/stop", tag = "recordings", operation_id = "stop_recording",
    params(("id" = String, Path)),
    responses(
        (status = 200, body = RecordingBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn stop(
    State(api): State<Api>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<RecordingBody>, Problem> {
    principal.require(Permission::ManageRecordings)?;
    let recording = api.recorder.stop(&id).await?;
    api.recorder.platform().record(principal.entry("recording.stop", format!("recording:{id}"))).await?;
    Ok(Json(recording.into()))
}

/// Record all tracks of an open room
#[utoipa::path(
    post, path = "/rooms/{name}/recordings", tag = "recordings", operation_id = "record_room",
    params(("name" = String, Path)),
    responses(
        (status = 201, body = RecordingBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 507, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn start_room(
    State(api): State<Api>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<RecordingBody>), Problem> {
    principal.require(Permission::ManageRecordings)?;
    let platform = api.recorder.platform();
    let Some(room) = api.recorder.rooms().find(&RoomName::new(&name)) else {
        return Err(match rooms::get(&platform.db, &name).await? {
            Some(row) if row.closed_at.is_none() => Problem::conflict(said(
                "会议室里还没有人，有人加入后才能录制。",
                "Nobody is in the room yet; it can be recorded when somebody has joined.",
            ))
            .code("room_empty"),
            _ => Problem::not_found(said("没有这个会议室。", "There is no such room.")),
        });
    };
    let recording = api.recorder.start_room(room, &principal.person_id).await?;
    let object = format!("recording:{}", recording.row.id);
    platform.record(principal.entry("recording.start", object).detail(json!({ "room": name }))).await?;
    Ok((StatusCode::CREATED, Json(recording.into())))
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn time(field: &str, text: Option<String>) -> Result<Option<i64>, Problem> {
    let Some(text) = given(text) else { return Ok(None) };
    parse_rfc3339(&text).map(Some).ok_or_else(|| {
        invalid_field(field, said("时间须为 RFC 3339 格式。", "The time must be in the form of RFC 3339."))
    })
}
