//! The other side of the signalling: a device or lower platform that registers at a platform, without sockets, clocks or
//! tasks.
//!
//! Invariants: it registers again, by itself, whenever the platform may have forgotten it; every call that was offered
//! ends with exactly one [`Event::Ended`], however it went.

mod calls;

pub use calls::{Invitation, InviteId};

use crate::id::Code;
use crate::mansrtsp::Steering;
use crate::platform::Edition;
use crate::xml::{Body, Charset, Element};
use bytes::Bytes;
use calls::Incoming;
use rand::Rng;
use rongtong_sip::digest::{Asked, authorize};
use rongtong_sip::message::{Heads, Method, Request, Response, request, respond, status};
use rongtong_sip::net::{Carrier, Engine, Peer};
use rongtong_sip::sdp::Session;
use rongtong_sip::transaction::{ClientId, Event as Sip, Limits, ServerId, Timing, Transactions, new_tag};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Settings {
    pub code: Code,
    pub password: String,
    /// The platform's code and SIP domain.
    pub upper: Code,
    pub domain: String,
    pub server: SocketAddr,
    pub carrier: Carrier,
    /// `host:port` that the platform reaches it at.
    pub local: String,
    /// Seconds.
    pub expires: u32,
    pub keepalive: Duration,
    pub edition: Edition,
    pub charset: Charset,
    pub user_agent: String,
    pub limits: Limits,
}

impl Settings {
    pub fn new(code: Code, password: &str, upper: Code, server: SocketAddr, local: impl Into<String>) -> Self {
        Self {
            code,
            password: password.to_owned(),
            domain: upper.domain().to_owned(),
            upper,
            server,
            carrier: Carrier::Udp,
            local: local.into(),
            expires: 3_600,
            keepalive: Duration::from_secs(60),
            edition: Edition::V2016,
            charset: Charset::Gb18030,
            user_agent: "Rongtong".to_owned(),
            limits: Limits { servers: 64, answers: 256 << 10, clients: 64 },
        }
    }
}

#[derive(Debug, PartialEq)]
pub enum Event {
    Registered,
    /// It was refused, or not answered (`None`); it is tried again.
    NotRegistered(Option<u16>),
    /// A sign of life was answered after so long.
    Answered(Duration),
    /// The platform asks or orders, or tells: the root is `Query`, `Control`, `Notify` or `Response`.
    Asked(Element),
    /// To be answered with [`Order::Accept`] or [`Order::Reject`].
    Invited {
        id: InviteId,
        invitation: Box<Invitation>,
    },
    /// The platform is ready: media may go.
    Ready {
        id: InviteId,
    },
    Steered {
        id: InviteId,
        steering: Steering,
    },
    Ended {
        id: InviteId,
    },
}

#[derive(Debug)]
pub enum Order {
    /// A body of MANSCDP, as [`Body::encode`] made it.
    Say(Vec<u8>),
    Accept {
        id: InviteId,
        description: Box<Session>,
    },
    Reject {
        id: InviteId,
        code: u16,
    },
    HangUp {
        id: InviteId,
    },
    /// It signs off, and says nothing more.
    Leave,
}

/// Where the registration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not yet, or not any more.
    Out,
    In,
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Register,
    /// Sent then.
    Keepalive(Instant),
    Bye,
    Other,
}

/// Signs of life without an answer, and the platform is taken to be gone.
const MISSES: u32 = 3;
/// After a failure, and after many.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

pub struct Agent {
    settings: Settings,
    sip: Transactions,
    state: State,
    /// When to register, be it anew or once more.
    register_at: Option<Instant>,
    keepalive_at: Option<Instant>,
    misses: u32,
    failures: u32,
    challenge: Option<(String, u32)>,
    /// One Call-ID for all registrations (RFC 3261 10.2).
    call_id: String,
    cseq: u32,
    sn: u32,
    purposes: HashMap<ClientId, Purpose>,
    calls: HashMap<InviteId, Incoming>,
    dialogs: HashMap<String, InviteId>,
    next_call: u64,
    events: VecDeque<Event>,
}

