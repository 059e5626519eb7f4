//! For tests: media from ffmpeg as RTP packets, and ffprobe as the judge of files.

use crate::about::codec_of;
use crate::disk::{Disk, DiskFile, SharedDisk, SystemDisk};
use crate::files::{PartEvent, RecordingFiles, media_path};
use crate::fmp4::{Fragment, G711Law, Sample, SampleEntry};
use crate::track::{Opened, Output, RecordingClock, TrackRecorder, Written};
use bytes::Bytes;
use rongtong_media_core::clock::RoomClock;
use rongtong_media_core::media::MediaPacket;
use rongtong_platform::config::Synchronous;
use rongtong_platform::storage::Db;
use rongtong_platform::store::recordings::{RecordingRow, RecordingTrackRow};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One access unit: presentation time in 90 kHz ticks and NAL units.
pub type Unit = (u64, Vec<Bytes>);

pub fn run(program: &str, args: &[&str]) -> (String, String) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|fault| panic!("{program}: {fault}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

/// A clip of `seconds` of a moving test picture, coded by ffmpeg as `coder` says
/// (`-c:v libx264 …`), with the times of its pictures. `codec` is `h264` or `hevc`.
pub fn clip(dir: &Path, codec: &str, size: &str, seconds: u32, coder: &[&str]) -> Vec<Unit> {
    let file = dir.join(format!("clip-{size}.mp4"));
    let raw = dir.join(format!("clip-{size}.raw"));
    let source = format!("testsrc2=size={size}:rate=25:duration={seconds}");
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &source];
    args.extend(coder);
    args.extend(["-pix_fmt", "yuv420p", "-video_track_timescale", "90000", file.to_str().unwrap()]);
    run("ffmpeg", &args);
    let filter = format!("{codec}_mp4toannexb,{codec}_metadata=aud=insert");
    run(
        "ffmpeg",
        &[
            "-v",
            "error",
            "-y",
            "-i",
            file.to_str().unwrap(),
            "-c",
            "copy",
            "-bsf:v",
            &filter,
            "-f",
            codec,
            raw.to_str().unwrap(),
        ],
    );
    let (times, _) = run(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "packet=pts",
            "-of",
            "csv=p=0",
            file.to_str().unwrap(),
        ],
    );
    let times: Vec<i64> = times.split_whitespace().map(|t| t.trim_end_matches(',').parse().unwrap()).collect();
    let first = times[0];
    let mut units: Vec<Vec<Bytes>> = Vec::new();
    for nal in annexb(&std::fs::read(&raw).unwrap()) {
        let delimiter = if codec == "h264" { nal[0] & 0x1f == 9 } else { nal[0] >> 1 & 0x3f == 35 };
        if delimiter {
            units.push(Vec::new());
        } else {
            units.last_mut().unwrap().push(nal);
        }
    }
    assert_eq!(units.len(), times.len());
    times.iter().map(|t| (1_000_000 + t - first) as u64).zip(units).collect()
}

fn annexb(bytes: &[u8]) -> Vec<Bytes> {
    let mut starts = Vec::new();
    for at in 0..bytes.len().saturating_sub(3) {
        if bytes[at..at + 3] == [0, 0, 1] {
            starts.push(at);
        }
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            let mut nal = &bytes[start + 3..end];
            while nal.last() == Some(&0) {
                nal = &nal[..nal.len() - 1];
            }
            Bytes::copy_from_slice(nal)
        })
        .collect()
}

/// Packets of at most 1,200 bytes (RFC 6184 or 7798), that arrive when they are shown.
pub fn packets(units: &[Unit], codec: &str, sequence: &mut u64, started: Instant) -> Vec<MediaPacket> {
    let first = units[0].0;
    let mut out = Vec::new();
    for (time, nals) in units {
        let arrival = started + Duration::from_micros(time.saturating_sub(first) * 100 / 9);
        let mut payloads: Vec<Bytes> = Vec::new();
        for nal in nals {
            if nal.len() <= 1200 {
                payloads.push(nal.clone());
                continue;
            }
            let header = if codec == "h264" { 1 } else { 2 };
            let chunks: Vec<_> = nal[header..].chunks(1100).collect();
            for (i, chunk) in chunks.iter().enumerate() {
                let edge = u8::from(i == 0) << 7 | u8::from(i + 1 == chunks.len()) << 6;
                let mut payload = if codec == "h264" {
                    vec![nal[0] & 0xe0 | 28, edge | nal[0] & 0x1f]
                } else {
                    vec![nal[0] & 0x81 | 49 << 1, nal[1], edge | nal[0] >> 1 & 0x3f]
                };
                payload.extend_from_slice(chunk);
                payloads.push(payload.into());
            }
        }
        let last = payloads.len() - 1;
        for (i, payload) in payloads.into_iter().enumerate() {
            out.push(packet(*sequence, *time, i == last, payload, arrival));
            *sequence += 1;
        }
    }
    out
}

