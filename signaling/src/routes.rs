//! `/rtc`, `/rtc/v1` and their `/validate`.
//!
//! Statuses are LiveKit's, because clients decide by them: 401 is final, 404 on
//! `/rtc/v1` makes them fall back to `/rtc`, anything else is tried again. The
//! body is a problem (RFC 9457), which clients show as their error.

use crate::join::{JoinError, JoinParams, RtcQuery};
use crate::session::{self, Attach, Command, Link};
use crate::token::{Admission, TokenError};
use crate::{RoomEntry, Shared};
use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rongtong_media_core::room::{RoomError, RoomOptions};
use rongtong_platform::problem::{Problem, said};
use std::sync::Arc;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/rtc", get(connect_v0).options(preflight))
        .route("/rtc/validate", get(validate_v0).options(preflight))
        .route("/rtc/v1", get(connect_v1).options(preflight))
        .route("/rtc/v1/validate", get(validate_v1).options(preflight))
        .layer(axum::middleware::map_response(any_origin))
        .with_state(shared)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    V0,
    V1,
}

/// Bytes read from a client at once.
const READ_BUFFER: usize = 8 << 10;

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

async fn connect_v0(State(shared): State<Arc<Shared>>, headers: HeaderMap, uri: Uri, upgrade: Upgrade) -> Response {
    connect(shared, Path::V0, headers, uri, upgrade).await
}

async fn connect_v1(State(shared): State<Arc<Shared>>, headers: HeaderMap, uri: Uri, upgrade: Upgrade) -> Response {
    connect(shared, Path::V1, headers, uri, upgrade).await
}

async fn validate_v0(State(shared): State<Arc<Shared>>, headers: HeaderMap, uri: Uri) -> Response {
    validate(shared, Path::V0, headers, uri).await
}

async fn validate_v1(State(shared): State<Arc<Shared>>, headers: HeaderMap, uri: Uri) -> Response {
    validate(shared, Path::V1, headers, uri).await
}

async fn validate(shared: Arc<Shared>, path: Path, headers: HeaderMap, uri: Uri) -> Response {
    match admit(&shared, path, &headers, &uri).await {
        Ok(_) => "success".into_response(),
        Err(refusal) => refuse(&shared, refusal),
    }
}

async fn connect(shared: Arc<Shared>, path: Path, headers: HeaderMap, uri: Uri, upgrade: Upgrade) -> Response {
    let Ok(upgrade) = upgrade else { return refuse(&shared, Refusal::NotWebSocket) };
    let Admitted { admission, params, options } = match admit(&shared, path, &headers, &uri).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(&shared, refusal),
    };
    let limit = shared.limits.message_bytes;
    // A member of a meeting says little; the default of 128 KiB would be most of what one costs.
    let upgrade = upgrade.max_message_size(limit).max_frame_size(limit).read_buffer_size(READ_BUFFER);
    if params.resume.is_some() {
        return upgrade.on_upgrade(move |socket| resume(shared, admission, params, socket));
    }
    match session::open(&shared, admission, params, options) {
        Ok(entrance) => upgrade.on_upgrade(async move |socket| {
            let (id, from_client, outgoing) = entrance.start();
            session::serve(socket, id, from_client, outgoing, &shared.limits, &shared.metrics).await;
        }),
        Err(error) => refuse(&shared, Refusal::Open(error)),
    }
}

/// Gives the socket to the session it belongs to, if that is still here.
async fn resume(shared: Arc<Shared>, admission: Admission, params: JoinParams, socket: axum::extract::ws::WebSocket) {
    let asked = params.resume.and_then(|resume| resume.sid);
    let found = shared.boards.find(&admission.room, &admission.identity);
    let Some(handle) = found.filter(|it| asked.is_none_or(|sid| sid == it.sid)) else {
        shared.metrics.refuse("unknown_session");
        return session::refuse_resume(socket).await;
    };
    let (link, outgoing) = Link::pair();
    let id = link.id;
    let attach = Attach { link, sync_state: params.sync_state, publisher_offer: params.publisher_offer };
    if handle.commands.send(Command::Attach(Box::new(attach))).await.is_err() {
        shared.metrics.refuse("unknown_session");
        return session::refuse_resume(socket).await;
    }
    session::serve(socket, id, handle.from_client, outgoing, &shared.limits, &shared.metrics).await;
}

