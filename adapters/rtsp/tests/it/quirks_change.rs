//! Streams that change under way without a word.

use crate::coded::{STEP, Viewer, media, pictures};
use crate::script::{Rtp, SDP, Script, Scripted};
use crate::support::{Site, next, track, wait_for};
use rongtong_media_core::media::{Codec, Kind};
use rongtong_media_core::room::{Holder, RoomEvent, TapItem};
use serde_json::json;

/// A viewer hears every packet from before the change, which comes with the 40th, to well behind
/// it, once and in time, in one session.
async fn goes_on(transport: &str, reason: &str, payload_type: u8, change: fn(Rtp) -> Rtp) {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let usual = move |rtp| Rtp { payload_type, ..rtp };
    let rtp = Box::new(move |number, rtp| if number < 40 { usual(rtp) } else { change(usual(rtp)) });
    let sdp = SDP.replace("AVP 8", &format!("AVP {payload_type}")).replace("map:8 ", &format!("map:{payload_type} "));
    let camera = Scripted::start(Script { rtp, sdp: sdp.into(), ..Script::default() }).await;
    let id = site.add(&camera.url(), json!({ "transport": transport })).await;
    let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
    site.reaches(&id, "live").await;
    let audio = track(&room, Kind::Audio).await;
    let mut tap = room.tap(&rongtong_media_core::room::Holder::Service("test"), &audio.sid, 100).unwrap();
    let mut last: Option<(u8, u64, u64)> = None;
    while last.is_none_or(|(number, ..)| number < 70) {
        let TapItem::Packet(packet) = next(&mut tap).await else { continue };
        let now = (packet.payload[0], packet.sequence, packet.time);
        if let Some(last) = last {
            let step = now.2.wrapping_sub(last.2);
            assert!(
                now.0 == last.0 + 1 && now.1 > last.1 && (100..4_000).contains(&step),
                "{transport} {reason}: {last:?} {now:?}"
            );
        } else {
            assert!(now.0 < 40, "{reason}: too late to see the change");
        }
        last = Some(now);
    }
    assert_eq!(camera.count("PLAY"), 1, "{reason}");
    assert_eq!(site.counter(&format!("rongtong_camera_breaks_total{{reason=\"{reason}\"}}")), 1, "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_field_changes_the_session_goes_on() {
    for transport in ["tcp", "udp"] {
        tokio::join!(
            goes_on(transport, "ssrc", 8, |rtp| Rtp { ssrc: 99, ..rtp }),
            goes_on(transport, "ssrc", 8, |rtp| Rtp {
                ssrc: 99,
                sequence: rtp.sequence.wrapping_add(30_000),
                timestamp: rtp.timestamp.wrapping_add(1 << 31),
                ..rtp
            }),
            goes_on(transport, "sequence", 8, |rtp| Rtp { sequence: rtp.sequence.wrapping_sub(40_000), ..rtp }),
            goes_on(transport, "timestamp", 8, |rtp| Rtp {
                timestamp: rtp.timestamp.wrapping_add(3_000_000_000),
                ..rtp
            }),
            goes_on(transport, "payload_type", 96, |rtp| Rtp { payload_type: 110, ..rtp }),
        );
    }
}

const VIDEO: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_of_another_size_stays_in_its_track_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let both = [pictures(640, 360, 0..60), pictures(320, 240, 60..90)].concat();
    let script = Script { sdp: VIDEO.into(), media: Some(media(both, 96)), ..Script::default() };
    let camera = Scripted::start(script).await;
    let id = site.add(&camera.url(), json!({})).await;
    let (room, mut viewer) = site.enter(&format!("cam-{id}"), "viewer");
    let before = track(&room, Kind::Video).await;
    assert_eq!((before.spec.width, before.spec.height), (640, 360));
    let seen = Viewer::new(room.tap(&Holder::Service("test"), &before.sid, 1_000).unwrap()).watch(89).await;

    let first = seen[0].1;
    assert!(first < 40, "too late to see the change: {first}");
    let numbers: Vec<u16> = seen.iter().map(|(_, number, _)| *number).collect();
    assert_eq!(numbers, (first..90).collect::<Vec<_>>(), "every picture once");
    for (size, number, _) in &seen {
        assert_eq!(*size, if *number < 60 { (640, 360) } else { (320, 240) }, "{number}");
    }
    assert!(seen.windows(2).all(|pair| pair[1].2 - pair[0].2 == u64::from(STEP)), "{seen:?}");

    let after = track(&room, Kind::Video).await;
    assert_eq!(after.sid, before.sid);
    assert_eq!((after.spec.width, after.spec.height, after.spec.layers[0].width), (320, 240, 320));
    assert_ne!(after.spec.codec.fmtp, before.spec.codec.fmtp, "the level is that of the new size");
    let told = wait_for("the room to be told", || match viewer.events.try_recv() {
        Ok(RoomEvent::TrackUpdated(track)) => Some(track),
        _ => None,
    });
    assert_eq!(told.await.spec.width, 320);
    let shown = site.camera(&id).await;
    assert_eq!((&shown["video"]["width"], &shown["last_break"]["reason"]), (&json!(320), &json!("size")), "{shown}");
    let at = shown["last_break"]["at"].as_str().unwrap();
    assert!(at >= shown["state_since"].as_str().unwrap(), "{shown}");
    assert_eq!(camera.count("PLAY"), 1);
}

