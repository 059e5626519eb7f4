//! What cameras say in a session, and what of it holds.

use crate::script::{Ask, Counts, Script, Scripted};
use crate::support::{Site, next, track};
use rongtong_media_core::media::Kind;
use rongtong_media_core::room::TapItem;
use rongtong_rtsp::reason::Reason;
use serde_json::json;
use std::time::Duration;

/// A viewer hears ten packets of the camera in a row.
async fn is_heard(script: Script) {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let camera = Scripted::start(script).await;
    let id = site.add(&camera.url(), json!({})).await;
    let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
    site.reaches(&id, "live").await;
    let audio = track(&room, Kind::Audio).await;
    let mut tap = room.tap(&rongtong_media_core::room::Holder::Service("test"), &audio.sid, 100).unwrap();
    let mut last: Option<u8> = None;
    for _ in 0..10 {
        let TapItem::Packet(packet) = next(&mut tap).await else { continue };
        let number = packet.payload[0];
        assert!(packet.payload.len() == 160 && packet.payload.iter().all(|byte| *byte == number));
        assert!(last.is_none_or(|last| number == last.wrapping_add(1)), "{last:?} {number}");
        last = Some(number);
    }
}

/// A sender report (RFC 3550 6.4.1) on channel 1.
fn report(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![b'$', 1, 0, 28, 0x80, 200, 0, 6];
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.resize(32, 0);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_packets_ssrc_holds_whatever_setup_said() {
    let transport = |asked: &str| format!("{asked};ssrc=11223344;mode=\"PLAY\"");
    let script = Script { transport: Box::new(transport), ssrc: 0x5566_7788, ..Script::default() };
    is_heard(script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_of_another_ssrc_ahead_of_the_packets_does_no_harm() {
    is_heard(Script { first: report(0x1111_2222), ssrc: 0x5566_7788, ..Script::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_channels_means_those_that_were_asked_for() {
    for said in ["RTP/AVP/TCP;unicast", "RTP/AVP/TCP", "RTP/AVP/TCP;unicast;interleaved="] {
        is_heard(Script { transport: Box::new(move |_| said.to_owned()), ..Script::default() }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_answers_with_udp_is_told_as_a_refusal_of_tcp() {
    let transport = |_: &str| "RTP/AVP;unicast;client_port=1-2;server_port=5000-5001".to_owned();
    let camera = Scripted::start(Script { transport: Box::new(transport), ..Script::default() }).await;
    let failure = camera.probe(None).await.failure.unwrap();
    assert_eq!(failure.reason, Reason::TransportRefused);
    assert!(failure.detail.contains("server_port=5000-5001"), "{}", failure.detail);
}

/// Sessions that cut off after 1.8 s without what counts; the camera stays in one for 5 s.
async fn is_kept_alive(
    transport: &str,
    session: &'static str,
    counts: impl Fn(&Ask) -> bool + Send + Sync + 'static,
    sessions: usize,
) {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let cut_off: Option<(Duration, Counts)> = Some((Duration::from_millis(1_800), Box::new(counts)));
    let camera = Scripted::start(Script { session, cut_off, ..Script::default() }).await;
    let id = site.add(&camera.url(), json!({ "keep": true, "transport": transport })).await;
    site.reaches(&id, "live").await;
    tokio::time::sleep(Duration::from_secs(if sessions > 1 { 8 } else { 5 })).await;
    assert_eq!(site.camera(&id).await["state"], "live");
    assert_eq!(camera.count("PLAY"), sessions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_kept_alive_by_whatever_the_camera_counts() {
    let report = |ask: &Ask| ask.method == "$" && ask.bytes.get(4..6) == Some(&[0x81, 201]);
    let report_over_udp = |ask: &Ask| ask.method == "udp" && ask.bytes.len() == 52 && ask.bytes[..2] == [0x81, 201];
    tokio::join!(
        is_kept_alive("tcp", ";timeout=2", |ask| ask.method == "GET_PARAMETER", 1),
        is_kept_alive("tcp", "; Timeout = \"2\"", |ask| ask.method == "OPTIONS", 1),
        is_kept_alive("tcp", ";timeout=2s", report, 1),
        is_kept_alive("udp", ";timeout=2s", report_over_udp, 1),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_a_session_lasts_is_learned_where_it_is_not_announced() {
    is_kept_alive("tcp", "", |ask| ask.method == "GET_PARAMETER", 2).await;
}
