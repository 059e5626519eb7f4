//! Alarms: list, count, see to.

use super::CameraApi;
use super::body::language;
use crate::notices::known_scheme;
use crate::reason::Language;
use axum::extract::State;
use http::HeaderMap;
use rongtong_media_core::device::DevicePart;
use rongtong_platform::clock::{parse_rfc3339, rfc3339};
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, Query, invalid_field, said};
use rongtong_platform::rest::{Page, decode_cursor, limit};
use rongtong_platform::storage::StorageError;
use rongtong_platform::store::alarms::{self as rows, AlarmFilter, AlarmRow};
use rongtong_platform::web::{Permission, Principal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Alarms that are seen to in one call.
const MAX_AT_ONCE: usize = 100;
const MAX_NOTE: usize = 500;

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AlarmState {
    Open,
    Handled,
}

/// Something that a device raised. Equal ones that came close together are one.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Alarm)]
pub(super) struct AlarmBody {
    id: String,
    /// By which way the device is reached: `gb28181`.
    source: String,
    device: String,
    device_name: String,
    /// What of the device raised it; null for the device itself.
    channel: Option<String>,
    channel_name: String,
    /// The camera that shows it, if one was added.
    camera_id: Option<String>,
    camera_name: Option<String>,
    /// 1 is the gravest, 4 the least.
    #[schema(minimum = 1, maximum = 4)]
    level: i64,
    /// `telephone`, `device`, `sms`, `gps`, `video`, `fault` or `other`
    cause: String,
    /// Within its cause, such as `motion` or `intrusion`; `flood` stands for those beyond 30 a minute of one device.
    kind: Option<String>,
    /// The same in the caller's language.
    text: String,
    /// The device's own words.
    description: String,
    /// Degrees, WGS 84.
    longitude: Option<f64>,
    latitude: Option<f64>,
    /// By the device's clock, unless that is a day off.
    at: String,
    received_at: String,
    /// How often it came …
    count: i64,
    /// … and when for the last time.
    last_at: String,
    state: AlarmState,
    /// A name.
    handled_by: Option<String>,
    handled_at: Option<String>,
    note: String,
}

impl AlarmBody {
    fn new(row: AlarmRow, camera: Option<(String, String)>, language: Language) -> Self {
        let (camera_id, camera_name) = camera.unzip();
        Self {
            text: sentence(row.kind.as_deref(), &row.cause, language).to_owned(),
            id: row.id,
            source: row.source,
            device: row.device,
            device_name: row.device_name,
            channel: row.channel,
            channel_name: row.channel_name,
            camera_id,
            camera_name,
            level: row.level,
            cause: row.cause,
            kind: row.kind,
            description: row.description,
            longitude: row.longitude,
            latitude: row.latitude,
            at: rfc3339(row.raised_at),
            received_at: rfc3339(row.received_at),
            count: row.times,
            last_at: rfc3339(row.last_at),
            state: if row.handled { AlarmState::Handled } else { AlarmState::Open },
            handled_by: row.handled_by,
            handled_at: row.handled_at.map(rfc3339),
            note: row.note,
        }
    }
}

/// What it is, in words.
fn sentence(kind: Option<&str>, cause: &str, language: Language) -> &'static str {
    let (chinese, english) = match (kind, cause) {
        (Some("video_lost"), _) => ("视频丢失", "Picture lost"),
        (Some("tampered"), _) => ("设备被拆动", "Device tampered with"),
        (Some("disk_full"), _) => ("存储已满", "Disk full"),
        (Some("too_hot"), _) => ("设备温度过高", "Device too hot"),
        (Some("too_cold"), _) => ("设备温度过低", "Device too cold"),
        (Some("manual"), _) => ("人工报警", "Raised by hand"),
        (Some("motion"), _) => ("移动侦测", "Motion"),
        (Some("object_left"), _) => ("遗留物", "Object left behind"),
        (Some("object_taken"), _) => ("物体被移走", "Object taken away"),
        (Some("line_crossed"), _) => ("越过警戒线", "Line crossed"),
        (Some("intrusion"), _) => ("区域入侵", "Intrusion"),
        (Some("wrong_way"), _) => ("逆行", "Wrong way"),
        (Some("loitering"), _) => ("徘徊", "Loitering"),
        (Some("flow"), _) => ("人车流量异常", "Unusual flow"),
        (Some("density"), _) => ("人员密度过高", "Too many people"),
        (Some("picture_fault"), _) => ("画面异常", "Picture at fault"),
        (Some("fast_motion"), _) => ("快速移动", "Fast motion"),
        (Some("covered"), _) => ("镜头被遮挡", "Lens covered"),
        (Some("disk_fault"), _) => ("硬盘故障", "Disk at fault"),
        (Some("fan_fault"), _) => ("风扇故障", "Fan at fault"),
        (Some("flood"), _) => ("告警过于频繁，其余仅计数", "Too many alarms; the others are only counted"),
        (_, "telephone") => ("电话报警", "Alarm by telephone"),
        (_, "device") => ("设备报警", "Alarm of the device"),
        (_, "sms") => ("短信报警", "Alarm by SMS"),
        (_, "gps") => ("定位报警", "Alarm of the position"),
        (_, "video") => ("视频报警", "Alarm of the picture"),
        (_, "fault") => ("设备故障", "Device at fault"),
        _ => ("其他报警", "Other alarm"),
    };
    match language {
        Language::Chinese => chinese,
        Language::English => english,
    }
}

