//! One connection of a load generator: connectivity checks, the DTLS handshake, SRTP; and what a
//! subscriber does with the packets that come by it.

use super::Clients;
use super::Failure;
use super::report::{Times, monotonic_ns};
use mio::net::UdpSocket;
use rongtong_media_core::rtp::packet::{Kind, RtpView, classify};
use rongtong_media_core::rtp::rtcp::{self, ReportBlock};
use rongtong_media_core::session::dtls::{Dtls, DtlsIdentity, DtlsOutput};
use rongtong_media_core::session::ice::{IceCredentials, check_answer, check_request};
use rongtong_media_core::session::srtp::SrtpPair;
use rtc_srtp::crypto::RTCCryptoProvider;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How often the way is checked once it is known, and before.
const CHECK_EVERY: Duration = Duration::from_secs(3);
const CHECK_FIRST: Duration = Duration::from_millis(200);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A missing packet is asked for once, when this many have come after it.
const REORDERED: u16 = 3;

/// What is known of the server's end.
#[derive(Clone, Debug)]
pub struct Remote {
    pub address: SocketAddr,
    pub credentials: IceCredentials,
    pub fingerprint: String,
    /// It begins the DTLS handshake.
    pub begins: bool,
}

/// A stream that a subscriber receives.
#[derive(Default)]
struct Stream {
    ssrc: u32,
    first: u64,
    highest: u64,
    received: u64,
    reported: (u64, u64),
    missing: Vec<u16>,
}

/// What a subscriber counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub packets: u64,
    pub expected: u64,
    pub retransmitted: u64,
    pub broken: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.expected += other.expected;
        self.retransmitted += other.retransmitted;
        self.broken += other.broken;
    }
}

pub struct Client {
    pub socket: UdpSocket,
    remote: Remote,
    own: IceCredentials,
    crypto: Arc<dyn RTCCryptoProvider>,
    identity: Arc<DtlsIdentity>,
    dtls: Option<Dtls>,
    srtp: Option<Box<SrtpPair>>,
    connected: bool,
    clients: Clients,
    /// The payload type of media; others carry retransmissions.
    media: Arc<AtomicU8>,
    next_check: Instant,
    next_report: Instant,
    streams: Vec<Stream>,
    retransmitted: u64,
    broken: u64,
    /// How long packets took from their sender's clock to here, where that is asked for.
    pub times: Option<Times>,
    buffer: Vec<u8>,
}

impl Client {
    /// `socket` is bound, and connected by this.
    pub fn new(
        socket: std::net::UdpSocket,
        remote: Remote,
        own: IceCredentials,
        identity: Arc<DtlsIdentity>,
        clients: Clients,
        media: Arc<AtomicU8>,
    ) -> Result<Self, Failure> {
        socket.connect(remote.address)?;
        socket.set_nonblocking(true)?;
        let now = Instant::now();
        Ok(Self {
            socket: UdpSocket::from_std(socket),
            remote,
            own,
            crypto: rtc_srtp::crypto::default_provider().map_err(|error| error.to_string())?,
            identity,
            dtls: None,
            srtp: None,
            connected: false,
            clients,
            media,
            next_check: now,
            next_report: now + REPORT_EVERY,
            streams: Vec::new(),
            retransmitted: 0,
            broken: 0,
            times: None,
            buffer: vec![0; 2048],
        })
    }

