//! What payloads say of the pictures they belong to (H.264 7.4.1.2.3, H.265 7.4.2.4.4).

use bytes::Bytes;
use rongtong_media_core::media::Codec;
use rongtong_media_core::rtp::{h264, h265};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Of the next picture when one follows, else of this: picture parameter sets, SEI.
    Ahead,
    /// A delimiter.
    Begins,
    /// A sequence or video parameter set: of a picture that begins, or repeated between the slices of one.
    Sets,
    /// Belongs to the slices before: filler, suffix SEI, end of sequence.
    Behind,
    /// The beginning of a picture's first slice.
    First,
    /// Another slice, or a further piece of one.
    More,
    /// Malformed, or of no known type.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub says: Says,
    /// Of a picture that a decoder can start with.
    pub key: bool,
    /// A piece of a NAL unit that is not its last.
    pub open: bool,
}

const NOTHING: Read = Read { says: Says::Nothing, key: false, open: false };

/// An aggregate in which a picture begins behind another one's slices is taken apart; any other
/// payload stays whole.
pub fn read(codec: Codec, payload: &Bytes) -> Vec<(Bytes, Read)> {
    let parts = if codec == Codec::H265 { parts_h265(payload) } else { parts_h264(payload) };
    let mut slices = false;
    let mut inner = false;
    let mut whole = parts.first().map_or(NOTHING, |(_, read)| *read);
    for (_, part) in &parts {
        inner |= slices && matches!(part.says, Says::Ahead | Says::Begins | Says::Sets | Says::First);
        // The first slice says most.
        if !slices && matches!(part.says, Says::First | Says::More | Says::Nothing) {
            let begins = whole.says == Says::Begins && part.says == Says::More;
            whole = Read { says: if begins { Says::First } else { part.says }, ..*part };
        }
        slices |= matches!(part.says, Says::First | Says::More);
    }
    if inner { parts } else { vec![(payload.clone(), whole)] }
}

fn parts_h264(payload: &Bytes) -> Vec<(Bytes, Read)> {
    let part = |nal| match nal {
        Ok(h264::Nal::Whole(nal)) => {
            (payload.slice_ref(nal), says_h264(h264::type_of(nal).unwrap_or(0), true, nal.get(1), false))
        }
        Ok(h264::Nal::Fragment { header, start, end, data }) => {
            (payload.clone(), says_h264(header & 0x1f, start, data.first(), !end))
        }
        Err(_) => (head(payload), NOTHING),
    };
    h264::nals(payload).map(part).collect()
}

/// `byte` is the first behind the NAL unit's header.
fn says_h264(kind: u8, start: bool, byte: Option<&u8>, open: bool) -> Read {
    let says = match kind {
        // first_mb_in_slice is in Exp-Golomb: a set bit is 0.
        1 | 2 | 5 if start && byte.is_some_and(|byte| byte & 0x80 != 0) => Says::First,
        1..=5 | 19..=21 => Says::More,
        7 => Says::Sets,
        9 => Says::Begins,
        6 | 8 | 13..=18 => Says::Ahead,
        10..=12 => Says::Behind,
        _ => Says::Nothing,
    };
    Read { says, key: kind == h264::nal_type::IDR, open }
}

/// What is left of a malformed aggregate: as malformed, and nothing twice.
fn head(payload: &Bytes) -> Bytes {
    payload.slice(..payload.len().min(2))
}

fn parts_h265(payload: &Bytes) -> Vec<(Bytes, Read)> {
    let part = |nal| match nal {
        Ok(h265::Nal::Whole(nal)) => {
            let header = [nal.first().copied().unwrap_or_default(), nal.get(1).copied().unwrap_or_default()];
            (payload.slice_ref(nal), says_h265(header, true, nal.get(2), false))
        }
        Ok(h265::Nal::Fragment { header, start, end, data }) => {
            (payload.clone(), says_h265(header, start, data.first(), !end))
        }
        Err(_) => (head(payload), NOTHING),
    };
    h265::nals(payload).map(part).collect()
}

fn says_h265([high, low]: [u8; 2], start: bool, byte: Option<&u8>, open: bool) -> Read {
    let kind = high >> 1 & 0x3f;
    // Other layers belong to the picture of the first.
    let layer = (high & 1) << 5 | low >> 3;
    let says = match kind {
        0..=31 if start && layer == 0 && byte.is_some_and(|byte| byte & 0x80 != 0) => Says::First,
        0..=31 => Says::More,
        32 | 33 if layer == 0 => Says::Sets,
        35 if layer == 0 => Says::Begins,
        32..=35 | 39 | 41..=44 => Says::Ahead,
        36..=38 | 40 | 45..=47 => Says::Behind,
        _ => Says::Nothing,
    };
    Read { says, key: (h265::nal_type::IRAP_FIRST..=h265::nal_type::IRAP_LAST).contains(&kind), open }
}
