//! Tracks that adapters feed.

use super::{delta, key};
use crate::media::{Keyframes, MAX_FED_PAYLOAD, Source, SourcePacket};
use crate::shard::rig::{Rig, h264};
use crate::shard::{Command, SourceFeed, TrackConfig, TrackKey};
use crate::tap::{TapItem, TapReader};
use std::sync::Arc;
use tokio::sync::futures::Notified;

fn track(rig: &mut Rig, keyframes: Keyframes) -> (TrackKey, Arc<SourceFeed>) {
    let (key, feed) = (TrackKey::next(), Arc::new(SourceFeed::default()));
    let config = TrackConfig {
        room: Some(rig.room),
        source: Source::Camera,
        codec: h264(),
        layers: 1,
        muted: false,
        keyframes,
        feed: Some(feed.clone()),
        device: Default::default(),
        ask: None,
    };
    rig.command(Command::AddTrack { key, config });
    (key, feed)
}

/// Whether the adapter has been asked since the last time.
pub(super) fn asked(feed: &SourceFeed) -> bool {
    let notified: Notified<'_> = feed.keyframe.notified();
    let mut notified = std::pin::pin!(notified);
    notified.as_mut().enable()
}

#[test]
fn a_request_to_an_adapter_that_was_too_soon_is_made_later_unless_a_keyframe_came() {
    for answered in [false, true] {
        let mut rig = Rig::new();
        let (track, feed) = track(&mut rig, Keyframes::OnRequest);
        rig.feed(track, 0, 0, &key(0));
        let viewer = rig.peer(true);
        rig.subscribes(viewer, track, 5000);
        assert!(asked(&feed));
        rig.feed(track, 1, 3000, &key(1));
        rig.pass(100);
        rig.pli(viewer, 5000);
        assert!(!asked(&feed), "held back");
        if answered {
            rig.feed(track, 2, 6000, &key(2));
        }
        rig.pass(500);
        assert_eq!(asked(&feed), !answered);
        rig.pass(5000);
        assert!(!asked(&feed));
    }
}

#[test]
fn a_packet_too_long_for_a_datagram_is_dropped_counted_and_its_picture_with_it() {
    let mut rig = Rig::new();
    let (track, _) = track(&mut rig, Keyframes::OnRequest);
    let viewer = rig.peer(true);
    rig.subscribes(viewer, track, 5000);
    let long = |mut payload: Vec<u8>, length: usize| {
        payload.resize(length, 0);
        payload
    };
    rig.feed(track, 0, 0, &long(key(0), MAX_FED_PAYLOAD));
    rig.feed(track, 1, 3000, &long(delta(1), MAX_FED_PAYLOAD + 1));
    rig.feed(track, 2, 6000, &delta(2));
    rig.feed(track, 3, 9000, &key(3));
    let got: Vec<u8> = rig.got(viewer, 5000).iter().map(|got| got.payload[3]).collect();
    assert_eq!(got, [0, 3], "not what refers to the picture that is missing");
    assert_eq!(rig.core.snapshot().feed_oversized, 1);
}

#[test]
fn a_fed_track_in_layers_has_a_group_of_each_and_readers_move_between_them() {
    let mut rig = Rig::new();
    let (key_of, feed) = layered(&mut rig);
    let write = |rig: &mut Rig, layer: usize, sequence: u64, keyframe: bool| {
        let payload = if keyframe { key(layer as u8) } else { delta(layer as u8) };
        let timestamp = sequence as u32 * 3600 + layer as u32 * 1_000_000;
        let packet = SourcePacket { layer, ..SourcePacket::new(sequence, timestamp, true, payload.into()) };
        rig.feed_batch(key_of, vec![packet]);
    };
    for n in 0..10 {
        write(&mut rig, 0, n, n == 0);
        write(&mut rig, 1, 500 + n, n == 0);
        rig.pass(40);
    }
    let (sub, mut tap) = rig.tap(key_of, 100);
    rig.pass(10);
    assert_eq!(*feed.wanted.borrow(), [true, true, false]);
    let (layer, layers) = read_layers(&mut tap);
    assert_eq!((layer, layers.as_slice()), (Some(1), &[1; 10][..]), "the best one's group");
    rig.command(Command::Want { track: key_of, sub, layer: 0, paused: false });
    write(&mut rig, 1, 510, false);
    write(&mut rig, 0, 10, true);
    write(&mut rig, 1, 511, false);
    write(&mut rig, 0, 11, false);
    let (layer, layers) = read_layers(&mut tap);
    assert_eq!((layer, layers.as_slice()), (Some(0), &[1, 0, 0][..]));
    // A hole in one layer is none in the other.
    write(&mut rig, 1, 600, false);
    write(&mut rig, 0, 12, false);
    assert_eq!(read_layers(&mut tap).1, [0]);
    rig.pass(4_000);
    write(&mut rig, 0, 13, false);
    assert_eq!(*feed.wanted.borrow(), [true, false, false], "after a while");
}

fn layered(rig: &mut Rig) -> (TrackKey, Arc<SourceFeed>) {
    let (key, feed) = (TrackKey::next(), Arc::new(SourceFeed::default()));
    let config = TrackConfig {
        room: None,
        source: Source::Camera,
        codec: h264(),
        layers: 2,
        muted: false,
        keyframes: Keyframes::Cached,
        feed: Some(feed.clone()),
        device: Default::default(),
        ask: None,
    };
    rig.command(Command::AddTrack { key, config });
    (key, feed)
}

/// The layer that was told of last, and that of each picture.
fn read_layers(tap: &mut TapReader) -> (Option<usize>, Vec<u8>) {
    let (mut told, mut pictures) = (None, Vec::new());
    while let Some(item) = tap.try_next() {
        match item {
            TapItem::Layer(layer) => told = Some(layer),
            TapItem::Packet(packet) => pictures.push(*packet.payload.last().unwrap()),
            _ => {}
        }
    }
    (told, pictures)
}
