//! What of a camera's streams reaches a room, and how.

use crate::support::{GstServer, PCMA, Site, camera_in, h264, next, picture, track};
use rongtong_media_core::clock::RoomClock;
use rongtong_media_core::media::{Codec, Kind};
use rongtong_media_core::room::TapItem;
use rongtong_media_core::rtp::h264::starts_keyframe;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h264_and_g711_reach_a_room_over_tcp_and_over_udp() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let server = GstServer::start(0, "-", &[("cam", &format!("{} {PCMA}", h264()))]).await;
    for transport in ["tcp", "udp"] {
        let id = site.add(&server.url("cam"), json!({ "transport": transport })).await;
        let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
        let camera = site.reaches(&id, "live").await;
        assert_eq!(
            (&camera["video"]["codec"], &camera["video"]["width"]),
            (&json!("h264"), &json!(640)),
            "{transport}: {camera}"
        );

        let video = track(&room, Kind::Video).await;
        assert_eq!((video.spec.codec.codec, video.spec.notice.as_str(), video.spec.height), (Codec::H264, "", 360));
        let mut tap = room.tap(&rongtong_media_core::room::Holder::Service("test"), &video.sid, 1000).unwrap();
        let (mut last, mut keyframes, mut pictures, mut age) = (None, 0, 0, 0);
        while pictures < 60 {
            match next(&mut tap).await {
                TapItem::Packet(packet) => {
                    assert!(packet.payload.len() <= 1_200, "{} bytes", packet.payload.len());
                    match last {
                        None => assert!(starts_keyframe(&packet.payload), "the first packet begins a keyframe"),
                        Some(last) => assert_eq!(packet.sequence, last + 1, "{transport}"),
                    }
                    last = Some(packet.sequence);
                    age = (RoomClock::process().ns(Instant::now()) - packet.room_ns) / 1_000_000;
                    assert!((-50..12_000).contains(&age), "{transport}: {age} ms old");
                    pictures += u32::from(packet.marker);
                    keyframes += u32::from(packet.payload.first().is_some_and(|first| first & 0x1f == 24));
                }
                TapItem::Format(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(keyframes >= 2, "parameter sets come with each of the keyframes: {keyframes}");
        assert!(age < 1_000, "{transport}: live pictures are {age} ms old");

        let audio = track(&room, Kind::Audio).await;
        assert_eq!((audio.spec.codec.codec, audio.spec.codec.clock_rate), (Codec::Pcma, 8_000));
        let mut tap = room.tap(&rongtong_media_core::room::Holder::Service("test"), &audio.sid, 100).unwrap();
        let mut bytes = 0;
        while bytes < 4_000 {
            if let TapItem::Packet(packet) = next(&mut tap).await {
                bytes += packet.payload.len();
            }
        }
        let fps = site.camera(&id).await["video"]["fps"].as_f64().unwrap();
        assert!((24.0..26.0).contains(&fps), "{transport}: {fps} fps");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_browsers_can_not_show_is_published_with_a_notice() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let h265 =
        picture("x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph265pay name=pay0 pt=96 mtu=1400");
    let b_frames = picture(
        "x264enc speed-preset=ultrafast bframes=2 b-adapt=false rc-lookahead=2 sync-lookahead=0 key-int-max=25 ! video/x-h264,profile=main ! rtph264pay name=pay0 pt=96",
    );
    let interlaced = "videotestsrc is-live=true ! video/x-raw,format=I420,width=640,height=384,framerate=50/1 ! interlace field-pattern=1:1 ! x264enc interlaced=true tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96";
    let aac = format!("{} audiotestsrc is-live=true ! avenc_aac ! rtpmp4gpay name=pay1 pt=97", h264());
    let server = GstServer::start(0, "-", &[("h265", &h265), ("b", &b_frames), ("i", interlaced), ("aac", &aac)]).await;
    for (path, kind, codec, notice) in [
        ("h265", Kind::Video, Codec::H265, "h265"),
        ("b", Kind::Video, Codec::H264, "b-frames"),
        ("i", Kind::Video, Codec::H264, "interlaced"),
        ("aac", Kind::Audio, Codec::Aac, "aac"),
    ] {
        let id = site.add(&server.url(path), json!({})).await;
        let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
        let camera = site.reaches(&id, "live").await;
        let found = track(&room, kind).await;
        assert_eq!((found.spec.codec.codec, found.spec.notice.as_str()), (codec, notice), "{path}: {camera}");
        let side = if kind == Kind::Video { "video" } else { "audio" };
        assert_eq!(camera[side]["note"], notice, "{camera}");
        let told = camera_in(&room, &id).await.attributes.get(&format!("rongtong.{side}_note")).cloned();
        assert_eq!(told.as_deref(), Some(notice));
        // The recorder can have it all the same.
        let mut tap = room.tap(&rongtong_media_core::room::Holder::Service("test"), &found.sid, 500).unwrap();
        let TapItem::Format(format) = next(&mut tap).await else { panic!("the codec comes first") };
        assert_eq!(*format, found.spec.codec);
        let TapItem::Packet(packet) = next(&mut tap).await else { panic!("a packet follows") };
        assert!(!packet.payload.is_empty() && packet.payload.len() <= 1_200);
        if codec == Codec::Aac {
            assert!(found.spec.codec.fmtp.contains("config="), "{:?}", found.spec.codec);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_comes_later_has_a_picture_at_once() {
    use rongtong_simulator::{CameraSpec, Simulator, SimulatorConfig};
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let spec = CameraSpec { gop_seconds: 8, ..CameraSpec::demo(0) };
    let listen = "127.0.0.1:0".parse().unwrap();
    let simulator = Simulator::start(SimulatorConfig { listen, cameras: vec![spec] }).await.unwrap();
    let id = site.add(&simulator.urls()[0], json!({ "keep": true })).await;
    site.reaches(&id, "live").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;

    let began = Instant::now();
    let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
    let video = track(&room, Kind::Video).await;
    let mut tap = room.tap(&rongtong_media_core::room::Holder::Service("test"), &video.sid, 2000).unwrap();
    let first = loop {
        if let TapItem::Packet(packet) = next(&mut tap).await {
            break packet;
        }
    };
    assert!(starts_keyframe(&first.payload));
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
    simulator.stop().await;
}
