//! One fragment: `prft`, `moof`, `mdat`.

use super::boxes::Boxes;
use bytes::Bytes;

/// Sample flags of ISO/IEC 14496-12 8.8.3.1.
const SYNC: u32 = 0x0200_0000;
const NOT_SYNC: u32 = 0x0101_0000;

/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_EPOCH: i128 = 2_208_988_800;

/// One access unit on its way into a fragment. Times in the track's timescale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub data: Bytes,
    pub duration: u32,
    /// Presentation time less decode time; not zero only where pictures are reordered.
    pub composition: i32,
    /// Decodable without those before it.
    pub sync: bool,
}

/// What one fragment holds.
#[derive(Clone, Debug)]
pub struct Fragment<'a> {
    pub sequence: u32,
    pub track: u32,
    /// Decode time of the first sample, in the track's timescale.
    pub decode_time: u64,
    /// Nanoseconds since the Unix epoch at which the first sample was.
    pub wall_ns: i128,
    pub samples: &'a [Sample],
}

impl Fragment<'_> {
    pub fn write(&self) -> Vec<u8> {
        let payload: usize = self.samples.iter().map(|sample| sample.data.len()).sum();
        let mut b = Boxes::with_capacity(payload + 160 + self.samples.len() * 16);
        // 8.16.5: flags 24, "arbitrary time", is what a relay can say.
        b.full(b"prft", 1, 24, |b| {
            b.u32(self.track);
            b.u64(ntp(self.wall_ns));
            b.u64(self.decode_time);
        });
        let moof = b.len();
        let mut data_offset_at = 0;
        let reordered = self.samples.iter().any(|sample| sample.composition != 0);
        b.boxed(b"moof", |b| {
            b.full(b"mfhd", 0, 0, |b| b.u32(self.sequence));
            b.boxed(b"traf", |b| {
                b.full(b"tfhd", 0, 0x02_0000, |b| b.u32(self.track));
                b.full(b"tfdt", 1, 0, |b| b.u64(self.decode_time));
                let flags = 0x1 | 0x100 | 0x200 | 0x400 | if reordered { 0x800 } else { 0 };
                b.full(b"trun", 1, flags, |b| {
                    b.u32(u32::try_from(self.samples.len()).unwrap_or(u32::MAX));
                    data_offset_at = b.len();
                    b.u32(0);
                    for sample in self.samples {
                        b.u32(sample.duration);
                        b.u32(u32::try_from(sample.data.len()).unwrap_or(u32::MAX));
                        b.u32(if sample.sync { SYNC } else { NOT_SYNC });
                        if reordered {
                            b.i32(sample.composition);
                        }
                    }
                });
            });
        });
        let data_offset = b.len() - moof + 8;
        b.put_u32(data_offset_at, u32::try_from(data_offset).unwrap_or(u32::MAX));
        b.boxed(b"mdat", |b| {
            for sample in self.samples {
                b.bytes(&sample.data);
            }
        });
        b.finish()
    }
}

fn ntp(wall_ns: i128) -> u64 {
    let ns = (wall_ns + NTP_EPOCH * 1_000_000_000).max(0) as u128;
    let seconds = (ns / 1_000_000_000) as u64 & 0xffff_ffff;
    let fraction = ((ns % 1_000_000_000) << 32) / 1_000_000_000;
    seconds << 32 | fraction as u64
}

/// Back from NTP to nanoseconds since the Unix epoch.
pub(super) fn unix_ns(ntp: u64) -> i128 {
    let seconds = i128::from(ntp >> 32) - NTP_EPOCH;
    let fraction = (u128::from(ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
    seconds * 1_000_000_000 + fraction as i128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_survives_ntp_to_the_nanosecond_or_so() {
        for ns in [0, 1_700_000_000_123_456_789, 1] {
            assert!((unix_ns(ntp(ns)) - ns).abs() <= 1);
        }
    }
}
