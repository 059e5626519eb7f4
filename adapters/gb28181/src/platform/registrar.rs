//! Registration: the queue before the door, the digest, and what a device is told with the answer.

use super::{Device, Edition, Event, Platform, Secret};
use crate::id::Code;
use rongtong_sip::digest::{Asked, Fields, Refused};
use rongtong_sip::message::{Heads, Request, respond};
use rongtong_sip::net::Peer;
use rongtong_sip::transaction::{ServerId, new_tag};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::macros::format_description;

/// Who would wait longer is told when to come again. A request lives for 32 s; were the queue longer, all that were let
/// in would have given up before, and would be at its end again, for ever.
const MAX_WAIT: Duration = Duration::from_secs(24);
/// Beyond so many bytes as well.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Nobody is told to come later than that, s.
const MAX_LATER: u64 = 600;
/// Registrations are for so long at most, s.
const MAX_EXPIRES: u32 = 86_400;

/// Lets registrations in at a steady rate. Devices repeat theirs for 32 s, and are answered once.
pub(super) struct Door {
    every: Duration,
    next: Option<Instant>,
    queue: VecDeque<(ServerId, Peer, Request)>,
    bytes: usize,
    /// Those that were told to come again since the queue was empty.
    later: u32,
}

impl Door {
    pub fn new(a_second: u32) -> Self {
        let every = Duration::from_secs(1) / a_second.max(1);
        Self { every, next: None, queue: VecDeque::new(), bytes: 0, later: 0 }
    }

    pub fn has_room_for(&self, request: &Request) -> bool {
        let wait = self.every.saturating_mul(u32::try_from(self.queue.len()).unwrap_or(u32::MAX));
        wait < MAX_WAIT && self.bytes + size(request) <= MAX_QUEUED_BYTES
    }

    /// When to come again, s: each after those that were told so before.
    fn later(&mut self) -> u64 {
        let before = self.every.saturating_mul(self.later);
        self.later = self.later.saturating_add(1);
        (MAX_WAIT + before).as_secs().min(MAX_LATER) + u64::from(rand::random::<u8>() % 8)
    }

    pub fn queue(&mut self, id: ServerId, peer: Peer, request: Request, now: Instant) {
        self.next.get_or_insert(now);
        self.bytes += size(&request);
        self.queue.push_back((id, peer, request));
    }

    pub fn admit(&mut self, now: Instant) -> Option<(ServerId, Peer, Request)> {
        let next = self.next.filter(|next| *next <= now)?;
        let Some(first) = self.queue.pop_front() else {
            (self.next, self.later) = (None, 0);
            return None;
        };
        self.bytes -= size(&first.2);
        // What was missed by being late is made up for, as long as it is not a flood by itself.
        self.next = Some((next + self.every).max(now.checked_sub(Duration::from_millis(100)).unwrap_or(now)));
        Some(first)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.next
    }
}

fn size(request: &Request) -> usize {
    request.body.len() + request.headers.iter().map(|header| header.value().len() + 32).sum::<usize>()
}

