//! Bits of a NAL unit's body, with emulation prevention bytes left out (H.264 7.3.1, 9.1).

/// Every read is `None` past the end.
pub(in crate::rtp) struct BitReader<'a> {
    rest: &'a [u8],
    zeros: u8,
    byte: u8,
    bits_left: u8,
}

impl<'a> BitReader<'a> {
    /// `body` is the NAL unit without its header byte.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body, zeros: 0, byte: 0, bits_left: 0 }
    }

    pub fn bit(&mut self) -> Option<bool> {
        if self.bits_left == 0 {
            let (&(mut byte), mut rest) = self.rest.split_first()?;
            if self.zeros >= 2 && byte == 3 {
                self.zeros = 0;
                (byte, rest) = rest.split_first().map(|(byte, rest)| (*byte, rest))?;
            }
            self.zeros = if byte == 0 { self.zeros.saturating_add(1) } else { 0 };
            (self.byte, self.rest, self.bits_left) = (byte, rest, 8);
        }
        self.bits_left -= 1;
        Some(self.byte >> self.bits_left & 1 == 1)
    }

    /// At most 32 bits.
    pub fn bits(&mut self, count: u8) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | u32::from(self.bit()?)))
    }

    pub fn skip(&mut self, count: u8) -> Option<()> {
        self.bits(count).map(|_| ())
    }

    /// Unsigned Exp-Golomb, up to 32 bits.
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let low = self.bits(zeros)?;
        Some((1u32 << zeros) - 1 + low)
    }

    /// Signed Exp-Golomb.
    pub fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        let magnitude = code.div_ceil(2) as i32;
        Some(if code % 2 == 1 { magnitude } else { -magnitude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exp_golomb_codes_are_read() {
        // 1, 010, 011, 00100, 00101, then 00110 signed.
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1001_1000]);
        assert_eq!([(); 5].map(|()| reader.ue()), [0, 1, 2, 3, 4].map(Some));
        assert_eq!(reader.se(), Some(3));
    }

    #[test]
    fn emulation_prevention_is_left_out() {
        let mut reader = BitReader::new(&[0, 0, 3, 1, 0, 0, 3]);
        assert_eq!(reader.bits(24), Some(1));
        assert_eq!(reader.bits(16), Some(0));
        assert_eq!(reader.bit(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut reader = BitReader::new(&bytes);
            let mut codes = 0;
            while reader.se().is_some() {
                codes += 1;
                prop_assert!(codes <= bytes.len() * 8);
            }
        }
    }
}
