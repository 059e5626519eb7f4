//! A camera that plays a script: an RTSP server whose every answer a test may replace, and that
//! sends G.711 with a counter in it, so that what arrives can be told; over UDP from another port
//! than it announces.

use rongtong_rtsp::address::{CameraUrl, Credentials};
use rongtong_rtsp::probe::{Probe, probe};
use rongtong_rtsp::session::{Target, Transport};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// One request of the server's; interleaved data is a method `$`, and a packet to the port for reports
/// `udp`.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub uri: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub bytes: Vec<u8>,
}

impl Ask {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

type Answer = Box<dyn Fn(&Ask) -> Option<Vec<u8>> + Send + Sync>;
pub type Media = Box<dyn Fn(u32) -> Vec<Vec<u8>> + Send + Sync>;
pub type Counts = Box<dyn Fn(&Ask) -> bool + Send + Sync>;

/// A packet's header.
#[derive(Clone, Copy)]
pub struct Rtp {
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

pub struct Script {
    pub sdp: Vec<u8>,
    /// `Transport` of the answer to SETUP, from the one asked for.
    pub transport: Box<dyn Fn(&str) -> String + Send + Sync>,
    /// Added to `Session`.
    pub session: &'static str,
    pub public: &'static str,
    /// SSRC of the packets.
    pub ssrc: u32,
    /// What of the packet with this number is other than usual.
    pub rtp: Box<dyn Fn(u32, Rtp) -> Rtp + Send + Sync>,
    /// Instead of G.711: the RTP packets of each 20 ms, by their number; on channel 0.
    pub media: Option<Media>,
    /// Sent ahead of the first packet.
    pub first: Vec<u8>,
    /// Instead of the usual answer.
    pub answer: Answer,
    /// Ends the connection when nothing that counts came for so long after PLAY.
    pub cut_off: Option<(Duration, Counts)>,
}

pub const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=Gate\r\nt=0 0\r\na=control:*\r\nm=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=control:trackID=0\r\n";

impl Default for Script {
    fn default() -> Self {
        Self {
            sdp: SDP.into(),
            transport: Box::new(str::to_owned),
            session: "",
            public: "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN",
            ssrc: 7,
            rtp: Box::new(|_, rtp| rtp),
            media: None,
            first: Vec::new(),
            answer: Box::new(|_| None),
            cut_off: None,
        }
    }
}

pub struct Scripted {
    pub port: u16,
    asks: Arc<Mutex<Vec<Ask>>>,
}

impl Scripted {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asks = Arc::new(Mutex::new(Vec::new()));
        let (script, kept) = (Arc::new(script), asks.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), kept.clone()));
            }
        });
        Self { port, asks }
    }

    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/live", self.port)
    }

    pub fn asks(&self) -> Vec<Ask> {
        self.asks.lock().unwrap().clone()
    }

    pub fn count(&self, method: &str) -> usize {
        self.asks().iter().filter(|ask| ask.method == method).count()
    }

    /// Tries it once; each step has 3 s.
    pub async fn probe(&self, credentials: Option<(&str, &str)>) -> Probe {
        let (url, _) = CameraUrl::parse(&self.url()).unwrap();
        let credentials = credentials
            .map(|(username, password)| Credentials { username: username.into(), password: password.into() });
        probe(&Target { url, credentials, transport: Transport::Tcp }, Duration::from_secs(3)).await
    }
}

/// An answer with these header lines, each with its end.
pub fn answer(ask: &Ask, status: &str, lines: &str) -> Vec<u8> {
    format!("RTSP/1.0 {status}\r\nCSeq: {}\r\n{lines}\r\n", ask.header("cseq")).into_bytes()
}

pub fn described(ask: &Ask, sdp: &[u8]) -> Vec<u8> {
    let lines = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", sdp.len());
    let mut bytes = answer(ask, "200 OK", &lines);
    bytes.extend_from_slice(sdp);
    bytes
}

fn usual(ask: &Ask, script: &Script, udp: Option<&Udp>) -> Vec<u8> {
    let session = format!("Session: 4711{}\r\n", script.session);
    match ask.method.as_str() {
        "OPTIONS" => answer(ask, "200 OK", &format!("Public: {}\r\n", script.public)),
        "DESCRIBE" => described(ask, &script.sdp),
        "SETUP" => {
            let ports = udp.map(|udp| format!(";server_port={}-{}", udp.port - 1, udp.port)).unwrap_or_default();
            let transport = (script.transport)(ask.header("transport")) + &ports;
            answer(ask, "200 OK", &format!("{session}Transport: {transport}\r\n"))
        }
        "PLAY" | "TEARDOWN" => answer(ask, "200 OK", &session),
        method if script.public.contains(method) => answer(ask, "200 OK", &session),
        _ => answer(ask, "501 Not Implemented", ""),
    }
}

