//! A recording's files: what a track's state machine puts out, written in order.
//!
//! Invariant: a fragment's index line is written after the fragment, and where the configuration
//! asks for it, after the fragment is on the disk. A failed write is undone to the end of the
//! fragment before it.

use crate::about::{About, about_path};
use crate::fmp4::{InitTrack, init_segment};
use crate::index::{Entry, Gap, Header, Line};
use crate::track::{Opened, Output};
use rongtong_platform::store::recordings::RecordingTrackRow;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Media and index of one part, by its identifier in the recording.
pub fn media_path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.mp4"))
}

pub fn index_path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.idx"))
}

/// Something about a part that others want to know.
#[derive(Clone, Debug)]
pub enum PartEvent {
    Opened { row: Box<RecordingTrackRow> },
    Grown { id: String, bytes: u64, duration_ms: i64 },
    Moved { id: String, start_ms: i64 },
}

/// The files of one track.
pub struct TrackFiles {
    dir: PathBuf,
    sync: bool,
    parts: BTreeMap<u32, PartFile>,
    ids: BTreeMap<u32, String>,
}

struct PartFile {
    id: String,
    timescale: u32,
    media: File,
    side: File,
    length: u64,
}

impl TrackFiles {
    /// In `dir`, which exists. `sync`: every fragment is on the disk before its index line is written.
    pub fn new(dir: PathBuf, sync: bool) -> Self {
        Self { dir, sync, parts: BTreeMap::new(), ids: BTreeMap::new() }
    }

    /// Does what the track wants. `list` makes the row of a part that is opened, with an
    /// identifier that is new to the recording; it is given the identifier of the part's original.
    pub fn apply(
        &mut self,
        output: Output,
        list: impl FnOnce(&Opened, Option<String>) -> RecordingTrackRow,
    ) -> io::Result<Option<PartEvent>> {
        match output {
            Output::Open { part, opened } => {
                let original_of = opened.original.and_then(|original| self.ids.get(&original).cloned());
                let row = list(&opened, original_of);
                self.parts.insert(part, PartFile::create(&self.dir, &row, &opened, self.sync)?);
                if self.sync {
                    File::open(&self.dir)?.sync_all()?;
                }
                self.ids.insert(part, row.id.clone());
                Ok(Some(PartEvent::Opened { row: Box::new(row) }))
            }
            Output::Fragment { part, fragment } => {
                let Some(file) = self.parts.get_mut(&part) else { return Ok(None) };
                let entry = Entry {
                    offset: file.length,
                    length: fragment.bytes.len() as u64,
                    start: fragment.start,
                    duration: fragment.duration,
                    wall_ms: fragment.wall_ms,
                    key: fragment.key,
                    crc: crc32fast::hash(&fragment.bytes),
                };
                file.fragment(&fragment.bytes, &entry, self.sync)?;
                let ticks = u128::from(entry.start) + u128::from(entry.duration);
                let duration_ms = i64::try_from(ticks * 1000 / u128::from(file.timescale)).unwrap_or(i64::MAX);
                Ok(Some(PartEvent::Grown { id: file.id.clone(), bytes: file.length, duration_ms }))
            }
            Output::Gap { part, start, packets } => {
                if let Some(file) = self.parts.get_mut(&part) {
                    file.line(&Line::Gap(Gap { start, packets }))?;
                }
                Ok(None)
            }
            Output::Origin { part, start_ms } => {
                let Some(file) = self.parts.get_mut(&part) else { return Ok(None) };
                file.line(&Line::Origin { start_ms })?;
                Ok(Some(PartEvent::Moved { id: file.id.clone(), start_ms }))
            }
            Output::Close { part } => {
                let Some(mut file) = self.parts.remove(&part) else { return Ok(None) };
                file.media.sync_all()?;
                file.line(&Line::Ended)?;
                file.side.sync_all()?;
                Ok(None)
            }
        }
    }

    /// Closes what is still open, after a fault.
    pub fn abandon(&mut self) {
        for (_, mut file) in std::mem::take(&mut self.parts) {
            if file.line(&Line::Ended).is_err() {
                tracing::warn!(track = file.id, "an index could not be closed; it is repaired at the next start");
            }
        }
    }
}

impl PartFile {
    fn create(dir: &Path, row: &RecordingTrackRow, opened: &Opened, sync: bool) -> io::Result<Self> {
        let id = row.id.as_str();
        let fresh = |path: PathBuf| OpenOptions::new().write(true).create_new(true).open(path);
        let mut about = fresh(about_path(dir, id))?;
        about.write_all(&About::of(row).write())?;
        if sync {
            about.sync_data()?;
        }
        let track = InitTrack { id: 1, timescale: opened.timescale, entry: &opened.entry, name: "" };
        let init = init_segment(&track);
        let mut media = fresh(media_path(dir, id))?;
        media.write_all(&init)?;
        let header = Header {
            timescale: opened.timescale.max(1),
            start_ms: opened.start_ms,
            init: init.len() as u64,
            codecs: opened.entry.codecs(),
        };
        let timescale = header.timescale;
        let side = fresh(index_path(dir, id))?;
        let mut file = Self { id: id.to_owned(), timescale, media, side, length: init.len() as u64 };
        file.line(&Line::Track(header))?;
        Ok(file)
    }

    fn fragment(&mut self, bytes: &[u8], entry: &Entry, sync: bool) -> io::Result<()> {
        let mut written = self.media.write_all(bytes);
        if written.is_ok() && sync {
            written = self.media.sync_data();
        }
        if let Err(fault) = written {
            self.media.set_len(self.length)?;
            self.media.seek(SeekFrom::Start(self.length))?;
            return Err(fault);
        }
        self.length += bytes.len() as u64;
        self.line(&Line::Fragment(entry.clone()))
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        self.side.write_all(line.write().as_bytes())
    }
}
