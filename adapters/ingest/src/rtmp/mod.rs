//! RTMP as a server that takes and never gives (Adobe, RTMP specification 1.0; Veovera, Enhanced RTMP 2).
//!
//! [`Engine`] is the protocol without sockets and clocks; [`RtmpServer`] drives it. `docs/protocols/RTMP.md` says what
//! is taken and how the rest is refused.

mod amf;
mod chunk;
mod clock;
mod engine;
mod flv;
mod server;

#[cfg(test)]
mod tests;

pub use engine::{Engine, Event, Fault, Wanted};
pub use server::{Limits, RtmpServer, Tls};

/// What a peer asked to publish, as `rtmp://host/app/<id>?key=<key>` has it; encoders that part the address into a
/// server and a stream key send the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    pub id: &'a str,
    pub key: &'a str,
}

impl<'a> Name<'a> {
    /// Reads a stream's name. What is missing is empty, and fits nothing.
    pub fn parse(text: &'a str) -> Self {
        let (id, query) = text.split_once('?').unwrap_or((text, ""));
        let key = query.split('&').find_map(|part| part.strip_prefix("key=")).unwrap_or("");
        Self { id: id.trim_matches('/'), key: key.trim_end_matches('/') }
    }
}
