//! A platform of GB/T 28181 at work: thousands of devices that say that they live, and streams of theirs that are taken
//! apart and forwarded.

use super::Failure;
use super::parts::{Helper, KEY, SECRET, Server, metric, number, text};
use super::report::{Cpu, Report, resident_kib};
use crate::simulate::{raise_file_limit, reel};
use clap::Args;
use rongtong_gb28181::id::Code;
use rongtong_gb28181::simulate::{Fleet, FleetConfig};
use rongtong_simulator::CameraSpec;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::sleep;

const PLATFORM: &str = "34020000002000000001";
const PASSWORD: &str = "gate-of-a-measurement";
const WARM_UP: Duration = Duration::from_secs(5);
/// Devices that were online must all be, and streams must all come, within so long.
const READY_WITHIN: Duration = Duration::from_secs(190);

#[derive(Args, Clone, Debug)]
pub struct Gb {
    #[arg(long, default_value_t = 4_000)]
    pub devices: u32,
    /// Of each device.
    #[arg(long, default_value_t = 10)]
    pub channels: u32,
    /// Seconds between a device's signs of life.
    #[arg(long, default_value_t = 60)]
    pub keepalive: u64,
    /// Streams that are sent, each of another device.
    #[arg(long, default_value_t = 32)]
    pub streams: u32,
    /// Streams that somebody watches by WebRTC; the others are received and taken apart.
    #[arg(long, default_value_t = 32)]
    pub viewers: u32,
    /// Megabits a second of a stream.
    #[arg(long, default_value_t = 4.0)]
    pub mbit: f64,
    /// How long is measured.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// `udp`, `tcp-passive`, `tcp-active`
    #[arg(long, default_value = "udp")]
    pub carriage: String,
    /// Packets are sent one by one, and not many with one call of the system, which is what they come as.
    #[arg(long)]
    pub singly: bool,
}

#[derive(Args, Clone, Debug)]
pub struct FleetArgs {
    #[arg(long)]
    server: SocketAddr,
    #[arg(long)]
    devices: u32,
    #[arg(long)]
    channels: u32,
    #[arg(long)]
    keepalive: u64,
    #[arg(long)]
    mbit: f64,
    #[arg(long)]
    first: u32,
    #[arg(long)]
    singly: bool,
}

/// Devices of one process: each has a socket.
const OF_ONE_PROCESS: u32 = 8_000;

impl Gb {
    fn config(&self, server: SocketAddr) -> Result<FleetConfig, Failure> {
        config(server, self.devices, self.channels, self.keepalive)
    }
}

fn config(server: SocketAddr, devices: u32, channels: u32, keepalive: u64) -> Result<FleetConfig, Failure> {
    let mut config = FleetConfig::new(server, Code::new(PLATFORM)?, PASSWORD);
    (config.devices, config.channels, config.keepalive) = (devices, channels, Duration::from_secs(keepalive));
    Ok(config)
}