struct Udp {
    /// For reports.
    listens: UdpSocket,
    port: u16,
    sends: UdpSocket,
    to: u16,
}

impl Udp {
    /// When that was asked for.
    async fn of(ask: &Ask) -> Option<Self> {
        let to = ask.header("transport").split_once("client_port=")?.1.split('-').next()?.parse().unwrap();
        let listens = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = listens.local_addr().unwrap().port();
        Some(Self { listens, port, sends: UdpSocket::bind("127.0.0.1:0").await.unwrap(), to })
    }

    async fn heard(udp: Option<&Self>) -> Ask {
        let Some(udp) = udp else { return std::future::pending().await };
        let mut bytes = vec![0; 2_000];
        let (length, _) = udp.listens.recv_from(&mut bytes).await.unwrap();
        bytes.truncate(length);
        Ask { method: "udp".into(), uri: String::new(), headers: BTreeMap::new(), bytes }
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>, asks: Arc<Mutex<Vec<Ask>>>) -> std::io::Result<()> {
    let (mut buffer, mut packets, mut playing) = (Vec::new(), 0_u32, false);
    let mut media = tokio::time::interval(Duration::from_millis(20));
    let mut counted = Instant::now();
    let mut udp = None;
    loop {
        tokio::select! {
            ask = Udp::heard(udp.as_ref()) => {
                if script.cut_off.as_ref().is_some_and(|(_, counts)| counts(&ask)) {
                    counted = Instant::now();
                }
                asks.lock().unwrap().push(ask);
            }
            read = stream.read_buf(&mut buffer) => {
                if read? == 0 {
                    return Ok(());
                }
                while let Some(ask) = take(&mut buffer) {
                    if ask.method == "PLAY" || script.cut_off.as_ref().is_some_and(|(_, counts)| counts(&ask)) {
                        counted = Instant::now();
                    }
                    asks.lock().unwrap().push(ask.clone());
                    if ask.method == "$" {
                        continue;
                    }
                    if ask.method == "SETUP" {
                        udp = Udp::of(&ask).await;
                    }
                    let bytes = (script.answer)(&ask).unwrap_or_else(|| usual(&ask, &script, udp.as_ref()));
                    stream.write_all(&bytes).await?;
                    playing |= ask.method == "PLAY" && bytes.starts_with(b"RTSP/1.0 200");
                }
            }
            _ = media.tick(), if playing => {
                if script.cut_off.as_ref().is_some_and(|(limit, _)| counted.elapsed() > *limit) {
                    return Ok(());
                }
                if packets == 0 {
                    stream.write_all(&script.first).await?;
                }
                let due = script.media.as_ref().map_or_else(|| vec![packet(&script, packets)], |media| media(packets));
                for packet in due {
                    match &udp {
                        Some(udp) => drop(udp.sends.send_to(&packet, ("127.0.0.1", udp.to)).await?),
                        None => {
                            let length = (packet.len() as u16).to_be_bytes();
                            stream.write_all(&[&[b'$', 0], &length[..], &packet].concat()).await?;
                        }
                    }
                }
                packets += 1;
            }
        }
    }
}

/// 20 ms of G.711 whose every byte is the packet's number.
fn packet(script: &Script, number: u32) -> Vec<u8> {
    let usual = Rtp { payload_type: 8, sequence: number as u16, timestamp: number * 160, ssrc: script.ssrc };
    (script.rtp)(number, usual).packet(false, &[number as u8; 160])
}

impl Rtp {
    pub fn packet(self, marker: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, u8::from(marker) << 7 | self.payload_type];
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.ssrc.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }
}

fn take(buffer: &mut Vec<u8>) -> Option<Ask> {
    if buffer.first() == Some(&b'$') {
        let length = 4 + usize::from(u16::from_be_bytes([*buffer.get(2)?, *buffer.get(3)?]));
        if buffer.len() < length {
            return None;
        }
        let bytes = buffer.drain(..length).collect();
        return Some(Ask { method: "$".into(), uri: String::new(), headers: BTreeMap::new(), bytes });
    }
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ').map(str::to_owned);
    let (method, uri) = (words.next()?, words.next()?);
    let fields = lines.filter_map(|line| line.split_once(": "));
    let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Some(Ask { method, uri, headers, bytes: Vec::new() })
}
