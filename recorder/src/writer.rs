//! The thread that writes one recording's files.
//!
//! Tracks hand over what they put out through a bounded queue and wait when the disk is behind;
//! the taps behind them then drop and count. The thread never touches the database.
//!
//! What comes is written at once and synced in rounds, of all tracks together: what a disk that
//! spins can do in a second does not depend on the number of tracks alone.

use crate::about::{codec_of, listed};
use crate::disk::SharedDisk;
use crate::files::{PartEvent, RecordingFiles, Settled};
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

/// How long what was written may wait for the others before all of it is synced.
const ROUND: Duration = Duration::from_millis(200);

/// How often the queue is looked at while a round waits.
const NAP: Duration = Duration::from_millis(10);

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
    pub disk: SharedDisk,
    pub dir: PathBuf,
    pub sync: bool,
    pub min_free: u64,
    pub live: Arc<Mutex<Live>>,
    pub bytes: Counter,
    pub gaps: Counter,
}

/// What the thread has in hand.
struct Desk {
    tracks: HashMap<u32, TrackAbout>,
    files: RecordingFiles,
    next_id: u32,
    /// When the free space was looked at.
    looked: Instant,
}

enum Next {
    /// All senders are gone.
    End,
    Job(Job),
    Round,
}

impl Writing {
    /// Starts the thread. It ends when all senders are gone, and returns why it could not write
    /// all; `failed` hears that at once.
    pub fn start(self, failed: mpsc::Sender<Ending>) -> io::Result<(mpsc::Sender<Job>, JoinHandle<Option<Ending>>)> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("recording".into()).spawn(move || self.run(queue, &failed))?;
        Ok((jobs, thread))
    }

    fn run(self, mut queue: mpsc::Receiver<Job>, failed: &mpsc::Sender<Ending>) -> Option<Ending> {
        let files = RecordingFiles::new(self.disk.clone(), self.dir.clone(), self.sync);
        let mut desk = Desk { tracks: HashMap::new(), files, next_id: 0, looked: Instant::now() };
        let written = self.write(&mut queue, &mut desk, failed);
        if let Err(fault) = &written {
            let _ = failed.try_send(ending(fault));
        }
        let closed = self.told(desk.files.abandon());
        let fault = written.and(closed).err()?;
        tracing::error!(%fault, "a recording could not be written");
        while queue.blocking_recv().is_some() {}
        Some(ending(&fault))
    }

    /// Until all senders are gone, or something cannot be written.
    fn write(&self, queue: &mut mpsc::Receiver<Job>, desk: &mut Desk, failed: &mpsc::Sender<Ending>) -> io::Result<()> {
        let mut due = None;
        loop {
            match next(queue, due) {
                Next::End => return Ok(()),
                Next::Job(job) => {
                    due.get_or_insert_with(|| Instant::now() + ROUND);
                    self.job(job, desk)?;
                }
                Next::Round => {
                    due = None;
                    self.told(desk.files.settle())?;
                    self.look(desk, failed);
                }
            }
        }
    }

    fn look(&self, desk: &mut Desk, failed: &mpsc::Sender<Ending>) {
        if desk.looked.elapsed() < LOOK {
            return;
        }
        desk.looked = Instant::now();
        if free_bytes(&self.dir).is_some_and(|free| free < self.min_free) {
            tracing::error!("a recording stops: the disk is nearly full");
            // What the tracks still hold is written: that is what the reserve is for.
            let _ = failed.try_send(Ending::DiskFull);
        }
    }

    fn job(&self, job: Job, desk: &mut Desk) -> io::Result<()> {
        match job {
            Job::Begin { track, about } => _ = desk.tracks.insert(track, about),
            Job::Refused { track, note } => {
                if let Some(about) = desk.tracks.get(&track) {
                    let mut live = self.live.lock();
                    let row = about.row(&live.row.id, &new_id(&mut desk.next_id), 0, note);
                    live.put(row);
                }
            }
            Job::Output { track, output } => {
                let Some(about) = desk.tracks.get(&track) else { return Ok(()) };
                self.count(about, &output);
                let recording = self.live.lock().row.id.clone();
                let list =
                    |opened: &Opened, original| list(about, &recording, &new_id(&mut desk.next_id), opened, original);
                if let Some(event) = desk.files.apply(track, output, list)? {
                    self.tell(event);
                }
            }
        }
        Ok(())
    }

    fn count(&self, about: &TrackAbout, output: &Output) {
        match output {
            Output::Fragment { fragment, .. } => _ = self.bytes.inc_by(fragment.bytes.len() as u64),
            Output::Gap { part, start, packets } => {
                tracing::debug!(participant = %about.participant, kind = ?about.kind, codec = about.codec, part, start, packets, "a recording lacks packets");
                self.gaps.inc();
            }
            _ => {}
        }
    }

    fn told(&self, settled: Settled) -> io::Result<()> {
        settled.events.into_iter().for_each(|event| self.tell(event));
        settled.fault.map_or(Ok(()), Err)
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

fn ending(fault: &io::Error) -> Ending {
    if fault.raw_os_error() == Some(libc::ENOSPC) { Ending::DiskFull } else { Ending::WriteFailed }
}

/// The next job; or the round, when it is `due`.
fn next(queue: &mut mpsc::Receiver<Job>, due: Option<Instant>) -> Next {
    let Some(due) = due else { return queue.blocking_recv().map_or(Next::End, Next::Job) };
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Next::Round;
        }
        match queue.try_recv() {
            Ok(job) => return Next::Job(job),
            Err(mpsc::error::TryRecvError::Disconnected) => return Next::End,
            Err(mpsc::error::TryRecvError::Empty) => std::thread::sleep(left.min(NAP)),
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

#[cfg(test)]
mod tests;
