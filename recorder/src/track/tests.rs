//! Streams that ffmpeg codes, through the recorder, back to ffprobe.

use super::*;
use crate::files::{PartEvent, RecordingFiles, index_path};
use crate::index::Index;
use crate::testing::*;
use bytes::Bytes;
use rongtong_media_core::media::{CodecParams, MediaPacket};
use std::time::Duration;

const X264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "50"];
const X264_B: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "60"];
const X265: &[&str] = &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=50"];

struct Bench {
    dir: tempfile::TempDir,
    track: TrackRecorder,
    files: RecordingFiles,
    next: u32,
    events: Vec<PartEvent>,
}

impl Bench {
    fn new(codec: &CodecParams) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let track = TrackRecorder::new(codec, recording_clock()).unwrap();
        let files = RecordingFiles::new(std::sync::Arc::new(crate::disk::SystemDisk), dir.path().to_owned(), false);
        Self { dir, track, files, next: 0, events: Vec::new() }
    }

    fn feed(&mut self, packets: &[MediaPacket]) {
        for packet in packets {
            self.track.take(TapItem::Packet(packet.clone()));
            self.drain();
        }
    }

    fn drain(&mut self) {
        self.events.extend(write_out(&mut self.track, &mut self.files, &mut self.next));
    }

    fn finish(&mut self) {
        self.track.finish();
        self.drain();
    }

    fn index(&self, number: u32) -> Index {
        let bytes = std::fs::read(index_path(self.dir.path(), &format!("t{number}"))).unwrap();
        let (index, good) = Index::read(&bytes).unwrap();
        assert_eq!(good, bytes.len());
        index
    }
}

fn close(seconds: f64, wanted: f64) {
    assert!((seconds - wanted).abs() < 0.1, "{seconds} s instead of {wanted} s");
}

fn g711(seconds: u64, started: std::time::Instant, skip: std::ops::Range<u64>) -> Vec<MediaPacket> {
    (0..seconds * 50)
        .filter(|i| !skip.contains(i))
        .map(|i| {
            let tone = (0..160).map(|n| {
                let at = (i * 160 + n) as f64 / 8000.0;
                audio_codec_algorithms::encode_alaw(((at * 440.0 * std::f64::consts::TAU).sin() * 8000.0) as i16)
            });
            packet(i, 5_000 + i * 160, false, tone.collect(), started + Duration::from_millis(i * 20))
        })
        .collect()
}

#[test]
fn h264_is_recorded_in_fragments_of_a_second_and_decodes() {
    let mut bench = Bench::new(&CodecParams::h264());
    let units = clip(bench.dir.path(), "h264", "320x240", 5, X264);
    bench.feed(&packets(&units, "h264", &mut 7, started()));
    bench.finish();
    let file = media(bench.dir.path(), 1);
    let probed = probe(&file);
    assert_eq!((probed.codecs[0].as_str(), probed.sizes[0].as_str()), ("h264", "320,240"));
    close(probed.durations[0], 5.0);
    assert_eq!(frames(&file), 125);
    decodes_cleanly(&file);
    let index = bench.index(1);
    assert_eq!(index.fragments.len(), 5);
    assert!(index.ended && index.gaps.is_empty());
    let keys: Vec<_> = index.fragments.iter().map(|f| f.key).collect();
    assert_eq!(keys, [true, false, true, false, true]);
    assert_eq!(index.header.codecs, "avc1.42C00D");
}

#[test]
fn b_frames_come_out_in_order_and_at_their_times() {
    let mut bench = Bench::new(&CodecParams::h264());
    let units = clip(bench.dir.path(), "h264", "320x240", 4, X264_B);
    assert!(units.windows(2).any(|w| w[1].0 < w[0].0), "the clip has B-frames");
    bench.feed(&packets(&units, "h264", &mut 0, started()));
    bench.finish();
    let file = media(bench.dir.path(), 1);
    decodes_cleanly(&file);
    close(probe(&file).durations[0], 4.0);
    let (shown, _) =
        run("ffprobe", &["-v", "error", "-show_entries", "frame=pts", "-of", "csv=p=0", file.to_str().unwrap()]);
    let shown: Vec<i64> = shown.lines().filter_map(|l| l.trim_end_matches(',').parse().ok()).collect();
    assert_eq!(shown.len(), 100);
    assert!(shown.windows(2).all(|w| w[1] - w[0] == 3600), "{shown:?}");
}

