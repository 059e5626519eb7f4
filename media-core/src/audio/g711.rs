//! G.711: eight bits a sample by two laws (ITU-T G.711, 1988).

/// Which companding law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// A-law, `PCMA`, payload type 8.
    A,
    /// µ-law, `PCMU`, payload type 0.
    Mu,
}

/// What µ-law adds before it takes the logarithm.
const BIAS: i32 = 0x84;

impl Law {
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::A => encode_a(sample),
            Self::Mu => encode_mu(sample),
        }
    }

    pub fn decode(self, code: u8) -> i16 {
        match self {
            Self::A => decode_a(code),
            Self::Mu => decode_mu(code),
        }
    }

    /// A code of silence.
    pub fn silence(self) -> u8 {
        self.encode(0)
    }
}

/// Twelve bits of magnitude, of which the last is not told; even bits are inverted (table 1a).
fn encode_a(sample: i16) -> u8 {
    let positive = sample >= 0;
    // −1 and 0 are neighbours: the negative half has no zero of its own.
    let magnitude = (if positive { i32::from(sample) } else { !i32::from(sample) }) >> 4;
    let code = if magnitude < 16 {
        magnitude as u8
    } else {
        let exponent = 28 - magnitude.leading_zeros();
        let mantissa = (magnitude >> (exponent - 1)) as u8 & 0x0F;
        (exponent as u8) << 4 | mantissa
    };
    (code | if positive { 0x80 } else { 0 }) ^ 0x55
}

fn decode_a(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (exponent, mantissa) = (u32::from(code >> 4 & 7), i32::from(code & 0x0F));
    // The middle of the step.
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    (if code & 0x80 != 0 { magnitude } else { -magnitude }) as i16
}

/// Thirteen bits of magnitude; all bits are inverted (table 2a).
fn encode_mu(sample: i16) -> u8 {
    let negative = sample < 0;
    let magnitude = (i32::from(sample).abs().min(32_635)) + BIAS;
    let exponent = 24 - magnitude.leading_zeros();
    let mantissa = (magnitude >> (exponent + 3)) as u8 & 0x0F;
    !((exponent as u8) << 4 | mantissa | if negative { 0x80 } else { 0 })
}

fn decode_mu(code: u8) -> i16 {
    let code = !code;
    let (exponent, mantissa) = (u32::from(code >> 4 & 7), i32::from(code & 0x0F));
    let magnitude = (((mantissa << 3) + BIAS) << exponent) - BIAS;
    (if code & 0x80 != 0 { -magnitude } else { magnitude }) as i16
}
