//! `rongtong serve`: builds the parts, wires them, runs until told to stop.

use crate::glue::{PreviewMinter, RecorderOfCameras, room_lookup};
use crate::health::{self, Health};
use crate::system::{self, SystemState};
use crate::{console, docs, linger, listen};
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Json, Router};
use axum_server::Handle;
use rongtong_gb28181::directory::Directory;
use rongtong_gb28181::opener::Channels;
use rongtong_gb28181::playback::Playbacks;
use rongtong_gb28181::rest::Gb28181Api;
use rongtong_gb28181::service::Gb28181;
use rongtong_ingest::registry::{Opening, Pushes};
use rongtong_ingest::rest::PushApi;
use rongtong_media_core::device::Opener;
use rongtong_media_core::ports::PortPool;
use rongtong_media_core::room::{LeaveReason, Rooms};
use rongtong_media_core::shard::{ShardConfig, ShardHandle};
use rongtong_media_core::webrtc::Endpoint;
use rongtong_platform::Platform;
use rongtong_platform::bootstrap::{Bootstrap, local_addresses};
use rongtong_platform::config::Config;
use rongtong_platform::web;
use rongtong_recorder::{Recorder, RecorderOptions};
use rongtong_rtsp::notices::Notices;
use rongtong_rtsp::rest::CameraApi;
use rongtong_rtsp::{Cameras, CamerasConfig, Openers};
use rongtong_signaling::token::{ApiKeys, TokenMinter};
use rongtong_signaling::{Limits, Signaling, SignalingConfig};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use utoipa_axum::router::OpenApiRouter;

/// What devices told that waits to be taken in.
const NOTICES: usize = 1_024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Largest request body of the API; nothing in it needs more.
const MAX_BODY: usize = 1 << 20;

pub async fn run(path: Option<&Path>, demo: u32) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(path)?;
    rongtong_platform::log::init(&config.log)?;
    serve(config, demo).await.map_err(|error| error as Box<dyn std::error::Error>)
}

