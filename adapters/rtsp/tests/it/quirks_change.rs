//! Streams that change under way without a word.

use crate::script::{Rtp, SDP, Script, Scripted};
use crate::support::{Site, next, track};
use rongtong_media_core::media::Kind;
use rongtong_media_core::room::TapItem;
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
