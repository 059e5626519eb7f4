//! Sound of other rates, channels and codecs than browsers have: in the room, with what is told of it,
//! or refused with its reason.

use crate::coded::{media, pictures};
use crate::script::{Rtp, Script, Scripted};
use crate::support::{Site, camera_in, next, track, wait_for};
use rongtong_media_core::media::{Codec, Kind};
use rongtong_media_core::room::{Holder, TapItem};
use serde_json::json;

fn sound(map: &str, fmtp: &str) -> String {
    let fmtp = if fmtp.is_empty() { String::new() } else { format!("a=fmtp:97 {fmtp}\r\n") };
    format!("m=audio 0 RTP/AVP 97\r\na=rtpmap:97 {map}\r\n{fmtp}a=control:trackID=1\r\n")
}

fn aac(config: &str) -> String {
    format!("streamtype=5;mode=AAC-hbr;config={config};sizelength=13;indexlength=3;indexdeltalength=3")
}

/// What the camera describes reaches the room and the API, packet by packet, with the times it has.
async fn is_carried(map: &str, fmtp: &str, codec: Codec, clock: u32, told: (u32, u8, &str)) {
    let (rate, channels, note) = told;
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let packets = Box::new(move |number: u32| {
        let rtp = Rtp { payload_type: 97, sequence: number as u16, timestamp: number * (clock / 50), ssrc: 7 };
        vec![rtp.packet(true, &[number as u8; 100])]
    });
    let sdp = format!("v=0\r\n{}", sound(map, fmtp));
    let camera = Scripted::start(Script { sdp: sdp.into(), media: Some(packets), ..Script::default() }).await;
    let id = site.add(&camera.url(), json!({})).await;
    let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
    let shown = site.reaches(&id, "live").await;
    let audio = track(&room, Kind::Audio).await;
    let spec = &audio.spec;
    assert_eq!(
        (spec.codec.codec, spec.codec.clock_rate, spec.codec.channels, spec.notice.as_str()),
        (codec, clock, channels, note),
        "{map}"
    );
    let said =
        json!({ "codec": codec.rtp_name().to_ascii_lowercase(), "rate": rate, "channels": channels, "note": note });
    assert_eq!(shown["audio"], said, "{map}");
    let mut tap = room.tap(&Holder::Service("test"), &audio.sid, 100).unwrap();
    let mut last: Option<(u8, u64)> = None;
    while last.is_none_or(|(number, _)| number < 30) {
        let TapItem::Packet(packet) = next(&mut tap).await else { continue };
        let now = (packet.payload[0], packet.time);
        if let Some(last) = last {
            assert_eq!((now.0 - last.0, now.1 - last.1), (1, u64::from(clock / 50)), "{map}");
        }
        last = Some(now);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_of_any_rate_and_channels_is_carried_as_it_is_or_told() {
    use Codec::{Aac, G722, Pcma, Pcmu};
    let (a, b, c, d, e) = (aac("1588"), aac("1408"), aac("1290"), aac("1210"), aac("1190"));
    tokio::join!(
        is_carried("PCMA/8000", "", Pcma, 8_000, (8_000, 1, "")),
        is_carried("PCMU/8000/1", "", Pcmu, 8_000, (8_000, 1, "")),
        is_carried("PCMA/16000", "", Pcma, 16_000, (16_000, 1, "audio-rate")),
        is_carried("PCMU/8000/2", "", Pcmu, 8_000, (8_000, 2, "audio-rate")),
        is_carried("G722/8000", "", G722, 8_000, (16_000, 1, "g722")),
        is_carried("MPEG4-GENERIC/8000/1", &a, Aac, 8_000, (8_000, 1, "aac")),
        is_carried("mpeg4-generic/16000", &b, Aac, 16_000, (16_000, 1, "aac")),
        // The number of channels is left out, or wrong, and the configuration says it.
        is_carried("MPEG4-GENERIC/32000", &c, Aac, 32_000, (32_000, 2, "aac")),
        is_carried("MPEG4-GENERIC/44100/1", &d, Aac, 44_100, (44_100, 2, "aac")),
        is_carried("MPEG4-GENERIC/48000/2", &e, Aac, 48_000, (48_000, 2, "aac")),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_that_nobody_here_understands_is_told_and_the_picture_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    for (map, fmtp, rate, channels) in [
        ("L16/8000", "", 8_000, 1),
        ("L16/44100/2", "", 44_100, 2),
        ("G726-32/8000", "", 8_000, 1),
        ("AAL2-G726-16/8000/1", "", 8_000, 1),
        ("MP4A-LATM/16000", "cpresent=0;config=40002810", 16_000, 1),
        ("DVI4/8000", "", 8_000, 1),
        ("MPEG4-GENERIC/16000", "mode=AAC-hbr", 16_000, 1),
    ] {
        let codec = map.split('/').next().unwrap().to_ascii_lowercase();
        let picture = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n";
        let sdp = format!("v=0\r\n{picture}{}", sound(map, fmtp));
        let video = media(pictures(320, 240, 0..60), 96);
        let camera = Scripted::start(Script { sdp: sdp.into(), media: Some(video), ..Script::default() }).await;
        let id = site.add(&camera.url(), json!({})).await;
        let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
        track(&room, Kind::Video).await;
        let shown = site.reaches(&id, "live").await;
        let said = json!({ "codec": codec, "rate": rate, "channels": channels, "note": "unsupported" });
        assert_eq!(shown["audio"], said, "{map}");
        assert_eq!(room.tracks().len(), 1, "{map}");
        let told = wait_for("the room to be told", || {
            let me = room.participant(&rongtong_rtsp::identity(&id))?;
            me.attributes.get("rongtong.audio_note").filter(|note| !note.is_empty()).cloned()
        });
        assert_eq!(told.await, "unsupported", "{map}");
        let note = camera_in(&room, &id).await.attributes.get("rongtong.video_note").cloned();
        assert_eq!(note.unwrap_or_default(), "", "{map}");

        let alone = Script { sdp: format!("v=0\r\n{}", sound(map, fmtp)).into(), ..Script::default() };
        let found = Scripted::start(alone).await.probe(None).await;
        let failure = found.steps.last().unwrap();
        assert!(found.failure.is_some() && failure.detail.contains(&codec), "{map}: {failure:?}");
    }
}
