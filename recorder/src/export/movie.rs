//! One MP4 with one track of pictures and one of sound: fragments by time, each turned to its track's number
//! and to the file's clock, with parameter sets in band where a track's parts have different ones.

use super::damaged;
use super::plan::{Piece, Planned};
use crate::fmp4::{self, MAX_BOX, Moof, Trak};
use crate::index::Index;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// `prft` as the writer makes it, bytes; it is left out of the export.
const PRFT: u64 = 32;

/// The longest fragment that is read, bytes.
const MAX_FRAGMENT: u64 = 256 << 20;

/// A track of the recording on disk.
pub(super) struct MoviePart {
    pub trak: Trak,
    pub media: PathBuf,
    pub index: Index,
}

/// A part in a track of the file.
struct Place {
    part: Arc<MoviePart>,
    fragments: Range<usize>,
    track: u32,
    /// Added to the part's decode times, ticks.
    shift: i64,
    /// To stand before each keyframe; empty where the sample entry says it all.
    sets: Vec<u8>,
}

/// A fragment in its order.
struct Next {
    place: usize,
    fragment: usize,
    /// On the recording's clock, ms.
    at_ms: i64,
}

pub(super) struct Movie {
    places: Vec<Place>,
    /// The file that is open of each track, and whose place it is: parts of a track follow one another.
    files: BTreeMap<u32, (usize, File)>,
    order: std::vec::IntoIter<Next>,
    head: Option<Vec<u8>>,
    length: u64,
    sequence: u32,
    created_s: u64,
}

impl Movie {
    /// `None`: no fragment begins in its time.
    pub fn open(planned: &Planned, parts: &[Arc<MoviePart>], started_ms: i64) -> io::Result<Option<Self>> {
        let tracks: Vec<_> = [(&planned.video, true), (&planned.audio, false)]
            .into_iter()
            .map(|(pieces, video)| ranges(pieces, parts, video))
            .filter(|pieces| !pieces.is_empty())
            .collect();
        let begin_of =
            |pieces: &[(Arc<MoviePart>, Range<usize>)]| pieces.first().map(|(part, range)| begin(part, range));
        let Some(begin_ms) = tracks.iter().filter_map(|pieces| begin_of(pieces)).min() else { return Ok(None) };
        let (mut places, mut traks, mut end_ms) = (Vec::new(), Vec::new(), begin_ms);
        for (number, pieces) in (1..).zip(&tracks) {
            let differ = pieces.windows(2).any(|pair| pair[0].0.trak.entry() != pair[1].0.trak.entry());
            let Some(largest) = pieces.iter().max_by_key(|(part, _)| part.trak.extent()) else { continue };
            let late = begin_of(pieces).unwrap_or(begin_ms).saturating_sub(begin_ms);
            let trak = largest.0.trak.clone().numbered(number).delayed(u32::try_from(late).unwrap_or(u32::MAX));
            traks.push(if differ { trak.in_band() } else { trak });
            let mut end = 0;
            for (part, range) in pieces {
                let shift = shift(&pieces[0], (part, range), end);
                end = ticks(&part.index, range.end - 1).1.saturating_add_signed(shift);
                let sets = if differ { part.trak.parameter_sets() } else { Some(Vec::new()) };
                let sets = sets.ok_or_else(|| damaged("init segment"))?;
                places.push(Place { part: part.clone(), fragments: range.clone(), track: number, shift, sets });
            }
            let timescale = pieces[0].0.index.header.timescale.max(1);
            let lasts = i64::try_from(u128::from(end) * 1000 / u128::from(timescale)).unwrap_or(i64::MAX);
            end_ms = end_ms.max(begin_ms.saturating_add(late).saturating_add(lasts));
        }
        let created_s = u64::try_from(started_ms.saturating_add(begin_ms) / 1000).unwrap_or(0);
        let duration = u64::try_from(end_ms.saturating_sub(begin_ms)).unwrap_or(0);
        let head = fmp4::join_init(&traks, duration, created_s);
        let mut movie = Self {
            order: in_order(&places).into_iter(),
            places,
            files: BTreeMap::new(),
            length: head.len() as u64,
            head: Some(head),
            sequence: 0,
            created_s,
        };
        movie.length += movie.media_length()?;
        Ok(Some(movie))
    }

    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// When its first picture or sound was, seconds since the Unix epoch.
    pub fn created_s(&self) -> u64 {
        self.created_s
    }

    fn media_length(&mut self) -> io::Result<u64> {
        let mut length = 0u64;
        for number in 0..self.places.len() {
            for fragment in self.places[number].fragments.clone() {
                length += self.fragment_length(number, fragment)?;
            }
        }
        self.files.clear();
        Ok(length)
    }

    fn fragment_length(&mut self, number: usize, fragment: usize) -> io::Result<u64> {
        let place = &self.places[number];
        let (offset, length) = span(&place.part.index, fragment)?;
        let sets = place.sets.len() as u64;
        if sets == 0 {
            return Ok(length);
        }
        let head = u64::from(u32::from_be_bytes(self.read(number, offset, 4)?.try_into().unwrap_or_default()));
        let moof = self.read(number, offset, head.min(MAX_BOX).min(length))?;
        let moof = Moof::parse(&moof).map_err(|_| damaged("fragment"))?;
        Ok(length + sets * u64::from(moof.syncs))
    }

