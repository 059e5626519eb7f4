//! Calls of the platform: it wants live pictures, a recording, or to be heard.

use super::{Agent, Event, Purpose};
use crate::id::Code;
use crate::mansrtsp::Steering;
use crate::platform::{Carriage, What, media_address};
use rongtong_sip::message::{Heads, Method, Request, respond};
use rongtong_sip::sdp::{Media, Session};
use rongtong_sip::transaction::{ServerId, new_tag};
use std::net::SocketAddr;
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InviteId(pub u64);

/// What the platform asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Invitation {
    pub channel: Code,
    pub what: What,
    /// As [`Carriage`] has it: `TcpPassive` is that the device connects.
    pub carriage: Carriage,
    /// Where the platform takes media.
    pub remote: SocketAddr,
    /// The platform's number for the stream.
    pub ssrc: Option<u32>,
    /// It is to be heard at the device, or talked with.
    pub is_audio: bool,
}

#[derive(Debug)]
pub(super) struct Incoming {
    /// The INVITE's transaction, until it is answered.
    server: Option<ServerId>,
    invite: Request,
    /// Our tag in the dialog.
    tag: String,
    up: bool,
}

/// Calls at once.
const MAX_CALLS: usize = 1_024;

impl Invitation {
    fn read(request: &Request, from: SocketAddr) -> Option<Self> {
        let session = Session::parse(&request.body);
        let media = session.media.iter().find(|media| media.port != 0)?;
        let (begin, end) = session.time;
        let number = |name: &str| media.attribute(name).and_then(|text| text.trim().parse::<u8>().ok());
        let what = match session.name.to_ascii_lowercase().as_str() {
            "playback" => What::Playback { begin, end },
            "talk" => What::Talk,
            "download" => What::Download { begin, end, speed: number("downloadspeed").unwrap_or(1) },
            _ => What::Live { stream: number("streamnumber").or_else(|| number("streamprofile")).unwrap_or(0) },
        };
        let carriage = match (media.is_tcp(), media.attribute("setup")) {
            (false, _) => Carriage::Udp,
            (true, Some("active")) => Carriage::TcpActive,
            (true, _) => Carriage::TcpPassive,
        };
        let target = request.uri.to_string();
        let channel = rongtong_sip::message::user_of(&target);
        let channel = if channel.is_empty() { request.recipient().user() } else { channel };
        Some(Self {
            channel: Code::new(channel).ok()?,
            what,
            carriage,
            remote: media_address(&session, from)?,
            ssrc: session.ssrc.as_deref().and_then(|text| text.trim().parse().ok()),
            is_audio: media.kind == "audio",
        })
    }

    /// The answer's description of what is sent from this address.
    pub fn answer(&self, code: &Code, local: SocketAddr) -> Session {
        let (name, time) = match self.what {
            What::Live { .. } | What::Broadcast => ("Play", (0, 0)),
            What::Talk => ("Talk", (0, 0)),
            What::Playback { begin, end } => ("Playback", (begin, end)),
            What::Download { begin, end, .. } => ("Download", (begin, end)),
        };
        let mut media = Media {
            kind: if self.is_audio { "audio" } else { "video" }.into(),
            port: local.port(),
            protocol: if self.carriage == Carriage::Udp { "RTP/AVP" } else { "TCP/RTP/AVP" }.into(),
            formats: vec![if self.is_audio { "8" } else { "96" }.into()],
            ..Media::default()
        };
        media.push(if self.is_audio { "recvonly" } else { "sendonly" }, None);
        media.push("rtpmap", if self.is_audio { "8 PCMA/8000" } else { "96 PS/90000" }.to_owned());
        if self.carriage != Carriage::Udp {
            let setup = if self.carriage == Carriage::TcpPassive { "active" } else { "passive" };
            media.push("setup", setup.to_owned());
            media.push("connection", "new".to_owned());
        }
        Session {
            origin: code.to_string(),
            name: name.into(),
            uri: None,
            address: Some(local.ip().to_string()),
            time,
            media: vec![media],
            ssrc: self.ssrc.map(|ssrc| format!("{ssrc:010}")),
            format: None,
        }
    }
}

