//! The UDP socket of a shard, read and written in batches; what goes by TCP goes to
//! [`super::tcp`].

use super::ports::Ports;
use super::tcp::Connections;
use crate::session::egress::Egress;
use crate::session::{Path, PortKey};
use mio::Token;
use mio::net::UdpSocket;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

pub(super) const UDP: Token = Token(0);
pub(super) const LISTENER: Token = Token(1);
pub(super) const WAKER: Token = Token(2);

/// Messages read at once, each one datagram or several of one peer (UDP_GRO).
pub(super) const READ_BATCH: usize = 32;
/// Messages sent at once, likewise.
const BATCH: usize = 64;
/// The largest datagram, or frame of a TCP peer, that is taken.
pub(super) const DATAGRAM: usize = 2048;
/// What one message can hold, read or sent.
const MESSAGE: usize = 64 << 10;
/// The system takes at most so many datagrams in one message, and bytes (UDP_MAX_SEGMENTS; IPv4's length
/// field less headers).
const SEGMENTS: usize = 64;
const SEGMENTED_BYTES: usize = 64_000;
/// The system divides into what fits an Ethernet frame, and refuses to divide into more.
const LARGEST_SEGMENT: usize = 1_452;
/// What is asked for; the system may give less.
const SOCKET_BUFFER: usize = 4 << 20;

pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A UDP socket on all addresses.
pub(crate) struct Bound {
    pub socket: UdpSocket,
    /// Of IPv6, and used for IPv4 too.
    pub dual: bool,
    /// Bytes of its buffers for receiving and for sending.
    pub buffers: (usize, usize),
    /// Several datagrams of one peer are read at once.
    pub grouped: bool,
}

/// Binds a UDP socket on all addresses, of IPv6 and IPv4 where the system has both.
pub(crate) fn bind_udp(port: u16) -> io::Result<Bound> {
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
    let buffers = grow_buffers(&socket);
    let grouped = set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    socket.set_nonblocking(true)?;
    Ok(Bound { socket: UdpSocket::from_std(socket.into()), dual, buffers, grouped })
}

/// Asks for large buffers, beyond the system's limit where that is allowed; returns the sizes that were
/// given, for receiving and for sending. Linux counts its own bookkeeping in and says twice what was asked.
pub fn grow_buffers(socket: &Socket) -> (usize, usize) {
    if !set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, SOCKET_BUFFER as libc::c_int) {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    }
    if !set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SOCKET_BUFFER as libc::c_int) {
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    }
    (socket.recv_buffer_size().unwrap_or(0), socket.send_buffer_size().unwrap_or(0))
}

fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> bool {
    // SAFETY: the value is an int that lives through the call, of the length told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    result == 0
}

/// Room for one control message that says how a message is divided.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control([u8; 32]);

/// Reads by recvmmsg. Everything it needs lives as long as the shard.
pub(super) struct Receiver {
    buffers: Vec<u8>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
}

impl Receiver {
    pub fn new() -> Self {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (vector, header, name) = unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            buffers: vec![0; MESSAGE * READ_BATCH],
            vectors: vec![vector; READ_BATCH],
            headers: vec![header; READ_BATCH],
            names: vec![name; READ_BATCH],
            controls: vec![Control([0; 32]); READ_BATCH],
        }
    }

    /// Messages read; 0 when there are none.
    pub fn fill(&mut self, socket: &UdpSocket) -> usize {
        let parts = self.headers.iter_mut().zip(&mut self.vectors).zip(&mut self.names).zip(&mut self.controls);
        for ((((header, vector), name), control), buffer) in parts.zip(self.buffers.chunks_mut(MESSAGE)) {
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.0.len() as _;
        }
        // SAFETY: every pointer in `headers` refers to a buffer of ours that outlives the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                READ_BATCH as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).unwrap_or(0)
    }

    /// The datagrams of one message, and who sent them.
    pub fn message(&mut self, index: usize) -> Option<(SocketAddr, impl Iterator<Item = &mut [u8]>)> {
        let header = self.headers.get(index)?;
        let source = canonical(socket_address(self.names.get(index)?)?);
        let length = header.msg_len as usize;
        let segment = segment_size(&header.msg_hdr).unwrap_or(length).max(1);
        let bytes = self.buffers.chunks_mut(MESSAGE).nth(index)?.get_mut(..length)?;
        Some((source, bytes.chunks_mut(segment)))
    }
}

