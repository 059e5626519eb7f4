//! Speaking to cameras.

use super::body::language;
use super::{CameraApi, PreviewRequest, camera_disabled, no_such_camera};
use crate::reason::Language;
use crate::talk::{MAX_TARGETS, TalkError, TalkInfo, TalkWish, TargetState};
use crate::wall::is_of_cameras;
use axum::extract::{Request, State};
use http::{HeaderMap, StatusCode};
use rongtong_media_core::ids::RoomName;
use rongtong_platform::clock::rfc3339;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, invalid_field, said};
use rongtong_platform::web::{Client, Permission, Principal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTalk {
    #[schema(min_items = 1, max_items = 64)]
    cameras: Vec<String>,
    /// A meeting that is to be heard there; without it the caller gets a room to speak in.
    #[schema(max_length = 64)]
    room: Option<String>,
    /// Of GB/T 28181 `broadcast`, `talk` or `talk-tcp`; without it whatever the device takes.
    #[schema(max_length = 16)]
    way: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TalkTargetBody {
    camera: String,
    name: String,
    /// `calling`, `live` (it hears), `ended` or `failed`
    state: &'static str,
    /// By which way it hears.
    way: Option<&'static str>,
    /// A code such as `refused`, `timeout`, `unable`; null unless it failed.
    reason: Option<&'static str>,
    /// At which step of which way it failed, for experts.
    detail: Option<String>,
    /// What to do, in the caller's language.
    advice: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TalkBody {
    id: String,
    /// Where it is spoken.
    room: String,
    /// Who began it.
    by: String,
    began_at: String,
    /// It is over; how it ended is remembered for two minutes.
    over: bool,
    targets: Vec<TalkTargetBody>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TalkBegun {
    #[serde(flatten)]
    talk: TalkBody,
    /// To speak in the talk's own room; null where a meeting is heard.
    token: Option<String>,
    /// WebSocket base, such as `wss://host:port`.
    url: Option<String>,
}

fn body(info: TalkInfo, language: Language) -> TalkBody {
    let targets = info.targets.into_iter().map(|target| {
        let (state, way, failure) = match target.state {
            TargetState::Calling => ("calling", None, None),
            TargetState::Live { way } => ("live", Some(way), None),
            TargetState::Ended => ("ended", None, None),
            TargetState::Failed(failure) => ("failed", None, Some(failure)),
        };
        TalkTargetBody {
            camera: target.camera,
            name: target.name,
            state,
            way,
            reason: failure.as_ref().map(|failure| failure.reason.code()),
            advice: failure.as_ref().map(|failure| failure.reason.advice(language)),
            detail: failure.map(|failure| failure.detail),
        }
    });
    let began = info.began.duration_since(UNIX_EPOCH).unwrap_or_default();
    TalkBody {
        id: info.id,
        room: info.room.to_string(),
        by: info.person_name,
        began_at: rfc3339(began.as_millis() as i64),
        over: info.over,
        targets: targets.collect(),
    }
}

/// Speak to cameras that have a loudspeaker
///
/// The answer has a token for a room in which the caller is alone: publish a microphone there, and it is heard at the
/// devices. Or a meeting is heard there. The devices are called meanwhile; ask for the talk to see which of them hear.
/// It ends by DELETE, when the room is empty for 20 s, or when no device listens any more.
#[utoipa::path(
    post, path = "/talks", tag = "cameras", operation_id = "begin_talk", request_body = NewTalk,
    responses(
        (status = 201, body = TalkBegun),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "code=no_such_camera, no_such_room", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=talk_busy, camera_disabled, unable", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=too_many_talks", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn begin(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    request: Request,
) -> Result<(StatusCode, Json<TalkBegun>), Problem> {
    principal.require(Permission::ManageCameras)?;
    let over_tls = Client::of(request.extensions()).over_tls;
    let headers = request.headers().clone();
    let Json(wanted) = <Json<NewTalk> as axum::extract::FromRequest<_>>::from_request(request, &()).await?;
    let cameras: BTreeSet<String> = wanted.cameras.into_iter().collect();
    if cameras.is_empty() || cameras.len() > MAX_TARGETS {
        let said = said("请选择 1 到 64 路监控。", "Choose 1 to 64 cameras.");
        return Err(invalid_field("cameras", said));
    }
    let meeting = wanted.room.map(RoomName::new);
    if let Some(room) = &meeting {
        principal.require(Permission::ManageRooms)?;
        if is_of_cameras(room) {
            return Err(no_such_room());
        }
    }
    for camera in &cameras {
        let ways = api.cameras.speech_ways(camera).ok_or_else(no_such_camera)?;
        // Of several, those that can be spoken to hear it, and of the others is said why they don't.
        if ways.is_empty() && cameras.len() == 1 {
            return Err(Problem::conflict(said(
                "这路监控的接入方式不支持喊话；支持喊话的接入方式有 GB/T 28181。",
                "The camera can't be spoken to by the way it is reached; devices by GB/T 28181 can.",
            ))
            .code("unable"));
        }
        if let Some(way) = wanted.way.as_deref().filter(|way| !ways.is_empty() && !ways.contains(way)) {
            let said = said(
                format!("没有“{way}”这种方式；可选：{}。", ways.join("、")),
                format!("There is no way \"{way}\"; choose from: {}.", ways.join(", ")),
            );
            return Err(invalid_field("way", said));
        }
    }
    let detail = json!({ "cameras": cameras, "room": meeting.as_ref().map(ToString::to_string), "way": wanted.way });
    let wish = TalkWish {
        person: principal.person_id.clone(),
        person_name: principal.name.clone(),
        cameras,
        meeting,
        way: wanted.way,
    };
    let info = api.cameras.talk(wish).map_err(refused)?;
    api.platform.record(principal.entry("talk.begin", format!("talk:{}", info.id)).detail(detail)).await?;
    let (token, url) = if info.own_room {
        let token = api.minter.speak(PreviewRequest {
            room: &info.room,
            identity: &format!("talk:{}:{:08x}", principal.person_id, rand::random::<u32>()),
            name: &principal.name,
            headers: &headers,
            over_tls,
        })?;
        (Some(token.token), Some(token.url))
    } else {
        (None, None)
    };
    let talk = body(info, language(&headers));
    Ok((StatusCode::CREATED, Json(TalkBegun { talk, token, url })))
}

/// Talks that are under way, and those that ended within two minutes
#[utoipa::path(
    get, path = "/talks", tag = "cameras", operation_id = "list_talks",
    responses(
        (status = 200, body = Vec<TalkBody>),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Json<Vec<TalkBody>>, Problem> {
    principal.require(Permission::ManageCameras)?;
    let language = language(&headers);
    Ok(Json(api.cameras.talks_now().into_iter().map(|info| body(info, language)).collect()))
}

/// How far a talk is
#[utoipa::path(
    get, path = "/talks/{id}", tag = "cameras", operation_id = "get_talk", params(("id" = String, Path)),
    responses(
        (status = 200, body = TalkBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<TalkBody>, Problem> {
    principal.require(Permission::ManageCameras)?;
    let info = api.cameras.talk_info(&id).ok_or_else(no_such_talk)?;
    Ok(Json(body(info, language(&headers))))
}

/// End a talk; who began it and those who manage rooms may
#[utoipa::path(
    delete, path = "/talks/{id}", tag = "cameras", operation_id = "end_talk", params(("id" = String, Path)),
    responses(
        (status = 204),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageCameras)?;
    let info = api.cameras.talk_info(&id).ok_or_else(no_such_talk)?;
    if info.person != principal.person_id {
        principal.require(Permission::ManageRooms)?;
    }
    if !info.over {
        api.cameras.end_talk(&id);
        let detail = json!({ "cameras": info.targets.iter().map(|target| &target.camera).collect::<Vec<_>>() });
        api.platform.record(principal.entry("talk.end", format!("talk:{id}")).detail(detail)).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn refused(error: TalkError) -> Problem {
    match error {
        TalkError::TooMany => {
            Problem::unavailable(said("同时进行的喊话已达上限。", "As many talks are open as can be."))
                .code("too_many_talks")
        }
        TalkError::NoCamera(_) => no_such_camera(),
        TalkError::Disabled(_) => camera_disabled(),
        TalkError::Busy { camera, person } => Problem::conflict(said(
            format!("“{person}”正在对“{camera}”喊话，请稍后再试。"),
            format!("{person} is speaking to {camera}; try again later."),
        ))
        .code("talk_busy"),
        TalkError::NoRoom => no_such_room(),
    }
}

fn no_such_talk() -> Problem {
    Problem::not_found(said("没有这次喊话。", "There is no such talk.")).code("no_such_talk")
}

fn no_such_room() -> Problem {
    Problem::not_found(said("会议没有在进行。", "There is no such meeting, or it is not under way."))
        .code("no_such_room")
}
