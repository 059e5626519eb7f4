//! Streams that are fed once and are in many rooms.

use super::*;
use crate::media::Source;
use crate::shard::{ShardConfig, ShardHandle};
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

fn shard(name: &str) -> ShardHandle {
    ShardHandle::start(ShardConfig {
        name: name.into(),
        udp_port: 0,
        tcp_port: None,
        advertise: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        gop_cache_bytes: 16 << 20,
        gop_cache_duration: Duration::from_secs(10),
        core: None,
        on_thread: None,
    })
    .unwrap()
}

/// A camera in so many rooms of two shards.
struct Scene {
    rooms: Arc<Rooms>,
    open: Vec<Arc<Room>>,
    members: Vec<Membership>,
    source: StreamSource,
    tracks: Vec<Publication>,
    next: u64,
}

impl Scene {
    fn new(count: usize) -> Self {
        let rooms = Rooms::new(vec![shard("one"), shard("two")]);
        let source = rooms.source(Source::Camera, CodecParams::h264(), 1, Keyframes::Cached, Arc::default());
        let mut scene = Self { rooms, open: Vec::new(), members: Vec::new(), source, tracks: Vec::new(), next: 100 };
        (0..count).for_each(|_| scene.enter());
        scene
    }

    fn enter(&mut self) {
        let name = RoomName::new(format!("r{}", self.open.len()));
        let room = self.rooms.open(&name, RoomOptions::default);
        let member = room.join(person("camera")).unwrap();
        let spec = TrackSpec::new(Source::Camera, CodecParams::h264());
        self.tracks.push(room.publish_source(&member.info.sid, spec, &self.source).unwrap());
        self.members.push(member);
        self.open.push(room);
    }

    fn tap(&self, room: usize) -> Tap {
        let track = &self.tracks[room].info().sid;
        self.open[room].tap(&Holder::Service("test"), track, 64).unwrap()
    }

    fn write(&mut self, key: bool) {
        let payload: &[u8] = if key { &[0x65, 0x88, 0x84] } else { &[0x41, 0x9a, 0x02] };
        let payload = [payload, &[self.next as u8]].concat();
        let packet = SourcePacket::new(self.next, self.next as u32 * 3000, true, Bytes::from(payload));
        assert!(self.source.write(vec![packet]));
        self.next += 1;
    }
}

/// The pictures that wait, when so many have come.
async fn pictures(tap: &mut Tap, count: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < count {
        let item = tokio::time::timeout(Duration::from_secs(5), tap.next()).await.unwrap();
        if let Some(TapItem::Packet(packet)) = item {
            got.push(*packet.payload.last().unwrap());
        }
    }
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_in_twenty_rooms_is_one_track_a_shard_with_one_cache() {
    let mut scene = Scene::new(19);
    scene.write(true);
    scene.write(false);
    scene.enter();
    scene.write(false);
    let stats = scene.rooms.shard_stats().await;
    assert_eq!(stats.iter().map(|shard| shard.tracks).collect::<Vec<_>>(), [1, 1]);
    let mut taps: Vec<Tap> = (0..20).map(|room| scene.tap(room)).collect();
    for tap in &mut taps {
        assert_eq!(pictures(tap, 3).await, [100, 101, 102], "late, and from the keyframe on");
    }
    let mut nobodys = scene.source.tap(64);
    scene.write(false);
    for tap in &mut taps {
        assert_eq!(pictures(tap, 1).await, [103]);
    }
    let mut last = 0;
    while last != 103 {
        let item = tokio::time::timeout(Duration::from_secs(5), nobodys.next()).await.unwrap();
        if let Some(TapItem::Packet(packet)) = item {
            last = packet.payload[3];
        }
    }
    // It leaves one room, and then ends.
    drop(scene.tracks.remove(7));
    let mut left = taps.remove(7);
    assert!(tokio::time::timeout(Duration::from_secs(5), left.next()).await.unwrap().is_none());
    scene.write(false);
    for tap in &mut taps {
        assert_eq!(pictures(tap, 1).await, [104]);
    }
    let Scene { source, tracks, rooms, .. } = scene;
    drop(source);
    for tap in &mut taps {
        assert!(tokio::time::timeout(Duration::from_secs(5), tap.next()).await.unwrap().is_none());
    }
    drop(tracks);
    assert_eq!(rooms.shard_stats().await.iter().map(|shard| shard.tracks).sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_in_one_room_is_none_in_the_others_and_what_was_sent_meanwhile_is_not_shown_later() {
    let mut scene = Scene::new(3);
    let mut taps: Vec<Tap> = (0..3).map(|room| scene.tap(room)).collect();
    scene.write(true);
    for tap in &mut taps {
        assert_eq!(pictures(tap, 1).await, [100]);
    }
    let (room, muted) = (scene.open[1].clone(), scene.tracks[1].info().sid.clone());
    room.set_muted(&muted, true).unwrap();
    // The shards' threads must have heard of it.
    scene.rooms.shard_stats().await;
    scene.write(true);
    scene.write(false);
    assert_eq!(pictures(&mut taps[0], 2).await, [101, 102]);
    room.set_muted(&muted, false).unwrap();
    scene.rooms.shard_stats().await;
    scene.write(false);
    scene.write(true);
    assert_eq!(pictures(&mut taps[0], 2).await, [103, 104]);
    assert_eq!(pictures(&mut taps[2], 4).await, [101, 102, 103, 104]);
    assert_eq!(pictures(&mut taps[1], 1).await, [104]);

    // Nor to who comes later.
    room.set_muted(&muted, true).unwrap();
    scene.rooms.shard_stats().await;
    scene.write(true);
    scene.write(false);
    assert_eq!(pictures(&mut taps[0], 2).await, [105, 106]);
    room.set_muted(&muted, false).unwrap();
    let mut late = scene.tap(1);
    scene.rooms.shard_stats().await;
    scene.write(false);
    scene.write(true);
    assert_eq!(pictures(&mut late, 1).await, [108]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_knows_whether_anybody_wants_it_in_whichever_room() {
    let scene = Scene::new(4);
    let mut wanted = scene.source.wanted();
    assert_eq!(*wanted.borrow_and_update(), [false; 3]);
    let (first, second) = (scene.tap(0), scene.tap(1));
    let told = tokio::time::timeout(Duration::from_secs(5), wanted.wait_for(|wanted| wanted[0])).await;
    assert_eq!(*told.unwrap().unwrap(), [true, false, false]);
    drop(first);
    second.want(Wish { paused: true, ..Wish::default() });
    let told = tokio::time::timeout(Duration::from_secs(9), wanted.wait_for(|wanted| !wanted[0])).await;
    assert_eq!(*told.unwrap().unwrap(), [false; 3]);
    drop(second);
    let _snapshot = scene.source.tap(16);
    let told = tokio::time::timeout(Duration::from_secs(5), wanted.wait_for(|wanted| wanted[0])).await;
    assert!(told.unwrap().unwrap()[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_is_held_stays_open_with_nobody_in_it() {
    let rooms = Rooms::for_tests().unwrap();
    let room = open(&rooms, 0);
    let first = room.hold().unwrap();
    let second = room.hold().unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    drop(first);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(rooms.find(room.name()).is_some() && room.is_held());
    drop(second);
    assert!(!room.is_held());
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(rooms.find(room.name()).is_none());
    assert_eq!(room.hold().err(), Some(RoomError::Closed));
}
