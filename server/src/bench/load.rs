//! Publishers and subscribers of one process. Says `ready` once all are connected, begins to send on `send`,
//! counts from `measure` on, and reports on `report`; its commander is at its input.

use super::client::{Client, Counts};
use super::report::{Times, monotonic_ns, sleep_until};
use super::signal::{self, Own, PUBLISHED};
use super::{Clients, Failure, Load, janus};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use mio::{Events, Interest, Poll, Token, Waker};
use rongtong_media_core::rtp::packet::{RtpHeader, write_header};
use rongtong_media_core::session::dtls::DtlsIdentity;
use rongtong_media_core::session::srtp::{Rollover, SrtpPair};
use rongtong_signaling::token::{TokenMinter, TokenRequest};
use serde_json::json;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};

pub const ROOM: &str = "bench";
const WAKE: Token = Token(usize::MAX);
/// A publisher's keyframes, beside those that it is asked for.
const KEYFRAME_EVERY: u64 = 2_000_000_000;
const ECHO_EVERY: Duration = Duration::from_millis(5);

enum Order {
    Add(Box<Client>),
    Send,
    /// So many times the packets from now on.
    Times(u64),
    Measure,
    Report,
}

pub async fn run(load: Load) -> Result<(), Failure> {
    let identity = Arc::new(DtlsIdentity::generate()?);
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (orders, inbox) = mpsc::channel();
    let order = move |order| {
        let _ = orders.send(order);
        let _ = waker.wake();
    };
    let order = Arc::new(order);
    std::thread::spawn({
        let load = load.clone();
        move || {
            if let Err(error) = serve(&load, poll, &inbox) {
                eprintln!("bench: {error}");
                std::process::exit(1);
            }
        }
    });
    let minter = TokenMinter::new(load.key.as_str(), &load.secret, Duration::from_secs(3600));
    let mut members = tokio::task::JoinSet::new();
    for number in 0..load.publishers + load.subscribers {
        let identity_name = format!("{}-{number}", load.name);
        let room = load.rooms.get(number % load.rooms.len().max(1)).map_or(ROOM, String::as_str);
        let request = TokenRequest { room, identity: &identity_name, name: &identity_name };
        let publishes = number < load.publishers;
        let token = if publishes { minter.participant(request) } else { minter.subscribe_only(request) };
        let (load, identity, order) = (load.clone(), identity.clone(), order.clone());
        members.spawn(async move {
            let add = |client| order(Order::Add(Box::new(client)));
            if let Some(publishers) = load.janus {
                return if publishes {
                    janus::publish(&load.url, number, identity, add).await
                } else {
                    janus::watch(&load.url, publishers, load.clients, identity, add).await
                };
            }
            if publishes {
                publish(&load, &token, number, identity, add).await
            } else {
                watch(&load, &token, identity, add).await
            }
        });
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            ended = members.join_next(), if !members.is_empty() => {
                if let Some(ended) = ended { ended?? }
            }
            line = lines.next_line() => match line?.as_deref() {
                Some("send") => order(Order::Send),
                Some("measure") => order(Order::Measure),
                Some("report") => order(Order::Report),
                Some(other) => {
                    if let Some(times) = other.strip_prefix("times ").and_then(|times| times.parse().ok()) {
                        order(Order::Times(times));
                    }
                }
                None => return Ok(()),
            },
        }
    }
}

