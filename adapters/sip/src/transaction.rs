//! Transactions of both sides (RFC 3261 17, with the accepted state of RFC 6026), without sockets, clock or tasks.
//!
//! Whoever owns a [`Transactions`] gives it what arrived and the time, and takes out what is to be sent and what
//! happened. Requests are answered once: a repeated one gets the answer that was given. Invariants: every client
//! transaction ends with a final response or a failure, every state is left after at most 64 T1 (32 s), and there
//! are at most so many at once as [`Limits`] say.
//!
//! Deviation: which transaction a request belongs to is decided by branch, sent-by, Call-ID, CSeq and source IP
//! together, since there are devices whose branch never changes.

use crate::message::{Heads, Message, Method, Request, Response, encode, parse, respond, status};
use crate::net::{Carrier, Peer};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// RFC 3261 table 4.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub t1: Duration,
    pub t2: Duration,
    pub t4: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests beyond are answered 503, and nothing is kept of them.
    pub servers: usize,
    /// Bytes of answers that are kept to be repeated; beyond, requests are answered 503, too.
    pub answers: usize,
    /// Requests of ours beyond fail at once.
    pub clients: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { servers: 200_000, answers: 256 << 20, clients: 50_000 }
    }
}

/// A request that somebody sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId(u64);

/// A request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No final response within 64 T1.
    Timeout,
    /// The connection is gone.
    Unreachable,
    /// Too many requests are under way.
    Overload,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// To be answered with [`Transactions::respond`].
    Request {
        id: ServerId,
        peer: Peer,
        request: Box<Request>,
    },
    /// The other side has a 2xx of ours.
    Acknowledged {
        id: ServerId,
        request: Box<Request>,
    },
    /// A 2xx was repeated for 64 T1 and nobody acknowledged it.
    Unacknowledged {
        id: ServerId,
    },
    /// The one who asked does not want it any more; the 487 has gone out.
    Cancelled {
        id: ServerId,
    },
    /// Provisional ones, and one final one.
    Response {
        id: ClientId,
        response: Box<Response>,
    },
    Failed {
        id: ClientId,
        failure: Failure,
    },
}

#[derive(Debug)]
enum ServerState {
    /// Nothing final yet; what is provisional is repeated on demand.
    Open { invite: Option<Box<Request>>, provisional: Option<Bytes> },
    /// A final answer, to be repeated on demand; of a refused INVITE also by itself until the ACK.
    Answered { bytes: Bytes, repeat: Option<Duration> },
    /// A 2xx of an INVITE, repeated until the ACK.
    Accepted { bytes: Bytes, repeat: Duration, call: u64 },
    /// Takes in what is still on its way.
    Confirmed,
}

impl ServerState {
    /// Of the final answer that it keeps.
    fn bytes(&self) -> usize {
        match self {
            Self::Answered { bytes, .. } | Self::Accepted { bytes, .. } => bytes.len(),
            Self::Open { .. } | Self::Confirmed => 0,
        }
    }
}

