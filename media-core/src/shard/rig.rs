//! A shard and its peers in virtual time, for tests: connectivity checks and SRTP are real, the
//! DTLS handshake is replaced by keys that both sides know.

use super::config::{
    PayloadMap, PeerConfig, ReceiveSection, SendSection, SessionInit, ShardConfig, TrackConfig, TransportConfig,
    TransportInit,
};
use super::core::ShardCore;
use super::{Command, ExtensionIds, RoomKey, ShardEvent, SubKey, TrackKey, TransportEvent, TransportKey};
use crate::clock::RoomClock;
use crate::ids::ParticipantSid;
use crate::media::{CodecParams, Keyframes, Source, SourcePacket};
use crate::rtp::packet::{Kind as Packet, RtpHeader, RtpView, classify, write_header};
use crate::rtp::rtcp::{self, Rtcp};
use crate::session::Path;
use crate::session::dtls::DtlsIdentity;
use crate::session::flow::{DataLink, INBOX};
use crate::session::ice::{IceCredentials, testing};
use crate::session::srtp::{Opener, Sealer, SrtpPair, Suite};
use crate::tap::{TapReader, ring};
use bytes::Bytes;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::RTCCryptoProvider;
use rtc_srtp::protection_profile::ProtectionProfile;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Payload types of all sections here.
pub const PT: u8 = 96;
pub const RTX_PT: u8 = 97;

pub struct Peer {
    pub key: TransportKey,
    pub local: IceCredentials,
    pub address: SocketAddr,
    pub events: mpsc::UnboundedReceiver<TransportEvent>,
    seal: Context,
    open: Context,
    config: TransportConfig,
}

/// A packet as its receiver sees it.
#[derive(Clone, Debug)]
pub struct Got {
    pub peer: usize,
    pub header: RtpHeader,
    pub payload: Vec<u8>,
}

pub struct Rig {
    pub core: ShardCore,
    pub now: Instant,
    pub room: RoomKey,
    _events: mpsc::UnboundedReceiver<ShardEvent>,
    pub peers: Vec<Peer>,
    /// What the core sent, read by its receivers.
    pub rtp: Vec<Got>,
    pub rtcp: Vec<(usize, Rtcp)>,
    /// Datagrams that were neither: answers to connectivity checks.
    pub others: usize,
    /// Most that waited in the core at one time, bytes.
    pub most_queued: usize,
    /// The types of the packets of each compound.
    pub compounds: Vec<(usize, Vec<u8>)>,
    /// What went by ports and connections of sessions' own.
    pub elsewhere: Vec<(Path, Vec<u8>)>,
    /// The system takes nothing.
    pub holds: bool,
}

static CRYPTO: LazyLock<Arc<dyn RTCCryptoProvider>> = LazyLock::new(|| rtc_srtp::crypto::default_provider().unwrap());
static IDENTITY: LazyLock<Arc<DtlsIdentity>> = LazyLock::new(|| Arc::new(DtlsIdentity::generate().unwrap()));

const SALT: [u8; 12] = [7; 12];

fn master_key(direction: u8, number: usize) -> [u8; 16] {
    let mut key = [direction; 16];
    key[1..9].copy_from_slice(&(number as u64).to_be_bytes());
    key
}

/// The peers' SRTP is another implementation.
fn context(direction: u8, number: usize) -> Context {
    let (key, crypto) = (master_key(direction, number), CRYPTO.crypto());
    Context::new(&key, &SALT, ProtectionProfile::AeadAes128Gcm, None, None, crypto).unwrap()
}

impl Rig {
    pub fn new() -> Self {
        Self::with(16 << 20, Duration::from_secs(10))
    }

    pub fn with(gop_cache_bytes: usize, gop_cache_duration: Duration) -> Self {
        let config = ShardConfig {
            name: "rig".into(),
            udp_port: 0,
            tcp_port: None,
            advertise: Vec::new(),
            gop_cache_bytes,
            gop_cache_duration,
            core: None,
            on_thread: None,
        };
        let start = Instant::now() + Duration::from_secs(100);
        let clock = RoomClock::anchored(start, 1_790_000_000_000_000_000);
        let mut core = ShardCore::new(config, clock, [1; 32], CRYPTO.clone(), start);
        let room = RoomKey::next();
        let (sender, events) = mpsc::unbounded_channel();
        core.command(Command::AddRoom { room, events: sender }, start);
        Self {
            core,
            now: start,
            room,
            _events: events,
            peers: Vec::new(),
            rtp: Vec::new(),
            rtcp: Vec::new(),
            others: 0,
            most_queued: 0,
            compounds: Vec::new(),
            elsewhere: Vec::new(),
            holds: false,
        }
    }

