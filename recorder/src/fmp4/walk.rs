//! Walking a file that may end anywhere: which fragments are whole, and where the good part ends.

use super::fragment::unix_ns;
use super::moof::Moof;
use std::io::{self, Read, Seek, SeekFrom};

/// The longest `moov` or `moof` that is read into memory, bytes.
pub const MAX_BOX: u64 = 4 << 20;

/// A whole fragment in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFragment {
    /// Of its `prft`, from the start of the file.
    pub offset: u64,
    /// `prft`, `moof` and `mdat` together.
    pub length: u64,
    pub moof: Moof,
    /// From `prft`, ns since the Unix epoch.
    pub wall_ns: i128,
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Length of `ftyp` + `moov`; 0 when the init segment itself is torn.
    pub init: u64,
    pub timescale: u32,
    pub fragments: Vec<FoundFragment>,
    /// Everything before this byte is whole; what follows is torn.
    pub good: u64,
}

/// Walks from `from` (0, or the end of a fragment) to the end of the file, `length` bytes away
/// from its start. Damage ends the walk; only a failing read is an error.
pub fn walk(file: &mut (impl Read + Seek), from: u64, length: u64) -> io::Result<Walk> {
    let mut found = Walk { good: from, ..Walk::default() };
    let mut at = from;
    let mut start = from;
    let mut wall_ns = None;
    let mut moof: Option<Moof> = None;
    while let Some(head) = head(file, at, length)? {
        let end = at + head.size;
        let body = |file: &mut _| body(file, at, head.size);
        match &head.kind {
            b"ftyp" if at == 0 => {}
            b"moov" if found.init == 0 && from == 0 => {
                let Some(moov) = body(file)? else { break };
                let Some(timescale) = timescale(&moov) else { break };
                found.timescale = timescale;
                found.init = end;
                found.good = end;
                start = end;
            }
            b"prft" if wall_ns.is_none() && moof.is_none() => {
                let Some(prft) = body(file)? else { break };
                let Some(ntp) = prft.get(16..24).and_then(|eight| eight.try_into().ok()) else { break };
                wall_ns = Some(unix_ns(u64::from_be_bytes(ntp)));
            }
            b"moof" if wall_ns.is_some() && moof.is_none() => {
                let Some(bytes) = body(file)? else { break };
                let Ok(parsed) = Moof::parse(&bytes) else { break };
                moof = Some(parsed);
            }
            b"mdat" => {
                let (Some(wall), Some(parsed)) = (wall_ns.take(), moof.take()) else { break };
                if parsed.payload != head.size - 8 || parsed.samples == 0 || zeros_at_end(file, at, head.size)? {
                    break;
                }
                found.fragments.push(FoundFragment { offset: start, length: end - start, moof: parsed, wall_ns: wall });
                found.good = end;
                start = end;
            }
            _ => break,
        }
        at = end;
    }
    Ok(found)
}

struct Head {
    kind: [u8; 4],
    size: u64,
}

/// The box at `at`, when all of it lies inside the file.
fn head(file: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<Option<Head>> {
    if length.saturating_sub(at) < 8 {
        return Ok(None);
    }
    let mut bytes = [0; 8];
    file.seek(SeekFrom::Start(at))?;
    if !fill(file, &mut bytes)? {
        return Ok(None);
    }
    let [a, b, c, d, kind @ ..] = bytes;
    let size = u64::from(u32::from_be_bytes([a, b, c, d]));
    Ok((size >= 8 && size <= length - at).then_some(Head { kind, size }))
}

fn body(file: &mut (impl Read + Seek), at: u64, size: u64) -> io::Result<Option<Vec<u8>>> {
    if size > MAX_BOX {
        return Ok(None);
    }
    let mut bytes = vec![0; size as usize];
    file.seek(SeekFrom::Start(at))?;
    Ok(fill(file, &mut bytes)?.then_some(bytes))
}

fn fill(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// After a loss of power a file may have its length but not its last blocks. No codec here ends
/// a fragment in so many zeros.
fn zeros_at_end(file: &mut (impl Read + Seek), at: u64, size: u64) -> io::Result<bool> {
    const TAIL: u64 = 64;
    if size < 8 + TAIL {
        return Ok(false);
    }
    let mut tail = [0; TAIL as usize];
    file.seek(SeekFrom::Start(at + size - TAIL))?;
    Ok(!fill(file, &mut tail)? || tail.iter().all(|byte| *byte == 0))
}

/// The first `mdhd`'s timescale. Our own `moov` has one track.
fn timescale(moov: &[u8]) -> Option<u32> {
    let at = moov.windows(4).position(|four| four == b"mdhd")?;
    let four = moov.get(at + 4 + 4 + 8..at + 4 + 4 + 12)?;
    let timescale = u32::from_be_bytes(four.try_into().ok()?);
    (timescale > 0).then_some(timescale)
}