#[derive(Debug)]
struct Server {
    peer: Peer,
    state: ServerState,
    generation: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum ClientState {
    /// Nothing final yet.
    Open { repeat: Duration, provisional: bool, cancel: Cancel },
    /// Takes in repeated responses; what acknowledges them is sent again.
    Done { ack: Option<Bytes> },
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Cancel {
    No,
    Wanted,
    Sent,
}

#[derive(Debug)]
struct Client {
    peer: Peer,
    request: Request,
    bytes: Bytes,
    state: ClientState,
    generation: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    ServerRepeat(u64, u32),
    ServerEnd(u64, u32),
    ClientRepeat(u64, u32),
    ClientEnd(u64, u32),
}

pub struct Transactions {
    timing: Timing,
    limits: Limits,
    /// Host and port that others reach us at, for Via.
    sent_by: String,
    hasher: RandomState,
    servers: HashMap<u64, Server>,
    /// By call and CSeq, of 2xx that wait for their ACK.
    accepted: HashMap<u64, u64>,
    /// Bytes of all answers in `servers`.
    kept: usize,
    clients: HashMap<u64, Client>,
    timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    sends: VecDeque<(Peer, Bytes)>,
    events: VecDeque<Event>,
    /// Messages that were no messages, or fit to nothing.
    stray: u64,
}

const BRANCH: &str = "z9hG4bKrt";

impl Transactions {
    /// `sent_by` is `host:port` as others reach us.
    pub fn new(sent_by: impl Into<String>, timing: Timing, limits: Limits) -> Self {
        Self {
            timing,
            limits,
            sent_by: sent_by.into(),
            hasher: RandomState::new(),
            servers: HashMap::new(),
            accepted: HashMap::new(),
            kept: 0,
            clients: HashMap::new(),
            timers: BinaryHeap::new(),
            sends: VecDeque::new(),
            events: VecDeque::new(),
            stray: 0,
        }
    }

    /// What came from a peer.
    pub fn receive(&mut self, now: Instant, peer: Peer, bytes: &[u8]) {
        match parse(bytes) {
            Ok(Message::Request(request)) => self.receive_request(now, peer, request),
            Ok(Message::Response(response)) => self.receive_response(now, response),
            Err(error) => {
                self.stray += 1;
                tracing::debug!(%error, peer = %peer.addr, "not understood");
            }
        }
    }

    /// A connection ended; what waits on it fails.
    pub fn closed(&mut self, carrier: Carrier) {
        let open = |client: &Client| matches!(client.state, ClientState::Open { .. });
        let gone = self.clients.iter().filter(|(_, client)| client.peer.carrier == carrier && open(client));
        for id in gone.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.clients.remove(&id);
            self.events.push_back(Event::Failed { id: ClientId(id), failure: Failure::Unreachable });
        }
    }

    /// Sends a request; Via and Max-Forwards are added. Its end is told by an event.
    pub fn request(&mut self, now: Instant, peer: Peer, mut request: Request) -> ClientId {
        let id = rand::random::<u64>();
        if self.clients.len() >= self.limits.clients {
            self.events.push_back(Event::Failed { id: ClientId(id), failure: Failure::Overload });
            return ClientId(id);
        }
        let via = format!("SIP/2.0/{} {};rport;branch={BRANCH}{id:016x}", peer.carrier.name(), self.sent_by);
        request.headers.push_front(rsipstack::sip::headers::make_header("Via", via));
        if request.header("Max-Forwards").is_none() {
            request.add("Max-Forwards", "70");
        }
        let bytes = encode(&Message::Request(request.clone()));
        self.sends.push_back((peer, bytes.clone()));
        let repeat = self.timing.t1;
        if !peer.carrier.is_reliable() {
            self.timer(now + repeat, Timer::ClientRepeat(id, 0));
        }
        self.timer(now + self.timing.t1 * 64, Timer::ClientEnd(id, 0));
        let state = ClientState::Open { repeat, provisional: false, cancel: Cancel::No };
        self.clients.insert(id, Client { peer, request, bytes, state, generation: 0 });
        ClientId(id)
    }

    /// Sends a request that nobody answers: an ACK to a 2xx. It is sent again when the 2xx comes again.
    pub fn acknowledge(&mut self, id: ClientId, mut ack: Request) {
        let Some(client) = self.clients.get_mut(&id.0) else { return };
        let branch = rand::random::<u64>();
        let via = format!("SIP/2.0/{} {};rport;branch={BRANCH}{branch:016x}", client.peer.carrier.name(), self.sent_by);
        ack.headers.push_front(rsipstack::sip::headers::make_header("Via", via));
        if ack.header("Max-Forwards").is_none() {
            ack.add("Max-Forwards", "70");
        }
        let bytes = encode(&Message::Request(ack));
        self.sends.push_back((client.peer, bytes.clone()));
        if let ClientState::Done { ack } = &mut client.state {
            *ack = Some(bytes);
        }
    }

    /// Takes an INVITE back. Its end is still told by an event: a 487, or a 2xx that came first.
    pub fn cancel(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id.0) else { return };
        let ClientState::Open { provisional, cancel, .. } = &mut client.state else { return };
        match (*cancel, *provisional) {
            (Cancel::Sent, _) => {}
            // Before anything came, the CANCEL could overtake the INVITE (RFC 3261 9.1).
            (_, false) => *cancel = Cancel::Wanted,
            (_, true) => self.send_cancel(now, id.0),
        }
    }

    fn send_cancel(&mut self, now: Instant, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let ClientState::Open { cancel, .. } = &mut client.state else { return };
        *cancel = Cancel::Sent;
        let mut request = Request { method: Method::Cancel, body: Vec::new(), ..client.request.clone() };
        let number = client.request.cseq().map_or(1, |(number, _)| number);
        request.set("CSeq", format!("{number} CANCEL"));
        request.headers.retain(|header| !["Content-Type", "Contact", "Subject"].contains(&header.name()));
        let bytes = encode(&Message::Request(request));
        self.sends.push_back((client.peer, bytes));
        client.generation += 1;
        let end = Timer::ClientEnd(id, client.generation);
        self.timer(now + self.timing.t1 * 64, end);
    }

