//! One MP4 of a whole recording, made while it is sent: fragments of all tracks by time, each
//! turned to its track number and to the recording's clock.
//!
//! Invariant: its length is known before the first byte ([`Export::length`]), and memory holds
//! one fragment at a time.

use crate::fmp4::{self, MAX_BOX};
use crate::index::Index;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// `prft` as the writer makes it, bytes; it is left out of the export.
const PRFT: u64 = 32;

/// The longest fragment that is read, bytes.
const MAX_FRAGMENT: u64 = 256 << 20;

/// A track to put in.
#[derive(Clone, Debug)]
pub struct ExportTrack {
    pub media: PathBuf,
    pub index: Index,
}

struct Piece {
    track: usize,
    fragment: usize,
    /// On the recording's clock, ms; pieces go out in this order.
    at_ms: i64,
}

/// An export under way.
pub struct Export {
    tracks: Vec<ExportTrack>,
    files: BTreeMap<usize, File>,
    pieces: std::vec::IntoIter<Piece>,
    head: Option<Vec<u8>>,
    length: u64,
    sequence: u32,
    /// What moves the earliest track to 0, ms.
    shift_ms: i64,
}

impl Export {
    /// Opens the tracks. A track that started before the recording's zero moves all the others.
    pub fn open(tracks: Vec<ExportTrack>) -> io::Result<Self> {
        let mut traks = Vec::new();
        for (number, track) in tracks.iter().enumerate() {
            let mut init = vec![0; usize::try_from(track.index.header.init.min(MAX_BOX)).unwrap_or(0)];
            File::open(&track.media)?.read_exact(&mut init)?;
            traks.push(fmp4::take_trak(&init, number as u32 + 1).ok_or_else(|| damaged("init segment"))?);
        }
        let shift_ms =
            tracks.iter().map(|track| track.index.header.start_ms).min().unwrap_or(0).min(0).saturating_neg();
        let end = tracks.iter().map(|t| t.index.header.start_ms.saturating_add(t.index.duration_ms())).max();
        let duration = end.unwrap_or(0).saturating_add(shift_ms).max(0);
        let head = fmp4::join_init(&traks, u64::try_from(duration).unwrap_or(0));
        let mut pieces: Vec<_> = tracks
            .iter()
            .enumerate()
            .flat_map(|(track, t)| {
                let index = &t.index;
                index.fragments.iter().enumerate().map(move |(fragment, entry)| Piece {
                    track,
                    fragment,
                    at_ms: index.clock_ms(entry),
                })
            })
            .collect();
        pieces.sort_by_key(|piece| piece.at_ms);
        let media: u64 =
            tracks.iter().flat_map(|t| &t.index.fragments).map(|entry| entry.length.saturating_sub(PRFT)).sum();
        let length = head.len() as u64 + media;
        Ok(Self {
            tracks,
            files: BTreeMap::new(),
            pieces: pieces.into_iter(),
            head: Some(head),
            length,
            sequence: 0,
            shift_ms,
        })
    }

    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn piece(&mut self, piece: &Piece) -> io::Result<Bytes> {
        let missing = || damaged("index");
        let track = self.tracks.get(piece.track).ok_or_else(missing)?;
        let entry = track.index.fragments.get(piece.fragment).ok_or_else(missing)?;
        if entry.length <= PRFT || entry.length > MAX_FRAGMENT {
            return Err(damaged("index"));
        }
        let file = match self.files.entry(piece.track) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => place.insert(File::open(&track.media)?),
        };
        let mut bytes = vec![0; (entry.length - PRFT) as usize];
        file.seek(SeekFrom::Start(entry.offset + PRFT))?;
        file.read_exact(&mut bytes)?;
        let moof = bytes.first_chunk().map_or(0, |size| u32::from_be_bytes(*size) as usize);
        let timescale = i64::from(track.index.header.timescale);
        let shift = track.index.header.start_ms.saturating_add(self.shift_ms).saturating_mul(timescale) / 1000;
        let decode_time = entry.start.saturating_add_signed(shift);
        self.sequence = self.sequence.wrapping_add(1);
        bytes
            .get_mut(..moof)
            .and_then(|moof| fmp4::retarget(moof, self.sequence, piece.track as u32 + 1, decode_time).ok())
            .ok_or_else(|| damaged("fragment"))?;
        Ok(bytes.into())
    }
}

impl Iterator for Export {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(head) = self.head.take() {
            return Some(Ok(head.into()));
        }
        let piece = self.pieces.next()?;
        let bytes = self.piece(&piece);
        if bytes.is_err() {
            self.pieces = Vec::new().into_iter();
        }
        Some(bytes)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the recording's file is damaged: its {what} is not readable"))
}

/// A name for files: nothing that a file system or a header minds.
pub fn plain_name(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ') { c } else { '_' })
        .take(80)
        .collect();
    let plain = plain.trim_matches([' ', '.']).to_owned();
    if plain.is_empty() { "recording".to_owned() } else { plain }
}
