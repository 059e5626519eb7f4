//! One device: its signalling on a socket of its own, and what it answers.

use super::sender::{Sender, Stream, Way};
use super::{Counters, Faults, FleetConfig, MAX_ANSWERS, Vendor};
use crate::agent::{Agent, Event, Invitation, InviteId, Order, Settings};
use crate::id::Code;
use crate::mansrtsp::Steering;
use crate::platform::{Carriage, What};
use crate::records::{from_local, to_local};
use crate::xml::{Body, Element};
use rand::Rng;
use rongtong_sip::net::{Carrier, Engine, Peer};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};

/// Items of a list in one message, so that it is one datagram.
const PAGE: usize = 4;
/// Recordings are files of so many seconds, without a gap.
const FILE: i64 = 1_800;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Minutes east of Greenwich of all devices' clocks.
const UTC_OFFSET: i16 = 480;

static NEXT_STREAM: AtomicU64 = AtomicU64::new(1);

/// Both ends of a queue of its own.
type Mailbox<T> = (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>);

/// Of whatever stands in a description, Unix seconds.
fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000)
}

struct Call {
    invitation: Invitation,
    /// Of its stream, once it is sent.
    stream: Option<u64>,
    /// Bound when the call is taken, and sent from when the platform is ready.
    port: Option<Port>,
}

enum Port {
    Udp(std::net::UdpSocket),
    Connect,
    Listen(TcpListener),
}

pub struct Device {
    number: u32,
    config: Arc<FleetConfig>,
    counters: Arc<Counters>,
    sender: Arc<Sender>,
    stop: watch::Receiver<bool>,
    socket: UdpSocket,
    agent: Agent,
    calls: HashMap<InviteId, Call>,
    /// Streams whose connection is there, and recordings that have ended.
    connected: Mailbox<(InviteId, std::net::TcpStream)>,
    ended: Mailbox<u64>,
    sn: u32,
    registered: bool,
    /// When it says nothing any more, or says something again.
    falls_silent: Option<Instant>,
    speaks_again: Option<Instant>,
}

impl Device {
    pub async fn new(
        number: u32,
        config: Arc<FleetConfig>,
        counters: Arc<Counters>,
        sender: Arc<Sender>,
        stop: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind((config.bind, 0)).await?;
        let local = socket.local_addr()?;
        let mut settings = Settings::new(
            config.device(number),
            &config.password,
            config.platform.clone(),
            config.server,
            local.to_string(),
        );
        settings.expires = config.expires;
        settings.keepalive = config.keepalive;
        settings.edition = config.edition;
        settings.charset = config.charset();
        settings.user_agent = "Simulated".to_owned();
        let share = f64::from(number - config.first) / f64::from(config.devices.max(1));
        let begins = Instant::now() + config.ramp.mul_f64(share);
        let mut device = Self {
            number,
            agent: Agent::new(settings, begins),
            counters,
            sender,
            stop,
            socket,
            calls: HashMap::new(),
            connected: mpsc::unbounded_channel(),
            ended: mpsc::unbounded_channel(),
            sn: 0,
            registered: false,
            falls_silent: None,
            speaks_again: None,
            config,
        };
        device.falls_silent = device.some_time();
        Ok(device)
    }

    fn faults(&self) -> Faults {
        self.config.faults
    }

    /// When it misbehaves next.
    fn some_time(&self) -> Option<Instant> {
        let mean = self.faults().silent_every?;
        Some(Instant::now() + mean.mul_f64(rand::rng().random_range(0.2..1.8)))
    }

