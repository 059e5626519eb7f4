//! The UDP socket of a shard, read and written in batches; what goes by TCP goes to
//! [`super::tcp`].

use super::egress::Egress;
use super::tcp::Connections;
use crate::session::Path;
use mio::Token;
use mio::net::UdpSocket;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

pub(super) const UDP: Token = Token(0);
pub(super) const LISTENER: Token = Token(1);
pub(super) const WAKER: Token = Token(2);

/// Datagrams read at once.
pub(super) const BATCH: usize = 64;
/// The largest datagram, or frame of a TCP peer, that is taken.
pub(super) const DATAGRAM: usize = 2048;

pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
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