async fn serve(config: Config, demo: u32) -> Result<(), Failure> {
    let http = listen::bind(config.server.http_listen, "server.http_listen")?;
    let https = listen::bind(config.server.https_listen, "server.https_listen")?;
    let bootstrap = Bootstrap::open(&config).await?;
    let tls = listen::tls(&bootstrap.tls)?;
    let platform = bootstrap.platform.clone();
    rongtong_rtsp::upkeep::seal_addresses(&platform).await?;

    let rooms = Rooms::new(start_shards(&config)?);
    watch_media(&platform, &rooms);
    crate::bench::taps::watch(&rooms, &platform.metrics);
    let ports = PortPool::new(config.media.rtp_first_port..=config.media.rtp_last_port)?;
    watch_ports(&platform, &ports);
    let gb28181_started = crate::gb28181::start(&config, &platform, ports).await?;
    let gb28181 = gb28181_started.as_ref().map(|(gb28181, _)| gb28181.clone());
    let secret = bootstrap.livekit.api_secret.reveal();
    let ttl = Duration::from_secs(u64::from(config.livekit.token_ttl_minutes) * 60);
    let minter = TokenMinter::new(bootstrap.livekit.api_key.clone(), secret, ttl);
    let node = node_name();
    let signaling = Signaling::new(SignalingConfig {
        keys: ApiKeys::new([(bootstrap.livekit.api_key.clone(), secret.to_owned())]),
        minter: minter.clone(),
        rooms: rooms.clone(),
        endpoint: Endpoint::new()?,
        lookup: room_lookup(platform.clone()),
        node: node.clone(),
        metrics: rongtong_signaling::metrics::SignalingMetrics::new(&platform.metrics),
        region: String::new(),
        limits: Limits::default(),
    });
    let recorder = Recorder::start(platform.clone(), rooms.clone(), RecorderOptions::of(&config)).await?;
    let playbacks = gb28181.as_ref().map(|gb28181| Playbacks::new(gb28181.clone()));
    let channels = gb28181.iter().map(|gb28181| Arc::new(Channels(gb28181.clone())) as Arc<dyn Opener>);
    let pushes = Arc::new(Pushes::default());
    let push_api = PushApi::open(platform.clone(), pushes.clone()).await?;
    let rtmp = crate::ingest::start(&config, &platform, &pushes, &tls).await?;
    let mut openers: Vec<_> = channels.chain(playbacks.iter().map(|all| all.clone() as Arc<dyn Opener>)).collect();
    openers.push(Arc::new(Opening(pushes)));
    let openers = Openers::new(openers);
    let cameras = Cameras::new(
        platform.db.clone(),
        rooms.clone(),
        platform.keys.clone(),
        &platform.metrics,
        CamerasConfig::from(&config.rtsp),
        openers,
    );
    let notices = Notices::open(platform.db.clone(), config.alarms.keep_days, config.map.track_days).await?;
    let (told, tellings) = tokio::sync::mpsc::channel(NOTICES);
    if let Some((gb28181, directory)) = &gb28181_started {
        rongtong_gb28181::notices::pass_on(gb28181, directory.clone(), told);
    }
    let notice_task = tokio::spawn({
        let notices = notices.clone();
        async move { notices.run(tellings).await }
    });
    let simulator = crate::demo::start(&platform, demo).await?;
    let camera_task = tokio::spawn({
        let cameras = cameras.clone();
        async move {
            if let Err(error) = cameras.run().await {
                tracing::error!(%error, "the cameras stopped");
            }
        }
    });

    let draining = Arc::new(AtomicBool::new(false));
    let app = application(Parts {
        platform: platform.clone(),
        rooms: rooms.clone(),
        signaling,
        minter,
        recorder: recorder.clone(),
        cameras: cameras.clone(),
        notices: notices.clone(),
        gb28181: gb28181_started,
        playbacks,
        push_api,
        draining: draining.clone(),
        node,
    });
    let handle = Handle::new();
    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(listen::http(http, app.clone(), handle.clone()));
    tokio::spawn(listen::keep_fresh(config.clone(), tls.clone()));
    servers.spawn(listen::https(https, app, tls, handle.clone()));
    crate::demo::greet(&config, &bootstrap, demo);

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut failed = false;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = media_failed(&rooms) => {
            failed = true;
            tracing::error!("a media thread ended by a fault; the server stops, to be started anew");
        }
        ended = servers.join_next() => {
            if let Some(Ok(Err(error))) = ended {
                tracing::error!(%error, "a listener failed");
            }
        }
    }
    tracing::info!("draining");
    draining.store(true, Ordering::Relaxed);
    // The last fragments are on the disk before anybody is sent away.
    recorder.close().await;
    rooms.close_all(LeaveReason::ServerShutdown);
    cameras.shutdown().await;
    if let Some(rtmp) = rtmp {
        rtmp.end().await;
    }
    if let Some(gb28181) = gb28181 {
        gb28181.end().await;
    }
    notices.end();
    let _ = tokio::time::timeout(Duration::from_secs(3), notice_task).await;
    handle.graceful_shutdown(Some(Duration::from_secs(config.server.drain_seconds)));
    tokio::time::timeout(Duration::from_secs(config.server.drain_seconds + 1), async {
        while servers.join_next().await.is_some() {}
    })
    .await
    .ok();
    camera_task.abort();
    if let Some(simulator) = simulator {
        simulator.stop().await;
    }
    rooms.stop_shards();
    platform.db.close().await;
    tracing::info!("stopped");
    if failed { Err("a media thread ended by a fault".into()) } else { Ok(()) }
}

/// Waits until a media thread has ended. Threads do not come back; a service manager starts the
/// whole server again, and clients join again by themselves.
async fn media_failed(rooms: &Rooms) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    while rooms.shards_alive() {
        tick.tick().await;
    }
}

struct Parts {
    platform: Arc<Platform>,
    rooms: Arc<Rooms>,
    signaling: Signaling,
    minter: TokenMinter,
    recorder: Arc<Recorder>,
    cameras: Arc<Cameras>,
    notices: Arc<Notices>,
    gb28181: Option<(Arc<Gb28181>, Arc<Directory>)>,
    playbacks: Option<Arc<Playbacks>>,
    push_api: Arc<PushApi>,
    draining: Arc<AtomicBool>,
    node: String,
}

