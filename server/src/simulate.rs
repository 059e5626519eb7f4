//! `rongtong simulate`: demo devices.

use clap::Subcommand;
use rongtong_simulator::{Auth, AuthScheme, CameraSpec, Simulator, SimulatorConfig};
use std::net::SocketAddr;

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
}

pub async fn run(device: Device) -> Result<(), Box<dyn std::error::Error>> {
    let Device::Rtsp { listen, cameras, width, height, fps, kbit, gop, username, password } = device;
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