/// How many wait for somebody.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlarmSummary {
    open: i64,
    /// The open ones of levels 1 to 4.
    #[schema(min_items = 4, max_items = 4)]
    levels: [i64; 4],
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AlarmQuery {
    #[param(inline)]
    state: Option<AlarmState>,
    #[param(minimum = 1, maximum = 4)]
    level: Option<i64>,
    /// Those that this camera shows.
    camera_id: Option<String>,
    device: Option<String>,
    /// When they were received, RFC 3339; the end is outside.
    since: Option<String>,
    until: Option<String>,
    /// 50 unless told.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// From the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Handling {
    #[schema(min_items = 1, max_items = 100)]
    ids: Vec<String>,
    /// What was done.
    #[serde(default)]
    #[schema(max_length = 500)]
    note: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Handled {
    /// Those that nobody had seen to before.
    handled: usize,
}

/// A time of a query.
pub(super) fn time(field: &'static str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    parse_rfc3339(text).map(Some).ok_or_else(|| {
        invalid_field(field, said("时间须为 RFC 3339 格式。", "The time must be in the form of RFC 3339."))
    })
}

fn no_such_alarm() -> Problem {
    Problem::not_found(said("没有这条告警。", "There is no such alarm.")).code("no_such_alarm")
}

fn part(row: &AlarmRow) -> Option<DevicePart> {
    let scheme = known_scheme(&row.source)?;
    Some(DevicePart { scheme, device: row.device.clone(), channel: row.channel.clone() })
}

impl CameraApi {
    /// With the cameras that show them.
    pub(super) async fn alarms(&self, rows: Vec<AlarmRow>, language: Language) -> Result<Vec<AlarmBody>, StorageError> {
        let cameras = self.notices.cameras().await?;
        let body = |row: AlarmRow| {
            let camera = part(&row).and_then(|part| cameras.showing(&part, self.cameras.openers().has_picture(&part)));
            let camera = camera.map(|camera| (camera.id.clone(), camera.name.clone()));
            AlarmBody::new(row, camera, language)
        };
        Ok(rows.into_iter().map(body).collect())
    }
}

