//! Cameras: list, add, read, change, remove.

use super::body::{CameraBody, CameraPatch, CameraPlace, NewCamera, address, bad_address, language, name_form};
use super::{CameraApi, no_such_camera};
use crate::address::{AddressError, CameraUrl, check_credentials};
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use rongtong_platform::clock::now_ms;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, Query, invalid_field, said};
use rongtong_platform::rest::{Page, decode_cursor, limit};
use rongtong_platform::store::cameras::{self, CameraRow, open_withheld, seal_password, seal_withheld};
use rongtong_platform::store::rooms::camera_places;
use rongtong_platform::web::{Permission, Principal};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use utoipa::IntoParams;
use uuid::Uuid;

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

impl CameraApi {
    pub(super) async fn row(&self, id: &str) -> Result<CameraRow, Problem> {
        cameras::get(self.cameras.db(), id).await?.ok_or_else(no_such_camera)
    }

    /// An address of another adapter must be one that it knows.
    fn known_scheme(&self, url: &CameraUrl) -> Result<(), Problem> {
        let Some(scheme) = url.foreign() else { return Ok(()) };
        let tidy = self.cameras.openers().of(scheme).and_then(|opener| opener.tidy(url.as_str()));
        if tidy.is_some() {
            return Ok(());
        }
        Err(invalid_field(
            "url",
            said(
                "此类地址应为 gb28181://设备编码/通道编码（须启用国标接入），或已有推流的 push://编号。",
                "Such an address is gb28181://device/channel, where GB/T 28181 is switched on, or push://id of a push.",
            ),
        ))
    }

    async fn bodies(&self, rows: Vec<CameraRow>, headers: &HeaderMap) -> Result<Vec<CameraBody>, Problem> {
        let places = camera_places(self.cameras.db()).await?;
        let body = |row: CameraRow| {
            let rooms = places.iter().filter(|(_, camera)| *camera == row.id).map(|(room, _)| room.clone()).collect();
            let status = self.cameras.status(&row.id).unwrap_or_default();
            CameraBody::new(row, status, rooms, language(headers))
        };
        Ok(rows.into_iter().map(body).collect())
    }

    async fn body(&self, row: CameraRow, headers: &HeaderMap) -> Result<CameraBody, Problem> {
        self.bodies(vec![row], headers)
            .await?
            .pop()
            .ok_or_else(|| Problem::internal("a camera got lost on its way out"))
    }

    fn seal(&self, id: &str, password: &str) -> Result<Option<String>, Problem> {
        if password.is_empty() {
            return Ok(None);
        }
        seal_password(self.cameras.keys(), id, password).map(Some).map_err(Problem::internal)
    }
}