    /// Answers a request. Answers after the final one are not sent.
    pub fn respond(&mut self, now: Instant, id: ServerId, response: Response) {
        let Some(server) = self.servers.get_mut(&id.0) else { return };
        let ServerState::Open { invite, provisional } = &mut server.state else { return };
        let code = status(&response);
        let is_invite = invite.is_some();
        let call = self.hasher.hash_one((response.call_id(), response.cseq().map(|(number, _)| number)));
        let bytes = encode(&Message::Response(response));
        self.sends.push_back((server.peer, bytes.clone()));
        if code < 200 {
            *provisional = Some(bytes);
            return;
        }
        let (reliable, length) = (server.peer.carrier.is_reliable(), bytes.len());
        server.generation += 1;
        let generation = server.generation;
        let t1 = self.timing.t1;
        if is_invite && code < 300 {
            // Repeated over reliable transports, too (RFC 3261 13.3.1.4).
            server.state = ServerState::Accepted { bytes, repeat: t1, call };
            self.accepted.insert(call, id.0);
            self.timer(now + t1, Timer::ServerRepeat(id.0, generation));
        } else if is_invite {
            let repeat = (!reliable).then_some(t1);
            server.state = ServerState::Answered { bytes, repeat };
            if repeat.is_some() {
                self.timer(now + t1, Timer::ServerRepeat(id.0, generation));
            }
        } else if reliable {
            self.servers.remove(&id.0);
            return;
        } else {
            server.state = ServerState::Answered { bytes, repeat: None };
        }
        self.kept += length;
        self.timer(now + t1 * 64, Timer::ServerEnd(id.0, generation));
    }

