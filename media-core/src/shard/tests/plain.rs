//! Peers of plain RTP on the shard, in virtual time.

use super::super::rig::PT;
use super::super::{
    ExtensionIds, PayloadMap, PeerConfig, ReceiveSection, SendSection, SessionInit, SourceFeed, SubKey, TrackConfig,
    TrackKey, TransportConfig, TransportInit, TransportKey,
};
use super::fed::asked;
use super::*;
use crate::ids::ParticipantSid;
use crate::media::{Kind, Source};
use crate::rtp::packet::{Kind as Packet, RtpHeader, RtpView, classify, write_header};
use crate::session::plain::{LocalPorts, RtpPeer};
use crate::session::{Path, PortKey};
use std::sync::Arc;
use tokio::sync::mpsc;

struct Plain {
    key: TransportKey,
    rtp: PortKey,
    rtcp: PortKey,
    config: TransportConfig,
    events: mpsc::UnboundedReceiver<super::super::TransportEvent>,
}

fn signalled() -> RtpPeer {
    RtpPeer { rtp: Some(address(7000)), ..RtpPeer::default() }
}

fn address(port: u16) -> SocketAddr {
    ([10, 9, 9, 9], port).into()
}

fn plain(rig: &mut Rig, local: impl Fn(PortKey, PortKey) -> LocalPorts) -> Plain {
    let (key, rtp, rtcp) = (TransportKey::next(), PortKey::next(), PortKey::next());
    let (sender, events) = mpsc::unbounded_channel();
    let session = SessionInit::Rtp(local(rtp, rtcp));
    let init = TransportInit { room: rig.room, participant: ParticipantSid::random(), events: sender, session };
    rig.command(Command::AddTransport { key, init });
    let config = TransportConfig {
        peer: PeerConfig::Rtp(signalled()),
        extensions: ExtensionIds::default(),
        receive: Vec::new(),
        send: Vec::new(),
    };
    Plain { key, rtp, rtcp, config, events }
}

fn udp(rtp: PortKey, rtcp: PortKey) -> LocalPorts {
    LocalPorts::Udp { rtp, rtcp: Some(rtcp) }
}

impl Plain {
    fn tell(&self, rig: &mut Rig) {
        rig.command(Command::Configure { key: self.key, config: Arc::new(self.config.clone()) });
    }

    /// It sends this track, and takes picture loss indications or not.
    fn publishes(&mut self, rig: &mut Rig, track: TrackKey, pli: bool) {
        self.config.receive.push(ReceiveSection {
            mid: "in".into(),
            kind: Kind::Video,
            track: Some(track),
            payloads: vec![PayloadMap::Media { pt: PT }],
            rids: Vec::new(),
            ssrcs: Vec::new(),
            nack: false,
            pli,
        });
        self.tell(rig);
    }

    fn subscribes(&mut self, rig: &mut Rig, track: TrackKey, ssrc: u32) {
        let sub = SubKey::next();
        rig.command(Command::AddSub { track, sub });
        self.config.send.push(SendSection {
            mid: String::new(),
            track,
            sub,
            ssrc,
            rtx_ssrc: ssrc,
            pt: PT,
            rtx_pt: None,
            red_pt: None,
        });
        self.tell(rig);
    }

    fn sends(&self, rig: &mut Rig, sequence: u16, payload: &[u8]) {
        rig.comes(Path::Port(self.rtp, address(7000)), rtp(sequence, payload));
    }

    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|event| format!("{event:?}")).collect()
    }
}

fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let timestamp = u32::from(sequence) * 3000;
    let header = RtpHeader { marker: true, payload_type: PT, sequence, timestamp, ssrc: 77, csrc_count: 0 };
    write_header(&mut out, &header, &[]);
    out.extend_from_slice(payload);
    out
}

fn asks(rig: &mut Rig) -> (TrackKey, Arc<SourceFeed>) {
    let (key, ask) = (TrackKey::next(), Arc::new(SourceFeed::default()));
    let config = TrackConfig {
        room: Some(rig.room),
        source: Source::Camera,
        codec: h264(),
        layers: 1,
        muted: false,
        keyframes: Keyframes::OnRequest,
        feed: None,
        device: Default::default(),
        ask: Some(ask.clone()),
    };
    rig.command(Command::AddTrack { key, config });
    (key, ask)
}

/// The types of the RTCP packets that went by this path.
fn compounds(rig: &Rig, path: Path) -> Vec<Vec<u8>> {
    let came = rig.elsewhere.iter().filter(|(to, bytes)| *to == path && classify(bytes) == Packet::Rtcp);
    came.map(|(_, bytes)| {
        let (mut kinds, mut at) = (Vec::new(), 0);
        while let Some(head) = bytes.get(at..at + 4) {
            kinds.push(head[1]);
            at += 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        }
        assert_eq!(at, bytes.len());
        rtcp::parse_compound(bytes).unwrap();
        kinds
    })
    .collect()
}

const RECEIVER_REPORT: u8 = 201;
const SENDER_REPORT: u8 = 200;
const DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const PAYLOAD_FEEDBACK: u8 = 206;