fn application(parts: Parts) -> Router {
    let Parts {
        platform,
        rooms,
        signaling,
        minter,
        recorder,
        cameras,
        notices,
        gb28181,
        playbacks,
        push_api,
        draining,
        node,
    } = parts;
    let camera_api = Arc::new(CameraApi {
        platform: platform.clone(),
        cameras: cameras.clone(),
        notices,
        minter: Arc::new(PreviewMinter(minter)),
        recorder: Arc::new(RecorderOfCameras(recorder.clone())),
    });
    let gb28181_api = Gb28181Api::new(platform.clone(), gb28181, playbacks, cameras.clone());
    let system = Arc::new(SystemState { platform: platform.clone(), rooms: rooms.clone(), node });
    let v1 = OpenApiRouter::new()
        .merge(rongtong_platform::rest::routes(platform.clone()))
        .merge(rongtong_signaling::rest::routes(platform.clone(), signaling.clone()))
        .merge(rongtong_rtsp::rest::routes(camera_api))
        .merge(rongtong_gb28181::rest::routes(gb28181_api))
        .merge(rongtong_ingest::rest::routes(push_api))
        .merge(rongtong_recorder::rest::routes(recorder))
        .merge(system::routes(system));
    let (api, openapi) = OpenApiRouter::with_openapi(docs::frame()).nest("/api/v1", v1).split_for_parts();
    let openapi = Arc::new(openapi);
    let described = get(move || {
        let openapi = openapi.clone();
        async move { Json((*openapi).clone()) }
    });
    let app = api
        .route("/api/openapi.json", described)
        .merge(health::routes(Health {
            platform: platform.clone(),
            rooms: rooms.clone(),
            draining,
            database: Arc::default(),
        }))
        .merge(signaling.router())
        .fallback(console::serve)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(tower_http::compression::CompressionLayer::new())
        .layer(axum::middleware::map_request(linger::over_unread_bodies));
    web::stack(app, platform)
}

fn start_shards(config: &Config) -> Result<Vec<ShardHandle>, Failure> {
    let media = &config.media;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = match media.shards {
        // One is enough up to four cores; the rest is for signalling, codecs and the disk.
        0 => (cores / 4).max(1),
        some => usize::from(some),
    };
    let advertise = if media.advertise.is_empty() {
        let mut all = local_addresses();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        if !all.contains(&loopback) {
            all.push(loopback);
        }
        all
    } else {
        media.advertise.clone()
    };
    (0..count)
        .map(|index| {
            let shift = u16::try_from(index).unwrap_or(0);
            ShardHandle::start(ShardConfig {
                name: format!("shard-{index}"),
                udp_port: media.udp_port.saturating_add(shift),
                tcp_port: Some(media.tcp_port.saturating_sub(shift)),
                advertise: advertise.clone(),
                gop_cache_bytes: media.gop_cache_mib as usize * 1024 * 1024,
                gop_cache_duration: Duration::from_secs(u64::from(media.gop_cache_seconds)),
                core: (count > 1).then_some(index),
                on_thread: Some(crate::allocations::count_here),
            })
            .map_err(|error| {
                format!(
                    "media.udp_port {} or media.tcp_port {} can't be bound: {error}",
                    media.udp_port, media.tcp_port
                )
                .into()
            })
        })
        .collect()
}

/// Ports for media of single sessions on `/metrics` and the system page.
fn watch_ports(platform: &Arc<Platform>, pool: &Arc<PortPool>) {
    let pairs = pool.pairs();
    platform.metrics.indicator("media_rtp_ports", "", "Pairs of ports for devices and calls", move || pairs as f64);
    let pool = pool.clone();
    let in_use = move || (pool.pairs() - pool.free()) as f64;
    platform.metrics.indicator("media_rtp_ports_in_use", "", "Those of them that a session has", in_use);
}

