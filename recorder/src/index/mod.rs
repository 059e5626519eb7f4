//! The side file of a track: one line a fragment, so that a seek is a look-up.
//!
//! Invariant: a line is written only after its fragment is, and every line ends in its own
//! CRC-32, so that what a crash leaves is a prefix of good lines, and every good line speaks of
//! bytes that were written before it. The media file is the truth; the index can be rebuilt
//! from it ([`repair`]).
//!
//! Form (ours, version 1): words split by one space, the last is the CRC-32 of all before it in
//! eight hex digits.
//!
//! ```text
//! T 1 <timescale> <start_ms> <init length> <codecs> <crc>
//! F <offset> <length> <start> <duration> <wall_ms> <K|-> <data crc> <crc>
//! G <start> <packets> <crc>
//! O <start_ms> <crc>
//! E <crc>
//! ```
//! Starts and durations are ticks of the track's own clock, whose zero stands `start_ms`
//! after the recording's; the newest `O` restates that.

mod repair;

pub use repair::{Repaired, repair};

use std::fmt::Write as _;

/// First line: what the track is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Ticks in a second.
    pub timescale: u32,
    /// Where tick 0 stands on the recording's clock, ms.
    pub start_ms: i64,
    /// Bytes of the init segment.
    pub init: u64,
    /// RFC 6381.
    pub codecs: String,
}

/// One fragment of the media file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub offset: u64,
    pub length: u64,
    /// Decode time of its first sample, ticks.
    pub start: u64,
    /// Ticks.
    pub duration: u64,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Begins with a sample that can be decoded alone.
    pub key: bool,
    /// CRC-32 of the fragment's bytes.
    pub crc: u32,
}

/// Something is missing from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Ticks.
    pub start: u64,
    /// Packets known to be lost; 0 when their number is not known.
    pub packets: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Ended,
    Fragment(Entry),
    Gap(Gap),
    Origin { start_ms: i64 },
    Track(Header),
}

/// A whole side file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    pub header: Header,
    pub fragments: Vec<Entry>,
    pub gaps: Vec<Gap>,
    /// Closed in good order.
    pub ended: bool,
}

impl Line {
    /// With its CRC and the line's end.
    pub fn write(&self) -> String {
        let mut text = String::new();
        let _ = match self {
            Self::Ended => write!(text, "E"),
            Self::Fragment(e) => write!(
                text,
                "F {} {} {} {} {} {} {:08x}",
                e.offset,
                e.length,
                e.start,
                e.duration,
                e.wall_ms,
                if e.key { 'K' } else { '-' },
                e.crc
            ),
            Self::Gap(gap) => write!(text, "G {} {}", gap.start, gap.packets),
            Self::Origin { start_ms } => write!(text, "O {start_ms}"),
            Self::Track(h) => write!(text, "T 1 {} {} {} {}", h.timescale, h.start_ms, h.init, h.codecs),
        };
        let crc = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, " {crc:08x}");
        text
    }

    /// `None` for anything that [`Line::write`] would not have written.
    pub fn read(line: &str) -> Option<Self> {
        let (text, crc) = line.rsplit_once(' ')?;
        if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(text.as_bytes()) {
            return None;
        }
        let mut words = text.split(' ');
        let mut word = || words.next();
        let line = match word()? {
            "E" => Self::Ended,
            "F" => Self::Fragment(Entry {
                offset: word()?.parse().ok()?,
                length: word()?.parse().ok()?,
                start: word()?.parse().ok()?,
                duration: word()?.parse().ok()?,
                wall_ms: word()?.parse().ok()?,
                key: word()? == "K",
                crc: u32::from_str_radix(word()?, 16).ok()?,
            }),
            "G" => Self::Gap(Gap { start: word()?.parse().ok()?, packets: word()?.parse().ok()? }),
            "O" => Self::Origin { start_ms: word()?.parse().ok()? },
            "T" if word()? == "1" => Self::Track(Header {
                timescale: word()?.parse().ok().filter(|scale| *scale > 0)?,
                start_ms: word()?.parse().ok()?,
                init: word()?.parse().ok()?,
                codecs: word()?.to_owned(),
            }),
            _ => return None,
        };
        words.next().is_none().then_some(line)
    }
}

impl Index {
    /// Reads the good prefix. The second value is its length in bytes; `None` when not even the
    /// first line is good. Fragments that do not follow one another end the prefix.
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut lines = Lines { bytes, at: 0 };
        let Some((Line::Track(header), mut good)) = lines.next() else { return None };
        let mut index = Self { header, fragments: Vec::new(), gaps: Vec::new(), ended: false };
        for (line, end) in lines {
            match line {
                Line::Ended => index.ended = true,
                Line::Fragment(entry) if entry.offset == index.media_end() && entry.length > 0 => {
                    if entry.offset.checked_add(entry.length).is_none()
                        || entry.start.checked_add(entry.duration).is_none()
                    {
                        break;
                    }
                    index.fragments.push(entry);
                }
                Line::Gap(gap) => index.gaps.push(gap),
                Line::Origin { start_ms } => index.header.start_ms = start_ms,
                Line::Fragment(_) | Line::Track(_) => break,
            }
            good = end;
        }
        Some((index, good))
    }

    /// Everything again as text.
    pub fn write(&self) -> String {
        let mut text = Line::Track(self.header.clone()).write();
        for entry in &self.fragments {
            text.push_str(&Line::Fragment(entry.clone()).write());
        }
        for gap in &self.gaps {
            text.push_str(&Line::Gap(*gap).write());
        }
        if self.ended {
            text.push_str(&Line::Ended.write());
        }
        text
    }

    /// Where the next fragment begins in the media file.
    pub fn media_end(&self) -> u64 {
        self.fragments.last().map_or(self.header.init, |last| last.offset.saturating_add(last.length))
    }

    /// End of the last fragment, ticks from tick 0.
    pub fn end_ticks(&self) -> u64 {
        self.fragments.last().map_or(0, |last| last.start.saturating_add(last.duration))
    }

    pub fn duration_ms(&self) -> i64 {
        self.ms(self.end_ticks())
    }

    /// A tick of the track as milliseconds from the track's start.
    pub fn ms(&self, ticks: u64) -> i64 {
        let ms = u128::from(ticks) * 1000 / u128::from(self.header.timescale.max(1));
        i64::try_from(ms).unwrap_or(i64::MAX)
    }

    /// A fragment's start on the recording's clock, ms.
    pub fn clock_ms(&self, entry: &Entry) -> i64 {
        self.header.start_ms.saturating_add(self.ms(entry.start))
    }

    /// When the fragment after this one starts, so that pauses belong to the fragment before them.
    pub fn next_start(&self, position: usize) -> u64 {
        match self.fragments.get(position + 1) {
            Some(next) => next.start,
            None => self.end_ticks(),
        }
    }
}

/// Good lines and where each ends; stops for ever at the first bad one.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = (Line, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        let end = rest.iter().take(512).position(|byte| *byte == b'\n')?;
        let line = Line::read(std::str::from_utf8(rest.get(..end)?).ok()?)?;
        self.at += end + 1;
        Some((line, self.at))
    }
}

#[cfg(test)]
mod tests;
