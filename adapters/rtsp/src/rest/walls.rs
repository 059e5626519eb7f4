//! Walls of pictures: those that were saved, and looking at one.

use super::{CameraApi, PreviewRequest};
use crate::wall::MAX_ON_WALL;
use axum::extract::{Request, State};
use http::StatusCode;
use rongtong_media_core::ids::RoomName;
use rongtong_platform::clock::{now_ms, rfc3339};
use rongtong_platform::identity::Role;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, invalid_field, said};
use rongtong_platform::store::walls::{self, WallRow};
use rongtong_platform::text;
use rongtong_platform::web::{Client, Permission, Principal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// How many pictures a wall may show.
const PANES: [u8; 5] = [1, 4, 9, 16, 25];
/// Cameras that take turns on one pane.
const MAX_TURNS: usize = 64;
/// Walls that one person may save.
const MAX_SAVED: i64 = 100;
/// Walls that a list holds.
const MAX_LISTED: u32 = 1_000;

/// How a picture fits its pane.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fitting {
    /// All of it is seen.
    #[default]
    Fit,
    /// All of the pane is covered.
    Fill,
    /// As many pixels as it has, as far as they are seen.
    Original,
}

/// What is on one pane.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Slot {
    /// None, one, or several that take turns.
    #[serde(default)]
    #[schema(max_items = 64)]
    cameras: Vec<String>,
    /// So long each of several is seen.
    #[serde(default = "Slot::usual_seconds")]
    #[schema(minimum = 5, maximum = 3600)]
    seconds: u16,
    #[serde(default)]
    fit: Fitting,
}

