//! Media calls: live, playback, download. A dialog of our own, since devices leave out tags, Contacts, and more.

use super::{Event, Platform, Purpose, QueryFailure, QueryId, reason};
use crate::id::Code;
use crate::mansrtsp::Steering;
use crate::speech::{Agreed, Form};
use rongtong_sip::message::{Heads, Method, Request, Response, status};
use rongtong_sip::net::Peer;
use rongtong_sip::sdp::{Media, Session};
use rongtong_sip::transaction::{ClientId, Failure, ServerId};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Given by whoever calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(pub u64);

/// How the media comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carriage {
    #[default]
    Udp,
    /// The device connects to us.
    TcpPassive,
    /// We connect to the device.
    TcpActive,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// 0 is the main stream.
    Live {
        stream: u8,
    },
    /// Unix seconds.
    Playback {
        begin: u64,
        end: u64,
    },
    Download {
        begin: u64,
        end: u64,
        speed: u8,
    },
    /// Sound both ways, to which the device is invited (9.12.2). What comes of it is not heard.
    Talk,
    /// Sound to the device, which is told to call for it (9.12.1).
    Broadcast,
}

impl What {
    /// Whether it is something of the past.
    pub fn is_history(&self) -> bool {
        matches!(self, Self::Playback { .. } | Self::Download { .. })
    }

    /// Whether it is we who send.
    pub fn is_speech(&self) -> bool {
        matches!(self, Self::Talk | Self::Broadcast)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOrder {
    pub device: Code,
    pub channel: Code,
    pub what: What,
    pub carriage: Carriage,
    /// The port that the media is to come to, which is open already: some devices send before the ACK.
    pub port: u16,
    /// Ten digits, by [`crate::ssrc`].
    pub ssrc: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    #[error("the device is not here")]
    Offline,
    #[error("the device refused: {0}")]
    Refused(u16, String),
    #[error("the device does not answer")]
    Timeout,
    #[error("the connection to the device is gone")]
    Unreachable,
    #[error("it was hung up before the device answered")]
    HungUp,
    #[error("the device did not take the notice of a broadcast: {0}")]
    NotAnnounced(String),
    #[error("the device declines the broadcast: {0}")]
    Declined(String),
    #[error("the device took the notice of a broadcast and does not call for its sound")]
    NotCalled,
    #[error("the device wants sound in a form that is not sent")]
    NoForm,
}

/// How a call that was up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    HungUp,
    /// The device did.
    ByDevice,
    /// The device went offline.
    Offline,
    /// It called, and never took our answer.
    NotAcknowledged,
}

#[derive(Debug)]
pub(super) enum State {
    Inviting(ClientId),
    /// Hung up before the answer.
    Leaving,
    Up,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) order: CallOrder,
    pub(super) state: State,
    /// As it was sent, for the headers of what follows.
    pub(super) invite: Request,
    pub(super) peer: Peer,
    /// The device's To, with its tag if it has one.
    pub(super) remote: String,
    /// Where it wants what follows.
    pub(super) target: String,
    pub(super) cseq: u32,
    /// Bodies of MANSRTSP that were sent.
    pub(super) steered: u32,
    pub(super) deadline: Option<Instant>,
    /// Its end was told, and only the signalling goes on.
    pub(super) told: bool,
    /// The device's INVITE, where it is the device that called.
    pub(super) answered: Option<ServerId>,
}

/// A device that neither answers nor refuses.
const RING_FOR: Duration = Duration::from_secs(20);

impl Platform {
    pub(super) fn call(&mut self, now: Instant, id: CallId, order: CallOrder) {
        let Some(device) = self.devices.get(&order.device).filter(|device| device.online) else {
            return self.events.push_back(Event::CallFailed { id, failure: CallFailure::Offline });
        };
        let peer = device.peer;
        let Some(mut invite) = self.outgoing(Method::Invite, device, &order.channel) else {
            return self.events.push_back(Event::CallFailed { id, failure: CallFailure::Offline });
        };
        invite.add("Contact", format!("<sip:{}@{}>", self.settings.code, self.settings.address));
        invite.add("Subject", format!("{}:{},{}:0", order.channel, order.ssrc, self.settings.code));
        invite.add("Content-Type", "Application/SDP");
        invite.body = self.offer(&order).to_string().into_bytes();
        self.dialogs.insert(invite.call_id().to_owned(), id);
        let client = self.sip.request(now, peer, invite.clone());
        self.purposes.insert(client, Purpose::Invite(id));
        let call = Call {
            remote: invite.header("To").unwrap_or_default().to_owned(),
            target: invite.uri.to_string(),
            state: State::Inviting(client),
            invite,
            order,
            peer,
            cseq: 1,
            steered: 0,
            deadline: Some(now + RING_FOR),
            told: false,
            answered: None,
        };
        self.calls.insert(id, call);
    }

