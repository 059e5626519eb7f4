//! A leg that loops and one that writes to ffmpeg, which shows that the shape is enough; and a leg's life.

use super::*;
use crate::ids::RoomName;
use crate::media::{Codec, CodecParams, Kind, Source};
use crate::plain::tests::tools::{Feed, Format, Tool};
use crate::plain::{Carrier, Incoming, PlainPeer};
use crate::ports::PortPool;
use crate::room::{Permission, RoomOptions, Rooms};
use crate::session::plain::{RtpPeer, Trust};
use crate::tap::TapItem;
use crate::tap::units::UnitItem;
use std::io::Write;
use std::process::{Command, Stdio};

fn spec(identity: &str, lifetime: Duration) -> LegSpec {
    LegSpec {
        join: Join { identity: identity.into(), permission: Permission::full(), ..Join::default() },
        owner: Owner::Service("test"),
        protocol: "loop",
        far_end: "回环".into(),
        lifetime,
    }
}

fn open(rooms: &Arc<Rooms>) -> Arc<Room> {
    rooms.open(&RoomName::new(format!("r{}", rand::random::<u32>())), RoomOptions::default)
}

const LONG: Duration = Duration::from_secs(60);

/// Gives back what it takes, as another track.
async fn run_loop(leg: Leg, track: TrackSid) {
    let info = leg.room().track(&track).unwrap();
    let mut taken = leg.take(&Programme::Track(track), Wish::default(), 1024).unwrap();
    leg.set_state(LegState::Live, "");
    let spec = TrackSpec::new(info.spec.source, info.spec.codec.clone());
    let given = leg.give(spec, Keyframes::OnRequest).unwrap();
    let mut items = Vec::new();
    loop {
        tokio::select! {
            more = taken.batch(&mut items) => if !more { return },
            () = given.source().keyframe_wanted() => taken.request_keyframe(),
        }
        let packets = items.drain(..).filter_map(|item| match item {
            TapItem::Packet(packet) => Some(SourcePacket {
                captured: Some(packet.room_ns),
                ..SourcePacket::new(packet.sequence, packet.time as u32, packet.marker, packet.payload)
            }),
            _ => None,
        });
        let packets: Vec<SourcePacket> = packets.collect();
        if !packets.is_empty() {
            assert!(given.write(packets));
        }
    }
}