    pub async fn run(mut self) {
        let mut buffer = vec![0; 65_536];
        let mut leaving = false;
        loop {
            let now = Instant::now();
            self.mind_silence(now);
            self.flush().await;
            if leaving && self.agent.is_over() {
                return;
            }
            let deadline = self.agent.next_deadline().unwrap_or(now + Duration::from_secs(60));
            let wakes = [self.falls_silent, self.speaks_again].into_iter().flatten().fold(deadline, Instant::min);
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    if let (Ok((length, addr)), None) = (received, self.speaks_again) {
                        self.agent.receive(Instant::now(), Peer { carrier: Carrier::Udp, addr }, &buffer[..length]);
                    }
                }
                () = tokio::time::sleep_until(wakes.into()) => {
                    if self.speaks_again.is_none() {
                        self.agent.tick(Instant::now());
                    }
                }
                Some((id, stream)) = self.connected.1.recv() => self.send(id, |_| Way::Tcp(stream)),
                Some(stream) = self.ended.1.recv() => self.file_ended(stream),
                _ = self.stop.changed(), if !leaving => {
                    leaving = true;
                    self.agent.command(Instant::now(), Order::Leave);
                }
            }
            self.hear();
        }
    }

    /// Falls silent, or speaks again, when it is time.
    fn mind_silence(&mut self, now: Instant) {
        if self.falls_silent.is_some_and(|at| at <= now) {
            self.falls_silent = None;
            self.speaks_again = self.some_time();
            for call in self.calls.values() {
                call.stream.inspect(|stream| self.sender.end(*stream));
            }
        }
        if self.speaks_again.is_some_and(|at| at <= now) {
            self.speaks_again = None;
            self.falls_silent = self.some_time();
        }
    }

    async fn flush(&mut self) {
        while let Some((peer, bytes)) = self.agent.poll_send() {
            if self.speaks_again.is_none() {
                let _ = self.socket.send_to(&bytes, peer.addr).await;
            }
        }
    }

    fn hear(&mut self) {
        let count = |counter: &AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        while let Some(event) = self.agent.poll_event() {
            match event {
                Event::Registered => {
                    self.registered = true;
                    count(&self.counters.registered);
                }
                Event::NotRegistered(_) if self.registered => {
                    self.registered = false;
                    count(&self.counters.lost);
                }
                Event::NotRegistered(_) => count(&self.counters.refused),
                Event::Answered(time) => {
                    let mut answers = self.counters.answers.lock();
                    if answers.len() < MAX_ANSWERS {
                        answers.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
                    }
                }
                Event::Asked(root) => {
                    count(&self.counters.asked);
                    self.asked(&root);
                }
                Event::Invited { id, invitation } => {
                    count(&self.counters.calls);
                    if !self.faults().mute {
                        self.invited(id, *invitation);
                    }
                }
                Event::Ready { id } => self.ready(id),
                Event::Steered { id, steering } => {
                    count(&self.counters.steered);
                    self.steered(id, steering);
                }
                Event::Ended { id } => {
                    count(&self.counters.ended);
                    if let Some(stream) = self.calls.remove(&id).and_then(|call| call.stream) {
                        self.sender.end(stream);
                    }
                }
            }
        }
    }

    fn say(&mut self, body: Body) {
        let body = body.encode(self.config.charset());
        self.agent.command(Instant::now(), Order::Say(body));
    }

    fn asked(&mut self, root: &Element) {
        let command = root.get("CmdType").unwrap_or_default().to_owned();
        let target = root.get("DeviceID").unwrap_or_default().to_owned();
        let sn = root.number("SN").unwrap_or(0);
        match (root.name.as_str(), command.as_str()) {
            ("Query", "Catalog") => self.catalog(sn),
            ("Query", "DeviceInfo") => {
                let mut body = Body::new("Response", "DeviceInfo", sn, &target);
                body.push("DeviceName", &format!("模拟设备 {}", self.number + 1));
                body.push("Result", "OK");
                body.push("Manufacturer", self.maker());
                body.push("Model", "SIM-1");
                body.push("Firmware", env!("CARGO_PKG_VERSION"));
                body.push("Channel", &self.config.channels.to_string());
                self.say(body);
            }
            ("Query", "DeviceStatus") => {
                let mut body = Body::new("Response", "DeviceStatus", sn, &target);
                for (name, text) in [("Result", "OK"), ("Online", "ONLINE"), ("Status", "OK"), ("Record", "ON")] {
                    body.push(name, text);
                }
                self.say(body);
            }
            ("Query", "RecordInfo") => self.records(sn, &target, root),
            ("Query", _) => {
                let mut body = Body::new("Response", &command, sn, &target);
                body.push("Result", "ERROR");
                self.say(body);
            }
            ("Control", _) => self.controlled(sn, &target, root),
            _ => {}
        }
    }

    fn maker(&self) -> &'static str {
        match self.config.vendor {
            Vendor::Standard => "Rongtong",
            Vendor::Dahua => "Dahua",
            Vendor::Hikvision => "Hikvision",
            Vendor::Uniview => "Uniview",
        }
    }

    fn pages(&mut self, command: &str, sn: u32, target: &str, list: &str, items: &[Vec<(&str, String)>]) {
        let total = items.len().to_string();
        let empty: [&[Vec<(&str, String)>]; 1] = [&[]];
        let chunks: Vec<_> = if items.is_empty() { empty.to_vec() } else { items.chunks(PAGE).collect() };
        for chunk in chunks {
            let mut body = Body::new("Response", command, sn, target);
            body.push("SumNum", &total);
            body.open(&format!("{list} Num=\"{}\"", chunk.len()));
            for item in chunk {
                body.open("Item");
                item.iter().for_each(|(name, text)| body.push(name, text));
                body.close("Item");
            }
            body.close(list);
            self.say(body);
        }
    }

    fn catalog(&mut self, sn: u32) {
        let code = self.config.device(self.number).to_string();
        let item = |channel: u32| {
            let id = self.config.channel(self.number, channel).to_string();
            let name = format!("模拟通道 {}-{}", self.number + 1, channel + 1);
            vec![
                ("DeviceID", id),
                ("Name", name),
                ("Manufacturer", self.maker().to_owned()),
                ("Model", "SIM-1".to_owned()),
                ("CivilCode", self.config.domain.chars().take(6).collect()),
                ("Address", "模拟".to_owned()),
                ("Parental", "0".to_owned()),
                ("ParentID", code.clone()),
                ("Status", "ON".to_owned()),
            ]
        };
        let items: Vec<_> = (0..self.config.channels).map(item).collect();
        self.pages("Catalog", sn, &code, "DeviceList", &items);
    }

    /// Everything until this moment is recorded, in files of half an hour.
    fn records(&mut self, sn: u32, target: &str, root: &Element) {
        let time = |name: &str| root.get(name).and_then(|text| from_local(text, UTC_OFFSET));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let lists = self.config.vendor != Vendor::Dahua || root.get("Type").is_some();
        let mut items = Vec::new();
        if let (Some(begin), Some(end), true) = (time("StartTime"), time("EndTime"), lists) {
            let mut at = begin.div_euclid(FILE) * FILE;
            while at < end.min(now) && items.len() < 2_000 {
                let written = |second: i64| {
                    let text = to_local(second, UTC_OFFSET);
                    if self.config.vendor == Vendor::Uniview { text.replace('T', " ") } else { text }
                };
                items.push(vec![
                    ("DeviceID", target.to_owned()),
                    ("Name", "录像".to_owned()),
                    ("FilePath", format!("/{at}.ps")),
                    ("Address", "模拟".to_owned()),
                    ("StartTime", written(at)),
                    ("EndTime", written((at + FILE).min(now))),
                    ("Secrecy", "0".to_owned()),
                    ("Type", "time".to_owned()),
                ]);
                at += FILE;
            }
        }
        self.pages("RecordInfo", sn, target, "RecordList", &items);
    }

    fn controlled(&mut self, sn: u32, target: &str, root: &Element) {
        if root.get("IFameCmd").or_else(|| root.get("IFrameCmd")).is_some() {
            let its = self.calls.values().filter(|call| call.invitation.channel.as_str() == target);
            its.filter_map(|call| call.stream).for_each(|stream| self.sender.keyframe(stream));
        } else if ["GuardCmd", "RecordCmd", "AlarmCmd"].iter().any(|name| root.get(name).is_some()) {
            let mut body = Body::new("Response", "DeviceControl", sn, target);
            body.push("Result", "OK");
            self.say(body);
        }
    }

    fn invited(&mut self, id: InviteId, invitation: Invitation) {
        let ip = self.config.bind;
        let port = match invitation.carriage {
            _ if invitation.is_audio => None,
            Carriage::Udp => std::net::UdpSocket::bind((ip, 0))
                .and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    let port = socket.local_addr()?.port();
                    Ok((Port::Udp(socket), port))
                })
                .ok(),
            Carriage::TcpPassive => Some((Port::Connect, 9)),
            Carriage::TcpActive => std::net::TcpListener::bind((ip, 0))
                .and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    let port = listener.local_addr()?.port();
                    Ok((Port::Listen(TcpListener::from_std(listener)?), port))
                })
                .ok(),
        };
        let Some((port, number)) = port else {
            return self.agent.command(Instant::now(), Order::Reject { id, code: 488 });
        };
        let mut description = invitation.answer(&self.config.device(self.number), SocketAddr::new(ip, number));
        if self.config.vendor == Vendor::Dahua {
            description.ssrc = None;
        }
        let mut call = Call { invitation, stream: None, port: Some(port) };
        if let Some(Port::Listen(_)) = &call.port
            && let Some(Port::Listen(listener)) = call.port.take()
        {
            // The platform connects as soon as it has the answer.
            let told = self.connected.0.clone();
            tokio::spawn(async move {
                if let Ok(Ok((stream, _))) = tokio::time::timeout(CONNECT_WITHIN, listener.accept()).await {
                    let _ = stream.into_std().map(|stream| told.send((id, stream)));
                }
            });
        }
        self.calls.insert(id, call);
        self.agent.command(Instant::now(), Order::Accept { id, description: Box::new(description) });
    }

    fn ready(&mut self, id: InviteId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match call.port.take() {
            Some(Port::Udp(socket)) => self.send(id, |to| Way::Udp(socket, to)),
            Some(Port::Connect) => {
                let (told, to) = (self.connected.0.clone(), call.invitation.remote);
                tokio::spawn(async move {
                    if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(to)).await {
                        let _ = stream.into_std().map(|stream| told.send((id, stream)));
                    }
                });
            }
            Some(Port::Listen(_)) | None => {}
        }
    }

    fn send(&mut self, id: InviteId, way: impl FnOnce(SocketAddr) -> Way) {
        let faults = self.faults();
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.stream.is_none() && !faults.blind) else { return };
        let agreed = call.invitation.ssrc.unwrap_or_default();
        let ssrc = match (self.config.vendor, faults.other_ssrc) {
            (Vendor::Dahua, _) => 0,
            (_, true) => !agreed,
            _ => agreed,
        };
        let recording = match call.invitation.what {
            What::Live { .. } | What::Talk | What::Broadcast => None,
            What::Playback { begin, end } | What::Download { begin, end, .. } => {
                Some((millis(begin), millis(end), self.ended.0.clone()))
            }
        };
        let key = NEXT_STREAM.fetch_add(1, Ordering::Relaxed);
        call.stream = Some(key);
        let way = way(call.invitation.remote);
        self.sender.begin(Stream { key, way, ssrc, recording });
        if let What::Download { speed, .. } = call.invitation.what {
            self.sender.play(key, f64::from(speed.clamp(1, 64)), None);
        }
    }

    fn steered(&mut self, id: InviteId, steering: Steering) {
        let Some(call) = self.calls.get(&id).filter(|_| !self.faults().deaf) else { return };
        let (Some(stream), What::Playback { begin, .. }) = (call.stream, &call.invitation.what) else { return };
        match steering {
            Steering::Pause => self.sender.pause(stream),
            Steering::Play { speed, from } => {
                let from = from.map(|from| millis(begin.saturating_add(from)));
                self.sender.play(stream, speed, from);
            }
        }
    }

    fn file_ended(&mut self, stream: u64) {
        let call = self.calls.values().find(|call| call.stream == Some(stream));
        let Some(call) = call else { return };
        let target: Code = if self.config.vendor == Vendor::Hikvision {
            self.config.device(self.number)
        } else {
            call.invitation.channel.clone()
        };
        self.sn += 1;
        let mut body = Body::new("Notify", "MediaStatus", self.sn, target.as_str());
        body.push("NotifyType", "121");
        self.say(body);
    }
}
