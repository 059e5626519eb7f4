//! Sound on its way to a device.

use super::MediaError;
use crate::platform::Carriage;
use crate::speech::{Agreed, Form};
use rongtong_media_core::audio::g711::Law;
use rongtong_media_core::mpeg::{AudioCodec, Muxer};
use rongtong_media_core::ports::{Lease, PortPool};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// A connection comes about, and takes what is sent, within so long.
const WITHIN: Duration = Duration::from_secs(5);
const HEADER: usize = 12;

/// What sound is sent from, before it is known where to.
pub enum SpeechPort {
    Udp {
        socket: UdpSocket,
        lease: Lease,
    },
    /// The device connects.
    Passive {
        listener: TcpListener,
        lease: Lease,
    },
    /// We do.
    Active,
}

impl SpeechPort {
    pub fn open(pool: &Arc<PortPool>, carriage: Carriage) -> Result<Self, MediaError> {
        Ok(match carriage {
            Carriage::Udp => {
                let pair = pool.udp(false)?;
                let socket: std::net::UdpSocket = pair.rtp.into();
                Self::Udp { socket: UdpSocket::from_std(socket)?, lease: pair.lease }
            }
            Carriage::TcpPassive => {
                let (listener, lease) = pool.listener()?;
                Self::Passive { listener: TcpListener::from_std(listener.into())?, lease }
            }
            Carriage::TcpActive => Self::Active,
        })
    }

    /// To be said in the description.
    pub fn number(&self) -> u16 {
        match self {
            Self::Udp { lease, .. } | Self::Passive { lease, .. } => lease.port(),
            // It means nothing; 9 says so (RFC 4145 4).
            Self::Active => 9,
        }
    }
}

enum Out {
    Udp(UdpSocket, SocketAddr),
    Tcp(TcpStream),
}

/// Sends A-law as it was agreed.
pub struct Speaker {
    out: Out,
    _lease: Option<Lease>,
    agreed: Agreed,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    muxer: Option<(Muxer, u64)>,
    packet: Vec<u8>,
    begun: bool,
}

impl Speaker {
    /// Waits for the connection where there is one.
    pub async fn begin(port: SpeechPort, agreed: Agreed, ssrc: u32) -> Result<Self, MediaError> {
        let (out, lease) = match port {
            SpeechPort::Udp { socket, lease } => (Out::Udp(socket, agreed.to), Some(lease)),
            SpeechPort::Passive { listener, lease } => {
                let accepting = tokio::time::timeout(WITHIN, accept(&listener, agreed.to));
                let stream = accepting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
                (Out::Tcp(stream), Some(lease))
            }
            SpeechPort::Active => {
                let connecting = tokio::time::timeout(WITHIN, TcpStream::connect(agreed.to)).await;
                let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let stream = connected.map_err(|error| MediaError::Connect(agreed.to, error))?;
                (Out::Tcp(stream), None)
            }
        };
        if let Out::Tcp(stream) = &out {
            stream.set_nodelay(true)?;
        }
        let muxer = (agreed.form == Form::Ps).then(|| (Muxer::new(None, Some(AudioCodec::Pcma)), 90_000));
        Ok(Self {
            out,
            _lease: lease,
            agreed,
            ssrc: agreed.ssrc.unwrap_or(ssrc),
            sequence: rand::random(),
            timestamp: rand::random(),
            muxer,
            packet: Vec::new(),
            begun: false,
        })
    }

    /// Sends A-law. An error is final; a datagram that nobody takes is none.
    pub async fn say(&mut self, law: &[u8]) -> io::Result<()> {
        self.packet.clear();
        self.packet.resize(2 + HEADER, 0);
        let samples = law.len() as u32;
        let mut ticks = samples;
        match (&mut self.muxer, self.agreed.form) {
            (Some((muxer, clock)), _) => {
                muxer.audio(law, None, *clock, &mut self.packet);
                // 90 kHz is eleven and a quarter of eight.
                ticks = samples * 45 / 4;
                *clock += u64::from(ticks);
            }
            (None, Form::Mu) => {
                self.packet.extend(law.iter().map(|code| Law::Mu.encode(Law::A.decode(*code))));
            }
            (None, _) => self.packet.extend_from_slice(law),
        }
        // Of sound the marker is where it begins; of a program stream where a unit ends (RFC 3551 4.1, RFC 2250 3).
        let marker = if self.agreed.form == Form::Ps || !self.begun { 0x80 } else { 0 };
        self.begun = true;
        let length = (self.packet.len() - 2) as u16;
        self.packet[..2].copy_from_slice(&length.to_be_bytes());
        self.packet[2] = 0x80;
        self.packet[3] = marker | self.agreed.payload_type;
        self.packet[4..6].copy_from_slice(&self.sequence.to_be_bytes());
        self.packet[6..10].copy_from_slice(&self.timestamp.to_be_bytes());
        self.packet[10..14].copy_from_slice(&self.ssrc.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(ticks);
        match &mut self.out {
            Out::Udp(socket, to) => {
                // What a device says meanwhile is not heard here, and must not fill the socket.
                let mut unheard = [0; 2_048];
                while socket.try_recv_from(&mut unheard).is_ok() {}
                if let Err(error) = socket.send_to(&self.packet[2..], *to).await {
                    tracing::debug!(%error, %to, "sound was not sent");
                }
                Ok(())
            }
            Out::Tcp(stream) => {
                let mut unheard = [0; 2_048];
                loop {
                    match stream.try_read(&mut unheard) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                let writing = tokio::time::timeout(WITHIN, stream.write_all(&self.packet));
                writing.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

/// Who connects from elsewhere is not the device.
async fn accept(listener: &TcpListener, device: SocketAddr) -> io::Result<TcpStream> {
    loop {
        let (stream, from) = listener.accept().await?;
        if from.ip().to_canonical() == device.ip().to_canonical() {
            return Ok(stream);
        }
        tracing::debug!(%from, "a connection for sound that is not the device's");
    }
}
