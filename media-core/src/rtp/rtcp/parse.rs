//! Reading a compound (or reduced-size) RTCP datagram.

use smallvec::SmallVec;

use super::{
    FirEntry, MAX_PACKETS, MAX_TWCC_STATUSES, ReportBlock, Rtcp, RtcpError, SdesChunk, SenderReport, format, kind,
    transport,
};

/// Reads all packets of one plain (already decrypted) datagram. An empty datagram has none.
pub fn parse_compound(datagram: &[u8]) -> Result<SmallVec<[Rtcp; 4]>, RtcpError> {
    let mut packets = SmallVec::new();
    let mut statuses_left = MAX_TWCC_STATUSES;
    let mut rest = datagram;
    while !rest.is_empty() {
        let at = datagram.len() - rest.len();
        if packets.len() == MAX_PACKETS {
            return Err(RtcpError::TooManyPackets);
        }
        let Some((&[b0, packet_type, l0, l1], _)) = rest.split_first_chunk::<4>() else {
            return Err(RtcpError::TooShort { at });
        };
        if b0 >> 6 != 2 {
            return Err(RtcpError::Version { at, version: b0 >> 6 });
        }
        let len = (usize::from(u16::from_be_bytes([l0, l1])) + 1) * 4;
        let Some((whole, after)) = rest.split_at_checked(len) else {
            return Err(RtcpError::TooShort { at });
        };
        rest = after;
        let mut body = whole.get(4..).unwrap_or_default();
        if b0 & 0x20 != 0 {
            let padding = usize::from(body.last().copied().unwrap_or(0));
            if padding == 0 || padding > body.len() {
                return Err(RtcpError::Padding { at });
            }
            body = body.get(..body.len() - padding).unwrap_or_default();
        }
        let mut reader = Reader { data: body, at };
        packets.push(parse_one(b0 & 0x1f, packet_type, whole, &mut reader, &mut statuses_left)?);
    }
    Ok(packets)
}

fn parse_one(
    count: u8,
    packet_type: u8,
    whole: &[u8],
    body: &mut Reader<'_>,
    statuses_left: &mut usize,
) -> Result<Rtcp, RtcpError> {
    Ok(match (packet_type, count) {
        (kind::SENDER_REPORT, _) => Rtcp::SenderReport(SenderReport {
            ssrc: body.u32()?,
            ntp: u64::from(body.u32()?) << 32 | u64::from(body.u32()?),
            rtp_time: body.u32()?,
            packets: body.u32()?,
            octets: body.u32()?,
            reports: report_blocks(body, count)?,
        }),
        (kind::RECEIVER_REPORT, _) => Rtcp::ReceiverReport { ssrc: body.u32()?, reports: report_blocks(body, count)? },
        (kind::SDES, _) => Rtcp::Sdes { chunks: sdes_chunks(body, count)? },
        (kind::BYE, _) => Rtcp::Bye { ssrcs: (0..count).map(|_| body.u32()).collect::<Result<_, _>>()? },
        (kind::TRANSPORT_FEEDBACK, format::NACK) => {
            let (sender, media) = (body.u32()?, body.u32()?);
            Rtcp::Nack { sender, media, lost: lost_packets(body)? }
        }
        (kind::TRANSPORT_FEEDBACK, format::TWCC) => Rtcp::Twcc(transport::parse(body, statuses_left)?),
        (kind::PAYLOAD_FEEDBACK, format::PLI) => Rtcp::Pli { sender: body.u32()?, media: body.u32()? },
        (kind::PAYLOAD_FEEDBACK, format::FIR) => {
            let (sender, _) = (body.u32()?, body.u32()?);
            let mut entries = SmallVec::new();
            while !body.data.is_empty() {
                let ssrc = body.u32()?;
                let [sequence, ..] = body.u32()?.to_be_bytes();
                entries.push(FirEntry { ssrc, sequence });
            }
            Rtcp::Fir { sender, entries }
        }
        (kind::PAYLOAD_FEEDBACK, format::APPLICATION) if body.data.get(8..12) == Some(b"REMB") => {
            let (sender, _, _) = (body.u32()?, body.u32()?, body.u32()?);
            let [ssrc_count, high, b, c] = body.u32()?.to_be_bytes();
            let mantissa = u128::from(high & 3) << 16 | u128::from(b) << 8 | u128::from(c);
            Rtcp::Remb {
                sender,
                bitrate_bps: u64::try_from(mantissa << (high >> 2)).unwrap_or(u64::MAX),
                ssrcs: (0..ssrc_count).map(|_| body.u32()).collect::<Result<_, _>>()?,
            }
        }
        (kind::EXTENDED_REPORT, _) => Rtcp::ExtendedReport(whole.to_vec()),
        _ => Rtcp::Unknown { packet_type },
    })
}

fn report_blocks(body: &mut Reader<'_>, count: u8) -> Result<SmallVec<[ReportBlock; 4]>, RtcpError> {
    (0..count)
        .map(|_| {
            let ssrc = body.u32()?;
            let loss = body.u32()?;
            Ok(ReportBlock {
                ssrc,
                fraction_lost: (loss >> 24) as u8,
                // Shifted up and down to extend the sign of 24 bits.
                cumulative_lost: (loss << 8) as i32 >> 8,
                highest_seq: body.u32()?,
                jitter: body.u32()?,
                last_sr: body.u32()?,
                delay_since_last_sr: body.u32()?,
            })
        })
        .collect()
}

fn sdes_chunks(body: &mut Reader<'_>, count: u8) -> Result<SmallVec<[SdesChunk; 1]>, RtcpError> {
    let mut chunks = SmallVec::new();
    for _ in 0..count {
        let start = body.data.len();
        let mut chunk = SdesChunk { ssrc: body.u32()?, cname: None };
        loop {
            let item = body.u8()?;
            if item == 0 {
                break;
            }
            let len = usize::from(body.u8()?);
            let text = body.take(len)?;
            if item == 1 {
                chunk.cname = Some(String::from_utf8_lossy(text).into_owned());
            }
        }
        // Items are filled with zeros to the next word.
        let fill = (start - body.data.len()).wrapping_neg() % 4;
        body.take(fill)?;
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn lost_packets(body: &mut Reader<'_>) -> Result<SmallVec<[u16; 16]>, RtcpError> {
    let mut lost = SmallVec::new();
    while !body.data.is_empty() {
        let (first, mask) = (body.u16()?, body.u16()?);
        lost.push(first);
        lost.extend((0..16).filter(|bit| mask >> bit & 1 == 1).map(|bit| first.wrapping_add(bit + 1)));
    }
    Ok(lost)
}

/// The body of one packet; `at` is where the packet starts in the datagram.
pub(super) struct Reader<'a> {
    pub data: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], RtcpError> {
        let (taken, rest) = self.data.split_at_checked(len).ok_or(RtcpError::TooShort { at: self.at })?;
        self.data = rest;
        Ok(taken)
    }

    pub fn u8(&mut self) -> Result<u8, RtcpError> {
        let (&byte, rest) = self.data.split_first().ok_or(RtcpError::TooShort { at: self.at })?;
        self.data = rest;
        Ok(byte)
    }

    pub fn u16(&mut self) -> Result<u16, RtcpError> {
        let (bytes, rest) = self.data.split_first_chunk().ok_or(RtcpError::TooShort { at: self.at })?;
        self.data = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub fn u32(&mut self) -> Result<u32, RtcpError> {
        let (bytes, rest) = self.data.split_first_chunk().ok_or(RtcpError::TooShort { at: self.at })?;
        self.data = rest;
        Ok(u32::from_be_bytes(*bytes))
    }
}
