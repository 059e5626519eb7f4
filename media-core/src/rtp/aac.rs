//! AAC access units out of RTP payloads (RFC 3640, mode AAC-hbr and its relatives).
//!
//! One packet holds whole access units; a unit larger than a packet (fragmented, 3.2.3) is put
//! together by the marker.

use bytes::{Bytes, BytesMut};

/// The largest access unit, bytes: 13 bits of size.
const MAX_UNIT: usize = 8191;

/// What `a=fmtp` says of the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AacFormat {
    /// AudioSpecificConfig.
    pub config: Bytes,
    size_bits: u32,
    index_bits: u32,
}

impl AacFormat {
    /// `key=value;…` with at least `config` and `sizelength`. `None`: the sender's description
    /// is not one of AAC that RFC 3640 knows.
    pub fn parse(fmtp: &str) -> Option<Self> {
        let value = |key: &str| {
            fmtp.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case(key).then(|| value.trim())
            })
        };
        let number = |key: &str| value(key).map_or(Some(0), |text| text.parse::<u32>().ok().filter(|n| *n <= 16));
        let config = unhex(value("config")?)?;
        let (size_bits, index_bits) = (number("sizelength")?, number("indexlength")?);
        let delta = number("indexdeltalength")?;
        (config.len() >= 2 && size_bits > 0 && index_bits == delta).then_some(Self {
            config: config.into(),
            size_bits,
            index_bits,
        })
    }

    /// Samples in an access unit: 1024, or 960 where the configuration's flag says so
    /// (ISO/IEC 14496-3 4.4.1, frameLengthFlag).
    pub fn samples(&self) -> u32 {
        match self.config.get(1) {
            Some(second) if second & 0x04 != 0 && self.config.len() == 2 => 960,
            _ => 1024,
        }
    }
}

/// Collects access units.
#[derive(Debug)]
pub struct AacUnits {
    format: AacFormat,
    part: BytesMut,
    wanted: usize,
}

impl AacUnits {
    pub fn new(format: AacFormat) -> Self {
        Self { format, part: BytesMut::new(), wanted: 0 }
    }

    /// The access units that this packet completes, in order; none of a malformed packet.
    pub fn push(&mut self, payload: &Bytes, marker: bool) -> Vec<Bytes> {
        self.read(payload, marker).unwrap_or_else(|| {
            self.lost();
            Vec::new()
        })
    }

    /// A packet is missing: what was begun cannot be ended.
    pub fn lost(&mut self) {
        self.part.clear();
        self.wanted = 0;
    }

    fn read(&mut self, payload: &Bytes, marker: bool) -> Option<Vec<Bytes>> {
        let header_bits = u32::from(u16::from_be_bytes(*payload.first_chunk::<2>()?));
        let each = self.format.size_bits + self.format.index_bits;
        if header_bits == 0 || header_bits % each != 0 {
            return None;
        }
        let data = 2 + header_bits.div_ceil(8) as usize;
        let mut rest = payload.get(data..).map(|_| payload.slice(data..))?;
        let headers = payload.get(2..data)?;
        let mut units = Vec::new();
        for unit in 0..header_bits / each {
            let size = bits(headers, unit * each, self.format.size_bits)? as usize;
            if size == 0 || size > MAX_UNIT {
                return None;
            }
            if self.wanted == 0 && size > rest.len() && header_bits == each && !marker {
                self.wanted = size;
            }
            if self.wanted > 0 {
                self.part.extend_from_slice(&rest);
                if self.part.len() > self.wanted || size != self.wanted {
                    return None;
                }
                if self.part.len() == self.wanted {
                    self.wanted = 0;
                    units.push(self.part.split().freeze());
                }
                return Some(units);
            }
            if size > rest.len() {
                return None;
            }
            units.push(rest.split_to(size));
        }
        Some(units)
    }
}

fn bits(bytes: &[u8], from: u32, count: u32) -> Option<u32> {
    (from..from + count).try_fold(0, |value, at| {
        let byte = bytes.get(at as usize / 8)?;
        Some(value << 1 | u32::from(byte >> (7 - at % 8) & 1))
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 128 {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| Some((char::from(pair[0]).to_digit(16)? << 4 | char::from(pair[1]).to_digit(16)?) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn units() -> AacUnits {
        let fmtp = "streamtype=5; mode=AAC-hbr; config=1210; SizeLength=13; IndexLength=3; IndexDeltaLength=3";
        AacUnits::new(AacFormat::parse(fmtp).unwrap())
    }

    #[test]
    fn two_units_in_a_packet_come_out() {
        let payload = Bytes::from_static(&[0, 32, 0, 3 << 3, 0, 2 << 3, 1, 2, 3, 4, 5]);
        assert_eq!(units().push(&payload, true), [&[1u8, 2, 3][..], &[4, 5]]);
    }

    #[test]
    fn a_unit_over_two_packets_is_put_together_and_not_when_one_is_lost() {
        let first = Bytes::from_static(&[0, 16, 0, 4 << 3, 1, 2]);
        let second = Bytes::from_static(&[0, 16, 0, 4 << 3, 3, 4]);
        let mut whole = units();
        assert!(whole.push(&first, false).is_empty());
        assert_eq!(whole.push(&second, true), [&[1u8, 2, 3, 4][..]]);
        let mut torn = units();
        torn.push(&first, false);
        torn.lost();
        assert!(torn.push(&second, true).is_empty());
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_dropped(payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..10)) {
            let mut units = units();
            for (payload, marker) in payloads {
                let length = payload.len();
                let out = units.push(&payload.into(), marker);
                prop_assert!(out.iter().all(|unit| unit.len() <= MAX_UNIT));
                prop_assert!(units.part.len() <= MAX_UNIT + length);
            }
        }
    }
}
