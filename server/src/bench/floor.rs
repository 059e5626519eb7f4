//! What sending costs at least: the same packets, cipher and socket, without a server around it. And the
//! other ends of that: sockets that take packets, and an echo for the delay of the way itself.

use super::report::{Cpu, monotonic_ns, sleep_until};
use super::{Failure, Floor};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Header with a MID extension, as the server writes it.
const HEADER: usize = 20;
const TAG: usize = 16;
const BATCH: usize = 64;

/// A socket with the options of the server's own.
fn socket() -> Result<UdpSocket, Failure> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
    socket.set_only_v6(false)?;
    socket.bind(&"[::]:0".parse::<SocketAddr>()?.into())?;
    rongtong_media_core::shard::grow_buffers(&socket);
    Ok(socket.into())
}

pub fn run(floor: &Floor) -> Result<(), Failure> {
    let socket = socket()?;
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| "the key is of the wrong length")?;
    let key = LessSafeKey::new(key);
    let length = HEADER + floor.payload + TAG;
    let names: Vec<libc::sockaddr_in6> = (0..floor.subscribers)
        .map(|number| {
            let SocketAddr::V4(first) = floor.first else { return Err("an IPv4 address is needed") };
            // SAFETY: all-zero is a valid value of this plain C structure.
            let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            name.sin6_family = libc::AF_INET6 as _;
            name.sin6_port = (first.port() + number as u16).to_be();
            name.sin6_addr.s6_addr = first.ip().to_ipv6_mapped().octets();
            Ok(name)
        })
        .collect::<Result<_, _>>()?;
    let payload = vec![0x41; floor.payload];
    let mut packets = vec![0u8; length * floor.subscribers * floor.per_flush];
    let mut sequence = 0u64;
    // SAFETY: all-zero is a valid value of these plain C structures.
    let mut headers: Vec<libc::mmsghdr> = vec![unsafe { std::mem::zeroed() }; BATCH];
    let mut vectors: Vec<libc::iovec> = vec![unsafe { std::mem::zeroed() }; BATCH * floor.per_flush];
    let mut controls = vec![[0u64; 4]; BATCH];
    let period = 1_000_000_000 * floor.per_flush as u64 / u64::from(floor.pps.max(1));
    let start = monotonic_ns();
    let (before, mut sent, mut turn) = (Cpu::own(), 0u64, 0u64);
    while turn * period < floor.seconds * 1_000_000_000 {
        sleep_until(start + turn * period);
        turn += 1;
        for packet in packets.chunks_mut(length) {
            sequence += 1;
            let (head, body) = packet.split_at_mut(HEADER);
            head[..HEADER]
                .copy_from_slice(&[0x90, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xbe, 0xde, 0, 1, 0x10, b'0', 0, 0]);
            head[2..4].copy_from_slice(&(sequence as u16).to_be_bytes());
            let (body, tag) = body.split_at_mut(floor.payload);
            body.copy_from_slice(&payload);
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&sequence.to_be_bytes());
            let sealed = key
                .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*head), body)
                .map_err(|_| "sealing failed")?;
            tag.copy_from_slice(sealed.as_ref());
        }
        let groups = packets.chunks(length * floor.per_flush).zip(&names).collect::<Vec<_>>();
        for batch in groups.chunks(BATCH) {
            for (index, (group, name)) in batch.iter().enumerate() {
                let first = index * floor.per_flush;
                for (vector, packet) in vectors[first..].iter_mut().zip(group.chunks(length)) {
                    *vector = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
                }
                let header = &mut headers[index].msg_hdr;
                header.msg_iov = &raw mut vectors[first];
                header.msg_iovlen = floor.per_flush as _;
                header.msg_name = (&raw const **name).cast_mut().cast();
                header.msg_namelen = size_of::<libc::sockaddr_in6>() as _;
                if floor.per_flush > 1 {
                    header.msg_control = controls[index].as_mut_ptr().cast();
                    // SAFETY: the buffer is aligned and longer than one control message of two bytes.
                    unsafe {
                        header.msg_controllen = libc::CMSG_SPACE(2) as _;
                        let control = libc::CMSG_FIRSTHDR(header);
                        (*control).cmsg_level = libc::SOL_UDP;
                        (*control).cmsg_type = libc::UDP_SEGMENT;
                        (*control).cmsg_len = libc::CMSG_LEN(2) as _;
                        libc::CMSG_DATA(control).cast::<u16>().write_unaligned(length as u16);
                    }
                }
            }
            let mut at = 0;
            while at < batch.len() {
                // SAFETY: every pointer in `headers` refers to memory that outlives the call.
                let count = unsafe {
                    libc::sendmmsg(socket.as_raw_fd(), headers[at..].as_mut_ptr(), (batch.len() - at) as u32, 0)
                };
                if count <= 0 {
                    return Err(std::io::Error::last_os_error().into());
                }
                at += count as usize;
                sent += count as u64 * floor.per_flush as u64;
            }
        }
    }
    let cpu = Cpu::own().since(before);
    println!("{}", json!({ "packets": sent, "user": cpu.user, "system": cpu.system }));
    Ok(())
}

/// Sends back every datagram, until its input ends.
pub fn echo() -> Result<(), Failure> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    println!("{}", json!({ "address": socket.local_addr()?.to_string() }));
    std::thread::spawn(exit_with_input);
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..length], from)?;
    }
}

/// Sockets on ports in a row that take packets, until the input ends.
pub fn sink(count: usize) -> Result<(), Failure> {
    let (first, sockets) = (0..100)
        .find_map(|_| {
            let first = UdpSocket::bind("127.0.0.1:0").ok()?;
            let port = first.local_addr().ok()?.port();
            let rest = (1..count as u16).map(|number| UdpSocket::bind(("127.0.0.1", port.checked_add(number)?)).ok());
            let rest: Option<Vec<UdpSocket>> = rest.collect();
            let mut sockets = vec![first];
            sockets.extend(rest?);
            Some((port, sockets))
        })
        .ok_or("no ports in a row are free")?;
    println!("{}", json!({ "first": format!("127.0.0.1:{first}") }));
    std::thread::spawn(exit_with_input);
    // SAFETY: creates a descriptor.
    let epoll = unsafe { libc::epoll_create1(0) };
    for (number, socket) in sockets.iter().enumerate() {
        socket.set_nonblocking(true)?;
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number as u64 };
        // SAFETY: both descriptors are ours and open, and the event outlives the call.
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event) };
    }
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    let mut buffer = [0; 2048];
    loop {
        // SAFETY: the events outlive the call, which is told how many there are.
        let ready = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), events.len() as i32, -1) };
        for event in events.iter().take(usize::try_from(ready).unwrap_or(0)) {
            let number = event.u64 as usize;
            while sockets.get(number).is_some_and(|socket| socket.recv(&mut buffer).is_ok()) {}
        }
    }
}

fn exit_with_input() {
    for _ in std::io::stdin().lock().lines() {}
    let _ = std::io::stdout().flush();
    std::process::exit(0);
}
