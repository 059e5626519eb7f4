//! A `moof` read back: what a fragment says about itself, and turning it to another track.
//!
//! The bytes come from disk, where a crash or a failing drive may have left anything: every
//! length is checked against what is there.

/// The bit in a sample's flags that says that it can't be decoded alone (ISO/IEC 14496-12 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

/// Bytes of a `trun` before its samples, from its version on.
const RUN_HEAD: usize = 12;

/// Why a `moof` is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoofError {
    #[error("the recording's file is damaged: a box ends outside its parent at byte {0} of a moof")]
    Bounds(usize),
    #[error("the recording's file is damaged: a moof lacks its {0}")]
    Missing(&'static str),
}

/// What a fragment's `moof` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moof {
    pub sequence: u32,
    pub track: u32,
    /// Track timescale.
    pub decode_time: u64,
    /// Sum of its samples' durations, track timescale.
    pub duration: u64,
    pub samples: u32,
    /// How many of them are sync samples.
    pub syncs: u32,
    /// Whether its first sample is a sync sample.
    pub key: bool,
    /// Sum of its samples' sizes, bytes.
    pub payload: u64,
}

/// Where the numbers that [`retarget`] changes stand, from the start of the `moof`.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    sequence: usize,
    track: usize,
    decode_time: usize,
    /// The body of `trun`.
    run: (usize, usize),
}

impl Moof {
    /// `bytes` is the whole box, its header included.
    pub fn parse(bytes: &[u8]) -> Result<Self, MoofError> {
        parse(bytes).map(|(moof, _)| moof)
    }
}

/// Makes the `moof` one of another track and time, without changing its length.
pub fn retarget(bytes: &mut [u8], sequence: u32, track: u32, decode_time: u64) -> Result<(), MoofError> {
    let (_, places) = parse(bytes)?;
    let mut put = |at: usize, value: &[u8]| {
        let place = bytes.get_mut(at..at + value.len()).ok_or(MoofError::Bounds(at))?;
        place.copy_from_slice(value);
        Ok(())
    };
    put(places.sequence, &sequence.to_be_bytes())?;
    put(places.track, &track.to_be_bytes())?;
    put(places.decode_time, &decode_time.to_be_bytes())
}

/// A whole fragment, `moof` and `mdat`, with `sets` put before each sync sample.
pub fn with_sets(fragment: &[u8], sets: &[u8]) -> Result<Vec<u8>, MoofError> {
    let length = u32_at(fragment, 0, fragment.len())? as usize;
    let moof = fragment.get(..length).ok_or(MoofError::Bounds(0))?;
    let (about, places) = parse(moof)?;
    let (start, end) = places.run;
    let step = step(u32_at(moof, start, end)?);
    let mut out = Vec::with_capacity(fragment.len() + about.syncs as usize * sets.len());
    out.extend_from_slice(fragment.get(..length + 8).ok_or(MoofError::Missing("data"))?);
    let mut rest = &fragment[length + 8..];
    for index in 0..about.samples as usize {
        let at = start + RUN_HEAD + index * step;
        let size = u32_at(moof, at + 4, end)?;
        let (sample, after) = rest.split_at_checked(size as usize).ok_or(MoofError::Bounds(at))?;
        rest = after;
        if u32_at(moof, at + 8, end)? & NON_SYNC == 0 {
            out.extend_from_slice(sets);
            let more = u32::try_from(sets.len()).ok().and_then(|more| size.checked_add(more));
            out[at + 4..at + 8].copy_from_slice(&more.ok_or(MoofError::Bounds(at))?.to_be_bytes());
        }
        out.extend_from_slice(sample);
    }
    let data = u32::try_from(out.len() - length).map_err(|_| MoofError::Bounds(length))?;
    out[length..length + 4].copy_from_slice(&data.to_be_bytes());
    Ok(out)
}