pub async fn run(bench: Gb) -> Result<(), Failure> {
    raise_file_limit();
    let mut report = Report::default();
    let sip = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let mut server = Server::start(&[
        ("RONGTONG__GB28181__ENABLED", "true".into()),
        ("RONGTONG__GB28181__LISTEN", sip.to_string()),
        ("RONGTONG__GB28181__CODE", PLATFORM.into()),
        ("RONGTONG__GB28181__PASSWORD", PASSWORD.into()),
        ("RONGTONG__GB28181__KEEPALIVE_SECONDS", bench.keepalive.to_string()),
    ])
    .await?;
    server.sign_in().await?;
    let idle = resident_kib(server.pid)?;

    // All at once, as after a restart of the platform.
    let began = (Instant::now(), Cpu::of(server.pid)?);
    let mut fleets = Vec::new();
    for first in (0..bench.devices).step_by(OF_ONE_PROCESS as usize) {
        let words = [
            ("--server", sip.to_string()),
            ("--devices", OF_ONE_PROCESS.min(bench.devices - first).to_string()),
            ("--first", first.to_string()),
            ("--channels", bench.channels.to_string()),
            ("--keepalive", bench.keepalive.to_string()),
            ("--mbit", bench.mbit.to_string()),
        ];
        let words = words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        let singly = bench.singly.then(|| "--singly".to_owned());
        let words: Vec<String> = std::iter::once("fleet".to_owned()).chain(words).chain(singly).collect();
        fleets.push(Helper::start(&words).await?);
    }
    let (mut online, mut seconds) = (0.0, 0.0);
    for fleet in &mut fleets {
        let ready = fleet.line().await?;
        online += number(&ready, "online");
        seconds = f64::max(seconds, number(&ready, "seconds"));
    }
    report.note("storm_s", seconds);
    report.bar("refused_for_good", f64::from(bench.devices) - online, 0.0);
    let channels = f64::from(bench.devices) * f64::from(bench.channels);
    let end = Instant::now() + READY_WITHIN;
    while metric(&server.metrics().await?, "gb28181_channels") < channels {
        if Instant::now() > end {
            return Err("the devices' catalogs did not come".into());
        }
        sleep(Duration::from_millis(200)).await;
    }
    report.note("catalogs_s", began.0.elapsed().as_secs_f64());
    report.note("storm_core_s", Cpu::of(server.pid)?.since(began.1).total() / 1e6);
    report.note("rss_per_device_kb", (resident_kib(server.pid)? - idle) / f64::from(bench.devices.max(1)));

    let config = bench.config(sip)?;
    let mut rooms = Vec::new();
    for number in 0..bench.streams.min(bench.devices) {
        let (device, channel) = (config.device(number), config.channel(number, 0));
        let url = format!("gb28181://{device}/{channel}?carriage={}", bench.carriage);
        let keep = number >= bench.viewers;
        let made = server.post("/cameras", &json!({ "name": format!("c{number}"), "url": url, "keep": keep })).await?;
        if !keep {
            rooms.push(format!("cam-{}", text(&made, "id")?));
        }
    }
    let mut viewers = None;
    if !rooms.is_empty() {
        let count = rooms.len().to_string();
        let words = ["load", "--url", &server.signal, "--key", KEY, "--secret", SECRET, "--name", "v", "--subscribers"];
        let rooms = rooms.join(",");
        let words = words.into_iter().chain([count.as_str(), "--rooms", rooms.as_str()]);
        let mut helper = Helper::start(&words.collect::<Vec<_>>()).await?;
        helper.line().await?;
        viewers = Some(helper);
    }
    let end = Instant::now() + READY_WITHIN;
    while metric(&server.metrics().await?, "cameras_live") < f64::from(bench.streams.min(bench.devices)) {
        if Instant::now() > end {
            return Err("not all streams came".into());
        }
        sleep(Duration::from_millis(200)).await;
    }
    sleep(WARM_UP).await;

    for fleet in &mut fleets {
        fleet.say("measure").await?;
    }
    if let Some(viewers) = &mut viewers {
        viewers.say("measure").await?;
    }
    let (before, cpu) = (server.metrics().await?, Cpu::of(server.pid)?);
    sleep(Duration::from_secs(bench.seconds)).await;
    let (after, cpu) = (server.metrics().await?, Cpu::of(server.pid)?.since(cpu));
    let mut sent = Vec::new();
    for fleet in &mut fleets {
        fleet.say("report").await?;
        sent.push(fleet.line().await?);
    }
    let watched = match &mut viewers {
        Some(viewers) => {
            viewers.say("report").await?;
            Some(viewers.line().await?)
        }
        None => None,
    };
    let resident = resident_kib(server.pid)?;
    if let Some(viewers) = viewers {
        viewers.stop().await;
    }
    for fleet in fleets {
        fleet.stop().await;
    }
    server.stop().await;

    let count = |name: &str| metric(&after, name) - metric(&before, name);
    let seconds = bench.seconds as f64;
    let mbit = count("gb28181_media_bytes") * 8.0 / 1e6 / seconds;
    report.note("mbit_per_second", mbit);
    report.note("packets_per_second", count("gb28181_media_packets") / seconds);
    let core = cpu.total() / (seconds * 1e6);
    if bench.streams <= 64 {
        report.bar("core", core, 0.6);
    } else {
        report.note("core", core);
    }
    report.note("core_user", cpu.user / (seconds * 1e6));
    report.note("core_percent_per_mbit", core * 100.0 / mbit.max(0.001));
    report.bar("lost", count("gb28181_media_lost"), 0.0);
    let sum = |name: &str| sent.iter().map(|sent| number(sent, name)).sum::<f64>();
    let worst = |name: &str| sent.iter().map(|sent| number(sent, name)).fold(0.0, f64::max);
    report.note("sender_dropped", sum("dropped"));
    report.note("sender_late_ms", worst("late_ms"));
    report.bar("keepalive_p99_ms", worst("p99_ms"), 50.0);
    report.note("keepalive_p50_ms", worst("p50_ms"));
    report.note("keepalives", sum("answers"));
    report.bar("false_offline", sum("lost"), 0.0);
    report.bar("offline", f64::from(bench.devices) - metric(&after, "gb28181_devices_online"), 0.0);
    if let Some(watched) = watched {
        let lost = number(&watched, "expected") - number(&watched, "packets");
        report.note("viewer_packets_per_second", number(&watched, "packets") / seconds);
        report.bar("viewer_loss", lost / number(&watched, "expected").max(1.0), 0.0);
        report.bar("viewers_missing", rooms.len() as f64 - number(&watched, "streams"), 0.0);
    }
    report.note("rss_mb", resident / 1024.0);
    println!("{}", serde_json::to_string(&report)?);
    if report.is_ok() { Ok(()) } else { Err("a bar was missed".into()) }
}