pub fn packet(sequence: u64, time: u64, marker: bool, payload: Bytes, arrival: Instant) -> MediaPacket {
    let room_ns = RoomClock::anchored(started(), STARTED_NS).ns(arrival);
    MediaPacket { sequence, time, marker, payload, arrival, room_ns, level: None, red: None }
}

const STARTED_NS: i64 = 1_700_000_000_000_000_000;

/// When this test's recordings begin.
pub fn started() -> Instant {
    thread_local!(static STARTED: Instant = Instant::now());
    STARTED.with(|started| *started)
}

pub fn recording_clock() -> RecordingClock {
    RecordingClock { started_ns: STARTED_NS }
}

/// Writes all that the track puts out into `dir`; the events say what became of it.
pub fn write_out(track: &mut TrackRecorder, files: &mut RecordingFiles, next: &mut u32) -> Vec<PartEvent> {
    let mut events = Vec::new();
    while let Some(output) = track.poll_output() {
        let list = |opened: &Opened, original_of| {
            *next += 1;
            let codec = codec_of(&opened.entry.codecs()).unwrap();
            RecordingTrackRow { original_of, ..track_row("r1", &format!("t{next}"), codec) }
        };
        events.extend(files.apply(0, output, list).unwrap());
    }
    let settled = files.settle();
    assert!(settled.fault.is_none(), "{settled:?}");
    events.extend(settled.events);
    events
}

/// What ffprobe says of a file, as `key=value` lines of each stream.
pub struct Probed {
    pub codecs: Vec<String>,
    pub durations: Vec<f64>,
    pub sizes: Vec<String>,
}

pub fn probe(file: &Path) -> Probed {
    let fields = |name: &str| {
        let entry = format!("stream={name}");
        let (out, _) =
            run("ffprobe", &["-v", "error", "-show_entries", &entry, "-of", "csv=p=0", file.to_str().unwrap()]);
        out.lines().map(|line| line.trim_end_matches(',').to_owned()).filter(|l| !l.is_empty()).collect::<Vec<_>>()
    };
    let numbers = |name: &str| fields(name).iter().map(|text| text.parse().unwrap_or(f64::NAN)).collect();
    Probed { codecs: fields("codec_name"), durations: numbers("duration"), sizes: fields("width,height") }
}

/// Decodes everything; panics at the first complaint.
pub fn decodes_cleanly(file: &Path) {
    // G.711 has no channel layout in QuickTime's entry, which ffmpeg mentions.
    let (_, said) = run("ffmpeg", &["-v", "warning", "-i", file.to_str().unwrap(), "-map", "0", "-f", "null", "-"]);
    let complaints: Vec<_> =
        said.lines().filter(|line| !line.trim().is_empty() && !line.contains("Guessed Channel Layout")).collect();
    assert!(complaints.is_empty(), "{}: {complaints:?}", file.display());
}

/// Frames (or sound packets) that ffprobe decodes or counts in the first stream.
pub fn frames(file: &Path) -> usize {
    let (out, _) = run(
        "ffprobe",
        &[
            "-v",
            "error",
            "-count_packets",
            "-select_streams",
            "0",
            "-show_entries",
            "stream=nb_read_packets",
            "-of",
            "csv=p=0",
            file.to_str().unwrap(),
        ],
    );
    out.trim().trim_end_matches(',').parse().unwrap()
}

pub fn media(dir: &Path, number: u32) -> PathBuf {
    media_path(dir, &format!("t{number}"))
}

