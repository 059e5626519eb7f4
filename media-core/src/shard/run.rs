//! The shard's thread: sockets, the clock, and the loop around [`ShardCore`].

use super::config::ShardConfig;
use super::core::ShardCore;
use super::net::{Bound, DATAGRAM, LISTENER, READ_BATCH, Receiver, Sender, UDP, WAKER, bind_udp};
use super::ports::{News, Ports};
use super::tcp::{Connections, Left, bind_tcp, parse_frames};
use super::{Command, Inbox, ShardHandle, ShardStats};
use crate::clock::RoomClock;
use crate::session::{Path, PortKey};
use crate::tap::Bell;
use mio::event::Event;
use mio::net::{TcpListener, UdpSocket};
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const FEED_RING: usize = 4096;
/// Batches of feeds taken in one turn, so that they can't starve connectivity checks.
const FEEDS_A_TURN: usize = 256;
/// Reads of the UDP socket in one turn, before timers get theirs.
const READS_A_TURN: usize = 32;
/// The same for the port of one session.
const PORT_READS_A_TURN: usize = 4;

pub(super) fn start(config: ShardConfig) -> std::io::Result<ShardHandle> {
    let poll = Poll::new()?;
    let Bound { socket: mut udp, dual, buffers, grouped } = bind_udp(config.udp_port)?;
    let udp_port = udp.local_addr()?.port();
    tracing::info!(port = udp_port, receive = buffers.0, send = buffers.1, grouped, "UDP socket: bytes of its buffers");
    poll.registry().register(&mut udp, UDP, Interest::READABLE)?;
    let listener = match config.tcp_port {
        Some(port) => {
            let mut listener = bind_tcp(port)?;
            poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
            Some(listener)
        }
        None => None,
    };
    let mut candidates: Vec<(SocketAddr, bool)> =
        config.advertise.iter().map(|&ip| (SocketAddr::new(ip, udp_port), false)).collect();
    if let Some(listener) = &listener {
        let port = listener.local_addr()?.port();
        candidates.extend(config.advertise.iter().map(|&ip| (SocketAddr::new(ip, port), true)));
    }
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (control, control_in) = crossbeam_channel::unbounded();
    let (feed, feed_in) = crossbeam_channel::bounded(FEED_RING);
    let awake = Arc::new(AtomicBool::new(false));
    let crypto = rtc_srtp::crypto::default_provider().map_err(|error| std::io::Error::other(error.to_string()))?;
    let alive = Arc::new(AtomicBool::new(true));
    let end = End(alive.clone());
    let inbox = Inbox { control: control_in, feed: feed_in, awake: awake.clone() };
    let name = config.name.clone();
    let bell = Arc::new(Bell::default());
    let rung = bell.clone();
    std::thread::Builder::new().name(name).spawn(move || {
        if let Some(core) = config.core {
            pin(core);
        }
        if let Some(on_thread) = config.on_thread {
            on_thread();
        }
        let mut core = ShardCore::new(config, RoomClock::process(), rand::random(), crypto, Instant::now());
        core.bell = rung;
        let (connections, sender) = (Connections::default(), Sender::new(dual));
        let shard = Shard {
            _end: end,
            core,
            udp,
            listener,
            ports: Ports::default(),
            connections,
            unread: Vec::new(),
            sender,
            awaits_room: None,
        };
        shard.run(poll, inbox);
    })?;
    Ok(ShardHandle {
        control,
        feed,
        waker,
        awake,
        alive,
        candidates: Arc::new(candidates),
        feed_dropped: Arc::new(AtomicU64::new(0)),
        bell,
    })
}

/// Says that the thread has ended, however it did.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn pin(core: usize) {
    // SAFETY: the set is a plain bit field, and the call only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

struct Shard {
    /// First, so that rooms that hear of the end by their closed channels find it said.
    _end: End,
    core: ShardCore,
    udp: UdpSocket,
    listener: Option<TcpListener>,
    /// Those of single sessions.
    ports: Ports,
    connections: Connections,
    /// Connections that had more to read than one turn takes.
    unread: Vec<usize>,
    sender: Sender,
    /// The UDP socket that is watched for room: the shard's own, or a port's.
    awaits_room: Option<Option<PortKey>>,
}

