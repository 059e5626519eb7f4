//! `rongtong simulate`: demo devices.

use clap::{Args, Subcommand, ValueEnum};
use rongtong_gb28181::id::Code;
use rongtong_gb28181::platform::Edition;
use rongtong_gb28181::simulate::{Faults, Fleet, FleetConfig, Reel, Vendor};
use rongtong_media_core::rtp::access_unit::AccessUnit;
use rongtong_simulator::{Auth, AuthScheme, CameraSpec, Simulator, SimulatorConfig};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(Subcommand)]
pub enum Device {
    /// Cameras served by RTSP: a test picture with a running clock, and a tone.
    Rtsp {
        /// Port 0 takes any free one.
        #[arg(long, default_value = "127.0.0.1:8554")]
        listen: SocketAddr,
        #[arg(long, default_value_t = 2)]
        cameras: u32,
        #[arg(long, default_value_t = 640)]
        width: u32,
        #[arg(long, default_value_t = 360)]
        height: u32,
        #[arg(long, default_value_t = 15)]
        fps: u32,
        /// Kilobits a second.
        #[arg(long, default_value_t = 800)]
        kbit: u32,
        /// Seconds between keyframes.
        #[arg(long, default_value_t = 2)]
        gop: u32,
        /// Ask for this account by digest.
        #[arg(long, requires = "password")]
        username: Option<String>,
        #[arg(long, requires = "username")]
        password: Option<String>,
    },
    /// Devices of GB/T 28181 that register at a platform and can be called, asked and steered.
    Gb(Gb),
}

#[derive(Args)]
pub struct Gb {
    /// Where the platform's signalling is.
    #[arg(long, default_value = "127.0.0.1:5060")]
    server: SocketAddr,
    /// The platform's code.
    #[arg(long, default_value = "34020000002000000001")]
    platform: String,
    /// Of all devices. By default what RONGTONG_GB28181_PASSWORD holds, so that it stands in no list of processes.
    #[arg(long, env = "RONGTONG_GB28181_PASSWORD", hide_env_values = true)]
    password: String,
    #[arg(long, default_value_t = 1)]
    devices: u32,
    /// Of each device.
    #[arg(long, default_value_t = 1)]
    channels: u32,
    /// Where devices are.
    #[arg(long, default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Seconds between signs of life.
    #[arg(long, default_value_t = 60)]
    keepalive: u64,
    /// Seconds until all have begun to register.
    #[arg(long, default_value_t = 0)]
    ramp: u64,
    #[arg(long, default_value_t = 640)]
    width: u32,
    #[arg(long, default_value_t = 360)]
    height: u32,
    #[arg(long, default_value_t = 25)]
    fps: u32,
    /// Kilobits a second of a stream.
    #[arg(long, default_value_t = 1000)]
    kbit: u32,
    /// Seconds between keyframes.
    #[arg(long, default_value_t = 2)]
    gop: u32,
    /// As whose devices they behave.
    #[arg(long, value_enum, default_value_t = Maker::Standard)]
    vendor: Maker,
    /// `2011`, `2016`, `2022`
    #[arg(long, default_value = "2016")]
    edition: String,
    /// What goes wrong, by commas: `loss=1.5` (percent), `reorder=1`, `ssrc`, `mute` (INVITEs are not answered), `blind`
    /// (nothing is sent), `deaf` (steering is taken and not done), `silent=300` (seconds between silences).
    #[arg(long, default_value = "", value_parser = faults)]
    faults: Faults,
    /// A live call begins in the middle of a group of pictures.
    #[arg(long)]
    mid_gop: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Maker {
    Standard,
    Dahua,
    Hikvision,
    Uniview,
}

fn faults(text: &str) -> Result<Faults, String> {
    let mut faults = Faults::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
        let number = || value.and_then(|value| value.parse::<f64>().ok()).filter(|value| (0.0..=1e6).contains(value));
        let missing = || format!("{name} needs a number, as in {name}=1");
        match name {
            "loss" => faults.loss = (number().ok_or_else(missing)? * 100.0) as u32,
            "reorder" => faults.reorder = (number().ok_or_else(missing)? * 100.0) as u32,
            "silent" => faults.silent_every = Some(Duration::from_secs_f64(number().ok_or_else(missing)?.max(1.0))),
            "ssrc" => faults.other_ssrc = true,
            "mute" => faults.mute = true,
            "blind" => faults.blind = true,
            "deaf" => faults.deaf = true,
            _ => return Err(format!("{name} is no fault that is known")),
        }
    }
    Ok(faults)
}

