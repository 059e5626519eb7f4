//! The REST API of recordings. Paths are relative to `/api/v1`.
//!
//! Invariant: watching, downloading, deleting, starting and stopping are in the audit log, under
//! who did it.

mod body;
mod manage;
mod media;
mod range;
mod watched;

use crate::Recorder;
use crate::service::RecordFault;
use rongtong_platform::problem::{Problem, said};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use body::{RecordingBody, RecordingTrackBody};
use watched::Watched;

/// What the handlers share.
#[derive(Clone)]
struct Api {
    recorder: Arc<Recorder>,
    watched: Arc<Watched>,
}

/// The routes, to be nested under `/api/v1`; the platform's `web::stack` must wrap the application.
pub fn routes(recorder: Arc<Recorder>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(manage::list))
        .routes(routes!(manage::read, manage::remove))
        .routes(routes!(manage::stop))
        .routes(routes!(manage::start_room))
        .routes(routes!(media::playlist))
        .routes(routes!(media::media))
        .routes(routes!(media::download))
        .with_state(Api { recorder, watched: Arc::new(Watched::default()) })
}

impl From<RecordFault> for Problem {
    fn from(fault: RecordFault) -> Self {
        match fault {
            RecordFault::DiskFull => Problem::new(http::StatusCode::INSUFFICIENT_STORAGE, "disk_full").detail(said(
                "磁盘空间不足，暂时不能录制。",
                "The disk is nearly full; nothing can be recorded for now.",
            )),
            RecordFault::NotFound => Problem::not_found(said("没有这个录像。", "There is no such recording.")),
            RecordFault::Room(_) => {
                Problem::conflict(said("会议室已关闭。", "The room is closed.")).code("room_closed")
            }
            RecordFault::Running(_) => {
                Problem::conflict(said("正在录制中。", "It is being recorded.")).code("recording_running")
            }
            RecordFault::Storage(fault) => fault.into(),
            RecordFault::File(fault) => Problem::internal(fault),
        }
    }
}