    /// To be called when [`Self::next_deadline`] is there, and as often as one likes.
    pub fn tick(&mut self, now: Instant) {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            match timer {
                Timer::ServerRepeat(id, generation) => self.repeat_answer(now, id, generation),
                Timer::ServerEnd(id, generation) => self.end_server(id, generation),
                Timer::ClientRepeat(id, generation) => self.repeat_request(now, id, generation),
                Timer::ClientEnd(id, generation) => self.end_client(id, generation),
            }
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// What is to be sent, and to whom.
    pub fn poll_send(&mut self) -> Option<(Peer, Bytes)> {
        self.sends.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Transactions of others and of ours that are not over.
    pub fn open(&self) -> (usize, usize) {
        (self.servers.len(), self.clients.len())
    }

    /// How many messages were not understood, or fit to nothing.
    pub fn stray(&self) -> u64 {
        self.stray
    }

    fn timer(&mut self, at: Instant, timer: Timer) {
        self.timers.push(Reverse((at, timer)));
    }

    fn key(&self, request: &Request, method: &str, peer: Peer) -> u64 {
        let via = request.via();
        let sent_by = via.split(';').next().unwrap_or_default();
        let number = request.cseq().map(|(number, _)| number);
        self.hasher.hash_one((request.branch(), sent_by, request.call_id(), number, method, peer.addr.ip()))
    }

    fn receive_request(&mut self, now: Instant, peer: Peer, mut request: Request) {
        note_source(&mut request, peer);
        let name = request.method.to_string();
        let acknowledges = request.method == Method::Ack;
        let key = self.key(&request, if acknowledges { "INVITE" } else { &name }, peer);
        if acknowledges {
            return self.receive_ack(now, key, request);
        }
        if let Some(server) = self.servers.get_mut(&key) {
            let again = match &server.state {
                ServerState::Open { provisional, .. } => provisional.clone(),
                ServerState::Answered { bytes, .. } | ServerState::Accepted { bytes, .. } => Some(bytes.clone()),
                ServerState::Confirmed => None,
            };
            // By a newer way, when its address changed under it.
            server.peer = peer;
            self.sends.extend(again.map(|bytes| (peer, bytes)));
            return;
        }
        if self.servers.len() >= self.limits.servers || self.kept >= self.limits.answers {
            let mut refusal = respond(&request, 503, "");
            refusal.set("Retry-After", "10");
            self.sends.push_back((peer, encode(&Message::Response(refusal))));
            return;
        }
        if request.method == Method::Cancel {
            return self.receive_cancel(now, peer, key, request);
        }
        let invite = (request.method == Method::Invite).then(|| Box::new(request.clone()));
        let state = ServerState::Open { invite, provisional: None };
        self.servers.insert(key, Server { peer, state, generation: 0 });
        // What is never answered ends, too.
        self.timer(now + self.timing.t1 * 64 * 6, Timer::ServerEnd(key, 0));
        self.events.push_back(Event::Request { id: ServerId(key), peer, request: Box::new(request) });
    }

    fn receive_ack(&mut self, now: Instant, key: u64, request: Request) {
        let call = self.hasher.hash_one((request.call_id(), request.cseq().map(|(number, _)| number)));
        let of_2xx = self.accepted.remove(&call);
        let Some(id) = of_2xx.or(self.servers.contains_key(&key).then_some(key)) else {
            self.stray += 1;
            return;
        };
        let Some(server) = self.servers.get_mut(&id) else { return };
        if !matches!(server.state, ServerState::Answered { .. } | ServerState::Accepted { .. }) {
            return;
        }
        server.generation += 1;
        let rest = if server.peer.carrier.is_reliable() { Duration::ZERO } else { self.timing.t4 };
        let end = Timer::ServerEnd(id, server.generation);
        self.kept -= server.state.bytes();
        server.state = ServerState::Confirmed;
        self.timer(now + rest, end);
        if of_2xx.is_some() {
            self.events.push_back(Event::Acknowledged { id: ServerId(id), request: Box::new(request) });
        }
    }

    fn receive_cancel(&mut self, now: Instant, peer: Peer, key: u64, request: Request) {
        let invite = self.key(&request, "INVITE", peer);
        let open = self.servers.get(&invite).and_then(|server| match &server.state {
            ServerState::Open { invite: Some(request), .. } => Some(request.clone()),
            _ => None,
        });
        let code = if self.servers.contains_key(&invite) { 200 } else { 481 };
        self.servers
            .insert(key, Server { peer, state: ServerState::Open { invite: None, provisional: None }, generation: 0 });
        self.respond(now, ServerId(key), respond(&request, code, &new_tag()));
        if let Some(request) = open {
            self.respond(now, ServerId(invite), respond(&request, 487, &new_tag()));
            self.events.push_back(Event::Cancelled { id: ServerId(invite) });
        }
    }

    fn receive_response(&mut self, now: Instant, response: Response) {
        let ours = |branch: &str| u64::from_str_radix(branch.strip_prefix(BRANCH)?, 16).ok();
        let id = response.branch().and_then(ours);
        let method = response.cseq().map(|(_, method)| method.to_owned()).unwrap_or_default();
        let Some((id, client)) = id.and_then(|id| Some((id, self.clients.get_mut(&id)?))) else {
            self.stray += 1;
            return;
        };
        if method.eq_ignore_ascii_case("CANCEL") && client.request.method != Method::Cancel {
            return;
        }
        let code = status(&response);
        let is_invite = client.request.method == Method::Invite;
        match &mut client.state {
            ClientState::Done { ack } => {
                if code >= 200
                    && let Some(bytes) = ack.clone()
                {
                    self.sends.push_back((client.peer, bytes));
                }
            }
            ClientState::Open { provisional, cancel, .. } if code < 200 => {
                let first = !std::mem::replace(provisional, true);
                let wanted = *cancel == Cancel::Wanted;
                if first && is_invite {
                    // An INVITE that rings is neither repeated nor given up by itself; three minutes are enough
                    // for any (timer C of RFC 3261 16.6).
                    client.generation += 1;
                    let end = Timer::ClientEnd(id, client.generation);
                    self.timer(now + Duration::from_secs(180), end);
                }
                self.events.push_back(Event::Response { id: ClientId(id), response: Box::new(response) });
                if wanted {
                    self.send_cancel(now, id);
                }
            }
            ClientState::Open { .. } => {
                let reliable = client.peer.carrier.is_reliable();
                let mut ack = None;
                if is_invite && code >= 300 {
                    let bytes = refusal_ack(&client.request, &response);
                    self.sends.push_back((client.peer, bytes.clone()));
                    ack = Some(bytes);
                }
                client.state = ClientState::Done { ack };
                client.generation += 1;
                let rest = match (is_invite, reliable) {
                    (true, false) => self.timing.t1 * 64,
                    (true, true) if code < 300 => self.timing.t1 * 64,
                    (false, false) => self.timing.t4,
                    (_, true) => Duration::ZERO,
                };
                let end = Timer::ClientEnd(id, client.generation);
                self.timer(now + rest, end);
                self.events.push_back(Event::Response { id: ClientId(id), response: Box::new(response) });
            }
        }
    }

    fn repeat_answer(&mut self, now: Instant, id: u64, generation: u32) {
        let Some(server) = self.servers.get_mut(&id).filter(|server| server.generation == generation) else { return };
        let (bytes, repeat) = match &mut server.state {
            ServerState::Answered { bytes, repeat: Some(repeat) } | ServerState::Accepted { bytes, repeat, .. } => {
                (bytes, repeat)
            }
            _ => return,
        };
        *repeat = (*repeat * 2).min(self.timing.t2);
        let next = now + *repeat;
        self.sends.push_back((server.peer, bytes.clone()));
        self.timer(next, Timer::ServerRepeat(id, generation));
    }

    fn end_server(&mut self, id: u64, generation: u32) {
        if self.servers.get(&id).is_none_or(|server| server.generation != generation) {
            return;
        }
        let Some(server) = self.servers.remove(&id) else { return };
        self.kept -= server.state.bytes();
        if let ServerState::Accepted { call, .. } = server.state {
            self.accepted.remove(&call);
            self.events.push_back(Event::Unacknowledged { id: ServerId(id) });
        }
    }

    fn repeat_request(&mut self, now: Instant, id: u64, generation: u32) {
        let Some(client) = self.clients.get_mut(&id).filter(|client| client.generation == generation) else { return };
        let is_invite = client.request.method == Method::Invite;
        let ClientState::Open { repeat, provisional, .. } = &mut client.state else { return };
        if is_invite && *provisional {
            return;
        }
        *repeat = match (is_invite, *provisional) {
            (true, _) => *repeat * 2,
            (false, true) => self.timing.t2,
            (false, false) => (*repeat * 2).min(self.timing.t2),
        };
        let next = now + *repeat;
        self.sends.push_back((client.peer, client.bytes.clone()));
        self.timer(next, Timer::ClientRepeat(id, generation));
    }

    fn end_client(&mut self, id: u64, generation: u32) {
        if self.clients.get(&id).is_none_or(|client| client.generation != generation) {
            return;
        }
        if let Some(Client { state: ClientState::Open { .. }, .. }) = self.clients.remove(&id) {
            self.events.push_back(Event::Failed { id: ClientId(id), failure: Failure::Timeout });
        }
    }
}

/// 64 random bits as text.
pub fn new_tag() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// `received` and `rport` on the topmost Via (RFC 3261 18.2.1, RFC 3581).
fn note_source(request: &mut Request, peer: Peer) {
    let Some(header) = request.headers.iter_mut().find(|header| header.name() == "Via") else { return };
    let line = header.value();
    let (top, rest) = line.split_once(',').map_or((line, None), |(top, rest)| (top, Some(rest)));
    let mut parts: Vec<&str> = top.split(';').map(str::trim).collect();
    let asks = parts.iter().any(|part| part.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case("rport")));
    parts.retain(|part| {
        let name = part.split('=').next().unwrap_or_default();
        !(name.eq_ignore_ascii_case("rport") || name.eq_ignore_ascii_case("received"))
    });
    let mut via = parts.join(";");
    let (ip, port) = (peer.addr.ip(), peer.addr.port());
    if asks {
        via += &format!(";rport={port}");
    }
    via += &format!(";received={ip}");
    if let Some(rest) = rest {
        via = format!("{via},{rest}");
    }
    *header = rsipstack::sip::headers::make_header("Via", via);
}

/// The ACK to a final response above 2xx (RFC 3261 17.1.1.3): in the INVITE's own transaction.
fn refusal_ack(invite: &Request, response: &Response) -> Bytes {
    let mut ack = Request { method: Method::Ack, body: Vec::new(), ..invite.clone() };
    let number = invite.cseq().map_or(1, |(number, _)| number);
    ack.set("CSeq", format!("{number} ACK"));
    ack.set("To", response.header("To").unwrap_or_default().to_owned());
    ack.headers.retain(|header| !["Content-Type", "Contact", "Subject"].contains(&header.name()));
    encode(&Message::Request(ack))
}

#[cfg(test)]
mod tests;
