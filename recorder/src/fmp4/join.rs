//! Several one-track init segments into one: each `trak` is copied as it stands, under a new number.

use super::boxes::Boxes;
use super::init::{movie_header, track_defaults};

/// A `trak` box under the number it has in the joined file.
#[derive(Clone, Debug)]
pub struct Trak {
    number: u32,
    bytes: Vec<u8>,
}

/// The `trak` of our own one-track init segment, with `number` put in. `None`: it is damaged.
pub fn take_trak(init: &[u8], number: u32) -> Option<Trak> {
    let moov = child(init, b"moov")?;
    let trak = child(moov, b"trak")?;
    let mut bytes = Vec::with_capacity(trak.len() + 8);
    bytes.extend_from_slice(&u32::try_from(trak.len() + 8).ok()?.to_be_bytes());
    bytes.extend_from_slice(b"trak");
    bytes.extend_from_slice(trak);
    // `tkhd` version 0 comes first: box header, version and flags, two times, then the number.
    if bytes.get(12..17)? != b"tkhd\0" {
        return None;
    }
    bytes.get_mut(28..32)?.copy_from_slice(&number.to_be_bytes());
    Some(Trak { number, bytes })
}

/// `ftyp` + `moov` of all of them.
pub fn join_init(traks: &[Trak], duration_ms: u64) -> Vec<u8> {
    let numbers: Vec<u32> = traks.iter().map(|trak| trak.number).collect();
    let mut b = Boxes::with_capacity(1024 * (traks.len() + 1));
    movie_header(&mut b, numbers.iter().max().copied().unwrap_or(0), |b| {
        for trak in traks {
            b.bytes(&trak.bytes);
        }
        track_defaults(b, &numbers, Some(duration_ms));
    });
    b.finish()
}

/// The four letters of our own one-track init segment's sample entry. `None`: it is damaged.
pub fn sample_entry_kind(init: &[u8]) -> Option<&str> {
    let path = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"];
    let stsd = path.into_iter().try_fold(init, child)?;
    // Version and flags, count, the entry's size.
    std::str::from_utf8(stsd.get(12..16)?).ok()
}

/// The body of the first box of that kind among `bytes`.
fn child<'a>(mut bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    loop {
        let size = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
        let body = bytes.get(8..size)?;
        if bytes.get(4..8)? == kind {
            return Some(body);
        }
        bytes = bytes.get(size..)?;
    }
}
