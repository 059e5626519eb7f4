//! A camera: one picture, one encoder, one tone, shared by everybody who watches.
//!
//! RTP time is a pure function of the clock, so a camera that nobody watched for a
//! while goes on with the right stamps. The encoding thread lives while there is a
//! viewer. A viewer that is behind loses pictures up to the next keyframe.

use crate::config::{CameraSpec, Fault};
use crate::encoder::{VideoEncoder, parameter_sets};
use crate::picture::Picture;
use crate::rtp::RtpSender;
use crate::tone::{self, Tone};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

pub const VIDEO: usize = 0;
pub const AUDIO: usize = 1;
pub const VIDEO_CLOCK: u32 = 90_000;
const REPORT_EVERY: Duration = Duration::from_secs(2);
const AUDIO_PACKET: Duration = Duration::from_millis(20);
/// Pictures and sound packets a viewer may be behind: about 3 s.
const BACKLOG: usize = 256;

/// Packets that belong together: a picture, 20 ms of sound, or a report.
pub struct Unit {
    pub track: usize,
    pub rtcp: bool,
    pub key: bool,
    pub packets: Vec<Bytes>,
}

pub struct Camera {
    pub spec: CameraSpec,
    pub sps: Vec<u8>,
    pub pps: Vec<u8>,
    epoch: Instant,
    bases: [u32; 2],
    audience: Mutex<Audience>,
}

#[derive(Default)]
struct Audience {
    viewers: Vec<Viewer>,
    thread_runs: bool,
    somebody_new: bool,
}

struct Viewer {
    units: mpsc::Sender<Arc<Unit>>,
    waits_for_key: bool,
}

impl Camera {
    pub fn new(spec: CameraSpec) -> Result<Self, openh264::Error> {
        let (sps, pps) = parameter_sets(&spec)?;
        Ok(Self {
            spec,
            sps,
            pps,
            epoch: Instant::now(),
            bases: [rand::random(), rand::random()],
            audience: Mutex::default(),
        })
    }

    /// RTP time of a track at this moment.
    pub fn rtp_time(&self, track: usize, now: Instant) -> u32 {
        let rate = if track == VIDEO { VIDEO_CLOCK } else { tone::CLOCK_RATE };
        let ticks = now.saturating_duration_since(self.epoch).as_nanos() * u128::from(rate) / 1_000_000_000;
        self.base(track).wrapping_add(ticks as u32)
    }

    /// Pictures (from a fresh keyframe on) and sound, until the receiver is dropped.
    pub fn watch(self: &Arc<Self>) -> mpsc::Receiver<Arc<Unit>> {
        let (units, receiver) = mpsc::channel(BACKLOG);
        let mut audience = self.audience();
        audience.viewers.push(Viewer { units, waits_for_key: true });
        audience.somebody_new = true;
        if !audience.thread_runs {
            audience.thread_runs = true;
            let camera = self.clone();
            let thread = std::thread::Builder::new().name(format!("sim-{}", self.spec.path));
            if let Err(error) = thread.spawn(move || camera.run()) {
                tracing::error!(%error, "the system refused a thread for a simulated camera");
                *audience = Audience::default();
            }
        }
        receiver
    }

    fn audience(&self) -> MutexGuard<'_, Audience> {
        self.audience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn base(&self, track: usize) -> u32 {
        self.bases.get(track).copied().unwrap_or_default()
    }

    fn run(self: Arc<Self>) {
        if let Err(error) = self.produce() {
            tracing::error!(%error, camera = self.spec.path, "the encoder of a simulated camera failed");
            *self.audience() = Audience::default();
        }
    }

