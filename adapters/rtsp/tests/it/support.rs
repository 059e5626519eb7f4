//! A server without a network: platform, rooms, cameras, their REST routes; and RTSP servers.

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, StatusCode};
use rongtong_media_core::audio::g711::Law;
use rongtong_media_core::device::{
    Answer, DeviceFailure, DeviceNotice, DeviceReason, DeviceSession, DeviceSpeech, Opener,
};
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::media::Kind;
use rongtong_media_core::room::{
    Join, Membership, ParticipantInfo, Permission, Room, RoomOptions, Rooms, Tap, TapItem, TrackInfo,
};
use rongtong_platform::Platform;
use rongtong_platform::bootstrap::Bootstrap;
use rongtong_platform::config::Config;
use rongtong_platform::problem::Problem;
use rongtong_rtsp::notices::Notices;
use rongtong_rtsp::rest::{CameraApi, CameraRecorder, CameraRecording, PreviewRequest, PreviewToken, TokenMinter};
use rongtong_rtsp::{Cameras, CamerasConfig, Hold};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tower::ServiceExt;

pub struct Site {
    pub platform: Arc<Platform>,
    pub rooms: Arc<Rooms>,
    pub cameras: Arc<Cameras>,
    pub notices: Arc<Notices>,
    /// As devices tell something.
    pub tell: mpsc::Sender<DeviceNotice>,
    pub ears: Ears,
    pub recorder: Arc<Recorder>,
    app: axum::Router,
    token: String,
}

pub struct Minter;

impl TokenMinter for Minter {
    fn subscribe_only(&self, request: PreviewRequest<'_>) -> Result<PreviewToken, Problem> {
        Ok(PreviewToken { token: format!("{}|{}", request.room, request.identity), url: "ws://test".into() })
    }

    fn speak(&self, request: PreviewRequest<'_>) -> Result<PreviewToken, Problem> {
        self.subscribe_only(request)
    }
}

/// Devices that are spoken to: what becomes of it is in their address.
#[derive(Clone, Default)]
pub struct Ears(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    /// Frames that are no silence, by address.
    loud: HashMap<String, usize>,
    open: usize,
    /// They hang up.
    over: bool,
}

impl Ears {
    pub fn loud(&self, address: &str) -> usize {
        self.0.lock().unwrap().loud.get(address).copied().unwrap_or(0)
    }

    pub fn open(&self) -> usize {
        self.0.lock().unwrap().open
    }

    pub fn hang_up(&self) {
        self.0.lock().unwrap().over = true;
    }
}

impl Opener for Ears {
    fn scheme(&self) -> &'static str {
        "gb28181"
    }

    fn tidy(&self, address: &str) -> Option<String> {
        Some(address.to_owned())
    }

    fn open<'a>(&'a self, _: &'a str) -> Answer<'a, Box<dyn DeviceSession>> {
        let failure = DeviceFailure { reason: DeviceReason::Offline, detail: "no pictures here".into() };
        Box::pin(std::future::ready(Err(failure)))
    }

    fn speak<'a>(&'a self, address: &'a str, _: Option<&'a str>) -> Answer<'a, Box<dyn DeviceSpeech>> {
        Box::pin(async move {
            if address.ends_with("deaf") {
                let detail = "talk failed at the invitation: the device refused: 488".into();
                return Err(DeviceFailure { reason: DeviceReason::Refused, detail });
            }
            if address.ends_with("slow") {
                std::future::pending::<()>().await;
            }
            self.0.lock().unwrap().open += 1;
            Ok(Box::new(Ear { ears: self.clone(), address: address.to_owned() }) as Box<dyn DeviceSpeech>)
        })
    }

    fn speech_ways(&self) -> &'static [&'static str] {
        &["broadcast", "talk"]
    }
}

struct Ear {
    ears: Ears,
    address: String,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.ears.0.lock().unwrap().open -= 1;
    }
}

impl DeviceSpeech for Ear {
    fn way(&self) -> &'static str {
        "broadcast"
    }

    fn run<'a>(&'a mut self, frames: &'a mut mpsc::Receiver<Bytes>) -> Answer<'a, ()> {
        Box::pin(async move {
            while let Some(frame) = frames.recv().await {
                assert_eq!(frame.len(), 160);
                let mut heard = self.ears.0.lock().unwrap();
                if heard.over {
                    return Err(DeviceFailure { reason: DeviceReason::Ended, detail: "it hung up".into() });
                }
                if frame.iter().any(|code| Law::A.decode(*code).unsigned_abs() > 5_000) {
                    *heard.loud.entry(self.address.clone()).or_default() += 1;
                }
            }
            Ok(())
        })
    }
}