impl Platform {
    pub(super) fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started.0).as_millis() as u64
    }

    /// It has to wait its turn, or, where too many wait, to come again.
    pub(super) fn knock(&mut self, now: Instant, id: ServerId, peer: Peer, request: Request) {
        // Who has to be asked first is asked at once, which costs little.
        if !self.has_answered(now, &request) {
            return self.register(now, id, peer, &request);
        }
        if self.door.has_room_for(&request) {
            self.door.queue(id, peer, request, now);
        } else {
            let mut response = respond(&request, 503, &new_tag());
            response.add("Retry-After", self.door.later().to_string());
            self.sip.respond(now, id, response);
        }
    }

    /// Whether it answers a challenge of ours, or needs none.
    fn has_answered(&self, now: Instant, request: &Request) -> bool {
        let Ok(code) = Code::new(request.sender().user()) else { return false };
        match (self.settings.secrets)(&code) {
            Secret::Open => true,
            Secret::Refused => false,
            Secret::Password(_) => {
                let fields = request.header("Authorization").and_then(Fields::parse);
                fields.is_some_and(|fields| self.verifier.knows(fields.get("nonce"), self.millis(now)))
            }
        }
    }

    pub(super) fn register(&mut self, now: Instant, id: ServerId, peer: Peer, request: &Request) {
        let Ok(code) = Code::new(request.sender().user()) else { return self.answer(now, id, request, 400) };
        let password = match (self.settings.secrets)(&code) {
            Secret::Refused => return self.answer(now, id, request, 403),
            Secret::Open => None,
            Secret::Password(password) => Some(password),
        };
        if let Some(password) = password {
            let fields = request.header("Authorization").and_then(Fields::parse);
            let asked = |username| Asked { method: "REGISTER", username, password: &password };
            let millis = self.millis(now);
            let checked = match &fields {
                // Some give their own code as the name, others that of the domain's user.
                Some(fields) => {
                    let realm = self.settings.domain.clone();
                    self.verifier.verify(fields, &realm, asked(fields.get("username")), &request.body, millis)
                }
                None => Err(Refused::Again { stale: false }),
            };
            match checked {
                Ok(()) => {}
                Err(Refused::Again { stale }) => {
                    let algorithm = self.settings.algorithm;
                    let challenge = self.verifier.challenge(&self.settings.domain, algorithm, stale, millis);
                    let mut response = respond(request, 401, &new_tag());
                    response.add("WWW-Authenticate", challenge);
                    return self.sip.respond(now, id, response);
                }
                Err(Refused::Wrong) => {
                    tracing::warn!(device = %code, peer = %peer.addr, "a device registered with a wrong password");
                    return self.answer(now, id, request, 403);
                }
            }
        }
        let expires = request.expires().unwrap_or(3_600).min(MAX_EXPIRES);
        self.welcome(now, id, request, expires);
        if expires == 0 {
            self.offline(now, &code, false);
        } else {
            self.registered(now, code, peer, request, expires);
        }
    }

    fn welcome(&mut self, now: Instant, id: ServerId, request: &Request, expires: u32) {
        let mut response = respond(request, 200, &new_tag());
        if let Some(contact) = request.header("Contact") {
            response.add("Contact", contact.to_owned());
        }
        response.add("Expires", expires.to_string());
        if request.header("X-GB-Ver").is_some() {
            response.add("X-GB-Ver", "3.0");
        }
        if self.settings.tell_time {
            response.add("Date", self.date(now));
        }
        self.sip.respond(now, id, response);
    }

    /// Local time without a zone, to the millisecond (GB/T 28181 9.10).
    fn date(&self, now: Instant) -> String {
        let local =
            OffsetDateTime::from(self.wall_clock(now)) + time::Duration::minutes(self.settings.utc_offset.into());
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]");
        local.format(form).unwrap_or_default()
    }

    fn registered(&mut self, now: Instant, code: Code, peer: Peer, request: &Request, expires: u32) {
        let heard = self.hearing.time(now);
        let known = self.devices.contains_key(&code);
        let device = self.devices.entry(code.clone()).or_insert_with(|| Device::new(code.clone(), peer, now, heard));
        let (was_online, moved) = (device.online, device.peer.addr.ip() != peer.addr.ip());
        device.peer = peer;
        device.until = now + Duration::from_secs(expires.into()) + Duration::from_secs(60);
        if !was_online {
            device.back(self.settings.keepalive);
        }
        device.heard = heard;
        device.online = true;
        if let Some(version) = request.header("X-GB-Ver") {
            device.edition = Edition::parse(version);
        }
        device.user_agent = request.header("User-Agent").unwrap_or_default().chars().take(128).collect();
        let patience = device.patience(self.settings.keepalive, self.settings.misses);
        let told = device.clone();
        if !was_online {
            self.online += 1;
            self.hearing.watch(heard + patience.min(Duration::from_secs(expires.into())), code.clone());
            self.expect();
            self.curious.push_back(code);
            self.next_look.get_or_insert(now);
        }
        if !was_online || moved || !known {
            self.events.push_back(Event::Online { device: Box::new(told) });
        }
    }

    /// The device is taken away.
    pub(super) fn forget(&mut self, now: Instant, code: &Code) {
        self.offline(now, code, false);
        self.devices.remove(code);
    }
}