    pub fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// The keys, for a thread of its own that sends media.
    pub fn take_srtp(&mut self) -> Option<Box<SrtpPair>> {
        self.srtp.take()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Instant {
        let dtls = self.dtls.as_ref().and_then(Dtls::poll_timeout);
        let report = self.srtp.as_ref().map(|_| self.next_report);
        [dtls, report].into_iter().flatten().fold(self.next_check, Instant::min)
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Failure> {
        if now >= self.next_check {
            self.next_check = now + if self.connected { CHECK_EVERY } else { CHECK_FIRST };
            let request = check_request(&self.remote.credentials, &self.own.ufrag, self.crypto.crypto())?;
            let _ = self.socket.send(&request);
        }
        if let Some(dtls) = &mut self.dtls
            && dtls.poll_timeout().is_some_and(|at| at <= now)
        {
            dtls.handle_timeout(now)?;
        }
        self.flush_dtls();
        if now >= self.next_report {
            self.next_report = now + REPORT_EVERY;
            if self.clients == Clients::Full {
                self.report();
            }
        }
        Ok(())
    }

    /// Reads all that has come.
    pub fn read(&mut self, now: Instant) -> Result<(), Failure> {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let Some(datagram) = buffer.get_mut(..length) else { continue };
            match classify(datagram) {
                // A request: 0 in the two bits of the class, RFC 8489 5.
                Kind::Stun if datagram.starts_with(&[0, 1]) => {
                    let answer = check_answer(datagram, &self.own, self.remote.address, self.crypto.crypto());
                    if let Ok(answer) = answer {
                        let _ = self.socket.send(&answer);
                    }
                }
                Kind::Stun if self.dtls.is_none() => {
                    // The first answer: the way is known.
                    self.dtls = Some(if self.remote.begins {
                        Dtls::new(self.identity.clone())
                    } else {
                        Dtls::begin(&self.identity, now)?
                    });
                    self.flush_dtls();
                }
                Kind::Dtls => self.handshake(datagram, now)?,
                Kind::Rtp => self.media(datagram, now),
                _ => {}
            }
        }
        self.buffer = buffer;
        if self.clients == Clients::Full {
            self.ask_again();
        }
        Ok(())
    }

    fn handshake(&mut self, datagram: &[u8], now: Instant) -> Result<(), Failure> {
        let Some(dtls) = &mut self.dtls else { return Ok(()) };
        let mut outputs = Vec::new();
        dtls.handle(datagram, &self.remote.fingerprint, now, &mut outputs)?;
        for output in outputs {
            if let DtlsOutput::Connected(pair) = output {
                self.srtp = Some(pair);
                self.connected = true;
            }
        }
        self.flush_dtls();
        Ok(())
    }

    fn flush_dtls(&mut self) {
        if let Some(dtls) = &mut self.dtls {
            while let Some(packet) = dtls.poll_transmit() {
                let _ = self.socket.send(&packet);
            }
        }
    }

    fn media(&mut self, datagram: &mut [u8], _now: Instant) {
        let Some((&[_, second, s0, s1], rest)) = datagram.split_first_chunk::<4>() else { return };
        let Some(ssrc) = rest.get(4..8).and_then(|at| at.first_chunk::<4>()) else { return };
        let (sequence, ssrc) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes(*ssrc));
        if self.clients == Clients::Full {
            let opened = self.srtp.as_mut().and_then(|srtp| srtp.incoming.open_rtp(datagram).ok());
            let Some(plain) = opened.and_then(|length| datagram.get(..length)) else {
                self.broken += 1;
                return;
            };
            if let Some(times) = &mut self.times
                && let Ok(view) = RtpView::parse(plain)
                && let Some(sent) = view.payload.get(3..).and_then(|at| at.first_chunk::<8>())
            {
                times.add(Duration::from_nanos(monotonic_ns().saturating_sub(u64::from_be_bytes(*sent))));
            }
        }
        if second & 0x7f != self.media.load(Ordering::Relaxed) {
            self.retransmitted += 1;
            return;
        }
        let at = self.streams.iter().position(|stream| stream.ssrc == ssrc).unwrap_or_else(|| {
            let first = u64::from(sequence) + (1 << 16);
            self.streams.push(Stream { ssrc, first, highest: first - 1, ..Stream::default() });
            self.streams.len() - 1
        });
        let Some(stream) = self.streams.get_mut(at) else { return };
        let ahead = sequence.wrapping_sub(stream.highest as u16) as i16;
        if ahead > 0 {
            if ahead > 1 && self.clients == Clients::Full {
                let between = (1..ahead as u16).map(|back| sequence.wrapping_sub(back));
                stream.missing.extend(between.take(64));
            }
            stream.highest += ahead as u64;
        } else {
            stream.missing.retain(|missing| *missing != sequence);
        }
        stream.received += 1;
    }

    /// Asks for what is missing.
    fn ask_again(&mut self) {
        let Some(srtp) = &mut self.srtp else { return };
        for stream in &mut self.streams {
            let newest = stream.highest as u16;
            let due = |missing: &u16| newest.wrapping_sub(*missing) >= REORDERED;
            if !stream.missing.iter().any(due) {
                continue;
            }
            let mut lost: Vec<u16> = stream.missing.iter().copied().filter(due).collect();
            lost.sort_unstable();
            stream.missing.retain(|missing| !due(missing));
            let mut packet = Vec::with_capacity(128);
            rtcp::write_receiver_report(&mut packet, 1, &[]);
            rtcp::write_nack(&mut packet, 1, stream.ssrc, &lost);
            srtp.outgoing.seal_rtcp(&mut packet, 0);
            let _ = self.socket.send(&packet);
        }
    }

    fn report(&mut self) {
        let Some(srtp) = &mut self.srtp else { return };
        let blocks: Vec<ReportBlock> = self
            .streams
            .iter_mut()
            .map(|stream| {
                let expected = stream.highest + 1 - stream.first;
                let (expected_now, received_now) = (expected - stream.reported.0, stream.received - stream.reported.1);
                stream.reported = (expected, stream.received);
                let lost = expected_now.saturating_sub(received_now);
                ReportBlock {
                    ssrc: stream.ssrc,
                    fraction_lost: (lost * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8,
                    cumulative_lost: expected.saturating_sub(stream.received) as i32,
                    highest_seq: stream.highest as u32,
                    ..ReportBlock::default()
                }
            })
            .collect();
        for blocks in blocks.chunks(31) {
            let mut packet = Vec::with_capacity(64);
            rtcp::write_receiver_report(&mut packet, 1, blocks);
            srtp.outgoing.seal_rtcp(&mut packet, 0);
            let _ = self.socket.send(&packet);
        }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            packets: self.streams.iter().map(|stream| stream.received).sum(),
            expected: self.streams.iter().map(|stream| stream.highest + 1 - stream.first).sum(),
            retransmitted: self.retransmitted,
            broken: self.broken,
        }
    }

    /// How many streams have brought something.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
}