/// List cameras by name
#[utoipa::path(
    get, path = "/cameras", tag = "cameras", operation_id = "list_cameras", params(ListQuery),
    responses(
        (status = 200, body = Page<CameraBody>),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<CameraBody>>, Problem> {
    principal.require(Permission::Join)?;
    let limit = limit(query.limit)?;
    let after: Option<(String, String)> = decode_cursor(query.cursor.as_deref())?;
    let after = after.as_ref().map(|(name, id)| (name.as_str(), id.as_str()));
    let rows = cameras::list(api.cameras.db(), after, limit + 1).await?;
    let page = Page::new(rows, limit, |row| (row.name.clone(), row.id.clone()), |row| row);
    let items = api.bodies(page.items, &headers).await?;
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Add a camera
#[utoipa::path(
    post, path = "/cameras", tag = "cameras", operation_id = "create_camera", request_body = NewCamera,
    responses(
        (status = 201, body = CameraBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    headers: HeaderMap,
    Json(body): Json<NewCamera>,
) -> Result<(StatusCode, Json<CameraBody>), Problem> {
    principal.require(Permission::ManageCameras)?;
    let (url, credentials) = address(&body.url, body.username.as_deref(), body.password.as_deref(), &[])?;
    api.known_scheme(&url)?;
    let id = Uuid::now_v7().to_string();
    let (username, password) = credentials.map(|given| (given.username, given.password)).unwrap_or_default();
    let now = now_ms();
    let place = body.place.map(CameraPlace::checked).transpose()?;
    let row = CameraRow {
        name: name_form(&body.name)?,
        url: url.as_str().to_owned(),
        secret: api.seal(&id, &password)?,
        url_secret: seal_withheld(api.cameras.keys(), &id, url.withheld()).map_err(Problem::internal)?,
        username,
        transport: body.transport.as_str().to_owned(),
        keep: body.keep,
        disabled: body.disabled,
        kind: body.kind.as_str().to_owned(),
        longitude: place.map(|place| place.longitude),
        latitude: place.map(|place| place.latitude),
        created_at: now,
        updated_at: now,
        id,
    };
    cameras::insert(api.cameras.db(), row.clone()).await?;
    api.cameras.put(&row).await;
    api.notices.look_anew();
    let detail = json!({ "name": row.name, "url": row.url, "transport": row.transport, "keep": row.keep });
    api.platform.record(principal.entry("camera.create", format!("camera:{}", row.id)).detail(detail)).await?;
    Ok((StatusCode::CREATED, Json(api.body(row, &headers).await?)))
}

/// One camera
#[utoipa::path(
    get, path = "/cameras/{id}", tag = "cameras", operation_id = "read_camera", params(("id" = String, Path)),
    responses(
        (status = 200, body = CameraBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<CameraBody>, Problem> {
    principal.require(Permission::Join)?;
    let row = api.row(&id).await?;
    Ok(Json(api.body(row, &headers).await?))
}

/// Change a camera; a running session ends when its address changes
#[utoipa::path(
    patch, path = "/cameras/{id}", tag = "cameras", operation_id = "change_camera",
    params(("id" = String, Path)), request_body = CameraPatch,
    responses(
        (status = 200, body = CameraBody),
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
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(patch): Json<CameraPatch>,
) -> Result<Json<CameraBody>, Problem> {
    principal.require(Permission::ManageCameras)?;
    let before = api.row(&id).await?;
    let detail = json!({
        "name": patch.name, "readdressed": patch.url.is_some(), "credentials": patch.username.is_some() || patch.password.is_some(),
        "transport": patch.transport, "keep": patch.keep, "disabled": patch.disabled, "kind": patch.kind,
        "place": patch.place,
    });
    let row = changed(&api, before, patch)?;
    if !cameras::update(api.cameras.db(), row.clone()).await? {
        return Err(no_such_camera());
    }
    api.cameras.put(&row).await;
    api.notices.look_anew();
    api.platform.record(principal.entry("camera.change", format!("camera:{id}")).detail(detail)).await?;
    Ok(Json(api.body(row, &headers).await?))
}

fn changed(api: &CameraApi, before: CameraRow, patch: CameraPatch) -> Result<CameraRow, Problem> {
    let mut row = before;
    if let Some(name) = &patch.name {
        row.name = name_form(name)?;
    }
    let keys = api.cameras.keys();
    let mut given = None;
    if let Some(text) = &patch.url {
        let known = open_withheld(keys, &row).map_err(Problem::internal)?;
        let host = |text: &str| CameraUrl::parse(text).ok().map(|(url, _)| url.host_port());
        let elsewhere = host(&row.url) != host(text);
        let (url, inside) = address(text, None, None, if elsewhere { &[] } else { &known })?;
        api.known_scheme(&url)?;
        if elsewhere && row.secret.is_some() && patch.password.is_none() && inside.is_none() {
            // Or a stored password could be sent to any host.
            return Err(invalid_field(
                "password",
                said("更换主机时请重新输入密码。", "Give the password again when the host changes."),
            ));
        }
        row.url = url.as_str().to_owned();
        row.url_secret = seal_withheld(keys, &row.id, url.withheld()).map_err(Problem::internal)?;
        given = inside.map(|inside| (inside.username, Some(inside.password)));
    }
    if let Some(username) = patch.username {
        // Empty takes both away; a name that comes with an address goes before the one in it.
        let inside = given.take().and_then(|(_, password)| password);
        given = Some(if username.is_empty() { (username, Some(String::new())) } else { (username, inside) });
    }
    if let Some((username, password)) = given {
        row.username = username;
        if let Some(password) = password {
            check_credentials(&row.username, &password).map_err(bad_address)?;
            row.secret = api.seal(&row.id, &password)?;
        }
    }
    if let Some(password) = patch.password {
        let password = password.unwrap_or_default();
        if row.username.is_empty() && !password.is_empty() {
            return Err(bad_address(AddressError::NoUsername));
        }
        check_credentials(&row.username, &password).map_err(bad_address)?;
        row.secret = api.seal(&row.id, &password)?;
    }
    check_credentials(&row.username, "").map_err(bad_address)?;
    row.transport = patch.transport.map_or(row.transport, |transport| transport.as_str().to_owned());
    row.keep = patch.keep.unwrap_or(row.keep);
    row.disabled = patch.disabled.unwrap_or(row.disabled);
    if let Some(kind) = patch.kind {
        row.kind = kind.as_str().to_owned();
    }
    if let Some(place) = patch.place {
        let place = place.map(CameraPlace::checked).transpose()?;
        row.longitude = place.map(|place| place.longitude);
        row.latitude = place.map(|place| place.latitude);
    }
    row.updated_at = now_ms();
    Ok(row)
}

/// Remove a camera; it leaves its rooms
#[utoipa::path(
    delete, path = "/cameras/{id}", tag = "cameras", operation_id = "remove_camera", params(("id" = String, Path)),
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
    principal.require(Permission::ManageCameras)?;
    let row = api.row(&id).await?;
    cameras::delete(api.cameras.db(), &id).await?;
    api.cameras.remove(&id).await;
    api.notices.look_anew();
    let detail = json!({ "name": row.name, "url": row.url });
    api.platform.record(principal.entry("camera.remove", format!("camera:{id}")).detail(detail)).await?;
    Ok(StatusCode::NO_CONTENT)
}
