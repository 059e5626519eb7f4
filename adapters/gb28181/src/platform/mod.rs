//! The platform's side of the signalling, without sockets, clocks or tasks.
//!
//! [`Platform`] is an [`Engine`]: messages and orders go in, messages and [`Event`]s come out. Nothing in it waits for
//! storage: devices are in memory, and what of them is to be kept leaves by events.
//!
//! Invariants: every order ends with exactly one event; every call that was set up ends with a BYE one way or the other;
//! a device is offline once it was silent for as many of its own intervals as the settings say, of the time in which
//! anything could be heard at all.

mod calls;
mod device;
mod presence;
mod queries;
mod registrar;
mod speech;
mod subscriptions;

pub use calls::{CallEnd, CallFailure, CallId, CallOrder, Carriage, What, media_address};
pub use device::{Device, Edition};
pub use queries::{Answer, QueryFailure, QueryId};
pub use subscriptions::{Topic, Wanted};

use crate::id::Code;
use crate::mansrtsp::Steering;
use crate::messages::{Alarm, CatalogChange, Channel, DeviceInfo, Position};
use crate::xml::Element;
use bytes::Bytes;
use calls::Call;
use presence::Hearing;
use queries::Query;
use registrar::Door;
use rongtong_sip::digest::{Algorithm, Verifier};
use rongtong_sip::message::{Heads, Method, Request, Response, StatusCode, respond, status};
use rongtong_sip::net::{Carrier, Engine, Peer};
use rongtong_sip::transaction::{ClientId, Event as Sip, Failure, Limits, ServerId, Timing, Transactions, new_tag};
use speech::Summons;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use subscriptions::Subscriptions;

/// What may register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    Password(String),
    /// Anyone who says to be this device.
    Open,
    /// Nobody by this code.
    Refused,
}

/// Who may register by which code. It is asked in the middle of everything, so it must not wait.
pub type Secrets = Arc<dyn Fn(&Code) -> Secret + Send + Sync>;

#[derive(Clone)]
pub struct Settings {
    /// The platform's own code.
    pub code: Code,
    /// Its SIP domain, which is also the realm.
    pub domain: String,
    /// `host:port` that devices reach it at.
    pub address: String,
    /// The host that media is to be sent to.
    pub media_host: String,
    pub algorithm: Algorithm,
    pub secrets: Secrets,
    /// Of a device whose own interval is not known yet.
    pub keepalive: Duration,
    /// So many intervals of silence, and it is offline.
    pub misses: u32,
    /// Registrations answered a second; others wait their turn.
    pub registrations: u32,
    /// Minutes east of Greenwich: devices are told local time.
    pub utc_offset: i16,
    /// Whether devices are told the time at all.
    pub tell_time: bool,
    /// A message from another host moves a registered device there, although nothing proves that it is the device's.
    /// Otherwise it is refused, and the device registers from there. Another port of its host is always followed.
    pub follow_address: bool,
    /// An answer must be there within so long.
    pub answer_within: Duration,
    pub subscribe: Wanted,
}

impl Settings {
    pub fn new(code: Code, address: impl Into<String>, secrets: Secrets) -> Self {
        let address = address.into();
        Self {
            domain: code.domain().to_owned(),
            code,
            media_host: address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).to_owned(),
            address,
            algorithm: Algorithm::Md5,
            secrets,
            keepalive: Duration::from_secs(60),
            misses: 3,
            registrations: 500,
            utc_offset: 480,
            tell_time: true,
            follow_address: false,
            answer_within: Duration::from_secs(15),
            subscribe: Wanted::default(),
        }
    }
}

/// What others ask of the platform. Identifiers are theirs to give, and never used twice.
#[derive(Debug)]
pub enum Order {
    /// A question to a device, about itself or a channel of it.
    Query {
        id: QueryId,
        device: Code,
        target: Code,
        command: &'static str,
        fields: Vec<(String, String)>,
    },
    /// Something to do.
    Control {
        id: QueryId,
        device: Code,
        target: Code,
        command: Command,
        fields: Vec<Field>,
        answered: bool,
    },
    /// Asks for the catalog anew.
    Refresh {
        device: Code,
    },
    Call {
        id: CallId,
        order: Box<CallOrder>,
    },
    /// To [`Event::CallAsked`]: our port, or that there is none.
    AnswerCall {
        call: CallId,
        port: Option<u16>,
    },
    /// Steers a playback.
    Steer {
        id: QueryId,
        call: CallId,
        steering: Steering,
    },
    HangUp {
        call: CallId,
    },
    /// It is taken away. It comes back when it registers again and may.
    Forget {
        device: Code,
    },
    /// All calls are hung up, and nothing more is done.
    End,
}

