//! The system page's numbers, and the gauges of the media plane.

use axum::extract::State;
use rongtong_media_core::room::Rooms;
use rongtong_media_core::shard::ShardStats;
use rongtong_platform::Platform;
use rongtong_platform::problem::{Json, Problem};
use rongtong_platform::web::{Permission, Principal};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub struct SystemState {
    pub platform: Arc<Platform>,
    pub rooms: Arc<Rooms>,
    pub node: String,
}

/// What the server is and does at this moment.
#[derive(Serialize, ToSchema)]
struct SystemBody {
    version: &'static str,
    node: String,
    uptime_s: u64,
    rooms: usize,
    participants: usize,
    tracks: usize,
    #[schema(value_type = Vec<Object>)]
    shards: Vec<ShardStats>,
    storage: Storage,
    indicators: Vec<IndicatorBody>,
}

#[derive(Serialize, ToSchema)]
struct Storage {
    /// Folder of the recordings.
    free_bytes: u64,
    total_bytes: u64,
}

#[derive(Serialize, ToSchema)]
struct IndicatorBody {
    name: String,
    value: f64,
    unit: String,
    help: String,
}

pub fn routes(state: Arc<SystemState>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(read)).with_state(state)
}

/// 系统状态 System state.
#[utoipa::path(get, path = "/system", tag = "system",
    responses((status = 200, body = SystemBody), (status = 401, description = "not signed in"), (status = 403, description = "not allowed")))]
async fn read(State(state): State<Arc<SystemState>>, principal: Principal) -> Result<Json<SystemBody>, Problem> {
    principal.require(Permission::ReadSystem)?;
    let rooms = state.rooms.list();
    let (free_bytes, total_bytes) = disk(&state.platform.config.recordings_dir());
    let indicators = state
        .platform
        .metrics
        .indicators()
        .into_iter()
        .map(|it| IndicatorBody {
            name: it.name.to_string(),
            value: it.value,
            unit: it.unit.to_string(),
            help: it.help.to_string(),
        })
        .collect();
    Ok(Json(SystemBody {
        version: env!("CARGO_PKG_VERSION"),
        node: state.node.clone(),
        uptime_s: state.platform.metrics.uptime_s(),
        participants: rooms.iter().map(|room| room.participants().len()).sum(),
        tracks: rooms.iter().map(|room| room.tracks().len()).sum(),
        rooms: rooms.len(),
        shards: state.rooms.shard_stats().await,
        storage: Storage { free_bytes, total_bytes },
        indicators,
    }))
}

/// Free and total bytes of the file system a path is on.
fn disk(path: &std::path::Path) -> (u64, u64) {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return (0, 0) };
    // SAFETY: the path is a terminated string and the structure is written before it is read.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut stat) != 0 {
            return (0, 0);
        }
        let unit = stat.f_frsize as u64;
        (stat.f_bavail as u64 * unit, stat.f_blocks as u64 * unit)
    }
}
