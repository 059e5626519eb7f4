//! Several files as one ZIP (PKWARE APPNOTE 6.3), stored, made while it is sent: lengths are known before,
//! checksums after. Names are UTF-8; sizes and places beyond 4 GiB in the 64-bit form.

use time::OffsetDateTime;

/// Sizes and places from here on don't fit the short form.
const LONG: u64 = 0xffff_ffff;

/// 2.0, and 4.5 for the 64-bit form.
const VERSION: u16 = 45;

/// What follows the data says its checksum (bit 3); the name is UTF-8 (bit 11).
const FLAGS: u16 = 1 << 3 | 1 << 11;

/// A file to be put in.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub name: String,
    pub length: u64,
    /// Seconds since the Unix epoch, UTC.
    pub modified_s: u64,
}

/// What stands before a file's bytes.
pub(super) fn local_header(entry: &Entry) -> Vec<u8> {
    let mut b = Vec::new();
    put(&mut b, 0x0403_4b50, 4);
    put(&mut b, VERSION.into(), 2);
    common(&mut b, entry, 0, 0, 0);
    let extra: &[u64] = if long(entry) { &[0, 0] } else { &[] };
    names(&mut b, entry, extra, 0);
    b.extend_from_slice(entry.name.as_bytes());
    long_form(&mut b, extra);
    b
}

/// What stands behind a file's bytes.
pub(super) fn descriptor(entry: &Entry, crc: u32) -> Vec<u8> {
    let mut b = Vec::new();
    put(&mut b, 0x0807_4b50, 4);
    put(&mut b, crc.into(), 4);
    let width = if long(entry) { 8 } else { 4 };
    put(&mut b, entry.length, width);
    put(&mut b, entry.length, width);
    b
}

/// The directory at the end. Of each file: its place and its checksum.
pub(super) fn directory(entries: &[(Entry, u64, u32)], start: u64) -> Vec<u8> {
    let mut b = Vec::new();
    for (entry, at, crc) in entries {
        put(&mut b, 0x0201_4b50, 4);
        put(&mut b, 3 << 8 | u64::from(VERSION), 2); // made on Unix
        put(&mut b, VERSION.into(), 2);
        let size = entry.length.min(LONG);
        common(&mut b, entry, *crc, size, size);
        let mut extra = Vec::new();
        if long(entry) {
            extra.extend([entry.length; 2]);
        }
        if *at >= LONG {
            extra.push(*at);
        }
        names(&mut b, entry, &extra, 10);
        let attributes = b.len() - 4;
        b[attributes..].copy_from_slice(&(0o100_644u32 << 16).to_le_bytes());
        put(&mut b, (*at).min(LONG), 4);
        b.extend_from_slice(entry.name.as_bytes());
        long_form(&mut b, &extra);
    }
    let (count, size) = (entries.len() as u64, b.len() as u64);
    if start >= LONG || count >= 0xffff {
        let end = start + size;
        put(&mut b, 0x0606_4b50, 4);
        put(&mut b, 44, 8);
        put(&mut b, 3 << 8 | u64::from(VERSION), 2);
        put(&mut b, VERSION.into(), 2);
        put(&mut b, 0, 8); // one disk
        for value in [count, count, size, start] {
            put(&mut b, value, 8);
        }
        put(&mut b, 0x0706_4b50, 4);
        put(&mut b, 0, 4);
        put(&mut b, end, 8);
        put(&mut b, 1, 4);
    }
    put(&mut b, 0x0605_4b50, 4);
    put(&mut b, 0, 4);
    put(&mut b, count.min(0xffff), 2);
    put(&mut b, count.min(0xffff), 2);
    put(&mut b, size, 4);
    put(&mut b, start.min(LONG), 4);
    put(&mut b, 0, 2);
    b
}

fn long(entry: &Entry) -> bool {
    entry.length >= LONG
}

/// Flags to sizes, as both headers have them.
fn common(b: &mut Vec<u8>, entry: &Entry, crc: u32, packed: u64, size: u64) {
    put(b, FLAGS.into(), 2);
    put(b, 0, 2); // stored
    let (time, date) = dos_time(entry.modified_s);
    put(b, time.into(), 2);
    put(b, date.into(), 2);
    put(b, crc.into(), 4);
    put(b, packed, 4);
    put(b, size, 4);
}

/// Lengths of name and extra field, and `zeros` bytes that only the directory has.
fn names(b: &mut Vec<u8>, entry: &Entry, extra: &[u64], zeros: usize) {
    put(b, entry.name.len() as u64, 2);
    put(b, if extra.is_empty() { 0 } else { 4 + extra.len() as u64 * 8 }, 2);
    b.resize(b.len() + zeros, 0);
}

fn long_form(b: &mut Vec<u8>, values: &[u64]) {
    if !values.is_empty() {
        put(b, 1, 2);
        put(b, values.len() as u64 * 8, 2);
        values.iter().for_each(|value| put(b, *value, 8));
    }
}

/// The lowest `width` bytes of a number, least first.
fn put(b: &mut Vec<u8>, value: u64, width: usize) {
    b.extend_from_slice(&value.to_le_bytes()[..width]);
}

/// Time and date of MS-DOS, UTC; its first day (1980) for anything it can't say.
fn dos_time(unix_s: u64) -> (u16, u16) {
    let at = i64::try_from(unix_s).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let Some(at) = at.filter(|at| (1980..2108).contains(&at.year())) else { return (0, 1 << 5 | 1) };
    let time = u16::from(at.hour()) << 11 | u16::from(at.minute()) << 5 | (u16::from(at.second()) / 2);
    let date = (at.year() - 1980) as u16;
    (time, date << 9 | u16::from(u8::from(at.month())) << 5 | u16::from(at.day()))
}