    fn read(&mut self, number: usize, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let place = &self.places[number];
        if self.files.get(&place.track).is_none_or(|(open, _)| *open != number) {
            self.files.insert(place.track, (number, File::open(&place.part.media)?));
        }
        let (_, file) = self.files.get_mut(&place.track).ok_or_else(|| damaged("index"))?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged("index"))?];
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn fragment(&mut self, next: &Next) -> io::Result<Bytes> {
        let (offset, length) = span(&self.places[next.place].part.index, next.fragment)?;
        let mut bytes = self.read(next.place, offset, length)?;
        let place = &self.places[next.place];
        if !place.sets.is_empty() {
            bytes = fmp4::with_sets(&bytes, &place.sets).map_err(|_| damaged("fragment"))?;
        }
        let moof = bytes.first_chunk().map_or(0, |size| u32::from_be_bytes(*size) as usize);
        let decode_time = ticks(&place.part.index, next.fragment).0.saturating_add_signed(place.shift);
        self.sequence = self.sequence.wrapping_add(1);
        bytes
            .get_mut(..moof)
            .and_then(|moof| fmp4::retarget(moof, self.sequence, place.track, decode_time).ok())
            .ok_or_else(|| damaged("fragment"))?;
        Ok(bytes.into())
    }
}

impl Iterator for Movie {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(head) = self.head.take() {
            return Some(Ok(head.into()));
        }
        let next = self.order.next()?;
        Some(self.fragment(&next))
    }
}

/// The fragments of each piece; pieces without one are left out. Pictures go on in another file with a
/// keyframe only.
fn ranges(pieces: &[Piece], parts: &[Arc<MoviePart>], video: bool) -> Vec<(Arc<MoviePart>, Range<usize>)> {
    let ranges = pieces.iter().filter_map(|piece| {
        let part = parts.get(piece.part)?;
        let fragments = &part.index.fragments;
        let from = |at: i64| {
            let reached = |entry| part.index.clock_ms(entry) >= at;
            let first = fragments.iter().position(|entry| reached(entry) && (entry.key || !video));
            first.unwrap_or(fragments.len())
        };
        let start = if piece.from == i64::MIN { 0 } else { from(piece.from) };
        let end = if piece.to == i64::MAX { fragments.len() } else { from(piece.to) };
        (start < end).then(|| (part.clone(), start..end))
    });
    ranges.collect()
}

/// On the recording's clock, ms.
fn begin(part: &MoviePart, range: &Range<usize>) -> i64 {
    part.index.fragments.get(range.start).map_or(0, |first| part.index.clock_ms(first))
}

/// Start and end of a fragment on its part's clock.
fn ticks(index: &Index, fragment: usize) -> (u64, u64) {
    index.fragments.get(fragment).map_or((0, 0), |entry| (entry.start, entry.start.saturating_add(entry.duration)))
}

/// What turns a part's decode times into the track's, whose first is 0. A part that would begin before the
/// one before it has ended (`end`, track's ticks) begins at that end.
fn shift(first: &(Arc<MoviePart>, Range<usize>), part: (&Arc<MoviePart>, &Range<usize>), end: u64) -> i64 {
    let header = |part: &MoviePart| (part.index.header.start_ms, i64::from(part.index.header.timescale));
    let ((origin, _), (start_ms, timescale)) = (header(&first.0), header(part.0));
    let signed = |ticks: u64| i64::try_from(ticks).unwrap_or(i64::MAX);
    let later = start_ms.saturating_sub(origin).saturating_mul(timescale) / 1000;
    let shift = later.saturating_sub(signed(ticks(&first.0.index, first.1.start).0));
    let begins = signed(ticks(&part.0.index, part.1.start).0).saturating_add(shift);
    shift.saturating_add(signed(end).saturating_sub(begins).max(0))
}

/// All fragments by time. Those of one track keep their turn, also where a part was moved behind another.
fn in_order(places: &[Place]) -> Vec<Next> {
    let mut reached = BTreeMap::new();
    let mut order = Vec::new();
    for (place, of) in places.iter().enumerate() {
        let reached = reached.entry(of.track).or_insert(i64::MIN);
        for fragment in of.fragments.clone() {
            let at = of.part.index.fragments.get(fragment).map_or(0, |entry| of.part.index.clock_ms(entry));
            *reached = at.max(*reached);
            order.push(Next { place, fragment, at_ms: *reached });
        }
    }
    order.sort_by_key(|next| next.at_ms);
    order
}

/// Where a fragment's `moof` begins, and how long `moof` and `mdat` are.
fn span(index: &Index, fragment: usize) -> io::Result<(u64, u64)> {
    let entry = index.fragments.get(fragment).filter(|entry| entry.length > PRFT && entry.length <= MAX_FRAGMENT);
    let entry = entry.ok_or_else(|| damaged("index"))?;
    Ok((entry.offset + PRFT, entry.length - PRFT))
}
