//! Ports that belong to one session each: UDP sockets, and TCP connections that come in at one, or are
//! made to the peer.

use super::net::{Open, canonical};
use super::tcp::Connections;
use crate::ports::Lease;
use crate::session::PortKey;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

/// Tokens of ports; those of connections are counted up from a small number and never come here.
const FIRST_PORT: usize = 1 << 56;

/// Connections taken in at once at one port, more than wait there; what comes meanwhile is announced.
const ACCEPTS_A_TURN: usize = 512;

/// How a port is opened.
pub(crate) enum Opening {
    /// A bound UDP socket, of IPv6 and IPv4 at once where `dual`.
    Udp { socket: UdpSocket, dual: bool, lease: Lease },
    /// A bound TCP socket at which the peer connects.
    Listen { listener: TcpListener, lease: Lease },
    /// The peer takes our connection.
    Connect { to: SocketAddr },
}

enum Port {
    Udp { socket: UdpSocket, dual: bool, _lease: Lease },
    Listening { listener: TcpListener, _lease: Lease },
    Connecting,
}

/// What a port's connection has come to.
pub(super) enum News {
    /// It is up; its number and who is at the other end.
    Connected(PortKey, usize, SocketAddr),
    Failed(PortKey, String),
}

#[derive(Default)]
pub(super) struct Ports {
    open: HashMap<PortKey, Port>,
    /// Connections that have not come up yet, by their number.
    connecting: HashMap<usize, PortKey>,
    /// UDP ports that may have something to read.
    pub readable: Vec<PortKey>,
}

fn token(port: PortKey) -> Token {
    Token(FIRST_PORT + port.number() as usize)
}

impl Ports {
    /// The port of a token, if it is one's.
    pub fn of(&self, token: Token) -> Option<PortKey> {
        let port = PortKey::of_number(token.0.checked_sub(FIRST_PORT)? as u64);
        self.open.contains_key(&port).then_some(port)
    }

    pub fn open(
        &mut self,
        port: PortKey,
        opening: Opening,
        connections: &mut Connections,
        registry: &Registry,
    ) -> Result<(), String> {
        let opened = match opening {
            Opening::Udp { mut socket, dual, lease } => {
                registry.register(&mut socket, token(port), Interest::READABLE).map_err(|error| error.to_string())?;
                Port::Udp { socket, dual, _lease: lease }
            }
            Opening::Listen { mut listener, lease } => {
                registry.register(&mut listener, token(port), Interest::READABLE).map_err(|error| error.to_string())?;
                Port::Listening { listener, _lease: lease }
            }
            Opening::Connect { to } => {
                let stream = TcpStream::connect(to).map_err(|error| no_way(to, &error))?;
                let connection =
                    connections.adopt(stream, to, registry).ok_or("this server has too many TCP connections")?;
                self.connecting.insert(connection, port);
                Port::Connecting
            }
        };
        self.open.insert(port, opened);
        Ok(())
    }

    /// Closes a port; returns its connections that have not come up, which then have no use.
    pub fn close(&mut self, port: PortKey, registry: &Registry) -> Vec<usize> {
        match self.open.remove(&port) {
            Some(Port::Udp { mut socket, .. }) => drop(registry.deregister(&mut socket)),
            Some(Port::Listening { mut listener, .. }) => drop(registry.deregister(&mut listener)),
            Some(Port::Connecting) | None => {}
        }
        self.readable.retain(|readable| *readable != port);
        self.connecting.extract_if(|_, of| *of == port).map(|(connection, _)| connection).collect()
    }

    /// A port's UDP socket.
    pub fn udp(&self, port: PortKey) -> Option<Open<'_>> {
        match self.open.get(&port)? {
            Port::Udp { socket, dual, .. } => Some(Open { socket, port: Some(port), dual: *dual }),
            Port::Listening { .. } | Port::Connecting => None,
        }
    }

    /// Whether to be told when the port's socket takes packets again.
    pub fn await_room(&mut self, port: PortKey, interest: Interest, registry: &Registry) -> bool {
        let Some(Port::Udp { socket, .. }) = self.open.get_mut(&port) else { return false };
        registry.reregister(socket, token(port), interest).is_ok()
    }

    /// Something is to be had at a port: connections are taken in, datagrams noted.
    pub fn is_ready(&mut self, port: PortKey, connections: &mut Connections, registry: &Registry) -> Vec<News> {
        let mut news = Vec::new();
        match self.open.get(&port) {
            Some(Port::Udp { .. }) if !self.readable.contains(&port) => self.readable.push(port),
            Some(Port::Listening { listener, .. }) => {
                for _ in 0..ACCEPTS_A_TURN {
                    match listener.accept() {
                        Ok((stream, from)) => {
                            let from = canonical(from);
                            if let Some(connection) = connections.adopt(stream, from, registry) {
                                news.push(News::Connected(port, connection, from));
                            }
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        // Another one's fault, or nothing more: whoever comes next is announced.
                        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                        Err(_) => break,
                    }
                }
            }
            _ => {}
        }
        news
    }

    /// Whether a connection is still being made.
    pub fn is_connecting(&self, connection: usize) -> bool {
        self.connecting.contains_key(&connection)
    }

    /// Something has happened on a connection that is being made.
    pub fn progress(&mut self, connection: usize, connections: &Connections) -> Option<News> {
        let port = *self.connecting.get(&connection)?;
        let to = connections.peer(connection)?;
        let news = match connections.came_up(connection)? {
            Ok(()) => News::Connected(port, connection, to),
            Err(error) => News::Failed(port, no_way(to, &error)),
        };
        self.connecting.remove(&connection);
        Some(news)
    }
}

fn no_way(to: SocketAddr, error: &io::Error) -> String {
    format!("no TCP connection to {to}: {error}")
}