#[derive(Default)]
pub struct Recorder {
    pub holds: Mutex<Vec<Hold>>,
}

impl CameraRecorder for Recorder {
    fn start(&self, recording: CameraRecording) -> Pin<Box<dyn Future<Output = Result<Value, Problem>> + Send + '_>> {
        let room = recording.hold.room().name().to_string();
        self.holds.lock().unwrap().push(recording.hold);
        Box::pin(async move { Ok(json!({ "subject": recording.camera_id, "room": room })) })
    }
}

impl Site {
    /// Opens a data folder (again), as a start of the server does. Times are short.
    pub async fn open(dir: &Path) -> Self {
        Self::open_with(dir, |_| {}).await
    }

    pub async fn open_with(dir: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.data.dir = dir.join("data");
        config.security.password_rounds = 20;
        config.rtsp.connect_timeout_ms = 3_000;
        config.rtsp.silence_timeout_ms = 2_000;
        config.rtsp.backoff_first_ms = 200;
        config.rtsp.backoff_max_ms = 800;
        config.rtsp.linger_seconds = 1;
        change(&mut config);
        let opened = Bootstrap::open(&config).await.unwrap();
        let platform = opened.platform.clone();
        rongtong_rtsp::upkeep::seal_addresses(&platform).await.unwrap();
        let rooms = Rooms::for_tests().unwrap();
        let times = CamerasConfig::from(&config.rtsp);
        let ears = Ears::default();
        let cameras = Cameras::new(
            platform.db.clone(),
            rooms.clone(),
            platform.keys.clone(),
            &platform.metrics,
            times,
            rongtong_rtsp::Openers::new(vec![Arc::new(ears.clone())]),
        );
        let running = cameras.clone();
        tokio::spawn(async move { running.run().await.unwrap() });
        let recorder = Arc::new(Recorder::default());
        let notices = Notices::open(platform.db.clone(), 180, 30).await.unwrap();
        let (tell, told) = mpsc::channel(64);
        tokio::spawn({
            let notices = notices.clone();
            async move { notices.run(told).await }
        });
        let api = CameraApi {
            platform: platform.clone(),
            cameras: cameras.clone(),
            notices: notices.clone(),
            minter: Arc::new(Minter),
            recorder: recorder.clone(),
        };
        let platform_routes = rongtong_platform::rest::routes(platform.clone());
        let (router, _) = utoipa_axum::router::OpenApiRouter::<()>::new()
            .nest("/api/v1", platform_routes.merge(rongtong_rtsp::rest::routes(Arc::new(api))))
            .split_for_parts();
        let app = rongtong_platform::web::stack(router, platform.clone());
        let mut site = Self { platform, rooms, cameras, notices, tell, ears, recorder, app, token: String::new() };
        const PASSWORD: &str = "Correct-Horse-1";
        let password = opened.first_sign_in.map_or(PASSWORD.to_owned(), |first| first.password);
        let signed_in = site.call("POST", "/session", json!({ "account": "admin", "password": password })).await.1;
        site.token = signed_in["token"].as_str().unwrap().to_owned();
        if password != PASSWORD {
            let change = json!({ "old_password": password, "new_password": PASSWORD });
            assert_eq!(site.call("POST", "/session/password", change).await.0, 204);
        }
        site
    }