/// A subscriber: takes what is offered for as long as it lasts.
async fn watch(load: &Load, token: &str, identity: Arc<DtlsIdentity>, add: impl Fn(Client)) -> Result<(), Failure> {
    let mut socket = signal::connect(&load.url, token).await?;
    let media = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let own = Own::new(identity.fingerprint(), &media)?;
    let mut connected = false;
    // The type of the pictures; the first offer of a room that nobody sends into yet has none.
    let media_type = Arc::new(AtomicU8::new(PUBLISHED));
    let mut pings = tokio::time::interval(Duration::from_secs(5));
    loop {
        let message = tokio::select! {
            message = signal::next(&mut socket) => message?,
            _ = pings.tick() => {
                signal::send(&mut socket, Request::PingReq(proto::Ping { timestamp: 0, rtt: 0 })).await?;
                continue;
            }
        };
        match message {
            Response::Offer(offer) => {
                let (sdp, pictures) = signal::answer(&offer.sdp, &own)?;
                if pictures != 0 {
                    media_type.store(pictures, Ordering::Relaxed);
                }
                if !connected {
                    connected = true;
                    let remote = signal::remote(&offer.sdp)?;
                    add(Client::new(
                        media.try_clone()?,
                        remote,
                        own.credentials.clone(),
                        identity.clone(),
                        load.clients,
                        media_type.clone(),
                    )?);
                }
                let answer = proto::SessionDescription { r#type: "answer".into(), sdp, ..Default::default() };
                signal::send(&mut socket, Request::Answer(answer)).await?;
            }
            Response::Leave(leave) => return Err(format!("the server ended it: {:?}", leave.reason()).into()),
            _ => {}
        }
    }
}

/// A publisher of one stream of pictures.
async fn publish(
    load: &Load,
    token: &str,
    number: usize,
    identity: Arc<DtlsIdentity>,
    add: impl Fn(Client),
) -> Result<(), Failure> {
    let mut socket = signal::connect(&load.url, token).await?;
    let media = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let own = Own::new(identity.fingerprint(), &media)?;
    let mut pings = tokio::time::interval(Duration::from_secs(5));
    let track = format!("camera-{number}");
    loop {
        let message = tokio::select! {
            message = signal::next(&mut socket) => message?,
            _ = pings.tick() => {
                signal::send(&mut socket, Request::PingReq(proto::Ping { timestamp: 0, rtt: 0 })).await?;
                continue;
            }
        };
        match message {
            Response::Join(_) => {
                let request = proto::AddTrackRequest {
                    cid: track.clone(),
                    name: track.clone(),
                    r#type: proto::TrackType::Video as i32,
                    source: proto::TrackSource::Camera as i32,
                    width: 1280,
                    height: 720,
                    ..Default::default()
                };
                signal::send(&mut socket, Request::AddTrack(request)).await?;
            }
            Response::TrackPublished(_) => {
                let sdp = signal::offer(&own, &track, 1000 + number as u32);
                let offer = proto::SessionDescription { r#type: "offer".into(), sdp, ..Default::default() };
                signal::send(&mut socket, Request::Offer(offer)).await?;
            }
            Response::Answer(answer) => {
                let remote = signal::remote(&answer.sdp)?;
                add(Client::new(
                    media.try_clone()?,
                    remote,
                    own.credentials.clone(),
                    identity.clone(),
                    Clients::Light,
                    Arc::new(AtomicU8::new(PUBLISHED)),
                )?);
            }
            // Its own connection for what others send is not used.
            Response::Leave(leave) => return Err(format!("the server ended it: {:?}", leave.reason()).into()),
            _ => {}
        }
    }
}

/// The packets of all clients.
fn serve(load: &Load, mut poll: Poll, inbox: &mpsc::Receiver<Order>) -> Result<(), Failure> {
    let mut clients: Vec<Client> = Vec::new();
    let mut publishing: Vec<(Box<SrtpPair>, UdpSocket)> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let (mut said_ready, mut before) = (false, Counts::default());
    let (keyframe, times) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(1)));
    let echo = load.echo.map(Echo::new).transpose()?;
    loop {
        let now = Instant::now();
        let next = clients.iter().map(Client::poll_timeout).min();
        let wait = next.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(now));
        poll.poll(&mut events, Some(wait.min(Duration::from_millis(100))))
            .or_else(|error| if error.kind() == std::io::ErrorKind::Interrupted { Ok(()) } else { Err(error) })?;
        let now = Instant::now();
        for event in &events {
            if let Some(client) = clients.get_mut(event.token().0) {
                client.read(now)?;
            }
        }
        for client in clients.iter_mut().filter(|client| client.poll_timeout() <= now) {
            client.handle_timeout(now)?;
        }
        let connected = clients.iter().filter(|client| client.is_connected()).count();
        if !said_ready && connected == load.publishers + load.subscribers {
            said_ready = true;
            println!("{}", json!({ "ready": connected }));
        }
        while let Ok(order) = inbox.try_recv() {
            match order {
                Order::Add(mut client) => {
                    if load.echo.is_some() {
                        client.times = Some(Times::default());
                    }
                    let token = Token(clients.len());
                    poll.registry().register(&mut client.socket, token, Interest::READABLE)?;
                    client.handle_timeout(now)?;
                    clients.push(*client);
                }
                Order::Send => {
                    for client in &mut clients {
                        let socket: OwnedFd = client.socket.as_fd().try_clone_to_owned()?;
                        publishing.extend(client.take_srtp().map(|srtp| (srtp, UdpSocket::from(socket))));
                    }
                    let (load, publishing) = (load.clone(), std::mem::take(&mut publishing));
                    let (keyframe, times) = (keyframe.clone(), times.clone());
                    std::thread::spawn(move || send(&load, publishing, &keyframe, &times));
                }
                Order::Times(more) => times.store(more, Ordering::Relaxed),
                Order::Measure => {
                    before = total(&clients);
                    clients.iter_mut().filter_map(|client| client.times.as_mut()).for_each(Times::clear);
                    if let Some(echo) = &echo {
                        echo.begin();
                    }
                }
                Order::Report => {
                    let counts = total(&clients);
                    let mut report = json!({
                        "packets": counts.packets - before.packets,
                        "expected": counts.expected - before.expected,
                        "retransmitted": counts.retransmitted - before.retransmitted,
                        "broken": counts.broken,
                        "streams": clients.iter().map(Client::streams).sum::<usize>(),
                    });
                    if let Some(times) = clients.first_mut().and_then(|client| client.times.as_mut()) {
                        report["times"] = json!(times.count());
                        report["p50_ms"] = json!(times.percentile(50.0));
                        report["p99_ms"] = json!(times.percentile(99.0));
                    }
                    if let Some(echo) = &echo {
                        let mut times = echo.end();
                        report["echo_p50_ms"] = json!(times.percentile(50.0));
                        report["echo_p99_ms"] = json!(times.percentile(99.0));
                    }
                    println!("{report}");
                }
            }
        }
    }
}

