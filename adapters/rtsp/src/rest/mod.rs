//! The cameras' part of the REST API. Paths are relative to `/api/v1`.
//!
//! Invariants: no answer carries a camera's password, nor a URL with credentials;
//! whatever changes something is in the audit log.

mod alarms;
mod body;
mod cameras;
mod events;
mod positions;
mod rooms;
mod talks;
mod walls;
mod watch;

use crate::notices::Notices;
use crate::service::{Cameras, Hold};
use http::HeaderMap;
use rongtong_media_core::ids::RoomName;
use rongtong_platform::Platform;
use rongtong_platform::problem::{Problem, said};
use rongtong_platform::web::Principal;
use std::pin::Pin;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use body::CameraBody;

/// Who wants to watch a room, and by which request.
pub struct PreviewRequest<'a> {
    pub room: &'a RoomName,
    /// Unique, so that two previews of one person don't throw each other out.
    pub identity: &'a str,
    pub name: &'a str,
    /// For the host name in the answer's URL.
    pub headers: &'a HeaderMap,
    pub over_tls: bool,
}

/// A room token that may watch and nothing else.
pub struct PreviewToken {
    pub token: String,
    /// WebSocket base, such as `wss://host:port`.
    pub url: String,
}

/// Makes room tokens; the server passes signaling's.
pub trait TokenMinter: Send + Sync {
    fn subscribe_only(&self, request: PreviewRequest<'_>) -> Result<PreviewToken, Problem>;

    /// One that may publish a microphone.
    fn speak(&self, request: PreviewRequest<'_>) -> Result<PreviewToken, Problem>;
}

/// A recording of one camera that is to begin.
pub struct CameraRecording {
    pub camera_id: String,
    pub camera_name: String,
    /// To be kept until the recording ends; it names the room to record.
    pub hold: Hold,
    pub by: Principal,
}

/// Records cameras; the server passes the recorder's. Answers with the Recording as JSON.
pub trait CameraRecorder: Send + Sync {
    fn start(
        &self,
        recording: CameraRecording,
    ) -> Pin<Box<dyn Future<Output = Result<serde_json::Value, Problem>> + Send + '_>>;
}

/// What the handlers share.
pub struct CameraApi {
    pub platform: Arc<Platform>,
    pub cameras: Arc<Cameras>,
    pub notices: Arc<Notices>,
    pub minter: Arc<dyn TokenMinter>,
    pub recorder: Arc<dyn CameraRecorder>,
}

/// The routes, to be nested under `/api/v1`.
pub fn routes(api: Arc<CameraApi>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(cameras::list, cameras::create))
        .routes(routes!(watch::test))
        .routes(routes!(cameras::read, cameras::change, cameras::remove))
        .routes(routes!(watch::preview))
        .routes(routes!(watch::record))
        .routes(routes!(rooms::bring_in))
        .routes(routes!(rooms::take_out))
        .routes(routes!(talks::list, talks::begin))
        .routes(routes!(talks::read, talks::end))
        .routes(routes!(alarms::list))
        .routes(routes!(alarms::summary))
        .routes(routes!(alarms::handle))
        .routes(routes!(alarms::read))
        .routes(routes!(events::listen))
        .routes(routes!(positions::list))
        .routes(routes!(positions::track))
        .routes(routes!(positions::map))
        .routes(routes!(positions::tile))
        .routes(routes!(walls::list, walls::create))
        .routes(routes!(walls::change, walls::remove))
        .routes(routes!(walls::view))
        .routes(routes!(walls::change_view))
        .with_state(api)
}

fn no_such_camera() -> Problem {
    Problem::not_found(said("没有这个摄像机。", "There is no such camera.")).code("no_such_camera")
}

fn camera_disabled() -> Problem {
    Problem::conflict(said("摄像机已停用。", "The camera is disabled.")).code("camera_disabled")
}
