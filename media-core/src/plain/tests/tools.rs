//! ffmpeg and GStreamer as peers: a [`Feed`] encodes a moving picture or a tone and sends it, a
//! [`Player`] receives, decodes into a file, and judges what is there.

use super::SdesKeys;
use crate::session::srtp::Suite;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Ffmpeg,
    Gst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    H264,
    H265,
    Opus,
    Pcma,
    Pcmu,
}

const WIDTH: usize = 320;
const HEIGHT: usize = 180;
/// Pictures, or sound of 20 ms, that a player takes.
const FRAMES: usize = 30;
const SOUNDS: usize = 75;
const TONE: f64 = 440.0;

impl Format {
    pub fn is_video(self) -> bool {
        matches!(self, Self::H264 | Self::H265)
    }

    pub fn payload_type(self) -> u8 {
        match self {
            Self::H264 | Self::H265 => 96,
            Self::Opus => 111,
            Self::Pcma => 8,
            Self::Pcmu => 0,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Opus => "OPUS",
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
        }
    }

    fn clock_rate(self) -> u32 {
        match self {
            Self::H264 | Self::H265 => 90_000,
            Self::Opus => 48_000,
            Self::Pcma | Self::Pcmu => 8_000,
        }
    }

    fn ffmpeg_encoder(self) -> &'static str {
        match self {
            Self::H264 => "-c:v libx264 -preset ultrafast -tune zerolatency -g 15 -bf 0 -pix_fmt yuv420p",
            Self::H265 => {
                "-c:v libx265 -preset ultrafast -tune zerolatency -pix_fmt yuv420p \
                 -x265-params keyint=15:bframes=0:repeat-headers=1:log-level=none"
            }
            Self::Opus => "-c:a libopus -ar 48000 -ac 2 -frame_duration 20",
            Self::Pcma => "-c:a pcm_alaw -ar 8000 -ac 1",
            Self::Pcmu => "-c:a pcm_mulaw -ar 8000 -ac 1",
        }
    }

    fn gst_encoder(self) -> String {
        let picture = format!(
            "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=15/1 !"
        );
        let sound =
            format!("audiotestsrc is-live=true freq={TONE} samplesperbuffer=960 ! audioconvert ! audioresample !");
        match self {
            Self::H264 => format!(
                "{picture} x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast key-int-max=15 ! \
                 rtph264pay config-interval=-1 mtu=1200 pt=96"
            ),
            Self::H265 => format!(
                "{picture} x265enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h265parse ! \
                 rtph265pay config-interval=-1 mtu=1200 pt=96"
            ),
            Self::Opus => format!("{sound} audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay pt=111"),
            Self::Pcma => format!("{sound} audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay pt=8"),
            Self::Pcmu => format!("{sound} audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay pt=0"),
        }
    }

    fn gst_decoder(self) -> String {
        let picture = format!("videoconvert ! video/x-raw,format=I420 ! identity eos-after={}", FRAMES + 1);
        let sound = format!(
            "audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate=48000,channels=1,layout=interleaved ! \
             identity eos-after={}",
            SOUNDS + 1
        );
        match self {
            Self::H264 => format!("rtph264depay ! avdec_h264 ! {picture}"),
            Self::H265 => format!("rtph265depay ! avdec_h265 ! {picture}"),
            Self::Opus => format!("rtpopusdepay ! opusdec ! {sound}"),
            Self::Pcma => format!("rtppcmadepay ! alawdec ! {sound}"),
            Self::Pcmu => format!("rtppcmudepay ! mulawdec ! {sound}"),
        }
    }

    fn gst_fields(self) -> String {
        let media = if self.is_video() { "video" } else { "audio" };
        let (rate, name, payload) = (self.clock_rate(), self.name(), self.payload_type());
        format!("media=(string){media},clock-rate=(int){rate},encoding-name=(string){name},payload=(int){payload}")
    }

    fn sdp(self, port: u16, keys: Option<&SdesKeys>) -> String {
        let media = if self.is_video() { "video" } else { "audio" };
        let (rate, name, payload) = (self.clock_rate(), self.name(), self.payload_type());
        let channels = if self == Self::Opus { "/2" } else { "" };
        let profile = if keys.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let crypto = keys.map_or(String::new(), |keys| {
            format!("a=crypto:1 {} inline:{}\r\n", keys.suite.sdes_name(), base64(&keys.local))
        });
        format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m={media} {port} {profile} {payload}\r\na=rtpmap:{payload} {name}/{rate}{channels}\r\n{crypto}"
        )
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What GStreamer calls a suite: its cipher, and the tag of RTP and of RTCP.
fn gst_names(suite: Suite) -> (&'static str, &'static str, &'static str) {
    match suite {
        Suite::Aes128CmSha1_80 => ("aes-128-icm", "hmac-sha1-80", "hmac-sha1-80"),
        Suite::Aes128CmSha1_32 => ("aes-128-icm", "hmac-sha1-32", "hmac-sha1-80"),
        Suite::Aes256CmSha1_80 => ("aes-256-icm", "hmac-sha1-80", "hmac-sha1-80"),
        Suite::AeadAes128Gcm => ("aes-128-gcm", "null", "null"),
        Suite::AeadAes256Gcm => ("aes-256-gcm", "null", "null"),
    }
}

