//! Against a model of what was put in, against ffmpeg and GStreamer, and against any bytes.

use super::*;
use proptest::prelude::*;
use std::process::Command;

fn unit(key: bool, seed: u8, bytes: usize) -> AccessUnit {
    let body = |kind: u8, length: usize| {
        let mut nal = vec![kind, 0x80 | seed >> 1];
        nal.extend((0..length).map(|at| (at as u8 ^ seed) | 1));
        Bytes::from(nal)
    };
    let mut nals = Vec::new();
    if key {
        nals.extend([Bytes::from_static(&[0x67, 66, 0, 30, 0xAB]), Bytes::from_static(&[0x68, 0xCE, 0x3C, 0x80])]);
    }
    nals.push(body(if key { 0x65 } else { 0x41 }, bytes));
    // A second slice, of which the first macroblock is not 0.
    nals.push(Bytes::copy_from_slice(&[if key { 0x65 } else { 0x41 }, 0x40, seed | 1, 9]));
    AccessUnit { timestamp: 0, nals, key, complete: true }
}

/// Pictures and sound in turn: the stream, in one piece a picture, and what should come out.
fn program(pictures: &[(bool, u8, usize)]) -> (Vec<Vec<u8>>, Vec<Item>) {
    let mut muxer = Muxer::new(Some(VideoCodec::H264), Some(AudioCodec::Pcma));
    let (mut pieces, mut items) = (Vec::new(), Vec::new());
    for (at, (key, seed, bytes)) in pictures.iter().enumerate() {
        let pts = at as u64 * 3_600;
        let (mut piece, mut unit) = (Vec::new(), unit(*key || at == 0, *seed, *bytes));
        let sound: Vec<u8> = (0..320).map(|at| at as u8 ^ seed).collect();
        muxer.video(&unit, pts, &mut piece);
        unit.timestamp = pts as u32;
        items.push(Item::Video { codec: VideoCodec::H264, pts: Some(pts), unit });
        pieces.push(std::mem::take(&mut piece));
        muxer.audio(&sound, None, pts, &mut piece);
        items.push(Item::Audio { codec: AudioCodec::Pcma, aac: None, pts: Some(pts), data: sound.into() });
        pieces.push(piece);
    }
    (pieces, items)
}

fn videos(items: &[Item]) -> Vec<&Item> {
    items.iter().filter(|item| matches!(item, Item::Video { .. })).collect()
}

fn audios(items: &[Item]) -> Vec<&Item> {
    items.iter().filter(|item| matches!(item, Item::Audio { .. })).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However it is cut, with marks of the ends or without, the same comes out.
    #[test]
    fn what_goes_in_comes_out(
        pictures in prop::collection::vec((prop::bool::weighted(0.2), any::<u8>(), prop::sample::select(vec![0usize, 1, 700, 3_000, 70_000, 140_000])), 1..12),
        cuts in prop::collection::vec(1usize..1_500, 1..20),
        marked: bool,
    ) {
        let (pieces, expected) = program(&pictures);
        let (mut demuxer, mut got, mut cuts) = (Demuxer::default(), Vec::new(), cuts.into_iter().cycle());
        for piece in &pieces {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                demuxer.push(now, marked && later.is_empty(), &mut got);
                rest = later;
            }
        }
        demuxer.finish(&mut got);
        prop_assert_eq!(videos(&got), videos(&expected));
        prop_assert_eq!(audios(&got), audios(&expected));
        prop_assert_eq!(demuxer.skipped(), 0);
    }

    /// After a loss nothing is said to be whole that is not, and it goes on with the next picture.
    #[test]
    fn losses_are_marked(
        sizes in prop::collection::vec((any::<u8>(), 1usize..9_000), 6..20),
        lost in prop::collection::vec(any::<bool>(), 200),
        marked: bool,
    ) {
        let pictures: Vec<_> = sizes.iter().map(|(seed, bytes)| (false, *seed, *bytes)).collect();
        let (pieces, expected) = program(&pictures);
        let (mut demuxer, mut got) = (Demuxer::default(), Vec::new());
        let mut fates = lost.iter().cycle();
        for piece in &pieces {
            let count = piece.chunks(1_400).len();
            for (at, packet) in piece.chunks(1_400).enumerate() {
                // One in four.
                let fate = *fates.next().unwrap() & *fates.next().unwrap();
                if fate {
                    demuxer.lost();
                } else {
                    demuxer.push(packet, marked && at + 1 == count, &mut got);
                }
            }
        }
        demuxer.finish(&mut got);
        for item in videos(&got) {
            let Item::Video { unit, .. } = item else { unreachable!() };
            let is_true = expected.iter().any(|known| matches!(known, Item::Video { unit: known, .. } if known.nals == unit.nals));
            prop_assert!(is_true || !unit.complete, "a damaged picture passes for whole");
        }
    }

    #[test]
    fn any_bytes_are_borne(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..20),
        codes in prop::collection::vec((0usize..20, 0usize..400, any::<u8>()), 0..60),
        end: bool,
    ) {
        let mut pieces = pieces;
        for (which, at, id) in codes {
            let Some(piece) = pieces.get_mut(which) else { continue };
            let at = at.min(piece.len());
            piece.splice(at..at, [0, 0, 1, id]);
        }
        let (mut demuxer, mut out) = (Demuxer::default(), Vec::new());
        for piece in &pieces {
            demuxer.push(piece, end, &mut out);
        }
        demuxer.finish(&mut out);
        // As a transport stream, with its packets in order, so that more than the sync byte is reached.
        let mut stream: Vec<u8> = pieces.concat();
        stream.truncate(stream.len() / 188 * 188);
        for packet in stream.chunks_exact_mut(188) {
            packet[0] = 0x47;
            packet[1] &= 0x40;
            packet[2] &= 3;
        }
        let mut demuxer = Demuxer::default();
        demuxer.push(&stream, end, &mut out);
        demuxer.finish(&mut out);
    }

    #[test]
    fn any_damage_is_borne(
        flips in prop::collection::vec((0usize..30_000, any::<u8>()), 1..40),
        cut in 0usize..30_000,
        end: bool,
    ) {
        let (pieces, _) = program(&[(true, 3, 9_000), (false, 5, 700), (false, 9, 4_000)]);
        let mut stream = pieces.concat();
        for (at, with) in flips {
            if let Some(byte) = stream.get_mut(at) {
                *byte ^= with;
            }
        }
        stream.truncate(cut);
        let (mut demuxer, mut out) = (Demuxer::default(), Vec::new());
        for packet in stream.chunks(1_400) {
            demuxer.push(packet, end, &mut out);
        }
        demuxer.finish(&mut out);
    }
}

