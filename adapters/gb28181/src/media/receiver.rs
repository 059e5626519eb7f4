//! The port of one call.

use super::unwrap::Counts;
use super::{Framing, Item, Unwrapper};
use crate::platform::{Carriage, media_address};
use bytes::{Bytes, BytesMut};
use quinn_udp::{RecvMeta, UdpSocketState};
use rongtong_media_core::ports::{Lease, PortPool, PortsError};
use rongtong_sip::sdp::Session;
use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error(transparent)]
    Ports(#[from] PortsError),
    #[error("the port for media: {0}")]
    Io(#[from] io::Error),
    #[error("the device does not say where to fetch its media")]
    NoAddress,
    #[error("the device's media port {0} can't be reached: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("the device closed the connection of its media")]
    Closed,
}

enum Port {
    Udp { socket: UdpSocket, state: UdpSocketState, _lease: Lease },
    Passive { listener: TcpListener, stream: Option<TcpStream>, _lease: Lease },
    Active { stream: Option<TcpStream>, port: u16 },
}

/// What may send, until something does.
#[derive(Default)]
struct Source {
    /// Of the signalling and of the answer.
    expected: Vec<IpAddr>,
    latched: Option<SocketAddr>,
    heard: Option<Instant>,
    opened: Option<Instant>,
}

/// Others than the expected are listened to after so long: a platform may have its media sent from anywhere.
const STRANGERS_AFTER: Duration = Duration::from_secs(2);
/// Another source is taken when the first is silent for so long.
const TAKE_OVER: Duration = Duration::from_secs(1);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Calls of the system before something else gets its turn.
const CALLS: usize = 8;
/// Messages of one call. Each may hold many datagrams of one sender and one length (UDP_GRO).
const MESSAGES: usize = 8;
const MAX_MESSAGE: usize = 65_535;
/// Packets lie together in pieces of so many bytes.
const CHUNK: usize = 32 << 10;

thread_local! {
    /// What is read into. Receivers are many, and each reads a little at a time.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MESSAGES * MAX_MESSAGE]);
}

/// Reads what one call of the system gives. False when there is no more.
fn read_datagrams(
    socket: &UdpSocket,
    state: &UdpSocketState,
    take: &mut impl FnMut(SocketAddr, &[u8]),
) -> io::Result<bool> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut metas = [RecvMeta::default(); MESSAGES];
        let mut slices = scratch.chunks_mut(MAX_MESSAGE).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; MESSAGES] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let count = state.recv(socket.into(), &mut slices, &mut metas)?;
        for (meta, bytes) in metas.iter().zip(&slices).take(count) {
            let bytes = &bytes[..meta.len.min(bytes.len())];
            bytes.chunks(meta.stride.max(1)).for_each(|packet| take(meta.addr, packet));
        }
        Ok(count == MESSAGES)
    })
}

impl Source {
    fn admits(&mut self, now: Instant, from: SocketAddr) -> bool {
        let opened = *self.opened.get_or_insert(now);
        let silent = self.heard.is_none_or(|heard| now.saturating_duration_since(heard) >= TAKE_OVER);
        let admitted = match self.latched {
            Some(latched) if latched == from => true,
            Some(_) if !silent => false,
            _ => {
                let expected = self.expected.is_empty() || self.expected.contains(&from.ip().to_canonical());
                expected || now.saturating_duration_since(opened) >= STRANGERS_AFTER
            }
        };
        if admitted {
            (self.latched, self.heard) = (Some(from), Some(now));
        }
        admitted
    }
}

/// What all calls together received.
#[derive(Debug, Default)]
pub struct Totals {
    pub packets: AtomicU64,
    pub bytes: AtomicU64,
    /// Never came, or too late.
    pub lost: AtomicU64,
}

/// Receives one call's media. Dropping it gives the port back.
pub struct Receiver {
    port: Port,
    source: Source,
    framing: Framing,
    unwrapper: Unwrapper,
    buffer: BytesMut,
    totals: Arc<Totals>,
    /// What of it is in the totals.
    told: Counts,
}

/// Opens a port before the device is called.
pub fn listen(
    pool: &Arc<PortPool>,
    carriage: Carriage,
    ssrc: Option<u32>,
    totals: Arc<Totals>,
) -> Result<Receiver, MediaError> {
    let port = match carriage {
        Carriage::Udp => {
            let pair = pool.udp(false)?;
            let socket: std::net::UdpSocket = pair.rtp.into();
            let state = UdpSocketState::new((&socket).into())?;
            Port::Udp { socket: UdpSocket::from_std(socket)?, state, _lease: pair.lease }
        }
        Carriage::TcpPassive => {
            let (listener, lease) = pool.listener()?;
            Port::Passive { listener: TcpListener::from_std(listener.into())?, stream: None, _lease: lease }
        }
        // The port in the offer means nothing; 9 says so (RFC 4145 4).
        Carriage::TcpActive => Port::Active { stream: None, port: 9 },
    };
    Ok(Receiver {
        port,
        source: Source::default(),
        framing: Framing::default(),
        unwrapper: Unwrapper::new(ssrc, Vec::new()),
        buffer: BytesMut::new(),
        totals,
        told: Counts::default(),
    })
}