impl Agent {
    /// Registers at `at` for the first time.
    pub fn new(settings: Settings, at: Instant) -> Self {
        let sip = Transactions::new(settings.local.clone(), Timing::default(), settings.limits);
        Self {
            sip,
            state: State::Out,
            register_at: Some(at),
            keepalive_at: None,
            misses: 0,
            failures: 0,
            challenge: None,
            call_id: format!("{}@{}", new_tag(), settings.local.split(':').next().unwrap_or_default()),
            settings,
            cseq: 0,
            sn: 0,
            purposes: HashMap::new(),
            calls: HashMap::new(),
            dialogs: HashMap::new(),
            next_call: 0,
            events: VecDeque::new(),
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn is_registered(&self) -> bool {
        self.state == State::In
    }

    /// Transactions of the platform's and of its own, and calls.
    pub fn load(&self) -> (usize, usize, usize) {
        let (servers, clients) = self.sip.open();
        (servers, clients, self.calls.len())
    }

    fn peer(&self) -> Peer {
        Peer { carrier: self.settings.carrier, addr: self.settings.server }
    }

    fn outgoing(&mut self, method: Method, call_id: String, cseq: u32) -> Option<Request> {
        let Settings { code, upper, domain, server, user_agent, .. } = &self.settings;
        let is_register = method == Method::Register;
        let uri = format!("sip:{upper}@{}", if is_register { domain.clone() } else { server.to_string() });
        let mut message = request(method, &uri).ok()?;
        message.add("From", format!("<sip:{code}@{domain}>;tag={}", new_tag()));
        let to = if is_register { code } else { upper };
        message.add("To", format!("<sip:{to}@{domain}>"));
        message.add("Call-ID", call_id);
        message.add("CSeq", format!("{cseq} {}", message.method));
        message.add("User-Agent", user_agent.clone());
        Some(message)
    }

    fn register(&mut self, now: Instant, expires: u32) {
        self.cseq += 1;
        let (call_id, cseq) = (self.call_id.clone(), self.cseq);
        let Some(mut message) = self.outgoing(Method::Register, call_id, cseq) else { return };
        message.add("Contact", format!("<sip:{}@{}>", self.settings.code, self.settings.local));
        message.add("Expires", expires.to_string());
        let version = match self.settings.edition {
            Edition::V2011 => "1.0",
            Edition::V2016 => "2.0",
            Edition::V2022 => "3.0",
        };
        message.add("X-GB-Ver", version);
        if let Some((challenge, count)) = &mut self.challenge {
            *count += 1;
            let asked =
                Asked { method: "REGISTER", username: self.settings.code.as_str(), password: &self.settings.password };
            let uri = message.uri.to_string();
            if let Some(credentials) = authorize(challenge, asked, &uri, b"", *count) {
                message.add("Authorization", credentials);
            }
        }
        let peer = self.peer();
        let client = self.sip.request(now, peer, message);
        self.purposes.insert(client, Purpose::Register);
        self.register_at = None;
    }

    fn registered(&mut self, now: Instant, response: &Response) {
        let code = status(response);
        match code {
            ..200 => {}
            // It has signed off.
            200..300 if self.state == State::Left => {}
            200..300 => {
                let granted = response.header("Expires").and_then(|text| text.trim().parse().ok());
                let granted = granted.unwrap_or(self.settings.expires).clamp(30, 7 * 86_400);
                let first = self.state != State::In;
                (self.state, self.failures, self.misses) = (State::In, 0, 0);
                // Well before it ends.
                self.register_at = Some(now + Duration::from_secs(u64::from(granted) * 4 / 5));
                if first {
                    self.keepalive_at = Some(now + self.settings.keepalive);
                    self.events.push_back(Event::Registered);
                }
            }
            401 | 407 => {
                let name = if code == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
                let challenge = response.header(name).map(str::to_owned);
                let stale = challenge.as_ref().is_some_and(|text| text.to_ascii_lowercase().contains("stale=true"));
                let again = stale || self.challenge.is_none() || self.state == State::In;
                self.challenge = challenge.map(|text| (text, 0));
                match (&self.challenge, again) {
                    (Some(_), true) => {
                        if self.state == State::In {
                            self.state = State::Out;
                        }
                        let expires = if self.state == State::Left { 0 } else { self.settings.expires };
                        self.register(now, expires);
                    }
                    // The password is another.
                    _ => self.not_registered(now, Some(code)),
                }
            }
            _ => {
                self.not_registered(now, Some(code));
                let later =
                    response.header("Retry-After").and_then(|text| text.split([';', ' ', '(']).next()?.parse().ok());
                if let (Some(later), Some(at)) = (later, &mut self.register_at) {
                    *at = now + Duration::from_secs(u64::min(later, 3_600));
                }
            }
        }
    }

    fn not_registered(&mut self, now: Instant, code: Option<u16>) {
        self.challenge = None;
        if self.state == State::Left {
            return;
        }
        (self.state, self.keepalive_at) = (State::Out, None);
        self.failures = self.failures.saturating_add(1);
        let pause = RETRY.0.saturating_mul(1 << self.failures.min(6)).min(RETRY.1);
        // So that not all that failed together come together.
        let pause = pause.mul_f64(rand::rng().random_range(0.5..1.5));
        self.register_at = Some(now + pause);
        self.events.push_back(Event::NotRegistered(code));
    }

    fn keepalive(&mut self, now: Instant) {
        let code = self.settings.code.clone();
        self.sn = self.sn.wrapping_add(1);
        let mut body = Body::new("Notify", "Keepalive", self.sn, code.as_str());
        body.push("Status", "OK");
        let body = body.encode(self.settings.charset);
        self.keepalive_at = Some(now + self.settings.keepalive);
        self.say(now, body, Purpose::Keepalive(now));
    }

    fn say(&mut self, now: Instant, body: Vec<u8>, purpose: Purpose) {
        let call_id = new_tag();
        let Some(mut message) = self.outgoing(Method::Message, call_id, 20) else { return };
        message.add("Content-Type", "Application/MANSCDP+xml");
        message.body = body;
        let peer = self.peer();
        let client = self.sip.request(now, peer, message);
        self.purposes.insert(client, purpose);
    }

    /// The platform does not know it any more.
    fn forgotten(&mut self, now: Instant, code: Option<u16>) {
        if self.state == State::In {
            (self.state, self.keepalive_at, self.challenge) = (State::Out, None, None);
            self.register_at = Some(now);
            self.events.push_back(Event::NotRegistered(code));
        }
    }

    fn pump(&mut self, now: Instant) {
        while let Some(event) = self.sip.poll_event() {
            match event {
                // Nobody but the platform has it send anything anywhere.
                Sip::Request { id, peer, request } => {
                    if peer.addr.ip().to_canonical() == self.settings.server.ip().to_canonical() {
                        self.request(now, id, *request);
                    } else {
                        self.answer(now, id, &request, 403);
                    }
                }
                Sip::Acknowledged { id, .. } => self.ready(id),
                Sip::Unacknowledged { id } | Sip::Cancelled { id } => self.dropped(id),
                Sip::Response { id, response } => self.response(now, id, &response),
                Sip::Failed { id, .. } => match self.purposes.remove(&id) {
                    Some(Purpose::Register) => self.not_registered(now, None),
                    Some(Purpose::Keepalive(_)) => {
                        self.misses += 1;
                        if self.misses >= MISSES {
                            self.forgotten(now, None);
                        }
                    }
                    Some(Purpose::Bye | Purpose::Other) | None => {}
                },
            }
        }
    }

    fn response(&mut self, now: Instant, id: ClientId, response: &Response) {
        let code = status(response);
        let purpose = if code < 200 { self.purposes.get(&id).copied() } else { self.purposes.remove(&id) };
        match purpose {
            Some(Purpose::Register) => self.registered(now, response),
            Some(Purpose::Keepalive(sent)) if (200..300).contains(&code) => {
                self.misses = 0;
                self.events.push_back(Event::Answered(now.saturating_duration_since(sent)));
            }
            Some(Purpose::Keepalive(_)) if code >= 300 => self.forgotten(now, Some(code)),
            Some(Purpose::Keepalive(_) | Purpose::Bye | Purpose::Other) | None => {}
        }
    }

    fn request(&mut self, now: Instant, id: ServerId, request: Request) {
        match request.method {
            Method::Message => {
                self.answer(now, id, &request, 200);
                if let Ok(root) = Element::parse(&request.body) {
                    self.events.push_back(Event::Asked(root));
                }
            }
            Method::Invite => self.invited(now, id, request),
            Method::Bye => self.far_bye(now, id, &request),
            Method::Info => self.far_info(now, id, &request),
            Method::Options => self.answer(now, id, &request, 200),
            // It is granted; nothing of what a simulated device is changes.
            Method::Subscribe => {
                let mut response = respond(&request, 200, &new_tag());
                response.add("Expires", request.expires().unwrap_or(3_600).to_string());
                self.sip.respond(now, id, response);
            }
            _ => self.answer(now, id, &request, 405),
        }
    }

    fn answer(&mut self, now: Instant, id: ServerId, request: &Request, code: u16) {
        self.sip.respond(now, id, respond(request, code, &new_tag()));
    }
}

impl Engine for Agent {
    type Command = Order;

    fn receive(&mut self, now: Instant, peer: Peer, bytes: &[u8]) {
        self.sip.receive(now, peer, bytes);
        self.pump(now);
    }

    fn closed(&mut self, now: Instant, carrier: Carrier) {
        self.sip.closed(carrier);
        self.pump(now);
    }

    fn command(&mut self, now: Instant, order: Order) {
        match order {
            Order::Say(body) => self.say(now, body, Purpose::Other),
            Order::Accept { id, description } => self.accept(now, id, &description),
            Order::Reject { id, code } => self.reject(now, id, code),
            Order::HangUp { id } => self.hang_up(now, id),
            Order::Leave => {
                let calls: Vec<InviteId> = self.calls.keys().copied().collect();
                calls.into_iter().for_each(|id| self.hang_up(now, id));
                let was_in = self.state == State::In;
                (self.state, self.keepalive_at) = (State::Left, None);
                if was_in {
                    self.register(now, 0);
                }
                self.register_at = None;
            }
        }
        self.pump(now);
    }

    fn tick(&mut self, now: Instant) {
        self.sip.tick(now);
        self.pump(now);
        if self.register_at.is_some_and(|at| at <= now) {
            self.register(now, self.settings.expires);
        }
        if self.keepalive_at.is_some_and(|at| at <= now) {
            self.keepalive(now);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.sip.next_deadline(), self.register_at, self.keepalive_at].into_iter().flatten().min()
    }

    fn poll_send(&mut self) -> Option<(Peer, Bytes)> {
        self.sip.poll_send()
    }

    fn is_over(&self) -> bool {
        self.state == State::Left && self.purposes.is_empty()
    }
}

#[cfg(test)]
mod day;
#[cfg(test)]
mod tests;