#[test]
fn a_picture_without_end_is_given_up() {
    let (mut demuxer, mut out) = (Demuxer::default(), Vec::new());
    demuxer.push(&[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0, 0, 0, 1, 0x65, 0x80], false, &mut out);
    let piece = vec![0xAA; 1 << 16];
    for _ in 0..200 {
        demuxer.push(&piece, false, &mut out);
    }
    assert!(demuxer.streams.video.is_bounded());
    assert_eq!(out, []);
}

#[test]
fn what_is_not_taken_is_said_once() {
    let (mut demuxer, mut out) = (Demuxer::default(), Vec::new());
    let map = [0, 0, 1, 0xBC, 0, 14, 0xE0, 0xFF, 0, 0, 0, 8, 0x80, 0xE0, 0, 0, 0x92, 0xC0, 0, 0];
    for _ in 0..3 {
        demuxer.push(&[0, 0, 1, 0xBA, 0x44, 0, 4, 0, 4, 1, 0, 0, 3, 0xF8], false, &mut out);
        demuxer.push(&map, false, &mut out);
        demuxer.push(&[0, 0, 1, 0xE0, 0, 8, 0x80, 0, 0, 0, 0, 1, 0x67, 66], false, &mut out);
    }
    demuxer.finish(&mut out);
    let names: Vec<_> = out.iter().map(|item| if let Item::Refused(what) = item { what.name() } else { "?" }).collect();
    assert_eq!(names, ["SVAC video", "G.722.1"]);
}

#[test]
fn marks_that_lie_are_not_believed_twice() {
    // A device that marks each packet: the first picture is cut, later ones are whole when the next begins.
    let pictures = [(true, 1, 4_000), (false, 2, 4_000), (false, 3, 4_000), (false, 4, 4_000)];
    let mut muxer = Muxer::new(Some(VideoCodec::H264), None);
    let (mut demuxer, mut out) = (Demuxer::default(), Vec::new());
    let mut whole = Vec::new();
    for (at, (key, seed, bytes)) in pictures.into_iter().enumerate() {
        let picture = unit(key, seed, bytes);
        let mut stream = Vec::new();
        // Two slices of one picture, each of its own PES packet and its own mark.
        let (first, second) = picture.nals.split_at(picture.nals.len() - 1);
        for part in [first, second] {
            let part = AccessUnit { nals: part.to_vec(), key: false, ..AccessUnit::default() };
            muxer.video(&part, at as u64 * 3_600, &mut stream);
            demuxer.push(&std::mem::take(&mut stream), true, &mut out);
        }
        whole.push(picture.nals);
    }
    demuxer.finish(&mut out);
    let got: Vec<_> = out
        .into_iter()
        .filter_map(|item| if let Item::Video { unit, .. } = item { Some(unit.nals) } else { None })
        .collect();
    assert!(got.ends_with(&whole[1..]), "{got:?}");
}

/// Pictures in decoding order by another's judgement: how many, and the bytes of all, and what sound there is.
fn made_by(command: &str) -> Vec<u8> {
    let out = Command::new("sh").arg("-c").arg(command).output().expect("a shell");
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn annex_b(items: &[Item]) -> Vec<u8> {
    let mut stream = Vec::new();
    for item in items {
        let Item::Video { unit, .. } = item else { continue };
        assert!(unit.complete);
        for nal in &unit.nals {
            stream.extend_from_slice(&[0, 0, 0, 1]);
            stream.extend_from_slice(nal);
        }
    }
    stream
}

/// Decodes with ffmpeg: a digest a picture.
fn digests(format: &str, stream: &[u8]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream");
    std::fs::write(&path, stream).unwrap();
    let input = path.display();
    let text = made_by(&format!("ffmpeg -v error -f {format} -i {input} -map 0:v -fps_mode passthrough -f framemd5 -"));
    let text = String::from_utf8(text).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(',').next_back())
        .map(|digest| digest.trim().to_owned())
        .collect()
}