impl Shard {
    fn run(mut self, mut poll: Poll, inbox: Inbox) {
        let mut events = Events::with_capacity(256);
        let mut receiver = Receiver::new();
        // Something is left over from the bounds of the turn before, or was never looked at.
        let mut more = true;
        // The UDP socket has said that there is something to read, and not that there is nothing more.
        let mut readable = true;
        loop {
            let now = Instant::now();
            let until = self.core.poll_timeout();
            let until =
                self.connections.poll_timeout().map_or(until, |at| at.min(until)).saturating_duration_since(now);
            let timeout = if more { Duration::ZERO } else { until };
            if poll.poll(&mut events, Some(timeout)).is_err() {
                events.clear();
            }
            let unread = std::mem::take(&mut self.unread);
            for event in &events {
                readable |= event.token() == UDP && event.is_readable();
                if event.is_writable() && self.is_awaited(event.token()) {
                    self.core.egress.set_blocked(false);
                }
                self.connection(event, poll.registry());
            }
            for token in unread {
                self.read_connection(token, poll.registry());
            }
            if self.connections.accept_at.is_some_and(|at| at <= Instant::now()) {
                self.accept(poll.registry());
            }
            // Before the queues are read: what comes in from here on wakes the next turn.
            inbox.awake.store(false, Ordering::SeqCst);
            while let Ok(command) = inbox.control.try_recv() {
                match command {
                    Command::Stop => {
                        self.core.close(Instant::now());
                        self.flush();
                        return;
                    }
                    Command::Snapshot { reply } => {
                        let _ = reply.send(self.snapshot());
                    }
                    Command::OpenPort { port, opening } => {
                        if let Err(why) = self.ports.open(port, opening, &mut self.connections, poll.registry()) {
                            self.core.port_failed(port, why);
                        }
                    }
                    #[cfg(test)]
                    Command::Fault { ends_thread: true } => panic!("a fault, for a test"),
                    command => {
                        let now = Instant::now();
                        self.core.command(command, now);
                        self.make_room(now);
                    }
                }
            }
            for _ in 0..FEEDS_A_TURN {
                let Ok((track, batch)) = inbox.feed.try_recv() else { break };
                let now = Instant::now();
                self.core.feed(track, batch, now);
                self.make_room(now);
            }
            // Edge-triggered: read until the socket is empty.
            for _ in 0..READS_A_TURN {
                if !readable {
                    break;
                }
                let count = receiver.fill(&self.udp);
                readable = count == READ_BATCH;
                for index in 0..count {
                    let Some((source, datagrams)) = receiver.message(index) else { continue };
                    for bytes in datagrams {
                        self.datagram(bytes, Path::Udp(source), source, Instant::now());
                    }
                }
                self.serve_due();
            }
            self.read_ports(&mut receiver);
            self.serve_due();
            self.flush();
            self.core.bell.ring();
            self.await_room(poll.registry());
            self.close_lost(poll.registry());
            self.connections.expire(poll.registry(), Instant::now());
            more = readable || !inbox.feed.is_empty() || !self.unread.is_empty() || !self.ports.readable.is_empty();
        }
    }

    /// Whether the socket of this token is the one that took nothing.
    fn is_awaited(&self, token: Token) -> bool {
        match self.awaits_room {
            Some(None) => token == UDP,
            Some(port) => self.ports.of(token) == port,
            None => false,
        }
    }

    /// Reads ports' datagrams, a bound of them in a turn.
    fn read_ports(&mut self, receiver: &mut Receiver) {
        let mut left = Vec::new();
        for port in std::mem::take(&mut self.ports.readable) {
            let mut more = false;
            for _ in 0..PORT_READS_A_TURN {
                let Some(open) = self.ports.udp(port) else { break };
                let count = receiver.fill(open.socket);
                more = count == READ_BATCH;
                for index in 0..count {
                    let Some((source, datagrams)) = receiver.message(index) else { continue };
                    for bytes in datagrams {
                        self.datagram(bytes, Path::Port(port, source), source, Instant::now());
                    }
                }
                self.serve_due();
                if !more {
                    break;
                }
            }
            if more {
                left.push(port);
            }
        }
        self.ports.readable = left;
    }

    /// Closes what the core has no use for any more.
    fn close_lost(&mut self, registry: &Registry) {
        for path in std::mem::take(&mut self.core.lost_paths) {
            if let Path::Tcp(token) = path {
                self.connections.close(token, registry);
            }
        }
        for port in std::mem::take(&mut self.core.lost_ports) {
            for connection in self.ports.close(port, registry) {
                self.connections.close(connection, registry);
            }
        }
        if let Some(Some(port)) = self.awaits_room
            && self.ports.udp(port).is_none()
        {
            // Nobody will say any more that it has room.
            self.core.egress.set_blocked(false);
            self.awaits_room = None;
        }
    }