#[test]
fn h265_is_recorded_as_hvc1() {
    let mut bench = Bench::new(&CodecParams::video(Codec::H265));
    let units = clip(bench.dir.path(), "hevc", "320x256", 3, X265);
    bench.feed(&packets(&units, "hevc", &mut 0, started()));
    bench.finish();
    let file = media(bench.dir.path(), 1);
    let probed = probe(&file);
    assert_eq!((probed.codecs[0].as_str(), probed.sizes[0].as_str()), ("hevc", "320,256"));
    close(probed.durations[0], 3.0);
    decodes_cleanly(&file);
    assert!(bench.index(1).header.codecs.starts_with("hvc1.1.6.L"), "{}", bench.index(1).header.codecs);
}

#[test]
fn a_change_of_resolution_begins_a_new_part_and_both_decode() {
    let mut bench = Bench::new(&CodecParams::h264());
    let small = clip(bench.dir.path(), "h264", "320x240", 2, X264);
    let mut large = clip(bench.dir.path(), "h264", "640x360", 2, X264);
    large.iter_mut().for_each(|unit| unit.0 += 180_000);
    let mut sequence = 0;
    let both: Vec<Unit> = small.into_iter().chain(large).collect();
    bench.feed(&packets(&both, "h264", &mut sequence, started()));
    bench.finish();
    for (number, size, start) in [(1, "320,240", 0), (2, "640,360", 2000)] {
        let file = media(bench.dir.path(), number);
        let probed = probe(&file);
        assert_eq!(probed.sizes[0], size);
        close(probed.durations[0], 2.0);
        decodes_cleanly(&file);
        assert!((bench.index(number).header.start_ms - start).abs() < 20);
    }
}

#[test]
fn after_a_loss_pictures_resume_at_a_keyframe_and_time_goes_on() {
    let mut bench = Bench::new(&CodecParams::h264());
    let units = clip(bench.dir.path(), "h264", "320x240", 6, X264);
    let mut packets = packets(&units, "h264", &mut 0, started());
    let lost = packets.iter().position(|p| p.time == units[60].0).unwrap();
    packets.remove(lost);
    bench.feed(&packets);
    assert!(bench.track.take_keyframe_wish());
    bench.finish();
    let file = media(bench.dir.path(), 1);
    decodes_cleanly(&file);
    close(probe(&file).durations[0], 6.0);
    assert_eq!(frames(&file), 150 - 40, "frames 60 to 99 need the lost one");
    let index = bench.index(1);
    assert_eq!(index.gaps.len(), 1);
    assert!((index.ms(index.gaps[0].start) - 2360).abs() <= 40);
}

#[test]
fn frames_that_the_tap_dropped_leave_a_mark() {
    let mut bench = Bench::new(&CodecParams::h264());
    let units = clip(bench.dir.path(), "h264", "320x240", 4, X264);
    let packets = packets(&units, "h264", &mut 0, started());
    let (before, after) = packets.split_at(packets.iter().position(|p| p.time == units[30].0).unwrap());
    bench.feed(before);
    bench.feed(&after.iter().map(|p| MediaPacket { sequence: p.sequence + 321, ..p.clone() }).collect::<Vec<_>>());
    bench.finish();
    assert_eq!(bench.index(1).gaps.iter().map(|g| g.packets).collect::<Vec<_>>(), [321]);
    decodes_cleanly(&media(bench.dir.path(), 1));
}

#[test]
fn g711_keeps_its_original_and_gets_an_opus_copy_of_the_same_length() {
    let mut bench = Bench::new(&CodecParams::pcma());
    let packets = g711(6, started(), 100..150);
    bench.feed(&packets);
    bench.finish();
    let (original, copy) = (media(bench.dir.path(), 1), media(bench.dir.path(), 2));
    for (file, codec) in [(&original, "pcm_alaw"), (&copy, "opus")] {
        let probed = probe(file);
        assert_eq!(probed.codecs, [codec]);
        close(probed.durations[0], 6.0);
        decodes_cleanly(file);
    }
    let copied = bench.events.iter().find_map(|event| match event {
        PartEvent::Opened { row } => row.original_of.clone().map(|of| (row.id.clone(), of)),
        _ => None,
    });
    assert_eq!(copied, Some(("t2".to_owned(), "t1".to_owned())));
    // Chromium plays it only when the box's rate is the sample entry's.
    let bytes = std::fs::read(&copy).unwrap();
    let dops = bytes.windows(4).position(|four| four == b"dOps").unwrap();
    assert_eq!(bytes[dops + 8..dops + 12], 48_000u32.to_be_bytes());
    assert_eq!(bench.index(1).gaps.len(), 1);
    for file in [&original, &copy] {
        let rms = |from: &str| {
            let filter = format!("atrim=start={from}:duration=0.5,volumedetect");
            let (_, text) = run("ffmpeg", &["-i", file.to_str().unwrap(), "-af", &filter, "-f", "null", "-"]);
            let level = text.split("mean_volume: ").nth(1).unwrap().split(' ').next().unwrap();
            level.parse::<f64>().unwrap()
        };
        assert!(rms("1.0") > -20.0 && rms("4.0") > -20.0, "the tone is there");
        assert!(rms("2.3") < -60.0, "the loss is silence");
    }
}