pub async fn run(device: Device) -> Result<(), Box<dyn std::error::Error>> {
    let (listen, cameras, width, height, fps, kbit, gop, username, password) = match device {
        Device::Rtsp { listen, cameras, width, height, fps, kbit, gop, username, password } => {
            (listen, cameras, width, height, fps, kbit, gop, username, password)
        }
        Device::Gb(fleet) => return gb(fleet).await,
    };
    let auth =
        username.zip(password).map(|(username, password)| Auth { scheme: AuthScheme::Digest, username, password });
    let cameras = (0..cameras)
        .map(|index| CameraSpec {
            width,
            height,
            fps,
            bitrate: kbit.saturating_mul(1000),
            gop_seconds: gop,
            auth: auth.clone(),
            ..CameraSpec::demo(index)
        })
        .collect();
    let simulator = Simulator::start(SimulatorConfig { listen, cameras }).await?;
    for url in simulator.urls() {
        println!("{url}");
    }
    tokio::signal::ctrl_c().await?;
    simulator.stop().await;
    Ok(())
}

/// A film for simulated devices: a few seconds of a living picture, filled up to a bit rate.
pub fn reel(spec: &CameraSpec) -> Result<Reel, Box<dyn std::error::Error + Send + Sync>> {
    let frames = rongtong_simulator::film(spec, (spec.gop_seconds * 2).clamp(2, 20))?;
    let units = frames.into_iter().map(|frame| AccessUnit {
        timestamp: 0,
        nals: frame.nals.into_iter().map(Into::into).collect(),
        key: frame.key,
        complete: true,
    });
    Ok(Reel::new(units.collect(), spec.fps, spec.bitrate))
}

/// So many files may be open: each device and each stream has a socket.
pub fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write the one struct that is theirs for as long as they take.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

async fn gb(fleet: Gb) -> Result<(), Box<dyn std::error::Error>> {
    raise_file_limit();
    let spec = CameraSpec {
        width: fleet.width,
        height: fleet.height,
        fps: fleet.fps.clamp(1, 60),
        bitrate: fleet.kbit.saturating_mul(1_000),
        gop_seconds: fleet.gop.max(1),
        ..CameraSpec::new("gb", "GB/T 28181")
    };
    let reel = reel(&spec).map_err(|error| error.to_string())?;
    let config = FleetConfig {
        devices: fleet.devices,
        channels: fleet.channels.max(1),
        bind: fleet.bind,
        keepalive: Duration::from_secs(fleet.keepalive.max(1)),
        ramp: Duration::from_secs(fleet.ramp),
        edition: match fleet.edition.as_str() {
            "2011" => Edition::V2011,
            "2016" => Edition::V2016,
            "2022" => Edition::V2022,
            other => return Err(format!("{other} is no edition: 2011, 2016 or 2022").into()),
        },
        vendor: match fleet.vendor {
            Maker::Standard => Vendor::Standard,
            Maker::Dahua => Vendor::Dahua,
            Maker::Hikvision => Vendor::Hikvision,
            Maker::Uniview => Vendor::Uniview,
        },
        faults: fleet.faults,
        starts_with_key: !fleet.mid_gop,
        ..FleetConfig::new(fleet.server, Code::new(&fleet.platform)?, &fleet.password)
    };
    let running = Fleet::start(config, Arc::new(reel)).await?;
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    let mut said = String::new();
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            _ = tick.tick() => {
                let (counters, sent) = (running.counters(), running.sent());
                let calls = counters.calls.load(Ordering::Relaxed) - counters.ended.load(Ordering::Relaxed);
                let text = format!("online {} of {}, calls {calls}, pictures {}, refused {}", running.online(), fleet.devices, sent.pictures, counters.refused.load(Ordering::Relaxed));
                if text != said {
                    println!("{text}");
                    said = text;
                }
            }
        }
    }
    running.stop().await;
    Ok(())
}
