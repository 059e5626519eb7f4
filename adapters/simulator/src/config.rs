//! What to simulate.

use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Address of the RTSP port. Port 0 takes any free one.
    pub listen: SocketAddr,
    pub cameras: Vec<CameraSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthScheme {
    Basic,
    Digest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    pub scheme: AuthScheme,
    pub username: String,
    pub password: String,
}

/// How a camera misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The TCP connection is cut this long after PLAY.
    DropAfter(Duration),
    /// Random bytes where RTP packets belong.
    RubbishRtp,
    /// Random bytes where the answer to any request belongs.
    RubbishRtsp,
    /// DESCRIBE is answered with random bytes that claim to be SDP.
    RubbishSdp,
    /// PLAY succeeds and nothing ever comes.
    Silent,
}

#[derive(Clone, Debug)]
pub struct CameraSpec {
    /// Path of the URL: `rtsp://host:port/<path>`.
    pub path: String,
    /// Drawn into the picture; characters the tiny font lacks become boxes.
    pub name: String,
    /// Pixels; made even and kept within 320x180 … 1920x1088.
    pub width: u32,
    pub height: u32,
    /// Frames per second, 1 … 60.
    pub fps: u32,
    /// Bit/s of the video.
    pub bitrate: u32,
    /// Seconds between keyframes.
    pub gop_seconds: u32,
    /// Degrees on the colour circle that the bars start at.
    pub hue: u32,
    /// Hz of the tone; 0 leaves the audio track out.
    pub tone_hz: u32,
    /// Longest RTP payload in bytes. Cameras use about 1,400.
    pub max_payload: usize,
    pub auth: Option<Auth>,
    pub fault: Option<Fault>,
}

impl CameraSpec {
    /// 1280x720 at 25 fps, 2 Mbit/s, a keyframe every 2 s, 440 Hz.
    pub fn new(path: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            name: name.into(),
            width: 1280,
            height: 720,
            fps: 25,
            bitrate: 2_000_000,
            gop_seconds: 2,
            hue: 0,
            tone_hz: 440,
            max_payload: 1400,
            auth: None,
            fault: None,
        }
    }

    /// The `index`th of a set of demo cameras (from 0): small and cheap, each with
    /// its own colour and a tone of the A major chord.
    pub fn demo(index: u32) -> Self {
        const TONES: [u32; 6] = [440, 554, 659, 880, 1109, 1319];
        let number = index.saturating_add(1);
        Self {
            width: 640,
            height: 360,
            fps: 15,
            bitrate: 500_000,
            hue: index.wrapping_mul(137) % 360,
            tone_hz: TONES.get(index as usize % TONES.len()).copied().unwrap_or(440),
            ..Self::new(format!("cam{number}"), format!("CAM {number}"))
        }
    }

    /// The same with every number inside its bounds and the size even.
    pub(crate) fn bounded(mut self) -> Self {
        self.width = self.width.clamp(320, 1920) & !1;
        self.height = self.height.clamp(180, 1088) & !1;
        self.fps = self.fps.clamp(1, 60);
        self.bitrate = self.bitrate.clamp(50_000, 20_000_000);
        self.gop_seconds = self.gop_seconds.clamp(1, 60);
        self.tone_hz = self.tone_hz.min(3_400);
        self.max_payload = self.max_payload.clamp(100, 1_460);
        self.path = self.path.trim_matches('/').to_owned();
        self
    }
}