    /// A connected peer; `opens_data` is that of a subscriber connection, to which we offer.
    pub fn peer(&mut self, opens_data: bool) -> usize {
        let number = self.absent_peer(opens_data);
        self.connect(number);
        number
    }

    /// A peer of whom nothing has come yet.
    pub fn absent_peer(&mut self, opens_data: bool) -> usize {
        let number = self.peers.len();
        let key = TransportKey::next();
        let local = IceCredentials::random();
        let (sender, events) = mpsc::unbounded_channel();
        let init = TransportInit {
            room: self.room,
            participant: ParticipantSid::random(),
            events: sender,
            session: SessionInit::WebRtc {
                local_ice: local.clone(),
                identity: IDENTITY.clone(),
                opens_data,
                data: DataLink { inbox: mpsc::channel(INBOX).0, backlog: Arc::default() },
                pair: None,
            },
        };
        self.core.command(Command::AddTransport { key, init }, self.now);
        let address = SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 5000));
        let config = TransportConfig {
            peer: PeerConfig::WebRtc { local_ice: local.clone(), fingerprint: String::new() },
            extensions: ExtensionIds { mid: 1, rid: 2, repaired_rid: 3, ..ExtensionIds::default() },
            receive: Vec::new(),
            send: Vec::new(),
        };
        let (seal, open) = (context(1, number), context(2, number));
        self.peers.push(Peer { key, local, address, events, seal, open, config });
        number
    }

    fn connect(&mut self, number: usize) {
        let (key, address) = (self.peers[number].key, self.peers[number].address);
        self.check(number, address);
        let pair = SrtpPair {
            incoming: Opener::new(Suite::AeadAes128Gcm, &master_key(1, number), &SALT).unwrap(),
            outgoing: Sealer::new(Suite::AeadAes128Gcm, &master_key(2, number), &SALT).unwrap(),
        };
        let transport = self.core.transports.get_mut(key).unwrap();
        transport.webrtc().unwrap().connect_for_tests(Box::new(pair));
        transport.settle();
        self.core.transport_connected(key, self.now);
    }

    /// A connectivity check that nominates.
    pub fn check(&mut self, peer: usize, from: SocketAddr) {
        let local = self.peers[peer].local.clone();
        let mut datagram = testing::request(&local, &local.password, true);
        self.core.datagram(&mut datagram, Path::Udp(from), from, self.now);
        self.take();
    }

    pub fn track(&mut self, codec: CodecParams, layers: usize, keyframes: Keyframes) -> TrackKey {
        let key = TrackKey::next();
        let config = TrackConfig {
            room: Some(self.room),
            source: Source::Camera,
            codec,
            layers,
            muted: false,
            keyframes,
            feed: (keyframes == Keyframes::Cached).then(Arc::default),
            device: Default::default(),
            ask: None,
        };
        self.core.command(Command::AddTrack { key, config }, self.now);
        key
    }

    /// The peer sends this track: stream 1000 (+ layer), RTX 2000 (+ layer), MID "p".
    pub fn publishes(&mut self, peer: usize, track: TrackKey, layers: usize) {
        let section = ReceiveSection {
            mid: format!("p{}", self.peers[peer].config.receive.len()),
            kind: crate::media::Kind::Video,
            track: Some(track),
            payloads: vec![PayloadMap::Media { pt: PT }, PayloadMap::Rtx { pt: RTX_PT }],
            rids: if layers > 1 {
                ["q", "h", "f"].iter().take(layers).map(ToString::to_string).collect()
            } else {
                vec![]
            },
            ssrcs: if layers > 1 { vec![] } else { vec![(1000, Some(2000))] },
            nack: true,
            pli: true,
        };
        self.peers[peer].config.receive.push(section);
        self.configure(peer);
    }

    /// The peer gets this track, as stream `ssrc` and RTX `ssrc` + 1.
    pub fn subscribes(&mut self, peer: usize, track: TrackKey, ssrc: u32) -> SubKey {
        let sub = SubKey::next();
        self.core.command(Command::AddSub { track, sub }, self.now);
        let section = SendSection {
            mid: format!("s{}", self.peers[peer].config.send.len()),
            track,
            sub,
            ssrc,
            rtx_ssrc: ssrc + 1,
            pt: PT,
            rtx_pt: Some(RTX_PT),
            red_pt: None,
        };
        self.peers[peer].config.send.push(section);
        self.configure(peer);
        sub
    }

    pub fn change(&mut self, peer: usize, change: impl FnOnce(&mut TransportConfig)) {
        change(&mut self.peers[peer].config);
        self.configure(peer);
    }

    pub fn configure(&mut self, peer: usize) {
        let Peer { key, config, .. } = &self.peers[peer];
        let command = Command::Configure { key: *key, config: Arc::new(config.clone()) };
        self.core.command(command, self.now);
        self.take();
    }

    pub fn tap(&mut self, track: TrackKey, capacity: usize) -> (SubKey, TapReader) {
        let (writer, reader) = ring(capacity, &self.core.bell);
        let sub = SubKey::next();
        self.core.command(Command::AddTap { track, sub, writer }, self.now);
        self.take();
        (sub, reader)
    }

    /// A datagram or frame comes in by this path.
    pub fn comes(&mut self, path: Path, mut bytes: Vec<u8>) {
        let source = SocketAddr::from(([10, 9, 9, 9], 7000));
        self.core.datagram(&mut bytes, path, source, self.now);
        self.take();
    }

    pub fn command(&mut self, command: Command) {
        self.core.command(command, self.now);
        self.take();
    }

    pub fn send_rtp(&mut self, peer: usize, header: RtpHeader, extensions: &[(u8, &[u8])], payload: &[u8]) {
        let mut sealed = self.sealed_with(peer, header, extensions, payload);
        let from = self.peers[peer].address;
        self.core.datagram(&mut sealed, Path::Udp(from), from, self.now);
        self.take();
    }

    /// A packet of a peer's as it comes from outside.
    pub fn sealed(&mut self, peer: usize, header: RtpHeader, payload: &[u8]) -> Vec<u8> {
        self.sealed_with(peer, header, &[], payload)
    }

    fn sealed_with(&mut self, peer: usize, header: RtpHeader, extensions: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        write_header(&mut packet, &header, extensions);
        packet.extend_from_slice(payload);
        self.peers[peer].seal.encrypt_rtp(&packet).unwrap().to_vec()
    }

    /// One packet of stream 1000.
    pub fn send(&mut self, peer: usize, sequence: u16, timestamp: u32, payload: &[u8]) {
        let header =
            RtpHeader { marker: true, payload_type: PT, sequence, timestamp, ssrc: 1000, ..RtpHeader::default() };
        self.send_rtp(peer, header, &[], payload);
    }

    /// The packet again, as the answer to a NACK.
    pub fn resend(&mut self, peer: usize, rtx: u16, sequence: u16, timestamp: u32, payload: &[u8]) {
        let header = RtpHeader {
            marker: true,
            payload_type: RTX_PT,
            sequence: rtx,
            timestamp,
            ssrc: 2000,
            ..RtpHeader::default()
        };
        let payload = [&sequence.to_be_bytes()[..], payload].concat();
        self.send_rtp(peer, header, &[], &payload);
    }

    pub fn send_rtcp(&mut self, peer: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let mut packet = Vec::new();
        write(&mut packet);
        let mut sealed = self.peers[peer].seal.encrypt_rtcp(&packet).unwrap();
        let from = self.peers[peer].address;
        self.core.datagram(&mut sealed, Path::Udp(from), from, self.now);
        self.take();
    }

    pub fn pli(&mut self, peer: usize, media: u32) {
        self.send_rtcp(peer, |out| {
            rtcp::write_receiver_report(out, 1, &[]);
            rtcp::write_pli(out, 1, media);
        });
    }

    pub fn nack(&mut self, peer: usize, media: u32, lost: &[u16]) {
        self.send_rtcp(peer, |out| {
            rtcp::write_receiver_report(out, 1, &[]);
            rtcp::write_nack(out, 1, media, lost);
        });
    }

    pub fn feed_batch(&mut self, track: TrackKey, batch: Vec<SourcePacket>) {
        self.core.feed(track, batch, self.now);
        self.take();
    }

    pub fn feed(&mut self, track: TrackKey, sequence: u64, timestamp: u32, payload: &[u8]) {
        let packet = SourcePacket::new(sequence, timestamp, true, Bytes::copy_from_slice(payload));
        self.core.feed(track, vec![packet], self.now);
        self.take();
    }

    /// Lets time pass, with everything that is due on the way.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = self.core.poll_timeout().max(self.now + Duration::from_micros(100));
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            self.core.handle_timeout(self.now);
            self.take();
        }
    }

    /// [`Self::advance`], in milliseconds.
    pub fn pass(&mut self, ms: u64) {
        self.advance(Duration::from_millis(ms));
    }

    /// Everything that the core wants to send arrives now.
    fn take(&mut self) {
        loop {
            self.most_queued = self.most_queued.max(self.core.egress.queued_bytes());
            if self.holds {
                return;
            }
            let mut egress = std::mem::take(&mut self.core.egress);
            for way in 0..egress.ways() {
                for datagram in egress.waiting(way) {
                    match egress.way(way).map(|way| way.path) {
                        Some(Path::Udp(to)) => self.arrive(to, datagram),
                        Some(path) => self.elsewhere.push((path, datagram.to_vec())),
                        None => {}
                    }
                }
            }
            egress.clear();
            self.core.egress = egress;
            if !self.core.must_flush() {
                return;
            }
            self.core.go_on(self.now);
        }
    }

    fn arrive(&mut self, to: SocketAddr, datagram: &[u8]) {
        let Some(peer) = self.peers.iter().position(|peer| peer.address == to) else {
            self.others += 1;
            return;
        };
        match classify(datagram) {
            Packet::Rtp => {
                let plain = self.peers[peer].open.decrypt_rtp(datagram).unwrap();
                let view = RtpView::parse(&plain).unwrap();
                self.rtp.push(Got { peer, header: view.header, payload: view.payload.to_vec() });
            }
            Packet::Rtcp => {
                let plain = self.peers[peer].open.decrypt_rtcp(datagram).unwrap();
                let (mut kinds, mut at) = (Vec::new(), 0);
                while let Some(head) = plain.get(at..at + 4) {
                    kinds.push(head[1]);
                    at += 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
                }
                self.compounds.push((peer, kinds));
                let packets = rtcp::parse_compound(&plain).unwrap();
                self.rtcp.extend(packets.into_iter().map(|packet| (peer, packet)));
            }
            _ => self.others += 1,
        }
    }

    /// Forgets what was sent so far.
    pub fn forget(&mut self) {
        self.rtp.clear();
        self.rtcp.clear();
        self.most_queued = 0;
    }

    pub fn plis_to(&self, peer: usize) -> usize {
        self.rtcp.iter().filter(|(to, packet)| *to == peer && matches!(packet, Rtcp::Pli { .. })).count()
    }

    pub fn nacks_to(&self, peer: usize) -> Vec<u16> {
        let asked = self.rtcp.iter().filter(|(to, _)| *to == peer).filter_map(|(_, packet)| match packet {
            Rtcp::Nack { lost, .. } => Some(lost.to_vec()),
            _ => None,
        });
        asked.flatten().collect()
    }

    /// Sequence numbers that a peer got on a stream.
    pub fn sequences(&self, peer: usize, ssrc: u32) -> Vec<u16> {
        self.got(peer, ssrc).iter().map(|got| got.header.sequence).collect()
    }

    pub fn got(&self, peer: usize, ssrc: u32) -> Vec<&Got> {
        self.rtp.iter().filter(|got| got.peer == peer && got.header.ssrc == ssrc).collect()
    }
}

pub fn h264() -> CodecParams {
    CodecParams::h264()
}

/// An IDR picture in one packet; the last byte tells it from others.
pub fn key(number: u8) -> Vec<u8> {
    vec![0x65, 0x88, 0x84, number]
}

/// A picture that needs those before it.
pub fn delta(number: u8) -> Vec<u8> {
    vec![0x41, 0x9a, 0x02, number]
}