/// How long each datagram of a message is but the last, where it holds several (UDP_GRO).
fn segment_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the system filled in the control buffer that the header points to, and its length.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            if (*at).cmsg_level == libc::SOL_UDP && (*at).cmsg_type == libc::UDP_GRO {
                let size = libc::CMSG_DATA(at).cast::<libc::c_int>().read_unaligned();
                return usize::try_from(size).ok().filter(|size| *size > 0);
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    None
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

/// Hands packets to the system by sendmmsg; several of one length to one peer go as one message that the
/// system divides (UDP_SEGMENT).
pub(super) struct Sender {
    dual: bool,
    /// The system divides messages.
    divides: bool,
    headers: Vec<libc::mmsghdr>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    /// What each message of the batch is made of.
    groups: Vec<Group>,
    pub packets: u64,
    pub octets: u64,
    pub errors: u64,
    /// System calls, messages in them, and those that held several packets.
    pub calls: u64,
    pub messages: u64,
    pub divided: u64,
    /// Times that the system took nothing.
    pub waits: u64,
    /// The socket that took nothing when [`Egress::is_blocked`]: none is the shard's own.
    pub full: Option<PortKey>,
}

/// A UDP socket to send by.
#[derive(Clone, Copy)]
pub(super) struct Open<'a> {
    pub socket: &'a UdpSocket,
    /// None is the shard's own.
    pub port: Option<PortKey>,
    /// Of IPv6, and used for IPv4 too.
    pub dual: bool,
}

#[derive(Clone, Copy)]
struct Group {
    way: usize,
    packets: usize,
    octets: usize,
}

