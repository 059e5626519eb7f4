//! Tracks that adapters feed.

use super::{delta, key};
use crate::media::{Keyframes, MAX_FED_PAYLOAD, Source};
use crate::shard::rig::{Rig, h264};
use crate::shard::{Command, SourceFeed, TrackConfig, TrackKey};
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