#[test]
fn a_copy_names_its_original_however_long_its_packets_are() {
    for merged in [1, 4, 6, 9] {
        let mut bench = Bench::new(&CodecParams::pcma());
        let small = g711(4, started(), 0..0);
        let long = small.chunks(merged).enumerate().map(|(number, packets)| {
            let payload: Vec<u8> = packets.iter().flat_map(|packet| packet.payload.to_vec()).collect();
            packet(number as u64, packets[0].time, false, payload.into(), packets[0].arrival)
        });
        let long: Vec<_> = long.collect();
        bench.feed(&long);
        bench.finish();
        let opened = bench.events.iter().filter_map(|event| match event {
            PartEvent::Opened { row } => Some((row.codec.clone(), row.original_of.clone())),
            _ => None,
        });
        let wanted = [("pcma".to_owned(), None), ("opus".to_owned(), Some("t1".to_owned()))];
        assert_eq!(opened.collect::<Vec<_>>(), wanted, "{merged} at once");
    }
}

#[test]
fn opus_with_a_pause_is_filled_with_silence() {
    let mut bench = Bench::new(&CodecParams::opus());
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Stereo, opus::Application::Voip).unwrap();
    for i in (0..250u64).filter(|i| !(100..200).contains(i)) {
        let pcm: Vec<i16> = (0..1920).map(|n| ((n / 2 + i * 960) as f64 / 15.0).sin() as i16 * 3000).collect();
        let data: Bytes = encoder.encode_vec(&pcm, 1200).unwrap().into();
        let sequence = if i < 100 { i } else { i - 100 };
        let at = started() + Duration::from_millis(i * 20);
        bench.feed(&[packet(sequence, i * 960, false, data, at)]);
    }
    bench.finish();
    let file = media(bench.dir.path(), 1);
    close(probe(&file).durations[0], 5.0);
    assert_eq!(frames(&file), 250);
    decodes_cleanly(&file);
    assert!(bench.index(1).gaps.is_empty(), "a pause is no loss");
}

#[test]
fn aac_is_recorded() {
    let mut codec = CodecParams { codec: Codec::Aac, clock_rate: 48_000, channels: 2, fmtp: String::new() };
    codec.fmtp = "mode=AAC-hbr;config=1190;sizelength=13;indexlength=3;indexdeltalength=3".into();
    let mut bench = Bench::new(&codec);
    let adts = bench.dir.path().join("tone.aac");
    run(
        "ffmpeg",
        &[
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=500:sample_rate=48000:duration=3",
            "-ac",
            "2",
            "-c:a",
            "aac",
            adts.to_str().unwrap(),
        ],
    );
    let bytes = std::fs::read(&adts).unwrap();
    let (mut at, mut count) = (0, 0u64);
    while let Some(head) = bytes.get(at..at + 7) {
        let length = usize::from(head[3] & 3) << 11 | usize::from(head[4]) << 3 | usize::from(head[5] >> 5);
        let unit = &bytes[at + 7..at + length];
        let mut payload = vec![0, 16];
        payload.extend_from_slice(&((unit.len() as u16) << 3).to_be_bytes());
        payload.extend_from_slice(unit);
        let arrival = started() + Duration::from_micros(count * 1_024_000 / 48);
        bench.feed(&[packet(count, count * 1024, true, payload.into(), arrival)]);
        (at, count) = (at + length, count + 1);
    }
    bench.finish();
    let file = media(bench.dir.path(), 1);
    assert_eq!(probe(&file).codecs, ["aac"]);
    close(probe(&file).durations[0], 3.0);
    decodes_cleanly(&file);
}

