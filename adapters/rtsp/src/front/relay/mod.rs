//! The relay's task: requests of retina to the camera, answers and data back. It ends when either side does.

mod answers;
mod requests;
mod udp;

use super::Seen;
use super::digest::Auth;
use super::keepalive::{Habits, KeepAlive};
use super::message::{Message, Piece, next_piece};
use super::rtp::Stream;
use crate::address::Credentials;
use crate::reason::{Failure, Reason};
use crate::session::Transport;
use bytes::BytesMut;
use requests::Pending;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use udp::Ports;

/// Longest wait for a side to take what is written to it.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a TEARDOWN.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(1);
const READ_AT_ONCE: usize = 64 * 1024;
const MOST_AT_ONCE: usize = 64;

/// How the camera is called by its address, and by retina.
pub struct Names {
    /// `rtsp://host:port` of the camera.
    pub origin: String,
    /// `rtsp://ip:port` of the listener.
    pub ours: String,
}

pub struct Relay {
    camera: TcpStream,
    retina: TcpStream,
    names: Names,
    transport: Transport,
    /// Empty unless the packets come over UDP.
    ports: Ports,
    credentials: Option<Credentials>,
    auth: Option<Auth>,
    seen: Seen,
    cseq: u32,
    pending: Vec<Pending>,
    /// Id of the session, from the first SETUP.
    session: Option<String>,
    /// URI of the newest DESCRIBE or PLAY, which stands for the whole presentation.
    whole: String,
    /// First channels, at retina's side, of the streams set up.
    channels: Vec<u8>,
    habits: Habits,
    /// As the camera announced it.
    timeout: Option<Duration>,
    /// From the answer to PLAY on.
    alive: Option<KeepAlive>,
    /// By the stream's first channel.
    streams: BTreeMap<u8, Stream>,
}

/// Who ended it.
enum End {
    Camera,
    Retina,
}

impl Relay {
    pub fn new(
        camera: TcpStream,
        retina: TcpStream,
        names: Names,
        transport: Transport,
        credentials: Option<Credentials>,
        seen: Seen,
        habits: Habits,
    ) -> Self {
        Self {
            camera,
            retina,
            names,
            transport,
            ports: Ports::default(),
            credentials,
            auth: None,
            seen,
            cseq: 0,
            pending: Vec::new(),
            session: None,
            whole: String::new(),
            channels: Vec::new(),
            habits,
            timeout: None,
            alive: None,
            streams: BTreeMap::new(),
        }
    }

    /// Ends when either side ends; `Ok` also when the camera just closes its connection before it plays.
    pub async fn run(&mut self) -> Result<(), Failure> {
        let ended = match self.pass().await {
            Ok(End::Retina) => return Ok(()),
            Ok(End::Camera) => Ok(()),
            Err(failure) if failure.reason != Reason::Closed => return Err(failure),
            Err(failure) => Err(failure),
        };
        self.alive.as_ref().map_or(ended, |alive| Err(alive.ended()))
    }

    async fn pass(&mut self) -> Result<End, Failure> {
        let (mut from_camera, mut from_retina) = (BytesMut::new(), BytesMut::new());
        loop {
            from_camera.reserve(READ_AT_ONCE);
            let due = self.alive.as_ref().map(KeepAlive::due);
            let wait = async move {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => self.keep_alive().await?,
                read = self.camera.read_buf(&mut from_camera) => {
                    if !matches!(read, Ok(1..)) {
                        return Ok(End::Camera);
                    }
                    let mut out = Vec::new();
                    while let Some(piece) = next_piece(&mut from_camera).map_err(|error| not_rtsp(error, &from_camera))? {
                        match piece {
                            Piece::Interleaved(data) => {
                                let channel = data.get(1).copied().unwrap_or_default();
                                self.data(channel, data.get(4..).unwrap_or_default(), &mut out)?;
                            }
                            Piece::Message(message) => if let Some(answer) = self.hear(message).await? {
                                out.extend_from_slice(&answer.encode());
                            },
                        }
                    }
                    if !out.is_empty() && write(&mut self.retina, &out).await.is_err() {
                        self.tear_down(from_camera).await;
                        return Ok(End::Retina);
                    }
                }
                packet = self.ports.next(), if self.alive.is_some() => {
                    let mut packets = vec![packet.map_err(|error| Failure::new(Reason::Closed, error.to_string()))?];
                    packets.extend(std::iter::from_fn(|| self.ports.ready()).take(MOST_AT_ONCE));
                    let mut out = Vec::new();
                    for (channel, packet) in packets {
                        self.data(channel, &packet, &mut out)?;
                    }
                    if !out.is_empty() && write(&mut self.retina, &out).await.is_err() {
                        self.tear_down(from_camera).await;
                        return Ok(End::Retina);
                    }
                }
                read = self.retina.read_buf(&mut from_retina) => {
                    if !matches!(read, Ok(1..)) {
                        self.tear_down(from_camera).await;
                        return Ok(End::Retina);
                    }
                    while let Ok(Some(piece)) = next_piece(&mut from_retina) {
                        if let Piece::Message(request) = piece {
                            self.ask(request).await?;
                        }
                    }
                }
            }
        }
    }