fn parse(bytes: &[u8]) -> Result<(Moof, Places), MoofError> {
    let mut moof =
        Moof { sequence: 0, track: 0, decode_time: 0, duration: 0, samples: 0, syncs: 0, key: false, payload: 0 };
    let mut places = Places::default();
    let mut seen_run = false;
    for child in Children::of(bytes, 8, bytes.len()) {
        let (kind, start, end) = child?;
        match &kind {
            b"mfhd" => {
                places.sequence = start + 4;
                moof.sequence = u32_at(bytes, start + 4, end)?;
            }
            b"traf" => {
                for child in Children::of(bytes, start, end) {
                    let (kind, start, end) = child?;
                    match &kind {
                        b"tfhd" => {
                            places.track = start + 4;
                            moof.track = u32_at(bytes, start + 4, end)?;
                        }
                        b"tfdt" => {
                            if bytes.get(start) != Some(&1) {
                                return Err(MoofError::Missing("64-bit decode time"));
                            }
                            places.decode_time = start + 4;
                            moof.decode_time = u64::from(u32_at(bytes, start + 4, end)?) << 32
                                | u64::from(u32_at(bytes, start + 8, end)?);
                        }
                        b"trun" if !seen_run => {
                            run(bytes, start, end, &mut moof)?;
                            places.run = (start, end);
                            seen_run = true;
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    match (places.sequence, places.track, places.decode_time, seen_run) {
        (0, ..) => Err(MoofError::Missing("sequence number")),
        (_, 0, ..) => Err(MoofError::Missing("track")),
        (_, _, 0, _) => Err(MoofError::Missing("decode time")),
        (.., false) => Err(MoofError::Missing("run of samples")),
        _ => Ok((moof, places)),
    }
}

fn run(bytes: &[u8], start: usize, end: usize, moof: &mut Moof) -> Result<(), MoofError> {
    let flags = u32_at(bytes, start, end)? & 0x00ff_ffff;
    if flags & 0x701 != 0x701 {
        return Err(MoofError::Missing("durations, sizes and flags of samples"));
    }
    let count = u32_at(bytes, start + 4, end)?;
    let step = step(flags);
    let mut at = start + RUN_HEAD;
    if u64::from(count) * step as u64 > end.saturating_sub(at) as u64 {
        return Err(MoofError::Bounds(at));
    }
    for index in 0..count {
        moof.duration += u64::from(u32_at(bytes, at, end)?);
        moof.payload += u64::from(u32_at(bytes, at + 4, end)?);
        let sync = u32_at(bytes, at + 8, end)? & NON_SYNC == 0;
        moof.syncs += u32::from(sync);
        if index == 0 {
            moof.key = sync;
        }
        at += step;
    }
    moof.samples = count;
    Ok(())
}

/// Bytes a sample takes in a run: duration, size, flags, and its composition offset where there are any.
fn step(flags: u32) -> usize {
    if flags & 0x800 == 0 { 12 } else { 16 }
}

fn u32_at(bytes: &[u8], at: usize, end: usize) -> Result<u32, MoofError> {
    at.checked_add(4)
        .filter(|stop| *stop <= end)
        .and_then(|stop| bytes.get(at..stop))
        .and_then(|four| four.try_into().ok())
        .map(u32::from_be_bytes)
        .ok_or(MoofError::Bounds(at))
}

/// The boxes between two places; stops at the first that does not fit.
struct Children<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Children<'a> {
    fn of(bytes: &'a [u8], at: usize, end: usize) -> Self {
        Self { bytes, at, end }
    }
}

impl Iterator for Children<'_> {
    /// Kind, start and end of the body.
    type Item = Result<([u8; 4], usize, usize), MoofError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let at = self.at;
        let read = || {
            let size = u32_at(self.bytes, at, self.end)? as usize;
            let kind = u32_at(self.bytes, at + 4, self.end)?.to_be_bytes();
            if size < 8 || size > self.end - at {
                return Err(MoofError::Bounds(at));
            }
            Ok((kind, at + 8, at + size))
        };
        let child = read();
        self.at = match &child {
            Ok((.., end)) => *end,
            Err(_) => self.end,
        };
        Some(child)
    }
}