/// List alarms, the newest first
#[utoipa::path(
    get, path = "/alarms", tag = "alarms", operation_id = "list_alarms", params(AlarmQuery),
    responses(
        (status = 200, body = Page<AlarmBody>),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    headers: HeaderMap,
    Query(query): Query<AlarmQuery>,
) -> Result<Json<Page<AlarmBody>>, Problem> {
    principal.require(Permission::Join)?;
    let limit = limit(query.limit)?;
    let before: Option<(i64, String)> = decode_cursor(query.cursor.as_deref())?;
    if query.level.is_some_and(|level| !(1..=4).contains(&level)) {
        return Err(invalid_field("level", said("级别为 1 至 4。", "A level is from 1 to 4.")));
    }
    let mut filter = AlarmFilter {
        handled: query.state.map(|state| state == AlarmState::Handled),
        level: query.level,
        device: query.device,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
        ..AlarmFilter::default()
    };
    if let Some(id) = &query.camera_id {
        let camera = api.row(id).await?;
        let address = camera.url.split('?').next().unwrap_or_default();
        let Some((scheme, (device, channel))) =
            address.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('/')?)))
        else {
            return Ok(Json(Page { items: Vec::new(), next_cursor: None }));
        };
        if filter.device.as_deref().is_some_and(|asked| asked != device) {
            return Ok(Json(Page { items: Vec::new(), next_cursor: None }));
        }
        filter.source = Some(scheme.to_owned());
        filter.device = Some(device.to_owned());
        filter.channel = Some(channel.to_owned());
    }
    let before = before.as_ref().map(|(at, id)| (*at, id.as_str()));
    let rows = rows::list(api.notices.db(), &filter, before, limit + 1).await?;
    let page = Page::new(rows, limit, |row| (row.received_at, row.id.clone()), |row| row);
    let items = api.alarms(page.items, language(&headers)).await?;
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// How many alarms are open
#[utoipa::path(
    get, path = "/alarms/summary", tag = "alarms", operation_id = "count_alarms",
    responses(
        (status = 200, body = AlarmSummary),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn summary(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
) -> Result<Json<AlarmSummary>, Problem> {
    principal.require(Permission::Join)?;
    let mut levels = [0; 4];
    for (level, count) in rows::open_by_level(api.notices.db()).await? {
        let index = usize::try_from(level.clamp(1, 4) - 1).unwrap_or_default();
        if let Some(sum) = levels.get_mut(index) {
            *sum += count;
        }
    }
    Ok(Json(AlarmSummary { open: levels.iter().sum(), levels }))
}

/// One alarm
#[utoipa::path(
    get, path = "/alarms/{id}", tag = "alarms", operation_id = "read_alarm", params(("id" = String, Path)),
    responses(
        (status = 200, body = AlarmBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<AlarmBody>, Problem> {
    principal.require(Permission::Join)?;
    let row = rows::get(api.notices.db(), &id).await?.ok_or_else(no_such_alarm)?;
    let body = api.alarms(vec![row], language(&headers)).await?.pop();
    body.map(Json).ok_or_else(|| Problem::internal("an alarm got lost on its way out"))
}

/// Note that somebody saw to alarms; those that somebody had seen to before stay as they are
#[utoipa::path(
    post, path = "/alarms/handle", tag = "alarms", operation_id = "handle_alarms", request_body = Handling,
    responses(
        (status = 200, body = Handled),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Json(body): Json<Handling>,
) -> Result<Json<Handled>, Problem> {
    principal.require(Permission::ManageCameras)?;
    if body.ids.is_empty() || body.ids.len() > MAX_AT_ONCE {
        return Err(invalid_field("ids", said("一次 1 至 100 条告警。", "From 1 to 100 alarms at once.")));
    }
    let note = body.note.trim().to_owned();
    if note.chars().count() > MAX_NOTE || note.chars().any(|c| c.is_control() && c != '\n') {
        return Err(invalid_field(
            "note",
            said("备注最长 500 个字符，不含控制字符。", "A note has at most 500 characters and no control characters."),
        ));
    }
    let changed = api.notices.handle(body.ids, principal.name.clone(), note.clone()).await?;
    for row in &changed {
        let detail = json!({ "device": row.device, "level": row.level, "kind": row.kind, "note": note });
        api.platform.record(principal.entry("alarm.handle", format!("alarm:{}", row.id)).detail(detail)).await?;
    }
    Ok(Json(Handled { handled: changed.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_words_in_both_languages() {
        for kind in [
            "video_lost",
            "tampered",
            "disk_full",
            "too_hot",
            "too_cold",
            "manual",
            "motion",
            "object_left",
            "object_taken",
            "line_crossed",
            "intrusion",
            "wrong_way",
            "loitering",
            "flow",
            "density",
            "picture_fault",
            "fast_motion",
            "covered",
            "disk_fault",
            "fan_fault",
            "flood",
        ] {
            for language in [Language::Chinese, Language::English] {
                assert_ne!(sentence(Some(kind), "other", language), sentence(None, "other", language), "{kind}");
            }
        }
    }
}