fn demux(stream: &[u8], cut: usize) -> Vec<Item> {
    let (mut demuxer, mut out) = (Demuxer::default(), Vec::new());
    for packet in stream.chunks(cut) {
        demuxer.push(packet, false, &mut out);
    }
    demuxer.finish(&mut out);
    out
}

const SOURCE: &str = "-f lavfi -i testsrc2=s=320x240:r=25:d=2 -f lavfi -i sine=f=440:d=2";

/// What ffmpeg and GStreamer wrap comes out as it was, picture by picture, by ffmpeg's decoder.
#[test]
fn others_streams_are_understood() {
    let x264 = "-c:v libx264 -preset ultrafast -g 25 -bf 0 -pix_fmt yuv420p";
    let x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=0 -pix_fmt yuv420p";
    for (name, video, container, format, audio, sound) in [
        ("program, H.264", x264, "vob", "h264", "-an", None),
        ("program, H.264, MPEG sound", x264, "mpeg", "h264", "-c:a mp2", None),
        ("transport, H.264, AAC", x264, "mpegts", "h264", "-c:a aac -ar 32000", Some(AudioCodec::Aac)),
        ("transport, H.265", x265, "mpegts", "hevc", "-an", None),
    ] {
        let stream = made_by(&format!("ffmpeg -v error {SOURCE} {video} {audio} -f {container} -"));
        for cut in [188 * 7, 1_400, 61] {
            let cut = if container == "mpegts" && cut != 1_316 { 188 } else { cut };
            let items = demux(&stream, cut);
            let count = videos(&items).len();
            assert_eq!(count, 50, "{name} in pieces of {cut}");
            assert_eq!(digests(format, &annex_b(&items)), digests(container_reader(container), &stream), "{name}");
            if let Some(codec) = sound {
                let frames = items
                    .iter()
                    .filter(|item| matches!(item, Item::Audio { codec: known, aac: Some(_), .. } if *known == codec));
                assert!((60..=66).contains(&frames.count()), "{name}: two seconds of frames of 32 ms");
            }
        }
    }
    let gst = |codec: &str| {
        made_by(&format!(
            "gst-launch-1.0 -q videotestsrc num-buffers=50 pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! {codec} ! mpegpsmux ! fdsink"
        ))
    };
    let stream = gst("x264enc tune=zerolatency key-int-max=25 ! h264parse");
    let items = demux(&stream, 1_400);
    assert_eq!(videos(&items).len(), 50, "GStreamer, H.264");
    assert_eq!(digests("h264", &annex_b(&items)), digests("mpeg", &stream));
    let times: Vec<_> =
        items.iter().filter_map(|item| if let Item::Video { pts, .. } = item { *pts } else { None }).collect();
    assert_eq!(times.len(), 50, "each picture has its time");
    assert!(times.windows(2).all(|pair| (3_599..=3_601).contains(&(pair[1] - pair[0]))), "{times:?}");
}

fn container_reader(container: &str) -> &str {
    if container == "vob" { "mpeg" } else { container }
}

/// What we wrap is understood by ffmpeg and by GStreamer.
#[test]
fn others_understand_ours() {
    for (encoder, format, codec) in [
        ("-c:v libx264 -preset ultrafast -g 25 -bf 0 -pix_fmt yuv420p", "h264", VideoCodec::H264),
        (
            "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=0 -pix_fmt yuv420p",
            "hevc",
            VideoCodec::H265,
        ),
    ] {
        let source = made_by(&format!("ffmpeg -v error {SOURCE} {encoder} -c:a aac -ar 32000 -f mpegts -"));
        let mut muxer = Muxer::new(Some(codec), Some(AudioCodec::Aac));
        let mut stream = Vec::new();
        for item in demux(&source, 188) {
            match item {
                Item::Video { unit, pts, .. } => muxer.video(&unit, pts.unwrap(), &mut stream),
                Item::Audio { data, aac, pts, .. } => muxer.audio(&data, aac, pts.unwrap_or(0), &mut stream),
                Item::Refused(what) => panic!("{what:?}"),
            }
        }
        assert_eq!(digests("mpeg", &stream), digests("mpegts", &source), "{format} by ffmpeg");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stream.ps");
        std::fs::write(&path, &stream).unwrap();
        let parse = if codec == VideoCodec::H264 { "h264parse" } else { "h265parse" };
        let out = made_by(&format!(
            "cat {} | gst-launch-1.0 -q fdsrc ! mpegpsdemux ! {parse} ! video/x-{},stream-format=byte-stream,alignment=au ! fdsink",
            path.display(),
            format.replace("hevc", "h265"),
        ));
        assert_eq!(digests(format, &out), digests("mpegts", &source), "{format} by GStreamer");
    }
}
