//! Requests: retina's in the camera's terms, and the relay's own.
//!
//! Invariant: a request is sent at most three times; numbers (`CSeq`) are the relay's own.

use super::{Relay, write};
use crate::front::message::Message;
use crate::front::setup;
use crate::reason::{Failure, Reason};
use crate::session::Transport;

const MOST_PENDING: usize = 16;

/// A request without its answer.
pub(super) struct Pending {
    pub(super) cseq: u32,
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) request: Message,
    /// retina's number; `None` for a request of the relay's own.
    pub(super) asked: Option<u32>,
    pub(super) tries: u8,
    /// What the last try was authorized by.
    pub(super) authorized: Authorized,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Authorized {
    Not,
    /// By a challenge of an earlier request, whose nonce may have ended.
    Before,
    /// By the challenge of its own 401.
    Own,
}

impl Relay {
    /// A request of retina's.
    pub(super) async fn ask(&mut self, mut request: Message) -> Result<(), Failure> {
        let asked = request.cseq();
        let Some((method, uri)) = request.request() else { return Ok(()) };
        let uri = match uri.strip_prefix(self.names.ours.as_str()) {
            Some(rest) => format!("{}{rest}", self.names.origin),
            None => uri.to_owned(),
        };
        let method = method.to_owned();
        if self.alive.is_some() && matches!(method.as_str(), "GET_PARAMETER" | "OPTIONS" | "SET_PARAMETER") {
            // The relay keeps the session alive by itself.
            let mut answer = Message::new("RTSP/1.0 200 OK");
            answer.set("CSeq", asked.unwrap_or_default().to_string());
            let bytes = answer.encode();
            return write(&mut self.retina, &bytes)
                .await
                .map_err(|error| Failure::new(Reason::Internal, error.to_string()));
        }
        request.remove("Session");
        if let Some(session) = &self.session {
            request.set("Session", session);
        }
        if matches!(method.as_str(), "DESCRIBE" | "PLAY") {
            self.whole.clone_from(&uri);
        }
        if method == "SETUP" && self.transport == Transport::Udp {
            let channel = request.header("Transport").and_then(setup::channel).unwrap_or_default();
            let port = match self.camera.local_addr() {
                Ok(local) => self.ports.open(local, channel).await,
                Err(error) => Err(error),
            };
            let port = port.map_err(|error| Failure::new(Reason::Internal, error.to_string()))?;
            request.set("Transport", setup::over_udp(port));
        }
        request.first = format!("{method} {uri} RTSP/1.0");
        self.request(method, uri, request, asked).await
    }

    pub(super) async fn request(
        &mut self,
        method: String,
        uri: String,
        request: Message,
        asked: Option<u32>,
    ) -> Result<(), Failure> {
        let authorized = if self.auth.is_some() { Authorized::Before } else { Authorized::Not };
        self.send(Pending { cseq: 0, method, uri, request, asked, tries: 0, authorized }).await
    }

    pub(super) async fn send(&mut self, mut pending: Pending) -> Result<(), Failure> {
        self.cseq = self.cseq.wrapping_add(1);
        pending.cseq = self.cseq;
        pending.tries += 1;
        let request = &mut pending.request;
        request.set("CSeq", self.cseq.to_string());
        request.remove("Authorization");
        if let (Some(auth), Some(credentials)) = (&mut self.auth, &self.credentials) {
            let value = auth.authorize(credentials, &pending.method, &pending.uri, &request.body);
            request.set("Authorization", value);
        }
        let bytes = request.encode();
        if self.pending.len() >= MOST_PENDING {
            self.pending.remove(0);
        }
        self.pending.push(pending);
        write(&mut self.camera, &bytes).await.map_err(|error| Failure::new(Reason::Closed, error.to_string()))
    }
}
