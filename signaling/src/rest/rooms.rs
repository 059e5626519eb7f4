//! Making, listing, changing and closing rooms.

use super::body::{RoomBody, RoomDetail};
use super::{Rest, is_of_cameras};
use axum::extract::State;
use axum::http::StatusCode;
use rand::Rng;
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::room::LeaveReason;
use rongtong_platform::clock::now_ms;
use rongtong_platform::config::CodecPolicy;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, Query, invalid_field, said};
use rongtong_platform::rest::{Page, decode_cursor, limit};
use rongtong_platform::store::rooms::{self, RoomRow};
use rongtong_platform::text;
use rongtong_platform::web::{Permission, Principal};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

const MAX_TITLE: usize = 128;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// 50 unless told.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// From the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRoom {
    #[schema(min_length = 1, max_length = 128)]
    title: String,
    /// Letters, digits, `_` and `-`; made up when absent.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    name: Option<String>,
    #[serde(default)]
    codec_policy: CodecPolicy,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoomPatch {
    #[schema(min_length = 1, max_length = 128)]
    title: Option<String>,
    /// Holds from the next time the room opens.
    codec_policy: Option<CodecPolicy>,
}

/// List rooms, newest first
#[utoipa::path(
    get, path = "/rooms", tag = "rooms", operation_id = "list_rooms", params(ListQuery),
    responses(
        (status = 200, body = Page<RoomBody>),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(rest): State<Arc<Rest>>,
    principal: Principal,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<RoomBody>>, Problem> {
    principal.require(Permission::Join)?;
    let limit = limit(query.limit)?;
    let after: Option<(i64, String)> = decode_cursor(query.cursor.as_deref())?;
    let after = after.as_ref().map(|(created_at, name)| (*created_at, name.as_str()));
    let rows = rooms::list(&rest.platform.db, after, limit + 1).await?;
    let recordings = rest.recordings(None).await?;
    Ok(Json(Page::new(rows, limit, |row| (row.created_at, row.name.clone()), |row| rest.body(row, &recordings))))
}

/// Make a room
#[utoipa::path(
    post, path = "/rooms", tag = "rooms", operation_id = "create_room", request_body = NewRoom,
    responses(
        (status = 201, body = RoomBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=room_taken", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(rest): State<Arc<Rest>>,
    principal: Principal,
    Json(new): Json<NewRoom>,
) -> Result<(StatusCode, Json<RoomBody>), Problem> {
    principal.require(Permission::ManageRooms)?;
    let title = title_form(&new.title)?;
    let name = match new.name {
        Some(name) => name,
        None => made_up_name(),
    };
    check_name(&name)?;
    let row = RoomRow {
        name,
        title,
        codec_policy: new.codec_policy.as_str().to_owned(),
        created_at: now_ms(),
        created_by: principal.person_id.clone(),
        closed_at: None,
    };
    rooms::insert(&rest.platform.db, row.clone()).await.map_err(|fault| {
        if fault.is_duplicate() {
            Problem::conflict(said("这个房间名已被使用。", "The room's name is already taken.")).code("room_taken")
        } else {
            fault.into()
        }
    })?;
    let entry = principal
        .entry("room.create", format!("room:{}", row.name))
        .detail(json!({ "codec_policy": row.codec_policy }));
    rest.platform.record(entry).await?;
    Ok((StatusCode::CREATED, Json(rest.body(row, &Default::default()))))
}

/// One room and who is in it
#[utoipa::path(
    get, path = "/rooms/{name}", tag = "rooms", operation_id = "read_room", params(("name" = String, Path)),
    responses(
        (status = 200, body = RoomDetail),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(rest): State<Arc<Rest>>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<Json<RoomDetail>, Problem> {
    principal.require(Permission::Join)?;
    let row = rest.row(&name).await?;
    let recordings = rest.recordings(Some(&name)).await?;
    Ok(Json(rest.detail(row, &recordings)))
}

/// Change title or codec policy
#[utoipa::path(
    patch, path = "/rooms/{name}", tag = "rooms", operation_id = "change_room",
    params(("name" = String, Path)), request_body = RoomPatch,
    responses(
        (status = 200, body = RoomDetail),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    State(rest): State<Arc<Rest>>,
    principal: Principal,
    Path(name): Path<String>,
    Json(patch): Json<RoomPatch>,
) -> Result<Json<RoomDetail>, Problem> {
    principal.require(Permission::ManageRooms)?;
    let mut row = rest.row(&name).await?;
    let detail = json!({ "retitled": patch.title.is_some(), "codec_policy": patch.codec_policy });
    if let Some(title) = patch.title {
        row.title = title_form(&title)?;
    }
    if let Some(policy) = patch.codec_policy {
        row.codec_policy = policy.as_str().to_owned();
    }
    rooms::update(&rest.platform.db, row.clone()).await?;
    if let Some(room) = rest.live(&name) {
        room.set_title(row.title.clone());
    }
    rest.platform.record(principal.entry("room.change", format!("room:{name}")).detail(detail)).await?;
    let recordings = rest.recordings(Some(&name)).await?;
    Ok(Json(rest.detail(row, &recordings)))
}

/// Close a room for good; everybody in it is sent away
#[utoipa::path(
    delete, path = "/rooms/{name}", tag = "rooms", operation_id = "remove_room", params(("name" = String, Path)),
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
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageRooms)?;
    rest.row(&name).await?;
    rooms::delete(&rest.platform.db, &name).await?;
    rest.signaling.rooms().close(&RoomName::new(&name), LeaveReason::RoomClosed);
    rest.platform.record(principal.entry("room.remove", format!("room:{name}"))).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn title_form(title: &str) -> Result<String, Problem> {
    text::label(title, MAX_TITLE).ok_or_else(|| {
        let message = said(
            "标题为 1 至 128 个字符，须有可见字符，不含控制字符。",
            "A title has 1 to 128 characters, something visible among them, and no control characters.",
        );
        invalid_field("title", message)
    })
}

fn check_name(name: &str) -> Result<(), Problem> {
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if fits && !is_of_cameras(name) {
        return Ok(());
    }
    let message = said(
        "房间名为 1 至 64 个字母、数字、下划线或连字符，不能以 cam- 或 wall- 开头。",
        "A room's name has 1 to 64 letters, digits, underscores or hyphens and does not begin with cam- or wall-.",
    );
    Err(invalid_field("name", message))
}

/// `r-` and eight letters or digits.
fn made_up_name() -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    let letters = (0..8).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())] as char);
    "r-".chars().chain(letters).collect()
}