    /// Everything that may count with the camera.
    async fn keep_alive(&mut self) -> Result<(), Failure> {
        let mut reports = Vec::new();
        for (channel, stream) in &mut self.streams {
            let Some(report) = stream.heard.interleaved(channel.saturating_add(1)) else { continue };
            if !self.ports.report(*channel, report.get(4..).unwrap_or_default()).await {
                reports.extend(report);
            }
        }
        write(&mut self.camera, &reports).await.map_err(|error| Failure::new(Reason::Closed, error.to_string()))?;
        let methods = self.alive.as_mut().map(KeepAlive::turn).unwrap_or_default();
        for method in methods {
            let uri = self.whole.clone();
            let mut request = Message::new(format!("{method} {uri} RTSP/1.0"));
            if let Some(session) = &self.session {
                request.set("Session", session);
            }
            request.set("User-Agent", "Rongtong");
            self.request(method.to_owned(), uri, request, None).await?;
        }
        Ok(())
    }

    /// A packet of the camera's, and what retina gets of it: interleaved, however it came.
    fn data(&mut self, channel: u8, packet: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut packets = Vec::new();
        if self.channels.contains(&channel) {
            let stream = self.streams.entry(channel).or_default();
            let broken = |_| Failure::new(Reason::BadPackets, super::rtp::broken(packet));
            if let Some(reason) = stream.packet(packet, Instant::now(), &mut packets).map_err(broken)? {
                self.seen.broke(reason);
            }
        } else if let Some(stream) = channel.checked_sub(1).and_then(|channel| self.streams.get_mut(&channel)) {
            packets.extend(stream.report(packet));
        }
        for packet in packets {
            let [high, low] = (packet.len() as u16).to_be_bytes();
            out.extend_from_slice(&[b'$', channel, high, low]);
            out.extend_from_slice(&packet);
        }
        Ok(())
    }

    /// Tells the camera that the session ends, and waits a little for its answer.
    async fn tear_down(&mut self, mut from_camera: BytesMut) {
        let Some(session) = self.session.take() else { return };
        self.pending.clear();
        let uri = self.whole.clone();
        let mut request = Message::new(format!("TEARDOWN {uri} RTSP/1.0"));
        request.set("Session", session);
        request.set("User-Agent", "Rongtong");
        let work = async {
            self.request("TEARDOWN".to_owned(), uri, request, None).await?;
            while !self.pending.is_empty() {
                while let Ok(Some(piece)) = next_piece(&mut from_camera) {
                    if let Piece::Message(message) = piece {
                        self.hear(message).await?;
                    }
                }
                if self.pending.is_empty() || !matches!(self.camera.read_buf(&mut from_camera).await, Ok(1..)) {
                    break;
                }
            }
            Ok::<(), Failure>(())
        };
        let _ = tokio::time::timeout(TEARDOWN_LIMIT, work).await;
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    match tokio::time::timeout(WRITE_LIMIT, stream.write_all(bytes)).await {
        Ok(result) => result,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

fn not_rtsp(error: super::message::MessageError, bytes: &[u8]) -> Failure {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line: String = String::from_utf8_lossy(line.get(..60).unwrap_or(line)).escape_debug().collect();
    Failure::new(Reason::Rubbish, format!("{error}: {line}"))
}
