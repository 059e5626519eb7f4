//! What the camera says: answers, its own requests, and what retina is told of them.
//!
//! Invariant: a request is sent again only after a 401 that a new nonce may mend; a wrong password
//! is tried once.

use super::requests::{Authorized, Pending};
use super::{Relay, write};
use crate::front::digest::{Auth, Challenge, challenges, named};
use crate::front::keepalive::{KeepAlive, session};
use crate::front::message::Message;
use crate::front::setup::Chosen;
use crate::front::{describe, setup};
use crate::reason::{Failure, Reason};

const MOST_TRIES: u8 = 3;

impl Relay {
    /// A message of the camera's; returns what retina is told.
    pub(super) async fn hear(&mut self, message: Message) -> Result<Option<Message>, Failure> {
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
        self.answered(&pending, status, message).await
    }

    /// Whether the request is to be sent again with an answer to this challenge.
    fn answers(&mut self, message: &Message, pending: &mut Pending) -> bool {
        let found = challenges(message.all("WWW-Authenticate"));
        let stale = found.iter().any(Challenge::stale);
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
    async fn answered(
        &mut self,
        pending: &Pending,
        status: u16,
        mut answer: Message,
    ) -> Result<Option<Message>, Failure> {
        if let Some(alive) = &mut self.alive {
            alive.answered(&pending.method, &answer);
        }
        let Some(asked) = pending.asked else { return Ok(None) };
        if (200..300).contains(&status) {
            match pending.method.as_str() {
                "DESCRIBE" => self.described(&mut answer)?,
                "SETUP" => self.set_up(pending, &mut answer).await?,
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
        let description =
            describe::read(&answer.body).map_err(|error| Failure::new(Reason::BadDescription, error.to_string()))?;
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

    async fn set_up(&mut self, pending: &Pending, answer: &mut Message) -> Result<(), Failure> {
        if let Some((id, timeout)) = answer.header("Session").map(session) {
            self.timeout = timeout.or(self.timeout);
            self.session.get_or_insert_with(|| id.to_owned());
        }
        // retina wants one, the same in each answer.
        answer.set("Session", self.session.as_deref().filter(|id| !id.is_empty()).unwrap_or("0"));
        let peer = self.camera.peer_addr().map_err(|error| Failure::new(Reason::Closed, error.to_string()))?;
        let asked = pending.request.header("Transport").unwrap_or_default();
        let chosen = setup::chosen(asked, answer.header("Transport"), peer.ip(), &self.channels)
            .map_err(|refused| Failure::new(Reason::TransportRefused, refused.0))?;
        let channel = match chosen {
            Chosen::Interleaved(channel) => Some(channel),
            Chosen::Udp { ours, source, port } => self.ports.answered(ours, peer, source, port).await,
        };
        let channel = channel.ok_or_else(|| Failure::new(Reason::Internal, "an answer for no port of ours"))?;
        self.channels.push(channel);
        answer.set("Transport", setup::over_tcp(channel));
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
}
