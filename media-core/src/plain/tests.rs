//! Peers that others wrote: ffmpeg and GStreamer send a track into a room, and receive it from there.

pub(crate) mod tools;

use super::*;
use crate::ids::RoomName;
use crate::media::{CodecParams, Source};
use crate::room::{Join, Membership, Permission, RoomOptions, Rooms};
use std::time::Duration;
use tools::{Feed, Format, Player, Tool};

const LOCALHOST: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn at(port: u16) -> Option<SocketAddr> {
    Some((LOCALHOST, port).into())
}

/// A room with a participant that sends and one that receives, each over sessions of plain RTP.
struct Bridge {
    room: Arc<Room>,
    from: ParticipantSid,
    to: ParticipantSid,
    _members: [Membership; 2],
}

fn bridge(rooms: &Arc<Rooms>) -> Bridge {
    let room = rooms.open(&RoomName::new(format!("r{}", rand::random::<u32>())), RoomOptions::default);
    let join = |name: &str| {
        let join = Join { identity: name.into(), permission: Permission::full(), ..Join::default() };
        room.join(join).unwrap()
    };
    let members = [join("device"), join("terminal")];
    let [from, to] = members.each_ref().map(|member| member.info.sid.clone());
    Bridge { room, from, to, _members: members }
}

fn params(format: Format) -> CodecParams {
    match format {
        Format::H264 => CodecParams::h264(),
        Format::H265 => CodecParams::video(Codec::H265),
        Format::Opus => CodecParams::opus(),
        Format::Pcma => CodecParams::pcma(),
        Format::Pcmu => CodecParams::pcmu(),
    }
}

fn incoming(format: Format) -> Incoming {
    let source = if format.is_video() { Source::Camera } else { Source::Microphone };
    let spec = TrackSpec::new(source, params(format));
    Incoming { spec, payload_type: format.payload_type(), nack: false, pli: false }
}

/// What is signalled between two ends: where the other is, and keys.
#[derive(Clone, Copy)]
struct Line {
    send: Tool,
    receive: Tool,
    format: Format,
    carrier_in: Way,
    carrier_out: Way,
    suite: Option<crate::session::srtp::Suite>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Udp,
    Mux,
    /// We wait for the connection.
    Passive,
    /// We connect.
    Active,
}

fn line(send: Tool, receive: Tool, format: Format) -> Line {
    Line { send, receive, format, carrier_in: Way::Udp, carrier_out: Way::Udp, suite: None }
}

fn keys(suite: crate::session::srtp::Suite) -> SdesKeys {
    let length = suite.key_length() + suite.salt_length();
    let key = |first: u8| (0..length).map(|at| first + at as u8).collect();
    SdesKeys { suite, local: key(1), remote: key(101) }
}

/// Media goes from one tool through a room to the other, and arrives.
async fn passes(rooms: &Arc<Rooms>, pool: &Arc<PortPool>, line: Line) {
    let bridge = bridge(rooms);
    let keys = line.suite.map(keys);
    // The one who sends.
    let their_port = tools::free_port();
    let carrier = |way: Way, their_port: u16| match way {
        Way::Udp => Carrier::Udp,
        Way::Mux => Carrier::UdpMux,
        Way::Passive => Carrier::TcpPassive,
        Way::Active => Carrier::TcpActive(at(their_port).unwrap()),
    };
    let mut feed = Feed::new(line.send, line.format, keys.clone());
    if line.carrier_in == Way::Active {
        feed.listen(their_port);
        tools::listens(their_port).await;
    }
    let (device, mut events) =
        PlainPeer::open(&bridge.room, &bridge.from, pool, carrier(line.carrier_in, their_port)).unwrap();
    let trust = if line.carrier_in == Way::Udp { Trust::Any } else { Trust::Host };
    device.set_peer(RtpPeer { rtp: at(9), trust, keys: keys.clone(), ..RtpPeer::default() }).unwrap();
    let track = device.receive(incoming(line.format)).unwrap();

    // The one who receives.
    let their_port = tools::free_port();
    let mut player = Player::new(line.receive, line.format, keys.clone());
    if line.carrier_out == Way::Active {
        player.serve(their_port).await;
    }
    let (terminal, _events) =
        PlainPeer::open(&bridge.room, &bridge.to, pool, carrier(line.carrier_out, their_port)).unwrap();
    terminal.set_peer(RtpPeer { rtp: at(their_port), keys, ..RtpPeer::default() }).unwrap();
    let ssrc = terminal.send(&track.sid, line.format.payload_type(), params(line.format).codec).unwrap();
    match line.carrier_out {
        Way::Active => {}
        Way::Passive => player.connect(terminal.port().unwrap()),
        Way::Udp | Way::Mux => player.listen(their_port, ssrc, terminal.rtcp_port()).await,
    }
    match line.carrier_in {
        Way::Active => {}
        Way::Passive => feed.connect(device.port().unwrap()),
        Way::Udp | Way::Mux => feed.send(device.port().unwrap()),
    }
    let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
    assert!(matches!(event, Ok(Some(TransportEvent::Connected))), "{}: {event:?}\n{}", line.format.name(), feed.said());
    player.finished().await;
    drop((device, terminal));
}

