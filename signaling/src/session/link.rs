//! The channels between a session and whatever connection it has just now.

use livekit_protocol as proto;
use prost::Message;
use rongtong_media_core::ids::{Identity, ParticipantSid};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Messages waiting for a client's socket; one that lets more pile up is disconnected.
const OUTGOING: usize = 512;

/// Tells the connections of one session apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId(u64);

impl LinkId {
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug)]
pub(crate) enum Outgoing {
    /// An encoded `SignalResponse`.
    Message(Vec<u8>),
    /// WebSocket close code (RFC 6455 7.4) and reason; nothing follows.
    Close(u16, &'static str),
}

/// Why a message did not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The connection has ended.
    Gone,
    /// The client lets messages pile up.
    NotReading,
}

/// The session's end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub id: LinkId,
    outgoing: mpsc::Sender<Outgoing>,
}

impl Link {
    pub fn pair() -> (Self, mpsc::Receiver<Outgoing>) {
        let (outgoing, receiver) = mpsc::channel(OUTGOING);
        (Self { id: LinkId::next(), outgoing }, receiver)
    }

    pub fn send(&self, message: proto::signal_response::Message) -> Result<(), Unsent> {
        let bytes = proto::SignalResponse { message: Some(message) }.encode_to_vec();
        self.outgoing.try_send(Outgoing::Message(bytes)).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => Unsent::Gone,
            mpsc::error::TrySendError::Full(_) => Unsent::NotReading,
        })
    }

    pub fn close(self, code: u16, reason: &'static str) {
        let _ = self.outgoing.try_send(Outgoing::Close(code, reason));
    }
}

/// What a connection hands to its session.
#[derive(Debug)]
pub(crate) enum FromClient {
    Request(Box<proto::signal_request::Message>),
    /// More messages than anybody needs.
    Flood,
    Gone,
}

/// The client is back on a new connection.
#[derive(Debug)]
pub(crate) struct Attach {
    pub link: Link,
    pub sync_state: Option<proto::SyncState>,
    pub publisher_offer: Option<proto::SessionDescription>,
}

/// What others tell a session.
#[derive(Debug)]
pub(crate) enum Command {
    Attach(Box<Attach>),
    Notice(Notice),
}

/// What one session tells others.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// A participant's tracks are described differently now.
    Touched { sid: ParticipantSid, identity: Identity },
}

/// One session as connections and other sessions reach it.
#[derive(Clone, Debug)]
pub(crate) struct SessionHandle {
    pub sid: ParticipantSid,
    pub commands: mpsc::Sender<Command>,
    pub from_client: mpsc::Sender<(LinkId, FromClient)>,
}
