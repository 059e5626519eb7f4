//! Downloads as players and archive programs read them: ffmpeg, ffprobe, GStreamer, Python's `zipfile`.

use super::*;
use crate::files::{RecordingFiles, index_path};
use crate::fmp4::{self, Trak};
use crate::testing::*;
use crate::track::TrackRecorder;
use proptest::prelude::*;
use rongtong_media_core::media::{Codec, CodecParams, MediaPacket};
use rongtong_media_core::tap::TapItem;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

const X264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "40"];
const X264_B: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "40"];
const X265: &[&str] = &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=40"];

/// When the recordings of these tests began.
const STARTED_MS: i64 = 1_700_000_000_000;

/// One file of the recorder, said to begin at `start_ms`.
fn recorded(dir: &Path, codec: &CodecParams, packets: &[MediaPacket], start_ms: i64) -> ExportTrack {
    let mut next = std::fs::read_dir(dir).unwrap().count() as u32 * 10;
    let number = next + if codec.codec == Codec::Pcma { 2 } else { 1 };
    let mut track = TrackRecorder::new(codec, recording_clock()).unwrap();
    let mut files = RecordingFiles::new(Arc::new(crate::disk::SystemDisk), dir.to_owned(), false);
    for packet in packets {
        track.take(TapItem::Packet(packet.clone()));
        write_out(&mut track, &mut files, &mut next);
    }
    track.finish();
    write_out(&mut track, &mut files, &mut next);
    let text = std::fs::read(index_path(dir, &format!("t{number}"))).unwrap();
    let (mut index, _) = Index::read(&text).unwrap();
    index.header.start_ms = start_ms;
    let media = media(dir, number);
    ExportTrack { participant: "cam".into(), participant_name: "东门".into(), screen: false, media, index }
}

fn pictures(dir: &Path, codec: &str, size: &str, seconds: u32, coder: &[&str], start_ms: i64) -> ExportTrack {
    let units = clip(dir, codec, size, seconds, coder);
    let params = if codec == "h264" { CodecParams::h264() } else { CodecParams::video(Codec::H265) };
    recorded(dir, &params, &packets(&units, codec, &mut 0, started()), start_ms)
}

/// G.711 by its Opus copy.
fn sound(dir: &Path, seconds: u64, start_ms: i64) -> ExportTrack {
    let started = started();
    let packet_at = |n: u64| packet(n, n * 160, false, vec![0x55; 160].into(), started + Duration::from_millis(n * 20));
    let packets: Vec<_> = (0..seconds * 50).map(packet_at).collect();
    recorded(dir, &CodecParams::pcma(), &packets, start_ms)
}

/// What is given out, and whether it is a ZIP; its length is what was said before.
fn given_out(tracks: Vec<ExportTrack>) -> (Vec<u8>, bool) {
    let download = Download::open(tracks, STARTED_MS).unwrap();
    let (length, archive) = (download.length(), download.is_archive());
    let bytes: Vec<u8> = download.flat_map(|piece| piece.unwrap()).collect();
    assert_eq!(bytes.len() as u64, length);
    (bytes, archive)
}

fn movie(dir: &Path, tracks: Vec<ExportTrack>) -> PathBuf {
    let (bytes, archive) = given_out(tracks);
    assert!(!archive);
    let file = dir.join("movie.mp4");
    std::fs::write(&file, bytes).unwrap();
    file
}

fn unpacked(dir: &Path, tracks: Vec<ExportTrack>) -> Vec<PathBuf> {
    let (bytes, archive) = given_out(tracks);
    assert!(archive);
    std::fs::write(dir.join("all.zip"), bytes).unwrap();
    let to = dir.join("unpacked");
    let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; z.extractall(sys.argv[2]); \
        print('\\n'.join(i.filename for i in z.infolist()))";
    let (names, _) = run("python3", &["-c", script, dir.join("all.zip").to_str().unwrap(), to.to_str().unwrap()]);
    names.lines().map(|name| to.join(name)).collect()
}

fn said(file: &Path, what: &str) -> Vec<String> {
    let (out, _) = run("ffprobe", &["-v", "error", "-show_entries", what, "-of", "csv=p=0", file.to_str().unwrap()]);
    out.lines().map(|line| line.trim_end_matches(',').to_owned()).filter(|line| !line.is_empty()).collect()
}

fn duration(file: &Path) -> f64 {
    said(file, "format=duration")[0].parse().unwrap()
}

/// How many pictures of each width are decoded.
fn widths(file: &Path, wanted: &[(u32, usize)]) {
    let all = said(file, "frame=width");
    for (width, count) in wanted {
        assert_eq!(all.iter().filter(|line| **line == width.to_string()).count(), *count, "of width {width}");
    }
    assert_eq!(all.len(), wanted.iter().map(|(_, count)| count).sum::<usize>());
}

