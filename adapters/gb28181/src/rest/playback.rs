//! What devices have recorded, and playing it.

use super::{Gb28181Api, no_such_channel, not_done, offline};
use crate::id::Code;
use crate::platform::Carriage;
use crate::playback::{MAX_SECONDS, Phase, Playback, PlaybackError, Wanted};
use axum::extract::State;
use http::StatusCode;
use rongtong_platform::clock::{parse_rfc3339, rfc3339};
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, Query, invalid_field, said};
use rongtong_platform::web::{Permission, Principal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Period {
    /// RFC 3339
    from: String,
    /// RFC 3339, at most 31 days later
    to: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeviceRecordings {
    /// By time.
    items: Vec<DeviceRecording>,
    /// The device said all that it has; otherwise some of it did not come.
    complete: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeviceRecording {
    name: String,
    /// Where the device keeps it, in its own words.
    path: String,
    from: String,
    to: String,
    /// `time`, `alarm`, `manual`, or another word of the device; empty where it says nothing.
    kind: String,
    secret: bool,
    bytes: Option<u64>,
}

/// How the media is to come.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CarriageName {
    #[default]
    Udp,
    /// The device connects to the server.
    TcpPassive,
    /// The server connects to the device.
    TcpActive,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPlayback {
    /// RFC 3339
    from: String,
    /// RFC 3339, at most seven days later
    to: String,
    #[serde(default)]
    carriage: CarriageName,
}

/// Each field that is given is done.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaybackOrder {
    paused: Option<bool>,
    /// 0.25, 0.5, 1, 2, 4, 8
    speed: Option<f64>,
    /// Where to go on from, RFC 3339.
    position: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PlaybackBody {
    id: String,
    device: String,
    channel: String,
    name: String,
    from: String,
    to: String,
    /// When something was recorded; what touches is one.
    spans: Vec<SpanBody>,
    /// `opening`, `playing`, `paused`, `ended`.
    state: &'static str,
    /// Of the newest picture.
    position: String,
    /// As it was ordered.
    paused: bool,
    speed: f64,
    /// The device took the order for another speed and goes on at its own.
    speed_ignored: bool,
    /// Why it can't be had now, as with a camera; it is tried again while somebody watches.
    reason: Option<&'static str>,
    /// One line for experts.
    detail: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SpanBody {
    from: String,
    to: String,
}

const SPEEDS: [f64; 6] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

fn moment(field: &str, text: &str) -> Result<i64, Problem> {
    parse_rfc3339(text).map(|ms| ms.div_euclid(1_000)).filter(|second| (0..=4_102_444_800).contains(second)).ok_or_else(
        || {
            let text = "The time must be in the form of RFC 3339, from 1970 to 2099.";
            invalid_field(field, said("时间须为 RFC 3339 格式，在 1970 年至 2099 年之间。", text))
        },
    )
}

fn period(from: &str, to: &str, most_days: i64) -> Result<(i64, i64), Problem> {
    let (begin, end) = (moment("from", from)?, moment("to", to)?);
    if begin >= end || end - begin > most_days * 86_400 {
        let chinese = format!("结束时间须晚于开始时间，且不超过 {most_days} 天。");
        return Err(invalid_field(
            "to",
            said(chinese, format!("The end is after the beginning, by at most {most_days} days.")),
        ));
    }
    Ok((begin, end))
}

/// What a device has recorded of a channel; the device is asked, which takes up to half a minute
#[utoipa::path(
    get, path = "/gb28181/devices/{code}/channels/{channel}/recordings", tag = "gb28181",
    operation_id = "list_gb28181_recordings", params(("code" = String, Path), ("channel" = String, Path), Period),
    responses(
        (status = 200, body = DeviceRecordings),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=device_offline, device_refused", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off, device_silent", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn recordings(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path((code, channel)): Path<(String, String)>,
    Query(query): Query<Period>,
) -> Result<Json<DeviceRecordings>, Problem> {
    principal.require(Permission::ManageRecordings)?;
    let (begin, end) = period(&query.from, &query.to, 31)?;
    let (device, channel, _) = api.channel(&code, &channel)?;
    let found = api.service()?.records(&device, &channel, begin, end).await.map_err(|failure| not_done(&failure))?;
    let items = found.records.into_iter().map(|record| DeviceRecording {
        name: record.name,
        path: record.path,
        from: rfc3339(record.begin * 1_000),
        to: rfc3339(record.end * 1_000),
        kind: record.kind,
        secret: record.secret,
        bytes: record.bytes,
    });
    Ok(Json(DeviceRecordings { items: items.collect(), complete: found.whole }))
}

/// Have a device play what it has recorded; it is watched by `POST /cameras/{id}/preview` with the playback's id
///
/// A playback that nobody watches for a minute is ended.
#[utoipa::path(
    post, path = "/gb28181/devices/{code}/channels/{channel}/playbacks", tag = "gb28181", operation_id = "play_gb28181_recording",
    params(("code" = String, Path), ("channel" = String, Path)), request_body = NewPlayback,
    responses(
        (status = 201, body = PlaybackBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "code=no_such_device, no_such_channel, nothing_recorded", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=device_offline, device_refused", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off, device_silent, too_many_playbacks", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn play(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path((code, channel)): Path<(String, String)>,
    Json(body): Json<NewPlayback>,
) -> Result<(StatusCode, Json<PlaybackBody>), Problem> {
    principal.require(Permission::ManageRecordings)?;
    let (begin, end) = period(&body.from, &body.to, MAX_SECONDS / 86_400)?;
    let (device, channel, name) = api.channel(&code, &channel)?;
    let carriage = match body.carriage {
        CarriageName::Udp => Carriage::Udp,
        CarriageName::TcpPassive => Carriage::TcpPassive,
        CarriageName::TcpActive => Carriage::TcpActive,
    };
    let entry = principal.entry("gb28181.play", format!("gb28181:{device}/{channel}"));
    let wanted = Wanted { device, channel, name, begin, end, carriage };
    let playback = api.playbacks()?.begin(wanted, api.lender.clone()).await.map_err(|error| not_played(&error))?;
    let detail = json!({ "from": body.from, "to": body.to, "playback": playback.id });
    api.platform.record(entry.detail(detail)).await?;
    Ok((StatusCode::CREATED, Json(api.playback_body(&playback))))
}

/// How far a playback is
#[utoipa::path(
    get, path = "/gb28181/playbacks/{id}", tag = "gb28181", operation_id = "read_gb28181_playback", params(("id" = String, Path)),
    responses(
        (status = 200, body = PlaybackBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<PlaybackBody>, Problem> {
    principal.require(Permission::ManageRecordings)?;
    let playback = api.playback(&id)?;
    Ok(Json(api.playback_body(&playback)))
}

/// Pause a playback, let it go on, faster or slower, or from elsewhere
#[utoipa::path(
    patch, path = "/gb28181/playbacks/{id}", tag = "gb28181", operation_id = "steer_gb28181_playback",
    params(("id" = String, Path)), request_body = PlaybackOrder,
    responses(
        (status = 200, body = PlaybackBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn steer(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path(id): Path<String>,
    Json(order): Json<PlaybackOrder>,
) -> Result<Json<PlaybackBody>, Problem> {
    principal.require(Permission::ManageRecordings)?;
    let playback = api.playback(&id)?;
    if order.speed.is_some_and(|speed| !SPEEDS.contains(&speed)) {
        let said = said("倍速为 0.25、0.5、1、2、4 或 8。", "The speed is 0.25, 0.5, 1, 2, 4 or 8.");
        return Err(invalid_field("speed", said));
    }
    let position = order.position.as_deref().map(|text| moment("position", text)).transpose()?;
    let Wanted { begin, end, .. } = playback.wanted;
    if position.is_some_and(|at| !(begin..=end).contains(&at)) {
        let said = said("位置须在回放时段之内。", "The position is within the period that is played.");
        return Err(invalid_field("position", said));
    }
    if let Some(speed) = order.speed {
        playback.set_speed(speed);
    }
    if let Some(paused) = order.paused {
        playback.pause(paused);
    }
    if let Some(position) = position {
        playback.seek(position);
    }
    Ok(Json(api.playback_body(&playback)))
}

/// End a playback
#[utoipa::path(
    delete, path = "/gb28181/playbacks/{id}", tag = "gb28181", operation_id = "end_gb28181_playback", params(("id" = String, Path)),
    responses(
        (status = 204, description = "Ended"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageRecordings)?;
    if api.playbacks()?.end(&id, api.lender.as_ref()) { Ok(StatusCode::NO_CONTENT) } else { Err(no_such_playback()) }
}

impl Gb28181Api {
    /// A device that is here, a channel of it, and what people call that.
    fn channel(&self, code: &str, channel: &str) -> Result<(Code, Code, String), Problem> {
        let known = self.device(code)?;
        let target = Code::new(channel).ok().and_then(|channel| known.channels.get(&channel).cloned());
        let target = target.ok_or_else(no_such_channel)?;
        if !known.device.online {
            return Err(offline());
        }
        let name = if target.name.is_empty() { target.code.to_string() } else { target.name };
        Ok((known.device.code, target.code, name))
    }

    fn playback(&self, id: &str) -> Result<Arc<Playback>, Problem> {
        self.playbacks()?.get(id).ok_or_else(no_such_playback)
    }

    fn playback_body(&self, playback: &Playback) -> PlaybackBody {
        let (wish, progress, wanted) = (playback.wish(), playback.progress(), &playback.wanted);
        let (reason, detail) = self.lender.failure(&playback.id).unzip();
        let span = |(from, to): &(i64, i64)| SpanBody { from: rfc3339(from * 1_000), to: rfc3339(to * 1_000) };
        PlaybackBody {
            id: playback.id.clone(),
            device: wanted.device.to_string(),
            channel: wanted.channel.to_string(),
            name: wanted.name.clone(),
            from: rfc3339(wanted.begin * 1_000),
            to: rfc3339(wanted.end * 1_000),
            spans: playback.spans.iter().map(span).collect(),
            state: match progress.phase {
                Phase::Opening => "opening",
                Phase::Playing => "playing",
                Phase::Paused => "paused",
                Phase::Ended => "ended",
            },
            position: rfc3339(progress.position),
            paused: wish.paused,
            speed: if progress.speed_ignored { progress.speed } else { wish.speed },
            speed_ignored: progress.speed_ignored,
            reason,
            detail,
        }
    }
}

fn no_such_playback() -> Problem {
    Problem::not_found(said("这个回放已结束。", "This playback has ended.")).code("no_such_playback")
}

fn not_played(error: &PlaybackError) -> Problem {
    match error {
        PlaybackError::TooMany => {
            Problem::unavailable(said("同时进行的设备回放已达上限。", "As many recordings are played as can be."))
                .code("too_many_playbacks")
        }
        PlaybackError::Nothing => {
            Problem::not_found(said("设备在该时段没有录像。", "The device has recorded nothing in that period."))
                .code("nothing_recorded")
        }
        PlaybackError::Query(failure) => not_done(failure),
    }
}
