//! With what options a room opens when somebody joins it by token.

use super::is_of_cameras;
use crate::{RoomEntry, RoomLookup, codec_policy};
use rongtong_media_core::room::RoomOptions;
use rongtong_platform::config::CodecPolicy;
use rongtong_platform::storage::Db;
use rongtong_platform::store::rooms::{self, RoomRow};
use std::sync::Arc;

/// Whether a token for a room that nobody made opens that room, as with LiveKit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoCreate {
    #[default]
    Allowed,
    Refused,
}

/// Looks rooms up in the database.
pub fn lookup(db: Db, auto_create: AutoCreate) -> RoomLookup {
    Arc::new(move |name| {
        let db = db.clone();
        Box::pin(async move {
            if is_of_cameras(name.as_str()) {
                return RoomEntry::Known(RoomOptions::default());
            }
            match rooms::get(&db, name.as_str()).await {
                Ok(Some(row)) if row.closed_at.is_none() => RoomEntry::Known(options(&row)),
                Ok(None) if auto_create == AutoCreate::Allowed => RoomEntry::Known(RoomOptions::default()),
                Ok(_) => RoomEntry::Absent,
                Err(error) => {
                    tracing::error!(%error, "our room table can't be read");
                    RoomEntry::Unavailable
                }
            }
        })
    })
}

pub(super) fn options(row: &RoomRow) -> RoomOptions {
    RoomOptions {
        title: row.title.clone(),
        codec_policy: codec_policy(CodecPolicy::of_row(&row.codec_policy)),
        ..RoomOptions::default()
    }
}