    fn produce(&self) -> Result<(), openh264::Error> {
        let spec = &self.spec;
        let frame_time = |index: u64| Duration::from_nanos(index * 1_000_000_000 / u64::from(spec.fps));
        let mut picture = Picture::new(spec.width as usize, spec.height as usize, &spec.name, spec.hue);
        let mut encoder = VideoEncoder::new(spec)?;
        let tone = (spec.tone_hz > 0).then(|| Tone::new(spec.tone_hz));
        let mut video = RtpSender::new(96, rand::random(), rand::random());
        let mut audio = RtpSender::new(8, rand::random(), rand::random());

        let started = self.epoch.elapsed();
        let mut next_frame = (started.as_secs_f64() * f64::from(spec.fps)).ceil() as u64;
        let mut next_sound = started.as_millis() as u64 / 20 + 1;
        let mut next_report = started;
        loop {
            let sound_time = AUDIO_PACKET * u32::try_from(next_sound).unwrap_or(u32::MAX);
            let due = if tone.is_some() { frame_time(next_frame).min(sound_time) } else { frame_time(next_frame) };
            std::thread::sleep(due.saturating_sub(self.epoch.elapsed()));
            let Some(somebody_new) = self.still_watched() else { return Ok(()) };

            let now = self.epoch.elapsed();
            if now >= next_report || somebody_new {
                next_report = now + REPORT_EVERY;
                self.report(&video, &audio);
            }
            if let Some(tone) = tone.as_ref().filter(|_| now >= sound_time) {
                let timestamp =
                    self.base(AUDIO).wrapping_add((next_sound as u32).wrapping_mul(tone::SAMPLES_PER_PACKET));
                let packet = audio.packet(timestamp, false, &[&tone.packet(next_sound)]);
                self.send(Unit { track: AUDIO, rtcp: false, key: false, packets: vec![packet] });
                // After a stall of a second there is nothing left to catch up with.
                next_sound = (next_sound + 1).max((now.as_millis() as u64 / 20).saturating_sub(50));
            }
            if now >= frame_time(next_frame) || somebody_new {
                let at = frame_time(next_frame);
                picture.draw(next_frame, at, wall_clock());
                if let Some(unit) = encoder.encode(&picture, at, somebody_new)? {
                    let ticks = next_frame * u64::from(VIDEO_CLOCK) / u64::from(spec.fps);
                    let timestamp = self.base(VIDEO).wrapping_add(ticks as u32);
                    let packets = video.h264(timestamp, &unit.nals, spec.max_payload);
                    self.send(Unit { track: VIDEO, rtcp: false, key: unit.key, packets });
                }
                let late = (now.as_secs_f64() * f64::from(spec.fps)) as u64;
                next_frame = (next_frame + 1).max(late);
            }
        }
    }

    /// `None` when the last viewer is gone (the thread then ends), else whether somebody came.
    fn still_watched(&self) -> Option<bool> {
        let mut audience = self.audience();
        audience.viewers.retain(|viewer| !viewer.units.is_closed());
        if audience.viewers.is_empty() {
            *audience = Audience::default();
            return None;
        }
        Some(std::mem::take(&mut audience.somebody_new))
    }

    fn report(&self, video: &RtpSender, audio: &RtpSender) {
        let (now, wall) = (Instant::now(), wall_clock());
        for (track, sender) in [(VIDEO, video), (AUDIO, audio)] {
            let packet = sender.sender_report(self.rtp_time(track, now), wall, &self.spec.path);
            self.send(Unit { track, rtcp: true, key: false, packets: vec![packet] });
        }
    }

    fn send(&self, unit: Unit) {
        let unit = match self.spec.fault {
            Some(Fault::Silent) => return,
            Some(Fault::RubbishRtp) => {
                Unit { packets: unit.packets.iter().map(|packet| rubbish(packet.len())).collect(), ..unit }
            }
            _ => unit,
        };
        let unit = Arc::new(unit);
        let mut audience = self.audience();
        for viewer in &mut audience.viewers {
            let picture = unit.track == VIDEO && !unit.rtcp;
            if picture && viewer.waits_for_key && !unit.key {
                continue;
            }
            match viewer.units.try_send(unit.clone()) {
                Ok(()) if picture => viewer.waits_for_key = false,
                Err(mpsc::error::TrySendError::Full(_)) if picture => viewer.waits_for_key = true,
                _ => {}
            }
        }
    }
}

/// So many random bytes, at least one.
pub fn rubbish(length: usize) -> Bytes {
    (0..length.max(1)).map(|_| rand::random::<u8>()).collect()
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
