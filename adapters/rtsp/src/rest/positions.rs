//! Where devices are and have been, and what the map lies on.

use super::CameraApi;
use super::alarms::time;
use super::body::{CameraKind, CameraPlace};
use crate::notices::Spot;
use axum::extract::State;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use rongtong_platform::clock::{now_ms, rfc3339};
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, Query, invalid_field, said};
use rongtong_platform::storage::StorageError;
use rongtong_platform::store::cameras::{self as camera_rows, CameraRow};
use rongtong_platform::store::positions as rows;
use rongtong_platform::store::positions::PositionRow;
use rongtong_platform::web::{Permission, Principal};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Cameras that somebody set on the map.
const MAX_CAMERAS: u32 = 50_000;
/// Points of a way that are read, and that are given.
const MAX_READ: u32 = 200_000;
const MAX_POINTS: usize = 2_000;
/// A device that told where it is within this time is here, in ms.
const HERE: i64 = 300_000;
/// The longest way that is asked for, in ms.
const LONGEST: i64 = 31 * 86_400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PlaceOrigin {
    /// The device told.
    Reported,
    /// It stands so in the device's catalog.
    Catalog,
    /// Somebody set it at the camera.
    Set,
}

/// Something that stands or moves on the map.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Place)]
pub(super) struct PlaceBody {
    /// By which way the device is reached, such as `gb28181`; `set` for a camera that somebody set.
    source: String,
    /// For `set` the camera's id.
    device: String,
    channel: Option<String>,
    name: String,
    /// The camera that shows it, if one was added.
    camera_id: Option<String>,
    kind: CameraKind,
    /// Degrees, WGS 84.
    longitude: f64,
    latitude: f64,
    /// Metres.
    altitude: Option<f64>,
    /// km/h
    speed: Option<f64>,
    /// Degrees clockwise from north.
    direction: Option<f64>,
    at: Option<String>,
    origin: PlaceOrigin,
    online: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Places {
    items: Vec<PlaceBody>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TrackPoint {
    at: String,
    longitude: f64,
    latitude: f64,
    altitude: Option<f64>,
    speed: Option<f64>,
    direction: Option<f64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Track {
    items: Vec<TrackPoint>,
    /// There were more points; these are spread evenly.
    thinned: bool,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TrackQuery {
    source: String,
    device: String,
    channel: Option<String>,
    /// RFC 3339; an hour before the end unless told.
    since: Option<String>,
    /// Now unless told.
    until: Option<String>,
}

/// What the map lies on.
#[derive(Serialize, ToSchema)]
pub(super) struct MapBody {
    /// With `{z}`, `{x}` and `{y}`; null: there are none.
    tiles: Option<String>,
    attribution: String,
    longitude: Option<f64>,
    latitude: Option<f64>,
    zoom: Option<u32>,
}

/// `kind` is what the device says; what people say of its camera goes before it.
pub(super) fn of_spot(spot: &Spot, camera: Option<&CameraRow>, now: i64) -> PlaceBody {
    let set = camera.map(|camera| CameraKind::read(&camera.kind)).filter(|kind| *kind != CameraKind::Camera);
    let told = spot.kind.map_or(CameraKind::Handheld, CameraKind::from);
    PlaceBody {
        source: spot.source.to_owned(),
        device: spot.device.clone(),
        channel: spot.channel.clone(),
        name: camera.map_or_else(|| spot.name.clone(), |camera| camera.name.clone()),
        camera_id: camera.map(|camera| camera.id.clone()),
        kind: set.unwrap_or(told),
        longitude: spot.fix.longitude,
        latitude: spot.fix.latitude,
        altitude: spot.fix.altitude,
        speed: spot.fix.speed,
        direction: spot.fix.direction,
        at: Some(rfc3339(spot.measured_at)),
        origin: PlaceOrigin::Reported,
        online: now - spot.measured_at < HERE,
    }
}

impl CameraApi {
    async fn places(&self) -> Result<Vec<PlaceBody>, StorageError> {
        let now = now_ms();
        let cameras = self.notices.cameras().await?;
        let mut shown = HashSet::new();
        let mut places = Vec::new();
        // What a device tells of itself is newer than what stands anywhere.
        for spot in self.notices.spots() {
            let place =
                of_spot(&spot, cameras.showing(&spot.part(), self.cameras.openers().has_picture(&spot.part())), now);
            shown.extend(place.camera_id.clone());
            places.push(place);
        }
        for camera in camera_rows::placed(self.notices.db(), MAX_CAMERAS).await? {
            let Some(CameraPlace { longitude, latitude }) = CameraPlace::read(&camera) else { continue };
            if !shown.insert(camera.id.clone()) {
                continue;
            }
            places.push(PlaceBody {
                source: "set".to_owned(),
                online: self.cameras.status(&camera.id).is_some_and(|status| status.is_to_be_had()),
                kind: CameraKind::read(&camera.kind),
                device: camera.id.clone(),
                channel: None,
                name: camera.name,
                camera_id: Some(camera.id),
                longitude,
                latitude,
                altitude: None,
                speed: None,
                direction: None,
                at: None,
                origin: PlaceOrigin::Set,
            });
        }
        let moving: HashSet<(String, Option<String>)> =
            places.iter().map(|place| (place.device.clone(), place.channel.clone())).collect();
        for place in self.cameras.openers().places() {
            let camera = cameras.of(&place.part);
            let known = moving.contains(&(place.part.device.clone(), place.part.channel.clone()));
            if known || camera.is_some_and(|camera| !shown.insert(camera.id.clone())) {
                continue;
            }
            let set = camera.map(|camera| CameraKind::read(&camera.kind)).filter(|kind| *kind != CameraKind::Camera);
            places.push(PlaceBody {
                source: place.part.scheme.to_owned(),
                device: place.part.device,
                channel: place.part.channel,
                name: camera.map_or(place.name, |camera| camera.name.clone()),
                camera_id: camera.map(|camera| camera.id.clone()),
                kind: set.unwrap_or(place.kind.into()),
                longitude: place.fix.longitude,
                latitude: place.fix.latitude,
                altitude: place.fix.altitude,
                speed: None,
                direction: None,
                at: None,
                origin: PlaceOrigin::Catalog,
                online: place.online,
            });
        }
        Ok(places)
    }
}

/// Where devices are: those that told, those that were set, those of catalogs
#[utoipa::path(
    get, path = "/positions", tag = "map", operation_id = "list_positions",
    responses(
        (status = 200, body = Places),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(api): State<Arc<CameraApi>>, principal: Principal) -> Result<Json<Places>, Problem> {
    principal.require(Permission::Join)?;
    Ok(Json(Places { items: api.places().await? }))
}

/// The way of a device
#[utoipa::path(
    get, path = "/positions/track", tag = "map", operation_id = "read_track", params(TrackQuery),
    responses(
        (status = 200, body = Track),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn track(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Query(query): Query<TrackQuery>,
) -> Result<Json<Track>, Problem> {
    principal.require(Permission::Join)?;
    let until = time("until", query.until.as_deref())?.unwrap_or_else(now_ms);
    let since = time("since", query.since.as_deref())?.unwrap_or(until.saturating_sub(3_600_000));
    if since >= until || until.saturating_sub(since) > LONGEST {
        return Err(invalid_field(
            "since",
            said("时间段须早于终点，最长 31 天。", "The time begins before its end and is at most 31 days long."),
        ));
    }
    let key = (query.source.as_str(), query.device.as_str(), query.channel.as_deref().unwrap_or_default());
    let rows = rows::track(api.notices.db(), key, since, until, MAX_READ).await?;
    let thinned = rows.len() > MAX_POINTS;
    Ok(Json(Track { items: spread(rows, MAX_POINTS).into_iter().map(point).collect(), thinned }))
}

fn point(row: PositionRow) -> TrackPoint {
    TrackPoint {
        at: rfc3339(row.measured_at),
        longitude: row.longitude,
        latitude: row.latitude,
        altitude: row.altitude,
        speed: row.speed,
        direction: row.direction,
    }
}

/// At most so many, evenly, the first and the last among them.
fn spread<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let count = all.len();
    if count <= most || most < 2 {
        return all;
    }
    let mut next = 0;
    let chosen = all.into_iter().enumerate().filter(|(index, _)| {
        let is = *index == next * (count - 1) / (most - 1);
        next += usize::from(is);
        is
    });
    chosen.map(|(_, one)| one).collect()
}

/// What the map lies on
#[utoipa::path(
    get, path = "/map", tag = "map", operation_id = "read_map",
    responses(
        (status = 200, body = MapBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn map(State(api): State<Arc<CameraApi>>, principal: Principal) -> Result<Json<MapBody>, Problem> {
    principal.require(Permission::Join)?;
    let map = &api.platform.config.map;
    let tiles = match map.folder() {
        Some(_) => Some("/api/v1/map/tiles/{z}/{x}/{y}".to_owned()),
        None => Some(map.tiles.clone()).filter(|tiles| !tiles.is_empty()),
    };
    Ok(Json(MapBody {
        tiles,
        attribution: map.attribution.clone(),
        longitude: map.longitude,
        latitude: map.latitude,
        zoom: map.zoom,
    }))
}

/// A tile of the configured folder
#[utoipa::path(
    get, path = "/map/tiles/{z}/{x}/{y}", tag = "map", operation_id = "read_tile",
    params(("z" = u32, Path), ("x" = u32, Path), ("y" = u32, Path)),
    responses(
        (status = 200, content_type = "image/png"),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn tile(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Path((z, x, y)): Path<(u32, u32, u32)>,
) -> Result<([(http::HeaderName, HeaderValue); 2], Vec<u8>), Problem> {
    principal.require(Permission::Join)?;
    let none =
        || Problem::new(StatusCode::NOT_FOUND, "no_such_tile").detail(said("没有这块底图。", "There is no such tile."));
    let folder = api.platform.config.map.folder().ok_or_else(none)?;
    // Numbers alone come into the path.
    for (ending, kind) in [("png", "image/png"), ("jpg", "image/jpeg"), ("webp", "image/webp")] {
        let path = folder.join(format!("{z}/{x}/{y}.{ending}"));
        if let Ok(bytes) = tokio::fs::read(path).await {
            let day = HeaderValue::from_static("private, max-age=86400");
            return Ok(([(CONTENT_TYPE, HeaderValue::from_static(kind)), (CACHE_CONTROL, day)], bytes));
        }
    }
    Err(none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_thinned_evenly_and_keeps_its_ends() {
        let some = spread((0..100_001).collect::<Vec<_>>(), 2_000);
        assert_eq!((some.len(), some[0], some[1_999]), (2_000, 0, 100_000));
        assert!(some.windows(2).all(|pair| (50..=51).contains(&(pair[1] - pair[0]))));
        assert_eq!(spread(vec![1, 2, 3], 3), [1, 2, 3]);
        assert_eq!(spread(vec![1, 2, 3], 2), [1, 3]);
    }
}
