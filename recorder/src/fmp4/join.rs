//! One-track init segments of ours into one file's: each `trak` is copied as it stands, under a new
//! number, with its beginning in an edit list, and with its parameter sets in band where parts differ.

use super::boxes::Boxes;
use super::init::{movie_header, track_defaults};
use super::{AUDIO_ENTRY, VISUAL_ENTRY};
use std::ops::Range;

/// The way from a `trak` to its sample entries.
const TO_ENTRIES: [&[u8; 4]; 4] = [b"mdia", b"minf", b"stbl", b"stsd"];

/// Version, flags and count, before the first sample entry.
const BEFORE_ENTRY: usize = 8;

/// A `trak` box on its way into a joined file.
#[derive(Clone, Debug)]
pub struct Trak {
    number: u32,
    /// Without the box's own header.
    body: Vec<u8>,
}

impl Trak {
    /// The `trak` of our own one-track init segment. `None`: it is damaged.
    pub fn take(init: &[u8]) -> Option<Self> {
        let moov = child(init, 0..init.len(), b"moov")?;
        let body = init.get(child(init, moov, b"trak")?)?.to_vec();
        // `tkhd` version 0 comes first: box header, version and flags, two times, then the number.
        (body.get(4..9)? == b"tkhd\0" && body.len() >= 24).then_some(())?;
        let trak = Self { number: 0, body };
        trak.entry()?;
        Some(trak)
    }

    pub fn numbered(mut self, number: u32) -> Self {
        self.number = number;
        self.body[20..24].copy_from_slice(&number.to_be_bytes());
        self
    }

    /// The track begins so long after the file, ms: an edit list (ISO/IEC 14496-12 8.6.6) of an empty edit
    /// and the media. Its decode times are to begin at 0.
    pub fn delayed(mut self, ms: u32) -> Self {
        let Some(header) = child(&self.body, 0..self.body.len(), b"tkhd").filter(|_| ms > 0) else { return self };
        let mut b = Boxes::default();
        b.boxed(b"edts", |b| {
            b.full(b"elst", 0, 0, |b| {
                b.u32(2);
                for (duration, media_time) in [(ms, -1), (0, 0)] {
                    b.u32(duration);
                    b.i32(media_time);
                    b.u32(0x0001_0000);
                }
            });
        });
        self.body.splice(header.end..header.end, b.finish());
        self
    }

    /// Says that parameter sets stand before the pictures they are for (ISO/IEC 14496-15 5.3.5, 8.3.3).
    pub fn in_band(mut self) -> Self {
        if let Some(entry) = self.entry_range().filter(|entry| entry.len() >= 8) {
            let kind = &mut self.body[entry.start + 4..entry.start + 8];
            match &*kind {
                b"avc1" => kind.copy_from_slice(b"avc3"),
                b"hvc1" => kind.copy_from_slice(b"hev1"),
                _ => {}
            }
        }
        self
    }

    /// The sample entry, a whole box: what a decoder must know, byte for byte.
    pub fn entry(&self) -> Option<&[u8]> {
        self.body.get(self.entry_range()?)
    }

    /// Its four letters.
    pub fn kind(&self) -> Option<&[u8; 4]> {
        self.entry()?.get(4..)?.first_chunk()
    }

    /// Width times height of pictures; channels of sound.
    pub fn extent(&self) -> u64 {
        let number = |at: usize| {
            let two = self.entry().and_then(|entry| entry.get(at..)?.first_chunk().copied());
            u64::from(two.map_or(0, u16::from_be_bytes))
        };
        if self.is_video() { number(32) * number(34) } else { number(24) }
    }

    pub fn is_video(&self) -> bool {
        matches!(self.kind(), Some(b"avc1" | b"hvc1" | b"vp08"))
    }

    /// The parameter sets of its `avcC` or `hvcC`, each behind its length in four bytes as in a sample; empty
    /// for codecs that have none.
    pub fn parameter_sets(&self) -> Option<Vec<u8>> {
        let entry = self.entry()?;
        let config = |kind| entry.get(child(entry, VISUAL_ENTRY..entry.len(), kind)?);
        match self.kind()? {
            b"avc1" => avc_sets(config(b"avcC")?),
            b"hvc1" => hevc_sets(config(b"hvcC")?),
            _ => Some(Vec::new()),
        }
    }

    fn entry_range(&self) -> Option<Range<usize>> {
        let entries =
            TO_ENTRIES.into_iter().try_fold(0..self.body.len(), |range, kind| child(&self.body, range, kind))?;
        let start = entries.start + BEFORE_ENTRY;
        let size = u32::from_be_bytes(*self.body.get(start..)?.first_chunk()?) as usize;
        let least = AUDIO_ENTRY.min(VISUAL_ENTRY);
        (size >= least && size <= entries.end - start).then(|| start..start + size)
    }
}

/// ISO/IEC 14496-15 5.3.3.1.2.
fn avc_sets(config: &[u8]) -> Option<Vec<u8>> {
    let mut sets = Vec::new();
    let mut rest = config.get(5..)?;
    for mask in [0x1f, 0xff] {
        let (count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count & mask {
            rest = take_set(rest, &mut sets)?;
        }
    }
    Some(sets)
}

/// ISO/IEC 14496-15 8.3.3.1.2.
fn hevc_sets(config: &[u8]) -> Option<Vec<u8>> {
    let mut sets = Vec::new();
    let (arrays, mut rest) = config.get(22..)?.split_first()?;
    for _ in 0..*arrays {
        let count = u16::from_be_bytes(*rest.get(1..)?.first_chunk()?);
        rest = rest.get(3..)?;
        for _ in 0..count {
            rest = take_set(rest, &mut sets)?;
        }
    }
    Some(sets)
}

fn take_set<'a>(bytes: &'a [u8], sets: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (set, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    sets.extend_from_slice(&u32::try_from(set.len()).ok()?.to_be_bytes());
    sets.extend_from_slice(set);
    Some(rest)
}

/// `ftyp` + `moov` of all of them. `created_s`: seconds since the Unix epoch.
pub fn join_init(traks: &[Trak], duration_ms: u64, created_s: u64) -> Vec<u8> {
    let numbers: Vec<u32> = traks.iter().map(|trak| trak.number).collect();
    let mut b = Boxes::with_capacity(1024 * (traks.len() + 1));
    movie_header(&mut b, numbers.iter().max().copied().unwrap_or(0), created_s, |b| {
        for trak in traks {
            b.boxed(b"trak", |b| b.bytes(&trak.body));
        }
        track_defaults(b, &numbers, Some(duration_ms));
    });
    b.finish()
}

/// Where the body of the first box of that kind stands within `range`.
fn child(bytes: &[u8], range: Range<usize>, kind: &[u8; 4]) -> Option<Range<usize>> {
    let mut at = range.start;
    loop {
        let head = bytes.get(at..range.end)?;
        let size = u32::from_be_bytes(*head.first_chunk()?) as usize;
        if size < 8 || size > head.len() {
            return None;
        }
        if head.get(4..8)? == kind {
            return Some(at + 8..at + size);
        }
        at += size;
    }
}