/// Brings the shards' counters to `/metrics` and the system page.
fn watch_media(platform: &Arc<Platform>, rooms: &Arc<Rooms>) {
    use std::sync::Mutex;
    let metrics = &platform.metrics;
    let latest = Arc::new(Mutex::new(rongtong_media_core::shard::ShardStats::default()));
    type Read = fn(&rongtong_media_core::shard::ShardStats) -> u64;
    let lines: [(&'static str, &'static str, &'static str, Read); 27] = [
        ("media_transports", "", "WebRTC connections", |s| s.transports),
        ("media_tracks", "", "Tracks on the shards", |s| s.tracks),
        ("media_subscriptions", "", "Subscriptions on the shards", |s| s.subscriptions),
        ("media_packets_in", "", "Datagrams received", |s| s.packets_in),
        ("media_packets_out", "", "Datagrams sent", |s| s.packets_out),
        ("media_garbage", "", "Datagrams that were nobody's or failed authentication", |s| s.garbage),
        ("media_retransmitted", "", "Packets sent again on request", |s| s.retransmitted),
        ("media_nacks_refused", "", "Packets asked for again too soon or beyond the budget", |s| s.nacks_refused),
        ("media_panics", "", "Faults inside the packet path, each the end of one piece of work", |s| s.panics),
        ("media_keyframe_requests", "", "Keyframe requests sent to publishers", |s| s.keyframe_requests),
        ("media_clock_steps", "", "Clocks of devices that were set, and followed", |s| s.clock_steps),
        ("media_reports_refused", "", "Sender reports that cannot be true", |s| s.reports_refused),
        ("media_send_errors", "", "Datagrams the system would not take", |s| s.send_errors),
        ("media_plis_in", "", "Keyframe requests of participants", |s| s.plis_in),
        ("media_paths_displaced", "", "Checked addresses that made room for newer ones of their peer", |s| {
            s.paths_displaced
        }),
        ("media_tcp_refused", "", "TCP connections closed because too many had shown nothing", |s| s.tcp_refused),
        ("media_tcp_expired", "", "TCP connections closed because no valid check came in time", |s| s.tcp_expired),
        ("media_send_refused", "", "Packets for which there was no room while the system took none", |s| {
            s.send_refused
        }),
        ("media_send_calls", "", "System calls that sent UDP packets", |s| s.send_calls),
        ("media_send_messages", "", "Messages in them, each for one peer", |s| s.send_messages),
        ("media_send_divided", "", "Messages of several packets that the system divided", |s| s.send_divided),
        ("media_send_waits", "", "Times that the system took no UDP packet and the rest waited", |s| s.send_waits),
        ("media_feed_oversized", "", "Adapter packets too long for a datagram", |s| s.feed_oversized),
        ("media_data_refused", "", "Lossy messages beyond what a participant may send", |s| s.data_refused),
        ("media_data_delayed", "", "Times a reliable message had to wait for its sender's budget", |s| s.data_delayed),
        ("media_data_unsent", "", "Messages that a participant's line did not take", |s| s.data_unsent),
        ("media_feed_dropped", "", "Adapter packets dropped because a shard was behind", |s| s.feed_dropped),
    ];
    let gauges: Vec<_> = lines
        .iter()
        .map(|&(name, unit, help, read)| {
            let latest = latest.clone();
            metrics.indicator(name, unit, help, move || latest.lock().map_or(0.0, |stats| read(&stats) as f64));
            (metrics.gauge(name, help), read)
        })
        .collect();
    let counted = rooms.clone();
    metrics.indicator("rooms", "", "Open rooms", move || counted.list().len() as f64);
    let counted = rooms.clone();
    metrics.indicator("participants", "", "Participants in all rooms", move || {
        counted.list().iter().map(|room| room.participants().len()).sum::<usize>() as f64
    });
    let allocations = std::env::var_os("RONGTONG_COUNT_ALLOCATIONS")
        .map(|_| metrics.gauge("media_allocations", "Allocations of the shards' threads"));
    let rooms = Arc::downgrade(rooms);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(2));
        loop {
            tick.tick().await;
            let Some(rooms) = rooms.upgrade() else { return };
            let mut sum = rongtong_media_core::shard::ShardStats::default();
            for stats in rooms.shard_stats().await {
                sum.add(&stats);
            }
            if let Some(allocations) = &allocations {
                allocations.set(i64::try_from(crate::allocations::counted()).unwrap_or(i64::MAX));
            }
            for (gauge, read) in &gauges {
                gauge.set(i64::try_from(read(&sum)).unwrap_or(i64::MAX));
            }
            if let Ok(mut slot) = latest.lock() {
                *slot = sum;
            }
        }
    });
}

fn node_name() -> String {
    std::fs::read_to_string("/etc/hostname").map_or_else(|_| "rongtong".into(), |name| name.trim().to_owned())
}

/// The address of a listener as a browser on this machine would type it.
pub fn local_url(scheme: &str, address: SocketAddr) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() => local_addresses()
            .into_iter()
            .find(|ip| ip.is_ipv4() && !ip.is_loopback())
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
            .to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    };
    format!("{scheme}://{host}:{}", address.port())
}
