//! What one peer's packets go through, without sockets, clock or tasks: connectivity checks,
//! the DTLS handshake, data channels. A shard drives them; nothing here knows rooms or tracks.

pub mod data;
pub mod dtls;
pub mod flow;
pub mod ice;
pub mod srtp;

use std::net::SocketAddr;

/// How datagrams reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// A framed TCP connection (RFC 4571), by the shard's connection number.
    Tcp(usize),
    Udp(SocketAddr),
}