/// How many pictures GStreamer decodes of a file.
fn by_gstreamer(file: &Path, parser: &str, decoder: &str) -> usize {
    let location = format!("location={}", file.to_str().unwrap());
    let args = ["filesrc", &location, "!", "qtdemux", "!", parser, "!", decoder, "!", "identity", "silent=false", "!"];
    let (out, _) = run("gst-launch-1.0", &[&["-v"], &args[..], &["fakesink"]].concat());
    out.matches("chain ").count()
}

#[test]
fn parts_with_other_settings_are_one_track_that_plays_through_and_can_be_sought() {
    let dir = tempfile::tempdir().unwrap();
    for (codec, coder) in [("h264", X264), ("h264", X264_B), ("hevc", X265)] {
        for (first, second, width) in [("320x240", "640x480", [320, 640]), ("640x480", "320x240", [640, 320])] {
            let tracks = vec![
                pictures(dir.path(), codec, second, 3, coder, 8_000),
                pictures(dir.path(), codec, first, 3, coder, 0),
            ];
            let file = movie(dir.path(), tracks);
            assert_eq!(probe(&file).codecs, [codec]);
            decodes_cleanly(&file);
            widths(&file, &[(width[0], 75), (width[1], 75)]);
            assert!((duration(&file) - 11.0).abs() < 0.2, "{} s", duration(&file));
            for at in ["9.5", "1.2"] {
                let (_, said) =
                    run("ffmpeg", &["-v", "warning", "-ss", at, "-i", file.to_str().unwrap(), "-f", "null", "-"]);
                assert_eq!(said.trim(), "");
            }
            let (parser, decoder) =
                if codec == "h264" { ("h264parse", "avdec_h264") } else { ("h265parse", "avdec_h265") };
            assert_eq!(by_gstreamer(&file, parser, decoder), 150);
        }
    }
}

#[test]
fn parts_with_the_same_settings_keep_their_sample_entry() {
    let dir = tempfile::tempdir().unwrap();
    let part = |start| pictures(dir.path(), "h264", "320x240", 2, X264, start);
    let file = movie(dir.path(), vec![part(500), part(2_450), part(10_000)]);
    assert_eq!(said(&file, "stream=codec_tag_string"), ["avc1"]);
    decodes_cleanly(&file);
    assert_eq!(frames(&file), 150);
    assert!((duration(&file) - 11.5).abs() < 0.2);
    let times: Vec<f64> = said(&file, "packet=dts_time").iter().map(|time| time.parse().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "parts that overlap by 50 ms go backwards");
}

#[test]
fn sound_that_begins_later_stays_with_its_pictures_and_the_length_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let tracks = vec![sound(dir.path(), 4, 21_500), pictures(dir.path(), "h264", "320x240", 5, X264, 20_000)];
    let file = movie(dir.path(), tracks);
    assert_eq!(said(&file, "stream=codec_name"), ["h264", "opus"]);
    assert!((duration(&file) - 5.5).abs() < 0.1, "{} s", duration(&file));
    let starts: Vec<f64> = said(&file, "stream=start_time").iter().map(|time| time.parse().unwrap()).collect();
    assert!(starts[0].abs() < 0.01 && (starts[1] - 1.5).abs() < 0.02, "{starts:?}");
    assert_eq!(said(&file, "format_tags=creation_time"), ["2023-11-14T22:13:40.000000Z"]);
    decodes_cleanly(&file);
    let early = vec![pictures(dir.path(), "h264", "320x240", 2, X264, 1_000), sound(dir.path(), 4, -200)];
    let file = movie(dir.path(), early);
    assert!((duration(&file) - 4.0).abs() < 0.1, "{} s", duration(&file));
}

#[test]
fn everybody_and_every_screen_is_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let of = |track: ExportTrack, who: &str, name: &str| ExportTrack {
        participant: who.into(),
        participant_name: name.into(),
        ..track
    };
    let one = pictures(dir.path(), "h264", "320x240", 1, X264, 0);
    let tone = sound(dir.path(), 1, 0);
    let files = unpacked(
        dir.path(),
        vec![
            of(one.clone(), "li", "李/四"),
            of(tone.clone(), "li", "李/四"),
            of(one.clone(), "li2", "李/四"),
            of(ExportTrack { screen: true, ..one.clone() }, "li", "李/四"),
            of(tone, "phone", ""),
            of(ExportTrack { index: Index { fragments: Vec::new(), ..one.index.clone() }, ..one }, "none", "none"),
        ],
    );
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["李_四.mp4", "李_四-2.mp4", "李_四-screen.mp4", "phone.mp4"]);
    let tracks: Vec<_> = files.iter().map(|file| said(file, "stream=codec_name").join(" ")).collect();
    assert_eq!(tracks, ["h264 opus", "h264", "h264", "opus"]);
    files.iter().for_each(|file| decodes_cleanly(file));
}

