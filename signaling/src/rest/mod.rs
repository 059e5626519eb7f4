//! Rooms over REST: making, reading, changing and closing them, tickets into
//! them, and the host's tools. Paths are relative to `/api/v1`.
//!
//! Rooms that were made have a row; what goes on in them is asked of
//! `media-core`. Rooms of cameras (`cam-…`) belong to the cameras and are not
//! found here. Invariant: whatever changes something is in the audit log.

mod body;
mod host;
mod lookup;
mod rooms;
mod ticket;

use crate::Signaling;
use rongtong_platform::Platform;
use rongtong_platform::problem::{Problem, said};
use rongtong_platform::store::rooms::RoomRow;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use body::{LiveParticipant, LiveTrack, RoomBody, RoomDetail};
pub use lookup::{AutoCreate, lookup};
pub use ticket::{Ticket, socket_url};

/// Begins the names of rooms that cameras live in.
pub const CAMERA_ROOM_PREFIXES: [&str; 3] = ["cam-", "talk-", "wall-"];

/// Whether the room belongs to the cameras.
pub(crate) fn is_of_cameras(name: &str) -> bool {
    CAMERA_ROOM_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// What the handlers share.
pub(crate) struct Rest {
    platform: Arc<Platform>,
    signaling: Signaling,
}

/// The routes, to be nested under `/api/v1`, within [`rongtong_platform::web::stack`].
pub fn routes(platform: Arc<Platform>, signaling: Signaling) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(rooms::list, rooms::create))
        .routes(routes!(rooms::read, rooms::change, rooms::remove))
        .routes(routes!(ticket::create))
        .routes(routes!(ticket::stay))
        .routes(routes!(host::remove))
        .routes(routes!(host::mute))
        .with_state(Arc::new(Rest { platform, signaling }))
}

impl Rest {
    /// The room of this name, which must have been made and still be there.
    async fn row(&self, name: &str) -> Result<RoomRow, Problem> {
        let row = match is_of_cameras(name) {
            true => None,
            false => rongtong_platform::store::rooms::get(&self.platform.db, name).await?,
        };
        row.filter(|row| row.closed_at.is_none())
            .ok_or_else(|| Problem::not_found(said("没有这个房间。", "There is no such room.")))
    }
}

#[cfg(test)]
mod tests;
