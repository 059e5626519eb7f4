//! Sockets of a shard: one UDP port with batched reads and writes, passive
//! ICE-TCP with RFC 4571 framing.

use super::egress::Egress;
use crate::session::Path;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

pub(super) const UDP: Token = Token(0);
pub(super) const LISTENER: Token = Token(1);
pub(super) const WAKER: Token = Token(2);
const FIRST_CONNECTION: usize = 16;

/// Datagrams read at once.
pub(super) const BATCH: usize = 64;
const DATAGRAM: usize = 2048;
const MAX_CONNECTIONS: usize = 2048;
/// Bytes that may wait for a slow TCP peer; over it new packets to it are dropped.
const MAX_TCP_BACKLOG: usize = 1 << 20;
/// Largest frame taken from a TCP peer.
const MAX_FRAME: usize = DATAGRAM;

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A UDP socket on all addresses, IPv6 and IPv4 where the system has both.
pub(super) fn bind_udp(port: u16) -> io::Result<(UdpSocket, bool)> {
    let six = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into())?;
        Ok(socket)
    };
    let (socket, dual) = match six() {
        Ok(socket) => (socket, true),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(_) => {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.bind(&SocketAddr::from(([0, 0, 0, 0], port)).into())?;
            (socket, false)
        }
    };
    let _ = socket.set_recv_buffer_size(4 << 20);
    let _ = socket.set_send_buffer_size(4 << 20);
    socket.set_nonblocking(true)?;
    Ok((UdpSocket::from_std(socket.into()), dual))
}

pub(super) fn bind_tcp(port: u16) -> io::Result<TcpListener> {
    let bind = |domain: Domain, address: SocketAddr| -> io::Result<TcpListener> {
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(256)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from_std(socket.into()))
    };
    bind(Domain::IPV6, SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
        .or_else(|_| bind(Domain::IPV4, SocketAddr::from(([0, 0, 0, 0], port))))
}

/// Reads a batch by recvmmsg. Buffers live as long as the shard.
pub(super) struct Receiver {
    buffers: Vec<[u8; DATAGRAM]>,
    lengths: [usize; BATCH],
    sources: [SocketAddr; BATCH],
}

impl Receiver {
    pub fn new() -> Self {
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { buffers: vec![[0; DATAGRAM]; BATCH], lengths: [0; BATCH], sources: [unspecified; BATCH] }
    }

    /// Datagrams read; 0 when there are none.
    pub fn fill(&mut self, socket: &UdpSocket) -> usize {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { std::mem::zeroed() };
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut vectors: [libc::iovec; BATCH] = unsafe { std::mem::zeroed() };
        for index in 0..BATCH {
            vectors[index] = libc::iovec { iov_base: self.buffers[index].as_mut_ptr().cast(), iov_len: DATAGRAM };
            headers[index].msg_hdr.msg_iov = &mut vectors[index];
            headers[index].msg_hdr.msg_iovlen = 1;
            headers[index].msg_hdr.msg_name = (&raw mut names[index]).cast();
            headers[index].msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
        }
        // SAFETY: every pointer in `headers` refers to a buffer that outlives the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0);
        for index in 0..count {
            self.lengths[index] = headers[index].msg_len as usize;
            if let Some(address) = socket_address(&names[index]) {
                self.sources[index] = canonical(address);
            }
        }
        count
    }

    pub fn datagram(&self, index: usize) -> (&[u8], SocketAddr) {
        (&self.buffers[index][..self.lengths[index].min(DATAGRAM)], self.sources[index])
    }
}

fn socket_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure the storage holds, and the storage is large enough for it.
            let four = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = std::net::Ipv4Addr::from(u32::from_be(four.sin_addr.s_addr));
            Some(SocketAddr::new(ip.into(), u16::from_be(four.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let six = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            Some(SocketAddr::new(Ipv6Addr::from(six.sin6_addr.s6_addr).into(), u16::from_be(six.sin6_port)))
        }
        _ => None,
    }
}