impl Receiver {
    /// To be said in the offer.
    pub fn port(&self) -> u16 {
        match &self.port {
            Port::Udp { _lease, .. } | Port::Passive { _lease, .. } => _lease.port(),
            Port::Active { port, .. } => *port,
        }
    }

    /// The device's answer: where its media comes from, and what it is.
    pub async fn answered(&mut self, description: &Session, signalling: SocketAddr) -> Result<(), MediaError> {
        let announced = media_address(description, signalling);
        self.source.expected = [Some(signalling.ip().to_canonical()), announced.map(|addr| addr.ip().to_canonical())]
            .into_iter()
            .flatten()
            .collect();
        let ssrc = description.ssrc.as_deref().and_then(crate::ssrc::parse);
        let media = description.media.first();
        let types =
            media.map(|media| media.formats.iter().filter_map(|format| format.parse().ok()).collect::<Vec<u8>>());
        let encodings = types
            .unwrap_or_default()
            .into_iter()
            .filter_map(|payload_type| Some((payload_type, media?.encoding(payload_type)?.0.to_owned())));
        self.unwrapper.describe(ssrc, encodings.collect());
        if let Port::Active { stream, .. } = &mut self.port {
            let addr = announced.ok_or(MediaError::NoAddress)?;
            let connecting = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(addr)).await;
            let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            *stream = Some(connected.map_err(|error| MediaError::Connect(addr, error))?);
        }
        Ok(())
    }

    pub fn counts(&self) -> Counts {
        self.unwrapper.counts()
    }

    /// How often its pictures went on from elsewhere in time.
    pub fn jumps(&self) -> u32 {
        self.unwrapper.jumps()
    }

    /// Waits until something came, and appends what it is. Nothing may be appended. Cancel-safe.
    pub async fn receive(&mut self, out: &mut Vec<Item>) -> Result<(), MediaError> {
        let received = self.receive_some(out).await;
        let (now, told) = (self.unwrapper.counts(), self.told);
        self.told = now;
        self.totals.packets.fetch_add(now.packets - told.packets, Ordering::Relaxed);
        self.totals.bytes.fetch_add(now.bytes - told.bytes, Ordering::Relaxed);
        self.totals.lost.fetch_add(now.lost - told.lost, Ordering::Relaxed);
        received
    }

    async fn receive_some(&mut self, out: &mut Vec<Item>) -> Result<(), MediaError> {
        let deadline = self.unwrapper.next_deadline();
        let patience = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        match &mut self.port {
            Port::Udp { socket, state, .. } => {
                tokio::select! {
                    readable = socket.readable() => readable?,
                    () = patience => {
                        self.unwrapper.tick(Instant::now(), out);
                        return Ok(());
                    }
                }
                let now = Instant::now();
                let (source, unwrapper, buffer) = (&mut self.source, &mut self.unwrapper, &mut self.buffer);
                let mut take = |from: SocketAddr, packet: &[u8]| {
                    if source.admits(now, from) {
                        // What holds on to a packet holds on to all that came with it.
                        if buffer.capacity() < packet.len() {
                            buffer.reserve(CHUNK.max(packet.len()));
                        }
                        buffer.extend_from_slice(packet);
                        unwrapper.packet(now, &buffer.split().freeze(), out);
                    }
                };
                for _ in 0..CALLS {
                    match socket.try_io(Interest::READABLE, || read_datagrams(socket, state, &mut take)) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        // A port that nobody listens at answered what we sent; nothing to us.
                        Err(error) => {
                            tracing::debug!(%error, "receiving media");
                            break;
                        }
                    }
                }
                Ok(())
            }
            Port::Passive { listener, stream, .. } => {
                let reading = async {
                    match stream {
                        Some(stream) => read(stream, &mut self.buffer).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    bytes = reading => match bytes {
                        Ok(bytes) => self.framed(&bytes, out),
                        // The device may connect again.
                        Err(_) => {
                            *stream = None;
                            self.framing = Framing::default();
                        }
                    },
                    accepted = listener.accept() => {
                        let (fresh, from) = accepted?;
                        if self.source.admits(Instant::now(), from) {
                            *stream = Some(fresh);
                            self.framing = Framing::default();
                        }
                    }
                }
                Ok(())
            }
            Port::Active { stream, .. } => {
                let stream = stream.as_mut().ok_or(MediaError::NoAddress)?;
                let bytes = read(stream, &mut self.buffer).await.map_err(|_| MediaError::Closed)?;
                self.framed(&bytes, out);
                Ok(())
            }
        }
    }

    fn framed(&mut self, bytes: &Bytes, out: &mut Vec<Item>) {
        let now = Instant::now();
        self.source.heard = Some(now);
        self.framing.push(bytes);
        while let Some(packet) = self.framing.take() {
            self.unwrapper.packet(now, &packet, out);
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Bytes> {
    buffer.reserve(65_536);
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(buffer.split().freeze()),
    }
}