/// What a device is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Control,
    /// To be otherwise from now on.
    Config,
}

impl Command {
    fn as_str(self) -> &'static str {
        match self {
            Self::Control => "DeviceControl",
            Self::Config => "DeviceConfig",
        }
    }
}

/// A field of a control, with fields in it or text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Text(String, String),
    Group(String, Vec<(String, String)>),
}

impl Field {
    pub fn text(name: &str, text: impl Into<String>) -> Self {
        Self::Text(name.to_owned(), text.into())
    }
}

#[derive(Debug, PartialEq)]
pub enum Event {
    /// It registered, or was heard again; also when its address is another.
    Online {
        device: Box<Device>,
    },
    Offline {
        code: Code,
        silent: bool,
    },
    Described {
        code: Code,
        info: DeviceInfo,
    },
    /// All its channels.
    Catalog {
        code: Code,
        channels: Vec<Channel>,
        whole: bool,
    },
    CatalogChanged {
        code: Code,
        changes: Vec<CatalogChange>,
    },
    Alarm {
        device: Code,
        alarm: Alarm,
    },
    Position {
        device: Code,
        positions: Vec<Position>,
    },
    /// Something else a device said of its own accord.
    Notice {
        device: Code,
        root: Element,
    },
    Answered {
        id: QueryId,
        answer: Answer,
    },
    NotAnswered {
        id: QueryId,
        failure: QueryFailure,
    },
    /// The device calls for sound, and a port has to be there for it: see [`Order::AnswerCall`].
    CallAsked {
        id: CallId,
        description: rongtong_sip::sdp::Session,
        from: std::net::SocketAddr,
    },
    /// The device sends, or will; of sound to it, it listens.
    CallUp {
        id: CallId,
        description: rongtong_sip::sdp::Session,
        from: std::net::SocketAddr,
    },
    CallFailed {
        id: CallId,
        failure: CallFailure,
    },
    CallOver {
        id: CallId,
        end: CallEnd,
    },
    /// The file that was played or loaded is at its end.
    FileEnd {
        id: CallId,
    },
}

/// Why a request of ours was sent.
#[derive(Clone, Debug)]
enum Purpose {
    Query(u32),
    Invite(CallId),
    Summon(CallId),
    Bye,
    Steer(QueryId),
    Subscribe(Code, Topic),
}

pub struct Platform {
    settings: Settings,
    sip: Transactions,
    verifier: Verifier,
    door: Door,
    hearing: Hearing,
    devices: HashMap<Code, Device>,
    /// By SN, which is ours alone.
    queries: HashMap<u32, Query>,
    calls: HashMap<CallId, Call>,
    /// Broadcasts that the device has not called for yet.
    summons: HashMap<CallId, Summons>,
    subscriptions: Subscriptions,
    /// By Call-ID.
    dialogs: HashMap<String, CallId>,
    purposes: HashMap<ClientId, Purpose>,
    /// Catalogs and descriptions to ask for, a few at a time.
    curious: VecDeque<Code>,
    sn: u32,
    events: VecDeque<Event>,
    started: (Instant, SystemTime),
    next_look: Option<Instant>,
    over: bool,
    /// When nonces that are over were last forgotten.
    tidied: Instant,
    /// Devices online.
    online: usize,
}

/// Devices that registered are asked what they are at this pace, so that a storm is not answered by another.
const CURIOUS_EVERY: Duration = Duration::from_millis(20);
const CURIOUS_AT_ONCE: usize = 4;