/// A G.711 part that begins 250 ms into the recording.
pub fn open_g711(part: u32, original: Option<u32>) -> Output {
    let entry = SampleEntry::G711 { law: G711Law::A, rate: 8000, channels: 1 };
    Output::Open { part, opened: Opened { entry, timescale: 8000, start_ms: 250, original } }
}

/// Its fragments, of 100 ms each, in a recording like [`recording_row`].
pub fn g711_fragment(part: u32, number: u64) -> Output {
    let data = |i: u64| Bytes::from(vec![(number * 5 + i) as u8 + 1; 160]);
    let samples: Vec<_> = (0..5).map(|i| Sample { data: data(i), duration: 160, composition: 0, sync: true }).collect();
    let (start, wall_ms) = (number * 800, 1_700_000_000_250 + number as i64 * 100);
    let wall_ns = i128::from(wall_ms) * 1_000_000 + 500_000;
    let fragment = Fragment { sequence: number as u32 + 1, track: 1, decode_time: start, wall_ns, samples: &samples };
    Output::Fragment { part, fragment: Written { bytes: fragment.write(), start, duration: 800, wall_ms, key: true } }
}

pub async fn database(dir: &Path) -> Db {
    Db::open(&format!("sqlite:{}", dir.join("t.db").display()), Synchronous::Normal).await.unwrap()
}

pub fn recording_row(id: &str, state: &str) -> RecordingRow {
    RecordingRow {
        id: id.to_owned(),
        kind: "room".to_owned(),
        subject: "r".to_owned(),
        title: "r".to_owned(),
        started_at: 1_700_000_000_000,
        ended_at: None,
        state: state.to_owned(),
        started_by: "p".to_owned(),
        bytes: 0,
        duration_ms: 0,
    }
}

pub fn track_row(recording: &str, id: &str, codec: &str) -> RecordingTrackRow {
    RecordingTrackRow {
        recording_id: recording.to_owned(),
        id: id.to_owned(),
        participant: "zhang".to_owned(),
        participant_name: "张三".to_owned(),
        kind: "audio".to_owned(),
        source: "microphone".to_owned(),
        codec: codec.to_owned(),
        playable: true,
        note: String::new(),
        start_ms: 0,
        duration_ms: 0,
        bytes: 0,
        width: None,
        height: None,
        original_of: None,
    }
}

/// The system's disk, with a list of what was asked of it, by the last parts of the paths.
#[derive(Clone, Default)]
pub struct Watched {
    steps: Arc<Mutex<Vec<String>>>,
    failing: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    pub fn shared(&self) -> SharedDisk {
        Arc::new(self.clone())
    }

    /// What was asked since the last call.
    pub fn steps(&self) -> Vec<String> {
        std::mem::take(&mut self.steps.lock().unwrap())
    }

    /// The next step of this description is not done and gives `EIO`; of a write, half is done.
    pub fn fail(&self, step: &str) {
        self.failing.lock().unwrap().push(step.to_owned());
    }

    fn note(&self, step: &str, paths: &[&Path]) -> io::Result<()> {
        let names = paths.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        let step = [step.to_owned()].into_iter().chain(names).collect::<Vec<_>>().join(" ");
        let mut failing = self.failing.lock().unwrap();
        let fails = failing.iter().position(|failing| *failing == step);
        self.steps.lock().unwrap().push(step);
        match fails {
            Some(at) => {
                failing.remove(at);
                Err(io::Error::from_raw_os_error(5))
            }
            None => Ok(()),
        }
    }
}

impl Disk for Watched {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.note("create", &[path])?;
        let file = SystemDisk.create(path)?;
        Ok(Box::new(WatchedFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.note("create_dir", &[path])?;
        SystemDisk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("rename", &[from, to])?;
        SystemDisk.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.note("sync_dir", &[path])?;
        SystemDisk.sync_dir(path)
    }
}

struct WatchedFile {
    disk: Watched,
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl DiskFile for WatchedFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.disk.note("write", &[&self.path]) {
            Ok(()) => self.file.write_all(bytes),
            Err(fault) => self.file.write_all(&bytes[..bytes.len() / 2]).and(Err(fault)),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.note("sync", &[&self.path])?;
        self.file.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.disk.note("cut", &[&self.path])?;
        self.file.cut(length)
    }
}
