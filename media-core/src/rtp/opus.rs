//! How long an Opus packet lasts (RFC 6716 3.1 and 3.2).

/// A frame of silence: CELT, full band, 20 ms (table 2, configuration 31).
pub const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

/// Length of a packet in 48 kHz ticks, at most 120 ms; `None` for none that is valid.
pub fn ticks(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = u32::from(toc >> 3);
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][config as usize % 4],
        12..=15 => [480, 960][config as usize % 2],
        _ => [120, 240, 480, 960][config as usize % 4],
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3f),
    };
    let ticks = frame * count;
    (ticks > 0 && ticks <= 5760).then_some(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_tell_their_length() {
        assert_eq!(ticks(SILENCE), Some(960));
        assert_eq!(ticks(&[0x78]), Some(960), "hybrid, 20 ms");
        assert_eq!(ticks(&[0x1b, 0x02]), Some(5760), "two SILK frames of 60 ms");
        assert_eq!(ticks(&[0xfb, 0x3f]), None, "longer than 120 ms");
        assert_eq!(ticks(&[]), None);
        assert_eq!(ticks(&[0x03]), None);
    }
}