    fn tell(&mut self, news: News, registry: &Registry) {
        match news {
            News::Connected(port, connection, from) => {
                self.core.port_connected(port, Path::Tcp(connection), from, Instant::now());
            }
            News::Failed(port, why) => {
                for connection in self.ports.close(port, registry) {
                    self.connections.close(connection, registry);
                }
                self.core.port_failed(port, why);
            }
        }
    }

    /// What happened on a TCP connection or a port, or that there is a new one.
    fn connection(&mut self, event: &Event, registry: &Registry) {
        let token = match event.token() {
            UDP | WAKER => return,
            LISTENER => return self.accept(registry),
            token => token,
        };
        if let Some(port) = self.ports.of(token) {
            if event.is_readable() {
                for news in self.ports.is_ready(port, &mut self.connections, registry) {
                    self.tell(news, registry);
                }
            }
            return;
        }
        let token = token.0;
        if self.ports.is_connecting(token) {
            let Some(news) = self.ports.progress(token, &self.connections) else { return };
            let failed = matches!(news, News::Failed(..));
            self.tell(news, registry);
            if failed {
                return self.connections.close(token, registry);
            }
        }
        if event.is_writable() {
            self.connections.drain(token);
        }
        if event.is_readable() {
            self.read_connection(token, registry);
        }
    }

    fn accept(&mut self, registry: &Registry) {
        if let Some(listener) = &self.listener {
            self.connections.accept(listener, registry, Instant::now());
        }
    }

    fn read_connection(&mut self, token: usize, registry: &Registry) {
        let Some(peer) = self.connections.peer(token) else { return };
        let path = Path::Tcp(token);
        let (mut left, mut bytes) = self.connections.read(token);
        let largest = self.connections.largest(token);
        let now = Instant::now();
        match parse_frames(&mut bytes, largest, |frame| self.datagram(frame, path, peer, now)) {
            Some(used) => self.connections.keep(token, bytes, used),
            None => left = Left::Gone,
        }
        if self.core.paths.contains_key(&path) {
            self.connections.prove(token);
        }
        match left {
            Left::Nothing => {}
            Left::More => self.unread.push(token),
            Left::Gone => {
                self.connections.close(token, registry);
                self.core.lose_path(path);
            }
        }
    }

    fn datagram(&mut self, bytes: &mut [u8], path: Path, source: SocketAddr, now: Instant) {
        if matches!(path, Path::Udp(_)) && bytes.len() > DATAGRAM {
            self.core.stats.garbage += 1;
            return;
        }
        self.core.datagram(bytes, path, source, now);
        self.make_room(now);
    }

    /// While a UDP socket takes nothing, the loop is told when there is room again. Whichever flush of the turn
    /// it was that found it full.
    fn await_room(&mut self, registry: &Registry) {
        let full = self.core.egress.is_blocked().then_some(self.sender.full);
        if full == self.awaits_room {
            return;
        }
        if let Some(before) = self.awaits_room.take() {
            self.watch(before, false, registry);
        }
        if let Some(socket) = full {
            if self.watch(socket, true, registry) {
                self.awaits_room = full;
            } else {
                // Then by trying again.
                self.core.egress.set_blocked(false);
            }
        }
    }

    fn watch(&mut self, socket: Option<PortKey>, waits: bool, registry: &Registry) -> bool {
        let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        match socket {
            None => registry.reregister(&mut self.udp, UDP, interest).is_ok(),
            Some(port) => self.ports.await_room(port, interest, registry),
        }
    }

    /// What is due by now; also between the parts of a long turn, so that those who wait for their turn go on.
    fn serve_due(&mut self) {
        let now = Instant::now();
        if self.core.poll_timeout() <= now {
            self.core.handle_timeout(now);
            self.make_room(now);
        }
    }

    /// Lets go what was produced, so that no more than a bound ever waits.
    fn make_room(&mut self, now: Instant) {
        while self.core.must_flush() {
            self.flush();
            self.core.go_on(now);
        }
    }

    fn flush(&mut self) {
        self.sender.flush(&mut self.core.egress, &self.udp, &self.ports, &mut self.connections);
    }

    fn snapshot(&self) -> ShardStats {
        ShardStats {
            tcp_connections: self.connections.len() as u64,
            tcp_refused: self.connections.refused,
            tcp_expired: self.connections.expired,
            packets_out: self.sender.packets,
            bytes_out: self.sender.octets,
            send_errors: self.sender.errors,
            send_calls: self.sender.calls,
            send_messages: self.sender.messages,
            send_divided: self.sender.divided,
            send_waits: self.sender.waits,
            ..self.core.snapshot()
        }
    }
}
