//! After a crash: every recording that was running is repaired, ended, and listed as it is.

use crate::about::{About, about_path, codec_of};
use crate::disk::{Disk, SharedDisk, blocking};
use crate::files::{index_path, media_path};
use crate::fmp4::{MAX_BOX, Trak};
use crate::index::{Index, Repaired, repair};
use crate::service::RecorderOptions;
use crate::store::{self, Wanted};
use rongtong_platform::clock::now_ms;
use rongtong_platform::storage::{Db, StorageError};
use rongtong_platform::store::recordings::{self, RecordingFilter, RecordingRow, RecordingTrackRow};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A room that comes back within this time after the restart is recorded on, ms.
const COME_BACK: i64 = 5 * 60 * 1000;

/// After a longer time out of service nobody expects that, ms.
const TOO_LONG: i64 = 60 * 60 * 1000;

/// Repairs what a crash left in the state `recording`, and says what is to go on.
pub async fn recover(db: &Db, options: &RecorderOptions, disk: &SharedDisk) -> Result<Vec<Wanted>, StorageError> {
    let dir = options.dir.clone();
    if let Err(fault) = blocking(move || sweep(&dir)).await {
        tracing::warn!(%fault, "what was deleted could not be looked for");
    }
    let running = RecordingFilter { state: Some("recording".to_owned()), ..RecordingFilter::default() };
    // Repairing takes a row out of the list, so the same page is asked for until it is empty.
    let mut failed = BTreeSet::new();
    loop {
        let rows = recordings::list(db, &running, 100).await?;
        let todo: Vec<_> = rows.into_iter().filter(|row| !failed.contains(&row.id)).collect();
        if todo.is_empty() {
            break;
        }
        for row in todo {
            let id = row.id.clone();
            if let Err(fault) = recover_one(db, options, disk, row).await {
                tracing::error!(%fault, recording = id, "a recording could not be repaired");
                failed.insert(id);
            }
        }
    }
    let (now, mut wanted) = (now_ms(), Vec::new());
    for want in store::all_wanted(db).await? {
        if want.until_ms > now {
            wanted.push(want);
        } else {
            store::unwant(db, &want.kind, &want.subject).await?;
        }
    }
    Ok(wanted)
}

async fn recover_one(
    db: &Db,
    options: &RecorderOptions,
    disk: &SharedDisk,
    mut row: RecordingRow,
) -> Result<(), StorageError> {
    let dir = options.dir.join(&row.id);
    let known = recordings::tracks(db, &row.id).await?;
    let folder = Folder { disk: disk.clone(), dir, recording: row.id.clone(), started_at: row.started_at };
    let repaired = tokio::task::spawn_blocking(move || folder.repair(known)).await;
    let tracks = repaired.map_err(|_| StorageError::Panicked)?;
    let last_ms = tracks.iter().map(|t| t.start_ms.saturating_add(t.duration_ms)).max().unwrap_or(0).max(0);
    row.state = "recovered".to_owned();
    row.duration_ms = last_ms;
    row.ended_at = Some(row.started_at.saturating_add(last_ms));
    row.bytes = tracks.iter().map(|track| track.bytes).sum();
    tracing::info!(recording = row.id, duration_ms = last_ms, "a recording was repaired after the server went down");
    if now_ms().saturating_sub(row.started_at.saturating_add(last_ms)) < TOO_LONG {
        store::want(db, wanted(&row)).await?;
    }
    recordings::save(db, row, tracks).await
}

/// A recording to go on with.
pub fn wanted(row: &RecordingRow) -> Wanted {
    Wanted {
        kind: row.kind.clone(),
        subject: row.subject.clone(),
        title: row.title.clone(),
        started_by: row.started_by.clone(),
        until_ms: now_ms().saturating_add(COME_BACK),
    }
}

/// A recording's folder under repair.
struct Folder {
    disk: SharedDisk,
    dir: PathBuf,
    recording: String,
    /// Milliseconds since the Unix epoch.
    started_at: i64,
}

impl Folder {
    /// Files are the truth; a track of the list of which nothing can be read stays in it, with
    /// nothing in it, and one of the folder that the list does not have is put in.
    fn repair(&self, known: Vec<RecordingTrackRow>) -> Vec<RecordingTrackRow> {
        let unknown = unknown_parts(&self.dir, &known);
        let mut tracks = known;
        for track in &mut tracks {
            match self.repair_track(&track.id, &track.codec) {
                Some(repaired) => take_over(track, &repaired),
                None => (track.duration_ms, track.bytes, track.playable) = (0, 0, false),
            }
        }
        tracks.extend(unknown.iter().filter_map(|id| self.take_up(id)));
        let originals: BTreeSet<String> = tracks.iter().filter_map(|track| track.original_of.clone()).collect();
        for original in tracks.iter_mut().filter(|track| originals.contains(&track.id)) {
            original.note = "has_copy".to_owned();
        }
        tracks
    }