/// An even port that nobody has, nor the one after it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(43_000);
    loop {
        let port = NEXT.fetch_add(2, Ordering::Relaxed);
        let is_free = |port| {
            std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()
                && std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
        };
        if is_free(port) && is_free(port + 1) {
            return port;
        }
    }
}

/// Whether a program has bound this port; `what` is `tcp` or `udp`.
fn is_bound(what: &str, port: u16) -> bool {
    [what.to_owned(), format!("{what}6")].iter().any(|name| {
        let table = std::fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1).unwrap_or_default();
            let state = fields.nth(1).unwrap_or_default();
            local.ends_with(&format!(":{port:04X}")) && (what == "udp" || state == "0A")
        })
    })
}

async fn bound(what: &str, port: u16) {
    for _ in 0..500 {
        if is_bound(what, port) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody listens at {what} port {port}");
}

/// Waits until somebody takes TCP connections there.
pub async fn listens(port: u16) {
    bound("tcp", port).await;
}

/// A program that ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(program: &str, arguments: &str) -> Self {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let child = Command::new(program)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{program} is needed: {error}")))
    }

    /// Everything that it said, once it has ended.
    fn said(&mut self) -> String {
        let _ = self.0.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }
}

pub struct Feed {
    tool: Tool,
    format: Format,
    keys: Option<SdesKeys>,
    running: Option<Running>,
}

impl Feed {
    pub fn new(tool: Tool, format: Format, keys: Option<SdesKeys>) -> Self {
        Self { tool, format, keys, running: None }
    }

    fn gst(&mut self, sink: &str) {
        let mut pipeline = self.format.gst_encoder();
        if let Some(keys) = &self.keys {
            let (cipher, auth, rtcp_auth) = gst_names(keys.suite);
            pipeline += &format!(
                " ! srtpenc key={} rtp-cipher={cipher} rtp-auth={auth} rtcp-cipher={cipher} rtcp-auth={rtcp_auth}",
                hex(&keys.remote)
            );
        }
        self.running = Some(Running::start("gst-launch-1.0", &format!("-q {pipeline} ! {sink}")));
    }

