//! Transport feedback on the wire (draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1).

use super::parse::Reader;
use super::{RtcpError, Twcc, TwccPacket, format, kind};

/// Appends one transport feedback packet.
///
/// Deltas are cut to ticks of 250 µs and saturate at ±8.19 s; whoever builds `packets` starts a
/// new feedback before that. At most 65,535 packets are written.
pub fn write_twcc(out: &mut Vec<u8>, feedback: &Twcc) {
    let start = out.len();
    let packets = feedback.packets.get(..usize::from(u16::MAX)).unwrap_or(&feedback.packets);
    out.extend_from_slice(&[0x80 | format::TWCC, kind::TRANSPORT_FEEDBACK, 0, 0]);
    out.extend_from_slice(&feedback.sender.to_be_bytes());
    out.extend_from_slice(&feedback.media.to_be_bytes());
    out.extend_from_slice(&feedback.base_seq.to_be_bytes());
    out.extend_from_slice(&(packets.len() as u16).to_be_bytes());
    let [_, a, b, c] = feedback.reference_time.to_be_bytes();
    out.extend_from_slice(&[a, b, c, feedback.feedback_count]);
    let mut rest = packets;
    while !rest.is_empty() {
        let (chunk, covered) = next_chunk(rest);
        out.extend_from_slice(&chunk.to_be_bytes());
        rest = rest.get(covered..).unwrap_or_default();
    }
    for packet in packets {
        match (symbol(packet), ticks(packet)) {
            (SMALL, ticks) => out.push(ticks as u8),
            (LARGE, ticks) => out.extend_from_slice(&ticks.to_be_bytes()),
            _ => {}
        }
    }
    // The draft fills up to a word; the padding bit says by how much, as libwebrtc does.
    let fill = (out.len() - start).wrapping_neg() % 4;
    out.extend((1..=fill).map(|n| if n == fill { fill as u8 } else { 0 }));
    let words = ((out.len() - start) / 4 - 1) as u16;
    if let Some([b0, _, l0, l1]) = out.get_mut(start..).and_then(|p| p.first_chunk_mut()) {
        *b0 |= if fill > 0 { 0x20 } else { 0 };
        [*l0, *l1] = words.to_be_bytes();
    }
}

pub(super) fn parse(body: &mut Reader<'_>, statuses_left: &mut usize) -> Result<Twcc, RtcpError> {
    let (sender, media) = (body.u32()?, body.u32()?);
    let (base_seq, count) = (body.u16()?, usize::from(body.u16()?));
    let time_and_count = body.u32()?;
    *statuses_left = statuses_left.checked_sub(count).ok_or(RtcpError::TooManyStatuses)?;
    let mut symbols = Vec::with_capacity(count);
    while symbols.len() < count {
        let chunk = body.u16()?;
        let left = count - symbols.len();
        if chunk >> 15 == 0 {
            let run = usize::from(chunk & 0x1fff).min(left);
            if run == 0 {
                return Err(RtcpError::TooShort { at: body.at });
            }
            symbols.extend(std::iter::repeat_n(chunk >> 13 & 3, run));
        } else if chunk >> 14 & 1 == 0 {
            symbols.extend((0..14).map(|i| chunk >> (13 - i) & 1).take(left));
        } else {
            symbols.extend((0..7).map(|i| chunk >> (12 - 2 * i) & 3).take(left));
        }
    }
    let mut packets = Vec::with_capacity(count);
    let mut seq = base_seq;
    for symbol in symbols {
        let ticks = match symbol {
            LOST => None,
            SMALL => Some(i64::from(body.u8()?)),
            LARGE => Some(i64::from(body.u16()? as i16)),
            _ => return Err(RtcpError::TwccSymbol { at: body.at }),
        };
        packets.push(TwccPacket { seq, delta_us: ticks.map(|t| t * TICK_US) });
        seq = seq.wrapping_add(1);
    }
    Ok(Twcc {
        sender,
        media,
        base_seq,
        reference_time: time_and_count as i32 >> 8,
        feedback_count: time_and_count as u8,
        packets,
    })
}

/// The best chunk for the front of `packets`, and how many of them it covers.
fn next_chunk(packets: &[TwccPacket]) -> (u16, usize) {
    let first = packets.first().map_or(LOST, symbol);
    let run = packets.iter().take(MAX_RUN).take_while(|p| symbol(p) == first).count();
    let one_bit = packets.iter().take(14).take_while(|p| symbol(p) != LARGE).count();
    let two_bit = packets.len().min(7);
    let one_bit_usable = one_bit == packets.len().min(14);
    if run >= if one_bit_usable { one_bit } else { two_bit } {
        (first << 13 | run as u16, run)
    } else if one_bit_usable {
        let bits = (0..).zip(packets.iter().take(14)).map(|(i, p)| symbol(p) << (13 - i));
        (0x8000 | bits.sum::<u16>(), one_bit)
    } else {
        let bits = (0..).zip(packets.iter().take(7)).map(|(i, p)| symbol(p) << (12 - 2 * i));
        (0xc000 | bits.sum::<u16>(), two_bit)
    }
}

const LOST: u16 = 0;
const SMALL: u16 = 1;
const LARGE: u16 = 2;
const MAX_RUN: usize = 0x1fff;
const TICK_US: i64 = 250;

fn ticks(packet: &TwccPacket) -> i16 {
    let ticks = packet.delta_us.unwrap_or(0).div_euclid(TICK_US);
    ticks.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}

fn symbol(packet: &TwccPacket) -> u16 {
    match (packet.delta_us, ticks(packet)) {
        (None, _) => LOST,
        (Some(_), 0..=255) => SMALL,
        (Some(_), _) => LARGE,
    }
}