    /// Repairs a part that the list does not have; one that holds nothing is left as it is.
    fn take_up(&self, id: &str) -> Option<RecordingTrackRow> {
        let about = About::read(&about_path(&self.dir, id)).or_else(|| media_codec(&self.dir, id).map(About::nobody));
        let row = about.map(|about| about.row(&self.recording, id));
        let repaired = row.as_ref().and_then(|row| self.repair_track(id, &row.codec));
        let (Some(mut row), Some(repaired)) = (row, repaired) else {
            let folder = self.dir.display();
            tracing::warn!(track = id, %folder, "nothing of a file can be read; it is left as it is");
            return None;
        };
        take_over(&mut row, &repaired);
        tracing::info!(track = id, duration_ms = row.duration_ms, "a track that the database did not know was found");
        Some(row)
    }

    fn repair_track(&self, id: &str, codec: &str) -> Option<Repaired> {
        let (media, side) = (media_path(&self.dir, id), index_path(&self.dir, id));
        let start = |wall: i64| wall.saturating_sub(self.started_at);
        repair(&*self.disk, &media, &side, codecs(codec), start).unwrap_or_else(|fault| {
            tracing::error!(%fault, track = id, "a track could not be repaired");
            None
        })
    }
}

/// Parts whose media is in the folder and that are not `known`, in the order they were opened in.
fn unknown_parts(dir: &Path, known: &[RecordingTrackRow]) -> Vec<String> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(fault) => {
            tracing::error!(%fault, folder = %dir.display(), "a recording's folder could not be read");
            return Vec::new();
        }
    };
    let mut numbers = BTreeSet::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".mp4")) else { continue };
        if known.iter().any(|track| track.id == id) {
            continue;
        }
        match part_number(id) {
            Some(number) if entry.file_type().is_ok_and(|kind| kind.is_file()) => _ = numbers.insert(number),
            _ => tracing::warn!(file = %entry.path().display(), "not a track's file; it is left as it is"),
        }
    }
    numbers.into_iter().map(|number| format!("t{number}")).collect()
}

/// The number of an identifier as the writer makes them.
fn part_number(id: &str) -> Option<u32> {
    let number = id.strip_prefix('t')?.parse().ok()?;
    (format!("t{number}") == id).then_some(number)
}

/// The codec as the index or, without it, the init segment names it.
fn media_codec(dir: &Path, id: &str) -> Option<&'static str> {
    let head = |path: PathBuf, most| -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        File::open(path)?.take(most).read_to_end(&mut head)?;
        Ok(head)
    };
    // The index's first line is shorter than this.
    let indexed = head(index_path(dir, id), 512).ok().and_then(|text| Index::read(&text));
    if let Some((index, _)) = indexed {
        return codec_of(&index.header.codecs);
    }
    let trak = Trak::take(&head(media_path(dir, id), MAX_BOX).ok()?)?;
    codec_of(std::str::from_utf8(trak.kind()?).ok()?)
}

fn take_over(track: &mut RecordingTrackRow, repaired: &Repaired) {
    track.start_ms = repaired.index.header.start_ms;
    track.duration_ms = repaired.index.duration_ms();
    track.bytes = i64::try_from(repaired.bytes).unwrap_or(i64::MAX);
    if repaired.cut > 0 {
        tracing::info!(track = track.id, bytes = repaired.cut, "a torn fragment was cut off");
    }
}

/// RFC 6381's string for an index that is lost with what it said.
fn codecs(codec: &str) -> &'static str {
    match codec {
        "h264" => "avc1.42E01F",
        "h265" => "hvc1.1.6.L93.B0",
        "aac" => "mp4a.40.2",
        "vp8" => "vp08.00.10.08",
        "pcma" => "alaw",
        "pcmu" => "ulaw",
        _ => "opus",
    }
}

/// Takes a recording's files out of sight, for good; [`sweep`] removes them if this server does not.
pub fn doom(disk: &dyn Disk, dir: &Path, id: &str) -> io::Result<PathBuf> {
    let doomed = dir.join(format!(".deleted-{id}"));
    match crate::disk::rename(disk, &dir.join(id), &doomed) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        _ => Ok(doomed),
    }
}

/// Deletes what a crash kept from being deleted.
fn sweep(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".deleted-")
            && let Err(fault) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%fault, "a deleted recording's files could not be removed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
