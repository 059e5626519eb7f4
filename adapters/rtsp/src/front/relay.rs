//! The relay's task: requests of retina to the camera, answers and data back.
//!
//! Invariant: a request is sent at most three times, and again only after a 401 that a new
//! nonce may mend; a wrong password is tried once. Numbers (`CSeq`) are the relay's own.

use super::Seen;
use super::digest::{Auth, challenges, named};
use super::keepalive::{Habits, KeepAlive, session};
use super::message::{Message, Piece, next_piece};
use super::rtp::Stream;
use crate::address::Credentials;
use crate::reason::{Failure, Reason};
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for a side to take what is written to it.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a TEARDOWN.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(1);
const READ_AT_ONCE: usize = 64 * 1024;
const MOST_TRIES: u8 = 3;
const MOST_PENDING: usize = 16;

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
    credentials: Option<Credentials>,
    auth: Option<Auth>,
    seen: Seen,
    cseq: u32,
    pending: Vec<Pending>,
    /// Id of the session, from the first SETUP.
    session: Option<String>,
    /// URI of the newest DESCRIBE or PLAY, which stands for the whole presentation.
    whole: String,
    /// First channels of the streams set up.
    channels: Vec<u8>,
    habits: Habits,
    /// As the camera announced it.
    timeout: Option<Duration>,
    /// From the answer to PLAY on.
    alive: Option<KeepAlive>,
    /// By the stream's first channel.
    streams: BTreeMap<u8, Stream>,
}

/// A request without its answer.
struct Pending {
    cseq: u32,
    method: String,
    uri: String,
    request: Message,
    /// retina's number; `None` for a request of the relay's own.
    asked: Option<u32>,
    tries: u8,
    /// What the last try was authorized by.
    authorized: Authorized,
}