async fn all_pass(lines: Vec<Line>, range: std::ops::RangeInclusive<u16>) {
    let rooms = Rooms::for_tests().unwrap();
    let pool = PortPool::new(range).unwrap();
    let pairs = pool.free();
    // Two at a time: the encoders need the processor, too.
    for some in lines.chunks(2) {
        let mut running = tokio::task::JoinSet::new();
        for line in some.iter().copied() {
            let (rooms, pool) = (rooms.clone(), pool.clone());
            running.spawn(async move { passes(&rooms, &pool, line).await });
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
    }
    for _ in 0..100 {
        if pool.free() == pairs {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} of {pairs} pairs of ports were returned", pool.free());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_no_connection_is_told_and_nothing_is_left() {
    let rooms = Rooms::for_tests().unwrap();
    let pool = PortPool::new(42_600..=42_601).unwrap();
    let bridge = bridge(&rooms);
    let nobody = tools::free_port();
    let (peer, mut events) =
        PlainPeer::open(&bridge.room, &bridge.from, &pool, Carrier::TcpActive(at(nobody).unwrap())).unwrap();
    let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap();
    let TransportEvent::Failed(why) = event else { panic!("{event:?}") };
    assert!(why.starts_with(&format!("no TCP connection to 127.0.0.1:{nobody}: Connection refused")), "{why}");
    drop(peer);
    let (passive, _events) = PlainPeer::open(&bridge.room, &bridge.from, &pool, Carrier::TcpPassive).unwrap();
    let full = PlainPeer::open(&bridge.room, &bridge.from, &pool, Carrier::Udp).err().unwrap().to_string();
    assert_eq!(full, "all 1 pairs of ports 42600 to 42601 are in use or resting");
    let mut strangers = Vec::new();
    while rooms.shard_stats().await[0].tcp_connections < 4 {
        strangers.push(std::net::TcpStream::connect(("127.0.0.1", passive.port().unwrap())).unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..20 {
        strangers.push(std::net::TcpStream::connect(("127.0.0.1", passive.port().unwrap())).unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rooms.shard_stats().await[0].tcp_connections, 4, "the newest four");
    drop(passive);
    for _ in 0..200 {
        let stats = &rooms.shard_stats().await[0];
        if (stats.transports, stats.tcp_connections) == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("something is left: {:?}", rooms.shard_stats().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_and_gstreamer_send_and_receive_over_udp() {
    use Format::{H264, H265, Opus, Pcma, Pcmu};
    use Tool::{Ffmpeg, Gst};
    let mut lines = vec![
        line(Ffmpeg, Ffmpeg, H264),
        line(Gst, Gst, Opus),
        line(Ffmpeg, Gst, H265),
        line(Gst, Ffmpeg, Pcma),
        line(Gst, Ffmpeg, H265),
        line(Ffmpeg, Gst, Opus),
        line(Gst, Ffmpeg, H264),
        line(Ffmpeg, Gst, Pcmu),
    ];
    lines[1].carrier_in = Way::Mux;
    lines[3].carrier_out = Way::Mux;
    all_pass(lines, 42_000..=42_199).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gstreamer_sends_and_receives_over_tcp_whoever_connects() {
    use Format::{H264, H265, Opus, Pcma};
    let mut lines: Vec<Line> =
        [H264, Opus, H265, Pcma].into_iter().map(|format| line(Tool::Gst, Tool::Gst, format)).collect();
    let ways = [(Way::Passive, Way::Active), (Way::Active, Way::Passive)];
    for (line, (carrier_in, carrier_out)) in lines.iter_mut().zip(ways.into_iter().cycle()) {
        (line.carrier_in, line.carrier_out) = (carrier_in, carrier_out);
    }
    all_pass(lines, 42_200..=42_299).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdes_keys_are_understood_by_gstreamer_and_ffmpeg() {
    use crate::session::srtp::Suite;
    use Format::{H264, Opus, Pcma};
    use Tool::{Ffmpeg, Gst};
    let mut lines = vec![
        line(Gst, Gst, H264),
        line(Ffmpeg, Ffmpeg, Opus),
        line(Gst, Gst, Opus),
        line(Gst, Gst, Pcma),
        line(Gst, Gst, H264),
        line(Gst, Ffmpeg, Pcma),
    ];
    let suites = [
        Suite::Aes128CmSha1_80,
        Suite::Aes128CmSha1_80,
        Suite::AeadAes128Gcm,
        Suite::Aes128CmSha1_32,
        Suite::AeadAes256Gcm,
        Suite::Aes128CmSha1_32,
    ];
    for (line, suite) in lines.iter_mut().zip(suites) {
        line.suite = Some(suite);
    }
    all_pass(lines, 42_300..=42_399).await;
}