fn total(clients: &[Client]) -> Counts {
    let mut total = Counts::default();
    clients.iter().for_each(|client| total.add(client.counts()));
    total
}

/// Sends pictures at an even pace, the packets of one together, every publisher at its own part of the period.
fn send(load: &Load, publishing: Vec<(Box<SrtpPair>, UdpSocket)>, keyframe: &AtomicBool, times: &AtomicU64) {
    let mut streams: Vec<_> = publishing.into_iter().map(|it| (it, Rollover::default(), 0u16, 0u64)).collect();
    let picture = load.picture.max(1);
    let period = 1_000_000_000 * u64::from(picture) / u64::from(load.pps.max(1));
    let step = period / streams.len().max(1) as u64;
    let start = monotonic_ns();
    let mut packet = Vec::with_capacity(2048);
    for turn in 0u64.. {
        for (number, ((srtp, socket), rollover, sequence, next_keyframe)) in streams.iter_mut().enumerate() {
            let at = start + turn * period + number as u64 * step;
            sleep_until(at);
            let now = monotonic_ns();
            let is_keyframe = keyframe.swap(false, Ordering::Relaxed) || now >= *next_keyframe;
            if is_keyframe {
                *next_keyframe = now + KEYFRAME_EVERY;
            }
            let timestamp = (now / 1000 * 9 / 100) as u32;
            let pictures = times.load(Ordering::Relaxed) as u32;
            for part in (0..pictures).flat_map(|_| 0..picture) {
                *sequence = sequence.wrapping_add(1);
                let header = RtpHeader {
                    marker: part + 1 == picture,
                    payload_type: PUBLISHED,
                    sequence: *sequence,
                    timestamp,
                    ssrc: 1000 + number as u32,
                    csrc_count: 0,
                };
                packet.clear();
                write_header(&mut packet, &header, &[]);
                let head = packet.len();
                packet.extend_from_slice(&begin(is_keyframe, part, picture));
                // Then the time.
                packet.extend_from_slice(&monotonic_ns().to_be_bytes());
                packet.resize(head + load.payload.max(11), 0x5a);
                srtp.outgoing.seal_rtp(&mut packet, 0, head, rollover.send(*sequence));
                let _ = socket.send(&packet);
            }
        }
    }
}

/// How the payload of a picture's packet begins: a slice, whole or in fragments (RFC 6184 5.8).
fn begin(is_keyframe: bool, part: u32, parts: u32) -> [u8; 3] {
    let slice = if is_keyframe { 5 } else { 1 };
    match part {
        0 if parts == 1 => [0x60 | slice, 0x88, 0x84],
        0 => [0x7c, 0x80 | slice, 0x88],
        last if last + 1 == parts => [0x7c, 0x40 | slice, 0x5a],
        _ => [0x7c, slice, 0x5a],
    }
}

/// How long a datagram takes to an echo and back, at the pace of media.
struct Echo {
    socket: UdpSocket,
    /// How often it was begun or ended, and how long the datagrams took since.
    shared: Arc<(AtomicU64, std::sync::Mutex<Times>)>,
}

impl Echo {
    fn new(address: SocketAddr) -> Result<Self, Failure> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let shared = Arc::new((AtomicU64::new(0), std::sync::Mutex::new(Times::default())));
        Ok(Self { socket, shared })
    }

    fn begin(&self) {
        let turn = self.shared.0.fetch_add(1, Ordering::SeqCst) + 1;
        let (Ok(sending), Ok(receiving)) = (self.socket.try_clone(), self.socket.try_clone()) else { return };
        let (on_send, on_receive) = (self.shared.clone(), self.shared.clone());
        std::thread::spawn(move || {
            while on_send.0.load(Ordering::SeqCst) == turn {
                let mut packet = [0x5a; 1200];
                packet[..8].copy_from_slice(&monotonic_ns().to_be_bytes());
                let _ = sending.send(&packet);
                std::thread::sleep(ECHO_EVERY);
            }
        });
        std::thread::spawn(move || {
            let mut packet = [0; 2048];
            while on_receive.0.load(Ordering::SeqCst) == turn {
                let Ok(length) = receiving.recv(&mut packet) else { continue };
                let Some(sent) = packet.get(..length).and_then(|packet| packet.first_chunk::<8>()) else { continue };
                let took = Duration::from_nanos(monotonic_ns().saturating_sub(u64::from_be_bytes(*sent)));
                if let Ok(mut times) = on_receive.1.lock() {
                    times.add(took);
                }
            }
        });
    }

    fn end(&self) -> Times {
        self.shared.0.fetch_add(1, Ordering::SeqCst);
        self.shared.1.lock().map(|mut times| std::mem::take(&mut *times)).unwrap_or_default()
    }
}