#[test]
fn names_of_files_fit_into_file_systems() {
    for (name, wanted) in [("", "recording"), (" .. ", "recording"), ("../a:b", "_a_b"), ("东门 1", "东门 1")] {
        assert_eq!(plain_name(name), wanted);
    }
    assert_eq!(plain_name(&"𠮷".repeat(100)).len(), 200, "of four bytes each");
    assert_eq!(plain_name(&"a".repeat(100)).len(), 80);
}

#[test]
fn another_codec_goes_on_in_another_file_and_the_sound_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let tracks = vec![
        sound(dir.path(), 8, 0),
        pictures(dir.path(), "h264", "320x240", 3, X264, 500),
        pictures(dir.path(), "hevc", "320x240", 3, X265, 4_000),
    ];
    let fragments: usize = tracks.iter().map(|track| track.index.fragments.len()).sum();
    let files = unpacked(dir.path(), tracks);
    let codecs: Vec<_> = files.iter().map(|file| said(file, "stream=codec_name").join(" ")).collect();
    assert_eq!(codecs, ["h264 opus", "hevc opus"]);
    files.iter().for_each(|file| decodes_cleanly(file));
    let lasts: Vec<_> = files.iter().map(|file| duration(file)).collect();
    assert!((lasts[0] + lasts[1] - 8.0).abs() < 0.1 && (3.0..5.1).contains(&lasts[0]), "{lasts:?}");
    let boxes = |file: &PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(4).filter(|four| four == b"moof").count()
    };
    assert_eq!(files.iter().map(boxes).sum::<usize>(), fragments, "each fragment is in one file");
}

#[test]
fn a_damaged_track_is_said_and_nothing_panics() {
    let dir = tempfile::tempdir().unwrap();
    let parts = [("320x240", 0), ("640x480", 5_000)];
    let tracks = parts.map(|(size, start)| pictures(dir.path(), "h264", size, 2, X264, start));
    let whole = std::fs::read(&tracks[1].media).unwrap();
    for (cut, flips) in [(10, 0), (900, 0), (whole.len() / 2, 0), (whole.len(), 40)] {
        for seed in 0..50usize {
            let mut bytes = whole[..cut].to_vec();
            for flip in 0..flips {
                let at = (seed * 7919 + flip * 104_729) % 3_000;
                bytes[at] ^= 1 << (seed % 8);
            }
            std::fs::write(&tracks[1].media, &bytes).unwrap();
            let Ok(download) = Download::open(tracks.to_vec(), 0) else { continue };
            let pieces: Vec<_> = download.collect();
            assert!(flips > 0 || pieces.last().unwrap().is_err());
            assert!(pieces.iter().rev().skip(1).all(Result::is_ok), "ends at its first fault");
        }
    }
}

#[test]
fn archives_beyond_four_gibibytes_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.zip");
    let mut file = std::fs::File::create(&path).unwrap();
    let entry = |name: &str, length| zip::Entry { name: name.into(), length, modified_s: 1_700_000_000 };
    let entries = [entry("长.mp4", 5 << 30), entry("short.mp4", 5)];
    let mut at = 0u64;
    let mut listed = Vec::new();
    for (entry, content) in entries.iter().zip([b"".as_slice(), b"hello"]) {
        listed.push((entry.clone(), at, crc32fast::hash(content)));
        let head = zip::local_header(entry);
        file.write_all(&head).unwrap();
        file.write_all(content).unwrap();
        // A hole stands for the long one.
        at += head.len() as u64 + entry.length;
        file.set_len(at).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at)).unwrap();
        let tail = zip::descriptor(entry, crc32fast::hash(content));
        file.write_all(&tail).unwrap();
        at += tail.len() as u64;
    }
    file.write_all(&zip::directory(&listed, at)).unwrap();
    let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\n\
        print([(i.filename, i.file_size, i.date_time) for i in z.infolist()], z.read('short.mp4'), z.open('长.mp4').read(3))";
    let (out, _) = run("python3", &["-c", script, path.to_str().unwrap()]);
    let wanted = "[('长.mp4', 5368709120, (2023, 11, 14, 22, 13, 20)), ('short.mp4', 5, (2023, 11, 14, 22, 13, 20))] \
        b'hello' b'\\x00\\x00\\x00'";
    assert_eq!(out.trim(), wanted);
}

