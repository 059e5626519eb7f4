//! Sound to a device by broadcast (GB/T 28181 9.12.1): it is told that somebody wants to speak, and calls for the sound
//! itself. The other way, an INVITE of ours, is a call as any.

use super::calls::State;
use super::{Call, CallEnd, CallFailure, CallId, CallOrder, Event, Platform, Purpose, reason};
use crate::id::Code;
use crate::speech::{Agreed, Form};
use crate::xml::Element;
use rongtong_sip::message::{Heads, Method, Request, Response, respond, status};
use rongtong_sip::net::Peer;
use rongtong_sip::sdp::{Media, Session};
use rongtong_sip::transaction::{Failure, ServerId, new_tag};
use std::time::{Duration, Instant};

/// A device that took the broadcast calls within so long.
const CALLS_WITHIN: Duration = Duration::from_secs(6);

/// A broadcast that is no call yet.
#[derive(Debug)]
pub(super) struct Summons {
    order: CallOrder,
    sn: u32,
    pub deadline: Instant,
    /// The device has the notice.
    taken: bool,
    invited: Option<Invited>,
}

/// The device's INVITE, which waits for a port of ours.
#[derive(Debug)]
struct Invited {
    server: ServerId,
    request: Request,
    peer: Peer,
    description: Session,
}

impl Platform {
    /// Tells the device that there is something to be heard.
    pub(super) fn summon(&mut self, now: Instant, id: CallId, order: CallOrder) {
        let Some(device) = self.devices.get(&order.device).filter(|device| device.online) else {
            return self.events.push_back(Event::CallFailed { id, failure: CallFailure::Offline });
        };
        self.sn = self.sn.wrapping_add(1);
        let sn = self.sn;
        let fields = [("SourceID", self.settings.code.as_str()), ("TargetID", order.channel.as_str())];
        let body = crate::xml::Body::bare("Notify", "Broadcast", sn, &fields).encode(device.charset);
        let peer = device.peer;
        let Some(mut request) = self.outgoing(Method::Message, device, &order.device) else {
            return self.events.push_back(Event::CallFailed { id, failure: CallFailure::Offline });
        };
        request.add("Content-Type", "Application/MANSCDP+xml");
        request.body = body;
        let client = self.sip.request(now, peer, request);
        self.purposes.insert(client, Purpose::Summon(id));
        // The transaction has an end of its own.
        let deadline = now + Duration::from_secs(33) + CALLS_WITHIN;
        self.summons.insert(id, Summons { order, sn, deadline, taken: false, invited: None });
    }

    pub(super) fn summons_taken(&mut self, now: Instant, id: CallId) {
        if let Some(summons) = self.summons.get_mut(&id).filter(|summons| !summons.taken) {
            (summons.taken, summons.deadline) = (true, now + CALLS_WITHIN);
        }
    }

    pub(super) fn summons_refused(&mut self, now: Instant, id: CallId, response: &Response) {
        let failure = CallFailure::NotAnnounced(reason(response));
        self.end_summons(now, id, failure);
    }

    pub(super) fn summons_failed(&mut self, now: Instant, id: CallId, failure: Failure) {
        let failure = match failure {
            Failure::Timeout => CallFailure::NotAnnounced("no answer".to_owned()),
            Failure::Unreachable | Failure::Overload => CallFailure::Unreachable,
        };
        self.end_summons(now, id, failure);
    }

    /// What the device says to a broadcast. True where it is that.
    pub(super) fn broadcast_answered(&mut self, now: Instant, code: &Code, sn: u32, root: &Element) -> bool {
        let its = |summons: &&Summons| summons.sn == sn && summons.order.device == *code;
        let Some(id) = self.summons.iter().find(|(_, summons)| its(summons)).map(|(id, _)| *id) else { return false };
        let result = root.get("Result").unwrap_or_default();
        if result.eq_ignore_ascii_case("ERROR") {
            let detail = root.get("Reason").unwrap_or(result).to_owned();
            self.end_summons(now, id, CallFailure::Declined(detail));
        } else {
            self.summons_taken(now, id);
        }
        true
    }

    /// A device calls. It is answered where somebody wants to speak to it.
    pub(super) fn invited(&mut self, now: Instant, server: ServerId, peer: Peer, request: Request) {
        let from = request.sender().user().to_owned();
        // Whom the sound is for: the second part of the Subject names it where the sender does not.
        let subject = request.header("Subject").unwrap_or_default();
        let named: Vec<&str> = subject
            .split(',')
            .filter_map(|part| part.split(':').next())
            .map(str::trim)
            .chain([from.as_str()])
            .collect();
        let waits = |summons: &Summons| summons.invited.is_none();
        let from_it = |summons: &Summons| {
            let device = self.devices.get(&summons.order.device);
            let known = device.is_some_and(|device| device.peer.addr.ip() == peer.addr.ip());
            known
                && (summons.order.device.as_str() == from
                    || summons.order.channel.as_str() == from
                    || device.is_some_and(|device| device.peer.addr == peer.addr))
        };
        let rank = |summons: &Summons| named.contains(&summons.order.channel.as_str());
        let mut of_device: Vec<(bool, CallId)> = self
            .summons
            .iter()
            .filter(|(_, summons)| waits(summons) && from_it(summons))
            .map(|(id, summons)| (!rank(summons), *id))
            .collect();
        of_device.sort_by_key(|(rank, id)| (*rank, id.0));
        let Some((_, id)) = of_device.first().copied() else {
            return self.answer(now, server, &request, 488);
        };
        let description = Session::parse(&request.body);
        if Agreed::read(&description, peer.addr).is_none() {
            self.answer(now, server, &request, 488);
            self.end_summons(now, id, CallFailure::NoForm);
            return;
        }
        // No 100 Trying: the answer follows at once, and there are devices that take any answer for the last.
        let Some(summons) = self.summons.get_mut(&id) else { return };
        // Whoever owns the ports is asked for one, which does not take long.
        summons.deadline = now + CALLS_WITHIN;
        summons.invited = Some(Invited { server, request, peer, description: description.clone() });
        self.events.push_back(Event::CallAsked { id, description, from: peer.addr });
    }

