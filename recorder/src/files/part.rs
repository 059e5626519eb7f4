//! Media and index of one part while it is written.

use super::{PartEvent, index_path, media_path};
use crate::about::{About, about_path};
use crate::disk::{Disk, DiskFile};
use crate::fmp4::{InitTrack, init_segment};
use crate::index::{Entry, Header, Line};
use crate::track::{Opened, Written};
use rongtong_platform::store::recordings::RecordingTrackRow;
use std::io;
use std::path::Path;

pub(super) struct PartFile {
    id: String,
    timescale: u32,
    media: Box<dyn DiskFile>,
    side: Box<dyn DiskFile>,
    /// Until it is on the disk.
    about: Option<Box<dyn DiskFile>>,
    /// Bytes of whole fragments in the media file.
    written: u64,
    /// Of these, how many are known to be on the disk.
    durable: u64,
    /// Bytes of whole lines in the index.
    side_length: u64,
    /// Lines that speak of what is written and wait until it is durable.
    lines: String,
    /// End of the last fragment, ms, when `lines` has it.
    grown_ms: Option<i64>,
    closing: bool,
    ended: bool,
}

impl PartFile {
    pub fn create(disk: &dyn Disk, dir: &Path, row: &RecordingTrackRow, opened: &Opened) -> io::Result<Self> {
        let id = row.id.as_str();
        let mut about = disk.create(&about_path(dir, id))?;
        about.write_all(&About::of(row).write())?;
        let track = InitTrack { id: 1, timescale: opened.timescale, entry: &opened.entry, name: "" };
        let init = init_segment(&track);
        let mut media = disk.create(&media_path(dir, id))?;
        media.write_all(&init)?;
        let timescale = opened.timescale.max(1);
        let codecs = opened.entry.codecs();
        let header = Header { timescale, start_ms: opened.start_ms, init: init.len() as u64, codecs };
        let line = Line::Track(header).write();
        let mut side = disk.create(&index_path(dir, id))?;
        side.write_all(line.as_bytes())?;
        Ok(Self {
            id: id.to_owned(),
            timescale,
            media,
            side,
            about: Some(about),
            written: init.len() as u64,
            durable: 0,
            side_length: line.len() as u64,
            lines: String::new(),
            grown_ms: None,
            closing: false,
            ended: false,
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Closed, and the index says so.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next round closes it.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// A fragment that fits only in part is taken back.
    pub fn fragment(&mut self, fragment: &Written) -> io::Result<()> {
        let entry = Entry {
            offset: self.written,
            length: fragment.bytes.len() as u64,
            start: fragment.start,
            duration: fragment.duration,
            wall_ms: fragment.wall_ms,
            key: fragment.key,
            crc: crc32fast::hash(&fragment.bytes),
        };
        if let Err(fault) = self.media.write_all(&fragment.bytes) {
            self.cut_media(self.written);
            return Err(fault);
        }
        self.written += entry.length;
        let ticks = u128::from(entry.start) + u128::from(entry.duration);
        self.grown_ms = Some(i64::try_from(ticks * 1000 / u128::from(self.timescale)).unwrap_or(i64::MAX));
        self.line(&Line::Fragment(entry));
        Ok(())
    }

    /// Told with the next round, after what was written before.
    pub fn line(&mut self, line: &Line) {
        self.lines.push_str(&line.write());
    }

    /// Brings to the disk what was written since the last time. After an error nobody knows which
    /// of it is there, and a later success would not say so either: all of it is taken back.
    pub fn sync(&mut self) -> io::Result<()> {
        let about = self.about.as_mut().map_or(Ok(()), |about| about.sync());
        if about.is_ok() {
            self.about = None;
        }
        self.sync_media().and(about)
    }

    fn sync_media(&mut self) -> io::Result<()> {
        if self.written == self.durable {
            return Ok(());
        }
        if let Err(fault) = self.media.sync() {
            let bytes = self.written - self.durable;
            tracing::error!(%fault, track = self.id, bytes, "a track ends early: its last bytes did not reach the disk");
            self.cut_media(self.durable);
            self.written = self.durable;
            self.lines.clear();
            self.grown_ms = None;
            return Err(fault);
        }
        self.durable = self.written;
        Ok(())
    }

    /// Writes the lines that wait, and the last one of a part that closes. After an error they
    /// wait on.
    pub fn tell_index(&mut self) -> io::Result<Option<PartEvent>> {
        let closes = self.closing && !self.ended;
        if self.lines.is_empty() && !closes {
            return Ok(None);
        }
        let last = if closes { Line::Ended.write() } else { String::new() };
        let text = format!("{}{last}", self.lines);
        if let Err(fault) = self.side.write_all(text.as_bytes()) {
            if let Err(fault) = self.side.cut(self.side_length) {
                tracing::error!(%fault, track = self.id, "an index ends in a torn line");
            }
            return Err(fault);
        }
        self.side_length += text.len() as u64;
        self.lines.clear();
        self.ended |= closes;
        let (id, bytes) = (self.id.clone(), self.written);
        Ok(self.grown_ms.take().map(|duration_ms| PartEvent::Grown { id, bytes, duration_ms }))
    }

    /// For one that has ended: nothing repairs the index of a recording that ended well.
    pub fn sync_index(&mut self) -> io::Result<()> {
        self.side.sync()
    }

    fn cut_media(&mut self, length: u64) {
        if let Err(fault) = self.media.cut(length) {
            tracing::error!(%fault, track = self.id, length, "a track's file is longer than its index says");
        }
    }
}