    /// Sends to a UDP port; GStreamer by an RTP session with reports where it has no keys.
    pub fn send(&mut self, port: u16) {
        let format = self.format;
        match (self.tool, &self.keys) {
            (Tool::Gst, Some(_)) => self.gst(&format!("udpsink host=127.0.0.1 port={port}")),
            (Tool::Gst, None) => {
                let encoder = format.gst_encoder();
                let reports = port + 1;
                self.running = Some(Running::start(
                    "gst-launch-1.0",
                    &format!(
                        "-q rtpbin name=r {encoder} ! r.send_rtp_sink_0 r.send_rtp_src_0 ! \
                         udpsink host=127.0.0.1 port={port} r.send_rtcp_src_0 ! \
                         udpsink host=127.0.0.1 port={reports} sync=false async=false"
                    ),
                ));
            }
            (Tool::Ffmpeg, keys) => {
                let source = if format.is_video() {
                    format!("testsrc2=size={WIDTH}x{HEIGHT}:rate=15")
                } else {
                    format!("sine=frequency={TONE}:sample_rate=48000")
                };
                let to = match keys {
                    None => format!("rtp://127.0.0.1:{port}?pkt_size=1200"),
                    Some(keys) => format!(
                        "-srtp_out_suite {} -srtp_out_params {} srtp://127.0.0.1:{port}?pkt_size=1200",
                        keys.suite.sdes_name(),
                        base64(&keys.remote)
                    ),
                };
                let (encoder, payload) = (format.ffmpeg_encoder(), format.payload_type());
                self.running = Some(Running::start(
                    "ffmpeg",
                    &format!(
                        "-hide_banner -loglevel warning -re -f lavfi -i {source} -t 30 {encoder} \
                         -payload_type {payload} -f rtp {to}"
                    ),
                ));
            }
        }
    }

    /// Connects to a TCP port and sends frames there.
    pub fn connect(&mut self, port: u16) {
        self.gst(&format!("rtpstreampay ! tcpclientsink host=127.0.0.1 port={port}"));
    }

    /// Sends frames to who connects to a TCP port.
    pub fn listen(&mut self, port: u16) {
        self.gst(&format!("rtpstreampay ! tcpserversink host=127.0.0.1 port={port}"));
    }

    pub fn said(&mut self) -> String {
        self.running.as_mut().map(Running::said).unwrap_or_default()
    }
}

pub struct Player {
    tool: Tool,
    format: Format,
    keys: Option<SdesKeys>,
    directory: PathBuf,
    running: Option<Running>,
}