    /// There is a port for what the device called for; or there is none.
    pub(super) fn answer_call(&mut self, now: Instant, id: CallId, port: Option<u16>) {
        let Some(summons) = self.summons.get(&id) else { return };
        let Some(invited) = &summons.invited else { return };
        let agreed = Agreed::read(&invited.description, invited.peer.addr);
        let (Some(port), Some(agreed)) = (port, agreed) else {
            self.end_summons(now, id, CallFailure::HungUp);
            return;
        };
        let Some(Summons { mut order, invited: Some(invited), .. }) = self.summons.remove(&id) else { return };
        let Invited { server, request, peer, description } = invited;
        order.port = port;
        order.carriage = agreed.carriage;
        let mut response = respond(&request, 200, &new_tag());
        response.add("Contact", format!("<sip:{}@{}>", self.settings.code, self.settings.address));
        response.add("Content-Type", "Application/SDP");
        let ssrc = description.ssrc.clone().filter(|text| crate::ssrc::parse(text).is_some());
        response.body = self.speech(&order, &agreed, ssrc).to_string().into_bytes();
        let target = request.contact().map(|contact| contact.uri().to_owned()).filter(|uri| !uri.is_empty());
        let remote = request.header("From").unwrap_or_default().to_owned();
        // What follows in the dialog is sent as if the call were ours.
        let mut invite = Request { body: Vec::new(), ..request.clone() };
        invite.headers.retain(|header| header.name() == "Call-ID");
        invite.add("From", response.header("To").unwrap_or_default().to_owned());
        invite.add("User-Agent", "Rongtong");
        self.sip.respond(now, server, response);
        self.dialogs.insert(request.call_id().to_owned(), id);
        let call = Call {
            target: target.unwrap_or_else(|| request.sender().uri().to_owned()),
            remote,
            state: State::Up,
            invite,
            order,
            peer,
            cseq: 0,
            steered: 0,
            deadline: None,
            told: false,
            answered: Some(server),
        };
        self.calls.insert(id, call);
        self.events.push_back(Event::CallUp { id, description, from: peer.addr });
    }

    /// Our description of sound that is sent.
    pub(super) fn speech(&self, order: &CallOrder, agreed: &Agreed, ssrc: Option<String>) -> Session {
        let mut media = Media {
            kind: "audio".into(),
            port: order.port,
            protocol: if agreed.carriage == super::Carriage::Udp { "RTP/AVP" } else { "TCP/RTP/AVP" }.into(),
            formats: vec![agreed.payload_type.to_string()],
            ..Media::default()
        };
        media.push("sendonly", None);
        let name = match agreed.form {
            Form::A => "PCMA/8000",
            Form::Mu => "PCMU/8000",
            Form::Ps => "PS/90000",
        };
        media.push("rtpmap", format!("{} {name}", agreed.payload_type));
        if agreed.carriage != super::Carriage::Udp {
            let setup = if agreed.carriage == super::Carriage::TcpActive { "active" } else { "passive" };
            media.push("setup", setup.to_owned());
            media.push("connection", "new".to_owned());
        }
        Session {
            origin: self.settings.code.to_string(),
            name: "Play".into(),
            uri: None,
            address: Some(self.settings.media_host.clone()),
            time: (0, 0),
            media: vec![media],
            ssrc: ssrc.or_else(|| Some(order.ssrc.clone())),
            format: Some("v/////a/1/8/1".into()),
        }
    }

    /// False where there is none of that number.
    pub(super) fn end_summons(&mut self, now: Instant, id: CallId, failure: CallFailure) -> bool {
        let Some(summons) = self.summons.remove(&id) else { return false };
        if let Some(Invited { server, request, .. }) = &summons.invited {
            self.answer(now, *server, request, 480);
        }
        self.events.push_back(Event::CallFailed { id, failure });
        true
    }

    pub(super) fn end_summons_of(&mut self, now: Instant, code: &Code) {
        let its = self.summons.iter().filter(|(_, summons)| summons.order.device == *code);
        for id in its.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_summons(now, id, CallFailure::Offline);
        }
    }

    pub(super) fn end_late_summons(&mut self, now: Instant) {
        let late = self.summons.iter().filter(|(_, summons)| summons.deadline <= now);
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_summons(now, id, CallFailure::NotCalled);
        }
    }

    /// The device took its INVITE back.
    pub(super) fn invite_cancelled(&mut self, now: Instant, server: ServerId) {
        let its = |summons: &Summons| summons.invited.as_ref().is_some_and(|invited| invited.server == server);
        let Some(id) = self.summons.iter().find(|(_, summons)| its(summons)).map(|(id, _)| *id) else { return };
        if let Some(summons) = self.summons.get_mut(&id) {
            summons.invited = None;
        }
        self.end_summons(now, id, CallFailure::NotCalled);
    }

    /// The device never said that it has our answer.
    pub(super) fn unacknowledged(&mut self, now: Instant, server: ServerId) {
        let its = |call: &Call| call.answered == Some(server);
        if let Some(id) = self.calls.iter().find(|(_, call)| its(call)).map(|(id, _)| *id) {
            self.send_bye(now, id);
            self.end_call(id, Ok(CallEnd::NotAcknowledged));
        }
    }
}

/// The final answer to the notice of a broadcast.
pub(super) fn is_taken(response: &Response) -> bool {
    (200..300).contains(&status(response))
}
