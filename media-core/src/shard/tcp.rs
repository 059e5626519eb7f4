//! Passive ICE-TCP (RFC 6544) with the framing of RFC 4571, and connections of single sessions with
//! the same framing.
//!
//! Anybody can open a connection, so an open one has shown nothing yet. Until a connectivity check
//! on it has been answered it is on probation: for [`PROOF_WITHIN`], among at most
//! [`MAX_UNPROVEN`], of which one address may hold [`MAX_UNPROVEN_OF_ONE`]. A newcomer takes the place
//! of the one that has waited longest, so that connections that say nothing can't shut the door.

use super::net::{DATAGRAM, canonical};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

const FIRST_CONNECTION: usize = 16;
const MAX_CONNECTIONS: usize = 4096;
/// How soon a connectivity check must have been answered on a new connection.
pub(super) const PROOF_WITHIN: Duration = Duration::from_secs(10);
const MAX_UNPROVEN: usize = 512;
/// Of one IPv4 address or one IPv6 /64.
const MAX_UNPROVEN_OF_ONE: usize = 64;
/// Connections accepted, and reads of one connection, in one turn of the loop.
const ACCEPTS_A_TURN: usize = 64;
const READS_A_TURN: usize = 16;
/// Bytes read at once.
const READ: usize = 16 << 10;
/// When the system refuses to accept (no descriptors left), it is asked again after this long.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Bytes that may wait for a slow TCP peer; over it new packets to it are dropped.
const MAX_BACKLOG: usize = 1 << 20;

pub(crate) fn bind_tcp(port: u16) -> io::Result<TcpListener> {
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

/// Splits a stream into RFC 4571 frames: 16-bit length, then that many bytes.
/// Calls `each` with every whole frame and returns the bytes consumed, or
/// `None` when a frame is larger than `largest`.
pub fn parse_frames(buffer: &mut [u8], largest: usize, mut each: impl FnMut(&mut [u8])) -> Option<usize> {
    let mut at = 0;
    while let Some(head) = buffer.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
        let length = usize::from(u16::from_be_bytes(*head));
        if length > largest {
            return None;
        }
        let Some(frame) = buffer.get_mut(at + 2..at + 2 + length) else { break };
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
    /// Bytes at the front of `outgoing` that have left.
    gone: usize,
    /// A connectivity check on it has been answered, or it was asked for.
    proven: bool,
    /// The largest frame that it may bring.
    largest: usize,
}

/// What a turn left of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// There may be more to read, and no event will say so.
    More,
    /// It ended, or broke the framing.
    Gone,
}

/// Accepted ICE-TCP connections.
#[derive(Default)]
pub(super) struct Connections {
    open: HashMap<usize, Connection>,
    next: usize,
    /// Connections in the order in which they came, with the time at which they must have proven
    /// themselves; those that did or are gone stay until they come to the front.
    probation: VecDeque<(Instant, usize)>,
    /// How many unproven ones an address has.
    unproven: HashMap<IpAddr, usize>,
    /// When to accept again, where no event will say so.
    pub accept_at: Option<Instant>,
    /// Closed at once, or before their time, for there were too many.
    pub refused: u64,
    /// Closed because no connectivity check came in time.
    pub expired: u64,
}

/// What counts as one origin: an IPv4 address, or the half of an IPv6 address that a provider gives out.
fn origin(peer: SocketAddr) -> IpAddr {
    match peer.ip() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
        four => four,
    }
}

impl Connections {
    pub fn len(&self) -> usize {
        self.open.len()
    }

    fn count_unproven(&self) -> usize {
        self.unproven.values().sum()
    }