impl Sender {
    pub fn new(dual: bool) -> Self {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (header, name) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            dual,
            divides: true,
            headers: vec![header; BATCH],
            names: vec![name; BATCH],
            controls: vec![Control([0; 32]); BATCH],
            vectors: Vec::with_capacity(BATCH * SEGMENTS),
            groups: Vec::with_capacity(BATCH),
            packets: 0,
            octets: 0,
            errors: 0,
            calls: 0,
            messages: 0,
            divided: 0,
            waits: 0,
            full: None,
        }
    }

    /// Sends all that waits, or what the system takes: then the rest stays, and
    /// [`Egress::is_blocked`] says so.
    pub fn flush(&mut self, egress: &mut Egress, udp: &UdpSocket, ports: &Ports, connections: &mut Connections) {
        let mut open = Open { socket: udp, port: None, dual: self.dual };
        for number in 0..egress.ways() {
            let Some(way) = egress.way(number) else { break };
            let (wanted, address) = match way.path {
                Path::Tcp(token) => {
                    self.send_framed(egress, number, token, connections);
                    continue;
                }
                _ if egress.is_blocked() => continue,
                Path::Udp(address) => (Some(Open { socket: udp, port: None, dual: self.dual }), address),
                Path::Port(port, address) => (ports.udp(port), address),
            };
            let Some(wanted) = wanted else {
                // Closed meanwhile.
                self.give_up(egress, number);
                continue;
            };
            if wanted.port != open.port {
                self.send_batch(egress, &open);
                open = wanted;
            }
            let mut in_batch = 0;
            while !egress.is_blocked() {
                let packets = self.add(egress, number, in_batch, address, open.dual);
                if packets == 0 {
                    break;
                }
                in_batch += packets;
                if self.groups.len() == BATCH {
                    self.send_batch(egress, &open);
                    in_batch = 0;
                }
            }
        }
        self.send_batch(egress, &open);
        egress.tidy();
    }

    fn give_up(&mut self, egress: &mut Egress, way: usize) {
        let count = egress.waiting(way).count();
        self.errors += count as u64;
        egress.done(way, count);
    }

    fn send_framed(&mut self, egress: &mut Egress, way: usize, token: usize, connections: &mut Connections) {
        let mut count = 0;
        for packet in egress.waiting(way) {
            count += 1;
            if connections.send(token, packet) {
                self.packets += 1;
                self.octets += packet.len() as u64;
            } else {
                self.errors += 1;
            }
        }
        connections.drain(token);
        egress.done(way, count);
    }

    /// Adds a message to the batch: packets of a way after the first `skip`, all of one length but the
    /// last, which may be shorter. Returns how many.
    fn add(&mut self, egress: &Egress, way: usize, skip: usize, to: SocketAddr, dual: bool) -> usize {
        let index = self.groups.len();
        let first_vector = self.vectors.len();
        let (mut packets, mut octets, mut segment) = (0, 0, 0);
        for packet in egress.waiting(way).skip(skip) {
            let alone = !self.divides || segment > LARGEST_SEGMENT;
            if packets > 0 && (alone || packet.len() > segment || octets + packet.len() > SEGMENTED_BYTES) {
                break;
            }
            if packets == 0 {
                segment = packet.len();
            }
            self.vectors.push(libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() });
            (packets, octets) = (packets + 1, octets + packet.len());
            if packet.len() < segment || packets == SEGMENTS {
                break;
            }
        }
        let (Some(header), Some(name), Some(control), Some(vector)) = (
            self.headers.get_mut(index),
            self.names.get_mut(index),
            self.controls.get_mut(index),
            self.vectors.get_mut(first_vector),
        ) else {
            return 0;
        };
        let header = &mut header.msg_hdr;
        header.msg_namelen = write_address(name, to, dual);
        header.msg_name = (&raw mut *name).cast();
        // The vectors have room for the largest batch, so that they never move.
        header.msg_iov = vector;
        header.msg_iovlen = packets as _;
        header.msg_control = std::ptr::null_mut();
        header.msg_controllen = 0;
        if packets > 1 {
            header.msg_control = control.0.as_mut_ptr().cast();
            // SAFETY: the buffer is aligned and longer than one control message of two bytes.
            unsafe {
                header.msg_controllen = libc::CMSG_SPACE(2) as _;
                let first = libc::CMSG_FIRSTHDR(header);
                if !first.is_null() {
                    (*first).cmsg_level = libc::SOL_UDP;
                    (*first).cmsg_type = libc::UDP_SEGMENT;
                    (*first).cmsg_len = libc::CMSG_LEN(2) as _;
                    libc::CMSG_DATA(first).cast::<u16>().write_unaligned(segment as u16);
                }
            }
        }
        self.groups.push(Group { way, packets, octets });
        packets
    }

    /// Sends what was added.
    fn send_batch(&mut self, egress: &mut Egress, open: &Open<'_>) {
        let mut at = 0;
        while at < self.groups.len() {
            let Some(headers) = self.headers.get_mut(at..self.groups.len()) else { break };
            self.calls += 1;
            // SAFETY: every pointer in `headers` refers to memory that outlives the call: `add` has set them,
            // and neither the egress's buffer nor our own have moved since.
            let sent = unsafe {
                libc::sendmmsg(
                    open.socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    headers.len() as u32,
                    libc::MSG_DONTWAIT as _,
                )
            };
            match usize::try_from(sent) {
                Ok(count) if count > 0 => {
                    for group in self.groups.get(at..at + count).unwrap_or_default() {
                        egress.done(group.way, group.packets);
                        self.packets += group.packets as u64;
                        self.octets += group.octets as u64;
                        self.divided += u64::from(group.packets > 1);
                    }
                    self.messages += count as u64;
                    at += count;
                }
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error if error.kind() == io::ErrorKind::WouldBlock => {
                        self.waits += 1;
                        self.full = open.port;
                        egress.set_blocked(true);
                        break;
                    }
                    error => {
                        let Some(group) = self.groups.get(at).copied() else { break };
                        let undivided = [libc::EINVAL, libc::EIO, libc::EMSGSIZE, libc::ENOPROTOOPT, libc::EOPNOTSUPP];
                        if group.packets > 1 && error.raw_os_error().is_some_and(|code| undivided.contains(&code)) {
                            // The system, or the way to this peer, does not divide messages: all go alone
                            // from now on, beginning with these.
                            tracing::info!(%error, "packets are sent one by one");
                            self.divides = false;
                            break;
                        }
                        // No way there, or forbidden.
                        egress.done(group.way, group.packets);
                        self.errors += group.packets as u64;
                        at += 1;
                    }
                },
            }
        }
        let unsent = at < self.groups.len();
        self.groups.clear();
        self.vectors.clear();
        if unsent && !egress.is_blocked() {
            self.send_singly(egress, open);
        }
    }

    /// After messages could not be divided: all that waits for this socket, each packet alone.
    fn send_singly(&mut self, egress: &mut Egress, open: &Open<'_>) {
        for number in 0..egress.ways() {
            let address = match egress.way(number).map(|way| way.path) {
                Some(Path::Udp(address)) if open.port.is_none() => address,
                Some(Path::Port(port, address)) if open.port == Some(port) => address,
                _ => continue,
            };
            while !egress.is_blocked() && self.add(egress, number, 0, address, open.dual) > 0 {
                self.send_batch(egress, open);
            }
        }
    }
}

/// Writes a socket address, as one of IPv6 where the socket is; returns its length.
fn write_address(name: &mut libc::sockaddr_storage, address: SocketAddr, dual: bool) -> libc::socklen_t {
    let address = match address.ip() {
        IpAddr::V4(four) if dual => SocketAddr::new(IpAddr::V6(four.to_ipv6_mapped()), address.port()),
        _ => address,
    };
    match address {
        SocketAddr::V4(four) => {
            // SAFETY: the storage is large enough and aligned for every kind of address.
            let out = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            out.sin_family = libc::AF_INET as _;
            out.sin_port = four.port().to_be();
            out.sin_addr.s_addr = u32::from(*four.ip()).to_be();
            size_of::<libc::sockaddr_in>() as _
        }
        SocketAddr::V6(six) => {
            // SAFETY: as above.
            let out = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in6>() };
            out.sin6_family = libc::AF_INET6 as _;
            out.sin6_port = six.port().to_be();
            out.sin6_flowinfo = six.flowinfo();
            out.sin6_scope_id = six.scope_id();
            out.sin6_addr.s6_addr = six.ip().octets();
            size_of::<libc::sockaddr_in6>() as _
        }
    }
}
