//! The init segment: `ftyp` and a `moov` without samples.

use super::SampleEntry;
use super::boxes::Boxes;

/// The track of an init segment.
#[derive(Clone, Debug)]
pub struct InitTrack<'a> {
    /// 1 and up.
    pub id: u32,
    /// Ticks in a second.
    pub timescale: u32,
    pub entry: &'a SampleEntry,
    /// Shown by players as the track's name; may be empty.
    pub name: &'a str,
}

/// `ftyp` + `moov`.
pub fn init_segment(track: &InitTrack<'_>) -> Vec<u8> {
    let mut b = Boxes::with_capacity(1024);
    movie_header(&mut b, track.id, 0, |b| {
        trak(b, track);
        track_defaults(b, &[track.id], None);
    });
    b.finish()
}

/// Seconds from 1904, where ISO/IEC 14496-12 8.2.2 begins to count, to 1970.
const EPOCH_1904: u64 = 2_082_844_800;

/// `created_s`: seconds since the Unix epoch; 0 where it is not known.
pub(super) fn movie_header(b: &mut Boxes, highest: u32, created_s: u64, tracks: impl FnOnce(&mut Boxes)) {
    let created = if created_s == 0 { 0 } else { u32::try_from(created_s + EPOCH_1904).unwrap_or(0) };
    b.boxed(b"ftyp", |b| {
        b.bytes(b"isom");
        b.u32(0x200);
        b.bytes(b"isomiso6iso5mp41");
    });
    b.boxed(b"moov", |b| {
        b.full(b"mvhd", 0, 0, |b| {
            b.u32(created);
            b.u32(created);
            b.u32(1000);
            b.u32(0);
            b.u32(0x0001_0000);
            b.u16(0x0100);
            b.zeros(10);
            matrix(b);
            b.zeros(24);
            b.u32(highest.saturating_add(1));
        });
        tracks(b);
    });
}

/// `mvex`; `duration_ms` is told when the length is known already.
pub(super) fn track_defaults(b: &mut Boxes, numbers: &[u32], duration_ms: Option<u64>) {
    b.boxed(b"mvex", |b| {
        if let Some(duration) = duration_ms {
            b.full(b"mehd", 1, 0, |b| b.u64(duration));
        }
        for number in numbers {
            b.full(b"trex", 0, 0, |b| {
                b.u32(*number);
                b.u32(1);
                b.zeros(12);
            });
        }
    });
}

fn matrix(b: &mut Boxes) {
    for value in [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000] {
        b.u32(value);
    }
}

fn trak(b: &mut Boxes, track: &InitTrack<'_>) {
    let dimensions = track.entry.dimensions();
    b.boxed(b"trak", |b| {
        // enabled, in movie, in preview
        b.full(b"tkhd", 0, 7, |b| {
            b.zeros(8);
            b.u32(track.id);
            b.zeros(8);
            b.zeros(8);
            b.u16(0);
            b.u16(u16::from(dimensions.is_none())); // alternate group
            b.u16(if dimensions.is_none() { 0x0100 } else { 0 });
            b.u16(0);
            matrix(b);
            let (width, height) = dimensions.unwrap_or((0, 0));
            b.u32(u32::from(width) << 16);
            b.u32(u32::from(height) << 16);
        });
        b.boxed(b"mdia", |b| {
            b.full(b"mdhd", 0, 0, |b| {
                b.zeros(8);
                b.u32(track.timescale);
                b.u32(0);
                b.u16(0x55c4); // und
                b.u16(0);
            });
            b.full(b"hdlr", 0, 0, |b| {
                b.zeros(4);
                b.bytes(if dimensions.is_some() { b"vide" } else { b"soun" });
                b.zeros(12);
                b.bytes(track.name.replace('\0', "").as_bytes());
                b.u8(0);
            });
            b.boxed(b"minf", |b| {
                if dimensions.is_some() {
                    b.full(b"vmhd", 0, 1, |b| b.zeros(8));
                } else {
                    b.full(b"smhd", 0, 0, |b| b.zeros(4));
                }
                b.boxed(b"dinf", |b| {
                    b.full(b"dref", 0, 0, |b| {
                        b.u32(1);
                        b.full(b"url ", 0, 1, |_| ());
                    });
                });
                b.boxed(b"stbl", |b| {
                    b.full(b"stsd", 0, 0, |b| {
                        b.u32(1);
                        track.entry.write(b);
                    });
                    b.full(b"stts", 0, 0, |b| b.u32(0));
                    b.full(b"stsc", 0, 0, |b| b.u32(0));
                    b.full(b"stsz", 0, 0, |b| b.zeros(8));
                    b.full(b"stco", 0, 0, |b| b.u32(0));
                });
            });
        });
    });
}