/// G.711 from payload type 8 to another one with the 40th packet.
async fn turns_to(payload_type: u8, formats: &str) -> (Site, Scripted, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let rtp = Box::new(move |number, rtp| if number < 40 { rtp } else { Rtp { payload_type, ..rtp } });
    let sdp = SDP.replace("AVP 8\r\n", &format!("AVP 8 {payload_type}\r\n{formats}"));
    let camera = Scripted::start(Script { rtp, sdp: sdp.into(), ..Script::default() }).await;
    let id = site.add(&camera.url(), json!({})).await;
    (site, camera, id, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_type_that_means_another_codec_is_another_track_of_the_session() {
    let (site, camera, id, _dir) = turns_to(0, "").await;
    let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
    let before = track(&room, Kind::Audio).await;
    let mut tap = room.tap(&Holder::Service("test"), &before.sid, 100).unwrap();
    let after =
        wait_for("the other codec", || room.tracks().into_iter().find(|track| track.spec.codec.codec == Codec::Pcmu))
            .await;
    assert_ne!(after.sid, before.sid);
    let mut last = 0;
    while let Some(item) = tap.next().await {
        if let TapItem::Packet(packet) = item {
            last = packet.payload[0];
        }
    }
    assert_eq!(last, 39, "nothing of the other codec is in the first track");
    let mut tap = room.tap(&Holder::Service("test"), &after.sid, 100).unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < 20 {
        if let TapItem::Packet(packet) = next(&mut tap).await {
            numbers.push(packet.payload[0]);
        }
    }
    assert!(numbers[0] >= 40 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    let shown = site.camera(&id).await;
    assert_eq!(
        (&shown["audio"]["codec"], &shown["last_break"]["reason"]),
        (&json!("pcmu"), &json!("codec")),
        "{shown}"
    );
    assert_eq!(camera.count("PLAY"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_payload_type_of_the_same_codec_stays_in_its_track() {
    let (site, camera, id, _dir) = turns_to(100, "a=rtpmap:100 PCMA/8000\r\n").await;
    let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
    let audio = track(&room, Kind::Audio).await;
    let mut tap = room.tap(&Holder::Service("test"), &audio.sid, 100).unwrap();
    let mut numbers = Vec::new();
    while numbers.last().is_none_or(|last| *last < 60) {
        if let TapItem::Packet(packet) = next(&mut tap).await {
            numbers.push(packet.payload[0]);
        }
    }
    assert!(numbers[0] < 40 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    let shown = site.camera(&id).await;
    assert_eq!(shown["last_break"]["reason"], "payload_type", "{shown}");
    assert_eq!(camera.count("PLAY"), 1);
}