    /// A request to `/api/v1` by the administrator; a null body is none.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.call_as(&self.token, method, path, body).await
    }

    /// What a server-sent stream says first, within a time: events with their data.
    pub async fn listen(&self, path: &str, count: usize) -> Vec<(String, Value)> {
        let request = Request::builder().uri(format!("/api/v1{path}")).header("accept-language", "en");
        let mut request =
            request.header("authorization", format!("Bearer {}", self.token)).body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5000))));
        let response = self.app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut chunks = response.into_body().into_data_stream();
        let (mut text, mut events) = (String::new(), Vec::new());
        while events.len() < count {
            let chunk = tokio::time::timeout(Duration::from_secs(10), chunks.next()).await.expect("an event");
            text.push_str(std::str::from_utf8(&chunk.expect("the stream goes on").unwrap()).unwrap());
            while let Some((event, rest)) = text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let (Some(name), Some(data)) = (field("event:"), field("data:")) {
                    events.push((name.to_owned(), serde_json::from_str(data).unwrap()));
                }
                text = rest.to_owned();
            }
        }
        events
    }

    pub async fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let mut request =
            Request::builder().method(method).uri(format!("/api/v1{path}")).header("accept-language", "en");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = match body {
            Value::Null => request.body(Body::empty()),
            body => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        };
        let mut request = request.unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5000))));
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Adds a camera; returns its id.
    pub async fn add(&self, url: &str, more: Value) -> String {
        let mut body = json!({ "name": "Gate", "url": url });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let (status, camera) = self.call("POST", "/cameras", body).await;
        assert_eq!(status, 201, "{camera}");
        camera["id"].as_str().unwrap().to_owned()
    }

    pub async fn camera(&self, id: &str) -> Value {
        self.call("GET", &format!("/cameras/{id}"), Value::Null).await.1
    }

    /// Waits until the camera is in this state; a test fails after 10 s of waiting.
    pub async fn reaches(&self, id: &str, state: &str) -> Value {
        let began = Instant::now();
        loop {
            let camera = self.camera(id).await;
            if camera["state"] == state {
                return camera;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "waiting for {state}: {camera}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// A person in a room, which opens if it must.
    pub fn enter(&self, room: &str, identity: &str) -> (Arc<Room>, Membership) {
        let room = self.rooms.open(&RoomName::new(room), || RoomOptions { empty_timeout: 1, ..RoomOptions::default() });
        let join = Join { identity: identity.into(), permission: Permission::full(), ..Join::default() };
        let membership = room.join(join).unwrap();
        (room, membership)
    }

    pub fn counter(&self, line: &str) -> u64 {
        let text = self.platform.metrics.render();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0)
    }
}

/// Waits for a camera's track of this kind in a room.
pub async fn track(room: &Arc<Room>, kind: Kind) -> Arc<TrackInfo> {
    wait_for("a track", || room.tracks().into_iter().find(|track| track.spec.kind == kind)).await
}

pub async fn camera_in(room: &Arc<Room>, id: &str) -> Arc<ParticipantInfo> {
    wait_for("the camera in the room", || room.participant(&rongtong_rtsp::identity(id))).await
}

pub async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "waited 10 s for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn next(tap: &mut Tap) -> TapItem {
    let item = tokio::time::timeout(Duration::from_secs(8), tap.next()).await;
    item.expect("a packet within 8 s").expect("the track goes on")
}

/// GStreamer's RTSP server in a process of its own.
pub struct GstServer {
    pub port: u16,
    child: Child,
}

impl GstServer {
    /// `port` 0 takes a free one; `account` is `user:password` or `-`.
    pub async fn start(port: u16, account: &str, mounts: &[(&str, &str)]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/gst_server.py");
        // The system's Python has the GObject bindings; another one in the path may not.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).arg(port.to_string()).arg(account);
        command.args(mounts.iter().map(|(path, pipeline)| format!("{path}={pipeline}")));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("this test needs /usr/bin/python3");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let read = tokio::time::timeout(Duration::from_secs(10), output.read_line(&mut line)).await;
        read.expect("GStreamer's server starts within 10 s").unwrap();
        let port = line.strip_prefix("ready ").and_then(|port| port.trim().parse().ok());
        let port = port.expect("this test needs python3-gi and gir1.2-gst-rtsp-server-1.0 (see the message above)");
        Self { port, child }
    }

    pub fn url(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{path}", self.port)
    }

    pub async fn kill(mut self) -> u16 {
        self.child.kill().await.unwrap();
        self.port
    }
}

pub const PCMA: &str = "audiotestsrc is-live=true ! audio/x-raw,rate=8000 ! alawenc ! rtppcmapay name=pay1 pt=8";

/// A live picture, 640x360 at 25 fps, through this encoder and payloader.
pub fn picture(encode: &str) -> String {
    format!(
        "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 ! {encode}"
    )
}

pub fn h264() -> String {
    picture(
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=1500 ! video/x-h264,profile=main ! rtph264pay name=pay0 pt=96 mtu=1400",
    )
}
