//! The sockets: one UDP port and one TCP port of the same number, and the connections of the latter.
//!
//! One task owns an [`Engine`] and is the only one that touches it; connections are tasks of their own that hand
//! over whole messages. Nothing here waits for a peer: a connection that does not take its messages is closed.

use crate::frame::Framer;
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// What carries the messages of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    Udp,
    /// The connection of that number, which never comes again.
    Tcp(u64),
}

impl Carrier {
    /// Nothing is repeated over it.
    pub fn is_reliable(self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// As in Via.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp(_) => "TCP",
        }
    }
}

/// Where a message came from, or is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub carrier: Carrier,
    pub addr: SocketAddr,
}

/// What is built on messages: a registrar, a platform, a telephone.
pub trait Engine: Send + 'static {
    /// What others ask of it.
    type Command: Send + 'static;

    fn receive(&mut self, now: Instant, peer: Peer, bytes: &[u8]);
    /// A connection ended.
    fn closed(&mut self, now: Instant, carrier: Carrier);
    fn command(&mut self, now: Instant, command: Self::Command);
    fn tick(&mut self, now: Instant);
    fn next_deadline(&self) -> Option<Instant>;
    fn poll_send(&mut self) -> Option<(Peer, Bytes)>;

    /// It wants no more, and what it had to send is out.
    fn is_over(&self) -> bool {
        false
    }
}

/// Connections beyond are refused.
const MAX_CONNECTIONS: usize = 20_000;
/// Messages that wait for a connection to take them; with more it is closed.
const MAX_WAITING: usize = 256;
/// A connection on which nothing came for so long is closed. Devices say at least that they live, every few minutes.
const IDLE: Duration = Duration::from_secs(3_600);
/// And one that did not bring a whole message within so long.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);
/// Datagrams taken in before others get their turn.
const BATCH: usize = 64;

/// The two sockets of a port.
pub struct Sockets {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds both. Port 0 takes any that is free for both.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let mut attempts = 0;
        loop {
            let tcp = TcpListener::bind(addr).await?;
            match bind_udp(tcp.local_addr()?) {
                Ok(udp) => return Ok(Self { udp: Arc::new(udp), tcp }),
                Err(_) if addr.port() == 0 && attempts < 16 => attempts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Runs the engine until it is over, or the sending end of `commands` is gone.
    pub async fn run<E: Engine>(self, mut engine: E, mut commands: mpsc::Receiver<E::Command>) -> E {
        let mut connections: HashMap<u64, mpsc::Sender<Bytes>> = HashMap::new();
        let (heard_tx, mut heard) = mpsc::channel::<Heard>(1_024);
        let mut next = 1u64;
        let mut buffer = vec![0; 65_536];
        // After a failure to accept; meanwhile the others go on.
        let mut accepts_from = tokio::time::Instant::now();
        loop {
            let deadline = engine.next_deadline();
            let sleep = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => engine.command(clock(), command),
                    None => return engine,
                },
                () = sleep => {}
                readable = self.udp.readable() => {
                    if readable.is_ok() {
                        self.read_udp(&mut engine, &mut buffer);
                    }
                }
                Some(message) = heard.recv() => match message {
                    Heard::Message(id, addr, bytes) => engine.receive(clock(), Peer { carrier: Carrier::Tcp(id), addr }, &bytes),
                    Heard::End(id) => {
                        connections.remove(&id);
                        engine.closed(clock(), Carrier::Tcp(id));
                    }
                },
                accepted = accept(&self.tcp, accepts_from) => match accepted {
                    Ok((stream, addr)) if connections.len() < MAX_CONNECTIONS => {
                        let (sender, receiver) = mpsc::channel(MAX_WAITING);
                        connections.insert(next, sender);
                        tokio::spawn(connection(stream, addr, next, heard_tx.clone(), receiver));
                        next += 1;
                    }
                    Ok(_) => tracing::warn!("too many SIP connections"),
                    Err(error) => {
                        tracing::warn!(%error, "a SIP connection was not accepted");
                        accepts_from = tokio::time::Instant::now() + Duration::from_millis(50);
                    }
                },
            }
            engine.tick(clock());
            while let Some((peer, bytes)) = engine.poll_send() {
                match peer.carrier {
                    Carrier::Udp => {
                        // A full socket loses it as the network would; what matters is sent again.
                        if let Err(error) = self.udp.try_send_to(&bytes, peer.addr) {
                            tracing::debug!(%error, peer = %peer.addr, "a SIP datagram could not be sent");
                        }
                    }
                    Carrier::Tcp(id) => {
                        if connections.get(&id).is_none_or(|sender| sender.try_send(bytes).is_err()) {
                            // It is gone, or takes nothing; its task ends with the channel.
                            connections.remove(&id);
                            engine.closed(clock(), Carrier::Tcp(id));
                        }
                    }
                }
            }
            if engine.is_over() {
                return engine;
            }
        }
    }

    fn read_udp<E: Engine>(&self, engine: &mut E, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            match self.udp.try_recv_from(buffer) {
                // Signs of life for a NAT: empty, or line ends (RFC 5626 3.5.1).
                Ok((length, _)) if length < 16 => {}
                Ok((length, addr)) => engine.receive(clock(), Peer { carrier: Carrier::Udp, addr }, &buffer[..length]),
                Err(_) => return,
            }
        }
    }
}

async fn accept(listener: &TcpListener, from: tokio::time::Instant) -> io::Result<(TcpStream, SocketAddr)> {
    tokio::time::sleep_until(from).await;
    listener.accept().await
}

/// Tokio's, so that tests can hold it.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn bind_udp(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::DGRAM, None)?;
    // A storm of registrations comes at once.
    let _ = socket.set_recv_buffer_size(4 << 20);
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

enum Heard {
    Message(u64, SocketAddr, Bytes),
    End(u64),
}

async fn connection(
    mut stream: TcpStream,
    addr: SocketAddr,
    id: u64,
    heard: mpsc::Sender<Heard>,
    mut outgoing: mpsc::Receiver<Bytes>,
) {
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.split();
    let reading = async {
        let (mut framer, mut buffer) = (Framer::default(), vec![0; 8_192]);
        let mut until = tokio::time::Instant::now() + FIRST_MESSAGE;
        loop {
            let read = tokio::time::timeout_at(until, reader.read(&mut buffer)).await;
            let Ok(Ok(length @ 1..)) = read else { return };
            framer.push(&buffer[..length]);
            loop {
                match framer.take() {
                    Ok(Some(bytes)) => {
                        until = tokio::time::Instant::now() + IDLE;
                        if heard.send(Heard::Message(id, addr, bytes)).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, peer = %addr, "a SIP connection lost its frame");
                        return;
                    }
                }
            }
        }
    };
    let writing = async {
        while let Some(bytes) = outgoing.recv().await {
            let sent = tokio::time::timeout(Duration::from_secs(10), writer.write_all(&bytes)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    let _ = heard.send(Heard::End(id)).await;
}
