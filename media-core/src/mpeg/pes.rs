//! PES packet headers (ISO/IEC 13818-1 2.4.3.6), and those of MPEG-1 (ISO/IEC 11172-1 2.4.3.3).

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PesHeader {
    /// 33 bits, 90 kHz.
    pub pts: Option<u64>,
    /// Bytes before the payload, from the start code on.
    pub length: usize,
    /// Bytes of payload; `None` when the length field is 0, or 65,535, which some use for "longer than I can say".
    pub payload: Option<usize>,
}

pub(super) enum Parsed {
    Whole(PesHeader),
    /// More bytes are needed.
    Short,
    /// No such header.
    Bad,
}

/// `bytes` begins with the start code.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    if bytes.len() < 9 {
        return Parsed::Short;
    }
    let field = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
    let declared = (field != 0 && field != 0xFFFF).then_some(6 + field);
    let (pts, length) = if let Some(stamps) = shifted(bytes) {
        let length = 9 + stamps;
        if bytes.len() < length {
            return Parsed::Short;
        }
        ((stamps > 0).then(|| timestamp(&bytes[8..13])), length)
    } else if bytes[6] & 0xC0 == 0x80 {
        let length = 9 + usize::from(bytes[8]);
        if bytes.len() < length {
            return Parsed::Short;
        }
        let pts = (bytes[7] & 0x80 != 0 && length >= 14).then(|| timestamp(&bytes[9..14]));
        (pts, length)
    } else {
        match mpeg1(bytes) {
            Some(found) => found,
            None if bytes.len() < 6 + 16 + 2 + 10 => return Parsed::Short,
            None => return Parsed::Bad,
        }
    };
    let payload = match declared {
        Some(end) if end < length => return Parsed::Bad,
        Some(end) => Some(end - length),
        None => None,
    };
    Parsed::Whole(PesHeader { pts, length, payload })
}

/// A header whose first byte of flags is left out and made up for by one after its timestamps, as the devices of
/// one library have it (`gb28181-rs` 0.14): bytes of timestamps.
fn shifted(bytes: &[u8]) -> Option<usize> {
    match (bytes[6], bytes[7], bytes[8]) {
        (0xC0, 10, stamp) if stamp >> 4 == 3 => Some(10),
        (0x80, 5, stamp) if stamp & 0xF1 == 0x21 => Some(5),
        (0, 0, 0) => Some(0),
        _ => None,
    }
}

fn mpeg1(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let mut at = 6;
    while *bytes.get(at)? == 0xFF && at < 6 + 16 {
        at += 1;
    }
    if *bytes.get(at)? & 0xC0 == 0x40 {
        at += 2;
    }
    match bytes.get(at)? & 0xF0 {
        0x20 => Some((Some(timestamp(bytes.get(at..at + 5)?)), at + 5)),
        0x30 => Some((Some(timestamp(bytes.get(at..at + 5)?)), at + 10)).filter(|(_, end)| bytes.len() >= *end),
        _ => (bytes[at] == 0x0F).then_some((None, at + 1)),
    }
}

/// Five bytes with marker bits between.
fn timestamp(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e] = [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]].map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

/// Writes a timestamp under the four bits of `prefix`.
pub(super) fn write_timestamp(out: &mut Vec<u8>, prefix: u8, time: u64) {
    out.extend_from_slice(&[
        prefix << 4 | (time >> 29) as u8 & 0x0E | 1,
        (time >> 22) as u8,
        (time >> 14) as u8 | 1,
        (time >> 7) as u8,
        (time << 1) as u8 | 1,
    ]);
}
