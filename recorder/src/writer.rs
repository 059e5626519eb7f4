//! The thread that writes one recording's files.
//!
//! Tracks hand over what they put out through a bounded queue and wait when the disk is behind;
//! the taps behind them then drop and count. The thread never touches the database.

use crate::about::{codec_of, listed};
use crate::files::{PartEvent, TrackFiles};
use crate::session::{Ending, Live, TrackAbout};
use crate::track::{Opened, Output};
use parking_lot::Mutex;
use rongtong_platform::metrics::Counter;
use rongtong_platform::store::recordings::RecordingTrackRow;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Outputs of all tracks that may wait for the disk: about a second each.
const QUEUE: usize = 64;

/// How often the free space is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What a track sends to the thread. `track` tells the tracks of a recording apart.
pub enum Job {
    Begin {
        track: u32,
        about: TrackAbout,
    },
    Output {
        track: u32,
        output: Output,
    },
    /// The track cannot be recorded; it is listed with the reason.
    Refused {
        track: u32,
        note: &'static str,
    },
}

pub struct Writing {
    pub dir: PathBuf,
    pub sync: bool,
    pub min_free: u64,
    pub live: Arc<Mutex<Live>>,
    pub bytes: Counter,
    pub gaps: Counter,
}

impl Writing {
    /// Starts the thread. It ends when all senders are gone; `failed` hears why it cannot go on.
    pub fn start(self, failed: mpsc::Sender<Ending>) -> io::Result<(mpsc::Sender<Job>, JoinHandle<()>)> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("recording".into()).spawn(move || self.run(queue, &failed))?;
        Ok((jobs, thread))
    }

    fn run(self, mut queue: mpsc::Receiver<Job>, failed: &mpsc::Sender<Ending>) {
        let mut tracks: HashMap<u32, (TrackAbout, TrackFiles)> = HashMap::new();
        let mut next_id = 0;
        let mut looked = Instant::now();
        let mut stopped = false;
        while let Some(job) = queue.blocking_recv() {
            if stopped {
                continue;
            }
            if let Err(fault) = self.job(job, &mut tracks, &mut next_id) {
                tracing::error!(%fault, "a recording could not be written");
                let full = fault.raw_os_error() == Some(libc::ENOSPC);
                let _ = failed.try_send(if full { Ending::DiskFull } else { Ending::WriteFailed });
                stopped = true;
            } else if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if free_bytes(&self.dir).is_some_and(|free| free < self.min_free) {
                    tracing::error!("a recording stops: the disk is nearly full");
                    // What the tracks still hold is written: that is what the reserve is for.
                    let _ = failed.try_send(Ending::DiskFull);
                }
            }
        }
        for (_, (_, mut files)) in tracks {
            files.abandon();
        }
    }

    fn job(&self, job: Job, tracks: &mut HashMap<u32, (TrackAbout, TrackFiles)>, next: &mut u32) -> io::Result<()> {
        match job {
            Job::Begin { track, about } => {
                tracks.insert(track, (about, TrackFiles::new(self.dir.clone(), self.sync)));
            }
            Job::Refused { track, note } => {
                if let Some((about, _)) = tracks.get(&track) {
                    let mut live = self.live.lock();
                    let row = about.row(&live.row.id, &new_id(next), 0, note);
                    live.put(row);
                }
            }
            Job::Output { track, output } => {
                let Some((about, files)) = tracks.get_mut(&track) else { return Ok(()) };
                match &output {
                    Output::Fragment { fragment, .. } => {
                        self.bytes.inc_by(fragment.bytes.len() as u64);
                    }
                    Output::Gap { part, start, packets } => {
                        tracing::debug!(participant = %about.participant, kind = ?about.kind, codec = about.codec, part, start, packets, "a recording lacks packets");
                        self.gaps.inc();
                    }
                    _ => {}
                }
                let recording = self.live.lock().row.id.clone();
                let list = |opened: &Opened, original| list(about, &recording, &new_id(next), opened, original);
                if let Some(event) = files.apply(output, list)? {
                    self.tell(event);
                }
            }
        }
        Ok(())
    }

    fn tell(&self, event: PartEvent) {
        let mut live = self.live.lock();
        match event {
            PartEvent::Opened { row } => {
                if let Some(original) = &row.original_of
                    && let Some(original) = live.track(original)
                {
                    original.note = "has_copy".to_owned();
                }
                live.put(*row);
            }
            PartEvent::Grown { id, bytes, duration_ms } => live.change(&id, |row| {
                row.bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                row.duration_ms = duration_ms;
            }),
            PartEvent::Moved { id, start_ms } => live.change(&id, |row| row.start_ms = start_ms),
        }
    }
}

fn new_id(next: &mut u32) -> String {
    *next += 1;
    format!("t{next}")
}

/// The row of a part: codec, size, and whether browsers play it.
fn list(
    about: &TrackAbout,
    recording: &str,
    id: &str,
    opened: &Opened,
    original_of: Option<String>,
) -> RecordingTrackRow {
    let mut row = about.row(recording, id, opened.start_ms, "");
    let codec = codec_of(&opened.entry.codecs()).unwrap_or_default();
    let (playable, note) = listed(codec);
    (row.codec, row.playable, row.note) = (codec.to_owned(), playable, note.to_owned());
    (row.width, row.height) = opened.entry.dimensions().map(|(w, h)| (i64::from(w), i64::from(h))).unzip();
    row.original_of = original_of;
    row
}

/// Bytes that an ordinary process may still write where `path` is; `None` when nobody can tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends in NUL and `stat` is as large as the call fills; it is read only after success.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return None;
        }
        stat.assume_init()
    };
    #[allow(clippy::unnecessary_cast)] // narrower on some targets
    Some((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
}