    fn offer(&self, order: &CallOrder) -> Session {
        if order.what.is_speech() {
            return self.talk(order);
        }
        let (name, uri, time) = match order.what {
            What::Live { .. } => ("Play", None, (0, 0)),
            What::Playback { begin, end } => ("Playback", Some(format!("{}:0", order.channel)), (begin, end)),
            What::Download { begin, end, .. } => ("Download", Some(format!("{}:0", order.channel)), (begin, end)),
            What::Talk | What::Broadcast => ("Talk", None, (0, 0)),
        };
        let mut media = Media {
            kind: "video".into(),
            port: order.port,
            protocol: if order.carriage == Carriage::Udp { "RTP/AVP" } else { "TCP/RTP/AVP" }.into(),
            formats: ["96", "97", "98", "99"].map(str::to_owned).to_vec(),
            ..Media::default()
        };
        media.push("recvonly", None);
        for map in ["96 PS/90000", "97 MPEG4/90000", "98 H264/90000", "99 H265/90000"] {
            media.push("rtpmap", map.to_owned());
        }
        if order.carriage != Carriage::Udp {
            let setup = if order.carriage == Carriage::TcpActive { "active" } else { "passive" };
            media.push("setup", setup.to_owned());
            media.push("connection", "new".to_owned());
        }
        match order.what {
            What::Live { stream: 0 } | What::Playback { .. } | What::Talk | What::Broadcast => {}
            What::Live { stream } => {
                media.push("streamnumber", stream.to_string());
                media.push("streamprofile", stream.to_string());
            }
            What::Download { speed, .. } => media.push("downloadspeed", speed.to_string()),
        }
        Session {
            origin: self.settings.code.to_string(),
            name: name.into(),
            uri,
            address: Some(self.settings.media_host.clone()),
            time,
            media: vec![media],
            ssrc: Some(order.ssrc.clone()),
            format: None,
        }
    }

    /// Both directions are offered: of those who take one alone some refuse any other offer.
    fn talk(&self, order: &CallOrder) -> Session {
        let carriage = order.carriage;
        let to = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let agreed = Agreed { form: Form::A, payload_type: 8, carriage, to, ssrc: None };
        let mut session = self.speech(order, &agreed, None);
        session.name = "Talk".into();
        if let Some(media) = session.media.first_mut() {
            media.attributes.retain(|(name, _)| name != "sendonly");
            media.attributes.insert(0, ("sendrecv".into(), None));
        }
        session
    }

    pub(super) fn invite_answered(&mut self, now: Instant, id: CallId, client: ClientId, response: Response) {
        let code = status(&response);
        let Some(call) = self.calls.get_mut(&id) else { return };
        match code {
            // Of Dahua, a 101 is as good as any.
            ..200 => {}
            200..300 => {
                call.remote = response.header("To").unwrap_or(&call.remote).to_owned();
                if let Some(contact) =
                    response.contact().map(|contact| contact.uri().to_owned()).filter(|uri| !uri.is_empty())
                {
                    call.target = contact;
                }
                let leaving = matches!(call.state, State::Leaving);
                let ack = in_dialog(call, Method::Ack);
                self.sip.acknowledge(client, ack);
                if leaving {
                    self.send_bye(now, id);
                    return self.end_call(id, Err(CallFailure::HungUp));
                }
                call.state = State::Up;
                call.deadline = None;
                let (description, from) = (Session::parse(&response.body), call.peer.addr);
                self.events.push_back(Event::CallUp { id, description, from });
            }
            _ => {
                let leaving = matches!(call.state, State::Leaving);
                let failure = if leaving { CallFailure::HungUp } else { CallFailure::Refused(code, reason(&response)) };
                self.end_call(id, Err(failure));
            }
        }
    }

    pub(super) fn invite_failed(&mut self, _now: Instant, id: CallId, failure: Failure) {
        let failure = match failure {
            Failure::Timeout => CallFailure::Timeout,
            Failure::Unreachable | Failure::Overload => CallFailure::Unreachable,
        };
        let leaving = self.calls.get(&id).is_some_and(|call| matches!(call.state, State::Leaving));
        self.end_call(id, Err(if leaving { CallFailure::HungUp } else { failure }));
    }