impl Drop for Player {
    fn drop(&mut self) {
        self.running = None;
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Player {
    pub fn new(tool: Tool, format: Format, keys: Option<SdesKeys>) -> Self {
        let directory = std::env::temp_dir().join(format!("rongtong-plain-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&directory).unwrap();
        Self { tool, format, keys, directory, running: None }
    }

    fn output(&self) -> PathBuf {
        self.directory.join("decoded")
    }

    fn gst(&mut self, source: &str, depay: &str) {
        let (decoder, output) = (self.format.gst_decoder(), self.output());
        let pipeline = format!("-q {source} ! {depay} ! {decoder} ! filesink location={}", output.display());
        self.running = Some(Running::start("gst-launch-1.0", &pipeline));
    }

    fn stream_caps(&self) -> String {
        format!("application/x-rtp-stream,{} ! rtpstreamdepay", self.format.gst_fields())
    }

    /// Receives at a UDP port the stream `ssrc`; GStreamer sends its reports to `reports`.
    pub async fn listen(&mut self, port: u16, ssrc: u32, reports: Option<u16>) {
        let fields = self.format.gst_fields();
        match (self.tool, self.keys.clone()) {
            (Tool::Gst, None) => {
                let mut source = format!(
                    "rtpbin name=r latency=50 udpsrc port={port} caps=application/x-rtp,{fields} ! r.recv_rtp_sink_0"
                );
                if let Some(reports) = reports {
                    source += &format!(
                        " udpsrc port={} ! r.recv_rtcp_sink_0 r.send_rtcp_src_0 ! \
                         udpsink host=127.0.0.1 port={reports} sync=false async=false",
                        port + 1
                    );
                }
                // A pad of the bin is linked once the stream is there.
                let depay = self.format.gst_decoder();
                let output = self.output();
                let pipeline = format!("-q {source} r. ! {depay} ! filesink location={}", output.display());
                self.running = Some(Running::start("gst-launch-1.0", &pipeline));
            }
            (Tool::Gst, Some(keys)) => {
                let (cipher, auth, rtcp_auth) = gst_names(keys.suite);
                let caps = format!(
                    "application/x-srtp,{fields},ssrc=(uint){ssrc},srtp-key=(buffer){},srtp-cipher=(string){cipher},\
                     srtp-auth=(string){auth},srtcp-cipher=(string){cipher},srtcp-auth=(string){rtcp_auth}",
                    hex(&keys.local)
                );
                self.gst(&format!("udpsrc port={port} caps={caps}"), "srtpdec ! rtpjitterbuffer latency=50");
            }
            (Tool::Ffmpeg, keys) => {
                let description = self.directory.join("stream.sdp");
                std::fs::write(&description, self.format.sdp(port, keys.as_ref())).unwrap();
                let what = if self.format.is_video() {
                    format!("-frames:v {FRAMES} -pix_fmt yuv420p -f rawvideo")
                } else {
                    format!("-t {:.2} -ar 48000 -ac 1 -f s16le", SOUNDS as f64 * 0.02)
                };
                self.running = Some(Running::start(
                    "ffmpeg",
                    &format!(
                        "-hide_banner -loglevel warning -protocol_whitelist file,udp,rtp,srtp,crypto \
                         -analyzeduration 1000000 -probesize 200000 -i {} {what} {}",
                        description.display(),
                        self.output().display()
                    ),
                ));
            }
        }
        bound("udp", port).await;
    }

    /// Takes frames from who connects to a TCP port.
    pub async fn serve(&mut self, port: u16) {
        let caps = self.stream_caps();
        self.gst(&format!("tcpserversrc host=127.0.0.1 port={port}"), &caps);
        listens(port).await;
    }

    /// Connects to a TCP port and takes frames from there.
    pub fn connect(&mut self, port: u16) {
        let caps = self.stream_caps();
        self.gst(&format!("tcpclientsrc host=127.0.0.1 port={port}"), &caps);
    }

    /// Waits until it has what it wants, and looks at that.
    pub async fn finished(&mut self) {
        let running = self.running.as_mut().unwrap();
        let (format, tool) = (self.format, self.tool);
        let until = Instant::now() + Duration::from_secs(40);
        let status = loop {
            if let Some(status) = running.0.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                let size = std::fs::metadata(self.directory.join("decoded")).map_or(0, |file| file.len());
                panic!("{tool:?} has {size} bytes of {format:?} and waits for more\n{}", running.said());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let said = running.said();
        assert!(status.success(), "{tool:?} {format:?}: {said}");
        for complaint in ["error", "conceal", "missed", "non-existing", "Could not find ref", "corrupt"] {
            assert!(!said.contains(complaint), "{tool:?} {format:?}: {said}");
        }
        let decoded = std::fs::read(self.output()).unwrap();
        if format.is_video() {
            check_pictures(&decoded);
        } else {
            check_tone(&decoded);
        }
    }
}

/// At least the pictures that were asked for, none of one colour, and no two that follow each other alike.
fn check_pictures(decoded: &[u8]) {
    let luma = WIDTH * HEIGHT;
    let pictures: Vec<&[u8]> = decoded.chunks_exact(luma * 3 / 2).map(|picture| &picture[..luma]).collect();
    assert!(pictures.len() >= FRAMES, "{} pictures", pictures.len());
    let differ = |a: &[u8], b: &[u8]| a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > 40);
    for pair in pictures.windows(2) {
        assert!(differ(pair[0], pair[1]), "a picture that stands still");
        assert!(pair[0].iter().max() > pair[0].iter().min());
    }
}

/// Sound of the tone's frequency, loud enough, without holes.
fn check_tone(decoded: &[u8]) {
    let samples: Vec<i16> =
        decoded.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).skip(48_000 / 5).collect();
    assert!(samples.len() >= 48_000, "{} samples", samples.len());
    let crossings = samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    let frequency = crossings as f64 * 48_000.0 / samples.len() as f64;
    assert!((frequency - TONE).abs() < 6.0, "a tone of {frequency} Hz");
    for piece in samples.chunks_exact(960) {
        assert!(piece.iter().any(|sample| sample.unsigned_abs() > 1_500), "20 ms of silence");
    }
}