impl Platform {
    pub fn new(settings: Settings, now: Instant, time: SystemTime) -> Self {
        let sip = Transactions::new(settings.address.clone(), Timing::default(), Limits::default());
        Self {
            door: Door::new(settings.registrations),
            verifier: Verifier::new(rand::random(), Duration::from_secs(300)),
            settings,
            sip,
            hearing: Hearing::new(now),
            devices: HashMap::new(),
            queries: HashMap::new(),
            calls: HashMap::new(),
            summons: HashMap::new(),
            subscriptions: Subscriptions::default(),
            dialogs: HashMap::new(),
            purposes: HashMap::new(),
            curious: VecDeque::new(),
            sn: rand::random::<u32>() >> 8,
            events: VecDeque::new(),
            started: (now, time),
            next_look: None,
            over: false,
            tidied: now,
            online: 0,
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn device(&self, code: &Code) -> Option<&Device> {
        self.devices.get(code)
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Subscriptions that devices granted.
    pub fn subscribed_to(&self) -> usize {
        self.subscriptions.granted()
    }

    /// Devices online, transactions of others and of ours, calls, questions: all 0 when nothing is left over.
    pub fn load(&self) -> Load {
        let (servers, clients) = self.sip.open();
        Load {
            online: self.online,
            servers,
            clients,
            calls: self.calls.len() + self.summons.len(),
            queries: self.queries.len(),
        }
    }

    fn pump(&mut self, now: Instant) {
        while let Some(event) = self.sip.poll_event() {
            match event {
                Sip::Request { id, peer, request } => self.request(now, id, peer, *request),
                Sip::Response { id, response } => self.response(now, id, *response),
                Sip::Failed { id, failure } => self.failed(now, id, failure),
                Sip::Unacknowledged { id } => self.unacknowledged(now, id),
                Sip::Cancelled { id } => self.invite_cancelled(now, id),
                Sip::Acknowledged { .. } => {}
            }
        }
    }

    fn request(&mut self, now: Instant, id: ServerId, peer: Peer, request: Request) {
        match request.method {
            Method::Register => self.knock(now, id, peer, request),
            Method::Message | Method::Notify => self.message(now, id, peer, request),
            Method::Bye => self.far_bye(now, id, request),
            Method::Info => self.far_info(now, id, request),
            Method::Options => self.answer(now, id, &request, 200),
            Method::Invite => self.invited(now, id, peer, request),
            Method::Subscribe => self.answer(now, id, &request, 488),
            _ => {
                let mut response = respond(&request, 405, &new_tag());
                response.add("Allow", "REGISTER, MESSAGE, NOTIFY, INVITE, ACK, BYE, CANCEL, INFO, OPTIONS");
                self.sip.respond(now, id, response);
            }
        }
    }

    fn response(&mut self, now: Instant, id: ClientId, response: Response) {
        let code = status(&response);
        let purpose = if code < 200 { self.purposes.get(&id).cloned() } else { self.purposes.remove(&id) };
        match purpose {
            Some(Purpose::Query(sn)) if code >= 300 => self.query_refused(sn, code),
            Some(Purpose::Query(sn)) if code >= 200 => self.query_taken(now, sn),
            Some(Purpose::Invite(call)) => self.invite_answered(now, call, id, response),
            Some(Purpose::Summon(call)) if speech::is_taken(&response) => self.summons_taken(now, call),
            Some(Purpose::Summon(call)) if code >= 300 => self.summons_refused(now, call, &response),
            Some(Purpose::Subscribe(device, topic)) if code >= 200 => {
                self.subscribed(now, &device, topic, &response);
            }
            Some(Purpose::Steer(query)) if code >= 300 => {
                self.not_answered(Some(query), QueryFailure::Refused(code));
            }
            Some(Purpose::Steer(query)) if code >= 200 => self.taken(query),
            _ => {}
        }
    }

    fn failed(&mut self, now: Instant, id: ClientId, failure: Failure) {
        match self.purposes.remove(&id) {
            Some(Purpose::Query(sn)) => self.query_unsent(sn, failure),
            Some(Purpose::Invite(call)) => self.invite_failed(now, call, failure),
            Some(Purpose::Summon(call)) => self.summons_failed(now, call, failure),
            Some(Purpose::Steer(query)) => self.not_answered(Some(query), QueryFailure::Unsent),
            Some(Purpose::Subscribe(device, topic)) => self.not_subscribed(now, &device, topic, failure),
            Some(Purpose::Bye) | None => {}
        }
    }

    fn answer(&mut self, now: Instant, id: ServerId, request: &Request, code: u16) {
        self.sip.respond(now, id, respond(request, code, &new_tag()));
    }

    /// A request of ours to a device or channel of it, outside of a dialog. `None` for a device that is not here.
    fn outgoing(&self, method: Method, device: &Device, target: &Code) -> Option<Request> {
        let uri = format!("sip:{target}@{}", device.peer.addr);
        let mut request = rongtong_sip::message::request(method, &uri).ok()?;
        request.add("From", format!("<sip:{}@{}>;tag={}", self.settings.code, self.settings.domain, new_tag()));
        request.add("To", format!("<{uri}>"));
        request
            .add("Call-ID", format!("{}@{}", new_tag(), self.settings.address.split(':').next().unwrap_or_default()));
        request.add("CSeq", format!("1 {}", request.method));
        request.add("User-Agent", "Rongtong");
        Some(request)
    }

    fn wall_clock(&self, now: Instant) -> SystemTime {
        self.started.1 + now.saturating_duration_since(self.started.0)
    }

    fn look(&mut self, now: Instant) {
        if self.next_look.is_some_and(|at| now < at) {
            return;
        }
        for _ in 0..CURIOUS_AT_ONCE {
            let Some(code) = self.curious.pop_front() else { break };
            self.ask_all(now, &code);
            self.subscribe_to(now, &code);
        }
        self.next_look = (!self.curious.is_empty()).then(|| now + CURIOUS_EVERY);
    }
}

/// How much is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub online: usize,
    pub servers: usize,
    pub clients: usize,
    pub calls: usize,
    pub queries: usize,
}

impl Engine for Platform {
    type Command = Order;

    fn receive(&mut self, now: Instant, peer: Peer, bytes: &[u8]) {
        self.hearing.heard(now);
        self.sip.receive(now, peer, bytes);
        self.pump(now);
    }

    fn closed(&mut self, now: Instant, carrier: Carrier) {
        // Its device is not offline by that: it comes back over another connection, or is silent.
        self.sip.closed(carrier);
        self.pump(now);
    }

    fn command(&mut self, now: Instant, order: Order) {
        match order {
            Order::Query { id, device, target, command, fields } => {
                self.query(now, Some(id), &device, &target, command, &fields);
            }
            Order::Control { id, device, target, command, fields, answered } => {
                self.control(now, id, &device, (&target, command, &fields), answered)
            }
            Order::Refresh { device } => self.ask_all(now, &device),
            Order::Call { id, order } if order.what == What::Broadcast => self.summon(now, id, *order),
            Order::Call { id, order } => self.call(now, id, *order),
            Order::AnswerCall { call, port } => self.answer_call(now, call, port),
            Order::Steer { id, call, steering } => self.steer(now, id, call, steering),
            Order::HangUp { call } => self.hang_up(now, call),
            Order::Forget { device } => self.forget(now, &device),
            Order::End => {
                let calls: Vec<CallId> = self.calls.keys().chain(self.summons.keys()).copied().collect();
                calls.into_iter().for_each(|call| self.hang_up(now, call));
                self.over = true;
            }
        }
        self.pump(now);
    }

    fn tick(&mut self, now: Instant) {
        self.sip.tick(now);
        self.pump(now);
        while let Some((id, peer, request)) = self.door.admit(now) {
            self.register(now, id, peer, &request);
        }
        self.end_queries(now);
        self.end_calls(now);
        self.end_late_summons(now);
        self.renew(now);
        self.end_silence(now);
        self.look(now);
        if now.saturating_duration_since(self.tidied) >= Duration::from_secs(10) {
            self.tidied = now;
            self.verifier.expire(self.millis(now));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let queries = self.queries.values().map(|query| query.deadline).min();
        let calls = self.calls.values().filter_map(|call| call.deadline).min();
        let summons = self.summons.values().map(|summons| summons.deadline).min();
        [
            self.sip.next_deadline(),
            self.door.next_deadline(),
            queries,
            calls,
            summons,
            self.subscriptions.next_deadline(),
            self.hearing.next_deadline(),
            self.next_look,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn poll_send(&mut self) -> Option<(Peer, Bytes)> {
        self.sip.poll_send()
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

/// A status line as text, for people.
fn reason(response: &Response) -> String {
    match &response.status_code {
        StatusCode::Other(code, text) => format!("{code} {text}"),
        known => format!("{} {}", known.code(), known.text()),
    }
}

#[cfg(test)]
mod tests;