    pub(super) fn hang_up(&mut self, now: Instant, id: CallId) {
        if self.end_summons(now, id, CallFailure::HungUp) {
            return;
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        match call.state {
            State::Inviting(_) => self.leave(now, id, CallFailure::HungUp),
            State::Leaving => {}
            State::Up => {
                self.send_bye(now, id);
                self.end_call(id, Ok(CallEnd::HungUp));
            }
        }
    }

    /// By a body in the call.
    pub(super) fn steer(&mut self, now: Instant, query: QueryId, id: CallId, steering: Steering) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| matches!(call.state, State::Up)) else {
            return self.not_answered(Some(query), QueryFailure::Unsent);
        };
        let device = self.devices.get(&call.order.device);
        let edition = device.map(|device| device.edition).unwrap_or_default();
        call.cseq += 1;
        call.steered += 1;
        let mut info = in_dialog(call, Method::Info);
        info.add("Content-Type", "Application/MANSRTSP");
        info.body = steering.encode(call.steered, edition).into_bytes();
        // Where the device is by now.
        let peer = device.map_or(call.peer, |device| device.peer);
        let client = self.sip.request(now, peer, info);
        self.purposes.insert(client, Purpose::Steer(query));
    }

    pub(super) fn send_bye(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.cseq += 1;
        let bye = in_dialog(call, Method::Bye);
        // Where the device is by now.
        let peer = self.devices.get(&call.order.device).map_or(call.peer, |device| device.peer);
        let client = self.sip.request(now, peer, bye);
        self.purposes.insert(client, Purpose::Bye);
    }

    pub(super) fn end_call(&mut self, id: CallId, end: Result<CallEnd, CallFailure>) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.dialogs.remove(call.invite.call_id());
        if call.told {
            return;
        }
        self.events.push_back(match end {
            Ok(end) => Event::CallOver { id, end },
            Err(failure) => Event::CallFailed { id, failure },
        });
    }

    pub(super) fn far_bye(&mut self, now: Instant, id: ServerId, request: Request) {
        let call = self.dialogs.get(request.call_id()).copied();
        self.answer(now, id, &request, if call.is_some() { 200 } else { 481 });
        if let Some(call) = call {
            self.end_call(call, Ok(CallEnd::ByDevice));
        }
    }

    /// At the end of a file some say so in the call.
    pub(super) fn far_info(&mut self, now: Instant, id: ServerId, request: Request) {
        let call = self.dialogs.get(request.call_id()).copied();
        self.answer(now, id, &request, if call.is_some() { 200 } else { 481 });
        let says_end = memchr::memmem::find(&request.body, b"MediaStatus").is_some()
            || memchr::memmem::find(&request.body, b"TEARDOWN").is_some();
        if let Some(id) = call.filter(|_| says_end) {
            self.events.push_back(Event::FileEnd { id });
        }
    }

    pub(super) fn end_calls(&mut self, now: Instant) {
        let over = self.calls.iter().filter(|(_, call)| call.deadline.is_some_and(|at| at <= now));
        for id in over.map(|(id, _)| *id).collect::<Vec<_>>() {
            match self.calls.get(&id).map(|call| &call.state) {
                Some(State::Inviting(_)) => self.leave(now, id, CallFailure::Timeout),
                _ => self.end_call(id, Err(CallFailure::Timeout)),
            }
        }
    }

    /// Takes back an INVITE. It is told to be over at once, and whatever the device still says is dealt with.
    fn leave(&mut self, now: Instant, id: CallId, failure: CallFailure) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let State::Inviting(client) = call.state else { return };
        call.state = State::Leaving;
        call.told = true;
        call.deadline = Some(now + Duration::from_secs(40));
        self.events.push_back(Event::CallFailed { id, failure });
        self.sip.cancel(now, client);
    }

    /// The device is offline. It is told all the same: it may be here and only be unheard.
    pub(super) fn end_calls_of(&mut self, now: Instant, code: &Code) {
        self.end_summons_of(now, code);
        let its = self.calls.iter().filter(|(_, call)| call.order.device == *code);
        for (id, up) in its.map(|(id, call)| (*id, matches!(call.state, State::Up))).collect::<Vec<_>>() {
            if up {
                self.send_bye(now, id);
                self.end_call(id, Ok(CallEnd::Offline));
            } else {
                self.leave(now, id, CallFailure::Offline);
            }
        }
    }

    /// The one call for history of that channel, if it is one.
    pub(super) fn history_call_of(&self, device: &Code, channel: &str) -> Option<CallId> {
        let is_its = |call: &Call| {
            call.order.device == *device
                && (call.order.channel.as_str() == channel || channel == device.as_str())
                && call.order.what.is_history()
        };
        let mut its = self.calls.iter().filter(|(_, call)| is_its(call)).map(|(id, _)| *id);
        let first = its.next()?;
        its.next().is_none().then_some(first)
    }
}

/// A request in the call's dialog.
fn in_dialog(call: &Call, method: Method) -> Request {
    let name = method.to_string();
    let mut request = Request { method, body: Vec::new(), ..call.invite.clone() };
    if let Ok(uri) = rongtong_sip::message::Uri::try_from(call.target.as_str()) {
        request.uri = uri;
    }
    request.headers.retain(|header| matches!(header.name(), "From" | "Call-ID" | "User-Agent"));
    request.add("To", call.remote.clone());
    request.add("CSeq", format!("{} {name}", call.cseq));
    request
}

/// Where the answer says that the media comes from, or is to be fetched from over TCP.
pub fn media_address(description: &Session, signalling: SocketAddr) -> Option<SocketAddr> {
    let media = description.media.iter().find(|media| media.port != 0)?;
    let ip = description.address_of(media).and_then(|text| text.parse().ok()).unwrap_or(signalling.ip());
    Some(SocketAddr::new(ip, media.port))
}
