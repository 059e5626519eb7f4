//! A server on a free loopback port.

use rongtong_media_core::ids::RoomName;
use rongtong_media_core::room::{Room, RoomOptions, Rooms};
use rongtong_media_core::webrtc::Endpoint;
use rongtong_platform::metrics::Metrics;
use rongtong_signaling::metrics::SignalingMetrics;
use rongtong_signaling::token::{ApiKeys, Claims, TokenMinter, VideoGrant};
use rongtong_signaling::{Limits, RoomEntry, Signaling, SignalingConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub const KEY: &str = "testkey";
pub const SECRET: &str = "a-secret-of-sufficient-length-for-hs256";

pub struct Server {
    pub address: SocketAddr,
    pub rooms: Arc<Rooms>,
    pub signaling: Signaling,
}

pub async fn start() -> Server {
    start_with(Limits::default()).await
}

pub async fn start_with(limits: Limits) -> Server {
    let rooms = Rooms::for_tests().unwrap();
    let signaling = Signaling::new(SignalingConfig {
        keys: ApiKeys::new([(KEY.to_owned(), SECRET.to_owned())]),
        minter: TokenMinter::new(KEY, SECRET, Duration::from_secs(600)),
        rooms: rooms.clone(),
        endpoint: Endpoint::new().unwrap(),
        lookup: Arc::new(|name: RoomName| {
            Box::pin(async move {
                match name.as_str() {
                    "absent" => RoomEntry::Absent,
                    "full" => RoomEntry::Known(RoomOptions { max_participants: 1, ..RoomOptions::default() }),
                    _ => RoomEntry::Known(RoomOptions::default()),
                }
            })
        }),
        node: "node-1".to_owned(),
        region: "here".to_owned(),
        limits,
        metrics: SignalingMetrics::new(&Metrics::default()),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = signaling.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Server { address, rooms, signaling }
}

impl Server {
    pub fn room(&self) -> Arc<Room> {
        self.rooms.find(&RoomName::new("duty")).unwrap()
    }

    pub fn refused(&self, reason: &str) -> u64 {
        self.signaling.metrics().refused.get_or_create(&vec![("reason", reason.to_owned())]).get()
    }

    pub fn discarded(&self, reason: &str) -> u64 {
        self.signaling.metrics().discarded.get_or_create(&vec![("reason", reason.to_owned())]).get()
    }
}

/// A token for `identity` into the room `duty`.
pub fn token(identity: &str) -> String {
    token_with(identity, |_| {})
}

pub fn token_with(identity: &str, change: impl FnOnce(&mut Claims)) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let video = VideoGrant {
        room_join: true,
        room: "duty".to_owned(),
        can_update_own_metadata: Some(true),
        ..VideoGrant::default()
    };
    let mut claims = Claims { sub: identity.to_owned(), exp: now + 600, video: Some(video), ..Claims::default() };
    change(&mut claims);
    TokenMinter::new(KEY, SECRET, Duration::from_secs(600)).sign(claims)
}