#[test]
fn a_track_of_a_plain_peer_is_watched_and_keyframes_are_asked_for_the_peers_way() {
    for pli in [false, true] {
        let mut rig = Rig::new();
        let (track, ask) = asks(&mut rig);
        let mut camera = plain(&mut rig, udp);
        camera.publishes(&mut rig, track, pli);
        let viewer = rig.peer(true);
        rig.subscribes(viewer, track, 5000);
        camera.sends(&mut rig, 1, &delta(1));
        assert_eq!(camera.events(), ["Connected"]);
        assert_eq!(asked(&ask), !pli);
        let reports = Path::Port(camera.rtcp, address(7001));
        let picture_lost = vec![RECEIVER_REPORT, DESCRIPTION, PAYLOAD_FEEDBACK];
        assert_eq!(compounds(&rig, reports), if pli { vec![picture_lost] } else { vec![] });
        camera.sends(&mut rig, 2, &key(1));
        camera.sends(&mut rig, 3, &delta(2));
        assert_eq!(rig.got(viewer, 5000).len(), 2);
        rig.elsewhere.clear();
        rig.pass(1_500);
        assert_eq!(compounds(&rig, reports), [[RECEIVER_REPORT, DESCRIPTION]]);
        rig.pass(6_000);
        assert_eq!(camera.events(), ["Disconnected"]);
        rig.command(Command::RemoveTransport { key: camera.key });
        assert_eq!(rig.core.lost_ports, [camera.rtp, camera.rtcp]);
        camera.sends(&mut rig, 4, &key(2));
        assert_eq!(rig.core.stats.garbage, 1, "nobody's any more");
    }
}

#[test]
fn a_plain_peer_receives_a_track_with_reports_and_a_goodbye() {
    let mut rig = Rig::new();
    let track = rig.track(h264(), 1, Keyframes::OnRequest);
    let anna = rig.peer(false);
    rig.publishes(anna, track, 1);
    let mut room = plain(&mut rig, udp);
    room.subscribes(&mut rig, track, 6000);
    rig.pass(100);
    for number in 0..20 {
        rig.send(anna, 100 + number, u32::from(number) * 3000, &if number == 0 { key(1) } else { delta(number as u8) });
        rig.pass(100);
    }
    let media: Vec<RtpHeader> = rig
        .elsewhere
        .iter()
        .filter(|(path, bytes)| *path == Path::Port(room.rtp, address(7000)) && classify(bytes) == Packet::Rtp)
        .map(|(_, bytes)| RtpView::parse(bytes).unwrap().header)
        .collect();
    assert_eq!(media.len(), 20);
    assert!(media.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
    assert!(media.iter().all(|header| (header.ssrc, header.payload_type) == (6000, PT)));
    // Nothing was heard of it, and RTCP goes beside RTP.
    let reports = Path::Port(room.rtcp, address(7001));
    rig.pass(5_000);
    assert!(compounds(&rig, reports).contains(&vec![SENDER_REPORT, DESCRIPTION]), "{:?}", compounds(&rig, reports));
    rig.elsewhere.clear();
    rig.command(Command::RemoveTransport { key: room.key });
    assert_eq!(compounds(&rig, reports), [[RECEIVER_REPORT, DESCRIPTION, BYE]]);
}

#[test]
fn a_frame_too_large_for_a_datagram_reaches_those_who_read_in_the_house() {
    let mut rig = Rig::new();
    let (track, _ask) = asks(&mut rig);
    let mut camera = plain(&mut rig, |rtp, _| LocalPorts::Tcp(rtp));
    camera.publishes(&mut rig, track, true);
    rig.core.port_connected(camera.rtp, Path::Tcp(9), address(9), rig.now);
    rig.core.port_connected(PortKey::next(), Path::Tcp(10), address(9), rig.now);
    assert_eq!(rig.core.lost_paths, [Path::Tcp(10)], "of a session that is gone");
    let viewer = rig.peer(true);
    rig.subscribes(viewer, track, 5000);
    let (_, mut tap) = rig.tap(track, 64);
    let large = [key(1), vec![9; 30_000]].concat();
    for (sequence, payload) in [(1, key(1)), (2, large), (3, key(2))] {
        rig.comes(Path::Tcp(9), rtp(sequence, &payload));
    }
    let sequences = rig.sequences(viewer, 5000);
    assert_eq!((sequences.len(), sequences[1].wrapping_sub(sequences[0])), (2, 2), "a gap where it was");
    let lengths: Vec<usize> = std::iter::from_fn(|| tap.try_next())
        .filter_map(|item| match item {
            TapItem::Packet(packet) => Some(packet.payload.len()),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [key(1).len(), key(1).len() + 30_000, key(2).len()]);
    assert_eq!(rig.core.stats.feed_oversized, 1);
    rig.core.lose_path(Path::Tcp(9));
    assert_eq!(camera.events(), ["Connected", "Disconnected"]);
    rig.core.port_failed(camera.rtp, "no TCP connection".into());
    assert_eq!(camera.events(), ["Failed(\"no TCP connection\")"]);
}

#[test]
fn connectivity_checks_and_handshakes_at_a_sessions_own_port_are_not_answered() {
    let mut rig = Rig::new();
    let anna = rig.peer(false);
    let camera = plain(&mut rig, udp);
    camera.tell(&mut rig);
    let local = rig.peers[anna].local.clone();
    let check = crate::session::ice::testing::request(&local, &local.password, true);
    rig.comes(Path::Port(camera.rtp, address(7000)), check);
    rig.comes(Path::Port(camera.rtp, address(7000)), vec![22, 254, 253, 0, 0]);
    assert_eq!((rig.elsewhere.len(), rig.core.stats.garbage), (0, 2));
    assert!(rig.core.paths.len() == 1, "anna is where she was");
}
