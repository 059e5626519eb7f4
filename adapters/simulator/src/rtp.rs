//! RTP packets (RFC 3550), the H.264 payload format (RFC 6184, packetization
//! mode 1: single NAL units and FU-A), and sender reports.

use bytes::{BufMut, Bytes, BytesMut};
use std::time::Duration;

/// Numbers and stamps the packets of one track.
pub struct RtpSender {
    pub ssrc: u32,
    payload_type: u8,
    sequence: u16,
    packets: u32,
    octets: u32,
}

impl RtpSender {
    pub fn new(payload_type: u8, ssrc: u32, sequence: u16) -> Self {
        Self { ssrc, payload_type, sequence, packets: 0, octets: 0 }
    }

    pub fn packet(&mut self, timestamp: u32, marker: bool, payload: &[&[u8]]) -> Bytes {
        let length: usize = payload.iter().map(|part| part.len()).sum();
        let mut packet = BytesMut::with_capacity(12 + length);
        packet.put_u8(0x80);
        packet.put_u8(u8::from(marker) << 7 | self.payload_type);
        packet.put_u16(self.sequence);
        packet.put_u32(timestamp);
        packet.put_u32(self.ssrc);
        for part in payload {
            packet.put_slice(part);
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(length as u32);
        packet.freeze()
    }

    /// One access unit as RTP packets of at most `max_payload` bytes each.
    pub fn h264(&mut self, timestamp: u32, nals: &[Vec<u8>], max_payload: usize) -> Vec<Bytes> {
        let mut packets = Vec::new();
        for (index, nal) in nals.iter().enumerate() {
            let last_nal = index + 1 == nals.len();
            let Some((&header, body)) = nal.split_first() else { continue };
            if nal.len() <= max_payload {
                packets.push(self.packet(timestamp, last_nal, &[nal]));
                continue;
            }
            let indicator = header & 0xe0 | 28;
            let chunks = body.chunks(max_payload - 2);
            let count = chunks.len();
            for (part, chunk) in chunks.enumerate() {
                let (start, end) = (part == 0, part + 1 == count);
                let fu_header = u8::from(start) << 7 | u8::from(end) << 6 | header & 0x1f;
                packets.push(self.packet(timestamp, last_nal && end, &[&[indicator, fu_header], chunk]));
            }
        }
        packets
    }

    /// Sender report with a CNAME: `timestamp` is the RTP time at `wall` since the Unix epoch.
    pub fn sender_report(&self, timestamp: u32, wall: Duration, cname: &str) -> Bytes {
        let mut packet = BytesMut::with_capacity(64);
        packet.put_slice(&[0x80, 200, 0, 6]);
        packet.put_u32(self.ssrc);
        packet.put_u64(ntp(wall));
        packet.put_u32(timestamp);
        packet.put_u32(self.packets);
        packet.put_u32(self.octets);

        let cname = cname.as_bytes().get(..cname.len().min(200)).unwrap_or_default();
        // The item, a terminating zero octet, and padding to 32 bits.
        let chunk = (4 + 2 + cname.len() + 1).next_multiple_of(4);
        packet.put_slice(&[0x81, 202]);
        packet.put_u16((chunk / 4) as u16);
        packet.put_u32(self.ssrc);
        packet.put_slice(&[1, cname.len() as u8]);
        packet.put_slice(cname);
        packet.put_bytes(0, chunk - 6 - cname.len());
        packet.freeze()
    }
}

/// NTP time of RFC 3550 4: 32 bits of seconds since 1900, 32 bits of fraction.
fn ntp(wall: Duration) -> u64 {
    const UNIX_TO_NTP: u64 = 2_208_988_800;
    let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
    wall.as_secs().wrapping_add(UNIX_TO_NTP) << 32 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_nal_unit_is_fragmented_and_whole_again() {
        let mut sender = RtpSender::new(96, 7, 65_534);
        let nal: Vec<u8> = std::iter::once(0x65).chain((0..4000u32).map(|i| i as u8)).collect();
        let packets = sender.h264(1234, &[vec![0x67, 1, 2], nal.clone()], 1000);
        assert_eq!(packets.len(), 6);
        let mut whole = vec![packets[1][12] & 0xe0 | packets[1][13] & 0x1f];
        for (index, packet) in packets.iter().enumerate() {
            assert!(packet.len() <= 1012);
            assert_eq!(u16::from_be_bytes([packet[2], packet[3]]), 65_534u16.wrapping_add(index as u16));
            assert_eq!(packet[1] >> 7, u8::from(index == 5), "marker on the last packet only");
            if index > 0 {
                assert_eq!(
                    packet[13] >> 6,
                    match index {
                        1 => 2,
                        5 => 1,
                        _ => 0,
                    }
                );
                whole.extend_from_slice(&packet[14..]);
            }
        }
        assert_eq!(whole, nal);
    }

    #[test]
    fn a_sender_report_is_a_whole_number_of_words() {
        let sender = RtpSender::new(8, 7, 0);
        for cname in ["", "a", "ab", "abc", "abcd"] {
            let report = sender.sender_report(1, Duration::new(1_700_000_000, 500_000_000), cname);
            assert_eq!(report.len() % 4, 0);
            let sdes_words = u16::from_be_bytes([report[30], report[31]]) as usize;
            assert_eq!(28 + 4 + sdes_words * 4, report.len());
            assert_eq!(report[12..16], [0x80, 0, 0, 0], "half a second");
        }
    }
}