#[test]
fn vp8_is_stored() {
    let mut bench = Bench::new(&CodecParams::video(Codec::Vp8));
    let ivf = bench.dir.path().join("clip.ivf");
    run(
        "ffmpeg",
        &[
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x240:rate=25:duration=3",
            "-c:v",
            "libvpx",
            "-deadline",
            "realtime",
            "-g",
            "50",
            ivf.to_str().unwrap(),
        ],
    );
    let bytes = std::fs::read(&ivf).unwrap();
    let (mut at, mut sequence, mut shown) = (32, 0u64, 0u64);
    while let Some(head) = bytes.get(at..at + 12) {
        let length = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        let frame = &bytes[at + 12..at + 12 + length];
        let chunks: Vec<_> = frame.chunks(1000).collect();
        for (i, chunk) in chunks.iter().enumerate() {
            let mut payload = vec![if i == 0 { 0x10 } else { 0 }];
            payload.extend_from_slice(chunk);
            let arrival = started() + Duration::from_millis(shown * 40);
            bench.feed(&[packet(sequence, shown * 3600, i + 1 == chunks.len(), payload.into(), arrival)]);
            sequence += 1;
        }
        (at, shown) = (at + 12 + length, shown + 1);
    }
    bench.finish();
    let file = media(bench.dir.path(), 1);
    assert_eq!(probe(&file).codecs, ["vp8"]);
    close(probe(&file).durations[0], 3.0);
    decodes_cleanly(&file);
}

#[test]
fn a_kill_leaves_all_but_the_last_fragment() {
    let mut bench = Bench::new(&CodecParams::h264());
    let units = clip(bench.dir.path(), "h264", "320x240", 5, X264);
    bench.feed(&packets(&units, "h264", &mut 0, started()));
    // No finish: the process is gone. The last second was never written; then the tail is torn.
    let (file, side) = (media(bench.dir.path(), 1), index_path(bench.dir.path(), "t1"));
    let whole = std::fs::read(&file).unwrap();
    let index = bench.index(1);
    assert_eq!((index.fragments.len(), index.ended), (4, false));
    for cut in [whole.len(), whole.len() - 1, whole.len() * 7 / 10, whole.len() * 4 / 10] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let kept = index.fragments.iter().take_while(|f| f.offset + f.length <= cut as u64).count();
        let repaired = crate::index::repair(&crate::disk::SystemDisk, &file, &side, "", |_| 0).unwrap().unwrap();
        assert_eq!(repaired.index.fragments.len(), kept);
        assert_eq!(frames(&file), kept * 25);
        decodes_cleanly(&file);
    }
}

#[test]
fn codecs_that_have_no_place_are_refused() {
    let fault = TrackRecorder::new(&CodecParams::video(Codec::Av1), recording_clock());
    assert_eq!(fault.err(), Some(TrackFault::Codec(Codec::Av1)));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(48))]

    #[test]
    fn hostile_packets_never_panic_and_time_never_runs_back(
        codec in 0usize..6,
        steps in proptest::collection::vec((0u64..4, -5000i64..200_000, proptest::prelude::any::<bool>(), proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)), 1..60),
    ) {
        let codecs = [CodecParams::h264(), CodecParams::video(Codec::H265), CodecParams::video(Codec::Vp8), CodecParams::opus(), CodecParams::pcmu(), CodecParams::pcma()];
        let recording = recording_clock();
        let mut track = TrackRecorder::new(&codecs[codec], recording).unwrap();
        let (mut sequence, mut time) = (0, 1_000_000u64);
        for (step, later, marker, payload) in steps {
            sequence += step;
            time = time.saturating_add_signed(later);
            let mut packet = packet(sequence, time, marker, payload.into(), started());
            packet.room_ns = packet.room_ns.saturating_add(later.saturating_mul(if step == 3 { 1 << 50 } else { 1_000 }));
            track.take(TapItem::Packet(packet));
        }
        track.finish();
        let mut ends = std::collections::BTreeMap::new();
        while let Some(output) = track.poll_output() {
            if let Output::Fragment { part, fragment } = output {
                let end = ends.insert(part, fragment.start + fragment.duration);
                proptest::prop_assert!(end.is_none_or(|end| fragment.start >= end));
            }
        }
    }
}