/// Who ended it.
enum End {
    Camera,
    Retina,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Authorized {
    Not,
    /// By a challenge of an earlier request, whose nonce may have ended.
    Before,
    /// By the challenge of its own 401.
    Own,
}

impl Relay {
    pub fn new(
        camera: TcpStream,
        retina: TcpStream,
        names: Names,
        credentials: Option<Credentials>,
        seen: Seen,
        habits: Habits,
    ) -> Self {
        Self {
            camera,
            retina,
            names,
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
                            Piece::Interleaved(data) => self.interleaved(&data, &mut out)?,
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
            reports.extend(stream.heard.interleaved(channel.saturating_add(1)).into_iter().flatten());
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

    /// Data of the camera's, and what retina gets of it.
    fn interleaved(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let (channel, packet) = (data.get(1).copied().unwrap_or_default(), data.get(4..).unwrap_or_default());
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

    /// A request of retina's.
    async fn ask(&mut self, mut request: Message) -> Result<(), Failure> {
        let asked = request.cseq();
        let Some((method, uri)) = request.request() else { return Ok(()) };
        let uri = match uri.strip_prefix(self.names.ours.as_str()) {
            Some(rest) => format!("{}{rest}", self.names.origin),
            None => uri.to_owned(),
        };
        let method = method.to_owned();
        if self.alive.is_some() && matches!(method.as_str(), "GET_PARAMETER" | "OPTIONS" | "SET_PARAMETER") {
            // The relay keeps the session alive by itself.
            let mut answer = Message::new("RTSP/1.0 200 OK");
            answer.set("CSeq", asked.unwrap_or_default().to_string());
            let bytes = answer.encode();
            return write(&mut self.retina, &bytes)
                .await
                .map_err(|error| Failure::new(Reason::Internal, error.to_string()));
        }
        request.remove("Session");
        if let Some(session) = &self.session {
            request.set("Session", session);
        }
        if matches!(method.as_str(), "DESCRIBE" | "PLAY") {
            self.whole.clone_from(&uri);
        }
        request.first = format!("{method} {uri} RTSP/1.0");
        self.request(method, uri, request, asked).await
    }

    async fn request(
        &mut self,
        method: String,
        uri: String,
        request: Message,
        asked: Option<u32>,
    ) -> Result<(), Failure> {
        let authorized = if self.auth.is_some() { Authorized::Before } else { Authorized::Not };
        self.send(Pending { cseq: 0, method, uri, request, asked, tries: 0, authorized }).await
    }

    async fn send(&mut self, mut pending: Pending) -> Result<(), Failure> {
        self.cseq = self.cseq.wrapping_add(1);
        pending.cseq = self.cseq;
        pending.tries += 1;
        let request = &mut pending.request;
        request.set("CSeq", self.cseq.to_string());
        request.remove("Authorization");
        if let (Some(auth), Some(credentials)) = (&mut self.auth, &self.credentials) {
            let value = auth.authorize(credentials, &pending.method, &pending.uri, &request.body);
            request.set("Authorization", value);
        }
        let bytes = request.encode();
        if self.pending.len() >= MOST_PENDING {
            self.pending.remove(0);
        }
        self.pending.push(pending);
        write(&mut self.camera, &bytes).await.map_err(|error| Failure::new(Reason::Closed, error.to_string()))
    }

    /// A message of the camera's; returns what retina is told.
    async fn hear(&mut self, message: Message) -> Result<Option<Message>, Failure> {
        let Some(status) = message.status() else {
            self.answer_camera(&message).await?;
            return Ok(None);
        };
        if status < 200 {
            return Ok(None);
        }
        // An answer without a number is taken for the oldest request's.
        let at = match message.cseq() {
            Some(cseq) => self.pending.iter().position(|pending| pending.cseq == cseq),
            None => (!self.pending.is_empty()).then_some(0),
        };
        let Some(at) = at else { return Ok(None) };
        let mut pending = self.pending.remove(at);
        if let (Some(auth), Some(info)) = (&mut self.auth, message.header("Authentication-Info")) {
            auth.next_nonce(info);
        }
        if status == 401 && self.answers(&message, &mut pending) {
            self.send(pending).await?;
            return Ok(None);
        }
        self.answered(&pending, status, message)
    }

    /// Whether the request is to be sent again with an answer to this challenge.
    fn answers(&mut self, message: &Message, pending: &mut Pending) -> bool {
        let found = challenges(message.all("WWW-Authenticate"));
        let stale = found.iter().any(super::digest::Challenge::stale);
        // retina's requests alone: a session goes on without what is refused to the relay.
        let note = |reason, detail: &str| {
            if pending.asked.is_some() {
                self.seen.note(Failure::new(reason, detail));
            }
        };
        if self.credentials.is_none() {
            note(Reason::LoginRequired, &format!("401 to {}; offered: {}", pending.method, named(&found)));
            return false;
        }
        if pending.tries >= MOST_TRIES {
            return false;
        }
        if pending.authorized == Authorized::Own && !stale {
            return false;
        }
        let Some(auth) = Auth::choose(&found) else {
            note(Reason::LoginUnsupported, &format!("401 to {}; offered: {}", pending.method, named(&found)));
            return false;
        };
        self.seen.found.lock().basic = matches!(auth, Auth::Basic);
        self.auth = Some(auth);
        pending.authorized = Authorized::Own;
        true
    }

    /// What retina is told of an answer.
    fn answered(&mut self, pending: &Pending, status: u16, mut answer: Message) -> Result<Option<Message>, Failure> {
        if let Some(alive) = &mut self.alive {
            alive.answered(&pending.method, &answer);
        }
        let Some(asked) = pending.asked else { return Ok(None) };
        if (200..300).contains(&status) {
            match pending.method.as_str() {
                "DESCRIBE" => self.described(&mut answer)?,
                "SETUP" => self.set_up(pending, &mut answer)?,
                // Numbers and times announced here are often wrong, and none is used.
                "PLAY" => {
                    answer.remove("RTP-Info");
                    self.alive = Some(KeepAlive::new(self.habits.clone(), self.timeout));
                }
                _ => {}
            }
        }
        answer.set("CSeq", asked.to_string());
        Ok(Some(answer))
    }

    fn described(&mut self, answer: &mut Message) -> Result<(), Failure> {
        let description = super::describe::read(&answer.body)
            .map_err(|error| Failure::new(Reason::BadDescription, error.to_string()))?;
        answer.body = description.text.into();
        answer.set("Content-Type", "application/sdp");
        for base in ["Content-Base", "Content-Location"] {
            let usable = answer.header(base).is_some_and(|base| {
                url::Url::parse(base).or_else(|_| url::Url::parse(&format!("rtsp://{base}"))).is_ok()
            });
            if !usable {
                answer.remove(base);
            }
        }
        self.seen.found.lock().title = description.title;
        Ok(())
    }

    fn set_up(&mut self, pending: &Pending, answer: &mut Message) -> Result<(), Failure> {
        if let Some((id, timeout)) = answer.header("Session").map(session) {
            self.timeout = timeout.or(self.timeout);
            self.session.get_or_insert_with(|| id.to_owned());
        }
        // retina wants one, the same in each answer.
        answer.set("Session", self.session.as_deref().filter(|id| !id.is_empty()).unwrap_or("0"));
        let peer = self.camera.peer_addr().map_err(|error| Failure::new(Reason::Closed, error.to_string()))?.ip();
        let asked = pending.request.header("Transport").unwrap_or_default();
        let (transport, channel) = super::setup::transport(asked, answer.header("Transport"), peer, &self.channels)
            .map_err(|refused| Failure::new(Reason::TransportRefused, refused.0))?;
        self.channels.extend(channel);
        answer.set("Transport", transport);
        Ok(())
    }

    /// Some cameras ask, mostly to see whether somebody is there.
    async fn answer_camera(&mut self, request: &Message) -> Result<(), Failure> {
        let mut answer = Message::new("RTSP/1.0 200 OK");
        if !matches!(request.request(), Some(("OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER", _))) {
            answer.first = "RTSP/1.0 501 Not Implemented".to_owned();
        }
        answer.set("CSeq", request.header("CSeq").unwrap_or_default());
        let bytes = answer.encode();
        write(&mut self.camera, &bytes).await.map_err(|error| Failure::new(Reason::Closed, error.to_string()))
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