/// Splits a stream into RFC 4571 frames: 16-bit length, then that many bytes.
/// Calls `each` with every whole frame and returns the bytes consumed, or
/// `None` when a frame is larger than any datagram we take.
pub fn parse_frames(buffer: &[u8], mut each: impl FnMut(&[u8])) -> Option<usize> {
    let mut at = 0;
    while let Some(head) = buffer.get(at..at + 2) {
        let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
        if length > MAX_FRAME {
            return None;
        }
        let Some(frame) = buffer.get(at + 2..at + 2 + length) else { break };
        if length > 0 {
            each(frame);
        }
        at += 2 + length;
    }
    Some(at)
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// Accepted ICE-TCP connections.
#[derive(Default)]
pub(super) struct Connections {
    open: HashMap<usize, Connection>,
    next: usize,
}

impl Connections {
    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn accept(&mut self, listener: &TcpListener, registry: &Registry) {
        while let Ok((mut stream, peer)) = listener.accept() {
            if self.open.len() >= MAX_CONNECTIONS {
                continue;
            }
            let _ = stream.set_nodelay(true);
            let token = FIRST_CONNECTION + self.next;
            self.next += 1;
            if registry.register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE).is_ok() {
                let connection =
                    Connection { stream, peer: canonical(peer), incoming: Vec::new(), outgoing: Vec::new() };
                self.open.insert(token, connection);
            }
        }
    }

    pub fn peer(&self, token: usize) -> Option<SocketAddr> {
        self.open.get(&token).map(|connection| connection.peer)
    }

    /// Reads what is there into `frames`; `false` when the connection is gone.
    pub fn read(&mut self, token: usize, frames: &mut Vec<Vec<u8>>) -> bool {
        let Some(connection) = self.open.get_mut(&token) else { return false };
        let mut chunk = [0u8; 16 * 1024];
        let mut alive = true;
        // Bounded, so that one busy connection can't hold the loop.
        for _ in 0..16 {
            match connection.stream.read(&mut chunk) {
                Ok(0) => {
                    alive = false;
                    break;
                }
                Ok(count) => connection.incoming.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    alive = false;
                    break;
                }
            }
        }
        match parse_frames(&connection.incoming, |frame| frames.push(frame.to_vec())) {
            Some(consumed) => {
                connection.incoming.drain(..consumed);
            }
            None => alive = false,
        }
        alive
    }

    pub fn write_ready(&mut self, token: usize) {
        if let Some(connection) = self.open.get_mut(&token) {
            connection.drain();
        }
    }

    fn send(&mut self, token: usize, packet: &[u8]) -> bool {
        let Some(connection) = self.open.get_mut(&token) else { return false };
        if connection.outgoing.len() + packet.len() > MAX_TCP_BACKLOG {
            return false;
        }
        let Ok(length) = u16::try_from(packet.len()) else { return false };
        connection.outgoing.extend_from_slice(&length.to_be_bytes());
        connection.outgoing.extend_from_slice(packet);
        connection.drain();
        true
    }

    pub fn close(&mut self, token: usize, registry: &Registry) {
        if let Some(mut connection) = self.open.remove(&token) {
            let _ = registry.deregister(&mut connection.stream);
        }
    }
}

impl Connection {
    fn drain(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(0) => break,
                Ok(count) => {
                    self.outgoing.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
}

/// Hands packets to the system, by sendmmsg.
pub(super) struct Sender {
    dual: bool,
    pub packets: u64,
    pub octets: u64,
    pub errors: u64,
}

impl Sender {
    pub fn new(dual: bool) -> Self {
        Self { dual, packets: 0, octets: 0, errors: 0 }
    }

    /// Sends all that waits.
    pub fn flush(&mut self, egress: &mut Egress, socket: &UdpSocket, connections: &mut Connections) {
        let (bytes, queue) = (&egress.bytes, &egress.queue);
        let mut at = 0;
        while at < queue.len() {
            let batch: Vec<(usize, usize, SocketAddr)> = queue[at..]
                .iter()
                .map_while(|&(start, length, path)| match path {
                    Path::Udp(address) => Some((start, length, address)),
                    Path::Tcp(_) => None,
                })
                .take(BATCH)
                .collect();
            if batch.is_empty() {
                if let (start, length, Path::Tcp(token)) = queue[at] {
                    if connections.send(token, &bytes[start..start + length]) {
                        self.packets += 1;
                        self.octets += length as u64;
                    } else {
                        self.errors += 1;
                    }
                }
                at += 1;
                continue;
            }
            at += self.send_batch(bytes, socket, &batch);
        }
        egress.clear();
    }

    /// Sends a batch and returns how many of it are done with, sent or given up.
    fn send_batch(&mut self, bytes: &[u8], socket: &UdpSocket, batch: &[(usize, usize, SocketAddr)]) -> usize {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut vectors: [libc::iovec; BATCH] = unsafe { std::mem::zeroed() };
        let names: Vec<socket2::SockAddr> = batch.iter().map(|&(_, _, address)| self.name(address).into()).collect();
        for (index, &(start, length, _)) in batch.iter().enumerate() {
            vectors[index] =
                libc::iovec { iov_base: bytes[start..start + length].as_ptr().cast_mut().cast(), iov_len: length };
            headers[index].msg_hdr.msg_iov = &mut vectors[index];
            headers[index].msg_hdr.msg_iovlen = 1;
            headers[index].msg_hdr.msg_name = names[index].as_ptr().cast_mut().cast();
            headers[index].msg_hdr.msg_namelen = names[index].len();
        }
        // SAFETY: every pointer in `headers` refers to memory that outlives the call.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), batch.len() as u32, libc::MSG_DONTWAIT as _)
        };
        match usize::try_from(sent) {
            Ok(count) if count > 0 => {
                self.packets += count as u64;
                self.octets += batch.iter().take(count).map(|&(_, length, _)| length as u64).sum::<u64>();
                count
            }
            _ => {
                // The first one can't be sent (buffer full, no route): drop it and go on.
                self.errors += 1;
                1
            }
        }
    }

    fn name(&self, address: SocketAddr) -> SocketAddr {
        match address.ip() {
            IpAddr::V4(four) if self.dual => SocketAddr::new(IpAddr::V6(four.to_ipv6_mapped()), address.port()),
            _ => address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_frames;

    #[test]
    fn frames_are_split_and_the_rest_kept() {
        let mut seen = Vec::new();
        let consumed = parse_frames(&[0, 2, 1, 2, 0, 0, 0, 3, 9], |frame| seen.push(frame.to_vec()));
        assert_eq!(consumed, Some(6));
        assert_eq!(seen, vec![vec![1, 2]]);
    }

    #[test]
    fn a_frame_larger_than_a_datagram_ends_the_connection() {
        assert_eq!(parse_frames(&[0xff, 0xff, 0], |_| {}), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_consumed_within_bounds(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..4096)) {
            if let Some(consumed) = parse_frames(&bytes, |_| {}) {
                proptest::prop_assert!(consumed <= bytes.len());
            }
        }
    }
}
