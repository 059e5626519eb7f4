//! The film that devices show: pictures that are repeated without an end.

use bytes::Bytes;
use rongtong_media_core::rtp::access_unit::AccessUnit;

/// Pictures of H.264, the first of which is a keyframe.
#[derive(Clone, Debug)]
pub struct Reel {
    pub units: Vec<AccessUnit>,
    /// A second.
    pub fps: u32,
}

impl Reel {
    /// Fills pictures up to a bit rate with messages that decoders pass over (SEI, user data unregistered; ITU-T H.264
    /// D.1.6).
    pub fn new(mut units: Vec<AccessUnit>, fps: u32, bits_a_second: u32) -> Self {
        let wanted = (bits_a_second / 8 / fps.max(1)) as usize;
        for unit in &mut units {
            let bytes: usize = unit.nals.iter().map(|nal| nal.len() + 4).sum();
            if let Some(missing) = wanted.checked_sub(bytes).filter(|missing| *missing > 32) {
                unit.nals.insert(0, filler(missing - 4));
            }
        }
        Self { units, fps: fps.max(1) }
    }

    pub fn len(&self) -> usize {
        self.units.len()
    }

    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// The next keyframe at or after a picture.
    pub fn key_after(&self, at: usize) -> usize {
        (at..at + self.len()).find(|at| self.units[at % self.len()].key).unwrap_or(0) % self.len().max(1)
    }
}

fn filler(length: usize) -> Bytes {
    let mut nal = vec![6, 5];
    // Its size: bytes of 255 that are added up, and the rest.
    let size = length.saturating_sub(4 + length / 255).max(17);
    nal.extend(std::iter::repeat_n(0xFF, size / 255));
    nal.push((size % 255) as u8);
    nal.extend(std::iter::repeat_n(0x5A, size));
    nal.push(0x80);
    nal.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_filled_up() {
        let unit = |key: bool| AccessUnit {
            timestamp: 0,
            nals: vec![Bytes::from_static(&[0x65, 1, 2, 3])],
            key,
            complete: true,
        };
        let reel = Reel::new(vec![unit(true), unit(false)], 25, 4_000_000);
        for unit in &reel.units {
            let bytes: usize = unit.nals.iter().map(|nal| nal.len() + 4).sum();
            assert!((19_900..=20_000).contains(&bytes), "{bytes}");
            assert_eq!(unit.nals.last().unwrap()[0], 0x65, "before the picture");
        }
        assert_eq!((reel.key_after(0), reel.key_after(1)), (0, 0));
    }
}