/// Writes units to ffmpeg until it has taken so many; how many frames, or samples, came out of it.
async fn write_to_ffmpeg(leg: &Leg, track: TrackSid, count: usize) -> usize {
    let codec = leg.room().track(&track).unwrap().spec.codec.codec;
    let arguments = match codec.kind() {
        Kind::Video => "-f h264 -i - -f framemd5 -",
        Kind::Audio => "-f alaw -ar 8000 -i - -f s16le -",
    };
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-xerror"])
        .args(arguments.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = ffmpeg.stdin.take().unwrap();
    let output = std::thread::spawn(move || ffmpeg.wait_with_output().unwrap());
    let mut taken = leg.take_units(&Programme::Track(track), Wish::default(), 1024).unwrap();
    leg.set_state(LegState::Live, "");
    let (mut items, mut units, mut last, mut formats) = (Vec::new(), 0, None, 0);
    while units < count {
        let more = tokio::time::timeout(Duration::from_secs(20), taken.batch(&mut items)).await;
        assert!(more.expect("units come"), "the programme goes on");
        for item in items.drain(..) {
            match item {
                UnitItem::Format(_) => formats += 1,
                UnitItem::Unit(unit) => {
                    assert!(last.is_none_or(|last| unit.room_ns > last), "room time rises");
                    last = Some(unit.room_ns);
                    stdin.write_all(&unit.byte_stream()).unwrap();
                    units += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(formats, 1);
    drop(stdin);
    let output = output.join().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    match codec.kind() {
        Kind::Video => String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.starts_with('#')).count(),
        Kind::Audio => output.stdout.len() / 2,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_that_loops_and_one_that_writes_to_ffmpeg() {
    let rooms = Rooms::for_tests().unwrap();
    let pool = PortPool::new(28_800..=28_831).unwrap();
    for (format, codec) in [(Format::H264, CodecParams::h264()), (Format::Pcma, CodecParams::pcma())] {
        let room = open(&rooms);
        let device = Leg::open(&room, spec("device", LONG)).unwrap();
        let (peer, _events) = PlainPeer::open(&room, device.participant(), &pool, Carrier::Udp).unwrap();
        let nowhere = Some(([127, 0, 0, 1], 9).into());
        peer.set_peer(RtpPeer { rtp: nowhere, trust: Trust::Any, ..RtpPeer::default() }).unwrap();
        let source = if format.is_video() { Source::Camera } else { Source::Microphone };
        let spec_of_track = TrackSpec::new(source, codec);
        let incoming = Incoming { spec: spec_of_track, payload_type: format.payload_type(), nack: false, pli: false };
        let track = peer.receive(incoming).unwrap();
        let mut feed = Feed::new(Tool::Ffmpeg, format, None);
        feed.send(peer.port().unwrap());

        let looping = Leg::open(&room, spec("loop", LONG)).unwrap();
        tokio::spawn(run_loop(looping, track.sid.clone()));
        let looped = loop {
            let found = room.tracks().into_iter().find(|found| found.identity.as_str() == "loop");
            if let Some(found) = found {
                break found.sid.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let writer = Leg::open(&room, spec("writer", LONG)).unwrap();
        let count = 40;
        let came = write_to_ffmpeg(&writer, looped, count).await;
        match format.is_video() {
            true => assert_eq!(came, count),
            false => assert!(came >= count * 160, "{came} samples"),
        }
        let counts = writer.info().counts;
        assert!(counts.taken_packets >= count as u64 && counts.taken_bytes > 0 && counts.missed_packets == 0);
        let legs = room.legs();
        let looping = legs.iter().find(|leg| leg.identity.as_str() == "loop").unwrap();
        assert!(looping.counts.given_packets >= counts.taken_packets && looping.state == LegState::Live);
        assert_eq!(legs.len(), 3);
        rooms.close(room.name(), LeaveReason::RoomClosed);
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), writer.ended()).await.unwrap(), LegEnd::RoomClosed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_ends_once_whoever_ends_it_and_is_out_of_the_room() {
    let rooms = Rooms::for_tests().unwrap();
    let room = open(&rooms);
    let mut events = room.observe();
    let short = Leg::open(&room, spec("short", Duration::from_millis(200))).unwrap();
    let renewed = Leg::open(&room, spec("renewed", Duration::from_millis(200))).unwrap();
    renewed.renew(LONG);
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), short.ended()).await.unwrap(), LegEnd::Deadline);
    assert!(!short.set_state(LegState::Live, ""), "an end is for good");
    assert_eq!(short.take(&Programme::Track("TR_none".into()), Wish::default(), 16).err(), Some(TakeError::Ended));

    assert!(renewed.set_state(LegState::Ringing, "180"));
    assert!(renewed.set_state(LegState::Live, "200"));
    assert!(!renewed.set_state(LegState::Dialing, ""), "nobody dials what is live");
    assert_eq!((renewed.info().state, renewed.info().detail.as_str()), (LegState::Live, "200"));
    room.remove(&"renewed".into()).unwrap();
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), renewed.ended()).await.unwrap(), LegEnd::Removed);

    let hung_up = Leg::open(&room, spec("far", LONG)).unwrap();
    hung_up.set_state(LegState::Ended(LegEnd::FarEnd), "BYE");
    let dropped = Leg::open(&room, spec("dropped", LONG)).unwrap();
    drop(dropped);
    let gone = async {
        while !room.legs().is_empty() || !room.participants().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let RoomEvent::Leg(leg) = event
            && leg.identity.as_str() == "renewed"
        {
            told.push(leg.state);
        }
    }
    told.dedup();
    let ended = LegState::Ended(LegEnd::Removed);
    assert_eq!(told, [LegState::Dialing, LegState::Ringing, LegState::Live, ended]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_that_is_held_takes_nothing_and_goes_on_with_a_keyframe() {
    let rooms = Rooms::for_tests().unwrap();
    let room = open(&rooms);
    let camera = room.join(spec("camera", LONG).join).unwrap();
    let track = TrackSpec::new(Source::Camera, CodecParams { codec: Codec::H264, ..CodecParams::h264() });
    let source = room.publish(&camera.info.sid, track, Keyframes::OnRequest).unwrap();
    let leg = Leg::open(&room, spec("leg", LONG)).unwrap();
    let mut taken = leg.take(&Programme::Track(source.info().sid.clone()), Wish::default(), 64).unwrap();
    leg.set_state(LegState::Live, "");
    let mut next = 0u64;
    let mut write = |key: bool| {
        let payload: &'static [u8] = if key { &[0x65, 0x88, 0x84] } else { &[0x41, 0x9a, 0x02] };
        source.write(vec![SourcePacket::new(next, next as u32 * 3000, true, payload.into())]);
        next += 1;
    };
    let mut items = Vec::new();
    let mut packets = async |taken: &mut PacketIntake, wait: u64| {
        let _ =
            tokio::time::timeout(Duration::from_millis(wait), async { while taken.batch(&mut items).await {} }).await;
        let kinds = items.drain(..).filter_map(|item| match item {
            TapItem::Packet(packet) => Some(packet.payload[0]),
            _ => None,
        });
        kinds.collect::<Vec<u8>>()
    };
    write(true);
    write(false);
    assert_eq!(packets(&mut taken, 300).await, [0x65, 0x41]);
    leg.set_state(LegState::Held, "");
    packets(&mut taken, 200).await;
    write(false);
    write(true);
    assert_eq!(packets(&mut taken, 200).await, [0; 0]);
    leg.set_state(LegState::Live, "");
    packets(&mut taken, 200).await;
    write(false);
    write(true);
    write(false);
    assert_eq!(packets(&mut taken, 300).await, [0x65, 0x41]);
    drop(leg);
    let mut rest = Vec::new();
    let ended = async { while taken.batch(&mut rest).await {} };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("it ends with its leg");
}