impl Agent {
    pub(super) fn invited(&mut self, now: Instant, server: ServerId, request: Request) {
        if let Some(known) = self.dialogs.get(request.call_id()) {
            // Nothing of a call is changed while it is up.
            tracing::debug!(?known, "an INVITE within a call is refused");
            return self.answer(now, server, &request, 488);
        }
        if self.calls.len() >= MAX_CALLS {
            return self.answer(now, server, &request, 486);
        }
        let Some(invitation) = Invitation::read(&request, self.settings.server) else {
            return self.answer(now, server, &request, 488);
        };
        let mut trying = respond(&request, 100, "");
        trying.set("To", request.header("To").unwrap_or_default().to_owned());
        self.sip.respond(now, server, trying);
        self.next_call += 1;
        let id = InviteId(self.next_call);
        self.dialogs.insert(request.call_id().to_owned(), id);
        self.calls.insert(id, Incoming { server: Some(server), invite: request, tag: new_tag(), up: false });
        self.events.push_back(Event::Invited { id, invitation: Box::new(invitation) });
    }

    pub(super) fn accept(&mut self, now: Instant, id: InviteId, description: &Session) {
        let contact = format!("<sip:{}@{}>", self.settings.code, self.settings.local);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(server) = call.server.filter(|_| !call.up) else { return };
        let mut response = respond(&call.invite, 200, &call.tag);
        response.add("Contact", contact);
        response.add("Content-Type", "Application/SDP");
        response.body = description.to_string().into_bytes();
        call.up = true;
        self.sip.respond(now, server, response);
    }

    pub(super) fn reject(&mut self, now: Instant, id: InviteId, code: u16) {
        let Some(call) = self.calls.get(&id).filter(|call| !call.up) else { return };
        if let Some(server) = call.server {
            let response = respond(&call.invite, code, &call.tag);
            self.sip.respond(now, server, response);
        }
        self.end(id);
    }

    pub(super) fn ready(&mut self, server: ServerId) {
        if let Some(id) = self.of_server(server) {
            self.events.push_back(Event::Ready { id });
        }
    }

    /// It was taken back, or our answer never arrived.
    pub(super) fn dropped(&mut self, server: ServerId) {
        if let Some(id) = self.of_server(server) {
            self.end(id);
        }
    }

    fn of_server(&self, server: ServerId) -> Option<InviteId> {
        self.calls.iter().find(|(_, call)| call.server == Some(server)).map(|(id, _)| *id)
    }

    fn end(&mut self, id: InviteId) {
        if let Some(call) = self.calls.remove(&id) {
            self.dialogs.remove(call.invite.call_id());
            self.events.push_back(Event::Ended { id });
        }
    }

    pub(super) fn hang_up(&mut self, now: Instant, id: InviteId) {
        let Some(call) = self.calls.get(&id) else { return };
        if !call.up {
            return self.reject(now, id, 480);
        }
        let target = call.invite.contact().map(|contact| contact.uri().to_owned());
        let target = target.unwrap_or_else(|| call.invite.sender().uri().to_owned());
        if let Ok(mut bye) = rongtong_sip::message::request(Method::Bye, &target) {
            let to = call.invite.header("From").unwrap_or_default().to_owned();
            let from = call.invite.header("To").unwrap_or_default();
            let from = if from.contains("tag=") { from.to_owned() } else { format!("{from};tag={}", call.tag) };
            bye.add("From", from);
            bye.add("To", to);
            bye.add("Call-ID", call.invite.call_id().to_owned());
            bye.add("CSeq", "1 BYE");
            let peer = self.peer();
            let client = self.sip.request(now, peer, bye);
            self.purposes.insert(client, Purpose::Bye);
        }
        self.end(id);
    }

    pub(super) fn far_bye(&mut self, now: Instant, server: ServerId, request: &Request) {
        let call = self.dialogs.get(request.call_id()).copied();
        self.answer(now, server, request, if call.is_some() { 200 } else { 481 });
        if let Some(id) = call {
            self.end(id);
        }
    }

    pub(super) fn far_info(&mut self, now: Instant, server: ServerId, request: &Request) {
        let call = self.dialogs.get(request.call_id()).copied();
        let steering = Steering::read(&request.body);
        let code = match (call, steering) {
            (None, _) => 481,
            (Some(_), None) => 400,
            (Some(_), Some(_)) => 200,
        };
        self.answer(now, server, request, code);
        if let (Some(id), Some(steering)) = (call, steering) {
            self.events.push_back(Event::Steered { id, steering });
        }
    }
}