fn any_part() -> impl Strategy<Value = plan::Part> {
    let form = (0..3usize, 0..2u8).prop_map(|(codec, config)| {
        let kind = [*b"avc1", *b"hvc1", *b"vp08"][codec];
        (kind, 90_000, config)
    });
    let sound = (0..3usize, 0..2u8).prop_map(|(codec, config)| {
        let (kind, timescale) = [(*b"Opus", 48_000), (*b"alaw", 8_000), (*b"mp4a", 16_000)][codec];
        (kind, timescale, config)
    });
    (0..3u8, any::<bool>(), any::<bool>(), 0..20_000i64, 1..8_000i64, form, sound).prop_map(
        |(who, screen, video, start, lasts, picture, sound)| {
            let (kind, timescale, config) = if video { picture } else { sound };
            plan::Part {
                participant: who.to_string(),
                name: "谁".to_owned(),
                screen,
                video,
                start,
                end: start + lasts,
                form: plan::Form { kind, timescale, entry: vec![config] },
            }
        },
    )
}

proptest! {
    #[test]
    fn every_part_is_given_out_once_and_no_track_has_what_it_cannot_play(parts in prop::collection::vec(any_part(), 0..24)) {
        let files = plan::plan(&parts);
        let mut names: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), files.len());
        for file in &files {
            let of = |piece: &plan::Piece| (&parts[piece.part].participant, parts[piece.part].screen);
            let all: Vec<_> = file.video.iter().chain(&file.audio).collect();
            prop_assert!(!all.is_empty() && all.iter().all(|piece| of(piece) == of(all[0])));
            for (pieces, video) in [(&file.video, true), (&file.audio, false)] {
                prop_assert!(pieces.iter().all(|piece| parts[piece.part].video == video));
                for pair in pieces.windows(2) {
                    let (one, next) = (&parts[pair[0].part], &parts[pair[1].part]);
                    prop_assert!(next.start >= one.end - plan::OVERLAP);
                    let config = one.form.entry == next.form.entry || video || &one.form.kind == b"Opus";
                    let cut = pair[0].to == next.start;
                    prop_assert!(one.form.kind == next.form.kind && config || cut || one.end > next.start);
                }
            }
        }
        for (number, part) in parts.iter().enumerate() {
            let mut pieces: Vec<_> = files.iter().flat_map(|file| file.video.iter().chain(&file.audio)).collect();
            pieces.retain(|piece| piece.part == number);
            pieces.sort_by_key(|piece| piece.from);
            prop_assert!(pieces.first().is_some_and(|piece| piece.from <= part.start));
            prop_assert!(pieces.last().is_some_and(|piece| piece.to >= part.end));
            prop_assert!(pieces.windows(2).all(|pair| pair[0].to == pair[1].from), "{:?}", pieces);
        }
    }

    #[test]
    fn whatever_stands_in_an_init_segment_or_a_fragment_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..700usize, bit in 0..8u8) {
        let entry = fmp4::SampleEntry::Hevc(fmp4::HevcConfig {
            width: 320,
            height: 240,
            vps: vec![Bytes::from_static(b"vps")],
            sps: vec![Bytes::from_static(b"sps1"), Bytes::from_static(b"sps2")],
            pps: vec![Bytes::from_static(b"p")],
            profile_tier_level: [1; 12],
            temporal_layers: 1,
            temporal_nested: true,
            chroma_format: 1,
            bit_depth_luma: 8,
            bit_depth_chroma: 8,
        });
        let mut init = fmp4::init_segment(&fmp4::InitTrack { id: 1, timescale: 90_000, entry: &entry, name: "" });
        let sets = Trak::take(&init).unwrap().parameter_sets().unwrap();
        prop_assert_eq!(&sets[..], b"\0\0\0\x03vps\0\0\0\x04sps1\0\0\0\x04sps2\0\0\0\x01p");
        let sample = |sync| fmp4::Sample { data: Bytes::from_static(b"abcde"), duration: 1, composition: 0, sync };
        let samples = [sample(true), sample(false), sample(true)];
        let fragment = fmp4::Fragment { sequence: 1, track: 1, decode_time: 0, wall_ns: 0, samples: &samples };
        let mut fragment = fragment.write().split_off(32);
        let whole = fmp4::with_sets(&fragment, b"SET").unwrap();
        prop_assert!(whole.ends_with(b"SETabcdeabcdeSETabcde"));
        for of in [&mut init, &mut fragment] {
            let at = at % of.len();
            of[at] ^= 1 << bit;
            of.truncate(of.len() - bytes.len() % 64);
        }
        for of in [&init, &fragment, &bytes] {
            let _ = fmp4::with_sets(of, b"SET");
            if let Some(trak) = Trak::take(of) {
                let _ = (trak.parameter_sets(), trak.extent(), trak.clone().numbered(2).delayed(7).in_band().kind());
            }
        }
    }
}