    pub fn accept(&mut self, listener: &TcpListener, registry: &Registry, now: Instant) {
        self.accept_at = None;
        for _ in 0..ACCEPTS_A_TURN {
            match listener.accept() {
                Ok((stream, peer)) => self.admit(stream, canonical(peer), registry, now),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // Of that one connection.
                    io::ErrorKind::Interrupted
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::PermissionDenied => {}
                    _ => {
                        self.accept_at = Some(now + ACCEPT_AGAIN);
                        return;
                    }
                },
            }
        }
        self.accept_at = Some(now);
    }

    fn admit(&mut self, mut stream: TcpStream, peer: SocketAddr, registry: &Registry, now: Instant) {
        let of_one = self.unproven.get(&origin(peer)).copied().unwrap_or_default();
        if of_one >= MAX_UNPROVEN_OF_ONE {
            self.refused += 1;
            return;
        }
        if self.count_unproven() >= MAX_UNPROVEN || self.open.len() >= MAX_CONNECTIONS {
            self.refused += 1;
            let Some(oldest) = self.oldest_unproven() else { return };
            self.close(oldest, registry);
        }
        let _ = stream.set_nodelay(true);
        let token = FIRST_CONNECTION + self.next;
        self.next += 1;
        if registry.register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE).is_ok() {
            self.open.insert(token, Connection::new(stream, peer, false, DATAGRAM));
            *self.unproven.entry(origin(peer)).or_default() += 1;
            self.probation.push_back((now + PROOF_WITHIN, token));
        }
    }

    /// Takes a connection that a session has asked for; its number.
    pub fn adopt(&mut self, mut stream: TcpStream, peer: SocketAddr, registry: &Registry) -> Option<usize> {
        if self.open.len() >= MAX_CONNECTIONS {
            self.refused += 1;
            return None;
        }
        let _ = stream.set_nodelay(true);
        let token = FIRST_CONNECTION + self.next;
        self.next += 1;
        registry.register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE).ok()?;
        self.open.insert(token, Connection::new(stream, peer, true, usize::from(u16::MAX)));
        Some(token)
    }

    /// Whether a connection that was begun has come up; nothing as long as that is not known.
    pub fn came_up(&self, token: usize) -> Option<io::Result<()>> {
        let stream = &self.open.get(&token)?.stream;
        match stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Some(Err(error)),
        }
        match stream.peer_addr() {
            Ok(_) => Some(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn oldest_unproven(&mut self) -> Option<usize> {
        self.forget_settled();
        self.probation.front().map(|&(_, token)| token)
    }

    fn forget_settled(&mut self) {
        while let Some((_, token)) = self.probation.front()
            && self.open.get(token).is_none_or(|connection| connection.proven)
        {
            self.probation.pop_front();
        }
    }

    /// A connectivity check on it has been answered: it stays.
    pub fn prove(&mut self, token: usize) {
        if let Some(connection) = self.open.get_mut(&token)
            && !std::mem::replace(&mut connection.proven, true)
        {
            let origin = origin(connection.peer);
            self.one_less(origin);
        }
    }

    fn one_less(&mut self, origin: IpAddr) {
        if let Some(count) = self.unproven.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.unproven.remove(&origin);
            }
        }
    }

    /// Closes those that have shown nothing in time.
    pub fn expire(&mut self, registry: &Registry, now: Instant) {
        self.forget_settled();
        while let Some(&(at, token)) = self.probation.front()
            && at <= now
        {
            self.expired += 1;
            self.close(token, registry);
            self.forget_settled();
        }
    }

    /// When [`Self::expire`] or [`Self::accept`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.probation.front().map(|&(at, _)| at), self.accept_at].into_iter().flatten().min()
    }

    pub fn peer(&self, token: usize) -> Option<SocketAddr> {
        self.open.get(&token).map(|connection| connection.peer)
    }

    /// Reads what is there, up to a bound, so that one busy connection can't hold the loop. Returns all that
    /// was read and not yet used; [`Self::keep`] takes back what makes no whole frame.
    pub fn read(&mut self, token: usize) -> (Left, Vec<u8>) {
        let Some(connection) = self.open.get_mut(&token) else { return (Left::Gone, Vec::new()) };
        let mut incoming = std::mem::take(&mut connection.incoming);
        let mut left = Left::More;
        for _ in 0..READS_A_TURN {
            let before = incoming.len();
            incoming.resize(before + READ, 0);
            let result = connection.stream.read(incoming.get_mut(before..).unwrap_or_default());
            incoming.truncate(before + result.as_ref().map_or(0, |count| *count));
            match result {
                Ok(0) => left = Left::Gone,
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => left = Left::Nothing,
                Err(_) => left = Left::Gone,
            }
            break;
        }
        (left, incoming)
    }

    /// Gives back what [`Self::read`] returned, less the `used` bytes at its front.
    pub fn keep(&mut self, token: usize, mut incoming: Vec<u8>, used: usize) {
        if let Some(connection) = self.open.get_mut(&token) {
            incoming.drain(..used.min(incoming.len()));
            connection.incoming = incoming;
        }
    }

    /// The largest frame that a connection may bring.
    pub fn largest(&self, token: usize) -> usize {
        self.open.get(&token).map_or(0, |connection| connection.largest)
    }

    /// Sends what waits, as far as the system takes it.
    pub fn drain(&mut self, token: usize) {
        if let Some(connection) = self.open.get_mut(&token) {
            connection.drain();
        }
    }

    /// Queues a packet; [`Self::drain`] sends it.
    pub fn send(&mut self, token: usize, packet: &[u8]) -> bool {
        let Some(connection) = self.open.get_mut(&token) else { return false };
        if connection.outgoing.len() - connection.gone + packet.len() > MAX_BACKLOG {
            return false;
        }
        let Ok(length) = u16::try_from(packet.len()) else { return false };
        connection.outgoing.extend_from_slice(&length.to_be_bytes());
        connection.outgoing.extend_from_slice(packet);
        true
    }

    pub fn close(&mut self, token: usize, registry: &Registry) {
        if let Some(mut connection) = self.open.remove(&token) {
            let _ = registry.deregister(&mut connection.stream);
            if !connection.proven {
                self.one_less(origin(connection.peer));
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, proven: bool, largest: usize) -> Self {
        Self { stream, peer, incoming: Vec::new(), outgoing: Vec::new(), gone: 0, proven, largest }
    }

    fn drain(&mut self) {
        while let Some(rest) = self.outgoing.get(self.gone..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => break,
                Ok(count) => self.gone += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // What has gone is cleared away when that moves little, or nothing.
        if self.gone > self.outgoing.len() / 2 {
            self.outgoing.drain(..self.gone);
            self.gone = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Door {
        poll: Poll,
        listener: TcpListener,
        connections: Connections,
    }

    impl Door {
        fn open() -> Self {
            let listener = bind_tcp(0).unwrap();
            Self { poll: Poll::new().unwrap(), listener, connections: Connections::default() }
        }

        /// A peer from a loopback address of its own, taken in.
        fn knock(&mut self, from: u8, now: Instant) -> std::net::TcpStream {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, from], 0)).into()).unwrap();
            let port = self.listener.local_addr().unwrap().port();
            socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
            self.connections.accept(&self.listener, self.poll.registry(), now);
            socket.into()
        }

        fn newest(&self) -> usize {
            FIRST_CONNECTION + self.connections.next - 1
        }
    }

    #[test]
    fn silent_connections_end_in_time_and_proven_ones_stay() {
        let mut door = Door::open();
        let now = Instant::now();
        let _proven = door.knock(1, now);
        door.connections.prove(door.newest());
        let _silent: Vec<_> = (0..20).map(|_| door.knock(1, now)).collect();
        assert_eq!(door.connections.poll_timeout(), Some(now + PROOF_WITHIN));
        door.connections.expire(door.poll.registry(), now + PROOF_WITHIN - Duration::from_millis(1));
        assert_eq!((door.connections.len(), door.connections.expired), (21, 0));
        door.connections.expire(door.poll.registry(), now + PROOF_WITHIN);
        assert_eq!((door.connections.len(), door.connections.expired), (1, 20));
        assert_eq!((door.connections.count_unproven(), door.connections.poll_timeout()), (0, None));
    }

    #[test]
    fn one_address_cannot_take_the_places_of_others_and_all_together_cannot_shut_the_door() {
        let mut door = Door::open();
        let now = Instant::now();
        let mut peers = Vec::new();
        peers.extend((0..MAX_UNPROVEN_OF_ONE + 10).map(|_| door.knock(1, now)));
        assert_eq!((door.connections.len(), door.connections.refused), (MAX_UNPROVEN_OF_ONE, 10));
        let at_first = door.newest();
        for from in 2..=12 {
            peers.extend((0..MAX_UNPROVEN_OF_ONE).map(|_| door.knock(from, now)));
        }
        assert_eq!(door.connections.len(), MAX_UNPROVEN);
        assert!(door.connections.peer(at_first).is_none(), "the oldest made room");
        let newcomer = door.knock(200, now);
        assert_eq!(door.connections.peer(door.newest()), Some(newcomer.local_addr().unwrap()));
        door.connections.prove(door.newest());
        peers.extend((0..MAX_UNPROVEN_OF_ONE).map(|_| door.knock(201, now)));
        assert!(door.connections.len() == MAX_UNPROVEN + 1, "a proven one takes nobody's place");
    }

    #[test]
    fn what_a_bounded_read_leaves_is_said() {
        let mut door = Door::open();
        let mut peer = door.knock(1, Instant::now());
        let token = door.newest();
        let frame = [[0, 100].as_slice(), &[7; 100]].concat();
        let sent = READS_A_TURN * READ / frame.len() * 4;
        let written = Arc::new(AtomicUsize::new(0));
        let count = written.clone();
        let writer = std::thread::spawn(move || {
            for _ in 0..sent {
                peer.write_all(&frame).unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Reading begins when the kernel takes no more, or there is no more: a reader that is faster than the
        // writer would never leave anything.
        let mut before = 0;
        while before == 0 || written.load(Ordering::Relaxed) > before {
            before = written.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        }
        let (mut frames, mut events, mut paused) = (Vec::<Vec<u8>>::new(), Events::with_capacity(16), 0);
        let mut left = Left::Nothing;
        while left != Left::Gone {
            let wait = if left == Left::More { Duration::ZERO } else { Duration::from_secs(10) };
            door.poll.poll(&mut events, Some(wait)).unwrap();
            assert!(left == Left::More || !events.is_empty(), "nothing said that there was more");
            let (now, mut bytes) = door.connections.read(token);
            let used = parse_frames(&mut bytes, DATAGRAM, |frame| frames.push(frame.to_vec())).unwrap();
            door.connections.keep(token, bytes, used);
            left = now;
            paused += usize::from(left == Left::More);
        }
        writer.join().unwrap();
        assert_eq!(frames.len(), sent);
        assert!(paused > 0 && frames.iter().all(|frame| frame.len() == 100));
    }

    #[test]
    fn frames_are_split_and_the_rest_kept() {
        let mut seen = Vec::new();
        let consumed = parse_frames(&mut [0, 2, 1, 2, 0, 0, 0, 3, 9], DATAGRAM, |frame| seen.push(frame.to_vec()));
        assert_eq!(consumed, Some(6));
        assert_eq!(seen, vec![vec![1, 2]]);
    }

    #[test]
    fn a_frame_larger_than_a_datagram_ends_the_connection() {
        assert_eq!(parse_frames(&mut [0xff, 0xff, 0], DATAGRAM, |_| {}), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_consumed_within_bounds(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..4096)) {
            if let Some(consumed) = parse_frames(&mut bytes, DATAGRAM, |_| {}) {
                proptest::prop_assert!(consumed <= bytes.len());
            }
        }
    }
}