impl Slot {
    fn usual_seconds() -> u16 {
        15
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWall {
    #[schema(max_length = 64)]
    name: String,
    /// 1, 4, 9, 16 or 25
    panes: u8,
    /// One for each pane, row by row; those that are missing are empty.
    #[schema(max_items = 25)]
    slots: Vec<Slot>,
    /// Others see it, too.
    #[serde(default)]
    shared: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct WallBody {
    id: String,
    name: String,
    panes: i64,
    slots: Vec<Slot>,
    shared: bool,
    /// It is the caller's own.
    mine: bool,
    updated_at: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WallCameras {
    /// Those that are seen, and those that are to come next.
    #[schema(max_items = 200)]
    cameras: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct WallView {
    /// The room in which the cameras are, as `camera:<id>`; subscribe to those that are to be seen.
    room: String,
    token: String,
    /// WebSocket base, such as `wss://host:port`.
    url: String,
}

fn body(row: WallRow, principal: &Principal) -> WallBody {
    WallBody {
        id: row.id,
        name: row.name,
        panes: row.panes,
        slots: serde_json::from_str(&row.slots).unwrap_or_default(),
        shared: row.shared,
        mine: row.owner == principal.person_id,
        updated_at: rfc3339(row.updated_at),
    }
}

impl NewWall {
    /// What is stored of it: its name, its slots as JSON.
    fn checked(&self) -> Result<(String, String), Problem> {
        let name = text::label(&self.name, 64).ok_or_else(|| {
            let english = "A name has 1 to 64 characters, something visible among them, and no control characters.";
            invalid_field("name", said("名称为 1 至 64 个字符，须有可见字符，不含控制字符。", english))
        })?;
        if !PANES.contains(&self.panes) {
            let said = said("分屏数为 1、4、9、16 或 25。", "A wall has 1, 4, 9, 16 or 25 panes.");
            return Err(invalid_field("panes", said));
        }
        if self.slots.len() > usize::from(self.panes) {
            return Err(invalid_field("slots", said("窗格多于分屏数。", "There are more slots than panes.")));
        }
        for slot in &self.slots {
            if slot.cameras.len() > MAX_TURNS || slot.cameras.iter().any(|id| id.is_empty() || id.len() > 64) {
                let said = said("每个窗格最多轮询 64 路。", "At most 64 cameras take turns on a pane.");
                return Err(invalid_field("slots", said));
            }
            if !(5..=3_600).contains(&slot.seconds) {
                let said = said("轮询间隔为 5 至 3600 秒。", "Cameras take turns every 5 to 3600 seconds.");
                return Err(invalid_field("slots", said));
            }
        }
        let slots = serde_json::to_string(&self.slots).map_err(Problem::internal)?;
        Ok((name, slots))
    }
}

/// List the walls that the caller saved and those that others share, by name
#[utoipa::path(
    get, path = "/walls", tag = "walls", operation_id = "list_walls",
    responses(
        (status = 200, body = Vec<WallBody>),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
) -> Result<Json<Vec<WallBody>>, Problem> {
    principal.require(Permission::Join)?;
    let rows = walls::list(api.cameras.db(), &principal.person_id, MAX_LISTED).await?;
    Ok(Json(rows.into_iter().map(|row| body(row, &principal)).collect()))
}

/// Save a wall
#[utoipa::path(
    post, path = "/walls", tag = "walls", operation_id = "create_wall", request_body = NewWall,
    responses(
        (status = 201, body = WallBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=too_many_walls", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Json(wall): Json<NewWall>,
) -> Result<(StatusCode, Json<WallBody>), Problem> {
    principal.require(Permission::Join)?;
    let (name, slots) = wall.checked()?;
    if walls::count(api.cameras.db(), &principal.person_id).await? >= MAX_SAVED {
        let said =
            said("每人最多保存 100 面墙，请先删除不用的。", "A person saves at most 100 walls; delete one first.");
        return Err(Problem::conflict(said).code("too_many_walls"));
    }
    let row = WallRow {
        id: Uuid::now_v7().to_string(),
        name,
        panes: wall.panes.into(),
        slots,
        owner: principal.person_id.clone(),
        shared: wall.shared,
        created_at: now_ms(),
        updated_at: now_ms(),
    };
    walls::insert(api.cameras.db(), row.clone()).await?;
    let entry = principal.entry("wall.create", format!("wall:{}", row.id));
    api.platform.record(entry.detail(json!({ "name": row.name, "shared": row.shared }))).await?;
    Ok((StatusCode::CREATED, Json(body(row, &principal))))
}

/// Change a wall; its owner and administrators may
#[utoipa::path(
    put, path = "/walls/{id}", tag = "walls", operation_id = "change_wall", params(("id" = String, Path)), request_body = NewWall,
    responses(
        (status = 200, body = WallBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Path(id): Path<String>,
    Json(wall): Json<NewWall>,
) -> Result<Json<WallBody>, Problem> {
    let known = api.own_wall(&id, &principal).await?;
    let (name, slots) = wall.checked()?;
    let row = WallRow { name, slots, panes: wall.panes.into(), shared: wall.shared, updated_at: now_ms(), ..known };
    if !walls::update(api.cameras.db(), row.clone()).await? {
        return Err(no_such_wall());
    }
    let entry = principal.entry("wall.change", format!("wall:{id}"));
    api.platform.record(entry.detail(json!({ "name": row.name, "shared": row.shared }))).await?;
    Ok(Json(body(row, &principal)))
}

/// Delete a wall; its owner and administrators may
#[utoipa::path(
    delete, path = "/walls/{id}", tag = "walls", operation_id = "delete_wall", params(("id" = String, Path)),
    responses(
        (status = 204),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let known = api.own_wall(&id, &principal).await?;
    if !walls::delete(api.cameras.db(), &id).await? {
        return Err(no_such_wall());
    }
    let entry = principal.entry("wall.delete", format!("wall:{id}"));
    api.platform.record(entry.detail(json!({ "name": known.name }))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Look at cameras side by side: a room with all of them, over one connection
///
/// It ends when nobody is in it, or nobody came within a minute.
#[utoipa::path(
    post, path = "/walls/view", tag = "walls", operation_id = "view_wall", request_body = WallCameras,
    responses(
        (status = 201, body = WallView),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=too_many_views", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn view(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    request: Request,
) -> Result<(StatusCode, Json<WallView>), Problem> {
    principal.require(Permission::Join)?;
    let over_tls = Client::of(request.extensions()).over_tls;
    let headers = request.headers().clone();
    let Json(wanted) = <Json<WallCameras> as axum::extract::FromRequest<_>>::from_request(request, &()).await?;
    let cameras = wanted.checked()?;
    let room = api.cameras.make_wall(&principal.person_id, cameras).ok_or_else(|| {
        Problem::unavailable(said("同时打开的监控墙已达上限。", "As many walls are open as can be."))
            .code("too_many_views")
    })?;
    let token = api.minter.subscribe_only(PreviewRequest {
        room: &room,
        identity: &format!("wall:{}:{:08x}", principal.person_id, rand::random::<u32>()),
        name: &principal.name,
        headers: &headers,
        over_tls,
    })?;
    Ok((StatusCode::CREATED, Json(WallView { room: room.to_string(), token: token.token, url: token.url })))
}

/// Put other cameras on a wall that the caller looks at
#[utoipa::path(
    put, path = "/walls/view/{room}", tag = "walls", operation_id = "change_wall_view", params(("room" = String, Path)),
    request_body = WallCameras,
    responses(
        (status = 204),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change_view(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Path(room): Path<String>,
    Json(wanted): Json<WallCameras>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::Join)?;
    let cameras = wanted.checked()?;
    if !api.cameras.change_wall(&RoomName::new(&room), &principal.person_id, cameras) {
        return Err(no_such_wall());
    }
    Ok(StatusCode::NO_CONTENT)
}

impl WallCameras {
    /// Those that do not exist are simply not there.
    fn checked(self) -> Result<BTreeSet<String>, Problem> {
        let cameras: BTreeSet<String> = self.cameras.into_iter().collect();
        if cameras.len() > MAX_ON_WALL {
            let said = said("一面墙最多 200 路监控。", "A wall has at most 200 cameras.");
            return Err(invalid_field("cameras", said));
        }
        Ok(cameras)
    }
}

impl CameraApi {
    /// A wall that the caller may change.
    async fn own_wall(&self, id: &str, principal: &Principal) -> Result<WallRow, Problem> {
        principal.require(Permission::Join)?;
        let row = walls::get(self.cameras.db(), id).await?;
        let is_admin = principal.role == Role::Admin;
        let seen = row.filter(|row| row.shared || is_admin || row.owner == principal.person_id);
        let row = seen.ok_or_else(no_such_wall)?;
        if row.owner != principal.person_id && !is_admin {
            return Err(Problem::forbidden(said(
                "只有创建者和管理员可以修改这面监控墙。",
                "Only its owner and administrators may change this wall.",
            )));
        }
        Ok(row)
    }
}

fn no_such_wall() -> Problem {
    Problem::not_found(said("没有这面监控墙。", "There is no such wall.")).code("no_such_wall")
}
