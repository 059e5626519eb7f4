//! Writing RTCP packets, one behind the other, into one datagram.

use super::{FirEntry, ReportBlock, SenderReport, format, kind};

/// A report has a 5-bit count.
const MAX_BLOCKS: usize = 31;
/// Keeps one NACK packet well below an MTU.
const MAX_NACK_ITEMS: usize = 250;

/// Appends a sender report; blocks beyond the 31st follow in receiver reports.
pub fn write_sender_report(out: &mut Vec<u8>, report: &SenderReport) {
    let (blocks, more) = report.reports.split_at_checked(MAX_BLOCKS).unwrap_or((&report.reports, &[]));
    packet(out, blocks.len() as u8, kind::SENDER_REPORT, |out| {
        out.extend_from_slice(&report.ssrc.to_be_bytes());
        out.extend_from_slice(&report.ntp.to_be_bytes());
        for word in [report.rtp_time, report.packets, report.octets] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        blocks.iter().for_each(|block| report_block(out, block));
    });
    if !more.is_empty() {
        write_receiver_report(out, report.ssrc, more);
    }
}

/// Appends a receiver report, or several if there are more than 31 blocks.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, reports: &[ReportBlock]) {
    let mut chunks = reports.chunks(MAX_BLOCKS);
    let mut blocks = chunks.next().unwrap_or_default();
    loop {
        packet(out, blocks.len() as u8, kind::RECEIVER_REPORT, |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            blocks.iter().for_each(|block| report_block(out, block));
        });
        match chunks.next() {
            Some(next) => blocks = next,
            None => return,
        }
    }
}

/// Appends a source description with the canonical name, cut to 255 bytes.
pub fn write_sdes_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let cname = cname.get(..cname.floor_char_boundary(255)).unwrap_or(cname).as_bytes();
    packet(out, 1, kind::SDES, |out| {
        out.extend_from_slice(&ssrc.to_be_bytes());
        out.extend_from_slice(&[1, cname.len() as u8]);
        out.extend_from_slice(cname);
        // One to four zeros end the list and fill the word.
        let fill = 4 - (cname.len() + 2) % 4;
        out.extend(std::iter::repeat_n(0, fill));
    });
}

/// Appends a request to send `lost` again; shortest when they come in rising order.
pub fn write_nack(out: &mut Vec<u8>, sender: u32, media: u32, lost: &[u16]) {
    let mut rest = lost.iter().copied().peekable();
    while let Some(first) = rest.next() {
        packet(out, format::NACK, kind::TRANSPORT_FEEDBACK, |out| {
            out.extend_from_slice(&sender.to_be_bytes());
            out.extend_from_slice(&media.to_be_bytes());
            nack_items(out, first, &mut rest);
        });
    }
}

/// Appends a picture loss indication.
pub fn write_pli(out: &mut Vec<u8>, sender: u32, media: u32) {
    packet(out, format::PLI, kind::PAYLOAD_FEEDBACK, |out| {
        out.extend_from_slice(&sender.to_be_bytes());
        out.extend_from_slice(&media.to_be_bytes());
    });
}

/// Appends a full intra request.
pub fn write_fir(out: &mut Vec<u8>, sender: u32, entries: &[FirEntry]) {
    packet(out, format::FIR, kind::PAYLOAD_FEEDBACK, |out| {
        out.extend_from_slice(&sender.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        for entry in entries {
            out.extend_from_slice(&entry.ssrc.to_be_bytes());
            out.extend_from_slice(&[entry.sequence, 0, 0, 0]);
        }
    });
}

/// Appends a goodbye for at most 31 sources.
pub fn write_bye(out: &mut Vec<u8>, ssrcs: &[u32]) {
    let ssrcs = ssrcs.get(..MAX_BLOCKS).unwrap_or(ssrcs);
    packet(out, ssrcs.len() as u8, kind::BYE, |out| {
        ssrcs.iter().for_each(|ssrc| out.extend_from_slice(&ssrc.to_be_bytes()));
    });
}

/// Appends a bit-rate limit; the rate is rounded down to 18 significant bits.
pub fn write_remb(out: &mut Vec<u8>, sender: u32, bitrate_bps: u64, ssrcs: &[u32]) {
    let ssrcs = ssrcs.get(..255).unwrap_or(ssrcs);
    let exponent = (64 - bitrate_bps.leading_zeros()).saturating_sub(18);
    let mantissa = (bitrate_bps >> exponent) as u32;
    packet(out, format::APPLICATION, kind::PAYLOAD_FEEDBACK, |out| {
        out.extend_from_slice(&sender.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(b"REMB");
        let word = (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa;
        out.extend_from_slice(&word.to_be_bytes());
        ssrcs.iter().for_each(|ssrc| out.extend_from_slice(&ssrc.to_be_bytes()));
    });
}

/// Writes header, body and the length, which is known only afterwards. Bodies are whole words.
fn packet(out: &mut Vec<u8>, count: u8, packet_type: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0x80 | count & 0x1f, packet_type, 0, 0]);
    body(out);
    let words = ((out.len() - start) / 4 - 1) as u16;
    if let Some(field) = out.get_mut(start + 2..start + 4) {
        field.copy_from_slice(&words.to_be_bytes());
    }
}

fn report_block(out: &mut Vec<u8>, block: &ReportBlock) {
    let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0x00ff_ffff;
    let words = [
        block.ssrc,
        u32::from(block.fraction_lost) << 24 | lost,
        block.highest_seq,
        block.jitter,
        block.last_sr,
        block.delay_since_last_sr,
    ];
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
}

/// Items of a first number and a mask of the sixteen behind it.
fn nack_items(out: &mut Vec<u8>, mut first: u16, rest: &mut std::iter::Peekable<impl Iterator<Item = u16>>) {
    for item in 1..=MAX_NACK_ITEMS {
        let mut mask = 0u16;
        while let Some(behind @ 0..=16) = rest.peek().map(|next| next.wrapping_sub(first)) {
            mask |= if behind == 0 { 0 } else { 1 << (behind - 1) };
            rest.next();
        }
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
        if item == MAX_NACK_ITEMS {
            return;
        }
        match rest.next() {
            Some(next) => first = next,
            None => return,
        }
    }
}
