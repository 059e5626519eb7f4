//! The sockets: one RTSP listener, one pair of UDP ports for all viewers, a task a connection.

use crate::camera::{Camera, Unit};
use crate::config::{Fault, SimulatorConfig};
use crate::message::{Decoder, Incoming};
use crate::session::{Action, Path, Session, TIMEOUT_SECONDS};
use bytes::{BufMut, BytesMut};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

const MAX_CONNECTIONS: usize = 256;
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    #[error("two simulated cameras have the same path {0:?}; give each its own")]
    DuplicatePath(String),
    #[error("the simulator's H.264 encoder did not start: {0}")]
    Encoder(#[from] openh264::Error),
    #[error("the simulator can't listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
}

/// Running cameras; they end with [`Simulator::stop`] or when this is dropped.
pub struct Simulator {
    address: SocketAddr,
    paths: Vec<String>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Simulator {
    pub async fn start(config: SimulatorConfig) -> Result<Self, SimulatorError> {
        let mut cameras: Vec<Arc<Camera>> = Vec::new();
        for spec in config.cameras {
            let spec = spec.bounded();
            if cameras.iter().any(|camera| camera.spec.path == spec.path) {
                return Err(SimulatorError::DuplicatePath(spec.path));
            }
            cameras.push(Arc::new(Camera::new(spec)?));
        }
        let listen_error = |source| SimulatorError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let udp = Arc::new(UdpPair::bind(config.listen.ip()).await.map_err(listen_error)?);
        let paths = cameras.iter().map(|camera| camera.spec.path.clone()).collect();
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, cameras.into(), udp, stopped));
        Ok(Self { address, paths, stop, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One URL a camera, in the order of the configuration. A server that listens
    /// on all addresses is shown by its loopback one.
    pub fn urls(&self) -> Vec<String> {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16])
            });
        }
        self.paths.iter().map(|path| format!("rtsp://{address}/{path}")).collect()
    }

    /// Closes the port and cuts every connection; returns when the port is free again.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if self.accepting.await.is_err() {
            tracing::error!("the simulator's listener had panicked");
        }
    }
}

/// An even port for RTP and the odd one above it for RTCP (RFC 3550 11).
struct UdpPair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    ports: (u16, u16),
}

impl UdpPair {
    async fn bind(ip: IpAddr) -> io::Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..50 {
            let rtp = UdpSocket::bind((ip, 0)).await?;
            let port = rtp.local_addr()?.port();
            if port % 2 != 0 {
                continue;
            }
            match UdpSocket::bind((ip, port + 1)).await {
                Ok(rtcp) => return Ok(Self { rtp, rtcp, ports: (port, port + 1) }),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

async fn accept(
    listener: TcpListener,
    cameras: Arc<[Arc<Camera>]>,
    udp: Arc<UdpPair>,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let connection = Connection {
            peer: peer.ip(),
            stream,
            udp: udp.clone(),
            session: Session::new(cameras.clone(), udp.ports),
            playing: None,
            cut_at: None,
        };
        let mut stopped = stopped.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = stopped.changed() => {}
                result = connection.run() => if let Err(error) = result {
                    tracing::debug!(%error, "a viewer of a simulated camera was cut off");
                },
            }
            drop(slot);
        });
    }
}

struct Connection {
    peer: IpAddr,
    stream: TcpStream,
    udp: Arc<UdpPair>,
    session: Session,
    playing: Option<mpsc::Receiver<Arc<Unit>>>,
    cut_at: Option<Instant>,
}

impl Connection {
    async fn run(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let mut decoder = Decoder::default();
        let mut input = [0; 4096];
        // A receiver shows that it lives by requests or by reports (RFC 2326 A.2).
        let patience = Duration::from_secs(TIMEOUT_SECONDS + 30);
        let mut heard = Instant::now();
        loop {
            let deadline = self.cut_at.map_or(heard + patience, |cut| cut.min(heard + patience));
            tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => return Ok(()),
                unit = next_unit(&mut self.playing) => match unit {
                    Some(unit) => self.send(&unit).await?,
                    None => return Ok(()),
                },
                read = self.stream.read(&mut input) => {
                    let length = read?;
                    if length == 0 {
                        return Ok(());
                    }
                    heard = Instant::now();
                    decoder.push(input.get(..length).unwrap_or_default());
                    while let Some(message) = decoder.next_message().map_err(io::Error::other)? {
                        if let Incoming::Request(request) = message {
                            let (answer, action) = self.session.handle(&request, Instant::now());
                            write(&mut self.stream, &answer).await?;
                            match action {
                                Action::None => {}
                                Action::Play => self.play(),
                                Action::Pause => self.playing = None,
                                Action::Close => return Ok(()),
                            }
                        }
                    }
                }
            }
        }
    }

    fn play(&mut self) {
        let Some(camera) = self.session.camera().filter(|_| self.playing.is_none()) else { return };
        if let Some(Fault::DropAfter(after)) = camera.spec.fault {
            self.cut_at = Some(Instant::now() + after);
        }
        self.playing = Some(camera.watch());
    }

    async fn send(&mut self, unit: &Unit) -> io::Result<()> {
        let Some(Some(path)) = self.session.paths.get(unit.track).copied() else { return Ok(()) };
        match path {
            Path::Interleaved { rtp, rtcp } => {
                let mut framed = BytesMut::new();
                for packet in &unit.packets {
                    framed.put_u8(b'$');
                    framed.put_u8(if unit.rtcp { rtcp } else { rtp });
                    framed.put_u16(packet.len() as u16);
                    framed.put_slice(packet);
                }
                write(&mut self.stream, &framed).await
            }
            Path::Udp { rtp, rtcp } => {
                let (socket, port) = if unit.rtcp { (&self.udp.rtcp, rtcp) } else { (&self.udp.rtp, rtp) };
                for packet in &unit.packets {
                    // A viewer that is gone answers with ICMP; its TCP connection tells the rest.
                    let _ = socket.send_to(packet, (self.peer, port)).await;
                }
                Ok(())
            }
        }
    }
}

/// Waits for ever while nothing plays.
async fn next_unit(playing: &mut Option<mpsc::Receiver<Arc<Unit>>>) -> Option<Arc<Unit>> {
    match playing {
        Some(units) => units.recv().await,
        None => std::future::pending().await,
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    match tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(bytes)).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the viewer does not read")),
    }
}
