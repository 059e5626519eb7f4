//! LiveKit's client protocol and the REST routes of rooms, spoken onto
//! `media-core`'s rooms.
//!
//! Unmodified LiveKit clients connect to `/rtc` (two peer connections, the server
//! offers what is subscribed) or `/rtc/v1` (one, the client always offers).
//! [`token`] says who may come in; [`join`] what the client wants; a session (one
//! task a participant) lives between its WebSocket, its peer and its room;
//! [`wire`] translates. [`rest`] is the console's side of rooms.
//!
//! Invariant: addresses of these routes carry tokens and session descriptions, so
//! no URL, query, token or SDP reaches a log line or an error message.

mod board;
pub mod join;
pub mod metrics;
pub mod rest;
mod routes;
mod session;
pub mod token;
pub mod wire;

use crate::board::Boards;
use crate::metrics::SignalingMetrics;
use crate::token::{ApiKeys, TokenMinter};
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::room::{self, RoomOptions, Rooms};
use rongtong_media_core::webrtc::Endpoint;
use rongtong_platform::config;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A codec policy of the configuration or of a room's row, as rooms take it.
pub fn codec_policy(policy: config::CodecPolicy) -> room::CodecPolicy {
    match policy {
        config::CodecPolicy::Any => room::CodecPolicy::Any,
        config::CodecPolicy::H264 => room::CodecPolicy::H264,
        config::CodecPolicy::PreferH264 => room::CodecPolicy::PreferH264,
    }
}

/// Bounds on what clients may do to us.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Signal messages of one connection: so many at once and so many a second.
    pub messages_per_second: u32,
    /// A connection that says nothing for so long is taken for dead; clients ping every five seconds.
    pub silence: Duration,
    /// How long a participant without connection stays in its room.
    pub resume_window: Duration,
    /// Largest signal message, bytes.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_per_second: 200,
            silence: Duration::from_secs(20),
            resume_window: Duration::from_secs(30),
            message_bytes: 1024 * 1024,
        }
    }
}

/// What is known of a room before anybody is in it.
#[derive(Clone, Debug)]
pub enum RoomEntry {
    /// Nobody may open it by joining.
    Absent,
    Known(RoomOptions),
    /// It can't be found out now, which is our fault.
    Unavailable,
}

/// Answers what options a room opens with; boxed because it asks a database.
pub type RoomLookup = Arc<dyn Fn(RoomName) -> Pin<Box<dyn Future<Output = RoomEntry> + Send>> + Send + Sync>;

/// What signaling is made of.
pub struct SignalingConfig {
    pub keys: ApiKeys,
    /// Signs tokens for people and refreshed ones for participants.
    pub minter: TokenMinter,
    pub rooms: Arc<Rooms>,
    /// What media connections of the participants show of themselves.
    pub endpoint: Arc<Endpoint>,
    pub lookup: RoomLookup,
    /// Shown to clients as `server_info.node_id`.
    pub node: String,
    pub region: String,
    pub limits: Limits,
    pub metrics: SignalingMetrics,
}

/// The signaling of one server.
#[derive(Clone)]
pub struct Signaling(Arc<Shared>);

pub(crate) struct Shared {
    pub keys: ApiKeys,
    pub minter: TokenMinter,
    pub rooms: Arc<Rooms>,
    pub endpoint: Arc<Endpoint>,
    pub lookup: RoomLookup,
    pub node: String,
    pub region: String,
    pub limits: Limits,
    pub metrics: SignalingMetrics,
    pub boards: Boards,
}

impl Signaling {
    pub fn new(config: SignalingConfig) -> Self {
        let SignalingConfig { keys, minter, rooms, endpoint, lookup, node, region, limits, metrics } = config;
        let boards = Boards::default();
        Self(Arc::new(Shared { keys, minter, rooms, endpoint, lookup, node, region, limits, metrics, boards }))
    }

    /// The routes `/rtc`, `/rtc/validate`, `/rtc/v1`, `/rtc/v1/validate`. They take
    /// any origin, because they authenticate by token and not by cookie.
    pub fn router(&self) -> axum::Router {
        routes::router(self.0.clone())
    }

    pub fn metrics(&self) -> &SignalingMetrics {
        &self.0.metrics
    }

    pub fn rooms(&self) -> &Arc<Rooms> {
        &self.0.rooms
    }

    pub fn minter(&self) -> &TokenMinter {
        &self.0.minter
    }
}