/// The devices, told what to do by lines.
pub async fn fleet(args: FleetArgs) -> Result<(), Failure> {
    raise_file_limit();
    let spec = CameraSpec {
        width: 640,
        height: 360,
        bitrate: (args.mbit * 1e6) as u32,
        ..CameraSpec::new("gb", "GB/T 28181")
    };
    let reel = Arc::new(reel(&spec)?);
    let began = Instant::now();
    let mut config = config(args.server, args.devices, args.channels, args.keepalive)?;
    (config.first, config.singly) = (args.first, args.singly);
    let fleet = Fleet::start(config, reel).await?;
    while fleet.online() < args.devices.into() && began.elapsed() < READY_WITHIN {
        sleep(Duration::from_millis(50)).await;
    }
    println!("{}", json!({ "online": fleet.online(), "seconds": began.elapsed().as_secs_f64() }));
    let (mut lines, mut before) = (BufReader::new(tokio::io::stdin()).lines(), (fleet.sent(), 0));
    while let Some(line) = lines.next_line().await? {
        let (counters, sent) = (fleet.counters(), fleet.sent());
        let lost = counters.lost.load(Ordering::Relaxed);
        match line.as_str() {
            "measure" => {
                counters.answers.lock().clear();
                before = (sent, lost);
            }
            "report" => {
                let mut answers = counters.answers.lock().clone();
                answers.sort_unstable();
                let percentile = |percent: usize| {
                    let at = (answers.len() * percent / 100).min(answers.len().saturating_sub(1));
                    answers.get(at).map(|micros| f64::from(*micros) / 1e3)
                };
                let report = json!({
                    "answers": answers.len(),
                    "p50_ms": percentile(50),
                    "p99_ms": percentile(99),
                    "lost": lost - before.1,
                    "packets": sent.packets - before.0.packets,
                    "dropped": sent.dropped - before.0.dropped,
                    "late_ms": sent.latest as f64 / 1e3,
                });
                println!("{report}");
            }
            _ => {}
        }
    }
    fleet.stop().await;
    Ok(())
}
