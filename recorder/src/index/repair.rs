//! After a crash: cut what is torn, rebuild what is missing.

use super::{Entry, Header, Index};
use crate::disk::{self, Disk};
use crate::fmp4;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Indexed fragments whose bytes are read again and checked; older ones were on disk long before.
const CHECKED: usize = 4;

/// The longest index that is read, bytes: about a year of one-second fragments.
const MAX_INDEX: u64 = 4 << 30;

/// What a repair left.
#[derive(Clone, Debug)]
pub struct Repaired {
    pub index: Index,
    /// Length of the media file now.
    pub bytes: u64,
    /// Bytes cut off its end.
    pub cut: u64,
}

/// Brings media and index of one track into agreement and closes the index.
///
/// `start` gives, for an index that is lost, the track's start on the recording's clock (ms)
/// from its first fragment's wall time (ms since the Unix epoch); `codecs` its RFC 6381 string.
/// `None`: not even the init segment is whole, or no fragment is; the track holds nothing.
pub fn repair(
    disk: &dyn Disk,
    media: &Path,
    side: &Path,
    codecs: &str,
    start: impl FnOnce(i64) -> i64,
) -> io::Result<Option<Repaired>> {
    let mut file = match OpenOptions::new().read(true).write(true).open(media) {
        Ok(file) => file,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let length = file.metadata()?.len();
    let mut known = read_index(side)?.filter(|index| index.header.init <= length);
    if let Some(index) = &mut known {
        let whole = index.fragments.iter().take_while(|e| e.offset.saturating_add(e.length) <= length).count();
        index.fragments.truncate(whole);
        let from = whole.saturating_sub(CHECKED);
        let mut good = from;
        for entry in index.fragments.get(from..).unwrap_or_default() {
            if crc(&mut file, entry)? != entry.crc {
                break;
            }
            good += 1;
        }
        index.fragments.truncate(good);
    }
    let mut index = match known {
        Some(index) => index,
        None => {
            let walk = fmp4::walk(&mut file, 0, length)?;
            let Some(first) = walk.fragments.first() else { return Ok(None) };
            let start_ms = start(millis(first.wall_ns));
            let header = Header { timescale: walk.timescale, start_ms, init: walk.init, codecs: codecs.to_owned() };
            Index { header, fragments: Vec::new(), gaps: Vec::new(), ended: false }
        }
    };
    let walk = fmp4::walk(&mut file, index.media_end(), length)?;
    for found in walk.fragments {
        let mut entry = Entry {
            offset: found.offset,
            length: found.length,
            start: found.moof.decode_time,
            duration: found.moof.duration,
            wall_ms: millis(found.wall_ns),
            key: found.moof.key,
            crc: 0,
        };
        if entry.start < index.end_ticks() || entry.start.checked_add(entry.duration).is_none() {
            break;
        }
        entry.crc = crc(&mut file, &entry)?;
        index.fragments.push(entry);
    }
    if index.fragments.is_empty() {
        return Ok(None);
    }
    index.ended = true;
    let end = index.end_ticks();
    index.gaps.retain(|gap| gap.start <= end);
    let bytes = index.media_end();
    file.set_len(bytes)?;
    file.sync_all()?;
    write_index(disk, side, &index)?;
    Ok(Some(Repaired { index, bytes, cut: length - bytes }))
}

fn millis(ns: i128) -> i64 {
    i64::try_from(ns / 1_000_000).unwrap_or(0)
}

fn read_index(side: &Path) -> io::Result<Option<Index>> {
    let bytes = match File::open(side) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(MAX_INDEX).read_to_end(&mut bytes)?;
            bytes
        }
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(fault),
    };
    Ok(Index::read(&bytes).map(|(index, _)| index))
}

/// Beside the old one first, so that a crash now leaves one or the other.
fn write_index(disk: &dyn Disk, side: &Path, index: &Index) -> io::Result<()> {
    let fresh = side.with_extension("idx.new");
    let mut file = File::create(&fresh)?;
    file.write_all(index.write().as_bytes())?;
    file.sync_all()?;
    disk::rename(disk, &fresh, side)
}

fn crc(file: &mut File, entry: &Entry) -> io::Result<u32> {
    file.seek(SeekFrom::Start(entry.offset))?;
    let mut hasher = crc32fast::Hasher::new();
    let mut left = entry.length;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = file.read(&mut buffer[..want])?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        left -= read as u64;
    }
    Ok(hasher.finalize())
}
