//! A platform of ours, and devices by `gb28181-rs` that register at it.

use crate::frames::{access_unit, pictures_of};
use bytes::Bytes;
use gb28181_rs::config::{Gb28181Config, Transport};
use gb28181_rs::mock::MockFrameHub;
use gb28181_rs::server::{Gb28181Server, ServerHandle};
use rongtong_gb28181::id::Code;
use rongtong_gb28181::platform::{Secret, Settings};
use rongtong_gb28181::service::Gb28181;
use rongtong_media_core::ports::PortPool;
use rongtong_sip::net::Sockets;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub const PLATFORM: &str = "34020000002000000001";
pub const DEVICE: &str = "34020000001320000001";
/// In its catalog the device is its own channel.
pub const CHANNEL: &str = DEVICE;
pub const PASSWORD: &str = "s3cret-of-the-gate";

pub fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

/// Ranges for media, so that tests do not meet.
static NEXT_RANGE: AtomicU16 = AtomicU16::new(41_000);

pub struct Bench {
    pub platform: Arc<Gb28181>,
    pub ports: Arc<PortPool>,
}

pub async fn platform() -> Bench {
    platform_with(|_| {}).await
}

pub async fn platform_with(change: impl FnOnce(&mut Settings)) -> Bench {
    let sockets = Sockets::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = sockets.local_addr().unwrap().to_string();
    let secrets = Arc::new(|code: &Code| match code.as_str() {
        DEVICE => Secret::Password(PASSWORD.into()),
        _ => Secret::Refused,
    });
    let mut settings = Settings::new(code(PLATFORM), address, secrets);
    settings.utc_offset = local_offset();
    change(&mut settings);
    let first = NEXT_RANGE.fetch_add(100, Ordering::Relaxed);
    let ports = PortPool::resting(first..=first + 99, Duration::ZERO).unwrap();
    Bench { platform: Gb28181::start(settings, sockets, ports.clone()).unwrap(), ports }
}

/// Minutes east of Greenwich of this machine's clock, which is the devices'.
fn local_offset() -> i16 {
    let said = Command::new("date").arg("+%z").output().unwrap().stdout;
    let said: i16 = String::from_utf8(said).unwrap().trim().parse().unwrap();
    said / 100 * 60 + said % 100
}

pub fn config(bench: &Bench, transport: Transport) -> Gb28181Config {
    let text = format!(
        "platform_sip_address = \"127.0.0.1\"\nplatform_sip_port = {}\ndevice_id = \"{DEVICE}\"\nchannel_id = \"{CHANNEL}\"\n\
         sip_domain = \"3402000000\"\npassword = \"{PASSWORD}\"\nlocal_sip_port = {}\nheartbeat_interval_secs = 2\n\
         device_name = \"东门半球\"\nmanufacturer = \"Testwerk\"\nprotocol_version = \"3.0\"\n",
        bench.platform.local_addr().port(),
        free_port(),
    );
    let mut config: Gb28181Config = toml::from_str(&text).unwrap();
    config.transport = transport;
    config
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A device with a camera that plays the same two seconds again and again, from where it is.
pub struct Camera {
    pub handle: ServerHandle,
    pub hub: Arc<MockFrameHub>,
    playing: tokio::task::JoinHandle<()>,
}

impl Camera {
    pub async fn start(config: Gb28181Config) -> Self {
        let hub = Arc::new(MockFrameHub::new());
        let handle = Gb28181Server::start(config, hub.clone(), None).await.unwrap();
        Self::play(handle, hub)
    }

    /// One with a loudspeaker: what it hears is written there.
    pub async fn that_hears(config: Gb28181Config, heard: Arc<parking_lot::Mutex<Vec<u8>>>) -> Self {
        let hub = Arc::new(MockFrameHub::new());
        let ear = move |law: &[u8], _ssrc: u32| heard.lock().extend_from_slice(law);
        let server = Gb28181Server::with_recording_index(config, hub.clone(), None).with_audio_sink(Arc::new(ear));
        let handle = server.spawn().await.unwrap();
        Self::play(handle, hub)
    }

    fn play(handle: ServerHandle, hub: Arc<MockFrameHub>) -> Self {
        let (played, pictures) = (hub.clone(), pictures());
        let playing = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(40));
            for nals in pictures.iter().cycle() {
                tick.tick().await;
                played.write(access_unit(nals));
            }
        });
        Self { handle, hub, playing }
    }

    pub async fn stop(mut self) {
        self.playing.abort();
        let _ = self.handle.shutdown().await;
    }
}

/// Fifty pictures of H.264 by x264, each as its NAL units.
pub fn pictures() -> Vec<Vec<Bytes>> {
    let out = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=640x360:r=25:d=2",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
        ])
        .args(["-g", "25", "-bf", "0", "-pix_fmt", "yuv420p", "-f", "mpegts", "-"])
        .output()
        .expect("ffmpeg");
    assert!(out.status.success());
    pictures_of(&out.stdout)
}

/// Waits until something is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !so() {
        assert!(Instant::now() < end, "not within 15 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