struct Admitted {
    admission: Admission,
    params: JoinParams,
    options: RoomOptions,
}

enum Refusal {
    BadQuery,
    Join(JoinError),
    Lookup,
    NotGranted,
    NotWebSocket,
    Open(RoomError),
    RoomAbsent,
    Token(TokenError),
}

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Self {
        Self::Join(error)
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

/// The token first; nothing else of the request is decoded before it is good.
async fn admit(shared: &Shared, path: Path, headers: &HeaderMap, uri: &Uri) -> Result<Admitted, Refusal> {
    let Query(query) = Query::<RtcQuery>::try_from_uri(uri).map_err(|_| Refusal::BadQuery)?;
    let grants = match bearer(headers)? {
        Some(token) => shared.keys.verify(token)?,
        None => shared.keys.verify(&query.access_token)?,
    };
    let mut admission = grants.admission(query.room.as_deref())?;
    let mut params = query.params(path == Path::V1)?;
    apply(&mut admission, &mut params)?;
    match (shared.lookup)(admission.room.clone()).await {
        RoomEntry::Absent => Err(Refusal::RoomAbsent),
        RoomEntry::Unavailable => Err(Refusal::Lookup),
        RoomEntry::Known(options) => Ok(Admitted { admission, params, options }),
    }
}

/// What the request adds to the token, where the token allows it.
fn apply(admission: &mut Admission, params: &mut JoinParams) -> Result<(), Refusal> {
    let attributes = std::mem::take(&mut params.attributes);
    let metadata = std::mem::take(&mut params.metadata);
    if (!attributes.is_empty() || !metadata.is_empty()) && !admission.permission.can_update_metadata {
        return Err(Refusal::NotGranted);
    }
    if !metadata.is_empty() {
        admission.metadata = metadata;
    }
    admission.attributes.extend(attributes.into_iter().filter(|(_, value)| !value.is_empty()));
    if let Some(suffix) = &params.publish_as {
        if !admission.permission.can_publish {
            return Err(Refusal::NotGranted);
        }
        let suffix: String = suffix.chars().take(64).collect();
        admission.permission.can_subscribe = false;
        admission.identity = format!("{}#{suffix}", admission.identity).into();
    }
    Ok(())
}

/// `Authorization: Bearer …`; any other scheme is an error, as with LiveKit.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, TokenError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    token.map(Some).ok_or(TokenError::Malformed)
}

fn refuse(shared: &Shared, refusal: Refusal) -> Response {
    let (code, problem) = match refusal {
        Refusal::BadQuery => {
            let detail = said("查询参数无法读取。", "The caller's query string can't be read.");
            ("bad_query", Problem::bad_request(detail))
        }
        Refusal::Join(error) => (error.reason(), Problem::bad_request(said(error.zh(), error.to_string()))),
        Refusal::Lookup => {
            let detail = said("服务器现在无法查找房间。", "The server can't look rooms up now.");
            ("lookup_failed", Problem::unavailable(detail))
        }
        Refusal::NotGranted => {
            let detail = said("令牌不允许这样加入。", "The access token does not grant what the request asks for.");
            ("not_granted", Problem::unauthorized(detail))
        }
        Refusal::NotWebSocket => {
            let detail = said("此地址只接受 WebSocket 连接。", "This address takes WebSocket connections only.");
            ("not_websocket", Problem::not_found(detail))
        }
        Refusal::Open(error) => {
            let detail = said(format!("现在不能进入房间：{error}"), format!("The room can't be entered now: {error}"));
            ("room_unavailable", Problem::unavailable(detail))
        }
        // Clients look for the English words, in whatever language the rest is.
        Refusal::RoomAbsent => {
            let detail = said("没有这个房间（requested room does not exist）。", "requested room does not exist");
            ("no_such_room", Problem::not_found(detail))
        }
        Refusal::Token(error) => {
            let detail = said(error.zh(), error.to_string());
            let problem = if error.is_bad_request() { Problem::bad_request } else { Problem::unauthorized };
            (error.reason(), problem(detail))
        }
    };
    shared.metrics.refuse(code);
    tracing::debug!(code, "connection refused");
    problem.code(code).into_response()
}

async fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

async fn any_origin(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
