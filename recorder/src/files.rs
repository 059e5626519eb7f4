//! A recording's files: what the tracks' state machines put out, written in rounds.
//!
//! Between rounds media is handed to the operating system, so that it outlives the process. A
//! round ([`RecordingFiles::settle`]) brings what all tracks wrote to the disk, each file once,
//! and only then tells the indexes.
//!
//! Invariant: an index line is written after its fragment is, and where the configuration asks
//! for it, after the fragment is on the disk. What failed to be written is
//! undone to the end of the fragment before it; what failed to reach the disk, to the last byte
//! that is known to be there.

mod part;

use crate::disk::SharedDisk;
use crate::index::{Gap, Line};
use crate::track::{Opened, Output};
use part::PartFile;
use rongtong_platform::store::recordings::RecordingTrackRow;
use std::collections::BTreeMap;
use std::io;
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

/// What a round did. With a fault the recording cannot go on; the events are true all the same.
#[derive(Debug, Default)]
pub struct Settled {
    pub events: Vec<PartEvent>,
    pub fault: Option<io::Error>,
}

/// The files of a recording. Parts are told apart by their track's number and their own.
pub struct RecordingFiles {
    disk: SharedDisk,
    dir: PathBuf,
    sync: bool,
    parts: BTreeMap<(u32, u32), PartFile>,
    ids: BTreeMap<(u32, u32), String>,
    /// Files were created since the folder was synced.
    named: bool,
}

impl RecordingFiles {
    /// In `dir`, which exists. `sync`: a round brings all to the disk before indexes tell of it.
    pub fn new(disk: SharedDisk, dir: PathBuf, sync: bool) -> Self {
        Self { disk, dir, sync, parts: BTreeMap::new(), ids: BTreeMap::new(), named: false }
    }

    /// Does what the track wants; what it wrote counts after the next [`RecordingFiles::settle`].
    /// `list` makes the row of a part that is opened, with an identifier that is new to the
    /// recording; it is given the identifier of the part's original.
    pub fn apply(
        &mut self,
        track: u32,
        output: Output,
        list: impl FnOnce(&Opened, Option<String>) -> RecordingTrackRow,
    ) -> io::Result<Option<PartEvent>> {
        match output {
            Output::Open { part, opened } => {
                let original_of = opened.original.and_then(|original| self.ids.get(&(track, original)).cloned());
                let row = list(&opened, original_of);
                let file = PartFile::create(&*self.disk, &self.dir, &row, &opened)?;
                self.parts.insert((track, part), file);
                self.ids.insert((track, part), row.id.clone());
                self.named = true;
                return Ok(Some(PartEvent::Opened { row: Box::new(row) }));
            }
            Output::Fragment { part, fragment } => {
                if let Some(file) = self.parts.get_mut(&(track, part)) {
                    file.fragment(&fragment)?;
                }
            }
            Output::Gap { part, start, packets } => {
                if let Some(file) = self.parts.get_mut(&(track, part)) {
                    file.line(&Line::Gap(Gap { start, packets }));
                }
            }
            Output::Origin { part, start_ms } => {
                let Some(file) = self.parts.get_mut(&(track, part)) else { return Ok(None) };
                file.line(&Line::Origin { start_ms });
                return Ok(Some(PartEvent::Moved { id: file.id().to_owned(), start_ms }));
            }
            Output::Close { part } => {
                if let Some(file) = self.parts.get_mut(&(track, part)) {
                    file.close();
                }
            }
        }
        Ok(None)
    }

    /// One round. A fault of one file does not keep the others from their round.
    pub fn settle(&mut self) -> Settled {
        let mut settled = Settled::default();
        if self.sync {
            let synced = self.parts.values_mut().map(PartFile::sync);
            settled.fault = synced.filter_map(Result::err).last();
            if self.named {
                match self.disk.sync_dir(&self.dir) {
                    Ok(()) => self.named = false,
                    Err(fault) => settled.fault = Some(fault),
                }
            }
        }
        for part in self.parts.values_mut() {
            match part.tell_index() {
                Ok(event) => settled.events.extend(event),
                Err(fault) => settled.fault = Some(fault),
            }
            if self.sync
                && part.has_ended()
                && let Err(fault) = part.sync_index()
            {
                settled.fault = Some(fault);
            }
        }
        self.parts.retain(|_, part| !part.has_ended());
        settled
    }

    /// Closes what is still open: a last round after a fault, or after a track that never ended.
    pub fn abandon(&mut self) -> Settled {
        self.parts.values_mut().for_each(PartFile::close);
        let settled = self.settle();
        for part in self.parts.values() {
            tracing::error!(track = part.id(), "an index could not be closed; what it lacks is in the media file");
        }
        settled
    }
}

#[cfg(test)]
mod tests;
