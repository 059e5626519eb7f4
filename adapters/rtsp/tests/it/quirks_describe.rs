//! Session descriptions as cameras write them.

use crate::script::{SDP, Script, Scripted, answer, described};
use rongtong_rtsp::reason::Reason;

async fn probed(sdp: impl Into<Vec<u8>>) -> rongtong_rtsp::probe::Probe {
    Scripted::start(Script { sdp: sdp.into(), ..Script::default() }).await.probe(None).await
}

const MEDIA: &str = "m=audio 0 RTP/AVP 8\r\na=control:trackID=0\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptions_that_break_the_rules_are_played() {
    let mut not_text = SDP.as_bytes().to_vec();
    not_text.extend_from_slice(b"a=x-vendor:\xff\xfe\x80\r\n");
    for (kind, sdp) in [
        ("no header lines", MEDIA.as_bytes().to_vec()),
        ("o= without an address", SDP.replace("o=- 1 1 IN IP4 127.0.0.1", "o=- 1 1 IN IP4").into()),
        ("o= empty", SDP.replace("o=- 1 1 IN IP4 127.0.0.1", "o=").into()),
        ("not UTF-8", not_text),
        ("a negative port", SDP.replace("audio 0", "audio -1").into()),
        ("a port beyond 65535", SDP.replace("audio 0", "audio 70000").into()),
        ("no s= and no t=", SDP.replace("s=Gate\r\nt=0 0\r\n", "").into()),
        ("t= of nonsense", SDP.replace("t=0 0", "t=now").into()),
        ("lines of LF and blanks", SDP.replace("\r\n", " \n\n").into()),
        ("a stream that is nothing", SDP.replace("m=audio", "m=video\r\nm=audio").into()),
    ] {
        let probe = probed(sdp).await;
        assert!(probe.failure.is_none(), "{kind}: {:?}", probe.failure);
        assert_eq!(probe.audio.unwrap().codec, "pcma", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_in_gbk_is_shown_right() {
    let mut sdp = b"v=0\r\ns=\xb4\xf3\xc3\xc5\r\n".to_vec();
    sdp.extend_from_slice(MEDIA.as_bytes());
    let probe = probed(sdp).await;
    assert!(probe.failure.is_none(), "{:?}", probe.failure);
    let describe = probe.steps.iter().find(|step| step.name == "describe").unwrap();
    assert_eq!(describe.detail, "pcma “大门”");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_type_and_base_of_an_answer_need_not_be_right() {
    for lines in
        ["Content-Type: Application/SDP; charset=gbk\r\n", "Content-Type: text/plain\r\nContent-Base: :/\r\n", ""]
    {
        let odd = move |ask: &crate::script::Ask| {
            let mut bytes = answer(ask, "200 OK", &format!("{lines}Content-Length: {}\r\n", SDP.len()));
            bytes.extend_from_slice(SDP.as_bytes());
            (ask.method == "DESCRIBE").then_some(bytes)
        };
        let camera = Scripted::start(Script { answer: Box::new(odd), ..Script::default() }).await;
        let probe = camera.probe(None).await;
        assert!(probe.failure.is_none(), "{lines}: {:?}", probe.failure);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_played_is_refused_with_its_line() {
    for (sdp, told) in [
        (
            "v=0\r\ns=x\r\nm=video 0 RTP/AVP\r\n",
            "line 3 of the session description can't be used: \"m=video 0 RTP/AVP\"",
        ),
        ("v=0\r\ns=x\r\n", "no line m= in the session description of 2 lines"),
        ("", "no line m= in the session description of 0 lines"),
    ] {
        let failure = probed(sdp).await.failure.unwrap();
        assert_eq!(failure.reason, Reason::BadDescription, "{failure}");
        assert!(failure.detail.contains(told), "{}", failure.detail);
    }
    let described = |ask: &crate::script::Ask| Some(described(ask, SDP.replace("RTP/AVP 8", "RTP/AVP 101").as_bytes()));
    let camera = Scripted::start(Script { answer: Box::new(described), ..Script::default() }).await;
    let failure = camera.probe(None).await.failure.unwrap();
    assert_eq!(failure.reason, Reason::BadDescription, "{failure}");
    assert!(failure.detail.contains("m=audio 0 RTP/AVP 101"), "{}", failure.detail);
}
